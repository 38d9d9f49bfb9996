//! The rights of a person in the admin API. Exporting and erasing are permissions of their own: whoever manages
//! users has neither by that.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use portcullis_console::api::{Failure, Streamed, parse_id};
use portcullis_core::UserId;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Erased, Error, Export};
use crate::accounts::By;
use crate::admin_api::Admin;

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(export_personal_data, erase_person))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// An export as a file. It may be larger than other answers of the gate, and has a limit of its own.
pub(crate) type Download = (Extension<Streamed>, [(HeaderName, HeaderValue); 2], Vec<u8>);

pub(crate) fn download(export: Export) -> Download {
    const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
    const FILE: HeaderValue =
        HeaderValue::from_static("attachment; filename=\"personal-data.jsonl\"");
    (
        Extension(Streamed::Download),
        [(CONTENT_TYPE, LINES), (CONTENT_DISPOSITION, FILE)],
        export.archive,
    )
}

/// Exports everything that the gate holds of a person, signed: one JSON object a line.
#[utoipa::path(get, path = "/users/{id}/personal-data", tag = "privacy",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 200, description = "The export", body = String, content_type = "application/x-ndjson")),
    security(("session" = ["export:users"]), ("api-key" = ["export:users"])))]
async fn export_personal_data(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<impl IntoResponse, Failure> {
    let id: UserId = parse_id(&id)?;
    let export = admin.privacy.export(id, &by.recorded()).await?;
    Ok(download(export))
}

/// What was destroyed, and what is left of it.
#[derive(Serialize, ToSchema)]
#[schema(as = ErasedPerson)]
pub(super) struct ErasedView {
    subject: String,
    erased_at: String,
    /// Rows that were deleted, by table.
    rows: BTreeMap<String, u64>,
    files: u64,
    /// Ids of the keys that were destroyed.
    keys: Vec<String>,
    /// Ids of the API keys that ended with the account.
    api_keys: Vec<String>,
    /// Events whose personal part was not sealed yet, and was taken out.
    events_taken_out: u64,
    /// What stays for a while, by table: messages that wait to be delivered, and are emptied behind that.
    kept: BTreeMap<String, u64>,
    /// By what the audit event names this.
    digest: String,
    /// What was still found afterwards: nothing, or the erasure does not hold.
    left: Vec<String>,
}

impl From<Erased> for ErasedView {
    fn from(erased: Erased) -> Self {
        let certificate = erased.certificate;
        ErasedView {
            subject: certificate.subject,
            erased_at: certificate.erased_at,
            rows: certificate.rows,
            files: certificate.files,
            keys: certificate.keys.iter().map(ToString::to_string).collect(),
            api_keys: certificate
                .api_keys
                .iter()
                .map(ToString::to_string)
                .collect(),
            events_taken_out: certificate.events_taken_out,
            kept: certificate.kept,
            digest: erased.digest.to_string(),
            left: erased.left,
        }
    }
}

/// Erases a person: keys, sessions, tokens, rows and files. What is erased never comes back.
#[utoipa::path(delete, path = "/users/{id}/personal-data", tag = "privacy",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 200, description = "What was destroyed", body = ErasedView)),
    security(("session" = ["erase:users"]), ("api-key" = ["erase:users"])))]
async fn erase_person(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<Json<ErasedView>, Failure> {
    let id: UserId = parse_id(&id)?;
    Ok(Json(admin.privacy.erase(id, &by).await?.into()))
}
