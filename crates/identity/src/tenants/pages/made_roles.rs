//! Roles that the caller's own tenant makes for itself, in the console.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use portcullis_console::api::Failure;
use portcullis_core::roles::CUSTOM;

use super::{OWN, below, named, segment};
use crate::admin_pages::{Faults, Pages, Sent, Visit, picks, text};
use crate::pages::to_the_minute;
use crate::tenants::Error;
use crate::tenants::made_roles::{Gives, MadeRole};
use crate::tenants::register::Tenant;

pub(super) fn pages() -> Pages {
    Pages::new()
        .get("/tenants/{tenant}/roles", OWN, list)
        .post("/tenants/{tenant}/roles", OWN, make)
        .get("/tenants/{tenant}/roles/{role}", OWN, show)
        .post("/tenants/{tenant}/roles/{role}", OWN, change)
        .post("/tenants/{tenant}/roles/{role}/delete", OWN, unmake)
}

async fn list(visit: Visit, Path(tenant): Path<String>) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let body = list_body(&visit, &tenant, &Sent::default(), &Faults::default()).await?;
    Ok(visit.page("Roles", None, &body))
}

async fn list_body(
    visit: &Visit,
    tenant: &Tenant,
    sent: &Sent,
    faults: &Faults,
) -> Result<Markup, Failure> {
    let made = visit.console.admin.tenants.made_roles(tenant.id).await?;
    let to = below(tenant, "roles");
    let (permissions, inherits) = (sent.all("permissions"), sent.all("inherits"));
    let inside = html! {
        (text(faults, ("name", "Name", "text"), sent.one("name"), "Lower-case letters, digits and -, such as auditor. Members bear it as custom:auditor.", true))
        (choices(visit, faults, &permissions, &inherits))
        button type="submit" { "Make the role" }
    };
    Ok(html! {
        (faults.shown())
        p.quiet { "Roles that " (tenant.name) " makes for itself." }
        @if made.is_empty() {
            div.sheet { p { "There are none yet." } }
        } @else {
            ul.rows {
                @for role in &made {
                    li {
                        div {
                            a href=(visit.to(&format!("{to}/{}", segment(&role.name)))) { (CUSTOM) (role.name) }
                            p.quiet { (gives(role)) }
                        }
                    }
                }
            }
        }
        div.sheet {
            h2 { "Make a role" }
            (visit.form("", &to, &inside))
        }
        h2 { "Roles of the policy" }
        div.sheet { p { (visit.role_names().join(", ")) } p.quiet { "They stand in the configuration, and are the same for every tenant." } }
    })
}

fn gives(role: &MadeRole) -> Markup {
    let Gives {
        permissions,
        inherits,
    } = &role.gives;
    html! {
        @if permissions.is_empty() && inherits.is_empty() { "Gives nothing" }
        @if !permissions.is_empty() { (permissions.join(", ")) }
        @if !inherits.is_empty() { @if !permissions.is_empty() { " · " } "counts as " (inherits.join(", ")) }
    }
}

fn choices(visit: &Visit, faults: &Faults, permissions: &[String], inherits: &[String]) -> Markup {
    let known = visit.permission_names();
    html! {
        (picks(faults, ("permissions", "Permissions that it gives"), &known, permissions, "You can give what you hold yourself."))
        (picks(faults, ("inherits", "Roles of the policy that it counts as"), &visit.role_names(), inherits, ""))
    }
}

fn asked(sent: &Sent) -> Gives {
    Gives {
        permissions: sent.all("permissions"),
        inherits: sent.all("inherits"),
    }
}

async fn make(visit: Visit, Path(tenant): Path<String>, sent: Sent) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let tenants = &visit.console.admin.tenants;
    let name = sent.one("name");
    // The same call changes a role that is there, which is not what this form says.
    let there = tenants.made_roles(tenant.id).await?;
    let faults = if there.iter().any(|role| role.name == name) {
        Faults::of(
            "name",
            "There is a role of this name already. Choose it in the list to change it.",
        )
    } else {
        match tenants
            .make_role(tenant.id, name, &asked(&sent), &visit.by)
            .await
        {
            Ok(()) => return Ok(visit.done(&below(&tenant, "roles"), "saved")),
            Err(error) => refused(error)?,
        }
    };
    let body = list_body(&visit, &tenant, &sent, &faults).await?;
    Ok(visit.page_as(StatusCode::UNPROCESSABLE_ENTITY, "Roles", None, &body))
}

fn refused(error: Error) -> Result<Faults, Failure> {
    match error {
        Error::Name => Ok(Faults::of(
            "name",
            "The name must be 1 to 63 lower-case letters, digits and \"-\".",
        )),
        error => Faults::from(error),
    }
}

async fn show(
    visit: Visit,
    Path((tenant, role)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let there = visit.console.admin.tenants.made_roles(tenant.id).await?;
    let role = there.into_iter().find(|made| made.name == role);
    let role = role.ok_or(Error::NotFound)?;
    let since = to_the_minute(role.updated_at);
    let body = html! {
        p.quiet { "Last changed " (since) "." }
        (one(&visit, &tenant, &role.name, &role.gives, &Faults::default()))
    };
    let up = below(&tenant, "roles");
    let title = format!("{CUSTOM}{}", role.name);
    Ok(visit.page(&title, Some((&up, "Roles")), &body))
}

fn one(visit: &Visit, tenant: &Tenant, name: &str, gives: &Gives, faults: &Faults) -> Markup {
    let to = below(tenant, &format!("roles/{}", segment(name)));
    let inside = html! {
        (choices(visit, faults, &gives.permissions, &gives.inherits))
        button type="submit" { "Save the role" }
    };
    html! {
        (faults.shown())
        div.sheet { (visit.form("", &to, &inside)) }
        (visit.grave(&format!("{to}/delete"), "Delete the role", "Whoever bears it loses it, and open invitations with it end."))
    }
}

async fn change(
    visit: Visit,
    Path((tenant, role)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let tenants = &visit.console.admin.tenants;
    let there = tenants.made_roles(tenant.id).await?;
    if !there.iter().any(|made| made.name == role) {
        return Err(Error::NotFound.into());
    }
    let gives = asked(&sent);
    match tenants.make_role(tenant.id, &role, &gives, &visit.by).await {
        Ok(()) => {
            let to = format!("roles/{}", segment(&role));
            Ok(visit.done(&below(&tenant, &to), "saved"))
        }
        Err(error) => {
            let body = one(&visit, &tenant, &role, &gives, &refused(error)?);
            let (up, title) = (below(&tenant, "roles"), format!("{CUSTOM}{role}"));
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(visit.page_as(status, &title, Some((&up, "Roles")), &body))
        }
    }
}

async fn unmake(
    visit: Visit,
    Path((tenant, role)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let tenants = &visit.console.admin.tenants;
    match tenants.unmake_role(tenant.id, &role, &visit.by).await {
        Ok(()) => Ok(visit.done(&below(&tenant, "roles"), "removed")),
        Err(error) => {
            let faults = Faults::from(error)?;
            let body = list_body(&visit, &tenant, &Sent::default(), &faults).await?;
            Ok(visit.page_as(StatusCode::FORBIDDEN, "Roles", None, &body))
        }
    }
}
