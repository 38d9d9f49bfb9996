//! Webhooks of every kind are probed, each as its sender signs (B1, B2, B3).

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{like, prove, verdict};
use crate::demo::Demo;

const WEBHOOKS: &str = r#"
[[webhook]]
name = "people"
path = "/webhooks/people"
scheme = "standard"
secrets = [{ file = "people" }]

[[webhook]]
name = "bank"
path = "/webhooks/bank"
scheme = "standard"
secrets = [{ file = "bank" }]

[[webhook]]
name = "code"
path = "/webhooks/code"
scheme = "github"
secrets = [{ file = "code" }]

[[webhook]]
name = "room"
path = "/webhooks/room"
scheme = "slack"
secrets = [{ file = "code" }]

[[webhook]]
name = "shop"
path = "/webhooks/shop"
scheme = "hmac"
secrets = [{ file = "code" }]
signature-header = "x-shop-hmac"
signature-encoding = "base64"
timestamp-header = "x-shop-time"
id-at = "/id"

[[webhook]]
name = "meter"
path = "/webhooks/meter"
upstream-path = "/readings"
scheme = "hmac"
secrets = [{ file = "code" }]
signature-header = "x-meter-signature"
signature-prefix = "sha256="
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_signing_is_played_and_what_bears_no_time_is_told() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let public = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = STANDARD.encode(public.public_key());
    let gateway = like(&demo)
        .more(WEBHOOKS)
        .file("people", &format!("whsec_{}", STANDARD.encode([9; 32])))
        .file("bank", &format!("whpk_{public}"))
        .file("code", "0f1e2d3c4b5a69788796a5b4c3d2e1f0")
        .start()
        .await;
    let findings = prove(&gateway, "B1,B2,B3");
    for id in ["B1", "B2", "B3"] {
        let (found, said) = verdict(&findings, id);
        assert_eq!(found, "held", "{id}: {said}");
    }
    let said = |id: &str| verdict(&findings, id).1;
    for path in [
        "payments", "people", "bank", "code", "room", "shop", "meter",
    ] {
        assert!(
            said("B1").contains(&format!("`/webhooks/{path}`")),
            "{path}"
        );
    }
    // Whoever signs with a private key cannot be played: what is refused of theirs is seen all the same.
    assert!(said("B1").contains("a signature by the key that is public"));
    for name in ["payments", "people", "room", "shop"] {
        assert!(said("B2").contains(&format!("`{name}` 300 s")), "{name}");
    }
    assert!(said("B2").contains("not of `bank`, `code`, `meter`"));
    for name in ["people", "code", "room", "shop", "meter"] {
        assert!(said("B3").contains(&format!("`{name}`")), "{name}");
    }
}
