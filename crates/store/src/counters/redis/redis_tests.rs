//! Against a real Redis of the test set-up.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::*;
use crate::counters::tests::requests;
use crate::test_state::required;

fn config() -> Config {
    Config {
        // The machine that runs tests may be slow; the limit is another test's matter.
        redis_timeout: Span::from_seconds(1),
        nodes: 4,
        ..Config::default()
    }
}

fn open(config: &Config, url: &str) -> (Arc<Redis>, Keeper) {
    let (counters, keeper) = Counters::redis(config, &Secret::new(url.to_owned())).unwrap();
    match counters {
        Counters::Redis(redis) => (redis, keeper),
        Counters::Memory(_) => unreachable!(),
    }
}

async fn connected() -> (Arc<Redis>, Keeper) {
    let (redis, keeper) = open(&config(), &required("PORTCULLIS_TEST_REDIS"));
    assert!(keeper.connect().await);
    (redis, keeper)
}

/// Limits of this test run alone: Redis is shared, and keeps its keys.
fn salt() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}-{}",
        uuid::Uuid::now_v7(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn charge(limit: &str, rate: &str) -> Charge {
    Charge {
        limit: LimitId::named(limit),
        subject: Subject::everybody(),
        rate: rate.parse().unwrap(),
        when_degraded: WhenDegraded::Share,
    }
}

#[tokio::test]
async fn redis_and_memory_give_the_same_answers() {
    let (redis, _keeper) = connected().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let memory = Memory::default();
        let salt = salt();
        let connection = redis.link().connection.clone().unwrap();
        // The server's own clock expires the keys: its time is where this starts.
        let mut now = Timestamp::from_seconds(4_000_000_000);
        for (gap, mut charges) in requests().new_tree(&mut runner).unwrap().current() {
            now = now + Span::from_micros(gap);
            for charge in &mut charges {
                charge.limit = LimitId::named(&format!("{:?}{salt}", charge.limit));
                // Longer than this test runs, so that no key expires by the real clock in between.
                let rate = charge.rate;
                charge.rate = Rate::new(
                    rate.count(),
                    Span::from_micros(rate.per().as_micros() * 1000),
                    rate.burst(),
                )
                .unwrap();
            }
            let shared = redis
                .ask(connection.clone(), Some(now), &charges)
                .await
                .unwrap();
            assert_eq!(shared, memory.take(now, &charges), "{charges:?}");
            now = now + Span::from_micros(gap * 1000);
        }
    }
}

#[tokio::test]
async fn the_servers_clock_counts_and_keys_expire() {
    let (redis, _keeper) = connected().await;
    let one = charge(&salt(), "2/minute");
    // This node's clock stands still at the epoch, which changes nothing.
    for expected in [true, true, false] {
        let taken = redis.take(Timestamp::EPOCH, &[one]).await;
        assert_eq!(taken.is_allowed(), expected);
        assert!(!taken.is_degraded());
    }
    let mut connection = redis.link().connection.clone().unwrap();
    let life: i64 = redis::cmd("PTTL")
        .arg(key("portcullis", &one))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!((1..=60_000).contains(&life), "{life}");
    let stored: String = redis::cmd("GET")
        .arg(key("portcullis", &one))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(stored.len(), 16, "microseconds, every digit: {stored}");
}

#[tokio::test]
async fn a_counter_that_holds_nonsense_closes() {
    let (redis, keeper) = connected().await;
    let one = charge(&salt(), "8/minute burst 8");
    let mut connection = redis.link().connection.clone().unwrap();
    let () = redis::cmd("SET")
        .arg(key("portcullis", &one))
        .arg("x")
        .arg("PX")
        .arg(60_000)
        .query_async(&mut connection)
        .await
        .unwrap();
    let taken = redis.take(Timestamp::EPOCH, &[one]).await;
    assert!(taken.is_degraded());
    assert_eq!(redis.health(), Health::Degraded);
    assert!(keeper.connect().await);
    assert_eq!(redis.health(), Health::Shared);
}

#[tokio::test]
async fn without_redis_a_node_allows_its_share_and_a_login_a_tenth() {
    // Nothing listens there: the port was free a moment ago, and is bound by us now.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let (redis, keeper) = open(&config(), &url);
    assert!(!keeper.connect().await);
    let general = charge("general", "40/minute");
    let login = Charge {
        when_degraded: WhenDegraded::Tenth,
        ..charge("login", "40/minute")
    };
    for (one, share) in [(general, 10), (login, 4)] {
        let passed = (0..100)
            .filter(|_| {
                let taken = redis.take_now(Timestamp::EPOCH, &[one]).unwrap();
                assert!(taken.is_degraded());
                taken.is_allowed()
            })
            .count();
        assert_eq!(passed, share);
    }
    assert_eq!(redis.health(), Health::Degraded);
}

#[tokio::test]
async fn a_redis_that_hangs_is_asked_once() {
    let impatient = Config {
        redis_timeout: Span::from_millis(5),
        ..config()
    };
    let (redis, keeper) = open(&impatient, "redis://127.0.0.1:1");
    let real = connected().await.0;
    // As if it had answered until now: a live connection, and a server that stops.
    let mut connection = real.link().connection.clone().unwrap();
    redis.link().connection = Some(connection.clone());
    let one = charge(&salt(), "40/minute");
    let () = redis::cmd("CLIENT")
        .arg("PAUSE")
        .arg(300)
        .arg("WRITE")
        .query_async(&mut connection)
        .await
        .unwrap();
    let taken = redis.take(Timestamp::EPOCH, &[one]).await;
    assert!(taken.is_degraded());
    assert!(taken.is_allowed());
    assert_eq!(redis.health(), Health::Degraded);
    // The breaker is open: the answer comes without waiting.
    assert!(
        redis
            .take_now(Timestamp::EPOCH, &[one])
            .unwrap()
            .is_degraded()
    );
    drop(keeper);
    let () = redis::cmd("CLIENT")
        .arg("UNPAUSE")
        .query_async(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_keeper_restores_a_connection_that_broke() {
    let (redis, keeper) = connected().await;
    let running = tokio::spawn(keeper.run());
    let generation = redis.link().generation;
    redis.break_off(generation, &Failure::Nonsense);
    assert_eq!(redis.health(), Health::Degraded);
    while redis.health() == Health::Degraded {
        tokio::task::yield_now().await;
    }
    // The late failure of the old connection does not break the new one.
    redis.break_off(generation, &Failure::Nonsense);
    assert_eq!(redis.health(), Health::Shared);
    running.abort();
}

#[tokio::test]
async fn whatever_stands_below_the_namespace_is_read_and_nothing_else_is() {
    const SECRET: &str = "what-must-not-be-there";
    let url = Secret::new(required("PORTCULLIS_TEST_REDIS"));
    let name = uuid::Uuid::new_v4().simple().to_string();
    let config = Config {
        redis_namespace: name.clone(),
        ..config()
    };
    let mut link = connection(&client(&config, &url).unwrap()).await.unwrap();
    let mut ask = async |line: &str| {
        let text = line.replace("SECRET", SECRET);
        let mut words = text.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query_async::<()>(&mut link).await.unwrap();
    };
    assert!(contents(&config, &url).await.unwrap().is_empty());
    let kinds = [
        "SET {} SECRET",
        "HSET {} field SECRET",
        "HSET {} SECRET value",
        "RPUSH {} first SECRET",
        "SADD {} SECRET",
        "ZADD {} 1 SECRET",
        "XADD {} * field SECRET",
        "SET {}-SECRET value",
    ];
    for (number, kind) in kinds.iter().enumerate() {
        ask(&kind.replace("{}", &format!("{{{name}}}:{number}"))).await;
        ask(&kind.replace("{}", &format!("{{other-{name}}}:{number}"))).await;
    }
    let found = contents(&config, &url).await.unwrap();
    assert_eq!(found.len(), kinds.len(), "{found:?}");
    for (key, value) in &found {
        let all = [key.as_slice(), value].concat();
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(text.contains(SECRET), "{text}");
    }
    for (number, kind) in kinds.iter().enumerate() {
        for space in [&name, &format!("other-{name}")] {
            let key = kind.split(' ').nth(1).unwrap();
            let key = key.replace("{}", &format!("{{{space}}}:{number}"));
            ask(&format!("DEL {key}")).await;
        }
    }
}
