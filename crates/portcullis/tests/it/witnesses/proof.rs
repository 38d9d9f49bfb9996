//! What `portcullis prove` says of witnesses (A7): that they signed, that they did so lately, and that they did not.

use super::{Mood, Witness, more_events};
use crate::demo::Demo;
use crate::prove::{like, prove, verdict};
use crate::support::{Gateway, eventually_asked};

/// The gate asks its witnesses as well, and one is asked by one at a time.
async fn signs(gateway: &Gateway) {
    eventually_asked("it signs", async || {
        gateway.cli(&["audit", "witness"]).status.success()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_the_trail_says_how_it_stands_with_its_witnesses() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let witness = Witness::start().await;
    witness.is(Mood::Says(503, ""));
    let audit = "\n[audit]\nwitnesses-wanted = 1\nwitness-alert-after = \"1h\"\n";
    let builder = like(&demo).more(&format!("{audit}{}", witness.table("one")));
    // A log has a key from its first event on.
    more_events(&builder, "a", 1);
    witness.watches(&builder);
    let gateway = builder.start().await;
    let (found, said) = verdict(&prove(&gateway, "A7"), "A7");
    assert_eq!(found, "failed", "{said}");
    assert!(said.contains("0 witnesses signed this log"), "{said}");

    // It has signed, and not for a long time.
    witness.is(Mood::LongAgo);
    signs(&gateway).await;
    let (found, said) = verdict(&prove(&gateway, "A7"), "A7");
    assert_eq!(found, "failed", "{said}");
    assert!(said.contains("0 witnesses signed lately"), "{said}");

    witness.is(Mood::Honest);
    signs(&gateway).await;
    let (found, said) = verdict(&prove(&gateway, "A7"), "A7");
    assert_eq!(found, "held", "{said}");
    assert!(said.contains("1 of 1 witnesses signed lately"), "{said}");
}
