//! E-mail addresses: accounts are found by one form, which the form itself has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_identity::email::Email;

fuzz_target!(|text: &str| {
    let Ok(email) = Email::parse(text) else {
        return;
    };
    let canonical = email.canonical();
    assert!(canonical.len() <= 254 && email.typed().len() <= 254);
    assert_eq!(canonical.matches('@').count(), 1, "{canonical:?}");
    assert!(
        !canonical.contains(['\r', '\n', '\0', ' ', '<', '>', ',']),
        "{canonical:?}"
    );
    // SECURITY: two spellings of one address must not be two accounts.
    let again = Email::parse(canonical).expect("the form is an address");
    assert_eq!(again.canonical(), canonical);
});
