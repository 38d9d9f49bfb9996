//! Findings in SARIF 2.1.0 (OASIS), the format that code hosts show beside the file.

use portcullis_core::finding::{Finding, Severity};
use serde_json::{Value, json};

/// The whole document.
pub(super) fn document(file: &str, findings: &[Finding]) -> Value {
    let mut rules: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portcullis check",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({ "id": rule })).collect::<Vec<_>>(),
            }},
            "results": findings.iter().map(|finding| result(file, finding)).collect::<Vec<_>>(),
        }],
    })
}

fn result(file: &str, finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let text = format!("{}: {} {}", finding.key, finding.message, finding.remedy);
    json!({
        "ruleId": finding.rule,
        "level": level,
        "message": { "text": text.trim() },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": file },
            "region": { "startLine": finding.line.unwrap_or(1) },
        }}],
    })
}
