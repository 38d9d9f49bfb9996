//! What members of the caller's own tenant lend to each other, in the console.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use portcullis_console::api::{Failure, parse_id};
use portcullis_core::decision::{Scope, grants};
use portcullis_core::{Problem, Span, UserId};
use uuid::Uuid;

use super::{OWN, Page, below, named, skipped, turned};
use crate::admin_pages::{Faults, ONE_MORE, Pages, Sent, Visit, cut, select, text};
use crate::pages::to_the_minute;
use crate::tenants::Error;
use crate::tenants::delegations::Lending;
use crate::tenants::register::Tenant;
use crate::{Email, users};

/// For how long something can be lent here: a value and its words.
const TIMES: [(&str, &str); 5] = [
    ("1h", "an hour"),
    ("8h", "8 hours"),
    ("24h", "a day"),
    ("7d", "a week"),
    ("30d", "30 days"),
];

pub(super) fn pages() -> Pages {
    let back = "/tenants/{tenant}/grants/{grant}/take-back";
    Pages::new()
        .get("/tenants/{tenant}/grants", OWN, list)
        .post("/tenants/{tenant}/grants", OWN, lend)
        .post(back, OWN, take_back)
}

async fn list(visit: Visit, Path(tenant): Path<String>, page: Page) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let (sent, skipped) = (Sent::default(), skipped(page));
    let body = body(&visit, &tenant, skipped, &sent, &Faults::default()).await?;
    Ok(visit.page("Lending", None, &body))
}

/// What the caller holds and could lend.
fn held(visit: &Visit) -> Vec<(String, String)> {
    let holds = grants(&visit.user, &visit.roles, Scope::Tenant);
    let mut names = visit.permission_names();
    names.retain(|name| holds.covers(visit.roles.permissions(&[name])));
    names.into_iter().map(|name| (name.clone(), name)).collect()
}

async fn body(
    visit: &Visit,
    tenant: &Tenant,
    skipped: u32,
    sent: &Sent,
    faults: &Faults,
) -> Result<Markup, Failure> {
    let tenants = &visit.console.admin.tenants;
    let mut rows = tenants.lendings(tenant.id, skipped, ONE_MORE).await?;
    let more = cut(&mut rows);
    let to = below(tenant, "grants");
    let times = TIMES.map(|(value, words)| (value.to_owned(), words.to_owned()));
    let inside = html! {
        (text(faults, ("user_id", "To whom", "email"), sent.one("user_id"), "E-mail address of another member.", true))
        (select(faults, ("permission", "Permission"), sent.one("permission"), &held(visit)))
        (select(faults, ("expires_in", "For how long"), sent.some("expires_in").unwrap_or("8h"), &times))
        button type="submit" { "Lend" }
    };
    Ok(html! {
        (faults.shown())
        div.sheet {
            h2 { "Lend a permission of yours" }
            p.quiet { "It ends by itself, and with yours." }
            (visit.form("wide", &to, &inside))
        }
        h2 { "Lent at present" }
        @if rows.is_empty() {
            div.sheet { p { "Nothing." } }
        } @else {
            ul.rows {
                @for Lending { lent: one, borrower, lender } in &rows {
                    li {
                        div {
                            strong { (one.permission) } " to " (borrower)
                            p.quiet { "By " (lender) " · until " (to_the_minute(one.expires_at)) }
                        }
                        (visit.button("plain", &format!("{to}/{}/take-back", one.id), "Take back", &format!("{} from {borrower}", one.permission)))
                    }
                }
            }
        }
        (turned(&visit.to(&to), skipped, more))
    })
}

async fn lend(visit: Visit, Path(tenant): Path<String>, sent: Sent) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    visit.take(&sent).await?;
    let faults = match member(&visit, sent.one("user_id")).await? {
        None => nobody(),
        Some(user) => {
            let time: Span = sent.one("expires_in").parse().unwrap_or_default();
            let (permission, by) = (sent.one("permission"), &visit.by);
            let tenants = &visit.console.admin.tenants;
            match tenants.lend(tenant.id, user, permission, time, by).await {
                Ok(_) => return Ok(visit.done(&below(&tenant, "grants"), "lent")),
                Err(Error::NotFound) => nobody(),
                Err(error) => Faults::from(error)?,
            }
        }
    };
    let body = body(&visit, &tenant, 0, &sent, &faults).await?;
    Ok(visit.page_as(StatusCode::UNPROCESSABLE_ENTITY, "Lending", None, &body))
}

/// One answer for an account that is not there, and for one that is no member.
fn nobody() -> Faults {
    Faults::of("user_id", "No member of this tenant has this address.")
}

async fn member(visit: &Visit, address: &str) -> Result<Option<UserId>, Failure> {
    let Ok(email) = Email::parse(address) else {
        return Ok(None);
    };
    let accounts = &visit.console.admin.accounts;
    let (db, addresses) = (&accounts.parts().db, accounts.addresses());
    let found = users::find_by_email(db, addresses, &email)
        .await
        .map_err(Problem::from)?;
    Ok(found.map(|account| account.id))
}

async fn take_back(
    visit: Visit,
    Path((tenant, grant)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let tenant = named(&visit, &tenant).await?;
    let id: Uuid = parse_id(&grant)?;
    match visit
        .console
        .admin
        .tenants
        .take_back(tenant.id, id, &visit.by)
        .await
    {
        // Ended meanwhile: the page shows that it is gone.
        Ok(()) | Err(Error::NotFound) => Ok(visit.done(&below(&tenant, "grants"), "taken-back")),
        Err(error) => Err(error.into()),
    }
}
