//! The pages for passkeys in real Chromium, whose own virtual authenticator answers.

use std::process::Command;

use serde_json::Value;

use super::{ANA, EVE, builder};
use crate::support::mailbox::nobody;
use crate::support::{PASSWORD, Upstream, required};

#[tokio::test]
async fn people_use_passkeys_in_chromium_and_thieves_do_not() {
    let upstream = Upstream::start().await;
    // A page may use passkeys where its context is secure: https, or localhost.
    let address = nobody();
    let origin = format!("http://localhost:{}", address.port());
    let elsewhere = upstream.url().replace("127.0.0.1", "localhost");
    let gateway = builder(&upstream)
        .await
        .replace(
            "address = \"127.0.0.1:0\"\n\n[admin]",
            &format!("address = \"{address}\"\n\n[admin]"),
        )
        .with_origin(&origin)
        .start()
        .await;
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/browser/passkeys.cjs"
    );
    let output = tokio::task::spawn_blocking(move || {
        Command::new(required("PORTCULLIS_TEST_NODE"))
            .arg(script)
            .arg(required("PORTCULLIS_TEST_CHROMIUM"))
            .args([&origin, &elsewhere, ANA, EVE, PASSWORD])
            .env("NODE_PATH", required("PORTCULLIS_TEST_NODE_PATH"))
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{complaint}");
    let steps: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for step in [
        "without a script the forms stay hidden",
        "a passkey was made, and ten recovery codes shown",
        "the passkey alone signs in",
        "a replayed answer is refused",
        "after the password the passkey opens the route",
        "a route that wants a recent sign-in gets one",
        "an answer from another origin is refused",
        "somebody else's passkey is no second factor",
        "a removed passkey is refused",
        "nothing broke the content security policy",
    ] {
        assert_eq!(steps[step], true, "{step}: {steps:#}");
    }
    assert!(gateway.printed().contains("listening"));
}
