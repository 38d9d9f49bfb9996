//! `portcullis keys`: the keys of programs.

use std::fmt;
use std::sync::Arc;

use clap::Subcommand;
use portcullis_core::limit::Rate;
use portcullis_core::roles::Roles;
use portcullis_core::{ApiKeyId, Span, TenantId, Timestamp};
use portcullis_identity::accounts::By;
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
        /// The tenant that it belongs to: short name or id.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
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
            check_permissions(permissions, stores)?;
            let user = match user {
                Some(who) => Some(find(stores, who).await?),
                None => None,
            };
            let tenant = crate::tenants::named_if_any(stores, tenant.as_deref()).await?;
            let new = NewKey {
                name: name.clone(),
                permissions: permissions.clone(),
                routes: (!routes.is_empty()).then(|| routes.clone()),
                rate: *rate,
                tenant,
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

pub(crate) fn roles(stores: &Stores) -> anyhow::Result<Arc<Roles>> {
    Roles::compile(&stores.loaded.config.access.roles())
        .map(Arc::new)
        .map_err(|_| Usage::error("the roles have errors: `portcullis check` names them"))
}

/// Refuses permissions that no role gives.
pub(crate) fn check_permissions(permissions: &[String], stores: &Stores) -> anyhow::Result<()> {
    let roles = roles(stores)?;
    let grantor = Grantor::Operator(&roles);
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
