//! What is kept of a visitor's browser (W2, CWE-359): a few known keys, each of a known kind, each
//! short. Whatever else a page sends is left out and kept nowhere: addresses of pages and of where
//! somebody came from hold searches, names and tokens.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Error;

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Truth,
    Texts,
}

const KNOWN: [(&str, Kind); 9] = [
    ("language", Kind::Text),
    ("languages", Kind::Texts),
    ("platform", Kind::Text),
    ("vendor", Kind::Text),
    ("screenResolution", Kind::Text),
    ("viewportSize", Kind::Text),
    ("timezone", Kind::Text),
    ("timezoneOffset", Kind::Number),
    ("cookieEnabled", Kind::Truth),
];
/// Comes from the request itself, not from what the page says.
const USER_AGENT: &str = "userAgent";

const LONGEST: usize = 128;
const MOST_TEXTS: usize = 16;

/// What the browser told of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// What of `sent` may be kept. A known key with something else in it is refused.
    pub fn reduced(
        sent: &BTreeMap<String, Value>,
        user_agent: Option<&str>,
    ) -> Result<Self, Error> {
        let mut kept = BTreeMap::new();
        for (name, kind) in KNOWN {
            let Some(value) = sent.get(name) else {
                continue;
            };
            check(name, kind, value)?;
            kept.insert(name.to_owned(), value.clone());
        }
        if let Some(text) = user_agent {
            let text: String = text.chars().take(256).collect();
            kept.insert(USER_AGENT.to_owned(), Value::String(text));
        }
        Ok(Metadata(kept))
    }

    pub(super) fn to_text(&self) -> String {
        let map: serde_json::Map<String, Value> = self.0.clone().into_iter().collect();
        Value::Object(map).to_string()
    }

    pub(super) fn from_text(text: &str) -> Result<Self, portcullis_store::Error> {
        serde_json::from_str(text)
            .map(Metadata)
            .map_err(|error| portcullis_store::Error::Corrupt(Box::new(error)))
    }

    pub const fn as_map(&self) -> &BTreeMap<String, Value> {
        &self.0
    }
}

fn check(name: &str, kind: Kind, value: &Value) -> Result<(), Error> {
    let refused = |message: &str| {
        Err(Error::Invalid {
            field: format!("metadata/{name}"),
            message: message.to_owned(),
        })
    };
    let is_short = |value: &Value| value.as_str().is_some_and(|text| text.len() <= LONGEST);
    match kind {
        Kind::Text if !is_short(value) => refused("must be a text of at most 128 bytes"),
        Kind::Number if !value.is_number() => refused("must be a number"),
        Kind::Truth if !value.is_boolean() => refused("must be true or false"),
        Kind::Texts => match value.as_array() {
            Some(list) if list.len() <= MOST_TEXTS && list.iter().all(is_short) => Ok(()),
            Some(_) | None => {
                refused("must be a list of at most 16 texts of at most 128 bytes each")
            }
        },
        Kind::Text | Kind::Number | Kind::Truth => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reduced(sent: Value) -> Result<Value, String> {
        let sent: BTreeMap<String, Value> = serde_json::from_value(sent).unwrap();
        let kept = Metadata::reduced(&sent, Some("Firefox")).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(kept.0).unwrap())
    }

    #[test]
    fn what_is_no_browser_detail_is_left_out() {
        let kept = reduced(json!({
            "language": "de", "languages": ["de", "en"], "timezoneOffset": -60, "cookieEnabled": true,
            "userAgent": "a lie", "referrer": "https://a.test/?token=x", "currentUrl": "https://a.test/me",
            "email": "ana@corp.test", "name": "Ana", "__proto__": {}, "nested": { "a": [1, 2] },
        }));
        let expected = json!({
            "userAgent": "Firefox", "language": "de", "languages": ["de", "en"],
            "timezoneOffset": -60, "cookieEnabled": true,
        });
        assert_eq!(kept.unwrap(), expected);
    }

    #[test]
    fn a_known_key_holds_what_it_must_and_no_more() {
        for sent in [
            json!({ "language": "x".repeat(129) }),
            json!({ "language": { "a": 1 } }),
            json!({ "languages": "de" }),
            json!({ "languages": vec!["de"; 17] }),
            json!({ "languages": [["de"]] }),
            json!({ "timezoneOffset": "60" }),
            json!({ "cookieEnabled": 1 }),
            json!({ "platform": null }),
        ] {
            assert!(reduced(sent.clone()).is_err(), "{sent}");
        }
    }
}
