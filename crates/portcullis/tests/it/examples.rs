//! The files in `examples/`, each as it is: what a person has to provide is all that `check` finds.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::GatewayBuilder;

const SECRET: &str = "6f2c1d9e8b7a4053c1e2f3a4958677d8e9f0a1b2c3d4e5f60718293a4b5c6d7e";
const DATABASE: &str = "postgres://app:tundra-4417-quartz@db.corp.test/app";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn errors(gate: &GatewayBuilder) -> Vec<(String, String)> {
    let output = gate.cli(&["--output", "json", "check"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| (text(finding, "rule"), text(finding, "key")))
        .collect()
}

fn example(name: &str) -> GatewayBuilder {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    GatewayBuilder::with(&text)
        .environment("SECRET_KEY", SECRET)
        .environment("DATABASE_URL", DATABASE)
        .environment("REDIS_URL", "rediss://redis.corp.test")
}

/// What is left to a person in each, and the same file with that done.
#[test]
fn every_example_lacks_only_what_is_the_reader_s_own() {
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(rule, key)| ((*rule).to_owned(), (*key).to_owned()))
            .collect()
    };
    let minimal = example("minimal.toml");
    assert_eq!(
        errors(&minimal),
        own(&[
            ("wire", "listen.tls.cert"),
            ("wire", "listen.tls.key"),
            ("example-value", "hosts.allow.0")
        ])
    );
    let pair = rcgen::generate_simple_self_signed(["app.corp.test".to_owned()]).unwrap();
    let minimal = minimal
        .file("cert.pem", &pair.cert.pem())
        .file("key.pem", &pair.signing_key.serialize_pem())
        .replace("app.example.com", "app.corp.test");
    assert_eq!(errors(&minimal), []);

    let saas = example("saas.toml");
    assert_eq!(
        errors(&saas),
        own(&[
            ("example-value", "hosts.allow.0"),
            ("example-value", "hosts.allow.1")
        ])
    );
    assert_eq!(errors(&saas.replace("example.com", "corp.test")), []);

    let full = example("portcullis.full.toml");
    assert_eq!(
        errors(&full),
        own(&[("no-tls", "listen.tls"), ("example-value", "hosts.allow.0")])
    );
}

#[test]
fn no_example_is_forgotten_here() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert_eq!(files, ["minimal.toml", "portcullis.full.toml", "saas.toml"]);
}
