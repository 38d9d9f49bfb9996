//! Redaction: what is out is not longer than asked, and a second time changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_events::redact;

fuzz_target!(|text: &str| {
    let once = redact::text(text);
    assert_eq!(redact::text(&once), once);
    let _ = redact::mask_email(text);
    let _ = redact::bounded(text, 64);
    let _ = redact::value("note", serde_json::Value::String(text.to_owned()));
});
