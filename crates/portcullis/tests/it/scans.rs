//! Scans (G3, G4, G6): reports are handed in, a release is stopped, and somebody is told.

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Gateway, GatewayBuilder, Upstream, database, eventually_asked,
};

const PATH: &str = "/.portcullis/admin/v1/scans";
const ROOT: &str = "root@corp.test";
const POLICY: &str = "\n[[scan]]\nname = \"image\"\ncovers = \"image\"\ntool = \"Trivy\"\nevery = \"7d\"\n\n[[scan]]\nname = \"code\"\ncovers = \"code\"\nfail-on = \"warning\"\n\n[[scan]]\nname = \"prove\"\ncovers = \"proof\"\nevery = \"30d\"\n";

async fn builder() -> GatewayBuilder {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    builder.user(ROOT, &["admin"]).more(POLICY)
}

fn report(tool: &str, results: &Value) -> Value {
    json!({ "version": "2.1.0", "runs": [{ "tool": { "driver": { "name": tool } }, "results": results }] })
}

fn found(rule: &str, level: &str) -> Value {
    json!({ "ruleId": rule, "level": level, "message": { "text": rule }, "locations": [{ "physicalLocation": {
        "artifactLocation": { "uri": "Dockerfile" }, "region": { "startLine": 3 } } }] })
}

fn key(gateway: &Gateway, permission: &str) -> String {
    let command = [
        "--output",
        "json",
        "keys",
        "create",
        "--name",
        "build",
        "--permission",
        permission,
    ];
    let made: Value = serde_json::from_slice(&gateway.cli(&command).stdout).unwrap();
    format!("Bearer {}", made["key"].as_str().unwrap())
}

async fn metrics(gateway: &Gateway) -> String {
    let page = Client::to(gateway.admin).get("/metrics").send().await;
    page.text()
}

async fn hand_in(gateway: &Gateway, key: &str, name: &str, report: &Value) -> Answer {
    let request = gateway.client().post(&format!("{PATH}/{name}"));
    request
        .header("authorization", key)
        .json(report)
        .send()
        .await
}

/// The exit code of `scan check`, and what it says.
fn release(gateway: &Gateway, names: &[&str]) -> (Option<i32>, String) {
    let output = gateway.cli(&[&["scan", "check"], names].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_build_hands_its_report_in_and_what_was_found_stops_the_release() {
    let gateway = builder().await.start().await;
    let (key, other) = (key(&gateway, "record:scans"), key(&gateway, "manage:users"));
    let (code, said) = release(&gateway, &["image"]);
    assert!(
        code == Some(1) && said.contains("no report ever came"),
        "{said}"
    );

    let clean = report("Trivy", &json!([]));
    assert_eq!(
        hand_in(&gateway, "Bearer x", "image", &clean).await.status,
        401
    );
    let refused = hand_in(&gateway, &other, "image", &clean).await;
    assert_eq!(refused.problem(), "not-permitted");
    assert_eq!(hand_in(&gateway, &key, "other", &clean).await.status, 404);
    let grype = hand_in(&gateway, &key, "image", &report("Grype", &json!([]))).await;
    assert!(
        grype.status == 422 && grype.text().contains("tool"),
        "{}",
        grype.text()
    );
    for broken in [
        json!({}),
        json!([]),
        json!({ "version": "2.0.0", "runs": [] }),
    ] {
        assert_eq!(
            hand_in(&gateway, &key, "image", &broken).await.status,
            422,
            "{broken}"
        );
    }
    let cut = gateway
        .client()
        .post(&format!("{PATH}/image"))
        .header("authorization", &key);
    assert_eq!(cut.body("{\"version\":").send().await.status, 422);

    let answer = hand_in(&gateway, &key, "image", &clean).await;
    assert_eq!(answer.json()["verdict"], "clean", "{}", answer.text());
    assert_eq!(release(&gateway, &["image"]).0, Some(0));
    assert_eq!(release(&gateway, &[]).0, Some(1), "the others are missing");

    let bad = report(
        "Trivy",
        &json!([
            found("CVE-1", "error"),
            found("CVE-1", "error"),
            found("CVE-2", "note")
        ]),
    );
    let answer = hand_in(&gateway, &key, "image", &bad).await;
    assert_eq!(answer.json()["verdict"], "failing", "{}", answer.text());
    let (code, said) = release(&gateway, &["image"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("2 at `error` or above: CVE-1 (Dockerfile:3)"),
        "{said}"
    );
    // Where warnings are too many, one is.
    let warned = report("semgrep", &json!([found("weak-hash", "warning")]));
    let answer = hand_in(&gateway, &key, "code", &warned).await;
    assert_eq!(answer.json()["verdict"], "failing");
    // The trail has who it was, and the hash of the very bytes.
    let events = gateway.cli(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "scan.recorded",
    ]);
    let events: Vec<Value> = serde_json::from_slice(&events.stdout).unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    let bytes = bad.to_string();
    let digest = portcullis_vault::tokens::sha256(bytes.as_bytes());
    let begins = hex::encode(&digest[..12]);
    let of_it = |event: &&Value| event["metadata"]["sha256-begins"] == begins;
    assert_eq!(
        events.iter().filter(of_it).count(),
        1,
        "{begins}: {events:?}"
    );
    assert!(
        events.iter().all(|event| event["actor"] == "api-key"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_finding_is_accepted_for_a_reason_and_a_time() {
    let gateway = builder().await.start().await;
    let key = key(&gateway, "record:scans");
    let bad = report("Trivy", &json!([found("CVE-1", "error")]));
    hand_in(&gateway, &key, "image", &bad).await;
    let root = gateway.signed_in(ROOT).await;
    let accept = format!("{PATH}/image/accepted");
    let body = |until: &str| json!({ "rule": "CVE-1", "reason": "no way to it from outside", "until": until });
    let program = gateway.client().post(&accept).header("authorization", &key);
    let refused = program.json(&body("2999-01-01T00:00:00Z")).send().await;
    assert_eq!(
        refused.problem(),
        "not-permitted",
        "who hands in does not accept"
    );
    for until in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon"] {
        let answer = root.post(&accept).json(&body(until)).send().await;
        assert_eq!(answer.status, 422, "{until}: {}", answer.text());
    }
    let soon = after_days(3);
    let answer = root.post(&accept).json(&body(&soon)).send().await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let (code, said) = release(&gateway, &["image"]);
    assert!(code == Some(0) && said.contains("(accepted)"), "{said}");
    let list = root.get(PATH).send().await.json();
    assert_eq!(list[0]["findings"][0]["accepted"], true, "{list}");
    // Its day has come.
    let past = "UPDATE scan_accepted SET until = 1";
    database::execute(&gateway.folder, past).await;
    assert_eq!(release(&gateway, &["image"]).0, Some(1));
}

/// So many days from now, as the API takes it.
fn after_days(days: u64) -> String {
    use portcullis_core::{Clock as _, Span, time::SystemClock};
    (SystemClock.now() + Span::from_days(days)).to_string()
}

#[tokio::test]
async fn a_scan_that_is_late_is_told_and_the_numbers_say_so() {
    let gateway = builder().await.start().await;
    let key = key(&gateway, "record:scans");
    for (name, tool) in [("image", "Trivy"), ("code", "semgrep")] {
        hand_in(&gateway, &key, name, &report(tool, &json!([]))).await;
    }
    let half = report(
        "portcullis prove",
        &json!([
            { "ruleId": "I1", "kind": "pass", "level": "none", "message": { "text": "held" } },
            { "ruleId": "I2", "kind": "open", "level": "none", "message": { "text": "who knows" } },
        ]),
    );
    assert_eq!(
        hand_in(&gateway, &key, "prove", &half).await.json()["verdict"],
        "clean"
    );
    let page = metrics(&gateway).await;
    for line in [
        "portcullis_scans_wanted 3",
        "portcullis_scans_alarming 0",
        "portcullis_compliance_score 50",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let root = gateway.signed_in(ROOT).await;
    let console = root.open("/.portcullis/console").await.text;
    assert!(
        console.contains("Scans to look at") && !console.contains("id=\"scans\""),
        "{console}"
    );
    // A month goes by for the reports; the gate looks once a minute, and as soon as it starts.
    let old = "UPDATE scan_report SET recorded_at = recorded_at - 2764800000000";
    database::execute(&gateway.folder, old).await;
    assert_eq!(release(&gateway, &[]).0, Some(1));
    let twin = gateway.twin().await;
    eventually_asked("the late scans are told", async || {
        let events = gateway.cli(&[
            "--output",
            "json",
            "audit",
            "list",
            "--action",
            "scan.alarming",
        ]);
        let events: Vec<Value> = serde_json::from_slice(&events.stdout).unwrap();
        events.len() == 3
    })
    .await;
    eventually_asked("the numbers say so", async || {
        let page = metrics(&twin).await;
        page.contains("portcullis_scans_alarming 3")
            && page.contains("portcullis_compliance_score 0")
    })
    .await;
    let root = twin.signed_in(ROOT).await;
    let console = root.open("/.portcullis/console").await.text;
    assert!(
        console.contains("id=\"scans\"") && console.contains("overdue"),
        "{console}"
    );
}

/// What `doctor` says of each wanted scan: `ok`, `warn` or `FAIL`, and the words.
fn diagnosed(gateway: &Gateway) -> Vec<(String, String)> {
    let told = gateway.cli(&["doctor"]);
    let text = String::from_utf8(told.stdout).unwrap();
    let found: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once("  [[scan]] "))
        .map(|(mark, said)| (mark.trim().to_owned(), said.to_owned()))
        .collect();
    let fails = found.iter().any(|(mark, _)| mark == "FAIL");
    assert_eq!(told.status.code(), Some(i32::from(fails)), "{text}");
    found
}

#[tokio::test]
async fn doctor_names_each_scan_that_is_missing_overdue_or_over_its_level() {
    let gateway = builder().await.start().await;
    let marks = |told: &[(String, String)]| -> Vec<String> {
        told.iter().map(|(mark, _)| mark.clone()).collect()
    };
    // A gate that was just set up waits for its first reports.
    eventually_asked("the gate has seen what is wanted", async || {
        let sql = "SELECT CAST(count(*) AS TEXT) FROM scan_wanted";
        database::text(&gateway.folder, sql).await == "3"
    })
    .await;
    let told = diagnosed(&gateway);
    assert_eq!(marks(&told), ["warn", "warn", "warn"], "{told:?}");
    let long_ago = "UPDATE scan_wanted SET first_seen_at = 1";
    database::execute(&gateway.folder, long_ago).await;
    let told = diagnosed(&gateway);
    assert_eq!(marks(&told), ["FAIL", "FAIL", "FAIL"], "{told:?}");
    assert!(
        told[0]
            .1
            .starts_with("`image`: missing: no report ever came"),
        "{told:?}"
    );

    let key = key(&gateway, "record:scans");
    let late = report("portcullis prove", &json!([]));
    let bad = report("Trivy", &json!([found("CVE-1", "error")]));
    let clean = report("semgrep", &json!([]));
    for (name, report) in [("prove", &late), ("image", &bad), ("code", &clean)] {
        let answer = hand_in(&gateway, &key, name, report).await;
        assert!(answer.status.is_success(), "{name}: {}", answer.text());
    }
    let old =
        "UPDATE scan_report SET recorded_at = recorded_at - 2764800000000 WHERE name = 'prove'";
    database::execute(&gateway.folder, old).await;
    let told = diagnosed(&gateway);
    assert_eq!(marks(&told), ["FAIL", "ok", "FAIL"], "{told:?}");
    let said = "`image`: failing: 1 at `error` or above: CVE-1 (Dockerfile:3)";
    assert!(told[0].1.starts_with(said), "{told:?}");
    assert!(told[2].1.starts_with("`prove`: overdue"), "{told:?}");

    // What somebody lives with is no finding, until its day.
    let soon = after_days(3);
    let accept = [
        "scan", "accept", "image", "CVE-1", "--until", &soon, "--reason", "no way",
    ];
    assert!(gateway.cli(&accept).status.success());
    assert_eq!(marks(&diagnosed(&gateway)), ["ok", "ok", "FAIL"]);
    let past = "UPDATE scan_accepted SET until = 1";
    database::execute(&gateway.folder, past).await;
    assert_eq!(marks(&diagnosed(&gateway)), ["FAIL", "ok", "FAIL"]);
}

#[tokio::test]
async fn a_policy_that_wants_what_cannot_be_is_refused_by_its_key() {
    let gateway = GatewayBuilder::empty();
    for (scan, key) in [
        ("name = \"A b\"\ncovers = \"code\"", "scan.name"),
        (
            "name = \"a\"\ncovers = \"code\"\nevery = \"1m\"",
            "scan.every",
        ),
        (
            "name = \"a\"\ncovers = \"code\"\n[[scan]]\nname = \"a\"\ncovers = \"image\"",
            "scan.name",
        ),
        ("name = \"a\"\ncovers = \"luck\"", "covers"),
    ] {
        let text = format!(
            "mode = \"development\"\n[secrets]\nmaster = {{ file = \"master\" }}\n[upstream.app]\nurl = \"http://127.0.0.1:9\"\n[[scan]]\n{scan}\n"
        );
        let gateway = GatewayBuilder::with(&text).file(
            "master",
            "0f1e2d3c4b5a69788796a5b4c3d2e1f0011223344556677889",
        );
        let output = gateway.cli(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains(key),
            "{scan}: {said}"
        );
    }
    let components = gateway.run(&["components"]);
    let said = String::from_utf8_lossy(&components.stdout).into_owned();
    assert!(
        said.contains("tokio ") && said.ends_with("0 not pinned\n"),
        "{said}"
    );
}
