//! Forwarding: a permitted request goes to its product, and the answer comes back as a stream.
//!
//! - Takes a [`Permit`] by value: what was not decided does not compile.
//! - Nothing is buffered in either direction. A client that leaves drops the upstream connection.
//! - A request is sent twice only when a pooled connection turned out to be dead: always when not
//!   a byte of it was sent, and otherwise only when it is idempotent and bodiless and the
//!   connection had been idle (RFC 9110 section 9.2.2).
//! - An answer that does not make one sense is a 502, one that does not come is a 504.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use portcullis_core::{Permit, Problem, Span, problem};
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::headers;
use crate::pool::{Lease, Leased, Line, Pool};
use crate::tunnel::Tunnel;
use crate::upstream::{Place, Upstream};

/// A pooled connection that was idle for longer may have been closed while we write to it.
const FRESH: Duration = Duration::from_secs(1);

/// In a request's extensions: the client asked for a `WebSocket`. Only the edge puts it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketAsked;

/// Why there is no answer to pass on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("the upstream has as many requests in flight as it may have")]
    Overloaded,
    #[error("the upstream cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    #[error("the upstream's TLS failed")]
    Tls(#[source] io::Error),
    #[error("the upstream did not answer in time")]
    Timeout,
    #[error("the upstream closed the connection or its answer is malformed")]
    Broken(#[source] hyper::Error),
    #[error("the upstream's answer is not valid: {0}")]
    Invalid(&'static str),
    #[error("the request cannot be expressed to the upstream")]
    Request(#[source] http::Error),
    /// The client's body failed: malformed, too slow, too large, refused.
    #[error("the request body failed: {0}")]
    RequestBody(Problem),
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Self {
        let kind = match &error {
            ForwardError::RequestBody(problem) => return problem.clone(),
            ForwardError::Request(_) => return Problem::internal(error),
            ForwardError::Overloaded => {
                return Problem::new(&problem::OVERLOADED).retry_after(Span::from_seconds(1));
            }
            ForwardError::Connect(_) | ForwardError::Tls(_) => &problem::UPSTREAM_UNREACHABLE,
            ForwardError::ConnectTimeout | ForwardError::Timeout => &problem::UPSTREAM_TIMEOUT,
            ForwardError::Broken(_) | ForwardError::Invalid(_) => &problem::UPSTREAM_BROKEN,
        };
        Problem::new(kind).caused_by(error)
    }
}

/// One lane's way to the upstreams. Not `Send`: make one in each lane.
#[derive(Default)]
pub struct Forwarder {
    pools: RefCell<Vec<Rc<Pool>>>,
}

impl Forwarder {
    pub fn new() -> Self {
        Forwarder::default()
    }

    /// Sends a permitted request to `upstream`. The head of the answer must come within `timeout`,
    /// or where none is given within the upstream's own.
    ///
    /// `head` has an origin-form target and has been through [`headers::clean_request`]. The
    /// answer's headers have been through [`headers::clean_response`]. Dropping the future, or the
    /// answer's body before its end, closes the upstream connection.
    pub async fn forward(
        &self,
        _permit: Permit,
        upstream: &Arc<Upstream>,
        mut head: Parts,
        body: Body,
        timeout: Option<Duration>,
    ) -> Result<Response<Body>, ForwardError> {
        let timeout = timeout.unwrap_or(upstream.response_timeout);
        let place = upstream.place().ok_or(ForwardError::Overloaded)?;
        let pool = self.pool(upstream);
        upstream.set_host(&mut head.headers);
        if upstream.http2 {
            return Box::pin(send_http2(pool, place, head, body, timeout)).await;
        }
        head.version = Version::HTTP_11;
        let upgrading = head.extensions.remove::<WebSocketAsked>().is_some();
        if upgrading {
            head.headers
                .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers
                .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        let request = Request::from_parts(head, body);
        let (response, line) = send(&pool, request, timeout, upgrading).await?;
        line.shared.deadline.set(None);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Box::pin(switch(response, line, place, upgrading)).await;
        }
        if response.headers().contains_key(header::TRANSFER_ENCODING)
            && response.headers().contains_key(header::CONTENT_LENGTH)
        {
            return Err(ForwardError::Invalid("it has two lengths"));
        }
        line.shared.upgrading.set(false);
        Ok(finish(
            response,
            Lease {
                pool,
                line: Some(line),
                _place: place,
            },
        ))
    }

    fn pool(&self, upstream: &Arc<Upstream>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools
            .iter()
            .find(|pool| Arc::ptr_eq(&pool.upstream, upstream))
        {
            return Rc::clone(pool);
        }
        // A reload made this upstream: what an older one of its name held is not used any more, and
        // neither is a pool without connections. Whoever still reads an answer holds its own.
        pools.retain(|pool| pool.upstream.name != upstream.name && !pool.is_unused());
        let pool = Rc::new(Pool::new(Arc::clone(upstream)));
        pools.push(Rc::clone(&pool));
        pool
    }
}

/// Sends on a pooled connection if there is one, else on a new one.
async fn send(
    pool: &Pool,
    request: Request<Body>,
    timeout: Duration,
    upgrading: bool,
) -> Result<(Response<Incoming>, Line), ForwardError> {
    let now = Instant::now();
    let mut request = request;
    if let Some((mut line, since)) = pool.take(now) {
        let spare = if now.saturating_duration_since(since) > FRESH {
            copy_if_replayable(&request)
        } else {
            None
        };
        line.shared.upgrading.set(upgrading);
        line.shared.deadline.set(Some(now + timeout));
        match line.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, line)),
            Err(mut error) => match error.take_message().or(spare) {
                Some(unsent) if !line.shared.timed_out.get() => request = unsent,
                Some(_) | None => return Err(classify(error.into_error(), &line)),
            },
        }
    }
    // Boxed, as all that is rare: room for it here would be copied with every request.
    let mut line = Box::pin(pool.connect()).await?;
    line.shared.upgrading.set(upgrading);
    line.shared.deadline.set(Some(Instant::now() + timeout));
    match line.sender.send_request(request).await {
        Ok(response) => Ok((response, line)),
        Err(error) => Err(classify(error, &line)),
    }
}

fn copy_if_replayable(request: &Request<Body>) -> Option<Request<Body>> {
    let idempotent = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(request.method());
    if !idempotent || !request.body().is_empty() {
        return None;
    }
    let mut copy = Request::new(Body::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn classify(error: hyper::Error, line: &Line) -> ForwardError {
    if line.shared.timed_out.get() {
        return ForwardError::Timeout;
    }
    from_hyper(error)
}

fn from_hyper(error: hyper::Error) -> ForwardError {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(body) = cause.downcast_ref::<BodyError>() {
            return ForwardError::RequestBody(body.to_problem());
        }
        source = cause.source();
    }
    ForwardError::Broken(error)
}

fn finish(response: Response<Incoming>, lease: Lease) -> Response<Body> {
    let (mut head, incoming) = response.into_parts();
    headers::clean_response(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions = http::Extensions::new();
    let is_event_stream = is_event_stream(&head.headers);
    Response::from_parts(head, Leased::body(incoming, lease, is_event_stream))
}

/// Whether an answer is a stream of events, which goes on for as long as it likes.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..KIND.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(KIND))
}

/// The answer to an upgrade that the client asked for and the upstream made.
async fn switch(
    response: Response<Incoming>,
    line: Line,
    place: Place,
    asked: bool,
) -> Result<Response<Body>, ForwardError> {
    // SECURITY: a 101 that nobody asked for would turn the client's next requests into bytes that
    // no check sees.
    if !asked {
        return Err(ForwardError::Invalid("it switches protocols unasked"));
    }
    let is_websocket = response
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !is_websocket {
        return Err(ForwardError::Invalid("it switches to another protocol"));
    }
    let (mut head, _) = response.into_parts();
    let Some((socket, early)) = line.shared.take_socket().await else {
        return Err(ForwardError::Invalid("it switches protocols and closes"));
    };
    headers::clean_response(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    head.extensions = http::Extensions::new();
    let tunnel = Tunnel {
        upstream: socket,
        early,
        until: None,
        _place: place,
    };
    Ok(Response::from_parts(head, Body::Tunnel(Box::new(tunnel))))
}

async fn send_http2(
    pool: Rc<Pool>,
    place: Place,
    mut head: Parts,
    body: Body,
    timeout: Duration,
) -> Result<Response<Body>, ForwardError> {
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(if pool.upstream.tls.is_some() {
        http::uri::Scheme::HTTPS
    } else {
        http::uri::Scheme::HTTP
    });
    uri.authority = head
        .headers
        .remove(header::HOST)
        .and_then(|host| http::uri::Authority::try_from(host.as_bytes()).ok())
        .or_else(|| Some(pool.upstream.authority.clone()));
    head.uri = Uri::from_parts(uri).map_err(|error| ForwardError::Request(error.into()))?;
    head.version = Version::HTTP_2;
    head.extensions.remove::<WebSocketAsked>();
    let request = Request::from_parts(head, body);
    let answer = async {
        let mut sender = pool.http2().await?;
        sender.send_request(request).await.map_err(from_hyper)
    };
    let response = tokio::time::timeout(timeout, answer)
        .await
        .map_err(|_| ForwardError::Timeout)??;
    Ok(finish(
        response,
        Lease {
            pool,
            line: None,
            _place: place,
        },
    ))
}
