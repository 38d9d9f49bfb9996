//! A tenant's secrets in the admin API, for its own administrators: whoever holds `manage:secrets` in a tenant
//! manages the secrets of that one alone.
//!
//! SECURITY: the pipeline lets nobody through whose own tenant is not the one in the path. Which tenant that is
//! stands in the caller and is never read from the request, so that no spelling of it names another.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, FromRequestParts, Path, Query, State};
use http::StatusCode;
use http::request::Parts;
use portcullis_console::api::{Failure, paging};
use portcullis_core::{Principal, Problem, TenantId, problem};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::manage::{self, Ended, Keyed, Rotated, SecretView, Written};
use super::{Error, Label, Listed, SecretStore};
use crate::audit::By;

/// As many secrets may a tenant make: each is a row for every administrator, and costs money where it is
/// carried to.
const MOST: u32 = 200;
/// What whoever wants one more is told.
pub(super) const FULL: &str =
    "must be that of one that is there: the tenant has 200, and may have no more";

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    SecretStore: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_own_secrets))
        .routes(routes!(
            show_own_secret,
            write_own_secret,
            remove_own_secret
        ))
        .routes(routes!(rotate_own_secret))
        .routes(routes!(end_previous_own_values))
}

/// The caller's tenant, and who they are.
pub(crate) struct Own {
    pub(crate) tenant: TenantId,
    by: By,
}

impl<S: Send + Sync> FromRequestParts<S> for Own {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let by = By::caller(&parts.extensions)?;
        let tenant = parts.extensions.get::<Principal>();
        let tenant = tenant.and_then(Principal::tenant);
        let tenant = tenant.ok_or(Problem::new(&problem::NOT_PERMITTED))?;
        Ok(Own { tenant, by })
    }
}

/// One of its secrets.
struct Named {
    label: Label,
    by: By,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Own { tenant, by } = Own::from_request_parts(parts, state).await?;
        let Path((_, name)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(&problem::NOT_FOUND))?;
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(paging::refused("query", "must be empty"));
        }
        let label = Label {
            tenant: Some(tenant),
            name: name.parse()?,
        };
        Ok(Named { label, by })
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Page {
    /// At most so many, by name. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The list goes on behind this name.
    after: Option<String>,
}

impl SecretStore {
    /// Without what is the operator's alone: where it is carried to.
    async fn view_of_tenant(&self, label: &Label) -> Result<Json<SecretView>, Error> {
        Ok(Json(self.whole_view(label).await?.for_tenants()))
    }
}

/// Lists the secrets of the caller's tenant, without their values.
#[utoipa::path(get, path = "/tenants/{tenant}/secrets", tag = "secrets", params(Page,
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "Secrets, by name", body = Vec<SecretView>)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn list_own_secrets(
    State(store): State<SecretStore>,
    own: Own,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<SecretView>>, Failure> {
    let Query(page) = page.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(page.limit)?;
    let after = page.after.as_deref().map(|name| {
        let name = name.parse().map_err(|_: Error| paging::unknown())?;
        let tenant = Some(own.tenant);
        Ok::<_, Failure>(Label { tenant, name })
    });
    let after = after.transpose()?;
    let listed = Listed::Of(Some(own.tenant));
    let list = store.list(listed, after.as_ref(), limit).await?;
    let list = list.iter().map(|one| store.view(one).for_tenants());
    Ok(Json(list.collect()))
}

/// Shows one of the caller's tenant with its versions, without their values.
#[utoipa::path(get, path = "/tenants/{tenant}/secrets/{name}", tag = "secrets", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("name" = String, Path, description = "The secret's name")),
    responses((status = 200, description = "The secret", body = SecretView)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn show_own_secret(
    State(store): State<SecretStore>,
    named: Named,
) -> Result<Json<SecretView>, Failure> {
    Ok(store.view_of_tenant(&named.label).await?)
}

/// Writes one of the caller's tenant: makes it, gives it a new version, or says something else about it. The
/// same again changes nothing.
#[utoipa::path(put, path = "/tenants/{tenant}/secrets/{name}", tag = "secrets", request_body = Written, params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("name" = String, Path, description = "The secret's name"),
    ("Idempotency-Key" = Option<String>, Header, description = "By what a repeated call is known")),
    responses((status = 200, description = "The secret as it is now", body = SecretView),
        (status = 201, description = "It is new", body = SecretView)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn write_own_secret(
    State(store): State<SecretStore>,
    named: Named,
    written: Keyed<Written>,
) -> Result<(StatusCode, Json<SecretView>), Failure> {
    let change = written.into_change()?;
    let (label, by) = (&named.label, &named.by);
    let done = store.put_of(label, &change, by, Some(MOST)).await?;
    Ok((
        manage::status_of(done),
        store.view_of_tenant(&named.label).await?,
    ))
}

/// Gives one of the caller's tenant a new value. The one before is served until the overlap is over.
#[utoipa::path(post, path = "/tenants/{tenant}/secrets/{name}/rotate", tag = "secrets", request_body = Rotated, params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("name" = String, Path, description = "The secret's name"),
    ("Idempotency-Key" = Option<String>, Header, description = "By what a repeated call is known")),
    responses((status = 200, description = "The secret as it is now", body = SecretView)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn rotate_own_secret(
    State(store): State<SecretStore>,
    named: Named,
    rotated: Keyed<Rotated>,
) -> Result<Json<SecretView>, Failure> {
    let rotation = rotated.into_rotation()?;
    store.rotate(&named.label, &rotation, &named.by).await?;
    Ok(store.view_of_tenant(&named.label).await?)
}

/// Ends every value of one of the caller's tenant but the one in use, at once.
#[utoipa::path(post, path = "/tenants/{tenant}/secrets/{name}/end-previous", tag = "secrets", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("name" = String, Path, description = "The secret's name")),
    responses((status = 200, description = "How many were ended", body = Ended)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn end_previous_own_values(
    State(store): State<SecretStore>,
    named: Named,
) -> Result<Json<Ended>, Failure> {
    let ended = store.end_previous(&named.label, &named.by).await?;
    Ok(Json(Ended { ended }))
}

/// Takes one of the caller's tenant out, with every version of it.
#[utoipa::path(delete, path = "/tenants/{tenant}/secrets/{name}", tag = "secrets", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("name" = String, Path, description = "The secret's name")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn remove_own_secret(
    State(store): State<SecretStore>,
    named: Named,
) -> Result<StatusCode, Failure> {
    store.remove(&named.label, &named.by).await?;
    Ok(StatusCode::NO_CONTENT)
}
