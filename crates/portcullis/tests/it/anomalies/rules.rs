//! Each rule: requests make its events, it finds what they are, somebody is told, and a replay of what is recorded
//! finds the same (M2). By figures that are one higher nothing is found: it is the figure that decides.

use axum::http::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{PLACES, found, map, proxied, sign_in_from, told};
use crate::support::{Browser, Gateway, PASSWORD, Upstream, database, eventually};

const ANA: &str = "ana@corp.test";
const WRONG: &str = "wrong-wrong-1881-x";

/// A gate that looks for one thing by low figures, and a room where it is told.
struct Watched {
    gateway: Gateway,
    room: Upstream,
    detector: &'static str,
}

impl Watched {
    async fn start(detector: &'static str, figures: &str) -> Self {
        Watched::in_front_of(&Upstream::start().await, detector, figures).await
    }

    async fn in_front_of(upstream: &Upstream, detector: &'static str, figures: &str) -> Self {
        let room = Upstream::start().await;
        let tables = format!(
            "\n[anomalies]\ndelay = \"1s\"\n[anomalies.{detector}]\n{figures}\n[limits.auth]\nrate = \"1000/minute\"\n[[alert]]\nname = \"room\"\nslack = {{ file = \"slack\" }}\nsources = [\"{detector}\"]\nleast = \"low\"\nfirst-wait = \"1s\"\n"
        );
        let builder = proxied(upstream)
            .await
            .user("eve@corp.test", &["user"])
            .user("dan@corp.test", &["user"])
            .file("slack", &room.url())
            .more(&tables);
        let builder = if detector == "impossible-travel" {
            map(builder, "City", "").more(PLACES)
        } else {
            builder
        };
        Watched {
            gateway: builder.start().await,
            room,
            detector,
        }
    }

    /// What the replay finds of this detector, by these figures.
    fn replayed(&self, figures: &[&str]) -> Vec<Value> {
        let figures: Vec<String> = figures
            .iter()
            .map(|figure| format!("{}.{figure}", self.detector))
            .collect();
        let mut arguments = vec!["anomalies", "replay", "--since", "1h"];
        for figure in &figures {
            arguments.extend(["--set", figure]);
        }
        let mut rows = told(&self.gateway, &arguments);
        rows.retain(|row| row["detector"] == self.detector);
        rows
    }

    /// Of these subjects (each the beginning of one) something was found once, and told once, and is found again
    /// by a replay; by the figures of `stricter` it is not.
    async fn has_found(&self, subjects: &[&str], stricter: &[&str]) {
        let list = found(&self.gateway, self.detector, subjects.len()).await;
        let recorded = told(
            &self.gateway,
            &["audit", "list", "--action", "anomaly.found"],
        );
        let again = self.replayed(&[]);
        assert_eq!(again.len(), list.len(), "{again:#?}");
        for beginning in subjects {
            let of = |rows: &[Value]| -> (String, Value) {
                let mut rows = rows.iter();
                let row = rows.find(|row| row["subject"].as_str().unwrap().starts_with(beginning));
                let row = row.unwrap_or_else(|| panic!("nothing about {beginning}: {list:#?}"));
                let subject = row["subject"].as_str().unwrap().to_owned();
                (subject, row["began_at"].clone())
            };
            let found = of(&list);
            assert_eq!(of(&again), found);
            let is_of_it = |event: &Value| {
                let about = &event["metadata"];
                about["detector"] == self.detector && about["subject"] == *found.0
            };
            assert!(recorded.iter().any(is_of_it), "{recorded:#?}");
            eventually(&format!("{} is told", found.0), || {
                let letters = self.room.received();
                letters.iter().any(|letter| {
                    let said = String::from_utf8_lossy(&letter.body).into_owned();
                    said.contains(self.detector) && said.contains(&found.0)
                })
            })
            .await;
        }
        assert_eq!(self.room.requests(), subjects.len());
        if !stricter.is_empty() {
            let none = self.replayed(stricter);
            assert!(none.is_empty(), "{stricter:?}: {none:#?}");
        }
    }

    async fn sign_in(&self, address: &str, name: &str, password: &str) {
        sign_in_from(
            &self.gateway,
            address,
            &format!("{name}@corp.test"),
            password,
        )
        .await;
    }
}

/// Asks for a path as somebody who is signed in, from an address.
async fn get_from(browser: &Browser, path: &str, address: &str) -> StatusCode {
    let request = browser.get(path).header("x-forwarded-for", address);
    request.send().await.status
}

#[tokio::test]
async fn wrong_passwords_from_one_address_are_a_burst_whosever_they_are() {
    let gate = Watched::start("login-burst", "address-failures = 3").await;
    for name in ["ana", "bob", "nobody"] {
        gate.sign_in("203.0.113.1", name, WRONG).await;
        gate.sign_in("203.0.113.2", "ana", PASSWORD).await;
    }
    gate.has_found(&["address:203.0.113.1"], &["address-failures=4"])
        .await;
}

#[tokio::test]
async fn many_accounts_tried_from_one_address_and_from_several_together_are_found() {
    let figures = "accounts = 3\naccounts-together = 4\naddresses = 2";
    let gate = Watched::start("credential-stuffing", figures).await;
    // Who tries one account over and over stuffs nothing, nor do accounts count that are not there.
    for name in ["ana", "ana", "ana", "nobody", "nobody-else"] {
        gate.sign_in("203.0.113.9", name, WRONG).await;
    }
    for name in ["ana", "bob", "eve"] {
        gate.sign_in("203.0.113.1", name, WRONG).await;
    }
    gate.has_found(&["address:203.0.113.1"], &["accounts=4"])
        .await;
    gate.sign_in("203.0.113.2", "dan", WRONG).await;
    let stricter = ["accounts=4", "accounts-together=5"];
    gate.has_found(&["address:203.0.113.1", "gate"], &stricter)
        .await;
}

#[tokio::test]
async fn trying_out_which_accounts_and_which_paths_there_are_is_found() {
    let gate = Watched::start("enumeration", "accounts = 3\ndenials = 4").await;
    let (ana, bob) = (
        gate.gateway.signed_in(ANA).await,
        gate.gateway.signed_in("bob@corp.test").await,
    );
    for number in 1..4 {
        let name = format!("nobody-{number}");
        gate.sign_in("203.0.113.1", &name, WRONG).await;
        // An account that is there is another matter.
        gate.sign_in("203.0.113.2", "eve", WRONG).await;
        assert_eq!(get_from(&bob, "/closed", "203.0.113.3").await, 403);
    }
    for address in ["203.0.113.4", "203.0.113.5", "203.0.113.6", "203.0.113.7"] {
        assert_eq!(get_from(&ana, "/admin", address).await, 403);
    }
    let stricter = ["accounts=4", "denials=5"];
    gate.has_found(&["address:203.0.113.1", "account:"], &stricter)
        .await;
}

#[tokio::test]
async fn an_account_that_is_not_new_on_a_device_that_is_new_is_found() {
    let gate = Watched::start("new-device", "").await;
    for email in [ANA, "bob@corp.test"] {
        gate.gateway.signed_in(email).await;
    }
    // Ana's account is two days old, Bob's one is of today.
    let users = told(&gate.gateway, &["users", "list"]);
    let ana = users.iter().find(|user| user["email"] == ANA).unwrap();
    let id = ana["id"].as_str().unwrap().to_owned();
    let builder = gate.gateway.end().await;
    let micros = 2_i64 * 86_400_000_000;
    let sql = format!(
        "UPDATE audit_event SET at = at - {micros} WHERE action = 'user.created' AND target = 'user:{id}'"
    );
    crate::audit_log::without_triggers(builder.folder()).await;
    database::execute(builder.folder(), &sql).await;
    let gateway = builder.start().await;
    let gate = Watched { gateway, ..gate };
    for email in ["bob@corp.test", ANA] {
        gate.gateway.signed_in(email).await;
    }
    gate.has_found(&[&format!("account:{id}")], &["settled-after=3d"])
        .await;
}

#[tokio::test]
async fn a_key_that_comes_from_many_networks_is_found() {
    let gate = Watched::start("key-networks", "networks = 3").await;
    let (id, key) = crate::api_keys::make(&gate.gateway, &[]);
    // Two addresses of one network are one, and so is a network that comes again.
    for address in [
        "198.51.1.7",
        "198.51.1.8",
        "198.51.2.7",
        "198.51.1.7",
        "198.51.3.7",
    ] {
        let request = gate.gateway.client().get("/public");
        let request = request.header("authorization", &format!("Bearer {key}"));
        let answer = request.header("x-forwarded-for", address).send().await;
        assert_eq!(answer.status, 200);
    }
    gate.has_found(&[&format!("api-key:{id}")], &["networks=4"])
        .await;
    let seen = told(
        &gate.gateway,
        &["audit", "list", "--action", "api-key.seen"],
    );
    assert_eq!(seen.len(), 3, "{seen:#?}");
}

#[tokio::test]
async fn going_on_and_on_over_a_limit_is_found() {
    let limited = "refusals = 4\n[limits.default]\nrate = \"2/minute\"";
    let gate = Watched::start("limit-attack", limited).await;
    let request = async |address: &str| {
        let request = gate.gateway.client().get("/public");
        let answer = request.header("x-forwarded-for", address).send().await;
        answer.status == 429
    };
    for (address, most) in [("203.0.113.2", 3), ("203.0.113.1", 4)] {
        let mut refused = 0;
        while refused < most {
            refused += u8::from(request(address).await);
        }
    }
    gate.has_found(&["address:203.0.113.1"], &["refusals=5"])
        .await;
}

#[tokio::test]
async fn suddenly_many_refusals_are_found_whoever_they_come_from() {
    let gate = Watched::start("denial-surge", "refusals = 6").await;
    for (number, email) in [ANA, "bob@corp.test", "eve@corp.test"].iter().enumerate() {
        let browser = gate.gateway.signed_in(email).await;
        let address = format!("203.0.113.{number}");
        assert_eq!(get_from(&browser, "/closed", &address).await, 403);
        let foreign = browser
            .post("/anything")
            .replace("sec-fetch-site", "cross-site");
        let foreign = foreign.header("x-forwarded-for", &address);
        assert_eq!(foreign.send().await.status, 403);
    }
    gate.has_found(&["gate"], &["refusals=7"]).await;
}

#[tokio::test]
async fn a_product_that_suddenly_breaks_is_found() {
    let upstream = Upstream::answering(|request| {
        let status = if request.target == "/breaks" {
            500
        } else {
            200
        };
        Response::builder().status(status).body("".into()).unwrap()
    })
    .await;
    let gate = Watched::in_front_of(&upstream, "error-surge", "errors = 5\npercent = 40").await;
    let ana = gate.gateway.signed_in(ANA).await;
    for _ in 0..5 {
        assert_eq!(ana.get("/breaks").send().await.status, 500);
        assert_eq!(ana.get("/works").send().await.status, 200);
    }
    gate.has_found(&["gate"], &["errors=6"]).await;
    // Five of eleven answers are less than half of them.
    assert!(gate.replayed(&["percent=50"]).is_empty());
}

#[tokio::test]
async fn a_refresh_token_used_twice_and_a_session_in_another_client_are_found() {
    let gate = Watched::start("stolen-credential", "\n[tokens]").await;
    let client = gate.gateway.client();
    let post = async |path: &str, agent: &str, body: &Value| {
        let request = client.post(&format!("/.portcullis/auth/{path}"));
        let request = request.header("user-agent", agent).json(body);
        request.send().await
    };
    let sign_in = json!({ "email": ANA, "password": PASSWORD, "grant": "tokens" });
    let pair = post("login", "app/1", &sign_in).await.json();
    let refresh = json!({ "refresh_token": pair["refresh_token"] });
    assert_eq!(post("refresh", "app/1", &refresh).await.status, 200);
    assert_eq!(post("refresh", "curl/8", &refresh).await.status, 401);

    let [owner, thief] = [(); 2].map(|()| gate.gateway.browser());
    let login = owner
        .post("/.portcullis/auth/login")
        .header("user-agent", crate::devices::FIREFOX);
    let login = login.json(&json!({ "email": "bob@corp.test", "password": PASSWORD }));
    assert_eq!(login.send().await.status, 200);
    thief.set_cookie("session", &owner.cookie("session").unwrap());
    let stolen = thief.get("/anything");
    let stolen = stolen.header("user-agent", crate::devices::CHROME);
    assert_eq!(stolen.send().await.status, 401);
    let users = told(&gate.gateway, &["users", "list"]);
    let subjects = [ANA, "bob@corp.test"].map(|email| {
        let user = users.iter().find(|user| user["email"] == email).unwrap();
        format!("account:{}", user["id"].as_str().unwrap())
    });
    gate.has_found(&subjects.each_ref().map(String::as_str), &[])
        .await;
}

#[tokio::test]
async fn an_account_that_travels_faster_than_an_airliner_is_found() {
    let gate = Watched::start("impossible-travel", "").await;
    // Berlin and Potsdam, for Bob; Berlin and Tokyo, for Ana.
    for (address, name) in [
        ("81.2.69.7", "bob"),
        ("5.9.1.1", "bob"),
        ("81.2.69.7", "ana"),
        ("133.11.1.1", "ana"),
    ] {
        gate.sign_in(address, name, PASSWORD).await;
    }
    gate.has_found(&["account:"], &["distance=10000"]).await;
}
