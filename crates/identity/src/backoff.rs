//! Throttling of sign-ins per account (NIST SP 800-63B-4 section 3.2.2), beside the limits per
//! address.
//!
//! - An attempt is counted before the password is compared and forgiven when it was right, so that
//!   a hundred attempts at once count as a hundred.
//! - Five are free. Then each refused password doubles the wait, from 30 seconds to 15 minutes.
//!   After a hundred in a row no more are accepted.
//! - It cannot be used to lock an owner out of a device that they have signed in on: such a device
//!   bears a signed cookie for this account and has a count of its own. All other clients share one
//!   count. A sign-in from a known device, or a new password, clears both.
//! - An address without an account is counted in the same way: what is refused, and when, says
//!   nothing about which accounts exist.
//! - Counts are in the database: no restart and no second node forgets them.
//!
//! Who has lost every known device while somebody keeps guessing has to ask the operator for a new
//! password once the hundred are spent: that is the price of the cap.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Span, Timestamp, UserId};
use portcullis_store::{Db, Error, Row, Tx};
use portcullis_vault::keys::{self, Keys, Mac, Purpose};
use portcullis_vault::tokens;

const FREE: i64 = 5;
const CAP: i64 = 100;
const FIRST_WAIT: Span = Span::from_seconds(30);
const LONGEST_WAIT: Span = Span::from_minutes(15);
/// What a client is told to wait once the cap is reached.
const CLOSED: Span = Span::from_days(1);
/// How long a device stays known.
pub const DEVICE_LIFETIME: Span = Span::from_days(180);

/// Whose attempts are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    account: [u8; 32],
    /// A known device, or empty for everybody else.
    client: Vec<u8>,
}

impl Subject {
    /// Whether it is a device that was signed in on before.
    pub fn is_known_device(&self) -> bool {
        !self.client.is_empty()
    }
}

/// The outcome of asking for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Attempt {
    /// It may be made, and counts as refused until it is forgiven.
    Granted,
    Throttled {
        retry_after: Span,
    },
}

/// Counts refused passwords and knows devices.
#[derive(Debug, Clone)]
pub struct Backoff {
    names: Mac,
    devices: Mac,
}

impl Backoff {
    pub fn new(keys: &Keys) -> Result<Self, keys::Error> {
        Ok(Backoff {
            names: keys.mac(Purpose::Backoff)?,
            devices: keys.mac(Purpose::Device)?,
        })
    }

    /// Who attempts: the account by its canonical address, from the device that `cookie` proves.
    pub fn subject(&self, canonical: &str, cookie: Option<&str>, now: Timestamp) -> Subject {
        Subject {
            account: self.names.tag(&[canonical.as_bytes()]),
            client: cookie
                .and_then(|cookie| self.device(canonical, cookie, now))
                .map(|device| device.to_vec())
                .unwrap_or_default(),
        }
    }

    /// Who proves a second factor: the account, from wherever. Whoever gets this far knows the
    /// password, so that a stranger cannot lock the owner out.
    pub fn second_factor(&self, user: UserId) -> Subject {
        Subject {
            account: self
                .names
                .tag(&[b"second-factor", user.as_uuid().as_bytes()]),
            client: Vec::new(),
        }
    }

    /// Every name under which attempts at an account may be counted.
    pub(crate) fn names_of(&self, canonical: Option<&str>, user: UserId) -> Vec<[u8; 32]> {
        if let Some(canonical) = canonical {
            return self.names.tags(&[canonical.as_bytes()]).collect();
        }
        let user = user.as_uuid();
        let parts: [&[u8]; 2] = [b"second-factor", user.as_bytes()];
        self.names.tags(&parts).collect()
    }

    /// The cookie value by which this device will be known for this account: the device's own
    /// name when it has one.
    pub fn issue(
        &self,
        canonical: &str,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<String, tokens::Error> {
        let device: [u8; 16] = match subject.client.as_slice().try_into() {
            Ok(device) => device,
            Err(_) => tokens::random()?,
        };
        let issued = now.as_seconds().to_be_bytes();
        let tag = self.devices.tag(&[canonical.as_bytes(), &device, &issued]);
        Ok(URL_SAFE_NO_PAD.encode([&device[..], &issued, &tag].concat()))
    }

    fn device(&self, canonical: &str, cookie: &str, now: Timestamp) -> Option<[u8; 16]> {
        let bytes: [u8; 56] = URL_SAFE_NO_PAD.decode(cookie).ok()?.try_into().ok()?;
        let (device, rest) = bytes.split_first_chunk::<16>()?;
        let (issued, tag) = rest.split_first_chunk::<8>()?;
        if !self
            .devices
            .verify(&[canonical.as_bytes(), device, issued], tag)
        {
            return None;
        }
        let issued = Timestamp::from_seconds(i64::from_be_bytes(*issued));
        (now.since(issued) < DEVICE_LIFETIME).then_some(*device)
    }
}

/// Counts an attempt, unless it is too early for one. One statement decides and counts, so that
/// no two attempts are granted on the same count.
pub async fn take(tx: &mut Tx, subject: &Subject, now: Timestamp) -> Result<Attempt, Error> {
    const TAKE: &str = "INSERT INTO login_backoff (account, client, failures, last_failed_at, blocked_until) VALUES ($1, $2, 1, $3, 0) ON CONFLICT (account, client) DO UPDATE SET failures = login_backoff.failures + 1, last_failed_at = $3 WHERE login_backoff.blocked_until <= $3 RETURNING failures";
    const BLOCK: &str =
        "UPDATE login_backoff SET blocked_until = $3 WHERE account = $1 AND client = $2";
    let key = [(&subject.account).into(), (&subject.client).into()];
    let args = [key[0], key[1], now.into()];
    if let Some(row) = tx.fetch_optional(TAKE, &args).await? {
        let until = match row.int("failures")? {
            failures if failures >= CAP => Timestamp::from_micros(i64::MAX),
            failures => match wait(failures) {
                Span::ZERO => return Ok(Attempt::Granted),
                wait => now + wait,
            },
        };
        tx.execute(BLOCK, &[key[0], key[1], until.into()]).await?;
        return Ok(Attempt::Granted);
    }
    let row = tx.fetch_optional(UNTIL, &key).await?;
    throttled(row.as_ref(), now)
}

const UNTIL: &str =
    "SELECT failures, blocked_until FROM login_backoff WHERE account = $1 AND client = $2";

/// Whether it is too early for an attempt, without counting one. That there is room is no promise:
/// [`take`] decides.
pub async fn look(db: &Db, subject: &Subject, now: Timestamp) -> Result<Attempt, Error> {
    let key = [(&subject.account).into(), (&subject.client).into()];
    match db.fetch_optional(UNTIL, &key).await? {
        Some(row) if row.timestamp("blocked_until")? > now => throttled(Some(&row), now),
        Some(_) | None => Ok(Attempt::Granted),
    }
}

fn throttled(row: Option<&Row>, now: Timestamp) -> Result<Attempt, Error> {
    let until = match row {
        Some(row) if row.int("failures")? < CAP => row.timestamp("blocked_until")?,
        Some(_) | None => now + CLOSED,
    };
    Ok(Attempt::Throttled {
        retry_after: until.since(now),
    })
}

/// The wait after so many refused passwords in a row.
fn wait(failures: i64) -> Span {
    match failures.saturating_sub(FREE) {
        ..0 => Span::ZERO,
        doublings => FIRST_WAIT.doubled(doublings, LONGEST_WAIT),
    }
}

/// Takes back an attempt that was counted but never made.
pub async fn refund(tx: &mut Tx, subject: &Subject) -> Result<(), Error> {
    const SQL: &str = "UPDATE login_backoff SET failures = failures - 1, blocked_until = 0 WHERE account = $1 AND client = $2 AND failures > 0";
    tx.execute(SQL, &[(&subject.account).into(), (&subject.client).into()])
        .await
        .map(drop)
}

/// Forgets what was counted for the account: after a right password. One from an unknown client
/// clears the count of unknown clients; one from a known device clears both.
pub async fn forgive(tx: &mut Tx, subject: &Subject) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM login_backoff WHERE account = $1 AND client IN ($2, $3)";
    let everybody: &[u8] = &[];
    let args = [
        (&subject.account).into(),
        (&subject.client).into(),
        everybody.into(),
    ];
    tx.execute(SQL, &args).await.map(drop)
}

/// Forgets everything counted for the account: after the operator has set a password.
pub async fn clear(tx: &mut Tx, subject: &Subject) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM login_backoff WHERE account = $1";
    tx.execute(SQL, &[(&subject.account).into()])
        .await
        .map(drop)
}

/// Deletes counts that no longer slow anybody: few failures a day ago, any number 90 days ago.
pub async fn prune(db: &Db, now: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM login_backoff WHERE (failures < $1 AND last_failed_at < $2) OR last_failed_at < $3";
    let mut tx = db.begin().await?;
    let args = [
        FREE.into(),
        (now - Span::from_days(1)).into(),
        (now - Span::from_days(90)).into(),
    ];
    let count = tx.execute(SQL, &args).await?;
    tx.commit().await?;
    Ok(count)
}

#[cfg(test)]
mod tests;
