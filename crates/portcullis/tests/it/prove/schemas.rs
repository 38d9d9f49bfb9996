//! What programs are given, held against the schemas of those who made the formats. Each judge is also shown a fault.

use std::process::Output;

use crate::demo::Demo;
use crate::deploy::{linter, run, said};
use crate::support::required;

/// By the schema of OASIS, as the tools of its editors bring it.
pub(crate) fn of_sarif(text: &str) -> Output {
    const JUDGE: &str = "import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.validators.validator_for(schema)(schema).validate(json.load(sys.stdin))";
    let schema = std::path::Path::new(&required("PORTCULLIS_TEST_NODE_PATH"))
        .join("@microsoft/sarif-multitool-linux/sarif-2.1.0.json");
    run(linter("python").args(["-c", JUDGE]).arg(schema), text)
}

/// By the model that is generated from NIST's.
fn of_oscal(text: &str) -> Output {
    const JUDGE: &str = "import json, sys
from trestle.oscal.assessment_results import Model
Model.model_validate(json.load(sys.stdin))";
    run(linter("python").args(["-c", JUDGE]), text)
}

/// A format, who judges it, and two faults.
type Case = (
    &'static str,
    fn(&str) -> Output,
    [(&'static str, &'static str); 2],
);

#[tokio::test(flavor = "multi_thread")]
async fn sarif_and_oscal_are_what_their_makers_say() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let cases: [Case; 2] = [
        (
            "sarif",
            of_sarif,
            [("\"kind\"", "\"sort\""), ("\"2.1.0\"", "\"2.1\"")],
        ),
        (
            "oscal",
            of_oscal,
            [
                ("\"findings\"", "\"findigs\""),
                ("\"not-satisfied\"", "\"unsatisfied\""),
            ],
        ),
    ];
    for (format, judge, faults) in cases {
        // One that held, one that the demo has not, and one that wants a whole run.
        let output = demo.prove(&["--only", "I1,H8,P3", "--format", format]);
        let text = String::from_utf8(output.stdout).unwrap();
        let judged = judge(&text);
        assert!(judged.status.success(), "{format}: {}", said(&judged));
        for (from, to) in faults {
            assert!(text.contains(from), "{from} is not in\n{text}");
            let judged = judge(&text.replace(from, to));
            assert!(!judged.status.success(), "{format}: {to}");
        }
    }
}
