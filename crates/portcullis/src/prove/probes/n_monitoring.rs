//! n. Monitoring.

use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::world::{World, auth, stranger};

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
    Ok(Held::at(
        Place::Gate,
        format!(
            "{failed} and {suspicious} moved with one refused sign-in and one forged request, {limits} (in rehearsal) with a limit; the posture is this report"
        ),
    ))
}

/// M2. No probe makes a burst yet: it is to be filled in here.
pub(super) fn alerts(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "`portcullis anomalies` and `alerts` look and tell, and no probe tries them yet; what is counted is M1, what is told of old secrets X6",
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
