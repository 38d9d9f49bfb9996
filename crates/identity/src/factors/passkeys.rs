//! Passkeys (W3C Web Authentication, level 3): a key pair for this site alone, kept by an authenticator that checks
//! who holds it. They are both factors at once, so they sign in without a password, and they are a
//! second factor beside one.
//!
//! - What an authenticator answers counts for the question that this browser was asked (a cookie), for
//!   its purpose, once, and for five minutes. The questions are rows: any node takes the answer.
//! - The library checks signature, origin, domain (`rp-id`), presence and user verification; this
//!   slice checks whose key it is, and that the account is open, in the transaction that opens the
//!   session.
//! - A counter that does not grow means that there are two of one key: refused, recorded, and the
//!   owner is told.
//! - Every refusal reads alike: unknown key, somebody else's, used answer, wrong origin.
//! - What it does not do: it asks for no attestation, so it does not know of what make a key is.

mod acts;
mod api;
mod ceremony;
mod library;
mod pages;
mod prove;
mod relying;
mod store;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) use api::routes;
pub use ceremony::Begun;
pub(super) use ceremony::prune;
use library::PublicKeyCredential;
pub(crate) use pages::offer_to_sign_in;
pub(super) use pages::{offer_to_prove, section};
pub(super) use prove::Verdict;
pub use relying::Relying;

/// Passkeys that an account may have at once.
const MOST: usize = 20;

/// The `[passkeys]` table. People can use passkeys where `accounts.origin` names a domain, and the
/// program was built with the feature `passkeys` (`full` has it).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The domain that passkeys belong to: the host of `accounts.origin` (the default) or a domain
    /// above it, so that its other hosts can use the same passkeys. A passkey works for the domain it
    /// was made for: after a change here nobody's does.
    pub rp_id: Option<String>,
    /// Origins whose pages may use passkeys beside `accounts.origin`, such as
    /// `["https://app.shop.example"]`, each within `rp-id`. Default `[]`. Whoever controls one of
    /// them can ask people for their passkey.
    pub origins: Vec<String>,
}

/// What a browser brings: an authenticator's answer, and the question that it was asked.
#[derive(Debug, Clone)]
pub struct Shown {
    pub(crate) ceremony: Option<portcullis_vault::TokenHash>,
    pub(crate) credential: PublicKeyCredential,
}

/// A passkey as its owner sees it.
#[derive(Debug, Clone, Serialize)]
pub struct PasskeyView {
    pub id: Uuid,
    pub name: String,
    pub created_at: String,
    pub last_used_at: Option<String>,
}

#[cfg(test)]
mod tests;
