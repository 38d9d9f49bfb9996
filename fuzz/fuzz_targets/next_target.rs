//! Where to go after signing in: whatever is asked for, a browser stays on this origin (CWE-601).
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_identity::next::local_or_root;
use url::Url;

fuzz_target!(|text: &str| {
    let target = local_or_root(Some(text));
    assert!(target == text || target == "/");
    assert!(target.is_ascii() && !target.contains(['\r', '\n', '\t', ' ', '"', '<']));
    // As browsers read it (WHATWG URL), from a page and from the page of the sign-in.
    for base in [
        "https://gate.test/",
        "https://gate.test/.portcullis/sign-in?next=x",
    ] {
        let base = Url::parse(base).expect("a base");
        let there = base.join(target).expect("a browser understands it");
        assert_eq!(there.origin(), base.origin(), "{target:?}");
        assert!(there.username().is_empty() && there.password().is_none());
    }
});
