//! A script of `tests/fixtures/browser` that drives a real browser.

use std::process::Command;

use serde_json::Value;

use super::required;

/// Runs it to its end, and returns what it printed last, in JSON. A script that fails fails the test.
pub(crate) async fn drive(script: &str, arguments: &[&str]) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/browser");
    let mut command = Command::new(required("PORTCULLIS_TEST_NODE"));
    command
        .arg(format!("{folder}/{script}"))
        .arg(required("PORTCULLIS_TEST_CHROMIUM"))
        .args(arguments)
        // A folder for pictures, where somebody wants to look at them.
        .args(std::env::var("PORTCULLIS_TEST_PICTURES").ok())
        .env("NODE_PATH", required("PORTCULLIS_TEST_NODE_PATH"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{complaint}");
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}
