//! Who belongs to a tenant, and with which roles.

use portcullis_core::roles::CUSTOM;
use portcullis_core::{TenantId, Timestamp, UserId};
use portcullis_events::{Action, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Row, Tx};
use serde::Serialize;

use super::register::Tenant;
use super::standing::{From, Held};
use super::{By, Done, Error, Giver, PAGE, Tenants, delegations, made_roles, person};
use crate::{addresses, users};

/// More members than this are not listed at once, and no member has more roles.
const MOST_ROLES: usize = 32;

/// A member as administrators of the tenant see one.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    pub user_id: UserId,
    pub email: String,
    pub display_name: Option<String>,
    pub roles: Vec<String>,
    pub joined_at: Timestamp,
    pub active: bool,
}

/// A tenant as one of its members sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Membership {
    #[serde(flatten)]
    pub tenant: Tenant,
    pub roles: Vec<String>,
}

impl Tenants {
    /// The members of a tenant, by their ids, from the first behind `after`.
    pub async fn members(
        &self,
        tenant: TenantId,
        after: Option<UserId>,
    ) -> Result<Vec<Member>, Error> {
        const SQL: &str = "SELECT u.id, u.email_canonical, u.email, u.display_name, u.deactivated_at, m.created_at, r.role FROM membership m JOIN users u ON u.id = m.user_id LEFT JOIN member_role r ON r.user_id = m.user_id AND r.tenant_id = m.tenant_id WHERE m.tenant_id = $1 AND m.user_id IN (SELECT user_id FROM membership WHERE tenant_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3) ORDER BY u.id, r.role";
        let after = after.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
        let args = [tenant.into(), after.into(), PAGE.into()];
        let mut members: Vec<Member> = Vec::new();
        for row in self.db.fetch_all(SQL, &args).await? {
            let id = row.user_id("id")?;
            if members.last().is_none_or(|member| member.user_id != id) {
                members.push(self.read_member(&row, id).await?);
            }
            if let Some(member) = members.last_mut() {
                member.roles.extend(row.opt_text("role")?);
            }
        }
        Ok(members)
    }

    /// One member of a tenant.
    pub async fn member(&self, tenant: TenantId, user: UserId) -> Result<Member, Error> {
        const SQL: &str = "SELECT u.id, u.email_canonical, u.email, u.display_name, u.deactivated_at, m.created_at, r.role FROM membership m JOIN users u ON u.id = m.user_id LEFT JOIN member_role r ON r.user_id = m.user_id AND r.tenant_id = m.tenant_id WHERE m.tenant_id = $1 AND m.user_id = $2 ORDER BY r.role";
        let rows = self
            .db
            .fetch_all(SQL, &[tenant.into(), user.into()])
            .await?;
        let first = rows.first().ok_or(Error::NotFound)?;
        let mut member = self.read_member(first, user).await?;
        for row in &rows {
            member.roles.extend(row.opt_text("role")?);
        }
        Ok(member)
    }

    async fn read_member(&self, row: &Row, id: UserId) -> Result<Member, Error> {
        Ok(Member {
            user_id: id,
            email: self.shown(row, ("email_canonical", "email"), id).await?,
            display_name: row.opt_text("display_name")?,
            roles: Vec::new(),
            joined_at: row.timestamp("created_at")?,
            active: row.opt_timestamp("deactivated_at")?.is_none(),
        })
    }

    /// The address of an account, from a row that has its name and what is kept of it in these columns.
    pub(super) async fn shown(
        &self,
        row: &Row,
        (name, kept): (&str, &str),
        user: UserId,
    ) -> Result<String, Error> {
        let (name, kept) = (row.text(name)?, row.text(kept)?);
        let id = user.to_string();
        let addresses = self.sessions.addresses();
        let read = addresses.read_named(users::TABLE, &id, &name, kept).await;
        Ok(addresses::or_damaged(read)?)
    }

    /// The tenants that somebody is a member of.
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, Error> {
        const SQL: &str = "SELECT t.id, t.slug, t.name, t.created_at, t.suspended_at, r.role FROM membership m JOIN tenant t ON t.id = m.tenant_id LEFT JOIN member_role r ON r.user_id = m.user_id AND r.tenant_id = m.tenant_id WHERE m.user_id = $1 ORDER BY t.slug, r.role LIMIT $2";
        let mut list: Vec<Membership> = Vec::new();
        for row in self.db.fetch_all(SQL, &[user.into(), PAGE.into()]).await? {
            let tenant = Tenant::read(&row)?;
            if list.last().is_none_or(|known| known.tenant.id != tenant.id) {
                let roles = Vec::new();
                list.push(Membership { tenant, roles });
            }
            if let Some(membership) = list.last_mut() {
                membership.roles.extend(row.opt_text("role")?);
            }
        }
        Ok(list)
    }

    /// Gives a member exactly these roles, and makes a member of whoever is none, which only an
    /// operator may. What the giver does not hold cannot be given, nor taken from whoever has it.
    pub async fn set_roles(
        &self,
        tenant: TenantId,
        user: UserId,
        roles: &[String],
        by: &By,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let is_new = match Giver::from(by) {
            Giver::Anything => join(&mut tx, tenant, user, now).await?,
            Giver::Held(_) | Giver::Nothing => false,
        };
        // Held to the end, so that what two givers see is what is there.
        if !hold(&mut tx, tenant, user).await? {
            return Err(Error::NotFound);
        }
        let before = roles_of(&mut tx, tenant, user).await?;
        let changed: Vec<String> = before
            .iter()
            .filter(|role| !roles.contains(role) && self.is_known(role))
            .chain(roles.iter().filter(|role| !before.contains(role)))
            .cloned()
            .collect();
        self.check_giving(&mut tx, tenant, &changed, by.into())
            .await?;
        replace_roles(&mut tx, tenant, user, roles).await?;
        let act = Done {
            action: if is_new {
                Action::MemberAdded
            } else {
                Action::MemberUpdated
            },
            target: Target::user(user),
            details: &[("roles", &roles.join(" "))],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        self.reach(tx, tenant, user, now).await
    }

    /// Ends a membership, and what was given with it.
    pub async fn remove(&self, tenant: TenantId, user: UserId, by: &By) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM membership WHERE tenant_id = $1 AND user_id = $2";
        const HOME: &str = "UPDATE users SET tenant_id = NULL WHERE id = $2 AND tenant_id = $1";
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if !hold(&mut tx, tenant, user).await? {
            return Err(Error::NotFound);
        }
        // Everybody may leave.
        if person(by) != Some(user) {
            let mut roles = roles_of(&mut tx, tenant, user).await?;
            roles.retain(|role| self.is_known(role));
            self.check_giving(&mut tx, tenant, &roles, by.into())
                .await?;
        }
        delegations::end_all(&mut tx, tenant, user, now).await?;
        tx.execute(SQL, &[tenant.into(), user.into()]).await?;
        tx.execute(HOME, &[tenant.into(), user.into()]).await?;
        let act = Done {
            action: Action::MemberRemoved,
            target: Target::user(user),
            details: &[],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        self.reach(tx, tenant, user, now).await
    }

    /// Whether whoever acts may give these roles: each is known, and none is more than they hold.
    pub(super) async fn check_giving(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        roles: &[String],
        giver: Giver,
    ) -> Result<(), Error> {
        if roles.len() > MOST_ROLES {
            return Err(Error::TooMany);
        }
        let policy = self.sessions.policy().get();
        let held = match giver {
            Giver::Anything => None,
            Giver::Nothing => Some(Held::default()),
            Giver::Held(user) => {
                hold(tx, tenant, user).await?;
                Some(Held::by(&mut From::Tx(tx), user, tenant).await?)
            }
        };
        for role in roles {
            let may = match role.strip_prefix(CUSTOM) {
                Some(name) => {
                    let made = made_roles::find(tx, tenant, name)
                        .await?
                        .ok_or_else(|| Error::UnknownRole(role.clone()))?;
                    held.as_ref()
                        .is_none_or(|held| made.is_within(held, &policy))
                }
                None if !policy.contains(role) => return Err(Error::UnknownRole(role.clone())),
                None => held
                    .as_ref()
                    .is_none_or(|held| held.may_give(&policy, role)),
            };
            if !may {
                return Err(Error::MoreThanHeld(role.clone()));
            }
        }
        Ok(())
    }

    /// A role that the policy has forgotten gives nothing, so that anybody may take it away.
    fn is_known(&self, role: &str) -> bool {
        role.starts_with(CUSTOM) || self.sessions.policy().get().contains(role)
    }

    /// Commits what changed about a member, and lets every node know: of the member, and of whom
    /// the member lent something to.
    async fn reach(
        &self,
        mut tx: Tx,
        tenant: TenantId,
        user: UserId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut concerned = delegations::borrowers(&mut tx, user, now).await?;
        concerned.push(user);
        for user in &concerned {
            publish(&mut tx, Revocation::User(*user), now).await?;
        }
        tx.commit().await?;
        tracing::debug!(tenant.id = %tenant, users = concerned.len(), "members changed");
        for user in concerned {
            self.heard(Revocation::User(user));
        }
        Ok(())
    }
}

/// Makes a member; whether they were none. New sessions of whoever had no tenant begin in this one.
pub(crate) async fn join(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
    now: Timestamp,
) -> Result<bool, portcullis_store::Error> {
    const SQL: &str = "INSERT INTO membership (user_id, tenant_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    const HOME: &str = "UPDATE users SET tenant_id = $2 WHERE id = $1 AND tenant_id IS NULL";
    let is_new = tx
        .execute(SQL, &[user.into(), tenant.into(), now.into()])
        .await?
        == 1;
    if is_new {
        tx.execute(HOME, &[user.into(), tenant.into()]).await?;
    }
    Ok(is_new)
}

/// Takes hold of a membership for the rest of the transaction. Whether there is one.
pub(super) async fn hold(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
) -> Result<bool, portcullis_store::Error> {
    const SQL: &str =
        "UPDATE membership SET created_at = created_at WHERE tenant_id = $1 AND user_id = $2";
    Ok(tx.execute(SQL, &[tenant.into(), user.into()]).await? == 1)
}

async fn roles_of(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
) -> Result<Vec<String>, portcullis_store::Error> {
    const SQL: &str = "SELECT role FROM member_role WHERE tenant_id = $1 AND user_id = $2";
    let rows = tx.fetch_all(SQL, &[tenant.into(), user.into()]).await?;
    rows.iter().map(|row| row.text("role")).collect()
}

pub(crate) async fn replace_roles(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
    roles: &[String],
) -> Result<(), portcullis_store::Error> {
    const CLEAR: &str = "DELETE FROM member_role WHERE tenant_id = $1 AND user_id = $2";
    const ADD: &str = "INSERT INTO member_role (tenant_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.execute(CLEAR, &[tenant.into(), user.into()]).await?;
    for role in roles {
        tx.execute(ADD, &[tenant.into(), user.into(), role.into()])
            .await?;
    }
    Ok(())
}
