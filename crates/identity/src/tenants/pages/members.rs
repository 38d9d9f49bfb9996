//! Members of the caller's own tenant in the console.

use axum::extract::Path;
use axum::response::Response;
use maud::html;
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::desk::{mark, turn};
use portcullis_core::UserId;
use portcullis_core::roles::CUSTOM;

use super::{OWN, Page, after, below, named};
use crate::admin_pages::{Faults, Pages, Sent, Visit, cut, picks};
use crate::pages::to_the_minute;
use crate::tenants::Error;
use crate::tenants::members::Member;
use crate::tenants::register::Tenant;

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/tenants/{tenant}/members", OWN, list)
        .get("/tenants/{tenant}/members/{user}", OWN, show)
        .post("/tenants/{tenant}/members/{user}", OWN, set_roles)
        .post("/tenants/{tenant}/members/{user}/remove", OWN, remove)
}

async fn list(visit: Visit, Path(tenant): Path<String>, page: Page) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let after: Option<UserId> = after(page).as_deref().map(parse_id).transpose()?;
    let mut found = visit
        .console
        .admin
        .tenants
        .members(tenant.id, after)
        .await?;
    let more = cut(&mut found);
    let to = visit.to(&below(&tenant, "members"));
    let last = found.last().filter(|_| more);
    let next = last.map(|member| format!("{to}?after={}", member.user_id));
    let first = after.map(|_| to.clone());
    let body = html! {
        div.above {
            p.quiet { "Members of " (tenant.name) "." }
            a.button href=(visit.to(&below(&tenant, "invitations"))) { "Invite somebody" }
        }
        @if found.is_empty() {
            div.sheet { p { "Nobody is a member." } }
        } @else {
            ul.rows {
                @for member in &found {
                    li {
                        div {
                            a href=(format!("{to}/{}", member.user_id)) { (member.email) }
                            @if let Some(name) = &member.display_name { " " (name) }
                            p.quiet { @if member.roles.is_empty() { "No roles" } @else { (member.roles.join(", ")) } }
                        }
                        @if !member.active { (mark(Status::Bad, "suspended")) }
                    }
                }
            }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("Members", None, &body))
}

/// The member that the path names.
async fn find(visit: &Visit, tenant: &Tenant, user: &str) -> Result<Member, Failure> {
    let user: UserId = parse_id(user)?;
    let member = visit.console.admin.tenants.member(tenant.id, user).await?;
    Ok(member)
}

/// Roles that a member of the tenant can have: the policy's, and the tenant's own.
pub(super) async fn offered(visit: &Visit, tenant: &Tenant) -> Result<Vec<String>, Failure> {
    let made = visit.console.admin.tenants.made_roles(tenant.id).await?;
    let made = made
        .into_iter()
        .map(|role| format!("{CUSTOM}{}", role.name));
    Ok(visit.role_names().into_iter().chain(made).collect())
}

async fn show(
    visit: Visit,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let member = find(&visit, &tenant, &user).await?;
    shown(&visit, &tenant, &member, &member.roles, &Faults::default()).await
}

async fn shown(
    visit: &Visit,
    tenant: &Tenant,
    member: &Member,
    chosen: &[String],
    faults: &Faults,
) -> Result<Response, Failure> {
    let offered = offered(visit, tenant).await?;
    let to = below(tenant, &format!("members/{}", member.user_id));
    let roles = html! {
        (picks(faults, ("roles", "Roles in this tenant"), &offered, chosen, "You can give and take what you hold yourself."))
        button type="submit" { "Save the roles" }
    };
    let body = html! {
        (faults.shown())
        @if member.user_id == visit.user.id { p.told { "This is you." } }
        div.sheet {
            dl.facts {
                @if let Some(name) = &member.display_name { dt { "Name" } dd { (name) } }
                dt { "Member since" } dd { (to_the_minute(member.joined_at)) }
                dt { "Account" } dd { @if member.active { "active" } @else { "suspended" } }
            }
        }
        div.sheet { (visit.form("", &to, &roles)) }
        (visit.grave(&format!("{to}/remove"), "End the membership", "The account stays; it may nothing more in this tenant. What it was lent here ends too."))
    };
    let up = below(tenant, "members");
    Ok(visit.page_as(
        faults.status(),
        &member.email,
        Some((&up, "Members")),
        &body,
    ))
}

async fn set_roles(
    visit: Visit,
    Path((tenant, user)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let (user, roles) = (parse_id::<UserId>(&user)?, sent.all("roles"));
    let tenants = &visit.console.admin.tenants;
    match tenants.set_roles(tenant.id, user, &roles, &visit.by).await {
        Ok(()) => Ok(visit.done(&below(&tenant, &format!("members/{user}")), "saved")),
        Err(error) => refused(&visit, &tenant, user, Some(&roles), error).await,
    }
}

async fn remove(
    visit: Visit,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let user: UserId = parse_id(&user)?;
    let tenants = &visit.console.admin.tenants;
    match tenants.remove(tenant.id, user, &visit.by).await {
        // Whoever leaves has no page of this tenant to come back to.
        Ok(()) if user == visit.user.id => Ok(visit.done("", "removed")),
        Ok(()) => Ok(visit.done(&below(&tenant, "members"), "removed")),
        Err(error) => refused(&visit, &tenant, user, None, error).await,
    }
}

async fn refused(
    visit: &Visit,
    tenant: &Tenant,
    user: UserId,
    typed: Option<&[String]>,
    error: Error,
) -> Result<Response, Failure> {
    let faults = Faults::from(error)?;
    let member = visit.console.admin.tenants.member(tenant.id, user).await?;
    let chosen = typed.unwrap_or(&member.roles);
    shown(visit, tenant, &member, chosen, &faults).await
}
