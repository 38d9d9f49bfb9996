//! How good a master secret is, for `check`: a weak one is refused before it guards anything.
//!
//! An estimate can prove a secret bad, never good. It finds what people really deploy: the value
//! from an example file, a keyboard walk, one word repeated until it is long enough.

use std::collections::HashMap;
use std::fmt;

/// Shortest accepted secret, in characters.
pub const MIN_LEN: usize = 32;
/// Least estimated entropy, in bits. 32 random hexadecimal digits reach about 110.
const MIN_BITS: f64 = 90.0;

/// Parts of values that stand in example files, tutorials and templates. Compared without case
/// and separators.
const EXAMPLES: &[&str] = &[
    "changeme",
    "changethis",
    "changeinproduction",
    "pleasechange",
    "yoursecret",
    "yourkey",
    "secretkey",
    "mysecret",
    "supersecret",
    "replaceme",
    "replacethis",
    "placeholder",
    "example",
    "defaultsecret",
    "devsecret",
    "developmentsecret",
    "testsecret",
    "insecure",
    "notasecret",
    "donotuse",
    "password",
    "qwerty",
    "letmein",
    "keyboardcat",
    "loremipsum",
];

/// One reason why a secret must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// Fewer than [`MIN_LEN`] characters.
    TooShort,
    /// Contains a value from examples and templates.
    KnownExample,
    /// The same few characters over and over.
    Repetitive,
    /// Too predictable for its length.
    Predictable,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weakness::TooShort => "it has fewer than 32 characters",
            Weakness::KnownExample => "it contains a value known from examples and templates",
            Weakness::Repetitive => "it repeats the same few characters",
            Weakness::Predictable => "it is too predictable for its length",
        })
    }
}

/// Every reason why `secret` must not be used; none when it will do.
pub fn weaknesses(secret: &str) -> Vec<Weakness> {
    let chars: Vec<char> = secret.chars().collect();
    let bare: String = secret
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    let mut found = Vec::new();
    if chars.len() < MIN_LEN {
        found.push(Weakness::TooShort);
    }
    if EXAMPLES.iter().any(|example| bare.contains(example)) {
        found.push(Weakness::KnownExample);
    }
    if is_repetitive(&chars) {
        found.push(Weakness::Repetitive);
    }
    if estimated_bits(&chars) < MIN_BITS {
        found.push(Weakness::Predictable);
    }
    found
}

/// Whether the text is a unit of at most a third of its length, over and over.
fn is_repetitive(chars: &[char]) -> bool {
    (1..=chars.len() / 3).any(|period| {
        chars
            .iter()
            .zip(chars.iter().skip(period))
            .all(|(a, b)| a == b)
    })
}

/// Shannon's entropy of the characters, times those characters that neither repeat nor continue
/// a run such as `abcd` or `9876`.
#[expect(clippy::cast_precision_loss, reason = "a secret has few characters")]
fn estimated_bits(chars: &[char]) -> f64 {
    if chars.is_empty() {
        return 0.0;
    }
    let mut counts: HashMap<char, usize> = HashMap::new();
    for c in chars {
        *counts.entry(*c).or_default() += 1;
    }
    let total = chars.len() as f64;
    let per_char: f64 = counts
        .values()
        .map(|count| {
            let share = *count as f64 / total;
            -share * share.log2()
        })
        .sum();
    let steps: Vec<i64> = chars
        .iter()
        .zip(chars.iter().skip(1))
        .map(|(a, b)| i64::from(u32::from(*b)) - i64::from(u32::from(*a)))
        .collect();
    let continued = steps
        .iter()
        .zip(steps.iter().skip(1))
        .filter(|(a, b)| a == b && a.abs() <= 1)
        .count();
    per_char * (total - continued as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_examples_are_found() {
        for secret in [
            "your-secret-key-change-in-production",
            "changeme",
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE",
            "dev-secret-key-please-do-not-use-in-production",
            "Super Secret Value That Is Long Enough 123",
        ] {
            assert!(
                weaknesses(secret).contains(&Weakness::KnownExample),
                "{secret}"
            );
        }
    }

    #[test]
    fn repeated_characters_and_runs_are_found() {
        for secret in [
            "a".repeat(64),
            "abc123".repeat(8),
            "0123456789".repeat(4),
            "abcdefghijklmnopqrstuvwxyz0123456789".to_owned(),
            "00000000000000000000000000000001".to_owned(),
            String::new(),
        ] {
            assert!(!weaknesses(&secret).is_empty(), "{secret}");
        }
    }

    #[test]
    fn random_secrets_of_the_usual_forms_will_do() {
        for _ in 0..500 {
            let sixteen = crate::tokens::random::<16>().unwrap();
            let thirty_two = crate::tokens::random::<32>().unwrap();
            assert_eq!(weaknesses(&hex::encode(thirty_two)), []);
            let text = crate::Token::generate().unwrap().text();
            assert_eq!(weaknesses(text.expose()), []);
            // 128 bits in hexadecimal: the shortest form that is accepted.
            let short = weaknesses(&hex::encode(sixteen));
            assert!(!short.contains(&Weakness::TooShort));
        }
        assert_eq!(
            weaknesses("correct horse battery staple under a quiet sky"),
            []
        );
    }
}
