//! Tenants in the admin API.
//!
//! `/tenants/{tenant}/...` is bound to the caller's own tenant like any route of the product: the
//! binary makes `tenant = { path = "tenant" }` of the parameter's name. `/tenants` and
//! `/tenants/{id}/...` are about all tenants, and ask for a permission that is held everywhere.

use axum::Json;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, parse_id};
use portcullis_core::{Problem, Span, TenantId, UserId, problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::invitations::Written;
use super::made_roles::Gives;
use super::register::Tenant;
use super::{By, Error};
use crate::admin_api::Admin;
use crate::paging::{self, Asked};

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(list_tenants, create_tenant))
        .routes(routes!(suspend_tenant))
        .routes(routes!(resume_tenant))
        .routes(routes!(list_members))
        .routes(routes!(set_member_roles, remove_member))
        .routes(routes!(list_invitations, invite))
        .routes(routes!(revoke_invitation))
        .routes(routes!(list_roles))
        .routes(routes!(make_role, unmake_role))
        .routes(routes!(list_grants, lend))
        .routes(routes!(take_back))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// A tenant.
#[derive(Serialize, ToSchema)]
struct TenantView {
    id: String,
    slug: String,
    name: String,
    created_at: String,
    suspended_at: Option<String>,
    /// For the first member, shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<InvitationView>,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        TenantView {
            id: tenant.id.to_string(),
            slug: tenant.slug,
            name: tenant.name,
            created_at: tenant.created_at.to_string(),
            suspended_at: tenant.suspended_at.map(|at| at.to_string()),
            invitation: None,
        }
    }
}

/// A member of a tenant.
#[derive(Serialize, ToSchema)]
struct MemberView {
    user_id: String,
    email: String,
    display_name: Option<String>,
    roles: Vec<String>,
    joined_at: String,
    active: bool,
}

/// An open invitation.
#[derive(Serialize, ToSchema)]
struct InvitationView {
    id: String,
    email: String,
    roles: Vec<String>,
    invited_by: Option<String>,
    expires_at: String,
    /// Shown once, when the invitation is written. It is for the one who is invited.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl From<super::invitations::Invitation> for InvitationView {
    fn from(invitation: super::invitations::Invitation) -> Self {
        InvitationView {
            id: invitation.id.to_string(),
            email: invitation.email,
            roles: invitation.roles,
            invited_by: invitation.invited_by.map(|user| user.to_string()),
            expires_at: invitation.expires_at.to_string(),
            token: None,
        }
    }
}

impl From<Written> for InvitationView {
    fn from(written: Written) -> Self {
        InvitationView {
            token: Some(written.token.expose().clone()),
            ..written.invitation.into()
        }
    }
}

/// A role that the tenant made for itself. Members bear it as `custom:NAME`.
#[derive(Serialize, ToSchema)]
struct RoleView {
    name: String,
    permissions: Vec<String>,
    inherits: Vec<String>,
    updated_at: String,
}

/// A permission that one member lends to another.
#[derive(Serialize, ToSchema)]
struct GrantView {
    id: String,
    user_id: String,
    permission: String,
    granted_by: String,
    expires_at: String,
}

impl From<super::delegations::Delegation> for GrantView {
    fn from(lent: super::delegations::Delegation) -> Self {
        GrantView {
            id: lent.id.to_string(),
            user_id: lent.user_id.to_string(),
            permission: lent.permission,
            granted_by: lent.granted_by.to_string(),
            expires_at: lent.expires_at.to_string(),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    slug: String,
    name: String,
    /// The first member.
    invite: Option<NewInvitation>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewInvitation {
    email: String,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberRoles {
    roles: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoleGives {
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    inherits: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    user_id: String,
    permission: String,
    /// From `1m` to `30d`.
    #[schema(value_type = String, example = "8h")]
    expires_in: Span,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct After {
    /// The list goes on behind this one.
    after: Option<String>,
}

type Page = Result<Query<After>, axum::extract::rejection::QueryRejection>;

fn after(page: Page) -> Result<Option<String>, Failure> {
    let bad = |_| {
        let problem = Problem::new(&problem::INVALID_INPUT);
        Failure(problem.field("after", "must be the last of the list before"))
    };
    Ok(page.map_err(bad)?.0.after)
}

/// The tenant that the path names. Where it has to be the caller's own, the decision has seen to it.
async fn named(admin: &Admin, name: &str) -> Result<TenantId, Failure> {
    Ok(admin.tenants.get(name).await?.id)
}

/// Lists tenants by their short names.
#[utoipa::path(get, path = "/tenants", tag = "tenants", params(After),
    responses((status = 200, description = "Up to a thousand tenants", body = Vec<TenantView>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_tenants(
    State(admin): State<Admin>,
    page: Page,
) -> Result<Json<Vec<TenantView>>, Failure> {
    let after = after(page)?.unwrap_or_default();
    let list = admin.tenants.list(&after).await?;
    Ok(Json(list.into_iter().map(TenantView::from).collect()))
}

/// Makes a tenant, and invites its first member.
#[utoipa::path(post, path = "/tenants", tag = "tenants", request_body = NewTenant,
    responses((status = 201, description = "The tenant", body = TenantView)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn create_tenant(
    State(admin): State<Admin>,
    by: By,
    Input(new): Input<NewTenant>,
) -> Result<(StatusCode, Json<TenantView>), Failure> {
    let tenant = admin.tenants.create(&new.slug, &new.name, &by).await?;
    let id = tenant.id;
    let mut view = TenantView::from(tenant);
    if let Some(first) = new.invite {
        let written = admin
            .tenants
            .invite_first(id, &first.email, &first.roles, &by)
            .await?;
        view.invitation = Some(written.into());
    }
    Ok((StatusCode::CREATED, Json(view)))
}

/// Suspends a tenant: nobody reaches the product from it.
#[utoipa::path(post, path = "/tenants/{id}/suspend", tag = "tenants",
    params(("id" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The tenant's id or short name")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn suspend_tenant(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    let tenant = named(&admin, &id).await?;
    admin.tenants.suspend(tenant, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a tenant's suspension.
#[utoipa::path(post, path = "/tenants/{id}/resume", tag = "tenants",
    params(("id" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The tenant's id or short name")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn resume_tenant(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    let tenant = named(&admin, &id).await?;
    admin.tenants.resume(tenant, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the members of the caller's tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/members", tag = "members",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), After),
    responses((status = 200, description = "Up to a thousand members", body = Vec<MemberView>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_members(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    page: Page,
) -> Result<Json<Vec<MemberView>>, Failure> {
    let after: Option<UserId> = match after(page)? {
        Some(text) => Some(parse_id(&text)?),
        None => None,
    };
    let tenant = named(&admin, &tenant).await?;
    let list = admin.tenants.members(tenant, after).await?;
    let view = list.into_iter().map(|member| MemberView {
        user_id: member.user_id.to_string(),
        email: member.email,
        display_name: member.display_name,
        roles: member.roles,
        joined_at: member.joined_at.to_string(),
        active: member.active,
    });
    Ok(Json(view.collect()))
}

/// Gives a member exactly these roles, none of them more than the caller holds.
#[utoipa::path(put, path = "/tenants/{tenant}/members/{user}", tag = "members", request_body = MemberRoles,
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("user" = String, Path, format = Uuid, description = "The member's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn set_member_roles(
    State(admin): State<Admin>,
    Path((tenant, user)): Path<(String, String)>,
    by: By,
    Input(new): Input<MemberRoles>,
) -> Result<StatusCode, Failure> {
    let (user, tenant) = (parse_id(&user)?, named(&admin, &tenant).await?);
    admin
        .tenants
        .set_roles(tenant, user, &new.roles, &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a membership.
#[utoipa::path(delete, path = "/tenants/{tenant}/members/{user}", tag = "members",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("user" = String, Path, format = Uuid, description = "The member's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn remove_member(
    State(admin): State<Admin>,
    Path((tenant, user)): Path<(String, String)>,
    by: By,
) -> Result<StatusCode, Failure> {
    let (user, tenant) = (parse_id(&user)?, named(&admin, &tenant).await?);
    admin.tenants.remove(tenant, user, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the open invitations of the caller's tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/invitations", tag = "members",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), paging::Page),
    responses((status = 200, description = "Open invitations, newest first", body = Vec<InvitationView>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_invitations(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    page: Asked,
) -> Result<Json<Vec<InvitationView>>, Failure> {
    let (after, limit) = paging::read(page)?;
    let tenant = named(&admin, &tenant).await?;
    let list = admin.tenants.invitations(tenant, after, limit).await?;
    let list = list.ok_or_else(paging::unknown)?;
    Ok(Json(list.into_iter().map(InvitationView::from).collect()))
}

/// Invites somebody into the caller's tenant.
#[utoipa::path(post, path = "/tenants/{tenant}/invitations", tag = "members", request_body = NewInvitation,
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 201, description = "The invitation with its token, shown this once", body = InvitationView)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn invite(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    by: By,
    Input(new): Input<NewInvitation>,
) -> Result<(StatusCode, Json<InvitationView>), Failure> {
    let tenant = named(&admin, &tenant).await?;
    let written = admin
        .tenants
        .invite(tenant, &new.email, &new.roles, &by)
        .await?;
    Ok((StatusCode::CREATED, Json(written.into())))
}

/// Revokes an invitation.
#[utoipa::path(delete, path = "/tenants/{tenant}/invitations/{invitation}", tag = "members",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("invitation" = String, Path, format = Uuid, description = "The invitation's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn revoke_invitation(
    State(admin): State<Admin>,
    Path((tenant, invitation)): Path<(String, String)>,
    by: By,
) -> Result<StatusCode, Failure> {
    let (id, tenant) = (parse_id(&invitation)?, named(&admin, &tenant).await?);
    admin.tenants.uninvite(tenant, id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the roles that the caller's tenant made for itself.
#[utoipa::path(get, path = "/tenants/{tenant}/roles", tag = "roles",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "The tenant's own roles", body = Vec<RoleView>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_roles(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<RoleView>>, Failure> {
    let tenant = named(&admin, &tenant).await?;
    let list = admin.tenants.made_roles(tenant).await?;
    let view = list.into_iter().map(|role| RoleView {
        name: role.name,
        permissions: role.gives.permissions,
        inherits: role.gives.inherits,
        updated_at: role.updated_at.to_string(),
    });
    Ok(Json(view.collect()))
}

/// Makes a role of the caller's tenant, or changes what it gives. It counts from the next request on.
#[utoipa::path(put, path = "/tenants/{tenant}/roles/{role}", tag = "roles", request_body = RoleGives,
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("role" = String, Path, description = "The role's name")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn make_role(
    State(admin): State<Admin>,
    Path((tenant, role)): Path<(String, String)>,
    by: By,
    Input(new): Input<RoleGives>,
) -> Result<StatusCode, Failure> {
    let tenant = named(&admin, &tenant).await?;
    let gives = Gives {
        permissions: new.permissions,
        inherits: new.inherits,
    };
    admin.tenants.make_role(tenant, &role, &gives, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a role of the caller's tenant away, from whoever bears it too.
#[utoipa::path(delete, path = "/tenants/{tenant}/roles/{role}", tag = "roles",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("role" = String, Path, description = "The role's name")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn unmake_role(
    State(admin): State<Admin>,
    Path((tenant, role)): Path<(String, String)>,
    by: By,
) -> Result<StatusCode, Failure> {
    let tenant = named(&admin, &tenant).await?;
    admin.tenants.unmake_role(tenant, &role, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists what members of the caller's tenant lend to each other.
#[utoipa::path(get, path = "/tenants/{tenant}/grants", tag = "grants",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), paging::Page),
    responses((status = 200, description = "What is lent at present, newest first", body = Vec<GrantView>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_grants(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    page: Asked,
) -> Result<Json<Vec<GrantView>>, Failure> {
    let (after, limit) = paging::read(page)?;
    let tenant = named(&admin, &tenant).await?;
    let list = admin.tenants.delegations(tenant, after, limit).await?;
    let list = list.ok_or_else(paging::unknown)?;
    Ok(Json(list.into_iter().map(GrantView::from).collect()))
}

/// Lends a permission that the caller holds to another member, for a time.
#[utoipa::path(post, path = "/tenants/{tenant}/grants", tag = "grants", request_body = NewGrant,
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 201, description = "What was lent", body = GrantView)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn lend(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    by: By,
    Input(new): Input<NewGrant>,
) -> Result<(StatusCode, Json<GrantView>), Failure> {
    let (user, tenant) = (parse_id(&new.user_id)?, named(&admin, &tenant).await?);
    let lent = admin
        .tenants
        .lend(tenant, user, &new.permission, new.expires_in, &by)
        .await?;
    Ok((StatusCode::CREATED, Json(lent.into())))
}

/// Takes back what was lent.
#[utoipa::path(delete, path = "/tenants/{tenant}/grants/{grant}", tag = "grants",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("grant" = String, Path, format = Uuid, description = "The grant's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn take_back(
    State(admin): State<Admin>,
    Path((tenant, grant)): Path<(String, String)>,
    by: By,
) -> Result<StatusCode, Failure> {
    let (id, tenant) = (parse_id(&grant)?, named(&admin, &tenant).await?);
    admin.tenants.take_back(tenant, id, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
