//! What judges bearer tokens: `[tokens]` and `[issuer.NAME]`, with their secrets.

use portcullis_core::Mode;
use portcullis_core::finding::Finding;
use portcullis_identity::{accounts, issuers, tokens};

use super::{Config, Loaded, Secrets, read_secret};

/// Reads the secrets that both name.
pub(super) fn read_secrets(loaded: &mut Loaded) {
    if let Some(config) = loaded.config.tokens.clone() {
        let previous = config.previous_secrets.iter().enumerate();
        let previous = previous.map(|(at, secret)| (format!("previous-secrets.{at}"), secret));
        let current = config
            .secret
            .iter()
            .map(|secret| ("secret".to_owned(), secret));
        for (key, reference) in current.chain(previous) {
            let secret = read_secret(loaded, &format!("tokens.{key}"), reference);
            loaded.secrets.tokens.0.extend(secret);
        }
    }
    for (name, config) in loaded.config.issuers.clone() {
        let mut read = |key: &str, reference: &Option<_>| {
            let reference = reference.as_ref()?;
            read_secret(loaded, &format!("issuer.{name}.{key}"), reference)
        };
        let secrets = issuers::Secrets {
            secret: read("secret", &config.secret),
            client_secret: read(
                "login.client-secret",
                &config.login.map(|login| login.client_secret),
            ),
        };
        loaded.secrets.issuers.insert(name, secrets);
    }
}

/// Both, validated.
pub(crate) struct Compiled {
    pub(crate) tokens: Option<tokens::Settings>,
    pub(crate) issuers: issuers::All,
}

/// The validated form, or everything that is wrong.
pub(crate) fn compile(config: &Config, secrets: &Secrets) -> Result<Compiled, Vec<Finding>> {
    let mut findings = Vec::new();
    let settings = config.tokens.as_ref().and_then(|tokens| {
        let compiled = tokens.compile(&secrets.tokens);
        let said = |finding: &portcullis_identity::Finding| {
            Finding::error("tokens", finding.key, finding.message)
        };
        compiled
            .map_err(|wrong| findings.extend(wrong.iter().map(said)))
            .ok()
    });
    findings.extend(origin(config));
    let defined = config.access.roles();
    let issuers = issuers::All::compile(
        &config.issuers,
        &secrets.issuers,
        config.tokens.as_ref().map(|tokens| tokens.issuer.as_str()),
        config.mode,
        &|role| defined.contains_key(role),
    );
    match issuers {
        Ok(issuers) if findings.is_empty() => Ok(Compiled {
            tokens: settings,
            issuers,
        }),
        Ok(_) => Err(findings),
        Err(more) => {
            findings.extend(more);
            Err(findings)
        }
    }
}

/// Providers send people back to `accounts.origin`, whatever host a request names.
fn origin(config: &Config) -> Option<Finding> {
    let mut logins = config
        .issuers
        .iter()
        .filter(|(_, issuer)| issuer.login.is_some());
    let (name, _) = logins.next()?;
    let message = match &config.accounts.origin {
        None => format!("is needed by [issuer.{name}.login]: the provider sends people back there"),
        Some(text) => accounts::origin(text, config.mode == Mode::Production).err()?,
    };
    let finding = Finding::error("accounts", "accounts.origin", message);
    Some(finding.remedy("write where people reach the gate: origin = \"https://shop.example\""))
}
