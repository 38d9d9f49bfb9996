//! Keys in the admin API.

use axum::Json;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use portcullis_console::api::{Caller, Failure, Input, Known, parse_id};
use portcullis_core::limit::Rate;
use portcullis_core::{Principal, Problem, Span, TenantId, UserId, problem};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::handlers::{Instant, KeyView, NewKeyView};
use super::{Grantor, NewKey};
use crate::accounts::By;
use crate::admin_api::Admin;

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(list_keys, create_key))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Page {
    /// At most so many, newest first. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Those of this account alone.
    user_id: Option<String>,
    /// The list goes on behind this key.
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<String>,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    name: String,
    /// What it may do. The caller must hold each.
    #[serde(default)]
    permissions: Vec<String>,
    /// Beginnings of the paths of routes that it may use. Default: all that admit keys.
    routes: Option<Vec<String>>,
    /// A limit of its own, such as `60/minute`.
    #[schema(value_type = Option<String>)]
    rate: Option<Rate>,
    #[schema(value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
    /// Whose key it is to be: it then ends with the account, and may no more than its owner.
    #[schema(value_type = Option<String>, format = Uuid)]
    user_id: Option<UserId>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the old key still works, such as `24h`. Default `24h`.
    #[schema(value_type = Option<String>)]
    overlap: Option<Span>,
}

/// Lists keys, revoked ones included.
#[utoipa::path(get, path = "/keys", tag = "keys", params(Page),
    responses((status = 200, description = "Keys, newest first", body = Vec<KeyView>)),
    security(("session" = ["manage:keys"]), ("api-key" = ["manage:keys"])))]
async fn list_keys(
    State(admin): State<Admin>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<KeyView>>, Failure> {
    let Query(page) = page.map_err(|_| bad_query("limit", "must be a number from 1 to 1000"))?;
    let limit = page.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(bad_query("limit", "must be a number from 1 to 1000"));
    }
    let user = match page.user_id.map(|id| id.parse()) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(bad_query("user_id", "must be the id of an account")),
    };
    let unknown = || bad_query("after", "must be the last of the list before");
    let after = page.after.map(|id| id.parse().map_err(|_| unknown()));
    let list = admin.keys.list(user, after.transpose()?, limit).await?;
    let list = list.ok_or_else(unknown)?;
    Ok(Json(list.into_iter().map(KeyView::from).collect()))
}

fn bad_query(field: &'static str, message: &'static str) -> Failure {
    Failure(Problem::new(&problem::INVALID_INPUT).field(field, message))
}

/// Makes a key. The answer is the only place where its text stands.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = KeyRequest,
    responses((status = 201, description = "The key", body = NewKeyView)),
    security(("session" = ["manage:keys"]), ("api-key" = ["manage:keys"])))]
async fn create_key(
    State(admin): State<Admin>,
    by: By,
    Caller(caller): Caller,
    Known(roles): Known,
    Input(input): Input<KeyRequest>,
) -> Result<(StatusCode, Json<NewKeyView>), Failure> {
    let new = NewKey {
        name: input.name,
        permissions: input.permissions,
        routes: input.routes,
        rate: input.rate,
        tenant: tenant(&caller, input.tenant_id)?,
        user: input.user_id,
        expires_at: input.expires_at.map(|Instant(at)| at),
    };
    let made = admin
        .keys
        .create(new, &Grantor::Caller(&caller, &roles), &by)
        .await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// A caller of a tenant makes keys of that tenant and of no other.
pub(super) fn tenant(
    caller: &Principal,
    asked: Option<TenantId>,
) -> Result<Option<TenantId>, Failure> {
    match (caller.tenant(), asked) {
        (None, asked) => Ok(asked),
        (Some(own), None) => Ok(Some(own)),
        (Some(own), Some(asked)) if own == asked => Ok(Some(own)),
        (Some(_), Some(_)) => Err(bad_query("tenant_id", "must be your own tenant")),
    }
}

/// Makes another key like this one. The old one works until the overlap has passed.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", request_body = Rotation,
    params(("id" = String, Path, format = Uuid, description = "The key's id")),
    responses((status = 201, description = "The new key", body = NewKeyView)),
    security(("session" = ["manage:keys"]), ("api-key" = ["manage:keys"])))]
async fn rotate_key(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
    Caller(caller): Caller,
    Known(roles): Known,
    Input(input): Input<Rotation>,
) -> Result<(StatusCode, Json<NewKeyView>), Failure> {
    let overlap = input.overlap.unwrap_or(Span::from_hours(24));
    longest_overlap(overlap)?;
    let grantor = Grantor::Caller(&caller, &roles);
    let made = admin
        .keys
        .rotate(parse_id(&id)?, overlap, &grantor, &by)
        .await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// A rotated key goes on for a while, and not for ever.
pub(super) fn longest_overlap(overlap: Span) -> Result<(), Failure> {
    if overlap > Span::from_days(90) {
        return Err(bad_query("overlap", "must be at most 90 days"));
    }
    Ok(())
}

/// Ends a key. It is refused from the next request on.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys",
    params(("id" = String, Path, format = Uuid, description = "The key's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:keys"]), ("api-key" = ["manage:keys"])))]
async fn revoke_key(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    admin.keys.revoke(parse_id(&id)?, None, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
