//! Proofs, checkpoints, evidence, keys, cosignatures and paths of tiles of the audit log from strangers: read or refused, never a panic; and what
//! nobody signed never verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_events::audit::checkpoint::{Checkpoint, Proof};
use portcullis_events::audit::evidence::Evidence;
use portcullis_events::audit::tiles::Resource;
use portcullis_events::audit::witness::cosigned_by;
use portcullis_vault::note::{Kind, Note, Signer, Verifier};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let signer = Signer::from_seed("log.test", Kind::Text, &[1; 32]).expect("a key");
    let witness = Signer::from_seed("witness.test", Kind::Cosignature, &[2; 32]).expect("a key");
    let keys = [signer.verifier(), witness.verifier()];
    if let Ok(note) = text.parse::<Note>() {
        assert!(note.verify(&keys).is_err());
    }
    assert!(Checkpoint::verify(text, &keys).is_err());
    assert!(Evidence::verify(text, &keys).is_err());
    if let Ok(proof) = Proof::parse(text) {
        assert_eq!(Proof::parse(&proof.text()).as_ref(), Ok(&proof));
        assert!(proof.verify(&keys).is_err());
    }
    if let Ok(key) = text.parse::<Verifier>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    // A path of a tile has one spelling.
    if let Some(resource) = Resource::parse(text) {
        assert_eq!(resource.to_string(), text);
    }
    assert!(cosigned_by(text, &keys).unwrap_or_default().is_empty());
    // Behind a good signature there is still a text to be read.
    let signed = format!("{text}\n\n{}", signer.sign(&format!("{text}\n"), 0).expect("a signature"));
    if let Ok(checkpoint) = Checkpoint::verify(&signed, &keys) {
        assert_eq!(checkpoint.origin, "log.test");
    }
});
