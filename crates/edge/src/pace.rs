//! How slowly an HTTP/2 client may send the body of one request, and take the answer to it.
//!
//! On HTTP/1 the connection's own deadlines see to this. On HTTP/2 the connection is busy as long
//! as any of its streams is, so each stream has deadlines of its own:
//!
//! - a request body may not pause for longer than `body-idle-timeout`, and must keep up
//!   `body-min-rate` while we wait for it;
//! - an answer of which a client takes nothing for `write-timeout` is given up, and with it the
//!   product's connection. The stream is reset when the client asks for more.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use portcullis_core::{Problem, problem};
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::deadline::Deadline;
use crate::framing::Patience;

/// A request body with deadlines.
pub(crate) struct Paced {
    body: Body,
    patience: Patience,
    seen: u64,
    /// Time spent waiting for bytes that have come.
    waited: Duration,
    waiting_since: Option<Instant>,
    deadline: Deadline,
}

impl Paced {
    /// The body, with deadlines where there is anything to wait for.
    pub(crate) fn body(incoming: Incoming, patience: Patience) -> Body {
        let body = Body::from(incoming);
        if body.is_empty() {
            return body;
        }
        Body::stream(Paced {
            body,
            patience,
            seen: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            deadline: Deadline::default(),
        })
    }

    /// Until when the next bytes must have come, if we wait since `since`.
    fn by(&self, since: Instant) -> Instant {
        let pause = since + self.patience.body_idle;
        let Some(earned) = self.seen.checked_div(self.patience.body_min_rate) else {
            return pause;
        };
        let budget = self
            .patience
            .body_idle
            .saturating_add(Duration::from_secs(earned));
        pause.min(since + budget.saturating_sub(self.waited))
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(since) = this.waiting_since.take() {
                this.waited = this.waited.saturating_add(since.elapsed());
            }
            if let Some(Ok(data)) = frame
                .as_ref()
                .map(|frame| frame.as_ref().map(Frame::data_ref))
            {
                let count = data.map_or(0, Bytes::len);
                this.seen = this.seen.saturating_add(count as u64);
            }
            return Poll::Ready(frame);
        }
        let since = *this.waiting_since.get_or_insert_with(Instant::now);
        let by = this.by(since);
        std::task::ready!(this.deadline.poll(cx, Some(by)));
        this.body = Body::Empty;
        let problem = Problem::new(&problem::REQUEST_TIMEOUT);
        Poll::Ready(Some(Err(BodyError::Refused(problem))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that is given up when nobody takes it.
pub(crate) struct Taken<B> {
    slot: Rc<Slot<B>>,
    patience: Duration,
    is_watched: bool,
}

struct Slot<B> {
    /// None once it was given up.
    body: RefCell<Option<B>>,
    /// Since when there is a piece that waits to be taken: hyper asks for the next one only when
    /// the client has room for it.
    waiting_since: Cell<Option<Instant>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of the answer for too long")]
struct GivenUp;

impl<B: 'static> Taken<B> {
    pub(crate) fn new(body: B, patience: Duration) -> Self {
        let slot = Rc::new(Slot {
            body: RefCell::new(Some(body)),
            waiting_since: Cell::new(None),
        });
        Taken {
            slot,
            patience,
            is_watched: false,
        }
    }

    fn watch(&mut self) {
        if !self.is_watched {
            self.is_watched = true;
            tokio::task::spawn_local(give_up(Rc::downgrade(&self.slot), self.patience));
        }
    }
}

async fn give_up<B>(slot: Weak<Slot<B>>, patience: Duration) {
    loop {
        tokio::time::sleep(patience).await;
        let Some(slot) = slot.upgrade() else {
            return;
        };
        let since = slot.waiting_since.get();
        if since.is_some_and(|since| since.elapsed() >= patience) {
            slot.body.borrow_mut().take();
            return;
        }
    }
}

impl<B> http_body::Body for Taken<B>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        this.slot.waiting_since.set(None);
        let frame = match this.slot.body.borrow_mut().as_mut() {
            Some(body) => std::task::ready!(Pin::new(body).poll_frame(cx)),
            None => return Poll::Ready(Some(Err(BodyError::Other(Box::new(GivenUp))))),
        };
        if matches!(frame, Some(Ok(_))) && !this.is_end_stream() {
            this.slot.waiting_since.set(Some(Instant::now()));
            this.watch();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.slot.body.borrow();
        body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.slot.body.borrow();
        body.as_ref()
            .map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}
