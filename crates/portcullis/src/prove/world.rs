//! A gate with what probes need in it: accounts, tenants and keys that are marked as such, and that are switched
//! off again in the end.
//!
//! They have fixed names below `prove.invalid`, a domain that nobody can have (RFC 2606), so that a run that was
//! killed leaves nothing that the next one does not find and take over. Their passwords are random, and known to
//! one run alone.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use portcullis_core::{ApiKeyId, Secret, Span, Timestamp, UserId};
use portcullis_events::Action;
use portcullis_events::Event;
use portcullis_events::audit::{self, Filter};
use portcullis_identity::accounts::{By, Registering};
use portcullis_identity::api_keys::{Grantor, Made, NewKey};
use portcullis_identity::tenants::register::Tenant;
use portcullis_identity::{Email, users};
use serde_json::json;

use super::probe::{Place, Short};
use super::product::{Product, Seen};
use super::rehearsal::Copy;
use super::wire::{Browser, Reply, Target};
use crate::config::Config;
use crate::own;
use crate::verbs::{Stores, now, told};

/// How long a revocation may take to be heard, with room for a slow machine.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// What the probes' keys live for, should nobody revoke them.
const KEY_LIFETIME: Span = Span::from_minutes(15);

/// The origins of pages that open the widget of tenant A, and of tenant B.
pub(crate) const PAGE_A: &str = "https://page-a.prove.test";
pub(crate) const PAGE_B: &str = "https://page-b.prove.test";
pub(crate) const TENANT_A: &str = "prove-a";
pub(crate) const TENANT_B: &str = "prove-b";

/// An account of the probes.
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) password: Secret,
}

/// The accounts of the probes.
pub(crate) struct People {
    /// A member of tenant A with the plainest role.
    pub(crate) plain: Account,
    /// The same in tenant B.
    pub(crate) other: Account,
    /// With the most powerful role, where there is one.
    pub(crate) admin: Option<Account>,
}

/// A gate, its stores, and who is in it.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) target: Target,
    pub(crate) admin: SocketAddr,
    pub(crate) stores: Stores,
    pub(crate) people: People,
    pub(crate) a: Tenant,
    pub(crate) b: Tenant,
    pub(crate) admin_role: Option<String>,
    pub(crate) plain_role: Option<String>,
    /// Of a rehearsal.
    pub(crate) product: Option<Product>,
    pub(crate) copy: Option<Copy>,
    pub(crate) began: Timestamp,
    keys: Mutex<Vec<ApiKeyId>>,
}

impl World {
    /// Puts the probes' accounts and tenants into a gate.
    pub(crate) async fn furnish(
        place: Place,
        target: Target,
        admin: SocketAddr,
        stores: Stores,
    ) -> anyhow::Result<World> {
        let began = now();
        let roles = stores.loaded.config.access.roles();
        let has = |name: &str| roles.contains_key(name).then(|| name.to_owned());
        let powerful = roles.iter().find(|(_, role)| {
            role.permissions
                .iter()
                .any(|name| name == "manage:users" || name == "manage:system")
        });
        let required = &stores.loaded.config.mfa.required_for;
        let admin_role = required
            .iter()
            .flatten()
            .find_map(|name| has(name))
            .or_else(|| has("admin"))
            .or_else(|| powerful.map(|(name, _)| name.clone()));
        let plain_role = has("user").filter(|name| Some(name) != admin_role.as_ref());
        let plain: Vec<String> = plain_role.iter().cloned().collect();
        let people = People {
            plain: account(&stores, "plain", &plain).await?,
            other: account(&stores, "other", &plain).await?,
            admin: match &admin_role {
                None => None,
                Some(role) => Some(account(&stores, "admin", std::slice::from_ref(role)).await?),
            },
        };
        let (a, b) = (
            tenant(&stores, TENANT_A).await?,
            tenant(&stores, TENANT_B).await?,
        );
        let by = By::operator();
        let tenants = &stores.identity.tenants;
        for (tenant, who) in [(&a, &people.plain), (&b, &people.other)] {
            tenants
                .set_roles(tenant.id, who.id, &plain, &by)
                .await
                .context("a member of a tenant")?;
        }
        if stores.loaded.config.visitors.is_some() {
            let visitors = &stores.identity.visitors;
            for (tenant, page) in [(&a, PAGE_A), (&b, PAGE_B)] {
                visitors
                    .set_origins(tenant.id, &[page.to_owned()], &by)
                    .await
                    .context("the origin of a widget")?;
            }
        }
        Ok(World {
            place,
            target,
            admin,
            stores,
            people,
            a,
            b,
            admin_role,
            plain_role,
            product: None,
            copy: None,
            began,
            keys: Mutex::default(),
        })
    }

    /// Switches everything off that [`World::furnish`] and the probes put in. Says what could not be.
    pub(crate) async fn clear(self) -> Vec<String> {
        let by = By::operator();
        let identity = &self.stores.identity;
        let mut left = Vec::new();
        let keys = std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        for key in keys {
            // One that a probe revoked is revoked already.
            if let Err(error) = identity.keys.revoke(key, None, &by).await
                && !matches!(error, portcullis_identity::api_keys::Error::NotFound)
            {
                left.push(format!("API key {key}: {}", told(error)));
            }
        }
        for tenant in [&self.a, &self.b] {
            if let Err(error) = identity.visitors.revoke_all(tenant.id, &by).await {
                left.push(format!("visits of {}: {}", tenant.slug, told(error)));
            }
            if let Err(error) = identity.tenants.suspend(tenant.id, &by).await {
                left.push(format!("tenant {}: {error}", tenant.slug));
            }
        }
        let people = [
            Some(&self.people.plain),
            Some(&self.people.other),
            self.people.admin.as_ref(),
        ];
        for account in people.into_iter().flatten() {
            if let Err(error) = identity.accounts.deactivate(account.id, &by).await {
                left.push(format!("account {}: {}", account.email, told(error)));
            }
        }
        self.stores.close().await;
        left
    }

    pub(crate) fn config(&self) -> &Config {
        &self.stores.loaded.config
    }

    /// A browser in which nobody has signed in.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.target, &self.config().csrf.header)
    }

    /// The name of the session cookie.
    pub(crate) fn session_cookie(&self) -> String {
        self.stores
            .identity
            .sessions
            .settings()
            .cookies
            .name()
            .to_owned()
    }

    pub(crate) async fn try_sign_in(&self, account: &Account) -> anyhow::Result<(Reply, Browser)> {
        let mut browser = self.browser();
        let reply = self.sign_in_at(&mut browser, account).await?;
        Ok((reply, browser))
    }

    /// The same in a browser that may be signed in already.
    pub(crate) async fn sign_in_at(
        &self,
        browser: &mut Browser,
        account: &Account,
    ) -> anyhow::Result<Reply> {
        let body = json!({ "email": account.email, "password": account.password.expose() });
        let reply = browser
            .change("POST", &auth("login"))
            .json(&body)
            .send()
            .await?;
        let token = reply.json();
        let token = token.get("csrf_token").and_then(serde_json::Value::as_str);
        token.unwrap_or_default().clone_into(&mut browser.csrf);
        Ok(reply)
    }

    /// A browser in which this account has signed in.
    pub(crate) async fn signed_in(&self, account: &Account) -> anyhow::Result<Browser> {
        let (reply, browser) = self.try_sign_in(account).await?;
        if reply.status != 200 {
            bail!("the probes' own account cannot sign in: {}", reply.said());
        }
        Ok(browser)
    }

    /// A new API key with these permissions.
    pub(crate) async fn key(
        &self,
        permissions: &[&str],
        tenant: Option<&Tenant>,
    ) -> anyhow::Result<Made> {
        let roles = crate::cli::api_keys::roles(&self.stores)?;
        let new = NewKey {
            name: "portcullis prove".to_owned(),
            permissions: permissions.iter().map(ToString::to_string).collect(),
            tenant: tenant.map(|tenant| tenant.id),
            expires_at: Some(now() + KEY_LIFETIME),
            ..NewKey::default()
        };
        let made = self
            .stores
            .identity
            .keys
            .create(new, &Grantor::Operator(&roles), &By::operator())
            .await
            .map_err(|error| anyhow::anyhow!("an API key: {}", told(error)))?;
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(made.info.id);
        Ok(made)
    }

    /// Whether some role of the policy gives this permission.
    pub(crate) fn gives(&self, permission: &str) -> bool {
        let roles = self.config().access.roles();
        roles
            .values()
            .any(|role| role.permissions.iter().any(|name| name == permission))
    }

    /// Events of this action since the probes began, newest first.
    pub(crate) async fn events(&self, action: Action) -> Result<Vec<Event>, Short> {
        let filter = Filter {
            since: Some(self.began),
            action: Some(action),
            ..Filter::default()
        };
        let page = audit::list(&self.stores.db, &filter, None, 1000).await;
        let page = page.map_err(|error| Short::not_proven(format!("the trail: {error}")))?;
        Ok(page.events)
    }

    /// Asks until `what` is so, for a while. Whether it came to be.
    pub(crate) async fn until(
        &self,
        mut what: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        until(HEARD_WITHIN, &mut what).await
    }

    /// The admin listener's page.
    pub(crate) async fn of_admin(&self, path: &str) -> anyhow::Result<Reply> {
        let host = self.admin.to_string();
        let target = Target::new(self.admin, host, String::new(), super::wire::Addresses::One);
        target.get(path).send().await
    }

    /// One number of the metrics: the sum over its labels.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let page = self.of_admin("/metrics").await?.text();
        let of_it = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let numbers = page.lines().filter(of_it);
        Ok(numbers
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// Everything that the gate of a rehearsal printed.
    pub(crate) fn printed(&self) -> String {
        self.copy.as_ref().map(Copy::printed).unwrap_or_default()
    }

    /// Waits until the log has the line of each of these answers. Lanes write for themselves: the line of the
    /// last one says nothing of those before it.
    pub(crate) async fn logged(&self, replies: &[Reply]) -> Result<String, Short> {
        let ids: Vec<&str> = replies
            .iter()
            .filter_map(|reply| reply.header("x-request-id"))
            .collect();
        let there = self
            .until(async || {
                let printed = self.printed();
                Ok(ids.iter().all(|id| printed.contains(id)))
            })
            .await?;
        if !there || ids.len() < replies.len() {
            return Err(Short::not_proven(
                "the log has no line of some request: is log.access off?",
            ));
        }
        Ok(self.printed())
    }

    pub(crate) fn product(&self) -> Result<&Product, Short> {
        let why = "this probe belongs into a rehearsal";
        self.product.as_ref().ok_or_else(|| Short::not_proven(why))
    }

    /// The newest request for `path` that the product of a rehearsal has seen.
    pub(crate) fn came_through(&self, path: &str) -> Result<Seen, Short> {
        let seen = self.product()?.last(path);
        seen.ok_or_else(|| Short::not_proven("nothing came through"))
    }

    /// Every permission that some role gives, once for each role.
    pub(crate) fn permissions(&self) -> Vec<String> {
        let roles = self.config().access.roles();
        let given = roles.values().flat_map(|role| role.permissions.clone());
        given.collect()
    }

    /// Where the gate's database is; nothing where it names none.
    pub(crate) fn database(&self) -> Option<&Secret> {
        self.stores.loaded.secrets.database.as_ref()
    }
}

/// Asks every 50 milliseconds until `what` is so, or the time is over.
pub(crate) async fn until(
    within: Duration,
    what: &mut impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let began = tokio::time::Instant::now();
    loop {
        if what().await? {
            return Ok(true);
        }
        if began.elapsed() > within {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A sign-in of somebody whom nobody has ever named: no account's backoff refuses it, only a limit may.
pub(crate) fn stranger() -> serde_json::Value {
    let name = uuid::Uuid::new_v4().simple();
    json!({ "email": format!("{name}@prove.invalid"), "password": "a wrong password that is long" })
}

/// A path of the auth API.
pub(crate) fn auth(name: &str) -> String {
    format!("{}/{name}", own::AUTH)
}

/// A path of the gate's own.
pub(crate) fn base(path: &str) -> String {
    format!("{}{path}", own::BASE)
}

/// An account of the probes with this name, made or taken over.
pub(crate) async fn account(
    stores: &Stores,
    name: &str,
    roles: &[String],
) -> anyhow::Result<Account> {
    let email = format!("{name}@prove.invalid");
    let password = crate::demo::one_time_password()?;
    let by = By::operator();
    let accounts = &stores.identity.accounts;
    let said = |error| anyhow::anyhow!("the probes' account {name}@prove.invalid: {}", told(error));
    let known = users::find_by_email(
        &stores.db,
        stores.identity.accounts.addresses(),
        &Email::parse(&email)?,
    )
    .await?;
    let id = match known {
        None => {
            let new = Registering {
                email: &email,
                password: &password,
                display_name: Some("portcullis prove"),
            };
            accounts
                .create(&new, roles, None, &by)
                .await
                .map_err(said)?
                .id
        }
        Some(known) => {
            if known.deactivated_at.is_some() {
                accounts.reactivate(known.id, &by).await.map_err(said)?;
            }
            accounts
                .set_password(known.id, &password, &by)
                .await
                .map_err(said)?;
            accounts
                .set_roles(known.id, roles, &by)
                .await
                .map_err(said)?;
            known.id
        }
    };
    Ok(Account {
        id,
        email,
        password,
    })
}

async fn tenant(stores: &Stores, slug: &str) -> anyhow::Result<Tenant> {
    use portcullis_identity::tenants::Error;
    let (tenants, by) = (&stores.identity.tenants, By::operator());
    match tenants.get(slug).await {
        Ok(known) if known.suspended_at.is_some() => {
            tenants.resume(known.id, &by).await?;
            Ok(known)
        }
        Ok(known) => Ok(known),
        Err(Error::NotFound) => Ok(tenants.create(slug, "portcullis prove", &by).await?),
        Err(error) => Err(error.into()),
    }
}
