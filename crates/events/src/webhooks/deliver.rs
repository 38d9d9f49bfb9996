//! The way to the product: one attempt, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_core::{Span, Timestamp};
use portcullis_edge::deliver;
use portcullis_vault::signing::ASSERTION_TYPE;
use portcullis_vault::tokens::{random, sha256};
use portcullis_vault::{fields, kek};
use serde::Serialize;
use uuid::Uuid;

use super::content::Message;
use super::endpoint::{Endpoint, Stamp};
use super::store::{self, Claimed, State};
use super::{Error, Webhooks};
use crate::audit::{Action, Actor, Event, Outcome, Target};
use crate::metrics::WebhookMark;

/// How often a node looks for what another node left, or for what is due again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So much longer than an attempt may take does a message belong to the node that took it.
const GRACE: Span = Span::from_seconds(10);

/// The same for every attempt: by it the product knows a message that it has had before.
const DELIVERY: HeaderName = HeaderName::from_static("x-portcullis-delivery");
const ATTEMPT: HeaderName = HeaderName::from_static("x-portcullis-attempt");

/// What the assertion says of a message.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    iat: i64,
    exp: i64,
    jti: String,
    kind: &'static str,
    roles: [&'a str; 0],
    webhook: About<'a>,
}

#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    delivery: Uuid,
    event: &'a str,
    attempt: i64,
    /// Of the body, in hexadecimal: the assertion is for this message and no other.
    sha256: String,
}

/// What came of an attempt.
enum Came {
    Taken(StatusCode),
    /// The product is away, or does not want it now.
    NotNow(Option<StatusCode>, String),
    /// The vault gives nothing out at present: no attempt was made, and none is counted.
    Sealed(String),
    /// It can never be delivered as it is.
    Never(String),
}

impl Webhooks {
    /// Delivers what waits, for as long as the process lives.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.arrived.notified() => {}
                _ = ticks.tick() => {}
            }
            for endpoint in &self.endpoints.load_full().all {
                if let Err(error) = self.hand_out(endpoint).await {
                    tracing::warn!(webhook = endpoint.name(), %error, "what waits for delivery could not be read");
                    break;
                }
            }
        }
    }

    /// Takes up nothing more, and waits a moment for what is under way.
    pub async fn finish(&self, within: Duration) {
        let endpoints = self.endpoints.load_full();
        let all = async {
            for endpoint in &endpoints.all {
                if let Ok(places) = endpoint.places.acquire_many(endpoint.at_once).await {
                    places.forget();
                }
            }
        };
        // What is cut off is delivered again when its lease is over.
        drop(tokio::time::timeout(within, all).await);
    }

    /// Gives what is due to as many deliveries at once as the endpoint may have.
    async fn hand_out(&self, endpoint: &Arc<Endpoint>) -> Result<(), Error> {
        while let Ok(place) = Arc::clone(&endpoint.places).try_acquire_owned() {
            let now = self.clock.now();
            if !store::is_due(&self.db, endpoint.name(), now).await? {
                break;
            }
            let lease = now + endpoint.timeout + GRACE;
            let Some(claimed) = store::claim(&self.db, endpoint.name(), now, lease).await? else {
                break;
            };
            let (webhooks, endpoint) = (self.clone(), Arc::clone(endpoint));
            tokio::spawn(async move {
                if let Err(error) = webhooks.attempt(&endpoint, &claimed).await {
                    // It is due again when the lease is over.
                    tracing::warn!(webhook = endpoint.name(), delivery = %claimed.id, %error, "what came of a delivery could not be noted");
                }
                drop(place);
                webhooks.arrived.notify_one();
            });
        }
        Ok(())
    }

    async fn attempt(&self, endpoint: &Endpoint, claimed: &Claimed) -> Result<(), Error> {
        let came = self.send(endpoint, claimed).await;
        let now = self.clock.now();
        let keep_until = now + endpoint.retention;
        let is_counted = !matches!(came, Came::Sealed(_));
        let (state, status, fault) = match came {
            Came::Sealed(fault) => (State::Waiting, None, Some(fault)),
            Came::Taken(status) => (State::Delivered, Some(status), None),
            Came::Never(fault) => (State::Dead, None, Some(fault)),
            Came::NotNow(status, fault) if claimed.attempts >= i64::from(endpoint.attempts) => {
                (State::Dead, status, Some(fault))
            }
            Came::NotNow(status, fault) => (State::Waiting, status, Some(fault)),
        };
        let status = status.map(|status| i64::from(status.as_u16()));
        let last = (status, fault.as_deref());
        let mut tx = self.db.begin().await?;
        match state {
            State::Waiting => {
                let due_at = now + wait(endpoint, claimed.attempts);
                store::put_back(&mut tx, claimed, (due_at, is_counted), last).await?;
                if is_counted {
                    self.metrics().webhook(WebhookMark::Retried);
                }
            }
            State::Delivered => {
                store::end(&mut tx, claimed, state, last, (now, keep_until)).await?;
                self.metrics().webhook(WebhookMark::Delivered);
            }
            State::Dead => {
                let ended = store::end(&mut tx, claimed, state, last, (now, keep_until)).await?;
                if ended {
                    let event = given_up(endpoint, claimed, now, last.1);
                    self.trail.record_in(&mut tx, event).await?;
                    self.metrics().webhook(WebhookMark::Dead);
                    tracing::error!(webhook = endpoint.name(), delivery = %claimed.id, attempts = claimed.attempts, fault, "a message was given up: `portcullis webhooks dead` lists such, `webhooks replay` tries again");
                }
            }
        }
        Ok(tx.commit().await?)
    }

    async fn send(&self, endpoint: &Endpoint, claimed: &Claimed) -> Came {
        // SECURITY: what does not open was not sealed by us, or for another place: it goes nowhere.
        let opened = self
            .open(endpoint.name(), claimed.id, &claimed.sealed)
            .await;
        let message = match opened {
            Ok(message) => message,
            Err(Error::Fields(error)) => {
                return match error {
                    fields::Error::Kek(kek::Error::Away(..)) | fields::Error::Store(_) => {
                        Came::Sealed(error.to_string())
                    }
                    error => Came::NotNow(None, error.to_string()),
                };
            }
            Err(error) => return Came::Never(error.to_string()),
        };
        let headers = match self.headers(endpoint, claimed, &message) {
            Ok(headers) => headers,
            Err(fault) => return Came::NotNow(None, fault),
        };
        let answer = deliver::post(
            &endpoint.upstream,
            &endpoint.upstream_path,
            headers,
            message.body.into(),
            endpoint.timeout.as_duration(),
        );
        match answer.await {
            Ok(status) if status.is_success() => Came::Taken(status),
            Ok(status) => Came::NotNow(Some(status), format!("the product answered {status}")),
            Err(error) => Came::NotNow(None, error.to_string()),
        }
    }

    fn headers(
        &self,
        endpoint: &Endpoint,
        claimed: &Claimed,
        message: &Message,
    ) -> Result<HeaderMap, String> {
        let endpoints = self.endpoints.load();
        let stamp = endpoints
            .stamp
            .as_ref()
            .ok_or("the configuration has no webhooks any more")?;
        let assertion = self.assertion(stamp, endpoint, claimed, &message.body)?;
        let mut headers = message.header_map();
        headers.insert(stamp.header.clone(), assertion);
        let text = |text: String| HeaderValue::try_from(text).map_err(|error| error.to_string());
        headers.insert(DELIVERY, text(claimed.id.to_string())?);
        headers.insert(ATTEMPT, text(claimed.attempts.to_string())?);
        Ok(headers)
    }

    fn assertion(
        &self,
        stamp: &Stamp,
        endpoint: &Endpoint,
        claimed: &Claimed,
        body: &[u8],
    ) -> Result<HeaderValue, String> {
        let now = self.clock.now();
        let claims = Claims {
            iss: &stamp.issuer,
            aud: endpoint.upstream.name(),
            sub: format!("webhook:{}", endpoint.name()),
            iat: now.as_seconds(),
            exp: (now + stamp.lifetime).as_seconds(),
            jti: Uuid::new_v4().to_string(),
            kind: "webhook",
            roles: [],
            webhook: About {
                name: endpoint.name(),
                delivery: claimed.id,
                event: &claimed.event,
                attempt: claimed.attempts,
                sha256: hex::encode(sha256(body)),
            },
        };
        let signed = self.ring.sign(ASSERTION_TYPE, &claims, now);
        let signed = signed.map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(signed).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn given_up(endpoint: &Endpoint, claimed: &Claimed, now: Timestamp, fault: Option<&str>) -> Event {
    Event::new(now, Action::WebhookGivenUp, Outcome::Failed)
        .by(Actor::System)
        .to(Target::named("webhook", endpoint.name()))
        .with("delivery", claimed.id.to_string())
        .with("attempts", claimed.attempts)
        .with("fault", fault.unwrap_or_default())
}

/// Doubles from the first wait to the longest; between half of it and the whole, at random, so that what
/// failed together does not come together again.
fn wait(endpoint: &Endpoint, attempts: i64) -> Span {
    let first = endpoint.first_wait;
    let whole = first.doubled(attempts.saturating_sub(1), endpoint.longest_wait.max(first));
    let half = whole.as_micros() / 2;
    let dice = u64::from_be_bytes(random().unwrap_or_default());
    let share = dice.checked_rem(u64::try_from(half).unwrap_or(0).saturating_add(1));
    let share = share
        .and_then(|share| i64::try_from(share).ok())
        .unwrap_or(0);
    Span::from_micros(half.saturating_add(share))
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_not_all_alike() {
        let endpoint = endpoint("standard", "");
        for (attempts, most) in [(1, 5), (2, 10), (5, 80), (12, 3600), (100, 3600)] {
            let waits: Vec<Span> = (0..50).map(|_| wait(&endpoint, attempts)).collect();
            let most = Span::from_seconds(most);
            let least = Span::from_micros(most.as_micros() / 2);
            assert!(waits.iter().all(|wait| (least..=most).contains(wait)));
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{attempts}");
        }
    }
}
