//! What is sealed of a file in its row: its key, and all that is said of it.
//!
//! SECURITY: the vault binds it to the tenant and to the upload's id. What the row says in the open is compared
//! with it, so that whoever writes to the database can neither swap two rows nor let one out of quarantine.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::Secret;
use portcullis_vault::Fields;
use portcullis_vault::fields::{self, Place};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunks::KEY_LEN;
use super::rows::Stored;
use super::{Error, Owner};

/// Tables of the field vault that begin so are ours: the product's own calls cannot name them.
const TABLE: &str = "portcullis.upload";
const FIELD: &str = "file";

#[derive(Serialize, Deserialize)]
struct Said<'s> {
    name: Option<Cow<'s, str>>,
    /// Of what the row says.
    row: Cow<'s, str>,
}

/// What is known of a file beside its row.
pub(super) struct Content {
    pub(super) key: Secret<[u8; KEY_LEN]>,
    pub(super) name: Option<String>,
}

/// Under the keys of the tenant, and of the person in it: where these are destroyed, the file is lost.
pub(super) async fn seal(
    fields: &Fields,
    stored: &Stored,
    content: &Content,
) -> Result<String, Error> {
    let said = Said {
        name: content.name.as_deref().map(Cow::Borrowed),
        row: digest(stored).into(),
    };
    let said = serde_json::to_vec(&said).map_err(|_| Error::Cipher)?;
    let plain = zeroize::Zeroizing::new([&content.key.expose()[..], &said].concat());
    let row = stored.id.to_string();
    let subject = Owner::subject_of(&stored.owner);
    let sealed = fields.seal(&place(stored, &row), subject, &plain).await;
    Ok(sealed?)
}

pub(super) async fn open(fields: &Fields, stored: &Stored, sealed: &str) -> Result<Content, Error> {
    let row = stored.id.to_string();
    let plain = match fields.open(&place(stored, &row), sealed).await {
        Ok(plain) => plain,
        Err(fields::Error::DoesNotOpen) => return Err(Error::DoesNotOpen),
        Err(error) => return Err(error.into()),
    };
    let strange = || Error::Damaged("its row is not what was sealed");
    let (key, said) = plain.expose().split_first_chunk().ok_or_else(strange)?;
    let said: Said<'_> = serde_json::from_slice(said).map_err(|_| strange())?;
    if said.row != digest(stored) {
        return Err(strange());
    }
    Ok(Content {
        key: Secret::new(*key),
        name: said.name.map(Cow::into_owned),
    })
}

fn place<'a>(stored: &Stored, row: &'a str) -> Place<'a> {
    Place {
        tenant: stored.tenant,
        table: TABLE,
        field: FIELD,
        row,
    }
}

/// One number for all that must not change.
fn digest(stored: &Stored) -> String {
    let mut digest = Context::new(&SHA256);
    let id: &Uuid = &stored.id;
    let size = stored.size.to_be_bytes();
    let parts: [&[u8]; 7] = [
        id.as_bytes(),
        stored.owner.as_bytes(),
        stored.kind.as_str().as_bytes(),
        &size,
        &stored.sha256,
        stored.state.as_str().as_bytes(),
        stored.verdict.as_str().as_bytes(),
    ];
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finish())
}
