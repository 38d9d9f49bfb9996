//! Who somebody is at a provider, in the admin API.

use axum::extract::{Path, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, parse_id};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::link::Error;
use crate::accounts::By;
use crate::admin_api::Admin;

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new().routes(routes!(link_identity))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// A person as a provider knows them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewIdentity {
    /// The NAME of `[issuer.NAME.login]`.
    provider: String,
    /// The `sub` that it has for them.
    subject: String,
}

/// Lets a person of a provider sign in to an account that is there already.
#[utoipa::path(post, path = "/users/{id}/identities", tag = "users", request_body = NewIdentity,
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn link_identity(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
    Input(new): Input<NewIdentity>,
) -> Result<StatusCode, Failure> {
    let user = parse_id(&id)?;
    admin
        .openid
        .link(user, &new.provider, &new.subject, &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
