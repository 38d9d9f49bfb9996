//! The plaintext listener beside TLS: it sends pages on to https and serves nothing.

use crate::support::sockets::{Certificate, NAME, free_port};
use crate::support::{Client, Gateway, Upstream};

#[tokio::test]
async fn plain_http_is_redirected_for_known_hosts_and_safe_methods_alone() {
    let upstream = Upstream::start().await;
    let (https, plain) = (free_port(), free_port());
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace(
            "address = \"127.0.0.1:0\"\n\n[admin]",
            &format!(
                "address = \"127.0.0.1:{https}\"\nredirect-http = \"127.0.0.1:{plain}\"\n\n[admin]"
            ),
        )
        .over_tls(&Certificate::new(NAME))
        .start()
        .await;
    assert_eq!(gateway.address.port(), https);
    let client = Client::to(([127, 0, 0, 1], plain).into());

    let answer = client
        .get("/public?a=b")
        .replace("host", &format!("{NAME}:{plain}"))
        .send()
        .await;
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.header("location"),
        Some(format!("https://{NAME}:{https}/public?a=b").as_str())
    );
    assert!(answer.header("strict-transport-security").is_none());

    // Even for a path that no route names: nothing is told over plain http.
    let answer = client.get("/nowhere").replace("host", NAME).send().await;
    assert_eq!(answer.status, 301);

    let answer = client
        .get("/public")
        .replace("host", "evil.test")
        .send()
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (421, "unknown-host")
    );
    assert!(answer.header("location").is_none());

    let answer = client
        .post("/public")
        .replace("host", NAME)
        .body("secret=1")
        .send()
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "https-required")
    );

    // A header cannot make a plain request a secure one: nobody is trusted.
    let answer = client
        .get("/public")
        .replace("host", NAME)
        .header("x-forwarded-proto", "https")
        .send()
        .await;
    assert_eq!(answer.status, 301);
    assert_eq!(upstream.requests(), 0);
}
