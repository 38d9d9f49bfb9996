//! The `[issuer.NAME]` tables.

use std::collections::BTreeMap;

use portcullis_core::finding::Finding;
use portcullis_core::{Mode, Secret, SecretRef, Span};
use portcullis_edge::outbound::{Reach, Target};
use portcullis_vault::jws::Algorithm;
use serde::Deserialize;

use super::proofs::{self, SecondFactor};
use crate::Email;
use crate::openid_login::config as openid_login;

/// The table `[issuer.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whose tokens: `"supabase"`, `"clerk"`, or `"oidc"` for any issuer with a discovery document.
    pub profile: Profile,
    /// The `iss` of its tokens, character by character: `"https://abc.supabase.co/auth/v1"`.
    pub issuer: String,
    /// The `aud` that a token must name; one of these. Default `["authenticated"]` for Supabase.
    /// Others must say it: a token for another product of the same issuer is not for this one.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Values of `azp` that a token may have. Default: any. Clerk's session tokens bear no `aud`;
    /// they bear the origin of the front end here, so name yours: `["https://app.corp.test"]`.
    #[serde(default)]
    pub authorized_parties: Vec<String>,
    /// Algorithms that its tokens may be signed with. Default `["RS256", "ES256", "EdDSA"]`, and
    /// `["HS256"]` in addition where there is a `secret`.
    pub algorithms: Option<Vec<Algorithm>>,
    /// The secret of HS256, for Supabase projects that still have one: `{ env =
    /// "SUPABASE_JWT_SECRET" }`. At least 32 bytes.
    pub secret: Option<SecretRef>,
    /// Where its keys are. Default: `/.well-known/jwks.json` below `issuer`, or what the discovery
    /// document says. `""` for none, where the secret is all there is.
    pub jwks: Option<String>,
    /// How far its clock may be off. Default `"30s"`, at most `"2m"`.
    #[serde(default = "default_leeway")]
    pub leeway: Span,
    /// Longest time from `iat` to `exp`. Default `"24h"`. A token that lives for years is a
    /// password that nobody can change.
    #[serde(default = "default_lifetime")]
    pub max_lifetime: Span,
    /// The claim that names the tenant, with dots between levels. Default for Clerk: `orgId`, or
    /// `o.id`. Default for others: none. A UUID is a tenant's id as it stands; anything else gets
    /// an id of its own for this issuer.
    pub tenant_claim: Option<String>,
    /// Roles of those who come for the first time. Default `["user"]`.
    #[serde(default = "default_roles")]
    pub roles: Vec<String>,
    /// Addresses whose holders are administrators, where the issuer says that they are verified.
    /// Default: none. Who controls such a mailbox at this issuer controls the product.
    #[serde(default)]
    pub administrators: Vec<String>,
    /// Roles of administrators. Default `["admin"]`.
    #[serde(default = "default_administrator_roles")]
    pub administrator_roles: Vec<String>,
    /// Take every address in its tokens as verified. Default false: `email_verified` must say so.
    /// Supabase's tokens do not say it; set this only where the project has "Confirm email" on.
    #[serde(default)]
    pub emails_are_verified: bool,
    /// The `typ` that the header of its tokens must bear: `"at+jwt"` (RFC 9068) or `"JWT"`. Default
    /// `"any"`: either of them, or none. Where the issuer writes it, name it: then no token that it
    /// made for something else is taken for one that opens the product.
    #[serde(default)]
    pub token_type: TokenType,
    /// The claim that says that a person proved a second factor: `"fva"` (minutes since each factor,
    /// as Clerk writes it), `"aal"` (`aal2`, as Supabase writes it, with the times in `amr`), or
    /// another, such as `"amr"` or `"acr"`, with `second-factor-values`. Default none: its second
    /// factor does not count, and routes that want one refuse its tokens.
    pub second_factor_claim: Option<String>,
    /// Values of that claim that count: `["mfa", "otp"]`. Default for `aal`: `["aal2"]`. `fva` has
    /// none.
    #[serde(default)]
    pub second_factor_values: Vec<String>,
    /// People sign in there: the table `[issuer.NAME.login]`. Default none: only its tokens count.
    pub login: Option<openid_login::Config>,
    /// The issuer runs on this machine: plain `http` to loopback, and nothing else. Default false.
    /// For development and tests; production refuses it.
    #[serde(default)]
    pub loopback: bool,
}

/// Whose tokens, and what is peculiar about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    Supabase,
    Clerk,
    Oidc,
}

/// The `typ` of an issuer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum TokenType {
    #[default]
    #[serde(rename = "any")]
    Any,
    #[serde(rename = "at+jwt")]
    AccessToken,
    #[serde(rename = "JWT")]
    Jwt,
}

/// What a token may say it is. Everything else is for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    /// Tokens that people come with.
    Bearer(TokenType),
    /// Of a sign-in at a provider: an access token is none.
    Identity,
}

impl Types {
    /// A media type may stand with or without `application/` (RFC 7515 section 4.1.9).
    pub(crate) fn admit(self, typ: Option<&str>) -> bool {
        let is = |name: &str| {
            typ.is_some_and(|typ| typ == name || typ.strip_prefix("application/") == Some(name))
        };
        match self {
            Types::Bearer(TokenType::Any) => typ.is_none() || typ == Some("JWT") || is("at+jwt"),
            Types::Bearer(TokenType::AccessToken) => is("at+jwt"),
            Types::Bearer(TokenType::Jwt) => typ == Some("JWT"),
            Types::Identity => typ.is_none() || typ == Some("JWT"),
        }
    }
}

const fn default_leeway() -> Span {
    Span::from_seconds(30)
}
const fn default_lifetime() -> Span {
    Span::from_hours(24)
}
fn default_roles() -> Vec<String> {
    vec!["user".to_owned()]
}
fn default_administrator_roles() -> Vec<String> {
    vec!["admin".to_owned()]
}

/// The secrets that a table names, read.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    pub secret: Option<Secret>,
    /// Of the client that people sign in by.
    pub client_secret: Option<Secret>,
}

/// One table, validated.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) secrets: Secrets,
    pub(crate) reach: Reach,
    pub(crate) algorithms: Vec<Algorithm>,
    /// Where the keys are, where that is known without asking.
    pub(crate) jwks: Keys,
    pub(crate) types: Types,
    pub(crate) second_factor: SecondFactor,
    /// Claims that may name the tenant, levels apart.
    pub(crate) tenant_claims: Vec<Vec<String>>,
    /// Canonical addresses.
    pub(crate) administrators: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) login: Option<openid_login::Settings>,
}

impl Settings {
    /// Whether the holder of this canonical address is an administrator.
    pub(crate) fn names_administrator(&self, address: &str) -> bool {
        self.administrators.iter().any(|known| known == address)
    }
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// There is a secret, and nothing else.
    None,
    At(Target),
    /// The discovery document says where.
    Discovered(Target),
}

/// All tables, validated.
#[derive(Debug, Clone, Default)]
pub struct All(pub(crate) Vec<Settings>);

impl All {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tables, or everything that is wrong. `own` is the issuer of our own tokens.
    pub fn compile(
        configs: &BTreeMap<String, Config>,
        secrets: &BTreeMap<String, Secrets>,
        own: Option<&str>,
        mode: Mode,
        known_roles: &dyn Fn(&str) -> bool,
    ) -> Result<All, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut all: Vec<Settings> = Vec::new();
        for (name, config) in configs {
            let mut table = Table {
                name,
                config,
                findings: &mut findings,
            };
            if own == Some(config.issuer.as_str())
                || all.iter().any(|other| other.config.issuer == config.issuer)
            {
                table.wrong("issuer", "is the issuer of another table already");
            }
            let roles = config.roles.iter().chain(&config.administrator_roles);
            for role in roles.filter(|role| !known_roles(role)) {
                table.wrong(
                    "roles",
                    format!("names the role `{role}`, which nobody defined"),
                );
            }
            let secrets = secrets.get(name).cloned().unwrap_or_default();
            all.extend(table.compile(secrets, mode));
        }
        if findings.is_empty() {
            Ok(All(all))
        } else {
            Err(findings)
        }
    }
}

struct Table<'t> {
    name: &'t str,
    config: &'t Config,
    findings: &'t mut Vec<Finding>,
}

impl Table<'_> {
    fn wrong(&mut self, key: &str, message: impl Into<String>) {
        let key = format!("issuer.{}.{key}", self.name);
        self.findings
            .push(Finding::error("issuer", key, message.into()));
    }

    fn compile(mut self, secrets: Secrets, mode: Mode) -> Option<Settings> {
        let config = self.config;
        let before = self.findings.len();
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.bytes().all(is_name) {
            self.wrong(
                "profile",
                "belongs to a table whose name is not a-z, 0-9 and `-`",
            );
        }
        let reach = if config.loopback {
            Reach::Loopback
        } else {
            Reach::Public
        };
        if config.loopback && mode == Mode::Production {
            self.wrong(
                "loopback",
                "is for development: production asks issuers by https",
            );
        }
        if Target::parse(&config.issuer, reach).is_err() {
            self.wrong(
                "issuer",
                "must be an https URL with a host, as it stands in `iss`",
            );
        }
        self.claims();
        self.secrets(&secrets);
        let jwks = self.keys(reach);
        let algorithms = self.algorithms();
        let administrators = self.administrators();
        let second_factor = proofs::compile(
            config.second_factor_claim.as_deref(),
            &config.second_factor_values,
            &mut |key, message| self.wrong(key, message),
        );
        let login = self.login(&secrets, jwks.as_ref());
        if self.findings.len() > before {
            return None;
        }
        Some(Settings {
            name: self.name.to_owned(),
            config: config.clone(),
            secrets,
            reach,
            algorithms,
            jwks: jwks?,
            types: Types::Bearer(config.token_type),
            second_factor,
            tenant_claims: tenant_claims(config),
            administrators,
            audiences: audiences(config),
            login,
        })
    }

    fn login(&mut self, secrets: &Secrets, keys: Option<&Keys>) -> Option<openid_login::Settings> {
        let login = self.config.login.as_ref()?;
        if self.config.profile != Profile::Oidc || matches!(keys, Some(Keys::None | Keys::At(_))) {
            self.wrong(
                "login",
                "asks for `profile = \"oidc\"` without `jwks`: places to sign in are found by discovery",
            );
        }
        let name = self.name;
        let mut wrong =
            |key: &str, message: &'static str| self.wrong(&format!("login.{key}"), message);
        login.compile(name, secrets.client_secret.clone(), &mut wrong)
    }

    fn claims(&mut self) {
        let config = self.config;
        let is_bound = match config.profile {
            Profile::Supabase => true,
            Profile::Clerk => !config.audience.is_empty() || !config.authorized_parties.is_empty(),
            // Where people only sign in, no token of its own is for us.
            Profile::Oidc => !config.audience.is_empty() || config.login.is_some(),
        };
        if !is_bound {
            let hint = match config.profile {
                Profile::Clerk => {
                    "must name the `aud` of your JWT template, or leave that to `authorized-parties`"
                }
                Profile::Supabase | Profile::Oidc => {
                    "must name the `aud` of tokens that are for this product"
                }
            };
            self.wrong("audience", hint);
        }
        if config
            .audience
            .iter()
            .chain(&config.authorized_parties)
            .any(String::is_empty)
        {
            self.wrong("audience", "must not hold an empty name");
        }
        if config.leeway > Span::from_minutes(2) {
            self.wrong("leeway", "must be at most 2m");
        }
        if config.max_lifetime < Span::from_minutes(1) || config.max_lifetime > Span::from_days(31)
        {
            self.wrong("max-lifetime", "must be from 1m to 31d");
        }
        let is_claim = |claim: &String| claim.split('.').all(|level| !level.is_empty());
        if config
            .tenant_claim
            .as_ref()
            .is_some_and(|claim| !is_claim(claim))
        {
            self.wrong("tenant-claim", "must be names with dots between");
        }
        // SECURITY: whoever writes their own tenant there is in anybody's.
        let theirs = ["user_metadata", "unsafe_metadata"];
        if config
            .tenant_claim
            .as_ref()
            .and_then(|claim| claim.split('.').next())
            .is_some_and(|first| theirs.contains(&first))
        {
            self.wrong(
                "tenant-claim",
                "is what people write themselves: take a claim that only the issuer writes, such as `app_metadata.org`",
            );
        }
    }

    fn secrets(&mut self, secrets: &Secrets) {
        if self.config.secret.is_some() && self.config.profile != Profile::Supabase {
            self.wrong("secret", "is for Supabase: others publish their keys");
        }
        if secrets
            .secret
            .as_ref()
            .is_some_and(|secret| secret.expose().len() < 32)
        {
            self.wrong("secret", "must be at least 32 bytes");
        }
    }

    fn keys(&mut self, reach: Reach) -> Option<Keys> {
        let config = self.config;
        let base = config.issuer.trim_end_matches('/');
        let (url, discovered) = match (config.jwks.as_deref(), config.profile) {
            (Some(""), _) if config.secret.is_some() => return Some(Keys::None),
            (Some(url), _) => (url.to_owned(), false),
            (None, Profile::Supabase | Profile::Clerk) => {
                (format!("{base}/.well-known/jwks.json"), false)
            }
            (None, Profile::Oidc) => (format!("{base}/.well-known/openid-configuration"), true),
        };
        match Target::parse(&url, reach) {
            Ok(target) if discovered => Some(Keys::Discovered(target)),
            Ok(target) => Some(Keys::At(target)),
            Err(_) => {
                self.wrong("jwks", "must be an https URL");
                None
            }
        }
    }

    fn algorithms(&mut self) -> Vec<Algorithm> {
        let config = self.config;
        let algorithms = config.algorithms.clone().unwrap_or_else(|| {
            let mut usual = vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
            if config.secret.is_some() {
                usual.push(Algorithm::Hs256);
            }
            usual
        });
        if algorithms.is_empty() {
            self.wrong("algorithms", "must name at least one");
        }
        if algorithms.contains(&Algorithm::Hs256) != config.secret.is_some() {
            self.wrong("algorithms", "HS256 and `secret` belong together");
        }
        algorithms
    }

    fn administrators(&mut self) -> Vec<String> {
        let mut canonical = Vec::new();
        for address in &self.config.administrators {
            match Email::parse(address) {
                Ok(email) => canonical.push(email.canonical().to_owned()),
                Err(_) => self.wrong(
                    "administrators",
                    format!("`{address}` is no e-mail address"),
                ),
            }
        }
        canonical
    }
}

fn audiences(config: &Config) -> Vec<String> {
    if config.audience.is_empty() && config.profile == Profile::Supabase {
        return vec!["authenticated".to_owned()];
    }
    config.audience.clone()
}

fn tenant_claims(config: &Config) -> Vec<Vec<String>> {
    let named = |claim: &str| claim.split('.').map(str::to_owned).collect();
    match (&config.tenant_claim, config.profile) {
        (Some(claim), _) => vec![named(claim)],
        (None, Profile::Clerk) => vec![named("orgId"), named("o.id")],
        (None, Profile::Supabase | Profile::Oidc) => Vec::new(),
    }
}
