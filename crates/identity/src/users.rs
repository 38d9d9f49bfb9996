//! Local accounts.
//!
//! Every change runs in the caller's transaction, so that the change, what it revokes and its
//! audit event are one. A change that takes something away publishes a revocation.

pub(crate) mod manage;
pub(crate) mod pages;
pub(crate) mod search;

use portcullis_core::{TenantId, Timestamp, UserId};
use portcullis_store::{Db, Error, Row, Tx};
use uuid::Uuid;

use crate::addresses::{self, Addresses, Kept, Names};
use crate::paging;
use crate::tenants::delegations::reach_borrowers;
use crate::{Email, factors, issuers, revoke, tokens};

/// An account. The password hash stays inside this crate.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: UserId,
    pub email: String,
    pub display_name: Option<String>,
    pub tenant: Option<TenantId>,
    pub roles: Vec<String>,
    pub created_at: Timestamp,
    pub deactivated_at: Option<Timestamp>,
    /// When the owner last proved to receive mail at the address.
    pub email_verified_at: Option<Timestamp>,
    pub(crate) password_hash: PasswordHash,
}

/// A stored hash, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(pub(crate) String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A new account.
#[derive(Debug)]
pub struct NewUser<'a> {
    pub email: &'a Kept,
    /// A PHC string, or an imported bcrypt hash.
    pub password_hash: &'a str,
    pub display_name: Option<&'a str>,
    pub tenant: Option<TenantId>,
    pub roles: &'a [String],
}

/// All of an account but its roles, for [`read`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, email_canonical, email, password_hash, display_name, tenant_id, created_at, ",
            "deactivated_at, email_verified_at FROM users ",
            $rest
        )
    };
}
use select;

/// The table, as its addresses are bound to it.
pub(crate) const TABLE: &str = "users";
const FIND_BY_EMAIL: &str = select!("WHERE email_canonical IN ($1, $2)");
const FIND_BY_ID: &str = select!("WHERE id = $1");
const ROLES: &str = "SELECT role FROM user_role WHERE user_id = $1 ORDER BY role";

pub async fn find_by_email(
    db: &Db,
    addresses: &Addresses,
    email: &Email,
) -> Result<Option<Account>, addresses::Error> {
    let names = addresses.names(email.canonical()).await?;
    let args = [names.kept().into(), names.other().into()];
    match db.fetch_optional(FIND_BY_EMAIL, &args).await? {
        Some(row) => read(db, addresses, &row).await.map(Some),
        None => Ok(None),
    }
}

pub async fn find(
    db: &Db,
    addresses: &Addresses,
    id: UserId,
) -> Result<Option<Account>, addresses::Error> {
    match db.fetch_optional(FIND_BY_ID, &[id.into()]).await? {
        Some(row) => read(db, addresses, &row).await.map(Some),
        None => Ok(None),
    }
}

/// Id and hash of an active account: all that a sign-in needs, in one query whatever the answer.
pub(crate) async fn find_credentials(
    db: &Db,
    addresses: &Addresses,
    names: &Names,
) -> Result<Option<(UserId, PasswordHash)>, addresses::Error> {
    const SQL: &str = "SELECT id, email_canonical, email, password_hash FROM users WHERE email_canonical IN ($1, $2) AND deactivated_at IS NULL";
    let args = [names.kept().into(), names.other().into()];
    match db.fetch_optional(SQL, &args).await? {
        Some(row) => {
            let id = row.user_id("id")?;
            // SECURITY: the row must be of this address. Without this, two names that were swapped in the
            // table give each the account of the other.
            address(addresses, &row, id).await?;
            Ok(Some((id, PasswordHash(row.text("password_hash")?))))
        }
        None => Ok(None),
    }
}

/// The address that a row shows.
async fn address(addresses: &Addresses, row: &Row, id: UserId) -> Result<String, addresses::Error> {
    let (name, kept) = (row.text("email_canonical")?, row.text("email")?);
    let id = id.to_string();
    addresses.read_named(TABLE, &id, &name, kept).await
}

/// Accounts, newest first, at most `limit`; from the first behind `after`. Nothing where there is
/// no such account.
pub async fn list(
    db: &Db,
    addresses: &Addresses,
    after: Option<UserId>,
    limit: u32,
) -> Result<Option<Vec<Account>>, addresses::Error> {
    const SQL: &str =
        select!("WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3");
    let Some((at, id)) = behind(db, after).await? else {
        return Ok(None);
    };
    let args = [at.into(), id.into(), i64::from(limit).into()];
    let rows = db.fetch_all(SQL, &args).await?;
    read_all(db, addresses, &rows).await.map(Some)
}

/// Where a list by age goes on. Nothing where there is no such account.
async fn behind(db: &Db, after: Option<UserId>) -> Result<Option<(Timestamp, Uuid)>, Error> {
    const SQL: &str = "SELECT created_at FROM users WHERE id = $1";
    paging::behind(db, SQL, None, after.map(UserId::as_uuid)).await
}

async fn read_all(
    db: &Db,
    addresses: &Addresses,
    rows: &[Row],
) -> Result<Vec<Account>, addresses::Error> {
    let mut accounts = Vec::with_capacity(rows.len());
    for row in rows {
        let id = row.user_id("id")?;
        let email = addresses::or_damaged(address(addresses, row, id).await)?;
        accounts.push(account(db, row, email).await?);
    }
    Ok(accounts)
}

async fn read(db: &Db, addresses: &Addresses, row: &Row) -> Result<Account, addresses::Error> {
    let email = address(addresses, row, row.user_id("id")?).await?;
    Ok(account(db, row, email).await?)
}

async fn account(db: &Db, row: &Row, email: String) -> Result<Account, Error> {
    let id = row.user_id("id")?;
    Ok(Account {
        id,
        email,
        display_name: row.opt_text("display_name")?,
        tenant: row.opt_tenant_id("tenant_id")?,
        roles: roles(db, id).await?,
        created_at: row.timestamp("created_at")?,
        deactivated_at: row.opt_timestamp("deactivated_at")?,
        email_verified_at: row.opt_timestamp("email_verified_at")?,
        password_hash: PasswordHash(row.text("password_hash")?),
    })
}

pub(crate) async fn roles(db: &Db, id: UserId) -> Result<Vec<String>, Error> {
    db.fetch_all(ROLES, &[id.into()])
        .await?
        .iter()
        .map(|row| row.text("role"))
        .collect()
}

/// What came of [`create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Yes,
    AddressTaken,
    IdTaken,
}

/// Creates an account, unless the address or the id has one already, in the same transaction and without
/// spoiling it. The address was kept for this id.
pub(crate) async fn create(
    tx: &mut Tx,
    id: UserId,
    new: &NewUser<'_>,
    now: Timestamp,
) -> Result<Created, Error> {
    // INVARIANT: looked for before the other is inserted. A row that is moved meanwhile goes from this name
    // to that one, so it is found here or there.
    const BY_OTHER: &str = "SELECT id FROM users WHERE email_canonical = $1";
    const SQL: &str = "INSERT INTO users (id, email_canonical, email, password_hash, display_name, tenant_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING";
    const BY_ID: &str = "SELECT id FROM users WHERE id = $1";
    let names = new.email.names();
    if let Some(other) = names.other()
        && tx
            .fetch_optional(BY_OTHER, &[other.into()])
            .await?
            .is_some()
    {
        return Ok(Created::AddressTaken);
    }
    let args = [
        id.into(),
        names.kept().into(),
        new.email.shown().into(),
        new.password_hash.into(),
        new.display_name.into(),
        new.tenant.into(),
        now.into(),
    ];
    if tx.execute(SQL, &args).await? == 0 {
        return Ok(match tx.fetch_optional(BY_ID, &[id.into()]).await? {
            Some(_) => Created::IdTaken,
            None => Created::AddressTaken,
        });
    }
    insert_roles(tx, id, new.roles).await?;
    Ok(Created::Yes)
}

/// Notes since when an account is closed. It has no sessions yet.
pub(crate) async fn set_deactivated(tx: &mut Tx, id: UserId, at: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE users SET deactivated_at = $2 WHERE id = $1";
    tx.execute(SQL, &[id.into(), at.into()]).await.map(drop)
}

/// Replaces the account's roles. Its sessions stay, and bear the new roles from now on. Whether
/// there is such an account.
pub async fn set_roles(
    tx: &mut Tx,
    id: UserId,
    roles: &[String],
    now: Timestamp,
) -> Result<bool, Error> {
    const TOUCH: &str = "UPDATE users SET updated_at = $2 WHERE id = $1";
    const CLEAR: &str = "DELETE FROM user_role WHERE user_id = $1";
    if tx.execute(TOUCH, &[id.into(), now.into()]).await? == 0 {
        return Ok(false);
    }
    tx.execute(CLEAR, &[id.into()]).await?;
    insert_roles(tx, id, roles).await?;
    reach_borrowers(tx, id, now).await?;
    revoke::user(tx, id, now).await?;
    Ok(true)
}

pub(crate) async fn insert_roles(tx: &mut Tx, id: UserId, roles: &[String]) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO user_role (user_id, role) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    for role in roles {
        tx.execute(SQL, &[id.into(), role.into()]).await?;
    }
    Ok(())
}

/// Closes the account and ends its sessions. Whether it was open.
pub async fn deactivate(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "UPDATE users SET deactivated_at = $2, updated_at = $2 WHERE id = $1 AND deactivated_at IS NULL";
    if tx.execute(SQL, &[id.into(), now.into()]).await? == 0 {
        return Ok(false);
    }
    reach_borrowers(tx, id, now).await?;
    end_sessions(tx, id, now).await?;
    Ok(true)
}

/// Opens a closed account. Whether it was closed.
pub(crate) async fn reactivate(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "UPDATE users SET deactivated_at = NULL, updated_at = $2 WHERE id = $1 AND deactivated_at IS NOT NULL";
    if tx.execute(SQL, &[id.into(), now.into()]).await? == 0 {
        return Ok(false);
    }
    reach_borrowers(tx, id, now).await?;
    revoke::user(tx, id, now).await?;
    Ok(true)
}

/// Takes note that the owner of an open account receives the mail of an address, provided that it
/// still is the account's. Whether it is.
pub(crate) async fn verify_email(
    tx: &mut Tx,
    id: UserId,
    names: &Names,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE users SET email_verified_at = $3 WHERE id = $1 AND email_canonical IN ($2, $4) AND deactivated_at IS NULL";
    let args = [
        id.into(),
        names.kept().into(),
        now.into(),
        names.other().into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Sets another password and ends all sessions. Whether there is such an account.
pub async fn set_password(
    tx: &mut Tx,
    id: UserId,
    password_hash: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1";
    if tx
        .execute(SQL, &[id.into(), password_hash.into(), now.into()])
        .await?
        == 0
    {
        return Ok(false);
    }
    end_sessions(tx, id, now).await?;
    Ok(true)
}

/// Stores a stronger hash of the same password, unless it was changed meanwhile.
pub(crate) async fn replace_hash(
    tx: &mut Tx,
    id: UserId,
    old: &str,
    new: &str,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
    tx.execute(SQL, &[id.into(), old.into(), new.into()])
        .await
        .map(drop)
}

/// Takes hold of the account for the rest of the transaction, provided that it is still active
/// and still has this password hash.
///
/// SECURITY: a password that was verified a moment ago may have been changed since. Without this,
/// a sign-in that overlaps a password change leaves a session behind that the change should have
/// ended. The row stays locked, so that two sign-ins count each other's sessions.
pub(crate) async fn hold(tx: &mut Tx, id: UserId, hash: &PasswordHash) -> Result<bool, Error> {
    const SQL: &str = "UPDATE users SET updated_at = updated_at WHERE id = $1 AND password_hash = $2 AND deactivated_at IS NULL";
    Ok(tx
        .execute(SQL, &[id.into(), hash.0.as_str().into()])
        .await?
        == 1)
}

/// Takes hold of the account for the rest of the transaction. Whether it is there.
pub(crate) async fn touch(tx: &mut Tx, id: UserId) -> Result<bool, Error> {
    const SQL: &str = "UPDATE users SET updated_at = updated_at WHERE id = $1";
    Ok(tx.execute(SQL, &[id.into()]).await? == 1)
}

/// The same, provided that the account is open.
pub(crate) async fn hold_open(tx: &mut Tx, id: UserId) -> Result<bool, Error> {
    const SQL: &str =
        "UPDATE users SET updated_at = updated_at WHERE id = $1 AND deactivated_at IS NULL";
    Ok(tx.execute(SQL, &[id.into()]).await? == 1)
}

/// Where letters to the account's owner go, as the row keeps it: it may be sealed.
pub(crate) async fn address_in(tx: &mut Tx, id: UserId) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT email FROM users WHERE id = $1";
    let row = tx.fetch_optional(SQL, &[id.into()]).await?;
    row.map(|row| row.text("email")).transpose()
}

/// Ends all sessions, and all sign-ins that are half done.
pub(crate) async fn end_sessions(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE session SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
    tx.execute(SQL, &[id.into(), now.into()]).await?;
    // INVARIANT: after the sessions. One that is being turned into tokens is locked, so this waits
    // for the family and finds it.
    tokens::end_all(tx, id, now).await?;
    issuers::end_all(tx, id, now).await?;
    factors::end_challenges(tx, id).await?;
    revoke::user(tx, id, now).await
}
