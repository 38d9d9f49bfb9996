//! From which networks each key was used of late, as far as this node knows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use portcullis_core::principal::ApiKey;
use portcullis_core::{ApiKeyId, RequestId, Span, Timestamp};
use portcullis_events::{Action, Actor, By, Event, Outcome};

use super::ApiKeys;

const SHARDS: usize = 16;
/// A shard that is full starts anew.
const MOST_KEYS: usize = 65_536;
/// More than these is many in any case.
const MOST_NETWORKS: usize = 128;
const ONCE_IN: Span = Span::from_days(1);

/// Networks of a key, each with when it was news.
type Recent = Vec<(u64, Timestamp)>;

#[derive(Debug, Default)]
pub(super) struct Networks([Mutex<HashMap<ApiKeyId, Recent>>; SHARDS]);

impl Networks {
    /// Whether the key was not seen in the network of this address for a day.
    pub(super) fn is_news(&self, key: ApiKeyId, client: IpAddr, now: Timestamp) -> bool {
        let place = usize::from(key.as_uuid().as_bytes().last().copied().unwrap_or(0));
        let Some(shard) = place
            .checked_rem(SHARDS)
            .and_then(|place| self.0.get(place))
        else {
            return false;
        };
        let network = network(client);
        let mut keys = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST_KEYS && !keys.contains_key(&key) {
            keys.clear();
        }
        let recent = keys.entry(key).or_default();
        if let Some((_, at)) = recent.iter_mut().find(|(known, _)| *known == network) {
            let is_news = now.since(*at) >= ONCE_IN;
            if is_news {
                *at = now;
            }
            return is_news;
        }
        if recent.len() >= MOST_NETWORKS {
            recent.retain(|(_, at)| now.since(*at) < ONCE_IN);
        }
        if recent.len() < MOST_NETWORKS {
            recent.push((network, now));
            return true;
        }
        false
    }
}

impl ApiKeys {
    /// A key was used from here. Recorded for each network once a day, so that a key that is suddenly used
    /// from many can be found. Never waits.
    pub fn seen(&self, key: &ApiKey, client: IpAddr, request: RequestId) {
        let now = self.0.clock.now();
        if self.0.networks.is_news(key.id, client, now) {
            let by = By {
                actor: Actor::ApiKey(key.id),
                client: Some(client),
                request: Some(request),
            };
            let event = Event::new(now, Action::ApiKeySeen, Outcome::Allowed).done(&by);
            self.0.trail.note(event.tenant(key.tenant));
        }
    }
}

/// /24 of IPv4, /48 of IPv6. No IPv6 network begins as the mark of IPv4 does.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => {
            let top = address.to_bits() >> 80;
            u64::try_from(top).unwrap_or(0) | (1 << 63)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn each_network_of_a_key_is_news_once_a_day() {
        let networks = Networks::default();
        let (one, other) = (ApiKeyId::new(), ApiKeyId::new());
        let from = |text: &str| text.parse().unwrap();
        assert!(networks.is_news(one, from("203.0.113.7"), NOW));
        assert!(!networks.is_news(one, from("203.0.113.8"), NOW));
        assert!(networks.is_news(one, from("203.0.114.8"), NOW));
        assert!(networks.is_news(one, from("2001:db8:1::1"), NOW));
        assert!(!networks.is_news(one, from("2001:db8:1:2::1"), NOW));
        assert!(networks.is_news(other, from("203.0.113.7"), NOW));
        let tomorrow = NOW + ONCE_IN;
        assert!(networks.is_news(one, from("203.0.113.7"), tomorrow));
        assert!(!networks.is_news(one, from("203.0.113.7"), tomorrow));
    }

    #[test]
    fn a_key_from_everywhere_takes_its_room_and_no_more() {
        let networks = Networks::default();
        let key = ApiKeyId::new();
        let news = (0..1000_u32).filter(|number| {
            let address = std::net::Ipv4Addr::from_bits(number << 8);
            networks.is_news(key, IpAddr::V4(address), NOW)
        });
        assert_eq!(news.count(), MOST_NETWORKS);
    }
}
