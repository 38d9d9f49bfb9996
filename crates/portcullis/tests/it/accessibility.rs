//! The pages that people see, in a real browser: axe finds nothing, nothing overflows on a phone, and
//! none of them needs a script.

use std::process::Command;

use crate::support::mailbox::Mailbox;
use crate::support::{Gateway, PASSWORD, Upstream, required};

const ANA: &str = "ana@corp.test";

#[tokio::test]
async fn axe_finds_nothing_on_the_pages_of_accounts_and_a_phone_shows_them_whole() {
    let mailbox = Mailbox::start().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user(ANA, &["user"])
        .user("root@corp.test", &["admin"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
        .registering_by(mailbox.address)
        .start()
        .await;
    for arguments in [
        ["tenants", "create", "acme"].as_slice(),
        &["tenants", "set-roles", "acme", ANA, "user"],
        &["tenants", "set-roles", "acme", "root@corp.test", "admin"],
    ] {
        assert!(gateway.cli(arguments).status.success());
    }
    let origin = format!("http://{}", gateway.address);
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/browser/accessibility.cjs"
    );
    let output = tokio::task::spawn_blocking(move || {
        Command::new(required("PORTCULLIS_TEST_NODE"))
            .arg(script)
            .arg(required("PORTCULLIS_TEST_CHROMIUM"))
            .args([&origin, ANA, PASSWORD])
            .args(std::env::var("PORTCULLIS_TEST_PICTURES").ok())
            .env("NODE_PATH", required("PORTCULLIS_TEST_NODE_PATH"))
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{complaint}");
    let pages: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pages = pages.as_array().unwrap();
    assert!(pages.len() >= 70, "{text}");
    for page in pages {
        assert_eq!(page["violations"], serde_json::json!([]), "{page:#}");
        assert_eq!(page["overflows"], false, "{page:#}");
        assert_eq!(page["scripts"], 0, "{page:#}");
        assert!(page["passes"].as_u64().unwrap() > 0);
    }
}
