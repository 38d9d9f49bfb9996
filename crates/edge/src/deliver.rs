//! What the gate itself has to tell a product: one message, and whether it was taken.
//!
//! No request of a client goes this way: those take a permit, see [`crate::forward`]. Each message has
//! a connection of its own. The answer's body is read a little way and thrown away: what a product
//! says to a message is its status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::forward::ForwardError;
use crate::pool::MAX_RESPONSE_HEAD;
use crate::upstream::Upstream;

/// So much of an answer is read, that the product is not cut off in the middle of a sentence.
const MOST_READ: usize = 64 * 1024;

/// Posts `body` to `path` at the upstream. All of it, the answer too, has to happen within `timeout`.
pub async fn post(
    upstream: &Arc<Upstream>,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
) -> Result<StatusCode, ForwardError> {
    let _place = upstream.place().ok_or(ForwardError::Overloaded)?;
    let request = request(upstream, path, headers, body)?;
    tokio::time::timeout(timeout, exchange(upstream, request))
        .await
        .map_err(|_| ForwardError::Timeout)?
}

fn request(
    upstream: &Upstream,
    path: &str,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ForwardError> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    let uri = if upstream.http2 {
        let scheme = if upstream.tls.is_some() {
            "https"
        } else {
            "http"
        };
        Uri::builder()
            .scheme(scheme)
            .authority(upstream.authority.clone())
            .path_and_query(path)
            .build()
    } else {
        headers.insert(header::HOST, upstream.host_header.clone());
        Uri::builder().path_and_query(path).build()
    };
    *request.uri_mut() = uri.map_err(ForwardError::Request)?;
    *request.headers_mut() = headers;
    if upstream.http2 {
        *request.version_mut() = Version::HTTP_2;
    }
    Ok(request)
}

async fn exchange(
    upstream: &Upstream,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, ForwardError> {
    let io = TokioIo::new(upstream.dial().await?);
    if upstream.http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(ForwardError::Broken)?;
        let _talking = Talking(tokio::spawn(async move { drop(connection.await) }));
        let response = sender.send_request(request).await;
        return read(response.map_err(ForwardError::Broken)?).await;
    }
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_RESPONSE_HEAD)
        .handshake(io)
        .await
        .map_err(ForwardError::Broken)?;
    let _talking = Talking(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await;
    read(response.map_err(ForwardError::Broken)?).await
}

/// A connection's task, which ends with the exchange however that ends.
struct Talking(tokio::task::JoinHandle<()>);

impl Drop for Talking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(response: http::Response<Incoming>) -> Result<StatusCode, ForwardError> {
    let (head, mut body) = response.into_parts();
    let mut left = MOST_READ;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(read);
        if left == 0 {
            break;
        }
    }
    Ok(head.status)
}
