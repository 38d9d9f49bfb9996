//! Reload: what acts on the next request, what waits for a restart, and what changes nothing.

use tokio::net::TcpStream;

use crate::support::sockets::{AnyBody, get_from, read, speak_http1};
use crate::support::{Answer, Gateway, GatewayBuilder, Upstream, eventually, signal};

type Connection = hyper::client::conn::http1::SendRequest<AnyBody>;

async fn connect(gateway: &Gateway) -> Connection {
    speak_http1(TcpStream::connect(gateway.address).await.unwrap()).await
}

/// Over the same connection every time.
async fn public(gateway: &Gateway, connection: &mut Connection) -> Answer {
    let request = get_from(&gateway.address.to_string(), "/public");
    read(
        connection
            .send_request(request)
            .await
            .expect("the connection stands"),
    )
    .await
}

fn rewrite(gateway: &Gateway, change: impl FnOnce(&str) -> String) {
    let old = std::fs::read_to_string(gateway.config_path()).unwrap();
    let new = change(&old);
    assert_ne!(old, new);
    // As orchestrators do: another file takes the place.
    let beside = gateway.folder.join("next.toml");
    std::fs::write(&beside, new).unwrap();
    std::fs::rename(beside, gateway.config_path()).unwrap();
}

async fn printed_times(gateway: &Gateway, text: &str, times: usize) {
    eventually(&format!("`{text}` is printed {times} times"), || {
        gateway.printed().matches(text).count() >= times
    })
    .await;
}

const OPEN: &str = "path = \"/public\"\nmethods = [\"GET\", \"POST\"]\nallow = \"public\"";

#[tokio::test]
async fn a_changed_file_acts_on_the_next_request_of_the_same_connection() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let mut connection = connect(&gateway).await;
    let answer = public(&gateway, &mut connection).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("referrer-policy"),
        Some("strict-origin-when-cross-origin")
    );

    // Headers and limits; the file is looked at without a signal.
    rewrite(&gateway, |old| {
        format!(
            "{old}\n[headers]\nreferrer-policy = \"no-referrer\"\n\n[limits.few]\nrate = \"2/hour\"\neverywhere = true\n"
        )
    });
    printed_times(&gateway, "policy reloaded", 1).await;
    let answer = public(&gateway, &mut connection).await;
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert!(answer.header("ratelimit-policy").unwrap().contains("few"));
    public(&gateway, &mut connection).await;
    let answer = public(&gateway, &mut connection).await;
    assert_eq!(answer.problem(), "rate-limited");

    // Routes and origins; told by a signal.
    rewrite(&gateway, |old| {
        old.replace("rate = \"2/hour\"", "off = true")
            .replace(OPEN, "path = \"/public\"\nallow = \"closed\"")
            + "\n[cors]\nallow-origins = [\"https://front.test\"]\n"
    });
    signal(gateway.pid(), "HUP");
    printed_times(&gateway, "policy reloaded", 2).await;
    let answer = public(&gateway, &mut connection).await;
    assert_eq!(answer.problem(), "route-closed");
    let mut request = get_from(&gateway.address.to_string(), "/healthz");
    let origin = "https://front.test".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let answer = read(connection.send_request(request).await.unwrap()).await;
    assert_ne!(answer.status, 403, "{}", answer.text());
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_reported_and_recorded() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let mut connection = connect(&gateway).await;
    rewrite(&gateway, |old| {
        old.replace(OPEN, "path = \"/public\"\nallow = \"everybody\"")
    });
    signal(gateway.pid(), "HUP");
    gateway
        .wait_until_printed("the changed configuration was not taken")
        .await;
    assert!(gateway.printed().contains("allow"), "says where");
    assert_eq!(public(&gateway, &mut connection).await.status, 200);
    // A file without its listener's mistakes, but with one in a table that needs a restart.
    rewrite(&gateway, |old| {
        old.replace("\"everybody\"", "\"closed\"")
            .replace("[listen]", "[listen]\nidle-timeout = \"0s\"")
    });
    printed_times(&gateway, "the changed configuration was not taken", 2).await;
    assert_eq!(public(&gateway, &mut connection).await.status, 200);
    let output = gateway.cli(&["--output", "json", "audit", "list"]);
    let events = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(events.contains("policy.rejected"), "{events}");
    assert!(!events.contains("policy.reloaded"), "{events}");
    std::fs::remove_file(gateway.config_path()).unwrap();
    assert_eq!(public(&gateway, &mut connection).await.status, 200);
}

async fn with_an_account(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user("ana@corp.test", &["user"])
}

#[tokio::test]
async fn keys_that_need_a_restart_are_named_and_keep_their_running_values_together() {
    let upstream = Upstream::start().await;
    let gateway = with_an_account(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    rewrite(&gateway, |old| {
        old.replace(
            "[listen]",
            "[listen]\nidle-timeout = \"7s\"\ntrusted-proxies = [\"127.0.0.1/32\"]",
        )
        .replace(OPEN, "path = \"/public\"\nallow = \"closed\"")
            + "\n[csrf]\ncookie = \"other\"\nheader = \"X-Other\"\n\n[sessions]\ncookie = \"other_session\"\n\n[log]\nlevel = \"debug\"\n"
    });
    std::fs::write(
        gateway.folder.join("master"),
        "a81f6e0c3d5b7942e0f1d2c3b4a5968778695a4b3c2d1e0f00ff11ee22dd33cc\n",
    )
    .unwrap();
    signal(gateway.pid(), "HUP");
    gateway.wait_until_printed("restart needed").await;
    let printed = gateway.printed();
    let line = printed
        .lines()
        .find(|line| line.contains("restart needed"))
        .unwrap();
    for key in [
        "listen.idle-timeout",
        "listen.trusted-proxies",
        "csrf.cookie",
        "csrf.header",
        "sessions.cookie",
        "log.level",
        "secrets.master",
    ] {
        assert!(line.contains(key), "`{key}` is not in {line}");
    }
    assert!(!line.contains("listen.address"), "{line}");
    // What can be taken was taken.
    let answer = gateway.client().get("/public").send().await;
    assert_eq!(answer.problem(), "route-closed");
    // Tokens of before still work, and so does signing in: both halves kept the old names and key.
    assert_eq!(ana.post("/anything").send().await.status, 200);
    let again = gateway.signed_in("ana@corp.test").await;
    assert_eq!(again.post("/anything").send().await.status, 200);
}

#[tokio::test]
async fn signals_right_after_the_start_are_understood() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    signal(gateway.pid(), "HUP");
    gateway.wait_until_printed("policy reloaded").await;
    assert!(!gateway.printed().contains("restart needed"));
    assert_eq!(gateway.stop().await.code(), Some(0));
}
