//! Field names whose values are secrets, whoever sends them.

/// A name that holds one of these, in any case, with `-` and `_` left out, is sensitive.
const PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "authentication",
    "credential",
    "cookie",
    "sessionid",
    "signature",
    "jwt",
    "csrf",
    "xsrf",
];

/// Short names, which would be found in harmless words.
const WHOLE: &[&str] = &[
    "sid", "otp", "totp", "pin", "pass", "auth", "cvv", "cvc", "ssn", "key",
];

/// Whether a field of this name has a value that must not be written down.
pub fn is_sensitive(name: &str) -> bool {
    let folded: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    WHOLE.contains(&folded.as_str()) || PARTS.iter().any(|part| folded.contains(part))
}
