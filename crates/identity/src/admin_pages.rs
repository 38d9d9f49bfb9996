//! The console: pages on which administrators do by hand what the admin API does for programs.
//!
//! - A page is an entry in a [`Pages`] table: method, path, the permission that it asks for, and the
//!   handler. [`routes`] reads the same table again, and the binary makes the gate's own routes of
//!   it. So there is no way to add a page that the pipeline does not guard.
//! - Each form bears a token that is bound to the session. One layer around all of the pages looks at
//!   it before any handler sees what was sent ([`sent`]), so that none can forget to.
//! - A handler calls the very method that the admin API calls. There is no second way to do an act.
//! - What makes something, or shows a secret, takes each form once ([`once`]): a page that is loaded
//!   again makes nothing and shows nothing.
//! - No script but the one that keeps the first page fresh ([`live`]). What cannot be undone stands behind a disclosure.

mod ages;
mod cases;
mod deliveries;
mod found;
mod glance;
mod held;
mod inputs;
mod live;
pub(crate) mod once;
mod overview;
mod question;
mod recorded;
mod sent;
mod visit;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing;
use http::Method;
use portcullis_console::api::{Failure, no_store};
use portcullis_core::finding::Finding;
use portcullis_core::{Problem, problem};
use portcullis_events::metrics::Traffic;
use portcullis_vault::TokenHash;

use crate::admin_api::Admin;
use crate::{api_keys, sessions, tenants, users};

pub use live::Live;

pub(crate) use inputs::{Faults, number, picks, select, text, textarea};
pub(crate) use question::Question;
pub(crate) use sent::Sent;
pub(crate) use visit::Visit;

/// Where all of the pages lie, below what the binary reserves for itself.
pub const MOUNT: &str = "/console";
/// Rows on one page of a list.
pub(crate) const ROWS: u32 = 50;
/// What a list is asked for: whether there is a row more, says whether there is another page.
pub(crate) const ONE_MORE: u32 = ROWS + 1;

/// Cuts a list to one page. Whether it goes on.
pub(crate) fn cut<T>(list: &mut Vec<T>) -> bool {
    let rows = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let more = list.len() > rows;
    list.truncate(rows);
    more
}

/// Makes the token of a form for a session; nothing where that fails.
pub type IssueToken = dyn Fn(&TokenHash) -> Option<String> + Send + Sync;
/// Whether a token is one of this session's.
pub type VerifyToken = dyn Fn(&str, &TokenHash) -> bool + Send + Sync;

/// The tokens of forms. Given by the binary, which knows the guard.
#[derive(Clone)]
pub struct FormTokens {
    pub issue: Arc<IssueToken>,
    pub verify: Arc<VerifyToken>,
}

impl fmt::Debug for FormTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormTokens(..)")
    }
}

/// What there is to look at in the configuration that counts now. Given by the binary, which judges it.
pub type Posture = dyn Fn() -> Vec<Finding> + Send + Sync;

/// What the pages work with.
#[derive(Clone)]
pub struct Console {
    pub admin: Admin,
    pub tokens: FormTokens,
    pub traffic: Traffic,
    pub posture: Arc<Posture>,
    /// Where the pages are mounted.
    pub base: Arc<str>,
    /// Where the auth API is: the caller's own account, and the way out.
    pub auth: Arc<str>,
    pub live: Live,
}

/// What a page asks of whoever opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    SignedIn,
    Permission(&'static str),
}

/// One page or form: what the pipeline has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    /// Relative to [`MOUNT`].
    pub path: &'static str,
    pub asks: Asks,
}

/// Pages with what they ask for.
pub(crate) struct Pages {
    router: Router<Console>,
    routes: Vec<Route>,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Pages {
            router: Router::new(),
            routes: Vec::new(),
        }
    }

    /// A page to look at.
    pub(crate) fn get<H, T>(mut self, path: &'static str, asks: Asks, handler: H) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        self.router = self.router.route(path, routing::get(handler));
        self.note(Method::GET, path, asks)
    }

    /// What a form is sent to.
    pub(crate) fn post<H, T>(mut self, path: &'static str, asks: Asks, handler: H) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        self.router = self.router.route(path, routing::post(handler));
        self.note(Method::POST, path, asks)
    }

    fn note(mut self, method: Method, path: &'static str, asks: Asks) -> Self {
        self.routes.push(Route { method, path, asks });
        self
    }

    pub(crate) fn and(mut self, more: Pages) -> Self {
        self.router = self.router.merge(more.router);
        self.routes.extend(more.routes);
        self
    }
}

/// Every slice's pages.
fn pages() -> Pages {
    Pages::new()
        .get("/", Asks::SignedIn, overview::overview)
        .get(live::STREAM, Asks::SignedIn, live::stream)
        .get(live::FIGURES, Asks::SignedIn, live::fresh)
        .get(live::SCRIPT, Asks::SignedIn, live::script)
        .and(recorded::pages())
        .and(found::pages())
        .and(cases::pages())
        .and(deliveries::pages())
        .and(held::pages())
        .and(ages::pages())
        .and(users::pages::pages())
        .and(sessions::pages::pages())
        .and(api_keys::pages::pages())
        .and(tenants::pages::pages())
}

/// Every page there is, with what it asks for.
pub fn routes() -> Vec<Route> {
    pages().routes
}

/// The handlers, relative to [`MOUNT`].
pub fn router(console: Console) -> Router {
    pages()
        .router
        .fallback(async || Failure(Problem::new(&problem::NOT_FOUND)))
        .method_not_allowed_fallback(async || Failure(Problem::new(&problem::METHOD_NOT_ALLOWED)))
        // SECURITY: around every page there is. Without it a page of another site, or of a sibling
        // domain, sends forms in the administrator's name (CWE-352).
        .layer(axum::middleware::from_fn_with_state(
            console.clone(),
            sent::check,
        ))
        .layer(axum::middleware::map_response(no_store))
        .with_state(console)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_but_the_overview_is_for_everybody_who_is_signed_in() {
        for route in routes() {
            match route.asks {
                Asks::Permission(permission) => assert!(permission.contains(':')),
                Asks::SignedIn => {
                    assert!(["/", live::STREAM, live::FIGURES, live::SCRIPT].contains(&route.path));
                }
            }
        }
    }
}
