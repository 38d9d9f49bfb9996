//! HTTP/2 on one connection: each request is brought into the form of HTTP/1.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::body::Body;
use crate::deadline::Deadline;
use crate::framing::{Malformed, is_host, is_look_alike, is_target_byte};
use crate::headers;
use crate::pace::{Paced, Taken};
use crate::pool::LocalExecutor;

use super::early::Early;
use super::{Arrival, Conn, Flight, Inbound, Stop, Tracked, to_origin_form};

pub(super) async fn serve_http2<H>(conn: Rc<Conn>, io: Early, handler: Rc<H>)
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
