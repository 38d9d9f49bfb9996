//! SARIF 2.1.0 (OASIS): each requirement is a rule, each probe a result, also one that passed.

use serde_json::{Value, json};

use super::Report;
use crate::prove::probe::{Finding, Verdict};

pub(super) fn document(report: &Report) -> Value {
    let rules: Vec<Value> = report
        .findings
        .iter()
        .map(|found| {
            json!({
                "id": found.id.as_str(),
                "shortDescription": { "text": found.id.sentence() },
                "properties": { "asvs": found.id.asvs(), "group": found.id.group().title() },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portcullis prove",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": report.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(found: &Finding) -> Value {
    // Section 3.27.9: a result that is no failure says so by its kind, and has no level.
    let (kind, level) = match found.verdict {
        Verdict::Held => ("pass", "none"),
        Verdict::Failed => ("fail", "error"),
        // Nobody knows: `open` is what the standard calls it.
        Verdict::NotProven => ("open", "none"),
        Verdict::NotConfigured => ("notApplicable", "none"),
    };
    let remedy = found
        .remedy
        .as_ref()
        .map(|remedy| format!(" To mend: {remedy}"))
        .unwrap_or_default();
    json!({
        "ruleId": found.id.as_str(),
        "kind": kind,
        "level": level,
        "message": { "text": format!("{} {}.{remedy}", found.id.sentence(), found.said) },
        "locations": [{ "logicalLocations": [{ "name": found.id.as_str(), "kind": "requirement" }] }],
    })
}
