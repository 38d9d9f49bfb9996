//! h. What a request may bring, and what an error tells.

use serde_json::json;

use super::h_browser::EVIL;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::product::BOAST;
use crate::prove::rehearsal::BENCH;
use crate::prove::world::{auth, base};

/// H10
pub(super) async fn hosts(scene: &Scene) -> Probed {
    let w = &scene.live;
    for (what, host) in [
        ("a stranger's name", "evil.test".to_owned()),
        ("a name that ends alike", format!("evil-{}", w.target.host)),
    ] {
        let reply = w.target.get("/").header("host", &host).send().await?;
        must(
            reply.status == 421 || reply.status == 400,
            || format!("{what} (`{host}`) is answered {}", reply.said()),
            "[hosts] allow",
        )?;
    }
    let forwarded = w
        .target
        .get(&auth("sign-in"))
        .header("x-forwarded-host", "evil.test")
        .send()
        .await?;
    must(
        !forwarded.text().contains("evil.test"),
        || "a page names the host that a client claimed".to_owned(),
        ALWAYS,
    )?;
    let allow = &w.config().hosts.allow;
    let names = if allow.is_empty() {
        "loopback names (development)".to_owned()
    } else {
        allow.join(", ")
    };
    Ok(Held::at(
        Place::Gate,
        format!("other names are answered 421; served are {names}"),
    ))
}

/// H11
pub(super) async fn input(scene: &Scene) -> Probed {
    let w = &scene.live;
    let script = "<script>prove</script>";
    let reply = w
        .target
        .get("/%3Cscript%3Eprove%3C/script%3E")
        .header("accept", "text/html")
        .send()
        .await?;
    must(
        !reply.text().contains(script),
        || "a page shows what the path said, as a script".to_owned(),
        ALWAYS,
    )?;
    let next = w
        .target
        .get(&format!(
            "{}?next=%22%3E%3Cscript%3Eprove%3C/script%3E",
            auth("sign-in")
        ))
        .header("accept", "text/html")
        .send()
        .await?;
    must(
        !next.text().contains(script),
        || "the sign-in page shows what the query said, as a script".to_owned(),
        ALWAYS,
    )?;
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let hostile = [
        ("JSON with a key twice", "{\"email\":\"a@prove.invalid\",\"email\":\"b@prove.invalid\",\"password\":\"xxxxxxxxxxxxxxxx\"}".to_owned()),
        ("JSON that lies 200 deep", deep),
        ("an unknown field", "{\"email\":\"a@prove.invalid\",\"password\":\"xxxxxxxxxxxxxxxx\",\"role\":\"admin\"}".to_owned()),
        ("a number for a text", "{\"email\":7,\"password\":\"xxxxxxxxxxxxxxxx\"}".to_owned()),
        ("no JSON", "email=a".to_owned()),
    ];
    for (what, body) in hostile {
        let reply = w
            .target
            .ask("POST", &auth("login"))
            .header("origin", &w.target.origin)
            .body("application/json", body)
            .send()
            .await?;
        must(
            matches!(reply.status, 400 | 413 | 415 | 422),
            || format!("{what} is answered {}", reply.said()),
            ALWAYS,
        )?;
    }
    let described = w
        .config()
        .access
        .routes
        .iter()
        .filter(|route| route.schema)
        .count();
    let described = if described == 0 {
        "no route is held against an OpenAPI document (`schema = true`)".to_owned()
    } else {
        format!("{described} routes are held against the OpenAPI document")
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "five malformed bodies refused before anything is done; a script in path and query is shown encoded; {described}"
        ),
    ))
}

/// H12
pub(super) async fn statements(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT count(*) AS n FROM users";
    let w = &scene.live;
    let inputs = [
        "' OR '1'='1' --",
        "\"; DROP TABLE users; --",
        "a@prove.invalid' UNION SELECT password_hash FROM users --",
        "\u{0}",
    ];
    let count = async || -> Result<i64, Short> {
        let row = w.stores.db.fetch_optional(SQL, &[]).await?;
        Ok(row.map_or(Ok(0), |row| row.int("n"))?)
    };
    let before = count().await?;
    for input in inputs {
        let reply = w
            .target
            .ask("POST", &auth("login"))
            .header("origin", &w.target.origin)
            .json(&json!({ "email": input, "password": input }))
            .send()
            .await?;
        must(
            matches!(reply.status, 400 | 401 | 422),
            || {
                format!(
                    "`{}` as an address is answered {}",
                    input.escape_debug(),
                    reply.said()
                )
            },
            ALWAYS,
        )?;
        let key = w
            .target
            .get(&auth("me"))
            .header(
                "cookie",
                &format!(
                    "{}={}",
                    w.session_cookie(),
                    input.replace([';', '\u{0}'], "_")
                ),
            )
            .send()
            .await?;
        must(
            key.status == 401,
            || format!("as a cookie it is answered {}", key.said()),
            ALWAYS,
        )?;
    }
    let path = base("/visitors/%27%20OR%201%3D1%20--");
    let reply = w
        .target
        .ask("POST", &path)
        .header("origin", EVIL)
        .json(&json!({}))
        .send()
        .await?;
    must(
        reply.status < 500 && !reply.passed(),
        || format!("in a path it is answered {}", reply.said()),
        ALWAYS,
    )?;
    must(
        count().await? == before,
        || "the number of accounts changed".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        "statements in address, password, cookie and path: refused as what they are, no 500, no account more or less",
    ))
}

/// H13
pub(super) async fn errors(scene: &Scene) -> Probed {
    let w = &scene.live;
    let mut asked = vec![
        (
            "an unknown path",
            w.target.get("/prove-no-such-page").send().await?,
        ),
        (
            "a broken body",
            w.target
                .ask("POST", &auth("login"))
                .header("origin", &w.target.origin)
                .body("application/json", "{")
                .send()
                .await?,
        ),
    ];
    if let Ok(copy) = scene.rehearsal() {
        let broken = copy.target.get(&format!("{BENCH}/broken")).send().await?;
        must(
            broken.status == 502,
            || format!("a product that is away is answered {}", broken.said()),
            ALWAYS,
        )?;
        asked.push(("a product that is away", broken));
        let boast = copy.target.get(&format!("{BENCH}/public")).send().await?;
        let leaks = ["server", "x-powered-by"].into_iter().find(|name| {
            boast
                .header(name)
                .is_some_and(|value| value.contains(BOAST))
        });
        must(
            leaks.is_none(),
            || format!("the product's own `{}` goes out", leaks.unwrap_or_default()),
            "[headers] remove",
        )?;
    }
    for (what, reply) in &asked {
        let text = format!("{}{:?}", reply.text(), reply.headers).to_ascii_lowercase();
        let leak = [
            "panicked",
            "stack",
            "backtrace",
            ".rs:",
            "sqlx",
            "/home/",
            "/usr/",
            "127.0.0.1:9",
            "connection refused",
            "traceback",
            "exception",
        ]
        .into_iter()
        .find(|word| text.contains(word));
        must(
            leak.is_none(),
            || {
                format!(
                    "{what} ({}) tells `{}`",
                    reply.said(),
                    leak.unwrap_or_default()
                )
            },
            ALWAYS,
        )?;
        must(
            reply.header("server").is_none(),
            || {
                format!(
                    "{what} says `Server: {}`",
                    reply.header("server").unwrap_or_default()
                )
            },
            "[headers] remove",
        )?;
        must(
            !reply.problem().is_empty(),
            || {
                format!(
                    "{what} is answered {} without a problem document",
                    reply.status
                )
            },
            ALWAYS,
        )?;
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} errors, each a problem document with a request id; no trace, path, address, driver or server name in any",
            asked.len()
        ),
    ))
}
