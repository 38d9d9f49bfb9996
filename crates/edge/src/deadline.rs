//! One timer per connection, moved only when it must ring earlier than it is set for.
//!
//! Deadlines move with every request, nearly always to later. So the timer is left where it is;
//! when it rings too early, it is set to where the deadline has moved to meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

#[derive(Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready when `by` has passed. `None` never passes.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, by: Option<Instant>) -> Poll<()> {
        let Some(by) = by else {
            return Poll::Pending;
        };
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(by)));
        if by < sleep.deadline() || sleep.is_elapsed() {
            sleep.as_mut().reset(by);
        }
        loop {
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if sleep.deadline() >= by => return Poll::Ready(()),
                Poll::Ready(()) => sleep.as_mut().reset(by),
            }
        }
    }
}
