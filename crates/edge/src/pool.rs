//! One lane's connections to one upstream.
//!
//! Last in, first out, so that what is not needed goes idle and closes. A connection belongs to
//! one request at a time and comes back only when its answer was read to the end; everything else
//! (a client that left, an error, an upgrade) drops it, which closes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::deadline::Deadline;
use crate::forward::ForwardError;
use crate::transport::Transport;
use crate::upstream::{Place, Upstream};

/// Most idle connections to one upstream, for each lane.
const MAX_IDLE: usize = 256;
/// Largest head of an answer, in bytes.
pub(crate) const MAX_RESPONSE_HEAD: usize = 64 * 1024;

pub(crate) struct Pool {
    pub(crate) upstream: Arc<Upstream>,
    idle: RefCell<Vec<(Line, Instant)>>,
    h2: RefCell<Option<http2::SendRequest<Body>>>,
}

/// One HTTP/1.1 connection: the sending end, and what its task shares with us.
pub(crate) struct Line {
    pub(crate) sender: http1::SendRequest<Body>,
    pub(crate) shared: Rc<Shared>,
}

/// What the task that drives a connection shares with the request that uses it.
#[derive(Default)]
pub(crate) struct Shared {
    /// When the connection is dropped, unless this is moved before.
    pub(crate) deadline: Cell<Option<Instant>>,
    /// The deadline passed.
    pub(crate) timed_out: Cell<bool>,
    /// The request asks for an upgrade: keep the socket when hyper lets go of it.
    pub(crate) upgrading: Cell<bool>,
    parts: RefCell<Option<(Transport, Bytes)>>,
    ended: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Shared {
    /// The socket, once hyper has let go of it after a 101.
    pub(crate) async fn take_socket(&self) -> Option<(Transport, Bytes)> {
        poll_fn(|cx| {
            if let Some(parts) = self.parts.borrow_mut().take() {
                return Poll::Ready(Some(parts));
            }
            if self.ended.get() {
                return Poll::Ready(None);
            }
            *self.waiter.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn end(&self, parts: Option<(Transport, Bytes)>) {
        *self.parts.borrow_mut() = parts;
        self.ended.set(true);
        if let Some(waiter) = self.waiter.borrow_mut().take() {
            waiter.wake();
        }
    }
}

impl Pool {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        Pool {
            upstream,
            idle: RefCell::default(),
            h2: RefCell::default(),
        }
    }

    /// Whether no connection waits here for a request.
    pub(crate) fn is_unused(&self) -> bool {
        let idle = self.idle.borrow();
        let h2 = self.h2.borrow();
        idle.iter().all(|(line, _)| line.sender.is_closed())
            && h2.as_ref().is_none_or(http2::SendRequest::is_closed)
    }

    /// A live idle connection and since when it has been idle.
    pub(crate) fn take(&self, now: Instant) -> Option<(Line, Instant)> {
        let mut idle = self.idle.borrow_mut();
        let mut busy: Option<(Line, Instant)> = None;
        let found = loop {
            let Some((line, since)) = idle.pop() else {
                break None;
            };
            if line.sender.is_closed() {
                continue;
            }
            if now.saturating_duration_since(since) >= self.upstream.idle_timeout {
                // Everything below is older still.
                idle.clear();
                break None;
            }
            if line.sender.is_ready() {
                break Some((line, since));
            }
            // Its task has not run since the last answer ended: leave it for the next request.
            if busy.is_some() {
                continue;
            }
            busy = Some((line, since));
        };
        idle.extend(busy);
        found
    }

    fn put(&self, line: Line) {
        if line.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        line.shared
            .deadline
            .set(Some(now + self.upstream.idle_timeout));
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MAX_IDLE {
            idle.retain(|(line, _)| !line.sender.is_closed());
        }
        if idle.len() < MAX_IDLE {
            idle.push((line, now));
        }
    }

    /// A new HTTP/1.1 connection.
    pub(crate) async fn connect(&self) -> Result<Line, ForwardError> {
        let transport = self.upstream.dial().await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_RESPONSE_HEAD)
            .handshake(TokioIo::new(transport))
            .await
            .map_err(ForwardError::Broken)?;
        let shared = Rc::new(Shared::default());
        tokio::task::spawn_local(drive(connection, Rc::clone(&shared)));
        Ok(Line { sender, shared })
    }

    /// The lane's HTTP/2 connection to this upstream, made if there is none.
    pub(crate) async fn http2(&self) -> Result<http2::SendRequest<Body>, ForwardError> {
        if let Some(sender) = self.h2.borrow().as_ref().filter(|it| !it.is_closed()) {
            return Ok(sender.clone());
        }
        let transport = self.upstream.dial().await?;
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .timer(hyper_util::rt::TokioTimer::new())
            .keep_alive_interval(std::time::Duration::from_secs(20))
            .max_header_list_size(u32::try_from(MAX_RESPONSE_HEAD).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(transport))
            .await
            .map_err(ForwardError::Broken)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        *self.h2.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }
}

/// Drives a connection until it ends or its deadline passes.
async fn drive(connection: http1::Connection<TokioIo<Transport>, Body>, shared: Rc<Shared>) {
    let mut connection = connection;
    let mut deadline = Deadline::default();
    let kept = poll_fn(|cx| {
        match connection.poll_without_shutdown(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(shared.upgrading.get()),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "upstream connection ended");
                return Poll::Ready(false);
            }
            Poll::Pending => {}
        }
        ready!(deadline.poll(cx, shared.deadline.get()));
        shared.timed_out.set(true);
        Poll::Ready(false)
    })
    .await;
    let parts = kept.then(|| {
        let parts = connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    });
    shared.end(parts);
}

/// Spawns on this lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A response body whose end gives its connection back.
pub struct Leased {
    incoming: Incoming,
    lease: Option<Lease>,
    /// Events come when there are some: silence is no fault.
    is_event_stream: bool,
    /// Until when the next bytes must have come, while we wait for some.
    by: Option<Instant>,
    deadline: Deadline,
}

/// What a response in progress holds.
pub(crate) struct Lease {
    pub(crate) pool: Rc<Pool>,
    /// None on HTTP/2, where the connection is shared.
    pub(crate) line: Option<Line>,
    pub(crate) _place: Place,
}

impl Lease {
    fn give_back(self) {
        if let Some(line) = self.line {
            self.pool.put(line);
        }
    }
}

impl Leased {
    /// The body of a response, or [`Body::Empty`] (and the connection back in the pool at once).
    pub(crate) fn body(incoming: Incoming, lease: Lease, is_event_stream: bool) -> Body {
        if incoming.is_end_stream() {
            lease.give_back();
            return Body::Empty;
        }
        Body::Upstream(Leased {
            incoming,
            lease: Some(lease),
            is_event_stream,
            by: None,
            deadline: Deadline::default(),
        })
    }

    pub(crate) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_stalled(cx);
        };
        self.by = None;
        match &frame {
            Some(Ok(_)) if !self.incoming.is_end_stream() => {}
            Some(Ok(_)) | None => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
            Some(Err(_)) => self.lease = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
    }

    /// Gives an answer up that has stopped in its middle: it would hold a place for good.
    fn poll_stalled(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(lease) = this.lease.as_ref().filter(|_| !this.is_event_stream) else {
            return Poll::Pending;
        };
        let patience = lease.pool.upstream.body_idle_timeout;
        let by = *this.by.get_or_insert_with(|| Instant::now() + patience);
        ready!(this.deadline.poll(cx, Some(by)));
        this.lease = None;
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
