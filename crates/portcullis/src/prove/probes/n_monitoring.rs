//! n. Monitoring.

use portcullis_events::Action;

use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::product::Seen;
use crate::prove::rehearsal::{ALERTS, BENCH};
use crate::prove::world::{World, auth, stranger, until};

/// The rule looks behind the present, and the alert waits its turn.
const TOLD_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);
const ALWAYS: &str = "no key turns this off: is `admin.address` that of this gate?";

/// That a number grows with what `act` does.
async fn moves(
    w: &World,
    name: &str,
    act: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> Result<String, Short> {
    let before = w.metric(name).await?;
    act().await?;
    let moved = w.until(async || Ok(w.metric(name).await? > before)).await?;
    must(moved, || format!("`{name}` stays at {before}"), ALWAYS)?;
    Ok(format!("`{name}`"))
}

/// M1
pub(super) async fn counters(scene: &Scene) -> Probed {
    let w = &scene.live;
    let login = async |origin: &str, from| {
        let ask = w
            .target
            .ask("POST", &auth("login"))
            .from(from)
            .header("origin", origin);
        ask.json(&stranger()).send().await.map(drop)
    };
    let own = w.target.origin.clone();
    let failed = moves(w, "portcullis_failed_logins_total", async || {
        login(&own, w.target.fresh()).await
    })
    .await?;
    let suspicious = moves(w, "portcullis_suspicious_activities_total", async || {
        login("https://evil.test", w.target.fresh()).await
    })
    .await?;
    let copy = scene.rehearsal()?;
    let from = copy.target.fresh();
    let limits = moves(copy, "portcullis_rate_limit_violations_total", async || {
        for _ in 0..40 {
            let ask = copy
                .target
                .ask("POST", &auth("login"))
                .from(from)
                .header("origin", &copy.target.origin);
            ask.json(&stranger()).send().await?;
        }
        Ok(())
    })
    .await?;
    let page = w.of_admin("/metrics").await?.text();
    must(
        page.contains("portcullis_security_incidents{severity=\"critical\"}"),
        || "incidents that are open are not counted".to_owned(),
        ALWAYS,
    )?;
    let score = super::p_scans::score(copy).await?;
    let score = score.unwrap_or_else(|| {
        "without a `[[scan]]` that covers \"proof\" there is no score".to_owned()
    });
    Ok(Held::at(
        Place::Gate,
        format!(
            "{failed} and {suspicious} moved with one refused sign-in and one forged request, {limits} (in rehearsal) with a limit, open incidents are counted by severity; {score}"
        ),
    ))
}

/// M2
pub(super) async fn alerts(scene: &Scene) -> Probed {
    let config = scene.live.config();
    let rules = &config.anomalies;
    must(
        rules.enabled,
        || "nothing is looked for: `anomalies.enabled` is false".to_owned(),
        "[anomalies] enabled = true",
    )?;
    if config.alerts.is_empty() {
        return Err(Short::not_configured("[[alert]]"));
    }
    if let Some(why) = &rules.login_burst.off {
        return Err(Short::not_proven(format!(
            "`login-burst` is switched off ({why}), and it is the one that is probed"
        )));
    }
    let w = scene.development().await?;
    let before = w.events(Action::AnomalyFound).await?.len();
    // The backoff makes whoever guesses wait: a rehearsal asks for no more than it lets through at once.
    let failures = w.config().anomalies.login_burst.account_failures;
    for _ in 0..failures {
        let guess = w
            .target
            .ask("POST", &auth("login"))
            .from(w.target.fresh())
            .header("origin", &w.target.origin);
        let body = serde_json::json!({
            "email": w.people.other.email,
            "password": "a wrong password that is long",
        });
        guess.json(&body).send().await?;
    }
    let found = until(TOLD_WITHIN, &mut async || {
        let events = w.events(Action::AnomalyFound).await;
        Ok(events.is_ok_and(|events| events.len() > before))
    })
    .await?;
    must(
        found,
        || format!("{failures} refused sign-ins of one account are not conspicuous"),
        "[anomalies.login-burst]",
    )?;
    let product = w.product()?;
    // The other probes are conspicuous as well, and told of.
    let text_of = |seen: &Seen| String::from_utf8_lossy(&seen.body).into_owned();
    let alert = || product.last_of(ALERTS, |seen| text_of(seen).contains("login-burst"));
    let told = until(TOLD_WITHIN, &mut async || Ok(alert().is_some())).await?;
    must(
        told,
        || "what was found is told to nobody".to_owned(),
        "[[alert]]",
    )?;
    let seen = alert().ok_or_else(|| Short::not_proven("the alert is gone"))?;
    let text = text_of(&seen);
    must(
        seen.header("webhook-signature").is_some(),
        || format!("the alert is not signed: {text}"),
        ALWAYS,
    )?;
    must(
        !text.contains(&w.people.other.email),
        || "the alert has somebody's address in it".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{failures} refused sign-ins of one account raise `login-burst`, told by a signed message without the address; the gate itself looks for {} and tells {} destinations",
            rules.login_burst.account_failures,
            config.alerts.len()
        ),
    ))
}

/// M3
pub(super) async fn usage(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let requests = moves(w, "portcullis_requests_total", async || {
        w.target
            .get(&format!("{BENCH}/public"))
            .send()
            .await
            .map(drop)
    })
    .await?;
    let page = w.of_admin("/metrics").await?.text();
    let histogram = page
        .lines()
        .find(|line| line.contains("_bucket{"))
        .and_then(|line| line.split('{').next());
    must(
        histogram.is_some(),
        || "answer times are not measured".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{requests} moves with each request, `{}` has their times",
            histogram.unwrap_or_default()
        ),
    ))
}

/// M4
pub(super) async fn format(scene: &Scene) -> Probed {
    let w = &scene.live;
    let page = w.of_admin("/metrics").await?;
    let kind = page.header("content-type").unwrap_or_default().to_owned();
    let text = page.text();
    must(
        kind.contains("openmetrics") && text.trim_end().ends_with("# EOF"),
        || format!("/metrics is `{kind}`"),
        ALWAYS,
    )?;
    let outside = w.target.get("/metrics").send().await?;
    must(
        !outside.text().contains("portcullis_requests_total"),
        || "the front answers with metrics".to_owned(),
        "[admin] address",
    )?;
    let rebound = super::super::wire::Target::new(
        w.admin,
        "evil.test".to_owned(),
        String::new(),
        super::super::wire::Addresses::One,
    );
    let rebound = rebound.get("/metrics").send().await?;
    must(
        !w.admin.ip().is_loopback() || rebound.status == 421,
        || format!("under another name it is answered {}", rebound.said()),
        ALWAYS,
    )?;
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    Ok(Held::at(
        Place::Gate,
        format!(
            "{series} series as OpenMetrics on {}, none at the front, none under another name",
            w.admin
        ),
    ))
}
