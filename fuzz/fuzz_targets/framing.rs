//! Request heads and bodies: the same bytes are cut the same way, however much of them is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_edge::framing::{Limits, ends};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        head: 8 * 1024,
        headers: 32,
        uri: 2 * 1024,
    };
    let Ok(whole) = ends(bytes, &limits) else {
        return;
    };
    assert!(whole.is_sorted() && whole.iter().all(|end| *end <= bytes.len()));
    // What came before more bytes did is read alike: nothing behind a message changes its end.
    for end in &whole {
        let before = ends(&bytes[..*end], &limits).expect("a part of what is good is good");
        assert_eq!(before.last(), Some(end));
    }
});
