//! The machine that the gate runs on gives no threads, no random bits, or no way to its database.

use super::tracer::Tracer;
use super::{GENEROUS, ME, get, in_time, metric, until};
use crate::support::{Gateway, Upstream, required};

const ANA: &str = "ana@corp.test";

/// To look up a product's name the runtime wants a thread, and it panics where there is none: the one
/// panic of a request that a fault from outside is known to bring about.
#[tokio::test]
async fn a_request_that_panics_is_500_for_it_alone_and_is_counted() {
    let upstream = Upstream::start().await;
    let by_name = upstream.url().replace("127.0.0.1", "localhost");
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace(&upstream.url(), &by_name)
        .user(ANA, &["user"])
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    let panics = async || metric(&gateway, "portcullis_panics_total").await;
    assert_eq!(panics().await, Some(0.0));

    let tracer = Tracer::failing(&gateway, "clone,clone3", "EAGAIN");
    let request = gateway.client().get("/public?token=canary-panics");
    let answer = in_time("a request that panics", request.send()).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(answer.problem(), "internal-error");
    assert!(!answer.text().contains("thread"), "{}", answer.text());
    assert_eq!(panics().await, Some(1.0));
    // Everybody else goes on, on the same lanes.
    for _ in 0..8 {
        assert_eq!(get(&ana, ME).await.status, 200);
        assert_eq!(get(&ana, "/admin").await.problem(), "not-permitted");
    }
    assert_eq!(upstream.requests(), 0);
    tracer.detach();

    let id = answer.header("x-request-id").unwrap();
    gateway.wait_until_printed("panicked").await;
    let printed = gateway.printed();
    assert!(printed.contains(id), "the log knows the request");
    assert!(!printed.contains("canary-panics"), "{printed}");
    for _ in 0..8 {
        let request = gateway.client().get("/public");
        assert_eq!(in_time("a request", request.send()).await.status, 200);
    }
    assert_eq!(panics().await, Some(1.0));
}

#[tokio::test]
async fn a_gate_does_not_start_without_its_database_and_says_which_key() {
    let upstream = Upstream::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let builder = Gateway::builder_usual(&upstream).await;
    let nowhere = builder.folder().join("no/such/folder/portcullis.db");
    let own = std::fs::read_to_string(builder.folder().join("database")).unwrap();
    for (url, secret) in [
        (
            format!("postgres://gate:canary-pw@127.0.0.1:{port}/gate"),
            "canary-pw",
        ),
        (
            format!("sqlite://{}", nowhere.display()),
            "no secret at all",
        ),
    ] {
        let output = builder.clone().stores(&url, None).cli(&["serve"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("state.database"), "{told}");
        assert!(!told.contains(secret), "{told}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("listening"), "{said}");
    }
    // With the database there, the same configuration starts.
    let gateway = builder.file("database", &own).start().await;
    until("the gate answers", || async {
        let request = gateway.client().get("/public");
        in_time("a request", request.send()).await.status == 200
    })
    .await;
}

/// The libraries have no weaker source. One ends the process (ADR 15), one panics, and with it the
/// connection of whoever asked.
#[tokio::test]
async fn without_random_bits_nobody_is_answered_and_nothing_repeats() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream)
        .await
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ANA, &["user"]);
    let gateway = builder.start().await;
    let ana = gateway.signed_in(ANA).await;
    let tracer = Tracer::failing(&gateway, "getrandom", "EIO");
    // What is seeded goes on for a while, without repeating itself.
    let mut nonces = std::collections::BTreeSet::new();
    loop {
        let request = ana.get("/closed").header("accept", "text/html");
        let Some(answer) = in_time("a page", request.try_send()).await else {
            break;
        };
        let policy = answer.header("content-security-policy").unwrap();
        let nonce = policy.split("'nonce-").nth(1).unwrap();
        assert!(nonces.insert(nonce.to_owned()), "{nonce} twice");
        assert!(nonces.len() < 50_000, "it needs no random bits");
    }
    let printed = gateway.printed();
    assert!(
        printed.contains("entropy fill failed") || printed.contains("random bytes"),
        "that was another reason: {printed}"
    );
    drop(tracer);

    // Without them at the start nothing listens.
    let mut under = std::process::Command::new(required("PORTCULLIS_TEST_STRACE"));
    under.args(["-f", "-o", "/dev/null", "-e", "inject=getrandom:error=EIO"]);
    under.args([env!("CARGO_BIN_EXE_portcullis"), "serve"]);
    let output = under.current_dir(&gateway.folder).output().unwrap();
    assert!(!output.status.success());
    let told = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&told).contains("listening"));

    let gateway = gateway.kill().start().await;
    let cookie = format!("session={}", ana.cookie("session").unwrap());
    let request = gateway.client().get(ME).header("cookie", &cookie);
    assert_eq!(in_time("a request", request.send()).await.status, 200);
}
