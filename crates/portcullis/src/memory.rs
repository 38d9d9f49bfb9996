//! Memory that a rush of sign-ins took goes back to the system when the rush is over.
//!
//! A password hash works on 19 MiB. The allocator keeps such blocks, and looks for those that were
//! long unused only when somebody asks it for a large one; in a gate that is at rest nobody does.
//! So this does, without using what it is given.

use std::time::Duration;

use tokio::runtime::Handle;

const EVERY: Duration = Duration::from_secs(2);
/// Large enough to come from where the allocator keeps unused blocks.
const BLOCK: usize = 2 * 1024 * 1024;

/// Gives back what is unused until the process ends.
pub(crate) fn start(back: &Handle) {
    back.spawn(async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK)));
        }
    });
}
