//! What the gate does when something it depends on is away, slow, full or broken.
//!
//! `docs/failure.md` is made from a table whose rows name the tests here. What a fault needs (a
//! Redis, a PostgreSQL, a tracer) each test starts for itself, so that no other test suffers from it.

mod alerts;
mod api_keys;
mod console;
mod kill;
mod kms;
mod least_privilege;
mod machine;
mod overload;
mod passkeys;
mod postgres;
mod power;
mod privacy;
mod readiness;
mod redis;
mod secret_managers;
mod secret_store;
mod service;
mod sqlite;
mod tokens;
mod tracer;
mod transport;
mod uploads;
mod upstream;
mod visitors;
mod webhooks;
mod wire;

use std::time::Duration;

use crate::support::{Answer, Browser, Client, Gateway};

const LOGIN: &str = "/.portcullis/auth/login";
const LOGOUT: &str = "/.portcullis/auth/logout";
const ME: &str = "/.portcullis/auth/me";
const CHANGE: &str = "/.portcullis/auth/change-password";
/// Another password that the policy takes.
const OTHER_PASSWORD: &str = "vivid-gantry-58-lichen-orbit";

/// Far longer than any wait that the gate is configured to make: whoever waits for this long hangs.
const HANG: Duration = Duration::from_secs(20);

/// The work, or a failure where it hangs.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work)
        .await
        .unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Asks again and again until `answer` is what is waited for. Fails after twenty seconds.
async fn until<F: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> F) {
    for _ in 0..1000 {
        if happened().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come to pass that {what}");
}

async fn login(browser: &Browser, email: &str, password: &str) -> Answer {
    let body = serde_json::json!({ "email": email, "password": password });
    in_time("a sign-in", browser.post(LOGIN).json(&body).send()).await
}

async fn change_password(browser: &Browser, old: &str, new: &str) -> Answer {
    let body = serde_json::json!({ "old_password": old, "new_password": new });
    in_time(
        "a change of password",
        browser.post(CHANGE).json(&body).send(),
    )
    .await
}

async fn logout(browser: &Browser) -> Answer {
    in_time("a sign-out", browser.post(LOGOUT).send()).await
}

async fn get(browser: &Browser, target: &str) -> Answer {
    in_time("a request", browser.get(target).send()).await
}

/// What the admin listener says of the gate: status and document.
async fn readyz(gateway: &Gateway) -> (u16, serde_json::Value) {
    let admin = Client::to(gateway.admin);
    let answer = in_time("/readyz", admin.get("/readyz").send()).await;
    (answer.status.as_u16(), answer.json())
}

/// The value of a series, by its whole name with labels.
pub(crate) async fn metric(gateway: &Gateway, series: &str) -> Option<f64> {
    let admin = Client::to(gateway.admin);
    let text = in_time("/metrics", admin.get("/metrics").send())
        .await
        .text();
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// A 503 that says when to come back, and takes no cookie away.
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.problem(), "temporarily-unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(answer.cookies().is_empty(), "{:?}", answer.cookies());
}

/// How often each action stands in the audit trail.
fn audited(gateway: &Gateway, action: &str) -> usize {
    let output = gateway.cli(&[
        "--output", "json", "audit", "list", "--limit", "1000", "--action", action,
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = json
        .as_array()
        .or_else(|| json["events"].as_array())
        .expect("a list of events");
    events.len()
}

/// A generator that gives the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    /// Seeded by `PORTCULLIS_FAULT_SEED`, so that a failure can be repeated.
    fn seeded() -> Self {
        let seed = std::env::var("PORTCULLIS_FAULT_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(0x2545_f491_4f6c_dd1d);
        Dice(seed)
    }

    /// Marsaglia's xorshift64*.
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 11) % limit
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// How many rounds a loop makes: more by the variable, for a night.
fn rounds(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(default)
}

/// The limit on sign-ins would stop a test that signs in often.
const GENEROUS: &str =
    "\n[limits.auth]\nrate = \"10000/minute\"\n\n[limits.default]\nrate = \"100000/minute\"\n";
