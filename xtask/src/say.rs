//! The only place that prints. Progress goes to standard output, errors to standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool tells people what it does"
)]

use std::fmt::Display;
use std::time::Duration;

/// One plain line.
pub(crate) fn line(text: impl Display) {
    println!("{text}");
}

/// The title of a part of the work, set apart from what cargo prints.
pub(crate) fn title(text: impl Display) {
    println!("\n== {text}");
}

/// One fact about something named: `   redis        127.0.0.1:40123`.
pub(crate) fn fact(name: &str, text: impl Display) {
    println!("   {name:<13} {text}");
}

/// An error with its causes, outermost first.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Seconds for people: `0.4 s`, `12.0 s`, `3 min 20 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}
