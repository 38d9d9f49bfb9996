//! What went wrong is reported to a server that speaks Sentry's protocol (A6), and nothing of a request
//! goes along.

use serde_json::Value;

use crate::support::{Gateway, PASSWORD, Upstream, database, eventually};

/// A product that nobody can reach.
pub(crate) async fn away() -> Upstream {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Upstream::at(free.local_addr().unwrap())
}

#[tokio::test]
async fn a_failure_is_reported_under_its_request_id_without_anything_of_the_request() {
    let sink = Upstream::start().await;
    let gateway = Gateway::builder_usual(&away().await)
        .await
        .more("\n[error-reports]\ndsn = { file = \"dsn\" }\n")
        .file("dsn", &format!("http://abc123@{}/path/7\n", sink.address()))
        .start()
        .await;
    let secret = format!("{}_live_{}", "sk", "canary7Qw3Er5Ty");
    let client = gateway.client();
    let request = client
        .get(&format!("/public?token={secret}&who=canary@corp.test"))
        .header("cookie", &format!("other={secret}"))
        .header("x-note", &secret)
        .header("user-agent", "canary/1.0 (canary@corp.test)");
    let answer = request.send().await;
    assert_eq!(answer.problem(), "upstream-unreachable");
    eventually("the report arrives", || sink.requests() > 0).await;

    let report = sink.last();
    let (path, query) = report.target.split_once('?').unwrap();
    assert_eq!(path, "/path/api/7/envelope/");
    assert!(query.contains("sentry_key=abc123") && query.contains("sentry_version=7"));
    assert_eq!(
        report.header("content-type"),
        Some("application/x-sentry-envelope")
    );
    let text = String::from_utf8(report.body.to_vec()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [header, item, event] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(item["type"], "event");
    assert_eq!(header["event_id"], event["event_id"]);
    assert_eq!(
        event["tags"]["request_id"],
        answer.header("x-request-id").unwrap()
    );
    assert_eq!(event["tags"]["problem"], "upstream-unreachable");
    assert_eq!(event["transaction"], "/public");
    let cause = event["exception"]["values"][0]["value"].as_str().unwrap();
    assert!(cause.contains("refused"), "{cause}");
    assert!(!text.contains("canary"), "{text}");

    // The same again is not worth a second report; what a client alone does is worth none.
    assert_eq!(client.get("/public").send().await.status, 502);
    assert_eq!(client.get("/nowhere").send().await.status, 401);
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(sink.requests(), 1);
}

#[tokio::test]
async fn what_the_database_says_is_scrubbed_before_it_leaves() {
    let sink = Upstream::start().await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ada@corp.test", &["user"])
        .more("\n[error-reports]\ndsn = { file = \"dsn\" }\n")
        .file("dsn", &format!("http://abc123@{}/7", sink.address()))
        .start()
        .await;
    // It repeats values in its messages: here the name of what refuses stands for one.
    let said = format!("{}_live_{} of canary@corp.test", "sk", "canary7Qw3Er5Ty");
    database::execute_either(
        &gateway.folder,
        &format!("CREATE TRIGGER refuses BEFORE INSERT ON session BEGIN SELECT RAISE(ABORT, '{said}'); END"),
        &format!("ALTER TABLE session ADD CONSTRAINT \"{said}\" CHECK (user_id IS NULL) NOT VALID"),
    )
    .await;
    let login = serde_json::json!({ "email": "ada@corp.test", "password": PASSWORD });
    let request = gateway.client().post("/.portcullis/auth/login");
    let answer = request.json(&login).send().await;
    assert!(answer.status.is_server_error(), "{}", answer.text());
    eventually("the report arrives", || sink.requests() > 0).await;
    let report = String::from_utf8(sink.last().body.to_vec()).unwrap();
    assert!(report.contains("[redacted] of c***@corp.test"), "{report}");
    assert!(!report.contains("canary"), "{report}");
}

#[tokio::test]
async fn a_sink_that_is_away_or_refuses_slows_nobody_and_is_told_in_the_log() {
    let refusing = Upstream::answering(|_| {
        let mut response = axum::http::Response::new(axum::body::Body::empty());
        *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        response
    })
    .await;
    for (sink, told) in [
        (refusing, "was refused"),
        (away().await, "could not be sent"),
    ] {
        let gateway = Gateway::builder_usual(&away().await)
            .await
            .more("\n[error-reports]\ndsn = { file = \"dsn\" }\n")
            .file("dsn", &format!("http://abc123@{}/7", sink.address()))
            .start()
            .await;
        for _ in 0..3 {
            assert_eq!(gateway.client().get("/public").send().await.status, 502);
        }
        gateway.wait_until_printed(told).await;
        // The key of the sink is in no line.
        assert!(!gateway.printed().contains("abc123"));
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_named_before_the_start() {
    let gate = Gateway::builder_usual(&away().await)
        .await
        .more("\n[error-reports]\ndsn = { file = \"dsn\" }\n");
    for wrong in ["https://host/7", "http://abc@example.com/7x", "nothing"] {
        let output = gate.clone().file("dsn", wrong).cli(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("error-reports.dsn"), "{said}");
    }
}
