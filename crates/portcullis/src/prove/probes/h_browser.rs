//! h. What browsers enforce, if they are told; and what a request may bring.

use portcullis_core::principal::CallerKind;
use serde_json::json;

use super::routes;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::product::BOAST;
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{Browser, Reply, is_refusal};
use crate::prove::world::{World, auth, base};

const ALWAYS: &str = "no key turns this off: is something between the probe and the gate?";
const EVIL: &str = "https://evil.test";

/// A page of the product that everybody may see, or the sign-in page.
fn public_page(w: &World) -> String {
    let found = routes::of_policy(w).into_iter().find(|sample| sample.takes("GET") && sample.is_public() && sample.route.host.is_none() && sample.route.framing.is_none());
    found.map_or_else(|| auth("sign-in"), |sample| sample.path)
}

async fn preflight(w: &World, path: &str, origin: &str) -> anyhow::Result<Reply> {
    let ask = w.target.ask("OPTIONS", path).header("origin", origin);
    ask.header("access-control-request-method", "POST").header("access-control-request-headers", "content-type").send().await
}

fn allows(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

/// H1
pub(super) async fn origins(scene: &Scene) -> Probed {
    let w = &scene.live;
    let (page, allowed) = (public_page(w), &w.config().cors.allow_origins);
    let mut strangers = vec![EVIL.to_owned(), "null".to_owned()];
    for origin in allowed.iter().filter(|origin| *origin != "*") {
        strangers.push(format!("{origin}.evil.test"));
        strangers.push(origin.replacen("://", "://evil-", 1));
    }
    let paths = [page.clone(), auth("me")];
    for stranger in &strangers {
        for path in &paths {
            for reply in [w.target.get(path).header("origin", stranger).send().await?, preflight(w, path, stranger).await?] {
                must(allows(&reply).is_none(), || format!("pages of {stranger} may read {path}: `{}`", allows(&reply).unwrap_or_default()), "[cors] allow-origins")?;
            }
        }
    }
    let mut good = 0_u32;
    for origin in allowed {
        let reply = preflight(w, &page, origin).await?;
        must(allows(&reply) == Some(origin), || format!("{origin} is allowed by the policy, and answered {:?}", allows(&reply)), "[cors] allow-origins")?;
        good = good.saturating_add(1);
    }
    Ok(Held::at(Place::Gate, format!("{} origins that are not allowed may read nothing, {good} allowed ones are named exactly", strangers.len())))
}

/// H2
pub(super) async fn wildcard(scene: &Scene) -> Probed {
    Hostile::sound()?.is_taken().await?;
    let said = Hostile::sound()?.with("\n[cors]\nallow-origins = [\"*\"]\n").is_refused_for("cors.allow-origins").await?;
    let own = &scene.live.config().cors.allow_origins;
    must(!own.iter().any(|origin| origin == "*"), || "this gate's own policy allows every origin".to_owned(), "[cors] allow-origins")?;
    Ok(Held::at(Place::Start, format!("in production: {said}")))
}

/// H3
pub(super) async fn list(scene: &Scene) -> Probed {
    let w = &scene.live;
    let allowed = &w.config().cors.allow_origins;
    if allowed.is_empty() {
        return Err(Short::not_configured("cors.allow-origins"));
    }
    for origin in allowed {
        let exact = origin.starts_with("https://") && !origin.contains('*') && !origin.trim_start_matches("https://").contains('/');
        must(exact, || format!("`{origin}` is no exact https origin"), "[cors] allow-origins")?;
        let plain = origin.replacen("https://", "http://", 1);
        let reply = preflight(w, &public_page(w), &plain).await?;
        must(allows(&reply).is_none(), || format!("{plain} may read answers, and only its https form is allowed"), "[cors] allow-origins")?;
    }
    Ok(Held::at(Place::Gate, format!("{}; the same over http may read nothing", allowed.join(", "))))
}

/// H4
pub(super) async fn preflights(scene: &Scene) -> Probed {
    let w = &scene.live;
    let cors = &w.config().cors;
    let Some(origin) = cors.allow_origins.first() else {
        return Err(Short::not_configured("cors.allow-origins"));
    };
    let reply = preflight(w, &public_page(w), origin).await?;
    let credentials = reply.header("access-control-allow-credentials") == Some("true");
    must(credentials == cors.allow_credentials, || format!("credentials are {}allowed, and the policy says otherwise", if credentials { "" } else { "not " }), "[cors] allow-credentials")?;
    let age = reply.header("access-control-max-age").unwrap_or_default().to_owned();
    must(age == cors.max_age.as_seconds().to_string(), || format!("a preflight lives `{age}` s, and not {}", cors.max_age.as_seconds()), "[cors] max-age")?;
    Ok(Held::at(Place::Gate, format!("credentials {}, a preflight lives {age} s", if credentials { "allowed" } else { "not allowed" })))
}

/// H5
pub(super) async fn forgery(scene: &Scene) -> Probed {
    let w = &scene.live;
    let browser = w.signed_in(&w.people.plain).await?;
    let stranger = w.signed_in(&w.people.other).await?;
    let own = auth("notices");
    let mut targets = vec![("DELETE".to_owned(), own.clone())];
    // Every change that the policy opens to people: without the token none of them reaches the product.
    for sample in routes::of_policy(w) {
        let for_people = !sample.is_public() && sample.route.callers.contains(&CallerKind::User) && sample.route.host.is_none();
        for method in sample.methods.iter().filter(|method| for_people && *method != "GET" && *method != "HEAD") {
            targets.push((method.clone(), sample.path.clone()));
        }
    }
    for (method, path) in &targets {
        let bare = || same_site(&browser, method, path, &w.target.origin);
        let header = browser.csrf_header();
        let cross = browser.bare(method, path).header("origin", EVIL).header("sec-fetch-site", "cross-site").header(header, &browser.csrf);
        let tries = [
            ("no token", bare()),
            ("a made-up token", bare().header(header, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
            ("another session's token", bare().header(header, &stranger.csrf)),
            ("a page of another site", cross),
        ];
        for (what, ask) in tries {
            let reply = ask.json(&json!({})).send().await?;
            must(is_refusal(reply.status), || format!("{method} {path} with the cookie and {what} is answered {}", reply.said()), &format!("csrf on the route `{path}`, [csrf] require-token"))?;
        }
    }
    let good = browser.change("DELETE", &own).send().await?;
    must(good.passed(), || format!("with the session's own token {own} is answered {}", good.said()), ALWAYS)?;
    Ok(Held::at(Place::Gate, format!("{} changes by cookie, each without a token, with a made-up one, with another session's and from another site: refused; with the right one: passed", targets.len())))
}

fn same_site<'b>(browser: &'b Browser, method: &str, path: &str, origin: &str) -> crate::prove::wire::Ask<'b> {
    browser.bare(method, path).header("origin", origin).header("sec-fetch-site", "same-origin")
}

/// The `script-src` of a policy, or what stands for it.
fn scripts(policy: &str) -> &str {
    let find = |name: &str| policy.split(';').map(str::trim).find(|part| part.starts_with(name));
    find("script-src").or_else(|| find("default-src")).unwrap_or_default()
}

/// H6
pub(super) async fn csp(scene: &Scene) -> Probed {
    let w = &scene.live;
    let page = public_page(w);
    let mut policies = Vec::new();
    for path in [page.as_str(), page.as_str(), &auth("sign-in"), "/prove-no-such-page"] {
        let reply = w.target.get(path).header("accept", "text/html").send().await?;
        let policy = reply.header("content-security-policy").unwrap_or_default().to_owned();
        let frames = policy.contains("frame-ancestors") && reply.header("x-frame-options").is_some();
        must(frames, || format!("{path} ({}) may be framed: there is no frame-ancestors or no X-Frame-Options", reply.said()), "[headers] framing")?;
        policies.push(policy);
    }
    let own = policies.get(2).cloned().unwrap_or_default();
    must(!scripts(&own).contains("unsafe"), || format!("the gate's own page has `{}`", scripts(&own)), ALWAYS)?;
    let (first, second) = (policies.first().cloned().unwrap_or_default(), policies.get(1).cloned().unwrap_or_default());
    let remedy = "[headers] csp: leave it out, or name `'nonce-{nonce}'`";
    must(!scripts(&first).contains("unsafe-"), || format!("pages of the product have `{}`", scripts(&first)), remedy)?;
    must(!first.contains("nonce-") || first != second, || "two answers have the same nonce".to_owned(), ALWAYS)?;
    let nonce = if first.contains("nonce-") { "a fresh nonce in each" } else { "no inline script at all" };
    Ok(Held::at(Place::Gate, format!("`{}`, {nonce}; framing: `{}`", scripts(&first).split("'nonce-").next().unwrap_or_default().trim(), first.split(';').map(str::trim).find(|part| part.starts_with("frame-ancestors")).unwrap_or_default())))
}

/// H7
pub(super) async fn csp_as_written(scene: &Scene) -> Probed {
    let w = &scene.live;
    let wanted = &w.config().headers.csp;
    let reply = w.target.get(&public_page(w)).header("accept", "text/html").send().await?;
    let sent = reply.header("content-security-policy").unwrap_or_default().to_owned();
    for directive in wanted.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
        let fixed = directive.split("{nonce}");
        let mut rest = sent.as_str();
        let there = fixed.into_iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        });
        must(there, || format!("`{directive}` is configured and not sent: `{sent}`"), "[headers] csp")?;
    }
    must(!sent.is_empty(), || "there is no policy".to_owned(), "[headers] csp")?;
    Ok(Held::at(Place::Gate, format!("{} directives as configured", sent.split(';').count())))
}

/// H8
pub(super) async fn headers(scene: &Scene) -> Probed {
    let w = &scene.live;
    let wanted = &w.config().headers;
    let mut pairs = vec![("x-content-type-options", "nosniff".to_owned())];
    for (name, value) in [("referrer-policy", &wanted.referrer_policy), ("permissions-policy", &wanted.permissions_policy), ("x-xss-protection", &wanted.xss_protection)] {
        must(!value.is_empty() || name == "x-xss-protection", || format!("`{name}` is switched off"), &format!("[headers] {name}"))?;
        if !value.is_empty() {
            pairs.push((name, value.clone()));
        }
    }
    let page = public_page(w);
    let mut asked = vec![("a page", w.target.get(&page).send().await?), ("a refusal", w.target.get(&auth("me")).send().await?), ("an unknown path", w.target.get("/prove-no-such-page").send().await?)];
    asked.push(("a failed sign-in", w.target.ask("POST", &auth("login")).header("origin", EVIL).json(&json!({})).send().await?));
    for (what, reply) in &asked {
        for (name, value) in &pairs {
            must(reply.header(name) == Some(value), || format!("{what} ({}) has `{name}: {}` and not `{value}`", reply.said(), reply.header(name).unwrap_or("nothing")), &format!("[headers] {name}"))?;
        }
        must(reply.header("x-frame-options").is_some(), || format!("{what} has no X-Frame-Options"), "[headers] framing")?;
    }
    Ok(Held::at(Place::Gate, format!("{} headers on {} answers, refusals too", pairs.len().saturating_add(1), asked.len())))
}

/// H9
pub(super) async fn hsts(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let reply = w.target.get(&format!("{BENCH}/public")).send().await?;
    let sent = reply.header("strict-transport-security").unwrap_or_default().to_owned();
    let config = &w.config().headers.hsts;
    must(config.max_age.as_seconds() >= 15_552_000, || format!("browsers keep to HTTPS for {} alone", config.max_age), "[headers.hsts] max-age = \"365d\"")?;
    let wanted = format!("max-age={}", config.max_age.as_seconds());
    must(sent.contains(&wanted), || format!("over HTTPS comes `{sent}`"), "[headers.hsts] max-age")?;
    must(sent.contains("includeSubDomains") == config.include_subdomains, || format!("over HTTPS comes `{sent}`"), "[headers.hsts] include-subdomains")?;
    let plain = w.target.get(&format!("{BENCH}/public")).in_plain().send().await?;
    must(!(200..300).contains(&plain.status), || format!("plain HTTP is answered {}", plain.said()), "mode = \"production\"")?;
    if w.config().mode != scene.live.config().mode {
        return Ok(Held::at(Place::Rehearsal, format!("`{sent}`; plain HTTP is answered {} (the gate itself is in development mode, over plain HTTP)", plain.said())));
    }
    let live = scene.live.target.get(&public_page(&scene.live)).send().await?;
    must(live.header("strict-transport-security").is_some(), || "the gate itself sends none".to_owned(), "[headers.hsts]")?;
    Ok(Held::at(Place::Gate, format!("`{sent}`; plain HTTP is answered {}", plain.said())))
}

/// H10
pub(super) async fn hosts(scene: &Scene) -> Probed {
    let w = &scene.live;
    for (what, host) in [("a stranger's name", "evil.test".to_owned()), ("a name that ends alike", format!("evil-{}", w.target.host))] {
        let reply = w.target.get("/").header("host", &host).send().await?;
        must(reply.status == 421 || reply.status == 400, || format!("{what} (`{host}`) is answered {}", reply.said()), "[hosts] allow")?;
    }
    let forwarded = w.target.get(&auth("sign-in")).header("x-forwarded-host", "evil.test").send().await?;
    must(!forwarded.text().contains("evil.test"), || "a page names the host that a client claimed".to_owned(), ALWAYS)?;
    let allow = &w.config().hosts.allow;
    let names = if allow.is_empty() { "loopback names (development)".to_owned() } else { allow.join(", ") };
    Ok(Held::at(Place::Gate, format!("other names are answered 421; served are {names}")))
}

/// H11
pub(super) async fn input(scene: &Scene) -> Probed {
    let w = &scene.live;
    let script = "<script>prove</script>";
    let reply = w.target.get("/%3Cscript%3Eprove%3C/script%3E").header("accept", "text/html").send().await?;
    must(!reply.text().contains(script), || "a page shows what the path said, as a script".to_owned(), ALWAYS)?;
    let next = w.target.get(&format!("{}?next=%22%3E%3Cscript%3Eprove%3C/script%3E", auth("sign-in"))).header("accept", "text/html").send().await?;
    must(!next.text().contains(script), || "the sign-in page shows what the query said, as a script".to_owned(), ALWAYS)?;
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let hostile = [
        ("JSON with a key twice", "{\"email\":\"a@prove.invalid\",\"email\":\"b@prove.invalid\",\"password\":\"xxxxxxxxxxxxxxxx\"}".to_owned()),
        ("JSON that lies 200 deep", deep),
        ("an unknown field", "{\"email\":\"a@prove.invalid\",\"password\":\"xxxxxxxxxxxxxxxx\",\"role\":\"admin\"}".to_owned()),
        ("a number for a text", "{\"email\":7,\"password\":\"xxxxxxxxxxxxxxxx\"}".to_owned()),
        ("no JSON", "email=a".to_owned()),
    ];
    for (what, body) in hostile {
        let reply = w.target.ask("POST", &auth("login")).header("origin", &w.target.origin).body("application/json", body).send().await?;
        must(matches!(reply.status, 400 | 413 | 415 | 422), || format!("{what} is answered {}", reply.said()), ALWAYS)?;
    }
    let described = w.config().access.routes.iter().filter(|route| route.schema).count();
    let described = if described == 0 { "no route is held against an OpenAPI document (`schema = true`)".to_owned() } else { format!("{described} routes are held against the OpenAPI document") };
    Ok(Held::at(Place::Gate, format!("five malformed bodies refused before anything is done; a script in path and query is shown encoded; {described}")))
}

/// H12
pub(super) async fn statements(scene: &Scene) -> Probed {
    let w = &scene.live;
    let inputs = ["' OR '1'='1' --", "\"; DROP TABLE users; --", "a@prove.invalid' UNION SELECT password_hash FROM users --", "\u{0}"];
    const SQL: &str = "SELECT count(*) AS n FROM users";
    let count = async || -> Result<i64, Short> {
        let row = w.stores.db.fetch_optional(SQL, &[]).await?;
        Ok(row.map_or(Ok(0), |row| row.int("n"))?)
    };
    let before = count().await?;
    for input in inputs {
        let reply = w.target.ask("POST", &auth("login")).header("origin", &w.target.origin).json(&json!({ "email": input, "password": input })).send().await?;
        must(matches!(reply.status, 400 | 401 | 422), || format!("`{}` as an address is answered {}", input.escape_debug(), reply.said()), ALWAYS)?;
        let key = w.target.get(&auth("me")).header("cookie", &format!("{}={}", w.session_cookie(), input.replace([';', '\u{0}'], "_"))).send().await?;
        must(key.status == 401, || format!("as a cookie it is answered {}", key.said()), ALWAYS)?;
    }
    let path = base("/visitors/%27%20OR%201%3D1%20--");
    let reply = w.target.ask("POST", &path).header("origin", EVIL).json(&json!({})).send().await?;
    must(reply.status < 500 && !reply.passed(), || format!("in a path it is answered {}", reply.said()), ALWAYS)?;
    must(count().await? == before, || "the number of accounts changed".to_owned(), ALWAYS)?;
    Ok(Held::at(Place::Gate, "statements in address, password, cookie and path: refused as what they are, no 500, no account more or less"))
}

/// H13
pub(super) async fn errors(scene: &Scene) -> Probed {
    let w = &scene.live;
    let mut asked = vec![("an unknown path", w.target.get("/prove-no-such-page").send().await?), ("a broken body", w.target.ask("POST", &auth("login")).header("origin", &w.target.origin).body("application/json", "{").send().await?)];
    if let Ok(copy) = scene.rehearsal() {
        let broken = copy.target.get(&format!("{BENCH}/broken")).send().await?;
        must(broken.status == 502, || format!("a product that is away is answered {}", broken.said()), ALWAYS)?;
        asked.push(("a product that is away", broken));
        let boast = copy.target.get(&format!("{BENCH}/public")).send().await?;
        let leaks = ["server", "x-powered-by"].into_iter().find(|name| boast.header(name).is_some_and(|value| value.contains(BOAST)));
        must(leaks.is_none(), || format!("the product's own `{}` goes out", leaks.unwrap_or_default()), "[headers] remove")?;
    }
    for (what, reply) in &asked {
        let text = format!("{}{:?}", reply.text(), reply.headers).to_ascii_lowercase();
        let leak = ["panicked", "stack", "backtrace", ".rs:", "sqlx", "/home/", "/usr/", "127.0.0.1:9", "connection refused", "traceback", "exception"].into_iter().find(|word| text.contains(word));
        must(leak.is_none(), || format!("{what} ({}) tells `{}`", reply.said(), leak.unwrap_or_default()), ALWAYS)?;
        must(reply.header("server").is_none(), || format!("{what} says `Server: {}`", reply.header("server").unwrap_or_default()), "[headers] remove")?;
        must(!reply.problem().is_empty(), || format!("{what} is answered {} without a problem document", reply.status), ALWAYS)?;
    }
    Ok(Held::at(Place::Gate, format!("{} errors, each a problem document with a request id; no trace, path, address, driver or server name in any", asked.len())))
}
