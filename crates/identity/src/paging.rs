//! Lists by age, newest first, a page at a time: behind a row that the caller was given last.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use portcullis_console::api::Failure;
use portcullis_core::{Problem, TenantId, Timestamp, problem};
use portcullis_store::{Db, Error};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

/// No page has more rows.
pub(crate) const MOST: u32 = 1000;

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
    const LIMIT: &str = "must be a number from 1 to 1000";
    let Query(page) = asked.map_err(|_| refused("limit", LIMIT))?;
    let limit = page.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(refused("limit", LIMIT));
    }
    let after = page.after.map(|id| id.parse().map_err(|_| unknown()));
    Ok((after.transpose()?, limit))
}

/// For a page behind a row that is not there.
pub(crate) fn unknown() -> Failure {
    refused("after", "must be the last of the list before")
}

fn refused(field: &'static str, message: &'static str) -> Failure {
    Failure(Problem::new(&problem::INVALID_INPUT).field(field, message))
}

/// Where a tenant's list goes on. `sql` reads `created_at` of the row `$1` of the tenant `$2`.
/// Nothing where there is no such row.
pub(crate) async fn behind(
    db: &Db,
    sql: &'static str,
    tenant: TenantId,
    after: Option<Uuid>,
) -> Result<Option<(Timestamp, Uuid)>, Error> {
    let Some(id) = after else {
        return Ok(Some((Timestamp::from_micros(i64::MAX), Uuid::max())));
    };
    let row = db.fetch_optional(sql, &[id.into(), tenant.into()]).await?;
    row.map(|row| Ok((row.timestamp("created_at")?, id)))
        .transpose()
}
