//! What goes into a query, alike on both engines.
//!
//! Times are microseconds in a `BIGINT`, JSON is text, a UUID is a `BLOB` of 16 bytes in SQLite.
//! Integer columns in PostgreSQL must be `BIGINT`: a narrower one refuses the value.

use portcullis_core::id::EventId;
use portcullis_core::{
    ApiKeyId, RequestId, SessionId, TenantId, Timestamp, TokenFamilyId, UserId, VisitorId,
};
use sqlx::encode::IsNull;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgTypeInfo, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use uuid::Uuid;

/// One argument of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Uuid(Uuid),
}

macro_rules! from {
    ($($source:ty => |$name:ident| $value:expr;)*) => {
        $(impl<'a> From<$source> for Value<'a> {
            fn from($name: $source) -> Self {
                $value
            }
        })*
    };
}

from! {
    bool => |value| Value::Bool(value);
    i64 => |value| Value::Int(value);
    i32 => |value| Value::Int(value.into());
    u32 => |value| Value::Int(value.into());
    &'a str => |value| Value::Text(value);
    &'a String => |value| Value::Text(value);
    &'a [u8] => |value| Value::Bytes(value);
    &'a Vec<u8> => |value| Value::Bytes(value);
    Uuid => |value| Value::Uuid(value);
    UserId => |value| Value::Uuid(value.as_uuid());
    SessionId => |value| Value::Uuid(value.as_uuid());
    TenantId => |value| Value::Uuid(value.as_uuid());
    ApiKeyId => |value| Value::Uuid(value.as_uuid());
    TokenFamilyId => |value| Value::Uuid(value.as_uuid());
    VisitorId => |value| Value::Uuid(value.as_uuid());
    EventId => |value| Value::Uuid(value.as_uuid());
    RequestId => |value| Value::Uuid(value.as_uuid());
    Timestamp => |value| Value::Int(value.as_micros());
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Value::Bytes(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

pub(crate) fn for_sqlite(
    sql: &'static str,
    args: &[Value<'_>],
) -> Query<'static, Sqlite, SqliteArguments> {
    args.iter()
        .fold(sqlx::query(sql), |query, value| match *value {
            Value::Null => query.bind(None::<i64>),
            Value::Bool(value) => query.bind(value),
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value.to_owned()),
            Value::Bytes(value) => query.bind(value.to_owned()),
            Value::Uuid(value) => query.bind(value),
        })
}

pub(crate) fn for_postgres(
    sql: &'static str,
    args: &[Value<'_>],
) -> Query<'static, Postgres, PgArguments> {
    args.iter()
        .fold(sqlx::query(sql), |query, value| match *value {
            Value::Null => query.bind(UntypedNull),
            Value::Bool(value) => query.bind(value),
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
            Value::Uuid(value) => query.bind(value),
        })
}

/// A NULL whose type the server infers from its place in the statement, as it does for a literal.
/// A typed one would not fit a column of another type.
struct UntypedNull;

/// PostgreSQL's `unknown`.
const UNKNOWN: Oid = Oid(705);

impl sqlx::Type<Postgres> for UntypedNull {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UNKNOWN)
    }
}

impl sqlx::Encode<'_, Postgres> for UntypedNull {
    fn encode_by_ref(
        &self,
        _: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<IsNull, sqlx::error::BoxDynError> {
        Ok(IsNull::Yes)
    }
}
