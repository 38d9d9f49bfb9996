use std::collections::BTreeMap;

use portcullis_core::finding::{Finding, Severity};

use super::{IS_BUILT_IN, asked, judge};

type Set<'a> = [(&'a str, &'a str)];

fn of<'a>(set: &'a Set<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    let values: BTreeMap<_, _> = set.iter().copied().collect();
    move |name| values.get(name).map(ToString::to_string)
}

/// Where spans would go, or what is said.
fn where_to(set: &Set<'_>) -> String {
    match asked(&of(set)) {
        Ok(None) => "nowhere".to_owned(),
        Ok(Some(asked)) => asked.target.url(),
        Err(finding) => finding.to_string(),
    }
}

fn judged(set: &Set<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    judge(set.iter().map(|(name, _)| *name), &of(set), &mut found);
    found
}

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

#[test]
fn spans_go_where_the_variables_say_and_nowhere_unless_they_do() {
    for (set, expected) in [
        (&[][..], "nowhere"),
        (&[("OTEL_SERVICE_NAME", "gate")], "nowhere"),
        (&[(ALL, "")], "nowhere"),
        (&[(ALL, "https://c.example")], "https://c.example/v1/traces"),
        (
            &[(ALL, "https://c.example/base/")],
            "https://c.example/base/v1/traces",
        ),
        (
            &[(TRACES, "https://c.example/as/it/is")],
            "https://c.example/as/it/is",
        ),
        (
            &[(ALL, "https://a.example"), (TRACES, "https://b.example/x")],
            "https://b.example/x",
        ),
        (
            &[("OTEL_TRACES_EXPORTER", "otlp")],
            "http://localhost:4318/v1/traces",
        ),
        (
            &[("OTEL_TRACES_EXPORTER", "none"), (ALL, "https://c.example")],
            "nowhere",
        ),
        (
            &[("OTEL_SDK_DISABLED", "TRUE"), (ALL, "https://c.example")],
            "nowhere",
        ),
        (
            &[("OTEL_SDK_DISABLED", "1"), (ALL, "https://c.example")],
            "https://c.example/v1/traces",
        ),
        (
            &[(ALL, "http://collector:4318")],
            "http://collector:4318/v1/traces",
        ),
        (
            &[
                (ALL, "http://127.0.0.1:4318"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "key=secret"),
            ],
            "http://127.0.0.1:4318/v1/traces",
        ),
    ] {
        assert_eq!(where_to(set), expected, "{set:?}");
    }
}

#[test]
fn what_is_wrong_is_told_by_the_name_of_its_variable_and_without_its_value() {
    for (set, name) in [
        (&[(ALL, "collector:4318/secret")][..], ALL),
        (&[(ALL, "https://user:secret@c.example")], ALL),
        (&[(TRACES, "ftp://c.example/secret")], TRACES),
        (
            &[("OTEL_TRACES_EXPORTER", "zipkin-secret")],
            "OTEL_TRACES_EXPORTER",
        ),
        (
            &[
                (ALL, "https://c.example"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ],
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
        (
            &[
                (ALL, "https://c.example"),
                ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
            ],
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        ),
        (
            &[
                (ALL, "https://c.example"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ],
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        (
            &[
                (ALL, "http://10.0.0.7:4318"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "key=secret"),
            ],
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
    ] {
        let said = where_to(set);
        assert!(said.contains(&format!("`{name}`")), "{set:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn nobody_waits_for_spans_that_do_not_come() {
    let told = |set: &Set<'_>| -> Vec<String> {
        let warnings = judged(set).into_iter();
        let warnings = warnings.filter(|finding| finding.severity == Severity::Warning);
        warnings.map(|finding| finding.to_string()).collect()
    };
    assert!(told(&[("PATH", "/bin")]).is_empty());
    assert!(told(&[("OTEL_SDK_DISABLED", "true"), ("OTEL_X", "1")]).is_empty());
    let [only] = &told(&[("OTEL_SERVICE_NAME", "gate")])[..] else {
        panic!("one is told");
    };
    assert!(only.contains("`OTEL_SERVICE_NAME`"), "{only}");
    let exported = [(ALL, "https://c.example"), ("OTEL_SERVICE_NAME", "gate")];
    if !IS_BUILT_IN {
        assert!(told(&exported)[0].contains("`otel`"));
        return;
    }
    assert!(told(&exported).is_empty());
    for (name, value) in [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://c.example"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        ("OTEL_TRACES_SAMPLER", "xray"),
    ] {
        let told = told(&[(ALL, "https://c.example"), (name, value)]);
        assert!(
            told.len() == 1 && told[0].contains(name),
            "{name}: {told:?}"
        );
    }
    let sampled = |share| {
        told(&[
            (ALL, "https://c.example"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", share),
        ])
    };
    assert!(sampled("0.25").is_empty());
    assert!(sampled("25%")[0].contains("OTEL_TRACES_SAMPLER_ARG"));
}
