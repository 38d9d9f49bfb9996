//! Roles that a tenant makes for itself while the gate runs.
//!
//! Such a role gives permissions that the policy knows, and may inherit roles of the policy. A
//! member bears it as `custom:NAME`, which no role of the policy can be called. Nobody makes a role
//! that gives more than they hold; for a permission that the policy no longer knows, it gives
//! nothing.

use portcullis_core::roles::{CUSTOM, Roles};
use portcullis_core::{TenantId, Timestamp};
use portcullis_events::{Action, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Row, Tx};
use serde::{Deserialize, Serialize};

use super::members::hold;
use super::standing::{From, Held};
use super::{By, Done, Error, Giver, PAGE, Tenants, words};

/// A tenant has no more of them.
const MOST: i64 = 200;

/// What one role gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gives {
    /// Permissions, each `action:scope`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Roles of the policy that it counts as.
    #[serde(default)]
    pub inherits: Vec<String>,
}

/// A tenant's own role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeRole {
    pub name: String,
    #[serde(flatten)]
    pub gives: Gives,
    pub updated_at: Timestamp,
}

impl MadeRole {
    fn read(row: &Row) -> Result<Self, portcullis_store::Error> {
        Ok(MadeRole {
            name: row.text("name")?,
            gives: Gives {
                permissions: words(&row.text("permissions")?),
                inherits: words(&row.text("inherits")?),
            },
            updated_at: row.timestamp("updated_at")?,
        })
    }

    pub(super) fn is_within(&self, held: &Held, policy: &Roles) -> bool {
        self.gives.is_within(held, policy).is_ok()
    }
}

impl Gives {
    /// Or the first thing that is more than what is held.
    fn is_within(&self, held: &Held, policy: &Roles) -> Result<(), Error> {
        let holds = held.grants(policy);
        let permission = self
            .permissions
            .iter()
            .find(|permission| !holds.covers(policy.permissions(&[permission.as_str()])));
        let role = self
            .inherits
            .iter()
            .find(|role| policy.contains(role) && !held.may_give(policy, role));
        match permission.or(role) {
            Some(more) => Err(Error::MoreThanHeld(more.clone())),
            None => Ok(()),
        }
    }

    fn check(&self, policy: &Roles) -> Result<(), Error> {
        if self.permissions.len() > 128 || self.inherits.len() > 32 {
            return Err(Error::TooMany);
        }
        let unknown = |permission: &&String| !policy.contains_permission(permission);
        if let Some(permission) = self.permissions.iter().find(unknown) {
            return Err(Error::UnknownPermission(permission.clone()));
        }
        match self.inherits.iter().find(|role| !policy.contains(role)) {
            Some(role) => Err(Error::UnknownRole(role.clone())),
            None => Ok(()),
        }
    }
}

impl Tenants {
    pub async fn made_roles(&self, tenant: TenantId) -> Result<Vec<MadeRole>, Error> {
        const SQL: &str = "SELECT name, permissions, inherits, updated_at FROM tenant_role WHERE tenant_id = $1 ORDER BY name LIMIT $2";
        let rows = self
            .db
            .fetch_all(SQL, &[tenant.into(), PAGE.into()])
            .await?;
        Ok(rows.iter().map(MadeRole::read).collect::<Result<_, _>>()?)
    }

    /// Makes a role, or changes what it gives. Whoever bears it has that from the next request on.
    pub async fn make_role(
        &self,
        tenant: TenantId,
        name: &str,
        gives: &Gives,
        by: &By,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO tenant_role (tenant_id, name, permissions, inherits, updated_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, name) DO UPDATE SET permissions = excluded.permissions, inherits = excluded.inherits, updated_at = excluded.updated_at";
        const COUNT: &str = "SELECT count(*) AS n FROM tenant_role WHERE tenant_id = $1";
        if !is_role_name(name) {
            return Err(Error::Name);
        }
        let policy = self.sessions.policy().get();
        gives.check(&policy)?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if let Some(held) = maker(&mut tx, tenant, by).await? {
            gives.is_within(&held, &policy)?;
            // What is not theirs to give is not theirs to take from others either.
            if let Some(before) = find(&mut tx, tenant, name).await? {
                before.gives.is_within(&held, &policy)?;
            }
        }
        let count = tx.fetch_optional(COUNT, &[tenant.into()]).await?;
        if count.map_or(Ok(0), |row| row.int("n"))? >= MOST {
            return Err(Error::TooMany);
        }
        let (permissions, inherits) = (gives.permissions.join(" "), gives.inherits.join(" "));
        let args = [
            tenant.into(),
            name.into(),
            (&permissions).into(),
            (&inherits).into(),
            now.into(),
        ];
        tx.execute(SQL, &args).await?;
        let act = Done {
            action: Action::TenantRoleChanged,
            target: Target::named("role", name),
            details: &[("permissions", &permissions), ("inherits", &inherits)],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        self.changed(tx, tenant, now).await
    }

    /// Takes a role away, from whoever bears it too: a later one of the same name is another one.
    pub async fn unmake_role(&self, tenant: TenantId, name: &str, by: &By) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM tenant_role WHERE tenant_id = $1 AND name = $2";
        const BEARERS: &str = "DELETE FROM member_role WHERE tenant_id = $1 AND role = $2";
        const INVITED: &str = "UPDATE invitation SET revoked_at = $3 WHERE tenant_id = $1 AND revoked_at IS NULL AND redeemed_at IS NULL AND ' ' || roles || ' ' LIKE '% ' || $2 || ' %'";
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let made = find(&mut tx, tenant, name).await?.ok_or(Error::NotFound)?;
        if let Some(held) = maker(&mut tx, tenant, by).await? {
            made.gives.is_within(&held, &self.sessions.policy().get())?;
        }
        tx.execute(SQL, &[tenant.into(), name.into()]).await?;
        let role = format!("{CUSTOM}{name}");
        tx.execute(BEARERS, &[tenant.into(), (&role).into()])
            .await?;
        tx.execute(INVITED, &[tenant.into(), (&role).into(), now.into()])
            .await?;
        let act = Done {
            action: Action::TenantRoleDeleted,
            target: Target::named("role", name),
            details: &[],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        self.changed(tx, tenant, now).await
    }

    async fn changed(&self, mut tx: Tx, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
        publish(&mut tx, Revocation::Tenant(tenant), now).await?;
        tx.commit().await?;
        self.heard(Revocation::Tenant(tenant));
        Ok(())
    }
}

/// What whoever makes a role holds; nothing for who may make any.
async fn maker(tx: &mut Tx, tenant: TenantId, by: &By) -> Result<Option<Held>, Error> {
    Ok(match Giver::from(by) {
        Giver::Anything => None,
        Giver::Nothing => Some(Held::default()),
        Giver::Held(user) => {
            hold(tx, tenant, user).await?;
            Some(Held::by(&mut From::Tx(tx), user, tenant).await?)
        }
    })
}

pub(super) async fn find(
    tx: &mut Tx,
    tenant: TenantId,
    name: &str,
) -> Result<Option<MadeRole>, portcullis_store::Error> {
    const SQL: &str = "SELECT name, permissions, inherits, updated_at FROM tenant_role WHERE tenant_id = $1 AND name = $2";
    let row = tx
        .fetch_optional(SQL, &[tenant.into(), name.into()])
        .await?;
    row.map(|row| MadeRole::read(&row)).transpose()
}

fn is_role_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
