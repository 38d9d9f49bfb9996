//! Where a weakness of the product is reported: `/.well-known/security.txt` (RFC 9116), and a page that says what
//! a report should hold (N4). Both are there only with `[security-txt]`, and then before any route of the product.
//!
//! The file tells until when it counts. Written into the configuration that is a date on which somebody has to look
//! at it again; without one it is always the same length of time ahead, to the day.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use portcullis_console::{Nonce, Page};
use portcullis_core::finding::Finding;
use portcullis_core::{Clock, Mode, Span, Timestamp};
use serde::Deserialize;
use url::Url;

use crate::config::Config as Whole;
use crate::own::BASE;

/// Where RFC 9116, section 3 puts the file.
pub(crate) const PATH: &str = "/.well-known/security.txt";
/// Below [`BASE`]: the page about reports.
pub(crate) const PAGE: &str = "/report-a-vulnerability";

const TABLE: &str = "security-txt";
/// Section 2.5.5 recommends less than a year.
const LONGEST: Span = Span::from_days(365);
const DAY: i64 = 86_400;

/// `[security-txt]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Where reports go, the best way first: `"mailto:security@shop.example"`, a page
    /// (`"https://..."`) or a number (`"tel:+1-201-555-0123"`). Required.
    pub(crate) contact: Vec<String>,
    /// Until when the file counts, such as `"2027-06-30T00:00:00Z"`. Default: none, so that `valid-for`
    /// decides. Once it has passed, the gate does not start, until somebody has looked at the table
    /// again.
    pub(crate) expires: Option<String>,
    /// How long from today on the file counts, where `expires` names no day. Default `"90d"`, at most
    /// `"365d"`. A finder may hold what is longer for stale.
    pub(crate) valid_for: Span,
    /// Pages with the rules for reports. Default: the gate's own page,
    /// `/.portcullis/report-a-vulnerability`.
    pub(crate) policy: Vec<String>,
    /// Where a finder gets the key to encrypt a report with: `"https://..."`, `"openpgp4fpr:..."` or
    /// `"dns:..."`. Default: none.
    pub(crate) encryption: Vec<String>,
    /// Pages that thank finders. Default: none.
    pub(crate) acknowledgments: Vec<String>,
    /// The languages in which you read reports, such as `["en", "de"]`. Default: none, which is any.
    pub(crate) preferred_languages: Vec<String>,
    /// The addresses under which this file is the right one, such as
    /// `"https://shop.example/.well-known/security.txt"`. Default: none.
    pub(crate) canonical: Vec<String>,
    /// Within which time you say that a report arrived. Default `"24h"`. The gate's own page promises it
    /// in your name.
    pub(crate) acknowledged_within: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            contact: Vec::new(),
            expires: None,
            valid_for: Span::from_days(90),
            policy: Vec::new(),
            encryption: Vec::new(),
            acknowledgments: Vec::new(),
            preferred_languages: Vec::new(),
            canonical: Vec::new(),
            acknowledged_within: Span::from_hours(24),
        }
    }
}

impl Config {
    /// What is wrong, and what is about to be.
    pub(crate) fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.contact.is_empty() {
            found.push(error("contact", "names nobody to report to").remedy(
                "write contact = [\"mailto:security@your.domain\"], or take the table out",
            ));
        }
        let web = |text: &str| has_scheme(text, &["https"]);
        let fields = [
            ("contact", &self.contact, address as fn(&str) -> _),
            ("policy", &self.policy, web),
            ("encryption", &self.encryption, |text| {
                has_scheme(text, &["https", "dns", "openpgp4fpr"])
            }),
            ("acknowledgments", &self.acknowledgments, web),
            ("preferred-languages", &self.preferred_languages, language),
            ("canonical", &self.canonical, web),
        ];
        for (key, values, judge) in fields {
            for (position, value) in values.iter().enumerate() {
                if let Err(why) = judge(value) {
                    found.push(error(&format!("{key}.{position}"), why));
                }
            }
        }
        found.extend(self.lifetime(now));
        if self.acknowledged_within.is_zero() {
            found.push(error("acknowledged-within", "nobody answers in no time"));
        }
        found
    }

    fn lifetime(&self, now: Timestamp) -> Option<Finding> {
        let Some(text) = &self.expires else {
            let fits = (Span::from_days(1)..=LONGEST).contains(&self.valid_for);
            return (!fits).then(|| error("valid-for", "is not between 1d and 365d"));
        };
        match text.parse::<Timestamp>() {
            Err(why) => Some(error("expires", why.to_string())),
            Ok(end) if end <= now => Some(
                error("expires", format!("has passed: {end}"))
                    .remedy("see whether the contacts still hold, then write a later day"),
            ),
            Ok(end) if end.since(now) > LONGEST => Some(
                Finding::warning(
                    TABLE,
                    format!("{TABLE}.expires"),
                    format!(
                        "{end} is more than a year ahead, and finders may hold the file for stale"
                    ),
                )
                .remedy("write a day within a year"),
            ),
            Ok(_) => None,
        }
    }

    /// The moment after which the file says nothing any more.
    fn end(&self, now: Timestamp) -> Timestamp {
        let written = self.expires.as_deref().map(str::parse);
        if let Some(Ok(end)) = written {
            return end;
        }
        let today = now.as_seconds().div_euclid(DAY).saturating_mul(DAY);
        Timestamp::from_seconds(today) + self.valid_for
    }

    /// The file, for whoever asked at `origin`.
    fn text(&self, now: Timestamp, origin: &str) -> String {
        let own = [format!("{origin}{BASE}{PAGE}")];
        let policy = if self.policy.is_empty() {
            own.as_slice()
        } else {
            &self.policy
        };
        let mut text = String::new();
        for (name, values) in [
            ("Contact", self.contact.as_slice()),
            ("Policy", policy),
            ("Encryption", &self.encryption),
            ("Acknowledgments", &self.acknowledgments),
            ("Canonical", &self.canonical),
        ] {
            for value in values {
                let _ = writeln!(text, "{name}: {value}");
            }
        }
        if !self.preferred_languages.is_empty() {
            let languages = self.preferred_languages.join(", ");
            let _ = writeln!(text, "Preferred-Languages: {languages}");
        }
        let _ = writeln!(text, "Expires: {}", self.end(now));
        text
    }

    /// What a report should hold, and what comes of it.
    fn page(&self) -> Markup {
        html! {
            p { "You found a weakness in this service? Please tell us before you tell others." }
            h2 { "Where to" }
            ul {
                @for contact in &self.contact {
                    li { a href=(contact) { (contact.trim_start_matches("mailto:").trim_start_matches("tel:")) } }
                }
            }
            @if !self.encryption.is_empty() {
                p { "Keys to encrypt a report with:" }
                ul { @for key in &self.encryption { li { code { (key) } } } }
            }
            h2 { "What helps us" }
            ul {
                li { "Which part it is, and which version, address or app." }
                li { "The steps that show it, best as the requests that you sent." }
                li { "What happened, and what you had expected instead." }
                li { "What somebody could do with it, and to whom." }
                li { "What lessens it until it is mended, if you know." }
            }
            p { "Please leave other people's data alone: one record of your own account is proof enough. Send us no passwords and no keys that still work." }
            h2 { "What comes of it" }
            ul {
                li { "We tell you within " (in_words(self.acknowledged_within)) " that your report arrived." }
                li { "What looks critical is judged on the same day." }
                li { "We agree with you on a day for publication. An advisory follows the fix." }
            }
            @for policy in &self.policy {
                p { "The whole policy: " a href=(policy) { (policy) } }
            }
            @for page in &self.acknowledgments {
                p { "Whom we thank: " a href=(page) { (page) } }
            }
            p { "For programs: " a href=(PATH) { (PATH) } }
        }
    }
}

/// A span as one says it: `24 hours`.
fn in_words(span: Span) -> String {
    let text = span.to_string();
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match text.trim_start_matches(|digit: char| digit.is_ascii_digit()) {
        "d" => "day",
        "h" => "hour",
        "m" => "minute",
        "s" => "second",
        other => return format!("{digits} {other}"),
    };
    let plural = if digits == "1" { "" } else { "s" };
    format!("{digits} {unit}{plural}")
}

fn error(key: &str, why: impl Into<std::borrow::Cow<'static, str>>) -> Finding {
    Finding::error(TABLE, format!("{TABLE}.{key}"), why)
        .remedy("docs/howto/security-txt.md says what belongs here")
}

/// An address to report to. Section 2.5.3 wants a URI, and the web only over TLS.
fn address(text: &str) -> Result<(), &'static str> {
    if !text.contains(':') && text.contains('@') {
        return Err("is no URI: write mailto: in front of an address");
    }
    has_scheme(text, &["mailto", "https", "tel"])
}

/// Whether this is a URI with one of these schemes, on one line.
fn has_scheme(text: &str, schemes: &[&str]) -> Result<(), &'static str> {
    // SECURITY: a line end would begin a field of its own.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no URI: a blank, a line end or a letter beyond ASCII stands in it");
    }
    let url = Url::parse(text).map_err(|_| "is no URI")?;
    if schemes.contains(&url.scheme()) {
        return Ok(());
    }
    Err(match url.scheme() {
        "http" => "has to be https",
        _ => "has a scheme that does not belong here",
    })
}

/// A language's tag, by its letters alone (RFC 5646).
fn language(text: &str) -> Result<(), &'static str> {
    let is_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if text.split('-').all(is_part) {
        Ok(())
    } else {
        Err("is no language's tag, such as en or pt-BR")
    }
}

/// What is wrong with the table, where there is one.
pub(crate) fn findings(config: &Whole, now: Timestamp) -> Vec<Finding> {
    let Some(table) = &config.security_txt else {
        return Vec::new();
    };
    let mut found = table.findings(now);
    let shadowed = config.access.routes.iter().enumerate();
    let shadowed = shadowed.filter(|(_, route)| route.path.eq_ignore_ascii_case(PATH));
    found.extend(shadowed.map(|(position, _)| {
        Finding::warning(
            TABLE,
            format!("route.{position}.path"),
            "the gate itself answers here, because of [security-txt]",
        )
        .remedy("take one of the two out")
    }));
    found
}

/// The handlers, where there is a table.
pub(crate) fn router(config: &Whole, clock: Arc<dyn Clock>) -> Router {
    let Some(table) = config.security_txt.clone() else {
        return Router::new();
    };
    let table = Arc::new(table);
    let scheme = match config.mode {
        Mode::Production => "https",
        Mode::Development => "http",
    };
    // What the product itself says of its address counts more than what a client asked for.
    let origin = config.accounts.origin.clone();
    let file = {
        let table = Arc::clone(&table);
        async move |request: Request| {
            let origin = origin.unwrap_or_else(|| format!("{scheme}://{}", host(&request)));
            let text = table.text(clock.now(), origin.trim_end_matches('/'));
            let mut headers = HeaderMap::new();
            for (name, value) in [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::CACHE_CONTROL, "public, max-age=3600"),
            ] {
                headers.insert(name, header::HeaderValue::from_static(value));
            }
            (headers, text).into_response()
        }
    };
    let page = async move |nonce: Option<Extension<Nonce>>| -> Response {
        let page = Page {
            title: "Report a vulnerability",
            nonce: nonce.as_ref().map(|Extension(nonce)| nonce),
        };
        Html(page.render(&table.page()).into_string()).into_response()
    };
    Router::new()
        .route(PATH, get(file))
        .route(&format!("{BASE}{PAGE}"), get(page))
}

/// The name that was asked for. The pipeline has found it on the list of those that are served.
fn host(request: &Request) -> &str {
    let named = request.headers().get(header::HOST);
    let named = named.and_then(|name| name.to_str().ok());
    let target = request
        .uri()
        .authority()
        .map(axum::http::uri::Authority::as_str);
    target.or(named).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    fn keys(text: &str) -> Vec<String> {
        let now: Timestamp = "2026-11-27T13:00:00Z".parse().unwrap();
        let found = table(text).findings(now);
        found.into_iter().map(|finding| finding.key).collect()
    }

    #[test]
    fn what_no_finder_could_use_is_an_error_that_names_its_key() {
        for (text, key) in [
            ("", "contact"),
            ("contact = [\"security@shop.example\"]", "contact.0"),
            ("contact = [\"http://shop.example/report\"]", "contact.0"),
            ("contact = [\"javascript:alert(1)\"]", "contact.0"),
            (
                "contact = [\"mailto:a@b.example\\nPolicy: https://evil.example\"]",
                "contact.0",
            ),
            (
                "contact = [\"tel:1\"]\nexpires = \"2026-11-27T12:59:59Z\"",
                "expires",
            ),
            ("contact = [\"tel:1\"]\nexpires = \"tomorrow\"", "expires"),
            (
                "contact = [\"tel:1\"]\nexpires = \"2028-01-01T00:00:00Z\"",
                "expires",
            ),
            ("contact = [\"tel:1\"]\nvalid-for = \"400d\"", "valid-for"),
            ("contact = [\"tel:1\"]\npolicy = [\"/policy\"]", "policy.0"),
            (
                "contact = [\"tel:1\"]\ncanonical = [\"http://a.example/\"]",
                "canonical.0",
            ),
            (
                "contact = [\"tel:1\"]\npreferred-languages = [\"en\", \"de, fr\"]",
                "preferred-languages.1",
            ),
            (
                "contact = [\"tel:1\"]\nacknowledged-within = \"0s\"",
                "acknowledged-within",
            ),
        ] {
            assert_eq!(keys(text), [format!("security-txt.{key}")], "{text}");
        }
        let good = "contact = [\"mailto:security@shop.example\", \"https://shop.example/report\", \"tel:+1-201-555-0123\"]\nencryption = [\"openpgp4fpr:5f2de5521c63a801ab59ccb603d49de44b29100f\"]\npreferred-languages = [\"en\", \"pt-BR\"]\nexpires = \"2027-06-30T00:00:00Z\"";
        assert_eq!(keys(good), [""; 0]);
    }

    #[test]
    fn without_a_date_the_file_counts_for_the_same_time_on_every_day() {
        let table = table("contact = [\"tel:1\"]\nvalid-for = \"30d\"");
        for now in ["2026-11-27T00:00:00Z", "2026-11-27T23:59:59Z"] {
            let text = table.text(now.parse().unwrap(), "https://shop.example");
            assert!(text.contains("Expires: 2026-12-27T00:00:00Z\n"), "{text}");
        }
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        for (span, words) in [("24h", "1 day"), ("36h", "36 hours"), ("1h", "1 hour")] {
            assert_eq!(in_words(span.parse().unwrap()), words);
        }
    }
}
