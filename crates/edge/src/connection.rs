//! One client connection, from its first byte to its last, on one lane.
//!
//! HTTP/2 is chosen by ALPN, or by the connection preface on a plain connection; all else is
//! HTTP/1 behind [`StrictIo`](crate::framing::StrictIo). hyper's builders are used directly.

mod early;
mod http1;
mod http2;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Response, Uri};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::client_addr::Peer;
use crate::framing::{Gate, Malformed};
use crate::listener::Settings;
use crate::load::{Crowded, InFlight};
use crate::transport::Transport;
use crate::tunnel::Tunnel;

use self::early::Early;
use self::http1::serve_http1;
use self::http2::serve_http2;

/// The HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many header lines hyper takes unasked, and faster than any number that it is told. Fewer are
/// enforced by [`StrictIo`](crate::framing::StrictIo), before hyper sees them.
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
