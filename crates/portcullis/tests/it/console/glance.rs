//! The first page's figures, and the pages behind them: what was recorded, with its proof.

use serde_json::{Value, json};

use super::{
    ANA, CONSOLE, EVE, HOSTILE, ROOT, account, assert_harmless, builder, done, gate, json as cli,
};
use crate::support::forms::Page;
use crate::support::{Browser, Gateway, Upstream, eventually_asked};

/// The figure under a label of the first page.
fn figure(page: &Page, label: &str) -> String {
    let (_, rest) = page
        .text
        .split_once(&format!("<dt>{label}</dt>"))
        .unwrap_or_else(|| panic!("no `{label}`: {}", page.text));
    let (_, rest) = rest.split_once("<dd class=\"figure").unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    let (cell, _) = rest.split_once("</dd>").unwrap();
    let cell = cell.split_once('>').map_or(cell, |(_, inner)| inner);
    cell.split('<').next().unwrap().to_owned()
}

/// The number of an event, as the command line lists it.
async fn noted(gateway: &Gateway, action: &str) -> Value {
    let list = || cli(gateway, &["audit", "list", "--action", action]);
    eventually_asked(action, async || !list().as_array().unwrap().is_empty()).await;
    list()[0].clone()
}

async fn sign_in_wrong(gateway: &Gateway) {
    let login = json!({ "email": ANA, "password": "wrong-wrong-1881-x" });
    let browser = gateway.browser();
    let answer = browser.post("/.portcullis/auth/login").json(&login).send();
    assert_eq!(answer.await.status, 401);
}

#[tokio::test]
async fn the_first_page_counts_what_was_let_through_and_refused_and_why() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (root, ana) = (gateway.signed_in(ROOT).await, gateway.signed_in(ANA).await);
    for _ in 0..7 {
        assert_eq!(ana.get("/anything").send().await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(ana.get("/admin").send().await.problem(), "not-permitted");
    }
    assert_eq!(ana.get("/closed").send().await.problem(), "route-closed");
    sign_in_wrong(&gateway).await;
    // Requests are there at once; what was recorded, when it has its place in the log.
    let page = root.open(CONSOLE).await;
    assert_eq!(figure(&page, "Let through"), "7", "{}", page.text);
    assert_eq!(figure(&page, "Refused"), "5");
    eventually_asked("the failed sign-in is counted", async || {
        figure(&root.open(CONSOLE).await, "Failed sign-ins") == "1"
    })
    .await;
    let page = root.open(CONSOLE).await;
    assert!(page.text.contains("/.portcullis/problems/not-permitted"));
    assert!(
        page.text
            .contains("role=\"img\" aria-label=\"Refused: 5 in all")
    );
    assert_eq!(figure(&page, "Open incidents"), "0");
    assert_eq!(figure(&page, "In quarantine"), "0");
    assert_eq!(figure(&page, "Secrets over 90 days"), "0");
    // Another node counts for itself, and what it wrote is seen here.
    let twin = gateway.twin().await;
    let there = twin.signed_in(ANA).await;
    assert_eq!(there.get("/anything").send().await.status, 200);
    let own = twin.signed_in(ROOT).await;
    assert_ne!(figure(&own.open(CONSOLE).await, "Let through"), "0");
}

#[tokio::test]
async fn the_figures_are_shown_to_whom_the_pages_behind_them_are_open() {
    let upstream = Upstream::start().await;
    let auditor = "\n[roles.auditor]\npermissions = [\"manage:audit\"]\n[roles.admin]\npermissions = [\"manage:users\", \"manage:system\", \"manage:secrets\", \"manage:uploads\"]\n[roles.user]\npermissions = [\"read:own\"]\n";
    let gateway = builder(&upstream)
        .await
        .more(auditor)
        .user("aud@corp.test", &["auditor"])
        .start()
        .await;
    done(&gateway, &["tenants", "create", "globex"]);
    done(
        &gateway,
        &["tenants", "set-roles", "globex", EVE, "auditor"],
    );
    let shows = async |browser: &Browser, label: &str| {
        browser
            .open(CONSOLE)
            .await
            .text
            .contains(&format!("<dt>{label}</dt>"))
    };
    let of_audit = ["Let through", "Refused", "Failed sign-ins", "Limits hit"];
    let of_system = [
        "Open incidents",
        "Anomalies",
        "Webhooks given up",
        "Posture",
    ];
    let of_others = ["In quarantine", "Secrets over 90 days"];
    let (ana, eve) = (gateway.signed_in(ANA).await, gateway.signed_in(EVE).await);
    let (root, aud) = (
        gateway.signed_in(ROOT).await,
        gateway.signed_in("aud@corp.test").await,
    );
    for label in of_audit {
        assert!(shows(&aud, label).await, "{label}");
        assert!(!shows(&root, label).await, "{label}");
    }
    for label in of_system.into_iter().chain(of_others) {
        assert!(shows(&root, label).await, "{label}");
        assert!(!shows(&aud, label).await, "{label}");
    }
    // Whoever holds it in a tenant alone sees nothing of the whole gate, nor does whoever holds nothing.
    for label in of_audit.into_iter().chain(of_system).chain(of_others) {
        assert!(!shows(&eve, label).await, "{label}");
        assert!(!shows(&ana, label).await, "{label}");
    }
}

#[tokio::test]
async fn a_refusal_is_followed_from_the_list_to_the_decision_and_its_proof() {
    let gateway = gate().await;
    let (root, ana) = (gateway.signed_in(ROOT).await, gateway.signed_in(ANA).await);
    let refused = ana.get("/admin").send().await;
    let request = refused.json()["request_id"].as_str().unwrap().to_owned();
    noted(&gateway, "access.denied").await;
    let audit = format!("{CONSOLE}/audit");
    // By the id that the refused caller was told, and by the filters.
    let by_request = root.open(&format!("{audit}?request={request}")).await;
    let found = by_request.ids_below(&audit);
    assert_eq!(found.len(), 1, "{}", by_request.text);
    let id = &found[0];
    let user = account(&gateway, ANA);
    let query =
        format!("{audit}?action=access.denied&outcome=denied&actor={user}&since=2020-01-01T00:00");
    assert_eq!(&root.open(&query).await.ids_below(&audit), &found);
    let none = root
        .open(&format!(
            "{audit}?action=access.denied&until=2020-01-01T00:00"
        ))
        .await;
    assert!(none.ids_below(&audit).is_empty() && none.text.contains("Nothing was recorded"));

    let at = format!("{audit}/{id}");
    eventually_asked("it has its place in the log", async || {
        root.open(&at)
            .await
            .text
            .contains("It was verified for this page.")
    })
    .await;
    let page = root.open(&at).await;
    for words in [
        &*request,
        "authorization: the route's own rule",
        "<code>/admin</code>",
        "You may not do this",
        "403",
        "127.0.0.1",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(page.text.contains(&format!("{CONSOLE}/users/{user}")));
    // The proof that the page shows is the one that the command line takes.
    let link = format!("/.portcullis/admin/v1/audit/events/{id}/proof");
    assert!(page.text.contains(&format!("href=\"{link}\"")));
    let proof = root.get(&link).send().await;
    assert_eq!(proof.status, 200);
    std::fs::write(gateway.folder.join("event.tlog-proof"), proof.text()).unwrap();
    let proof = gateway.folder.join("event.tlog-proof");
    let key = done(&gateway, &["audit", "key"]);
    let (proof, key) = (proof.to_str().unwrap(), key.trim());
    done(
        &gateway,
        &["audit", "verify", "--proof", proof, "--key", key],
    );
    let first_line = page.text.contains("c2sp.org/tlog-proof@v1");
    assert!(first_line, "{}", page.text);
}

#[tokio::test]
async fn a_list_goes_on_to_its_end_and_says_what_it_was_asked() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    for number in 0..60 {
        done(&gateway, &["tenants", "create", &format!("t{number}")]);
    }
    let audit = format!("{CONSOLE}/audit");
    let first = root.open(&format!("{audit}?action=tenant.created")).await;
    let mut seen = first.ids_below(&audit);
    assert_eq!(seen.len(), 50);
    let next = first.next().unwrap();
    assert!(next.contains("action=tenant%2Ecreated"), "{next}");
    let second = root.open(&next).await;
    seen.extend(second.ids_below(&audit));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 60);
    assert!(!second.text.contains("rel=\"next\""));
    for (field, value) in [
        ("actor", "nobody"),
        ("tenant", "nowhere"),
        ("since", "yesterday"),
        ("request", "this"),
        ("action", "made.up"),
        ("outcome", "perhaps"),
    ] {
        let page = root.open(&format!("{audit}?{field}={value}")).await;
        assert_eq!(page.answer.status, 422, "{field}");
        assert!(
            page.text.contains("role=\"alert\""),
            "{field}: {}",
            page.text
        );
    }
    let query: String = url::form_urlencoded::byte_serialize(HOSTILE.as_bytes()).collect();
    assert_harmless(
        &root
            .open(&format!("{audit}?actor={query}&tenant={query}"))
            .await,
    );
}

#[tokio::test]
async fn administrators_of_a_tenant_see_its_own_events_and_no_others() {
    let gateway = gate().await;
    for (tenant, email) in [("acme", ANA), ("globex", EVE)] {
        done(&gateway, &["tenants", "create", tenant]);
        done(&gateway, &["tenants", "set-roles", tenant, email, "admin"]);
    }
    let (ana, eve) = (gateway.signed_in(ANA).await, gateway.signed_in(EVE).await);
    // An act of each in their own tenant.
    for (browser, tenant) in [(&ana, "acme"), (&eve, "globex")] {
        let page = browser
            .open(&format!("{CONSOLE}/tenants/{tenant}/invitations"))
            .await;
        let email = format!("new@{tenant}.test");
        let invited = browser
            .fill(&page, "/invitations", &[("email", &email)])
            .await;
        assert_eq!(invited.answer.status, 201, "{}", invited.text);
    }
    let of = |tenant: &str| format!("{CONSOLE}/tenants/{tenant}/audit");
    let invitation = "?action=invitation.created";
    let own = ana.open(&format!("{}{invitation}", of("acme"))).await;
    let mine = own.ids_below(&of("acme"));
    assert_eq!(mine.len(), 1, "{}", own.text);
    let theirs = eve
        .open(&format!("{}{invitation}", of("globex")))
        .await
        .ids_below(&of("globex"));
    assert_eq!(theirs.len(), 1);
    assert_ne!(mine, theirs);
    let page = ana.open(&format!("{}/{}", of("acme"), mine[0])).await;
    assert_eq!(page.answer.status, 200, "{}", page.text);
    // Neither below the other's path, nor below one's own, nor by a filter, nor by the request's id.
    let theirs = &theirs[0];
    for target in [
        format!("{}/{theirs}", of("acme")),
        format!("{}/{theirs}", of("globex")),
        of("globex"),
    ] {
        assert_eq!(ana.open(&target).await.answer.status, 404, "{target}");
    }
    for target in [
        CONSOLE.to_owned() + "/audit",
        format!("{CONSOLE}/audit/{}", mine[0]),
    ] {
        assert_eq!(ana.open(&target).await.answer.status, 403, "{target}");
    }
    let filtered = ana
        .open(&format!("{}{invitation}&tenant=globex", of("acme")))
        .await;
    assert_eq!(filtered.ids_below(&of("acme")), mine);
    let events = cli(
        &gateway,
        &["audit", "list", "--action", "invitation.created"],
    );
    for event in events.as_array().unwrap() {
        let request = event["request_id"].as_str().unwrap();
        let page = ana.open(&format!("{}?request={request}", of("acme"))).await;
        let expected = usize::from(event["id"] == mine[0]);
        assert_eq!(page.ids_below(&of("acme")).len(), expected, "{}", page.text);
    }
}
