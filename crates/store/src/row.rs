//! What comes out of a query, by column name. A missing column, a wrong type or an unexpected NULL
//! is an error, never a default.

use portcullis_core::{ApiKeyId, SessionId, TenantId, Timestamp, UserId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::Error;

pub struct Row(Inner);

enum Inner {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Row(Inner::Sqlite(row))
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Row(Inner::Postgres(row))
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $optional:ident: $type:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self, column: &str) -> Result<$type, Error> {
                // Not the driver's own reading: it takes a NULL in SQLite for 0 or for empty.
                self.$optional(column)?.ok_or_else(|| Error::Corrupt(Box::new(UnexpectedNull(column.to_owned()))))
            }

            /// The same, where the column may be NULL.
            pub fn $optional(&self, column: &str) -> Result<Option<$type>, Error> {
                Ok(match &self.0 {
                    Inner::Sqlite(row) => row.try_get(column)?,
                    Inner::Postgres(row) => row.try_get(column)?,
                })
            }
        )*
    };
}

impl Row {
    getters! {
        /// A whole number. `count(*)` is one; cast a `sum` to `BIGINT`.
        int, opt_int: i64;
        /// A truth value: `INTEGER` 0 or 1 in SQLite, `BOOLEAN` in PostgreSQL.
        bool, opt_bool: bool;
        text, opt_text: String;
        bytes, opt_bytes: Vec<u8>;
        uuid, opt_uuid: Uuid;
    }

    /// Microseconds since the epoch.
    pub fn timestamp(&self, column: &str) -> Result<Timestamp, Error> {
        self.int(column).map(Timestamp::from_micros)
    }

    pub fn opt_timestamp(&self, column: &str) -> Result<Option<Timestamp>, Error> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    pub fn user_id(&self, column: &str) -> Result<UserId, Error> {
        self.uuid(column).map(UserId::from_uuid)
    }

    pub fn session_id(&self, column: &str) -> Result<SessionId, Error> {
        self.uuid(column).map(SessionId::from_uuid)
    }

    pub fn opt_user_id(&self, column: &str) -> Result<Option<UserId>, Error> {
        Ok(self.opt_uuid(column)?.map(UserId::from_uuid))
    }

    pub fn api_key_id(&self, column: &str) -> Result<ApiKeyId, Error> {
        self.uuid(column).map(ApiKeyId::from_uuid)
    }

    pub fn opt_tenant_id(&self, column: &str) -> Result<Option<TenantId>, Error> {
        Ok(self.opt_uuid(column)?.map(TenantId::from_uuid))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("column `{0}` is NULL")]
struct UnexpectedNull(String);
