//! The pages for passkeys in real Chromium, whose own virtual authenticator answers.

use super::{ANA, EVE, builder};
use crate::support::chromium::drive;
use crate::support::mailbox::nobody;
use crate::support::{PASSWORD, Upstream};

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
    let arguments = [&*origin, &*elsewhere, ANA, EVE, PASSWORD];
    let steps = drive("passkeys.cjs", &arguments).await;
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
