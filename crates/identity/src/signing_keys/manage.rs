//! Signing keys in the admin API: what `portcullis signing-keys` does.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input};
use portcullis_core::{Problem, problem};
use portcullis_vault::ring::KeyInfo;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Error, Rotated};
use crate::accounts::By;
use crate::admin_api::Admin;

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(list_signing_keys, rotate_signing_key))
        .routes(routes!(revoke_signing_key))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(match error {
            Error::Ring(error) => error.into(),
            Error::Store(error) => error.into(),
            Error::Trail(error) => error.into(),
        })
    }
}

/// A key that signs the gate's own tokens and assertions. What is secret of it is nowhere shown.
#[derive(Serialize, ToSchema)]
struct SigningKey {
    kid: String,
    /// `next` (published, does not sign yet), `signing`, `verifying`, `retired` or `revoked`.
    state: &'static str,
    created_at: String,
    signs_from: String,
}

impl From<KeyInfo> for SigningKey {
    fn from(info: KeyInfo) -> Self {
        SigningKey {
            kid: info.kid,
            state: info.state.as_str(),
            created_at: info.created_at,
            signs_from: info.signs_from,
        }
    }
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
struct NextKey {
    kid: String,
    signs_from: String,
}

impl From<Rotated> for NextKey {
    fn from(made: Rotated) -> Self {
        NextKey {
            kid: made.kid,
            signs_from: made.signs_from,
        }
    }
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// Let it sign now, and not in ten minutes, when everybody has read it: for a key that leaked.
    #[serde(default)]
    at_once: bool,
}

/// Lists the signing keys.
#[utoipa::path(get, path = "/signing-keys", tag = "signing-keys",
    responses((status = 200, description = "Keys, as the ring has them", body = Vec<SigningKey>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_signing_keys(State(admin): State<Admin>) -> Result<Json<Vec<SigningKey>>, Failure> {
    let list = admin.signing_keys.list().await?;
    Ok(Json(list.0.into_iter().map(SigningKey::from).collect()))
}

/// Makes the next signing key. Tokens that the old one signed count until they end.
#[utoipa::path(post, path = "/signing-keys", tag = "signing-keys", request_body = Rotate,
    responses((status = 201, description = "The key", body = NextKey)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn rotate_signing_key(
    State(admin): State<Admin>,
    by: By,
    Input(asked): Input<Rotate>,
) -> Result<(StatusCode, Json<NextKey>), Failure> {
    let made = admin.signing_keys.rotate(by.actor, asked.at_once).await?;
    // Another node was faster by a moment.
    let made = made.ok_or_else(|| Failure(Problem::new(&problem::CONFLICT)))?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Takes a signing key out: what it signed ends at once, everywhere.
#[utoipa::path(delete, path = "/signing-keys/{kid}", tag = "signing-keys",
    params(("kid" = String, Path, description = "The key's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn revoke_signing_key(
    State(admin): State<Admin>,
    Path(kid): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    if !admin.signing_keys.revoke(by.actor, &kid).await? {
        return Err(Failure(Problem::new(&problem::NOT_FOUND)));
    }
    // This node has no need to wait for the news of it.
    admin.accounts.distrust_tokens();
    Ok(StatusCode::NO_CONTENT)
}
