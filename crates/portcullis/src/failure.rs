//! What happens when something is away: the rows of `docs/failure.toml`, with the values in force.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context as _;
use portcullis_events::alerts;
use portcullis_events::secret_store::remote;
use portcullis_events::upload_store::{self, Otherwise};
use portcullis_events::webhooks;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Loaded};

const ROWS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/failure.toml"
));

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

/// One row, as it is written. Where it is seen and tested is for the page, not for the operator.
#[derive(Debug, Deserialize)]
struct Row {
    feature: String,
    away: Away,
    outcome: String,
    behaviour: String,
    keys: Vec<String>,
}

/// What is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Away {
    Database,
    Sqlite,
    Postgres,
    Redis,
    /// Another issuer of tokens.
    Issuer,
    Mail,
    /// Where error reports go.
    Sink,
    /// What reads uploads.
    Scanner,
    /// The disk on which uploads wait.
    Quarantine,
    /// The service that holds the KEK of the vault.
    Kms,
    Product,
    Client,
    Gate,
    /// Files of secrets.
    Files,
    /// Where secrets are carried to.
    SecretManager,
    /// Where checkpoints of the audit log are put.
    Bucket,
    /// Who signs checkpoints of the audit log.
    Witness,
    Nothing,
}

/// The rows that concern this configuration.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Matrix(Vec<Effective>);

#[derive(Debug, Serialize)]
struct Effective {
    feature: String,
    away: Away,
    outcome: String,
    behaviour: String,
    /// The keys that shape it, and their values.
    settings: BTreeMap<String, String>,
}

impl Matrix {
    /// The matrix of a configuration: rows about another engine, or about Redis where there is
    /// none, are left out.
    pub(crate) fn of(loaded: &Loaded) -> anyhow::Result<Self> {
        let is_sqlite = loaded
            .secrets
            .database
            .as_ref()
            .is_none_or(|url| url.expose().starts_with("sqlite:"));
        let routes = &loaded.config.access.routes;
        let uploads = routes.iter().any(|route| route.upload.is_some());
        let has_redis = loaded.secrets.redis.is_some();
        let rows = rows()?.into_iter().filter(|row| match row.away {
            Away::Sqlite => is_sqlite,
            Away::Postgres => !is_sqlite,
            Away::Redis => has_redis,
            Away::Issuer => !loaded.config.issuers.is_empty(),
            Away::Mail => loaded.config.mail.is_on(),
            Away::Files => secret_files(&loaded.config).is_some(),
            Away::SecretManager => remote_secrets(&loaded.config).is_some(),
            Away::Bucket => loaded.config.audit.anchor_bucket.is_some(),
            Away::Witness => !loaded.config.audit.witness.is_empty(),
            Away::Scanner | Away::Quarantine => uploads,
            Away::Kms => loaded.config.kek.kind.is_service(),
            Away::Sink => loaded.config.error_reports.dsn.is_some(),
            Away::Database | Away::Product | Away::Client | Away::Gate | Away::Nothing => true,
        });
        let effective = rows.map(|row| Effective {
            settings: row
                .keys
                .iter()
                .filter_map(|key| Some((key.clone(), value(&loaded.config, key)?)))
                .collect(),
            feature: row.feature,
            away: row.away,
            outcome: row.outcome,
            behaviour: row.behaviour,
        });
        Ok(Matrix(effective.collect()))
    }
}

fn rows() -> anyhow::Result<Vec<Row>> {
    let table: Table = toml::from_str(ROWS).context("the table of failures cannot be read")?;
    Ok(table.row)
}

/// The value in force of a key that a row names.
fn value(config: &Config, key: &str) -> Option<String> {
    if let Some(field) = key.strip_prefix("upstream.NAME.") {
        let each = config.upstreams.iter().map(|(name, upstream)| {
            let value = match field {
                "connect-timeout" => upstream.connect_timeout.to_string(),
                "response-timeout" => upstream.response_timeout.to_string(),
                "body-idle-timeout" => upstream.body_idle_timeout.to_string(),
                "max-in-flight" => upstream.max_in_flight.to_string(),
                _ => return None,
            };
            Some(format!("{name}: {value}"))
        });
        return each
            .collect::<Option<Vec<_>>>()
            .map(|values| values.join(", "));
    }
    let (listen, state) = (&config.listen, &config.state);
    Some(match key {
        "state.acquire-timeout" => state.acquire_timeout.to_string(),
        "state.statement-timeout" => state.statement_timeout.to_string(),
        "state.redis-timeout" => state.redis_timeout.to_string(),
        "state.connections" => state.connections.to_string(),
        "state.nodes" => state.nodes.to_string(),
        "sessions.idle-timeout" => config.sessions.idle_timeout.to_string(),
        "passwords.hash-threads" => config.passwords.hash_threads.to_string(),
        "passwords.hash-queue" => config.passwords.hash_queue.to_string(),
        "body.max-size" => config.body.max_size.to_string(),
        "uploads.scanner" => config
            .uploads
            .scanner
            .as_deref()
            .unwrap_or("none")
            .to_owned(),
        "uploads.scan-timeout" => config.uploads.scan_timeout.to_string(),
        "uploads.folder" => config.uploads.folder.display().to_string(),
        "uploads.at-once" => config.uploads.at_once.to_string(),
        "upload-store.folder" => of_store(config, |store| store.folder.display().to_string()),
        "upload-store.unscanned" => of_store(config, |store| {
            match store.unscanned {
                Otherwise::Refuse => "refuse",
                Otherwise::Quarantine => "quarantine",
            }
            .to_owned()
        }),
        "upload-store.quarantine-files" => {
            of_store(config, |store| store.quarantine_files.to_string())
        }
        "upload-store.quarantine-size" => {
            of_store(config, |store| store.quarantine_size.to_string())
        }
        "accounts.seal-addresses" => config.accounts.seal_addresses.to_string(),
        "anomalies.delay" => config.anomalies.delay.to_string(),
        "alert.attempts" => of_alerts(config, |alert| alert.attempts.to_string()),
        "alert.first-wait" => of_alerts(config, |alert| alert.first_wait.to_string()),
        "audit.queue" => config.audit.queue.to_string(),
        "audit.anchor-file" => match &config.audit.anchor_file {
            Some(path) => path.display().to_string(),
            None => "none".to_owned(),
        },
        "audit.anchor-bucket" => match &config.audit.anchor_bucket {
            Some(bucket) => bucket.name.clone(),
            None => "none".to_owned(),
        },
        "audit.anchor-every" => config.audit.anchor_every.to_string(),
        "audit.witness-every" => config.audit.witness_every.to_string(),
        "audit.witness-alert-after" => config.audit.witness_alert_after.to_string(),
        "audit.witnesses-wanted" => config.audit.witnesses_wanted.to_string(),
        "audit.notes-per-second" => config.audit.notes_per_second.to_string(),
        "mail.server" => config.mail.server.as_deref().unwrap_or("none").to_owned(),
        "kek.timeout" => config.kek.timeout.to_string(),
        "kek.remember-for" => config.kek.remember_for.to_string(),
        "log.access" => config.log.access.to_string(),
        "secret-store.files" => secret_files(config).unwrap_or("none").to_owned(),
        "secret-store.remote.timeout" => {
            remote_secrets(config).map_or_else(none, |remote| remote.timeout.to_string())
        }
        "secret-store.remote.check-every" => {
            remote_secrets(config).map_or_else(none, |remote| remote.check_every.to_string())
        }
        "webhook.attempts" => of_webhooks(config, |webhook| webhook.attempts.to_string()),
        "webhook.timeout" => of_webhooks(config, |webhook| webhook.timeout.to_string()),
        // An address with a key in it: whether there is one.
        "error-reports.dsn" => config.error_reports.dsn.is_some().to_string(),
        "listen.first-byte-timeout" => listen.first_byte_timeout.to_string(),
        "listen.head-timeout" => listen.head_timeout.to_string(),
        "listen.body-idle-timeout" => listen.body_idle_timeout.to_string(),
        "listen.idle-timeout" => listen.idle_timeout.to_string(),
        "listen.write-timeout" => listen.write_timeout.to_string(),
        "listen.drain-timeout" => listen.drain_timeout.to_string(),
        "listen.max-in-flight" => listen.max_in_flight.to_string(),
        "listen.max-connections" => listen.max_connections.to_string(),
        "listen.max-connections-per-address" => listen.max_connections_per_address.to_string(),
        _ => return None,
    })
}

fn secret_files(config: &Config) -> Option<&str> {
    config.secret_store.as_ref()?.files.as_ref()?.to_str()
}

fn of_store(config: &Config, value: impl Fn(&upload_store::Config) -> String) -> String {
    let store = config.upload_store.as_ref();
    store.map_or_else(|| "none".to_owned(), value)
}

fn remote_secrets(config: &Config) -> Option<&remote::Config> {
    config.secret_store.as_ref()?.remote.as_ref()
}

fn none() -> String {
    "none".to_owned()
}

fn of_webhooks(config: &Config, value: impl Fn(&webhooks::Config) -> String) -> String {
    let each = config.webhooks.iter();
    let each = each.map(|webhook| format!("{}: {}", webhook.name, value(webhook)));
    each.collect::<Vec<_>>().join(", ")
}

fn of_alerts(config: &Config, value: impl Fn(&alerts::Config) -> String) -> String {
    let each = config.alerts.iter();
    let each = each.map(|alert| format!("{}: {}", alert.name, value(alert)));
    each.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "When something is away:")?;
        for row in &self.0 {
            let away = format!("{:?}", row.away).to_lowercase();
            write!(f, "\n{:<8}  {:<8}  {}", away, row.outcome, row.feature)?;
            for (key, value) in &row.settings {
                write!(f, "  {key} = {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_row_has_a_value() {
        let config = Config::default();
        for row in rows().unwrap() {
            for key in &row.keys {
                assert!(value(&config, key).is_some(), "{key} of {}", row.feature);
            }
        }
    }

    #[test]
    fn outcomes_are_the_four_that_the_page_explains() {
        for row in rows().unwrap() {
            assert!(
                ["closed", "stricter", "open", "on"].contains(&&*row.outcome),
                "{row:?}"
            );
        }
    }
}
