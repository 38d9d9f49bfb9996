//! How often one caller may come (L1-L9), over the wire and on both kinds of counters.

use axum::response::IntoResponse as _;

use crate::support::{Answer, Client, Gateway, GatewayBuilder, Upstream};

/// Requests seem to come from the address that `X-Forwarded-For` names.
const PROXIED: &str = "address = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1/32\"]";

const ROUTES: &str = r#"
[[route]]
path = "/open"
allow = "public"
limits = ["second", "minute", "hour"]

[[route]]
path = "/a"
allow = "public"
limits = ["each"]

[[route]]
path = "/b"
allow = "public"
limits = ["each"]

[[route]]
path = "/mine"
allow = "user"
limits = ["person"]

[[route]]
path = "/ours"
allow = "user"
limits = ["organization"]

[[route]]
path = "/tab"
allow = "user"
limits = ["tab"]

[[route]]
path = "/old"
allow = "public"
limits = ["old"]

[[route]]
path = "/health"
allow = "public"

[limits.second]
rate = "1000/second"

[limits.minute]
rate = "4/minute"
exempt = ["/health"]

[limits.hour]
rates = ["100/hour"]

[limits.each]
rate = "2/minute"
scope = "route"

[limits.person]
rate = "3/minute"
per = "user"

[limits.organization]
rate = "4/hour"
per = "tenant"

[limits.tab]
rate = "2/minute"
per = "session"

[limits.old]
rate = "5/minute"
legacy-headers = true

[limits.default]
rate = "5/minute"
exempt = ["/health"]

[limits.auth]
rate = "1000/minute"
"#;

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .replace(
            "[listen]\naddress = \"127.0.0.1:0\"",
            &format!("[listen]\n{PROXIED}"),
        )
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["user"])
}

async fn from(gateway: &Gateway, address: &str, path: &str) -> Answer {
    let request = gateway.client().get(path);
    request.header("x-forwarded-for", address).send().await
}

/// How many of twelve requests in a row are let through.
async fn passed(gateway: &Gateway, address: &str, path: &str) -> usize {
    let mut passed = 0;
    for _ in 0..12 {
        match from(gateway, address, path).await.status.as_u16() {
            200 => passed += 1,
            429 => {}
            other => panic!("{other}"),
        }
    }
    passed
}

/// The items of a Structured Fields list (RFC 9651 section 3.1): strings with integer parameters.
fn items(text: &str) -> Vec<(String, Vec<(String, u64)>)> {
    let item = |item: &str| {
        let mut parts = item.trim().split(';');
        let name = parts.next().unwrap();
        assert!(
            name.len() > 2 && name.starts_with('"') && name.ends_with('"'),
            "{text}"
        );
        let parameters = parts
            .map(|parameter| {
                let (key, value) = parameter.split_once('=').unwrap();
                assert!(key.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
                (key.to_owned(), value.parse().unwrap())
            })
            .collect();
        (name.trim_matches('"').to_owned(), parameters)
    };
    text.split(',').map(item).collect()
}

#[tokio::test]
async fn several_limits_hold_at_once_and_every_answer_tells_the_budget() {
    let upstream = Upstream::answering(|_| {
        (
            [("ratelimit", "\"the-products\";r=9"), ("retry-after", "1")],
            "ok",
        )
            .into_response()
    })
    .await;
    let gateway = builder(&upstream).await.start().await;
    for left in (0..4).rev() {
        let answer = from(&gateway, "203.0.113.1", "/open").await;
        assert_eq!(answer.status, 200);
        let policies = items(answer.header("ratelimit-policy").unwrap());
        let quota = |name: &str| {
            let (_, parameters) = policies.iter().find(|(item, _)| item == name).unwrap();
            parameters.clone()
        };
        let is = |q, w| vec![("q".to_owned(), q), ("w".to_owned(), w)];
        assert_eq!(policies.len(), 3);
        assert_eq!(quota("second"), is(1000, 1));
        assert_eq!(quota("minute"), is(4, 60));
        assert_eq!(quota("hour"), is(100, 3600));
        assert_eq!(
            answer.all("ratelimit").len(),
            1,
            "the product's own is replaced"
        );
        let budgets = items(answer.header("ratelimit").unwrap());
        let (_, minute) = budgets.iter().find(|(name, _)| name == "minute").unwrap();
        assert_eq!(minute[0], ("r".to_owned(), left));
        assert!(answer.header("x-ratelimit-limit").is_none());
    }
    let refused = from(&gateway, "203.0.113.1", "/open").await;
    assert_eq!(refused.problem(), "rate-limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=15).contains(&wait), "{wait}");
    let budgets = items(refused.header("ratelimit").unwrap());
    assert!(
        budgets
            .iter()
            .any(|(name, values)| name == "minute" && values[0].1 == 0)
    );
    assert_eq!(upstream.requests(), 4, "the product never saw it");

    // Being refused costs nothing: the wait gets shorter however often one asks, and the hour's
    // budget is not touched by what the minute refused.
    for _ in 0..30 {
        let again = from(&gateway, "203.0.113.1", "/open").await;
        let next: u64 = again.header("retry-after").unwrap().parse().unwrap();
        assert!(next <= wait, "a block is not prolonged");
        let budgets = items(again.header("ratelimit").unwrap());
        if let Some((_, hour)) = budgets.iter().find(|(name, _)| name == "hour") {
            assert!(hour[0].1 >= 95, "{hour:?}");
        }
    }
    let other = from(&gateway, "203.0.113.2", "/open").await;
    assert_eq!(other.status, 200, "another address has a budget of its own");
}

#[tokio::test]
async fn budgets_are_per_address_route_user_and_session() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    // Per route: each has its own budget. Unlisted paths cost as well, health does not.
    assert_eq!(passed(&gateway, "203.0.113.3", "/a").await, 2);
    assert_eq!(passed(&gateway, "203.0.113.3", "/b").await, 2);
    assert_eq!(passed(&gateway, "203.0.113.3", "/health").await, 12);
    // One IPv6 subscriber is one caller, and IPv4 inside IPv6 is IPv4.
    assert_eq!(passed(&gateway, "2001:db8:0:1::1", "/a").await, 2);
    assert_eq!(passed(&gateway, "2001:db8:0:1:ffff::2", "/a").await, 0);
    assert_eq!(passed(&gateway, "2001:db8:0:2::1", "/a").await, 2);
    assert_eq!(passed(&gateway, "::ffff:203.0.113.3", "/a").await, 0);

    let laptop = gateway.signed_in("ana@corp.test").await;
    let phone = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let mut passed = [0; 3];
    for round in 0..4 {
        for (index, browser) in [&laptop, &phone, &bob].into_iter().enumerate() {
            // Another address each time: the user is counted, wherever from.
            let address = format!("198.51.100.{}", round * 3 + index);
            let request = browser.get("/mine").header("x-forwarded-for", &address);
            passed[index] += usize::from(request.send().await.status == 200);
        }
    }
    assert_eq!(
        passed[0] + passed[1],
        3,
        "one user, two devices, one budget"
    );
    assert_eq!(passed[2], 3);
    for browser in [&laptop, &phone] {
        let mut passed = 0;
        for _ in 0..4 {
            passed += usize::from(browser.get("/tab").send().await.status == 200);
        }
        assert_eq!(passed, 2, "each session has its own");
    }
}

/// Limits by address and by user on one route.
const BOTH: &str = r#"
[[route]]
path = "/both"
methods = ["GET", "POST"]
allow = "user"
limits = ["near", "person"]

[limits.near]
rate = "8/minute"

[limits.person]
rate = "3/minute"
per = "user"

[limits.auth]
rate = "1000/minute"
"#;

#[tokio::test]
async fn a_caller_who_is_refused_by_a_limit_of_their_own_has_paid_nothing_by_address() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, BOTH)
        .await
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let mut answers = Vec::new();
    for browser in [&ana, &ana, &ana, &ana, &ana, &ana, &ana, &bob, &bob, &bob] {
        answers.push(browser.get("/both").send().await.status.as_u16());
    }
    assert_eq!(answers, [200, 200, 200, 429, 429, 429, 429, 200, 200, 200]);
}

#[tokio::test]
async fn what_is_refused_on_the_way_is_paid_by_address_and_not_by_user() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, BOTH)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    // Known from memory from here on.
    assert_eq!(ana.get("/both").send().await.status, 200);
    let mut answers = Vec::new();
    for _ in 0..6 {
        let forged = ana.post("/both");
        let forged = forged.replace("x-csrf-token", "not-the-token");
        answers.push(forged.send().await.problem());
    }
    assert_eq!(answers, vec!["csrf-token-invalid"; 6]);
    // By address one of eight is left, by user two of three.
    assert_eq!(ana.get("/both").send().await.status, 200);
    let forged = ana.post("/both").replace("x-csrf-token", "not-the-token");
    let forged = forged.send().await;
    assert_eq!(forged.problem(), "rate-limited", "whatever else is wrong");
    let metric = "portcullis_refusals_total{problem=\"rate-limited\",stage=\"address-limit\"} 1";
    let metrics = Client::to(gateway.admin)
        .get("/metrics")
        .send()
        .await
        .text();
    assert!(metrics.contains(metric), "{metrics}");
}

/// Ana and Bob belong to one tenant, Eve to another, Solo to none; all come from one address.
#[tokio::test]
async fn members_of_a_tenant_share_one_budget_and_leave_that_of_another_alone() {
    let upstream = Upstream::start().await;
    let mut builder = builder(&upstream).await;
    for name in ["eve", "solo"] {
        builder = builder.user(&format!("{name}@corp.test"), &["user"]);
    }
    let gateway = builder.start().await;
    let done = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    for (tenant, members) in [("acme", &["ana", "bob"][..]), ("globex", &["eve"])] {
        done(&["tenants", "create", tenant]);
        for name in members {
            let email = format!("{name}@corp.test");
            done(&["tenants", "set-roles", tenant, &email, "user"]);
        }
    }
    let sign_in = async |name: &str| gateway.signed_in(&format!("{name}@corp.test")).await;
    let (ana, bob) = (sign_in("ana").await, sign_in("bob").await);
    let (eve, solo) = (sign_in("eve").await, sign_in("solo").await);
    let mut statuses = Vec::new();
    for browser in [&ana, &bob, &ana, &bob, &ana, &bob] {
        statuses.push(browser.get("/ours").send().await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429], "one budget");
    let reached = upstream.requests();
    for other in [&eve, &solo] {
        for left in (0..4).rev() {
            let answer = other.get("/ours").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let told = answer.header("ratelimit").unwrap();
            assert!(told.contains(&format!("r={left}")), "{told}");
        }
        assert_eq!(other.get("/ours").send().await.problem(), "rate-limited");
    }
    assert_eq!(upstream.requests(), reached + 8);
    assert_eq!(ana.get("/ours").send().await.status, 429);
}

#[tokio::test]
async fn unknown_paths_are_counted_and_the_older_headers_come_on_request() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let mut last = from(&gateway, "203.0.113.4", "/nowhere").await;
    for attempt in 0..5 {
        last = from(&gateway, "203.0.113.4", &format!("/nowhere/{attempt}")).await;
    }
    assert_eq!(last.problem(), "rate-limited", "a scan is counted");
    let old = from(&gateway, "203.0.113.5", "/old").await;
    let text = |name| old.header(name).unwrap().to_owned();
    assert_eq!(text("x-ratelimit-limit"), "5");
    assert_eq!(text("x-ratelimit-remaining"), "4");
    assert!(text("x-ratelimit-reset").parse::<u64>().unwrap() <= 60);
}

#[tokio::test]
async fn two_gates_share_one_budget_where_they_share_redis() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let twin = gateway.twin().await;
    // The counters of the test set-up are shared by all tests: an address of our own.
    let random = uuid::Uuid::new_v4().as_u128();
    let address = format!(
        "2001:db8:{:x}:{:x}::1",
        random & 0xffff,
        random >> 16 & 0xffff
    );
    let mut passed = 0;
    for _ in 0..6 {
        for gate in [&gateway, &twin] {
            passed += usize::from(from(gate, &address, "/open").await.status == 200);
        }
    }
    // With counters in memory each gate counts for itself, as the documentation says.
    let expected = match std::env::var("PORTCULLIS_TEST_STATE").as_deref() {
        Ok("shared") => 4,
        _ => 8,
    };
    assert_eq!(passed, expected);
}
