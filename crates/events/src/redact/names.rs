//! Field names whose values are secrets, whoever sends them.

/// A name that holds one of these, in any case, with `-` and `_` left out, is sensitive.
const PARTS: &[&[&str]] = &[
    &["password"],
    &["passwd"],
    &["passphrase"],
    &["passcode"],
    &["pwd"],
    &["secret"],
    &["token"],
    &["api", "key"],
    &["access", "key"],
    &["account", "key"],
    &["private", "key"],
    &["signing", "key"],
    &["encryption", "key"],
    &["authorization"],
    &["authentication"],
    &["credential"],
    &["cookie"],
    &["session", "id"],
    &["signature"],
    &["jwt"],
    &["csrf"],
    &["xsrf"],
];

/// Short names, which would be found in harmless words.
pub(super) const WHOLE: &[&str] = &[
    "sid", "otp", "totp", "pin", "pass", "auth", "cvv", "cvc", "ssn",
];

/// Names that are telling in the query of a URL, and everyday words elsewhere.
pub(super) const IN_QUERIES: &[&str] = &["key", "code", "sig"];

/// What may follow a whole name: its separator, or the quote or bracket before it.
pub(super) const AFTER_WHOLE: &[&str] = &["=", ":", "\"", "'", "\\", "]", "%", " ="];

/// Each part as it is written: `api_key`, `api-key`, `apikey`, `api key`.
pub(super) fn spellings() -> Vec<String> {
    PARTS.iter().flat_map(|words| joined(words)).collect()
}

/// One name of the configuration, as it may be written.
pub(super) fn spellings_of(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split(['-', '_', ' ']).collect();
    joined(&words)
}

fn joined(words: &[&str]) -> Vec<String> {
    if words.len() < 2 {
        return vec![words.concat()];
    }
    ["", "_", "-", " "]
        .iter()
        .map(|joint| words.join(joint))
        .collect()
}

/// Whether a field of this name has a value that must not be written down.
pub(super) fn is_sensitive(name: &str) -> bool {
    let folded = folded(name);
    WHOLE.contains(&folded.as_str())
        || folded == "key"
        || PARTS.iter().any(|words| folded.contains(&words.concat()))
}

/// In lower case, without what joins words.
pub(super) fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}
