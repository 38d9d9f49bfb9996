//! A sealed value as the product keeps it: the key's id (16 bytes), the nonce (12), the ciphertext and its
//! tag (16). As text it is `pcv1.` and these bytes in base64url without padding.

use std::sync::LazyLock;

use aws_lc_rs::aead::{MAX_TAG_LEN, NONCE_LEN};
use base64::Engine as _;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use portcullis_core::Secret;
use uuid::Uuid;

use super::data_keys::DataKey;
use super::{Bound, Error};
use crate::{gcm, seal, tokens};

/// What every sealed value begins with, and nothing of a [`seal::Sealer`].
pub const MARK: &str = "pcv1.";
const ID_LEN: usize = 16;
const HEAD: usize = ID_LEN + NONCE_LEN;

/// With the vector instructions that the processor has: a large value is written about as fast as it is
/// sealed. The library has them for these processors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BASE64URL: LazyLock<base64::engine::Simd> =
    LazyLock::new(|| base64::engine::Simd::url_safe(NO_PAD));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static BASE64URL: LazyLock<GeneralPurpose> =
    LazyLock::new(|| GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD));

/// What was read of a sealed value, and is not opened yet.
pub(super) struct Envelope {
    pub(super) key: Uuid,
    nonce: [u8; NONCE_LEN],
    /// All of it, without the mark.
    whole: Vec<u8>,
}

pub(super) fn seal(key: &DataKey, place: &Bound<'_>, plain: &[u8]) -> Result<String, Error> {
    let whole = seal_bytes(key, place, plain)?;
    let length = base64::encoded_len(whole.len(), false).unwrap_or_default();
    let mut sealed = String::with_capacity(MARK.len().saturating_add(length));
    sealed.push_str(MARK);
    BASE64URL.encode_string(whole, &mut sealed);
    Ok(sealed)
}

pub(super) fn seal_bytes(key: &DataKey, place: &Bound<'_>, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let nonce: [u8; NONCE_LEN] = tokens::random()?;
    let mut whole = Vec::with_capacity((HEAD + MAX_TAG_LEN).saturating_add(plain.len()));
    whole.extend_from_slice(key.id().as_bytes());
    whole.extend_from_slice(&nonce);
    whole.extend_from_slice(plain);
    gcm::seal(
        key.cipher()?,
        nonce,
        &bound(key.id(), place),
        &mut whole,
        HEAD,
    )
    .map_err(|gcm::Refused| seal::Error::Seal)?;
    Ok(whole)
}

/// The mark, and of the key's id all but its last two bits: those share a letter with the nonce.
pub(super) fn begins(key: &DataKey) -> String {
    let id = BASE64URL.encode(key.id().as_bytes());
    let whole = id.chars().take(ID_LEN * 8 / 6);
    MARK.chars().chain(whole).collect()
}

pub(super) fn read(sealed: &str) -> Result<Envelope, Error> {
    let whole = sealed
        .strip_prefix(MARK)
        .and_then(|text| BASE64URL.decode(text).ok())
        .ok_or(Error::DoesNotOpen)?;
    read_bytes(whole)
}

pub(super) fn read_bytes(whole: Vec<u8>) -> Result<Envelope, Error> {
    let (id, rest) = whole
        .split_first_chunk::<ID_LEN>()
        .ok_or(Error::DoesNotOpen)?;
    let (nonce, _) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(Error::DoesNotOpen)?;
    Ok(Envelope {
        key: Uuid::from_bytes(*id),
        nonce: *nonce,
        whole,
    })
}

impl Envelope {
    pub(super) fn open(self, key: &DataKey, place: &Bound<'_>) -> Result<Secret<Vec<u8>>, Error> {
        let aad = bound(key.id(), place);
        let plain = gcm::open(key.cipher()?, self.nonce, &aad, self.whole, HEAD)
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
