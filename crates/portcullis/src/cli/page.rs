//! `--limit` and `--after` of commands that show long lists.

use clap::Args;

use super::Usage;

/// A part of a list.
#[derive(Debug, Args)]
pub(crate) struct Page {
    /// At most this many, up to 1000.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: u32,
    /// Go on behind this one, the last of the list before.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<uuid::Uuid>,
}

impl Page {
    pub(crate) fn limit(&self) -> u32 {
        self.limit.clamp(1, 1000)
    }

    /// The list, where there was something to go on behind.
    pub(crate) fn there<T>(list: Option<T>) -> anyhow::Result<T> {
        list.ok_or_else(|| Usage::error("--after: there is no such row"))
    }
}
