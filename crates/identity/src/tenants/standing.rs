//! What somebody holds: everywhere, in one tenant, and for how long.

use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::principal::Standing;
use portcullis_core::roles::{CUSTOM, Grants, Roles};
use portcullis_core::{TenantId, Timestamp, UserId};
use portcullis_store::{Db, Error, Row, Tx, Value};

use super::words;

/// The roles of the policy in force. Before there is one it knows no role, and gives nothing.
#[derive(Debug, Clone, Default)]
pub struct PolicyRoles(Arc<RwLock<Arc<Roles>>>);

impl PolicyRoles {
    pub fn get(&self) -> Arc<Roles> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another policy is in force. Forget every session in memory behind this: what was lent is
    /// compared with it.
    pub fn set(&self, roles: Arc<Roles>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = roles;
    }
}

/// Where rows are read: beside a transaction or in one.
pub(crate) enum From<'a> {
    Db(&'a Db),
    Tx(&'a mut Tx),
}

impl From<'_> {
    async fn all(&mut self, sql: &'static str, args: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        match self {
            From::Db(db) => db.fetch_all(sql, args).await,
            From::Tx(tx) => tx.fetch_all(sql, args).await,
        }
    }
}

/// Everything that somebody holds, with what they were lent left out.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) is_member: bool,
    everywhere: Vec<String>,
    /// Roles in the tenant, with what they inherit where the tenant made them itself.
    pub(crate) roles: Vec<String>,
    /// What the tenant's own roles give.
    pub(crate) permissions: Vec<String>,
}

/// What was lent, and when the first of it ends.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    pub(crate) permissions: Vec<String>,
    pub(crate) until: Option<Timestamp>,
}

impl Held {
    /// Of an active member of the tenant; of anybody else, nothing.
    pub(crate) async fn by(
        from: &mut From<'_>,
        user: UserId,
        tenant: TenantId,
    ) -> Result<Held, Error> {
        const MEMBER: &str = "SELECT m.user_id FROM membership m JOIN users u ON u.id = m.user_id WHERE m.user_id = $1 AND m.tenant_id = $2 AND u.deactivated_at IS NULL";
        if from
            .all(MEMBER, &[user.into(), tenant.into()])
            .await?
            .is_empty()
        {
            return Ok(Held::default());
        }
        let mut held = Held::in_tenant(from, user, tenant).await?;
        held.is_member = true;
        held.everywhere = Held::everywhere(from, user).await?;
        Ok(held)
    }

    /// The roles that a person holds in every tenant, and for the gate itself.
    pub(crate) async fn everywhere(
        from: &mut From<'_>,
        user: UserId,
    ) -> Result<Vec<String>, Error> {
        const SQL: &str = "SELECT role FROM user_role WHERE user_id = $1 ORDER BY role";
        let rows = from.all(SQL, &[user.into()]).await?;
        rows.iter().map(|row| row.text("role")).collect()
    }

    async fn in_tenant(from: &mut From<'_>, user: UserId, tenant: TenantId) -> Result<Held, Error> {
        const ROLES: &str =
            "SELECT role FROM member_role WHERE user_id = $1 AND tenant_id = $2 ORDER BY role";
        const MADE: &str = "SELECT t.permissions, t.inherits FROM tenant_role t JOIN member_role m ON m.tenant_id = t.tenant_id AND m.role = 'custom:' || t.name WHERE m.user_id = $1 AND m.tenant_id = $2 ORDER BY t.name";
        let args = [user.into(), tenant.into()];
        let mut held = Held::default();
        for row in from.all(ROLES, &args).await? {
            held.roles.push(row.text("role")?);
        }
        if held.roles.iter().any(|role| role.starts_with(CUSTOM)) {
            for row in from.all(MADE, &args).await? {
                add(&mut held.roles, words(&row.text("inherits")?));
                add(&mut held.permissions, words(&row.text("permissions")?));
            }
        }
        Ok(held)
    }

    /// What it amounts to.
    pub(crate) fn grants(&self, roles: &Roles) -> Grants {
        roles
            .resolve(&self.everywhere)
            .and(roles.resolve(&self.roles))
            .and(roles.permissions(&self.permissions))
    }

    /// Whether they may give `role` of the policy to others.
    pub(crate) fn may_give(&self, roles: &Roles, role: &str) -> bool {
        let names: Vec<&String> = self.everywhere.iter().chain(&self.roles).collect();
        roles.may_give(&names, self.grants(roles), role)
    }
}

impl Lent {
    /// What of the permissions that were lent to `user` still counts: its time is not over, and
    /// whoever lent it still holds it.
    ///
    /// SECURITY: looked at each time, so that nothing has to be found and taken back when the
    /// lender loses a role, leaves, or is switched off.
    pub(crate) async fn to(
        from: &mut From<'_>,
        roles: &Roles,
        user: UserId,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<Lent, Error> {
        const SQL: &str = "SELECT permission, granted_by, expires_at FROM delegation WHERE user_id = $1 AND tenant_id = $2 AND revoked_at IS NULL AND expires_at > $3 ORDER BY granted_by, permission";
        let mut lent = Lent::default();
        let mut lender: Option<(UserId, Grants)> = None;
        for row in from
            .all(SQL, &[user.into(), tenant.into(), now.into()])
            .await?
        {
            let by = row.user_id("granted_by")?;
            let holds = match lender {
                Some((known, holds)) if known == by => holds,
                Some(_) | None => {
                    let holds = Held::by(from, by, tenant).await?.grants(roles);
                    lender = Some((by, holds));
                    holds
                }
            };
            let permission = row.text("permission")?;
            if roles.contains_permission(&permission)
                && holds.covers(roles.permissions(&[permission.as_str()]))
            {
                add(&mut lent.permissions, vec![permission]);
                let end = row.timestamp("expires_at")?;
                lent.until = Some(lent.until.map_or(end, |until| until.min(end)));
            }
        }
        Ok(lent)
    }
}

/// A member's standing in the tenant, and when something of it ends by itself.
pub(crate) async fn standing(
    db: &Db,
    roles: &Roles,
    user: UserId,
    tenant: TenantId,
    now: Timestamp,
) -> Result<(Arc<Standing>, Option<Timestamp>), Error> {
    let from = &mut From::Db(db);
    let held = Held::in_tenant(from, user, tenant).await?;
    let lent = Lent::to(from, roles, user, tenant, now).await?;
    let mut permissions = held.permissions;
    add(&mut permissions, lent.permissions);
    let standing = Standing {
        roles: held.roles.into_iter().map(Arc::from).collect(),
        permissions: permissions.into_iter().map(Arc::from).collect(),
    };
    Ok((Arc::new(standing), lent.until))
}

fn add(to: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}
