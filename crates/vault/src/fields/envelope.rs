//! A sealed value as the product keeps it: `pcv1.` and, in base64url without padding, the key's id (16
//! bytes), the nonce (12), the ciphertext and its tag (16).

use aws_lc_rs::aead::NONCE_LEN;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Secret;
use uuid::Uuid;

use super::data_keys::DataKey;
use super::{Bound, Error};
use crate::{gcm, seal, tokens};

/// What every sealed value begins with, and nothing of a [`seal::Sealer`].
pub const MARK: &str = "pcv1.";
const ID_LEN: usize = 16;

/// What was read of a sealed value, and is not opened yet.
pub(super) struct Envelope {
    pub(super) key: Uuid,
    nonce: [u8; NONCE_LEN],
    text: Vec<u8>,
}

pub(super) fn seal(key: &DataKey, place: &Bound<'_>, plain: &[u8]) -> Result<String, Error> {
    let nonce: [u8; NONCE_LEN] = tokens::random()?;
    let text = gcm::seal(key.cipher()?, nonce, &bound(key.id(), place), plain)
        .map_err(|gcm::Refused| seal::Error::Seal)?;
    let whole = [&key.id().as_bytes()[..], &nonce, &text].concat();
    Ok(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(whole)))
}

pub(super) fn read(sealed: &str) -> Result<Envelope, Error> {
    let whole = sealed
        .strip_prefix(MARK)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(Error::DoesNotOpen)?;
    let (id, rest) = whole
        .split_first_chunk::<ID_LEN>()
        .ok_or(Error::DoesNotOpen)?;
    let (nonce, text) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(Error::DoesNotOpen)?;
    Ok(Envelope {
        key: Uuid::from_bytes(*id),
        nonce: *nonce,
        text: text.to_vec(),
    })
}

impl Envelope {
    pub(super) fn open(self, key: &DataKey, place: &Bound<'_>) -> Result<Secret<Vec<u8>>, Error> {
        let aad = bound(key.id(), place);
        let plain = gcm::open(key.cipher()?, self.nonce, &aad, self.text)
            .map_err(|gcm::Refused| Error::DoesNotOpen)?;
        Ok(Secret::new(plain))
    }
}

/// What a value is bound to, beside its key.
fn bound(key: Uuid, Bound { owner, place }: &Bound<'_>) -> Vec<u8> {
    seal::joined(&[
        b"portcullis/field/v1",
        key.as_bytes(),
        owner,
        place.table.as_bytes(),
        place.field.as_bytes(),
        place.row.as_bytes(),
    ])
}
