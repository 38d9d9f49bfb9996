//! What an incident ends: a person's, a tenant's or a key's access, or everybody's.
//!
//! Each act is one that exists elsewhere, in its own transaction with its own audit event, so that being
//! stopped half way leaves nothing half done: the same command again ends the rest.

use std::fmt;

use portcullis_core::{ApiKeyId, TenantId, UserId};
use portcullis_events::incidents::{Contained, Incidents};
use portcullis_events::secret_store::{Label, Listed, Made, Rotation, Stored};
use portcullis_events::{Actor, By};
use portcullis_identity::accounts::{self, Reach, Whose};
use portcullis_identity::api_keys::KeysOf;
use portcullis_vault::ring::KeyState;
use serde::Serialize;
use uuid::Uuid;

use super::freeze;
use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::verbs::{Stores, find, now, told};

/// Secrets that are read at once.
const PAGE: u32 = 500;

/// What is contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    User(String, UserId),
    Tenant(String, TenantId),
    Key(ApiKeyId),
    Route(String),
    All,
}

/// What goes with `all`.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) spare_keys: bool,
    pub(super) rotate_secrets: bool,
}

impl Scope {
    pub(super) async fn find(text: &str, stores: &Stores) -> anyhow::Result<Self> {
        let unknown = || {
            Usage::error(format!(
                "`{text}` is no scope: user:ADDRESS, tenant:NAME, key:ID, route:PATTERN or all"
            ))
        };
        if text == "all" {
            return Ok(Scope::All);
        }
        let (kind, name) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "user" => Ok(Scope::User(name.to_owned(), find(stores, name).await?)),
            "tenant" => {
                let id = crate::tenants::named(stores, name).await?;
                Ok(Scope::Tenant(name.to_owned(), id))
            }
            "key" => {
                let id = name.parse::<Uuid>().map_err(|_| {
                    Usage::error(format!(
                        "`{name}` is no id of a key: `portcullis keys list` shows those there are"
                    ))
                })?;
                let id = ApiKeyId::from_uuid(id);
                let found = stores.identity.keys.get(id).await;
                found.map_err(|error| Usage::error(format!("key {name}: {error}")))?;
                Ok(Scope::Key(id))
            }
            "route" => Ok(Scope::Route(freeze::pattern(name, stores)?)),
            _ => Err(unknown()),
        }
    }

    /// For whoever reads it later: ids, and no names.
    fn subject(&self) -> String {
        match self {
            Scope::User(_, id) => format!("user:{id}"),
            Scope::Tenant(_, id) => format!("tenant:{id}"),
            Scope::Key(_) | Scope::Route(_) | Scope::All => self.to_string(),
        }
    }

    async fn reach(&self, how: How, stores: &Stores) -> anyhow::Result<Reach> {
        let whose = match self {
            Scope::User(_, id) => Whose::User(*id),
            Scope::Tenant(_, id) => Whose::Tenant(*id),
            Scope::Key(_) => {
                return Ok(Reach {
                    api_keys: 1,
                    ..Reach::default()
                });
            }
            Scope::Route(_) => return Ok(Reach::default()),
            Scope::All => Whose::Everybody,
        };
        let reach = stores.identity.accounts.reach(whose).await;
        let mut reach = reach.map_err(|error| anyhow::anyhow!(told(error)))?;
        if how.spare_keys {
            reach.api_keys = 0;
        }
        Ok(reach)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::User(name, _) => write!(f, "user:{name}"),
            Scope::Tenant(name, _) => write!(f, "tenant:{name}"),
            Scope::Key(id) => write!(f, "key:{id}"),
            Scope::Route(pattern) => write!(f, "route:{pattern}"),
            Scope::All => f.write_str("all"),
        }
    }
}

/// How far something reaches.
#[derive(Debug, Serialize)]
struct Radius {
    scope: String,
    #[serde(flatten)]
    reach: Reach,
    /// What else would be done, in words.
    also: Vec<String>,
}

impl fmt::Display for Radius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reach {
            accounts,
            sessions,
            token_families,
            api_keys,
            visits,
        } = self.reach;
        write!(
            f,
            "{}: {accounts} accounts, {sessions} sessions, {token_families} sign-ins with tokens, {api_keys} API keys, {visits} visits",
            self.scope
        )?;
        for also in &self.also {
            write!(f, "\n  {also}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Radii(Vec<Radius>);

impl fmt::Display for Radii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for radius in &self.0 {
            writeln!(f, "{radius}")?;
        }
        f.write_str("Nothing was changed.")
    }
}

/// Shows how far each of them reaches, and changes nothing.
pub(super) async fn show(
    format: Format,
    scopes: &[Scope],
    how: How,
    stores: &Stores,
) -> anyhow::Result<bool> {
    let mut radii = Vec::new();
    for scope in scopes {
        let mut also = Vec::new();
        match scope {
            Scope::User(..) => also.push("the account would be switched off".to_owned()),
            Scope::Tenant(..) => also.push("the tenant would be suspended".to_owned()),
            Scope::Key(_) => {}
            Scope::Route(_) => also.push("nobody would be answered there".to_owned()),
            Scope::All => {
                let keys = working(stores).await?.len();
                also.push(format!(
                    "{keys} signing keys would be taken out, and a new one made"
                ));
                if how.rotate_secrets {
                    let (ours, theirs) = secrets(stores).await?;
                    also.push(format!(
                        "{} named secrets would get a new value, {} would become tasks",
                        ours.len(),
                        theirs.len()
                    ));
                }
            }
        }
        radii.push(Radius {
            scope: scope.to_string(),
            reach: scope.reach(how, stores).await?,
            also,
        });
    }
    output::answer(format, &Radii(radii));
    Ok(true)
}

/// Ends it, and notes in the incident what was ended.
pub(super) async fn carry_out(
    incidents: &Incidents,
    incident: Uuid,
    scope: &Scope,
    how: How,
    stores: &Stores,
) -> anyhow::Result<()> {
    let reach = scope.reach(how, stores).await?;
    let identity = &stores.identity;
    let by = accounts::By::operator();
    let failed =
        |error: portcullis_identity::accounts::Error| anyhow::anyhow!("{scope}: {}", told(error));
    let mut also = Vec::new();
    match scope {
        Scope::User(_, id) => {
            match identity.accounts.deactivate(*id, &by).await {
                // It is off already.
                Ok(()) | Err(accounts::Error::NotFound) => {}
                Err(error) => return Err(failed(error)),
            }
            identity.keys.revoke_all(KeysOf::User(*id), &by).await?;
            also.push("the account is switched off".to_owned());
        }
        Scope::Tenant(_, id) => {
            identity.tenants.suspend(*id, &by).await?;
            identity.visitors.revoke_all(*id, &by).await?;
            identity.keys.revoke_all(KeysOf::Tenant(*id), &by).await?;
            also.push("the tenant is suspended".to_owned());
        }
        Scope::Key(id) => identity.keys.revoke(*id, None, &by).await?,
        Scope::Route(pattern) => {
            let reason = "contained";
            let frozen = incidents.freeze(incident, pattern, reason, &By::OPERATOR);
            // It is noted with the act.
            return frozen.await.map_err(super::told);
        }
        Scope::All => {
            let ended = identity.accounts.end_everything(!how.spare_keys, &by).await;
            ended.map_err(failed)?;
            let keys = working(stores).await?;
            for kid in &keys {
                identity.signing_keys.revoke(Actor::Operator, kid).await?;
            }
            also.push(format!("{} signing keys are taken out", keys.len()));
            if how.rotate_secrets {
                also.push(rotate(incidents, incident, stores).await?);
            }
        }
    }
    let text = Radius {
        scope: scope.to_string(),
        reach,
        also,
    };
    let text = format!("ended: {text}").replace('\n', ";");
    let contained = Contained {
        scope: scope.subject(),
        at: now(),
        accounts: reach.accounts,
        sessions: reach.sessions,
        token_families: reach.token_families,
        api_keys: reach.api_keys,
        visits: reach.visits,
    };
    let noted = incidents.contained(incident, &contained, &text, &By::OPERATOR);
    noted.await.map_err(super::told)
}

/// Signing keys that sign, will sign, or verify what they signed.
async fn working(stores: &Stores) -> anyhow::Result<Vec<String>> {
    let list = stores.identity.signing_keys.list().await?;
    let works = |state: KeyState| match state {
        KeyState::Next | KeyState::Signing | KeyState::Verifying => true,
        KeyState::Retired | KeyState::Revoked => false,
    };
    let keys = list.0.into_iter().filter(|key| works(key.state));
    Ok(keys.map(|key| key.kid).collect())
}

/// Named secrets: those that are made here, and those that somebody has to bring.
async fn secrets(stores: &Stores) -> anyhow::Result<(Vec<Label>, Vec<Label>)> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let after = all.last().map(|last| &last.label);
        let store = &stores.identity.secret_store;
        let page = store.list(Listed::All, after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let (ours, theirs): (Vec<_>, Vec<_>) = all.into_iter().partition(|stored| match stored.made {
        Made::Hex(_) | Made::Base64Url(_) => true,
        Made::Provider | Made::File => false,
    });
    let labels = |list: Vec<Stored>| list.into_iter().map(|stored| stored.label).collect();
    Ok((labels(ours), labels(theirs)))
}

async fn rotate(incidents: &Incidents, incident: Uuid, stores: &Stores) -> anyhow::Result<String> {
    let (ours, theirs) = secrets(stores).await?;
    let store = &stores.identity.secret_store;
    for label in &ours {
        // Whatever served the old value for a while serves it no more.
        store
            .rotate(label, &Rotation::default(), &By::OPERATOR)
            .await?;
        store.end_previous(label, &By::OPERATOR).await?;
    }
    for label in &theirs {
        let text = format!(
            "replace the secret `{}`: portcullis secrets replace {0}",
            label.name
        );
        let task = incidents.add_task(incident, (&text, "operator"), None, &By::OPERATOR);
        task.await.map_err(super::told)?;
    }
    Ok(format!(
        "{} named secrets have a new value, {} are tasks",
        ours.len(),
        theirs.len()
    ))
}
