//! `[anomalies]`: whether anything is looked for, and the figures of each rule.

use portcullis_core::Span;
use portcullis_core::finding::Finding;
use serde::{Deserialize, Serialize};

use crate::places::Places;

use super::{
    credential_stuffing, denial_surge, enumeration, error_surge, impossible_travel, key_networks,
    limit_attack, login_burst, new_device, stolen_credential,
};

/// `[anomalies]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Whether anything is looked for. Default `true`.
    pub enabled: bool,
    /// How far behind the present events are looked at, so that those of other nodes and of longer
    /// transactions are there by then. Default `"5s"`, 1 second to 1 minute. Shorter finds sooner, and may
    /// count what comes late a little later.
    pub delay: Span,
    /// Its figures, and whether it is on.
    pub login_burst: login_burst::Config,
    /// Its figures, and whether it is on.
    pub credential_stuffing: credential_stuffing::Config,
    /// Its figures, and whether it is on.
    pub enumeration: enumeration::Config,
    /// Its figures, and whether it is on.
    pub new_device: new_device::Config,
    /// Its figures, and whether it is on.
    pub key_networks: key_networks::Config,
    /// Its figures, and whether it is on.
    pub limit_attack: limit_attack::Config,
    /// Its figures, and whether it is on.
    pub denial_surge: denial_surge::Config,
    /// Its figures, and whether it is on.
    pub error_surge: error_surge::Config,
    /// Its figures, and whether it is on.
    pub stolen_credential: stolen_credential::Config,
    /// Its figures, and whether it is on.
    pub impossible_travel: impossible_travel::Config,
    // Of `[places]`: no key of this table.
    #[serde(skip)]
    pub places: Places,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            delay: Span::from_seconds(5),
            login_burst: login_burst::Config::default(),
            credential_stuffing: credential_stuffing::Config::default(),
            enumeration: enumeration::Config::default(),
            new_device: new_device::Config::default(),
            key_networks: key_networks::Config::default(),
            limit_attack: limit_attack::Config::default(),
            denial_surge: denial_surge::Config::default(),
            error_surge: error_surge::Config::default(),
            stolen_credential: stolen_credential::Config::default(),
            impossible_travel: impossible_travel::Config::default(),
            places: Places::default(),
        }
    }
}

/// A change of figures that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BadFigure {
    #[error("`{0}` is not RULE.FIGURE=VALUE, such as login-burst.account-failures=5")]
    Form(String),
    #[error("there is no figure `{0}`: `portcullis anomalies rules` shows them")]
    Unknown(String),
    #[error("`{0}`: {1}")]
    Value(String, String),
}

impl Config {
    /// All mistakes at once.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !(Span::from_seconds(1)..=Span::from_minutes(1)).contains(&self.delay) {
            findings.push(
                Finding::error(
                    "anomalies",
                    "anomalies.delay",
                    format!("`{}` is outside 1s to 1m", self.delay),
                )
                .remedy("remove the key for the default of 5s"),
            );
        }
        findings.extend(self.login_burst.findings("login-burst"));
        findings.extend(self.credential_stuffing.findings("credential-stuffing"));
        findings.extend(self.enumeration.findings("enumeration"));
        findings.extend(self.new_device.findings("new-device"));
        findings.extend(self.key_networks.findings("key-networks"));
        findings.extend(self.limit_attack.findings("limit-attack"));
        findings.extend(self.denial_surge.findings("denial-surge"));
        findings.extend(self.error_surge.findings("error-surge"));
        findings.extend(self.stolen_credential.findings("stolen-credential"));
        findings.extend(self.impossible_travel.findings("impossible-travel"));
        findings
    }

    /// The same with one figure changed, written `rule.figure=value`: for a replay.
    pub fn with(&self, change: &str) -> Result<Config, BadFigure> {
        let form = || BadFigure::Form(change.to_owned());
        let (key, value) = change.split_once('=').ok_or_else(form)?;
        let (rule, figure) = key.split_once('.').ok_or_else(form)?;
        let unknown = || BadFigure::Unknown(key.to_owned());
        let said = |error: serde_json::Error| BadFigure::Value(key.to_owned(), error.to_string());
        let mut all = serde_json::to_value(self).map_err(said)?;
        let place = all.get_mut(rule).and_then(|rule| rule.get_mut(figure));
        let place = place.ok_or_else(unknown)?;
        *place = match value.parse::<u64>() {
            Ok(number) if place.is_number() => number.into(),
            Ok(_) | Err(_) => value.into(),
        };
        let changed = serde_json::from_value(all);
        let mut config: Config = changed.map_err(said)?;
        config.places = self.places.clone();
        match config.findings().into_iter().next() {
            None => Ok(config),
            Some(finding) => Err(BadFigure::Value(finding.key, finding.message.into_owned())),
        }
    }
}

/// Defaults and bounds of a rule's figures, beside the struct that documents them.
macro_rules! figures {
    ($($name:ident = $default:expr, $bounds:expr;)*) => {
        impl Default for Config {
            fn default() -> Self {
                Config { $($name: $default,)* off: None }
            }
        }

        impl Config {
            pub(super) fn findings(
                &self,
                rule: &str,
            ) -> Vec<portcullis_core::finding::Finding> {
                use portcullis_core::finding::Finding;
                let mut findings = Vec::new();
                $(
                    if !($bounds).contains(&self.$name) {
                        let key = stringify!($name).replace('_', "-");
                        let (least, most) = ($bounds).into_inner();
                        findings.push(
                            Finding::error(
                                "anomalies",
                                format!("anomalies.{rule}.{key}"),
                                format!("`{}` is outside {least} to {most}", self.$name),
                            )
                            .remedy(format!("remove the key for the default of {}", $default)),
                        );
                    }
                )*
                if self.off.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
                    findings.push(
                        Finding::error(
                            "anomalies",
                            format!("anomalies.{rule}.off"),
                            "the rule is switched off, and nothing says why",
                        )
                        .remedy("write off = \"the reason\", or remove the key"),
                    );
                }
                findings
            }
        }
    };
}
pub(super) use figures;
