//! Keys for each purpose, derived from the one master secret.
//!
//! - HKDF-SHA256 (RFC 5869) with the purpose as `info`: a key that leaks says nothing of another.
//! - A rotation keeps the previous master secrets for an overlap: what is made is made with the
//!   current one, what is checked may have been made with any of them.
//! - A tag covers its parts with their lengths, so that `ab` + `c` is not `a` + `bc`.

use std::fmt;

use aws_lc_rs::{hkdf, hmac};
use portcullis_core::Secret;
use zeroize::Zeroizing;

/// Names our use of HKDF, so that the same master secret in another program gives other keys.
const SALT: &[u8] = b"portcullis/master/v1";

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// CSRF tokens, bound to a session.
    Csrf,
    /// Page cursors, so that a forged one is refused.
    Cursor,
    /// Seeds of the keys that sign assertions and tokens, one for each salt.
    SigningKey,
    /// Cookies by which a known device is told from an unknown one.
    Device,
    /// Names under which throttling remembers an account, so that the table lists no addresses.
    Backoff,
    /// Signed heads of the audit trail.
    AuditHead,
    /// HMAC signatures on requests to an upstream that shares a key.
    UpstreamHmac,
    /// Hashes under which API keys are kept.
    ApiKey,
    /// What follows a refresh token, and who presented it.
    RefreshToken,
    /// Secrets of second factors at rest.
    Factor,
    /// Letters that wait to be sent.
    Mail,
    /// Names under which requests for recovery are counted, so that the table lists no addresses.
    Recovery,
    /// Sign-ins at a provider that are under way.
    OpenidLogin,
    /// What other services told us, until the product has it.
    Webhook,
    /// Keys that seal fields of the product, at rest.
    DataKey,
    /// That a backup is one of ours.
    Backup,
    /// Exports of what is held of a person.
    PersonalData,
}

impl Purpose {
    /// Never changes: a new text means new keys, and everything made before is refused.
    const fn info(self) -> &'static [u8] {
        match self {
            Purpose::Csrf => b"csrf",
            Purpose::Cursor => b"cursor",
            Purpose::SigningKey => b"signing-key-ed25519",
            Purpose::Device => b"device",
            Purpose::Backoff => b"backoff",
            Purpose::AuditHead => b"audit-head",
            Purpose::UpstreamHmac => b"upstream-hmac",
            Purpose::ApiKey => b"api-key",
            Purpose::RefreshToken => b"refresh-token",
            Purpose::Factor => b"factor-aes256gcm",
            Purpose::Mail => b"mail-aes256gcm",
            Purpose::Recovery => b"recovery",
            Purpose::OpenidLogin => b"openid-login-aes256gcm",
            Purpose::Webhook => b"webhook-aes256gcm",
            Purpose::DataKey => b"data-key-aes256gcm",
            Purpose::Backup => b"backup",
            Purpose::PersonalData => b"personal-data-ed25519",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a key could not be derived")]
    Derive,
}

/// The master secret in use, and those before it that still count during an overlap.
#[derive(Debug, Clone)]
pub struct Keys {
    pub current: Secret<String>,
    pub previous: Vec<Secret<String>>,
}

impl Keys {
    pub const fn new(current: Secret<String>, previous: Vec<Secret<String>>) -> Self {
        Keys { current, previous }
    }

    /// 32 bytes for `purpose`: from the current master secret first, then from each previous one.
    pub fn derive(&self, purpose: Purpose) -> Result<Vec<Secret<[u8; 32]>>, Error> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .map(|master| derive(master, purpose, &[]))
            .collect()
    }

    /// The same for one of many keys of a purpose, told apart by `salt`.
    pub fn derive_salted(
        &self,
        purpose: Purpose,
        salt: &[u8],
    ) -> Result<Vec<Secret<[u8; 32]>>, Error> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .map(|master| derive(master, purpose, salt))
            .collect()
    }

    /// The keys of `purpose`, ready to tag messages.
    pub fn mac(&self, purpose: Purpose) -> Result<Mac, Error> {
        let mut keys = self
            .derive(purpose)?
            .into_iter()
            .map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes.expose()));
        Ok(Mac {
            current: keys.next().ok_or(Error::Derive)?,
            previous: keys.collect(),
        })
    }
}

fn derive(
    master: &Secret<String>,
    purpose: Purpose,
    salt: &[u8],
) -> Result<Secret<[u8; 32]>, Error> {
    // A NUL between the two, which no purpose holds: what is with a salt is never what is without.
    let separator: &[u8] = if salt.is_empty() { b"" } else { b"\0" };
    let mut bytes = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
        .extract(master.expose().as_bytes())
        .expand(&[purpose.info(), separator, salt], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(bytes.as_mut_slice()))
        .map_err(|_| Error::Derive)?;
    Ok(Secret::new(*bytes))
}

/// HMAC-SHA256 (RFC 2104) under the keys of one purpose.
#[derive(Clone)]
pub struct Mac {
    current: hmac::Key,
    previous: Vec<hmac::Key>,
}

impl Mac {
    /// The tag of `parts` under the current key.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag_under(&self.current, parts)
    }

    /// The tags of `parts` under the keys of the overlap, newest first: for what is found by its tag.
    pub fn previous_tags(&self, parts: &[&[u8]]) -> Vec<[u8; 32]> {
        self.previous
            .iter()
            .map(|key| tag_under(key, parts))
            .collect()
    }

    /// The tags of `parts` under every key of the overlap, the current one's first.
    pub fn tags(&self, parts: &[&[u8]]) -> impl Iterator<Item = [u8; 32]> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .map(move |key| tag_under(key, parts))
    }

    /// Whether `tag` is that of `parts` under the current key or one of the overlap. Constant
    /// time in the tag's content.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .any(|key| {
                let mut context = hmac::Context::with_key(key);
                feed(&mut context, parts);
                crate::ct_eq(context.sign().as_ref(), tag)
            })
    }
}

fn tag_under(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    feed(&mut context, parts);
    bytes(&context.sign())
}

fn bytes(tag: &hmac::Tag) -> [u8; 32] {
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}

/// HMAC-SHA256 as another system made it: of the message alone, under its secret as it stands.
#[derive(Clone)]
pub struct ForeignMac(hmac::Key);

impl ForeignMac {
    pub fn new(secret: &Secret<String>) -> Self {
        ForeignMac(hmac::Key::new(
            hmac::HMAC_SHA256,
            secret.expose().as_bytes(),
        ))
    }

    /// The same with a key that is no text.
    pub fn of_bytes(key: &Secret<Vec<u8>>) -> Self {
        ForeignMac(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.tag_of_parts(&[message])
    }

    /// The tag of the parts as one message, nothing between them.
    pub fn tag_of_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        bytes(&context.sign())
    }
}

impl fmt::Debug for ForeignMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignMac(..)")
    }
}

fn feed(context: &mut hmac::Context, parts: &[&[u8]]) {
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn each_purpose_and_each_master_secret_has_its_own_key() {
        let keys = Keys::new(secret("one"), vec![secret("two")]);
        let mut all = Vec::new();
        for purpose in [
            Purpose::Csrf,
            Purpose::Cursor,
            Purpose::SigningKey,
            Purpose::RefreshToken,
            Purpose::Device,
            Purpose::Backoff,
            Purpose::AuditHead,
            Purpose::UpstreamHmac,
            Purpose::ApiKey,
            Purpose::Factor,
            Purpose::Mail,
            Purpose::Recovery,
        ] {
            all.extend(
                keys.derive(purpose)
                    .unwrap()
                    .iter()
                    .map(|key| *key.expose()),
            );
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((count, all.len()), (24, 24));
    }

    #[test]
    fn the_derivation_never_changes() {
        let keys = Keys::new(secret("a master secret for this test only"), Vec::new());
        let csrf = keys.derive(Purpose::Csrf).unwrap();
        assert_eq!(hex::encode(csrf[0].expose()), CSRF_VECTOR);
    }

    /// Computed apart, with Python's `hmac` and `hashlib`.
    const CSRF_VECTOR: &str = "fd4ffc7c4f5c65f193b2beddf52de27eb55c5828a6e8aed7356452bab91ddbf0";

    #[test]
    fn a_tag_made_before_a_rotation_still_verifies_and_one_made_after_the_overlap_does_not() {
        let before = Keys::new(secret("old"), vec![]).mac(Purpose::Csrf).unwrap();
        let overlap = Keys::new(secret("new"), vec![secret("old")])
            .mac(Purpose::Csrf)
            .unwrap();
        let after = Keys::new(secret("new"), vec![]).mac(Purpose::Csrf).unwrap();
        let tag = before.tag(&[b"session"]);
        assert!(overlap.verify(&[b"session"], &tag));
        assert!(!after.verify(&[b"session"], &tag));
        assert!(after.verify(&[b"session"], &overlap.tag(&[b"session"])));
    }

    #[test]
    fn a_foreign_tag_is_plain_hmac() {
        // RFC 4231, test case 2.
        let tag = ForeignMac::new(&secret("Jefe")).tag(b"what do ya want for nothing?");
        assert_eq!(
            hex::encode(tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_tag_knows_where_its_parts_end() {
        let mac = Keys::new(secret("x"), vec![]).mac(Purpose::Cursor).unwrap();
        let tag = mac.tag(&[b"ab", b"c"]);
        assert!(mac.verify(&[b"ab", b"c"], &tag));
        assert!(!mac.verify(&[b"a", b"bc"], &tag));
        assert!(!mac.verify(&[b"abc"], &tag));
        for end in 0..32 {
            assert!(!mac.verify(&[b"ab", b"c"], &tag[..end]), "{end}");
        }
    }
}
