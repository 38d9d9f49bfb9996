//! `portcullis prove`: everything holds against the demo, and what is taken out is named.

mod fronts;
mod outside;
mod reports;
pub(crate) mod schemas;
mod senders;
mod shared;
mod taken_out;

use std::net::SocketAddr;
use std::process::Output;

use serde_json::Value;

use crate::demo::Demo;
use crate::support::{Gateway, GatewayBuilder, Upstream};

/// The findings of a run, whatever its exit code.
pub(crate) fn findings(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {said}"));
    report["findings"].as_array().unwrap().clone()
}

/// What became of one requirement, and what was said of it.
pub(crate) fn verdict(findings: &[Value], id: &str) -> (String, String) {
    let found = findings.iter().find(|found| found["id"] == id);
    let found = found.unwrap_or_else(|| panic!("{id} is not in the report"));
    (
        found["verdict"].as_str().unwrap().to_owned(),
        found["said"].as_str().unwrap().to_owned(),
    )
}

/// An address that nobody has at the moment.
pub(crate) fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A gate with the demo's policy, to be changed before it starts, in front of the demo's application.
pub(crate) fn like(demo: &Demo) -> GatewayBuilder {
    let folder = demo.config().parent().unwrap().to_owned();
    let text = std::fs::read_to_string(demo.config()).unwrap();
    let addresses: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("address = \""))
        .map(|rest| rest.trim_end_matches('"'))
        .collect();
    // The test set-up reads from the log where the gate listens.
    let mut text = text.replace("level = \"warn\"", "level = \"info\"");
    for address in addresses {
        text = text.replace(address, &free().to_string());
    }
    let builder = GatewayBuilder::with(&text);
    ["master", "provider", "stripe", "reports", "alerts"]
        .into_iter()
        .fold(builder, |builder, name| {
            let content = std::fs::read_to_string(folder.join(name)).unwrap();
            builder.file(name, &content)
        })
}

/// Proves these requirements of a gate.
pub(crate) fn prove(gateway: &Gateway, only: &str) -> Vec<Value> {
    let gate = format!("http://{}", gateway.address);
    findings(&gateway.cli(&["prove", "--gate", &gate, "--only", only, "--format", "json"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn against_the_demo_every_requirement_holds() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let output = demo.prove(&["--format", "json"]);
    let findings = findings(&output);
    assert_eq!(findings.len(), 115);
    let of = |word: &str| {
        let of_it = findings.iter().filter(|found| found["verdict"] == word);
        of_it
            .map(|found| format!("{}: {}", found["id"].as_str().unwrap(), found["said"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("failed"), Vec::<String>::new());
    assert_eq!(of("not-configured"), Vec::<String>::new());
    assert_eq!(of("not-proven"), Vec::<String>::new());
    assert_eq!(output.status.code(), Some(0));
    // The run went on record, and the score is of it.
    let scans = demo.cli(&["--output", "json", "scan", "check"]);
    assert_eq!(scans.status.code(), Some(0));
    let scans: Vec<Value> = serde_json::from_slice(&scans.stdout).unwrap();
    let proof = scans.iter().find(|scan| scan["name"] == "prove").unwrap();
    assert_eq!(proof["tool"], "portcullis prove", "{proof}");
    // Not proven is said as loudly as held: by the exit code, too, unless somebody accepts it by name.
    let part = demo.prove(&["--only", "P3"]);
    assert_eq!(part.status.code(), Some(1));
    let accepted = demo.prove(&["--only", "P3", "--accept", "P3"]);
    assert_eq!(accepted.status.code(), Some(0));
    let said = String::from_utf8_lossy(&accepted.stdout).into_owned();
    assert!(said.contains("NOT PROVEN        1  P3"), "{said}");
    // What the probes made is switched off again.
    let users = demo.cli(&["--output", "json", "users", "list"]);
    let users: Vec<Value> = serde_json::from_slice(&users.stdout).unwrap();
    let left: Vec<&Value> = users
        .iter()
        .filter(|user| user["email"].as_str().unwrap().ends_with("@prove.invalid"))
        .filter(|user| user["deactivated"] == false)
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_on_the_stores_of_this_pass_holds_as_well() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let folder = demo.config().parent().unwrap().to_owned();
    let text = std::fs::read_to_string(demo.config()).unwrap();
    let app = text.split("url = \"http://").nth(1).unwrap();
    let app: SocketAddr = app.split('"').next().unwrap().parse().unwrap();
    let (_, policy) = text.split_once("[headers]").unwrap();
    let (log, rest) = policy.split_once("[log]").unwrap();
    let (_, rest) = rest.split_once("\n\n").unwrap();
    let policy = format!("[headers]{log}\n{rest}");
    let mut builder = Gateway::builder(&Upstream::at(app), &policy).await;
    for name in ["provider", "stripe", "reports", "alerts"] {
        let content = std::fs::read_to_string(folder.join(name)).unwrap();
        builder = builder.file(name, &content);
    }
    let admin = format!("[admin]\naddress = \"{}\"", free());
    let builder = builder.replace("[admin]\naddress = \"127.0.0.1:0\"", &admin);
    let gateway = builder.start().await;
    let ids = "I1,I2,I4,I10,S1,S4,S5,J1,J2,J6,K1,K2,K3,W1,W2,T1,T4,T7,L5,L6,H1,H5,H12,E4,E5,E8,B1,B2,B3,A1,A7,M1,P1,P2,P4,N1,N3,D4,P3";
    let findings = prove(&gateway, ids);
    for found in &findings {
        // P3 wants a whole run, and says so. The suite's PostgreSQL knows the gate as its superuser, and T7
        // says so.
        let on_postgres = std::env::var("PORTCULLIS_TEST_STATE").as_deref() == Ok("shared");
        let expected = match found["id"].as_str().unwrap() {
            "P3" => "not-proven",
            "T7" if on_postgres => "failed",
            _ => "held",
        };
        assert_eq!(found["verdict"], expected, "{found}");
    }
    assert_eq!(findings.len(), ids.split(',').count());
}

#[tokio::test]
async fn without_a_gate_there_is_no_proof() {
    let gateway = GatewayBuilder::empty();
    let usage = gateway.run(&["prove", "--only", "Z9"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("prove --list"));
    let list = gateway.run(&["prove", "--list"]);
    assert_eq!(list.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 115);
    let nobody = format!(
        "mode = \"development\"\n[listen]\naddress = \"{}\"\n[secrets]\nmaster = {{ file = \"master\" }}\n[upstream.app]\nurl = \"http://127.0.0.1:9\"\n",
        free()
    );
    let gateway = GatewayBuilder::with(&nobody).file(
        "master",
        "0f1e2d3c4b5a69788796a5b4c3d2e1f0011223344556677889",
    );
    let output = gateway.cli(&["prove"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("no gate at") && said.contains("--gate"),
        "{said}"
    );
}
