//! a. Identity, passwords and second factors.

use portcullis_events::Action;
use serde_json::{Value, json};

use super::routes::{self, Sample};
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{Reply, is_refusal};
use crate::prove::world::{World, auth};

/// I1
pub(super) async fn sign_in(scene: &Scene) -> Probed {
    let w = &scene.live;
    let remedy = "no key turns this off: is something between the probe and the gate?";
    let wrong = w
        .target
        .ask("POST", &auth("login"))
        .header("origin", &w.target.origin)
        .json(&json!({ "email": w.people.plain.email, "password": "not the password at all" }))
        .send()
        .await?;
    must(
        wrong.status == 401,
        || format!("a wrong password is answered {}", wrong.said()),
        remedy,
    )?;
    let (reply, browser) = w.try_sign_in(&w.people.plain).await?;
    must(
        reply.status == 200,
        || format!("the right password is answered {}", reply.said()),
        remedy,
    )?;
    let me = browser.get(&auth("me")).send().await?;
    let named =
        me.json().get("email").and_then(Value::as_str) == Some(w.people.plain.email.as_str());
    must(
        me.status == 200 && named,
        || format!("`me` says {} and not who signed in", me.said()),
        remedy,
    )?;
    let kept = browser.copied_to(
        crate::prove::wire::AGENT,
        &[&w.session_cookie(), "device", "__Host-device"],
    );
    let out = browser.change("POST", &auth("logout")).send().await?;
    must(
        out.passed(),
        || format!("signing out is answered {}", out.said()),
        remedy,
    )?;
    let after = kept.get(&auth("me")).send().await?;
    must(
        after.status == 401,
        || {
            format!(
                "after signing out the old cookie is answered {}",
                after.said()
            )
        },
        remedy,
    )?;
    Ok(Held::at(
        Place::Gate,
        "wrong password 401, right one 200, `me` names the account, and the same cookie after signing out 401",
    ))
}

/// I2
pub(super) async fn password_at_rest(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT password_hash FROM users WHERE id = $1";
    let w = &scene.live;
    let row = w
        .stores
        .db
        .fetch_optional(SQL, &[w.people.plain.id.into()])
        .await?;
    let row = row.ok_or_else(|| Short::not_proven("the probes' account is gone"))?;
    let hash = row.text("password_hash")?;
    let slow = hash.starts_with("$argon2id$") || hash.starts_with("$2");
    let plain = w.people.plain.password.expose();
    must(
        slow && !hash.contains(plain.as_str()),
        || {
            format!(
                "what is stored begins with `{}`",
                hash.chars().take(10).collect::<String>()
            )
        },
        "no key turns this off: restore the column `users.password_hash`",
    )?;
    for action in [
        Action::LoginSucceeded,
        Action::LoginFailed,
        Action::UserCreated,
        Action::PasswordChanged,
    ] {
        for event in w.events(action).await? {
            let text = event.to_json().to_string();
            must(
                !text.contains(plain.as_str()) && !text.contains(&hash),
                || format!("an event `{}` holds it", event.action),
                "no key turns this off",
            )?;
        }
    }
    let parameters: String = hash
        .split('$')
        .skip(1)
        .take(3)
        .collect::<Vec<_>>()
        .join(" ");
    Ok(Held::at(
        Place::State,
        format!(
            "the stored bytes are a hash ({parameters}), and no event of this run holds password or hash"
        ),
    ))
}

/// I3
pub(super) async fn password_change(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let browser = w.signed_in(&w.people.other).await?;
    let new = crate::demo::one_time_password()?;
    let mut answers = Vec::new();
    for _ in 0..8 {
        let body = json!({ "old_password": "not the old password", "new_password": new.expose() });
        // Each from an address of its own: what stops them is not the address.
        let reply = browser
            .change("POST", &auth("change-password"))
            .json(&body)
            .send()
            .await?;
        answers.push(reply.status);
        if reply.status == 429 {
            break;
        }
        must(
            !reply.passed(),
            || format!("a wrong old password is answered {}", reply.said()),
            "no key turns this off",
        )?;
    }
    must(
        answers.last() == Some(&429),
        || format!("eight wrong old passwords in a row are answered {answers:?}"),
        "no key turns this off: [limits.auth] and the account's backoff are always there",
    )?;
    // Whoever guessed here keeps nobody out: a new password of the operator's clears it.
    let accounts = &w.stores.identity.accounts;
    let by = portcullis_identity::accounts::By::operator();
    let cleared = accounts
        .set_password(w.people.other.id, &w.people.other.password, &by)
        .await;
    cleared.map_err(|error| Short::not_proven(format!("{error}")))?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "attempt {} with a wrong old password is answered 429, from a fresh address each",
            answers.len()
        ),
    ))
}

/// I4
pub(super) async fn sign_in_limits(scene: &Scene) -> Probed {
    let w = &scene.live;
    if !w.target.has_addresses() {
        return Err(Short::not_proven(
            "the gate listens on a network address: from here the probe has one address, and its limit is that of real clients. Run it beside the gate, on a loopback address or behind a trusted proxy",
        ));
    }
    let from = w.target.fresh();
    let remedy = "[limits.auth]: take `off` out, and write rate = \"5/minute\"";
    let mut passed = 0_u32;
    let refused = loop {
        let body = json!({ "email": format!("nobody-{passed}@prove.invalid"), "password": "not the password at all" });
        let reply = guess(w, from, &body).await?;
        if reply.status == 429 {
            break reply;
        }
        passed = passed.saturating_add(1);
        must(
            passed <= 60,
            || format!("{passed} attempts to sign in from one address, and none refused"),
            remedy,
        )?;
    };
    must(
        refused.header("retry-after").is_some(),
        || "429 without Retry-After".to_owned(),
        remedy,
    )?;
    // And per account, from a fresh address each time.
    let victim = format!("target-{}@prove.invalid", uuid::Uuid::new_v4().simple());
    let mut guesses = 0_u32;
    loop {
        let body = json!({ "email": victim, "password": "not the password at all" });
        let reply = guess(w, w.target.fresh(), &body).await?;
        if reply.status == 429 {
            break;
        }
        guesses = guesses.saturating_add(1);
        must(
            guesses <= 20,
            || format!("{guesses} guesses at one account from as many addresses, and none refused"),
            "no key turns this off: the account's backoff is always there",
        )?;
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "one address has {passed} attempts, then 429 with Retry-After; one account has {guesses} guesses from as many addresses, then 429"
        ),
    ))
}

async fn guess(w: &World, from: crate::prove::wire::From, body: &Value) -> anyhow::Result<Reply> {
    let ask = w.target.ask("POST", &auth("login")).from(from);
    ask.header("origin", &w.target.origin)
        .json(body)
        .send()
        .await
}

/// I5
pub(super) async fn second_factor(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let Some(admin) = &w.people.admin else {
        return Err(Short::not_configured("roles.admin"));
    };
    let role = w.admin_role.clone().unwrap_or_default();
    let (reply, browser) = w.try_sign_in(admin).await?;
    if reply.status != 200 {
        return Err(Short::not_proven(format!(
            "the probes' administrator cannot sign in: {}",
            reply.said()
        )));
    }
    let path = format!("{BENCH}/user");
    let reply = browser.get(&path).send().await?;
    let passed = w.product()?.count(&path);
    must(
        reply.problem() == "second-factor-required",
        || {
            format!(
                "an administrator with a password alone is answered {}",
                reply.said()
            )
        },
        &format!("[mfa] required-for = [\"{role}\"]"),
    )?;
    let plain = w.signed_in(&w.people.plain).await?;
    let control = plain.get(&path).send().await?;
    must(
        control.passed() && w.product()?.count(&path) == passed.saturating_add(1),
        || {
            format!(
                "somebody who is no administrator is answered {}",
                control.said()
            )
        },
        "[mfa] required-for names a role too many",
    )?;
    let relaxed = if w.config().mode == scene.live.config().mode {
        ""
    } else {
        " (the gate itself is in development mode, which relaxes this)"
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "`{role}` with a password alone: second-factor-required; a plain user passes{relaxed}"
        ),
    ))
}

/// I9
pub(super) async fn recovery_tokens(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT count(*) AS n FROM recovery_token WHERE token_hash = $1";
    let w = scene.development().await?;
    let live = scene.live.config();
    if !live.mail.is_on() {
        return Err(Short::not_configured("mail.server"));
    }
    let body = json!({ "email": w.people.plain.email });
    let ask = w.target.ask("POST", &auth("request-password-reset"));
    let reply = ask
        .header("origin", &w.target.origin)
        .json(&body)
        .send()
        .await?;
    must(
        reply.passed(),
        || format!("asking for a new password is answered {}", reply.said()),
        "[mail]",
    )?;
    let copy = w
        .copy
        .as_ref()
        .ok_or_else(|| Short::not_proven("there is no copy"))?;
    let letters = copy.folder.path().join("letters");
    let mut token = String::new();
    w.until(async || {
        token = letter_token(&letters).unwrap_or_default();
        Ok(!token.is_empty())
    })
    .await?;
    if token.is_empty() {
        return Err(Short::not_proven("no letter came within ten seconds"));
    }
    must(
        !w.printed().contains(&token),
        || "the token stands in the log".to_owned(),
        "no key turns this off",
    )?;
    let raw = token.as_bytes();
    let row = w.stores.db.fetch_optional(SQL, &[raw.into()]).await?;
    let clear = row.map_or(Ok(0), |row| row.int("n"))?;
    must(
        clear == 0,
        || "the database holds the token itself".to_owned(),
        "no key turns this off",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        "the token of a letter stands neither in the gate's output nor, as it is, in the database",
    ))
}

/// The token of the link in the newest letter.
fn letter_token(folder: &std::path::Path) -> Option<String> {
    let entry = std::fs::read_dir(folder).ok()?.flatten().next()?;
    let text = std::fs::read_to_string(entry.path())
        .ok()?
        .replace("=\r\n", "")
        .replace("=\n", "")
        .replace("=3D", "=");
    let (_, rest) = text
        .split_once("token=")
        .or_else(|| text.split_once("new-password#"))
        .or_else(|| text.split_once("new-password?"))?;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .unwrap_or(rest.len());
    rest.get(..end)
        .filter(|token| token.len() > 20)
        .map(str::to_owned)
}

/// I10
pub(super) async fn everything_else(scene: &Scene) -> Probed {
    let w = &scene.live;
    let samples = routes::all(w);
    let (mut asked, mut public) = (0_u32, Vec::new());
    for sample in &samples {
        if sample.is_public() {
            if !sample.own {
                public.push(sample.route.path.clone());
            }
            continue;
        }
        for method in &sample.methods {
            let reply = sample.ask(&w.target, method).send().await?;
            let is_in =
                is_refusal(reply.status) && !reply.problem().is_empty() || reply.leads_to_sign_in();
            must(
                is_in,
                || {
                    format!(
                        "{method} {} without any credential is answered {}",
                        sample.path,
                        reply.said()
                    )
                },
                &format!("the route `{}`: allow", sample.route.path),
            )?;
            asked = asked.saturating_add(1);
        }
    }
    let strange = format!("/prove-{}", uuid::Uuid::new_v4().simple());
    let unknown = w.target.get(&strange).send().await?;
    let catch_all = samples
        .iter()
        .any(|sample: &Sample<'_>| sample.route.path.contains("{*") && sample.is_public());
    must(
        catch_all || is_refusal(unknown.status) && !unknown.problem().is_empty(),
        || format!("a path that no route names is answered {}", unknown.said()),
        "route",
    )?;
    public.sort();
    let public = if public.is_empty() {
        "nothing of the product is public".to_owned()
    } else {
        format!("public by policy: {}", public.join(", "))
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "{asked} calls of routes that are not public, without a credential: all refused; {public}"
        ),
    ))
}
