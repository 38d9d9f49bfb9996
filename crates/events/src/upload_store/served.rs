//! Where programs ask for permits, read and delete, and where browsers come with a permit. When a handler of
//! the programs' runs, the pipeline has let a key with the scope through.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use portcullis_console::api::{Caller, Failure, Input, Streamed, no_store, parse_id};
use portcullis_core::{Principal, Problem, Span, TenantId, problem};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::permit::{LONGEST, USUAL};
use super::{Error, Opened, UploadStore};
use crate::audit::{Actor, By};

/// What a key must hold to read and to ask for permits. Not `read:`: whoever may `read:all` of the product's
/// things does not mean these.
pub const OPEN: &str = "open:uploads";
/// What a key must hold to delete.
pub const DELETE: &str = "delete:uploads";
/// For whoever has a permit, below what the binary reserves for itself. Programs delete there.
pub const ONE_PATH: &str = "/uploads/{id}";
/// For programs: the content.
pub const CONTENT_PATH: &str = "/uploads/{id}/content";
/// For programs: leave for others.
pub const PERMITS_PATH: &str = "/uploads/{id}/permits";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// What the handlers work with.
#[derive(Clone)]
struct Served {
    store: UploadStore,
    /// What the binary reserves for itself.
    base: &'static str,
}

/// The handlers, relative to where they are mounted.
pub fn router(store: UploadStore, base: &'static str) -> Router {
    Router::new()
        .route(ONE_PATH, get(by_permit).delete(delete_one))
        .route(CONTENT_PATH, get(content))
        .route(PERMITS_PATH, post(permit))
        .layer(axum::middleware::map_response(no_store))
        .with_state(Served { store, base })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTenant {
    tenant: Option<String>,
}

/// A program, and the tenant that it asks for.
struct Program {
    tenant: Option<TenantId>,
    own: Option<TenantId>,
    by: By,
}

impl<S: Send + Sync> FromRequestParts<S> for Program {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query: Result<Query<OfTenant>, QueryRejection> =
            Query::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|_| {
            Problem::new(&problem::INVALID_INPUT).field("query", "has `tenant` alone")
        })?;
        let Some(Principal::ApiKey(key)) = parts.extensions.get::<Principal>() else {
            return Err(Problem::new(&problem::NOT_PERMITTED).into());
        };
        let asked: Option<TenantId> = query.tenant.as_deref().map(parse_id).transpose()?;
        Ok(Program {
            tenant: tenant(key.tenant, asked)?,
            own: key.tenant,
            by: By::of(&parts.extensions, Actor::ApiKey(key.id)),
        })
    }
}

/// SECURITY: a tenant's key never works for another, whatever the request says.
fn tenant(own: Option<TenantId>, asked: Option<TenantId>) -> Result<Option<TenantId>, Problem> {
    match (own, asked) {
        (None, asked) => Ok(asked),
        (Some(own), None) => Ok(Some(own)),
        (Some(own), Some(asked)) if own == asked => Ok(Some(own)),
        (Some(_), Some(_)) => Err(Problem::new(&problem::NOT_PERMITTED)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForWhom {
    /// Whose upload it is. Nothing: the key's own tenant, or where the key has none, no tenant.
    #[serde(default)]
    tenant: Option<Uuid>,
    /// Who alone may use it: the id of a user or a visitor.
    #[serde(default)]
    subject: Option<Uuid>,
    #[serde(default)]
    lifetime: Option<Span>,
}

#[derive(Serialize)]
struct PermitView {
    permit: String,
    /// Where it is used, on the gate that the browser knows.
    path: String,
    expires_at: String,
}

async fn permit(
    State(served): State<Served>,
    Path(id): Path<String>,
    program: Program,
    Input(asked): Input<ForWhom>,
) -> Result<(StatusCode, Json<PermitView>), Failure> {
    let id: Uuid = parse_id(&id)?;
    let lifetime = asked.lifetime.unwrap_or(USUAL);
    if lifetime.is_zero() || lifetime > LONGEST {
        let said = "must be more than nothing and at most `5m`";
        return Err(Problem::new(&problem::INVALID_INPUT)
            .field("lifetime", said)
            .into());
    }
    let of_body = asked.tenant.map(TenantId::from_uuid);
    let of = match (program.tenant, of_body) {
        (Some(one), Some(other)) if one != other => {
            return Err(Problem::new(&problem::NOT_PERMITTED).into());
        }
        (one, other) => tenant(program.own, one.or(other))?,
    };
    let (permit, expires_at) = served
        .store
        .permit((id, of), asked.subject, lifetime, &program.by)
        .await?;
    let view = PermitView {
        path: format!("{}/uploads/{id}?permit={permit}", served.base),
        permit,
        expires_at: expires_at.to_string(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

async fn content(
    State(served): State<Served>,
    Path(id): Path<String>,
    program: Program,
) -> Result<Response, Failure> {
    let id = parse_id(&id)?;
    let opened = served.store.open(id, program.tenant, &program.by).await?;
    answer(opened).map_err(Failure)
}

async fn delete_one(
    State(served): State<Served>,
    Path(id): Path<String>,
    program: Program,
) -> Result<StatusCode, Failure> {
    let id = parse_id(&id)?;
    served.store.delete(id, program.tenant, &program.by).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct WithPermit {
    permit: Option<String>,
}

/// Whoever comes without one is told what everybody is told.
async fn by_permit(
    State(served): State<Served>,
    Path(id): Path<String>,
    query: Result<Query<WithPermit>, QueryRejection>,
    Caller(caller): Caller,
    Asking(by): Asking,
) -> Result<Response, Failure> {
    let id = parse_id(&id)?;
    let permit = query.ok().and_then(|Query(query)| query.permit);
    let permit = permit.ok_or(Error::NotFound)?;
    let opened = served
        .store
        .open_by_permit(id, &permit, &caller, &by)
        .await?;
    answer(opened).map_err(Failure)
}

/// Whoever asks, also a stranger.
struct Asking(By);

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Principal>();
        let actor = caller.map_or(Actor::Anonymous, Actor::from);
        Ok(Asking(By::of(&parts.extensions, actor)))
    }
}

/// Ranges are not served: a part would be handed out before the whole was verified.
fn answer(opened: Opened) -> Result<Response, Problem> {
    let mut response = Response::new(opened.body);
    response.extensions_mut().insert(Streamed::Download);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(opened.stored.kind.media_type());
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, opened.stored.size.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    let name = opened
        .name
        .unwrap_or_else(|| format!("{}.{}", opened.stored.id, opened.stored.kind));
    headers.insert(header::CONTENT_DISPOSITION, attachment(&name)?);
    Ok(response)
}

/// Never shown in place; with the name in a spelling that all read alike (RFC 6266, RFC 8187).
fn attachment(name: &str) -> Result<HeaderValue, Problem> {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-()".contains(&byte);
    let text = if name.bytes().all(is_plain) {
        format!("attachment; filename=\"{name}\"")
    } else {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        format!("attachment; filename*=UTF-8''{encoded}")
    };
    HeaderValue::try_from(text).map_err(Problem::internal)
}
