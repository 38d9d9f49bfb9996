//! Where programs read private parts, and clients the public ones. When a handler runs, the pipeline has
//! let the caller through: a program's key with the scope, or a tenant's person or visitor.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use http::request::Parts;
use portcullis_console::api::{Caller, Failure, no_store, parse_id};
use portcullis_core::{Principal, Problem, TenantId, problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, Label, Name, PublicParts, SecretStore, Which};
use crate::audit::{Actor, By};

/// What a key must hold to read private parts. Not `read:`: whoever may `read:all` of the product's things
/// does not mean these.
pub const OPEN: &str = "open:secrets";
/// For programs, below what the binary reserves for itself.
pub const PRIVATE_PATH: &str = "/secrets/{name}";
/// For clients.
pub const PUBLIC_PATH: &str = "/secrets/{name}/public";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// The handlers, relative to where they are mounted.
///
/// SECURITY: two routers with a state each. That of the clients' one has no way to a private part (W4).
pub fn router(store: SecretStore) -> Router {
    let public: Router = Router::new()
        .route(PUBLIC_PATH, get(public_part))
        .with_state(store.public_parts());
    Router::new()
        .route(PRIVATE_PATH, get(private_part))
        .with_state(store)
        .merge(public)
        .layer(axum::middleware::map_response(no_store))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    tenant: Option<String>,
    version: Option<String>,
}

/// What a program asks for.
struct Asked {
    tenant: Option<TenantId>,
    which: Which,
    by: By,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query: Result<Query<Said>, QueryRejection> =
            Query::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|_| {
            Problem::new(&problem::INVALID_INPUT).field("query", "has `tenant` and `version` alone")
        })?;
        let Some(Principal::ApiKey(key)) = parts.extensions.get::<Principal>() else {
            return Err(Problem::new(&problem::NOT_PERMITTED).into());
        };
        let asked: Option<TenantId> = query.tenant.as_deref().map(parse_id).transpose()?;
        // SECURITY: a tenant's key never reads another's, nor the product's own.
        let tenant = match (key.tenant, asked) {
            (None, asked) => asked,
            (Some(own), None) => Some(own),
            (Some(own), Some(asked)) if own == asked => Some(own),
            (Some(_), Some(_)) => return Err(Problem::new(&problem::NOT_PERMITTED).into()),
        };
        Ok(Asked {
            tenant,
            which: which(query.version.as_deref())?,
            by: By::of(&parts.extensions, Actor::ApiKey(key.id)),
        })
    }
}

fn which(text: Option<&str>) -> Result<Which, Failure> {
    match text {
        None | Some("current") => Ok(Which::Current),
        Some("previous") => Ok(Which::Previous),
        Some(number) => number.parse().map(Which::Number).map_err(|_| {
            let said = "must be `current`, `previous` or a number";
            Problem::new(&problem::INVALID_INPUT)
                .field("version", said)
                .into()
        }),
    }
}

/// A name in the path; what is none names nothing.
fn name(text: &str) -> Result<Name, Failure> {
    parse_id(text)
}

/// With the private part: for programs alone.
#[derive(Serialize)]
struct PrivateView {
    name: Name,
    tenant: Option<TenantId>,
    version: i64,
    value: String,
    public: Map<String, Value>,
    /// Nothing: it is in use.
    served_until: Option<String>,
}

/// Has no field that a private part would fit in.
#[derive(Serialize)]
struct PublicView {
    name: Name,
    version: i64,
    public: Map<String, Value>,
}

async fn private_part(
    State(store): State<SecretStore>,
    Path(text): Path<String>,
    asked: Asked,
) -> Result<Json<PrivateView>, Failure> {
    let label = Label {
        tenant: asked.tenant,
        name: name(&text)?,
    };
    let served = store.read(&label, asked.which, &asked.by).await?;
    Ok(Json(PrivateView {
        name: label.name,
        tenant: label.tenant,
        version: served.version,
        value: served.value.expose().clone(),
        public: served.public.into_map(),
        served_until: served.served_until.map(|at| at.to_string()),
    }))
}

async fn public_part(
    State(parts): State<PublicParts>,
    Path(text): Path<String>,
    Caller(caller): Caller,
) -> Result<Json<PublicView>, Failure> {
    // SECURITY: the tenant is the caller's own, whatever the request says.
    let label = Label {
        tenant: caller.tenant(),
        name: name(&text)?,
    };
    let (version, public) = parts.of(&label).await?;
    Ok(Json(PublicView {
        name: label.name,
        version,
        public: public.into_map(),
    }))
}
