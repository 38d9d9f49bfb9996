//! Who is calling: users, passwords, sessions and the auth API.
//!
//! The hot path asks [`sessions::Sessions::lookup`], which never waits. Everything else is
//! asynchronous and belongs on the runtime for slow things: [`sessions::Sessions::load`] on a
//! miss, and the router of [`api`] for the calls that people make.

pub mod accounts;
pub mod addresses;
pub mod admin_api;
pub mod admin_pages;
pub mod api;
pub mod api_keys;
pub mod backoff;
pub mod bearers;
mod claims;
pub mod consents;
pub mod email;
pub mod factors;
pub mod holders;
pub mod import;
pub mod issuers;
mod memory;
pub mod next;
pub mod openid_login;
pub mod outbox;
pub mod pages;
mod paging;
pub mod password_policy;
pub mod privacy;
mod record;
pub mod recovery;
mod registration;
mod revoke;
pub mod sessions;
pub mod signing_keys;
pub mod tenants;
pub mod tokens;
pub mod users;
pub mod visitors;

#[cfg(test)]
mod testing;

pub use accounts::{Accounts, Client};
pub use addresses::Addresses;
pub use api_keys::ApiKeys;
pub use bearers::{Bearer, Bearers};
pub use consents::Consents;
pub use email::Email;
pub use holders::Holders;
pub use issuers::Issuers;
pub use openid_login::OpenidLogin;
pub use outbox::Outbox;
pub use privacy::Privacy;
pub use record::Record;
pub use sessions::{Lookup, SessionCache, Sessions};
pub use signing_keys::SigningKeys;
pub use tenants::Tenants;
pub use tokens::Tokens;
pub use visitors::Visitors;

/// A mistake in a configuration table of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key, with its table.
    pub key: &'static str,
    pub message: &'static str,
}
