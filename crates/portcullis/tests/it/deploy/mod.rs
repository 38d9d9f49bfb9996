//! What is shipped under `deploy/` and `examples/ci` (D1, D2, X2, T7, G3, G4), read by the tools that are made for it.
//! Each of them is also shown a fault, so that one that says yes to everything does not pass for a judge.

mod compose;
mod dependencies;
mod image;
mod kubernetes;
mod systemd;
mod workflow;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::required;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// A program that the set-up installed beside the linters' Python.
pub(crate) fn linter(name: &str) -> Command {
    Command::new(Path::new(&required("PORTCULLIS_TEST_LINTERS")).with_file_name(name))
}

/// Everything that a program said.
pub(crate) fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    // One that ends before it has read everything says why in its answer.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What a program answers that has to succeed.
fn answer(command: &mut Command, input: &str) -> String {
    let output = run(command, input);
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The documents of a file in YAML.
fn yaml(text: &str) -> Vec<Value> {
    const READ: &str = "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)";
    let json = answer(linter("python").args(["-c", READ]), text);
    serde_json::from_str(&json).unwrap()
}

/// `text` with a fault in it.
fn with_fault(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

fn list(value: &Value) -> Vec<&str> {
    let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Value::as_str).collect()
}
