//! Evidence: one file that others verify, and nobody changes.

use std::process::Output;

use serde_json::Value;

use super::{builder, open, refused, status, told};
use crate::support::{Gateway, GatewayBuilder, Upstream};

fn key_of(gateway: &Gateway) -> String {
    let output = gateway.cli(&["audit", "key"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().next().unwrap().to_owned()
}

/// As somebody does who has the file, the key and this program.
fn elsewhere(text: &[u8], arguments: &[&str]) -> Output {
    let folder = GatewayBuilder::empty();
    std::fs::write(folder.folder().join("evidence"), text).unwrap();
    folder.run(&[&["audit", "verify", "evidence"], arguments].concat())
}

fn holds(text: &str, key: &str) -> bool {
    let output = elsewhere(text.as_bytes(), &["--key", key]);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{output:?}");
    code == Some(0)
}

#[tokio::test]
async fn a_bundle_is_verified_elsewhere_and_refused_when_anything_of_it_was_changed() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(status(&ana).await, 200);
    let file = open(&gateway, "critical", &["--contain", "user:ana@corp.test"]);
    let id = file["id"].as_str().unwrap();
    told(&gateway, &["note", id, "--phase", "triage", "one account"]);
    let made = told(&gateway, &["bundle", id, "--to", "it.evidence"]);
    let text = std::fs::read_to_string(gateway.folder.join("it.evidence")).unwrap();
    let key = key_of(&gateway);
    assert_eq!(made["keys"][0], key.as_str());

    // By the gate's own keys, and by whoever was given the key.
    assert!(
        gateway
            .cli(&["audit", "verify", "it.evidence"])
            .status
            .success()
    );
    let output = elsewhere(text.as_bytes(), &["--key", &key, "--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["events"], made["events"]);
    let facts = &read["facts"];
    assert_eq!(facts["incident"]["id"], id);
    assert_eq!(facts["incident"]["notes"].as_array().unwrap().len(), 2);
    let contained = &facts["incident"]["contained"][0];
    assert_eq!(
        (&contained["sessions"], &contained["accounts"]),
        (&1.into(), &1.into())
    );
    assert_eq!(facts["configuration"]["sha256"].as_str().unwrap().len(), 64);
    assert!(facts["subjects"]["user"]["count"].as_i64().unwrap() >= 1);
    let letter = facts["notices"]["authority"].as_str().unwrap();
    assert!(
        letter.contains("a laptop is gone") && letter.contains("article 33"),
        "{letter}"
    );
    // Who was concerned is told by id alone.
    for personal in ["ana@corp.test", "127.0.0.1"] {
        assert!(!text.contains(personal), "{personal} stands in the bundle");
    }
    let events = text
        .lines()
        .filter(|line| line.starts_with("{\"event\""))
        .count();
    assert!(text.contains("login.succeeded") && text.contains("incident.opened"));

    assert!(holds(&text, &key));
    for (what, from, to) in [
        (
            "a word of the facts",
            "a laptop is gone",
            "a laptop is here",
        ),
        ("a word of an event", "incident.opened", "incident.closed"),
        ("the severity", "critical", "low"),
        ("the seal", "{\"seal\":\"p", "{\"seal\":\"q"),
    ] {
        assert!(text.contains(from), "{what}");
        assert!(!holds(&text.replacen(from, to, 1), &key), "{what}");
    }
    let lines: Vec<&str> = text.lines().collect();
    for left_out in [1, 2, events / 2 + 2, events + 1, events + 2, events + 3] {
        let some = lines
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != left_out);
        let some: Vec<&str> = some.map(|(_, line)| *line).collect();
        assert!(!holds(&(some.join("\n") + "\n"), &key), "line {left_out}");
    }
    let stranger = builder(&upstream).await.start().await;
    assert!(!holds(&text, &key_of(&stranger)), "a foreign key");
    std::fs::write(stranger.folder.join("it.evidence"), &text).unwrap();
    let foreign = stranger.cli(&["audit", "verify", "it.evidence"]);
    assert_eq!(foreign.status.code(), Some(1), "{foreign:?}");
    // Nothing is written over.
    let again = gateway.cli(&["incident", "bundle", id, "--to", "it.evidence"]);
    assert!(!again.status.success());
    let empty = [
        "bundle",
        id,
        "--to",
        "x",
        "--until",
        "2001-01-01T00:00:00Z",
        "--since",
        "2000-01-01T00:00:00Z",
    ];
    assert!(refused(&gateway, &empty).contains("no event in that time"));
}

#[tokio::test]
async fn a_bundle_for_a_recipient_opens_with_their_key_alone() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let file = open(&gateway, "low", &[]);
    let id = file["id"].as_str().unwrap();
    let recipient = |name: &str| {
        let output = gateway.cli(&["--output", "json", "backup", "keygen", "--to", name]);
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        made["recipient"].as_str().unwrap().to_owned()
    };
    let (ours, _) = (recipient("ours"), recipient("other"));
    told(
        &gateway,
        &["bundle", id, "--to", "sealed", "--recipient", &ours],
    );
    let bytes = std::fs::read(gateway.folder.join("sealed")).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.starts_with("age-encryption.org/") && !text.contains("laptop"));
    let with = |arguments: &[&str]| {
        let all = [&["audit", "verify", "sealed"], arguments].concat();
        gateway.cli(&all).status.code()
    };
    assert_eq!(with(&["--identity-file", "ours"]), Some(0));
    assert_eq!(with(&["--identity-file", "other"]), Some(1));
    assert_eq!(with(&[]), Some(2), "it says what is missing");
    let mut changed = bytes;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(gateway.folder.join("sealed"), changed).unwrap();
    assert_eq!(with(&["--identity-file", "ours"]), Some(1));
}
