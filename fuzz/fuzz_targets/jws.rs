//! Signed tokens and published keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_vault::jws::{Algorithm, MAX_LEN, Unverified, VerifyingKey, key_set};

fuzz_target!(|bytes: &[u8]| {
    let _ = key_set(bytes, &[Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = Unverified::read(text) else {
        return;
    };
    assert!(text.len() <= MAX_LEN);
    // Nobody has signed what comes from here.
    let key = VerifyingKey::hs256(b"a secret that no input of this target knows", None);
    assert!(token.verify([&key]).is_err());
});
