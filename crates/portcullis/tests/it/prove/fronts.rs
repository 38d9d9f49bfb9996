//! Something between the world and the gate that breaks its promises: a proxy that caches, strips, forgives. The
//! probes come through it, and each broken promise is named.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};

use super::{findings, like, verdict};
use crate::demo::Demo;

/// What a front does to a request on its way in, and to its answer on the way out.
#[derive(Clone)]
pub(super) struct Front {
    before: Arc<Before>,
    after: Arc<After>,
}

type Before = dyn Fn(&mut http::request::Parts) + Send + Sync;
type After = dyn Fn(&http::request::Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync;

impl Front {
    fn answers(
        after: impl Fn(&http::request::Parts, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Front {
            before: Arc::new(|_| {}),
            after: Arc::new(after),
        }
    }

    pub(super) fn headers(change: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> Self {
        Front::answers(move |_, mut answer| {
            change(answer.headers_mut());
            answer
        })
    }

    fn requests(before: impl Fn(&mut http::request::Parts) + Send + Sync + 'static) -> Self {
        Front {
            before: Arc::new(before),
            after: Arc::new(|_, answer| answer),
        }
    }

    pub(super) async fn stand_before(self, gate: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let front = self.clone();
                let service = service_fn(move |request| {
                    let front = front.clone();
                    async move { front.pass(gate, peer.ip(), request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    /// From the address of whoever asked, so that limits count as they would.
    async fn pass(
        &self,
        gate: SocketAddr,
        from: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        (self.before)(&mut head);
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(gate).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut onward = Request::new(Full::new(body));
        *onward.method_mut() = head.method.clone();
        *onward.uri_mut() = head.uri.clone();
        *onward.headers_mut() = head.headers.clone();
        let (parts, body) = sender.send_request(onward).await?.into_parts();
        let mut answer = Response::new(body.collect().await?.to_bytes());
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = parts.headers;
        let mut answer = (self.after)(&head, answer);
        answer.headers_mut().remove(header::TRANSFER_ENCODING);
        answer.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(answer.map(Full::new))
    }
}

fn ok(body: &str) -> Response<Bytes> {
    Response::new(Bytes::from(body.to_owned()))
}

/// Rewrites every `Set-Cookie`.
fn cookies(change: impl Fn(&str) -> String) -> impl Fn(&mut HeaderMap) {
    move |headers| {
        let lines: Vec<String> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|line| change(line.to_str().unwrap()))
            .collect();
        headers.remove(header::SET_COOKIE);
        for line in lines {
            headers.append(header::SET_COOKIE, HeaderValue::try_from(line).unwrap());
        }
    }
}

/// A cache that remembers who was who, and never forgets.
fn caching_me() -> Front {
    let kept: Mutex<HashMap<String, Bytes>> = Mutex::default();
    Front::answers(move |head, answer| {
        let cookie = head
            .headers
            .get(header::COOKIE)
            .map(|value| value.to_str().unwrap().to_owned());
        let Some(cookie) = cookie.filter(|_| head.uri.path().ends_with("/auth/me")) else {
            return answer;
        };
        let session = cookie
            .split("; ")
            .find(|pair| pair.starts_with("session="))
            .unwrap_or_default()
            .to_owned();
        let mut kept = kept.lock().unwrap();
        if answer.status() == StatusCode::OK {
            kept.insert(session, answer.body().clone());
        } else if let Some(body) = kept.get(&session) {
            return Response::new(body.clone());
        }
        answer
    })
}

/// Puts the token of the cookie into the header, and says that the page is the product's own.
fn forging(head: &mut http::request::Parts) {
    let cookie = head
        .headers
        .get(header::COOKIE)
        .map(|value| value.to_str().unwrap().to_owned());
    let token = cookie.and_then(|cookie| {
        cookie
            .split("csrf_token=")
            .nth(1)
            .map(|rest| rest.split(';').next().unwrap().to_owned())
    });
    if let Some(token) = token {
        head.headers
            .insert("x-csrf-token", HeaderValue::try_from(token).unwrap());
        head.headers
            .insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        head.headers.remove(header::ORIGIN);
    }
}

fn fronts() -> Vec<(&'static str, Front, &'static str)> {
    let insert = |name: &'static str, value: &'static str| {
        Front::headers(move |headers| {
            headers.insert(name, HeaderValue::from_static(value));
        })
    };
    let remove = |name: &'static str| {
        Front::headers(move |headers| {
            headers.remove(name);
        })
    };
    vec![
        (
            "S1",
            Front::headers(cookies(|line| line.replace("; HttpOnly", ""))),
            "HttpOnly",
        ),
        (
            "S6",
            Front::headers(cookies(|line| {
                line.replace("; SameSite=Lax", "; SameSite=None")
            })),
            "other sites",
        ),
        (
            "H8",
            remove("x-content-type-options"),
            "x-content-type-options",
        ),
        (
            "H7",
            insert("content-security-policy", "default-src *"),
            "is configured and not sent",
        ),
        ("L5", remove("ratelimit"), "ratelimit"),
        ("H13", insert("server", "nginx/1.2.3"), "Server"),
        (
            "H1",
            Front::answers(|head, mut answer| {
                if let Some(origin) = head.headers.get(header::ORIGIN) {
                    answer
                        .headers_mut()
                        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
                answer
            }),
            "evil.test may read",
        ),
        (
            "I10",
            Front::answers(|head, answer| {
                let open = head.uri.path() == "/api/notes" && head.method == "GET";
                if open && answer.status() == StatusCode::UNAUTHORIZED {
                    ok("[]")
                } else {
                    answer
                }
            }),
            "GET /api/notes",
        ),
        ("I1", caching_me(), "after signing out"),
        ("S5", caching_me(), "still opens"),
        (
            "I4",
            Front::answers(|_, mut answer| {
                if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                    *answer.status_mut() = StatusCode::UNAUTHORIZED;
                }
                answer
            }),
            "none refused",
        ),
        (
            "T4",
            Front::answers(|head, answer| {
                if head.uri.path() == "/orgs/prove-b/notes" {
                    ok("notes")
                } else {
                    answer
                }
            }),
            "prove-b",
        ),
        (
            "B1",
            Front::answers(|head, answer| {
                // A sender that is refused is made friends with.
                let refused = answer.status() == StatusCode::UNAUTHORIZED;
                if head.uri.path() == "/webhooks/payments" && refused {
                    ok("{}")
                } else {
                    answer
                }
            }),
            "no signature",
        ),
        (
            "J6",
            Front::answers(|head, answer| {
                // A cache that knows of no key that is in use.
                if head.uri.path().ends_with("/jwks.json") {
                    ok(r#"{"keys":[]}"#)
                } else {
                    answer
                }
            }),
            "is not what they are",
        ),
        (
            "P4",
            Front::answers(|head, answer| {
                if head.uri.path() == "/api/news" {
                    ok("news")
                } else {
                    answer
                }
            }),
            "agreed to nothing",
        ),
        (
            "B2",
            Front::answers(|head, answer| {
                let late = answer.status() == StatusCode::BAD_REQUEST;
                if head.uri.path() == "/webhooks/payments" && late {
                    ok("{}")
                } else {
                    answer
                }
            }),
            "too old",
        ),
        (
            "H10",
            Front::requests(|head| {
                head.headers
                    .insert(header::HOST, HeaderValue::from_static("localhost"));
            }),
            "evil.test",
        ),
        ("H5", Front::requests(forging), "no token"),
        (
            "E3",
            Front::answers(|head, answer| {
                // A vault that hands back what it was given, with a mark before it.
                if head.uri.path().ends_with("/vault/seal") {
                    ok(r#"{"items":[{"sealed":"pcv1.ada@prove.invalid"}]}"#)
                } else {
                    answer
                }
            }),
            "holds the value",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_breaks_a_promise_is_named_by_it() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let gateway = like(&demo).start().await;
    for (id, front, word) in fronts() {
        let gate = format!("http://{}", front.stand_before(gateway.address).await);
        let run = || gateway.cli(&["prove", "--gate", &gate, "--only", id, "--format", "json"]);
        let output = tokio::task::block_in_place(run);
        assert_eq!(output.status.code(), Some(1), "{id}");
        let (found, said) = verdict(&findings(&output), id);
        assert_eq!(found, "failed", "{id}: {said}");
        assert!(said.contains(word), "{id}: {said}");
    }
    // The same way through a front that changes nothing.
    let honest = Front::headers(|_| {}).stand_before(gateway.address).await;
    let gate = format!("http://{honest}");
    let all = fronts()
        .iter()
        .map(|(id, ..)| *id)
        .collect::<Vec<_>>()
        .join(",");
    let run = || gateway.cli(&["prove", "--gate", &gate, "--only", &all, "--format", "json"]);
    for found in findings(&tokio::task::block_in_place(run)) {
        assert_eq!(found["verdict"], "held", "{found}");
    }
}
