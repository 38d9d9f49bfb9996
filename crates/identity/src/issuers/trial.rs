//! Trying out what the configuration names, for `doctor`.

use portcullis_core::Timestamp;
use portcullis_edge::Outbound;

use super::config::{All, Keys};
use super::keyset::KeySet;

impl All {
    /// Asks each issuer for what the gate needs of it. Its table's name, and what came of it.
    pub async fn ask(&self, now: Timestamp) -> Vec<(String, Result<&'static str, String>)> {
        let outbound = Outbound::default();
        let mut trials = Vec::new();
        for settings in &self.0 {
            let keys = KeySet::new(settings);
            let outcome = match (&settings.login, &settings.jwks) {
                (Some(_), _) => keys
                    .endpoints(settings, &outbound, now)
                    .await
                    .map(|_| "gives its keys, and people can sign in there"),
                (None, Keys::None) => Ok("has a secret, and nothing to ask for"),
                (None, Keys::At(_) | Keys::Discovered(_)) => keys
                    .keep(settings, &outbound, now)
                    .await
                    .map(|()| "gives its keys"),
            };
            trials.push((
                settings.name.clone(),
                outcome.map_err(|error| error.to_string()),
            ));
        }
        trials
    }
}
