//! The application's own messages: to standard error, one per line, times in UTC (RFC 3339).
//!
//! Requests are not logged here but in [`crate::access_log`], on standard output.

use std::fmt;
use std::str::FromStr;

use portcullis_core::{Clock, time::SystemClock};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The least severe message that is written: `"error"`, `"warn"`, `"info"`, `"debug"` or
    /// `"trace"`. Default `"info"`. `LOG_LEVEL` overrides it. `"debug"` and below is slow under load.
    pub level: Level,
    /// `"json"`, one object per line, or `"text"`, for people. Default `"json"`.
    pub format: Format,
    /// Whether a line is written for each request. Default `true`. Without it, who did what before
    /// an incident can only be told from the audit trail, which holds refusals and acts alone.
    pub access: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            level: Level::Info,
            format: Format::Json,
            access: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Json,
    Text,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is not a level: write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")]
    Level(String),
    #[error("messages already go elsewhere")]
    Taken(#[source] TryInitError),
}

/// In any case, and with the names that other languages use, as `LOG_LEVEL` is often shared.
impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "error" | "critical" | "fatal" => Ok(Level::Error),
            "warn" | "warning" => Ok(Level::Warn),
            "info" | "notice" => Ok(Level::Info),
            "debug" => Ok(Level::Debug),
            "trace" => Ok(Level::Trace),
            _ => Err(Error::Level(crate::redact::bounded(text, 40))),
        }
    }
}

/// Starts writing messages. Once per process.
pub fn init(level: Level, format: Format) -> Result<(), Error> {
    // The drivers below tell of every statement and frame at these levels, values included.
    // SECURITY: without the caps, `debug` would write what clients sent into the log.
    let level = level.as_str();
    let filter = EnvFilter::new(format!(
        "{level},sqlx=warn,hyper=warn,h2=warn,rustls=warn,tokio_tungstenite=warn,tungstenite=warn,redis=warn"
    ));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Utc)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    match format {
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
        Format::Text => builder.finish().try_init(),
    }
    .map_err(Error::Taken)
}

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", SystemClock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case_and_under_their_usual_names() {
        assert_eq!("WARNING".parse::<Level>().unwrap(), Level::Warn);
        assert_eq!(" info ".parse::<Level>().unwrap(), Level::Info);
        assert!("loud".parse::<Level>().is_err());
    }
}
