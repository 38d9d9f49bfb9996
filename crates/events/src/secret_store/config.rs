//! `[secret-store]`.

use std::path::PathBuf;

use portcullis_core::Span;
use serde::Deserialize;

/// The `[secret-store]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// How old a value may be before somebody is told each day. Default `"90d"`, from `"1d"` to `"3650d"`.
    pub alert_after: Span,
    /// How long an old value is served beside the new one, where nothing else is said. Default `"24h"`, at
    /// most `"90d"`. A product that reads its secrets at the start alone needs as long as a deployment takes.
    pub overlap: Span,
    /// A folder of files with a secret each, such as `"/run/secrets"` of Docker: the product's own secrets, by
    /// the files' names. Default: none. They are read only here; a changed file is a new version.
    pub files: Option<PathBuf>,
    /// The upstream that is told of new values, by its name in `[upstream.NAME]`. Default: the only one.
    pub hook_upstream: Option<String>,
    /// Where it is told, such as `"/internal/secret-rotated"`. Default: nobody is told. Nobody else reaches
    /// that path through the gate; what comes without the gate's assertion the product has to refuse.
    pub hook_path: Option<String>,
    /// Where secrets are carried to beside the gate's own vault. Default: nowhere.
    pub remote: Option<super::remote::Config>,
}

/// Longest time that two values count.
pub(super) const LONGEST_OVERLAP: Span = Span::from_days(90);

impl Default for Config {
    fn default() -> Self {
        Config {
            alert_after: Span::from_days(90),
            overlap: Span::from_hours(24),
            files: None,
            hook_upstream: None,
            hook_path: None,
            remote: None,
        }
    }
}

impl Config {
    /// What is wrong with the table: the key, and what to do.
    pub fn findings(&self) -> Vec<(&'static str, &'static str)> {
        let mut findings = Vec::new();
        if !(Span::from_days(1)..=Span::from_days(3650)).contains(&self.alert_after) {
            findings.push(("secret-store.alert-after", "must be from 1d to 3650d"));
        }
        if self.overlap > LONGEST_OVERLAP {
            findings.push(("secret-store.overlap", "must be at most 90d"));
        }
        if self.hook_upstream.is_some() && self.hook_path.is_none() {
            findings.push((
                "secret-store.hook-upstream",
                "says whom to tell, and `hook-path` does not say where: write hook-path = \"/internal/secret-rotated\"",
            ));
        }
        findings
    }
}
