//! The documents that a run writes.

use serde_json::{Value, json};

use crate::demo::Demo;

fn run(demo: &Demo, format: &str) -> Value {
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
    let sarif = run(&demo, "sarif");
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
    let numbers: Vec<&Value> = rules
        .iter()
        .map(|rule| &rule["properties"]["asvs"])
        .collect();
    let wanted = [
        json!(["7.4.1"]),
        json!(["11.5.1"]),
        json!(["3.4.4", "3.4.5"]),
        json!([]),
    ];
    assert_eq!(numbers, wanted.iter().collect::<Vec<_>>());

    let report = run(&demo, "json");
    let findings = report["findings"].as_array().unwrap();
    let numbers: Vec<&Value> = findings.iter().map(|found| &found["asvs"]).collect();
    assert_eq!(numbers, wanted.iter().collect::<Vec<_>>());

    let oscal = run(&demo, "oscal");
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

/// The row of a number; there has to be one.
fn row<'t>(text: &'t str, number: &str) -> &'t str {
    let cell = format!("| {number} |");
    let mut rows = text.lines().filter(|line| line.contains(&cell));
    rows.next()
        .unwrap_or_else(|| panic!("{number} is not in\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_gets_the_standard_by_number_and_what_is_not_shown_is_said() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let file = demo.config().with_file_name("ASVS.md");
    let name = file.to_str().unwrap();
    let output = demo.prove(&["--only", "H8,H12,T1,T2", "--format", "asvs", "--to", name]);
    assert_eq!(output.status.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    // All of what is asked, and a part of it.
    assert_eq!(row(&text, "3.4.4"), "| 3.4 | 3.4.4 | 2 | held | H8 |  |");
    assert!(row(&text, "1.2.4").contains("| held in part | H12 | the product's own statements |"));
    // Some of its ids held, and the others were not asked.
    let some = "| **NOT PROVEN** | I10 (not asked), T1, T2, T7 (not asked) |";
    assert!(
        row(&text, "8.2.1").contains(some),
        "{}",
        row(&text, "8.2.1")
    );
    // What no id answers is there by its number, too: the product's own, a control that is not tried, none at all.
    for (number, heading) in [
        ("1.2.5", "## The product's own to answer"),
        ("6.2.1", "**NOT PROVEN** by any run"),
        ("6.2.12", "**Not here:**"),
        ("6.8.3", "## About what is not here"),
    ] {
        let before = text.split(row(&text, number)).next().unwrap();
        let above = before
            .lines()
            .rfind(|line| line.starts_with("## ") || line.starts_with("**"));
        assert!(above.unwrap().starts_with(heading), "{number}: {above:?}");
    }
    assert_eq!(demo.prove(&["--verify", name]).status.code(), Some(0));
    std::fs::write(&file, text.replacen("**NOT PROVEN**", "held", 1)).unwrap();
    assert_eq!(demo.prove(&["--verify", name]).status.code(), Some(1));

    // A product without the gate: what a stranger sees is held against the same numbers.
    let policy = std::fs::read_to_string(demo.config()).unwrap();
    let address = policy.split("address = \"").nth(1).unwrap();
    let gate = format!("http://{}", address.split('"').next().unwrap());
    let outside = demo.prove(&["--against", &gate, "--format", "asvs"]);
    let text = String::from_utf8(outside.stdout).unwrap();
    assert!(row(&text, "3.4.4").contains("| held | H8 |"), "{text}");
    assert!(row(&text, "7.3.1").contains("| **NOT PROVEN** | S2 (NOT PROVEN) |"));
}
