//! What the program is made of (G4): licences, bans and sources by `cargo deny`, and the bill of materials.
//!
//! Advisories are not asked for here: their database is on the network. `examples/ci` has the job that asks.

use std::process::{Command, Output};

use serde_json::Value;

use super::{answer, linter, read, root, run, said, with_fault};
use crate::support::required;

fn deny(policy: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deny.toml");
    std::fs::write(&file, policy).unwrap();
    let mut command = Command::new(required("PORTCULLIS_TEST_CARGO_DENY"));
    command.current_dir(root()).arg("--config").arg(file);
    // What is let through for nothing is a hole for later.
    command.args(["check", "--deny", "warnings"]);
    run(command.args(["licenses", "bans", "sources"]), "")
}

#[test]
fn every_dependency_is_one_that_the_policy_admits() {
    let policy = read("deny.toml");
    let output = deny(&policy);
    assert!(output.status.success(), "{}", said(&output));
    for (from, to, told) in [
        ("    \"0BSD\",\n", "", "quoted_printable"),
        ("crate = \"openssl\"", "crate = \"rustls\"", "rustls"),
        (
            "    { crate = \"base64@0.21\", reason = \"webauthn-rs 0.6\" },\n",
            "",
            "base64",
        ),
        (
            "unknown-registry = \"deny\"",
            "unknown-registry = \"deny\"\nallow-registry = []",
            "source",
        ),
    ] {
        let output = deny(&with_fault(&policy, from, to));
        assert!(!output.status.success(), "{to}");
        assert!(said(&output).contains(told), "{told}: {}", said(&output));
    }
}

/// The bill, made in a copy: the tool writes beside each manifest.
fn bill() -> String {
    let copy = tempfile::tempdir().unwrap();
    let mut command = Command::new("cp");
    command.current_dir(root()).arg("--recursive");
    command.args(["Cargo.toml", "Cargo.lock", "crates", "xtask"]);
    answer(command.arg(copy.path()), "");
    let tool = required("PORTCULLIS_TEST_CARGO_CYCLONEDX");
    let folder = std::path::Path::new(&tool).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    command.arg(root().join("deploy/sbom.sh"));
    command.current_dir(copy.path());
    command.env("PATH", format!("{}:{path}", folder.display()));
    answer(&mut command, "");
    let left = Command::new("find")
        .args([copy.path().to_str().unwrap(), "-name", "*.cdx.json"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout).lines().count(), 1);
    let text = std::fs::read_to_string(copy.path().join("portcullis.cdx.json")).unwrap();
    assert!(
        !text.contains(copy.path().to_str().unwrap()),
        "where it was made"
    );
    text
}

/// What the standard's own schema says of a bill; empty where it is one.
fn fault(bill: &str) -> String {
    const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_5).validate_str(sys.stdin.read()) or '')";
    answer(linter("python").args(["-c", VALIDATE]), bill)
        .trim()
        .to_owned()
}

#[test]
fn the_bill_of_materials_is_one_and_names_what_the_lock_file_names() {
    let text = bill();
    assert_eq!(fault(&text), "");
    for (from, to) in [
        ("\"CycloneDX\"", "\"CycloneDY\""),
        ("\"type\": \"library\"", "\"type\": \"librarium\""),
    ] {
        assert_ne!(fault(&with_fault(&text, from, to)), "", "{to}");
    }
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bill["metadata"]["component"]["name"], "portcullis");
    let components = bill["components"].as_array().unwrap();
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let locked: Vec<(&str, &str)> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["name"].as_str().unwrap(),
                package["version"].as_str().unwrap(),
            )
        })
        .collect();
    for component in components {
        let (name, version) = (component["name"].as_str(), component["version"].as_str());
        assert!(
            locked.contains(&(name.unwrap(), version.unwrap())),
            "{component}"
        );
        assert!(component["purl"].is_string(), "{component}");
    }
    let has = |name: &str| components.iter().any(|component| component["name"] == name);
    for name in [
        "rustls",
        "aws-lc-sys",
        "hyper",
        "sqlx",
        "webauthn-rs",
        "age",
    ] {
        assert!(has(name), "{name}");
    }
    // What tests alone are made of is no part of the program.
    for name in ["proptest", "tokio-tungstenite", "xtask"] {
        assert!(!has(name), "{name}");
    }
}
