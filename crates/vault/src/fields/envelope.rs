//! A sealed value as the product keeps it: `pcv1.` and, in base64url without padding, the key's id (16
//! bytes), the nonce (12), the ciphertext and its tag (16).

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Secret;
use uuid::Uuid;

use super::data_keys::DataKey;
use super::{Bound, Error};
use crate::{seal, tokens};

const MARK: &str = "pcv1.";
const ID_LEN: usize = 16;

/// What was read of a sealed value, and is not opened yet.
pub(super) struct Envelope {
    pub(super) key: Uuid,
    nonce: [u8; NONCE_LEN],
    text: Vec<u8>,
}

pub(super) fn seal(key: &DataKey, place: &Bound<'_>, plain: &[u8]) -> Result<String, Error> {
    let nonce: [u8; NONCE_LEN] = tokens::random()?;
    let mut text = plain.to_vec();
    key.cipher()?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(key.id(), place)),
            &mut text,
        )
        .map_err(|_| seal::Error::Seal)?;
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
    pub(super) fn open(
        mut self,
        key: &DataKey,
        place: &Bound<'_>,
    ) -> Result<Secret<Vec<u8>>, Error> {
        let plain = key
            .cipher()?
            .open_in_place(
                Nonce::assume_unique_for_key(self.nonce),
                Aad::from(bound(key.id(), place)),
                &mut self.text,
            )
            .map_err(|_| Error::DoesNotOpen)?
            .len();
        self.text.truncate(plain);
        Ok(Secret::new(self.text))
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
