//! What a new password must be (NIST SP 800-63B-4 section 3.1.1.2), and the `[passwords]` table.
//!
//! - Long enough: 15 characters by default, for there is no second factor yet.
//! - Not one that everybody tries first, nor made of the product's name or the address.
//! - Nothing else: no rules on kinds of characters, no expiry, any Unicode, nothing cut off.

use std::num::NonZero;

use portcullis_core::problem::{self, FieldFault};
use portcullis_core::{Problem, Secret};
use portcullis_vault::passwords::MAX_LEN;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use crate::{Email, Finding};

/// A password that nobody has to remember: 128 random bits and more, in a form that can be copied.
pub fn one_time_password() -> Result<Secret<String>, portcullis_vault::tokens::Error> {
    let token = portcullis_vault::Token::generate()?.text();
    Ok(Secret::new(token.expose().chars().take(24).collect()))
}

/// The `[passwords]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Fewest characters of a new password. Default `15`, least `8`. Below 15 a password alone is
    /// not enough (NIST SP 800-63B-4).
    pub min_length: usize,
    /// Words that must not make up a password, such as the product's name. Default none.
    pub context_words: Vec<String>,
    /// Threads that hash passwords, each with 19 MiB while it does. Default `2`. More answer a
    /// rush of sign-ins sooner and take that much processor from everything else.
    pub hash_threads: NonZero<usize>,
    /// Passwords that may wait for a thread before sign-ins are answered with 503. Default `64`.
    pub hash_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            min_length: 15,
            context_words: Vec::new(),
            hash_threads: NonZero::<usize>::MIN.saturating_add(1),
            hash_queue: 64,
        }
    }
}

impl Config {
    /// Everything that is wrong here.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !(8..=64).contains(&self.min_length) {
            findings.push(Finding {
                key: "passwords.min-length",
                message: "must be from 8 to 64",
            });
        }
        if self.hash_threads.get() > 64 {
            findings.push(Finding {
                key: "passwords.hash-threads",
                message: "must be at most 64",
            });
        }
        if !(1..=10_000).contains(&self.hash_queue) {
            findings.push(Finding {
                key: "passwords.hash-queue",
                message: "must be from 1 to 10000",
            });
        }
        findings
    }
}

/// The rules, compiled.
#[derive(Debug, Clone)]
pub struct PasswordPolicy {
    min_length: usize,
    context_words: Vec<String>,
}

/// Why a password is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    #[error("must have at least {0} characters")]
    TooShort(usize),
    #[error("must not be longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("is one that is tried first: choose another")]
    Common,
    #[error("must not be made of the product's name or of your e-mail address")]
    Contextual,
}

impl Weak {
    /// The refusal, naming the field.
    pub fn into_problem(self, field: &'static str) -> Problem {
        let mut problem = Problem::new(&problem::INVALID_INPUT);
        problem.fields.push(FieldFault {
            field: field.into(),
            message: self.to_string().into(),
        });
        problem
    }
}

impl PasswordPolicy {
    pub fn new(config: &Config) -> Self {
        PasswordPolicy {
            min_length: config.min_length.max(8),
            context_words: config
                .context_words
                .iter()
                .map(|word| bare(word))
                .chain(std::iter::once("portcullis".to_owned()))
                .filter(|word| word.len() >= 3)
                .collect(),
        }
    }

    /// Whether `email`'s owner may have `password`.
    pub fn check(&self, password: &Secret<String>, email: &Email) -> Result<(), Weak> {
        let text = password.expose();
        if text.len() > MAX_LEN {
            return Err(Weak::TooLong);
        }
        if text.nfkc().count() < self.min_length {
            return Err(Weak::TooShort(self.min_length));
        }
        let bare_text = Secret::new(bare(text));
        if is_common(bare_text.expose()) {
            return Err(Weak::Common);
        }
        let local = bare(email.local());
        let whole = bare(email.canonical());
        let mut words: Vec<&str> = self.context_words.iter().map(String::as_str).collect();
        words.extend(
            [whole.as_str(), local.as_str()]
                .into_iter()
                .filter(|word| word.len() >= 3),
        );
        // What is left when the known words are gone must be worth something by itself.
        let mut rest = Secret::new(bare_text.expose().clone());
        let mut found = false;
        for word in words {
            if rest.expose().contains(word) {
                found = true;
                rest = Secret::new(rest.expose().replace(word, ""));
            }
        }
        if found && rest.expose().chars().count() < self.min_length / 2 {
            return Err(Weak::Contextual);
        }
        Ok(())
    }
}

/// Letters and digits, in lower case.
fn bare(text: &str) -> String {
    text.nfkc()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Long passwords that are tried first. Shorter ones count when repeated or lined up.
const COMMON: &[&str] = &[
    "password",
    "passw0rd",
    "passwort",
    "motdepasse",
    "contrasena",
    "secret",
    "letmein",
    "welcome",
    "qwertyuiop",
    "qwerty",
    "qwertz",
    "azerty",
    "asdfghjkl",
    "asdfgh",
    "zxcvbnm",
    "1qaz2wsx3edc",
    "1qaz2wsx",
    "iloveyou",
    "administrator",
    "admin",
    "changeme",
    "trustno1",
    "abc123",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "sunshine",
    "princess",
    "superman",
    "batman",
    "master",
    "correcthorsebatterystaple",
    "thequickbrownfox",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefgh",
    "01234567890123456789",
    "0123456789",
    "1234567890",
    "123456789",
    "12345678",
    "123456",
    "1234",
    "987654321",
    "2024",
    "2025",
    "2026",
    "test",
    "user",
    "root",
    "login",
    "hello",
    "default",
];

/// Whether nothing of worth is left once the common pieces and repeats are gone.
fn is_common(bare_text: &str) -> bool {
    let mut rest = Secret::new(bare_text.to_owned());
    for piece in COMMON {
        if rest.expose().contains(piece) {
            rest = Secret::new(rest.expose().replace(piece, ""));
        }
    }
    let mut distinct: Vec<char> = rest.expose().chars().collect();
    let removed = rest.expose().len() < bare_text.len();
    let left = distinct.len();
    distinct.sort_unstable();
    distinct.dedup();
    bare_text.is_empty()
        || (removed && left < 5)
        || distinct.len() < 4 && left == bare_text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), Weak> {
        let config = Config {
            context_words: vec!["Acme Cloud".to_owned()],
            ..Config::default()
        };
        let email = Email::parse("ada.lovelace@example.org").unwrap();
        PasswordPolicy::new(&config).check(&Secret::new(password.to_owned()), &email)
    }

    #[test]
    fn length_counts_characters_and_not_bytes() {
        assert_eq!(check("fourteen chars"), Err(Weak::TooShort(15)));
        assert_eq!(check("fifteen letters"), Ok(()));
        assert_eq!(
            check("\u{65e5}\u{672c}\u{8a9e}\u{306e}"),
            Err(Weak::TooShort(15))
        );
        assert_eq!(
            check("\u{1f600}\u{1f601}\u{1f602}\u{1f603}"),
            Err(Weak::TooShort(15))
        );
    }

    #[test]
    fn no_kind_of_character_is_demanded() {
        for password in [
            "all small letters with spaces",
            "ALL CAPITAL LETTERS HERE",
            "734092817465019283746",
            "\u{3b1}\u{3b2}\u{3b3} \u{3b4}\u{3b5}\u{3b6} \u{3b7}\u{3b8}\u{3b9} \u{3ba}\u{3bb}\u{3bc} \u{3bd}",
        ] {
            assert_eq!(check(password), Ok(()), "{password}");
        }
    }

    #[test]
    fn long_passwords_are_accepted_up_to_the_limit() {
        let long = "a stone bridge over the slow river ".repeat(20);
        assert_eq!(check(&long), Ok(()));
        assert_eq!(check(&"ab cdefg ".repeat(200)), Err(Weak::TooLong));
    }

    #[test]
    fn passwords_that_everybody_tries_are_refused() {
        for password in [
            "passwordpassword",
            "Password-Password-1",
            "123456789012345678",
            "qwertyuiopasdfghjkl",
            "aaaaaaaaaaaaaaaaaaaa",
            "abababababababababab",
            "correct horse battery staple",
            "Welcome-2026-Admin!!",
            "................",
            "iloveyouiloveyou",
        ] {
            assert_eq!(check(password), Err(Weak::Common), "{password}");
        }
    }

    #[test]
    fn the_address_and_the_product_do_not_make_a_password() {
        for password in [
            "ada.lovelace@example.org",
            "adalovelace12345",
            "AcmeCloud-AcmeCloud",
            "acme cloud 99 !!",
            "portcullis-portcullis",
        ] {
            assert!(check(password).is_err(), "{password}");
        }
        assert_eq!(check("acme cloud and a walk in the rain"), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_field() {
        let problem = Weak::TooShort(15).into_problem("new_password");
        assert_eq!(problem.kind.status, 422);
        assert_eq!(problem.fields[0].field, "new_password");
        assert_eq!(
            problem.fields[0].message,
            "must have at least 15 characters"
        );
    }

    #[test]
    fn the_default_configuration_has_no_findings_and_short_minima_have() {
        assert_eq!(Config::default().findings(), []);
        let weak = Config {
            min_length: 6,
            hash_queue: 0,
            ..Config::default()
        };
        assert_eq!(weak.findings().len(), 2);
    }
}
