//! Fields of the product, sealed (E3, E4, K3): what a stolen database shows is of no use.
//!
//! - Envelope encryption: every tenant, and every subject that is named, has data keys of its own. A
//!   data key is kept only as the master secret sealed it ([`Sealer`](crate::Sealer)).
//! - A value is sealed (AES-256-GCM) for one [`Place`]: tenant, table, field and row are bound to it, and
//!   the key's name as well. Moved to another row it does not open.
//! - A data key seals for [`Config::rotate_keys_after`], then the next version does. What an older version
//!   sealed opens until it is sealed anew ([`Fields::reseal`]).
//! - Every reason why a value does not open is one error.
//! - [`Fields::blind_index`] finds equal values without opening them. It tells whoever reads the table
//!   which rows are equal, and nothing else.

mod data_keys;
mod envelope;

use std::sync::Arc;

use portcullis_core::{Clock, Problem, Secret, Span, TenantId, problem};
use portcullis_store::Db;
use serde::Deserialize;

use crate::keys::{self, Keys, Purpose};
use crate::{Sealer, seal, tokens};
use data_keys::{DataKey, DataKeys, Line, Use};
pub use data_keys::{KeyState, KeyView, Rewrapped};

/// Tables that begin so are the gate's own.
pub const OURS: &str = "portcullis.";
/// Longest name of a table, field, row or subject, in bytes.
pub const LONGEST_NAME: usize = 200;

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
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rotate_keys_after: Span::from_days(90),
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
    Keys(#[from] keys::Error),
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
            Error::Keys(_) => Problem::internal(error),
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
}

impl Fields {
    pub fn new(db: Db, keys: &Keys, clock: Arc<dyn Clock>, config: &Config) -> Result<Self, Error> {
        let master = Sealer::new(keys, Purpose::DataKey)?;
        Ok(Fields {
            keys: Arc::new(DataKeys::new(db, master, clock, config.rotate_keys_after)),
        })
    }

    /// Seals `plain` for `place`, under the newest key of its tenant, or of `subject` within it.
    pub async fn seal(
        &self,
        place: &Place<'_>,
        subject: Option<&str>,
        plain: &[u8],
    ) -> Result<String, Error> {
        place.check()?;
        let line = Line::new(place.tenant, subject, Use::Seal)?;
        let key = self.keys.newest(&line).await?;
        envelope::seal(&key, place, plain)
    }

    /// Opens what was sealed for the very same place.
    pub async fn open(&self, place: &Place<'_>, sealed: &str) -> Result<Secret<Vec<u8>>, Error> {
        Ok(self.opened(place, sealed).await?.1)
    }

    /// What was sealed, and the key that opened it.
    async fn opened(
        &self,
        place: &Place<'_>,
        sealed: &str,
    ) -> Result<(Arc<DataKey>, Secret<Vec<u8>>), Error> {
        place.check()?;
        let envelope = envelope::read(sealed)?;
        let key = self.keys.find(envelope.key).await?;
        // SECURITY: the key says whose it is. Asked first, so that nobody opens with another
        // tenant's key even where they know its place.
        let key = key
            .filter(|key| key.is_of(place.tenant))
            .ok_or(Error::DoesNotOpen)?;
        let plain = envelope.open(&key, place)?;
        Ok((key, plain))
    }

    /// Opens, and seals anew under the newest key of the same tenant and subject.
    pub async fn reseal(&self, place: &Place<'_>, sealed: &str) -> Result<String, Error> {
        let (old, plain) = self.opened(place, sealed).await?;
        let key = self.keys.newest(old.line()).await?;
        envelope::seal(&key, place, plain.expose())
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
        let line = Line::new(tenant, None, Use::Index)?;
        let key = self.keys.newest(&line).await?;
        key.index(table, field, plain)
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

    /// Seals anew, under the master secret in use, the next data keys that an earlier one sealed.
    /// Nothing is left to do where it says so; it may be stopped at any time and called again.
    pub async fn rewrap(&self, most: u32) -> Result<Rewrapped, Error> {
        self.keys.rewrap(most).await
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fields(..)")
    }
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
