//! Which host names the gate answers to (CWE-644, DNS rebinding, RFC 9110 section 7.4).
//!
//! 1. A request names exactly one host, in `Host`, in its target or in `:authority`; where two
//!    are given they must agree, else the upstream could believe the other one.
//! 2. The name must be on the list: exact, or `*.example.com` for one label more.
//! 3. Case and one trailing dot do not count. International names are compared as sent (`xn--`).
//! 4. An entry with a port takes that port alone; one without takes any.
//!
//! Deployment: list the names that clients type. A health check of a load balancer that sends
//! its own address as `Host` needs that address on the list.

use http::{Version, header, request::Parts};
use portcullis_core::{Problem, problem};
use serde::Deserialize;

use crate::{Authority, Own};
use portcullis_core::finding::Finding;
use portcullis_core::{Mode, Scheme};

/// `[hosts]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Host names served here: `"app.example.com"`, `"app.example.com:8443"`, `"[2001:db8::1]"`, or
    /// `"*.example.com"` for any one label in front. Default: empty, which in production is an
    /// error and in development means the loopback names. Too wide a list lets an attacker's name
    /// point at the product.
    pub allow: Vec<String>,
}

/// The names of a machine for itself: what an empty list means in development.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The compiled list.
#[derive(Debug, Clone)]
pub struct Hosts(Box<[Rule]>);

#[derive(Debug, Clone)]
struct Rule {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone)]
enum Name {
    Exact(Box<str>),
    /// The part behind `*`, with its dot.
    OneLabelBefore(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the request names no host")]
    Missing,
    #[error("the request names more than one host")]
    Ambiguous,
    #[error("the request's host is not well-formed")]
    Malformed,
    #[error("the request's host is not served here")]
    Unknown,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Missing | Error::Ambiguous | Error::Malformed => {
                Problem::new(&problem::MALFORMED_REQUEST).detail("The request must name one host.")
            }
            Error::Unknown => Problem::new(&problem::UNKNOWN_HOST),
        }
    }
}

impl Config {
    pub fn compile(&self, mode: Mode) -> Result<Hosts, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut rules = Vec::new();
        let loopback: Vec<String>;
        let allow = match (self.allow.is_empty(), mode) {
            (false, Mode::Production | Mode::Development) => &self.allow,
            (true, Mode::Development) => {
                loopback = LOOPBACK.map(str::to_owned).to_vec();
                &loopback
            }
            (true, Mode::Production) => {
                findings.push(
                    Finding::error(
                        "hosts-empty",
                        "hosts.allow",
                        "no host name is listed, so no request could be served",
                    )
                    .remedy("list the names that clients use, such as [\"app.example.com\"]"),
                );
                &self.allow
            }
        };
        for (index, text) in allow.iter().enumerate() {
            match Rule::parse(text) {
                Some(rule) => rules.push(rule),
                None => findings.push(Finding::error(
                    "hosts-malformed",
                    format!("hosts.allow.{index}"),
                    format!("`{text}` is not a host name")).remedy("write a name without scheme and path; `*` only as the whole first label, with two labels behind it; international names in their `xn--` form")),
            }
        }
        if findings.is_empty() {
            Ok(Hosts(rules.into_boxed_slice()))
        } else {
            Err(findings)
        }
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some(rest) = lower.strip_prefix("*.") {
            let authority = Authority::parse(rest)?;
            // SECURITY: `*.com` would take every name that anybody can register.
            if !authority.host.contains('.') || authority.host.parse::<std::net::Ipv4Addr>().is_ok()
            {
                return None;
            }
            return Some(Rule {
                name: Name::OneLabelBefore(format!(".{}", authority.host).into_boxed_str()),
                port: authority.port,
            });
        }
        let authority = Authority::parse(&lower)?;
        Some(Rule {
            name: Name::Exact(authority.host.into()),
            port: authority.port,
        })
    }

    fn allows(&self, authority: Authority<'_>, scheme: Scheme) -> bool {
        let port = self
            .port
            .is_none_or(|port| port == authority.port_or_default(scheme));
        let host = authority.host;
        port && match &self.name {
            Name::Exact(name) => host.eq_ignore_ascii_case(name),
            Name::OneLabelBefore(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .and_then(|at| host.split_at_checked(at))
                .is_some_and(|(label, rest)| {
                    !label.is_empty() && !label.contains('.') && rest.eq_ignore_ascii_case(suffix)
                }),
        }
    }
}

impl Hosts {
    /// The one place that this request is for, if it is served here.
    pub fn check<'a>(&self, head: &'a Parts, scheme: Scheme) -> Result<Own<'a>, Error> {
        if let Some(authority) = self.exactly(head) {
            return Ok(Own { scheme, authority });
        }
        let authority = authority(head, scheme)?;
        if self.0.iter().any(|rule| rule.allows(authority, scheme)) {
            Ok(Own { scheme, authority })
        } else {
            Err(Error::Unknown)
        }
    }
}

impl Hosts {
    /// The short way for nearly every request: one `Host`, no authority in the target, and the very
    /// name that the list has, for any port. What is on the list was parsed when it was compiled.
    fn exactly<'a>(&self, head: &'a Parts) -> Option<Authority<'a>> {
        let mut named = head.headers.get_all(header::HOST).iter();
        let (Some(value), None, None) = (named.next(), named.next(), head.uri.authority()) else {
            return None;
        };
        let is_listed = self.0.iter().any(|rule| match &rule.name {
            Name::Exact(name) => rule.port.is_none() && name.as_bytes() == value.as_bytes(),
            Name::OneLabelBefore(_) => false,
        });
        let host = is_listed.then(|| value.to_str().ok()).flatten()?;
        Some(Authority { host, port: None })
    }
}

fn authority(head: &Parts, scheme: Scheme) -> Result<Authority<'_>, Error> {
    let mut named = head.headers.get_all(header::HOST).iter();
    let host = named.next();
    // SECURITY: with two hosts, gate and upstream may each believe another (RFC 9112 section 3.2).
    if named.next().is_some() {
        return Err(Error::Ambiguous);
    }
    let host = match host {
        Some(value) => {
            let text = value.to_str().map_err(|_| Error::Malformed)?;
            Some(Authority::parse(text).ok_or(Error::Malformed)?)
        }
        None => None,
    };
    let target = match head.uri.authority() {
        Some(authority) => Some(Authority::parse(authority.as_str()).ok_or(Error::Malformed)?),
        None => None,
    };
    match (target, host) {
        (Some(target), Some(host)) if target.is_same(host, scheme) => Ok(target),
        (Some(_), Some(_)) => Err(Error::Ambiguous),
        (Some(target), None) if head.version >= Version::HTTP_2 => Ok(target),
        (Some(_) | None, None) => Err(Error::Missing),
        (None, Some(host)) => Ok(host),
    }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
