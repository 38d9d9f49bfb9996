//! Requests as the product's own document describes them (H11), and bounds for all others. What is
//! refused never reaches the product.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{
    Answer, Browser, Client, Gateway, GatewayBuilder, Upstream, eventually_asked, signal,
};

const ROUTES: &str = r#"
[openapi]
file = "shop.json"

[body]
max-depth = 8
max-fields = 20

[[route]]
path = "/api/{*rest}"
allow = "public"
csrf = false
schema = true

[[route]]
path = "/free"
allow = "public"
csrf = false

[[route]]
path = "/mine/{order}"
allow = "user"
schema = true
"#;

fn shop() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Shop", "version": "1" },
        "paths": {
            "/api/orders/{order}": { "get": { "parameters": [
                { "name": "order", "in": "path", "required": true, "schema": { "type": "integer", "minimum": 1 } },
                { "name": "limit", "in": "query", "schema": { "type": "integer", "maximum": 100 } },
            ] } },
            "/api/messages": { "post": { "requestBody": { "required": true, "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Message" } },
                "application/x-www-form-urlencoded": { "schema": { "$ref": "#/components/schemas/Message" } },
            } } } },
            "/mine/{order}": { "get": { "parameters": [
                { "name": "order", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } },
            ] } },
        },
        "components": { "schemas": { "Message": {
            "type": "object",
            "required": ["content", "conversation_id"],
            "properties": {
                "content": { "type": "string", "minLength": 1, "maxLength": 10000 },
                "conversation_id": { "type": "integer", "exclusiveMinimum": 0 },
            },
        } } },
    })
}

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let builder = Gateway::builder(upstream, ROUTES).await;
    builder.file("shop.json", &shop().to_string())
}

fn fields(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["errors"].clone();
    let errors = errors.as_array().cloned().unwrap_or_default();
    let field = |error: &Value| error["field"].as_str().unwrap().to_owned();
    errors.iter().map(field).collect()
}

async fn post(client: &Client, target: &str, kind: &str, body: &str) -> Answer {
    let request = client.post(target).header("content-type", kind);
    request.body(body.to_owned()).send().await
}

#[tokio::test]
async fn only_what_the_document_describes_reaches_the_product() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    let good = r#"{"content":"hello","conversation_id":7}"#;
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";

    assert_eq!(
        client.get("/api/orders/7?limit=100").send().await.status,
        200
    );
    assert_eq!(post(&client, "/api/messages", json, good).await.status, 200);
    assert_eq!(&upstream.last().body[..], good.as_bytes(), "as it was sent");
    let filled = "content=hello&conversation_id=7";
    assert_eq!(
        post(&client, "/api/messages", form, filled).await.status,
        200
    );
    assert_eq!(&upstream.last().body[..], filled.as_bytes());
    let spelled = "Application/X-WWW-Form-URLEncoded; charset=utf-8";
    let answer = post(&client, "/api/messages", spelled, filled).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.requests();

    for (target, problem, places) in [
        ("/api/orders/0", "invalid-input", &["path.order"][..]),
        (
            "/api/orders/7?limit=1%0A",
            "invalid-input",
            &["query.limit"],
        ),
        (
            "/api/orders/seven?limit=1000",
            "invalid-input",
            &["path.order", "query.limit"],
        ),
        (
            "/api/orders/7?limit=1&limit=2",
            "invalid-input",
            &["query.limit"],
        ),
        ("/api/orders", "not-found", &[]),
        ("/api/unheard-of", "not-found", &[]),
        ("/api/messages", "method-not-allowed", &[]),
    ] {
        let answer = client.get(target).send().await;
        assert_eq!(answer.problem(), problem, "{target}");
        assert_eq!(fields(&answer), places, "{target}");
    }
    for (kind, body, problem, places) in [
        (
            json,
            r#"{"content":"","conversation_id":7}"#,
            "invalid-input",
            &["/content"][..],
        ),
        (
            json,
            r#"{"content":"hi","conversation_id":"7"}"#,
            "invalid-input",
            &["/conversation_id"],
        ),
        (json, r#"{"content":"hi"}"#, "invalid-input", &[""]),
        (
            json,
            r#"{"content":"a","content":"","conversation_id":7}"#,
            "malformed-body",
            &[],
        ),
        (json, r#"{"content":"a","#, "malformed-body", &[]),
        (json, "", "invalid-input", &[""]),
        (
            form,
            "content=hi&conversation_id=0",
            "invalid-input",
            &["/conversation_id"],
        ),
        ("text/plain", good, "unsupported-media-type", &[]),
    ] {
        let answer = post(&client, "/api/messages", kind, body).await;
        assert_eq!(answer.problem(), problem, "{kind} {body}");
        assert_eq!(fields(&answer), places, "{kind} {body}");
    }
    let secret = r#"{"content":7,"conversation_id":"hunter2-canary"}"#;
    let answer = post(&client, "/api/messages", json, secret).await;
    assert!(!answer.text().contains("canary"), "{}", answer.text());
    let packed = client.post("/api/messages").header("content-type", json);
    let packed = packed
        .header("content-encoding", "gzip")
        .body(good)
        .send()
        .await;
    assert_eq!(packed.problem(), "unsupported-media-type");
    let twice = client.post("/api/messages").header("content-type", json);
    let twice = twice
        .header("content-type", "text/plain")
        .body(good)
        .send()
        .await;
    assert_eq!(twice.problem(), "malformed-request");
    let big = format!(
        r#"{{"content":"{}","conversation_id":7}}"#,
        "x".repeat(1 << 20)
    );
    assert_eq!(
        post(&client, "/api/messages", json, &big).await.problem(),
        "body-too-large"
    );
    // On another thread, where it is long.
    let long = format!(
        r#"{{"content":"{}","conversation_id":7}}"#,
        "x".repeat(20_000)
    );
    assert_eq!(
        fields(&post(&client, "/api/messages", json, &long).await),
        ["/content"]
    );
    assert_eq!(upstream.requests(), seen, "the product saw none of them");
}

#[tokio::test]
async fn a_body_in_chunks_arrives_whole_and_one_that_breaks_a_rule_does_not() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let send = async |chunks: &[&str]| {
        let mut request = "POST /api/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for chunk in chunks {
            write!(request, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        request.push_str("0\r\n\r\n");
        let answer = gateway.client().raw(request.as_bytes()).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = send(&[r#"{"content":"hel"#, r#"lo","conversation_id":7}"#]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        &upstream.last().body[..],
        br#"{"content":"hello","conversation_id":7}"#
    );
    let answer = send(&[r#"{"content":"hel"#, r#"lo","conversation_id":0}"#]).await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn who_may_not_learns_nothing_of_the_document() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .user("ana@corp.test", &[])
        .start()
        .await;
    let stranger = gateway.client().get("/mine/x").send().await;
    assert_eq!(stranger.problem(), "authentication-required");
    let ana: Browser = gateway.signed_in("ana@corp.test").await;
    assert_eq!(fields(&ana.get("/mine/x").send().await), ["path.order"]);
    let id = "/mine/01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(ana.get(id).send().await.status, 200);
}

#[tokio::test]
async fn json_and_forms_for_the_product_have_bounds_on_every_route() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let keys = |count: usize| {
        let all: Vec<String> = (0..count).map(|key| format!(r#""k{key}":1"#)).collect();
        format!("{{{}}}", all.join(","))
    };
    let fields = |count: usize| vec!["a=1"; count].join("&");
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    for (kind, body) in [
        (json, nested(8)),
        (json, keys(20)),
        ("application/vnd.shop+json", keys(20)),
        (form, fields(20)),
        ("text/plain", nested(100)),
    ] {
        let answer = post(&client, "/free", kind, &body).await;
        assert_eq!(answer.status, 200, "{kind} {body}");
        assert_eq!(&upstream.last().body[..], body.as_bytes());
    }
    let seen = upstream.requests();
    for (kind, body) in [
        (json, nested(9)),
        (json, keys(21)),
        ("application/vnd.shop+json", nested(9)),
        (form, fields(21)),
    ] {
        let answer = post(&client, "/free", kind, &body).await;
        assert_eq!(answer.problem(), "malformed-body", "{kind} {body}");
    }
    // It streams: the product may have seen that one came, and never that it ended.
    assert!(upstream.requests() <= seen + 4);
    assert!(
        upstream
            .received()
            .iter()
            .skip(seen)
            .all(|one| one.body.is_empty())
    );
}

#[tokio::test]
async fn a_document_that_cannot_be_used_stops_the_gate_and_a_reload_keeps_the_old_one() {
    let upstream = Upstream::start().await;
    for (file, words) in [
        ("", "is not JSON"),
        (
            r#"{"openapi":"3.1.0","paths":{"/a":{"post":{"requestBody":{"content":{"application/json":{"schema":{"type":"wrong"}}}}}}}}"#,
            "POST /a",
        ),
        (
            r#"{"openapi":"3.1.0","paths":{"/a":{"post":{"requestBody":{"content":{"application/json":{"schema":{"$ref":"http://127.0.0.1:1/x"}}}}}}}}"#,
            "POST /a",
        ),
    ] {
        let builder = builder(&upstream).await.file("shop.json", file);
        let checked = builder.cli(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(
            said.contains("openapi.file") && said.contains(words),
            "{said}"
        );
    }
    let missing = Gateway::builder(&upstream, ROUTES).await;
    let said = String::from_utf8_lossy(&missing.cli(&["check"]).stdout).into_owned();
    assert!(
        said.contains("shop.json") && said.contains("cannot be read"),
        "{said}"
    );

    let gateway = builder(&upstream).await.start().await;
    let asked = async || gateway.client().get("/api/orders/0").send().await;
    assert_eq!(asked().await.status, 422);
    let document = gateway.config_path().with_file_name("shop.json");
    std::fs::write(&document, "{}").unwrap();
    signal(gateway.pid(), "HUP");
    gateway.wait_until_printed("openapi.file").await;
    assert_eq!(asked().await.status, 422, "the old document stays in force");
    let wider = shop().to_string().replace("\"minimum\":1", "\"minimum\":0");
    std::fs::write(&document, wider).unwrap();
    signal(gateway.pid(), "HUP");
    eventually_asked("the new document is in force", async || {
        asked().await.status == 200
    })
    .await;
}
