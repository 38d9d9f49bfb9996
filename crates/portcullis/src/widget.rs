//! What the journey asks about visitors and widgets: whose token it is, whose widget a route belongs
//! to, and whether a visitor's request comes from where the visit is at home.

use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use portcullis_access::config::{AccessConfig, Framing};
use portcullis_core::finding::Finding;
use portcullis_core::principal::CallerKind;
use portcullis_core::route::Params;
use portcullis_core::{Principal, Problem, Timestamp, path, problem};
use portcullis_edge::forward::WebSocketAsked;
use portcullis_guard::Own;
use portcullis_guard::cors::{self, Grant};
use portcullis_guard::csrf::is_safe;
use portcullis_identity::visitors::{self, Found, Live, Shape, Widget, may_come_from};
use portcullis_vault::TokenHash;
use std::sync::Arc;

use crate::config::Config;
use crate::credentials::{Caller, Proof, invalid_token};
use crate::lane::Lane;
use crate::toll::Toll;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Lane {
    /// Whether a bearer is a visitor's token, and so not looked at before everything else.
    pub(crate) fn is_visitors(&self, token: &str) -> bool {
        self.gate.visitors.read(token) != Shape::Foreign
    }

    /// The visitor with this token, where `caller` is nobody yet.
    ///
    /// SECURITY: a visitor's token never stands above a session. Whoever gets a page to send one would
    /// otherwise have somebody who is signed in act, and write, as another.
    pub(crate) async fn or_visitor(
        &self,
        caller: Caller,
        token: &str,
        toll: &mut Toll<'_>,
    ) -> Result<Caller, Problem> {
        let spent = Some(AUTHORIZATION);
        if !caller.principal.is_anonymous() {
            return Ok(Caller { spent, ..caller });
        }
        let hash = match self.gate.visitors.read(token) {
            Shape::Own(hash) => hash,
            Shape::Broken | Shape::Foreign => return Err(invalid_token()),
        };
        let live = match self.gate.visitors.lookup(&hash) {
            Found::Live(live) => live,
            Found::Unknown => {
                let visitors = self.gate.visitors.clone();
                // Boxed, as all that is rare: room for it here would be copied with every request.
                let loaded = self.look_up(toll, async move { visitors.load(&hash).await });
                Box::pin(loaded).await??.ok_or_else(invalid_token)?
            }
        };
        if live.is_due {
            self.renew(hash, live.clone());
        }
        Ok(Caller {
            principal: Principal::Visitor(live.visitor),
            proof: Proof::Visitor(hash),
            spent,
            is_stale: caller.is_stale,
        })
    }

    /// Lets the visit last longer, beside the request: it waits for nothing, and where this comes to
    /// nothing, the visit ends when it was to end.
    fn renew(&self, hash: TokenHash, live: Live) {
        let gate = Arc::clone(&self.gate);
        self.gate.back.spawn(async move {
            match gate.visitors.renew(&hash, live.visitor.id).await {
                Ok(Some(end)) => gate.streams.set_end(&Principal::Visitor(live.visitor), end),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a visit could not be renewed"),
            }
        });
    }

    /// When the visit ends, as far as memory knows.
    pub(crate) fn end_of_visit(&self, proof: Proof) -> Option<Timestamp> {
        match proof {
            Proof::Visitor(hash) => self.gate.visitors.known_end(&hash),
            Proof::Nothing
            | Proof::Session(_)
            | Proof::ApiKey(_)
            | Proof::CarriedOver(_)
            | Proof::Token(_) => None,
        }
    }

    /// Whether the visit with this token still goes on.
    pub(crate) async fn visit_goes_on(&self, hash: TokenHash) -> Result<bool, Problem> {
        if self.gate.visitors.known_end(&hash).is_some() {
            return Ok(true);
        }
        let visitors = self.gate.visitors.clone();
        let loaded = self.on_back(async move { visitors.load(&hash).await });
        Ok(loaded.await??.is_some())
    }

    /// The widget of the tenant that the path names in `param`; nothing where there is none.
    pub(crate) async fn widget(
        &self,
        params: &Params<'_, '_>,
        param: &str,
        toll: &mut Toll<'_>,
    ) -> Result<Option<Arc<Widget>>, Problem> {
        let Some(name) = params.get(param).map(path::decode_segment) else {
            return Ok(None);
        };
        let visitors = &self.gate.visitors;
        if let Some(known) = visitors.widgets().lookup(&name) {
            return Ok(known);
        }
        let (visitors, name) = (visitors.clone(), name.into_owned());
        Ok(self
            .look_up(toll, async move { visitors.widgets().load(&name).await })
            .await??)
    }
}

impl Lane {
    /// Who may read the refusal of a call that only a widget's pages make: those pages, which have to
    /// know when to come back. From memory alone, for a flood is refused before anything is looked up.
    pub(crate) fn grant_for_widget(&self, head: &Parts) -> Grant {
        let name = head.uri.path().rsplit('/').next().unwrap_or_default();
        let known = self.gate.visitors.widgets().lookup(name).flatten();
        let is_named = |origin: &[u8]| known.is_some_and(|widget| widget.admits(origin));
        match cors::widget::check(head, is_named) {
            Ok(cors::Outcome::Pass(grant)) => grant,
            Ok(cors::Outcome::Preflight(_)) | Err(_) => Grant::default(),
        }
    }
}

/// Refuses a visitor's token on pages where the visit is not at home (W1).
pub(crate) fn check_home(head: &Parts, place: Own<'_>, caller: &Principal) -> Result<(), Problem> {
    let visitor = match caller {
        Principal::Visitor(visitor) => visitor,
        Principal::Anonymous | Principal::User(_) | Principal::ApiKey(_) => return Ok(()),
    };
    // One at most: two were refused before.
    let origin = head.headers.get(ORIGIN).map(HeaderValue::as_bytes);
    let is_own = origin.is_some_and(|origin| place.is_origin(origin));
    let is_near = head
        .headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    // A handshake is a `GET` that opens a channel for writing.
    let is_handshake = head.extensions.get::<WebSocketAsked>().is_some();
    let is_safe = is_safe(&head.method) && !is_handshake && is_near;
    if may_come_from(visitor, origin, is_own, is_safe) {
        Ok(())
    } else {
        Err(Problem::new(&problem::ORIGIN_NOT_ALLOWED)
            .detail("This visit is at home on another page."))
    }
}

/// What is wrong with `[visitors]`, and routes that count on it where it is not there.
pub(crate) fn findings(config: &Config) -> Vec<Finding> {
    let Some(written) = &config.visitors else {
        return uses(&config.access);
    };
    let mut findings: Vec<Finding> = written
        .findings()
        .iter()
        .map(|finding| Finding::error("visitors", finding.key, finding.message))
        .collect();
    let keys = &config.api_keys;
    for (key, prefix) in [
        ("api-keys.prefix", Some(&keys.prefix)),
        ("api-keys.imported-prefix", keys.imported_prefix.as_ref()),
    ] {
        if prefix.is_some_and(|prefix| prefix == visitors::PREFIX) {
            let message = format!("`{}` is what visitors' tokens begin with", visitors::PREFIX);
            findings.push(
                Finding::error("api-key-prefix", key, message).remedy("give keys another prefix"),
            );
        }
    }
    findings
}

/// Routes that are for visitors where nobody can be one.
fn uses(access: &AccessConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (position, route) in access.routes.iter().enumerate() {
        let key = if route.callers.contains(&CallerKind::Visitor) {
            "callers"
        } else if matches!(&route.framing, Some(Framing::Tenant(_))) {
            "framing"
        } else {
            continue;
        };
        findings.push(
            Finding::warning(
                "no-visitors",
                format!("route.{position}.{key}"),
                "there are no visitors without a table `[visitors]`",
            )
            .at(route.line)
            .remedy("add `[visitors]`, or take the key out"),
        );
    }
    findings
}
