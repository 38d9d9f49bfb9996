//! OSCAL assessment results (NIST, version 1.1.3): one result, an observation and a finding for each requirement.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Report;
use crate::prove::probe::{Finding, Verdict};

pub(super) fn document(report: &Report) -> Value {
    let (observations, findings): (Vec<Value>, Vec<Value>) = report
        .findings
        .iter()
        .map(|found| of(found, &report.at))
        .unzip();
    let controls: Vec<Value> = report
        .findings
        .iter()
        .map(|found| json!({ "control-id": control(found) }))
        .collect();
    json!({
        "assessment-results": {
            "uuid": Uuid::new_v4().to_string(),
            "metadata": {
                "title": format!("portcullis prove against {}", report.gate),
                "last-modified": report.at,
                "version": env!("CARGO_PKG_VERSION"),
                "oscal-version": "1.1.3",
            },
            // The plan is the program: it has no document of its own.
            "import-ap": { "href": "#plan", "remarks": "The closed list of `portcullis prove --list`." },
            "results": [{
                "uuid": Uuid::new_v4().to_string(),
                "title": "Probes of one run",
                "description": format!("{} held, {} failed, {} not proven, {} not configured", report.held, report.failed, report.not_proven, report.not_configured),
                "start": report.at,
                "reviewed-controls": { "control-selections": [{ "include-controls": controls }] },
                "observations": observations,
                "findings": findings,
            }],
        }
    })
}

/// A token of OSCAL: letters, digits, `-`, `_` and `.`.
fn control(found: &Finding) -> String {
    found.id.as_str().to_lowercase()
}

fn of(found: &Finding, at: &str) -> (Value, Value) {
    let id = Uuid::new_v4().to_string();
    let observation = json!({
        "uuid": id,
        "title": found.id.as_str(),
        "description": found.said,
        "methods": ["TEST"],
        "collected": at,
        "props": [{ "name": "verdict", "ns": "https://portcullis.invalid/ns/oscal", "value": found.verdict.as_str().to_lowercase().replace(' ', "-") }],
    });
    let (state, reason) = match found.verdict {
        Verdict::Held => ("satisfied", "pass"),
        Verdict::Failed => ("not-satisfied", "fail"),
        // What is not proven is not satisfied: nothing says that it is.
        Verdict::NotProven | Verdict::NotConfigured => ("not-satisfied", "other"),
    };
    let finding = json!({
        "uuid": Uuid::new_v4().to_string(),
        "title": found.id.as_str(),
        "description": found.id.sentence(),
        "target": {
            "type": "objective-id",
            "target-id": control(found),
            "status": { "state": state, "reason": reason },
        },
        "related-observations": [{ "observation-uuid": id }],
    });
    (observation, finding)
}
