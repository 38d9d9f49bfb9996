//! m. The trail, the logs, and what stands in neither.

use portcullis_events::secret_store::Which;
use portcullis_events::{Action, By};
use serde_json::{Value, json};

use super::d_api_keys::{vault, vault_key};
use super::e_visitors::put;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::world::{World, auth, stranger};

const ALWAYS: &str = "no key turns this off";
pub(super) const ON: &str = "[audit] enabled = true";

async fn failed_login(w: &World, email: &str) -> anyhow::Result<u16> {
    let ask = w
        .target
        .ask("POST", &auth("login"))
        .header("origin", &w.target.origin);
    Ok(ask
        .json(&json!({ "email": email, "password": "a wrong password that is long" }))
        .send()
        .await?
        .status)
}

/// Waits for an event; what is only noted is written a moment later.
pub(super) async fn recorded(w: &World, action: Action) -> Result<usize, Short> {
    let mut count = 0;
    w.until(async || {
        count = w.events(action).await.map_or(0, |events| events.len());
        Ok(count > 0)
    })
    .await?;
    must(count > 0, || format!("the trail has no `{action}`"), ON)?;
    Ok(count)
}

/// A1
pub(super) async fn trail(scene: &Scene) -> Probed {
    let w = &scene.live;
    w.signed_in(&w.people.plain).await?;
    recorded(w, Action::LoginSucceeded).await?;
    let events = w.events(Action::LoginSucceeded).await?;
    let whole = events
        .iter()
        .find(|event| event.client.is_some() && event.request.is_some());
    must(
        whole.is_some(),
        || "sign-ins are on record without address or request".to_owned(),
        ALWAYS,
    )?;
    let copy = scene.rehearsal()?;
    copy.signed_in(&copy.people.plain).await?;
    recorded(copy, Action::LoginSucceeded).await?;
    for sql in [
        "UPDATE audit_event SET outcome = 'denied'",
        "DELETE FROM audit_event",
    ] {
        let mut tx = copy.stores.db.begin().await?;
        let changed = tx.execute(sql, &[]).await;
        must(
            changed.is_err(),
            || {
                format!(
                    "`{}` changes the trail",
                    sql.split(' ').next().unwrap_or_default()
                )
            },
            "the triggers of `audit_event` are gone: restore the schema",
        )?;
    }
    let detail = events
        .first()
        .map(|event| event.to_json().to_string())
        .unwrap_or_default();
    Ok(Held::at(
        Place::State,
        format!(
            "{} sign-ins with actor, address, request and details ({} bytes of JSON each); UPDATE and DELETE are refused by the table",
            events.len(),
            detail.len()
        ),
    ))
}

/// A2
pub(super) async fn attempts(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let (before_failed, before_good) = (
        w.events(Action::LoginFailed).await?.len(),
        w.events(Action::LoginSucceeded).await?.len(),
    );
    failed_login(w, &w.people.other.email).await?;
    let unknown = w
        .target
        .ask("POST", &auth("login"))
        .header("origin", &w.target.origin);
    unknown.json(&stranger()).send().await?;
    w.signed_in(&w.people.plain).await?;
    let from = w.target.fresh();
    for _ in 0..30 {
        let ask = w
            .target
            .ask("POST", &auth("login"))
            .from(from)
            .header("origin", &w.target.origin);
        let reply = ask.json(&stranger()).send().await?;
        if reply.status == 429 {
            break;
        }
    }
    let failed = recorded(w, Action::LoginFailed)
        .await?
        .saturating_sub(before_failed);
    let good = recorded(w, Action::LoginSucceeded)
        .await?
        .saturating_sub(before_good);
    must(
        failed >= 2 && good >= 1,
        || format!("two refused and one good sign-in are {failed} and {good} events"),
        ON,
    )?;
    let limits = recorded(w, Action::LimitExceeded).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a wrong password, an unknown address, a good sign-in: each an event; {limits} of limits"
        ),
    ))
}

/// A3
pub(super) async fn access(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let key = vault_key(w).await?;
    let before = w.events(Action::FieldsOpened).await?.len();
    let sealed = vault(
        w,
        &key,
        "seal",
        &json!({ "table": "t", "field": "f", "row": "1", "value": "a3" }),
    )
    .await?
    .json();
    let text = sealed
        .pointer("/items/0/sealed")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    vault(
        w,
        &key,
        "open",
        &json!({ "table": "t", "field": "f", "row": "1", "sealed": text }),
    )
    .await?;
    let opened = w
        .until(async || {
            Ok(w.events(Action::FieldsOpened)
                .await
                .map_or(0, |events| events.len())
                > before)
        })
        .await?;
    must(opened, || "opening a field leaves no record".to_owned(), ON)?;
    let mut also = String::new();
    if w.config().secret_store.is_some() {
        let label = put(w, "prove_a3", "a value of a rehearsal", None).await?;
        let before = w.events(Action::SecretRead).await?.len();
        let read = w
            .stores
            .identity
            .secret_store
            .read(&label, Which::Current, &By::OPERATOR)
            .await;
        read.map_err(|error| Short::not_proven(error.to_string()))?;
        must(
            w.events(Action::SecretRead).await?.len() > before,
            || "reading a secret leaves no record".to_owned(),
            ON,
        )?;
        also.push_str(", `secret.read`");
    }
    Ok(Held::at(
        Place::Rehearsal,
        format!("`fields.opened`{also}: one event for each, with the key that asked"),
    ))
}

/// A4
pub(super) async fn no_secrets(scene: &Scene) -> Probed {
    const SQL: &str =
        "SELECT count(*) AS n FROM audit_event WHERE metadata LIKE $1 OR target LIKE $1";
    let w = scene.rehearsal()?;
    let email = "ada.lovelace-a4@prove.invalid";
    let password = "prove-a4-plum-anvil-tundra-quartz";
    let key = w.key(&[], None).await?;
    let key = key.text.expose().clone();
    let browser = w.signed_in(&w.people.plain).await?;
    let session = browser.cookie(&w.session_cookie()).unwrap_or_default();
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhNCJ9.c2lnbmF0dXJlLW9mLWE0LXByb3Zl";
    let login = w
        .target
        .ask("POST", &auth("login"))
        .header("origin", &w.target.origin);
    let path = format!("{BENCH}/public?email={email}&token={jwt}&password={password}&key={key}");
    let planted = w
        .target
        .get(&path)
        .header("user-agent", &format!("agent {email} {key}"))
        .header("referer", &format!("https://x.test/?t={jwt}"))
        .bearer(jwt);
    let replies = [
        login
            .json(&json!({ "email": email, "password": password }))
            .send()
            .await?,
        planted.send().await?,
        browser
            .get(&format!("{BENCH}/user?session={session}"))
            .send()
            .await?,
        w.target
            .get(&format!("{BENCH}/{key}/{email}"))
            .send()
            .await?,
        w.target.get(&format!("{BENCH}/broken")).send().await?,
    ];
    let printed = w.logged(&replies).await?;
    for (what, secret) in [
        ("a password", password),
        ("an address", email),
        ("an API key", &key),
        ("a session", &session),
        ("a token", jwt),
    ] {
        must(
            !printed.contains(secret),
            || format!("{what} stands in the log"),
            "[redaction]",
        )?;
    }
    for (what, secret) in [
        ("a password", password),
        ("an API key", key.as_str()),
        ("a token", jwt),
        ("an address", email),
    ] {
        let like = format!("%{secret}%");
        let row = w.stores.db.fetch_optional(SQL, &[(&like).into()]).await?;
        let count = row.map_or(Ok(0), |row| row.int("n"))?;
        must(
            count == 0,
            || format!("{what} stands in the trail"),
            "[redaction]",
        )?;
    }
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "five secrets sent in body, query, path and headers: none in {} lines of log, none in the trail",
            printed.lines().count()
        ),
    ))
}

/// A5
pub(super) async fn structured(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let reply = w.target.get(&format!("{BENCH}/public")).send().await?;
    let id = reply.header("x-request-id").unwrap_or_default().to_owned();
    must(
        !id.is_empty(),
        || "answers bear no X-Request-Id".to_owned(),
        ALWAYS,
    )?;
    let there = w.until(async || Ok(w.printed().contains(&id))).await?;
    must(
        there,
        || format!("no line of the log has the request id {id}"),
        "[log] access = true",
    )?;
    let printed = w.printed();
    let odd = printed
        .lines()
        .find(|line| !serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()));
    must(
        odd.is_none(),
        || format!("a line of the log is no JSON: {}", odd.unwrap_or_default()),
        "[log] format = \"json\"",
    )?;
    let format = format!("{:?}", scene.live.config().log.format).to_lowercase();
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{} lines, each a JSON object, one of them with the id of an answer just given; the gate's own format is {format}",
            printed.lines().count()
        ),
    ))
}

/// A6
pub(super) async fn error_reports(scene: &Scene) -> Probed {
    if scene.live.config().error_reports.dsn.is_none() {
        return Err(Short::not_configured("error-reports.dsn"));
    }
    let w = scene.development().await?;
    let email = "ada.lovelace-a6@prove.invalid";
    let key = w.key(&[], None).await?;
    let key = key.text.expose().clone();
    let path = format!("{BENCH}/broken?email={email}&key={key}");
    let reply = w
        .target
        .get(&path)
        .header("user-agent", &format!("{email} {key}"))
        .bearer(&key)
        .send()
        .await?;
    must(
        reply.status == 502,
        || format!("a product that is away is answered {}", reply.said()),
        ALWAYS,
    )?;
    let product = w.product()?;
    let is_report = |seen: &&crate::prove::product::Seen| {
        seen.method == "POST" && seen.path.contains("/envelope/")
    };
    let came = w
        .until(async || Ok(product.seen().iter().any(|seen| is_report(&seen))))
        .await?;
    must(
        came,
        || "a 5xx is not reported".to_owned(),
        "[error-reports] dsn",
    )?;
    for report in product.seen().iter().filter(is_report) {
        let text = String::from_utf8_lossy(&report.body).into_owned();
        for (what, secret) in [("an address", email), ("an API key", key.as_str())] {
            must(
                !text.contains(secret),
                || format!("a report holds {what}"),
                "[redaction]",
            )?;
        }
    }
    Ok(Held::at(
        Place::Rehearsal,
        "a 502 whose query and headers hold an address and a key is reported, and the report holds neither",
    ))
}

/// A8
pub(super) async fn level(scene: &Scene) -> Probed {
    Hostile::sound()?
        .variable("LOG_LEVEL", "debug")
        .is_taken()
        .await?;
    let said = Hostile::sound()?
        .variable("LOG_LEVEL", "loud")
        .is_refused_for("log.level")
        .await?;
    let level = format!("{:?}", scene.live.config().log.level).to_lowercase();
    Ok(Held::at(
        Place::Start,
        format!("LOG_LEVEL=debug is taken, LOG_LEVEL=loud is not ({said}); this gate's is {level}"),
    ))
}
