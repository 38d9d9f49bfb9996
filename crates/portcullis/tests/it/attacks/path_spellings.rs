//! Gate and product read one path in two ways (`..`, `%2f`, `%5c`, `;`, `//`, decoding twice): what
//! is a harmless path to the rule is a guarded one to the product (CVE-2026-33494, CVE-2025-66490,
//! CVE-2021-29492, CVE-2026-3872).

use super::{Line, gate};
use crate::support::Upstream;

/// What the most obliging product would make of a target: parameters dropped, escapes undone twice,
/// `\` for `/`, dots resolved, slashes merged, case ignored.
fn most_obliging(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap();
    let path = path.strip_prefix("http://gate").unwrap_or(path);
    let decode = |text: &str| {
        percent_decode(text)
            .replace('\\', "/")
            .split('/')
            .map(|segment| segment.split(';').next().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join("/")
    };
    let twice = decode(&decode(path));
    let mut kept: Vec<&str> = Vec::new();
    for segment in twice.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/")).to_ascii_lowercase()
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const KNOWN: [&str; 85] = [
    "/ADMIN",
    "/Admin/",
    "/admin/",
    "//admin",
    "///admin",
    "/./admin",
    "/admin/.",
    "/admin//",
    "/x/../admin",
    "/x/./../admin",
    "/public/../admin",
    "/../admin",
    "/admin/..;/admin",
    "/x/..;/admin",
    "/;/admin",
    "/;x=y/admin",
    "/admin;",
    "/admin;x",
    "/admin;jsessionid=1",
    "/.;/admin",
    "/public/..;a/admin",
    "/\\admin",
    "\\admin",
    "/x\\..\\admin",
    "/public\\..\\admin",
    "/%2fadmin",
    "/%2Fadmin",
    "/%5cadmin",
    "/%5Cadmin",
    "/x/..%2fadmin",
    "/x%2f..%2fadmin",
    "/x/%2e%2e/admin",
    "/x/%2E%2e/admin",
    "/x/.%2e/admin",
    "/x/%2e./admin",
    "/%2e/admin",
    "/x%5c..%5cadmin",
    "/x/..%5cadmin",
    "/%252e%252e/admin",
    "/x/%252e%252e/admin",
    "/x%252f..%252fadmin",
    "/x/%25%32%65%25%32%65/admin",
    "/%25%36%31dmin",
    "/x%25%32%66..%25%32%66admin",
    "/a%2564min",
    "/%252fadmin",
    "/admin%2f",
    "/admin%2f..%2fadmin",
    "/admin%252f",
    "/admin%3bx",
    "/admin%3Bx",
    "/admin%00",
    "/admin%00.png",
    "/admin%0a",
    "/admin%0d%0a",
    "/admin%09",
    "/admin%23",
    "/admin%3f",
    "/admin%3fx",
    "/admin?",
    "/admin?x=1",
    "/admin/?x",
    "/%c0%afadmin",
    "/x/%c0%ae%c0%ae/admin",
    "/%u002fadmin",
    "/%ef%bc%8fadmin",
    "/admin%",
    "/admin%2",
    "/admin%zz",
    "/%61dmin",
    "/%41dmin",
    "/%2561dmin",
    "/a%64min",
    "/a%44MIN",
    "/admin/%2e",
    "/admin/%2e%2e/admin",
    "/admin/%252e",
    "http://gate/admin",
    "http://gate//admin",
    "http://gate/x/../admin",
    "http://gate/%61dmin",
    "/users/../admin",
    "/users/%2e%2e/admin",
    "/users/..%2fadmin",
    "/users/x/../../admin",
];

fn spellings() -> Vec<String> {
    let mut all: Vec<String> = KNOWN.map(str::to_owned).to_vec();
    for (at, letter) in "admin".char_indices() {
        for escaped in [
            format!("%{:02x}", letter as u32),
            format!("%{:02X}", letter.to_ascii_uppercase() as u32),
            format!("%25{:02x}", letter as u32),
        ] {
            all.push(format!(
                "/{}{escaped}{}",
                &"admin"[..at],
                &"admin"[at + 1..]
            ));
        }
    }
    all
}

#[tokio::test]
async fn no_spelling_leads_a_user_to_what_is_the_administrators() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let session = ana.cookie("session").unwrap();
    let host = gateway.address.to_string();
    let mut line = Line::to(&gateway);
    for spelling in spellings() {
        let target = spelling.replace("http://gate", &format!("http://{host}"));
        assert!(
            most_obliging(&spelling).starts_with("/admin") || spelling.contains('%'),
            "{spelling}"
        );
        for cookie in [String::new(), format!("cookie: session={session}\r\n")] {
            let before = upstream.requests();
            let bytes = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{cookie}\r\n");
            let answer = line.ask(bytes.as_bytes()).await;
            if answer.status == 200 {
                let seen = upstream.last().target;
                assert!(!cookie.is_empty(), "{spelling} is open to everybody");
                assert_ne!(
                    most_obliging(&seen),
                    "/admin",
                    "{spelling} went out as {seen}"
                );
            } else {
                assert_eq!(upstream.requests(), before, "{spelling}");
                assert!(
                    [
                        "ambiguous-path",
                        "malformed-request",
                        "not-permitted",
                        "authentication-required"
                    ]
                    .contains(&answer.problem().as_str()),
                    "{spelling}: {}",
                    answer.text()
                );
            }
        }
    }
}

#[tokio::test]
async fn what_is_decided_on_is_what_is_forwarded() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    for (sent, forwarded) in [
        ("/%7Ejo/%c3%a9?a=%2e%2E", "/~jo/%C3%A9?a=%2e%2E"),
        ("/a%2Db", "/a-b"),
        ("/a/b/?q=/../x", "/a/b/?q=/../x"),
    ] {
        assert_eq!(ana.get(sent).send().await.status, 200, "{sent}");
        assert_eq!(upstream.last().target, forwarded);
    }
}
