//! Accounts in the admin API.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, Known, parse_id};
use portcullis_core::{Problem, Secret, UserId, problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Account;
use crate::accounts::{By, Registering};
use crate::admin_api::Admin;
use crate::paging::{self, Asked, Page};

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(set_roles))
        .routes(routes!(set_password))
        .routes(routes!(deactivate))
        .routes(routes!(activate))
        .routes(routes!(send_reset))
        .routes(routes!(reset_factors))
}

/// An account as an administrator sees it.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    id: String,
    email: String,
    display_name: Option<String>,
    tenant_id: Option<String>,
    roles: Vec<String>,
    created_at: String,
    deactivated_at: Option<String>,
    /// When the owner last proved to receive mail at the address.
    email_verified_at: Option<String>,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        User {
            id: account.id.to_string(),
            email: account.email,
            display_name: account.display_name,
            tenant_id: account.tenant.map(|tenant| tenant.to_string()),
            roles: account.roles,
            created_at: account.created_at.to_string(),
            deactivated_at: account.deactivated_at.map(|at| at.to_string()),
            email_verified_at: account.email_verified_at.map(|at| at.to_string()),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    #[schema(value_type = String, format = Password)]
    password: Secret<String>,
    display_name: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRoles {
    roles: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    #[schema(value_type = String, format = Password)]
    password: Secret<String>,
}

/// Lists accounts.
#[utoipa::path(get, path = "/users", tag = "users", params(Page),
    responses((status = 200, description = "Accounts, newest first", body = Vec<User>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_users(State(admin): State<Admin>, page: Asked) -> Result<Json<Vec<User>>, Failure> {
    let (after, limit) = paging::read(page)?;
    let after = after.map(UserId::from_uuid);
    let accounts = admin.accounts.list(after, limit).await?;
    let accounts = accounts.ok_or_else(paging::unknown)?;
    Ok(Json(accounts.into_iter().map(User::from).collect()))
}

/// Opens an account.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    responses((status = 201, description = "The account", body = User)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn create_user(
    State(admin): State<Admin>,
    by: By,
    Known(known): Known,
    Input(new): Input<NewUser>,
) -> Result<(StatusCode, Json<User>), Failure> {
    check_roles(&known, &new.roles)?;
    let registering = Registering {
        email: &new.email,
        password: &new.password,
        display_name: new.display_name.as_deref(),
    };
    let made = admin
        .accounts
        .create(&registering, &new.roles, None, &by)
        .await?;
    let account = admin.accounts.find(made.id).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Replaces an account's roles. They count from its next request on.
#[utoipa::path(put, path = "/users/{id}/roles", tag = "users", request_body = NewRoles,
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn set_roles(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
    Known(known): Known,
    Input(new): Input<NewRoles>,
) -> Result<StatusCode, Failure> {
    check_roles(&known, &new.roles)?;
    admin
        .accounts
        .set_roles(parse_id(&id)?, &new.roles, &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets an account's password. Its sessions end.
#[utoipa::path(put, path = "/users/{id}/password", tag = "users", request_body = NewPassword,
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn set_password(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
    Input(new): Input<NewPassword>,
) -> Result<StatusCode, Failure> {
    admin
        .accounts
        .set_password(parse_id(&id)?, &new.password, &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches an account off. Its sessions end.
#[utoipa::path(post, path = "/users/{id}/deactivate", tag = "users",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn deactivate(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    admin.accounts.deactivate(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes every second factor of an account away, for somebody who lost them. Its sessions end.
#[utoipa::path(post, path = "/users/{id}/reset-factors", tag = "users",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn reset_factors(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    admin.accounts.reset_factors(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches an account on again. Its sessions stay ended; its API keys work again.
#[utoipa::path(post, path = "/users/{id}/activate", tag = "users",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn activate(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    admin.accounts.reactivate(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends an account's owner a link to a new password. Not there unless mail is configured.
#[utoipa::path(post, path = "/users/{id}/send-reset", tag = "users",
    params(("id" = String, Path, format = Uuid, description = "The account's id")),
    responses((status = 204, description = "The letter is on its way")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn send_reset(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    admin.accounts.send_reset(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn check_roles(
    known: &portcullis_core::roles::Roles,
    roles: &[String],
) -> Result<(), Failure> {
    if roles.iter().all(|role| known.contains(role)) {
        return Ok(());
    }
    Err(Failure(
        Problem::new(&problem::INVALID_INPUT).field("roles", "must be roles that are defined"),
    ))
}
