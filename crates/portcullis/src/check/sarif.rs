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
                "semanticVersion": env!("CARGO_PKG_VERSION"),
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
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": finding.line.unwrap_or(1) },
        }}],
    })
}

/// A file's path as the URI reference that SARIF asks for (section 3.4.3, RFC 3986): relative paths
/// stay relative, so that a code host finds the file in its tree.
fn uri(file: &str) -> String {
    let encoded: String = file
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    if encoded.starts_with('/') {
        format!("file://{encoded}")
    } else {
        encoded.strip_prefix("./").unwrap_or(&encoded).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri_reference() {
        for (file, expected) in [
            ("portcullis.toml", "portcullis.toml"),
            ("./deploy/portcullis.toml", "deploy/portcullis.toml"),
            ("/etc/a b/p#1.toml", "file:///etc/a%20b/p%231.toml"),
        ] {
            assert_eq!(uri(file), expected);
        }
    }
}
