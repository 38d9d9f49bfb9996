//! What a stranger can ask. Each answer that is short of a promise says by what the gate would keep it.

use serde_json::json;

use super::Site;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::requirement::Id;
use crate::prove::wire::{Addresses, Target};

const EVIL: &str = "https://evil.test";
/// How many requests a limit has to answer at the latest.
const BURST: u32 = 150;
/// How many attempts to sign in.
const ATTEMPTS: u32 = 15;
/// What nobody should be answered.
const EXPOSED: [(&str, &str, Id); 6] = [
    ("/.env", "=", Id::X1),
    ("/.git/HEAD", "ref:", Id::X1),
    ("/metrics", "# TYPE", Id::M4),
    ("/actuator/env", "propertySources", Id::H13),
    ("/debug/pprof/", "goroutine", Id::H13),
    ("/server-status", "Apache", Id::H13),
];

#[expect(clippy::unnecessary_wraps, reason = "it is how every question ends")]
fn seen(evidence: impl Into<String>) -> Probed {
    Ok(Held::at(Place::Gate, evidence))
}

pub(super) async fn transport(site: &Site) -> Probed {
    let remedy =
        "[listen.tls] and listen.redirect-http: TLS 1.2 and 1.3, and plain HTTP is sent there";
    must(
        site.is_https,
        || "it answers over plain HTTP".to_owned(),
        remedy,
    )?;
    let plain = Target::new(
        std::net::SocketAddr::new(site.target.address.ip(), 80),
        site.host.clone(),
        format!("http://{}", site.host),
        Addresses::One,
    );
    match plain.get("/").send().await {
        Err(_) => seen("a certificate that is believed; port 80 is shut"),
        Ok(reply) => {
            let to = reply.header("location").unwrap_or_default();
            must(
                (300..400).contains(&reply.status) && to.starts_with("https://"),
                || format!("port 80 answers {} over plain HTTP", reply.status),
                remedy,
            )?;
            seen(format!(
                "a certificate that is believed; port 80 answers {}",
                reply.status
            ))
        }
    }
}

pub(super) async fn origins(site: &Site) -> Probed {
    let operations = site.operations();
    let paths = operations
        .iter()
        .filter(|(method, ..)| method == "GET")
        .map(|(_, path, _)| path.clone())
        .take(5);
    for path in std::iter::once("/".to_owned()).chain(paths) {
        let reply = site.target.get(&path).header("origin", EVIL).send().await?;
        let allowed = reply
            .header("access-control-allow-origin")
            .unwrap_or_default()
            .to_owned();
        let credentials = reply.header("access-control-allow-credentials") == Some("true");
        must(
            allowed != EVIL && !(allowed == "*" && credentials),
            || {
                format!(
                    "{path} lets pages of {EVIL} read it{}",
                    if credentials {
                        ", with the user's cookies"
                    } else {
                        ""
                    }
                )
            },
            "[cors] allow-origins: by default no origin, and never all of them in production",
        )?;
        must(
            allowed != "*",
            || format!("{path} lets pages of every site read it"),
            "[cors] allow-origins: `*` keeps the gate from starting in production",
        )?;
    }
    seen("a strange origin is given nothing")
}

pub(super) fn policy(site: &Site) -> Probed {
    let policy = site
        .home
        .header("content-security-policy")
        .unwrap_or_default()
        .to_owned();
    let remedy = "by default: a policy with a nonce, and frame-ancestors 'none'";
    must(
        !policy.is_empty(),
        || "pages have no Content-Security-Policy".to_owned(),
        remedy,
    )?;
    must(
        !policy.contains("'unsafe-inline'") && !policy.contains("'unsafe-eval'")
            || policy.contains("'nonce-"),
        || "the policy lets injected scripts run ('unsafe-inline' or 'unsafe-eval')".to_owned(),
        remedy,
    )?;
    must(
        policy.contains("frame-ancestors") || site.home.header("x-frame-options").is_some(),
        || "pages can be framed".to_owned(),
        remedy,
    )?;
    seen("pages have a policy")
}

pub(super) fn headers(site: &Site) -> Probed {
    let wanted = [
        "x-content-type-options",
        "referrer-policy",
        "permissions-policy",
    ];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| site.home.header(name).is_none())
        .collect();
    must(
        missing.is_empty(),
        || format!("answers have no {}", missing.join(", ")),
        "by default, on every answer",
    )?;
    seen("the security headers are there")
}

pub(super) fn hsts(site: &Site) -> Probed {
    must(
        site.is_https && site.home.header("strict-transport-security").is_some(),
        || "browsers are not told to keep to HTTPS".to_owned(),
        "by default over HTTPS: one year, with subdomains",
    )?;
    seen(
        site.home
            .header("strict-transport-security")
            .unwrap_or_default(),
    )
}

pub(super) async fn hosts(site: &Site) -> Probed {
    let reply = site
        .target
        .get("/")
        .header("host", "evil.test")
        .send()
        .await?;
    must(
        !reply.passed(),
        || format!("it answers {} to the name evil.test", reply.status),
        "[hosts] allow: other names get 421",
    )?;
    seen(format!("a strange name is answered {}", reply.status))
}

pub(super) async fn errors(site: &Site) -> Probed {
    let remedy =
        "by default: errors say nothing of the cause, and `Server` and the like are taken out";
    let broken = site.sign_in().unwrap_or_else(|| "/".to_owned());
    let replies = [
        (
            "an unknown path",
            site.target.get("/prove-no-such-page-7c1d").send().await?,
        ),
        (
            "a broken body",
            site.target
                .ask("POST", &broken)
                .body("application/json", "{\"a\":")
                .send()
                .await?,
        ),
        (
            "a strange path",
            site.target.get("/%FF%00?a[]=1").send().await?,
        ),
    ];
    for (what, reply) in &replies {
        let text = reply.text().to_lowercase();
        let words = [
            "traceback (most recent call last)",
            "stack trace",
            "at object.<anonymous>",
            "node_modules/",
            "site-packages/",
            "sqlalchemy",
            "sqlstate",
            "panicked at",
            "exception in thread",
            "django.core",
            "/usr/local/lib/",
            "/app/node",
        ];
        let leak = words.into_iter().find(|word| text.contains(word));
        must(
            leak.is_none(),
            || {
                format!(
                    "{what} ({}) is answered with `{}`",
                    reply.status,
                    leak.unwrap_or_default()
                )
            },
            remedy,
        )?;
        let boast = ["server", "x-powered-by"]
            .into_iter()
            .filter_map(|name| reply.header(name))
            .find(|value| value.bytes().any(|byte| byte.is_ascii_digit()));
        must(
            boast.is_none(),
            || {
                format!(
                    "answers say what runs here: `{}`",
                    boast.unwrap_or_default()
                )
            },
            remedy,
        )?;
    }
    for (path, mark, id) in EXPOSED {
        if id == Id::H13 {
            let reply = site.target.get(path).send().await?;
            must(
                !(reply.status == 200 && reply.text().contains(mark)),
                || format!("{path} is answered"),
                "by default: a path that no route names is 404",
            )?;
        }
    }
    seen("three errors, no cause in any")
}

pub(super) fn cookies(site: &Site) -> Probed {
    let lines: Vec<&str> = site
        .home
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    if lines.is_empty() {
        return Err(Short::not_proven("a stranger is given no cookie"));
    }
    for line in &lines {
        let name = line.split('=').next().unwrap_or_default();
        let lower = line.to_lowercase();
        let is_token = name.to_lowercase().contains("csrf") || name.to_lowercase().contains("xsrf");
        for (flag, wanted) in [
            ("httponly", !is_token),
            ("samesite", true),
            ("secure", site.is_https),
        ] {
            must(
                !wanted || lower.contains(flag),
                || format!("the cookie `{name}` has no {flag}"),
                "[sessions]: HttpOnly, SameSite, Secure and the __Host- prefix by default",
            )?;
        }
    }
    seen(format!(
        "{} cookies of a stranger have their flags",
        lines.len()
    ))
}

pub(super) async fn open_operations(site: &Site) -> Probed {
    let operations = site.operations();
    if operations.is_empty() {
        return Err(Short::not_proven(
            "there is no OpenAPI document to take routes from: name one with --openapi",
        ));
    }
    let (mut asked, mut broken, mut open) = (0_u32, Vec::new(), Vec::new());
    // What changes something is not tried on a product that may do it.
    for (method, path, operation) in operations.iter().filter(|(method, ..)| method == "GET") {
        let reply = site.target.get(path).send().await?;
        asked = asked.saturating_add(1);
        if reply.passed() {
            if site.is_secured(operation) {
                broken.push(format!("{method} {path}"));
            } else {
                open.push(path.clone());
            }
        }
    }
    let remedy = "`portcullis init --openapi`: each operation gets a decision, and what none names is refused";
    must(
        broken.is_empty(),
        || {
            format!(
                "answered without credentials, and the document says that they are needed: {}",
                broken.join(", ")
            )
        },
        remedy,
    )?;
    must(
        open.len() <= 3,
        || {
            format!(
                "{} of {asked} GET operations answer anybody: {}",
                open.len(),
                open.join(", ")
            )
        },
        remedy,
    )?;
    seen(format!(
        "{asked} GET operations asked without credentials, {} answer: {}",
        open.len(),
        open.join(", ")
    ))
}

pub(super) async fn sign_in(site: &Site) -> Probed {
    let Some(path) = site.sign_in() else {
        return Err(Short::not_proven(
            "no operation looks like signing in: name a document with --openapi",
        ));
    };
    for number in 0..ATTEMPTS {
        let body = json!({ "email": "nobody@prove.invalid", "username": "nobody@prove.invalid", "password": format!("wrong-{number}-prove") });
        let reply = site.target.ask("POST", &path).json(&body).send().await?;
        if reply.status == 429 {
            return seen(format!("{path} refuses after {number} attempts"));
        }
    }
    Err(Short::failed(
        format!(
            "{ATTEMPTS} wrong passwords for one account at {path}, and none refused by a limit"
        ),
        "by default: 5 a minute and address, and each account's own backoff",
    ))
}

pub(super) async fn limits(site: &Site) -> Probed {
    for number in 0..BURST {
        let reply = site.target.get("/prove-limits").send().await?;
        if reply.status == 429 {
            return seen(format!("refused after {number} requests"));
        }
    }
    Err(Short::failed(
        format!("{BURST} requests in a row, and none refused by a limit"),
        "[limits.default]: by default 600 a minute and address, on every route",
    ))
}

pub(super) fn told(site: &Site) -> Probed {
    let there = [
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "ratelimit-limit",
    ]
    .into_iter()
    .find(|name| site.home.header(name).is_some());
    must(
        there.is_some(),
        || "answers do not tell what is left of a limit".to_owned(),
        "by default: RateLimit and RateLimit-Policy",
    )?;
    seen(format!("answers have `{}`", there.unwrap_or_default()))
}

pub(super) async fn hygiene(site: &Site) -> Probed {
    let host = &site.target.host;
    for (what, bytes) in [
        (
            "two lengths of one body",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "two different lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"
            ),
        ),
        (
            "two hosts",
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\nConnection: close\r\n\r\n"
            ),
        ),
    ] {
        let answer = site.target.raw(bytes.as_bytes()).await?;
        let status = String::from_utf8_lossy(&answer)
            .split(' ')
            .nth(1)
            .unwrap_or("closed")
            .to_owned();
        must(
            status == "closed" || status == "400" || status == "421",
            || format!("a request with {what} is answered {status}"),
            "by default: what two servers could read differently is 400",
        )?;
    }
    seen("three ambiguous requests are refused")
}

pub(super) async fn webhooks(site: &Site) -> Probed {
    let found = site
        .operations()
        .into_iter()
        .find(|(method, path, _)| method == "POST" && path.to_lowercase().contains("webhook"));
    let Some((_, path, _)) = found else {
        return Err(Short::not_proven("no operation looks like a webhook"));
    };
    let body = json!({ "id": "evt_prove", "type": "portcullis.prove", "data": { "object": {} } });
    let reply = site.target.ask("POST", &path).json(&body).send().await?;
    must(
        !reply.passed(),
        || {
            format!(
                "{path} takes a message without a signature ({})",
                reply.status
            )
        },
        "[[webhook]]: verified, kept, and delivered once",
    )?;
    seen(format!("{path} without a signature: {}", reply.status))
}

pub(super) async fn exposed(site: &Site, id: Id) -> Probed {
    let mut asked = Vec::new();
    for (path, mark, of) in EXPOSED {
        if of != id {
            continue;
        }
        let reply = site.target.get(path).send().await?;
        let kind = reply.header("content-type").unwrap_or_default();
        let is_it = reply.status == 200 && reply.text().contains(mark) && !kind.contains("html");
        must(
            !is_it,
            || format!("{path} is answered to anybody"),
            "by default: a path that no route names is 404, and metrics have a listener of their own",
        )?;
        asked.push(path);
    }
    seen(format!("{} are not answered", asked.join(", ")))
}

pub(super) async fn contact(site: &Site) -> Probed {
    let reply = site.target.get("/.well-known/security.txt").send().await?;
    must(
        reply.status == 200 && reply.text().contains("Contact:"),
        || format!("/.well-known/security.txt is answered {}", reply.status),
        "a file that says how to report (RFC 9116)",
    )?;
    seen("security.txt names a contact")
}
