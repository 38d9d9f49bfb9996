//! Fields of the product, sealed (E3, E4, K3): what a stolen database shows is of no use.
//!
//! - Envelope encryption: every tenant, and every subject that is named, has data keys of its own. A
//!   data key is kept only as a KEK wrapped it ([`crate::kek`]), and unwrapped for a bounded time.
//! - The gate keeps secrets of its own the same way, in a realm of their own ([`Fields::of_gate`]):
//!   no call of the product opens them.
//! - A value is sealed (AES-256-GCM) for one [`Place`]: tenant, table, field and row are bound to it, and
//!   the key's name as well. Moved to another row it does not open.
//! - A data key seals for [`Config::rotate_keys_after`], then the next version does. What an older version
//!   sealed opens until it is sealed anew ([`Fields::reseal`]).
//! - Every reason why a value does not open is one error.
//! - Where the keys of a tenant or a subject are destroyed, nothing of theirs opens ever again.
//! - [`Fields::blind_index`] finds equal values without opening them. It tells whoever reads the table
//!   which rows are equal, and nothing else.

mod data_keys;
mod envelope;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, Secret, SecretRef, Span, TenantId, problem};
use portcullis_store::{Db, Tx};
use serde::Deserialize;

use crate::kek::{self, Health, Keks};
use crate::{seal, tokens};
use data_keys::{DataKey, DataKeys, Line, Use};
pub use data_keys::{KeyState, KeyView, Rewrapped, Which};
use envelope::Envelope;
pub use envelope::MARK;

/// Tables that begin so are the gate's own.
pub const OURS: &str = "portcullis.";
/// Longest name of a table, field, row or subject, in bytes.
pub const LONGEST_NAME: usize = 200;

/// Who keeps values: the product, or the gate itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Realm {
    Product,
    Gate,
}

/// Whose values they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    realm: Realm,
    tenant: Option<TenantId>,
}

impl Owner {
    /// As it stands in the table of data keys.
    fn name(self) -> String {
        match (self.realm, self.tenant) {
            (Realm::Product, None) => String::new(),
            (Realm::Product, Some(tenant)) => tenant.to_string(),
            (Realm::Gate, None) => "portcullis".to_owned(),
            (Realm::Gate, Some(tenant)) => format!("portcullis/{tenant}"),
        }
    }

    /// As sealed values are bound to it. The gate's is no tenant's id: those have sixteen bytes.
    fn bytes(self) -> Vec<u8> {
        let realm: &[u8] = match self.realm {
            Realm::Product => b"",
            Realm::Gate => b"portcullis",
        };
        let tenant = self.tenant.map(|tenant| *tenant.as_uuid().as_bytes());
        [realm, tenant.as_ref().map_or(&[], |tenant| &tenant[..])].concat()
    }
}

/// Where a value stands. Sealed for one place, it opens in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose value it is; nothing for what belongs to no tenant.
    pub tenant: Option<TenantId>,
    pub table: &'a str,
    pub field: &'a str,
    pub row: &'a str,
}

/// The `[vault]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// How long a data key seals before the next one does. Default `"90d"`, from `"1h"` to `"366d"`.
    /// What an old key sealed opens all the same.
    pub rotate_keys_after: Span,
    /// Keys of Fernet under which the product sealed before, such as `[{ env = "API_KEY_ENCRYPTION_KEY" }]`:
    /// 32 bytes in base64. Default: none. Only `import-fernet` uses them; take them out when all is here.
    pub fernet_keys: Vec<SecretRef>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rotate_keys_after: Span::from_days(90),
            fernet_keys: Vec::new(),
        }
    }
}

impl Config {
    /// What is wrong with the table: the key, and what to do.
    pub fn findings(&self) -> Vec<(&'static str, &'static str)> {
        let sensible = Span::from_hours(1)..=Span::from_days(366);
        if sensible.contains(&self.rotate_keys_after) {
            Vec::new()
        } else {
            vec![("vault.rotate-keys-after", "must be from 1h to 366d")]
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Key(#[from] seal::Error),
    #[error(transparent)]
    Kek(#[from] kek::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    /// Damaged, cut, moved, of another tenant, or no sealed value at all: nobody learns which.
    #[error("the value does not open in this place")]
    DoesNotOpen,
    #[error("`{0}` is empty, longer than {LONGEST_NAME} bytes, or has control characters")]
    Name(&'static str),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Key(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Kek(error) => error.into(),
            Error::DoesNotOpen => Problem::new(&problem::DOES_NOT_OPEN),
            Error::Name(name) => Problem::new(&problem::INVALID_INPUT).field(
                name,
                format!("must have 1 to {LONGEST_NAME} bytes and no control characters"),
            ),
        }
    }
}

/// Seals and opens fields; cheap to clone.
#[derive(Clone)]
pub struct Fields {
    keys: Arc<DataKeys>,
    keks: Arc<Keks>,
    realm: Realm,
}

impl Fields {
    /// An unwrapped data key works for `remember_for`.
    pub fn new(
        db: Db,
        keks: Keks,
        clock: Arc<dyn Clock>,
        config: &Config,
        remember_for: Span,
    ) -> Self {
        let keks = Arc::new(keks);
        let rotate_after = config.rotate_keys_after;
        let data_keys = DataKeys::new(db, Arc::clone(&keks), clock, rotate_after, remember_for);
        Fields {
            keys: Arc::new(data_keys),
            keks,
            realm: Realm::Product,
        }
    }

    /// The same vault, for what the gate itself keeps. What is sealed in one realm opens in no other.
    #[must_use]
    pub fn of_gate(&self) -> Self {
        Fields {
            realm: Realm::Gate,
            ..self.clone()
        }
    }

    fn owner(&self, tenant: Option<TenantId>) -> Owner {
        let realm = self.realm;
        Owner { realm, tenant }
    }

    /// Whether the KEK's service answered when it was asked last.
    pub fn health(&self) -> Health {
        self.keks.health()
    }

    /// Tries the KEK out: whether it wraps and unwraps.
    pub async fn try_out(&self) -> Result<(), Error> {
        Ok(self.keks.try_out().await?)
    }

    /// Seals `plain` for `place`, under the newest key of its tenant, or of `subject` within it.
    pub async fn seal(
        &self,
        place: &Place<'_>,
        subject: Option<&str>,
        plain: &[u8],
    ) -> Result<String, Error> {
        let key = self.newest(place, subject).await?;
        envelope::seal(&key, &self.bound(place), plain)
    }

    /// The same for a column of bytes: no third more is written, and a large value costs little more than
    /// the bare cipher. Text and bytes are one envelope: `pcv1.` and the bytes in base64url are the text.
    pub async fn seal_bytes(
        &self,
        place: &Place<'_>,
        subject: Option<&str>,
        plain: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let key = self.newest(place, subject).await?;
        envelope::seal_bytes(&key, &self.bound(place), plain)
    }

    async fn newest(
        &self,
        place: &Place<'_>,
        subject: Option<&str>,
    ) -> Result<Arc<DataKey>, Error> {
        place.check()?;
        let line = Line::new(self.owner(place.tenant), subject, Use::Seal)?;
        self.keys.newest(&line).await
    }

    /// The same under a key that is in memory, or nothing where there is none: it waits for nobody, so
    /// that a transaction may call it.
    pub fn seal_if_ready(&self, place: &Place<'_>, plain: &[u8]) -> Result<Option<String>, Error> {
        place.check()?;
        let line = Line::new(self.owner(place.tenant), None, Use::Seal)?;
        let Some(key) = self.keys.newest_known(&line) else {
            return Ok(None);
        };
        envelope::seal(&key, &self.bound(place), plain).map(Some)
    }

    /// Opens what was sealed for the very same place.
    pub async fn open(&self, place: &Place<'_>, sealed: &str) -> Result<Secret<Vec<u8>>, Error> {
        Ok(self.opened(place, envelope::read(sealed)?).await?.1)
    }

    /// The same of what [`Fields::seal_bytes`] made. The value is opened where it lies.
    pub async fn open_bytes(
        &self,
        place: &Place<'_>,
        sealed: Vec<u8>,
    ) -> Result<Secret<Vec<u8>>, Error> {
        Ok(self.opened(place, envelope::read_bytes(sealed)?).await?.1)
    }

    /// What was sealed, and the key that opened it.
    async fn opened(
        &self,
        place: &Place<'_>,
        envelope: Envelope,
    ) -> Result<(Arc<DataKey>, Secret<Vec<u8>>), Error> {
        place.check()?;
        let key = self.keys.find(envelope.key).await?;
        // SECURITY: the key says whose it is. Asked first, so that nobody opens with another
        // tenant's key even where they know its place.
        let key = key
            .filter(|key| key.is_of(self.owner(place.tenant)))
            .ok_or(Error::DoesNotOpen)?;
        let plain = envelope.open(&key, &self.bound(place))?;
        Ok((key, plain))
    }

    /// Opens, and seals anew under the newest key of the same tenant and subject.
    pub async fn reseal(&self, place: &Place<'_>, sealed: &str) -> Result<String, Error> {
        let (old, plain) = self.opened(place, envelope::read(sealed)?).await?;
        let key = self.keys.newest(old.line()).await?;
        envelope::seal(&key, &self.bound(place), plain.expose())
    }

    /// What equal values of one tenant, table and field have in common, and others do not: 32 bytes of
    /// HMAC-SHA256 under a key of the tenant's own. It survives the rotation of data keys.
    pub async fn blind_index(
        &self,
        tenant: Option<TenantId>,
        table: &str,
        field: &str,
        plain: &[u8],
    ) -> Result<[u8; 32], Error> {
        check("table", table)?;
        check("field", field)?;
        let line = Line::new(self.owner(tenant), None, Use::Index)?;
        let key = self.keys.newest(&line).await?;
        key.index(table, field, plain)
    }

    /// What everything begins with that the newest key seals, as far as it can be told from the key alone:
    /// what begins otherwise was sealed by an older one, or not at all.
    pub async fn begins(&self, tenant: Option<TenantId>) -> Result<String, Error> {
        let line = Line::new(self.owner(tenant), None, Use::Seal)?;
        Ok(envelope::begins(&*self.keys.newest(&line).await?))
    }

    /// Whether [`Fields::blind_index`] was ever asked for this tenant. No key is made or unwrapped.
    pub async fn has_index(&self, tenant: Option<TenantId>) -> Result<bool, Error> {
        let line = Line::new(self.owner(tenant), None, Use::Index)?;
        self.keys.exists(&line).await
    }

    /// Retires the keys in use, of one tenant or of all: what is sealed from now on is sealed under new
    /// ones. How many were retired.
    pub async fn rotate(&self, tenant: Option<TenantId>) -> Result<u64, Error> {
        self.keys.rotate(tenant).await
    }

    /// Every data key, oldest first, a page at a time: those after `after`.
    pub async fn list(&self, after: Option<uuid::Uuid>, most: u32) -> Result<Vec<KeyView>, Error> {
        self.keys.list(after, most).await
    }

    /// Wraps data keys anew under the KEK in use, the next ones after `after`. It may be stopped at
    /// any time and begun again; what is done stays done.
    pub async fn rewrap(
        &self,
        which: Which,
        after: Option<uuid::Uuid>,
        most: u32,
    ) -> Result<Rewrapped, Error> {
        self.keys.rewrap(which, after, most).await
    }

    /// Destroys the data keys of a tenant, or of one subject of it: their ids. What they sealed is
    /// lost for good, here as soon as the transaction is heard of.
    pub async fn destroy(
        &self,
        tx: &mut Tx,
        tenant: Option<TenantId>,
        subject: Option<&str>,
    ) -> Result<Vec<uuid::Uuid>, Error> {
        self.keys.destroy(tx, self.owner(tenant), subject).await
    }

    /// Destroys every key of one subject, whatever tenant it is in, those of the gate's own among them: their
    /// ids. Every node forgets them when it hears of the transaction.
    pub async fn destroy_subject(
        &self,
        tx: &mut Tx,
        subject: &str,
    ) -> Result<Vec<uuid::Uuid>, Error> {
        // SECURITY: `''` is nobody in particular: their keys seal what is everybody's.
        if subject.is_empty() {
            return Err(Error::Name("subject"));
        }
        self.keys.destroy_subject(tx, subject).await
    }

    /// What a value is bound to, beside its key.
    fn bound<'a>(&self, place: &'a Place<'a>) -> Bound<'a> {
        let owner = self.owner(place.tenant).bytes();
        Bound { owner, place }
    }

    /// Forgets every key: some were destroyed, here or by another node.
    pub fn forget(&self) {
        self.keys.forget();
    }

    /// Drops keys from memory whose time is over.
    pub fn keep_house(&self) {
        self.keys.forget_old();
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fields(..)")
    }
}

/// A place, and whose it is.
struct Bound<'a> {
    owner: Vec<u8>,
    place: &'a Place<'a>,
}

impl Place<'_> {
    fn check(&self) -> Result<(), Error> {
        check("table", self.table)?;
        check("field", self.field)?;
        check("row", self.row)
    }
}

fn check(name: &'static str, text: &str) -> Result<(), Error> {
    let is_name =
        !text.is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control);
    is_name.then_some(()).ok_or(Error::Name(name))
}

#[cfg(test)]
mod tests;
