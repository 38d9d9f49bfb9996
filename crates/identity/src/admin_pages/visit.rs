//! One visit of an administrator: who it is, where they can go, and the frame around what they see.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use maud::{Markup, html};
use portcullis_console::api::{Failure, Known};
use portcullis_console::desk::{Desk, Place};
use portcullis_console::{Nonce, Page};
use portcullis_core::decision::{Scope, grants};
use portcullis_core::principal::User;
use portcullis_core::roles::Roles;
use portcullis_core::{Principal, Problem, TenantId, Timestamp, problem};
use portcullis_vault::TokenHash;

use super::sent::{Sent, TOKEN};
use super::{Console, MOUNT, once};
use crate::accounts::By;
use crate::api::signed_in;
use crate::pages::see_other;

/// Words after an act, by the word in the address: nothing else of an address is ever shown.
const DONE: &[(&str, &str)] = &[
    ("saved", "Saved. It counts from the next request on."),
    (
        "suspended",
        "Suspended. It counts from the next request on.",
    ),
    ("activated", "Active again."),
    ("ended", "Ended. It counts from the next request on."),
    (
        "factors-reset",
        "The second factors are gone, and the sessions have ended.",
    ),
    ("reset-sent", "The letter with the link is on its way."),
    (
        "revoked",
        "Revoked. It is refused from the next request on.",
    ),
    ("removed", "Removed. It counts from the next request on."),
    ("replayed", "It is delivered again."),
    ("released", "Released. It is served from now on."),
    ("deleted", "Deleted."),
    (
        "silenced",
        "Silent. What it would have told stays in the list.",
    ),
    ("lifted", "The silence is over."),
    ("lent", "Lent. It counts from the next request on."),
    (
        "taken-back",
        "Taken back. It counts from the next request on.",
    ),
];

/// Who visits, and from which page.
pub(crate) struct Visit {
    pub(crate) console: Console,
    pub(crate) principal: Principal,
    pub(crate) user: User,
    pub(crate) by: By,
    pub(crate) roles: Arc<Roles>,
    /// The short name of the tenant that the caller works in.
    pub(crate) tenant: Option<Arc<str>>,
    session: TokenHash,
    nonce: Option<Nonce>,
    path: String,
    done: Option<&'static str>,
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Failure> {
        let by = By::from_request_parts(parts, console).await?;
        let Known(roles) = Known::from_request_parts(parts, console).await?;
        let user = signed_in(parts)?.clone();
        let session = parts.extensions.get::<TokenHash>().copied();
        let directory = console.admin.tenants.directory();
        let tenant = match user.tenant {
            None => None,
            Some(id) => match directory.lookup(id) {
                Some(place) => Some(place),
                None => directory.load(id).await?,
            },
        };
        let query = parts.uri.query().unwrap_or_default();
        let done = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "done")
            .and_then(|(_, word)| DONE.iter().find(|(known, _)| *known == word))
            .map(|(_, said)| *said);
        Ok(Visit {
            console: console.clone(),
            principal: Principal::User(user.clone()),
            user,
            by,
            roles,
            tenant: tenant.map(|place| Arc::clone(&place.slug)),
            session: session
                .ok_or_else(|| Failure(Problem::new(&problem::AUTHENTICATION_REQUIRED)))?,
            nonce: parts.extensions.get::<Nonce>().cloned(),
            path: format!("{}{}", console.base, parts.uri.path().trim_end_matches('/')),
            done,
        })
    }
}

fn sorted<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

impl Visit {
    /// The address of a page of ours.
    pub(crate) fn to(&self, path: &str) -> String {
        format!("{}{path}", self.console.base)
    }

    /// The address of something else of the gate's own, such as a problem's page.
    pub(crate) fn to_own(&self, path: &str) -> String {
        let base = self.console.base.strip_suffix(MOUNT);
        format!("{}{path}", base.unwrap_or_default())
    }

    /// What admits a script of ours on this page.
    pub(super) fn nonce(&self) -> Option<&str> {
        self.nonce.as_ref().map(|nonce| &*nonce.0)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.console.admin.accounts.parts().clock.now()
    }

    /// Whether the caller holds a permission for the gate as a whole. It chooses which links are shown:
    /// who may do what is the decision's to say.
    pub(crate) fn may(&self, permission: &str) -> bool {
        self.holds(permission, Scope::Gate)
    }

    /// The same in the tenant that the caller works in.
    pub(crate) fn may_in_tenant(&self, permission: &str) -> bool {
        self.user.tenant.is_some() && self.holds(permission, Scope::Tenant)
    }

    fn holds(&self, permission: &str, scope: Scope) -> bool {
        let mask = self.roles.permission_mask(permission);
        mask.is_ok_and(|mask| grants(&self.user, &self.roles, scope).has_permission(mask))
    }

    /// The tenant that the caller works in, and its short name.
    ///
    /// SECURITY: below `/tenants/{tenant}` the pipeline lets nobody through whose own tenant is not the one in the
    /// path, and what is shown there is of this one: no spelling of the path names another.
    pub(crate) fn own_tenant(&self) -> Result<(TenantId, &str), Failure> {
        let known = self.user.tenant.zip(self.tenant.as_deref());
        Ok(known.ok_or(Problem::new(&problem::TENANT_REQUIRED))?)
    }

    /// The roles of the policy, by name.
    pub(crate) fn role_names(&self) -> Vec<String> {
        sorted(self.roles.names())
    }

    /// The permissions of the policy, by name.
    pub(crate) fn permission_names(&self) -> Vec<String> {
        sorted(self.roles.permission_names())
    }

    /// Where the caller can go, each with what it is for.
    pub(super) fn sections(&self) -> Vec<(String, &'static str, &'static str)> {
        let mut all = Vec::new();
        let mut add = |path: String, label, about| {
            all.push((self.to(&path), label, about));
        };
        if self.may("manage:users") {
            add(
                "/users".to_owned(),
                "Users",
                "Accounts, their roles, passwords and sessions.",
            );
        }
        if self.may("manage:audit") {
            add(
                "/audit".to_owned(),
                "Audit",
                "What happened: who did what, what was refused and why, with proofs.",
            );
        }
        if self.may("manage:system") {
            add(
                "/alerts".to_owned(),
                "Alerts",
                "Anomalies, what was told to whom, and what is kept silent.",
            );
            add(
                "/incidents".to_owned(),
                "Incidents",
                "What happened, by when somebody has to answer, and what was done.",
            );
            add(
                "/webhooks".to_owned(),
                "Webhooks",
                "Messages of other services on their way to the product.",
            );
        }
        if self.may("manage:uploads") {
            add(
                "/uploads".to_owned(),
                "Uploads",
                "Files in quarantine: release them or delete them.",
            );
        }
        if self.may("manage:secrets") {
            add(
                "/secrets".to_owned(),
                "Secrets",
                "How old the product's secrets are. No value is shown.",
            );
        }
        if self.may("manage:keys") {
            add(
                "/keys".to_owned(),
                "API keys",
                "Keys of programs: make, rotate, revoke.",
            );
        }
        if self.may("manage:system") {
            add(
                "/tenants".to_owned(),
                "Tenants",
                "Customers of the product: make, suspend, resume.",
            );
        }
        all.extend(self.sections_of_tenant());
        all
    }

    /// Those of the tenant that the caller works in.
    fn sections_of_tenant(&self) -> Vec<(String, &'static str, &'static str)> {
        let Some(slug) = self.tenant.as_deref() else {
            return Vec::new();
        };
        let all = [
            (
                "manage:audit",
                "audit",
                "Tenant's audit",
                "What happened in your tenant, with proofs.",
            ),
            (
                "manage:secrets",
                "secrets",
                "Tenant's secrets",
                "How old your tenant's secrets are. No value is shown.",
            ),
            (
                "manage:uploads",
                "uploads",
                "Tenant's uploads",
                "Files that your tenant's people sent, and what is in quarantine.",
            ),
            (
                "manage:users",
                "members",
                "Members",
                "Who belongs to your tenant, and with which roles.",
            ),
            (
                "manage:users",
                "invitations",
                "Invitations",
                "Whom you have asked into your tenant.",
            ),
            (
                "manage:users",
                "roles",
                "Roles",
                "Roles that your tenant makes for itself.",
            ),
            (
                "manage:users",
                "grants",
                "Lending",
                "Permissions that members lend to each other.",
            ),
        ];
        all.into_iter()
            .filter(|(permission, ..)| self.may_in_tenant(permission))
            .map(|(_, page, label, about)| {
                let to = self.to(&format!("/tenants/{slug}/{page}"));
                (to, label, about)
            })
            .collect()
    }

    /// The bar: the overview and the sections, with the one marked that this page belongs to.
    fn places(&self) -> Vec<Place> {
        let overview = (self.to(""), "Console", "");
        let all = std::iter::once(overview).chain(self.sections());
        let mut places: Vec<Place> = all
            .map(|(href, label, _)| Place {
                href,
                label: label.to_owned(),
                current: None,
            })
            .collect();
        let is_at = |place: &&mut Place| {
            let rest = self.path.strip_prefix(&place.href);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let nearest = places.iter_mut().filter(is_at);
        if let Some(place) = nearest.max_by_key(|place| place.href.len()) {
            let is_this = place.href == self.path;
            place.current = Some(if is_this { "page" } else { "true" });
        }
        places
    }

    /// A page.
    pub(crate) fn page(&self, title: &str, up: Option<(&str, &str)>, body: &Markup) -> Response {
        self.page_as(StatusCode::OK, title, up, body)
    }

    pub(crate) fn page_as(
        &self,
        status: StatusCode,
        title: &str,
        up: Option<(&str, &str)>,
        body: &Markup,
    ) -> Response {
        let places = self.places();
        let auth = &self.console.auth;
        let leave = html! {
            form method="post" action=(format!("{auth}/sign-out")) {
                button.plain type="submit" { "Sign out" }
            }
        };
        let up = up.map(|(path, label)| (self.to(path), label));
        let desk = Desk {
            page: Page {
                title,
                nonce: self.nonce.as_ref(),
            },
            places: &places,
            up: up.as_ref().map(|(href, label)| (href.as_str(), *label)),
            leave: &leave,
        };
        let body = html! {
            @if let Some(done) = self.done { p.told role="status" { (done) } }
            (body)
        };
        (status, Html(desk.render(&body).into_string())).into_response()
    }

    /// A form with its token: the only maker of forms, so that none goes without.
    pub(crate) fn form(&self, class: &str, to: &str, inside: &Markup) -> Markup {
        // Without random numbers there is no token, and the form is refused when it comes.
        let token = (self.console.tokens.issue)(&self.session).unwrap_or_default();
        html! {
            form class=(class) method="post" action=(self.to(to)) {
                input type="hidden" name=(TOKEN) value=(token);
                (inside)
            }
        }
    }

    /// A form that is one button. `about` says to those who do not see the row what it is about.
    pub(crate) fn button(&self, class: &str, to: &str, label: &str, about: &str) -> Markup {
        self.form(
            "",
            to,
            &html! {
                button class=(class) type="submit" {
                    (label) @if !about.is_empty() { span.away { ": " (about) } }
                }
            },
        )
    }

    /// What cannot be undone, or weighs much: behind a disclosure, with words about what it does.
    pub(crate) fn grave(&self, to: &str, label: &str, about: &str) -> Markup {
        html! {
            details.sheet {
                summary { (label) }
                p { (about) }
                (self.button("danger", to, label, ""))
            }
        }
    }

    /// On to another page of ours, with a word about what was done.
    pub(crate) fn done(&self, path: &str, word: &str) -> Response {
        see_other(&format!("{}?done={word}", self.to(path)))
    }

    /// Takes the form, or refuses it where it was taken before.
    ///
    /// SECURITY: before anything is made of it. Loading the page with a new key again would else make
    /// another one.
    pub(crate) async fn take(&self, sent: &Sent) -> Result<(), Failure> {
        let parts = self.console.admin.accounts.parts();
        let now = parts.clock.now();
        let is_first = once::spend(&parts.db, sent.token(), now).await;
        if is_first.map_err(Problem::from)? {
            return Ok(());
        }
        let problem = Problem::new(&problem::CONFLICT);
        Err(Failure(problem.detail("This form was sent before. What it made is there, and a secret that it showed is shown once. Go back to the list to see it.")))
    }
}
