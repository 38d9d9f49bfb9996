//! The first page, live: a stream says that the figures are other ones now, and the page's script fetches
//! them.
//!
//! SECURITY: the stream says nothing else. The figures come with requests of their own, which the decision
//! judges anew each time, so that a role that was taken away shows nothing more. A stream ends with its
//! session, and after [`LONGEST`] in any case: then the browser asks again.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse as _, Response};
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, html};
use portcullis_console::api::{Failure, Streamed};
use portcullis_core::{Problem, Span, problem};
use tokio::sync::{Semaphore, mpsc};

use super::Visit;
use super::glance::Glance;

/// Where the stream is, relative to the console.
pub(super) const STREAM: &str = "/live";
/// Where the figures are, as a page of their own without style.
pub(super) const FIGURES: &str = "/live/figures";
/// Where the script is.
pub(super) const SCRIPT: &str = "/live.js";
/// How often the figures are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long a stream goes on.
const LONGEST: Duration = Duration::from_mins(10);
/// Each looks at the database every other second.
const MOST_AT_ONCE: usize = 32;

/// Room for so many streams at once.
#[derive(Debug, Clone)]
pub struct Live(Arc<Semaphore>);

impl Default for Live {
    fn default() -> Self {
        Live(Arc::new(Semaphore::new(MOST_AT_ONCE)))
    }
}

/// What the figures are, in short: other figures have another mark.
///
/// What the gate answered itself is left out: the figures are such an answer, and would be fetched again
/// for ever.
fn mark(visit: &Visit, glance: Glance) -> String {
    let mut hasher = DefaultHasher::new();
    let figures = glance.without_own_answers().shown(visit);
    figures.into_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What the script replaces.
fn figures(visit: &Visit, glance: Glance) -> Markup {
    let shown = glance.shown(visit);
    html! { div #glance data-mark=(mark(visit, glance)) { (shown) } }
}

/// The figures, with where the script says how things stand. Without script there is nothing of it.
pub(super) fn framed(visit: &Visit, glance: Glance) -> Markup {
    html! {
        p #live hidden data-stream=(visit.to(STREAM)) data-figures=(visit.to(FIGURES)) {
            span.quiet role="status" {}
            " "
            button.plain type="button" { "Pause" }
        }
        (figures(visit, glance))
        script nonce=[visit.nonce()] src=(visit.to(SCRIPT)) defer {}
    }
}

pub(super) async fn script(_visit: Visit) -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], include_str!("live.js")).into_response()
}

/// Without style: the policy of the page that fetches it admits its own alone.
pub(super) async fn fresh(visit: Visit) -> Result<Response, Failure> {
    let glance = Glance::of(&visit).await?;
    let page = html! {
        (DOCTYPE)
        title { "Figures" }
        (figures(&visit, glance))
    };
    Ok(Html(page.into_string()).into_response())
}

pub(super) async fn stream(visit: Visit) -> Result<Response, Failure> {
    let places = Arc::clone(&visit.console.live.0);
    let place = places.try_acquire_owned().map_err(|_| {
        let problem = Problem::new(&problem::OVERLOADED);
        Failure(problem.retry_after(Span::from_minutes(1)))
    })?;
    let (tell, told) = mpsc::channel(1);
    // Here and not in the stream itself: that is read where requests are, and databases are not waited
    // for there.
    tokio::spawn(async move {
        let _place = place;
        let watched = tokio::time::timeout(LONGEST, watch(&visit, &tell));
        tokio::select! {
            _ = watched => {}
            () = tell.closed() => {}
        }
    });
    let events = futures_util::stream::unfold(told, async |mut told: mpsc::Receiver<String>| {
        let mark = told.recv().await?;
        let event = Event::default().event("figures").data(mark);
        Some((Ok::<_, Infallible>(event), told))
    });
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response();
    response.extensions_mut().insert(Streamed::Events);
    Ok(response)
}

/// Tells each new mark, the first one at once. A database that is away ends it: the browser asks again.
async fn watch(visit: &Visit, tell: &mpsc::Sender<String>) {
    let mut last = None;
    while let Ok(glance) = Glance::of(visit).await {
        let mark = mark(visit, glance);
        if last.as_ref() != Some(&mark) {
            if tell.send(mark.clone()).await.is_err() {
                return;
            }
            last = Some(mark);
        }
        tokio::time::sleep(EVERY).await;
    }
}
