//! Recovery codes: ten, each good once.
//!
//! A code is 80 random bits, so a hash needs neither salt nor stretching. It is written in an
//! alphabet without letters that look like others (Crockford's base 32); case, spaces and hyphens
//! do not count, and `o`, `i`, `l` are read as what they look like.

use portcullis_core::{Secret, UserId};
use portcullis_store::{Error, Tx};
use portcullis_vault::tokens;

const COUNT: usize = 10;
const LEN: usize = 16;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// New codes in the place of all that the account had. They are shown once.
pub(super) async fn replace(
    tx: &mut Tx,
    user: UserId,
) -> Result<Vec<Secret<String>>, crate::accounts::Error> {
    const CLEAR: &str = "DELETE FROM recovery_code WHERE user_id = $1";
    const ADD: &str = "INSERT INTO recovery_code (user_id, code_hash) VALUES ($1, $2)";
    tx.execute(CLEAR, &[user.into()]).await?;
    let mut codes = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let code = generate()?;
        let hash = tokens::sha256(code.expose().replace('-', "").as_bytes());
        tx.execute(ADD, &[user.into(), (&hash).into()]).await?;
        codes.push(code);
    }
    Ok(codes)
}

/// Uses up the code that was typed, if it is one of the account's.
pub(super) async fn redeem(tx: &mut Tx, user: UserId, typed: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM recovery_code WHERE user_id = $1 AND code_hash = $2";
    let Some(code) = normalize(typed) else {
        return Ok(false);
    };
    let hash = tokens::sha256(code.expose().as_bytes());
    Ok(tx.execute(SQL, &[user.into(), (&hash).into()]).await? == 1)
}

/// `xxxx-xxxx-xxxx-xxxx`.
fn generate() -> Result<Secret<String>, tokens::Error> {
    let bytes: [u8; LEN] = tokens::random()?;
    let mut code = String::with_capacity(LEN + 3);
    for (position, byte) in bytes.iter().enumerate() {
        if position > 0 && position % 4 == 0 {
            code.push('-');
        }
        // 32 divides 256: every character is as likely as any other.
        let letter = ALPHABET.get(usize::from(byte % 32)).copied();
        code.push(char::from(letter.unwrap_or(b'0')));
    }
    Ok(Secret::new(code))
}

/// The one form of what was typed; nothing where it cannot be a code.
fn normalize(typed: &str) -> Option<Secret<String>> {
    if typed.len() > 64 {
        return None;
    }
    let code: String = typed
        .chars()
        .filter(|c| !matches!(c, ' ' | '-'))
        .map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        })
        .collect();
    let is_code = code.len() == LEN && code.bytes().all(|byte| ALPHABET.contains(&byte));
    is_code.then(|| Secret::new(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_form_however_it_is_typed() {
        let code = generate().unwrap();
        let bare = normalize(code.expose()).unwrap();
        assert_eq!(bare.expose().len(), LEN);
        for typed in [
            code.expose().to_uppercase(),
            code.expose().replace('-', " "),
            format!("  {} ", bare.expose()),
            bare.expose().replace('0', "O").replace('1', "l"),
        ] {
            assert_eq!(normalize(&typed).unwrap().expose(), bare.expose());
        }
    }

    #[test]
    fn what_cannot_be_a_code_is_none() {
        let long = "a".repeat(17);
        for typed in [
            "",
            "123456",
            "aaaa-aaaa-aaaa-aaa",
            &long,
            "aaaa-aaaa-aaaa-aaa\u{e9}",
            "uuuuuuuuuuuuuuuu",
        ] {
            assert!(normalize(typed).is_none(), "{typed}");
        }
    }
}
