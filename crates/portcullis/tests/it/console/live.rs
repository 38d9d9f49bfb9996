//! The first page keeps itself fresh: the stream, and the page in a real browser.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{ANA, CONSOLE, ROOT, builder, done, gate};
use crate::support::forms::Page;
use crate::support::{Browser, Gateway, PASSWORD, Upstream, chromium, sockets};

/// Opens the stream as a browser does.
async fn listen(gateway: &Gateway, browser: &Browser) -> TcpStream {
    listen_with(gateway, &browser.cookie("session").unwrap()).await
}

async fn listen_with(gateway: &Gateway, session: &str) -> TcpStream {
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "GET {CONSOLE}/live HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nSec-Fetch-Site: same-origin\r\nCookie: session={session}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The next mark that the stream tells.
async fn told(stream: &mut TcpStream) -> String {
    let seen = sockets::read_until(stream, "\n\n\r\n").await;
    let (_, mark) = seen
        .split_once("event: figures\ndata: ")
        .unwrap_or_else(|| panic!("no figures: {seen}"));
    mark.get(..16).unwrap().to_owned()
}

fn mark(page: &Page) -> &str {
    let (_, rest) = page.text.split_once("data-mark=\"").expect("figures");
    rest.get(..16).unwrap()
}

#[tokio::test]
async fn the_stream_says_that_the_figures_are_other_ones_and_what_is_shown_has_them() {
    let gateway = gate().await;
    let (root, ana) = (gateway.signed_in(ROOT).await, gateway.signed_in(ANA).await);
    // Until the two sign-ins have their place in the log.
    crate::support::eventually_asked("the figures stand still", async || {
        let first = root.open(CONSOLE).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        mark(&first) == mark(&root.open(CONSOLE).await)
    })
    .await;
    let mut stream = listen(&gateway, &root).await;
    let first = told(&mut stream).await;
    // Looking does not change what is seen, or the page would be loaded for ever.
    for _ in 0..3 {
        assert_eq!(mark(&root.open(CONSOLE).await), first);
    }
    assert_eq!(ana.get("/closed").send().await.problem(), "route-closed");
    let second = told(&mut stream).await;
    assert_ne!(second, first);
    // The refusal is counted at once, and has its place in the log a little later.
    let page = root.open(CONSOLE).await;
    assert_ne!(mark(&page), first);
    assert!(page.text.contains("nonce=\"") && page.text.contains("live.js\""));
}

#[tokio::test]
async fn the_stream_ends_with_its_session() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let session = root.cookie("session").unwrap();
    let mut stream = listen(&gateway, &root).await;
    told(&mut stream).await;
    let answer = root.post("/.portcullis/auth/logout").send().await;
    assert_eq!(answer.status, 204);
    let end = sockets::read_until(&mut stream, "0\r\n\r\n");
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), end).await;
    ended.expect("the stream ends with the session");
    // The cookie of before, which the browser has thrown away.
    let mut again = listen_with(&gateway, &session).await;
    let refused = sockets::read_until(&mut again, "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
}

#[tokio::test]
async fn a_role_that_was_taken_away_shows_nothing_more_on_an_open_page() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let mut stream = listen(&gateway, &root).await;
    told(&mut stream).await;
    done(&gateway, &["users", "set-roles", ROOT, "user"]);
    // The command line is another process: the gate hears of it.
    let figures = format!("{CONSOLE}/live/figures");
    crate::support::eventually_asked("the role is gone", async || {
        let page = root.open(&figures).await;
        assert_eq!(page.answer.status, 200);
        !page.text.contains("<dt>Refused</dt>")
    })
    .await;
    let page = root.open(CONSOLE).await;
    assert!(!page.text.contains("data-mark"), "{}", page.text);
}

#[tokio::test]
async fn so_many_watch_at_once_and_no_more() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut stream = listen(&gateway, &root).await;
        told(&mut stream).await;
        open.push(stream);
    }
    let mut one_more = listen(&gateway, &root).await;
    let refused = sockets::read_until(&mut one_more, "\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    open.pop();
    crate::support::eventually_asked("whoever left makes room", async || {
        let mut next = listen(&gateway, &root).await;
        let head = sockets::read_until(&mut next, "\r\n\r\n").await;
        head.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn the_page_is_live_in_chromium_and_stops_where_nobody_looks() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let origin = format!("http://{}", gateway.address);
    let steps = chromium::drive("live.cjs", &[&origin, ROOT, PASSWORD]).await;
    for step in [
        "it says that it is live",
        "a refusal is counted without loading the page",
        "what was unfolded stays unfolded",
        "the keyboard keeps its place, and the figures come when it leaves",
        "nothing moves while it is paused",
        "it goes on",
        "it closes the stream where nobody looks",
        "axe finds nothing",
        "nothing broke the content security policy",
    ] {
        assert_eq!(steps[step], true, "{step}: {steps:#}");
    }
}
