//! The routes of a policy as paths that can be asked for.

use portcullis_access::config::{Allow, RouteConfig, TenantAt};
use portcullis_core::principal::CallerKind;

use crate::own;
use crate::prove::wire::{Ask, Target};
use crate::prove::world::{TENANT_A, World};

/// A route with a path that it matches.
pub(super) struct Sample<'c> {
    pub(super) route: std::borrow::Cow<'c, RouteConfig>,
    pub(super) path: String,
    pub(super) methods: Vec<String>,
    /// Of the gate itself.
    pub(super) own: bool,
}

impl Sample<'_> {
    pub(super) fn is_public(&self) -> bool {
        self.route.allow.as_ref().is_some_and(Allow::is_public)
    }

    /// Whether the people of a kind may come, and nothing is asked of them but to be there.
    pub(super) fn is_for_any(&self, kind: CallerKind) -> bool {
        self.route.allow == Some(Allow::User)
            && self.route.callers.contains(&kind)
            && !self.route.mfa
            && self.route.consent.is_none()
            && self.route.tenant.is_none()
    }

    pub(super) fn takes(&self, method: &str) -> bool {
        self.methods.iter().any(|known| known == method)
    }

    /// A request for it, at the host that it is for.
    pub(super) fn ask<'t>(&self, target: &'t Target, method: &str) -> Ask<'t> {
        let ask = target.ask(method, &self.path);
        match &self.route.host {
            None => ask,
            Some(host) => ask.header("host", host),
        }
    }
}

/// Every route: those of the policy, and the gate's own.
pub(super) fn all(w: &World) -> Vec<Sample<'_>> {
    let mut samples: Vec<Sample<'_>> = of_policy(w);
    let own = own::routes(w.config());
    samples.extend(own.into_iter().map(|route| Sample {
        path: path(w, &route),
        methods: methods(&route),
        route: std::borrow::Cow::Owned(route),
        own: true,
    }));
    samples
}

/// The routes of the policy.
pub(super) fn of_policy(w: &World) -> Vec<Sample<'_>> {
    let routes = w.config().access.routes.iter();
    routes
        .map(|route| Sample {
            path: path(w, route),
            methods: methods(route),
            route: std::borrow::Cow::Borrowed(route),
            own: false,
        })
        .collect()
}

fn methods(route: &RouteConfig) -> Vec<String> {
    let all = || vec!["GET".to_owned(), "POST".to_owned()];
    route.methods.clone().unwrap_or_else(all)
}

fn path(w: &World, route: &RouteConfig) -> String {
    let owner = match &route.allow {
        Some(Allow::Owned { owner, .. }) => Some(owner.as_str()),
        Some(
            Allow::Public | Allow::User | Allow::Closed | Allow::Role(_) | Allow::Permission(_),
        )
        | None => None,
    };
    let tenant = match &route.tenant {
        Some(TenantAt::Path(name)) => Some(name.as_str()),
        Some(TenantAt::Any | TenantAt::Host(_) | TenantAt::Header(_)) | None => None,
    };
    let fill = |segment: &str| {
        let Some(name) = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        else {
            return segment.to_owned();
        };
        if Some(name) == tenant {
            TENANT_A.to_owned()
        } else if Some(name) == owner {
            w.people.plain.id.to_string()
        } else {
            "prove".to_owned()
        }
    };
    route
        .path
        .split('/')
        .map(fill)
        .collect::<Vec<_>>()
        .join("/")
}
