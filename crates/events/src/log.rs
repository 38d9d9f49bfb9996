//! The application's own messages: to standard error, one per line, times in UTC (RFC 3339).
//!
//! Requests are not logged here but in [`crate::access_log`], on standard output.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// From the most severe on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_timer(Utc)
        .with_ansi(false)
        .with_writer(|| Redacted(io::stderr()));
    let raised = level.max(Level::Debug);
    let to = move |is_raised: bool| filter(if is_raised { raised } else { level });
    let change: Change = match format {
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init().map_err(Error::Taken)?;
            Box::new(move |is_raised| handle.reload(to(is_raised)).is_ok())
        }
        Format::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init().map_err(Error::Taken)?;
            Box::new(move |is_raised| handle.reload(to(is_raised)).is_ok())
        }
    };
    // The subscriber is the process's one: whoever came first has set both.
    let _first = CHANGE.set((AtomicBool::new(false), change));
    Ok(())
}

fn filter(level: Level) -> EnvFilter {
    let level = level.as_str();
    EnvFilter::new(format!(
        "{level},sqlx=warn,hyper=warn,h2=warn,rustls=warn,tokio_tungstenite=warn,tungstenite=warn,redis=warn"
    ))
}

/// From now on messages of level `debug` are written as well, or no more: while a grave incident is open.
/// Nothing where no messages are written, as on the command line.
pub fn raise(is_raised: bool) {
    let Some((is_so, change)) = CHANGE.get() else {
        return;
    };
    if is_so.swap(is_raised, Ordering::AcqRel) == is_raised {
        return;
    }
    if !change(is_raised) {
        tracing::warn!("the level of messages could not be changed");
    }
    if is_raised {
        tracing::info!("an incident is open: messages of level debug are written");
    } else {
        tracing::info!("no grave incident is open: messages are written as configured");
    }
}

type Change = Box<dyn Fn(bool) -> bool + Send + Sync>;

/// How the level of the process's one subscriber is changed, and whether it is raised.
static CHANGE: OnceLock<(AtomicBool, Change)> = OnceLock::new();

/// An output behind redaction. Each message is one write.
// SECURITY: errors of others (drivers, providers, the operating system) say what they were given. This
// is the last place where a secret in one of them is caught, whoever logged it.
struct Redacted<W>(W);

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(&crate::redact::own().scrub_bytes(message))?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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

    #[derive(Clone, Default)]
    struct Memory(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_message_bears_a_secret_whoever_wrote_it() {
        let memory = Memory::default();
        let output = memory.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Redacted(output.clone()))
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                error = "connect postgres://app:canary1@db/x",
                "no database for canary2@corp.test"
            );
            tracing::warn!(
                api_key = "canary3",
                path = "/home/canary4/x",
                "said {{\"token\":\"canary5\"}}"
            );
        });
        let written = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 2);
        assert!(!written.contains("canary"), "{written}");
        for line in written.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn levels_are_read_in_any_case_and_under_their_usual_names() {
        assert_eq!("WARNING".parse::<Level>().unwrap(), Level::Warn);
        assert_eq!(" info ".parse::<Level>().unwrap(), Level::Info);
        assert!("loud".parse::<Level>().is_err());
    }
}
