//! The same decision beside a proxy: asked directly, and by the real nginx and the real Caddy with
//! the configurations in `examples/`, where only addresses are replaced.

use std::path::Path;
use std::process::Command;

use crate::support::{
    Answer, Browser, Client, Gateway, GatewayBuilder, Program, Upstream, required,
};

const ASK: &str = "/.portcullis/forward-auth";

/// The proxies of these tests are on loopback, and so is every test.
const BESIDE: &str = "[listen]
trusted-proxies = [\"127.0.0.1/32\"]
";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let builder = Gateway::builder_usual(upstream).await;
    builder
        .replace("[listen]\n", BESIDE)
        .replace(
            "[admin]",
            "[forward-auth]\nproxies = [\"127.0.0.1/32\"]\n\n[admin]",
        )
        .user("ana@corp.test", &["user"])
}

/// A question as Traefik and Caddy put it.
fn question<'q>(gateway: &Gateway, method: &'q str, target: &'q str) -> Vec<(&'q str, String)> {
    vec![
        ("x-forwarded-method", method.to_owned()),
        ("x-forwarded-uri", target.to_owned()),
        ("x-forwarded-host", gateway.address.to_string()),
        ("x-forwarded-proto", "http".to_owned()),
        ("x-forwarded-for", "192.0.2.1".to_owned()),
    ]
}

/// The same as nginx puts it.
fn of_nginx(mut lines: Vec<(&str, String)>) -> Vec<(&str, String)> {
    for (name, _) in &mut lines {
        *name = match *name {
            "x-forwarded-method" => "x-original-method",
            "x-forwarded-uri" => "x-original-uri",
            same => same,
        };
    }
    lines
}

async fn ask(client: &Client, lines: &[(&str, String)]) -> Answer {
    let request = client.get(ASK);
    let request = lines.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    request.send().await
}

fn cookies(browser: &Browser) -> String {
    let jar = browser.jar.lock().unwrap();
    let pairs: Vec<String> = jar
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("; ")
}

#[tokio::test]
async fn only_named_proxies_are_heard() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace("[listen]\n", BESIDE)
        .start()
        .await;
    for lines in [
        question(&gateway, "GET", "/public"),
        of_nginx(question(&gateway, "GET", "/public")),
    ] {
        let answer = ask(&gateway.client(), &lines).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "no-route")
        );
        assert!(answer.header("x-portcullis-assertion").is_none());
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_for_addresses_does_not_start() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    let output = builder
        .replace(
            "[admin]",
            "[forward-auth]\nproxies = [\"127.0.0.1/32\"]\n\n[admin]",
        )
        .cli(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("forward-auth.proxies.0"), "{printed}");
}

#[tokio::test]
async fn a_question_is_answered_as_the_request_would_be() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let client = gateway.client();
    let cookie = ("cookie", format!("theme=dark; {}", cookies(&ana)));

    // method, target, signed in, status, problem
    for (method, target, known, status, problem) in [
        ("GET", "/public", false, 200, ""),
        ("GET", "/anything?x=%2e", true, 200, ""),
        ("GET", "/anything", false, 401, "authentication-required"),
        ("GET", "/closed", true, 403, "route-closed"),
        ("GET", "/admin", true, 403, "not-permitted"),
        ("DELETE", "/public", false, 405, "method-not-allowed"),
        ("POST", "/anything", true, 403, "csrf-token-missing"),
        ("TRACE", "/public", false, 405, "method-not-allowed"),
        (
            "GET",
            "/users/0191d3a0-0000-7000-8000-000000000000",
            true,
            404,
            "not-found",
        ),
        // SECURITY: the gate's own answer is no word about the product.
        ("GET", "/healthz", false, 404, "no-route"),
        ("GET", "/.portcullis/jwks.json", false, 404, "no-route"),
        ("GET", ASK, false, 404, "no-route"),
        // Spellings that the product would read for itself.
        ("GET", "/%70ublic", false, 400, "ambiguous-path"),
        ("GET", "/public/../closed", false, 400, "ambiguous-path"),
        ("GET", "//public", false, 400, "ambiguous-path"),
    ] {
        let mut lines = question(&gateway, method, target);
        if known {
            lines.push(cookie.clone());
        }
        let forwarded = ask(&client, &lines).await;
        let original = ask(&client, &of_nginx(lines)).await;
        assert_eq!(forwarded.status, status, "{method} {target}");
        if status == 200 {
            for answer in [forwarded, original] {
                let header = |name| answer.header(name).unwrap().to_owned();
                assert_eq!(header("x-portcullis-assertion").split('.').count(), 3);
                assert_eq!(
                    header("x-portcullis-cookie"),
                    if known { "theme=dark" } else { "" }
                );
                assert_eq!(header("x-request-id").len(), 36);
            }
            continue;
        }
        assert_eq!(forwarded.problem(), problem, "{method} {target}");
        let for_nginx = if status == 401 { 401 } else { 403 };
        assert_eq!(original.status, for_nginx, "{method} {target}");
        for answer in [forwarded, original] {
            assert_eq!(
                answer.header("x-portcullis-status"),
                Some(&*status.to_string())
            );
            assert!(answer.header("x-portcullis-assertion").is_none());
        }
    }

    let mut preflight = question(&gateway, "OPTIONS", "/public");
    let origin = format!("http://{}", gateway.address);
    preflight.push(("origin", origin));
    preflight.push(("access-control-request-method", "POST".to_owned()));
    let answer = ask(&client, &preflight).await;
    assert!(!answer.status.is_success(), "{}", answer.status);

    for (origin, status) in [
        ("http://evil.test".to_owned(), 403),
        (format!("http://{}", gateway.address), 200),
    ] {
        let mut handshake = question(&gateway, "GET", "/anything");
        handshake.push(cookie.clone());
        handshake.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()));
        handshake.push(("origin", origin));
        assert_eq!(ask(&client, &handshake).await.status, status);
    }

    let mut post = question(&gateway, "POST", "/anything");
    post.push(cookie);
    post.push(("x-csrf-token", ana.cookie("csrf_token").unwrap()));
    post.push(("sec-fetch-site", "same-origin".to_owned()));
    assert_eq!(ask(&client, &post).await.status, 200);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_question_that_could_be_read_twice_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    for (name, value) in [
        ("x-original-uri", "/public"),
        ("x-original-method", "GET"),
        ("x-forwarded-uri", "/public"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-host", "127.0.0.1"),
        ("x-forwarded-for", "192.0.2.2"),
        ("x-forwarded-proto", "http"),
        ("x-portcullis-assertion", "forged"),
        ("x-forwarded-user", "root"),
        ("x-http-method-override", "DELETE"),
        ("x_forwarded_uri", "/public"),
        ("x_portcullis_assertion", "forged"),
    ] {
        let mut lines = question(&gateway, "GET", "/public");
        lines.push((name, value.to_owned()));
        let answer = ask(&client, &lines).await;
        let told = answer.header("x-portcullis-status");
        assert!(!answer.status.is_success(), "{name}");
        assert!(told.is_none_or(|told| told == "400"), "{name}: {told:?}");
        let kind = answer.json()["type"].as_str().unwrap().to_owned();
        assert!(kind.ends_with("/malformed-request"), "{name}: {kind}");
    }
}

#[tokio::test]
async fn limits_count_by_the_address_that_the_proxy_tells() {
    let upstream = Upstream::start().await;
    let limited = "[[route]]\npath = \"/public\"\nlimits = [\"few\"]\n";
    let gateway = builder(&upstream)
        .await
        .replace("[[route]]\npath = \"/public\"\n", limited)
        .replace(
            "[[route]]\npath = \"/admin\"",
            "[limits.few]\nper = \"address\"\nrate = \"2/minute\"\n\n[[route]]\npath = \"/admin\"",
        )
        .start()
        .await;
    let client = gateway.client();
    let lines = question(&gateway, "GET", "/public");
    for remaining in ["1", "0"] {
        let answer = ask(&client, &lines).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("ratelimit")
                .unwrap()
                .contains(&format!("r={remaining}"))
        );
    }
    let third = ask(&client, &lines).await;
    assert_eq!(
        (third.status.as_u16(), third.problem().as_str()),
        (429, "rate-limited")
    );
    assert!(third.header("retry-after").is_some());
    let of_nginx = ask(&client, &of_nginx(lines)).await;
    assert_eq!(of_nginx.status, 403);
    assert_eq!(of_nginx.header("x-portcullis-status"), Some("429"));
    let mut neighbour = question(&gateway, "GET", "/public");
    neighbour.last_mut().unwrap().1 = "192.0.2.99".to_owned();
    assert_eq!(ask(&client, &neighbour).await.status, 200);
}

/// A product, a gate beside it, and a real proxy in front of both.
struct Arrangement {
    upstream: Upstream,
    gateway: Gateway,
    proxy: Program,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nginx,
    Caddy,
    Haproxy,
}

impl Arrangement {
    async fn of(kind: Kind) -> Arrangement {
        let upstream = Upstream::start().await;
        let few = "[limits.few]\nper = \"address\"\nrate = \"3/hour\"\n\n[[route]]\npath = \"/few\"\nallow = \"public\"\nlimits = [\"few\"]\n\n";
        let admin = "[[route]]\npath = \"/admin\"";
        let gateway = builder(&upstream)
            .await
            .replace(admin, &format!("{few}{admin}"))
            .start()
            .await;
        let (program, files) = match kind {
            Kind::Nginx => ("PORTCULLIS_TEST_NGINX", vec!["nginx/portcullis.conf"]),
            Kind::Caddy => ("PORTCULLIS_TEST_CADDY", vec!["caddy/Caddyfile"]),
            Kind::Haproxy => (
                "PORTCULLIS_TEST_HAPROXY",
                vec!["haproxy/haproxy.cfg", "haproxy/portcullis.lua"],
            ),
        };
        let program = required(program);
        let folder = gateway.folder.clone();
        let gate = gateway.address.to_string();
        let product = upstream.address().to_string();
        let proxy = Program::start(|address| {
            let addresses = [
                ("127.0.0.1:8000", product.clone()),
                ("127.0.0.1:8080", gate.clone()),
                ("127.0.0.1:8081", address.to_string()),
            ];
            for file in &files {
                take_example(file, &folder, &addresses);
            }
            match kind {
                Kind::Nginx => nginx(&program, &folder),
                Kind::Caddy => caddy(&program, &folder),
                Kind::Haproxy => haproxy(&program, &folder),
            }
        })
        .await;
        Arrangement {
            upstream,
            gateway,
            proxy,
            kind,
        }
    }

    fn client(&self) -> Client {
        Client::to(self.proxy.address)
    }

    /// A browser that signs in through the proxy.
    async fn signed_in(&self) -> Browser {
        let browser = Browser::at(self.proxy.address);
        let body =
            serde_json::json!({ "email": "ana@corp.test", "password": crate::support::PASSWORD });
        let answer = browser
            .post("/.portcullis/auth/login")
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{:?}: {}", self.kind, answer.text());
        browser
    }

    /// Sends a request whose every byte counts; gives the status line.
    async fn raw(&self, request_line: &str, headers: &str) -> String {
        let host = self.proxy.address;
        let request = format!(
            "{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        );
        let answer = self.client().raw(request.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    }
}

/// Writes an example into `folder`, with the test's addresses in the place of its own.
fn take_example(file: &str, folder: &Path, addresses: &[(&str, String)]) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(file);
    let text = std::fs::read_to_string(&example).unwrap();
    // Marked, so that no address is taken for the next one to replace.
    let text = addresses.iter().fold(text, |text, (from, to)| {
        text.replace(from, &to.replace("127.0.0.1", "127.0.0\u{0}.1"))
    });
    let written = folder.join(example.file_name().unwrap());
    std::fs::write(written, text.replace('\u{0}', "")).unwrap();
}

fn nginx(program: &str, folder: &Path) -> Command {
    let here = folder.display();
    let around = format!(
        "daemon off; master_process off; pid {here}/nginx.pid; error_log stderr warn;
        events {{}}
        http {{ access_log off;
            client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
            uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
            include {here}/portcullis.conf;
        }}"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, around).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(folder);
    command.args(["-e", "stderr", "-c"]).arg(file);
    command
}

fn caddy(program: &str, folder: &Path) -> Command {
    // The admin endpoint has a fixed port of its own: tests run at the same time.
    let file = folder.join("Caddyfile");
    let example = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{{\n\tadmin off\n}}\n{example}")).unwrap();
    let mut command = Command::new(program);
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(file);
    command
        .env("XDG_DATA_HOME", folder)
        .env("XDG_CONFIG_HOME", folder);
    command
}

fn haproxy(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-db", "-f", "haproxy.cfg"])
        .current_dir(folder);
    command
}

#[tokio::test]
async fn nginx_lets_pass_what_the_gate_permits_and_nothing_else() {
    passes_and_refuses(&Arrangement::of(Kind::Nginx).await).await;
}

#[tokio::test]
async fn caddy_lets_pass_what_the_gate_permits_and_nothing_else() {
    passes_and_refuses(&Arrangement::of(Kind::Caddy).await).await;
}

#[tokio::test]
async fn haproxy_lets_pass_what_the_gate_permits_and_nothing_else() {
    passes_and_refuses(&Arrangement::of(Kind::Haproxy).await).await;
}

async fn passes_and_refuses(beside: &Arrangement) {
    let (client, upstream) = (beside.client(), &beside.upstream);
    let nobody = client.get("/anything").send().await;
    assert_eq!(
        (nobody.status.as_u16(), nobody.problem().as_str()),
        (401, "authentication-required")
    );
    let page = client
        .get("/anything")
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(page.status, 401);
    assert!(
        page.text()
            .contains("/.portcullis/auth/sign-in?next=%2Fanything"),
        "{}",
        page.text()
    );
    let closed = client.get("/closed").send().await;
    assert_eq!(
        (closed.status.as_u16(), closed.problem().as_str()),
        (403, "route-closed")
    );
    let deleted = client.request(http::Method::DELETE, "/public").send().await;
    assert_eq!(
        (deleted.status.as_u16(), deleted.problem().as_str()),
        (405, "method-not-allowed")
    );
    assert_eq!(upstream.requests(), 0);

    assert_eq!(
        client.get("/public").send().await.text(),
        "hello from the product"
    );
    assert!(upstream.last().header("x-portcullis-assertion").is_some());

    let ana = beside.signed_in().await;
    ana.jar
        .lock()
        .unwrap()
        .insert("theme".to_owned(), "dark".to_owned());
    let answer = ana.get("/anything/caf%C3%A9?x=%2e&y=a+b").send().await;
    assert_eq!(answer.status, 200);
    // It went beside the gate: in the path the answer would have been hardened.
    assert!(answer.header("x-content-type-options").is_none());
    let seen = upstream.last();
    assert_eq!(seen.target, "/anything/caf%C3%A9?x=%2e&y=a+b");
    assert_eq!(seen.header("cookie"), Some("theme=dark"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        seen.header("x-portcullis-assertion")
            .unwrap()
            .split('.')
            .count(),
        3
    );
    assert_eq!(seen.header("x-request-id").unwrap().len(), 36);
    for name in ["x-portcullis-cookie", "x-original-uri", "x-original-method"] {
        assert!(seen.header(name).is_none(), "{name}");
    }

    unsafe_in_somebodys_name(beside, &ana).await;
    counts_and_ends(beside, &ana).await;
}

async fn unsafe_in_somebodys_name(beside: &Arrangement, ana: &Browser) {
    let (client, upstream) = (beside.client(), &beside.upstream);
    let before = upstream.requests();
    let forged = ana
        .post("/anything")
        .without("x-csrf-token")
        .body("a")
        .send()
        .await;
    assert_eq!(
        (forged.status.as_u16(), forged.problem().as_str()),
        (403, "csrf-token-missing")
    );
    let elsewhere = ana
        .post("/anything")
        .replace("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(elsewhere.problem(), "csrf-cross-site");
    assert_eq!(upstream.requests(), before);
    let body = "x".repeat(100_000);
    assert_eq!(
        ana.post("/anything").body(body.clone()).send().await.status,
        200
    );
    assert_eq!(upstream.last().body.len(), body.len());
    assert_eq!(upstream.last().method, "POST");

    // A page of another site opens no WebSocket in Ana's name. nginx passes none on as it is here.
    let before = upstream.requests();
    let handshake = client
        .get("/anything")
        .header("cookie", &cookies(ana))
        .header("origin", "http://evil.test")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .send()
        .await;
    match beside.kind {
        Kind::Nginx => assert!(upstream.last().header("upgrade").is_none()),
        Kind::Caddy | Kind::Haproxy => {
            assert_eq!(handshake.status, 403);
            assert_eq!(upstream.requests(), before);
        }
    }
}

async fn counts_and_ends(beside: &Arrangement, ana: &Browser) {
    let (client, upstream) = (beside.client(), &beside.upstream);
    for _ in 0..3 {
        assert_eq!(client.get("/few").send().await.status, 200);
    }
    let before = upstream.requests();
    let fourth = client.get("/few").send().await;
    assert_eq!(
        (fourth.status.as_u16(), fourth.problem().as_str()),
        (429, "rate-limited")
    );
    assert!(fourth.header("retry-after").is_some());
    // An address in a header of the client's is no other address.
    let again = client
        .get("/few")
        .header("x-forwarded-for", "192.0.2.7")
        .send()
        .await;
    assert_eq!(again.status, 429);
    assert_eq!(upstream.requests(), before);

    assert_eq!(
        ana.post("/.portcullis/auth/logout").send().await.status,
        204
    );
    assert_eq!(ana.get("/anything").send().await.status, 401);
}

#[tokio::test]
async fn a_client_of_nginx_cannot_speak_for_nginx_or_for_the_gate() {
    cannot_speak_for_others(&Arrangement::of(Kind::Nginx).await).await;
}

#[tokio::test]
async fn a_client_of_caddy_cannot_speak_for_caddy_or_for_the_gate() {
    cannot_speak_for_others(&Arrangement::of(Kind::Caddy).await).await;
}

#[tokio::test]
async fn a_client_of_haproxy_cannot_speak_for_haproxy_or_for_the_gate() {
    cannot_speak_for_others(&Arrangement::of(Kind::Haproxy).await).await;
}

async fn cannot_speak_for_others(beside: &Arrangement) {
    let (client, upstream) = (beside.client(), &beside.upstream);
    // SECURITY: an answer would give the client its own assertion to use elsewhere.
    for asked in [
        ASK,
        "/.portcullis/forward%2Dauth",
        "/.PORTCULLIS/forward-auth",
        "/.portcullis/./forward-auth",
    ] {
        let answer = client
            .get(asked)
            .header("x-original-uri", "/public")
            .header("x-original-method", "GET")
            .send()
            .await;
        assert!(
            answer.status.is_client_error(),
            "{asked}: {}",
            answer.status
        );
        assert!(answer.header("x-portcullis-assertion").is_none());
    }
    let claims = [
        ("x-original-uri", "/public"),
        ("x-original-method", "POST"),
        ("x-original-url", "/public"),
        ("x-rewrite-url", "/public"),
        ("x-forwarded-uri", "/public"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-user", "root"),
        ("x-http-method-override", "DELETE"),
        ("x-portcullis-assertion", "forged"),
        ("x-portcullis-cookie", "forged"),
        ("x-user", "root"),
        ("x-real-ip", "192.0.2.7"),
        ("x-forwarded-port", "forged"),
        ("x-forwarded-server", "forged"),
        ("x-request-id", "forged"),
        ("remote-user", "root"),
    ];
    for (name, value) in claims {
        let closed = client.get("/closed").header(name, value).send().await;
        assert!(closed.status.is_client_error(), "{name}");
    }
    assert_eq!(upstream.requests(), 0);
    for (name, value) in claims {
        client.get("/public").header(name, value).send().await;
    }
    for look_alike in [
        "x_portcullis_assertion",
        "X_Original_URI",
        "x.portcullis.assertion",
        "X_Forwarded_User",
    ] {
        beside
            .raw("GET /public", &format!("{look_alike}: forged\r\n"))
            .await;
    }
    // One that only the gate knows of, and Caddy hands its refusal on.
    assert!(upstream.requests() >= claims.len() - 1);
    for seen in upstream.received() {
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            ("GET", "/public")
        );
        let assertion = seen.headers.get_all("x-portcullis-assertion");
        assert_eq!(assertion.iter().count(), 1);
        for (name, value) in &seen.headers {
            let told = value.to_str().unwrap();
            assert!(
                ![
                    "forged",
                    "root",
                    "evil.test",
                    "192.0.2.7",
                    "/public",
                    "DELETE"
                ]
                .contains(&told),
                "{name}: {told}"
            );
            assert!(!name.as_str().contains('_'), "{name}");
        }
    }
}

#[tokio::test]
async fn nginx_and_the_gate_read_one_path() {
    read_one_path(&Arrangement::of(Kind::Nginx).await).await;
}

#[tokio::test]
async fn caddy_and_the_gate_read_one_path() {
    read_one_path(&Arrangement::of(Kind::Caddy).await).await;
}

#[tokio::test]
async fn haproxy_and_the_gate_read_one_path() {
    read_one_path(&Arrangement::of(Kind::Haproxy).await).await;
}

/// Whatever the spelling, the product sees the canonical path of a permitted route, or nothing.
async fn read_one_path(beside: &Arrangement) {
    let host = beside.proxy.address;
    for target in [
        "/closed",
        "/CLOSED",
        "/%63losed",
        "/./closed",
        "//closed",
        "/public/../closed",
        "/public/%2e%2e/closed",
        "/public/..%2fclosed",
        "/public%2f..%2fclosed",
        "/public;/../closed",
        "/public\\..\\closed",
        "/closed;x",
        "/closed%00",
        "/closed%23",
        "/public%3f/../closed",
        "/%2570ublic",
        "/.portcullis/../public",
        &format!("http://{host}/closed"),
        "http://evil.test/closed",
    ] {
        let status = beside.raw(&format!("GET {target}"), "").await;
        assert_eq!(beside.upstream.requests(), 0, "{target}: {status}");
    }
    // The product may see these as the gate writes them, or not at all.
    for target in [
        "/public",
        "/%70ublic",
        "/./public",
        "//public",
        "/closed/../public",
        "/closed/%2e%2e/public",
        "/closed%2f..%2fpublic",
        &format!("http://{host}/public"),
    ] {
        beside.raw(&format!("GET {target}"), "").await;
    }
    for (request, headers) in [
        ("get /public", ""),
        ("DELETE /public", ""),
        ("PURGE /public", ""),
        ("TRACE /public", ""),
        (
            "POST /public",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        ),
    ] {
        let status = beside.raw(request, headers).await;
        assert!(!status.contains(" 200 "), "{request}: {status}");
    }
    assert!(beside.upstream.requests() >= 1);
    for seen in beside.upstream.received() {
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            ("GET", "/public")
        );
    }
}

#[tokio::test]
async fn without_the_gate_nothing_passes() {
    for kind in [Kind::Nginx, Kind::Caddy, Kind::Haproxy] {
        let beside = Arrangement::of(kind).await;
        let client = beside.client();
        drop(beside.gateway);
        let answer = client.get("/public").send().await;
        assert!(
            answer.status.is_server_error(),
            "{kind:?}: {}",
            answer.status
        );
        assert_eq!(beside.upstream.requests(), 0);
    }
}
