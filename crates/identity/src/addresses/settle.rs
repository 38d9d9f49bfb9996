//! Bringing every address into the form that the configuration names, beside the traffic.
//!
//! One row is one transaction, and is written only over what was read: whoever is killed between two of them
//! has lost nothing, and several nodes may be at it. What is still to be done says so itself, so there is
//! nothing to remember. Addresses that an older key sealed are sealed under the newest one on the way.

use std::sync::atomic::Ordering;

use portcullis_core::{Secret, UserId};
use portcullis_store::{Engine, Row, Value};
use portcullis_vault::fields::MARK;
use uuid::Uuid;

use super::{Addresses, Error, Form, is_clear, is_index, row_of};
use crate::Email;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// Rows that were written anew.
    pub moved: u64,
    /// Rows that stay as they are: they do not open, or another row has the address.
    pub failed: u64,
}

/// How many rows have an address in each form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forms {
    pub clear: i64,
    /// Without those of sessions, which cannot be moved back and end with them.
    pub sealed: i64,
}

impl Forms {
    /// Counts them in a database that may be somebody else's to write to: for `doctor`.
    pub async fn count(
        state: &portcullis_store::Config,
        url: &Secret<String>,
    ) -> Result<Self, portcullis_store::Error> {
        const SQL: &str = "SELECT coalesce(sum(CASE WHEN name LIKE '%@%' THEN 1 ELSE 0 END), 0) AS clear, coalesce(sum(CASE WHEN back = 1 AND (substr(name, 1, 6) = 'index:' OR substr(name, 1, 5) = $1) THEN 1 ELSE 0 END), 0) AS sealed FROM (SELECT email_canonical AS name, 1 AS back FROM users UNION ALL SELECT email_canonical, 1 FROM invitation UNION ALL SELECT email, 1 FROM registration_token UNION ALL SELECT email_canonical, 1 FROM recovery_token UNION ALL SELECT openid_email, 0 FROM session UNION ALL SELECT openid_email, 0 FROM sign_in_challenge) AS every_name";
        let row = portcullis_store::look_up(state, url, SQL, &[MARK.into()]).await?;
        let Some(row) = row else {
            return Ok(Forms::default());
        };
        Ok(Forms {
            clear: row.int("clear")?,
            sealed: row.int("sealed")?,
        })
    }
}

/// A table that keeps an address. The text of each query is beside it.
struct Table {
    name: &'static str,
    /// `id`, and `name` and `kept` where there are such: what is to be sealed, behind `$2`. `$1` is what
    /// everything begins with that the newest key sealed.
    to_seal: &'static str,
    /// The same for what is to be opened; `$1` is the mark of all that is sealed.
    to_open: Option<&'static str>,
    /// Writes name and address (`$2`, `$3`) over those that were read (`$4`, `$5`).
    write: &'static str,
    id: Id,
    has: Has,
}

#[derive(Clone, Copy)]
enum Id {
    Uuid,
    Hash,
}

#[derive(Clone, Copy)]
enum Has {
    Both,
    Shown,
    /// Of an account, which knows the address.
    NameOfUser,
    /// Nothing else: it cannot be turned back, and counts as it is until its row is over.
    Name,
}

const TABLES: [Table; 6] = [
    Table {
        name: "users",
        to_seal: "SELECT id, email_canonical AS name, email AS kept FROM users WHERE ((email <> '' AND substr(email, 1, 26) <> $1) OR email_canonical LIKE '%@%') AND id > $2 ORDER BY id LIMIT 200",
        to_open: Some(
            "SELECT id, email_canonical AS name, email AS kept FROM users WHERE ((substr(email, 1, 5) = $1 AND email NOT LIKE '%@%') OR substr(email_canonical, 1, 6) = 'index:') AND id > $2 ORDER BY id LIMIT 200",
        ),
        write: "UPDATE users SET email_canonical = $2, email = $3 WHERE id = $1 AND email_canonical = $4 AND email = $5",
        id: Id::Uuid,
        has: Has::Both,
    },
    Table {
        name: "invitation",
        to_seal: "SELECT id, email_canonical AS name, email AS kept FROM invitation WHERE (substr(email, 1, 26) <> $1 OR email_canonical LIKE '%@%') AND id > $2 ORDER BY id LIMIT 200",
        to_open: Some(
            "SELECT id, email_canonical AS name, email AS kept FROM invitation WHERE ((substr(email, 1, 5) = $1 AND email NOT LIKE '%@%') OR substr(email_canonical, 1, 6) = 'index:') AND id > $2 ORDER BY id LIMIT 200",
        ),
        write: "UPDATE invitation SET email_canonical = $2, email = $3 WHERE id = $1 AND email_canonical = $4 AND email = $5",
        id: Id::Uuid,
        has: Has::Both,
    },
    Table {
        name: "registration_token",
        to_seal: "SELECT token_hash AS id, email AS kept FROM registration_token WHERE substr(email, 1, 26) <> $1 AND token_hash > $2 ORDER BY token_hash LIMIT 200",
        to_open: Some(
            "SELECT token_hash AS id, email AS kept FROM registration_token WHERE substr(email, 1, 5) = $1 AND email NOT LIKE '%@%' AND token_hash > $2 ORDER BY token_hash LIMIT 200",
        ),
        // All arguments are named, so that one list of them does for all tables.
        write: "UPDATE registration_token SET email = $3 WHERE token_hash = $1 AND email = $5 AND $2 = $4",
        id: Id::Hash,
        has: Has::Shown,
    },
    Table {
        name: "recovery_token",
        to_seal: "SELECT token_hash AS id, user_id, email_canonical AS name FROM recovery_token WHERE email_canonical LIKE '%@%' AND $1 <> '' AND token_hash > $2 ORDER BY token_hash LIMIT 200",
        to_open: Some(
            "SELECT token_hash AS id, user_id, email_canonical AS name FROM recovery_token WHERE email_canonical NOT LIKE '%@%' AND $1 <> '' AND token_hash > $2 ORDER BY token_hash LIMIT 200",
        ),
        write: "UPDATE recovery_token SET email_canonical = $2 WHERE token_hash = $1 AND email_canonical = $4 AND $3 = $5",
        id: Id::Hash,
        has: Has::NameOfUser,
    },
    Table {
        name: "session",
        to_seal: "SELECT id, openid_email AS name FROM session WHERE openid_email LIKE '%@%' AND $1 <> '' AND id > $2 ORDER BY id LIMIT 200",
        to_open: None,
        write: "UPDATE session SET openid_email = $2 WHERE id = $1 AND openid_email = $4 AND $3 = $5",
        id: Id::Uuid,
        has: Has::Name,
    },
    Table {
        name: "sign_in_challenge",
        to_seal: "SELECT token_hash AS id, openid_email AS name FROM sign_in_challenge WHERE openid_email LIKE '%@%' AND $1 <> '' AND token_hash > $2 ORDER BY token_hash LIMIT 200",
        to_open: None,
        write: "UPDATE sign_in_challenge SET openid_email = $2 WHERE token_hash = $1 AND openid_email = $4 AND $3 = $5",
        id: Id::Hash,
        has: Has::Name,
    },
];

/// A row's key.
enum Key {
    Uuid(Uuid),
    Hash(Vec<u8>),
}

impl Key {
    fn value(&self) -> Value<'_> {
        match self {
            Key::Uuid(id) => (*id).into(),
            Key::Hash(hash) => hash.into(),
        }
    }

    /// As what is sealed is bound to it.
    fn text(&self) -> String {
        match self {
            Key::Uuid(id) => id.to_string(),
            Key::Hash(hash) => row_of(hash),
        }
    }
}

/// What a row is to be, and was.
struct Change {
    name: (String, String),
    shown: (String, String),
}

impl Addresses {
    /// Moves what is left of the other form, and what an older key sealed. May be stopped at any time and
    /// begun again.
    pub async fn settle(&self) -> Result<Settled, Error> {
        let inner = &*self.0;
        let mut settled = Settled::default();
        let mark = match inner.form {
            Form::Sealed => inner.fields.begins(None).await?,
            // INVARIANT: looked at before the rows are: what is sealed from now on is found next time.
            Form::Clear if self.look().await? => MARK.to_owned(),
            Form::Clear => return Ok(settled),
        };
        for table in &TABLES {
            let find = match inner.form {
                Form::Sealed => Some(table.to_seal),
                Form::Clear => table.to_open,
            };
            if let Some(find) = find {
                self.settle_table(table, find, &mark, &mut settled).await?;
            }
        }
        match inner.form {
            Form::Sealed => self.purge(settled).await?,
            Form::Clear => self.rest(settled).await?,
        }
        Ok(settled)
    }

    /// What was sealed here is in the file's free places in the clear.
    async fn purge(&self, settled: Settled) -> Result<(), Error> {
        let to_purge = &self.0.to_purge;
        if settled.moved > 0 {
            to_purge.store(true, Ordering::Release);
        }
        if to_purge.load(Ordering::Acquire) && self.0.db.engine() == Engine::Sqlite {
            let is_left = !self.0.db.purge().await?;
            to_purge.store(is_left, Ordering::Release);
        }
        Ok(())
    }

    /// Addresses are in the clear again: once nothing has an index for its name, none is asked for.
    async fn rest(&self, settled: Settled) -> Result<(), Error> {
        const LEFT: &str = "SELECT 1 AS one FROM session WHERE substr(openid_email, 1, 6) = 'index:' UNION ALL SELECT 1 AS one FROM sign_in_challenge WHERE substr(openid_email, 1, 6) = 'index:' LIMIT 1";
        let left = self.0.db.fetch_optional(LEFT, &[]).await?;
        let is_mixed = settled != Settled::default() || left.is_some();
        self.0.is_mixed.store(is_mixed, Ordering::Release);
        Ok(())
    }

    async fn settle_table(
        &self,
        table: &Table,
        find: &'static str,
        mark: &str,
        settled: &mut Settled,
    ) -> Result<(), Error> {
        let mut after = match table.id {
            Id::Uuid => Key::Uuid(Uuid::nil()),
            Id::Hash => Key::Hash(Vec::new()),
        };
        loop {
            let args = [mark.into(), after.value()];
            let rows = self.0.db.fetch_all(find, &args).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let key = match table.id {
                    Id::Uuid => Key::Uuid(row.uuid("id")?),
                    Id::Hash => Key::Hash(row.bytes("id")?),
                };
                match self.settle_row(table, &key, row).await {
                    Ok(true) => settled.moved = settled.moved.saturating_add(1),
                    // Somebody else was at it.
                    Ok(false) => {}
                    Err(
                        error @ (Error::Damaged { .. }
                        | Error::Store(portcullis_store::Error::Conflict { .. })),
                    ) => {
                        let row = key.text();
                        tracing::error!(table = table.name, row, %error, "an address stays as it is");
                        settled.failed = settled.failed.saturating_add(1);
                    }
                    Err(error) => return Err(error),
                }
                after = key;
            }
        }
    }

    async fn settle_row(&self, table: &Table, key: &Key, row: &Row) -> Result<bool, Error> {
        let id = key.text();
        let Some(change) = self.change(table, &id, row).await? else {
            return Ok(false);
        };
        let (name, old_name) = &change.name;
        let (shown, old_shown) = &change.shown;
        let mut tx = self.0.db.begin().await?;
        let args = [
            key.value(),
            name.into(),
            shown.into(),
            old_name.into(),
            old_shown.into(),
        ];
        let changed = tx.execute(table.write, &args).await?;
        tx.commit().await?;
        Ok(changed == 1)
    }

    async fn change(&self, table: &Table, id: &str, row: &Row) -> Result<Option<Change>, Error> {
        let unchanged = || (String::new(), String::new());
        Ok(Some(match table.has {
            Has::Both => {
                let (name, kept) = (row.text("name")?, row.text("kept")?);
                let text = self.read_named(table.name, id, &name, kept.clone()).await?;
                Change {
                    shown: (self.shown(table.name, id, &text).await?, kept),
                    name: (self.name_of(&name, &text).await?, name),
                }
            }
            Has::Shown => {
                let kept = row.text("kept")?;
                let text = self.read(table.name, id, kept.clone()).await?;
                Change {
                    name: unchanged(),
                    shown: (self.shown(table.name, id, &text).await?, kept),
                }
            }
            Has::NameOfUser => {
                let name = row.text("name")?;
                let Some(canonical) = self.canonical(row.user_id("user_id")?).await? else {
                    return Ok(None);
                };
                let names = self.names(&canonical).await?;
                // For another address than the account has, it proves nothing, and is over soon.
                if !names.has(&name) {
                    return Ok(None);
                }
                Change {
                    name: (names.kept, name),
                    shown: unchanged(),
                }
            }
            Has::Name => {
                let name = row.text("name")?;
                Change {
                    name: (self.names(&name).await?.kept, name),
                    shown: unchanged(),
                }
            }
        }))
    }

    /// The name in the form that is written: what stands for whoever has no address stays.
    async fn name_of(&self, name: &str, text: &str) -> Result<String, Error> {
        if is_clear(name) {
            return Ok(self.names(name).await?.kept);
        }
        match Email::parse(text) {
            Ok(email) if is_index(name) => Ok(self.names(email.canonical()).await?.kept),
            Ok(_) | Err(_) => Ok(name.to_owned()),
        }
    }

    /// The address that an account is found by; nothing where it has none.
    pub(crate) async fn canonical(&self, user: UserId) -> Result<Option<String>, Error> {
        Ok(self.account_name(user).await?.filter(|name| is_clear(name)))
    }

    /// The name by which an account is counted: its canonical address, or what stands for it.
    pub(crate) async fn account_name(&self, user: UserId) -> Result<Option<String>, Error> {
        const SQL: &str = "SELECT email_canonical, email FROM users WHERE id = $1";
        let Some(row) = self.0.db.fetch_optional(SQL, &[user.into()]).await? else {
            return Ok(None);
        };
        let name = row.text("email_canonical")?;
        if !is_index(&name) {
            return Ok(Some(name));
        }
        let id = user.to_string();
        let text = self
            .read_named("users", &id, &name, row.text("email")?)
            .await?;
        // It has an index, so it is one.
        Ok(Email::parse(&text)
            .ok()
            .map(|email| email.canonical().to_owned()))
    }
}
