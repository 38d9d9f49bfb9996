//! The first page: what the caller may do here.

use axum::response::Response;
use maud::html;

use portcullis_console::api::Failure;

use super::Visit;

pub(super) async fn overview(visit: Visit) -> Result<Response, Failure> {
    let account = visit.console.admin.accounts.get(visit.user.id).await?;
    let auth = &visit.console.auth;
    let sections = visit.sections();
    let body = html! {
        p.quiet {
            "Signed in as " strong { (account.email) }
            @if let Some(tenant) = &visit.tenant { ", working in the tenant " strong { (tenant) } }
            "."
        }
        @if sections.is_empty() {
            div.sheet { p { "None of your roles lets you administer anything here." } }
        } @else {
            ul.rows {
                @for (href, label, about) in &sections {
                    li { div { a href=(href) { strong { (label) } } p.quiet { (about) } } }
                }
            }
        }
        h2 { "You" }
        ul.rows {
            li { div { a href=(format!("{auth}/account")) { strong { "Your account" } } p.quiet { "Your devices and sessions." } } }
            li { div { a href=(format!("{auth}/security")) { strong { "Account security" } } p.quiet { "Your second factor and your password." } } }
        }
    };
    Ok(visit.page("Console", None, &body))
}
