//! Messages that are not what they claim to be: none is kept, none is delivered, none is a 5xx.

use super::senders::{by_libraries, event, stripe, stripe_with};
use super::{Message, STRIPE_SECRET, assert_received, builder, list, post, post_to};
use crate::support::signer::now;
use crate::support::{Upstream, eventually};

fn with_header(value: &str, body: &str) -> Message {
    Message {
        headers: vec![("stripe-signature".to_owned(), value.to_owned())],
        body: body.as_bytes().to_vec(),
    }
}

/// Everything that is almost right, each wrong in one thing alone.
fn corpus() -> Vec<(&'static str, &'static str, Message)> {
    let body = event("evt_1", "in_1");
    let good = stripe(&body).headers[0].1.clone();
    let (_, tag) = good.split_once("v1=").unwrap();
    let time = now();
    let (by_stripe, by_standard) = by_libraries(time, &body, &body);
    let another = stripe_with("another secret altogether", time, &body).headers[0]
        .1
        .clone();
    let of = |what, value: String| (what, "/webhooks/stripe", with_header(&value, &body));
    let changed =
        |what, path, message: &Message, header: usize, change: &dyn Fn(&str) -> String| {
            let mut message = message.clone();
            message.headers[header].1 = change(&message.headers[header].1);
            (what, path, message)
        };
    let mut other_body = by_stripe.clone();
    other_body.body[10] ^= 1;
    let mut longer = by_stripe.clone();
    longer.body.push(b'\n');
    let written_again = serde_json::from_str::<serde_json::Value>(&body).unwrap();
    let written_again = serde_json::to_string_pretty(&written_again).unwrap();
    let mut other_standard = by_standard.clone();
    other_standard.body[10] ^= 1;
    let twice = Message {
        headers: vec![("stripe-signature".to_owned(), good.clone()); 2],
        body: body.as_bytes().to_vec(),
    };
    let standard = "/webhooks/standard";
    let position = |name: &str| {
        by_standard
            .headers
            .iter()
            .position(|(known, _)| known == name)
    };
    let (id, at, signature) = (
        position("webhook-id").unwrap(),
        position("webhook-timestamp").unwrap(),
        position("webhook-signature").unwrap(),
    );
    vec![
        (
            "no signature",
            "/webhooks/stripe",
            Message {
                headers: Vec::new(),
                body: body.clone().into_bytes(),
            },
        ),
        of("an empty signature", String::new()),
        of("no prefix", tag.to_owned()),
        of("another secret", another.clone()),
        of(
            "several, none of ours",
            format!("{another},v1={}", "0".repeat(64)),
        ),
        of("only v0", good.replace("v1=", "v0=")),
        of("upper case", format!("t={time},v1={}", tag.to_uppercase())),
        of("cut off", good[..good.len() - 2].to_owned()),
        of("no time", format!("v1={tag}")),
        of("two times", format!("t={time},{good}")),
        of("another time", format!("t={},v1={tag}", time - 1)),
        of("a huge header", format!("{good}{}", ",v0=1".repeat(1000))),
        of(
            "too many signatures",
            format!("{good}{}", format!(",v1={tag}").repeat(16)),
        ),
        ("two headers", "/webhooks/stripe", twice),
        ("a byte of the body", "/webhooks/stripe", other_body),
        ("a longer body", "/webhooks/stripe", longer),
        (
            "written again",
            "/webhooks/stripe",
            with_header(&good, &written_again),
        ),
        ("an empty body", "/webhooks/stripe", with_header(&good, "")),
        (
            "another endpoint's scheme",
            "/webhooks/stripe",
            by_standard.clone(),
        ),
        ("another endpoint's secret", "/webhooks/github", by_stripe),
        ("standard: a byte of the body", standard, other_standard),
        changed("standard: another id", standard, &by_standard, id, &|_| {
            "msg_2".to_owned()
        }),
        changed(
            "standard: another time",
            standard,
            &by_standard,
            at,
            &|_| (time - 1).to_string(),
        ),
        changed("standard: v2", standard, &by_standard, signature, &|text| {
            text.replace("v1,", "v2,")
        }),
        changed(
            "standard: v1a",
            standard,
            &by_standard,
            signature,
            &|text| text.replace("v1,", "v1a,"),
        ),
        changed(
            "standard: no prefix",
            standard,
            &by_standard,
            signature,
            &|text| text.replace("v1,", ""),
        ),
        changed(
            "standard: no padding",
            standard,
            &by_standard,
            signature,
            &|text| text.replace('=', ""),
        ),
        ("slack: stripe's", "/webhooks/slack", stripe(&body)),
        ("hmac: stripe's", "/webhooks/shop", stripe(&body)),
    ]
}

#[tokio::test]
async fn no_forgery_is_kept_or_delivered_and_none_is_a_fault() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let corpus = corpus();
    let count = corpus.len();
    for (what, path, message) in corpus {
        let answer = post(&gateway, path, &message).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert_eq!(answer.problem(), "webhook-signature-invalid", "{what}");
        assert_eq!(answer.header("www-authenticate"), Some("Webhook-Signature"));
    }
    assert!(count > 25);
    assert_eq!(list(&gateway, &["list"]), Vec::<serde_json::Value>::new());
    assert_eq!(upstream.requests(), 0);
    eventually("the refusals are in the trail", || {
        let trail = gateway.cli(&["audit", "list", "--action", "webhook.refused"]);
        !trail.stdout.is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_is_too_old_or_of_the_future_is_refused_by_our_clock() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .replace("attempts = 3", "attempts = 3\ntolerance = \"60s\"")
        .start()
        .await;
    let ask = async |path: &str, message: &Message| post(&gateway, path, message).await;
    for (path, off) in [
        ("/webhooks/stripe", -70),
        ("/webhooks/stripe", 70),
        ("/webhooks/standard", -310),
        ("/webhooks/standard", 310),
    ] {
        let (stripe, standard) = by_libraries(now() + off, "{\"id\":\"evt_1\"}", "{}");
        let message = if path.ends_with("stripe") {
            stripe
        } else {
            standard
        };
        let answer = ask(path, &message).await;
        assert_eq!(answer.status, 400, "{path} {off}");
        assert_eq!(answer.problem(), "webhook-timestamp-outside");
    }
    // A forgery is told nothing of its time.
    let forged = stripe_with("another secret altogether", now() - 5000, "{}");
    assert_eq!(ask("/webhooks/stripe", &forged).await.status, 401);
    assert_eq!(upstream.requests(), 0);
    for (path, off) in [("/webhooks/stripe", -50), ("/webhooks/standard", 290)] {
        let (stripe, standard) = by_libraries(now() + off, "{\"id\":\"evt_1\"}", "{}");
        let message = if path.ends_with("stripe") {
            stripe
        } else {
            standard
        };
        assert_received(&ask(path, &message).await);
    }
}

#[tokio::test]
async fn size_and_rate_are_limited_before_anything_is_verified() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .replace("100000/minute", "20/hour")
        .start()
        .await;
    let (_, large) = by_libraries(now(), "{}", &format!("\"{}\"", "x".repeat(5000)));
    let answer = post(&gateway, "/webhooks/standard", &large).await;
    assert_eq!(answer.problem(), "body-too-large");
    let message = stripe(&event("evt_1", "in_1"));
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(
            post(&gateway, "/webhooks/stripe", &message)
                .await
                .status
                .as_u16(),
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_session_and_a_browser_count_for_nothing() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let admin = gateway.signed_in("root@corp.test").await;
    let unsigned = admin.post("/webhooks/stripe").body("{}").send().await;
    assert_eq!(unsigned.problem(), "webhook-signature-invalid");
    let message = stripe(&event("evt_1", "in_1"));
    let foreign = post_to(&gateway.client(), "/webhooks/stripe", &message)
        .header("origin", "https://evil.test")
        .header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.send().await.status, 403);
    // Headers by which a client could pass for the gate do not reach the product.
    let bold = post_to(&gateway.client(), "/webhooks/stripe", &message)
        .header("x-portcullis-assertion", "forged")
        .header("x-portcullis-delivery", "forged")
        .header("x-forwarded-user", "root")
        .header("cookie", "a=b");
    assert_received(&bold.send().await);
    let received = super::delivered(&upstream, 1).await.remove(0);
    assert_eq!(
        received
            .headers
            .get_all("x-portcullis-assertion")
            .iter()
            .count(),
        1
    );
    assert_ne!(received.header("x-portcullis-delivery"), Some("forged"));
    assert_eq!(received.header("x-forwarded-user"), None);
    assert_eq!(received.header("cookie"), None);
    assert!(STRIPE_SECRET.len() > 16);
}
