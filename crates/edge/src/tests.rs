//! The whole way over real sockets: raw client, the gate, an upstream written in the test.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use portcullis_core::binding::Asked;
use portcullis_core::decision::{Access, Rule, decide};
use portcullis_core::roles::{Roles, default_roles};
use portcullis_core::route::Params;
use portcullis_core::{Permit, Principal, Problem, Span, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::drain::{Stopper, drain};
use crate::*;

fn lane<F: Future<Output = ()>>(test: F) {
    lane_runtime().unwrap().block_on(test);
}

fn permit() -> Permit {
    let roles = Roles::compile(&default_roles()).unwrap();
    decide(
        &Rule::new(Access::Public),
        &Principal::Anonymous,
        &roles,
        &Asked::path(&Params::default(), Timestamp::EPOCH),
    )
    .unwrap()
}

fn problem(problem: &Problem) -> Response<Body> {
    let mut response = Response::new(Body::full(problem.kind.slug.as_bytes().to_vec()));
    *response.status_mut() = problem.kind.status;
    response
}

/// An upstream that runs `answer` for each connection; counts them.
async fn upstream<F>(answer: impl Fn(TcpStream) -> F + 'static) -> (SocketAddr, Rc<Cell<usize>>)
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Rc::new(Cell::new(0));
    let counter = Rc::clone(&count);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.set(counter.get() + 1);
            tokio::task::spawn_local(answer(stream));
        }
    });
    (address, count)
}

struct Gateway {
    address: SocketAddr,
    stopper: Stopper,
    served: tokio::task::JoinHandle<()>,
}

/// A gate that forwards everything to `to`.
fn gateway(to: SocketAddr, adjust: impl FnOnce(&mut Config, &mut upstream::Config)) -> Gateway {
    let mut config = Config::default();
    let mut target = upstream::Config::new(format!("http://{to}"));
    adjust(&mut config, &mut target);
    let target = Upstream::compile("app", &target).unwrap();
    let settings = Rc::new(Settings::compile(&config, 1).unwrap());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, ear) = drain();
    let forwarder = Rc::new(Forwarder::new());
    let trusted = Arc::clone(&settings.trusted_proxies);
    let handler = Rc::new(async move |arrival: Arrival| {
        let Inbound {
            mut head,
            body,
            peer,
        } = match arrival {
            Arrival::Request(inbound) => *inbound,
            Arrival::Malformed { reason, .. } => return problem(&reason.into()),
        };
        let told = headers::Forwarded {
            client: trusted.client(&peer, &head.headers),
            scheme: trusted.scheme(&peer, &head.headers),
            request_id: "id",
            host: false,
        };
        headers::clean_request(&mut head.headers, &told);
        match forwarder.forward(permit(), &target, head, body, None).await {
            Ok(response) => response,
            Err(error) => problem(&error.into()),
        }
    });
    let served = tokio::task::spawn_local(async move {
        serve(listener, settings, ear, handler).await.unwrap();
    });
    Gateway {
        address,
        stopper,
        served,
    }
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        all.push(byte[0]);
    }
    String::from_utf8(all).unwrap()
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8(all).unwrap()
}

/// Answers every request on a connection with `answer`.
async fn answering(mut stream: TcpStream, answer: &'static str) {
    while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n";
const LAST: &str = "GET /x HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";

/// Sends `raw` and gives everything until the gate closes.
async fn exchange(gate: &Gateway, raw: &str) -> String {
    let mut client = TcpStream::connect(gate.address).await.unwrap();
    client.write_all(raw.as_bytes()).await.unwrap();
    read_to_end(&mut client).await
}

#[test]
fn requests_and_answers_pass_and_the_upstream_connection_is_kept() {
    lane(async {
        let (to, connections) = upstream(|stream| answering(stream, OK)).await;
        let gate = gateway(to, |_, _| {});
        let mut client = TcpStream::connect(gate.address).await.unwrap();
        for _ in 0..3 {
            client.write_all(GET.as_bytes()).await.unwrap();
            let answer = read_until(&mut client, "ok").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert!(exchange(&gate, LAST).await.ends_with("ok"));
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn the_upstream_sees_a_clean_head() {
    lane(async {
        let (seen, mut heads) = tokio::sync::mpsc::unbounded_channel();
        let (to, _) = upstream(move |mut stream| {
            let seen = seen.clone();
            async move {
                seen.send(read_until(&mut stream, "\r\n\r\n").await)
                    .unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        })
        .await;
        let gate = gateway(to, |_, _| {});
        exchange(
            &gate,
            "GET http://a.example/x?y=1 HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\n",
        )
        .await;
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
        assert!(
            !head.contains("6.6.6.6") && !head.contains("x-hop"),
            "{head}"
        );
        assert_eq!(head.to_ascii_lowercase().matches("host:").count(), 1);
    });
}

#[test]
fn a_malformed_request_is_answered_in_order_and_never_forwarded() {
    lane(async {
        let (to, connections) = upstream(|stream| answering(stream, OK)).await;
        let gate = gateway(to, |_, _| {});
        let smuggle = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n";
        let answers = exchange(&gate, &format!("{GET}{smuggle}")).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.contains("HTTP/1.1 400"), "{answers}");
        assert!(answers.ends_with("malformed-request"), "{answers}");
        assert_eq!(connections.get(), 1);
        let alone = exchange(&gate, smuggle).await;
        assert!(alone.starts_with("HTTP/1.1 400"), "{alone}");
    });
}

#[test]
fn a_broken_chunk_is_a_400_and_no_whole_request_upstream() {
    lane(async {
        let (seen, mut bodies) = tokio::sync::mpsc::unbounded_channel();
        let (to, _) = upstream(move |mut stream| {
            let seen = seen.clone();
            async move {
                seen.send(read_to_end(&mut stream).await).unwrap();
            }
        })
        .await;
        let gate = gateway(to, |_, _| {});
        let raw = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n";
        let answer = exchange(&gate, raw).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(!bodies.recv().await.unwrap().ends_with("0\r\n\r\n"));
    });
}

#[test]
fn failures_of_the_upstream_are_502_and_504() {
    lane(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = closed.local_addr().unwrap();
        drop(closed);
        let refused = exchange(&gateway(nobody, |_, _| {}), LAST).await;
        assert!(refused.contains("502") && refused.contains("upstream-unreachable"));
        for bad in [
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "",
        ] {
            let (to, _) = upstream(move |mut stream| async move {
                read_until(&mut stream, "\r\n\r\n").await;
                stream.write_all(bad.as_bytes()).await.unwrap();
            })
            .await;
            let answer = exchange(&gateway(to, |_, _| {}), LAST).await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{bad:?}: {answer}");
        }
        let (to, _) = upstream(|mut stream| async move {
            read_to_end(&mut stream).await;
        })
        .await;
        let gate = gateway(to, |_, target| {
            target.response_timeout = Span::from_millis(50);
        });
        let answer = exchange(&gate, LAST).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    });
}

#[test]
fn a_pooled_connection_that_died_is_replaced() {
    lane(async {
        let (to, connections) = upstream(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        })
        .await;
        let gate = gateway(to, |_, _| {});
        for _ in 0..3 {
            assert!(exchange(&gate, LAST).await.ends_with("ok"));
        }
        assert_eq!(connections.get(), 3);
    });
}

#[test]
fn a_client_that_leaves_takes_the_upstream_connection_along() {
    lane(async {
        let (seen, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let (to, _) = upstream(move |mut stream| {
            let seen = seen.clone();
            async move {
                seen.send("begun").unwrap();
                read_to_end(&mut stream).await;
                seen.send("ended").unwrap();
            }
        })
        .await;
        let gate = gateway(to, |_, _| {});
        let mut client = TcpStream::connect(gate.address).await.unwrap();
        client.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(ended.recv().await, Some("begun"));
        drop(client);
        assert_eq!(ended.recv().await, Some("ended"));
    });
}

#[test]
fn more_than_may_be_in_flight_is_503() {
    lane(async {
        let (to, connections) = upstream(|mut stream| async move {
            read_to_end(&mut stream).await;
        })
        .await;
        let gate = gateway(to, |_, target| target.max_in_flight = 1);
        let mut first = TcpStream::connect(gate.address).await.unwrap();
        first.write_all(GET.as_bytes()).await.unwrap();
        while connections.get() == 0 {
            tokio::task::yield_now().await;
        }
        let answer = exchange(&gate, LAST).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    });
}

#[test]
fn a_websocket_passes_both_ways_and_is_never_pooled() {
    lane(async {
        let (to, connections) = upstream(|mut stream| async move {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            if !head.contains("upgrade: websocket") {
                return answering(stream, OK).await;
            }
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello;")
                .await
                .unwrap();
            let said = read_until(&mut stream, ";").await;
            stream.write_all(format!("you said {said}").as_bytes()).await.unwrap();
        })
        .await;
        let gate = gateway(to, |_, _| {});
        let mut client = TcpStream::connect(gate.address).await.unwrap();
        // The first frame comes with the head; it looks like a request and must not be one.
        let raw = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\nGET / HTTP/1.1 early;";
        client.write_all(raw.as_bytes()).await.unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert_eq!(read_until(&mut client, ";").await, "hello;");
        assert_eq!(
            read_until(&mut client, "early;").await,
            "you said GET / HTTP/1.1 early;"
        );
        assert_eq!(read_to_end(&mut client).await, "");
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    lane(async {
        let (to, _) = upstream(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream
                .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
                .await
                .unwrap();
            read_to_end(&mut stream).await;
        })
        .await;
        let gate = gateway(to, |_, _| {});
        let mut client = TcpStream::connect(gate.address).await.unwrap();
        let raw = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbeginning";
        client.write_all(raw.as_bytes()).await.unwrap();
        let answer = read_until(&mut client, "no").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    });
}

#[test]
fn a_drain_lets_requests_finish_and_closes_idle_connections() {
    lane(async {
        let (release, go) = tokio::sync::watch::channel(false);
        let (to, connections) = upstream(move |mut stream| {
            let mut go = go.clone();
            async move {
                read_until(&mut stream, "\r\n\r\n").await;
                go.wait_for(|go| *go).await.unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        })
        .await;
        let gate = gateway(to, |_, _| {});
        let mut silent = TcpStream::connect(gate.address).await.unwrap();
        let mut busy = TcpStream::connect(gate.address).await.unwrap();
        busy.write_all(GET.as_bytes()).await.unwrap();
        while connections.get() == 0 {
            tokio::task::yield_now().await;
        }
        gate.stopper.start();
        assert_eq!(read_to_end(&mut silent).await, "");
        release.send_replace(true);
        let answer = read_to_end(&mut busy).await;
        assert!(
            answer.ends_with("ok") && answer.contains("connection: close"),
            "{answer}"
        );
        gate.served.await.unwrap();
        assert!(TcpStream::connect(gate.address).await.is_err());
    });
}

#[test]
fn a_drain_cuts_what_does_not_finish() {
    lane(async {
        let (to, connections) = upstream(|mut stream| async move {
            read_to_end(&mut stream).await;
        })
        .await;
        let gate = gateway(to, |config, _| config.drain_timeout = Span::from_millis(20));
        let mut busy = TcpStream::connect(gate.address).await.unwrap();
        busy.write_all(GET.as_bytes()).await.unwrap();
        while connections.get() == 0 {
            tokio::task::yield_now().await;
        }
        gate.stopper.start();
        gate.served.await.unwrap();
        assert_eq!(read_to_end(&mut busy).await, "");
    });
}

#[test]
fn slow_clients_are_let_go() {
    lane(async {
        let (to, _) = upstream(|stream| answering(stream, OK)).await;
        let soon = Span::from_millis(30);
        let gate = gateway(to, |config, _| {
            config.first_byte_timeout = soon;
            config.head_timeout = soon;
            config.idle_timeout = soon;
            config.body_idle_timeout = soon;
        });
        assert_eq!(exchange(&gate, "").await, "");
        let half = exchange(&gate, "GET / HTTP/1.1\r\nhost").await;
        assert!(half.starts_with("HTTP/1.1 408"), "{half}");
        let idle = exchange(&gate, GET).await;
        assert!(idle.ends_with("ok"), "{idle}");
        let body = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nab";
        let (to, _) = upstream(|mut stream| async move {
            read_to_end(&mut stream).await;
        })
        .await;
        let gate = gateway(to, |config, _| config.body_idle_timeout = soon);
        let stalled = exchange(&gate, body).await;
        assert!(stalled.starts_with("HTTP/1.1 408"), "{stalled}");
    });
}

#[test]
fn one_network_has_only_so_many_connections() {
    lane(async {
        let (to, _) = upstream(|stream| answering(stream, OK)).await;
        let gate = gateway(to, |config, _| config.max_connections_per_address = 1);
        let mut first = TcpStream::connect(gate.address).await.unwrap();
        first.write_all(GET.as_bytes()).await.unwrap();
        assert!(read_until(&mut first, "ok").await.ends_with("ok"));
        let mut second = TcpStream::connect(gate.address).await.unwrap();
        assert_eq!(read_to_end(&mut second).await, "");
    });
}

#[test]
fn http2_is_held_to_the_same_rules() {
    lane(async {
        let (to, _) = upstream(|stream| answering(stream, OK)).await;
        let gate = gateway(to, |_, _| {});
        let tcp = TcpStream::connect(gate.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake::<_, _, Body>(
            crate::pool::LocalExecutor,
            hyper_util::rt::TokioIo::new(tcp),
        )
        .await
        .unwrap();
        tokio::task::spawn_local(connection);
        for (host, name, status) in [
            (None, "accept", 200),
            (Some("a.example"), "accept", 200),
            (Some("b.example"), "accept", 400),
            (None, "x_forwarded_user", 400),
            (None, "expect", 400),
        ] {
            let mut request = http::Request::get("http://a.example/x").header(name, "v");
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let request = request.body(Body::Empty).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), status, "{host:?} {name}");
        }
    });
}
