//! `[headers]`, and what becomes of it.

use http::{HeaderName, HeaderValue, header};
use portcullis_core::Span;
use portcullis_core::header_names::NameList;
use serde::Deserialize;

use super::lasting::lasting;
use super::nonce::Plan;
use super::{Csp, Headers, Policy, RouteHeaders};
use portcullis_core::finding::Finding;

/// `[headers]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Who may frame pages, for routes that do not say: `"deny"` (default), `"same-origin"`, or a list
    /// of sources such as `["https://partner.example"]`. A page that can be framed can be clickjacked.
    pub framing: Framing,
    /// `Content-Security-Policy`, without `frame-ancestors` (see `framing`). `{nonce}` stands for a fresh
    /// nonce: `script-src 'nonce-{nonce}'`. Default: everything from the product itself only, inline
    /// scripts and styles by nonce. An empty text sends `frame-ancestors` alone.
    pub csp: String,
    /// How nonces get into the upstream's HTML: `"placeholder"` (default), `"all"` or `"off"`.
    pub nonces: Nonces,
    /// The text that stands for the nonce in the upstream's HTML: `<script nonce="TEXT">`. At least 16
    /// characters, not to be guessed: whoever knows it and can inject HTML can run scripts. Default:
    /// none, and the upstream's HTML is then left alone.
    pub placeholder: Option<String>,
    /// `Strict-Transport-Security`, sent over HTTPS. Default: one year with subdomains.
    pub hsts: Hsts,
    /// `Referrer-Policy`. Default `"strict-origin-when-cross-origin"`. Empty: not sent.
    pub referrer_policy: String,
    /// `Permissions-Policy`. Default: no camera, location, microphone, payment, USB. Empty: not sent.
    pub permissions_policy: String,
    /// `X-XSS-Protection`. Default `"0"`: the old filters that it steered opened holes of their own.
    /// `"1; mode=block"` where an audit asks for it. Empty: not sent.
    pub xss_protection: String,
    /// `Cross-Origin-Opener-Policy`. Default `"same-origin"`. Sign-in by pop-up needs
    /// `"same-origin-allow-popups"`. Empty: not sent.
    pub opener_policy: String,
    /// `Cross-Origin-Resource-Policy`. Default `"same-origin"`. A widget that other sites embed needs
    /// `"cross-origin"`. Empty: not sent.
    pub resource_policy: String,
    /// Headers of the upstream that are removed. Default `Server`, `X-Powered-By`, `X-AspNet-Version`,
    /// `X-AspNetMvc-Version`, `X-Runtime`.
    pub remove: Vec<String>,
}

/// Who may frame a page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "FramingText")]
pub enum Framing {
    #[default]
    Deny,
    SameOrigin,
    /// Sources of `frame-ancestors`. `X-Frame-Options` cannot say this and is not sent.
    Sources(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FramingText {
    Word(FramingWord),
    Sources(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FramingWord {
    Deny,
    SameOrigin,
}

impl From<FramingText> for Framing {
    fn from(text: FramingText) -> Self {
        match text {
            FramingText::Word(FramingWord::Deny) => Framing::Deny,
            FramingText::Word(FramingWord::SameOrigin) => Framing::SameOrigin,
            FramingText::Sources(sources) => Framing::Sources(sources),
        }
    }
}

/// Which policy a route's answers bear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CspChoice {
    /// The one of `[headers]`.
    #[default]
    Gate,
    /// The upstream's own, untouched. Where it sends none, there is none.
    Upstream,
    /// Another text, with the rules of `headers.csp`.
    Custom(String),
}

impl<'de> Deserialize<'de> for CspChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "gate" => CspChoice::Gate,
            "upstream" => CspChoice::Upstream,
            _ => CspChoice::Custom(text),
        })
    }
}

/// How nonces get into the upstream's HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonces {
    /// Scripts and styles whose `nonce` is the placeholder get the nonce. What an attacker injected does
    /// not know the placeholder and does not run.
    #[default]
    Placeholder,
    /// Every script and style gets the nonce, injected ones too: the policy then stops inline event
    /// handlers and `javascript:` addresses, and no longer stored or reflected scripts.
    All,
    /// Nothing is rewritten.
    Off,
}

/// `Strict-Transport-Security`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Hsts {
    /// How long browsers keep to HTTPS. Default `"365d"`; `"0s"` tells them to forget.
    pub max_age: Span,
    /// Whether subdomains are meant too. Default `true`. One of them without HTTPS becomes unreachable.
    pub include_subdomains: bool,
    /// Whether browsers may build it in. Default `false`: it takes months to undo.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Hsts {
            max_age: Span::from_days(365),
            include_subdomains: true,
            preload: false,
        }
    }
}

const DEFAULT_CSP: &str = "default-src 'self'; script-src 'self' 'nonce-{nonce}'; \
    style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
    form-action 'self'";

/// The gate's own pages need nothing from elsewhere.
const OWN_CSP: &str = "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    require-trusted-types-for 'script'";

const SHORTEST_PLACEHOLDER: usize = 16;

impl Default for Config {
    fn default() -> Self {
        Config {
            framing: Framing::Deny,
            csp: DEFAULT_CSP.to_owned(),
            nonces: Nonces::Placeholder,
            placeholder: None,
            hsts: Hsts::default(),
            referrer_policy: "strict-origin-when-cross-origin".to_owned(),
            permissions_policy: "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
                .to_owned(),
            xss_protection: "0".to_owned(),
            opener_policy: "same-origin".to_owned(),
            resource_policy: "same-origin".to_owned(),
            remove: [
                "Server",
                "X-Powered-By",
                "X-AspNet-Version",
                "X-AspNetMvc-Version",
                "X-Runtime",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}

impl Config {
    /// The compiled headers, or every error. Warnings come from [`Config::advise`].
    pub fn compile(&self) -> Result<Headers, Vec<Finding>> {
        let mut findings = Vec::new();
        let fixed = self.compile_fixed(&mut findings);
        let hsts = self.hsts.compile(&mut findings);
        let mut remove = Vec::new();
        for (index, name) in self.remove.iter().enumerate() {
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => remove.push(name),
                Err(_) => findings.push(
                    Finding::error(
                        "headers-name",
                        format!("headers.remove.{index}"),
                        format!("`{name}` is not a header name"),
                    )
                    .remedy("use letters, digits and `-`"),
                ),
            }
        }
        let rewrite = self.compile_nonces(&mut findings);
        let headers = Headers {
            fixed: fixed.into_boxed_slice(),
            hsts,
            remove: NameList::new(remove),
            template: self.csp.as_str().into(),
            framing: self.framing.clone(),
            rewrite,
        };
        // The gate-wide policy has to be right even where every route has its own.
        if let Err(more) = headers.for_route("headers", None, &CspChoice::Gate) {
            findings.extend(more);
        }
        if findings.is_empty() {
            Ok(headers)
        } else {
            Err(findings)
        }
    }

    /// What works, but protects less than it seems to.
    pub fn advise(&self) -> Vec<Finding> {
        let mut findings = policy_warnings("headers.csp", &self.csp);
        if self.nonces == Nonces::All {
            findings.push(Finding::warning(
                "headers-nonce-all",
                "headers.nonces",
                "every script in the product's HTML gets the nonce, injected ones too").remedy("set nonces = \"placeholder\" and write the placeholder into the product's templates"));
        }
        if self.hsts.max_age < Span::from_days(180) {
            findings.push(
                Finding::warning(
                    "headers-hsts-short",
                    "headers.hsts.max-age",
                    "browsers forget about HTTPS within half a year",
                )
                .remedy("write \"365d\""),
            );
        }
        findings
    }

    fn compile_fixed(&self, findings: &mut Vec<Finding>) -> Vec<(HeaderName, HeaderValue)> {
        let mut fixed = vec![(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )];
        let opener = HeaderName::from_static("cross-origin-opener-policy");
        let resource = HeaderName::from_static("cross-origin-resource-policy");
        let permissions = HeaderName::from_static("permissions-policy");
        let texts = [
            (
                "referrer-policy",
                header::REFERRER_POLICY,
                &self.referrer_policy,
            ),
            ("permissions-policy", permissions, &self.permissions_policy),
            (
                "xss-protection",
                header::X_XSS_PROTECTION,
                &self.xss_protection,
            ),
            ("opener-policy", opener, &self.opener_policy),
            ("resource-policy", resource, &self.resource_policy),
        ];
        for (key, name, text) in texts {
            match HeaderValue::try_from(text.as_str()) {
                Ok(value) if !value.is_empty() => fixed.push((name, lasting(&value))),
                Ok(_) => {}
                Err(_) => findings.push(not_a_value(&format!("headers.{key}"))),
            }
        }
        fixed
    }

    fn compile_nonces(&self, findings: &mut Vec<Finding>) -> Plan {
        match (self.nonces, &self.placeholder) {
            (Nonces::Off, _) | (Nonces::Placeholder, None) => Plan::Off,
            (Nonces::All, _) => Plan::All,
            (Nonces::Placeholder, Some(text)) => {
                let plain = text.bytes().all(|b| {
                    b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'&' | b'<' | b'>')
                });
                if text.len() < SHORTEST_PLACEHOLDER || !plain {
                    findings.push(Finding::error(
                        "headers-placeholder",
                        "headers.placeholder",
                        "it is shorter than 16 characters, or has quotes, spaces or markup in it").remedy("write 16 random letters and digits or more"));
                }
                Plan::Placeholder(text.as_str().into())
            }
        }
    }
}

impl Hsts {
    fn compile(&self, findings: &mut Vec<Finding>) -> Option<HeaderValue> {
        if self.preload && (!self.include_subdomains || self.max_age < Span::from_days(365)) {
            findings.push(
                Finding::error(
                    "headers-hsts-preload",
                    "headers.hsts.preload",
                    "browsers build in only what holds a year and for subdomains",
                )
                .remedy("set max-age = \"365d\" and include-subdomains = true, or preload = false"),
            );
        }
        let mut text = format!("max-age={}", self.max_age.as_seconds());
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        HeaderValue::try_from(text).ok().as_ref().map(lasting)
    }
}

impl Headers {
    /// The settings of one route. `key` is where they stand in the file; `framing` is the route's own,
    /// if it has one.
    pub fn for_route(
        &self,
        key: &str,
        framing: Option<&Framing>,
        csp: &CspChoice,
    ) -> Result<RouteHeaders, Vec<Finding>> {
        let framing = framing.unwrap_or(&self.framing);
        let template = match csp {
            CspChoice::Upstream => None,
            CspChoice::Gate => Some(&*self.template),
            CspChoice::Custom(text) => Some(text.as_str()),
        };
        let csp = match template {
            None => Csp::Upstream,
            Some(text) => Csp::Gate(Policy::parse(&format!("{key}.csp"), text, framing)?),
        };
        let frame_options = match framing {
            Framing::Deny => Some(HeaderValue::from_static("DENY")),
            Framing::SameOrigin => Some(HeaderValue::from_static("SAMEORIGIN")),
            Framing::Sources(_) => None,
        };
        Ok(RouteHeaders { frame_options, csp })
    }

    /// The settings of the gate's own pages: stricter than any product could bear.
    pub fn for_own_pages(&self) -> Result<RouteHeaders, Vec<Finding>> {
        let csp = CspChoice::Custom(OWN_CSP.to_owned());
        self.for_route("headers", Some(&Framing::Deny), &csp)
    }
}

impl Policy {
    fn parse(key: &str, template: &str, framing: &Framing) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        if directives(template).any(|(name, _)| name.eq_ignore_ascii_case("frame-ancestors")) {
            findings.push(
                Finding::error(
                    "headers-csp-framing",
                    key,
                    "`frame-ancestors` is written from `framing`",
                )
                .remedy("take it out, and set `framing`"),
            );
        }
        let misplaced = template.replace("'nonce-{nonce}'", "");
        if misplaced.contains(['{', '}']) {
            findings.push(
                Finding::error(
                    "headers-csp-nonce",
                    key,
                    "`{nonce}` stands outside of `'nonce-{nonce}'`",
                )
                .remedy("write 'nonce-{nonce}', in single quotes"),
            );
        }
        let ancestors = match framing {
            Framing::Deny => "'none'".to_owned(),
            Framing::SameOrigin => "'self'".to_owned(),
            Framing::Sources(sources) => sources.join(" "),
        };
        if ancestors.contains([';', ',', '*', '{']) || ancestors.trim().is_empty() {
            findings.push(
                Finding::error(
                    "headers-framing",
                    key,
                    "the list of framing sources is empty, or one of them is no plain source",
                )
                .remedy("write origins, such as [\"https://partner.example\"]"),
            );
        }
        let with_framing = |text: String| match text.trim().trim_end_matches(';').trim_end() {
            "" => format!("frame-ancestors {ancestors}"),
            text => format!("{text}; frame-ancestors {ancestors}"),
        };
        let full = with_framing(template.to_owned());
        let plain = HeaderValue::try_from(with_framing(without_nonces(template)));
        let whole = HeaderValue::try_from(full.as_str());
        match (plain, whole, findings.is_empty()) {
            (Ok(plain), Ok(_), true) => Ok(Policy {
                pieces: full.split("{nonce}").map(Into::into).collect(),
                plain: lasting(&plain),
            }),
            (Ok(_), Ok(_), false) => Err(findings),
            (Err(_), _, _) | (_, Err(_), _) => {
                findings.push(not_a_value(key));
                Err(findings)
            }
        }
    }
}

/// The same policy for answers that have no nonce: a list of sources that is empty then means none.
fn without_nonces(template: &str) -> String {
    let mut kept = Vec::new();
    for (name, sources) in directives(template) {
        let had_nonce = sources.contains("'nonce-{nonce}'");
        let rest: Vec<&str> = sources
            .split_ascii_whitespace()
            .filter(|source| *source != "'nonce-{nonce}'")
            .collect();
        kept.push(match (rest.is_empty(), had_nonce) {
            (true, true) => format!("{name} 'none'"),
            (true, false) => name.to_owned(),
            (false, _) => format!("{name} {}", rest.join(" ")),
        });
    }
    kept.join("; ")
}

fn directives(policy: &str) -> impl Iterator<Item = (&str, &str)> {
    policy
        .split(';')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .map(|directive| {
            directive
                .split_once(|c: char| c.is_ascii_whitespace())
                .unwrap_or((directive, ""))
        })
}

fn policy_warnings(key: &str, policy: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let governs_scripts = ["script-src", "default-src"];
    let scripts = governs_scripts
        .iter()
        .find_map(|wanted| directives(policy).find(|(name, _)| name.eq_ignore_ascii_case(wanted)));
    let Some((name, sources)) = scripts else {
        findings.push(
            Finding::warning(
                "headers-csp-open",
                key,
                "the policy does not say where scripts may come from",
            )
            .remedy("add script-src"),
        );
        return findings;
    };
    for source in sources.split_ascii_whitespace() {
        let lax = matches!(
            source.to_ascii_lowercase().as_str(),
            "'unsafe-inline'" | "'unsafe-eval'" | "*" | "http:" | "https:" | "data:"
        );
        if lax {
            findings.push(
                Finding::warning(
                    "headers-csp-lax",
                    key,
                    format!("`{source}` in {name} lets an injected script run"),
                )
                .remedy("use 'nonce-{nonce}' instead"),
            );
        }
    }
    findings
}

fn not_a_value(key: &str) -> Finding {
    Finding::error("headers-value", key, "it cannot be the value of a header")
        .remedy("write it on one line, in ASCII")
}
