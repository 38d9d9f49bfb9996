//! The relying party: for which domain and from which origins passkeys are made and checked.

use portcullis_core::UserId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};

use super::library::{
    CredentialID, DiscoverableAuthentication, IS_BUILT_IN, Passkey, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
};
use super::{Config, Verdict, ceremony};
use crate::Finding;
use crate::accounts::{self, Error};
use crate::factors::Unusable;

/// Asks and judges authenticators.
#[derive(Debug)]
pub struct Relying {
    webauthn: Webauthn,
}

impl Config {
    /// What is wrong with the table, beside the origin that people reach the gate at.
    pub fn findings(&self, origin: Option<&str>, is_production: bool) -> Vec<Finding> {
        match self.domain(origin, is_production) {
            Ok(_) => Vec::new(),
            Err(finding) => vec![finding],
        }
    }

    /// The domain and every origin; nothing where passkeys cannot be had and nobody asked for them.
    fn domain(
        &self,
        origin: Option<&str>,
        is_production: bool,
    ) -> Result<Option<(String, Vec<Url>)>, Finding> {
        let wrong = |key, message| Err(Finding { key, message });
        let is_asked_for = *self != Config::default();
        if !IS_BUILT_IN {
            return if is_asked_for {
                wrong(
                    "passkeys",
                    "this program was built without passkeys: build it with `--features passkeys`",
                )
            } else {
                Ok(None)
            };
        }
        let parsed = origin
            .filter(|origin| accounts::origin(origin, is_production).is_ok())
            .and_then(|origin| Url::parse(origin).ok());
        let Some((origin, host)) = parsed.and_then(|url| Some((url.clone(), domain_of(&url)?)))
        else {
            return if is_asked_for {
                wrong(
                    "accounts.origin",
                    "passkeys need the address that people reach the gate at: `https://` and a domain name",
                )
            } else {
                Ok(None)
            };
        };
        let id = self.rp_id.clone().unwrap_or_else(|| host.clone());
        if !is_within(&host, &id) || (id != host && !id.contains('.')) {
            return wrong(
                "passkeys.rp-id",
                "must be the host of `accounts.origin`, or a domain above it",
            );
        }
        let mut origins = vec![origin];
        for other in &self.origins {
            let url = accounts::origin(other, is_production)
                .ok()
                .and_then(|()| Url::parse(other).ok())
                .filter(|url| domain_of(url).is_some_and(|host| is_within(&host, &id)));
            let Some(url) = url else {
                return wrong(
                    "passkeys.origins",
                    "each must be an origin (`https://host`) whose host lies within `passkeys.rp-id`",
                );
            };
            origins.push(url);
        }
        Ok(Some((id, origins)))
    }
}

fn domain_of(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(name) => Some(name.to_owned()),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// Whether `host` is `domain` or lies below it.
fn is_within(host: &str, domain: &str) -> bool {
    host == domain
        || host
            .strip_suffix(domain)
            .is_some_and(|rest| !domain.is_empty() && rest.ends_with('.'))
}

impl Relying {
    /// Nothing where `accounts.origin` names no domain, or the build knows no passkeys.
    pub fn new(
        config: &Config,
        origin: Option<&str>,
        is_production: bool,
        name: &str,
    ) -> Result<Option<Self>, Unusable> {
        let said = |finding: Finding| Unusable(format!("{}: {}", finding.key, finding.message));
        let Some((id, origins)) = config.domain(origin, is_production).map_err(said)? else {
            return Ok(None);
        };
        let Some((first, others)) = origins.split_first() else {
            return Ok(None);
        };
        let builder = WebauthnBuilder::new(&id, first).map_err(|error| unusable(&error))?;
        let builder = others
            .iter()
            .fold(builder.rp_name(name), |builder, origin| {
                builder.append_allowed_origin(origin)
            })
            .timeout(ceremony::LIFETIME.as_duration());
        let webauthn = builder.build().map_err(|error| unusable(&error))?;
        Ok(Some(Relying { webauthn }))
    }

    /// The options of `navigator.credentials.create`, and what is kept of them.
    pub(super) fn ask_for_new(
        &self,
        user: UserId,
        email: &str,
        name: &str,
        had: Vec<CredentialID>,
    ) -> Result<(Value, String), Error> {
        let (options, state) = self
            .webauthn
            .start_passkey_registration(user.as_uuid(), email, name, Some(had))
            .map_err(|error| unusable(&error))?;
        let mut options = to_value(&options)?;
        // The library wishes for keys of any kind. Ours sign in without a name being typed first.
        let selection = options
            .pointer_mut("/publicKey/authenticatorSelection")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| Unusable("options without a selection".to_owned()))?;
        selection.insert("residentKey".to_owned(), json!("required"));
        selection.insert("requireResidentKey".to_owned(), json!(true));
        Ok((options, to_text(&state)?))
    }

    /// The new key, where the answer is right.
    pub(super) fn take_new(
        &self,
        answer: &RegisterPublicKeyCredential,
        state: &str,
    ) -> Option<Passkey> {
        let state: PasskeyRegistration = from_text(state)?;
        match self.webauthn.finish_passkey_registration(answer, &state) {
            Ok(passkey) => Some(passkey),
            Err(error) => {
                tracing::info!(%error, "a new passkey was refused");
                None
            }
        }
    }

    /// The options of `navigator.credentials.get`, for these keys or for any, and what is kept.
    pub(super) fn ask(&self, allowed: &[CredentialID]) -> Result<(Value, String), Error> {
        let (options, state) = self
            .webauthn
            .start_discoverable_authentication()
            .map_err(|error| unusable(&error))?;
        let allowed: Vec<Value> = allowed
            .iter()
            .map(|id| json!({ "type": "public-key", "id": encode(id) }))
            .collect();
        let mut options = to_value(&options)?;
        let request = options
            .pointer_mut("/publicKey")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| Unusable("options without a request".to_owned()))?;
        request.insert("allowCredentials".to_owned(), Value::Array(allowed));
        // Somebody pressed a button: the browser is to show its dialog.
        if let Some(whole) = options.as_object_mut() {
            whole.remove("mediation");
        }
        Ok((options, to_text(&state)?))
    }

    /// Judges an answer. `passkey` gets the counter that it came with.
    pub(super) fn judge(
        &self,
        answer: &PublicKeyCredential,
        state: &str,
        passkey: &mut Passkey,
    ) -> Verdict {
        let Some(state) = from_text::<DiscoverableAuthentication>(state) else {
            return Verdict::Refused;
        };
        let judged = self
            .webauthn
            .finish_discoverable_authentication_v2(answer, state, &*passkey);
        match judged {
            Ok(result) if result.user_verified() => {
                passkey.update_credential(&result);
                Verdict::Accepted
            }
            Ok(_) => Verdict::Refused,
            // SECURITY: said only after the signature was found right: two devices hold this key.
            Err(WebauthnError::CredentialPossibleCompromise) => Verdict::Cloned,
            Err(error) => {
                tracing::info!(%error, "a passkey was refused");
                Verdict::Refused
            }
        }
    }
}

fn unusable(error: &WebauthnError) -> Unusable {
    Unusable(error.to_string())
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Unusable(error.to_string()).into())
}

pub(super) fn to_text<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Unusable(error.to_string()).into())
}

fn from_text<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(%error, "what was kept of a passkey's question cannot be read");
            None
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
