//! `portcullis tenants`, `roles` and `grants`: tenants, their members, and what these may.

use portcullis_core::TenantId;
use portcullis_identity::accounts::By;
use portcullis_identity::tenants::invitations::Written;
use portcullis_identity::tenants::made_roles::Gives;
use portcullis_identity::tenants::register::Tenant;
use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::cli::{Page, Usage};
use crate::verbs::{Stores, find, told};

/// `portcullis tenants`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tenants {
    /// Make a tenant. Its short name can stand in paths, hosts and headers, and is never given twice.
    Create {
        /// The short name, such as `acme`.
        #[arg(value_name = "TENANT")]
        slug: String,
        /// The name that people read. Default: the short name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Invite the first member by this e-mail address. Prints the invitation's token.
        #[arg(long, value_name = "ADDRESS")]
        invite: Option<String>,
        /// A role for the first member; may be given several times.
        #[arg(long = "role", value_name = "ROLE", requires = "invite")]
        roles: Vec<String>,
    },
    /// Show the tenants by their short names, up to a thousand.
    List {
        /// Go on behind this one.
        #[arg(long, value_name = "TENANT", default_value = "")]
        after: String,
    },
    /// Suspend a tenant: nobody reaches the product from it, from the next request on.
    Suspend {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// End a tenant's suspension.
    Resume {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// Show the members of a tenant with their roles.
    Members {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// Give an account exactly these roles in a tenant, and make it a member if it is none.
    SetRoles {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
        /// Roles of the policy, or `custom:NAME` for the tenant's own.
        #[arg(value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// End a membership.
    Remove {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// Invite somebody by e-mail address. Prints the token, once: hand it to that person.
    Invite {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The address of the account that may use it.
        #[arg(value_name = "ADDRESS")]
        email: String,
        /// A role to have; may be given several times.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    #[command(flatten)]
    Invitations(Invitations),
}

/// `portcullis tenants invitations` and `uninvite`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Invitations {
    /// Show the open invitations of a tenant, newest first.
    Invitations {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        #[command(flatten)]
        page: Page,
    },
    /// Revoke an invitation: its token makes nobody a member any more.
    Uninvite {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The invitation, as `tenants invitations` shows it.
        #[arg(value_name = "INVITATION")]
        invitation: uuid::Uuid,
    },
}

/// `portcullis roles`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Roles {
    /// Show the roles that a tenant made for itself.
    List {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// Make a role of a tenant, or change what it gives. Members bear it as `custom:NAME`.
    Make {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The role's name, such as `auditor`.
        #[arg(value_name = "NAME")]
        name: String,
        /// A permission of the policy that it gives, such as `read:all`; may be given several times.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// A role of the policy that it counts as; may be given several times.
        #[arg(long = "inherits", value_name = "ROLE")]
        inherits: Vec<String>,
    },
    /// Take a role of a tenant away, from whoever bears it too.
    Delete {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The role's name.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `portcullis grants`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Grants {
    /// Show what members of a tenant lend to each other, newest first.
    List {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        #[command(flatten)]
        page: Page,
    },
    /// Take back what was lent.
    TakeBack {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The grant, as `grants list` shows it.
        #[arg(value_name = "GRANT")]
        grant: uuid::Uuid,
    },
}

/// A tenant that was made.
#[derive(Serialize)]
struct Made {
    id: TenantId,
    slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<Invited>,
}

/// An invitation, shown this once.
#[derive(Serialize)]
struct Invited {
    email: String,
    token: String,
    expires_at: String,
}

impl From<Written> for Invited {
    fn from(written: Written) -> Self {
        Invited {
            email: written.invitation.email,
            token: written.token.expose().clone(),
            expires_at: written.invitation.expires_at.to_string(),
        }
    }
}

impl std::fmt::Display for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "invited {} until {}\ntoken, shown this once: {}",
            self.email, self.expires_at, self.token
        )
    }
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "made {} ({})", self.slug, self.id)?;
        match &self.invitation {
            Some(token) => write!(f, "\n{token}"),
            None => Ok(()),
        }
    }
}

/// Rows for people, or the same as JSON.
fn rows<T: Serialize>(format: Format, list: &[T], line: impl Fn(&T) -> String) {
    match format {
        Format::Json => output::json(&list),
        Format::Text => {
            for row in list {
                output::line(line(row));
            }
        }
    }
}

fn failed(what: &str) -> impl Fn(portcullis_identity::tenants::Error) -> anyhow::Error {
    move |error| anyhow::anyhow!("{what}: {}", told(error))
}

pub(crate) async fn named(stores: &Stores, name: &str) -> anyhow::Result<TenantId> {
    use portcullis_identity::tenants::Error;
    match stores.identity.tenants.get(name).await {
        Ok(tenant) => Ok(tenant.id),
        Err(Error::NotFound) => Err(Usage::error(format!(
            "there is no tenant `{name}`: `portcullis tenants list` shows those there are"
        ))),
        Err(error) => Err(failed(name)(error)),
    }
}

/// The same where an id is enough, also of a tenant that is not here (any more).
pub(crate) async fn named_if_any(
    stores: &Stores,
    name: Option<&str>,
) -> anyhow::Result<Option<TenantId>> {
    match name.map(|name| (name, name.parse::<uuid::Uuid>())) {
        None => Ok(None),
        Some((_, Ok(id))) => Ok(Some(TenantId::from_uuid(id))),
        Some((name, Err(_))) => named(stores, name).await.map(Some),
    }
}

fn tenant_row(tenant: &Tenant) -> String {
    let state = if tenant.suspended_at.is_some() {
        "suspended"
    } else {
        "active"
    };
    format!(
        "{}  {state:<9}  {}  {}",
        tenant.id, tenant.slug, tenant.name
    )
}

pub(crate) async fn tenants(
    format: Format,
    verb: &Tenants,
    stores: &Stores,
) -> anyhow::Result<bool> {
    let (tenants, by) = (&stores.identity.tenants, By::operator());
    match verb {
        Tenants::Create {
            slug,
            name,
            invite,
            roles,
        } => {
            let name = name.as_deref().unwrap_or(slug);
            let made = tenants
                .create(slug, name, &by)
                .await
                .map_err(failed(slug))?;
            let invitation = match invite {
                None => None,
                Some(email) => {
                    let written = tenants.invite(made.id, email, roles, &by).await;
                    Some(written.map_err(failed(email))?.into())
                }
            };
            let (id, slug) = (made.id, made.slug);
            output::answer(
                format,
                &Made {
                    id,
                    slug,
                    invitation,
                },
            );
        }
        Tenants::List { after } => {
            let list = tenants.list(after).await.map_err(failed("tenants"))?;
            rows(format, &list, tenant_row);
        }
        Tenants::Suspend { tenant } => {
            let id = named(stores, tenant).await?;
            tenants.suspend(id, &by).await.map_err(failed(tenant))?;
            output::aside(format_args!(
                "{tenant} is suspended from the next request on"
            ));
        }
        Tenants::Resume { tenant } => {
            let id = named(stores, tenant).await?;
            tenants.resume(id, &by).await.map_err(failed(tenant))?;
            output::aside(format_args!("{tenant} is not suspended any more"));
        }
        Tenants::Members { tenant } => {
            let id = named(stores, tenant).await?;
            let list = tenants.members(id, None).await.map_err(failed(tenant))?;
            rows(format, &list, |member| {
                format!(
                    "{}  {}  [{}]",
                    member.user_id,
                    member.email,
                    member.roles.join(", ")
                )
            });
        }
        Tenants::SetRoles {
            tenant,
            user,
            roles,
        } => {
            let (id, account) = (named(stores, tenant).await?, find(stores, user).await?);
            tenants
                .set_roles(id, account, roles, &by)
                .await
                .map_err(failed(user))?;
            output::aside(format_args!(
                "{user} holds [{}] in {tenant} from the next request on",
                roles.join(", ")
            ));
        }
        Tenants::Remove { tenant, user } => {
            let (id, account) = (named(stores, tenant).await?, find(stores, user).await?);
            tenants
                .remove(id, account, &by)
                .await
                .map_err(failed(user))?;
            output::aside(format_args!("{user} is no member of {tenant} any more"));
        }
        Tenants::Invite {
            tenant,
            email,
            roles,
        } => {
            let id = named(stores, tenant).await?;
            let written = tenants.invite(id, email, roles, &by).await;
            output::answer(format, &Invited::from(written.map_err(failed(email))?));
        }
        Tenants::Invitations(verb) => invitations(format, verb, stores).await?,
    }
    Ok(true)
}

async fn invitations(format: Format, verb: &Invitations, stores: &Stores) -> anyhow::Result<()> {
    let (tenants, by) = (&stores.identity.tenants, By::operator());
    match verb {
        Invitations::Invitations { tenant, page } => {
            let id = named(stores, tenant).await?;
            let list = tenants.invitations(id, page.after, page.limit()).await;
            let list = Page::there(list.map_err(failed(tenant))?)?;
            rows(format, &list, |one| {
                let (id, email, roles) = (one.id, &one.email, one.roles.join(", "));
                format!("{id}  {email}  [{roles}]  until {}", one.expires_at)
            });
        }
        Invitations::Uninvite { tenant, invitation } => {
            let id = named(stores, tenant).await?;
            let revoked = tenants.uninvite(id, *invitation, &by).await;
            revoked.map_err(failed(tenant))?;
            output::aside("the invitation is revoked");
        }
    }
    Ok(())
}

pub(crate) async fn roles(format: Format, verb: &Roles, stores: &Stores) -> anyhow::Result<bool> {
    let (tenants, by) = (&stores.identity.tenants, By::operator());
    match verb {
        Roles::List { tenant } => {
            let id = named(stores, tenant).await?;
            let list = tenants.made_roles(id).await.map_err(failed(tenant))?;
            rows(format, &list, |role| {
                let (gives, inherits) = (&role.gives.permissions, &role.gives.inherits);
                format!(
                    "custom:{}  [{}]  inherits [{}]",
                    role.name,
                    gives.join(", "),
                    inherits.join(", ")
                )
            });
        }
        Roles::Make {
            tenant,
            name,
            permissions,
            inherits,
        } => {
            let id = named(stores, tenant).await?;
            let gives = Gives {
                permissions: permissions.clone(),
                inherits: inherits.clone(),
            };
            tenants
                .make_role(id, name, &gives, &by)
                .await
                .map_err(failed(name))?;
            output::aside(format_args!(
                "custom:{name} of {tenant} gives [{}] from the next request on",
                permissions.join(", ")
            ));
        }
        Roles::Delete { tenant, name } => {
            let id = named(stores, tenant).await?;
            tenants
                .unmake_role(id, name, &by)
                .await
                .map_err(failed(name))?;
            output::aside(format_args!("custom:{name} of {tenant} is gone"));
        }
    }
    Ok(true)
}

pub(crate) async fn grants(format: Format, verb: &Grants, stores: &Stores) -> anyhow::Result<bool> {
    let tenants = &stores.identity.tenants;
    match verb {
        Grants::List { tenant, page } => {
            let id = named(stores, tenant).await?;
            let list = tenants.delegations(id, page.after, page.limit()).await;
            let list = Page::there(list.map_err(failed(tenant))?)?;
            rows(format, &list, |lent| {
                format!(
                    "{}  {} to {} by {} until {}",
                    lent.id, lent.permission, lent.user_id, lent.granted_by, lent.expires_at
                )
            });
        }
        Grants::TakeBack { tenant, grant } => {
            let id = named(stores, tenant).await?;
            tenants
                .take_back(id, *grant, &By::operator())
                .await
                .map_err(failed(tenant))?;
            output::aside("taken back, from the next request on");
        }
    }
    Ok(true)
}
