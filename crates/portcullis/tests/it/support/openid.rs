//! Providers to sign in at: the certified one of others, and one that says what a test wants.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};

use super::issuer::Issuer;
use super::{Answer, Browser, Program, Upstream, required};

/// Where people reach every gate of these tests.
pub(crate) const ORIGIN: &str = "http://gate.test";
pub(crate) const BEGIN: &str = "/.portcullis/auth/openid/company";
const SECRET: &str = "a-secret-of-the-client-4f7c1e9b2d8a6053";

/// The tables of a gate whose people sign in at `issuer`.
pub(crate) fn tables(name: &str, issuer: &str, more: &str) -> String {
    format!(
        "\n[issuer.{name}]\nprofile = \"oidc\"\nissuer = \"{issuer}\"\nloopback = true\nadministrators = [\"root@corp.test\", \"unverified-root@corp.test\"]\n\n[issuer.{name}.login]\nclient-id = \"the-product\"\nclient-secret = {{ file = \"client-secret\" }}\n{more}\n"
    )
}

impl super::GatewayBuilder {
    /// With people who sign in at this provider.
    pub(crate) fn signing_in_at(self, issuer: &str, more: &str) -> Self {
        self.file("client-secret", SECRET)
            .more(&format!(
                "\n[accounts]\norigin = \"{ORIGIN}\"\n\n[limits.auth]\nrate = \"10000/minute\"\n"
            ))
            .more(&tables("company", issuer, more))
    }
}

/// Where an answer sends the browser.
pub(crate) fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").unwrap().to_owned()
}

/// A parameter of a URL.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned())
}

/// Path and query of a URL.
pub(crate) fn target(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// The certified provider (`xtask/services/openid-provider.mjs`).
pub(crate) struct Certified {
    pub(crate) program: Program,
    pub(crate) url: String,
}

impl Certified {
    pub(crate) async fn start() -> Certified {
        let program = Program::start(command).await;
        let url = format!("http://{}", program.address);
        Certified { program, url }
    }

    /// Stops it; [`Stopped::start`] brings it back to the same place.
    pub(crate) fn stop(self) -> Stopped {
        Stopped(self.program.address)
    }

    /// Somebody's browser, as the provider knows it.
    pub(crate) fn browser(&self) -> Browser {
        Browser::at(self.program.address)
    }

    /// Goes where the gate sent the browser and does what the provider asks, as the person of
    /// `form`. The URL that leads back to the gate.
    pub(crate) async fn follow(&self, browser: &Browser, url: &str, form: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..12 {
            if url.starts_with(ORIGIN) {
                return url;
            }
            let at = url.strip_prefix(&self.url).unwrap_or(&url).to_owned();
            let answer = if at.starts_with("/interaction/") {
                let answer = browser.get(&at).send().await;
                assert!(answer.text().contains("name=\"login\""));
                browser
                    .post(&at)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form.to_owned())
                    .send()
                    .await
            } else {
                browser.get(&at).send().await
            };
            assert!(
                answer.status.is_redirection(),
                "{at}: {} {}",
                answer.status,
                answer.text()
            );
            answer.header("location").unwrap().clone_into(&mut url);
        }
        panic!("the provider does not lead back: {url}");
    }
}

/// A certified provider that does not run.
pub(crate) struct Stopped(std::net::SocketAddr);

impl Stopped {
    pub(crate) async fn start(self) -> Certified {
        let program = Program::start_at(self.0, command).await;
        let url = format!("http://{}", self.0);
        Certified { program, url }
    }
}

fn command(address: std::net::SocketAddr) -> Command {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../xtask/services/openid-provider.mjs"
    );
    let mut command = Command::new(required("PORTCULLIS_TEST_NODE"));
    command
        .env("NODE_PATH", required("PORTCULLIS_TEST_NODE_PATH"))
        .args([script, &address.port().to_string(), ORIGIN]);
    command
}

/// A whole sign-in: from the gate to the provider and back. The gate's last answer.
pub(crate) async fn sign_in(
    browser: &Browser,
    provider: &Certified,
    at_provider: &Browser,
    next: &str,
    form: &str,
) -> Answer {
    let begun = browser.get(&format!("{BEGIN}?next={next}")).send().await;
    let back = provider.follow(at_provider, &location(&begun), form).await;
    come_back(browser, &back).await
}

/// A browser that another site sends to the gate.
pub(crate) async fn come_back(browser: &Browser, url: &str) -> Answer {
    let request = browser.get(&target(url));
    let request = request.replace("sec-fetch-site", "cross-site");
    request.send().await
}

/// A provider whose answers are the test's own.
pub(crate) struct Liar {
    pub(crate) issuer: Issuer,
    pub(crate) server: Upstream,
    pub(crate) url: String,
    /// What the token endpoint answers, and with which status.
    pub(crate) answer: Arc<Mutex<(u16, Value)>>,
    /// What the discovery document says besides, or instead.
    pub(crate) discovery: Arc<Mutex<Value>>,
    /// What its userinfo endpoint says.
    pub(crate) userinfo: Arc<Mutex<Value>>,
}

impl Liar {
    pub(crate) async fn start(seed: u8) -> Liar {
        let mut issuer = Issuer::start(seed).await;
        let keys = issuer.published();
        let answer = Arc::new(Mutex::new((200, json!({}))));
        let discovery = Arc::new(Mutex::new(json!({})));
        let userinfo = Arc::new(Mutex::new(json!({})));
        let (told, more) = (Arc::clone(&answer), Arc::clone(&discovery));
        let about = Arc::clone(&userinfo);
        let server = Upstream::answering(move |request| {
            let url = format!("http://{}", request.header("host").unwrap());
            let (status, document) = match request.target.as_str() {
                "/.well-known/openid-configuration" => {
                    let mut document = json!({
                        "issuer": url, "jwks_uri": format!("{url}/jwks"),
                        "authorization_endpoint": format!("{url}/authorize?tenant=1"),
                        "token_endpoint": format!("{url}/token"),
                        "userinfo_endpoint": format!("{url}/userinfo"),
                        "authorization_response_iss_parameter_supported": true,
                    });
                    for (name, value) in more.lock().unwrap().as_object().unwrap() {
                        document[name] = value.clone();
                    }
                    (200, document)
                }
                "/jwks" => (200, json!({ "keys": *keys.lock().unwrap() })),
                "/token" => told.lock().unwrap().clone(),
                "/userinfo" => {
                    let bearer = request.header("authorization");
                    assert_eq!(bearer, Some("Bearer an-access-token"));
                    (200, about.lock().unwrap().clone())
                }
                _ => (404, json!({})),
            };
            let mut response = Response::new(Body::from(document.to_string()));
            *response.status_mut() = status.try_into().unwrap();
            response
        })
        .await;
        issuer.url = server.url();
        Liar {
            url: server.url(),
            issuer,
            server,
            answer,
            discovery,
            userinfo,
        }
    }

    /// The good answer to a code, with some claims replaced, or taken out by `null`.
    pub(crate) fn grants(&self, nonce: &str, more: &Value) {
        self.grants_token(&self.token(nonce, more));
    }

    pub(crate) fn claims(&self, nonce: &str, more: &Value) -> Value {
        let mut all = json!({ "aud": "the-product", "nonce": nonce, "email": "ana@corp.test", "email_verified": true });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.issuer.claims("ana", &all)
    }

    pub(crate) fn token(&self, nonce: &str, more: &Value) -> String {
        let claims = self.claims(nonce, more);
        self.issuer.signed(&self.issuer.header(), &claims)
    }

    pub(crate) fn grants_token(&self, token: &str) {
        let answer =
            json!({ "token_type": "Bearer", "access_token": "an-access-token", "id_token": token });
        *self.answer.lock().unwrap() = (200, answer);
    }

    /// How often it was given a code.
    pub(crate) fn exchanges(&self) -> usize {
        let received = self.server.received();
        received
            .iter()
            .filter(|request| request.target == "/token")
            .count()
    }

    /// The way back with a code.
    pub(crate) fn back(&self, state: &str) -> String {
        let mut url = url::Url::parse(&format!("{ORIGIN}{BEGIN}/callback")).unwrap();
        url.query_pairs_mut()
            .append_pair("code", "a-code-9f1c")
            .append_pair("state", state)
            .append_pair("iss", &self.url);
        url.into()
    }
}
