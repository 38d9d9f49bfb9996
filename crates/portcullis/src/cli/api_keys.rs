//! `portcullis keys`: the keys of programs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use portcullis_core::limit::Rate;
use portcullis_core::roles::Roles;
use portcullis_core::{ApiKeyId, Span, TenantId, Timestamp};
use portcullis_identity::accounts::By;
use portcullis_identity::api_keys::import::{Fate, Given, Row};
use portcullis_identity::api_keys::{Grantor, KeyInfo, Made, NewKey};
use serde::Serialize;

use super::output::{self, Format};
use super::{Page, Usage};
use crate::verbs::{Stores, find, told};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and show it, this once.
    Create {
        /// What it is for, in your words.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may do, such as `read:all`; may be given several times.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// Beginning of the path of a route that it may use; may be given several times. Without one
        /// it may use all routes that admit keys.
        #[arg(long = "route", value_name = "PATH")]
        routes: Vec<String>,
        /// A limit of its own, such as `60/minute`.
        #[arg(long, value_name = "RATE")]
        rate: Option<Rate>,
        /// Whose key it is: an account's address or id. It ends with the account, and may no more
        /// than its owner.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// The tenant that it belongs to.
        #[arg(long, value_name = "ID")]
        tenant: Option<uuid::Uuid>,
        /// How long it works, such as `90d`. Without it, until it is revoked.
        #[arg(long, value_name = "SPAN")]
        expires_in: Option<Span>,
    },
    /// Show the keys, newest first.
    List {
        /// Those of this account alone: its address or id.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Make another key like this one, and show it. The old one works until the overlap has passed.
    Rotate {
        /// The key's id, as `keys list` shows it.
        #[arg(value_name = "ID")]
        id: uuid::Uuid,
        /// How long the old key still works.
        #[arg(long, default_value = "24h", value_name = "SPAN")]
        overlap: Span,
    },
    /// End a key. A running gate refuses it within a second.
    Revoke {
        /// The key's id, as `keys list` shows it.
        #[arg(value_name = "ID")]
        id: uuid::Uuid,
    },
    /// Take over the key hashes of another system, so that its keys go on working.
    ///
    /// The file is JSON, an array or a line each: `{"key_hash": "<hex HMAC-SHA256 of the key>",
    /// "name": .., "user_id": .., "created_at": .., "expires_at": ..}`. Also name that system's secret in
    /// `secrets.imported-api-keys` and its prefix in `api-keys.imported-prefix`.
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What each of the keys may do; may be given several times.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// Beginning of the path of a route that they may use; may be given several times.
        #[arg(long = "route", value_name = "PATH")]
        routes: Vec<String>,
        /// Say what would become of each, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Serialize)]
struct Shown {
    id: ApiKeyId,
    name: String,
    key: String,
    expires_at: Option<String>,
}

impl From<Made> for Shown {
    fn from(made: Made) -> Self {
        Shown {
            id: made.info.id,
            name: made.info.name,
            key: made.text.expose().clone(),
            expires_at: made.info.expires_at.map(|at| at.to_string()),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}", self.id, self.name)?;
        write!(f, "key, shown this once: {}", self.key)
    }
}

#[derive(Serialize)]
struct Listed {
    id: ApiKeyId,
    hint: String,
    name: String,
    state: &'static str,
    user_id: Option<portcullis_core::UserId>,
    tenant_id: Option<TenantId>,
    permissions: Vec<String>,
    routes: Option<Vec<String>>,
    rate: Option<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl Listed {
    fn of(info: KeyInfo, now: Timestamp) -> Self {
        let state = if info.revoked_at.is_some() {
            "revoked"
        } else if info.expires_at.is_some_and(|end| end <= now) {
            "expired"
        } else {
            "live"
        };
        Listed {
            id: info.id,
            hint: info.hint,
            name: info.name,
            state,
            user_id: info.user,
            tenant_id: info.tenant,
            permissions: info.permissions,
            routes: info.routes,
            rate: info.rate.map(|rate| rate.to_string()),
            expires_at: info.expires_at.map(|at| at.to_string()),
            last_used_at: info.last_used_at.map(|at| at.to_string()),
        }
    }
}

#[derive(Serialize)]
struct Imported {
    row: usize,
    fate: Fate,
}

pub(crate) async fn run(format: Format, verb: &Keys, stores: &Stores) -> anyhow::Result<bool> {
    let keys = &stores.identity.keys;
    let roles = roles(stores)?;
    let grantor = Grantor::Operator(&roles);
    let by = By::operator();
    match verb {
        Keys::Create {
            name,
            permissions,
            routes,
            rate,
            user,
            tenant,
            expires_in,
        } => {
            check_permissions(permissions, &grantor)?;
            let user = match user {
                Some(who) => Some(find(stores, who).await?),
                None => None,
            };
            let new = NewKey {
                name: name.clone(),
                permissions: permissions.clone(),
                routes: (!routes.is_empty()).then(|| routes.clone()),
                rate: *rate,
                tenant: tenant.map(TenantId::from_uuid),
                user,
                expires_at: expires_in.map(|span| crate::verbs::now() + span),
            };
            let made = keys.create(new, &grantor, &by).await.map_err(failed)?;
            output::answer(format, &Shown::from(made));
        }
        Keys::List { user, page } => {
            let user = match user {
                Some(who) => Some(find(stores, who).await?),
                None => None,
            };
            let after = page.after.map(ApiKeyId::from_uuid);
            let found = Page::there(keys.list(user, after, page.limit()).await?)?;
            let now = crate::verbs::now();
            let shown: Vec<Listed> = found
                .into_iter()
                .map(|info| Listed::of(info, now))
                .collect();
            show(format, &shown);
        }
        Keys::Rotate { id, overlap } => {
            let id = ApiKeyId::from_uuid(*id);
            let made = keys
                .rotate(id, *overlap, &grantor, &by)
                .await
                .map_err(failed)?;
            output::answer(format, &Shown::from(made));
        }
        Keys::Revoke { id } => {
            keys.revoke(ApiKeyId::from_uuid(*id), None, &by)
                .await
                .map_err(failed)?;
            output::aside(format_args!("{id} is revoked"));
        }
        Keys::Import {
            file,
            permissions,
            routes,
            dry_run,
        } => {
            check_permissions(permissions, &grantor)?;
            let config = &stores.loaded.config;
            if config.api_keys.imported_prefix.is_none()
                || stores.loaded.secrets.imported_api_keys.is_none()
            {
                return Err(Usage::error(
                    "nothing could know these keys again: write `imported-prefix` under [api-keys] and `imported-api-keys = { env = \"..\" }` under [secrets]",
                ));
            }
            let rows = rows(file)?;
            let given = Given {
                permissions: permissions.clone(),
                routes: (!routes.is_empty()).then(|| routes.clone()),
            };
            let fates = keys
                .import(&rows, &given, *dry_run, &by)
                .await
                .map_err(failed)?;
            return Ok(tell(format, fates, *dry_run));
        }
    }
    Ok(true)
}

fn show(format: Format, keys: &[Listed]) {
    match format {
        Format::Json => output::json(&keys),
        Format::Text => {
            for key in keys {
                let used = key.last_used_at.as_deref().unwrap_or("never used");
                output::line(format_args!(
                    "{}  {:<8} {}..  {}  [{}]  {used}",
                    key.id,
                    key.state,
                    key.hint,
                    key.name,
                    key.permissions.join(", ")
                ));
            }
        }
    }
}

/// Each row that was not taken over, by its place and the reason. False where one was refused.
fn tell(format: Format, fates: Vec<Fate>, dry_run: bool) -> bool {
    let list: Vec<Imported> = fates
        .into_iter()
        .zip(1..)
        .map(|(fate, row)| Imported { row, fate })
        .collect();
    let count = |wanted: fn(&Fate) -> bool| list.iter().filter(|it| wanted(&it.fate)).count();
    let refused = count(|fate| matches!(fate, Fate::Refused(_)));
    match format {
        Format::Json => output::json(&list),
        Format::Text => {
            for Imported { row, fate } in &list {
                match fate {
                    Fate::Refused(reason) => {
                        output::line(format_args!("row {row} refused: {reason}"));
                    }
                    Fate::Imported | Fate::Known | Fate::Expired => {}
                }
            }
            output::line(format_args!(
                "{} {}, {} known already, {} expired, {refused} refused",
                count(|fate| *fate == Fate::Imported),
                if dry_run {
                    "would be imported"
                } else {
                    "imported"
                },
                count(|fate| *fate == Fate::Known),
                count(|fate| *fate == Fate::Expired),
            ));
        }
    }
    refused == 0
}

fn rows(file: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("`{}` cannot be read", file.display()))?;
    let rows = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
    } else {
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .collect()
    };
    rows.map_err(|error| Usage::error(format!("`{}` is not as expected: {error}", file.display())))
}

fn roles(stores: &Stores) -> anyhow::Result<Arc<Roles>> {
    Roles::compile(&stores.loaded.config.access.roles())
        .map(Arc::new)
        .map_err(|_| Usage::error("the roles have errors: `portcullis check` names them"))
}

fn check_permissions(permissions: &[String], grantor: &Grantor<'_>) -> anyhow::Result<()> {
    match permissions.iter().find(|name| !grantor.may_give(name)) {
        None => Ok(()),
        Some(unknown) => Err(Usage::error(format!(
            "no role gives the permission `{unknown}`: give it to a role under [roles.NAME], or name another"
        ))),
    }
}

fn failed(error: portcullis_identity::api_keys::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", told(error))
}
