//! Lists by age, newest first, a page at a time: behind a row that the caller was given last.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use portcullis_console::api::{Failure, paging};
use portcullis_core::{TenantId, Timestamp};
use portcullis_store::{Db, Error, Row, Value};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

pub(crate) use portcullis_console::api::paging::{MOST, unknown};

/// What a caller of the admin API says of a page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// At most so many, newest first. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The list goes on behind the row with this id, the last of the list before.
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<String>,
}

/// As axum hands it over.
pub(crate) type Asked = Result<Query<Page>, QueryRejection>;

/// Where the page begins, and how long it is.
pub(crate) fn read(asked: Asked) -> Result<(Option<Uuid>, u32), Failure> {
    let Query(page) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(page.limit)?;
    Ok((paging::after(page.after)?, limit))
}

/// Where a list goes on. `sql` reads `created_at` of the row `$1`, and of the tenant `$2` where there is
/// one. Nothing where there is no such row.
pub(crate) async fn behind(
    db: &Db,
    sql: &'static str,
    tenant: Option<TenantId>,
    after: Option<Uuid>,
) -> Result<Option<(Timestamp, Uuid)>, Error> {
    let Some(id) = after else {
        return Ok(Some((Timestamp::from_micros(i64::MAX), Uuid::max())));
    };
    let mut args = vec![id.into()];
    args.extend(tenant.map(Value::from));
    let row = db.fetch_optional(sql, &args).await?;
    row.map(|row| Ok((row.timestamp("created_at")?, id)))
        .transpose()
}

/// A page of what a tenant has open at `now`. `place` is as for [`behind`]; `sql` has `$1` for the tenant,
/// `$2` for the time, `$3` and `$4` for where it goes on, `$5` for its length.
pub(crate) async fn open(
    db: &Db,
    (place, sql): (&'static str, &'static str),
    (tenant, now): (TenantId, Timestamp),
    (after, limit): (Option<Uuid>, u32),
) -> Result<Option<Vec<Row>>, Error> {
    let Some((at, id)) = behind(db, place, Some(tenant), after).await? else {
        return Ok(None);
    };
    let args = [
        tenant.into(),
        now.into(),
        at.into(),
        id.into(),
        limit.into(),
    ];
    db.fetch_all(sql, &args).await.map(Some)
}
