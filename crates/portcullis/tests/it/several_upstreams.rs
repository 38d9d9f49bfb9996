//! Several products behind one gate: which one answers, how it is spoken to, how long it may take.

use axum::response::IntoResponse as _;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt as _;

use crate::support::sockets::{self, Certificate};
use crate::support::{Gateway, Upstream};

fn route(path: &str, rest: &str) -> String {
    format!("\n[[route]]\npath = \"{path}\"\nallow = \"public\"\n{rest}\n")
}

#[tokio::test]
async fn each_route_has_its_product_and_each_host_its_routes() {
    let api = Upstream::answering(|_| "api".into_response()).await;
    let web = Upstream::answering(|_| "web".into_response()).await;
    let rest = [
        format!("\n[upstream.web]\nurl = \"{}\"\npreserve-host = false\n\n[hosts]\nallow = [\"one.test\", \"two.test\"]\n", web.url()),
        route("/api/{*rest}", "upstream = \"app\""),
        route("/{*rest}", "upstream = \"web\""),
        route("/page", "upstream = \"app\"\nhost = \"two.test\""),
        route("/only", "upstream = \"app\"\nhost = \"two.test\""),
    ]
    .concat();
    let gateway = Gateway::builder(&api, &rest).await.start().await;
    let ask = async |host: &str, path: &str| {
        let answer = gateway
            .client()
            .get(path)
            .replace("host", host)
            .send()
            .await;
        (answer.status.as_u16(), answer.text())
    };
    assert_eq!(ask("one.test", "/api/x").await, (200, "api".to_owned()));
    assert_eq!(api.last().header("host"), Some("one.test"));
    assert_eq!(ask("one.test", "/page").await, (200, "web".to_owned()));
    assert_eq!(
        web.last().header("host"),
        Some(web.address().to_string().as_str())
    );
    assert_eq!(web.last().headers.get_all("host").iter().count(), 1);
    assert_eq!(ask("two.test", "/page").await, (200, "api".to_owned()));
    assert_eq!(ask("TWO.test:8080", "/only").await, (200, "api".to_owned()));
    assert_eq!(ask("one.test", "/only").await, (200, "web".to_owned()));
    let asked = api.requests() + web.requests();
    assert_eq!(ask("three.test", "/page").await.0, 421);
    assert_eq!(api.requests() + web.requests(), asked);
}

#[tokio::test]
async fn a_route_has_a_time_limit_of_its_own() {
    let address = sockets::bytes_product(async |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let rest = [route("/short", "timeout = \"50ms\""), route("/usual", "")].concat();
    let gateway = Gateway::builder(&Upstream::at(address), &rest)
        .await
        .replace(
            "[upstream.app]",
            "[upstream.app]\nresponse-timeout = \"20m\"",
        )
        .start()
        .await;
    let usual = tokio::spawn(gateway.client().get("/usual").send());
    let answer = gateway.client().get("/short").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (504, "upstream-timeout")
    );
    assert!(!usual.is_finished());
    usual.abort();
}

#[tokio::test]
async fn a_product_that_is_away_is_a_502_and_the_others_answer() {
    let up = Upstream::start().await;
    let rest = [
        format!(
            "\n[upstream.away]\nurl = \"http://127.0.0.1:{}\"\n",
            sockets::free_port()
        ),
        route("/away", "upstream = \"away\""),
        route("/up", "upstream = \"app\""),
    ]
    .concat();
    let gateway = Gateway::builder(&up, &rest).await.start().await;
    let answer = gateway.client().get("/away").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (502, "upstream-unreachable")
    );
    assert_eq!(gateway.client().get("/up").send().await.status, 200);
}

#[tokio::test]
async fn a_product_can_be_spoken_to_in_http2_plain_and_over_tls() {
    let certificate = Certificate::new("localhost");
    let plain = sockets::bytes_product(async |stream| serve_http2(stream).await).await;
    let acceptor = certificate.server(&["h2"]);
    let secure = sockets::bytes_product(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            serve_http2(stream).await;
        }
    })
    .await;
    let rest = [
        format!("http2 = true\n\n[upstream.secure]\nurl = \"https://localhost:{}\"\nca = \"ca.pem\"\nhttp2 = true\n", secure.port()),
        route("/plain", "upstream = \"app\""),
        route("/secure", "upstream = \"secure\""),
    ]
    .concat();
    let gateway = Gateway::builder(&Upstream::at(plain), &rest)
        .await
        .file("ca.pem", &certificate.cert)
        .start()
        .await;
    for path in ["/plain", "/secure"] {
        for body in ["", "something"] {
            let mut request = gateway.client().post(path);
            request = request.header("origin", &format!("http://{}", gateway.address));
            let answer = request.body(body).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let host = gateway.address;
            assert_eq!(answer.text(), format!("HTTP/2.0 {host} {path} {body}"));
        }
    }
}

/// Answers with what it was asked.
async fn serve_http2<S>(stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
        use http_body_util::BodyExt as _;
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = format!(
            "{:?} {} {} {}",
            head.version,
            head.uri.authority().unwrap(),
            head.uri.path(),
            String::from_utf8_lossy(&body)
        );
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from(text))))
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
