//! What a client says of itself: no text breaks the reading, and what was read is stored and read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_identity::sessions::user_agent::ClientKind;

fuzz_target!(|text: &str| {
    let kind = ClientKind::read(text, text.len() % 2 == 0);
    assert_eq!(ClientKind::unpack(kind.pack()), Some(kind));
    assert!(kind.admits(kind));
    assert!(!kind.to_string().is_empty());
});
