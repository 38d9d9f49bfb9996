//! Keys in the auth API: what people do with their own, and how anybody ends one that was found.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use portcullis_console::api::{Failure, Known, json, parse_id};
use portcullis_core::roles::Roles;
use portcullis_core::{Principal, Secret, Timestamp};
use portcullis_events::Actor;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Grantor, KeyInfo, Made, NewKey};
use crate::accounts::By;
use crate::api::{Api, signed_in};

/// A key as it is told: everything but its text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    pub(crate) id: String,
    /// The first characters of its text.
    hint: String,
    name: String,
    /// Whose key it is; nothing for a key of a tenant or of the operator.
    user_id: Option<String>,
    tenant_id: Option<String>,
    permissions: Vec<String>,
    /// Beginnings of the paths of routes that it may use; nothing for all that admit keys.
    routes: Option<Vec<String>>,
    /// A limit of its own.
    rate: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    /// Up to a minute late.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    /// The key that it was rotated to.
    successor_id: Option<String>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewKeyView {
    #[serde(flatten)]
    pub(crate) info: KeyView,
    /// The key itself. It is shown this once.
    pub(crate) key: String,
}

impl From<KeyInfo> for KeyView {
    fn from(info: KeyInfo) -> Self {
        let told = |at: Option<Timestamp>| at.map(|at| at.to_string());
        KeyView {
            id: info.id.to_string(),
            hint: info.hint,
            name: info.name,
            user_id: info.user.map(|id| id.to_string()),
            tenant_id: info.tenant.map(|id| id.to_string()),
            permissions: info.permissions,
            routes: info.routes,
            rate: info.rate.map(|rate| rate.to_string()),
            created_at: info.created_at.to_string(),
            expires_at: told(info.expires_at),
            last_used_at: told(info.last_used_at),
            revoked_at: told(info.revoked_at),
            successor_id: info.successor.map(|id| id.to_string()),
        }
    }
}

impl From<Made> for NewKeyView {
    fn from(made: Made) -> Self {
        NewKeyView {
            key: made.text.expose().clone(),
            info: made.info.into(),
        }
    }
}

impl From<super::Error> for Failure {
    fn from(error: super::Error) -> Self {
        Failure(error.into())
    }
}

/// A point in time as RFC 3339 writes it.
pub(crate) struct Instant(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Instant).map_err(D::Error::custom)
    }
}

/// What somebody asks for themselves. Owner and tenant are not theirs to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnKey {
    name: String,
    #[serde(default)]
    permissions: Vec<String>,
    routes: Option<Vec<String>>,
    expires_at: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    key: Secret<String>,
}

fn acting(api: &Api, parts: &http::request::Parts, actor: Actor) -> By {
    By::themselves(actor, api.client(parts))
}

pub(crate) async fn list(
    State(api): State<Api>,
    parts: http::request::Parts,
) -> Result<Json<Vec<KeyView>>, Failure> {
    let user = signed_in(&parts)?;
    let list = api
        .keys
        .list(Some(user.id), None, 1000)
        .await?
        .unwrap_or_default();
    Ok(Json(
        list.into_iter()
            .filter(|info| info.revoked_at.is_none())
            .map(KeyView::from)
            .collect(),
    ))
}

pub(crate) async fn create(
    State(api): State<Api>,
    Known(roles): Known,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?.clone();
    let input: OwnKey = json(&parts.headers, body).await?;
    let new = NewKey {
        name: input.name,
        permissions: input.permissions,
        routes: input.routes,
        rate: None,
        tenant: user.tenant,
        user: Some(user.id),
        expires_at: input.expires_at.map(|Instant(at)| at),
    };
    let by = acting(&api, &parts, Actor::User(user.id));
    let principal = Principal::User(user);
    let roles: &Roles = &roles;
    let made = api
        .keys
        .create(new, &Grantor::Caller(&principal, roles), &by)
        .await?;
    Ok((StatusCode::CREATED, Json(NewKeyView::from(made))).into_response())
}

pub(crate) async fn revoke(
    State(api): State<Api>,
    Path(id): Path<String>,
    parts: http::request::Parts,
) -> Result<StatusCode, Failure> {
    let user = signed_in(&parts)?;
    let by = acting(&api, &parts, Actor::User(user.id));
    api.keys.revoke(parse_id(&id)?, Some(user.id), &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the key in the body: who holds it may. The answer is the same whether there was one.
pub(crate) async fn report(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<StatusCode, Failure> {
    let (parts, body) = request.into_parts();
    let input: Report = json(&parts.headers, body).await?;
    let by = acting(&api, &parts, Actor::Anonymous);
    api.keys.report(&input.key, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
