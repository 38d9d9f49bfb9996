//! The compiled policy: one immutable snapshot of routes and roles.
//!
//! Compiling says everything that is wrong at once, each mistake with its key, line, reason and
//! remedy; a policy with one error does not exist. Looking up never waits and holds no lock.
//!
//! A route for one host and a route for every host live in one table per host, so that the most
//! specific path decides whichever of them it belongs to; on the same path the host's own route
//! wins. A catch-all for one host therefore never opens what a closer route for every host guards.
//!
//! What belongs to other rooms (limits, framing, upstreams) is kept as plain data: positions in
//! the lists of names that the caller knows.

mod agreed;
mod binding;
mod compile;
mod mistake;
mod tables;

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use portcullis_core::binding::Asked;
use portcullis_core::decision::{Access, Denied, Rule};
use portcullis_core::roles::Roles;
use portcullis_core::route::{Found, Methods, Params, RouteTable};
use portcullis_core::size::ByteSize;
use portcullis_core::{Permit, Principal, Span};

pub use self::mistake::{Mistake, Severity};
use crate::config::{AccessConfig, Framing};

/// The names that routes may refer to. A compiled route holds positions in these lists.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Names of `[upstream.NAME]`.
    pub upstreams: Vec<String>,
    /// Names of `[limits.NAME]`.
    pub limits: Vec<String>,
    /// The hosts that the gate answers for, exact or `*.example.com`; empty where that is not
    /// known, and then the hosts of routes are not compared with them.
    pub hosts: Vec<String>,
    /// Paths that the gate itself answers, with everything below them. Routes there are
    /// unreachable and warned of.
    pub reserved: Vec<String>,
    /// Roles whose holders are asked for a second factor everywhere but on the way to one.
    pub second_factor_for: Vec<String>,
    /// Names of `[[purpose]]`, each with the version that is shown now.
    pub purposes: Vec<(String, String)>,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// The position of the route in the configuration, from 0.
    pub id: usize,
    /// Methods and path, for logs and `explain`: `GET,POST /api/items`.
    pub name: String,
    /// The pattern as written.
    pub path: String,
    pub methods: Methods,
    /// Lower case, without port. Nothing for a route of every host.
    pub host: Option<String>,
    pub rule: Rule,
    /// Position in [`Known::upstreams`].
    pub upstream: usize,
    /// Positions in [`Known::limits`].
    pub limits: Vec<usize>,
    pub csrf: Csrf,
    pub cors: Cors,
    /// Nothing where `[headers]` decides.
    pub framing: Option<Framing>,
    /// The parameter of the path that names the tenant whose widget this route belongs to.
    pub widget: Option<Box<str>>,
    /// Pages of the widget's origins call it, and no others.
    pub is_called_by_widget: bool,
    /// Pages of other sites load what it answers.
    pub is_shared: bool,
    /// Nothing where `[body]` decides.
    pub max_body: Option<ByteSize>,
    /// Until the head of the upstream's answer. Nothing where the upstream decides.
    pub timeout: Option<Span>,
    /// Where the route begins in its file, from 1.
    pub line: Option<usize>,
}

/// Whether unsafe requests with a session cookie must prove where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Csrf {
    Required,
    /// The route says `csrf = false`.
    Exempt,
}

/// Whether other origins may call the route where `[cors]` allows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cors {
    AsConfigured,
    /// The route says `cors = false`.
    Never,
}

impl Route {
    pub fn is_public(&self) -> bool {
        match &self.rule.access {
            Access::Public => true,
            Access::Closed
            | Access::SignedIn
            | Access::Role { .. }
            | Access::Permission { .. }
            | Access::Owned { .. } => false,
        }
    }
}

/// Routes and roles, compiled. Immutable: a reload makes another one and swaps it whole.
#[derive(Debug)]
pub struct Policy {
    roles: Arc<Roles>,
    /// In the order of the file.
    routes: Vec<Arc<Route>>,
    /// For hosts that no route names.
    general: RouteTable<Arc<Route>>,
    /// For hosts that a route names: its own routes and the general ones.
    by_host: HashMap<Box<str>, RouteTable<Arc<Route>>>,
    warnings: Vec<Mistake>,
}

impl Policy {
    /// Compiles a configuration, or says everything that is wrong with it, warnings included.
    pub fn compile(config: &AccessConfig, known: &Known) -> Result<Self, Vec<Mistake>> {
        compile::compile(config, known)
    }

    /// The route that decides about `method` on the canonical `path` of `host`.
    ///
    /// # Errors
    /// [`Denied::NoRoute`] or [`Denied::WrongMethod`]: whatever no route names is refused.
    pub fn find<'t, 'p>(
        &'t self,
        host: &str,
        method: &Method,
        path: &'p str,
    ) -> Result<(&'t Arc<Route>, Params<'t, 'p>), Denied> {
        match self.table(host).find(method, path) {
            Found::Route { route, params } => Ok((route, params)),
            Found::WrongMethod { allow } => Err(Denied::WrongMethod { allow }),
            Found::Nothing => Err(Denied::NoRoute),
        }
    }

    /// May `principal` use `route`, as it was `asked`? The one decision, with these roles.
    pub fn decide(
        &self,
        route: &Route,
        principal: &Principal,
        asked: &Asked<'_>,
    ) -> Result<Permit, Denied> {
        portcullis_core::decision::decide(&route.rule, principal, &self.roles, asked)
    }

    pub const fn roles(&self) -> &Arc<Roles> {
        &self.roles
    }

    /// Every route, in the order of the file.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What is allowed and yet deserves a look.
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    fn table(&self, host: &str) -> &RouteTable<Arc<Route>> {
        if self.by_host.is_empty() {
            return &self.general;
        }
        let own = match host_name(host) {
            name if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.by_host.get(name.to_ascii_lowercase().as_str())
            }
            name => self.by_host.get(name),
        };
        own.unwrap_or(&self.general)
    }
}

/// `host` without port and without the final dot of a fully qualified name. One host must not
/// choose another table by another spelling.
fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        Some(_) | None => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
