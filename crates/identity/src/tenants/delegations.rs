//! Permissions that one member lends to another, for a time.
//!
//! Only what the lender holds by a role can be lent, so nothing is lent on. It counts while the
//! lender holds it: see [`super::standing`].

use portcullis_core::{Span, TenantId, Timestamp, UserId};
use portcullis_events::{Action, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Row, Tx};
use serde::Serialize;
use uuid::Uuid;

use super::members::hold;
use super::standing::{From, Held};
use super::{By, Done, Error, Tenants, person};
use crate::paging;

/// The longest and the shortest time that something can be lent for.
const LONGEST: Span = Span::from_days(30);
const SHORTEST: Span = Span::from_minutes(1);
/// Nobody is lent more at one time.
const MOST: i64 = 100;

/// One permission that was lent.
#[derive(Debug, Clone, Serialize)]
pub struct Delegation {
    pub id: Uuid,
    pub user_id: UserId,
    pub permission: String,
    pub granted_by: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Delegation {
    fn read(row: &Row) -> Result<Self, portcullis_store::Error> {
        Ok(Delegation {
            id: row.uuid("id")?,
            user_id: row.user_id("user_id")?,
            permission: row.text("permission")?,
            granted_by: row.user_id("granted_by")?,
            created_at: row.timestamp("created_at")?,
            expires_at: row.timestamp("expires_at")?,
        })
    }
}

/// A permission that was lent, with the addresses of both.
#[derive(Debug)]
pub(crate) struct Lending {
    pub(crate) lent: Delegation,
    pub(crate) borrower: String,
    pub(crate) lender: String,
}

impl Tenants {
    /// What is lent at present, newest first, at most `limit` from the first behind `after`. Nothing
    /// where there is no such row.
    pub async fn delegations(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Delegation>>, Error> {
        const ROW: &str = "SELECT created_at FROM delegation WHERE id = $1 AND tenant_id = $2";
        const SQL: &str = "SELECT id, user_id, permission, granted_by, created_at, expires_at FROM delegation WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5";
        let now = self.clock.now();
        let page = (after, limit);
        let rows = paging::open(&self.db, (ROW, SQL), (tenant, now), page).await?;
        let Some(rows) = rows else { return Ok(None) };
        let list = rows
            .iter()
            .map(Delegation::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(list))
    }

    /// What is lent at present with the addresses of both, newest first, at most `limit` without the
    /// first `skipped`.
    pub(crate) async fn lendings(
        &self,
        tenant: TenantId,
        skipped: u32,
        limit: u32,
    ) -> Result<Vec<Lending>, Error> {
        const SQL: &str = "SELECT d.id, d.user_id, d.permission, d.granted_by, d.created_at, d.expires_at, borrower.email_canonical AS borrower_name, borrower.email AS borrower, lender.email_canonical AS lender_name, lender.email AS lender FROM delegation d JOIN users borrower ON borrower.id = d.user_id JOIN users lender ON lender.id = d.granted_by WHERE d.tenant_id = $1 AND d.revoked_at IS NULL AND d.expires_at > $2 ORDER BY d.created_at DESC, d.id DESC LIMIT $3 OFFSET $4";
        let now = self.clock.now();
        let args = [tenant.into(), now.into(), limit.into(), skipped.into()];
        let mut list = Vec::new();
        for row in self.db.fetch_all(SQL, &args).await? {
            let lent = Delegation::read(&row)?;
            let borrower = ("borrower_name", "borrower");
            let lender = ("lender_name", "lender");
            list.push(Lending {
                borrower: self.shown(&row, borrower, lent.user_id).await?,
                lender: self.shown(&row, lender, lent.granted_by).await?,
                lent,
            });
        }
        Ok(list)
    }

    /// Lends a permission to another member of the tenant.
    pub async fn lend(
        &self,
        tenant: TenantId,
        to: UserId,
        permission: &str,
        time: Span,
        by: &By,
    ) -> Result<Delegation, Error> {
        const SQL: &str = "INSERT INTO delegation (id, tenant_id, user_id, permission, granted_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        const COUNT: &str = "SELECT count(*) AS n FROM delegation WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3";
        if !(SHORTEST..=LONGEST).contains(&time) {
            return Err(Error::Lifetime);
        }
        let policy = self.sessions.policy().get();
        if !policy.contains_permission(permission) {
            return Err(Error::UnknownPermission(permission.to_owned()));
        }
        // What is lent falls with the lender: somebody has to be that.
        let lender = person(by).ok_or_else(|| Error::MoreThanHeld(permission.to_owned()))?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        hold(&mut tx, tenant, lender).await?;
        let holds = Held::by(&mut From::Tx(&mut tx), lender, tenant)
            .await?
            .grants(&policy);
        if !holds.covers(policy.permissions(&[permission])) {
            return Err(Error::MoreThanHeld(permission.to_owned()));
        }
        if !hold(&mut tx, tenant, to).await? {
            return Err(Error::NotFound);
        }
        let args = [tenant.into(), to.into(), now.into()];
        let count = tx.fetch_optional(COUNT, &args).await?;
        if count.map_or(Ok(0), |row| row.int("n"))? >= MOST {
            return Err(Error::TooMany);
        }
        let lent = Delegation {
            id: Uuid::now_v7(),
            user_id: to,
            permission: permission.to_owned(),
            granted_by: lender,
            created_at: now,
            expires_at: now + time,
        };
        let args = [
            lent.id.into(),
            tenant.into(),
            to.into(),
            permission.into(),
            lender.into(),
            now.into(),
            lent.expires_at.into(),
        ];
        tx.execute(SQL, &args).await?;
        let act = Done {
            action: Action::PermissionLent,
            target: Target::user(to),
            details: &[
                ("permission", permission),
                ("until", &lent.expires_at.to_string()),
            ],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        publish(&mut tx, Revocation::User(to), now).await?;
        tx.commit().await?;
        self.heard(Revocation::User(to));
        Ok(lent)
    }

    /// Takes back what was lent, by whomever.
    pub async fn take_back(&self, tenant: TenantId, id: Uuid, by: &By) -> Result<(), Error> {
        const SQL: &str = "UPDATE delegation SET revoked_at = $3 WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL RETURNING user_id, permission";
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let row = tx
            .fetch_optional(SQL, &[id.into(), tenant.into(), now.into()])
            .await?
            .ok_or(Error::NotFound)?;
        let user = row.user_id("user_id")?;
        let act = Done {
            action: Action::PermissionTakenBack,
            target: Target::user(user),
            details: &[("permission", &row.text("permission")?)],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        publish(&mut tx, Revocation::User(user), now).await?;
        tx.commit().await?;
        self.heard(Revocation::User(user));
        Ok(())
    }
}

/// To whom somebody lends at present, in any tenant.
pub(crate) async fn borrowers(
    tx: &mut Tx,
    lender: UserId,
    now: Timestamp,
) -> Result<Vec<UserId>, portcullis_store::Error> {
    const SQL: &str = "SELECT DISTINCT user_id FROM delegation WHERE granted_by = $1 AND revoked_at IS NULL AND expires_at > $2";
    let rows = tx.fetch_all(SQL, &[lender.into(), now.into()]).await?;
    rows.iter().map(|row| row.user_id("user_id")).collect()
}

/// Lets every node read anew what those hold that somebody lends to. For when the lender's own
/// roles change, or the lender is switched off.
pub(crate) async fn reach_borrowers(
    tx: &mut Tx,
    lender: UserId,
    now: Timestamp,
) -> Result<(), portcullis_store::Error> {
    for user in borrowers(tx, lender, now).await? {
        publish(tx, Revocation::User(user), now).await?;
    }
    Ok(())
}

/// What a member of a tenant was lent ends with the membership. What they lent themselves counts
/// no more either; that is looked at when it is used.
pub(super) async fn end_all(
    tx: &mut Tx,
    tenant: TenantId,
    user: UserId,
    now: Timestamp,
) -> Result<(), portcullis_store::Error> {
    const SQL: &str = "UPDATE delegation SET revoked_at = $3 WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL";
    tx.execute(SQL, &[tenant.into(), user.into(), now.into()])
        .await
        .map(drop)
}
