//! The consent ledger: written by the product, by people for themselves, and by the operator (P2).

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{
    Answer, Browser, Client, Gateway, GatewayBuilder, Upstream, database, eventually_asked, sockets,
};

const ANA: &str = "ana@corp.test";
const PATH: &str = "/.portcullis/consents";
const OWN: &str = "/.portcullis/auth/consents";
const POLICY: &str = "\n[[purpose]]\nname = \"marketing\"\nversion = \"2026-11\"\nabout = \"News by letter\"\n[[purpose]]\nname = \"analytics\"\nversion = \"1\"\nabout = \"Counting visits\"\n[roles.user]\npermissions = [\"read:own\"]\n[roles.admin]\npermissions = [\"manage:users\"]\n[roles.program]\npermissions = [\"consents:write\", \"consents:read\"]\n";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user(ANA, &["user"])
        .user("bo@corp.test", &["user"])
        .more(POLICY)
}

fn parsed(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.cli(&[&["--output", "json"], arguments].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"))
}

fn key(gateway: &Gateway, more: &[&str]) -> String {
    let made = parsed(
        gateway,
        &[&["keys", "create", "--name", "app"], more].concat(),
    );
    made["key"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned()
}

async fn write(client: &Client, key: &str, body: &Value) -> Answer {
    let request = client
        .post(PATH)
        .header("authorization", &format!("Bearer {key}"));
    request.json(body).send().await
}

async fn read(client: &Client, key: &str, query: &str) -> Answer {
    let request = client.get(&format!("{PATH}?{query}"));
    request
        .header("authorization", &format!("Bearer {key}"))
        .send()
        .await
}

/// The same gate, with another text of `marketing`: what was agreed to is another one.
async fn with_another_text(gateway: Gateway) -> Gateway {
    let builder = gateway.end().await.without_users();
    builder.replace("2026-11", "2027-01").start().await
}

/// How it stands with `marketing`.
fn standing(answer: &Answer) -> String {
    let json = answer.json();
    let consents = json["consents"].as_array().unwrap();
    let found = consents
        .iter()
        .find(|one| one["purpose"] == "marketing")
        .unwrap();
    found["standing"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_product_writes_down_what_was_agreed_to_and_only_the_text_that_is_shown_counts() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    let writer = key(&gateway, &["--permission", "consents:write"]);
    let reader = key(&gateway, &["--permission", "consents:read"]);
    assert_eq!(
        standing(&read(&client, &reader, "subject=customer-7").await),
        "none"
    );
    let given = json!({ "subject": "customer-7", "purpose": "marketing", "version": "2026-11", "state": "given" });
    let answer = write(&client, &writer, &given).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.json()["source"]
            .as_str()
            .unwrap()
            .starts_with("api-key:")
    );
    assert_eq!(
        standing(&read(&client, &reader, "subject=customer-7").await),
        "given"
    );
    assert_eq!(
        standing(&read(&client, &reader, "subject=customer-8").await),
        "none"
    );
    // A text that is not shown any more, and a purpose that the policy does not have.
    for (field, value) in [
        ("version", "2025-01"),
        ("purpose", "resale"),
        ("subject", ""),
    ] {
        let mut other = given.clone();
        other[field] = value.into();
        let answer = write(&client, &writer, &other).await;
        assert_eq!(answer.status, 422, "{field}: {}", answer.text());
        assert!(answer.text().contains(field), "{}", answer.text());
    }
    let mut taken_back = given.clone();
    taken_back["state"] = "withdrawn".into();
    assert_eq!(write(&client, &writer, &taken_back).await.status, 200);
    let answer = read(&client, &reader, "subject=customer-7").await;
    assert_eq!(standing(&answer), "withdrawn");
    // Both entries stay, and so do their events.
    let states: Vec<Value> = answer.json()["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["state"].clone())
        .collect();
    assert_eq!(states, ["withdrawn", "given"]);
    for action in ["consent.given", "consent.withdrawn"] {
        let events = parsed(&gateway, &["audit", "list", "--action", action]);
        assert_eq!(events[0]["metadata"]["purpose"], "marketing", "{events}");
        assert!(!events.to_string().contains("customer-7"), "{events}");
    }
    // The other permission is not enough, and neither is none, or a person.
    assert_eq!(write(&client, &reader, &given).await.status, 403);
    assert_eq!(
        read(&client, &writer, "subject=customer-7").await.status,
        403
    );
    assert_eq!(
        client.get(&format!("{PATH}?subject=x")).send().await.status,
        401
    );
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(
        ana.get(&format!("{PATH}?subject=x")).send().await.status,
        403
    );
}

#[tokio::test]
async fn a_key_of_a_tenant_sees_and_writes_its_own_tenant_alone() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    let tenant = |name: &str| {
        parsed(&gateway, &["tenants", "create", name])["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (acme, rival) = (tenant("acme"), tenant("rival"));
    let both = [
        "--permission",
        "consents:write",
        "--permission",
        "consents:read",
    ];
    let of = |name: &str| key(&gateway, &[&both[..], &["--tenant", name]].concat());
    let (of_acme, of_rival) = (of("acme"), of("rival"));
    let given = json!({ "subject": "7", "purpose": "marketing", "state": "given" });
    assert_eq!(write(&client, &of_acme, &given).await.status, 200);
    assert_eq!(
        standing(&read(&client, &of_acme, "subject=7").await),
        "given"
    );
    assert_eq!(
        standing(&read(&client, &of_rival, "subject=7").await),
        "none"
    );
    let query = format!("subject=7&tenant={acme}");
    assert_eq!(read(&client, &of_rival, &query).await.status, 403);
    let mut foreign = given.clone();
    foreign["tenant"] = rival.into();
    assert_eq!(write(&client, &of_acme, &foreign).await.status, 403);
    // The product's own key says which.
    let everywhere = key(&gateway, &both);
    assert_eq!(standing(&read(&client, &everywhere, &query).await), "given");
    assert_eq!(
        standing(&read(&client, &everywhere, "subject=7").await),
        "none"
    );
}

#[tokio::test]
async fn people_give_and_take_back_their_own_and_are_asked_again_for_another_text() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    assert_eq!(gateway.client().get(OWN).send().await.status, 401);
    let ana = gateway.signed_in(ANA).await;
    let given = json!({ "purpose": "marketing", "state": "given" });
    let forged = ana
        .post(OWN)
        .replace("x-csrf-token", "forged")
        .json(&given)
        .send()
        .await;
    assert_eq!(forged.status, 403);
    assert_eq!(standing(&ana.get(OWN).send().await), "none");
    let answer = ana.post(OWN).json(&given).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(standing(&ana.get(OWN).send().await), "given");
    let bo = gateway.signed_in("bo@corp.test").await;
    assert_eq!(standing(&bo.get(OWN).send().await), "none");
    // It says where it came from, for as long as the person is there.
    let events = parsed(&gateway, &["audit", "list", "--action", "consent.given"]);
    assert_eq!(events[0]["client_address"], "127.0.0.1", "{events}");
    let shown = parsed(&gateway, &["consents", "show", ANA]);
    assert_eq!(shown["consents"][0]["standing"], "given");
    assert_eq!(
        parsed(&gateway, &["consents", "withdraw", ANA, "marketing"])["consents"][0]["standing"],
        "withdrawn"
    );
    assert_eq!(
        parsed(&gateway, &["consents", "give", ANA, "marketing"])["history"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        gateway
            .cli(&["consents", "give", ANA, "resale"])
            .status
            .code(),
        Some(2)
    );
    // The text changes: what was agreed to is another one.
    let gateway = with_another_text(gateway).await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(standing(&ana.get(OWN).send().await), "outdated");
    assert_eq!(ana.post(OWN).json(&given).send().await.status, 200);
    assert_eq!(standing(&ana.get(OWN).send().await), "given");
}

#[tokio::test]
async fn the_ledger_is_added_to_and_rows_go_with_their_person_alone() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let folder = gateway.config_path().parent().unwrap().to_owned();
    let ana = gateway.signed_in(ANA).await;
    let given = json!({ "purpose": "marketing", "state": "given" });
    assert_eq!(ana.post(OWN).json(&given).send().await.status, 200);
    assert_eq!(
        parsed(&gateway, &["consents", "give", "bo@corp.test", "marketing"])["consents"][0]["standing"],
        "given"
    );
    for sql in [
        "UPDATE consent SET state = 'withdrawn'",
        "DELETE FROM consent",
    ] {
        let (folder, sql) = (folder.clone(), sql.to_owned());
        let changed = tokio::spawn(async move { database::execute(&folder, &sql).await });
        assert!(changed.await.is_err(), "the ledger was changed");
    }
    let count = || database::text(&folder, "SELECT CAST(count(*) AS TEXT) FROM consent");
    assert_eq!(count().await, "2");
    let erased = parsed(&gateway, &["privacy", "erase", ANA, "--yes"]);
    assert_eq!(erased["rows"]["consent"], 1, "{erased}");
    assert_eq!(count().await, "1");
}

const ROUTE: &str = "\n[[route]]\npath = \"/offers\"\nallow = \"user\"\ncallers = [\"user\", \"api-key\"]\nconsent = \"marketing\"\n";

async fn with_route(upstream: &Upstream) -> Gateway {
    builder(upstream)
        .await
        .more(ROUTE)
        .more("\n[tokens]\n")
        .start()
        .await
}

async fn says(browser: &Browser, state: &str) {
    let body = json!({ "purpose": "marketing", "state": state });
    let answer = browser.post(OWN).json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Refused with what is asked for, and without the product's knowledge.
fn assert_asks(answer: &Answer) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.problem(), "consent-required");
    assert!(
        answer.text().contains("marketing@2026-11"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_route_that_asks_for_a_consent_is_open_while_it_stands() {
    let upstream = Upstream::start().await;
    let gateway = with_route(&upstream).await;
    let twin = gateway.twin().await;
    let ana = gateway.signed_in(ANA).await;
    let cookie = format!("session={}", ana.cookie("session").unwrap());
    let at_twin = async || {
        let request = twin.client().get("/offers").header("cookie", &cookie);
        request.send().await.status.as_u16()
    };
    assert_eq!(gateway.client().get("/offers").send().await.status, 401);
    assert_asks(&ana.get("/offers").send().await);
    assert_eq!(at_twin().await, 403);
    // Another purpose is another consent.
    let other = json!({ "purpose": "analytics", "state": "given" });
    assert_eq!(ana.post(OWN).json(&other).send().await.status, 200);
    assert_asks(&ana.get("/offers").send().await);
    assert_eq!(upstream.requests(), 0, "the product saw nothing");
    says(&ana, "given").await;
    assert_eq!(ana.get("/offers").send().await.status, 200);
    eventually_asked("the other gate has heard", async || at_twin().await == 200).await;
    // Nobody comes in by what another person agreed to.
    let bo = gateway.signed_in("bo@corp.test").await;
    assert_asks(&bo.get("/offers").send().await);
    assert_eq!(bo.get("/anything").send().await.status, 200);
    says(&ana, "withdrawn").await;
    assert_asks(&ana.get("/offers").send().await);
    eventually_asked("the other gate has heard", async || at_twin().await == 403).await;
    assert_eq!(
        ana.get("/anything").send().await.status,
        200,
        "and is signed in"
    );
    // By the operator, whom the running gate hears of.
    parsed(&gateway, &["consents", "give", ANA, "marketing"]);
    eventually_asked("it is given", async || {
        ana.get("/offers").send().await.status == 200
    })
    .await;
    parsed(&gateway, &["consents", "withdraw", ANA, "marketing"]);
    eventually_asked("it is withdrawn", async || {
        ana.get("/offers").send().await.status == 403
    })
    .await;
}

#[tokio::test]
async fn a_key_and_a_token_count_for_their_person_and_a_key_of_nobody_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = with_route(&upstream).await;
    let ana = gateway.signed_in(ANA).await;
    let made = ana.post("/.portcullis/auth/keys");
    let made = made.json(&json!({ "name": "laptop" })).send().await.json();
    let own = made["key"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned();
    let nobodys = key(&gateway, &["--permission", "consents:write"]);
    let token = gateway.signed_in(ANA).await;
    let token = token.post("/.portcullis/auth/token").json(&json!({}));
    let token = token.send().await.json();
    let token = token["access_token"].as_str().unwrap().to_owned();
    let client = gateway.client();
    let offers = async |key: &str| {
        let request = client.get("/offers");
        request
            .header("authorization", &format!("Bearer {key}"))
            .send()
            .await
    };
    for bearer in [&own, &token, &nobodys] {
        assert_asks(&offers(bearer).await);
    }
    // The product writes it down for the account.
    let users = parsed(&gateway, &["users", "list"]);
    let all = users.as_array().unwrap();
    let id = &all.iter().find(|user| user["email"] == ANA).unwrap()["id"];
    let mut said = json!({ "subject": id, "purpose": "marketing", "state": "given" });
    assert_eq!(write(&client, &nobodys, &said).await.status, 200);
    assert_eq!(offers(&own).await.status, 200);
    assert_eq!(offers(&token).await.status, 200);
    assert_asks(&offers(&nobodys).await);
    said["state"] = "withdrawn".into();
    assert_eq!(write(&client, &nobodys, &said).await.status, 200);
    assert_asks(&offers(&own).await);
    assert_asks(&offers(&token).await);
}

#[tokio::test]
async fn a_stream_whose_consent_goes_while_the_product_answers_never_opens() {
    // A product that answers when it is told to.
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (was_asked, may_answer) = (Arc::clone(&asked), Arc::clone(&answer));
    let product = sockets::bytes_product(move |mut stream| {
        let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
        async move {
            sockets::read_until(&mut stream, "\r\n\r\n").await;
            asked.notify_one();
            answer.notified().await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    });
    let gateway = with_route(&Upstream::at(product.await)).await;
    let ana = gateway.signed_in(ANA).await;
    for (last, expected) in [("given", 200), ("withdrawn", 403)] {
        says(&ana, "given").await;
        let meanwhile = async {
            was_asked.notified().await;
            says(&ana, last).await;
            may_answer.notify_one();
        };
        let (offers, ()) = tokio::join!(ana.get("/offers").send(), meanwhile);
        assert_eq!(offers.status, expected, "{last}: {}", offers.text());
    }
}

#[tokio::test]
async fn what_a_consent_let_in_ends_with_it_and_another_text_is_asked_for_anew() {
    let upstream = Upstream::endless().await;
    let gateway = with_route(&upstream).await;
    let ana = gateway.signed_in(ANA).await;
    says(&ana, "given").await;
    let host = gateway.address;
    let request = format!(
        "GET /offers HTTP/1.1\r\nhost: {host}\r\ncookie: session={}\r\nconnection: close\r\n\r\n",
        ana.cookie("session").unwrap()
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = sockets::read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    says(&ana, "withdrawn").await;
    // Without its consent the product's answer, which never ends by itself, is cut.
    let mut nowhere = tokio::io::sink();
    let end = tokio::io::copy(&mut stream, &mut nowhere);
    let ended = tokio::time::timeout(std::time::Duration::from_mins(1), end).await;
    ended.expect("the stream ends with the consent").unwrap();
    says(&ana, "given").await;
    let gateway = with_another_text(gateway).await;
    let ana = gateway.signed_in(ANA).await;
    let answer = ana.get("/offers").send().await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("marketing@2027-01"),
        "{}",
        answer.text()
    );
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_route_asks_for_what_somebody_can_give_or_is_refused_and_explain_shows_it() {
    let upstream = Upstream::start().await;
    for (from, to, said) in [
        (
            "\"marketing\"\n",
            "\"resale\"\n",
            "no purpose of the policy",
        ),
        (
            "\"marketing\"\n",
            "\"marketing@2025-01\"\n",
            "shown in version `2026-11`",
        ),
        ("allow = \"user\"", "allow = \"public\"", "a public route"),
        ("\"api-key\"", "\"visitor\"", "a visitor has no account"),
    ] {
        let builder = builder(&upstream).await.more(&ROUTE.replace(from, to));
        let output = builder.more("\n[visitors]\n").cli(&["check"]);
        let told = crate::subjects::said(&output);
        assert_eq!(output.status.code(), Some(1), "{to}: {told}");
        assert!(
            told.contains(".consent") && told.contains(said),
            "{to}: {told}"
        );
    }
    let builder = builder(&upstream).await;
    let gateway = builder.more(&ROUTE.replace("\"marketing\"\n", "\"marketing@2026-11\"\n"));
    let explain = |more: &[&str]| {
        let asked = [
            "--output", "json", "explain", "GET", "/offers", "--as", "user",
        ];
        let output = gateway.cli(&[&asked[..], more].concat());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let refused = explain(&[]);
    assert_eq!(refused["problem"], "consent-required", "{refused}");
    assert_eq!(refused["consent"], "marketing@2026-11", "{refused}");
    let old = explain(&["--consent", "marketing@2025-01"]);
    assert_eq!(old["problem"], "consent-required", "{old}");
    let allowed = explain(&["--consent", "marketing@2026-11"]);
    assert_eq!(allowed["allowed"], true, "{allowed}");
}
