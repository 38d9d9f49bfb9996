//! Attacks that bit gateways, one file per class, named by the class.
//!
//! Each test shows the refusal and what the product saw: nothing, or the clean thing. The CVE ids are
//! where a class was described first.

mod admin_listener;
mod api_keys;
mod assertion_header;
mod cached_decisions;
mod client_address;
mod concurrent_credentials;
mod connect_method;
mod cookie_leak;
mod cors_origins;
mod cross_site_websocket;
mod csrf_token_replay;
mod deactivated_user;
mod duplicate_headers;
mod early_reply;
mod escalation;
mod forwarded_headers;
mod hop_by_hop;
mod host_and_path_case;
mod hostile_password_hash;
mod hostile_tokens;
mod http2_floods;
mod identity_headers;
mod json_bombs;
mod lockout_aliases;
mod login_csrf;
mod mass_assignment;
mod missing_files;
mod object_ids;
mod open_redirect;
mod openid_login;
mod path_spellings;
mod query_and_fragment;
mod reflected_input;
mod request_smuggling;
mod response_splitting;
mod secrets_in_output;
mod session_fixation;
mod shared_answers;
mod silent_connection;
mod stale_session;
mod truncated_tokens;
mod upgrade_bytes;
mod upstream_cookies;
mod upstream_headers;
mod user_agent;
mod user_enumeration;

use std::net::SocketAddr;

use crate::support::{Answer, Gateway, GatewayBuilder, PASSWORD, Upstream, Wire, answers};

/// The usual gate, with limits that these tests do not meet by mere number.
async fn gate(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream).await.more(UNLIMITED)
}

const UNLIMITED: &str = "
[limits.default]
rate = \"60000/minute\"

[limits.auth]
rate = \"60000/minute\"
";

/// A request on a connection of its own, with the lines of `more` (each with its line end).
fn request(method: &str, target: &str, host: SocketAddr, more: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n")
        .into_bytes()
}

/// Sends these bytes and gives the first answer. Fails where there is none.
async fn first_answer(gateway: &Gateway, bytes: &[u8]) -> Answer {
    let raw = gateway.client().raw(bytes).await;
    answers(&raw)
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(bytes)))
}

/// A connection that is made again when the gate has closed it.
struct Line<'g> {
    gateway: &'g Gateway,
    wire: Option<Wire>,
}

impl<'g> Line<'g> {
    fn to(gateway: &'g Gateway) -> Self {
        Line {
            gateway,
            wire: None,
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Answer {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::to(self.gateway.address).await,
        };
        wire.send(request).await;
        let answer = wire
            .answer()
            .await
            .unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(request)));
        if answer.header("connection") != Some("close") {
            self.wire = Some(wire);
        }
        answer
    }
}

/// What a login form or call sends.
fn credentials(email: &str) -> serde_json::Value {
    serde_json::json!({ "email": email, "password": PASSWORD })
}

/// The values of every `Set-Cookie` of an answer.
fn set_cookies(answer: &Answer) -> Vec<String> {
    answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}
