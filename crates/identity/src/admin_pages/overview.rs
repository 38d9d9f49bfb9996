//! The first page: today at a glance, and what the caller may do here.

use axum::response::Response;
use maud::html;

use portcullis_console::api::Failure;

use super::glance::Glance;
use super::{Visit, live};

pub(super) async fn overview(visit: Visit) -> Result<Response, Failure> {
    let account = visit.console.admin.accounts.get(visit.user.id).await?;
    let auth = &visit.console.auth;
    let sections = visit.sections();
    let glance = Glance::of(&visit).await?;
    let is_empty = glance.is_empty();
    let figures = live::framed(&visit, glance);
    let list = html! {
        ul.rows {
            @for (href, label, about) in &sections {
                li { div { a href=(href) { strong { (label) } } p.quiet { (about) } } }
            }
        }
    };
    let body = html! {
        p.quiet {
            "Signed in as " strong { (account.email) }
            @if let Some(tenant) = &visit.tenant { ", working in the tenant " strong { (tenant) } }
            "."
        }
        @if !is_empty { (figures) }
        @if sections.is_empty() {
            div.sheet { p { "None of your roles lets you administer anything here." } }
        } @else {
            // The bar has them too: under the figures they only make the page longer.
            @if is_empty { (list) } @else { details { summary { "Where to go" } (list) } }
        }
        h2 { "You" }
        ul.rows {
            li { div { a href=(format!("{auth}/account")) { strong { "Your account" } } p.quiet { "Your devices and sessions." } } }
            li { div { a href=(format!("{auth}/security")) { strong { "Account security" } } p.quiet { "Your second factor and your password." } } }
        }
    };
    Ok(visit.page("Console", None, &body))
}
