//! Where the product writes consents down and asks for them, and where people do so for themselves.
//!
//! By the time a handler runs, the pipeline has let a program's key through that holds the route's permission,
//! or a person. A key of a tenant works for that tenant alone, and a person for themselves.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use http::Request;
use http::request::Parts;
use portcullis_console::api::{Failure, json, no_store, parse_id};
use portcullis_core::{Principal, Problem, TenantId, problem};
use portcullis_events::{Actor, By};
use serde::{Deserialize, Serialize};

use super::{Consent, Consents, Entry, Error, New, State as Said, Subject};
use crate::api::{Api, signed_in};

/// What a key must hold to write.
pub const WRITE: &str = "consents:write";
/// What a key must hold to read.
pub const READ: &str = "consents:read";
/// Below what the binary reserves for itself.
pub const PATH: &str = "/consents";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// For the product, relative to where it is mounted.
pub fn router(consents: Consents) -> Router {
    Router::new()
        .route(PATH, get(read).post(write))
        .layer(axum::middleware::map_response(no_store))
        .with_state(consents)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    subject: String,
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToWrite {
    /// The tenant's id. Nothing: the key's own, or where the key has none, no tenant.
    #[serde(default)]
    tenant: Option<String>,
    subject: String,
    purpose: String,
    /// The version that was shown. Nothing: the one of the policy.
    #[serde(default)]
    version: Option<String>,
    state: Said,
}

#[derive(Serialize)]
pub(crate) struct Standing {
    consents: Vec<Consent>,
    /// Newest first, up to a thousand.
    history: Vec<Entry>,
}

/// The program that calls, and for whom.
pub(crate) fn subject(
    parts: &Parts,
    asked: Option<&str>,
    name: &str,
) -> Result<(Subject, By), Failure> {
    let Some(Principal::ApiKey(key)) = parts.extensions.get::<Principal>() else {
        return Err(Problem::new(&problem::NOT_PERMITTED).into());
    };
    let asked: Option<TenantId> = asked.map(parse_id).transpose()?;
    // SECURITY: a tenant's key never works for another, whatever the request says.
    let tenant = match (key.tenant, asked) {
        (None, asked) => asked,
        (Some(own), None) => Some(own),
        (Some(own), Some(asked)) if own == asked => Some(own),
        (Some(_), Some(_)) => return Err(Problem::new(&problem::NOT_PERMITTED).into()),
    };
    let by = By::of(&parts.extensions, Actor::ApiKey(key.id));
    Ok((Subject::new(tenant, name)?, by))
}

async fn read(State(consents): State<Consents>, parts: Parts) -> Result<Json<Standing>, Failure> {
    let mut parts = parts;
    let query: Result<Query<Asked>, QueryRejection> =
        Query::from_request_parts(&mut parts, &()).await;
    let Query(asked) = query.map_err(|_| {
        Problem::new(&problem::INVALID_INPUT).field("query", "has `subject` and `tenant` alone")
    })?;
    let (subject, _) = subject(&parts, asked.tenant.as_deref(), &asked.subject)?;
    Ok(Json(Standing {
        consents: consents.standing(&subject).await?,
        history: consents.history(&subject).await?,
    }))
}

async fn write(
    State(consents): State<Consents>,
    request: Request<Body>,
) -> Result<Json<Entry>, Failure> {
    let (parts, body) = request.into_parts();
    let asked: ToWrite = json(&parts.headers, body).await?;
    let (subject, by) = subject(&parts, asked.tenant.as_deref(), &asked.subject)?;
    let new = New {
        purpose: &asked.purpose,
        version: asked.version.as_deref(),
        state: asked.state,
    };
    Ok(Json(consents.record(&subject, &new, &by).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    purpose: String,
    #[serde(default)]
    version: Option<String>,
    state: Said,
}

/// A person's own, in the auth API.
pub(crate) async fn read_own(
    State(api): State<Api>,
    parts: Parts,
) -> Result<Json<Standing>, Failure> {
    let subject = Subject::user(signed_in(&parts)?.id);
    Ok(Json(Standing {
        consents: api.consents.standing(&subject).await?,
        history: api.consents.history(&subject).await?,
    }))
}

pub(crate) async fn write_own(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Json<Entry>, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?.id;
    let asked: Own = json(&parts.headers, body).await?;
    let by = By::of(&parts.extensions, Actor::User(user));
    let new = New {
        purpose: &asked.purpose,
        version: asked.version.as_deref(),
        state: asked.state,
    };
    let entry = api.consents.record(&Subject::user(user), &new, &by).await?;
    Ok(Json(entry))
}
