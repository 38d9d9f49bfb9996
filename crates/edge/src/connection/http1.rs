//! HTTP/1 on one connection, behind [`StrictIo`].

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::body::Body;
use crate::deadline::Deadline;
use crate::forward::WebSocketAsked;
use crate::framing::StrictIo;
use crate::transport::Transport;

use super::{Arrival, Conn, Flight, HYPER_HEADERS, Inbound, Stop, Tracked, to_origin_form};

pub(super) async fn serve_http1<H>(
    conn: Rc<Conn>,
    transport: Transport,
    early: BytesMut,
    handler: Rc<H>,
) where
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
