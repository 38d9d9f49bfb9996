//! The service that holds the KEK is stopped, hangs, or answers what nobody can read: what is in
//! memory works for its time, then the vault is sealed, and it opens again by itself.

use std::sync::atomic::Ordering;

use super::{GENEROUS, assert_unavailable, in_time, metric, until};
use crate::support::database;
use crate::support::kms::{Bao, Kms, Line, Relay};
use crate::support::mailbox::{Mailbox, nobody};
use crate::support::{Gateway, Upstream};
use crate::vault::{EMAIL, builder, call, key, opened, place, sealed, with};

const QUICK: &str = "timeout = \"1s\"\nremember-for = \"3s\"\n";
const MAY: [&str; 2] = ["seal:vault", "open:vault"];

/// Answers that no service gives.
pub(super) fn garbage() -> Vec<Line> {
    let of = |status: &str, body: &str| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        Line::Answers(head.into_bytes())
    };
    let short = serde_json::json!({ "data": { "plaintext": "c2hvcnQ=" }, "Plaintext": "c2hvcnQ=" });
    vec![
        of("200 OK", "<html>"),
        of("200 OK", "{}"),
        of("200 OK", &short.to_string()),
        of("200 OK", &"x".repeat(2 * 1024 * 1024)),
        of("500 Internal Server Error", "{}"),
        Line::Answers(b"\x16\x03\x01 no HTTP at all".to_vec()),
    ]
}

async fn assert_sealed(gateway: &Gateway, key: &str, text: &str) {
    let answer = in_time("opening", opened(gateway, key, "42", text)).await;
    assert_unavailable(&answer);
    assert!(!answer.text().contains(EMAIL));
    let item = with(place("43"), "value", EMAIL);
    let body = serde_json::json!({ "items": [item] });
    for verb in ["seal", "index"] {
        let body = match verb {
            "index" => {
                serde_json::json!({ "items": [{ "table": "users", "field": "email", "value": EMAIL }] })
            }
            _ => body.clone(),
        };
        let answer = in_time(verb, call(gateway, key, verb, &body)).await;
        assert_unavailable(&answer);
        assert!(!answer.text().contains("pcv1."), "{}", answer.text());
    }
}

async fn assert_opens(gateway: &Gateway, key: &str, text: &str) {
    until("it opens again", || async {
        opened(gateway, key, "42", text).await.status == 200
    })
    .await;
    let answer = opened(gateway, key, "42", text).await;
    assert_eq!(answer.json()["items"][0]["value"], EMAIL);
}

/// Waits until what was in memory is forgotten.
async fn seals(gateway: &Gateway, key: &str, text: &str) {
    until("the vault is sealed", || async {
        opened(gateway, key, "42", text).await.status == 503
    })
    .await;
}

/// What is in memory works; then nothing does; and everything again.
async fn is_lost_and_comes_back(gateway: &Gateway, relay: &mut Relay) {
    let key = key(gateway, &MAY, None);
    let text = sealed(gateway, &key, "42").await;
    relay.stop().await;
    // Its only answer was given just now.
    let answer = in_time("opening", opened(gateway, &key, "42", &text)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    seals(gateway, &key, &text).await;
    assert_sealed(gateway, &key, &text).await;
    until("it is told", || async {
        metric(gateway, "portcullis_dependency_up{dependency=\"kms\"}").await == Some(0.0)
    })
    .await;
    relay.start_again().await;
    assert_opens(gateway, &key, &text).await;
    for line in garbage().into_iter().chain([Line::Hung]) {
        relay.is(line);
        seals(gateway, &key, &text).await;
        assert_sealed(gateway, &key, &text).await;
        relay.is(Line::Open);
        assert_opens(gateway, &key, &text).await;
    }
    until("it is told", || async {
        metric(gateway, "portcullis_dependency_up{dependency=\"kms\"}").await == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn an_openbao_that_is_stopped_hangs_or_talks_nonsense_seals_the_vault_until_it_is_back() {
    let upstream = Upstream::start().await;
    let mut bao = Bao::start().await;
    let asked_often = builder(&upstream).await.more(GENEROUS);
    let gateway = bao.under(asked_often, QUICK).await.start().await;
    is_lost_and_comes_back(&gateway, &mut bao.relay).await;
}

#[tokio::test]
async fn an_aws_kms_that_is_stopped_hangs_or_talks_nonsense_seals_the_vault_until_it_is_back() {
    let upstream = Upstream::start().await;
    let mut kms = Kms::start().await;
    let asked_often = builder(&upstream).await.more(GENEROUS);
    let gateway = kms.under(asked_often, QUICK).start().await;
    is_lost_and_comes_back(&gateway, &mut kms.relay).await;
}

#[tokio::test]
async fn a_gate_that_starts_without_its_kms_is_sealed_and_serves_everything_else() {
    let upstream = Upstream::start().await;
    let mut bao = Bao::start().await;
    let asked_often = builder(&upstream).await.more(GENEROUS);
    let gateway = bao.under(asked_often, QUICK).await.start().await;
    let key = key(&gateway, &MAY, None);
    let text = sealed(&gateway, &key, "42").await;
    let ended = gateway.end().await;
    bao.relay.stop().await;
    let gateway = in_time("the start", ended.start()).await;
    assert_sealed(&gateway, &key, &text).await;
    let browser = in_time("a sign-in", gateway.signed_in("root@corp.test")).await;
    let answer = in_time("a request", browser.get("/anything").send()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(gateway.printed().contains("the vault is sealed"));
    bao.relay.start_again().await;
    assert_opens(&gateway, &key, &text).await;
}

#[tokio::test]
async fn with_the_kms_away_no_message_is_acknowledged_that_was_not_sealed_and_none_is_given_up() {
    use crate::webhooks::{all_are, assert_received, list, post, product, stripe};
    let (upstream, status) = product().await;
    let mut bao = Bao::start().await;
    let gate = crate::webhooks::builder(&upstream).await;
    let gate = gate.replace("attempts = 3", "attempts = 100");
    let gateway = bao.under(gate, QUICK).await.start().await;
    let first = stripe("{\"id\":\"evt_first\"}");
    status.store(503, Ordering::SeqCst);
    assert_received(&post(&gateway, "/webhooks/stripe", &first).await);
    // While its key is in memory, a message is taken, and there; then none is.
    bao.relay.stop().await;
    let mut taken = 1;
    loop {
        let message = stripe(&format!("{{\"id\":\"evt_{taken}\"}}"));
        let answer = in_time("a message", post(&gateway, "/webhooks/stripe", &message)).await;
        if answer.status == 503 {
            break;
        }
        assert_received(&answer);
        taken += 1;
    }
    assert_eq!(list(&gateway, &["list", "--limit", "1000"]).len(), taken);
    let ended = gateway.kill();
    // A gate that starts without its KMS delivers nothing, and gives nothing up.
    status.store(200, Ordering::SeqCst);
    let before = upstream.requests();
    let gateway = in_time("the start", ended.start()).await;
    let mut tries = Vec::new();
    for number in 0..8 {
        let message = stripe(&format!("{{\"id\":\"evt_late_{number}\"}}"));
        let answer = in_time("a message", post(&gateway, "/webhooks/stripe", &message)).await;
        assert_unavailable(&answer);
        let row = list(&gateway, &["list", "--limit", "1000"]);
        assert!(row.iter().all(|row| row["state"] == "waiting"), "{row:?}");
        tries.push(row.last().unwrap()["attempts"].as_i64().unwrap());
    }
    assert_eq!(upstream.requests(), before);
    assert!(
        tries.last() <= tries.first().map(|first| first + 1).as_ref(),
        "{tries:?}"
    );
    bao.relay.start_again().await;
    all_are(&gateway, "delivered", taken).await;
}

#[tokio::test]
async fn with_the_kms_away_letters_are_written_and_those_of_the_vault_wait_for_it() {
    let upstream = Upstream::start().await;
    let mailbox = Mailbox::start().await;
    let mut bao = Bao::start().await;
    let ask = async |gateway: &Gateway| {
        let browser = gateway.browser();
        let asked = browser.post("/.portcullis/auth/request-password-reset");
        let asked = asked.json(&serde_json::json!({ "email": "root@corp.test" }));
        let answer = in_time("a letter", asked.send()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    };
    let gate = builder(&upstream).await.more(GENEROUS);
    let away = nobody();
    let gate = bao.under(gate.mailing(away), QUICK).await;
    let gateway = gate.start().await;
    until("a key is in memory", || async {
        metric(&gateway, "portcullis_dependency_up{dependency=\"kms\"}").await == Some(1.0)
    })
    .await;
    ask(&gateway).await;
    let of_vault =
        async |gateway: &Gateway| database::not_of_vault(&gateway.folder, "outbox").await == "0";
    until("the vault has the letter", || of_vault(&gateway)).await;
    let ended = gateway.end().await;
    // Whether it was being sent when the gate ended, or waited for its third try: its turn is now.
    database::execute(ended.folder(), "UPDATE outbox SET due_at = created_at").await;
    bao.relay.stop().await;
    let ended = ended.replace(&away.to_string(), &mailbox.address.to_string());
    let gateway = in_time("the start", ended.start()).await;
    // One that is written now goes out; that of the vault waits.
    ask(&gateway).await;
    mailbox.wait_for(1).await;
    gateway
        .wait_until_printed("letters cannot be taken from the outbox")
        .await;
    assert_eq!(mailbox.letters().len(), 1);
    bao.relay.start_again().await;
    mailbox.wait_for(2).await;
}
