//! The table of passkeys.

use portcullis_core::{Timestamp, UserId};
use portcullis_store::{Db, Error, Row, Tx};
use uuid::Uuid;

use super::PasskeyView;
use super::library::{CredentialID, Passkey};
use super::relying::to_text;
use crate::factors::Unusable;

/// One row.
pub(super) struct Stored {
    pub(super) id: Uuid,
    pub(super) user: UserId,
    pub(super) passkey: Passkey,
}

/// Whether it is kept: not where its id is known already, of whatever account.
pub(super) async fn insert(
    tx: &mut Tx,
    user: UserId,
    passkey: &Passkey,
    name: &str,
    now: Timestamp,
) -> Result<bool, crate::accounts::Error> {
    const SQL: &str = "INSERT INTO passkey (id, user_id, credential_id, credential, name, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (credential_id) DO NOTHING";
    let credential = to_text(passkey)?;
    let args = [
        Uuid::now_v7().into(),
        user.into(),
        passkey.cred_id().into(),
        (&credential).into(),
        name.into(),
        now.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// The ids of an account's keys.
pub(super) async fn ids(tx: &mut Tx, user: UserId) -> Result<Vec<CredentialID>, Error> {
    const SQL: &str = "SELECT credential_id FROM passkey WHERE user_id = $1 ORDER BY created_at";
    let rows = tx.fetch_all(SQL, &[user.into()]).await?;
    rows.iter().map(|row| row.bytes("credential_id")).collect()
}

/// Whose key this is.
pub(super) async fn owner(db: &Db, credential: &[u8]) -> Result<Option<UserId>, Error> {
    const SQL: &str = "SELECT user_id FROM passkey WHERE credential_id = $1";
    let row = db.fetch_optional(SQL, &[credential.into()]).await?;
    row.map(|row| row.user_id("user_id")).transpose()
}

/// A key as it is now: the caller holds its account.
pub(super) async fn find(
    tx: &mut Tx,
    credential: &[u8],
) -> Result<Option<Stored>, crate::accounts::Error> {
    const SQL: &str = "SELECT id, user_id, credential FROM passkey WHERE credential_id = $1";
    let row = tx.fetch_optional(SQL, &[credential.into()]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Stored, crate::accounts::Error> {
    let passkey = serde_json::from_str(&row.text("credential")?)
        .map_err(|error| Unusable(error.to_string()))?;
    Ok(Stored {
        id: row.uuid("id")?,
        user: row.user_id("user_id")?,
        passkey,
    })
}

/// Keeps the counter that a key came with.
pub(super) async fn used(
    tx: &mut Tx,
    stored: &Stored,
    now: Timestamp,
) -> Result<(), crate::accounts::Error> {
    const SQL: &str = "UPDATE passkey SET credential = $2, last_used_at = $3 WHERE id = $1";
    let credential = to_text(&stored.passkey)?;
    let args = [stored.id.into(), (&credential).into(), now.into()];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// The account's keys, oldest first.
pub(super) async fn list(db: &Db, user: UserId) -> Result<Vec<PasskeyView>, Error> {
    const SQL: &str = "SELECT id, name, created_at, last_used_at FROM passkey WHERE user_id = $1 ORDER BY created_at, id";
    let rows = db.fetch_all(SQL, &[user.into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(PasskeyView {
                id: row.uuid("id")?,
                name: row.text("name")?,
                created_at: row.timestamp("created_at")?.to_string(),
                last_used_at: row.opt_timestamp("last_used_at")?.map(|at| at.to_string()),
            })
        })
        .collect()
}

/// Whether there was one of this account.
pub(super) async fn rename(tx: &mut Tx, user: UserId, id: Uuid, name: &str) -> Result<bool, Error> {
    const SQL: &str = "UPDATE passkey SET name = $3 WHERE id = $1 AND user_id = $2";
    let args = [id.into(), user.into(), name.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Whether there was one of this account.
pub(super) async fn remove(tx: &mut Tx, user: UserId, id: Uuid) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM passkey WHERE id = $1 AND user_id = $2";
    Ok(tx.execute(SQL, &[id.into(), user.into()]).await? == 1)
}
