//! When the holder of a token proved who they are, as far as the issuer tells.
//!
//! - What it does not tell is long ago: a route with `max-age` then asks for a new sign-in.
//! - SECURITY: `iat` tells nothing, for it is new with every refresh.
//! - A second factor counts by the claim that the configuration names, and by no other.

use portcullis_core::{Span, Timestamp};
use serde_json::{Map, Value};

/// By what an issuer says that a second factor was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecondFactor {
    /// It does not count.
    Ignored,
    /// `fva`: whole minutes since the first and the second factor, -1 for never.
    Ages,
    /// A level in `aal`; when each factor was proved stands in `amr`.
    Level(Vec<String>),
    /// A text, or one of several, in a claim with this name.
    Named { claim: String, values: Vec<String> },
}

/// When each factor was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proofs {
    pub(super) first_at: Timestamp,
    pub(super) second_at: Option<Timestamp>,
}

/// The configuration, validated; keys of it, and what is wrong with them, are told to `wrong`.
pub(super) fn compile(
    claim: Option<&str>,
    values: &[String],
    wrong: &mut dyn FnMut(&str, &'static str),
) -> SecondFactor {
    const VALUES: &str = "second-factor-values";
    let is_text = |text: &str| (1..=255).contains(&text.len()) && !text.contains(char::is_control);
    if !values.iter().all(|value| is_text(value)) {
        wrong(VALUES, "must not hold an empty value");
    }
    // RFC 8176: these say how the first factor was proved.
    let first = ["pwd", "pin", "user", "kba", "password", "aal1"];
    if values.iter().any(|value| first.contains(&value.as_str())) {
        wrong(
            VALUES,
            "must not name a way to prove the first factor alone",
        );
    }
    match claim {
        None => {
            if !values.is_empty() {
                wrong(
                    "second-factor-claim",
                    "must name the claim of `second-factor-values`",
                );
            }
            SecondFactor::Ignored
        }
        Some("fva") => {
            if !values.is_empty() {
                wrong(VALUES, "has no meaning for `fva`, which holds minutes");
            }
            SecondFactor::Ages
        }
        Some("aal") if values.is_empty() => SecondFactor::Level(vec!["aal2".to_owned()]),
        Some("aal") => SecondFactor::Level(values.to_vec()),
        Some(claim) => {
            // SECURITY: what people write themselves proves nothing.
            if !is_text(claim) || ["user_metadata", "unsafe_metadata"].contains(&claim) {
                wrong(
                    "second-factor-claim",
                    "must be a claim that only the issuer writes",
                );
            }
            if values.is_empty() {
                wrong(
                    VALUES,
                    "must name the values of `second-factor-claim` that count",
                );
            }
            SecondFactor::Named {
                claim: claim.to_owned(),
                values: values.to_vec(),
            }
        }
    }
}

/// What verified claims say. Nothing was proved later than the token was issued.
pub(super) fn read(by: &SecondFactor, claims: &Map<String, Value>, issued_at: Timestamp) -> Proofs {
    let auth_time = seconds(claims.get("auth_time"));
    let (first, second) = match by {
        SecondFactor::Ignored => (auth_time, None),
        SecondFactor::Ages => match ages(claims) {
            Some((first, second)) => {
                let before = |minutes: Option<u64>| Some(issued_at - Span::from_minutes(minutes?));
                (before(first), before(second))
            }
            None => (auth_time, None),
        },
        SecondFactor::Level(values) => {
            let is_level = holds(claims.get("aal"), values);
            let second = latest(claims, is_second).unwrap_or(Timestamp::EPOCH);
            let first = latest(claims, is_first).or(auth_time);
            (first, is_level.then_some(second))
        }
        SecondFactor::Named { claim, values } => {
            let is_proved = holds(claims.get(claim), values);
            let second = auth_time.unwrap_or(Timestamp::EPOCH);
            (auth_time, is_proved.then_some(second))
        }
    };
    Proofs {
        first_at: first.unwrap_or(Timestamp::EPOCH).min(issued_at),
        second_at: second.map(|at| at.min(issued_at)),
    }
}

/// Minutes since each factor; nothing for one that was never proved. Nothing at all where the claim
/// is not as it should be.
fn ages(claims: &Map<String, Value>) -> Option<(Option<u64>, Option<u64>)> {
    let [first, second] = claims.get("fva")?.as_array()?.as_slice() else {
        return None;
    };
    let age = |value: &Value| match value.as_i64() {
        Some(-1) => Some(None),
        Some(minutes) => u64::try_from(minutes)
            .ok()
            .filter(|age| *age <= MOST_MINUTES)
            .map(Some),
        None => None,
    };
    Some((age(first)?, age(second)?))
}

/// A hundred years: what is longer ago is a mistake.
const MOST_MINUTES: u64 = 100 * 366 * 24 * 60;

/// Whether a claim is one of these texts, or a list of texts that holds one.
fn holds(claim: Option<&Value>, values: &[String]) -> bool {
    let counts = |said: &str| values.iter().any(|value| value == said);
    match claim {
        Some(Value::String(said)) => counts(said),
        Some(Value::Array(said)) => {
            said.iter().all(Value::is_string) && said.iter().filter_map(Value::as_str).any(counts)
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// When one of the ways that count was last gone, by `amr` as `[{"method": .., "timestamp": ..}]`.
fn latest(claims: &Map<String, Value>, counts: fn(&str) -> bool) -> Option<Timestamp> {
    let ways = claims.get("amr")?.as_array()?;
    let of = |way: &Value| {
        let method = way.get("method")?.as_str()?;
        seconds(way.get("timestamp").filter(|_| counts(method)))
    };
    ways.iter().filter_map(of).max()
}

/// SECURITY: named one by one. A refresh of the token is told there as well, and proves nothing.
fn is_first(method: &str) -> bool {
    ["password", "otp", "magiclink", "oauth", "sso/saml", "web3"].contains(&method)
}

fn is_second(method: &str) -> bool {
    ["totp", "mfa/phone", "mfa/webauthn"].contains(&method)
}

fn seconds(value: Option<&Value>) -> Option<Timestamp> {
    let seconds = value?
        .as_i64()
        .filter(|at| (0..=LAST_SECOND).contains(at))?;
    Some(Timestamp::from_seconds(seconds))
}

/// The end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUED: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn told(by: &SecondFactor, claims: &Value) -> (i64, Option<i64>) {
        let proofs = read(by, claims.as_object().unwrap(), ISSUED);
        let ago = |at: Timestamp| ISSUED.as_seconds() - at.as_seconds();
        (ago(proofs.first_at), proofs.second_at.map(ago))
    }

    const LONG_AGO: i64 = 1_800_000_000;

    #[test]
    fn minutes_since_each_factor_tell_when_it_was() {
        for (fva, expected) in [
            (json!([5, 2]), (300, Some(120))),
            (json!([0, -1]), (0, None)),
            (json!([-1, -1]), (LONG_AGO, None)),
            (json!([5]), (LONG_AGO, None)),
            (json!([5, -2]), (LONG_AGO, None)),
            (json!([5, "2"]), (LONG_AGO, None)),
            (json!([5, 2.0]), (LONG_AGO, None)),
            (json!([5, i64::MAX]), (LONG_AGO, None)),
            (json!([5, 2, 1]), (LONG_AGO, None)),
            (json!("5,2"), (LONG_AGO, None)),
        ] {
            let claims = json!({ "fva": fva });
            assert_eq!(told(&SecondFactor::Ages, &claims), expected, "{claims}");
        }
        let unconfigured = json!({ "fva": [0, 0], "aal": "aal2", "amr": ["mfa"] });
        assert_eq!(
            told(&SecondFactor::Ignored, &unconfigured),
            (LONG_AGO, None)
        );
    }

    #[test]
    fn a_level_counts_and_its_ways_tell_when() {
        let by = SecondFactor::Level(vec!["aal2".to_owned()]);
        let at = |ago: i64| LONG_AGO - ago;
        let amr = json!([
            { "method": "totp", "timestamp": at(60) },
            { "method": "token_refresh", "timestamp": at(1) },
            { "method": "password", "timestamp": at(90) },
        ]);
        let claims = json!({ "aal": "aal2", "amr": amr });
        assert_eq!(told(&by, &claims), (90, Some(60)));
        assert_eq!(told(&by, &json!({ "aal": "aal1", "amr": amr })), (90, None));
        assert_eq!(
            told(&by, &json!({ "aal": "aal2" })),
            (LONG_AGO, Some(LONG_AGO))
        );
        let later = json!([{ "method": "totp", "timestamp": at(-600) }]);
        assert_eq!(
            told(&by, &json!({ "aal": "aal2", "amr": later })),
            (LONG_AGO, Some(0))
        );
    }

    #[test]
    fn another_claim_counts_whole() {
        let by = SecondFactor::Named {
            claim: "amr".to_owned(),
            values: vec!["mfa".to_owned()],
        };
        for (said, counts) in [
            (json!(["pwd", "mfa"]), true),
            (json!("mfa"), true),
            (json!("mfa pwd"), false),
            (json!(["MFA"]), false),
            (json!(["mfa", 1]), false),
            (json!([["mfa"]]), false),
            (json!({ "mfa": true }), false),
            (json!(null), false),
        ] {
            let claims = json!({ "amr": said, "auth_time": LONG_AGO - 30 });
            assert_eq!(told(&by, &claims), (30, counts.then_some(30)), "{claims}");
        }
    }

    #[test]
    fn what_could_not_count_is_no_configuration() {
        let judge = |claim: Option<&str>, values: &[&str]| {
            let mut keys = Vec::new();
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            compile(claim, &values, &mut |key, _| keys.push(key.to_owned()));
            keys
        };
        for (claim, values) in [
            (None, &[][..]),
            (Some("fva"), &[]),
            (Some("aal"), &[]),
            (Some("acr"), &["urn:mfa"]),
        ] {
            assert_eq!(judge(claim, values), Vec::<String>::new(), "{claim:?}");
        }
        for (claim, values) in [
            (None, &["mfa"][..]),
            (Some("fva"), &["mfa"]),
            (Some("amr"), &[]),
            (Some("amr"), &["pwd"]),
            (Some("aal"), &["aal1"]),
            (Some("amr"), &[""]),
            (Some(""), &["mfa"]),
            (Some("user_metadata"), &["mfa"]),
        ] {
            assert!(!judge(claim, values).is_empty(), "{claim:?} {values:?}");
        }
    }
}
