//! The pages that people see, in a real browser: axe finds nothing, nothing overflows on a phone, and
//! none of them needs a script.

use portcullis_core::Clock as _;
use portcullis_core::time::SystemClock;

use crate::support::mailbox::Mailbox;
use crate::support::{Gateway, PASSWORD, Upstream, chromium, database, eventually_asked};

const ANA: &str = "ana@corp.test";

/// Something of everything that the console's pages have to show.
async fn happen(gateway: &Gateway) {
    let root = gateway.signed_in("root@corp.test").await;
    let ana = gateway.signed_in(ANA).await;
    for number in 0..12 {
        assert_eq!(root.get("/anything").send().await.status, 200);
        if number < 5 {
            assert_eq!(ana.get("/admin").send().await.status, 403);
        }
        if number < 2 {
            assert_eq!(ana.get("/closed").send().await.status, 403);
        }
    }
    let open = ["incident", "open", "--title"];
    for more in [
        ["a laptop is gone", "--severity", "critical"],
        ["odd exports at night", "--severity", "low"],
    ] {
        assert!(gateway.cli(&[open, more].concat()).status.success());
    }
    let silence = [
        "alerts",
        "silence",
        "login-burst",
        "--for",
        "2h",
        "--because",
        "a test of the doors",
    ];
    assert!(gateway.cli(&silence).status.success());
    let acme = gateway.cli(&["--output", "json", "tenants", "list"]).stdout;
    let acme: serde_json::Value = serde_json::from_slice(&acme).unwrap();
    let acme = acme[0]["id"].as_str().unwrap();
    let secret = "INSERT INTO stored_secret (id, tenant, name, owner, purpose, made, rotate_every, overlap, created_at, rotated_at, version) VALUES";
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let now = SystemClock.now().as_micros();
    let day = 86_400_000_000_i64;
    let webhook = "INSERT INTO webhook_delivery (id, endpoint, event, kind, sealed, state, received_at, due_at, attempts, status, fault) VALUES";
    let upload = "INSERT INTO stored_upload (id, tenant, owner, kind, size, sha256, state, verdict, found, created_at, sealed) VALUES";
    let anomaly = "INSERT INTO anomaly (id, detector, severity, subject, told, began_at, found_at, last_at, count) VALUES";
    let alert = "INSERT INTO alert (id, destination, kind, source, severity, subject, told, state, created_at, due_at, attempts, fault) VALUES";
    let [a, b, c] = [now - 100 * day, now - 40 * day, now - day];
    let hash = "cd".repeat(32);
    for (sqlite, rest) in [
        (
            secret,
            format!(
                "(ID1, '', 'stripe', 'payments', 'charges cards', 'provider', 0, 0, {a}, {a}, 3), (ID2, '', 'OPENAI_API_KEY', 'search', 'summaries', 'provider', {day}, 0, {b}, {b}, 1), (ID3, '', 'session-pepper', 'platform', 'hashes', 'hex:32', 0, 0, {c}, {c}, 8), (ID4, '{acme}', 'MAILER_API_KEY', 'letters', 'sends letters to members', 'provider', {day}, {day}, {b}, {b}, 2), (ID5, '{acme}', 'webhook-pepper', 'platform', 'signs what we send', 'hex:32', 0, 0, {c}, {c}, 1)"
            ),
        ),
        (
            "INSERT INTO stored_secret_version (secret_id, version, public, sealed, created_at, served_until, made_by) VALUES",
            format!(
                "(ID4, 2, '{{}}', 'x', {b}, NULL, 'operator'), (ID4, 1, '{{}}', NULL, {a}, {b}, 'user:{id}')"
            ),
        ),
        (
            webhook,
            format!(
                "(ID1, 'stripe', 'evt_1', 'invoice.paid', BYTES, 'dead', {c}, {c}, 8, 502, 'the product answered 502'), (ID2, 'github', 'a3f1', 'push', BYTES, 'delivered', {c}, {c}, 1, 204, NULL)"
            ),
        ),
        (
            upload,
            format!(
                "(ID1, '', 'anonymous', 'pdf', 48213, BYTES, 'quarantined', 'infected', 'Win.Test.EICAR_HDB-1', {c}, 'x'), (ID2, '{acme}', 'user:{id}', 'docx', 913402, BYTES, 'quarantined', 'infected', 'Win.Test.EICAR_HDB-1', {c}, 'x'), (ID3, '{acme}', 'user:{id}', 'png', 48213, BYTES, 'quarantined', 'unscanned', NULL, {b}, 'x')"
            ),
        ),
        (
            anomaly,
            format!(
                "(ID1, 'login-burst', 'medium', 'account:{id}', '9 failed sign-ins of one account within 10m', {now}, {now}, {now}, 9)"
            ),
        ),
        (
            alert,
            format!(
                "(ID1, 'on-duty', 'began', 'login-burst', 'medium', 'account:{id}', 'account:{id}: 9 failed sign-ins of one account within 10m', 'dead', {now}, {now}, 8, 'answered 500')"
            ),
        ),
    ] {
        let of = |blob: &dyn Fn(&str) -> String| {
            let mut text = format!("{sqlite} {rest}").replace("BYTES", &blob(&hash));
            for number in 1..=5 {
                let id = id.replace("01890a5d", &format!("0{number}890a5d"));
                let name = format!("ID{number}");
                text = text.replace(
                    &name,
                    &if blob("") == "X''" {
                        format!("X'{}'", id.replace('-', ""))
                    } else {
                        format!("'{id}'")
                    },
                );
            }
            text
        };
        let sqlite = of(&|hex| format!("X'{hex}'"));
        let postgres = of(&|hex| format!("decode('{hex}', 'hex')"));
        database::execute_either(&gateway.folder, &sqlite, &postgres).await;
    }
    let denied = [
        "audit",
        "list",
        "--action",
        "access.denied",
        "--output",
        "json",
    ];
    eventually_asked("the refusals are recorded", async || {
        let list = gateway.cli(&denied).stdout;
        String::from_utf8_lossy(&list).contains("access.denied")
    })
    .await;
}

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
    happen(&gateway).await;
    let origin = format!("http://{}", gateway.address);
    let told = chromium::drive("accessibility.cjs", &[&origin, ANA, PASSWORD]).await;
    let pages = told.as_array().unwrap();
    assert!(pages.len() >= 136, "{told}");
    for page in pages {
        assert_eq!(page["violations"], serde_json::json!([]), "{page:#}");
        assert_eq!(page["overflows"], false, "{page:#}");
        assert_eq!(page["scripts"], 0, "{page:#}");
        assert!(page["passes"].as_u64().unwrap() > 0);
    }
}
