//! h. Headers of every answer.

use serde_json::json;

use super::h_browser::{EVIL, public_page};
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::world::auth;

/// The `script-src` of a policy, or what stands for it.
fn scripts(policy: &str) -> &str {
    let find = |name: &str| {
        policy
            .split(';')
            .map(str::trim)
            .find(|part| part.starts_with(name))
    };
    find("script-src")
        .or_else(|| find("default-src"))
        .unwrap_or_default()
}

/// H6
pub(super) async fn csp(scene: &Scene) -> Probed {
    let w = &scene.live;
    let page = public_page(w);
    let mut policies = Vec::new();
    for path in [
        page.as_str(),
        page.as_str(),
        &auth("sign-in"),
        "/prove-no-such-page",
    ] {
        let reply = w
            .target
            .get(path)
            .header("accept", "text/html")
            .send()
            .await?;
        let policy = reply
            .header("content-security-policy")
            .unwrap_or_default()
            .to_owned();
        let frames =
            policy.contains("frame-ancestors") && reply.header("x-frame-options").is_some();
        must(
            frames,
            || {
                format!(
                    "{path} ({}) may be framed: there is no frame-ancestors or no X-Frame-Options",
                    reply.said()
                )
            },
            "[headers] framing",
        )?;
        policies.push(policy);
    }
    let own = policies.get(2).cloned().unwrap_or_default();
    must(
        !scripts(&own).contains("unsafe"),
        || format!("the gate's own page has `{}`", scripts(&own)),
        ALWAYS,
    )?;
    let (first, second) = (
        policies.first().cloned().unwrap_or_default(),
        policies.get(1).cloned().unwrap_or_default(),
    );
    let remedy = "[headers] csp: leave it out, or name `'nonce-{nonce}'`";
    must(
        !scripts(&first).contains("unsafe-"),
        || format!("pages of the product have `{}`", scripts(&first)),
        remedy,
    )?;
    must(
        !first.contains("nonce-") || first != second,
        || "two answers have the same nonce".to_owned(),
        ALWAYS,
    )?;
    let nonce = if first.contains("nonce-") {
        "a fresh nonce in each"
    } else {
        "no inline script at all"
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "`{}`, {nonce}; framing: `{}`",
            scripts(&first)
                .split("'nonce-")
                .next()
                .unwrap_or_default()
                .trim(),
            first
                .split(';')
                .map(str::trim)
                .find(|part| part.starts_with("frame-ancestors"))
                .unwrap_or_default()
        ),
    ))
}

/// H7
pub(super) async fn csp_as_written(scene: &Scene) -> Probed {
    let w = &scene.live;
    let wanted = &w.config().headers.csp;
    let reply = w
        .target
        .get(&public_page(w))
        .header("accept", "text/html")
        .send()
        .await?;
    let sent = reply
        .header("content-security-policy")
        .unwrap_or_default()
        .to_owned();
    for directive in wanted
        .split(';')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
    {
        let fixed = directive.split("{nonce}");
        let mut rest = sent.as_str();
        let there = fixed.into_iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        });
        must(
            there,
            || format!("`{directive}` is configured and not sent: `{sent}`"),
            "[headers] csp",
        )?;
    }
    must(
        !sent.is_empty(),
        || "there is no policy".to_owned(),
        "[headers] csp",
    )?;
    Ok(Held::at(
        Place::Gate,
        format!("{} directives as configured", sent.split(';').count()),
    ))
}

/// H8
pub(super) async fn headers(scene: &Scene) -> Probed {
    let w = &scene.live;
    let wanted = &w.config().headers;
    let mut pairs = vec![("x-content-type-options", "nosniff".to_owned())];
    for (name, value) in [
        ("referrer-policy", &wanted.referrer_policy),
        ("permissions-policy", &wanted.permissions_policy),
        ("x-xss-protection", &wanted.xss_protection),
    ] {
        must(
            !value.is_empty() || name == "x-xss-protection",
            || format!("`{name}` is switched off"),
            &format!("[headers] {name}"),
        )?;
        if !value.is_empty() {
            pairs.push((name, value.clone()));
        }
    }
    let page = public_page(w);
    let mut asked = vec![
        ("a page", w.target.get(&page).send().await?),
        ("a refusal", w.target.get(&auth("me")).send().await?),
        (
            "an unknown path",
            w.target.get("/prove-no-such-page").send().await?,
        ),
    ];
    asked.push((
        "a failed sign-in",
        w.target
            .ask("POST", &auth("login"))
            .header("origin", EVIL)
            .json(&json!({}))
            .send()
            .await?,
    ));
    for (what, reply) in &asked {
        for (name, value) in &pairs {
            must(
                reply.header(name) == Some(value),
                || {
                    format!(
                        "{what} ({}) has `{name}: {}` and not `{value}`",
                        reply.said(),
                        reply.header(name).unwrap_or("nothing")
                    )
                },
                &format!("[headers] {name}"),
            )?;
        }
        must(
            reply.header("x-frame-options").is_some(),
            || format!("{what} has no X-Frame-Options"),
            "[headers] framing",
        )?;
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} headers on {} answers, refusals too",
            pairs.len().saturating_add(1),
            asked.len()
        ),
    ))
}

/// H9
pub(super) async fn hsts(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let reply = w.target.get(&format!("{BENCH}/public")).send().await?;
    let sent = reply
        .header("strict-transport-security")
        .unwrap_or_default()
        .to_owned();
    let config = &w.config().headers.hsts;
    must(
        config.max_age.as_seconds() >= 15_552_000,
        || format!("browsers keep to HTTPS for {} alone", config.max_age),
        "[headers.hsts] max-age = \"365d\"",
    )?;
    let wanted = format!("max-age={}", config.max_age.as_seconds());
    must(
        sent.contains(&wanted),
        || format!("over HTTPS comes `{sent}`"),
        "[headers.hsts] max-age",
    )?;
    must(
        sent.contains("includeSubDomains") == config.include_subdomains,
        || format!("over HTTPS comes `{sent}`"),
        "[headers.hsts] include-subdomains",
    )?;
    let plain = w
        .target
        .get(&format!("{BENCH}/public"))
        .in_plain()
        .send()
        .await?;
    must(
        !(200..300).contains(&plain.status),
        || format!("plain HTTP is answered {}", plain.said()),
        "mode = \"production\"",
    )?;
    if w.config().mode != scene.live.config().mode {
        return Ok(Held::at(
            Place::Rehearsal,
            format!(
                "`{sent}`; plain HTTP is answered {} (the gate itself is in development mode, over plain HTTP)",
                plain.said()
            ),
        ));
    }
    let live = scene
        .live
        .target
        .get(&public_page(&scene.live))
        .send()
        .await?;
    must(
        live.header("strict-transport-security").is_some(),
        || "the gate itself sends none".to_owned(),
        "[headers.hsts]",
    )?;
    Ok(Held::at(
        Place::Gate,
        format!("`{sent}`; plain HTTP is answered {}", plain.said()),
    ))
}
