//! The runtime of one lane.

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// A runtime for the calling thread alone, whose tasks need not be `Send`.
///
/// Not a `LocalSet` on a current-thread runtime: that schedules every wake-up twice.
pub fn lane_runtime() -> std::io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}
