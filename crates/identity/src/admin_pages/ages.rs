//! How old the product's secrets are, in the console. No value, and no part of one, is read for it.

use axum::response::Response;
use maud::{Markup, html};
use portcullis_console::Status;
use portcullis_console::api::Failure;
use portcullis_console::chart::{Share, Tone, bars};
use portcullis_console::desk::{mark, turn};
use portcullis_events::secret_store::{SecretStore, Stored};
use serde::Deserialize;

use super::{Asks, ONE_MORE, Pages, Question, ROWS, Visit, cut};
use crate::pages::to_the_minute;

const SECRETS: Asks = Asks::Permission("manage:secrets");

pub(super) fn pages() -> Pages {
    Pages::new().get("/secrets", SECRETS, list)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// Behind so many.
    after: u32,
}

async fn list(
    visit: Visit,
    Question(Asked { after }): Question<Asked>,
) -> Result<Response, Failure> {
    let store = &visit.console.admin.secret_store;
    let mut found = store.oldest(after, ONE_MORE).await?;
    let more = cut(&mut found);
    let [young, grown, old] = store.by_age().await?;
    let share = |label: &str, value: i64| Share {
        label: label.to_owned(),
        value: u64::try_from(value).unwrap_or(0),
        href: None,
    };
    let ages = [
        share("over 90 days", old),
        share("30 to 90 days", grown),
        share("under 30 days", young),
    ];
    let to = visit.to("/secrets");
    let next = format!("{to}?after={}", after.saturating_add(ROWS));
    let body = html! {
        @if found.is_empty() {
            div.sheet { p { "There are no secrets in the store." } }
        } @else {
            div.sheet { (bars(Tone::Plain, &ages)) }
            p.quiet { "The oldest first. " code { "portcullis secrets replace" } " walks through a replacement." }
            ul.rows { @for one in &found { (row(store, one)) } }
        }
        (turn((after > 0).then_some(&*to), more.then_some(&*next)))
    };
    Ok(visit.page("Secrets", None, &body))
}

fn row(store: &SecretStore, one: &Stored) -> Markup {
    let days = store.age(one).as_seconds() / 86_400;
    html! {
        li {
            div {
                strong { (one.label.name.as_str()) }
                @if let Some(tenant) = one.label.tenant { " of tenant " code { (tenant) } }
                p.quiet {
                    (one.purpose) " · " (one.owner) " · version " (one.version) " since " (to_the_minute(one.rotated_at))
                    @if let Some(every) = one.rotate_every { " · new every " (every) }
                }
            }
            span { @if days == 1 { "1 day" } @else { (days) " days" } }
            @if store.is_overdue(one) { (mark(Status::Bad, "due")) } @else { (mark(Status::Good, "in time")) }
        }
    }
}
