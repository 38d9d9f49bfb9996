//! From the sender to the product, and what happens when that one is away.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::senders::{by_libraries, event, github, libraries, shop, slack, stripe, stripe_with};
use super::{
    STANDARD_SECRET, STRIPE_SECRET, all_are, assert_received, assert_seen, builder, by_delivery,
    delivered, list, post, product, verified,
};
use crate::support::signer::now;
use crate::support::{Upstream, database, eventually_asked};

#[tokio::test]
async fn what_the_senders_libraries_sign_reaches_the_product_as_it_was_with_an_assertion() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    // Spaces and order as no library would write them again.
    let stripe_body = "{ \"type\":\"invoice.paid\",\n \"id\" : \"evt_1\", \"x\": 1.0 }";
    let standard_body = "{\"a\":  \"\u{e9}\"}";
    let (stripe, standard) = by_libraries(now(), stripe_body, standard_body);
    let answer = post(&gateway, "/webhooks/stripe", &stripe).await;
    assert_received(&answer);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.cookies().len(), 0);
    let first = delivered(&upstream, 1).await.remove(0);
    assert_received(&post(&gateway, "/webhooks/standard", &standard).await);
    let second = delivered(&upstream, 2).await.remove(1);

    assert_eq!(first.target, "/webhooks/stripe");
    assert_eq!(second.target, "/hooks/standard");
    assert_eq!(
        (first.method.as_str(), &first.body[..]),
        ("POST", &stripe.body[..])
    );
    assert_eq!(&second.body[..], &standard.body[..]);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("x-portcullis-attempt"), Some("1"));
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> = names
        .into_iter()
        .map(|name| (name.to_owned(), json!(second.header(name).unwrap())))
        .collect();
    libraries(&[
        json!({ "do": "verify", "scheme": "stripe", "secret": STRIPE_SECRET, "body": stripe_body,
            "headers": { "stripe-signature": first.header("stripe-signature").unwrap() } }),
        json!({ "do": "verify", "scheme": "standard", "secret": STANDARD_SECRET, "body": standard_body, "headers": headers }),
    ]);

    let claims = verified(&gateway, first.header("x-portcullis-assertion").unwrap()).await;
    assert_eq!(claims["sub"], "webhook:stripe");
    assert_eq!(claims["kind"], "webhook");
    assert_eq!(claims["roles"], json!([]));
    let about = &claims["webhook"];
    assert_eq!(
        (&about["name"], &about["event"]),
        (&json!("stripe"), &json!("evt_1"))
    );
    assert_eq!(
        about["delivery"],
        first.header("x-portcullis-delivery").unwrap()
    );
    let digest = portcullis_vault::tokens::sha256(&stripe.body);
    assert_eq!(about["sha256"], hex::encode(digest));

    all_are(&gateway, "delivered", 2).await;
    let rows = list(&gateway, &["list", "--webhook", "stripe"]);
    assert_eq!(
        (&rows[0]["event"], &rows[0]["kind"]),
        (&json!("evt_1"), &json!("invoice.paid"))
    );
    assert_eq!(
        (&rows[0]["status"], &rows[0]["attempts"]),
        (&json!(200), &json!(1))
    );
    let id = rows[0]["id"].as_str().unwrap();
    let shown = gateway.cli(&["webhooks", "show", id, "--payload"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(stripe_body));
}

#[tokio::test]
async fn the_other_schemes_are_delivered_and_slack_hears_its_challenge() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    assert_received(&post(&gateway, "/webhooks/github", &github("a", "{\"ref\":1}")).await);
    assert_received(
        &post(
            &gateway,
            "/webhooks/slack",
            &slack("{\"event_id\":\"Ev1\"}"),
        )
        .await,
    );
    assert_received(&post(&gateway, "/webhooks/shop", &shop("{\"id\":7}")).await);
    let received = delivered(&upstream, 3).await;
    let of = |target: &str| received.iter().find(|one| one.target == target).unwrap();
    assert_eq!(
        of("/webhooks/github").header("x-github-event"),
        Some("push")
    );
    assert_eq!(&of("/webhooks/slack").body[..], b"{\"event_id\":\"Ev1\"}");
    assert_eq!(&of("/webhooks/shop").body[..], b"{\"id\":7}");
    // The id of GitHub's delivery is not signed: another one makes no new message.
    assert_seen(&post(&gateway, "/webhooks/github", &github("b", "{\"ref\":1}")).await);
    assert_seen(
        &post(
            &gateway,
            "/webhooks/slack",
            &slack("{\"event_id\":\"Ev1\",\"x\":2}"),
        )
        .await,
    );
    assert_seen(&post(&gateway, "/webhooks/shop", &shop("{\"id\":7,\"x\":2}")).await);
    let challenge = slack("{\"type\":\"url_verification\",\"challenge\":\"abc\"}");
    let answer = post(&gateway, "/webhooks/slack", &challenge).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({ "challenge": "abc" }))
    );
    all_are(&gateway, "delivered", 4).await;
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn a_message_that_comes_again_is_acknowledged_and_not_delivered_again() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let twin = gateway.twin().await;
    let message = stripe(&event("evt_1", "in_1"));
    assert_received(&post(&gateway, "/webhooks/stripe", &message).await);
    assert_seen(&post(&gateway, "/webhooks/stripe", &message).await);
    assert_seen(&post(&twin, "/webhooks/stripe", &message).await);
    // Signed anew, as a sender does that tries again.
    let again = stripe_with(STRIPE_SECRET, now() - 7, &event("evt_1", "in_1"));
    assert_seen(&post(&twin, "/webhooks/stripe", &again).await);
    all_are(&gateway, "delivered", 1).await;
    drop(twin);
    let gateway = gateway.end().await.start().await;
    assert_seen(&post(&gateway, "/webhooks/stripe", &message).await);
    // Another endpoint's events are others.
    assert_received(
        &post(
            &gateway,
            "/webhooks/github",
            &github("x", &event("evt_1", "a")),
        )
        .await,
    );
    delivered(&upstream, 2).await;
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn many_at_once_of_one_event_are_one() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let twin = gateway.twin().await;
    let message = stripe(&event("evt_1", "in_1"));
    let asked = (0..16).map(|number| {
        let gateway = if number % 2 == 0 { &gateway } else { &twin };
        post(gateway, "/webhooks/stripe", &message)
    });
    let answers = futures_util::future::join_all(asked).await;
    let received = answers
        .iter()
        .filter(|answer| answer.json()["status"] == "received");
    assert_eq!(received.count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200));
    all_are(&gateway, "delivered", 1).await;
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn two_nodes_share_the_work_and_deliver_each_message_once() {
    let (upstream, status) = product().await;
    status.store(503, Ordering::SeqCst);
    let builder = builder(&upstream).await;
    let gateway = builder
        .replace("attempts = 3", "attempts = 100")
        .start()
        .await;
    let twin = gateway.twin().await;
    for number in 0..40 {
        let message = stripe(&event(&format!("evt_{number}"), &format!("in_{number}")));
        let to = if number % 2 == 0 { &gateway } else { &twin };
        assert_received(&post(to, "/webhooks/stripe", &message).await);
    }
    status.store(200, Ordering::SeqCst);
    all_are(&gateway, "delivered", 40).await;
    // What was refused before is not counted: of each message one attempt was taken.
    let taken = list(&gateway, &["list", "--limit", "100"]);
    let attempts: i64 = taken
        .iter()
        .map(|row| row["attempts"].as_i64().unwrap())
        .sum();
    assert_eq!(i64::try_from(upstream.requests()).unwrap(), attempts);
    assert_eq!(by_delivery(&upstream.received()).len(), 40);
}

#[tokio::test]
async fn a_product_that_is_down_gets_everything_when_it_is_back() {
    let (upstream, status) = product().await;
    status.store(500, Ordering::SeqCst);
    let builder = builder(&upstream).await;
    let gateway = builder
        .replace("attempts = 3", "attempts = 100")
        .start()
        .await;
    for number in 0..5 {
        let message = stripe(&event(&format!("evt_{number}"), &format!("in_{number}")));
        assert_received(&post(&gateway, "/webhooks/stripe", &message).await);
    }
    // Each was tried, and some again.
    let received = delivered(&upstream, 12).await;
    assert_eq!(by_delivery(&received).len(), 5);
    let rows = list(&gateway, &["list", "--state", "waiting"]);
    assert_eq!((rows.len(), &rows[0]["status"]), (5, &json!(500)));
    assert!(rows[0]["fault"].as_str().unwrap().contains("500"));
    status.store(204, Ordering::SeqCst);
    all_are(&gateway, "delivered", 5).await;
}

#[tokio::test]
async fn what_is_never_taken_is_a_dead_letter_until_a_person_replays_it() {
    let (upstream, status) = product().await;
    status.store(400, Ordering::SeqCst);
    let gateway = builder(&upstream)
        .await
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    for number in 1..=3 {
        let message = stripe(&event(&format!("evt_{number}"), &format!("in_{number}")));
        assert_received(&post(&gateway, "/webhooks/stripe", &message).await);
    }
    all_are(&gateway, "dead", 3).await;
    assert_eq!(upstream.requests(), 9, "three attempts each");
    let dead = list(&gateway, &["dead"]);
    assert_eq!((dead.len(), &dead[0]["attempts"]), (3, &json!(3)));
    let given_up = gateway.cli(&["audit", "list", "--action", "webhook.given-up"]);
    let given_up = String::from_utf8_lossy(&given_up.stdout).lines().count();
    assert_eq!(given_up, 3);
    // One that comes again is not delivered for that: a person decides.
    let message = stripe(&event("evt_1", "in_1"));
    assert_seen(&post(&gateway, "/webhooks/stripe", &message).await);

    status.store(200, Ordering::SeqCst);
    let admin = gateway.signed_in("root@corp.test").await;
    let base = "/.portcullis/admin/v1/webhooks/deliveries";
    let listed = admin
        .get(&format!("{base}?state=dead&endpoint=stripe"))
        .send()
        .await;
    assert_eq!(listed.json().as_array().unwrap().len(), 3);
    let id = listed.json()[2]["id"].as_str().unwrap().to_owned();
    let one = admin.get(&format!("{base}/{id}")).send().await.json();
    assert_eq!(
        (&one["event"], &one["state"]),
        (&json!("evt_1"), &json!("dead"))
    );
    let replayed = admin.post(&format!("{base}/{id}/replay")).send().await;
    assert_eq!(replayed.status, 202, "{}", replayed.text());
    delivered(&upstream, 10).await;
    assert_eq!(upstream.last().header("x-portcullis-delivery"), Some(&*id));
    assert_eq!(upstream.last().header("x-portcullis-attempt"), Some("1"));
    let output = gateway.cli(&["webhooks", "replay", "--dead", "stripe"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("2 "));
    all_are(&gateway, "delivered", 3).await;
    assert_eq!(upstream.requests(), 12);
    let replays = gateway.cli(&["audit", "list", "--action", "webhook.replayed"]);
    assert_eq!(String::from_utf8_lossy(&replays.stdout).lines().count(), 3);
    let unknown = gateway.cli(&["webhooks", "replay", "01890a5d-ac96-774b-bcce-b302099a8057"]);
    assert_eq!(unknown.status.code(), Some(2));
    for bad in ["limit=0", "state=gone", "endpoint=A", "after=x", "more=1"] {
        let answer = admin.get(&format!("{base}?{bad}")).send().await;
        assert_eq!(answer.problem(), "invalid-input", "{bad}");
    }
}

#[tokio::test]
async fn messages_about_one_thing_arrive_in_the_order_in_which_they_came() {
    // The product refuses every second one: what comes later has every chance to overtake.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::answering(move |_| {
        let status = if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            503
        } else {
            200
        };
        axum::http::Response::builder()
            .status(status)
            .body(axum::body::Body::empty())
            .unwrap()
    })
    .await;
    let builder = builder(&upstream).await;
    let gateway = builder
        .replace("attempts = 3", "attempts = 100")
        .start()
        .await;
    let twin = gateway.twin().await;
    for number in 0..24 {
        let object = if number % 2 == 0 { "in_a" } else { "in_b" };
        let message = stripe(&event(&format!("evt_{number:02}"), object));
        let to = if number % 3 == 0 { &twin } else { &gateway };
        assert_received(&post(to, "/webhooks/stripe", &message).await);
    }
    all_are(&gateway, "delivered", 24).await;
    for object in ["in_a", "in_b"] {
        let received = upstream.received();
        let events: Vec<String> = received
            .iter()
            .map(|one| serde_json::from_slice::<serde_json::Value>(&one.body).unwrap())
            .filter(|body| body["data"]["object"]["id"] == object)
            .map(|body| body["id"].as_str().unwrap().to_owned())
            .collect();
        assert!(events.len() >= 12);
        assert!(events.is_sorted(), "{object}: {events:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_message_stands_in_the_database() {
    let (upstream, status) = product().await;
    status.store(503, Ordering::SeqCst);
    let gateway = builder(&upstream).await.start().await;
    let message = stripe(&event("evt_1", "in_of_ada_7731"));
    assert_received(&post(&gateway, "/webhooks/stripe", &message).await);
    let all = database::everything(&gateway.folder).await;
    let holds = |text: &str| {
        let coded = hex::encode(text);
        all.windows(text.len()).any(|part| part == text.as_bytes())
            || all
                .windows(coded.len())
                .any(|part| part == coded.as_bytes())
    };
    assert!(holds("evt_1"), "the row is there");
    let signature = message.headers[0].1.split("v1=").nth(1).unwrap();
    for text in [
        "ada@example.org",
        "in_of_ada_7731",
        signature,
        STRIPE_SECRET,
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[tokio::test]
async fn a_reload_takes_another_secret_and_another_webhook() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let new = "another secret of these tests";
    std::fs::write(gateway.folder.join("new"), new).unwrap();
    let early = stripe_with(new, now(), &event("evt_1", "in_1"));
    assert_eq!(post(&gateway, "/webhooks/stripe", &early).await.status, 401);
    let old = std::fs::read_to_string(gateway.config_path()).unwrap();
    let rotating = old.replacen(
        "secrets = [{ file = \"stripe\" }]",
        "secrets = [{ file = \"new\" }, { file = \"stripe\" }]",
        1,
    );
    let more = "\n[[webhook]]\nname = \"more\"\npath = \"/webhooks/more\"\nscheme = \"stripe\"\nsecrets = [{ file = \"new\" }]\n";
    std::fs::write(gateway.config_path(), format!("{rotating}{more}")).unwrap();
    gateway.wait_until_printed("policy reloaded").await;
    assert_received(&post(&gateway, "/webhooks/stripe", &early).await);
    let by_old = stripe(&event("evt_2", "in_1"));
    assert_received(&post(&gateway, "/webhooks/stripe", &by_old).await);
    assert_received(&post(&gateway, "/webhooks/more", &early).await);
    delivered(&upstream, 3).await;
}

#[tokio::test]
async fn the_products_own_path_is_closed_to_everybody_else() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let answer = ana.post("/hooks/standard").json(&json!({})).send().await;
    assert_eq!(answer.problem(), "route-closed");
    assert_eq!(
        ana.get("/webhooks/stripe").send().await.problem(),
        "method-not-allowed"
    );
    let unknown = gateway.client().post("/webhooks/none").send().await;
    assert_eq!(unknown.problem(), "authentication-required");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn metrics_tell_what_became_of_messages() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let message = stripe(&event("evt_1", "in_1"));
    post(&gateway, "/webhooks/stripe", &message).await;
    post(&gateway, "/webhooks/stripe", &message).await;
    post(
        &gateway,
        "/webhooks/stripe",
        &stripe_with("another secret altogether", now(), "{}"),
    )
    .await;
    all_are(&gateway, "delivered", 1).await;
    eventually_asked("all are counted", async || {
        let metrics = crate::support::Client::to(gateway.admin)
            .get("/metrics")
            .send()
            .await
            .text();
        ["received", "already-seen", "refused", "delivered"]
            .iter()
            .all(|outcome| {
                metrics.contains(&format!(
                    "portcullis_webhooks_total{{outcome=\"{outcome}\"}} 1"
                ))
            })
    })
    .await;
}
