//! The one body type of the data path: streamed, never buffered unless somebody collects it.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use portcullis_core::{Problem, problem};

use crate::drain::Drain;
use crate::pool::Leased;
use crate::tunnel::Tunnel;

type Boxed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError>>>;

/// A request or response body.
#[derive(Default)]
pub enum Body {
    /// Nothing, and known to be nothing.
    #[default]
    Empty,
    /// All of it, in memory. `None` once it was taken.
    Full(Option<Bytes>),
    /// From the client. Its trailers are dropped: nothing checked them.
    Incoming(Incoming),
    /// From an upstream; gives the connection back to the pool at its end.
    Upstream(Leased),
    /// Anything that rewrites or limits another body.
    Stream(Boxed),
    /// The upstream's side of an upgraded connection: only under a 101.
    Tunnel(Box<Tunnel>),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the client's body broke off or was malformed")]
    Client(#[source] hyper::Error),
    #[error("the upstream's body broke off or was malformed")]
    Upstream(#[source] hyper::Error),
    #[error("the upstream's body stopped in its middle")]
    Stalled,
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// A check along the way refused it.
    #[error("the body was refused: {0}")]
    Refused(Problem),
    #[error("the body could not be made")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        error.to_problem().caused_by(error)
    }
}

impl BodyError {
    /// What the client is told, without the cause.
    pub fn to_problem(&self) -> Problem {
        match self {
            BodyError::Client(_) => Problem::new(client_fault(self)),
            BodyError::TooLarge { .. } => Problem::new(&problem::BODY_TOO_LARGE),
            BodyError::Refused(problem) => problem.clone(),
            BodyError::Upstream(_) => Problem::new(&problem::UPSTREAM_BROKEN),
            BodyError::Stalled => Problem::new(&problem::UPSTREAM_TIMEOUT),
            BodyError::Other(_) => Problem::new(&problem::INTERNAL_ERROR),
        }
    }
}

fn client_fault(error: &BodyError) -> &'static problem::Kind {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::TimedOut
        {
            return &problem::REQUEST_TIMEOUT;
        }
        source = cause.source();
    }
    &problem::MALFORMED_REQUEST
}

impl Body {
    /// A body in memory.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Body::Empty
        } else {
            Body::Full(Some(bytes))
        }
    }

    /// Wraps a body that limits or rewrites another one.
    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Body::Stream(Box::pin(body))
    }

    /// The same, but it ends when `drain` starts. For answers that have no end of their own.
    #[must_use]
    pub fn until(self, drain: Drain) -> Self {
        match self {
            Body::Tunnel(mut tunnel) => {
                tunnel.until = Some(drain);
                Body::Tunnel(tunnel)
            }
            body => {
                let mut drain = drain;
                Body::stream(Until {
                    body,
                    told: Box::pin(async move { drain.started().await }),
                })
            }
        }
    }

    /// Whether it is known to be empty, without reading it.
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    /// Reads all of it, at most `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::TooLarge { limit };
        let hint = http_body::Body::size_hint(&self);
        if hint.lower() > limit as u64 {
            return Err(too_large());
        }
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        while let Some(frame) =
            std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut self), cx)).await
        {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let so_far = rest.len().max(first.as_ref().map_or(0, Bytes::len));
            if so_far.saturating_add(data.len()) > limit {
                return Err(too_large());
            }
            match first.take() {
                None if rest.is_empty() => first = Some(data),
                None => rest.extend_from_slice(&data),
                Some(head) => {
                    rest.extend_from_slice(&head);
                    rest.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| rest.freeze()))
    }
}

/// A body that ends early when it is told to.
struct Until {
    body: Body,
    told: Pin<Box<dyn Future<Output = ()>>>,
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if http_body::Body::is_end_stream(&this.body) {
            return Poll::Ready(None);
        }
        if this.told.as_mut().poll(cx).is_ready() {
            // Dropping it closes the upstream's connection.
            this.body = Body::Empty;
            return Poll::Ready(None);
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Empty | Body::Tunnel(_) => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Incoming(incoming) => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                    // SECURITY: trailers arrive after every check was made, so none goes further.
                    Some(Ok(frame)) if !frame.is_data() => {}
                    other => {
                        return Poll::Ready(other.map(|frame| frame.map_err(BodyError::Client)));
                    }
                }
            },
            Body::Upstream(leased) => Pin::new(leased).poll_frame(cx),
            Body::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty | Body::Tunnel(_) => true,
            Body::Full(bytes) => bytes.is_none(),
            Body::Incoming(incoming) => incoming.is_end_stream(),
            Body::Upstream(leased) => leased.is_end_stream(),
            Body::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty | Body::Tunnel(_) => SizeHint::with_exact(0),
            Body::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Body::Incoming(incoming) => incoming.size_hint(),
            Body::Upstream(leased) => leased.size_hint(),
            Body::Stream(stream) => stream.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body::full(bytes)
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            Body::Empty
        } else {
            Body::Incoming(incoming)
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Empty => "Empty",
            Body::Full(_) => "Full(..)",
            Body::Incoming(_) => "Incoming(..)",
            Body::Upstream(_) => "Upstream(..)",
            Body::Stream(_) => "Stream(..)",
            Body::Tunnel(_) => "Tunnel(..)",
        })
    }
}
