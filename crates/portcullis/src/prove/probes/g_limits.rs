//! g. Rate limits, and what is refused before anything is counted.

use portcullis_core::limit::Rate;
use portcullis_core::principal::CallerKind;
use portcullis_guard::rate_limit::{LimitConfig, Per};
use serde_json::json;

use super::g_nodes::counters_are_shared;
use super::routes;
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{Ask, Browser, Reply};
use crate::prove::world::{World, auth, base, stranger};

/// More than this is not sent to see a limit reached.
const MOST: u32 = 3000;

/// The limit of this name that counts: the configured one, or the built-in one.
fn limit(w: &World, name: &str) -> Option<(LimitConfig, Vec<Rate>)> {
    let all = portcullis_guard::rate_limit::effective(&w.config().limits);
    let limit = all.get(name).filter(|limit| !limit.off)?.clone();
    let rates: Vec<Rate> = limit.rate.iter().chain(&limit.rates).copied().collect();
    Some((limit, rates))
}

fn burst(rates: &[Rate]) -> u32 {
    rates
        .iter()
        .map(|rate| rate.burst())
        .min()
        .unwrap_or(u32::MAX)
}

fn written(rates: &[Rate]) -> String {
    rates
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Sends until something is refused by a limit. How many passed before, and the refusal.
pub(super) async fn exhaust<'t>(
    most: u32,
    ask: impl Fn(u32) -> Ask<'t>,
) -> Result<(u32, Option<Reply>), Short> {
    for number in 0..most {
        let reply = ask(number).send().await?;
        if reply.status == 429 {
            return Ok((number, Some(reply)));
        }
    }
    Ok((most, None))
}

fn remedy(name: &str) -> String {
    format!("[limits.{name}]: take `off` out, and write a rate")
}

/// Uses up a limit per address from one fresh address. Some time passes meanwhile, so a few more may pass.
async fn per_address(
    w: &World,
    name: &str,
    method: &str,
    path: &str,
    body: impl Fn() -> serde_json::Value,
) -> Result<String, Short> {
    let (_, rates) = limit(w, name)
        .ok_or_else(|| Short::failed(format!("there is no limit `{name}`"), remedy(name)))?;
    let (burst, from) = (burst(&rates), w.target.fresh());
    if burst > MOST {
        return Err(Short::not_proven(format!(
            "`{name}` admits {burst} at once: more than a probe sends"
        )));
    }
    let ask = |_| {
        let ask = w
            .target
            .ask(method, path)
            .from(from)
            .header("origin", &w.target.origin);
        if method == "GET" {
            ask
        } else {
            ask.json(&body())
        }
    };
    let (passed, refused) = exhaust(burst.saturating_add(burst / 4).saturating_add(5), ask).await?;
    let refused = refused.ok_or_else(|| {
        Short::failed(
            format!(
                "{passed} requests from one address passed `{name}` ({})",
                written(&rates)
            ),
            remedy(name),
        )
    })?;
    if passed < burst {
        return Err(Short::not_proven(format!(
            "another limit refuses after {passed} requests, before `{name}` does after {burst}"
        )));
    }
    must(
        refused.header("retry-after").is_some(),
        || "429 without Retry-After".to_owned(),
        &remedy(name),
    )?;
    let policy = refused.header("ratelimit-policy").unwrap_or_default();
    must(
        policy.contains(&format!("\"{name}")),
        || format!("it is not `{name}` that refused, but `{policy}`"),
        &remedy(name),
    )?;
    Ok(format!(
        "`{name}` ({}): {passed} pass, then 429",
        written(&rates)
    ))
}

/// L1
pub(super) async fn everywhere(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    // Somebody who is nobody counts by address, whatever the limit counts.
    let said = per_address(
        w,
        "default",
        "GET",
        &format!("{BENCH}/limited/default"),
        stranger,
    )
    .await?;
    let shared = match scene.live.stores.loaded.secrets.redis {
        Some(_) => {
            must(
                counters_are_shared(&scene.live).await?,
                || {
                    "Redis is configured and does not answer: each node counts for itself"
                        .to_owned()
                },
                "state.redis",
            )?;
            "counted in Redis for all nodes"
        }
        None => "counted in memory, for one node",
    };
    Ok(Held::at(Place::Rehearsal, format!("{said}; {shared}")))
}

/// L2
pub(super) async fn sign_in(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let said = per_address(w, "auth", "POST", &auth("login"), stranger).await?;
    let (_, rates) = limit(w, "auth").unwrap_or_default();
    // Ten a minute at most, whatever the unit.
    let strict = rates.iter().any(|rate| {
        let seconds = rate.per().as_seconds().max(1);
        u64::from(rate.count()).saturating_mul(60) <= seconds.saturating_mul(10)
    });
    must(
        strict,
        || format!("sign-in admits {}", written(&rates)),
        "[limits.auth] rate = \"5/minute\"",
    )?;
    let admin = limit(w, "admin").map_or_else(
        || "no limit `admin`".to_owned(),
        |(_, rates)| format!("`admin` is {}", written(&rates)),
    );
    Ok(Held::at(Place::Rehearsal, format!("{said}; {admin}")))
}

/// L3
pub(super) async fn figures(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let default = per_address(
        w,
        "default",
        "GET",
        &format!("{BENCH}/limited/default"),
        stranger,
    )
    .await;
    let default = match default {
        Ok(said) => said,
        Err(Short::NotProven { why }) => why,
        Err(short) => return Err(short),
    };
    let mut others = Vec::new();
    for name in ["auth", "uploads", "visits"] {
        let (_, rates) = limit(w, name)
            .ok_or_else(|| Short::failed(format!("there is no limit `{name}`"), remedy(name)))?;
        others.push(format!("`{name}` {}", written(&rates)));
    }
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{default}; {} (used up by L2, L7 and U3)",
            others.join(", ")
        ),
    ))
}

/// L4
pub(super) async fn every_route(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let all = portcullis_guard::rate_limit::effective(&w.config().limits);
    let found = all
        .iter()
        .find(|(_, limit)| limit.everywhere && !limit.off && limit.per == Per::Address);
    let Some((name, config)) = found else {
        return Err(Short::not_configured("limits.NAME.everywhere = true"));
    };
    let said = per_address(w, name, "GET", &format!("{BENCH}/limited/{name}"), stranger).await?;
    let exempt = config.exempt.first().cloned();
    let health = match exempt {
        None => "nothing is exempt".to_owned(),
        Some(path) => {
            // What an answer's policy does not name was not spent on it.
            let counts = async |path: &str| {
                let reply = w.target.get(path).send().await?;
                let policy = reply
                    .header("ratelimit-policy")
                    .unwrap_or_default()
                    .to_owned();
                anyhow::Ok(policy.contains(&format!("\"{name}\"")))
            };
            must(
                counts(&format!("{BENCH}/public")).await?,
                || format!("`{name}` does not count an ordinary route"),
                "limits.NAME.everywhere",
            )?;
            must(
                !counts(&path).await?,
                || format!("`{path}` is exempt from `{name}` and counted by it"),
                "limits.NAME.exempt",
            )?;
            format!("`{path}` is exempt")
        }
    };
    Ok(Held::at(Place::Rehearsal, format!("{said}; {health}")))
}

/// L5
pub(super) async fn headers(scene: &Scene) -> Probed {
    let w = &scene.live;
    let sample = routes::of_policy(w)
        .into_iter()
        .find(|sample| sample.takes("GET") && sample.is_public() && sample.route.host.is_none());
    let path = sample.map_or_else(|| auth("sign-in"), |sample| sample.path);
    let reply = w.target.get(&path).send().await?;
    for name in ["ratelimit", "ratelimit-policy"] {
        must(
            reply.header(name).is_some(),
            || format!("{path} ({}) is answered without `{name}`", reply.said()),
            "[limits]: the route has none",
        )?;
    }
    let copy = scene.rehearsal()?;
    let from = copy.target.fresh();
    let ask = |_| {
        copy.target
            .ask("POST", &auth("login"))
            .from(from)
            .header("origin", &copy.target.origin)
            .json(&stranger())
    };
    let (_, refused) = exhaust(80, ask).await?;
    let refused = refused.ok_or_else(|| {
        Short::failed(
            "80 sign-ins from one address, and none refused",
            remedy("auth"),
        )
    })?;
    let after: u64 = refused
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    must(
        after > 0 && refused.header("ratelimit").is_some(),
        || "429 without Retry-After or RateLimit".to_owned(),
        &remedy("auth"),
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "`{}`; a refusal in rehearsal says Retry-After: {after}",
            reply.header("ratelimit").unwrap_or_default()
        ),
    ))
}

/// L7
pub(super) async fn dear(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let mut seen = Vec::new();
    if w.config().visitors.is_some() {
        let path = base(&format!("/visitors/{}", w.a.slug));
        let from = w.target.fresh();
        let (_, rates) = limit(w, "visits")
            .ok_or_else(|| Short::failed("there is no limit `visits`", remedy("visits")))?;
        let most = burst(&rates).saturating_add(5).min(MOST);
        let ask = |_| {
            w.target
                .ask("POST", &path)
                .from(from)
                .header("origin", crate::prove::world::PAGE_A)
                .json(&json!({}))
        };
        let (passed, refused) = exhaust(most, ask).await?;
        must(
            refused.is_some(),
            || format!("{passed} visits began from one address"),
            &remedy("visits"),
        )?;
        seen.push(format!("visits {passed}, then 429"));
    }
    let uploads = routes::of_policy(w)
        .into_iter()
        .filter(|sample| sample.route.upload.is_some())
        .count();
    if uploads > 0 {
        must(
            limit(w, "uploads").is_some(),
            || "there is no limit `uploads`".to_owned(),
            &remedy("uploads"),
        )?;
        seen.push(format!("{uploads} routes of uploads (see U3)"));
    }
    let named: Vec<String> = w
        .config()
        .access
        .routes
        .iter()
        .flat_map(|route| route.limits.clone())
        .filter(|name| name != "default")
        .collect();
    for name in &named {
        must(
            limit(w, name).is_some(),
            || format!("the limit `{name}` is off"),
            &remedy(name),
        )?;
    }
    if !named.is_empty() {
        seen.push(format!("limits of routes: {}", named.join(", ")));
    }
    if seen.is_empty() {
        return Err(Short::not_configured("route.limits"));
    }
    Ok(Held::at(Place::Rehearsal, seen.join("; ")))
}

/// A small text file, as a page would send it.
pub(super) fn text_file<'t>(browser: &'t Browser, path: &str, number: u32) -> Ask<'t> {
    let body = format!(
        "--prove\r\ncontent-disposition: form-data; name=\"file\"; filename=\"note-{number}.txt\"\r\ncontent-type: text/plain\r\n\r\na note, number {number}\r\n--prove--\r\n"
    );
    browser
        .change("POST", path)
        .body("multipart/form-data; boundary=prove", body)
}

/// The first upload route of a policy that a user may use.
pub(super) fn upload_route(w: &World) -> Option<String> {
    let mut all = routes::of_policy(w).into_iter();
    let found = all.find(|sample| {
        sample.route.upload.is_some() && sample.takes("POST") && sample.is_for_any(CallerKind::User)
    });
    found.map(|sample| sample.path)
}

/// Uses up the uploads of one user; whether another still has theirs.
pub(super) async fn uploads_of_one(w: &World) -> Result<(u32, Vec<Rate>, bool), Short> {
    let path = upload_route(w).ok_or_else(|| Short::not_configured("route.upload (for users)"))?;
    let (config, rates) = limit(w, "uploads")
        .ok_or_else(|| Short::failed("there is no limit `uploads`", remedy("uploads")))?;
    must(
        config.per == Per::User,
        || "`uploads` is not counted per user".to_owned(),
        "[limits.uploads] per = \"user\"",
    )?;
    let browser = w.signed_in(&w.people.other).await?;
    let most = burst(&rates).saturating_add(3).min(MOST);
    // From a fresh address each: what is counted is the user.
    let (passed, refused) = exhaust(most, |number| text_file(&browser, &path, number)).await?;
    must(
        refused.is_some(),
        || format!("{passed} uploads of one user within a moment, and none refused"),
        &remedy("uploads"),
    )?;
    let other = w.signed_in(&w.people.plain).await?;
    let reply = text_file(&other, &path, 0).send().await?;
    Ok((passed, rates, reply.status != 429))
}

/// L8
pub(super) async fn per_user(scene: &Scene) -> Probed {
    let w = scene.development().await?;
    let (passed, rates, other) = uploads_of_one(w).await?;
    must(
        other,
        || "one user's uploads use up another's".to_owned(),
        "[limits.uploads] per = \"user\"",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "`uploads` ({}): {passed} by one user from as many addresses, then 429; another user's passes",
            written(&rates)
        ),
    ))
}

/// L9
pub(super) async fn counted(scene: &Scene) -> Probed {
    const NAME: &str = "portcullis_rate_limit_violations_total";
    let w = scene.rehearsal()?;
    let before = w.metric(NAME).await?;
    let from = w.target.fresh();
    let ask = |_| {
        w.target
            .ask("POST", &auth("login"))
            .from(from)
            .header("origin", &w.target.origin)
            .json(&stranger())
    };
    let (_, refused) = exhaust(80, ask).await?;
    must(
        refused.is_some(),
        || "80 sign-ins from one address, and none refused".to_owned(),
        &remedy("auth"),
    )?;
    let moved = w.until(async || Ok(w.metric(NAME).await? > before)).await?;
    must(
        moved,
        || format!("a refusal does not move `{NAME}`"),
        "no key turns this off",
    )?;
    let live = scene.live.metric(NAME).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!("`{NAME}` moved from {before} with a refusal; at the gate it is {live}"),
    ))
}

/// L10
pub(super) async fn screened(scene: &Scene) -> Probed {
    let w = &scene.live;
    let host = &w.target.host;
    let proxied = if w.target.addresses == crate::prove::wire::Addresses::Claimed {
        "X-Forwarded-For: 198.18.0.9\r\nX-Forwarded-Proto: https\r\n"
    } else {
        ""
    };
    let long = "a".repeat(64 * 1024);
    let hostile = [
        (
            "two lengths of one body",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\n{proxied}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "two different lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\n{proxied}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"
            ),
        ),
        (
            "a bare line feed in its head",
            format!("GET / HTTP/1.1\nHost: {host}\n\n"),
        ),
        (
            "a blank before a colon",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n{proxied}X-Y : z\r\n\r\n"),
        ),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\n{proxied}\r\n"),
        ),
        (
            "a head of 64 KiB",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n{proxied}X-Long: {long}\r\n\r\n"),
        ),
        (
            "a path with a hidden slash",
            format!(
                "GET /a%2f..%2fb HTTP/1.1\r\nHost: {host}\r\n{proxied}Connection: close\r\n\r\n"
            ),
        ),
    ];
    let mut seen = Vec::new();
    for (what, bytes) in &hostile {
        let answer = w.target.raw(bytes.as_bytes()).await?;
        let status = String::from_utf8_lossy(&answer)
            .split(' ')
            .nth(1)
            .unwrap_or("closed")
            .to_owned();
        let refused =
            status == "closed" || status.starts_with('4') && status != "404" || status == "431";
        must(
            refused,
            || format!("a request with {what} is answered {status}"),
            "no key turns this off: is something between the probe and the gate?",
        )?;
        seen.push(status);
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} requests that two servers could read differently, or too large: {}",
            hostile.len(),
            seen.join(" ")
        ),
    ))
}
