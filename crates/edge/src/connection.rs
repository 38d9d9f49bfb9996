//! One client connection, from its first byte to its last, on one lane.
//!
//! HTTP/2 is chosen by ALPN, or by the connection preface on a plain connection; all else is
//! HTTP/1 behind [`StrictIo`]. hyper's builders are used directly.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::client_addr::Peer;
use crate::deadline::Deadline;
use crate::forward::WebSocketAsked;
use crate::framing::{Gate, Malformed, StrictIo, is_host, is_look_alike, is_target_byte};
use crate::headers;
use crate::listener::Settings;
use crate::load::{Crowded, InFlight};
use crate::pace::{Paced, Taken};
use crate::pool::LocalExecutor;
use crate::transport::Transport;
use crate::tunnel::Tunnel;

/// The HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many header lines hyper takes unasked, and faster than any number that it is told. Fewer are
/// enforced by [`StrictIo`], before hyper sees them.
const HYPER_HEADERS: usize = 100;

/// A well-formed request.
#[derive(Debug)]
pub struct Inbound {
    /// The target is in origin form (or `*`), and there is exactly one `Host`, on HTTP/2 too.
    /// Other headers are the client's: nothing in them is to be believed.
    pub head: Parts,
    pub body: Body,
    pub peer: Peer,
}

/// What a handler is asked to answer.
#[derive(Debug)]
pub enum Arrival {
    /// Boxed: it is handed down through several futures, each of which would copy it.
    Request(Box<Inbound>),
    /// Not a request; the answer is a problem, and the connection closes behind it.
    Malformed { reason: Malformed, peer: Peer },
}

/// What the lane and one connection's parts share.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: Peer,
    pub(crate) settings: Rc<Settings>,
    gate: Rc<Gate>,
    requests: Cell<u64>,
    in_flight: Cell<u32>,
    /// Since when an HTTP/2 connection has no request.
    idle_by: Cell<Option<Instant>>,
    stop: Cell<Stop>,
    task: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<Box<Tunnel>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// Finish what is in flight, then close.
    Soon,
    Now,
}

impl Conn {
    pub(crate) fn new(peer: Peer, settings: Rc<Settings>) -> Self {
        let gate = Rc::new(Gate::new(settings.limits, settings.patience));
        Conn {
            peer,
            settings,
            gate,
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_by: Cell::new(None),
            stop: Cell::new(Stop::No),
            task: RefCell::default(),
            tunnel: RefCell::default(),
        }
    }

    pub(crate) fn finish_soon(&self) {
        if self.stop.get() == Stop::No {
            self.stop.set(Stop::Soon);
        }
        self.wake();
    }

    pub(crate) fn stop_now(&self) {
        self.stop.set(Stop::Now);
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    fn remember_task(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *task = Some(cx.waker().clone());
        }
    }

    /// Ready when the lane wants no more of this connection.
    async fn stopped(&self, at: Stop) {
        poll_fn(|cx| {
            self.remember_task(cx);
            let stop = self.stop.get();
            if stop == Stop::Now || stop == at {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn begin(&self) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
        self.idle_by.set(None);
        self.gate.work();
    }

    fn end(&self) {
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 {
            self.idle_by
                .set(Instant::now().checked_add(self.settings.patience.idle));
            self.gate.rest();
        }
    }
}

/// A request in flight: until its answer was sent or dropped.
struct Flight {
    conn: Rc<Conn>,
    load: InFlight,
}

impl Flight {
    fn begin(conn: &Rc<Conn>) -> Self {
        conn.begin();
        Flight {
            conn: Rc::clone(conn),
            load: conn.settings.load.begin(),
        }
    }

    /// Tells whoever answers that the process has as many requests as it should have.
    fn mark(&self, head: &mut Parts) {
        if self.load.is_crowded() {
            head.extensions.insert(Crowded);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.conn.end();
    }
}

/// A response body that keeps its request in flight.
struct Tracked {
    body: Body,
    _flight: Flight,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves a connection until it ends.
pub(crate) async fn run<H>(conn: Rc<Conn>, tcp: tokio::net::TcpStream, handler: Rc<H>)
where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    let opening = async {
        tokio::select! {
            biased;
            () = conn.stopped(Stop::Soon) => None,
            opened = open(&conn, tcp) => opened,
        }
    };
    let Some((transport, early, http2)) = opening.await else {
        return;
    };
    if http2 {
        serve_http2(conn, Early::new(transport, early), handler).await;
    } else {
        serve_http1(conn, transport, early, handler).await;
    }
}

/// TLS if there is any, then enough bytes to know the protocol. None when the client was too slow
/// or left.
async fn open(conn: &Conn, tcp: tokio::net::TcpStream) -> Option<(Transport, BytesMut, bool)> {
    let settings = &conn.settings;
    let mut early = BytesMut::new();
    let mut negotiated = false;
    let mut transport = match &settings.tls {
        None => Transport::Plain(tcp),
        Some(tls) => {
            let accept =
                tokio_rustls::TlsAcceptor::from(std::sync::Arc::clone(&tls.config)).accept(tcp);
            let stream = tokio::time::timeout(settings.patience.head, accept)
                .await
                .ok()?
                .ok()?;
            negotiated = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Transport::Tls(Box::new(stream.into()))
        }
    };
    let first = async {
        loop {
            early.reserve(2048);
            if transport.read_buf(&mut early).await.ok()? == 0 {
                return None;
            }
            // `PRI` is no method; two bytes could still begin `PROPFIND`.
            let seen = early.len().min(PREFACE.len());
            if early.get(..seen) != PREFACE.get(..seen) {
                return Some(false);
            }
            // The whole of it, for hyper would wait for the rest without limit.
            if seen == PREFACE.len() {
                return Some(true);
            }
        }
    };
    let http2 = tokio::time::timeout(settings.first_byte, first)
        .await
        .ok()??;
    if negotiated && !http2 {
        return None;
    }
    Some((transport, early, http2))
}

async fn serve_http1<H>(conn: Rc<Conn>, transport: Transport, early: BytesMut, handler: Rc<H>)
where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    let io = TokioIo::new(StrictIo::new(transport, Rc::clone(&conn.gate), early));
    let shared = Rc::clone(&conn);
    let service = service_fn(move |request| {
        let conn = Rc::clone(&shared);
        let handler = Rc::clone(&handler);
        // hyper gives the socket back after an upgrade only if this can be moved.
        Box::pin(async move { Ok::<_, Infallible>(answer_http1(&conn, &*handler, request).await) })
    });
    let limits = &conn.settings.limits;
    let mut builder = http1::Builder::new();
    if limits.headers > HYPER_HEADERS {
        builder.max_headers(limits.headers);
    }
    let mut hyper = builder
        .header_read_timeout(None)
        .max_buf_size(limits.head.saturating_mul(2).max(16 * 1024))
        .serve_connection(io, service);
    let mut deadline = Deadline::default();
    let mut told = false;
    let finished = poll_fn(|cx| {
        conn.remember_task(cx);
        loop {
            match conn.stop.get() {
                Stop::Now => return Poll::Ready(false),
                Stop::Soon if !told => {
                    told = true;
                    Pin::new(&mut hyper).graceful_shutdown();
                }
                Stop::No | Stop::Soon => {}
            }
            match hyper.poll_without_shutdown(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(true),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "connection ended");
                    // The answer to a broken body may be on its way.
                    return Poll::Ready(true);
                }
                Poll::Pending => {}
            }
            std::task::ready!(deadline.poll(cx, conn.gate.deadline()));
            if conn.gate.ring() {
                return Poll::Ready(false);
            }
        }
    })
    .await;
    if !finished {
        return;
    }
    let parts = hyper.into_parts();
    let (transport, held) = parts.io.into_inner().into_parts();
    let tunnel = conn.tunnel.borrow_mut().take();
    match tunnel {
        Some(tunnel) => {
            let mut early = BytesMut::from(&parts.read_buf[..]);
            early.extend_from_slice(&held);
            let idle = conn.settings.tunnel_idle;
            tokio::select! {
                () = conn.stopped(Stop::Now) => {}
                outcome = tunnel.run(transport, &early, idle) => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "tunnel ended");
                    }
                }
            }
        }
        None => close(transport).await,
    }
}

/// Closes so that the client gets the last answer: a socket closed with unread bytes resets the
/// connection, and the answer is lost (RFC 9112 section 9.6).
async fn close(mut transport: Transport) {
    const LINGER: Duration = Duration::from_secs(2);
    const MOST: usize = 256 * 1024;
    let linger = async {
        transport.shutdown().await?;
        let mut scratch = BytesMut::with_capacity(4096);
        let mut seen = 0_usize;
        while seen < MOST {
            scratch.clear();
            scratch.reserve(4096);
            let count = transport.read_buf(&mut scratch).await?;
            if count == 0 {
                break;
            }
            seen = seen.saturating_add(count);
        }
        io::Result::Ok(())
    };
    // Either way the connection is dropped behind this.
    let _ = tokio::time::timeout(LINGER, linger).await;
}

async fn answer_http1<H>(
    conn: &Rc<Conn>,
    handler: &H,
    request: Request<Incoming>,
) -> Response<Tracked>
where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    let flight = Flight::begin(conn);
    let number = conn.requests.get();
    conn.requests.set(number.saturating_add(1));
    let peer = conn.peer;
    let mut asked = false;
    let arrival = if let Some(reason) = conn.gate.refusal(number) {
        Arrival::Malformed { reason, peer }
    } else {
        let (mut head, body) = request.into_parts();
        to_origin_form(&mut head);
        head.extensions = http::Extensions::new();
        flight.mark(&mut head);
        asked = asks_for_websocket(&head);
        if asked {
            head.extensions.insert(WebSocketAsked);
        }
        Arrival::Request(Box::new(Inbound {
            head,
            body: body.into(),
            peer,
        }))
    };
    let mut response = handler(arrival).await;
    let mut tunnel = None;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        match std::mem::take(response.body_mut()) {
            Body::Tunnel(made) if asked => tunnel = Some(made),
            _ => {
                // Nobody can have meant this: without a tunnel there is nothing to switch to.
                response = Response::new(Body::Empty);
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
        }
    }
    if asked {
        conn.gate.decide_upgrade(tunnel.is_some());
    }
    *conn.tunnel.borrow_mut() = tunnel;
    response.map(|body| Tracked {
        body,
        _flight: flight,
    })
}

/// The same question as the framing asks, of the same head.
fn asks_for_websocket(head: &Parts) -> bool {
    let is = |value: &HeaderValue, wanted: &str| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && head
            .headers
            .get_all(header::UPGRADE)
            .iter()
            .next_back()
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && head
            .headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| is(value, "upgrade"))
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
        && head
            .headers
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length == "0")
}

/// `GET http://host/path` becomes `GET /path`: the host stands in `Host`.
fn to_origin_form(head: &mut Parts) {
    if head.uri.authority().is_none() {
        return;
    }
    head.uri = match head.uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    };
}

async fn serve_http2<H>(conn: Rc<Conn>, io: Early, handler: Rc<H>)
where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    let shared = Rc::clone(&conn);
    let service = service_fn(move |request| {
        let conn = Rc::clone(&shared);
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(answer_http2(&conn, &*handler, request).await) }
    });
    let settings = &conn.settings;
    let mut hyper = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(settings.limits.head).unwrap_or(u32::MAX))
        // A client that opens and resets streams (CVE-2023-44487) is cut off by these.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_send_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(io), service);
    conn.idle_by
        .set(Instant::now().checked_add(settings.patience.idle));
    let mut deadline = Deadline::default();
    let mut told = false;
    poll_fn(|cx| {
        conn.remember_task(cx);
        loop {
            match conn.stop.get() {
                Stop::Now => return Poll::Ready(()),
                Stop::Soon if !told => {
                    told = true;
                    Pin::new(&mut hyper).graceful_shutdown();
                }
                Stop::No | Stop::Soon => {}
            }
            if let Poll::Ready(outcome) = Pin::new(&mut hyper).poll(cx) {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(());
            }
            std::task::ready!(deadline.poll(cx, conn.idle_by.get()));
            if told {
                return Poll::Ready(());
            }
            // A client that does not answer the goodbye either is let go without one.
            conn.idle_by
                .set(Instant::now().checked_add(conn.settings.patience.head));
            conn.stop.set(Stop::Soon);
        }
    })
    .await;
}

async fn answer_http2<H>(
    conn: &Rc<Conn>,
    handler: &H,
    request: Request<Incoming>,
) -> Response<Taken<Tracked>>
where
    H: AsyncFn(Arrival) -> Response<Body> + 'static,
{
    let flight = Flight::begin(conn);
    let peer = conn.peer;
    let (mut head, body) = request.into_parts();
    head.extensions = http::Extensions::new();
    flight.mark(&mut head);
    let arrival = match accept_http2(&mut head, conn) {
        Ok(()) => Arrival::Request(Box::new(Inbound {
            head,
            body: Paced::body(body, conn.settings.patience),
            peer,
        })),
        Err(reason) => Arrival::Malformed { reason, peer },
    };
    let mut response = handler(arrival).await;
    headers::remove_hop_by_hop(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response.map(|body| {
        let tracked = Tracked {
            body,
            _flight: flight,
        };
        Taken::new(tracked, conn.settings.patience.write)
    })
}

/// The same strictness as for HTTP/1, where HTTP/2 leaves it to us (RFC 9113 section 8.2 and 8.3).
fn accept_http2(head: &mut Parts, conn: &Conn) -> Result<(), Malformed> {
    let limits = &conn.settings.limits;
    match head.method.as_str() {
        "CONNECT" => return Err(Malformed::Connect),
        "TRACE" | "TRACK" => return Err(Malformed::Trace),
        _ => {}
    }
    let target = head.uri.path_and_query().ok_or(Malformed::Target)?;
    if target.as_str().len() > limits.uri {
        return Err(Malformed::TargetTooLong);
    }
    if !target.as_str().bytes().all(is_target_byte)
        || !(target.as_str().starts_with('/') || (target == "*" && head.method == Method::OPTIONS))
    {
        return Err(Malformed::Target);
    }
    if head.headers.len() > limits.headers {
        return Err(Malformed::TooManyHeaders);
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        if head.headers.contains_key(name) {
            return Err(Malformed::ConnectionHeader);
        }
    }
    if head.headers.keys().any(|name| {
        let name = name.as_str().as_bytes();
        !headers::is_plain(name) && is_look_alike(name)
    }) {
        return Err(Malformed::LookAlike);
    }
    if head
        .headers
        .get_all(header::EXPECT)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Malformed::Expectation);
    }
    if head.headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
        return Err(Malformed::ContentType);
    }
    one_host(head)?;
    one_cookie(head);
    to_origin_form(head);
    Ok(())
}

fn one_host(head: &mut Parts) -> Result<(), Malformed> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Malformed::Host);
    }
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let named = match (host, authority) {
        (Some(host), Some(authority)) => {
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
                return Err(Malformed::HostMismatch);
            }
            host.as_bytes()
        }
        (Some(host), None) => host.as_bytes(),
        (None, Some(authority)) => authority.as_bytes(),
        (None, None) => return Err(Malformed::Host),
    };
    if !is_host(named) {
        return Err(Malformed::Host);
    }
    if host.is_none() {
        let value = HeaderValue::from_bytes(named).map_err(|_| Malformed::Host)?;
        head.headers.insert(header::HOST, value);
    }
    Ok(())
}

/// HTTP/2 may split `Cookie`; everything behind the gate wants one (RFC 9113 section 8.2.3).
fn one_cookie(head: &mut Parts) {
    let lines: Vec<&[u8]> = head
        .headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() > 1
        && let Ok(mut value) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        value.set_sensitive(true);
        head.headers.insert(header::COOKIE, value);
    }
}

/// A connection with bytes that were read from it before.
struct Early {
    inner: Transport,
    early: BytesMut,
}

impl Early {
    fn new(inner: Transport, early: BytesMut) -> Self {
        Early { inner, early }
    }
}

impl tokio::io::AsyncRead for Early {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let count = this.early.len().min(buf.remaining());
        buf.put_slice(&this.early.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Early {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
