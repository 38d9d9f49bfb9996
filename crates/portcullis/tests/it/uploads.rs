//! Uploads (U1, U2, U3): what comes in on a route for files reaches the product screened, or not at all.

mod documents;
pub(crate) mod journey;
mod memory;
mod quarantine;
mod refusals;
pub(crate) mod stored;
mod tampering;

use serde_json::Value;

pub(crate) use self::refusals::held;

use crate::support::{Answer, Client, Gateway, GatewayBuilder, RequestBuilder, Upstream, clamd};

/// One route with the usual values, one that takes everything and more than one file; limits that no test
/// runs into.
pub(crate) const ROUTES: &str = r#"
[[route]]
path = "/upload"
methods = ["POST", "PUT"]
allow = "public"
upload = {}

[[route]]
path = "/many"
methods = ["POST"]
allow = "public"

[route.upload]
types = ["pdf", "docx", "txt", "md", "png", "jpeg"]
max-size = "64KiB"
max-files = 3

[[route]]
path = "/{*rest}"
allow = "public"

[limits.default]
rate = "100000/minute"

[limits.uploads]
rate = "100000/minute"
"#;

/// A gate whose uploads the scanner at `scanner` reads.
pub(crate) async fn builder(upstream: &Upstream, scanner: &str) -> GatewayBuilder {
    let tables = format!("{ROUTES}\n[uploads]\nscanner = \"{scanner}\"\nscan-timeout = \"2s\"\n");
    Gateway::builder(upstream, &tables).await
}

async fn gateway(upstream: &Upstream) -> Gateway {
    builder(upstream, &clamd::shared()).await.start().await
}

pub(crate) const PDF: &[u8] =
    b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\nstartxref\n9\n%%EOF\n";

/// One pixel each.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\0IEND\xae\x42\x60\x82";
pub(crate) const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0abc\xff\0de\xff\xd9";

pub(crate) const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

/// One part of a form.
pub(crate) struct Part {
    head: String,
    content: Vec<u8>,
}

pub(crate) fn file(name: &str, kind: &str, content: &[u8]) -> Part {
    part(
        &format!("form-data; name=\"file\"; filename=\"{name}\""),
        Some(kind),
        content,
    )
}

pub(crate) fn field(name: &str, text: &str) -> Part {
    part(
        &format!("form-data; name=\"{name}\""),
        None,
        text.as_bytes(),
    )
}

pub(crate) fn part(disposition: &str, kind: Option<&str>, content: &[u8]) -> Part {
    let kind = kind.map_or_else(String::new, |kind| format!("Content-Type: {kind}\r\n"));
    Part {
        head: format!("Content-Disposition: {disposition}\r\n{kind}"),
        content: content.to_vec(),
    }
}

impl Part {
    fn header(mut self, line: &str) -> Self {
        self.head.push_str(line);
        self.head.push_str("\r\n");
        self
    }
}

pub(crate) fn form(parts: &[Part]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{}\r\n", part.head).as_bytes());
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

pub(crate) fn post_form(client: &Client, path: &str, parts: &[Part]) -> RequestBuilder {
    client
        .post(path)
        .header(
            "content-type",
            &format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(form(parts))
}

/// One file as the whole body.
pub(crate) fn post_raw(
    client: &Client,
    name: Option<&str>,
    kind: &str,
    content: &[u8],
) -> RequestBuilder {
    let request = client.post("/upload").header("content-type", kind);
    let request = match name {
        Some(name) => request.header(
            "content-disposition",
            &format!("attachment; filename=\"{name}\""),
        ),
        None => request,
    };
    request.body(content.to_vec())
}

/// Each is answered so, and the product saw none of them. All that are not are told.
fn assert_all_refused(upstream: &Upstream, answers: &[(&str, Answer, (u16, &str))]) {
    let wrong: Vec<String> = answers
        .iter()
        .filter(|(_, answer, (status, slug))| {
            answer.status.as_u16() != *status || answer.problem() != *slug
        })
        .map(|(what, answer, _)| format!("{what}: {} {}", answer.status, answer.text()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(upstream.requests(), 0);
}

pub(crate) fn assert_refused(answer: &Answer, status: u16, slug: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.problem(), slug, "{what}: {}", answer.text());
    assert!(answer.header("x-portcullis-upload").is_none());
}

/// Events of an action in the audit trail. They are written beside the request.
pub(crate) async fn audited(gateway: &Gateway, action: &str, count: usize) -> Vec<Value> {
    let list = || -> Vec<Value> {
        let output = gateway.cli(&["--output", "json", "audit", "list", "--action", action]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let events = json.as_array().or_else(|| json["events"].as_array());
        events.unwrap().clone()
    };
    crate::support::eventually_asked(&format!("{count} of `{action}` are recorded"), async || {
        list().len() >= count
    })
    .await;
    list()
}
