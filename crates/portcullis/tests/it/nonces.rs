//! Fresh CSP nonces in the product's HTML (H6), by bytes and in a real browser.

use std::process::Command;

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::response::Html;
use axum::response::IntoResponse as _;

use crate::support::{Answer, Gateway, Upstream, required};

const PLACEHOLDER: &str = "the-products-own-placeholder-5c1e";
const ROUTES: &str = "\n[[route]]\npath = \"/{*rest}\"\nallow = \"public\"\n";

fn page() -> String {
    format!(
        "<!doctype html><title>t</title><script nonce=\"{PLACEHOLDER}\">document.documentElement.setAttribute('data-own','ran')</script><p id=c><script>document.documentElement.setAttribute('data-injected','ran')</script><img src=x onerror=\"document.documentElement.setAttribute('data-handler','ran')\"><style nonce=\"{PLACEHOLDER}\">p{{color:red}}</style>"
    )
}

/// gzip of `<script nonce="the-products-own-placeholder-5c1e">1</script>`, made by a server that does
/// not listen to `Accept-Encoding`.
const GZIPPED: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 179, 41, 78, 46, 202, 44, 40, 81, 200, 203, 207, 75, 78, 181,
    85, 42, 201, 72, 213, 45, 40, 202, 79, 41, 77, 46, 41, 214, 205, 47, 207, 211, 45, 200, 73, 76,
    78, 205, 200, 207, 73, 73, 45, 210, 53, 77, 54, 76, 85, 178, 51, 180, 209, 135, 232, 177, 3, 0,
    192, 100, 137, 182, 60, 0, 0, 0,
];

async fn product() -> Upstream {
    Upstream::answering(|received| match received.target.as_str() {
        // In pieces that break every word in two.
        "/chunked" => {
            let pieces: Vec<Result<Bytes, std::io::Error>> = page()
                .into_bytes()
                .chunks(7)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            let mut response = Response::new(Body::from_stream(futures_util::stream::iter(pieces)));
            let html = "text/html; charset=utf-8".parse().unwrap();
            response.headers_mut().insert("content-type", html);
            response
        }
        "/large" => {
            let filler = "<p>word</p>\n".repeat(200_000);
            Html(format!("{filler}{}", page())).into_response()
        }
        "/gzip" => (
            [("content-type", "text/html"), ("content-encoding", "gzip")],
            GZIPPED,
        )
            .into_response(),
        "/json" => (
            [("content-type", "application/json"), ("etag", "\"1\"")],
            format!("{{\"nonce\":\"{PLACEHOLDER}\"}}"),
        )
            .into_response(),
        _ => ([("etag", "\"1\"")], Html(page())).into_response(),
    })
    .await
}

async fn gate(upstream: &Upstream, headers: &str) -> Gateway {
    Gateway::builder(upstream, ROUTES)
        .await
        .more(&format!("\n[headers]\n{headers}\n"))
        .start()
        .await
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    let request = gateway.client().get(path).header("accept", "text/html");
    request.header("accept-encoding", "gzip, br").send().await
}

/// The nonce that the policy of an answer admits.
fn nonce(answer: &Answer) -> String {
    let policy = answer.header("content-security-policy").unwrap();
    let (_, rest) = policy.split_once("'nonce-").expect("a nonce");
    rest.split('\'').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_placeholder_becomes_a_nonce_that_no_other_answer_has() {
    let upstream = product().await;
    let gateway = gate(&upstream, &format!("placeholder = \"{PLACEHOLDER}\"")).await;
    let mut seen = std::collections::BTreeSet::new();
    for path in ["/page", "/chunked", "/large", "/page"] {
        let answer = get(&gateway, path).await;
        let nonce = nonce(&answer);
        assert!(nonce.len() >= 22, "128 bits");
        let text = answer.text();
        assert_eq!(
            text.matches(&format!("nonce=\"{nonce}\"")).count(),
            2,
            "{path}"
        );
        assert!(!text.contains(PLACEHOLDER), "{path}");
        assert!(
            text.contains("<script>document"),
            "an injected script gets none"
        );
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        assert!(answer.header("etag").is_none());
        if path == "/large" {
            assert!(text.len() > 2_400_000 && text.contains("<p>word</p>\n<p>word</p>"));
        }
        assert!(seen.insert(nonce), "fresh");
        assert_eq!(upstream.last().header("accept-encoding"), Some("identity"));
    }
    let json = get(&gateway, "/json").await;
    assert!(
        json.text().contains(PLACEHOLDER),
        "only pages are rewritten"
    );
    assert_eq!(json.header("etag"), Some("\"1\""));
    assert!(
        !json
            .header("content-security-policy")
            .unwrap()
            .contains("nonce-")
    );
    // What comes compressed nevertheless passes as it is: its scripts do not run.
    let gzip = get(&gateway, "/gzip").await;
    assert_eq!(gzip.body, GZIPPED);
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    // A browser that asks for no page may have its answer compressed.
    let script = gateway
        .client()
        .get("/app.js")
        .header("accept-encoding", "gzip");
    script.send().await;
    assert_eq!(upstream.last().header("accept-encoding"), Some("gzip"));
}

#[tokio::test]
async fn all_gives_every_script_the_nonce_and_off_gives_none() {
    let upstream = product().await;
    let all = gate(&upstream, "nonces = \"all\"").await;
    let answer = get(&all, "/chunked").await;
    let nonce = nonce(&answer);
    assert_eq!(
        answer.text().matches(&format!("nonce=\"{nonce}\"")).count(),
        3
    );
    let off = gate(&upstream, "nonces = \"off\"").await;
    let answer = get(&off, "/page").await;
    assert_eq!(answer.text(), page(), "byte for byte");
    assert_eq!(answer.header("etag"), Some("\"1\""));
}

/// The page after its scripts ran, as Chromium has it.
pub(crate) fn rendered(url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(required("PORTCULLIS_TEST_CHROMIUM"))
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .output()
        .expect("Chromium starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("<html"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[tokio::test]
async fn in_a_browser_the_products_script_runs_and_an_injected_one_does_not() {
    let upstream = product().await;
    let gateway = gate(&upstream, &format!("placeholder = \"{PLACEHOLDER}\"")).await;
    let url = format!("http://{}/page", gateway.address);
    let protected = tokio::task::spawn_blocking(move || rendered(&url))
        .await
        .unwrap();
    assert!(protected.contains("data-own=\"ran\""), "{protected}");
    assert!(!protected.contains("data-injected") || !protected.contains("data-injected=\"ran\""));
    assert!(!protected.contains("data-handler=\"ran\""), "{protected}");
    // Without the gate all of them run: the page is a fair one.
    let url = format!("{}/page", upstream.url());
    let bare = tokio::task::spawn_blocking(move || rendered(&url))
        .await
        .unwrap();
    for what in ["data-own", "data-injected", "data-handler"] {
        assert!(bare.contains(&format!("{what}=\"ran\"")), "{what}: {bare}");
    }
}
