//! h. Origins and forgery: what browsers enforce, if they are told. Headers and input are beside.

use portcullis_core::principal::CallerKind;
use serde_json::json;

use super::routes;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::wire::{Browser, Reply, is_refusal};
use crate::prove::world::{World, auth};

pub(super) const EVIL: &str = "https://evil.test";

/// A page of the product that everybody may see, or the sign-in page.
pub(super) fn public_page(w: &World) -> String {
    let found = routes::of_policy(w).into_iter().find(|sample| {
        sample.takes("GET")
            && sample.is_public()
            && sample.route.host.is_none()
            && sample.route.framing.is_none()
    });
    found.map_or_else(|| auth("sign-in"), |sample| sample.path)
}

async fn preflight(w: &World, path: &str, origin: &str) -> anyhow::Result<Reply> {
    let ask = w.target.ask("OPTIONS", path).header("origin", origin);
    ask.header("access-control-request-method", "GET")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
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
            for reply in [
                w.target.get(path).header("origin", stranger).send().await?,
                preflight(w, path, stranger).await?,
            ] {
                must(
                    allows(&reply).is_none(),
                    || {
                        format!(
                            "pages of {stranger} may read {path}: `{}`",
                            allows(&reply).unwrap_or_default()
                        )
                    },
                    "[cors] allow-origins",
                )?;
            }
        }
    }
    let mut good = 0_u32;
    for origin in allowed {
        let reply = preflight(w, &page, origin).await?;
        must(
            allows(&reply) == Some(origin),
            || {
                format!(
                    "{origin} is allowed by the policy, and answered {:?}",
                    allows(&reply)
                )
            },
            "[cors] allow-origins",
        )?;
        good = good.saturating_add(1);
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} origins that are not allowed may read nothing, {good} allowed ones are named exactly",
            strangers.len()
        ),
    ))
}

/// H2
pub(super) async fn wildcard(scene: &Scene) -> Probed {
    Hostile::sound()?.is_taken().await?;
    let said = Hostile::sound()?
        .with("\n[cors]\nallow-origins = [\"*\"]\n")
        .is_refused_for("cors.allow-origins")
        .await?;
    let own = &scene.live.config().cors.allow_origins;
    must(
        !own.iter().any(|origin| origin == "*"),
        || "this gate's own policy allows every origin".to_owned(),
        "[cors] allow-origins",
    )?;
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
        let exact = origin.starts_with("https://")
            && !origin.contains('*')
            && !origin.trim_start_matches("https://").contains('/');
        must(
            exact,
            || format!("`{origin}` is no exact https origin"),
            "[cors] allow-origins",
        )?;
        let plain = origin.replacen("https://", "http://", 1);
        let reply = preflight(w, &public_page(w), &plain).await?;
        must(
            allows(&reply).is_none(),
            || format!("{plain} may read answers, and only its https form is allowed"),
            "[cors] allow-origins",
        )?;
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "{}; the same over http may read nothing",
            allowed.join(", ")
        ),
    ))
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
    must(
        credentials == cors.allow_credentials,
        || {
            format!(
                "credentials are {}allowed, and the policy says otherwise",
                if credentials { "" } else { "not " }
            )
        },
        "[cors] allow-credentials",
    )?;
    let age = reply
        .header("access-control-max-age")
        .unwrap_or_default()
        .to_owned();
    must(
        age == cors.max_age.as_seconds().to_string(),
        || {
            format!(
                "a preflight lives `{age}` s, and not {}",
                cors.max_age.as_seconds()
            )
        },
        "[cors] max-age",
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "credentials {}, a preflight lives {age} s",
            if credentials {
                "allowed"
            } else {
                "not allowed"
            }
        ),
    ))
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
        let for_people = !sample.is_public()
            && sample.route.callers.contains(&CallerKind::User)
            && sample.route.host.is_none();
        for method in sample
            .methods
            .iter()
            .filter(|method| for_people && *method != "GET" && *method != "HEAD")
        {
            targets.push((method.clone(), sample.path.clone()));
        }
    }
    for (method, path) in &targets {
        let bare = || same_site(&browser, method, path, &w.target.origin);
        let header = browser.csrf_header();
        let cross = browser
            .bare(method, path)
            .header("origin", EVIL)
            .header("sec-fetch-site", "cross-site")
            .header(header, &browser.csrf);
        let tries = [
            ("no token", bare()),
            (
                "a made-up token",
                bare().header(header, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ),
            (
                "another session's token",
                bare().header(header, &stranger.csrf),
            ),
            ("a page of another site", cross),
        ];
        for (what, ask) in tries {
            let reply = ask.json(&json!({})).send().await?;
            must(
                is_refusal(reply.status),
                || {
                    format!(
                        "{method} {path} with the cookie and {what} is answered {}",
                        reply.said()
                    )
                },
                &format!("csrf on the route `{path}`, [csrf] require-token"),
            )?;
        }
    }
    let good = browser.change("DELETE", &own).send().await?;
    must(
        good.passed(),
        || {
            format!(
                "with the session's own token {own} is answered {}",
                good.said()
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} changes by cookie, each without a token, with a made-up one, with another session's and from another site: refused; with the right one: passed",
            targets.len()
        ),
    ))
}

fn same_site<'b>(
    browser: &'b Browser,
    method: &str,
    path: &str,
    origin: &str,
) -> crate::prove::wire::Ask<'b> {
    browser
        .bare(method, path)
        .header("origin", origin)
        .header("sec-fetch-site", "same-origin")
}
