//! Controls that are taken out of the policy, one by one: each is named.

use super::{like, prove, verdict};
use crate::demo::{Demo, is_root};

/// What is probed, what is changed in the policy (or added to it), and a word of what has to be said.
const TAKEN_OUT: &[(&str, &str, &str, &str)] = &[
    ("I4", "", "\n[limits.auth]\noff = true\n", "none refused"),
    (
        "H5",
        "methods = [\"GET\", \"POST\"]\nallow = \"user\"",
        "methods = [\"GET\", \"POST\"]\nallow = \"user\"\ncsrf = false",
        "POST /api/notes",
    ),
    ("I5", "", "\n[mfa]\nrequired-for = []\n", "password alone"),
    (
        "S3",
        "",
        "\n[sessions]\non-other-client = \"ignore\"\n",
        "another browser",
    ),
    (
        "H1",
        "[\"https://partner.demo.test\"]",
        "[\"*\"]",
        "may read",
    ),
    (
        "H6",
        "placeholder = \"portcullis-demo-nonce\"",
        "placeholder = \"portcullis-demo-nonce\"\ncsp = \"default-src 'self'; script-src 'self' 'unsafe-inline'\"",
        "unsafe-inline",
    ),
    (
        "H8",
        "placeholder = \"portcullis-demo-nonce\"",
        "placeholder = \"portcullis-demo-nonce\"\npermissions-policy = \"\"",
        "switched off",
    ),
    (
        "H9",
        "",
        "\n[headers.hsts]\nmax-age = \"1d\"\n",
        "keep to HTTPS for 1d",
    ),
    ("L1", "", "\n[limits.default]\noff = true\n", "no limit"),
    ("U3", "", "\n[limits.uploads]\noff = true\n", "no limit"),
    (
        "B2",
        "secrets = [{ file = \"stripe\" }]",
        "secrets = [{ file = \"stripe\" }]\ntolerance = \"1h\"",
        "counts for 1h",
    ),
    ("A1", "", "\n[audit]\nenabled = false\n", "the trail has no"),
    ("A7", "", "\n[audit]\nenabled = false\n", "the trail has no"),
    (
        "M2",
        "",
        "\n[anomalies]\nenabled = false\n",
        "nothing is looked for",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_control_that_is_taken_out_of_the_policy_is_named() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    for (id, from, to, word) in TAKEN_OUT {
        let builder = like(&demo);
        let builder = if from.is_empty() {
            builder.more(to)
        } else {
            builder.replace(from, to)
        };
        let gateway = builder.start().await;
        let findings = prove(&gateway, &format!("{id},I2"));
        let (found, said) = verdict(&findings, id);
        assert_eq!(found, "failed", "{id}: {said}");
        assert!(said.contains(word), "{id}: {said}");
        // And nothing else with it.
        assert_eq!(verdict(&findings, "I2").0, "held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_does_not_promise_is_neither_held_nor_failed() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let text = "[visitors]\npage = \"/widget/{tenant}\"\n\n[vault]\n";
    // Nothing seals any more what the data map says is sealed.
    let gateway = like(&demo).replace("seen-by = []\nsealed = true", "seen-by = []");
    let gateway = gateway.replace(text, "").replace(
        "\n[[route]]\npath = \"/widget/{tenant}\"\nmethods = [\"GET\"]\nallow = \"public\"\nframing = { tenant = \"tenant\" }\n",
        "",
    );
    let gateway = gateway.replace("path = \"/api/visits/{visitor}\"\nmethods = [\"GET\"]\nallow = { action = \"read\", owner = \"visitor\" }\ncallers = [\"visitor\"]", "path = \"/api/visits/{visitor}\"\nallow = \"closed\"");
    let gateway = gateway.start().await;
    let findings = prove(&gateway, "W1,W3,K3,I2");
    for id in ["W1", "W3", "K3"] {
        let (found, said) = verdict(&findings, id);
        assert_eq!(found, "not-configured", "{id}: {said}");
    }
    assert_eq!(verdict(&findings, "I2").0, "held");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_is_late_at_the_gate_itself_is_named() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let gateway = like(&demo).start().await;
    let open = ["incident", "open", "--title", "x", "--severity", "critical"];
    assert!(gateway.cli(&open).status.success());
    let before = prove(&gateway, "N1");
    assert_eq!(verdict(&before, "N1").0, "held", "{before:?}");
    let sql = "UPDATE incident SET opened_at = opened_at - 90000000000";
    let url = format!(
        "sqlite://{}",
        gateway.folder.join("portcullis.db").display()
    );
    std::fs::write(gateway.folder.join("database"), url).unwrap();
    crate::support::database::execute(&gateway.folder, sql).await;
    let (found, said) = verdict(&prove(&gateway, "N1"), "N1");
    assert_eq!(found, "failed", "{said}");
    assert!(said.contains("not acknowledged"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_everybody_reaches_is_named() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let text = std::fs::read_to_string(demo.config()).unwrap();
    let (_, rest) = text.split_once("url = \"").unwrap();
    let url = rest.split('"').next().unwrap();
    for (instead, verdict_then, word) in [
        ("http://192.168.7.7:8000", "held", "beside the product"),
        ("https://203.0.113.7", "not-proven", "verify the assertion"),
        ("http://203.0.113.7:8000", "failed", "in the clear"),
    ] {
        let gateway = like(&demo).replace(url, instead).start().await;
        let (found, said) = verdict(&prove(&gateway, "D3"), "D3");
        assert_eq!(found, verdict_then, "{instead}: {said}");
        assert!(said.contains(word), "{instead}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_runs_as_root_is_named() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let gateway = like(&demo).start().await;
    let (found, said) = verdict(&prove(&gateway, "D1"), "D1");
    if is_root() {
        assert_eq!(found, "not-proven", "{said}");
        assert!(said.contains("start it as another user"), "{said}");
    } else {
        assert_eq!(found, "held", "{said}");
    }
}
