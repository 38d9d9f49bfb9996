//! A look at the log from beside the gate: for `doctor`, who writes nothing and may be another user.

use portcullis_core::{Secret, Timestamp};
use portcullis_store::look_up;
use portcullis_vault::keys::Keys;
use portcullis_vault::note::{Signer, Verifier};

use super::checkpoint::Checkpoint;
use super::log::{HEAD, Head, SIGNED_AT, TILE, signed};
use super::tree::{self, Tiles};
use super::{Error, anchor};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Leaves of the newest signed head.
    pub size: u64,
    pub signed_at: Timestamp,
}

/// Whether the newest head is signed by this gate's key, and the kept hashes lead to it. Nothing where there is no
/// log yet. The events themselves are `audit verify`'s to read.
///
/// # Errors
/// They do not, or the database does not answer.
pub async fn head(
    state: &portcullis_store::Config,
    url: &Secret<String>,
    keys: &Keys,
) -> Result<Option<Newest>, Error> {
    let row = look_up(state, url, HEAD, &[]).await?;
    let Some(head) = row.as_ref().map(Head::read).transpose()? else {
        return Ok(None);
    };
    let keys = verifiers(&head, keys)?;
    let Some(text) = &head.checkpoint else {
        return Ok(None);
    };
    let said = Checkpoint::verify(text, &keys)?;
    let mut tiles = Tiles::default();
    for place in tree::needed(head.size, &[]) {
        let args = [i64::from(place.level).into(), signed(place.index).into()];
        if let Some(row) = look_up(state, url, TILE, &args).await? {
            tiles.put(place, &row.bytes("hashes")?);
        }
    }
    if (said.size, said.root) != (head.size, head.root) || tiles.root(head.size) != Some(head.root)
    {
        return Err(Error::Damaged("its right edge"));
    }
    let row = look_up(state, url, SIGNED_AT, &[]).await?;
    let row = row.ok_or(Error::Damaged("its head"))?;
    Ok(Some(Newest {
        size: head.size,
        signed_at: row.timestamp("signed_at")?,
    }))
}

/// How many leaves the last checkpoint in a file of them has (`audit.anchor-file`).
///
/// # Errors
/// It is none of this log.
pub async fn anchored(
    state: &portcullis_store::Config,
    url: &Secret<String>,
    keys: &Keys,
    notes: &str,
) -> Result<u64, Error> {
    let row = look_up(state, url, HEAD, &[]).await?;
    let head = row.as_ref().map(Head::read).transpose()?;
    let head = head.ok_or(Error::Damaged("its head"))?;
    let note = anchor::last(notes).ok_or(Error::Anchor("does not end with a checkpoint"))?;
    Ok(Checkpoint::verify(&note, &verifiers(&head, keys)?)?.size)
}

fn verifiers(head: &Head, keys: &Keys) -> Result<Vec<Verifier>, Error> {
    Ok(head.signers(keys)?.iter().map(Signer::verifier).collect())
}
