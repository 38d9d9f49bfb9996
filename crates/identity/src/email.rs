//! E-mail addresses: the one form by which an account is known.
//!
//! Two people must never share an account, and one person must not have two by accident: the
//! canonical form is trimmed, in Unicode form NFKC and lower case. It is strict about what would
//! let two readers see two addresses: exactly one `@`, no white space, no control or invisible
//! formatting characters, at most 254 bytes (RFC 5321 section 4.5.3.1.3).
//!
//! It does not prove that the address receives mail, and it treats no provider's rules (dots,
//! `+tags`) as its own.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

const MAX_LEN: usize = 254;
const MAX_LOCAL_LEN: usize = 64;

/// An address as typed and in its canonical form. Not printed: logs bear no full addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    canonical: String,
    typed: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address")]
pub struct NotAnEmail;

impl Email {
    pub fn parse(text: &str) -> Result<Self, NotAnEmail> {
        let typed = text.trim();
        if typed.len() > MAX_LEN {
            return Err(NotAnEmail);
        }
        // Lower case may leave the normal form, and the normal form may bring upper case: twice.
        let once: String = typed.nfkc().flat_map(char::to_lowercase).collect();
        let canonical: String = once.nfkc().flat_map(char::to_lowercase).collect();
        let (local, domain) = canonical.split_once('@').ok_or(NotAnEmail)?;
        let well_formed = !local.is_empty()
            && local.len() <= MAX_LOCAL_LEN
            && canonical.len() <= MAX_LEN
            && is_domain(domain)
            && canonical.chars().all(is_plain)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        if !well_formed {
            return Err(NotAnEmail);
        }
        Ok(Email {
            typed: typed.to_owned(),
            canonical,
        })
    }

    /// What accounts are found by.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// As its owner wrote it, for showing.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        self.canonical
            .split_once('@')
            .map_or("", |(local, _)| local)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

/// Labels of letters, digits and inner hyphens, at least one dot or the name `localhost`.
fn is_domain(domain: &str) -> bool {
    let labels = domain.split('.');
    (domain == "localhost" || domain.contains('.'))
        && labels.into_iter().all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

fn is_plain(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    );
    !c.is_control()
        && !c.is_whitespace()
        && !invisible
        && !matches!(
            c,
            '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | ']' | '\\'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_person_has_one_canonical_address() {
        for typed in [
            "ada@example.org",
            " Ada@Example.ORG ",
            "ADA@EXAMPLE.ORG\n",
            "\u{ff41}da@example.org",
            "ada\u{ff20}example.org",
        ] {
            assert_eq!(Email::parse(typed).unwrap().canonical(), "ada@example.org");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.org",
            "a@b@example.org",
            "ada@example",
            "ada@-a.org",
            "ada@example..org",
            "ada@example.org.",
            ".ada@example.org",
            "a..b@example.org",
            "a b@example.org",
            "ada@exam ple.org",
            "ada\r\nBcc: eve@example.org",
            "ada\0@example.org",
            "a\u{200b}da@example.org",
            "\"ada\"@example.org",
            "<ada@example.org>",
            "ada@[127.0.0.1]",
            "ada,eve@example.org",
        ] {
            assert_eq!(Email::parse(text), Err(NotAnEmail), "{text:?}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        assert_eq!(Email::parse(&long), Err(NotAnEmail));
        let long = format!("a@{}.org", "a.".repeat(130));
        assert_eq!(Email::parse(&long), Err(NotAnEmail));
    }

    #[test]
    fn an_address_is_not_printed() {
        let email = Email::parse("ada@example.org").unwrap();
        assert_eq!(format!("{email:?}"), "Email(..)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn the_canonical_form_of_a_canonical_form_is_itself(text in "\\PC{1,20}@[a-zA-Z\\PC]{1,8}\\.(org|com)") {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(email.canonical()).unwrap();
                prop_assert_eq!(again.canonical(), email.canonical());
            }
        }
    }
}
