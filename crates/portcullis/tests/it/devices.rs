//! One's devices: seen, named, signed out; and what happens when a session turns up in another one
//! (S2, S3, S5).

use serde_json::{Value, json};

use crate::anomalies;
use crate::support::mailbox::Mailbox;
use crate::support::{
    Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, database, tokens,
};

pub(crate) const FIREFOX: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
pub(crate) const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1";
const FORM: &str = "application/x-www-form-urlencoded";
const ANA: &str = "ana@corp.test";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user(ANA, &["user"])
        .user("bob@corp.test", &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
}

async fn login(gateway: &Gateway, email: &str, user_agent: &str) -> (Browser, Answer) {
    let browser = gateway.browser();
    let answer = browser
        .post("/.portcullis/auth/login")
        .header("user-agent", user_agent)
        .json(&json!({ "email": email, "password": PASSWORD }))
        .send()
        .await;
    (browser, answer)
}

async fn signed_in(gateway: &Gateway, user_agent: &str) -> Browser {
    let (browser, answer) = login(gateway, ANA, user_agent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    browser
}

async fn get(browser: &Browser, user_agent: &str, path: &str) -> Answer {
    let request = browser.get(path).header("user-agent", user_agent);
    request.send().await
}

async fn status(browser: &Browser, user_agent: &str) -> u16 {
    get(browser, user_agent, "/anything").await.status.as_u16()
}

async fn notices(browser: &Browser, user_agent: &str) -> Vec<Value> {
    let answer = get(browser, user_agent, "/.portcullis/auth/notices").await;
    answer.json().as_array().unwrap().clone()
}

async fn submit(browser: &Browser, user_agent: &str, path: &str, form: &str) -> Answer {
    browser
        .post(path)
        .without("x-csrf-token")
        .header("user-agent", user_agent)
        .header("content-type", FORM)
        .body(form.to_owned())
        .send()
        .await
}

fn audited(gateway: &Gateway, action: &str) -> usize {
    let output = gateway.cli(&["audit", "list", "--action", action, "--output", "json"]);
    let events: Value = serde_json::from_slice(&output.stdout).unwrap();
    events.as_array().unwrap().len()
}

#[tokio::test]
async fn devices_are_listed_by_name_and_signed_out_without_script() {
    const ACCOUNT: &str = "/.portcullis/auth/account";
    const END: &str = "/.portcullis/auth/account/sessions";
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let laptop = signed_in(&gateway, FIREFOX).await;
    let phone = signed_in(&gateway, PHONE).await;
    let tablet = signed_in(&gateway, PHONE).await;
    let bob = login(&gateway, "bob@corp.test", FIREFOX).await.0;

    let page = get(&laptop, FIREFOX, ACCOUNT).await.text();
    assert!(
        page.contains("Firefox on Linux</strong> (this device)"),
        "{page}"
    );
    assert_eq!(page.matches("Safari on iOS</strong>").count(), 2, "{page}");
    assert!(
        page.contains("from 127.0.0.x") && !page.contains("127.0.0.1"),
        "{page}"
    );
    let list = get(&laptop, FIREFOX, "/.portcullis/auth/sessions")
        .await
        .json();
    let list = list.as_array().unwrap();
    let id_of = |name: &str| {
        let session = list.iter().find(|session| session["name"] == name).unwrap();
        session["id"].as_str().unwrap().to_owned()
    };

    // From another site, and for another's session: nothing.
    let foreign = laptop
        .post(END)
        .header("user-agent", FIREFOX)
        .replace("origin", "https://evil.test")
        .replace("sec-fetch-site", "cross-site")
        .header("content-type", FORM)
        .body("end=all");
    assert_eq!(foreign.send().await.status, 403);
    let laptops = format!("end={}", id_of("Firefox on Linux"));
    submit(&bob, FIREFOX, END, &laptops).await;
    assert_eq!(status(&laptop, FIREFOX).await, 200);

    let one = submit(
        &laptop,
        FIREFOX,
        END,
        &format!("end={}", id_of("Safari on iOS")),
    )
    .await;
    assert_eq!(
        (one.status.as_u16(), one.header("location")),
        (303, Some(ACCOUNT))
    );
    let left = [status(&phone, PHONE).await, status(&tablet, PHONE).await];
    assert!(left == [200, 401] || left == [401, 200], "{left:?}");
    submit(&laptop, FIREFOX, END, "end=others").await;
    assert_eq!(
        [status(&phone, PHONE).await, status(&tablet, PHONE).await],
        [401, 401]
    );
    assert_eq!(status(&laptop, FIREFOX).await, 200);

    let phone = signed_in(&gateway, PHONE).await;
    let all = submit(&laptop, FIREFOX, END, "end=all").await;
    assert_eq!(all.status, 303);
    assert_eq!(all.cookies().get("session").map(String::as_str), Some(""));
    assert_eq!(
        [status(&phone, PHONE).await, status(&laptop, FIREFOX).await],
        [401, 401]
    );
    assert_eq!(status(&bob, FIREFOX).await, 200);
}

/// Looked up when the list is shown, for its owner and for an administrator; nothing of it is stored.
#[tokio::test]
async fn a_device_is_listed_with_its_place_where_a_database_knows_it() {
    let upstream = Upstream::start().await;
    let builder = anomalies::proxied(&upstream)
        .await
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n");
    let without = builder.clone().start().await;
    anomalies::sign_in_from(&without, "81.2.69.7", ANA, PASSWORD).await;
    let page = async |gateway: &Gateway| {
        let ana = signed_in(gateway, FIREFOX).await;
        let page = get(&ana, FIREFOX, "/.portcullis/auth/account").await.text();
        (ana, page)
    };
    let (_, told) = page(&without).await;
    assert!(told.contains("from 81.2.69.x<"), "{told}");

    let again = without.end().await;
    let gateway = anomalies::map(again, "City", "").more(anomalies::PLACES);
    let gateway = gateway.start().await;
    // Of a country alone; of odd letters; of a VPN; of nowhere.
    for address in ["133.11.1.1", "5.9.1.1", "133.11.9.1", "203.0.113.1"] {
        anomalies::sign_in_from(&gateway, address, ANA, PASSWORD).await;
    }
    let (ana, told) = page(&gateway).await;
    let lists = [
        "from 81.2.69.x (Berlin, Germany)",
        "from 133.11.1.x (Japan)",
        "from 5.9.1.x (&lt;b&gt;Potsdam&lt;/b&gt;, DE)",
        "from 133.11.9.x",
        "from 203.0.113.x",
    ];
    for words in lists {
        assert!(told.contains(words), "{words}: {told}");
    }
    for nothing in ["133.11.9.x (", "203.0.113.x (", "81.2.69.7", "<b>Potsdam"] {
        assert!(!told.contains(nothing), "{nothing}: {told}");
    }
    let list = get(&ana, FIREFOX, "/.portcullis/auth/sessions").await;
    let places = |list: Value| -> Vec<Value> {
        let list = list.as_array().unwrap().iter();
        let mut places: Vec<Value> = list.filter_map(|one| one.get("place").cloned()).collect();
        places.sort_by_key(Value::to_string);
        places
    };
    let named = [
        json!("<b>Potsdam</b>, DE"),
        json!("Berlin, Germany"),
        json!("Japan"),
    ];
    assert_eq!(places(list.json()), named);

    let bob = gateway.signed_in("bob@corp.test").await;
    let me = get(&ana, FIREFOX, "/.portcullis/auth/me").await.json();
    let id = me["id"].as_str().unwrap();
    let console = format!("/.portcullis/console/users/{id}/sessions");
    let told = bob.get(&console).send().await.text();
    for words in lists {
        assert!(told.contains(words), "{words}: {told}");
    }
    let api = format!("/.portcullis/admin/v1/users/{id}/sessions");
    assert_eq!(places(bob.get(&api).send().await.json()), named);
    let told = gateway.cli(&["users", "sessions", ANA]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("from 81.2.69.x (Berlin, Germany)"), "{told}");
    let stored = database::everything(&gateway.folder).await;
    let stored = String::from_utf8_lossy(&stored);
    assert!(!stored.contains("Germany") && !stored.contains("Potsdam"));
}

#[tokio::test]
async fn all_sessions_end_by_one_call() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.more("\n[tokens]\n");
    let gateway = gateway.start().await;
    let laptop = signed_in(&gateway, FIREFOX).await;
    let phone = signed_in(&gateway, PHONE).await;
    // A program of the same person, or of somebody who knows the password.
    let client = gateway.client();
    let (token, refresh) = tokens::sign_in(&client, ANA).await;
    let access = async || {
        let answer = tokens::get(&client, "/anything", &token).await;
        answer.status.as_u16()
    };
    assert_eq!(access().await, 200);
    let delete = |query: &str| {
        laptop
            .send(
                http::Method::DELETE,
                &format!("/.portcullis/auth/sessions{query}"),
            )
            .header("user-agent", FIREFOX)
    };
    assert_eq!(delete("?al=true").send().await.problem(), "invalid-input");
    assert_eq!(
        status(&phone, PHONE).await,
        200,
        "a slip of the pen ends nothing"
    );
    assert_eq!(delete("?all=true").send().await.status, 204);
    assert_eq!(
        [status(&phone, PHONE).await, status(&laptop, FIREFOX).await],
        [401, 401]
    );
    assert_eq!(access().await, 401, "tokens are sign-ins as well");
    assert_eq!(tokens::refresh(&client, &refresh).await.status, 401);
}

#[tokio::test]
async fn a_session_in_another_client_is_nobodys_and_its_owner_is_told() {
    let upstream = Upstream::start().await;
    let mailbox = Mailbox::start().await;
    let gateway = builder(&upstream).await.mailing(mailbox.address);
    let gateway = gateway.start().await;
    let ana = signed_in(&gateway, FIREFOX).await;
    assert_eq!(status(&ana, FIREFOX).await, 200);
    // An update of the browser, and another network: no alarm.
    let newer = FIREFOX.replace("145", "146");
    assert_eq!(status(&ana, &newer).await, 200);
    assert_eq!(notices(&ana, &newer).await.len(), 0);
    let seen = upstream.requests();

    let thief = gateway.browser();
    thief.set_cookie("session", &ana.cookie("session").unwrap());
    for user_agent in [CHROME, "curl/8.14.1", PHONE] {
        thief.set_cookie("session", &ana.cookie("session").unwrap());
        let answer = get(&thief, user_agent, "/anything").await;
        assert_eq!(answer.problem(), "authentication-required", "{user_agent}");
        assert_eq!(
            answer.cookies().get("session").map(String::as_str),
            Some("")
        );
    }
    thief.set_cookie("session", &ana.cookie("session").unwrap());
    let silent = thief.get("/anything").send().await;
    assert_eq!(
        silent.problem(),
        "authentication-required",
        "no name at all"
    );
    assert_eq!(upstream.requests(), seen, "the product saw nothing of it");

    // The owner goes on, and is told once.
    assert_eq!(status(&ana, FIREFOX).await, 200);
    let told = notices(&ana, FIREFOX).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["client"], "Chrome on Windows");
    assert_eq!(told[0]["session_client"], "Firefox on Linux");
    assert_eq!(told[0]["outcome"], "challenged");
    let page = get(&ana, FIREFOX, "/.portcullis/auth/account").await.text();
    assert!(
        page.contains("role=\"alert\"") && page.contains("Chrome on Windows"),
        "{page}"
    );
    submit(&ana, FIREFOX, "/.portcullis/auth/account/notices", "").await;
    let page = get(&ana, FIREFOX, "/.portcullis/auth/account").await.text();
    assert!(!page.contains("Chrome on Windows"), "{page}");
    assert!((1..=4).contains(&audited(&gateway, "session.other-client")));

    // From the database as from memory: another start, nothing remembered.
    let gateway = gateway.kill().start().await;
    let thief = gateway.browser();
    thief.set_cookie("session", &ana.cookie("session").unwrap());
    assert_eq!(status(&thief, CHROME).await, 401);

    // One letter of the hour: the next that comes is another one.
    let letter = mailbox.wait_for(1).await;
    assert_eq!(
        letter.header("Subject"),
        "Somebody tried to use your session"
    );
    assert!(letter.header("To").contains(ANA));
    let forgot = gateway
        .client()
        .post("/.portcullis/auth/request-password-reset");
    forgot.json(&json!({ "email": ANA })).send().await;
    let next = mailbox.wait_for(2).await;
    assert_ne!(next.header("Subject"), letter.header("Subject"));
}

#[tokio::test]
async fn the_cookie_of_another_device_gives_a_copied_session_away() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = signed_in(&gateway, FIREFOX).await;
    let (mallory, _) = login(&gateway, "bob@corp.test", FIREFOX).await;
    mallory.set_cookie("session", &ana.cookie("session").unwrap());
    assert_eq!(status(&mallory, FIREFOX).await, 401);
    assert_eq!(status(&ana, FIREFOX).await, 200);
    assert_eq!(notices(&ana, FIREFOX).await.len(), 1);
}

#[tokio::test]
async fn policy_may_end_the_session_or_not_care() {
    let upstream = Upstream::start().await;
    let ending = builder(&upstream)
        .await
        .more("\n[sessions]\non-other-client = \"end\"\n")
        .start()
        .await;
    let ana = signed_in(&ending, FIREFOX).await;
    assert_eq!(status(&ana, FIREFOX).await, 200);
    let thief = ending.browser();
    thief.set_cookie("session", &ana.cookie("session").unwrap());
    assert_eq!(status(&thief, CHROME).await, 401);
    assert_eq!(status(&ana, FIREFOX).await, 401, "it has ended everywhere");
    let again = signed_in(&ending, FIREFOX).await;
    assert_eq!(notices(&again, FIREFOX).await[0]["outcome"], "ended");

    let careless = builder(&upstream)
        .await
        .more("\n[sessions]\non-other-client = \"ignore\"\n")
        .start()
        .await;
    let ana = signed_in(&careless, FIREFOX).await;
    assert_eq!(status(&ana, CHROME).await, 200);
    assert_eq!(notices(&ana, CHROME).await.len(), 0);
}

#[tokio::test]
async fn where_the_cap_refuses_the_oldest_session_stays() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[sessions]\nmax-per-user = 1\nwhen-full = \"refuse\"\n")
        .start()
        .await;
    let first = signed_in(&gateway, FIREFOX).await;
    for _ in 0..7 {
        let (_, answer) = login(&gateway, ANA, PHONE).await;
        assert_eq!(
            answer.problem(),
            "conflict",
            "and no backoff for a right password"
        );
    }
    let (_, wrong) = {
        let browser = gateway.browser();
        let answer = browser
            .post("/.portcullis/auth/login")
            .json(&json!({ "email": ANA, "password": "wrong-password-1-wrong" }))
            .send()
            .await;
        (browser, answer)
    };
    assert_eq!(
        wrong.problem(),
        "credentials-refused",
        "only its holder learns of it"
    );
    assert_eq!(status(&first, FIREFOX).await, 200);
    first
        .post("/.portcullis/auth/logout")
        .header("user-agent", FIREFOX)
        .send()
        .await;
    signed_in(&gateway, PHONE).await;
}

/// Clients with tokens are devices like others: seen and ended one by one, by their owner and by
/// administrators, and by nobody else.
#[tokio::test]
async fn clients_with_tokens_are_listed_and_ended_like_sessions() {
    const SESSIONS: &str = "/.portcullis/auth/sessions";
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.user("root@corp.test", &["admin"]);
    let gateway = gateway.more("\n[tokens]\n").start().await;
    let client = gateway.client();
    let signed_in_as = async |agent: &str| {
        let body = json!({ "email": ANA, "password": PASSWORD, "grant": "tokens" });
        let login = client.post("/.portcullis/auth/login");
        let answer = login.header("user-agent", agent).json(&body).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    };
    let call = async |method: http::Method, path: &str, access: &str| {
        let request = client.request(method, path);
        let bearer = format!("Bearer {access}");
        request.header("authorization", &bearer).send().await
    };
    let laptop = signed_in(&gateway, FIREFOX).await;
    let (phone, phones_refresh) = signed_in_as(PHONE).await;
    let (tablet, _) = signed_in_as(PHONE).await;
    let bob = login(&gateway, "bob@corp.test", FIREFOX).await.0;
    let list = call(http::Method::GET, SESSIONS, &phone).await.json();
    let list = list.as_array().unwrap().clone();
    let kinds: Vec<&str> = list
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["tokens", "tokens", "session"], "newest first");
    let current = list.iter().find(|one| one["current"] == true).unwrap();
    assert_eq!(current["kind"], "tokens");
    let phones_id = current["id"].as_str().unwrap().to_owned();
    assert_eq!(list[0]["client_address"], "127.0.0.x");
    let page = get(&laptop, FIREFOX, "/.portcullis/auth/account")
        .await
        .text();
    assert_eq!(
        page.matches("Safari on iOS</strong> (with tokens)").count(),
        2,
        "{page}"
    );
    let page = get(&laptop, FIREFOX, "/.portcullis/auth/security")
        .await
        .text();
    assert_eq!(page.matches("(with tokens)").count(), 2, "{page}");

    // Nobody ends another's.
    let foreign = bob.send(http::Method::DELETE, &format!("{SESSIONS}/{phones_id}"));
    let foreign = foreign.header("user-agent", FIREFOX).send().await;
    assert_eq!(foreign.problem(), "not-found");
    assert_eq!(
        call(http::Method::GET, "/anything", &phone).await.status,
        200
    );
    // By the page, from another device: on the next request, and for the refresh token too.
    let end = format!("end={phones_id}");
    submit(&laptop, FIREFOX, "/.portcullis/auth/account/sessions", &end).await;
    let answer = call(http::Method::GET, "/anything", &phone).await;
    assert_eq!(answer.problem(), "invalid-token");
    let next = tokens::refresh(&client, &phones_refresh).await;
    assert_eq!(next.problem(), "invalid-token");
    assert_eq!(
        call(http::Method::GET, "/anything", &tablet).await.status,
        200
    );
    // By itself.
    let left = call(http::Method::GET, SESSIONS, &tablet).await.json();
    let left = left.as_array().unwrap().clone();
    assert_eq!(left.len(), 2);
    let own = left.iter().find(|one| one["current"] == true).unwrap();
    let own = format!("{SESSIONS}/{}", own["id"].as_str().unwrap());
    assert_eq!(call(http::Method::DELETE, &own, &tablet).await.status, 204);
    assert_eq!(
        call(http::Method::GET, "/anything", &tablet).await.status,
        401
    );
    assert_eq!(status(&laptop, FIREFOX).await, 200, "the session goes on");
    // By an administrator.
    let (other, _) = signed_in_as(PHONE).await;
    let root = login(&gateway, "root@corp.test", FIREFOX).await.0;
    let me = get(&laptop, FIREFOX, "/.portcullis/auth/me").await.json();
    let theirs = format!(
        "/.portcullis/admin/v1/users/{}/sessions",
        me["id"].as_str().unwrap()
    );
    let list = get(&root, FIREFOX, &theirs).await.json();
    let one = list
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["kind"] == "tokens")
        .unwrap();
    let one = format!("{theirs}/{}", one["id"].as_str().unwrap());
    let end = root
        .send(http::Method::DELETE, &one)
        .header("user-agent", FIREFOX);
    assert_eq!(end.send().await.status, 204);
    assert_eq!(
        call(http::Method::GET, "/anything", &other).await.status,
        401
    );
    assert_eq!(status(&laptop, FIREFOX).await, 200);
    assert_eq!(audited(&gateway, "session.revoked"), 3);
}
