//! The `[sessions]` table.

use portcullis_core::Span;
use serde::Deserialize;

use super::{Cookies, OnOtherClient};
use crate::Finding;

/// The `[sessions]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Name of the cookie. Default `"__Host-session"`: browsers then insist on `Secure`, `Path=/`
    /// and no `Domain`, so that no sibling host can plant one (RFC 6265bis section 4.1.3). Another
    /// name gives that up.
    pub cookie: String,
    /// `SameSite` of the cookie. Default `"lax"`. `"strict"` also withholds it when the user comes
    /// from a link on another site. There is no `"none"`.
    pub same_site: SameSite,
    /// How long a session lives without a request. Default `"30m"`, least `"2m"`. Longer helps
    /// thieves of unlocked laptops.
    pub idle_timeout: Span,
    /// How long a session lives at most. Default `"24h"`. Longer helps thieves of cookies.
    pub lifetime: Span,
    /// Sessions that a user may have at once. Default `10`.
    pub max_per_user: u32,
    /// What a sign-in beyond `max-per-user` does. Default `"end-oldest"`; `"refuse"` keeps the user
    /// out until another session ends, also when somebody else holds them all.
    pub when_full: WhenFull,
    /// What happens when a session turns up in another browser or operating system, or with the
    /// cookie of another device. Default `"challenge"`: that client has to sign in, and the session
    /// goes on where it was. `"end"` ends it everywhere, so that whoever steals a cookie can sign its
    /// owner out. `"ignore"` is for products whose own servers pass cookies on under another
    /// `User-Agent`.
    pub on_other_client: OnOtherClient,
    /// In which of their organizations (tenants) somebody with several works after a sign-in. Default
    /// `"last"`: in the one that they chose last, or came into first. `"ask"`: in none until they have
    /// chosen, each time; a route with `tenant` sends browsers to the page for that, and refuses
    /// everybody else.
    pub tenant_at_sign_in: TenantAtSignIn,
    /// Name of the cookie of the product whose sessions were taken over by `portcullis import
    /// sessions`, such as `"session"`. Default none. It is replaced by the gate's own at the next
    /// answer; take the key out when the imported sessions have ended.
    pub carried_over_cookie: Option<String>,
}

/// What becomes of one session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    #[default]
    EndOldest,
    Refuse,
}

/// Where somebody with several tenants works after a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantAtSignIn {
    #[default]
    Last,
    Ask,
}

/// `SameSite` of a cookie (RFC 6265bis section 4.1.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    Lax,
    Strict,
}

impl SameSite {
    pub const fn as_str(self) -> &'static str {
        match self {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cookie: "__Host-session".to_owned(),
            same_site: SameSite::Lax,
            idle_timeout: Span::from_minutes(30),
            lifetime: Span::from_hours(24),
            max_per_user: 10,
            when_full: WhenFull::default(),
            on_other_client: OnOtherClient::default(),
            tenant_at_sign_in: TenantAtSignIn::default(),
            carried_over_cookie: None,
        }
    }
}

/// The table, validated. `Copy` parts only are used on the hot path.
#[derive(Debug, Clone)]
pub struct Settings {
    pub cookies: Cookies,
    pub idle_timeout: Span,
    pub lifetime: Span,
    pub max_per_user: u32,
    pub when_full: WhenFull,
    pub on_other_client: OnOtherClient,
    pub tenant_at_sign_in: TenantAtSignIn,
}

impl Config {
    /// The validated form, or everything that is wrong. `secure` is false in development mode
    /// only, where the site is served without TLS: cookies then lose `Secure` and with it their
    /// `__Host-` prefix.
    pub fn compile(&self, secure: bool) -> Result<Settings, Vec<Finding>> {
        const NAME: &str = "must be 1 to 64 letters, digits, `-`, `_` or `.`";
        let mut findings = Vec::new();
        let mut found = |key, message| findings.push(Finding { key, message });
        let is_name = |name: &str| {
            (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if !is_name(&self.cookie) {
            found("sessions.cookie", NAME);
        }
        if !self.carried_over_cookie.as_deref().is_none_or(is_name) {
            found("sessions.carried-over-cookie", NAME);
        }
        if self.idle_timeout < Span::from_minutes(2) {
            found(
                "sessions.idle-timeout",
                "must be at least 2m: activity is written each minute",
            );
        }
        if self.lifetime < self.idle_timeout || self.lifetime > Span::from_days(30) {
            found("sessions.lifetime", "must be from idle-timeout to 30d");
        }
        if !(1..=1000).contains(&self.max_per_user) {
            found("sessions.max-per-user", "must be from 1 to 1000");
        }
        if findings.is_empty() {
            Ok(Settings {
                cookies: Cookies::new(&self.cookie, self.same_site, secure)
                    .with_carried_over(self.carried_over_cookie.as_deref()),
                idle_timeout: self.idle_timeout,
                lifetime: self.lifetime,
                max_per_user: self.max_per_user,
                when_full: self.when_full,
                on_other_client: self.on_other_client,
                tenant_at_sign_in: self.tenant_at_sign_in,
            })
        } else {
            Err(findings)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_safe_ones() {
        let settings = Config::default().compile(true).unwrap();
        assert_eq!(settings.idle_timeout, Span::from_minutes(30));
        assert_eq!(settings.cookies.name(), "__Host-session");
    }

    #[test]
    fn every_mistake_is_found() {
        let config = Config {
            cookie: "a;b".to_owned(),
            idle_timeout: Span::from_seconds(1),
            lifetime: Span::from_days(400),
            max_per_user: 0,
            ..Config::default()
        };
        assert_eq!(config.compile(true).unwrap_err().len(), 4);
    }
}
