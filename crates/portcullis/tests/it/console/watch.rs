//! What somebody on duty looks after by hand: webhooks, uploads in quarantine, secrets' ages, alerts, incidents.

use std::sync::atomic::Ordering;

use http::Method;
use serde_json::json;

use super::{ANA, CONSOLE, HOSTILE, ROOT, assert_harmless, builder, done, gate, json as cli};
use crate::anomalies::{self, guess};
use crate::support::clamd::{self, EICAR};
use crate::support::{Gateway, Upstream, database, eventually_asked};
use crate::uploads::stored;
use crate::webhooks;

fn actions(gateway: &Gateway, action: &str) -> Vec<serde_json::Value> {
    let listed = cli(gateway, &["audit", "list", "--action", action]);
    listed.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_message_that_was_given_up_is_delivered_again_by_hand() {
    let (upstream, status) = webhooks::product().await;
    status.store(400, Ordering::SeqCst);
    let gateway = webhooks::builder(&upstream)
        .await
        .user(ROOT, &["admin"])
        .user(ANA, &["user"])
        .start()
        .await;
    let message = webhooks::stripe(
        &json!({ "id": "evt_1", "type": "invoice.paid", "data": { "object": { "id": "in_1" } } })
            .to_string(),
    );
    webhooks::assert_received(&webhooks::post(&gateway, "/webhooks/stripe", &message).await);
    webhooks::all_are(&gateway, "dead", 1).await;
    let root = gateway.signed_in(ROOT).await;
    let below = format!("{CONSOLE}/webhooks");
    let page = root.open(&format!("{below}?state=dead")).await;
    assert_eq!(page.ids_below(&below).len(), 1, "{}", page.text);
    let nothing = root.open(&format!("{below}?state=delivered")).await;
    assert!(nothing.ids_below(&below).is_empty());
    let id = page.ids_below(&below)[0].clone();
    let one = root.open(&format!("{below}/{id}")).await;
    for words in ["evt_1", "given up", "tried", "400"] {
        assert!(
            one.text.to_lowercase().contains(words),
            "{words}: {}",
            one.text
        );
    }
    // Whoever may not, may not with a token of their own either.
    let ana = gateway.signed_in(ANA).await;
    let own = ana.cookie("csrf_token").unwrap();
    let replay = format!("{below}/{id}/replay");
    let refused = ana.submit(&replay, &format!("csrf={own}")).await;
    assert_eq!(refused.status, 403);
    let bare = root.submit(&replay, "a=b").await;
    assert_eq!(bare.status, 403);
    assert!(actions(&gateway, "webhook.replayed").is_empty());
    status.store(200, Ordering::SeqCst);
    let sent = root.fill(&one, "/replay", &[]).await;
    assert!(
        root.follow(&sent)
            .await
            .text
            .contains("It is delivered again.")
    );
    webhooks::all_are(&gateway, "delivered", 1).await;
    let events = actions(&gateway, "webhook.replayed");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["actor"], "user");
    let again = root.open(&format!("{below}/{id}")).await;
    assert!(
        again.text.contains("gets it a second time"),
        "{}",
        again.text
    );
}

#[tokio::test]
async fn a_file_in_quarantine_is_looked_at_and_leaves_by_the_scanner_alone_or_for_good() {
    let upstream = Upstream::start().await;
    let gateway = stored::builder(&upstream, &clamd::shared(), "infected = \"quarantine\"")
        .await
        .start()
        .await;
    let infected = [crate::uploads::file("Invoice.txt", "text/plain", EICAR)];
    let answer = stored::with_form(gateway.client().post("/files"), &infected);
    assert_eq!(answer.send().await.problem(), "upload-infected");
    let root = gateway.signed_in(ROOT).await;
    let below = format!("{CONSOLE}/uploads");
    let list = root.open(&below).await;
    let ids = list.ids_below(&below);
    assert_eq!(ids.len(), 1, "{}", list.text);
    assert!(!list.text.contains("Invoice.txt"), "names are sealed");
    let at = format!("{below}/{}", ids[0]);
    let page = root.open(&at).await;
    for words in ["Invoice.txt", "infected", "served to nobody", "anonymous"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    let refused = root.fill(&page, "/release", &[]).await;
    assert!(refused.answer.status.is_client_error());
    assert!(
        refused
            .text
            .contains("It stays as it is: the scanner found"),
        "{}",
        refused.text
    );
    assert!(refused.text.contains("served to nobody"));
    assert!(actions(&gateway, "upload.released").is_empty());
    let deleted = root.fill(&page, "/delete", &[]).await;
    let after = root.follow(&deleted).await;
    assert!(after.text.contains("Deleted.") && after.ids_below(&below).is_empty());
    assert_eq!(root.open(&at).await.answer.status, 404);
    let removed = actions(&gateway, "upload.removed");
    assert_eq!(removed[0]["actor"], "user", "{removed:#?}");
}

#[tokio::test]
async fn secrets_are_listed_by_their_age_and_no_value_is_shown() {
    let upstream = Upstream::start().await;
    let (gateway, root) = crate::secrets::with_stripe(&upstream).await;
    let page = root.open(&format!("{CONSOLE}/secrets")).await;
    assert_eq!(page.answer.status, 200, "{}", page.text);
    assert!(page.text.contains("<strong>stripe</strong>") && page.text.contains("0 days"));
    assert!(page.text.contains("in time"));
    assert!(!page.text.contains(crate::secrets::CANARY));
    let micros = 91_i64 * 86_400_000_000;
    let sql = format!("UPDATE stored_secret SET rotated_at = rotated_at - {micros}");
    database::execute(&gateway.folder, &sql).await;
    let page = root.open(&format!("{CONSOLE}/secrets")).await;
    assert!(
        page.text.contains("91 days") && page.text.contains(">due<"),
        "{}",
        page.text
    );
    let first = root.open(CONSOLE).await.text;
    let (_, rest) = first.split_once("Secrets over 90 days").unwrap();
    assert!(rest.contains("1 due for a new value"), "{rest}");
}

/// Ana administers acme, Eve administers globex.
fn two_tenants(gateway: &Gateway) {
    for (slug, email) in [("acme", ANA), ("globex", super::EVE)] {
        done(gateway, &["tenants", "create", slug]);
        done(gateway, &["tenants", "set-roles", slug, email, "admin"]);
    }
}

fn of_tenant(slug: &str, page: &str) -> String {
    format!("{CONSOLE}/tenants/{slug}/{page}")
}

#[tokio::test]
async fn a_tenants_administrator_sees_the_ages_of_its_secrets_and_of_no_others() {
    let upstream = Upstream::start().await;
    let (gateway, root) = crate::secrets::with_stripe(&upstream).await;
    two_tenants(&gateway);
    let (ana, eve) = (
        gateway.signed_in(ANA).await,
        gateway.signed_in(super::EVE).await,
    );
    let list = of_tenant("acme", "secrets");
    let page = ana.open(&list).await;
    assert!(page.text.contains("has no secrets"), "{}", page.text);
    let api = "/.portcullis/admin/v1/tenants/acme/secrets/mailer";
    let new = json!({ "value": crate::secrets::CANARY, "owner": "letters", "purpose": HOSTILE });
    let made = ana.send(Method::PUT, api).json(&new).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    let first = ana.open(CONSOLE).await;
    assert!(first.text.contains(&list), "{}", first.text);
    let page = ana.open(&list).await;
    assert_harmless(&page);
    let at = format!("{list}/mailer");
    for words in [&*format!("href=\"{at}\""), "0 days", "in time"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(!page.text.contains("stripe"), "the product's own");
    let page = ana.open(&at).await;
    assert_harmless(&page);
    for words in ["version 1", "letters", "by its provider", "in use"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }

    // A second version: the first is served still, and the page has neither.
    let second = "tundra canary of the letters team 91bc";
    let rotate = ana.post(&format!("{api}/rotate"));
    let rotate = rotate.json(&json!({ "value": second })).send().await;
    assert_eq!(rotate.status, 200, "{}", rotate.text());
    let page = ana.open(&at).await;
    for words in ["Version 2", "Version 1", "served still"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    for value in [crate::secrets::CANARY, second] {
        assert!(!page.text.contains(value));
    }
    let micros = 91_i64 * 86_400_000_000;
    let sql = format!("UPDATE stored_secret SET rotated_at = rotated_at - {micros}");
    database::execute(&gateway.folder, &sql).await;
    for path in [&list, &at] {
        let page = ana.open(path).await;
        let words = page.text.contains("91 days") && page.text.contains(">due<");
        assert!(words, "{}", page.text);
    }

    // Neither the product's own, nor another tenant's, nor one of no name.
    for name in ["stripe", "nothing", "%2e%2e"] {
        let answer = ana.get(&format!("{list}/{name}")).send().await;
        assert!(answer.status.is_client_error(), "{name}");
    }
    let elsewhere = format!("{}/mailer", of_tenant("globex", "secrets"));
    assert_eq!(eve.open(&elsewhere).await.answer.status, 404);
    let page = eve.open(&of_tenant("globex", "secrets")).await;
    assert!(page.text.contains("has no secrets"), "{}", page.text);
    assert_eq!(eve.get(&at).send().await.problem(), "not-found");
    // Whoever runs the gate sees it with the others.
    let page = root.open(&format!("{CONSOLE}/secrets")).await;
    assert!(
        page.text.contains("<strong>mailer</strong>"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_tenants_administrator_sees_what_of_its_files_is_in_quarantine_and_acts_on_nothing() {
    let upstream = Upstream::start().await;
    let gateway = stored::builder(&upstream, &clamd::shared(), "infected = \"quarantine\"")
        .await
        .start()
        .await;
    two_tenants(&gateway);
    let (ana, eve) = (
        gateway.signed_in(ANA).await,
        gateway.signed_in(super::EVE).await,
    );
    let infected = [crate::uploads::file("Invoice.txt", "text/plain", EICAR)];
    for request in [ana.post("/ours"), gateway.client().post("/files")] {
        let answer = stored::with_form(request, &infected).send().await;
        assert_eq!(answer.problem(), "upload-infected");
    }
    let clean = [crate::uploads::file(
        "notes.txt",
        "text/plain",
        b"all is well",
    )];
    let kept = stored::with_form(ana.post("/ours"), &clean).send().await;
    assert_eq!(kept.status, 200, "{}", kept.text());

    let below = of_tenant("acme", "uploads");
    let first = ana.open(CONSOLE).await;
    assert!(first.text.contains(&below), "{}", first.text);
    let list = ana.open(&below).await;
    let ids = list.ids_below(&below);
    assert_eq!(ids.len(), 1, "what is in quarantine: {}", list.text);
    for (state, count) in [("", 2), ("kept", 1)] {
        let list = ana.open(&format!("{below}?state={state}")).await;
        assert_eq!(
            list.ids_below(&below).len(),
            count,
            "{state}: {}",
            list.text
        );
    }
    let at = format!("{below}/{}", ids[0]);
    let page = ana.open(&at).await;
    for words in ["Invoice.txt", "infected", "served to nobody", "user:"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(!page.text.contains("/release") && !page.text.contains("/delete"));
    for act in ["release", "delete"] {
        let own = ana.cookie("csrf_token").unwrap();
        let path = format!("{CONSOLE}/uploads/{}/{act}", ids[0]);
        let refused = ana.submit(&path, &format!("csrf={own}")).await;
        assert_eq!(refused.status, 403, "{act}");
    }

    // Another tenant's administrator finds it nowhere.
    let globex = of_tenant("globex", "uploads");
    let list = eve.open(&format!("{globex}?state=")).await;
    assert!(list.ids_below(&globex).is_empty(), "{}", list.text);
    let page = eve.open(&format!("{globex}/{}", ids[0])).await;
    assert_eq!(page.answer.status, 404, "{}", page.text);
    assert_eq!(eve.get(&at).send().await.problem(), "not-found");
    // Nor what was sent in no tenant's name, though its id is known.
    let root = gateway.signed_in(ROOT).await;
    let all = root.open(&format!("{CONSOLE}/uploads")).await;
    let all = all.ids_below(&format!("{CONSOLE}/uploads"));
    assert_eq!(all.len(), 2);
    let foreign = all.iter().find(|id| **id != ids[0]).unwrap();
    let page = ana.open(&format!("{below}/{foreign}")).await;
    assert_eq!(page.answer.status, 404, "{}", page.text);
}

#[tokio::test]
async fn what_was_found_is_shown_and_kept_silent_for_a_reason() {
    let upstream = Upstream::start().await;
    let gateway = anomalies::builder(&upstream)
        .await
        .user(ROOT, &["admin"])
        .start()
        .await;
    guess(&[&gateway], ANA, 4).await;
    anomalies::found(&gateway, "login-burst", 1).await;
    let root = gateway.signed_in(ROOT).await;
    let alerts = format!("{CONSOLE}/alerts");
    let page = root.open(&alerts).await;
    assert!(
        page.text.contains("<strong>login-burst</strong>"),
        "{}",
        page.text
    );
    assert!(
        page.text.contains("goes on")
            && page
                .text
                .contains("/alerts/silences/new?source=login%2Dburst")
    );
    let new = format!("{alerts}/silences/new?source=login-burst");
    let form = root.open(&new).await;
    let fields = [
        ("source", "login-burst"),
        ("for", "2"),
        ("because", "a test of the doors"),
    ];
    for (name, wrong) in [
        ("for", "721"),
        ("for", "soon"),
        ("because", ""),
        ("source", "made-up"),
    ] {
        let fields =
            fields.map(|(field, value)| (field, if field == name { wrong } else { value }));
        let form = root.open(&new).await;
        let refused = root.fill(&form, "/silences", &fields).await;
        assert_eq!(refused.answer.status, 422, "{name}");
        assert!(refused.text.contains("role=\"alert\""));
    }
    assert!(actions(&gateway, "alert.silenced").is_empty());
    let made = root.fill(&form, "/silences", &fields).await;
    let page = root.follow(&made).await;
    assert!(page.text.contains("a test of the doors"), "{}", page.text);
    let twice = root.fill(&form, "/silences", &fields).await;
    assert_eq!(twice.answer.status, 409);
    let events = actions(&gateway, "alert.silenced");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["actor"], "user");
    let lifted = root.fill(&page, "/lift", &[]).await;
    assert!(
        !root
            .follow(&lifted)
            .await
            .text
            .contains("a test of the doors")
    );
    assert_eq!(actions(&gateway, "alert.silence-lifted").len(), 1);
    assert_eq!(
        root.open(&format!("{alerts}/sent")).await.answer.status,
        200
    );
}

#[tokio::test]
async fn incidents_are_read_with_what_their_clocks_say() {
    let gateway = gate().await;
    let open = [
        "incident",
        "open",
        "--title",
        HOSTILE,
        "--severity",
        "critical",
    ];
    let opened = cli(&gateway, &open);
    let root = gateway.signed_in(ROOT).await;
    let first = root.open(CONSOLE).await;
    assert_harmless(&first);
    assert!(
        first.text.contains("acknowledge within 23 h"),
        "{}",
        first.text
    );
    assert!(first.text.contains("triage within"));
    let list = root.open(&format!("{CONSOLE}/incidents")).await;
    assert_harmless(&list);
    let ids = list.ids_below(&format!("{CONSOLE}/incidents"));
    assert_eq!(ids.len(), 1, "{opened}");
    let at = format!("{CONSOLE}/incidents/{}", ids[0]);
    let page = root.open(&at).await;
    assert_harmless(&page);
    assert!(
        page.text.contains("`postmortem` has no note"),
        "{}",
        page.text
    );
    done(
        &gateway,
        &[
            "incident",
            "note",
            &ids[0],
            "--phase",
            "triage",
            "two laptops",
        ],
    );
    let page = root.open(&at).await;
    assert!(
        page.text.contains("two laptops") && !page.text.contains("not yet"),
        "{}",
        page.text
    );
    // A day and an hour ago: nobody had answered by then.
    let late = cli(
        &gateway,
        &["incident", "open", "--title", "late", "--severity", "low"],
    );
    let micros = 25_i64 * 3_600_000_000;
    let sql = format!("UPDATE incident SET opened_at = opened_at - {micros} WHERE title = 'late'");
    database::execute(&gateway.folder, &sql).await;
    let first = root.open(CONSOLE).await;
    assert!(
        first.text.contains("not acknowledged"),
        "{late}: {}",
        first.text
    );
    assert!(first.text.contains("somebody should have answered by now"));
    let answer = root.send(Method::POST, &at).send().await;
    assert!(answer.status.is_client_error(), "they are read only");
}

#[tokio::test]
async fn the_posture_is_that_of_the_configuration_that_counts_now() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let root = gateway.signed_in(ROOT).await;
    let warnings = async || {
        let page = root.open(CONSOLE).await.text;
        page.matches("<span class=\"mark bad\">warning</span>")
            .count()
    };
    let before = warnings().await;
    let config = gateway.config_path();
    let text = std::fs::read_to_string(&config).unwrap();
    let exempt = "\n[[route]]\npath = \"/exempt\"\nallow = \"user\"\ncsrf = false\n";
    std::fs::write(&config, format!("{text}{exempt}")).unwrap();
    eventually_asked("the reload is seen", async || warnings().await > before).await;
    std::fs::write(&config, text).unwrap();
    eventually_asked("and the way back", async || warnings().await == before).await;
}
