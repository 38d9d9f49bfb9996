//! Codes of an authenticator app: TOTP (RFC 6238) with SHA-1, six digits and thirty seconds, which
//! is what every app can do. One step before and after now is accepted, for clocks that differ.

use fast_qr::convert::svg::SvgBuilder;
use fast_qr::convert::{Builder as _, Shape};
use fast_qr::qr::QRBuilder;
use portcullis_core::{Problem, Secret, Timestamp, UserId};
use portcullis_store::{Db, Tx};
use portcullis_vault::fields::{self, Place};
use portcullis_vault::{seal, tokens};
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use super::Factors;
use crate::accounts::Error;

const SECRET_LEN: usize = 20;
/// What secrets were bound to, beside their user, before they were in the vault.
const OLD_PLACE: &[u8] = b"totp";

/// A library refused what we gave it: our own fault.
#[derive(Debug, thiserror::Error)]
#[error("an authenticator cannot be used: {0}")]
pub struct Unusable(pub(crate) String);

impl From<Unusable> for Problem {
    fn from(error: Unusable) -> Self {
        Problem::internal(error)
    }
}

/// What an app needs to be told, once.
#[derive(Debug)]
pub struct Enrolment {
    /// The secret in base 32, for typing.
    pub secret: Secret<String>,
    /// The `otpauth:` URI.
    pub uri: Secret<String>,
    /// The URI as a picture: an `svg` element.
    pub picture: Secret<String>,
}

/// A secret that nobody has yet, sealed for its user.
pub(super) struct Fresh {
    secret: Zeroizing<[u8; SECRET_LEN]>,
    sealed: String,
}

/// Makes one: before a transaction begins, for the vault may have to ask others.
pub(super) async fn make(factors: &Factors, user: UserId) -> Result<Fresh, Error> {
    let secret = Zeroizing::new(tokens::random::<SECRET_LEN>()?);
    let sealed = sealed(factors, user, &secret[..]).await?;
    Ok(Fresh { secret, sealed })
}

/// A secret that is not in use yet, in place of another such; `None` where one is in use.
pub(super) async fn begin(
    factors: &Factors,
    tx: &mut Tx,
    user: UserId,
    email: &str,
    fresh: &Fresh,
    now: Timestamp,
) -> Result<Option<Enrolment>, Error> {
    const SQL: &str = "INSERT INTO totp (user_id, sealed, last_step, created_at, confirmed_at) VALUES ($1, $2, 0, $3, NULL) ON CONFLICT (user_id) DO UPDATE SET sealed = $2, created_at = $3 WHERE totp.confirmed_at IS NULL";
    let totp = build(&fresh.secret[..], Some((&factors.issuer, email)))?;
    let args = [user.into(), fresh.sealed.as_bytes().into(), now.into()];
    if tx.execute(SQL, &args).await? == 0 {
        return Ok(None);
    }
    let uri = totp.to_url().map_err(|error| Unusable(error.to_string()))?;
    Ok(Some(Enrolment {
        secret: Secret::new(totp.secret().to_base32()),
        picture: Secret::new(picture(&uri)?),
        uri: Secret::new(uri),
    }))
}

/// Uses up the time step of the code that was typed, if it is right and the step is a new one.
/// With `confirmed` false, for the secret that is to be taken into use.
pub(super) async fn redeem(
    factors: &Factors,
    tx: &mut Tx,
    user: UserId,
    typed: &str,
    confirmed: bool,
    now: Timestamp,
) -> Result<bool, Error> {
    const FIND: &str = "SELECT sealed, confirmed_at FROM totp WHERE user_id = $1";
    // SECURITY: the step is compared and kept in one statement, so that a code counts once however
    // many come at once, on whatever node.
    const USE: &str = "UPDATE totp SET last_step = $2 WHERE user_id = $1 AND last_step < $2";
    let Some(row) = tx.fetch_optional(FIND, &[user.into()]).await? else {
        return Ok(false);
    };
    if row.opt_timestamp("confirmed_at")?.is_some() != confirmed {
        return Ok(false);
    }
    let Some(code) = normalize(typed) else {
        return Ok(false);
    };
    let opened = open(factors, user, &row.bytes("sealed")?).await?;
    let totp = build(opened.expose(), None)?;
    let seconds = u64::try_from(now.as_seconds()).unwrap_or(0);
    let Some(step) = totp.check(&code, seconds) else {
        return Ok(false);
    };
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    Ok(tx.execute(USE, &[user.into(), step.into()]).await? == 1)
}

/// Takes the secret into use.
pub(super) async fn confirm(
    tx: &mut Tx,
    user: UserId,
    now: Timestamp,
) -> Result<(), portcullis_store::Error> {
    const SQL: &str = "UPDATE totp SET confirmed_at = $2 WHERE user_id = $1";
    tx.execute(SQL, &[user.into(), now.into()]).await.map(drop)
}

/// Whether there was one.
pub(super) async fn remove(tx: &mut Tx, user: UserId) -> Result<bool, portcullis_store::Error> {
    const SQL: &str = "DELETE FROM totp WHERE user_id = $1";
    Ok(tx.execute(SQL, &[user.into()]).await? == 1)
}

/// Opens the user's secret once, so that its key is in memory and the transaction that follows waits
/// for no service.
pub(super) async fn warm(factors: &Factors, db: &Db, user: UserId) -> Result<(), Error> {
    const FIND: &str = "SELECT sealed FROM totp WHERE user_id = $1";
    if let Some(row) = db.fetch_optional(FIND, &[user.into()]).await? {
        open(factors, user, &row.bytes("sealed")?).await?;
    }
    Ok(())
}

/// Takes into the vault what was sealed before there was one; how many. What does not open is lost:
/// its master secret is gone.
pub(super) async fn carry_over(factors: &Factors, db: &Db) -> Result<usize, Error> {
    const OLD: &str = "SELECT user_id, sealed FROM totp WHERE substr(sealed, 1, 5) <> $1 AND user_id > $2 ORDER BY user_id LIMIT 500";
    const NEW: &str = "UPDATE totp SET sealed = $3 WHERE user_id = $1 AND sealed = $2";
    let mut count = 0_usize;
    let mut after = UserId::from_uuid(uuid::Uuid::nil());
    loop {
        let rows = db
            .fetch_all(OLD, &[fields::MARK.as_bytes().into(), after.into()])
            .await?;
        let Some(last) = rows.last() else {
            return Ok(count);
        };
        for row in &rows {
            let (user, old) = (row.user_id("user_id")?, row.bytes("sealed")?);
            match factors.sealer.open(&old_place(&place(user)), &old) {
                Ok(opened) => {
                    let new = sealed(factors, user, opened.expose()).await?;
                    let args = [user.into(), (&old).into(), new.as_bytes().into()];
                    let mut tx = db.begin().await?;
                    tx.execute(NEW, &args).await?;
                    tx.commit().await?;
                    count = count.saturating_add(1);
                }
                Err(error) => tracing::error!(user.id = %user, %error, "a second factor is lost"),
            }
        }
        after = last.user_id("user_id")?;
    }
}

/// Sealed under a key of the user's own, for the user's row.
async fn sealed(factors: &Factors, user: UserId, secret: &[u8]) -> Result<String, Error> {
    let id = user.to_string();
    let sealed = factors.fields.seal(&row_of(&id), Some(&id), secret).await;
    Ok(sealed?)
}

pub(super) async fn open(
    factors: &Factors,
    user: UserId,
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, Error> {
    if !sealed.starts_with(fields::MARK.as_bytes()) {
        return Ok(factors.sealer.open(&old_place(&place(user)), sealed)?);
    }
    let text = std::str::from_utf8(sealed).map_err(|_| fields::Error::DoesNotOpen);
    let opened = factors.fields.open(&row_of(&user.to_string()), text?).await;
    // Our own row: that it does not open is no answer to anybody.
    opened.map_err(|error| match error {
        fields::Error::DoesNotOpen => Error::Seal(seal::Error::Open),
        error => error.into(),
    })
}

fn row_of(user: &str) -> Place<'_> {
    Place {
        tenant: None,
        table: "totp",
        field: "secret",
        row: user,
    }
}

fn old_place(user: &[u8; 16]) -> [&[u8]; 2] {
    [OLD_PLACE, user]
}

fn place(user: UserId) -> [u8; 16] {
    user.as_uuid().into_bytes()
}

fn build(secret: &[u8], names: Option<(&str, &str)>) -> Result<Totp, Error> {
    let mut builder = Builder::new().with_secret(secret.to_vec());
    if let Some((issuer, email)) = names {
        builder = builder
            .with_issuer(Some(issuer))
            .with_account_name(email.replace(':', " "));
    }
    builder
        .build()
        .map_err(|error| Unusable(error.to_string()).into())
}

/// Six digits; spaces do not count. Nothing else is a code.
fn normalize(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let code: String = typed.chars().filter(|c| *c != ' ').collect();
    (code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())).then_some(code)
}

fn picture(uri: &str) -> Result<String, Error> {
    let code = QRBuilder::new(uri)
        .build()
        .map_err(|error| Unusable(error.to_string()))?;
    let svg = SvgBuilder::default().shape(Shape::Square).to_str(&code);
    // For those who cannot see it, the secret stands beside it as text.
    Ok(svg.replacen(
        "<svg ",
        "<svg role=\"img\" aria-label=\"QR code with the secret that is also written below\" ",
        1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six of eight digits.
        let totp = build(b"12345678901234567890", None).unwrap();
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp.check(code, time), Some(time / 30), "{time}");
            assert_eq!(totp.check(code, time + 30), Some(time / 30));
            assert_eq!(totp.check(code, time + 60), None);
            if let Some(before) = time.checked_sub(60) {
                assert_eq!(totp.check(code, before), None);
            }
        }
    }

    #[test]
    fn a_code_is_six_digits_with_spaces_or_without() {
        for typed in ["123456", " 123456", "123 456 ", "1 2 3 4 5 6"] {
            assert_eq!(normalize(typed).as_deref(), Some("123456"), "{typed:?}");
        }
        for typed in [
            "",
            "12345",
            "1234567",
            "12345a",
            "\u{661}23456",
            "123456\n",
            "+123456",
            "-12345",
        ] {
            assert_eq!(normalize(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn the_picture_holds_no_script_and_says_what_it_is() {
        let svg = picture("otpauth://totp/shop:ana?secret=AAAA&issuer=shop").unwrap();
        assert!(svg.starts_with("<svg role=\"img\" aria-label="), "{svg}");
        assert!(!svg.contains("<script") && !svg.contains("http://www.w3.org/1999/xlink"));
    }
}
