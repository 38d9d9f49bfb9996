//! `portcullis explain`: what would become of a request, why, and by which line of the policy.
//!
//! It asks the same table and the same decision as the pipeline, with a caller made up of roles.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_access::Policy;
use portcullis_access::config::RouteConfig;
use portcullis_access::policy::Route;
use portcullis_core::binding::{Asked, Place};
use portcullis_core::decision::{Consent, Denied};
use portcullis_core::principal::{ApiKey, CallerKind, Credential, Owner, User, Visitor};
use portcullis_core::{
    ApiKeyId, Principal, Problem, SessionId, TenantId, Timestamp, UserId, VisitorId, path,
};
use serde::Serialize;

use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::snapshot::{Found, Snapshot};
use crate::{own, verbs};

/// What `explain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The method, such as `GET`.
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// The path, such as `/api/v1/users/7`.
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
    /// Who asks: `anonymous`, `user`, a role's name, or several of them with commas; `api-key` or
    /// `visitor` for callers without an account.
    #[arg(long = "as", default_value = "anonymous", value_name = "WHO")]
    pub(crate) who: String,
    /// What an API key may do, such as `read:all`; may be given several times.
    #[arg(long = "permission", value_name = "PERMISSION")]
    pub(crate) permissions: Vec<String>,
    /// The caller's own id, for routes that ask for the owner.
    #[arg(long, value_name = "ID")]
    pub(crate) user_id: Option<UserId>,
    /// As somebody who has proved a second factor.
    #[arg(long)]
    pub(crate) second_factor: bool,
    /// What the person has agreed to, such as `marketing@2026-11`; may be given several times.
    #[arg(long = "consent", value_name = "PURPOSE@VERSION")]
    pub(crate) consents: Vec<String>,
    /// The tenant that the caller works in, by its short name.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// A header of the request, such as `X-Tenant: acme`; may be given several times.
    #[arg(long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// The host that is asked.
    #[arg(long, default_value = "localhost", value_name = "HOST")]
    pub(crate) host: String,
}

/// The decision, told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Explanation {
    pub(crate) request: String,
    pub(crate) caller: String,
    pub(crate) allowed: bool,
    pub(crate) status: u16,
    pub(crate) problem: Option<&'static str>,
    pub(crate) reason: String,
    pub(crate) route: Option<String>,
    pub(crate) line: Option<usize>,
    pub(crate) upstream: Option<String>,
    pub(crate) limits: Vec<String>,
    pub(crate) csrf: bool,
    /// The kinds of callers that the route admits, where it is not public.
    pub(crate) callers: Vec<CallerKind>,
    /// What people must have agreed to, with the version that is shown now.
    pub(crate) consent: Option<String>,
}

/// One route of the policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Row {
    pub(crate) route: String,
    pub(crate) allow: String,
    pub(crate) upstream: String,
    pub(crate) line: Option<usize>,
}

/// Every route, in the order of the file.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Table(Vec<Row>);

/// Answers one question. `Ok(false)` where the request would be refused.
pub(crate) fn run(file: &Path, args: &Args, format: Format) -> anyhow::Result<bool> {
    let (loaded, snapshot) = verbs::snapshot(file)?;
    let names: Vec<String> = loaded.config.upstreams.keys().cloned().collect();
    let explanation = explain(&snapshot, &names, args, |position| {
        loaded
            .config
            .access
            .routes
            .get(position)
            .map(|route| route.limits.clone())
            .unwrap_or_default()
    })?;
    output::answer(format, &explanation);
    Ok(explanation.allowed)
}

fn explain(
    snapshot: &Snapshot,
    upstreams: &[String],
    args: &Args,
    limits: impl Fn(usize) -> Vec<String>,
) -> anyhow::Result<Explanation> {
    let method: Method = args.method.to_ascii_uppercase().parse().map_err(|_| {
        Usage::error(format!(
            "`{}` is no method: write GET, POST and so on",
            args.method
        ))
    })?;
    if !args.path.starts_with('/') {
        return Err(Usage::error(format!(
            "`{}` is no path: it begins with `/`",
            args.path
        )));
    }
    let principal = caller(args, snapshot)?;
    let path_only = args.path.split('?').next().unwrap_or_default();
    let mut explanation = Explanation {
        request: format!("{method} {}", args.path),
        caller: args.who.clone(),
        allowed: false,
        status: 0,
        problem: None,
        reason: String::new(),
        route: None,
        line: None,
        upstream: None,
        limits: Vec::new(),
        csrf: false,
        callers: Vec::new(),
        consent: None,
    };
    let path = match path::canonicalize(path_only) {
        Ok(path) => path,
        Err(error) => {
            explanation.refuse(
                &Problem::new(&portcullis_core::problem::AMBIGUOUS_PATH),
                error.to_string(),
            );
            return Ok(explanation);
        }
    };
    // Whoever asks has just signed in: what a later caller would meet is in `max-age`.
    let now = Timestamp::EPOCH;
    let Found {
        route,
        params,
        is_own,
    } = match snapshot.find(&args.host, &method, &path) {
        Ok(found) => found,
        Err(denied) => {
            explanation.deny(denied);
            return Ok(explanation);
        }
    };
    explanation.found(route, is_own, upstreams, limits);
    let place = principal.tenant().map(|id| Place {
        id,
        slug: args.tenant.as_deref().unwrap_or_default().into(),
        is_suspended: false,
    });
    let headers = headers(&args.headers)?;
    let agreed = consents(&args.consents)?;
    let asked = Asked {
        params: &params,
        host: &args.host,
        headers: Some(&headers),
        place: place.as_ref(),
        agreed: &agreed,
        now,
    };
    match snapshot
        .set(is_own)
        .policy
        .decide(route, &principal, &asked)
    {
        Ok(permit) => {
            explanation.allowed = true;
            explanation.status = 200;
            permit
                .because()
                .sentence()
                .clone_into(&mut explanation.reason);
        }
        Err(denied) => explanation.deny(denied),
    }
    Ok(explanation)
}

fn headers(written: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in written {
        let header = line.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = header
            .ok_or_else(|| Usage::error(format!("`{line}` is no header: write `Name: value`")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn consents(written: &[String]) -> anyhow::Result<Vec<Consent>> {
    let read = |text: &String| {
        let (purpose, version) = text.split_once('@').ok_or_else(|| {
            Usage::error(format!(
                "`{text}` is no consent: write `PURPOSE@VERSION`, such as `marketing@2026-11`"
            ))
        })?;
        Ok(Consent {
            purpose: purpose.into(),
            version: version.into(),
        })
    };
    written.iter().map(read).collect()
}

fn caller(args: &Args, snapshot: &Snapshot) -> anyhow::Result<Principal> {
    if args.who == "anonymous" {
        return Ok(Principal::Anonymous);
    }
    if args.who == CallerKind::ApiKey.as_str() {
        return Ok(Principal::ApiKey(ApiKey {
            id: ApiKeyId::from_uuid(uuid::Uuid::nil()),
            tenant: None,
            owner: args.user_id.map(|id| Owner {
                id,
                roles: snapshot
                    .product
                    .policy
                    .roles()
                    .names()
                    .map(Arc::from)
                    .collect(),
            }),
            routes: None,
            rate: None,
            permissions: args
                .permissions
                .iter()
                .map(|name| Arc::from(&**name))
                .collect(),
        }));
    }
    if !args.permissions.is_empty() {
        return Err(Usage::error(
            "--permission is what an API key holds: write `--as api-key` with it, or name a role"
                .to_owned(),
        ));
    }
    if args.who == CallerKind::Visitor.as_str() {
        return Ok(Principal::Visitor(Visitor {
            // Without a given id nothing is the visitor's.
            id: VisitorId::from_uuid(args.user_id.map_or(uuid::Uuid::nil(), UserId::as_uuid)),
            tenant: TenantId::from_uuid(uuid::Uuid::nil()),
            origin: "".into(),
        }));
    }
    let defined = snapshot.product.policy.roles();
    let roles: Vec<Arc<str>> = args
        .who
        .split(',')
        .map(str::trim)
        .filter(|role| !role.is_empty())
        .map(Arc::from)
        .collect();
    if let Some(unknown) = roles.iter().find(|role| !defined.contains(role)) {
        let mut known: Vec<&str> = defined.names().collect();
        known.sort_unstable();
        return Err(Usage::error(format!(
            "no role `{unknown}` is defined: --as takes `anonymous`, `api-key`, `visitor` or roles among {}",
            known.join(", ")
        )));
    }
    Ok(Principal::User(User {
        // Without a given id the caller owns nothing.
        id: args.user_id.unwrap_or(UserId::from_uuid(uuid::Uuid::nil())),
        credential: Credential::Session(SessionId::from_uuid(uuid::Uuid::nil())),
        tenant: args
            .tenant
            .as_ref()
            .map(|_| TenantId::from_uuid(uuid::Uuid::nil())),
        standing: None,
        roles: Arc::from(roles),
        authenticated_at: Timestamp::EPOCH,
        second_factor_at: args.second_factor.then_some(Timestamp::EPOCH),
    }))
}

impl Explanation {
    fn found(
        &mut self,
        route: &Route,
        is_own: bool,
        upstreams: &[String],
        limits: impl Fn(usize) -> Vec<String>,
    ) {
        self.route = Some(route.name.clone());
        self.csrf = route.csrf == portcullis_access::policy::Csrf::Required;
        self.consent = route.rule.consent.as_ref().map(ToString::to_string);
        self.callers = [CallerKind::User, CallerKind::ApiKey, CallerKind::Visitor]
            .into_iter()
            .filter(|kind| !route.is_public() && route.rule.callers.admit(*kind))
            .collect();
        if is_own {
            self.upstream = Some("the gate itself".to_owned());
        } else {
            self.line = route.line;
            self.upstream = upstreams.get(route.upstream).cloned();
            self.limits = limits(route.id);
        }
    }

    fn deny(&mut self, denied: Denied) {
        let reason = denied.to_string();
        self.refuse(&denied.into(), reason);
    }

    fn refuse(&mut self, problem: &Problem, reason: String) {
        self.status = problem.kind.status.as_u16();
        self.problem = Some(problem.kind.slug);
        self.reason = reason;
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "refused" };
        writeln!(f, "{} as {}: {verdict}", self.request, self.caller)?;
        writeln!(f, "  because   {}", self.reason)?;
        if let Some(problem) = self.problem {
            writeln!(f, "  answer    {} {problem}", self.status)?;
        }
        match (&self.route, self.line) {
            (Some(route), Some(line)) => writeln!(f, "  route     {route} (line {line})")?,
            (Some(route), None) => writeln!(f, "  route     {route}")?,
            (None, _) => writeln!(f, "  route     none")?,
        }
        if let Some(upstream) = &self.upstream {
            writeln!(f, "  upstream  {upstream}")?;
        }
        if !self.callers.is_empty() {
            let kinds: Vec<&str> = self.callers.iter().map(|kind| kind.as_str()).collect();
            writeln!(f, "  callers   {}", kinds.join(", "))?;
        }
        if let Some(consent) = &self.consent {
            writeln!(f, "  consent   {consent}")?;
        }
        if !self.limits.is_empty() {
            writeln!(f, "  limits    {}", self.limits.join(", "))?;
        }
        write!(
            f,
            "  csrf      {}",
            if self.csrf {
                "unsafe methods with a session need a token"
            } else {
                "exempt"
            }
        )
    }
}

/// `portcullis routes list`, with the gate's own routes if asked for.
pub(crate) fn list(file: &Path, with_own: bool) -> anyhow::Result<Table> {
    let (loaded, snapshot) = verbs::snapshot(file)?;
    let config = &loaded.config;
    let names: Vec<String> = config.upstreams.keys().cloned().collect();
    let mut rows = rows(&snapshot.product.policy, &config.access.routes, &names);
    if with_own {
        let routes = own::routes(config);
        let names = [crate::snapshot::OWN_UPSTREAM.to_owned()];
        rows.extend(self::rows(&snapshot.own.policy, &routes, &names));
    }
    Ok(Table(rows))
}

fn rows(policy: &Policy, configs: &[RouteConfig], upstreams: &[String]) -> Vec<Row> {
    let row = |route: &Arc<Route>| Row {
        route: route.name.clone(),
        allow: configs
            .get(route.id)
            .and_then(|config| config.allow.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        upstream: upstreams.get(route.upstream).cloned().unwrap_or_default(),
        line: route.line,
    };
    policy.routes().iter().map(row).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, row) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{:<60} {:<40} {}", row.route, row.allow, row.upstream)?;
        }
        Ok(())
    }
}
