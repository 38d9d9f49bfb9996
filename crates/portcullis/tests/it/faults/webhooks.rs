//! Webhooks with the database away, and with the process killed at any moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::service::Postgres;
use super::{Dice, assert_unavailable, in_time, rounds, until};
use crate::support::{Client, Upstream, signal};
use crate::webhooks::{
    all_are, assert_received, assert_seen, builder, by_delivery, delivered, list, post, post_to,
    stripe, verified,
};

#[tokio::test]
async fn a_message_is_not_acknowledged_while_the_database_is_away() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres.under(builder(&upstream).await).start().await;
    let message = stripe("{\"id\":\"evt_1\"}");
    postgres.stop_immediately();
    for _ in 0..3 {
        let answer = in_time("a message", post(&gateway, "/webhooks/stripe", &message)).await;
        assert_unavailable(&answer);
    }
    let forged = stripe("{\"id\":\"evt_2\"}");
    let forged = crate::webhooks::Message {
        body: b"{}".to_vec(),
        ..forged
    };
    let answer = post(&gateway, "/webhooks/stripe", &forged).await;
    assert_eq!(answer.status, 401, "that needs no database");
    assert_eq!(upstream.requests(), 0);
    postgres.start_again().await;
    // The sender comes again.
    until("the message is taken", || async {
        let answer = post(&gateway, "/webhooks/stripe", &message).await;
        answer.status == 200
    })
    .await;
    all_are(&gateway, "delivered", 1).await;
    assert_eq!(upstream.requests(), 1);
    assert_seen(&post(&gateway, "/webhooks/stripe", &message).await);
}

/// Sends one message after the other until the gate is gone, and writes down what was acknowledged.
async fn send(
    address: std::net::SocketAddr,
    worker: u64,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
) {
    let client = Client::to(address);
    for number in 0.. {
        let event = format!("evt_{worker}_{number}");
        let message = stripe(&format!("{{\"id\":\"{event}\"}}"));
        let request = post_to(&client, "/webhooks/stripe", &message);
        let Some(answer) = request.try_send().await else {
            return;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        acknowledged.lock().unwrap().insert(event);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_a_kill_at_any_moment_and_reach_the_product() {
    let upstream = Upstream::start().await;
    let mut gateway = builder(&upstream)
        .await
        .replace("attempts = 3", "attempts = 100\ntimeout = \"1s\"")
        .start()
        .await;
    let mut dice = Dice::seeded();
    let acknowledged = Arc::<Mutex<BTreeSet<String>>>::default();
    for round in 0..rounds("PORTCULLIS_KILL_ROUNDS", 6) {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let known = Arc::clone(&acknowledged);
                tokio::spawn(send(gateway.address, round * 10 + worker, known))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50 + dice.below(500))).await;
        signal(gateway.pid(), "KILL");
        for worker in workers {
            worker.await.unwrap();
        }
        gateway = in_time("the start", gateway.kill().start()).await;
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(
        acknowledged.len() > 20,
        "nothing was acknowledged: the loop showed nothing"
    );
    // What the dead had taken waits for the end of their leases.
    let mut missing = BTreeSet::new();
    until("every acknowledged message is delivered", || async {
        let received = upstream.received();
        let events: BTreeSet<String> = received
            .iter()
            .map(|one| serde_json::from_slice::<serde_json::Value>(&one.body).unwrap())
            .map(|body| body["id"].as_str().unwrap().to_owned())
            .collect();
        acknowledged.is_subset(&events)
    })
    .await;
    missing.extend(list(&gateway, &["dead"]).iter().map(ToString::to_string));
    assert!(missing.is_empty(), "{missing:?}");
    let received = upstream.received();
    for one in received.iter().step_by(10) {
        let claims = verified(&gateway, one.header("x-portcullis-assertion").unwrap()).await;
        assert_eq!(claims["kind"], "webhook");
    }
    let twice = by_delivery(&received)
        .values()
        .filter(|times| **times > 1)
        .count();
    eprintln!(
        "{} acknowledged, {} delivered, {twice} of them twice",
        acknowledged.len(),
        received.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_deliveries_under_way_end() {
    let upstream = Upstream::answering(|_| {
        std::thread::sleep(Duration::from_secs(2));
        axum::http::Response::new(axum::body::Body::empty())
    })
    .await;
    let gateway = builder(&upstream).await.start().await;
    assert_received(&post(&gateway, "/webhooks/stripe", &stripe("{\"id\":\"evt_1\"}")).await);
    delivered(&upstream, 1).await;
    let gateway = gateway.end().await.start().await;
    assert_eq!(list(&gateway, &["list"])[0]["state"], "delivered");
    assert_eq!(upstream.requests(), 1);
}
