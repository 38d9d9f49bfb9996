//! Stored uploads in the admin API: what there is, and what becomes of what is in quarantine. No content leaves
//! here.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Path, Query, State};
use http::StatusCode;
use portcullis_console::api::{Failure, paging, parse_id};
use portcullis_core::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{State as Stage, Stored, UploadStore};
use crate::audit::By;

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    UploadStore: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_uploads))
        .routes(routes!(show_upload, delete_upload))
        .routes(routes!(release_upload))
}

/// A file that the gate keeps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredUpload)]
pub struct UploadView {
    pub id: String,
    /// Whose it is; nothing for no tenant's.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Who sent it: `user:ID`, `api-key:ID`, `visitor:ID` or `anonymous`.
    pub owner: String,
    /// Nothing in lists: names are sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Such as `pdf`.
    pub r#type: &'static str,
    pub size: u64,
    pub sha256: String,
    /// `kept` or `quarantined`.
    pub state: &'static str,
    /// `clean`, `not-scanned`, `infected` or `unscanned`.
    pub verdict: &'static str,
    /// What the scanner calls it.
    pub found: Option<String>,
    pub created_at: String,
    /// When the product took it, as far as the gate knows.
    pub taken_at: Option<String>,
}

impl UploadView {
    pub fn of(stored: Stored, name: Option<String>) -> Self {
        UploadView {
            id: stored.id.to_string(),
            tenant: stored.tenant,
            owner: stored.owner,
            name,
            r#type: stored.kind.as_str(),
            size: stored.size,
            sha256: hex::encode(stored.sha256),
            state: stored.state.as_str(),
            verdict: stored.verdict.as_str(),
            found: stored.found,
            created_at: stored.created_at.to_string(),
            taken_at: stored.taken_at.map(|at| at.to_string()),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many, newest first. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The list goes on behind this upload.
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<String>,
    /// Only what is `kept` or `quarantined`.
    #[param(pattern = "^(kept|quarantined)$")]
    state: Option<String>,
}

/// Lists the files that the gate keeps.
#[utoipa::path(get, path = "/uploads", tag = "uploads", params(Asked),
    responses((status = 200, description = "Uploads, newest first", body = Vec<UploadView>)),
    security(("session" = ["manage:uploads"]), ("api-key" = ["manage:uploads"])))]
async fn list_uploads(
    State(store): State<UploadStore>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<UploadView>>, Failure> {
    let Query(asked) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(asked.limit)?;
    let state = asked.state.map(|word| {
        Stage::parse(&word).ok_or_else(|| paging::refused("state", "must be kept or quarantined"))
    });
    let after = paging::after(asked.after)?;
    let list = store.list(state.transpose()?, after, limit).await?;
    let view = |stored| UploadView::of(stored, None);
    Ok(Json(list.into_iter().map(view).collect()))
}

/// Shows one, with its name.
#[utoipa::path(get, path = "/uploads/{id}", tag = "uploads",
    params(("id" = String, Path, format = Uuid, description = "The upload's id")),
    responses((status = 200, description = "The upload", body = UploadView)),
    security(("session" = ["manage:uploads"]), ("api-key" = ["manage:uploads"])))]
async fn show_upload(
    State(store): State<UploadStore>,
    Path(id): Path<String>,
) -> Result<Json<UploadView>, Failure> {
    let (stored, name) = store.show(parse_id(&id)?).await?;
    Ok(Json(UploadView::of(stored, name)))
}

/// Deletes one, in quarantine or not.
#[utoipa::path(delete, path = "/uploads/{id}", tag = "uploads",
    params(("id" = String, Path, format = Uuid, description = "The upload's id")),
    responses((status = 204, description = "It is gone")),
    security(("session" = ["manage:uploads"]), ("api-key" = ["manage:uploads"])))]
async fn delete_upload(
    State(store): State<UploadStore>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    store.discard(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Releases one from quarantine, if the scanner finds nothing in it now.
#[utoipa::path(post, path = "/uploads/{id}/release", tag = "uploads",
    params(("id" = String, Path, format = Uuid, description = "The upload's id")),
    responses((status = 204, description = "It is served from now on")),
    security(("session" = ["manage:uploads"]), ("api-key" = ["manage:uploads"])))]
async fn release_upload(
    State(store): State<UploadStore>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    store.release(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
