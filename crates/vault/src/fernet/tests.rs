use std::path::Path;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn fernet(keys: &[&str]) -> Fernet {
    let keys: Vec<Secret> = keys
        .iter()
        .map(|key| Secret::new((*key).to_owned()))
        .collect();
    Fernet::new(&keys).unwrap()
}

fn opened(fernet: &Fernet, token: &str) -> Option<Vec<u8>> {
    let opened = fernet.open(token, None, NOW);
    opened.map(|plain| plain.expose().clone())
}

/// Made with Python's `cryptography`.
const KEY: &str = "BVrZxa-G_HMRp4K4eIBw1nKpsMJxO2aROLxXWg4uSMA=";
const TOKENS: [(&str, &str); 3] = [
    (
        "gAAAAABqsTuAcukV77DAOjLZUS6uYJ_RXx6BKIgh0-NqacVVSJ_1ox637PfGPRJEQnvQSBTxC_MsEauvK5W30sClyaUZaJDGyQ==",
        "sk-live-0123",
    ),
    (
        "gAAAAABqsTuA04dRSuZ_KIOGwks37SPHRXr2PmugZPGsFW5-k0Exllo6XwUV1GdFXnRQZxMSC-iZkHFoRcEg-15JWvUcmPIzBQ==",
        "",
    ),
    (
        "gAAAAABqsTuArV1955iELXyDYx8l4rm43NFKPBuB30ZveOd3IbFRNWMd0Gvoj9xIiz9eyXQuaIVFj-5krk3JcffFwlFld2XVKAwQbO4scVBulT6hIBZtTmjToLWsutEDsBHfyRY9pSiP",
        "a value of more than one block: ümlaut",
    ),
];

#[test]
fn tokens_of_python_open_with_keys_in_either_alphabet() {
    let standard = KEY.replace('-', "+").replace('_', "/");
    assert_ne!(standard, KEY);
    for key in [KEY, standard.as_str()] {
        for (token, plain) in TOKENS {
            assert_eq!(opened(&fernet(&[key]), token), Some(plain.into()));
        }
    }
    // Any of several keys, and no other.
    let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let (token, plain) = TOKENS[0];
    assert_eq!(opened(&fernet(&[other, KEY]), token), Some(plain.into()));
    assert_eq!(opened(&fernet(&[other]), token), None);
    assert_eq!(opened(&fernet(&[]), token), None);
}

#[test]
fn every_changed_or_missing_character_is_noticed() {
    let fernet = fernet(&[KEY]);
    let (token, _) = TOKENS[0];
    for end in 0..token.len() {
        let cut = token.get(..end).unwrap();
        assert_eq!(opened(&fernet, cut), None, "{end}");
    }
    for at in 0..token.len() {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(opened(&fernet, &changed), None, "{at}");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    for text in [
        "",
        "short",
        "AAAA",
        &"A".repeat(44),
        "=",
        &format!("{KEY}A"),
    ] {
        let key = Secret::new(text.to_owned());
        assert!(Fernet::new(&[key]).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in ".{0,300}") {
        prop_assert!(opened(&fernet(&[KEY]), &text).is_none());
    }
}

#[derive(serde::Deserialize)]
struct Vector {
    token: String,
    now: String,
    ttl_sec: Option<u64>,
    src: Option<String>,
    secret: String,
}

impl Vector {
    fn opened(&self) -> Option<Vec<u8>> {
        let now: Timestamp = self.now.parse().unwrap();
        let max_age = self.ttl_sec.map(Span::from_seconds);
        let opened = fernet(&[&self.secret]).open(&self.token, max_age, now);
        opened.map(|plain| plain.expose().clone())
    }
}

/// Those of the specification, where they lie beside the checkout. The same cases as the fixtures
/// above otherwise.
#[test]
fn the_vectors_of_the_specification_pass() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here
        .ancestors()
        .map(|folder| folder.join("shared/data/fernet"))
        .find(|folder| folder.is_dir());
    let Some(folder) = folder else {
        return;
    };
    let read = |name: &str| -> Vec<Vector> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for name in ["verify.json", "generate.json"] {
        for vector in read(name) {
            let plain = vector.src.clone().unwrap();
            assert_eq!(vector.opened(), Some(plain.into_bytes()), "{name}");
        }
    }
    let invalid = read("invalid.json");
    assert!(invalid.len() >= 8);
    for vector in invalid {
        assert_eq!(vector.opened(), None, "{}", vector.token);
    }
}
