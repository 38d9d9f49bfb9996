//! A session that turns up in another client than the one that signed in (S3).
//!
//! - Compared are the family of the browser, the operating system, client hints that are missing
//!   where they always were, and the device's cookie. Versions are not, nor the address: an update
//!   and a phone on its way between networks must ring no bell.
//! - What was not known at sign-in is not compared. A session of a client without a `User-Agent`
//!   is held to nothing.
//! - The comparison is made in memory. Headers that were found fitting once are remembered by a
//!   hash, so that the usual request costs one hash and one comparison.
//!
//! What it does not do: a thief who copies the headers and the device's cookie together with the
//! session's is not seen. It catches stolen cookies that are tried elsewhere, which is the usual case.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

use super::Sessions;
use super::user_agent::ClientKind;
use portcullis_vault::TokenHash;

/// What becomes of a session that turns up in another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOtherClient {
    Ignore,
    #[default]
    Challenge,
    End,
}

/// A client that a session does not belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    pub(crate) seen: ClientKind,
    /// What signed in; unknown where only the device's cookie spoke.
    pub(crate) signed_in: Option<ClientKind>,
    /// Nobody has been told of it yet, as far as this node knows.
    pub(crate) is_news: bool,
}

/// What memory knows of a session's client. Zero stands for unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KnownClient {
    pub(super) kind: u16,
    pub(super) device: u32,
    /// Hash of the headers that were found fitting last.
    pub(super) agent: u32,
}

impl Sessions {
    /// Whether a live session comes from a client that it does not belong to. Never waits.
    pub fn stranger(&self, hash: &TokenHash, headers: &HeaderMap) -> Option<Stranger> {
        match self.settings.on_other_client {
            OnOtherClient::Ignore => return None,
            OnOtherClient::Challenge | OnOtherClient::End => {}
        }
        let known = self.cache.known_client(hash)?;
        let device = self.settings.cookies.device_value(headers);
        let device = device.map_or(0, device_mark);
        let signed_in = ClientKind::unpack(known.kind);
        let is_other_device = device != 0 && known.device != 0 && device != known.device;
        let has_hints = headers.contains_key(HINTS);
        let lacks_hints = !has_hints
            && signed_in.is_some_and(|kind| kind.has_hints)
            && always_bears_hints(headers);
        let user_agent = headers
            .get(header::USER_AGENT)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let agent = self.cache.hash_of((user_agent, lacks_hints));
        if !is_other_device && agent == known.agent {
            return None;
        }
        let seen = ClientKind::read(&String::from_utf8_lossy(user_agent), has_hints);
        let fits = signed_in.is_none_or(|kind| kind.admits(seen));
        if fits && !lacks_hints && !is_other_device {
            self.cache.accept_client(hash, agent);
            return None;
        }
        Some(Stranger {
            seen,
            signed_in,
            is_news: self.cache.raise_alarm(hash),
        })
    }
}

const HINTS: &str = "sec-ch-ua";

/// Whether browsers that send client hints do so with every request of this kind. They leave them
/// out of WebSocket handshakes, and some of a page's own loads are not worth the doubt.
fn always_bears_hints(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        return false;
    }
    headers
        .get("sec-fetch-mode")
        .is_none_or(|mode| mode == "navigate")
}

/// What client a request speaks of, and whether it says anything.
pub(crate) fn kind_of(headers: &HeaderMap) -> Option<ClientKind> {
    let user_agent = headers.get(header::USER_AGENT)?;
    let text = String::from_utf8_lossy(user_agent.as_bytes());
    Some(ClientKind::read(&text, headers.contains_key(HINTS)))
}

/// A few bits of a device's name, which is what its cookie begins with. Zero for no name at all.
///
/// The cookie is not verified: one that was made up is just another device.
pub(crate) fn device_mark(cookie: &str) -> u32 {
    cookie
        .bytes()
        .take(6)
        .fold(0_u32, |mark, byte| mark.rotate_left(6) ^ u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;
    use crate::sessions::user_agent::tests::{CHROME_WINDOWS, FIREFOX_LINUX};
    use crate::testing::House;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    /// A session that was signed in by these headers, and the device cookie it got.
    async fn session(house: &House, signed_in_by: &HeaderMap) -> (TokenHash, String) {
        let client = Client {
            user_agent: signed_in_by
                .get(header::USER_AGENT)
                .map(|value| value.to_str().unwrap().to_owned()),
            kind: kind_of(signed_in_by),
            ..Client::default()
        };
        let signed_in = house.login_from(&client).await;
        let hash = signed_in.session.token.hash();
        house.sessions().load(&hash).await.unwrap().unwrap();
        (hash, signed_in.device)
    }

    fn is_stranger(house: &House, hash: &TokenHash, headers: &HeaderMap) -> bool {
        house.sessions().stranger(hash, headers).is_some()
    }

    #[tokio::test]
    async fn another_browser_is_a_stranger_each_time_and_news_once() {
        let house = House::build().await;
        let firefox = headers(&[("user-agent", FIREFOX_LINUX)]);
        let (hash, _) = session(&house, &firefox).await;
        assert!(!is_stranger(&house, &hash, &firefox));
        let newer = FIREFOX_LINUX.replace("145", "146");
        assert!(!is_stranger(
            &house,
            &hash,
            &headers(&[("user-agent", &newer)])
        ));
        let thief = headers(&[("user-agent", "curl/8.14.1")]);
        let found = house.sessions().stranger(&hash, &thief).unwrap();
        assert!(found.is_news && found.seen.to_string() == "A program");
        let again = house.sessions().stranger(&hash, &thief).unwrap();
        assert!(!again.is_news);
        assert!(
            is_stranger(&house, &hash, &HeaderMap::new()),
            "no header at all"
        );
        assert!(!is_stranger(&house, &hash, &firefox), "the owner goes on");
    }

    #[tokio::test]
    async fn hints_that_are_missing_are_missed_where_they_always_are() {
        let house = House::build().await;
        let hints = ("sec-ch-ua", "\"Chromium\";v=\"142\"");
        let agent = ("user-agent", CHROME_WINDOWS);
        let (hash, _) = session(&house, &headers(&[agent, hints])).await;
        let passes = |more: &[(&'static str, &str)]| {
            let all: Vec<_> = std::iter::once(agent).chain(more.iter().copied()).collect();
            !is_stranger(&house, &hash, &headers(&all))
        };
        assert!(passes(&[hints]));
        assert!(passes(&[("sec-websocket-key", "x")]));
        assert!(!passes(&[]), "what fitted a WebSocket does not fit a page");
        assert!(passes(&[("sec-fetch-mode", "no-cors")]));
        assert!(!passes(&[("sec-fetch-mode", "navigate")]));
        assert!(passes(&[hints, ("sec-fetch-mode", "navigate")]));
    }

    #[tokio::test]
    async fn the_device_of_somebody_else_is_a_stranger_with_the_very_same_headers() {
        let house = House::build().await;
        let agent = ("user-agent", FIREFOX_LINUX);
        let (hash, device) = session(&house, &headers(&[agent])).await;
        let with = |device: &str| headers(&[agent, ("cookie", &format!("__Host-device={device}"))]);
        assert!(!is_stranger(&house, &hash, &with(&device)));
        assert!(
            !is_stranger(&house, &hash, &headers(&[agent])),
            "cookies may be cleared"
        );
        let other = house.login_from(&Client::default()).await.device;
        assert!(is_stranger(&house, &hash, &with(&other)));
        assert!(!is_stranger(&house, &hash, &with(&device)));
    }

    #[tokio::test]
    async fn a_session_of_an_unknown_client_is_held_to_nothing() {
        let house = House::build().await;
        let (hash, _) = session(&house, &HeaderMap::new()).await;
        for agent in [FIREFOX_LINUX, CHROME_WINDOWS, "curl/8.14.1"] {
            assert!(!is_stranger(
                &house,
                &hash,
                &headers(&[("user-agent", agent)])
            ));
        }
    }
}
