//! What a session is and when it ends (S1, S2, S4, S6).

use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::{
    Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, database, eventually_asked,
};

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user("ana@corp.test", &["user"])
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n")
}

async fn is_signed_in(browser: &Browser) -> bool {
    let answer = browser.get("/anything").send().await;
    match answer.status.as_u16() {
        200 => true,
        401 => false,
        other => panic!("{other}: {}", answer.text()),
    }
}

/// What a copy of this cookie is answered at a node.
async fn copied(node: &Gateway, token: &str) -> u16 {
    let cookie = format!("session={token}");
    let request = node.client().get("/anything").header("cookie", &cookie);
    request.send().await.status.as_u16()
}

async fn sessions(browser: &Browser) -> Vec<serde_json::Value> {
    let answer = browser.get("/.portcullis/auth/sessions").send().await;
    answer.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn people_see_and_end_their_own_sessions_and_nobody_elses() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("bob@corp.test", &["user", "admin"])
        .start()
        .await;
    let laptop = gateway.signed_in("ana@corp.test").await;
    let phone = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;

    let mine = sessions(&laptop).await;
    assert_eq!(mine.len(), 2);
    let other = mine
        .iter()
        .find(|session| session["current"] == false)
        .unwrap();
    let path = format!(
        "/.portcullis/auth/sessions/{}",
        other["id"].as_str().unwrap()
    );
    let delete = |browser: &Browser, path: &str| browser.send(http::Method::DELETE, path);
    // Not even an administrator ends another's session here, nor learns that there is one.
    assert_eq!(delete(&bob, &path).send().await.problem(), "not-found");
    assert!(is_signed_in(&phone).await);
    assert_eq!(delete(&laptop, &path).send().await.status, 204);
    assert!(!is_signed_in(&phone).await);
    assert!(is_signed_in(&laptop).await && is_signed_in(&bob).await);
    assert_eq!(delete(&laptop, &path).send().await.problem(), "not-found");

    let tablet = gateway.signed_in("ana@corp.test").await;
    let others = delete(&laptop, "/.portcullis/auth/sessions").send().await;
    assert_eq!(others.status, 204);
    assert!(is_signed_in(&laptop).await && !is_signed_in(&tablet).await);
    assert!(is_signed_in(&bob).await);
    assert_eq!(sessions(&laptop).await.len(), 1);
}

#[tokio::test]
async fn one_session_too_many_ends_the_oldest() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[sessions]\nmax-per-user = 2\n")
        .start()
        .await;
    let first = gateway.signed_in("ana@corp.test").await;
    let second = gateway.signed_in("ana@corp.test").await;
    assert!(is_signed_in(&first).await);
    let third = gateway.signed_in("ana@corp.test").await;
    assert!(!is_signed_in(&first).await);
    assert!(is_signed_in(&second).await && is_signed_in(&third).await);
}

/// OWASP ASVS 5.0, 7.2.4: otherwise nobody could end what the browser no longer has, and a copy would go on.
#[tokio::test]
async fn signing_in_again_ends_the_session_that_the_browser_had() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("bob@corp.test", &["user"])
        .start()
        .await;
    let twin = gateway.twin().await;
    let elsewhere = gateway.signed_in("ana@corp.test").await;
    let browser = gateway.signed_in("ana@corp.test").await;
    // Also where somebody else signs in.
    for person in ["ana@corp.test", "bob@corp.test"] {
        let old = browser.cookie("session").unwrap();
        assert_eq!(copied(&twin, &old).await, 200);
        // A sign-in that fails ends nothing.
        for (password, status) in [("not the password", 401), (PASSWORD, 200)] {
            assert_eq!(copied(&gateway, &old).await, 200);
            let body = json!({ "email": person, "password": password });
            let login = browser.post("/.portcullis/auth/login").json(&body);
            assert_eq!(login.send().await.status, status);
        }
        assert!(is_signed_in(&browser).await);
        assert_eq!(copied(&gateway, &old).await, 401, "before {person}");
        eventually_asked("the other node has heard of it", async || {
            copied(&twin, &old).await == 401
        })
        .await;
    }
    assert!(is_signed_in(&elsewhere).await);
    assert_eq!(sessions(&elsewhere).await.len(), 1);
}

/// No test waits for half an hour: the times in the store are moved instead. That a running gate
/// sees its own clock pass them is shown in the identity crate, where the clock is the test's.
#[tokio::test]
async fn a_session_ends_when_it_was_idle_and_when_its_life_is_over() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (idle, old, young) = (
        gateway.signed_in("ana@corp.test").await,
        gateway.signed_in("ana@corp.test").await,
        gateway.signed_in("ana@corp.test").await,
    );
    let mut ids = Vec::new();
    for browser in [&idle, &old] {
        let all = sessions(browser).await;
        let this = all.iter().find(|session| session["current"] == true);
        ids.push(this.unwrap()["id"].as_str().unwrap().replace('-', ""));
    }
    let stopped = gateway.kill();
    let minute: i64 = 60_000_000;
    let is = |id: &str| match std::env::var("PORTCULLIS_TEST_STATE").as_deref() {
        Ok("shared") => format!("id = '{id}'::uuid"),
        _ => format!("id = x'{id}'"),
    };
    for sql in [
        format!(
            "UPDATE session SET last_seen_at = last_seen_at - {} WHERE {}",
            31 * minute,
            is(&ids[0])
        ),
        format!(
            "UPDATE session SET expires_at = expires_at - {} WHERE {}",
            24 * 60 * minute,
            is(&ids[1])
        ),
        // Within half an hour: still alive.
        format!(
            "UPDATE session SET last_seen_at = last_seen_at - {} WHERE NOT {} AND NOT {}",
            29 * minute,
            is(&ids[0]),
            is(&ids[1])
        ),
    ] {
        database::execute(stopped.folder(), &sql).await;
    }
    let gateway = stopped.start().await;
    for (browser, alive) in [(&idle, false), (&old, false), (&young, true)] {
        let answer = gateway
            .client()
            .get("/anything")
            .header(
                "cookie",
                &format!("session={}", browser.cookie("session").unwrap()),
            )
            .send()
            .await;
        assert_eq!(answer.status.is_success(), alive);
    }
}

#[tokio::test]
async fn two_session_cookies_are_nobodys_and_are_taken_back() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[sessions]\ncookie = \"sid\"\nsame-site = \"strict\"\n")
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let token = ana.cookie("sid").expect("the configured name");
    let ask = async |cookies: &str| {
        let request = gateway.client().get("/anything").header("cookie", cookies);
        request.send().await
    };
    let good = format!("sid={token}");
    assert_eq!(ask(&good).await.status, 200);
    let foreign = "B".repeat(43);
    for cookies in [
        format!("{good}; {good}"),
        format!("sid={foreign}; {good}"),
        format!("{good}; a=b; sid={foreign}"),
        format!("{good}; sid="),
    ] {
        let answer = ask(&cookies).await;
        assert_eq!(answer.problem(), "authentication-required", "{cookies}");
        assert_eq!(
            answer.all("set-cookie")[0],
            "sid=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
    // Neither the default name nor another case is ours.
    for cookies in [format!("session={token}"), format!("SID={token}")] {
        let answer = ask(&cookies).await;
        assert_eq!(answer.problem(), "authentication-required");
        assert!(answer.all("set-cookie").is_empty());
    }
    // A public page with a dead cookie is served, and the cookie is taken back.
    let answer = gateway
        .client()
        .get("/public")
        .header("cookie", &format!("sid={foreign}"))
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.cookies()["sid"], "");
}

#[tokio::test]
async fn what_one_gate_ends_the_other_hears_of() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let twin = gateway.twin().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let token = ana.cookie("session").unwrap();
    assert_eq!(
        copied(&twin, &token).await,
        200,
        "a session counts on every gate"
    );
    assert_eq!(
        ana.post("/.portcullis/auth/logout").send().await.status,
        204
    );
    let mut last = 0;
    for _ in 0..200 {
        last = copied(&twin, &token).await;
        if last == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(last, 401, "heard within seconds");
}

#[tokio::test]
async fn over_tls_the_cookies_are_bound_to_the_host_and_hsts_is_sent() {
    let upstream = Upstream::start().await;
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let gateway = builder(&upstream)
        .await
        .file("cert.pem", &certified.cert.pem())
        .file("key.pem", &certified.signing_key.serialize_pem())
        .more("\n[listen.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n")
        .start()
        .await;
    let tls = |method: &str, target: &str, body: String, cookie: Option<String>| {
        let mut request = http::Request::builder()
            .method(method)
            .uri(target)
            .header("host", format!("localhost:{}", gateway.address.port()))
            .header(
                "origin",
                format!("https://localhost:{}", gateway.address.port()),
            )
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        send_by_tls(
            &gateway,
            certified.cert.der().clone(),
            request.body(Full::from(body)).unwrap(),
        )
    };
    let login = json!({ "email": "ana@corp.test", "password": PASSWORD }).to_string();
    let answer = tls("POST", "/.portcullis/auth/login", login, None).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["strict-transport-security"],
        "max-age=31536000; includeSubDomains"
    );
    let cookies: Vec<&str> = answer
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let session = cookies
        .iter()
        .find(|cookie| cookie.starts_with("__Host-session="))
        .unwrap();
    let (pair, attributes) = session.split_once(';').unwrap();
    assert_eq!(
        attributes,
        " Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=86400"
    );
    for cookie in &cookies {
        assert!(cookie.contains("; Secure"), "{}", &cookie[..12]);
        assert!(!cookie.to_ascii_lowercase().contains("domain="));
    }
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.starts_with("__Host-device="))
    );
    let pair = pair.to_owned();
    let bare = pair.replace("__Host-session", "session");
    for (cookie, expected) in [(pair, 200), (bare, 401)] {
        let answer = tls("GET", "/anything", String::new(), Some(cookie)).await;
        assert_eq!(answer.status(), expected);
    }
}

async fn send_by_tls(
    gateway: &Gateway,
    certificate: CertificateDer<'static>,
    request: http::Request<Full<bytes::Bytes>>,
) -> http::Response<bytes::Bytes> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    http::Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn ended_sessions_stay_ended_after_a_crash() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let cookie = format!("session={}", ana.cookie("session").unwrap());
    ana.post("/.portcullis/auth/logout").send().await;
    let gateway = gateway.kill().start().await;
    let answer = gateway
        .client()
        .get("/anything")
        .header("cookie", &cookie)
        .send()
        .await;
    assert_eq!(answer.problem(), "authentication-required");
}
