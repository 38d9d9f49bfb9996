//! The vectors of Wycheproof, held against what seals and signs here.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use portcullis_core::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::gcm;
use crate::keys::ForeignMac;

#[derive(Deserialize)]
struct Vectors<T> {
    tests: Vec<T>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Valid,
    Invalid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gcm {
    tc_id: u32,
    key: String,
    iv: String,
    aad: String,
    msg: String,
    ct: String,
    tag: String,
    result: Verdict,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hmac {
    tc_id: u32,
    key: String,
    msg: String,
    tag: String,
    result: Verdict,
}

fn vectors<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str::<Vectors<T>>(text).unwrap().tests
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[test]
fn aes_256_gcm_opens_what_is_valid_and_nothing_else() {
    let (mut valid, mut invalid) = (0, 0);
    for test in vectors::<Gcm>(include_str!("wycheproof/aes_256_gcm.json")) {
        // The types here take nonces of 96 bits alone.
        let Ok(nonce) = <[u8; 12]>::try_from(bytes(&test.iv)) else {
            continue;
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes(&test.key)).unwrap();
        let key = LessSafeKey::new(key);
        let (aad, plain) = (bytes(&test.aad), bytes(&test.msg));
        // Behind something else, as our own values are.
        let text = [b"head".to_vec(), bytes(&test.ct), bytes(&test.tag)].concat();
        let opened = gcm::open(&key, nonce, &aad, text.clone(), 4);
        match test.result {
            Verdict::Valid => {
                assert_eq!(opened.as_ref(), Ok(&plain), "{}", test.tc_id);
                let mut sealed = [b"head", &plain[..]].concat();
                gcm::seal(&key, nonce, &aad, &mut sealed, 4).unwrap();
                assert_eq!(sealed, text, "{}", test.tc_id);
                valid += 1;
            }
            Verdict::Invalid => {
                assert_eq!(opened, Err(gcm::Refused), "{}", test.tc_id);
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (39, 27));
}

#[test]
fn hmac_sha256_makes_the_tags_that_are_valid_and_no_others() {
    let (mut valid, mut invalid) = (0, 0);
    for test in vectors::<Hmac>(include_str!("wycheproof/hmac_sha256.json")) {
        let mac = ForeignMac::of_bytes(&Secret::new(bytes(&test.key)));
        let made = mac.tag(&bytes(&test.msg));
        let expected = bytes(&test.tag);
        // Some are of 128 bits: the beginning.
        let is_right = made.starts_with(&expected);
        assert_eq!(is_right, test.result == Verdict::Valid, "{}", test.tc_id);
        if is_right {
            valid += 1;
        } else {
            invalid += 1;
        }
    }
    assert!(valid > 50 && invalid > 50, "{valid} {invalid}");
}
