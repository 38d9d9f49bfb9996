//! The SQL of people whom other issuers know.

use portcullis_core::{TenantId, Timestamp, UserId};
use portcullis_store::{Db, Error, Tx};
use uuid::Uuid;

use crate::users;

/// A person of an issuer, as the database has them.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: Uuid,
    pub(super) user: UserId,
    pub(super) roles: Vec<String>,
    pub(super) is_active: bool,
    /// Tokens that were issued before are over.
    pub(super) not_before: Timestamp,
}

/// Somebody who came for the first time.
#[derive(Debug)]
pub(super) struct NewIdentity<'a> {
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    pub(super) user: UserId,
    /// What the row keeps of the address: to show, and for nothing else.
    pub(super) email: &'a str,
    pub(super) roles: &'a [String],
}

/// No password has this hash.
const NO_PASSWORD: &str = "!";

pub(super) async fn find(db: &Db, issuer: &str, subject: &str) -> Result<Option<Found>, Error> {
    const SQL: &str = "SELECT i.id, i.user_id, i.not_before, u.deactivated_at FROM foreign_identity i JOIN users u ON u.id = i.user_id WHERE i.issuer = $1 AND i.subject = $2";
    let args = [issuer.into(), subject.into()];
    let Some(row) = db.fetch_optional(SQL, &args).await? else {
        return Ok(None);
    };
    let user = row.user_id("user_id")?;
    Ok(Some(Found {
        id: row.uuid("id")?,
        user,
        roles: users::roles(db, user).await?,
        is_active: row.opt_timestamp("deactivated_at")?.is_none(),
        not_before: row.timestamp("not_before")?,
    }))
}

/// Before when no token of another issuer counts, whoever comes with it.
pub(super) async fn cutoff(db: &Db) -> Result<Timestamp, Error> {
    const SQL: &str = "SELECT max(at) AS at FROM foreign_cutoff";
    let row = db.fetch_optional(SQL, &[]).await?;
    let at = row.map(|row| row.opt_timestamp("at")).transpose()?;
    Ok(at.flatten().unwrap_or(Timestamp::EPOCH))
}

/// From now on tokens of other issuers that were made before `now` count for nothing: of everybody, also of
/// people who have never been here.
pub(crate) async fn cut_off(tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO foreign_cutoff (at) VALUES ($1) ON CONFLICT (at) DO NOTHING";
    tx.execute(SQL, &[now.into()]).await.map(drop)
}

/// Whose account it is that the issuer calls so.
pub(crate) async fn person(db: &Db, issuer: &str, subject: &str) -> Result<Option<UserId>, Error> {
    Ok(find(db, issuer, subject).await?.map(|found| found.user))
}

/// The tenant that somebody is a member of: the one that is named, or else their own.
pub(super) async fn membership(
    db: &Db,
    user: UserId,
    named: Option<TenantId>,
) -> Result<Option<TenantId>, Error> {
    const SQL: &str = "SELECT m.tenant_id FROM users u JOIN membership m ON m.user_id = u.id AND m.tenant_id = COALESCE($2, u.tenant_id) WHERE u.id = $1";
    match db.fetch_optional(SQL, &[user.into(), named.into()]).await? {
        Some(row) => row.opt_tenant_id("tenant_id"),
        None => Ok(None),
    }
}

/// Makes the account and its identity; nothing where another transaction was first, which then must
/// not be committed.
pub(super) async fn create(
    tx: &mut Tx,
    new: &NewIdentity<'_>,
    now: Timestamp,
) -> Result<Option<UserId>, Error> {
    // SECURITY: the canonical address is what people sign in with and are found by. An account of
    // another issuer has none: whatever address its token names, it is never a local account's.
    const USER: &str = "INSERT INTO users (id, email_canonical, email, password_hash, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";
    let (id, user) = (Uuid::new_v4(), new.user);
    let canonical = format!("foreign:{id}");
    let args = [
        user.into(),
        (&canonical).into(),
        new.email.into(),
        NO_PASSWORD.into(),
        now.into(),
    ];
    tx.execute(USER, &args).await?;
    if !insert(tx, id, (new.issuer, new.subject), user, now).await? {
        return Ok(None);
    }
    users::insert_roles(tx, user, new.roles).await?;
    Ok(Some(user))
}

/// Says whose account a person of an issuer has. False where they have one.
pub(crate) async fn link(
    tx: &mut Tx,
    issuer: &str,
    subject: &str,
    user: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    insert(tx, Uuid::new_v4(), (issuer, subject), user, now).await
}

async fn insert(
    tx: &mut Tx,
    id: Uuid,
    (issuer, subject): (&str, &str),
    user: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO foreign_identity (id, issuer, subject, user_id, created_at, not_before) VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT (issuer, subject) DO NOTHING";
    let args = [
        id.into(),
        issuer.into(),
        subject.into(),
        user.into(),
        now.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Ends what the issuer gave out for this user until now.
pub(crate) async fn end(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE foreign_identity SET not_before = $2 WHERE user_id = $1";
    tx.execute(SQL, &[user.into(), now.into()]).await.map(drop)
}
