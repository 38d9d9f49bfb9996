//! Finding accounts by a part of their address or name, a page at a time. Of an address that is sealed no
//! part is found, but the whole is.

use portcullis_core::UserId;
use portcullis_store::Db;

use super::{Account, behind, find_by_email, list, read_all, select};
use crate::Email;
use crate::addresses::{self, Addresses};

/// Accounts, newest first, from the first behind `after`. With `words`, those whose address or name has
/// them in it; the one with exactly this address, where there is one.
pub(crate) async fn search(
    db: &Db,
    addresses: &Addresses,
    words: &str,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Account>, addresses::Error> {
    const WITH: &str = select!(
        "WHERE (created_at, id) < ($1, $2) AND ((email_canonical LIKE '%@%' AND email_canonical LIKE $4 ESCAPE '\\') OR lower(display_name) LIKE $4 ESCAPE '\\') ORDER BY created_at DESC, id DESC LIMIT $3"
    );
    let words = words.trim();
    // A whole address is found by its index, however many accounts there are.
    if let Ok(email) = Email::parse(words)
        && let Some(account) = find_by_email(db, addresses, &email).await?
    {
        return Ok(if after.is_none() {
            vec![account]
        } else {
            Vec::new()
        });
    }
    // Accounts are never deleted: nobody was given one to go on behind that is not there.
    if words.is_empty() {
        return Ok(list(db, addresses, after, limit).await?.unwrap_or_default());
    }
    let Some((at, id)) = behind(db, after).await? else {
        return Ok(Vec::new());
    };
    let pattern = format!("%{}%", literal(&words.to_lowercase()));
    let args = [
        at.into(),
        id.into(),
        i64::from(limit).into(),
        (&pattern).into(),
    ];
    let rows = db.fetch_all(WITH, &args).await?;
    read_all(db, addresses, &rows).await
}

/// `LIKE` without its wild cards: somebody looks for `a_b` and means it.
fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | '%' | '_') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_cards_are_letters() {
        assert_eq!(literal("a_b%c\\"), "a\\_b\\%c\\\\");
    }
}
