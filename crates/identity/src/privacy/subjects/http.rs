//! Where the product asks for what is held of somebody whom it alone knows, and has it erased.
//!
//! By the time a handler runs, the pipeline has let a program's key through that holds the route's permission. A key
//! of a tenant works for that tenant alone. Names stand in the body: no log has them.

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use http::Request;
use portcullis_console::api::{Failure, json, no_store};
use portcullis_core::{Principal, Problem, problem};
use portcullis_events::By;
use serde::Deserialize;

use super::Named;
use crate::consents::http::subject;
use crate::privacy::Privacy;
use crate::privacy::manage::{ErasedView, download};

/// What a key must hold to export.
pub const EXPORT: &str = "export:subjects";
/// What a key must hold to erase.
pub const ERASE: &str = "erase:subjects";
/// Below what the binary reserves for itself, with the permission that each asks for.
pub const ROUTES: [(&str, &str); 2] = [
    ("/personal-data/export", EXPORT),
    ("/personal-data/erase", ERASE),
];

/// For the product, relative to where it is mounted.
pub fn router(privacy: Privacy) -> Router {
    Router::new()
        .route("/personal-data/export", post(export))
        .route("/personal-data/erase", post(erase))
        .layer(axum::middleware::map_response(no_store))
        .with_state(privacy)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The tenant's id. Nothing: the key's own, or where the key has none, no tenant.
    #[serde(default)]
    tenant: Option<String>,
    /// What the product calls the person.
    subject: String,
    /// What else they are called in messages and texts. For a key of no tenant alone.
    #[serde(default)]
    also: Vec<String>,
}

async fn asked(request: Request<Body>) -> Result<(Named, By), Failure> {
    let (parts, body) = request.into_parts();
    let asked: Asked = json(&parts.headers, body).await?;
    let (subject, by) = subject(&parts, asked.tenant.as_deref(), &asked.subject)?;
    let key = parts.extensions.get::<Principal>();
    // SECURITY: messages and files of incidents belong to no tenant: a tenant's key would read and empty those of others.
    if !asked.also.is_empty() && key.is_none_or(|key| key.tenant().is_some()) {
        return Err(Problem::new(&problem::INVALID_INPUT)
            .field(
                "also",
                "is for a key of no tenant: what it is looked for in belongs to none",
            )
            .into());
    }
    Ok((Named::new(subject, asked.also)?, by))
}

async fn export(
    State(privacy): State<Privacy>,
    request: Request<Body>,
) -> Result<impl IntoResponse, Failure> {
    let (who, by) = asked(request).await?;
    Ok(download(privacy.export_subject(&who, &by).await?))
}

async fn erase(
    State(privacy): State<Privacy>,
    request: Request<Body>,
) -> Result<Json<ErasedView>, Failure> {
    let (who, by) = asked(request).await?;
    Ok(Json(privacy.erase_subject(&who, &by).await?.into()))
}
