//! The game day: an incident from its opening to its evidence, on a gate of its own.

use serde_json::Value;

use super::{audited, builder, told};
use crate::support::{GatewayBuilder, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_walks_to_the_end_and_leaves_its_evidence_and_nothing_at_the_gate() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let rehearse = ["rehearse", "--bundle", "day.evidence"];
    let done = told(&gateway, &rehearse);
    assert_eq!(
        (&done["held"], &done["fault"]),
        (&true.into(), &Value::Null)
    );
    let steps: Vec<&str> = done["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["what"].as_str().unwrap())
        .collect();
    for word in [
        "dry run",
        "is out at the gate",
        "frozen",
        "let in again",
        "closed with its cause",
        "verifies",
    ] {
        assert!(
            steps.iter().any(|step| step.contains(word)),
            "{word}: {steps:#?}"
        );
    }
    // What it left is verified by the key that it told, by somebody who has nothing else.
    let text = std::fs::read(gateway.folder.join("day.evidence")).unwrap();
    let folder = GatewayBuilder::empty();
    std::fs::write(folder.folder().join("day"), text).unwrap();
    let key = done["key"].as_str().unwrap();
    let verified = folder.run(&["audit", "verify", "day", "--key", key]);
    assert!(verified.status.success(), "{verified:?}");
    // The gate itself has seen nothing of it.
    assert_eq!(told(&gateway, &["list"]), serde_json::json!([]));
    assert!(audited(&gateway, "incident.opened").is_empty());
    assert_eq!(upstream.requests(), 0);
    // It is not written over.
    let again = gateway.cli(&["incident", "rehearse", "--bundle", "day.evidence"]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
}
