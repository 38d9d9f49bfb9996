//! The table `[issuer.NAME.login]`.

use portcullis_core::{Secret, SecretRef};
use serde::Deserialize;

use crate::Email;

/// The table `[issuer.NAME.login]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The name under which the provider knows the product.
    pub client_id: String,
    /// The secret that the provider gave out with it: `{ env = "COMPANY_CLIENT_SECRET" }`. Whoever
    /// has it can pass for the product at the provider.
    pub client_secret: SecretRef,
    /// What the button says after "Sign in with". Default: the table's name.
    pub label: Option<String>,
    /// What is asked for. Default `["openid", "email"]`. Without `email` nobody is an administrator
    /// by address, and accounts show none.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Who may sign in: `"anyone"` whom the provider knows (default), who gets an account the first
    /// time; or `"known"`, whoever has one (`portcullis users link`), and `administrators`. At a
    /// provider where anybody can register, `"anyone"` is anybody.
    #[serde(default)]
    pub accounts: Admit,
    /// Only people with a verified address in one of these domains: `["corp.test"]`. Default none:
    /// the address does not matter.
    #[serde(default)]
    pub email_domains: Vec<String>,
    /// Values of `amr` that say that the provider asked for a second factor: `["mfa", "otp"]`.
    /// Default none: its second factor does not count, and routes that want one ask for ours.
    #[serde(default)]
    pub second_factor_amr: Vec<String>,
    /// Values of `acr` that say the same. Default none.
    #[serde(default)]
    pub second_factor_acr: Vec<String>,
}

/// Who may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admit {
    #[default]
    Anyone,
    Known,
}

fn default_scopes() -> Vec<String> {
    vec!["openid".to_owned(), "email".to_owned()]
}

/// The table, validated, with its secret.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) client_secret: Secret,
    pub(crate) label: String,
    /// As they stand in a request.
    pub(crate) scopes: String,
    /// In lower case.
    pub(crate) email_domains: Vec<String>,
}

impl Config {
    /// The validated form; keys of this table, and what is wrong with them, are told to `wrong`.
    pub(crate) fn compile(
        &self,
        name: &str,
        client_secret: Option<Secret>,
        wrong: &mut dyn FnMut(&str, &'static str),
    ) -> Option<Settings> {
        let mut is_right = true;
        let mut wrong = |key: &str, message| {
            is_right = false;
            wrong(key, message);
        };
        let is_text = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if !is_text(&self.client_id, 255) {
            wrong("client-id", "must be the name that the provider gave out");
        }
        if !self.label.as_deref().is_none_or(|label| is_text(label, 60)) {
            wrong("label", "must be 1 to 60 characters");
        }
        // RFC 6749 section 3.3.
        let is_scope = |scope: &String| {
            !scope.is_empty()
                && scope
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        };
        if !self.scopes.iter().any(|scope| scope == "openid") || !self.scopes.iter().all(is_scope) {
            wrong("scopes", "must hold `openid`, and words without spaces");
        }
        let is_domain = |domain: &String| Email::parse(&format!("a@{domain}")).is_ok();
        if !self.email_domains.iter().all(is_domain) {
            wrong("email-domains", "must be domains such as `corp.test`");
        }
        if !self.email_domains.is_empty() && !self.scopes.iter().any(|scope| scope == "email") {
            wrong(
                "scopes",
                "must hold `email` where `email-domains` asks for it",
            );
        }
        let marks = self.second_factor_amr.iter().chain(&self.second_factor_acr);
        if marks.clone().any(|mark| !is_text(mark, 255)) {
            wrong("second-factor-amr", "must not hold an empty value");
        }
        // RFC 8176: these say how the first factor was proved.
        if self
            .second_factor_amr
            .iter()
            .any(|mark| ["pwd", "pin", "user", "kba"].contains(&mark.as_str()))
        {
            wrong(
                "second-factor-amr",
                "must not name a way to prove the first factor alone",
            );
        }
        let client_secret = client_secret?;
        is_right.then(|| Settings {
            config: self.clone(),
            client_secret,
            label: self.label.clone().unwrap_or_else(|| name.to_owned()),
            scopes: self.scopes.join(" "),
            email_domains: self
                .email_domains
                .iter()
                .map(|domain| domain.to_ascii_lowercase())
                .collect(),
        })
    }
}
