//! Second factors (I5): codes of an authenticator app, passkeys, and recovery codes for the day that
//! they are lost.
//!
//! - Who has a second factor gets no session for a password: only a *challenge*, which opens
//!   nothing, lives for five minutes, and becomes a session when the factor is proved. There is no
//!   half-authenticated session that a route could mistake for a whole one.
//! - Whatever was checked at the first step is checked again at the last, in one transaction: the
//!   account is open, the password was not changed meanwhile, the challenge was not used.
//! - A proof makes a new session with a new token, also where there was one before (CWE-384).
//! - A code's time step counts once per account, by a row in the database: not again on another
//!   node, after a restart, or in another spelling. A recovery code is deleted by its use.
//! - A passkey is both factors at once ([`passkeys`]): it signs in without a password as well.
//! - Five wrong codes, then waiting, as for passwords ([`crate::backoff`]).
//! - Factors are changed by whoever has proved who they are in the last quarter of an hour, with a
//!   second factor where there is one.

mod acts;
mod api;
mod challenge;
mod codes;
mod pages;
pub mod passkeys;
mod prove;
mod totp;

use portcullis_core::principal::User;
use portcullis_core::{Span, Timestamp, UserId};
use portcullis_store::{Db, Tx};
use portcullis_vault::Fields;
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::seal::{self, Sealer};
use serde::{Deserialize, Serialize};

use crate::accounts::Error;

pub(crate) use api::{challenge_cookie, routes};
pub use challenge::Challenge;
pub(crate) use challenge::end_all as end_challenges;
pub(crate) use passkeys::offer_to_sign_in;
pub use passkeys::{Relying, Shown};
pub use totp::{Enrolment, Unusable};

/// How long ago somebody who changes factors may have proved who they are.
const RECENT: Span = Span::from_minutes(15);

/// The `[mfa]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Roles whose holders get nothing but the way to a second factor until they have proved one.
    /// Default `["admin"]`, where such a role is. Enforced in production; development mode relaxes
    /// it and says so. An empty list leaves administrators with a password alone.
    pub required_for: Option<Vec<String>>,
    /// The name under which authenticator apps list the account. Default: the host of
    /// `accounts.origin`, or `"Portcullis"`.
    pub issuer: Option<String>,
}

/// What second factors need beside the accounts.
#[derive(Debug)]
pub struct Factors {
    /// The gate's own part of the vault.
    fields: Fields,
    /// Opens what was sealed before that.
    sealer: Sealer,
    issuer: String,
    passkeys: Option<Relying>,
    /// Roles whose holders keep at least one factor.
    required_of: Vec<String>,
}

impl Factors {
    /// `origin` is where people reach the gate, where that is known.
    pub fn new(
        fields: &Fields,
        keys: &Keys,
        config: &Config,
        origin: Option<&str>,
    ) -> Result<Self, seal::Error> {
        let host = origin
            .and_then(|origin| url::Url::parse(origin).ok())
            .and_then(|url| url.host_str().map(str::to_owned));
        let issuer = config.issuer.clone().or(host);
        Ok(Factors {
            fields: fields.of_gate(),
            sealer: Sealer::new(keys, Purpose::Factor)?,
            // A colon would end the name where apps read it.
            issuer: issuer
                .unwrap_or_else(|| "Portcullis".to_owned())
                .replace(':', " "),
            passkeys: None,
            required_of: Vec::new(),
        })
    }

    /// The name under which the site is known to apps and authenticators.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// People can use passkeys, too.
    #[must_use]
    pub fn with_passkeys(mut self, relying: Option<Relying>) -> Self {
        self.passkeys = relying;
        self
    }

    /// Whoever holds one of these roles cannot remove the last factor.
    #[must_use]
    pub fn required_of(mut self, roles: Vec<String>) -> Self {
        self.required_of = roles;
        self
    }

    /// Takes secrets into the vault that were sealed under the master secret before: after the
    /// overlap of a rotation the old one is gone. How many.
    pub async fn carry_over(&self, db: &Db) -> Result<usize, Error> {
        totp::carry_over(self, db).await
    }
}

/// What somebody shows as a second factor.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// A code of the app, or a recovery code.
    Typed(Typed<'a>),
    Passkey(&'a Shown),
}

/// A code, as typed.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a>(pub &'a str);

/// What an account has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether an authenticator app is in use.
    pub totp: bool,
    pub passkeys: i64,
    pub recovery_codes_left: i64,
}

impl Status {
    /// Whether anything is asked for beside the password.
    pub const fn has_any(&self) -> bool {
        self.totp || self.passkeys > 0
    }
}

/// What `user` has, as of now.
pub(crate) async fn status(db: &Db, user: UserId) -> Result<Status, portcullis_store::Error> {
    let row = db.fetch_optional(STATUS, &[user.into()]).await?;
    read_status(row.as_ref())
}

/// The same, inside a transaction that holds the account.
pub(crate) async fn status_in(
    tx: &mut Tx,
    user: UserId,
) -> Result<Status, portcullis_store::Error> {
    let row = tx.fetch_optional(STATUS, &[user.into()]).await?;
    read_status(row.as_ref())
}

const STATUS: &str = "SELECT (SELECT count(*) FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL) AS totp, (SELECT count(*) FROM passkey WHERE user_id = $1) AS passkeys, (SELECT count(*) FROM recovery_code WHERE user_id = $1) AS codes";

fn read_status(row: Option<&portcullis_store::Row>) -> Result<Status, portcullis_store::Error> {
    Ok(match row {
        Some(row) => Status {
            totp: row.int("totp")? > 0,
            passkeys: row.int("passkeys")?,
            recovery_codes_left: row.int("codes")?,
        },
        None => Status {
            totp: false,
            passkeys: 0,
            recovery_codes_left: 0,
        },
    })
}

/// Whether `user` may change factors now: they proved who they are a short while ago, with all
/// that they have.
fn may_change(user: &User, status: &Status, now: Timestamp) -> Result<(), Error> {
    if status.has_any() && user.second_factor_at.is_none() {
        return Err(Error::SecondFactorMissing);
    }
    let proved = user
        .second_factor_at
        .map_or(user.authenticated_at, |at| at.max(user.authenticated_at));
    if now.since(proved) > RECENT {
        return Err(Error::TooLongAgo(RECENT));
    }
    Ok(())
}

/// Deletes what is over.
pub(crate) async fn prune(db: &Db, now: Timestamp) -> Result<(), portcullis_store::Error> {
    const CHALLENGES: &str = "DELETE FROM sign_in_challenge WHERE expires_at <= $1";
    const ABANDONED: &str = "DELETE FROM totp WHERE confirmed_at IS NULL AND created_at <= $1";
    let mut tx = db.begin().await?;
    tx.execute(CHALLENGES, &[now.into()]).await?;
    tx.execute(ABANDONED, &[(now - Span::from_days(1)).into()])
        .await?;
    passkeys::prune(&mut tx, now).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests;
