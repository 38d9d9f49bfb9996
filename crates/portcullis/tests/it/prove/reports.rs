//! The documents that a run writes.

use serde_json::Value;

use crate::demo::Demo;

fn json(demo: &Demo, format: &str) -> Value {
    let output = demo.prove(&["--only", "I1,H8,P3,J5", "--format", format]);
    assert_eq!(output.status.code(), Some(1), "P3 wants a whole run");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_security_document_is_signed_and_a_changed_letter_is_found() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let file = demo.config().with_file_name("SECURITY.md");
    let name = file.to_str().unwrap();
    let output = demo.prove(&["--only", "I1,H8,P3", "--format", "md", "--to", name]);
    assert_eq!(output.status.code(), Some(1));
    let text = std::fs::read_to_string(&file).unwrap();
    for line in [
        "# Security",
        "*Held, seen at the gate:*",
        "**NOT PROVEN:**",
        "| H8 | held | 3.4.4, 3.4.5 |",
        "session-app",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    let good = demo.prove(&["--verify", name]);
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    assert!(String::from_utf8_lossy(&good.stdout).contains("2 held, 0 failed, 1 not proven"));
    for (from, to) in [
        ("**NOT PROVEN:**", "*Held:*"),
        ("# Security", "# Securitee"),
        ("portcullis-proof: e", "portcullis-proof: f"),
    ] {
        assert!(text.contains(from));
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let changed = demo.prove(&["--verify", name]);
        assert_eq!(changed.status.code(), Some(1), "{from}");
        assert!(String::from_utf8_lossy(&changed.stdout).contains("NOT VERIFIED"));
    }
    // Nor does a sentence below the signature pass.
    std::fs::write(&file, format!("{text}\nAll is well.\n")).unwrap();
    assert_eq!(demo.prove(&["--verify", name]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_sarif_and_oscal() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let sarif = json(&demo, "sarif");
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let kinds: Vec<&str> = results
        .iter()
        .map(|result| result["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["pass", "pass", "pass", "open"]);
    assert!(results.iter().all(|result| result["level"] == "none"));
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    assert!(
        rules
            .iter()
            .all(|rule| rule["properties"]["asvs"].is_array())
    );

    let oscal = json(&demo, "oscal");
    let results = &oscal["assessment-results"];
    assert_eq!(results["metadata"]["oscal-version"], "1.1.3");
    let result = &results["results"][0];
    let findings = result["findings"].as_array().unwrap();
    let observations = result["observations"].as_array().unwrap();
    assert_eq!((findings.len(), observations.len()), (4, 4));
    for (finding, observation) in findings.iter().zip(observations) {
        assert_eq!(
            finding["related-observations"][0]["observation-uuid"],
            observation["uuid"]
        );
        let state = if finding["title"] == "P3" {
            "not-satisfied"
        } else {
            "satisfied"
        };
        assert_eq!(finding["target"]["status"]["state"], state, "{finding}");
    }
}
