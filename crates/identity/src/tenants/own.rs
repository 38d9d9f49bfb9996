//! What people do about their own tenants: see them, choose one, come into one.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Request, header};
use portcullis_console::api::{Failure, json};
use portcullis_core::{Problem, Secret, TenantId};
use serde::{Deserialize, Serialize};

use super::Error;
use super::members::Membership;
use crate::api::{Api, signed_in};

/// A tenant of the caller's.
#[derive(Serialize)]
struct View {
    id: TenantId,
    slug: String,
    name: String,
    roles: Vec<String>,
    suspended: bool,
    /// Whether the session works in it.
    current: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choose {
    /// Short name or id.
    tenant: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redeem {
    token: Secret<String>,
}

/// A tenant that was chosen, and the token that unsafe requests must bear from now on.
#[derive(Serialize)]
struct Chosen {
    tenant_id: TenantId,
    csrf_token: String,
}

/// The tenants that the caller is a member of.
pub(crate) async fn list(State(api): State<Api>, parts: Parts) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let list = api.tenants.memberships(user.id).await?;
    let view = |membership: Membership| View {
        current: user.tenant == Some(membership.tenant.id),
        id: membership.tenant.id,
        slug: membership.tenant.slug,
        name: membership.tenant.name,
        roles: membership.roles,
        suspended: membership.tenant.suspended_at.is_some(),
    };
    Ok(Json(list.into_iter().map(view).collect::<Vec<_>>()).into_response())
}

/// From now on the session works in another tenant, under another token.
pub(crate) async fn choose(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?;
    let input: Choose = json(&parts.headers, body).await?;
    let session = user.session().ok_or(Error::NotFound)?;
    let tenant = api.tenants.get(&input.tenant).await?.id;
    let token = api
        .tenants
        .switch(user.id, session, tenant, &api.client(&parts))
        .await?;
    let csrf = (api.csrf.0)(&token.hash(), None);
    let cookie = api.accounts.sessions().cookie(&token);
    let mut response = Json(Chosen {
        tenant_id: tenant,
        csrf_token: csrf.token,
    })
    .into_response();
    set_cookies([cookie.expose(), &csrf.set_cookie], &mut response)?;
    Ok(response)
}

/// The cookies of a session that goes on under another token.
pub(super) fn set_cookies(values: [&str; 2], response: &mut Response) -> Result<(), Failure> {
    for value in values {
        let mut value =
            HeaderValue::from_str(value).map_err(|error| Failure(Problem::internal(error)))?;
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(())
}

/// Makes the caller a member, by the token of an invitation.
pub(crate) async fn redeem(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let user = signed_in(&parts)?;
    let input: Redeem = json(&parts.headers, body).await?;
    let tenant = api
        .tenants
        .redeem(&input.token, (user.id, user.session()), &api.client(&parts))
        .await?;
    Ok(
        Json(serde_json::json!({ "id": tenant.id, "slug": tenant.slug, "name": tenant.name }))
            .into_response(),
    )
}
