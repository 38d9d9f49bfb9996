//! Which tenant the people of a row come from.
//!
//! One that is not there refuses the row, unless the run was told to make tenants: a word that was
//! written wrong makes no customer.

use portcullis_core::{TenantId, Timestamp, UserId, binding};
use portcullis_events::{Action, Target};
use portcullis_store::Tx;

use super::users::Plan;
use super::{Error, event};
use crate::accounts::By;
use crate::record::Record;
use crate::tenants::members;

/// The tenant that the product calls `old`, or why there is none.
pub(super) async fn find(
    tx: &mut Tx,
    recorded: (&Record, &By),
    plan: &Plan,
    old: &str,
    now: Timestamp,
) -> Result<Result<TenantId, String>, Error> {
    const BY_SLUG: &str = "SELECT id FROM tenant WHERE slug = $1";
    const BY_ID: &str = "SELECT id FROM tenant WHERE id = $1";
    let mapped = plan.tenant_map.iter().find(|(from, _)| from == old);
    let name = mapped.map_or(old, |(_, to)| to.as_str());
    let id = name.parse::<TenantId>().ok();
    let slug = match id {
        // Two ids never make the same short name.
        Some(id) => format!("t-{}", id.as_uuid().simple()),
        None => name.to_owned(),
    };
    let row = match id {
        Some(id) => tx.fetch_optional(BY_ID, &[id.into()]).await?,
        None => tx.fetch_optional(BY_SLUG, &[name.into()]).await?,
    };
    if let Some(row) = row {
        return Ok(Ok(TenantId::from_uuid(row.uuid("id")?)));
    }
    if !plan.make_tenants {
        return Ok(Err(format!(
            "there is no tenant `{name}` (`tenant_id`): make it (`portcullis tenants create`), name the one that it is with --map-tenant {old}=TENANT, or let the import make tenants with --make-tenants"
        )));
    }
    if !binding::is_slug(&slug) {
        return Ok(Err(format!(
            "`tenant_id` makes no short name (2 to 63 lower-case letters, digits and inner `-`): give it one with --map-tenant {old}=TENANT"
        )));
    }
    make(tx, recorded, (id, &slug, old), now).await
}

async fn make(
    tx: &mut Tx,
    recorded: (&Record, &By),
    (id, slug, name): (Option<TenantId>, &str, &str),
    now: Timestamp,
) -> Result<Result<TenantId, String>, Error> {
    const SQL: &str = "INSERT INTO tenant (id, slug, name, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let id = id.unwrap_or_else(TenantId::new);
    let args = [id.into(), slug.into(), name.into(), now.into()];
    if tx.execute(SQL, &args).await? == 0 {
        return Ok(Err(format!(
            "the short name `{slug}` is taken (`tenant_id`)"
        )));
    }
    let event = event(Action::TenantCreated, recorded.1, now)
        .to(Target::named("tenant", slug))
        .tenant(Some(id));
    recorded.0.trail().record_in(tx, event).await?;
    Ok(Ok(id))
}

/// Makes somebody a member with these roles there. Without it they would have a tenant by name, and
/// work in none.
pub(super) async fn enter(
    tx: &mut Tx,
    recorded: (&Record, &By),
    (tenant, user): (TenantId, UserId),
    roles: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    members::join(tx, tenant, user, now).await?;
    members::replace_roles(tx, tenant, user, roles).await?;
    let event = event(Action::MemberAdded, recorded.1, now)
        .to(Target::user(user))
        .tenant(Some(tenant))
        .with("roles", roles.join(" "));
    recorded.0.trail().record_in(tx, event).await?;
    Ok(())
}
