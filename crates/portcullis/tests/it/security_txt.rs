//! Where a weakness of the product is reported (N4): the file of RFC 9116 and the page that it leads to, before any
//! route of the product; and what `check` says of a table that no finder could use.

use portcullis_core::time::SystemClock;
use portcullis_core::{Clock as _, Span, Timestamp};

use crate::support::{Client, Gateway, GatewayBuilder, Upstream};

const FILE: &str = "/.well-known/security.txt";
const PAGE: &str = "/.portcullis/report-a-vulnerability";

/// A product that answers everything itself, also below `/.well-known`.
async fn gate(upstream: &Upstream, table: &str) -> GatewayBuilder {
    let rest = format!("[[route]]\npath = \"/{{*path}}\"\nallow = \"public\"\n\n{table}");
    Gateway::builder(upstream, &rest).await
}

/// The lines of the file, as names and values.
async fn fields(client: &Client) -> Vec<(String, String)> {
    let answer = client.get(FILE).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let text = answer.text();
    let split = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    };
    text.lines().map(split).collect()
}

fn of<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
    let named = fields.iter().filter(|(known, _)| known == name);
    named.map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn the_gate_says_where_to_report_and_the_product_is_not_asked() {
    let upstream = Upstream::start().await;
    let table = r#"
[security-txt]
contact = ["mailto:security@corp.test", "https://corp.test/report"]
acknowledgments = ["https://corp.test/thanks"]
preferred-languages = ["en", "de"]
acknowledged-within = "12h"
"#;
    let gateway = gate(&upstream, table).await.start().await;
    let client = gateway.client();
    let found = fields(&client).await;
    assert_eq!(
        of(&found, "Contact"),
        ["mailto:security@corp.test", "https://corp.test/report"]
    );
    assert_eq!(of(&found, "Acknowledgments"), ["https://corp.test/thanks"]);
    assert_eq!(of(&found, "Preferred-Languages"), ["en, de"]);
    // Once, and to come: without it the file is none.
    let [expires] = of(&found, "Expires")[..] else {
        panic!("{found:?}");
    };
    let expires: Timestamp = expires.parse().unwrap();
    let ahead = expires.since(SystemClock.now());
    assert!(
        (Span::from_days(88)..=Span::from_days(90)).contains(&ahead),
        "{ahead}"
    );

    // The policy is the gate's page, at the address that was asked.
    let [policy] = of(&found, "Policy")[..] else {
        panic!("{found:?}");
    };
    assert_eq!(policy, format!("http://{}{PAGE}", gateway.address));
    let page = client.get(PAGE).send().await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let text = page.text();
    for said in [
        "href=\"mailto:security@corp.test\"",
        "which version",
        "The steps that show it",
        "what you had expected instead",
        "What somebody could do with it",
        "What lessens it",
        "within 12 hours",
        "https://corp.test/thanks",
        "href=\"/.well-known/security.txt\"",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(upstream.requests(), 0);
    // Nobody signs in for it, and nobody posts to it.
    let posted = client.post(PAGE).send().await;
    assert_eq!(posted.problem(), "method-not-allowed");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_is_configured_is_what_stands_in_the_file() {
    let upstream = Upstream::start().await;
    let ahead = Timestamp::from_seconds(SystemClock.now().as_seconds()) + Span::from_days(200);
    let table = format!(
        r#"
[accounts]
origin = "https://shop.corp.test"

[security-txt]
contact = ["tel:+1-201-555-0123"]
expires = "{ahead}"
canonical = ["https://shop.corp.test/.well-known/security.txt"]
encryption = ["openpgp4fpr:5f2de5521c63a801ab59ccb603d49de44b29100f"]
"#
    );
    let gateway = gate(&upstream, &table).await.start().await;
    let found = fields(&gateway.client()).await;
    assert_eq!(of(&found, "Expires"), [ahead.to_string()]);
    // Where the product's own address is known, nobody's `Host` counts.
    assert_eq!(
        of(&found, "Policy"),
        [format!("https://shop.corp.test{PAGE}")]
    );
    assert_eq!(of(&found, "Canonical").len(), 1);
    assert_eq!(of(&found, "Encryption").len(), 1);
}

#[tokio::test]
async fn without_the_table_the_path_is_the_product_s() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream, "").await.start().await;
    assert_eq!(gateway.client().get(FILE).send().await.status, 200);
    assert_eq!(upstream.last().target, FILE);
    assert_eq!(
        gateway.client().get(PAGE).send().await.problem(),
        "no-route"
    );
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_file_that_names_nobody_or_has_run_out_is_refused_before_the_start() {
    let upstream = Upstream::start().await;
    for (table, key, told) in [
        (
            "[security-txt]\n",
            "security-txt.contact",
            "nobody to report to",
        ),
        (
            "[security-txt]\ncontact = [\"security@corp.test\"]\n",
            "security-txt.contact.0",
            "mailto:",
        ),
        (
            "[security-txt]\ncontact = [\"tel:1\"]\nexpires = \"2026-01-01T00:00:00Z\"\n",
            "security-txt.expires",
            "has passed",
        ),
    ] {
        let gate = gate(&upstream, table).await;
        for verb in ["check", "serve"] {
            let output = gate.cli(&[verb]);
            assert_eq!(output.status.code(), Some(1), "{verb}: {table}");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains(key) && text.contains(told), "{verb}: {text}");
        }
    }
    let gate = gate(&upstream, "[[route]]\npath = \"/.well-known/security.txt\"\nallow = \"public\"\n\n[security-txt]\ncontact = [\"tel:1\"]\n").await;
    let output = gate.cli(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the gate itself answers here"), "{text}");
}
