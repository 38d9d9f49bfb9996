//! What a panic says. Without this the runtime would write it to standard error as it is, past the log
//! and past redaction.

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};

use portcullis_core::Clock;

use crate::error_reports::{Report, Reports};

/// Where panics of threads that answer no request are reported, and the time of it.
static ELSEWHERE: OnceLock<(Reports, Arc<dyn Clock>)> = OnceLock::new();

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A request panicked: the cause that goes to the log under the request's id.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub(crate) struct Panicked(String);

/// From here on a panic is a line in the log.
pub(crate) fn to_the_log() {
    std::panic::set_hook(Box::new(|info| {
        let told = told(info);
        tracing::error!(cause = %told, "panicked");
        // A lane answers its request with it, and reports it under the request's id.
        let is_lane = std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("lane-"));
        if let Some((reports, clock)) = ELSEWHERE.get().filter(|_| !is_lane) {
            reports.send(Report {
                at: clock.now(),
                request: None,
                kind: "panic",
                stage: "-",
                route: None,
                cause: told.clone(),
            });
        }
        LAST.with(|last| *last.borrow_mut() = Some(told));
    }));
}

/// Where panics outside of requests are reported, once.
pub(crate) fn report_to(reports: Option<Reports>, clock: &Arc<dyn Clock>) {
    if let Some(reports) = reports {
        let _ = ELSEWHERE.set((reports, Arc::clone(clock)));
    }
}

/// What the last panic of this thread said, once.
pub(crate) fn last() -> Panicked {
    let told = LAST.with(|last| last.borrow_mut().take());
    Panicked(told.unwrap_or_default())
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info
        .location()
        .map(|at| format!("{}:{}", at.file(), at.line()));
    portcullis_events::redact::text(&format!(
        "{} at {}",
        message.unwrap_or("no message"),
        place.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_without_secrets() {
        to_the_log();
        let caught = std::panic::catch_unwind(|| panic!("no row for token=canary-1234"));
        assert!(caught.is_err());
        let told = last().to_string();
        assert!(
            told.contains("no row") && told.contains("panics.rs"),
            "{told}"
        );
        assert!(!told.contains("canary"), "{told}");
        let _ = std::panic::take_hook();
    }
}
