//! The page on which somebody chooses the organization that they work in, and goes on to where they
//! were. A route that asks for a tenant sends browsers here (I6).

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use maud::html;
use portcullis_console::api::Failure;
use serde::Deserialize;

use super::{Error, own};
use crate::api::{Api, signed_in};
use crate::next::local_or_root;
use crate::pages::{Where, page as framed, refused_form, see_other};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    /// The id.
    tenant: String,
    next: Option<String>,
}

pub(crate) async fn page(
    State(api): State<Api>,
    query: Result<Query<Where>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Failure> {
    let user = signed_in(&parts)?;
    let next = query.ok().and_then(|Query(query)| query.next);
    let mut theirs = api.tenants.memberships(user.id).await?;
    theirs.retain(|one| one.tenant.suspended_at.is_none());
    let body = html! {
        @if theirs.is_empty() {
            p { "You are a member of no organization here. Somebody who is can invite you." }
        } @else {
            p { "In which one do you want to work?" }
            ul {
                @for one in &theirs {
                    li {
                        form method="post" action=(api.path("/choose-tenant")) {
                            input type="hidden" name="tenant" value=(one.tenant.id);
                            input type="hidden" name="next" value=(local_or_root(next.as_deref()));
                            button type="submit" { (one.tenant.name) }
                            @if user.tenant == Some(one.tenant.id) { " (you work there now)" }
                        }
                    }
                }
            }
        }
    };
    Ok(framed(
        &parts,
        StatusCode::OK,
        "Choose an organization",
        &body,
    ))
}

pub(crate) async fn submit(
    State(api): State<Api>,
    parts: Parts,
    form: Result<Form<Chosen>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(input) = form.map_err(|rejection| Failure(refused_form(&rejection)))?;
    let user = signed_in(&parts)?;
    let session = user.session().ok_or(Error::NotFound)?;
    let tenant = api.tenants.get(&input.tenant).await?.id;
    let client = api.client(&parts);
    let token = api
        .tenants
        .switch(user.id, session, tenant, &client)
        .await?;
    let csrf = (api.csrf.0)(&token.hash(), None);
    let cookie = api.accounts.sessions().cookie(&token);
    let mut response = see_other(local_or_root(input.next.as_deref()));
    own::set_cookies([cookie.expose(), &csrf.set_cookie], &mut response)?;
    Ok(response)
}
