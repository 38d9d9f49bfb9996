//! Redis away: the gate counts for itself, more strictly, and says so; never without a limit.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::service::Redis;
use super::{LOGIN, in_time, metric, readyz, until};
use crate::support::{Gateway, Upstream};

/// Four nodes: of 40 requests a minute each allows 10 by itself; of 20 sign-ins, 2.
const LIMITS: &str = r#"
[[route]]
path = "/public"
allow = "public"

[limits.default]
rate = "40/minute"

[limits.auth]
rate = "20/minute"
"#;

/// One limit by address, two by who calls.
const KNOWN: &str = r#"
[[route]]
path = "/mine"
allow = "user"
limits = ["default", "person", "tab"]

[limits.default]
rate = "1000/minute"

[limits.person]
rate = "1000/minute"
per = "user"

[limits.tab]
rate = "1000/minute"
per = "session"
"#;

async fn gate(redis: &str) -> Gateway {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, LIMITS)
        .await
        .on_sqlite()
        .replace("[state]", "[state]\nnodes = 4\nredis-timeout = \"100ms\"")
        .replace("[listen]", "[listen]\ntrusted-proxies = [\"127.0.0.1/32\"]");
    let folder = gateway.folder().join("portcullis.db");
    let gateway = gateway.stores(&format!("sqlite://{}", folder.display()), Some(redis));
    let gateway = gateway.start().await;
    wait_for(&gateway, "shared").await;
    gateway
}

async fn wait_for(gateway: &Gateway, counters: &str) {
    until(&format!("counters are {counters}"), || async {
        readyz(gateway).await.1["counters"] == counters
    })
    .await;
}

/// How many of `number` requests for the product get through from this address.
async fn let_through(gateway: &Gateway, from: &str, number: usize) -> usize {
    let mut passed = 0;
    for _ in 0..number {
        let request = gateway.client().get("/public");
        let answer = in_time("a request", request.header("x-forwarded-for", from).send()).await;
        match answer.status.as_u16() {
            200 => passed += 1,
            429 => assert_eq!(answer.problem(), "rate-limited"),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    passed
}

/// How many of `number` sign-ins are looked at. They have no password, so none costs a hash.
async fn sign_ins_looked_at(gateway: &Gateway, from: &str, number: usize) -> usize {
    let mut passed = 0;
    for _ in 0..number {
        let request = gateway.browser().post(LOGIN);
        let request = request.header("x-forwarded-for", from);
        let answer = in_time(
            "a sign-in",
            request
                .json(&serde_json::json!({ "email": "a@b.test" }))
                .send(),
        )
        .await;
        match answer.status.as_u16() {
            429 => {}
            503 | 500 => panic!("{}", answer.text()),
            _ => passed += 1,
        }
    }
    passed
}

/// A budget of `full`, and the little that comes back while the test runs.
fn assert_about(found: usize, full: usize) {
    assert!(
        (full..=full + full / 4 + 1).contains(&found),
        "{found} came through, of {full}"
    );
}

/// The gate with its Redis in a fault: stricter, and not silent about it.
async fn assert_degraded(gateway: &Gateway) {
    // Whoever finds out waits for as long as `redis-timeout`, and is answered.
    let_through(gateway, "192.0.2.9", 1).await;
    wait_for(gateway, "degraded").await;
    assert_about(let_through(gateway, "192.0.2.1", 30).await, 10);
    assert_about(sign_ins_looked_at(gateway, "192.0.2.2", 8).await, 2);
    let (status, document) = readyz(gateway).await;
    assert_eq!((status, document["ready"].as_bool()), (200, Some(true)));
    assert_eq!(
        metric(gateway, "portcullis_dependency_up{dependency=\"redis\"}").await,
        Some(0.0)
    );
}

/// Redis counts again: a budget that one node alone does not give.
async fn assert_shared(gateway: &Gateway) {
    wait_for(gateway, "shared").await;
    assert_about(let_through(gateway, "192.0.2.3", 50).await, 40);
    assert_eq!(
        metric(gateway, "portcullis_dependency_up{dependency=\"redis\"}").await,
        Some(1.0)
    );
}

#[tokio::test]
async fn redis_that_refuses_connections_leaves_limits_that_are_stricter() {
    let mut redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    redis.kill();
    assert_degraded(&gateway).await;
    let _again = Redis::start_at(redis.port).await;
    assert_shared(&gateway).await;
}

#[tokio::test]
async fn redis_that_hangs_leaves_limits_that_are_stricter() {
    let redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    redis.freeze();
    assert_degraded(&gateway).await;
    redis.thaw();
    assert_shared(&gateway).await;
}

#[tokio::test]
async fn redis_that_is_a_replica_leaves_limits_that_are_stricter() {
    let redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    assert_eq!(redis.tell("REPLICAOF 127.0.0.1 1").await, "+OK");
    assert_degraded(&gateway).await;
    assert_eq!(redis.tell("REPLICAOF NO ONE").await, "+OK");
    assert_shared(&gateway).await;
}

#[tokio::test]
async fn redis_without_memory_leaves_limits_that_are_stricter() {
    let redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    redis.tell("CONFIG SET maxmemory-policy noeviction").await;
    assert_eq!(redis.tell("CONFIG SET maxmemory 1").await, "+OK");
    assert_degraded(&gateway).await;
    assert_eq!(redis.tell("CONFIG SET maxmemory 0").await, "+OK");
    assert_shared(&gateway).await;
}

#[tokio::test]
async fn redis_without_its_replicas_leaves_limits_that_are_stricter() {
    let redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    assert_eq!(
        redis.tell("CONFIG SET min-replicas-to-write 1").await,
        "+OK"
    );
    assert_degraded(&gateway).await;
    assert_eq!(
        redis.tell("CONFIG SET min-replicas-to-write 0").await,
        "+OK"
    );
    assert_shared(&gateway).await;
}

/// A script of somebody else's that never ends: Redis answers BUSY.
#[tokio::test]
async fn redis_busy_with_an_endless_script_leaves_limits_that_are_stricter() {
    let redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    redis.tell("CONFIG SET busy-reply-threshold 1").await;
    let mut endless = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port))
        .await
        .unwrap();
    endless
        .write_all(b"EVAL \"while true do end\" 0\r\n")
        .await
        .unwrap();
    assert_degraded(&gateway).await;
    assert_eq!(redis.tell("SCRIPT KILL").await, "+OK");
    assert_shared(&gateway).await;
}

#[tokio::test]
async fn redis_that_answers_too_late_leaves_limits_that_are_stricter() {
    let redis = Redis::start().await;
    let is_slow = Arc::new(AtomicBool::new(false));
    let between = slow_road(redis.port, Arc::clone(&is_slow)).await;
    let gateway = gate(&format!("redis://{between}/")).await;
    is_slow.store(true, Ordering::Relaxed);
    assert_degraded(&gateway).await;
    is_slow.store(false, Ordering::Relaxed);
    assert_shared(&gateway).await;
}

/// Three limits of one request, two of them by who calls, are one question where memory knows who calls.
#[tokio::test]
async fn the_limits_of_a_known_caller_are_one_round_trip() {
    const REQUESTS: usize = 40;
    let redis = Redis::start().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, KNOWN).await.on_sqlite();
    let folder = gateway.folder().join("portcullis.db");
    let gateway = gateway
        .user("ana@corp.test", &["user"])
        .stores(
            &format!("sqlite://{}", folder.display()),
            Some(&redis.url()),
        )
        .start()
        .await;
    wait_for(&gateway, "shared").await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let answer = ana.get("/mine").send().await;
    assert_eq!(answer.status, 200);
    let policy = answer.header("ratelimit-policy").unwrap();
    assert_eq!(policy.split(", ").count(), 3, "{policy}");
    assert_eq!(redis.tell("CONFIG RESETSTAT").await, "+OK");
    for _ in 0..REQUESTS {
        assert_eq!(ana.get("/mine").send().await.status, 200);
    }
    let questions = redis.scripts_run().await;
    // The gate's own probes, one in two seconds, are among them.
    assert!(
        (REQUESTS..REQUESTS * 3 / 2).contains(&questions),
        "{questions} questions for {REQUESTS} requests"
    );
}

/// Counters that are lost begin anew. That gives a budget back, and nothing more.
#[tokio::test]
async fn redis_that_was_flushed_counts_from_the_beginning() {
    let redis = Redis::start().await;
    let gateway = gate(&redis.url()).await;
    assert_about(let_through(&gateway, "192.0.2.1", 50).await, 40);
    assert_eq!(redis.tell("FLUSHALL").await, "+OK");
    assert_eq!(redis.tell("SCRIPT FLUSH").await, "+OK");
    assert_about(let_through(&gateway, "192.0.2.1", 50).await, 40);
    assert_eq!(readyz(&gateway).await.1["counters"], "shared");
}

/// A way to Redis on which each answer takes four times `redis-timeout`, while told so.
async fn slow_road(to: u16, is_slow: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let is_slow = Arc::clone(&is_slow);
            tokio::spawn(async move {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                let there = tokio::io::copy(&mut near_read, &mut far_write);
                let back = async {
                    let mut buffer = vec![0; 16 * 1024];
                    loop {
                        let count = far_read.read(&mut buffer).await.unwrap_or(0);
                        if count == 0 {
                            break;
                        }
                        if is_slow.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(400)).await;
                        }
                        if near_write.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! { _ = there => {}, () = back => {} }
            });
        }
    });
    address
}
