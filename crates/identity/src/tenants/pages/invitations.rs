//! Invitations into the caller's own tenant in the console.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use uuid::Uuid;

use portcullis_console::api::{Failure, parse_id};

use super::members::offered;
use super::{OWN, Page, below, invited, named, skipped, turned};
use crate::admin_pages::{Faults, Pages, Sent, Visit, cut, picks, text};
use crate::pages::to_the_minute;
use crate::paging::MOST;
use crate::tenants::Error;
use crate::tenants::register::Tenant;

pub(super) fn pages() -> Pages {
    let revoked = "/tenants/{tenant}/invitations/{invitation}/revoke";
    Pages::new()
        .get("/tenants/{tenant}/invitations", OWN, list)
        .post("/tenants/{tenant}/invitations", OWN, invite)
        .post(revoked, OWN, revoke)
}

async fn list(visit: Visit, Path(tenant): Path<String>, page: Page) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let (sent, skipped) = (Sent::default(), skipped(page));
    let body = body(&visit, &tenant, skipped, &sent, &Faults::default()).await?;
    Ok(visit.page("Invitations", None, &body))
}

async fn body(
    visit: &Visit,
    tenant: &Tenant,
    skipped: u32,
    sent: &Sent,
    faults: &Faults,
) -> Result<Markup, Failure> {
    let tenants = &visit.console.admin.tenants;
    // A tenant has no more of them open.
    let open = tenants.invitations(tenant.id, None, MOST).await?;
    let mut open = open.unwrap_or_default();
    let offered = offered(visit, tenant).await?;
    let to = below(tenant, "invitations");
    let begin = usize::try_from(skipped).unwrap_or(usize::MAX);
    open.drain(..begin.min(open.len()));
    let more = cut(&mut open);
    let inside = html! {
        (text(faults, ("email", "E-mail address", "email"), sent.one("email"), "Of the account that may use it. The account need not be there yet.", true))
        (picks(faults, ("roles", "Roles in this tenant"), &offered, &sent.all("roles"), "You can give what you hold yourself, now and when it is used."))
        button type="submit" { "Invite" }
    };
    Ok(html! {
        (faults.shown())
        div.sheet {
            h2 { "Invite somebody into " (tenant.name) }
            (visit.form("wide", &to, &inside))
        }
        h2 { "Open invitations" }
        @if open.is_empty() {
            div.sheet { p { "There are none." } }
        } @else {
            ul.rows {
                @for one in &open {
                    li {
                        div {
                            strong { (one.email) }
                            p.quiet {
                                @if one.roles.is_empty() { "No roles" } @else { (one.roles.join(", ")) }
                                " · until " (to_the_minute(one.expires_at))
                            }
                        }
                        (visit.button("plain", &format!("{to}/{}/revoke", one.id), "Revoke", &format!("the invitation of {}", one.email)))
                    }
                }
            }
        }
        (turned(&visit.to(&to), skipped, more))
    })
}

async fn invite(visit: Visit, Path(tenant): Path<String>, sent: Sent) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    visit.take(&sent).await?;
    let (email, roles) = (sent.one("email"), sent.all("roles"));
    let tenants = &visit.console.admin.tenants;
    match tenants.invite(tenant.id, email, &roles, &visit.by).await {
        Ok(written) => {
            let up = below(&tenant, "invitations");
            Ok(invited(&visit, &written, Some((&up, "Invitations"))))
        }
        Err(error) => {
            let body = body(&visit, &tenant, 0, &sent, &Faults::from(error)?).await?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(visit.page_as(status, "Invitations", None, &body))
        }
    }
}

async fn revoke(
    visit: Visit,
    Path((tenant, invitation)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let id: Uuid = parse_id(&invitation)?;
    match visit
        .console
        .admin
        .tenants
        .uninvite(tenant.id, id, &visit.by)
        .await
    {
        // Used or ended meanwhile: the page shows that it is gone.
        Ok(()) | Err(Error::NotFound) => Ok(visit.done(&below(&tenant, "invitations"), "revoked")),
        Err(error) => Err(error.into()),
    }
}
