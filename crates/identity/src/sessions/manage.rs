//! Somebody's sessions in the admin API.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use portcullis_console::api::{Failure, parse_id};

use super::{SessionInfo, SignedInFor};
use crate::accounts::By;
use crate::admin_api::Admin;

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions, end_sessions))
        .routes(routes!(end_session))
}

/// A live session as an administrator sees it.
#[derive(Serialize, ToSchema)]
struct Session {
    id: String,
    /// `session`, or `tokens` of a client that is no browser.
    kind: SignedInFor,
    /// What kind of client it is, such as `Firefox on Linux`.
    name: String,
    created_at: String,
    last_seen_at: String,
    expires_at: String,
    /// The network that it signed in from.
    client_address: Option<String>,
    /// Where that is, such as `Berlin, Germany`, where the gate has a database of places that knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl From<SessionInfo> for Session {
    fn from(info: SessionInfo) -> Self {
        Session {
            id: info.id.to_string(),
            kind: info.kind,
            name: info.name,
            created_at: info.created_at.to_string(),
            last_seen_at: info.last_seen_at.to_string(),
            expires_at: info.expires_at.to_string(),
            client_address: info.client_address,
            place: info.place,
        }
    }
}

/// Lists the live sessions of an account, and the tokens of its sign-ins.
#[utoipa::path(get, path = "/users/{id}/sessions", tag = "sessions",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 200, description = "Sessions, newest first", body = Vec<Session>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_sessions(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Session>>, Failure> {
    let list = admin.accounts.sessions_of(parse_id(&id)?).await?;
    Ok(Json(list.into_iter().map(Session::from).collect()))
}

/// Ends one session of an account, or the tokens of one sign-in.
#[utoipa::path(delete, path = "/users/{id}/sessions/{session}", tag = "sessions",
    params(("id" = String, Path, format = Uuid, description = "The account's id"), ("session" = String, Path, format = Uuid, description = "The session's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn end_session(
    State(admin): State<Admin>,
    Path((id, session)): Path<(String, String)>,
    by: By,
) -> Result<StatusCode, Failure> {
    let (user, session) = (parse_id(&id)?, parse_id(&session)?);
    admin.accounts.end_session_of(user, session, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of an account, and the tokens of its sign-ins. Its API keys go on.
#[utoipa::path(delete, path = "/users/{id}/sessions", tag = "sessions",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn end_sessions(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    admin.accounts.end_sessions_of(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
