//! From what is written to what is run.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use portcullis_core::binding::Binding;
use portcullis_core::decision::{Access, Consent, Rule, SecondFactor};
use portcullis_core::principal::CallerKind;
use portcullis_core::roles::{RoleError, Roles};
use portcullis_core::route::{Methods, Pattern};

use super::tables::tables;
use super::{Cors, Csrf, Known, Mistake, Policy, Route, Severity, host_name};
use super::{agreed, binding};
use crate::config::{AccessConfig, Allow, Framing, RouteConfig};

pub(super) fn compile(config: &AccessConfig, known: &Known) -> Result<Policy, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let roles = Roles::compile(&config.roles())
        .map_err(|errors| mistakes.extend(errors.iter().map(role_mistake)))
        .ok();
    let mut routes = Vec::new();
    for (position, written) in config.routes.iter().enumerate() {
        let mut compiler = Compiler {
            position,
            written,
            known,
            roles: roles.as_ref(),
            mistakes: &mut mistakes,
        };
        routes.extend(compiler.route());
    }
    let (general, by_host) = tables(&routes, &mut mistakes);
    let has_errors = mistakes
        .iter()
        .any(|mistake| mistake.severity == Severity::Error);
    match roles {
        Some(roles) if !has_errors => Ok(Policy {
            roles: Arc::new(roles),
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            general,
            by_host,
            warnings: mistakes,
        }),
        Some(_) | None => Err(mistakes),
    }
}

fn role_mistake(error: &RoleError) -> Mistake {
    let (key, remedy) = match error {
        RoleError::UnknownParent { role, parent } => (
            format!("roles.{role}.inherits"),
            format!("define [roles.{parent}] or leave it out"),
        ),
        RoleError::Cycle(role) => (
            format!("roles.{role}.inherits"),
            "break the circle".to_owned(),
        ),
        RoleError::BadPermission { role, .. } => (
            format!("roles.{role}.permissions"),
            "write a lower-case action and scope, such as \"read:own\"".to_owned(),
        ),
        RoleError::UnknownGiven { role, given } => (
            format!("roles.{role}.may-give"),
            format!("define [roles.{given}] or leave it out"),
        ),
        RoleError::BadName(name) => (
            format!("roles.{name}"),
            "give it a name that does not begin with `custom:`".to_owned(),
        ),
        RoleError::TooMany { limit, .. } => {
            ("roles".to_owned(), format!("keep to {limit} at most"))
        }
        RoleError::UnknownRole(_) | RoleError::UnknownPermission(_) => {
            ("roles".to_owned(), "define it".to_owned())
        }
    };
    Mistake {
        severity: Severity::Error,
        rule: "role",
        line: None,
        key,
        reason: error.to_string(),
        remedy,
    }
}

/// Compiles one route and collects what is wrong with it.
struct Compiler<'a> {
    position: usize,
    written: &'a RouteConfig,
    known: &'a Known,
    roles: Option<&'a Roles>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Compiler<'_> {
    /// Nothing where the route has an error; every part is checked even so.
    fn route(&mut self) -> Option<(Pattern, Arc<Route>)> {
        let written = self.written;
        let pattern = self.pattern();
        let methods = self.methods();
        let host = self.host();
        let access = self.access(pattern.as_ref());
        self.check_callers();
        if written.max_age.is_some_and(portcullis_core::Span::is_zero) {
            self.error(
                "route-max-age",
                "max-age",
                "nobody signed in no time ago".to_owned(),
                "write a length of time, such as \"15m\", or leave the key out".to_owned(),
            );
        }
        let consent = self.consent();
        let upstream = self.upstream();
        let limits = self.limits();
        if written.timeout.is_some_and(portcullis_core::Span::is_zero) {
            self.error(
                "route-timeout",
                "timeout",
                "no upstream answers in no time".to_owned(),
                "write a length of time, or leave the key out".to_owned(),
            );
        }
        let pattern = pattern?;
        self.warn_of_unreachable(&pattern);
        let tenant = self.tenant(&pattern);
        let (methods, host, access, limits) = (methods?, host?, access?, limits?);
        let tenant = tenant?;
        let widget = self.widget(&pattern)?;
        let route = Route {
            id: self.position,
            name: name(&methods, &written.path),
            path: written.path.clone(),
            methods,
            host,
            rule: Rule {
                access,
                callers: written.callers.iter().copied().collect(),
                path: written.path.as_str().into(),
                second_factor: self.second_factor(),
                max_age: written.max_age,
                tenant,
                consent: consent?,
                scope: written.scope,
            },
            upstream: upstream?,
            limits,
            csrf: if written.csrf {
                Csrf::Required
            } else {
                Csrf::Exempt
            },
            cors: if written.cors {
                Cors::AsConfigured
            } else {
                Cors::Never
            },
            framing: written.framing.clone(),
            widget,
            is_called_by_widget: written.is_called_by_widget,
            is_shared: written.is_shared,
            max_body: written.max_body,
            timeout: written.timeout,
            line: written.line,
        };
        self.warn_of_risks(&pattern, &route);
        Some((pattern, Arc::new(route)))
    }

    fn pattern(&mut self) -> Option<Pattern> {
        Pattern::parse(&self.written.path)
            .map_err(|error| {
                self.error(
                    "route-path",
                    "path",
                    error.to_string(),
                    "write `/literal`, `{name}` and, last, `{*name}`".to_owned(),
                );
            })
            .ok()
    }

    fn methods(&mut self) -> Option<Methods> {
        let Some(names) = &self.written.methods else {
            return Some(Methods::Any);
        };
        if names.is_empty() {
            self.error(
                "route-methods",
                "methods",
                "the route answers to no method".to_owned(),
                "name some, or leave the key out for every method".to_owned(),
            );
            return None;
        }
        let mut methods = Vec::new();
        let mut sound = true;
        for name in names {
            match method(name) {
                Ok(method) if methods.contains(&method) => {}
                Ok(method) => methods.push(method),
                Err(remedy) => {
                    sound = false;
                    self.error(
                        "route-methods",
                        "methods",
                        format!("`{name}` is refused"),
                        remedy,
                    );
                }
            }
        }
        // RFC 9110 section 9.3.2. Written out, so that a route for `HEAD` beside it is a conflict
        // and not a second decision about the same thing.
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        sound.then_some(Methods::Only(methods))
    }

    /// The outer option is nothing for an error, the inner one for a route of every host.
    #[expect(
        clippy::option_option,
        reason = "an error and a route for every host are two things"
    )]
    fn host(&mut self) -> Option<Option<String>> {
        let Some(written) = &self.written.host else {
            return Some(None);
        };
        let host = written.to_ascii_lowercase();
        let plain = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
        if !plain || host_name(&host) != host {
            self.error(
                "route-host",
                "host",
                format!("`{written}` is not a host name"),
                "write the name alone, without scheme, port, path or `*`".to_owned(),
            );
            return None;
        }
        if !self.known.hosts.is_empty() && !self.known.hosts.iter().any(|rule| admits(rule, &host))
        {
            self.warning(
                "route-unreachable",
                "host",
                format!("the gate does not answer for `{host}`, so the route is unreachable"),
                "add the host to [hosts], or remove the route".to_owned(),
            );
        }
        Some(Some(host))
    }

    fn access(&mut self, pattern: Option<&Pattern>) -> Option<Access> {
        let Some(allow) = &self.written.allow else {
            self.error(
                "route-without-decision",
                "allow",
                format!("nothing says who may use `{}`", self.written.path),
                "write `allow = \"user\"`, or another decision".to_owned(),
            );
            return None;
        };
        if let Allow::Owned { owner, .. } = allow
            && let Some(pattern) = pattern
            && !pattern.params().any(|name| name == owner)
        {
            self.error(
                "route-owner",
                "allow.owner",
                format!("`{owner}` is not a parameter of `{}`", self.written.path),
                format!("name one of its parameters, or write `{{{owner}}}` into the path"),
            );
        }
        let roles = self.roles?;
        let result = match allow {
            Allow::Public => Ok(Access::Public),
            Allow::User => Ok(Access::SignedIn),
            Allow::Closed => Ok(Access::Closed),
            Allow::Role(names) if names.is_empty() => {
                self.error(
                    "route-role",
                    "allow.role",
                    "no role is named, so nobody could pass".to_owned(),
                    "name a role, or write `allow = \"closed\"`".to_owned(),
                );
                return None;
            }
            Allow::Role(names) => return self.role_access(roles, names),
            Allow::Permission(name) => roles.permission_mask(name).map(|mask| Access::Permission {
                mask,
                name: name.clone(),
            }),
            Allow::Owned { action, owner } => Access::owned(action, owner, roles),
        };
        result
            .map_err(|error| {
                self.error(
                    "route-allow",
                    "allow",
                    error.to_string(),
                    "give it to a role under [roles.NAME], or name another one".to_owned(),
                );
            })
            .ok()
    }

    /// The parameter that names the tenant whose widget it is. The outer option is nothing for an error.
    #[expect(
        clippy::option_option,
        reason = "an error and a route of no widget are two things"
    )]
    fn widget(&mut self, pattern: &Pattern) -> Option<Option<Box<str>>> {
        let param = match &self.written.framing {
            Some(Framing::Tenant(param)) => param.as_str(),
            Some(Framing::Deny | Framing::SameOrigin) | None
                if self.written.is_called_by_widget =>
            {
                "tenant"
            }
            Some(Framing::Deny | Framing::SameOrigin) | None => return Some(None),
        };
        if pattern.params().any(|name| name == param) {
            return Some(Some(param.into()));
        }
        self.error(
            "route-framing",
            "framing.tenant",
            format!("`{param}` is not a parameter of `{pattern}`"),
            format!("name one of its parameters, or write `{{{param}}}` into the path"),
        );
        None
    }

    /// Of whom a second factor is asked here.
    fn second_factor(&self) -> SecondFactor {
        if self.written.mfa {
            return SecondFactor::OfAll;
        }
        let asked = &self.known.second_factor_for;
        if self.written.is_way_to_factor || asked.is_empty() {
            return SecondFactor::NotAsked;
        }
        match self.roles.and_then(|roles| roles.role_mask(asked).ok()) {
            Some(mask) => SecondFactor::OfRoles(mask),
            // A role that nobody defined is an error of its own; until it is mended: everybody.
            None => SecondFactor::OfAll,
        }
    }

    /// The outer option is nothing for an error, the inner one where nothing is asked.
    #[expect(
        clippy::option_option,
        reason = "an error and a route that asks for nothing are two things"
    )]
    fn consent(&mut self) -> Option<Option<Consent>> {
        agreed::compile(self.written, self.known)
            .map_err(|wrong| {
                self.error("route-consent", "consent", wrong.reason, wrong.remedy);
            })
            .ok()
    }

    fn check_callers(&mut self) {
        if self.written.callers.is_empty() {
            self.error(
                "route-callers",
                "callers",
                "no kind of caller is named, so nobody could pass".to_owned(),
                "name some of \"user\", \"api-key\" and \"visitor\", or leave the key out for users"
                    .to_owned(),
            );
        }
    }

    fn role_access(&mut self, roles: &Roles, names: &[String]) -> Option<Access> {
        let mut known: Vec<&str> = roles.names().collect();
        known.sort_unstable();
        for name in names.iter().filter(|name| !roles.contains(name)) {
            self.error(
                "route-role",
                "allow.role",
                RoleError::UnknownRole(name.clone()).to_string(),
                format!("define [roles.{name}], or name one of {}", known.join(", ")),
            );
        }
        let any_of = roles.role_mask(names).ok()?;
        Some(Access::Role {
            any_of,
            names: names.to_vec(),
        })
    }

    /// The outer option is nothing for an error, the inner one for a route without tenants.
    #[expect(
        clippy::option_option,
        reason = "an error and a route without tenants are two things"
    )]
    fn tenant(&mut self, pattern: &Pattern) -> Option<Option<Binding>> {
        let Some(written) = &self.written.tenant else {
            return Some(None);
        };
        match binding::compile(written, self.written.allow.as_ref(), pattern) {
            Ok(binding) => Some(Some(binding)),
            Err((key, reason, remedy)) => {
                self.error("route-tenant", key, reason, remedy);
                None
            }
        }
    }

    fn upstream(&mut self) -> Option<usize> {
        let known = &self.known.upstreams;
        let place = |name: &str| known.iter().position(|upstream| upstream == name);
        let (found, reason) = match &self.written.upstream {
            Some(name) => (place(name), format!("there is no [upstream.{name}]")),
            None if known.len() == 1 => (Some(0), String::new()),
            None => (
                place("default"),
                "the route does not say which upstream answers, and none is named `default`"
                    .to_owned(),
            ),
        };
        if found.is_none() {
            let remedy = if known.is_empty() {
                "add [upstream.default] with its `url`".to_owned()
            } else {
                format!("name one of {}", known.join(", "))
            };
            self.error("route-upstream", "upstream", reason, remedy);
        }
        found
    }

    fn limits(&mut self) -> Option<Vec<usize>> {
        let mut found = BTreeSet::new();
        let mut sound = true;
        for name in &self.written.limits {
            let position = self.known.limits.iter().position(|limit| limit == name);
            if let Some(position) = position {
                found.insert(position);
                continue;
            }
            sound = false;
            let remedy = if self.known.limits.is_empty() {
                format!("add [limits.{name}]")
            } else {
                format!("name one of {}", self.known.limits.join(", "))
            };
            self.error(
                "route-limits",
                "limits",
                format!("there is no [limits.{name}]"),
                remedy,
            );
        }
        sound.then(|| found.into_iter().collect())
    }

    fn warn_of_unreachable(&mut self, pattern: &Pattern) {
        let shape = pattern.shape();
        let owner = self.known.reserved.iter().find(|reserved| {
            let reserved = reserved.trim_end_matches('/').to_ascii_lowercase();
            shape
                .strip_prefix(reserved.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if let Some(owner) = owner {
            self.warning(
                "route-unreachable", "path",
                format!("the gate itself answers `{owner}` and what is below it, so the route is unreachable"),
                "remove the route".to_owned(),
            );
        }
    }

    fn warn_of_risks(&mut self, pattern: &Pattern, route: &Route) {
        if pattern.is_catch_all() && route.is_public() {
            self.warning(
                "route-public-catch-all", "allow",
                format!(
                    "`{}` opens every path below it to everybody, also those that the product gets tomorrow",
                    route.path
                ),
                "open the paths that have to be open one by one".to_owned(),
            );
        }
        let session_opens_it = match &route.rule.access {
            Access::Public | Access::Closed => false,
            Access::SignedIn
            | Access::Role { .. }
            | Access::Permission { .. }
            | Access::Owned { .. } => true,
        };
        let users_come = route.rule.callers.admit(CallerKind::User);
        if route.csrf == Csrf::Exempt && session_opens_it && users_come {
            self.warning(
                "route-csrf-exempt",
                "csrf",
                format!(
                    "other sites can call `{}` in the name of whoever is signed in",
                    route.name
                ),
                "leave the key out, unless no browser calls the route".to_owned(),
            );
        }
    }

    fn error(&mut self, rule: &'static str, key: &str, reason: String, remedy: String) {
        self.push(Severity::Error, rule, key, reason, remedy);
    }

    fn warning(&mut self, rule: &'static str, key: &str, reason: String, remedy: String) {
        self.push(Severity::Warning, rule, key, reason, remedy);
    }

    fn push(
        &mut self,
        severity: Severity,
        rule: &'static str,
        key: &str,
        reason: String,
        remedy: String,
    ) {
        self.mistakes.push(Mistake {
            severity,
            rule,
            line: self.written.line,
            key: format!("route.{}.{key}", self.position),
            reason,
            remedy,
        });
    }
}

/// A method that a route may name, or what to do about it.
fn method(name: &str) -> Result<Method, String> {
    let method = Method::from_bytes(name.as_bytes())
        .map_err(|_| "a method is one word, such as \"GET\"".to_owned())?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err("the gate never forwards CONNECT and TRACE; leave it out".to_owned());
    }
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        // RFC 9110 section 9.1: methods are case-sensitive, so `get` would match nothing.
        return Err(format!("write \"{}\"", name.to_ascii_uppercase()));
    }
    Ok(method)
}

fn name(methods: &Methods, path: &str) -> String {
    match methods {
        Methods::Any => path.to_owned(),
        Methods::Only(methods) => {
            let with_get = methods.contains(&Method::GET);
            let words: Vec<&str> = methods
                .iter()
                .filter(|method| !(with_get && **method == Method::HEAD))
                .map(Method::as_str)
                .collect();
            format!("{} {path}", words.join(","))
        }
    }
}

/// Whether the rule of a host allow-list, exact or `*.example.com`, names `host`.
fn admits(rule: &str, host: &str) -> bool {
    let rule = rule.to_ascii_lowercase();
    match rule.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .is_some_and(|left| left.len() > 1 && left.ends_with('.')),
        None => host_name(&rule) == host,
    }
}
