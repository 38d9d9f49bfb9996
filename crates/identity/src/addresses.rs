//! E-mail addresses as the gate's own tables keep them (E3): in the clear, or sealed by the vault.
//!
//! - Sealed (`accounts.seal-addresses`), the address stands where it is shown from, bound to its table and
//!   row, and its *name* stands where it is looked for: a keyed blind index of the canonical address. Neither
//!   says anything to whoever reads the table but which rows have one address.
//! - Rows of both forms may stand beside each other: while a database is moved ([`settle`]), and where another
//!   node is still to be started anew. So whatever looks for an address looks for both of its names
//!   ([`Names`]), and what opens a row asks the row. There is one text of SQL for each query.
//! - A name and a sealed address cannot be taken for an address in the clear, nor the other way round: no
//!   address is without an `@`, and neither of them has one.
//! - SECURITY: a row is taken for an address only where what is sealed in it opens in its place and has the
//!   name beside it. Whoever can write to the table gains nothing by moving either to another row.
//! - What is to be written is made before the transaction begins ([`Addresses::keep`]): the vault may have to
//!   ask others.
//!
//! It hides addresses from whoever has the database and not the keys. It does not hide display names, nor
//! what is in older backups, in PostgreSQL's dead rows and its log.

mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Problem;
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields, Place};

use crate::Email;
pub use settle::{Forms, Settled};

/// What a name begins with that is an index.
const INDEX: &str = "index:";
const FIELD: &str = "email";
/// All names are of one index, whatever table they stand in: they are compared across tables.
const INDEX_TABLE: &str = "users";
/// What is shown in lists in place of an address that does not open.
pub const DAMAGED: &str = "(does not open)";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Vault(fields::Error),
    /// Damaged, moved from another row, or without the name that it should have: nobody learns which.
    #[error("the address in the row `{row}` of `{table}` does not open there")]
    Damaged { table: &'static str, row: String },
}

impl From<fields::Error> for Error {
    fn from(error: fields::Error) -> Self {
        match error {
            fields::Error::Store(error) => Error::Store(error),
            error @ (fields::Error::Key(_)
            | fields::Error::Kek(_)
            | fields::Error::Randomness(_)
            | fields::Error::DoesNotOpen
            | fields::Error::Name(_)) => Error::Vault(error),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Vault(error) => error.into(),
            Error::Damaged { .. } => Problem::internal(error),
        }
    }
}

/// In which form addresses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Clear,
    Sealed,
}

/// How addresses are kept. Cheap to clone.
#[derive(Clone)]
pub struct Addresses(Arc<Inner>);

struct Inner {
    db: Db,
    fields: Fields,
    form: Form,
    /// Whether names of the other form may stand anywhere. While addresses are kept in the clear and
    /// none is sealed, the vault is not asked.
    is_mixed: AtomicBool,
    /// Whether there was a key of the index when it was looked for.
    was_sealed: AtomicBool,
    /// Whether the files may still hold what was sealed since.
    to_purge: AtomicBool,
}

/// The names of one address: the one that is written, and the one that a row may still have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    kept: String,
    other: Option<String>,
}

impl Names {
    /// The one that is written.
    pub(crate) fn kept(&self) -> &str {
        &self.kept
    }

    /// The one that is looked for beside it.
    pub(crate) fn other(&self) -> Option<&str> {
        self.other.as_deref()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.kept == name || self.other.as_deref() == Some(name)
    }
}

/// An address as one row of one table keeps it.
#[derive(Debug)]
pub struct Kept {
    names: Names,
    shown: String,
}

impl Kept {
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// What the row keeps of the address as its owner wrote it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

impl Addresses {
    /// Looks whether addresses of the other form are to be reckoned with.
    pub async fn open(db: Db, fields: &Fields, form: Form) -> Result<Self, Error> {
        let addresses = Addresses(Arc::new(Inner {
            db,
            fields: fields.of_gate(),
            form,
            is_mixed: AtomicBool::new(form == Form::Sealed),
            was_sealed: AtomicBool::new(false),
            to_purge: AtomicBool::new(false),
        }));
        addresses.look().await?;
        Ok(addresses)
    }

    /// Whether addresses are sealed when they are written: then no part of one can be looked for.
    pub fn are_sealed(&self) -> bool {
        match self.0.form {
            Form::Sealed => true,
            Form::Clear => false,
        }
    }

    /// Another node, or an earlier start of this one, may have sealed some: then there is a key for it.
    /// Whether there is.
    pub async fn look(&self) -> Result<bool, Error> {
        let was_sealed = self.0.fields.has_index(None).await?;
        if was_sealed && !self.0.was_sealed.swap(true, Ordering::AcqRel) {
            self.0.is_mixed.store(true, Ordering::Release);
        }
        Ok(was_sealed)
    }

    /// What the address is found by.
    pub(crate) async fn names(&self, canonical: &str) -> Result<Names, Error> {
        Ok(match self.0.form {
            Form::Sealed => Names {
                kept: self.index(canonical).await?,
                other: Some(canonical.to_owned()),
            },
            Form::Clear => Names {
                kept: canonical.to_owned(),
                other: if self.0.is_mixed.load(Ordering::Acquire) {
                    Some(self.index(canonical).await?)
                } else {
                    None
                },
            },
        })
    }

    /// Whether `name`, from wherever it stands, is one of this address.
    pub(crate) async fn is_name_of(&self, name: &str, canonical: &str) -> Result<bool, Error> {
        if is_index(name) {
            Ok(self.index(canonical).await? == name)
        } else {
            Ok(name == canonical)
        }
    }

    /// The address for the row `row` of `table`. Before a transaction begins.
    pub(crate) async fn keep(
        &self,
        table: &'static str,
        row: &str,
        email: &Email,
    ) -> Result<Kept, Error> {
        Ok(Kept {
            names: self.names(email.canonical()).await?,
            shown: self.shown(table, row, email.typed()).await?,
        })
    }

    /// The same for what is only shown, and may be no address at all.
    pub(crate) async fn shown(
        &self,
        table: &'static str,
        row: &str,
        text: &str,
    ) -> Result<String, Error> {
        Ok(match self.0.form {
            _ if text.is_empty() => String::new(),
            Form::Sealed => {
                let place = place(table, row);
                self.0.fields.seal(&place, None, text.as_bytes()).await?
            }
            // It would be taken for what it is not.
            Form::Clear if is_sealed(text) => String::new(),
            Form::Clear => text.to_owned(),
        })
    }

    /// The address that a row keeps, as its owner wrote it.
    pub(crate) async fn read(
        &self,
        table: &'static str,
        row: &str,
        kept: String,
    ) -> Result<String, Error> {
        if !is_sealed(&kept) {
            return Ok(kept);
        }
        let damaged = || Error::Damaged {
            table,
            row: row.to_owned(),
        };
        match self.0.fields.open(&place(table, row), &kept).await {
            Ok(opened) => String::from_utf8(opened.expose().clone()).map_err(|_| damaged()),
            Err(fields::Error::DoesNotOpen) => Err(damaged()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same where the row has a name of it as well, which it must be the name of.
    pub(crate) async fn read_named(
        &self,
        table: &'static str,
        row: &str,
        name: &str,
        kept: String,
    ) -> Result<String, Error> {
        // SECURITY: a sealed address beside a name in the clear, or the other way round, was put there by
        // nobody of us.
        let is_odd = (is_index(name) && !is_sealed(&kept)) || (is_clear(name) && is_sealed(&kept));
        let text = self.read(table, row, kept).await?;
        let is_its_name = match Email::parse(&text) {
            _ if is_odd => false,
            _ if !is_index(name) => true,
            Ok(email) => self.index(email.canonical()).await? == name,
            Err(_) => false,
        };
        if is_its_name {
            Ok(text)
        } else {
            Err(Error::Damaged {
                table,
                row: row.to_owned(),
            })
        }
    }

    /// Has the keys in memory, so that what follows in a transaction waits for nobody.
    pub(crate) async fn warm(&self) -> Result<(), Error> {
        match self.0.form {
            Form::Sealed => {
                self.0.fields.begins(None).await?;
                self.index("").await.map(drop)
            }
            Form::Clear => Ok(()),
        }
    }

    async fn index(&self, canonical: &str) -> Result<String, Error> {
        let plain = canonical.as_bytes();
        let fields = &self.0.fields;
        let index = fields.blind_index(None, INDEX_TABLE, FIELD, plain).await?;
        Ok(format!("{INDEX}{}", URL_SAFE_NO_PAD.encode(index)))
    }
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Addresses(..)")
    }
}

/// What a list shows of a row: one that is damaged takes none of the others along.
pub(crate) fn or_damaged(read: Result<String, Error>) -> Result<String, Error> {
    match read {
        Err(error @ Error::Damaged { .. }) => {
            tracing::error!(%error, "a list has a row without its address");
            Ok(DAMAGED.to_owned())
        }
        read => read,
    }
}

/// What a row is called that has the hash of a token for its key.
pub(crate) fn row_of(hash: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

fn place<'a>(table: &'a str, row: &'a str) -> Place<'a> {
    Place {
        tenant: None,
        table,
        field: FIELD,
        row,
    }
}

/// Whether a name is an address in the clear: neither an index, nor what stands for whoever has none.
pub(crate) fn is_clear(name: &str) -> bool {
    name.contains('@')
}

pub(crate) fn is_index(name: &str) -> bool {
    name.starts_with(INDEX) && !name.contains('@')
}

/// Whether this is a sealed address.
pub(crate) fn is_sealed(text: &str) -> bool {
    text.starts_with(fields::MARK) && !text.contains('@')
}

#[cfg(test)]
mod tests;
