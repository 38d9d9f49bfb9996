//! Redaction: no bytes break it, a second time changes nothing, and pieces come out as the whole.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_events::redact::{self, Engine, Rules, Stream};

static USUAL: LazyLock<Engine> = LazyLock::new(|| Engine::new(Rules::default()));

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    for engine in [&*USUAL, redact::own()] {
        let once = engine.scrub_bytes(bytes);
        assert_eq!(engine.scrub_bytes(&once), once);
        let mut out = Vec::new();
        let mut stream = Stream::new(engine);
        for piece in bytes.chunks(usize::from(size).max(1)) {
            stream.push(piece, &mut out);
        }
        stream.finish(&mut out);
        assert_eq!(out, once);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = redact::text(&text);
    let _ = redact::mask_email(&text);
    let _ = redact::bounded(&text, 64);
    let _ = redact::value("note", serde_json::Value::String(text.into_owned()));
});
