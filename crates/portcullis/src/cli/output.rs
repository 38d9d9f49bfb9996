//! The only place that prints. Answers go to stdout, everything else to stderr.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this module is for"
)]

use std::fmt::Display;

use serde::Serialize;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document.
    Json,
}

/// Writes an answer as the caller asked for it.
pub(crate) fn answer(format: Format, value: &(impl Display + Serialize)) {
    match format {
        Format::Text => println!("{value}"),
        Format::Json => json(value),
    }
}

/// Writes one JSON document.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("portcullis: {error}"),
    }
}

/// Writes a line for people.
pub(crate) fn line(text: impl Display) {
    println!("{text}");
}

/// Writes a text that ends its own lines.
pub(crate) fn exactly(text: impl Display) {
    print!("{text}");
}

/// Writes a line that is not the answer: progress, a hint, an error.
pub(crate) fn aside(text: impl Display) {
    eprintln!("{text}");
}
