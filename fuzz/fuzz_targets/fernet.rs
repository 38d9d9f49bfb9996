//! Fernet tokens: nothing that a stranger writes opens, and nothing breaks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Secret, Span, Timestamp};
use portcullis_vault::fernet::Fernet;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned();
    let fernet = Fernet::new(&[Secret::new(key)]).expect("a key");
    assert!(fernet.open(text, None, NOW).is_none());
    assert!(fernet.open(text, Some(Span::from_days(1)), NOW).is_none());
    let _ = Fernet::new(&[Secret::new(text.to_owned())]);
});
