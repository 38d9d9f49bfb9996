//! How slowly an HTTP/2 client may send the body of one request.
//!
//! On HTTP/1 the connection's own deadlines see to this. On HTTP/2 the connection is busy as long
//! as any of its streams is, so each body has a deadline: it may not pause for longer than
//! `body-idle-timeout`, and must keep up `body-min-rate` while we wait for it.

use std::pin::Pin;
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
