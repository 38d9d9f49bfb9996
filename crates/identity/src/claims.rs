//! What the claims of a token must say before it counts (RFC 7519, RFC 8725, RFC 9068).
//!
//! - `iss`, `sub`, `aud`, `iat` and `exp` stand there, each of its own type: a time is a whole
//!   number, never text. Libraries check several of these only where they are present.
//! - `iss` is compared whole. `aud` is one text or a list of texts, and one of them is ours, whole.
//! - Times are compared with a small leeway, for clocks differ; a token that claims to be from the
//!   future, or to live longer than its issuer ever lets one live, is refused.

use portcullis_core::{Span, Timestamp};
use serde_json::{Map, Value};

/// What one issuer's tokens must say.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) issuer: String,
    /// One of these in `aud`. Where the list is empty, `azp` alone binds the token to us.
    pub(crate) audiences: Vec<String>,
    /// One of these in `azp`; any where the list is empty.
    pub(crate) parties: Vec<String>,
    pub(crate) leeway: Span,
    /// Longest time between `iat` and `exp`.
    pub(crate) max_lifetime: Span,
}

/// What they said, where it is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) subject: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Why not. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("`iss` is not the issuer")]
    Issuer,
    #[error("`aud` does not name us")]
    Audience,
    #[error("`sub` is no name")]
    Subject,
    #[error("`{0}` is missing or no time in whole seconds")]
    Time(&'static str),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token lives longer than its issuer's tokens do")]
    TooLong,
}

/// The end of the year 9999: what is later is a mistake or an attack.
const LAST_SECOND: i64 = 253_402_300_799;

/// Longest `sub` (OpenID Connect Core section 2).
const MAX_SUBJECT: usize = 255;

impl Rules {
    pub(crate) fn check(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Checked, Refused> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Refused::Issuer);
        }
        if !self.names_us(claims) {
            return Err(Refused::Audience);
        }
        let issued_at = time(claims, "iat")?;
        let expires_at = time(claims, "exp")?;
        let not_before = match claims.get("nbf") {
            None => issued_at,
            Some(_) => time(claims, "nbf")?,
        };
        if expires_at + self.leeway <= now {
            return Err(Refused::Expired);
        }
        if issued_at > now + self.leeway || not_before > now + self.leeway {
            return Err(Refused::Early);
        }
        if expires_at <= issued_at || expires_at > issued_at + self.max_lifetime {
            return Err(Refused::TooLong);
        }
        Ok(Checked {
            subject: subject(claims)?,
            issued_at,
            expires_at,
        })
    }

    fn names_us(&self, claims: &Map<String, Value>) -> bool {
        let party = claims.get("azp").and_then(Value::as_str);
        let is_party = |party: &str| self.parties.iter().any(|ours| ours == party);
        match (self.audiences.is_empty(), self.parties.is_empty()) {
            (true, true) => false,
            (true, false) => party.is_some_and(is_party),
            (false, true) => self.is_audience(claims.get("aud")),
            (false, false) => party.is_some_and(is_party) && self.is_audience(claims.get("aud")),
        }
    }

    fn is_audience(&self, audience: Option<&Value>) -> bool {
        let is_ours = |name: &str| self.audiences.iter().any(|ours| ours == name);
        match audience {
            Some(Value::String(name)) => is_ours(name),
            Some(Value::Array(names)) => {
                names.iter().all(Value::is_string)
                    && names.iter().filter_map(Value::as_str).any(is_ours)
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        }
    }
}

fn subject(claims: &Map<String, Value>) -> Result<String, Refused> {
    claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|name| (1..=MAX_SUBJECT).contains(&name.len()))
        .filter(|name| !name.chars().any(char::is_control) && name.trim() == *name)
        .map(str::to_owned)
        .ok_or(Refused::Subject)
}

fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Timestamp, Refused> {
    claims
        .get(name)
        .and_then(Value::as_i64)
        .filter(|seconds| (0..=LAST_SECOND).contains(seconds))
        .map(Timestamp::from_seconds)
        .ok_or(Refused::Time(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn rules() -> Rules {
        Rules {
            issuer: "https://id.example".to_owned(),
            audiences: vec!["product".to_owned()],
            parties: Vec::new(),
            leeway: Span::from_seconds(30),
            max_lifetime: Span::from_hours(1),
        }
    }

    fn good() -> Value {
        json!({ "iss": "https://id.example", "aud": "product", "sub": "u", "iat": 1_800_000_000, "exp": 1_800_001_800 })
    }

    /// The good claims with one of them replaced, or taken out by `null`.
    fn with(name: &str, value: &Value) -> Result<Checked, Refused> {
        let mut claims = good().as_object().unwrap().clone();
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.to_owned(), value.clone());
        }
        rules().check(&claims, NOW)
    }

    #[test]
    fn what_is_right_counts() {
        let checked = with("aud", &json!(["other", "product"])).unwrap();
        assert_eq!(checked.subject, "u");
        assert_eq!(checked.expires_at, NOW + Span::from_minutes(30));
        assert!(with("nbf", &json!(1_800_000_030)).is_ok());
        assert!(with("iat", &json!(1_800_000_030)).is_ok());
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_refused() {
        for name in ["iss", "aud", "sub", "iat", "exp"] {
            assert!(with(name, &Value::Null).is_err(), "{name}");
            for value in [json!(true), json!({}), json!([]), json!([1]), json!("")] {
                assert!(with(name, &value).is_err(), "{name} {value}");
            }
        }
        for name in ["iat", "exp", "nbf"] {
            for value in [
                json!("1800001800"),
                json!(1_800_001_800.5),
                json!(1e300),
                json!(-1),
                json!(u64::MAX),
                json!(i64::MAX),
            ] {
                assert!(with(name, &value).is_err(), "{name} {value}");
            }
        }
    }

    #[test]
    fn nothing_is_compared_in_part() {
        for (name, value) in [
            ("iss", json!("https://id.example/")),
            ("iss", json!("https://id.example.evil.example")),
            ("iss", json!("HTTPS://id.example")),
            ("iss", json!(["https://id.example"])),
            ("aud", json!("products")),
            ("aud", json!("prod")),
            ("aud", json!("product other")),
            ("aud", json!(["product", 1])),
            ("aud", json!(["Product"])),
            ("sub", json!(" u")),
            ("sub", json!("u\u{0}")),
            ("sub", json!("u".repeat(256))),
        ] {
            assert!(with(name, &value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn a_token_that_names_no_audience_is_bound_by_its_party() {
        let rules = Rules {
            audiences: Vec::new(),
            parties: vec!["https://app.example".to_owned()],
            ..rules()
        };
        for (party, counts) in [
            (json!("https://app.example"), true),
            (json!("https://app.example.evil"), false),
            (json!(["https://app.example"]), false),
            (Value::Null, false),
        ] {
            let mut claims = good().as_object().unwrap().clone();
            claims.insert("azp".to_owned(), party);
            assert_eq!(rules.check(&claims, NOW).is_ok(), counts);
        }
        let nothing = Rules {
            parties: Vec::new(),
            ..rules
        };
        assert!(nothing.check(good().as_object().unwrap(), NOW).is_err());
    }

    #[test]
    fn a_token_counts_from_its_beginning_to_its_end_and_no_longer_than_its_issuer_lets_it() {
        assert_eq!(with("exp", &json!(1_799_999_970)), Err(Refused::Expired));
        assert_eq!(with("nbf", &json!(1_800_000_031)), Err(Refused::Early));
        assert_eq!(with("iat", &json!(1_800_000_031)), Err(Refused::Early));
        assert_eq!(with("exp", &json!(1_800_003_601)), Err(Refused::TooLong));
        assert_eq!(with("exp", &json!(1_800_000_000)), Err(Refused::TooLong));
    }
}
