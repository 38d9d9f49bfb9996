//! b. Sessions.

use std::net::{IpAddr, Ipv4Addr};

use portcullis_core::Span;
use portcullis_identity::Client;
use portcullis_identity::accounts::By;
use portcullis_vault::Token;
use serde_json::Value;

use super::stored::{Stored, nothing};
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{AGENT, Browser, OTHER_AGENT};
use crate::prove::world::{Account, World, auth};
use crate::verbs::now;

/// The flags that a session cookie has to bear.
async fn flags(w: &World) -> Result<String, Short> {
    let name = w.session_cookie();
    let (reply, _) = w.try_sign_in(&w.people.plain).await?;
    let line = reply.set_cookie(&name);
    let line = line.ok_or_else(|| {
        Short::failed(
            format!("signing in ({}) sets no cookie `{name}`", reply.said()),
            ALWAYS,
        )
    })?;
    let has = |flag: &str| {
        line.split(';')
            .any(|part| part.trim().eq_ignore_ascii_case(flag))
    };
    let secure = crate::snapshot::is_secure(w.config());
    for (flag, wanted) in [("HttpOnly", true), ("Path=/", true), ("Secure", secure)] {
        must(
            !wanted || has(flag),
            || format!("the session cookie `{name}` is not {flag}"),
            ALWAYS,
        )?;
    }
    must(
        has("SameSite=Lax") || has("SameSite=Strict"),
        || format!("the session cookie `{name}` has no SameSite"),
        "[sessions] same-site",
    )?;
    Ok(line
        .split(';')
        .skip(1)
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(", "))
}

/// Signs in again where somebody is signed in. The cookie that the browser had must be nobody's from then on.
async fn replaced(w: &World, browser: &mut Browser) -> Result<(), Short> {
    let account = &w.people.plain;
    let name = w.session_cookie();
    let before = browser.copied_to(AGENT, &[&name]);
    let asked = async || before.get(&auth("me")).send().await;
    let control = asked().await?;
    must(
        control.status == 200,
        || format!("a session is answered {}", control.said()),
        ALWAYS,
    )?;
    let again = w.sign_in_at(browser, account).await?;
    must(
        again.status == 200,
        || format!("signing in once more is answered {}", again.said()),
        ALWAYS,
    )?;
    let reply = asked().await?;
    must(
        reply.status == 401,
        || {
            format!(
                "after another sign-in in the same browser its old cookie is answered {}",
                reply.said()
            )
        },
        ALWAYS,
    )
}

/// S1
pub(super) async fn cookie(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT revoked_at FROM session WHERE token_hash = $1";
    let w = &scene.live;
    let seen = flags(w).await?;
    let rehearsed = flags(scene.rehearsal()?).await?;
    let mut browser = w.signed_in(&w.people.plain).await?;
    replaced(w, &mut browser).await?;
    let text = browser.cookie(&w.session_cookie()).unwrap_or_default();
    let hash = hash_of(&text)?;
    let row = w
        .stores
        .db
        .fetch_optional(SQL, &[hash.as_slice().into()])
        .await?;
    let live = row.map(|row| row.opt_int("revoked_at")).transpose()?;
    must(
        live == Some(None),
        || "the database has no live session of this cookie".to_owned(),
        ALWAYS,
    )?;
    let out = browser.change("POST", &auth("logout")).send().await?;
    let cleared = out
        .set_cookie(&w.session_cookie())
        .is_some_and(|line| line.contains("Max-Age=0"));
    must(
        cleared,
        || "signing out does not clear the cookie".to_owned(),
        ALWAYS,
    )?;
    let row = w
        .stores
        .db
        .fetch_optional(SQL, &[hash.as_slice().into()])
        .await?;
    let ended = row.map(|row| row.opt_int("revoked_at")).transpose()?;
    must(
        ended != Some(None),
        || "signing out leaves the session in the database alive".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "{seen}; in production mode {rehearsed}; a row by its hash, ended by signing out, the cookie cleared; a second sign-in ends the first"
        ),
    ))
}

fn hash_of(text: &str) -> Result<Vec<u8>, Short> {
    let token =
        Token::parse(text).ok_or_else(|| Short::not_proven("the session cookie cannot be read"))?;
    Ok(token.hash().as_bytes().to_vec())
}

/// Signs in beside the gate, so that the gate has not met the session yet.
async fn unmet(w: &World, account: &Account) -> Result<(String, Vec<u8>), Short> {
    let client = Client {
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        user_agent: Some(AGENT.to_owned()),
        ..Client::default()
    };
    let signed_in = w
        .stores
        .identity
        .accounts
        .login(&account.email, &account.password, &client)
        .await;
    let signed_in = signed_in
        .map_err(|error| Short::not_proven(format!("signing in beside the gate: {error}")))?;
    let token = &signed_in.session.token;
    Ok((
        token.text().expose().clone(),
        token.hash().as_bytes().to_vec(),
    ))
}

/// S2
pub(super) async fn ends(scene: &Scene) -> Probed {
    const AGE: &str = "UPDATE session SET last_seen_at = $2 WHERE token_hash = $1";
    let w = scene.rehearsal()?;
    let sessions = &w.config().sessions;
    let path = format!("{BENCH}/user");
    let asked = async |text: &str| {
        let browser = w.browser();
        browser.set_cookie(&w.session_cookie(), text);
        browser.get(&path).send().await
    };
    let (fresh, _) = unmet(w, &w.people.other).await?;
    let control = asked(&fresh).await?;
    must(
        control.passed(),
        || format!("a fresh session is answered {}", control.said()),
        ALWAYS,
    )?;
    // The clock is taken past the timeout by making the row older.
    let (idle, hash) = unmet(w, &w.people.other).await?;
    let seen = now() - sessions.idle_timeout - Span::from_seconds(1);
    let mut tx = w.stores.db.begin().await?;
    tx.execute(AGE, &[hash.as_slice().into(), seen.into()])
        .await?;
    tx.commit().await?;
    let reply = asked(&idle).await?;
    must(
        reply.status == 401,
        || {
            format!(
                "a session that lay idle for longer than {} is answered {}",
                sessions.idle_timeout,
                reply.said()
            )
        },
        "[sessions] idle-timeout",
    )?;
    let mut kept = vec![fresh];
    for _ in 0..sessions.max_per_user {
        kept.push(unmet(w, &w.people.other).await?.0);
    }
    // What was ended beside the gate is heard within a moment.
    let mut alive = 0_u32;
    w.until(async || {
        alive = 0;
        for text in &kept {
            alive = alive.saturating_add(u32::from(asked(text).await?.passed()));
        }
        Ok(alive <= sessions.max_per_user)
    })
    .await?;
    must(
        alive <= sessions.max_per_user,
        || format!("{alive} sessions of one user are open at once"),
        "[sessions] max-per-user",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "idle for more than {}: 401; of {} sign-ins {alive} sessions are open (at most {})",
            sessions.idle_timeout,
            kept.len(),
            sessions.max_per_user
        ),
    ))
}

/// S3
pub(super) async fn other_client(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let path = format!("{BENCH}/user");
    let browser = w.signed_in(&w.people.plain).await?;
    let thief = browser.copied_to(OTHER_AGENT, &[&w.session_cookie()]);
    let before = browser.get(&path).send().await?;
    must(
        before.passed(),
        || format!("the owner is answered {}", before.said()),
        ALWAYS,
    )?;
    let reply = thief.get(&path).send().await?;
    must(
        !reply.passed(),
        || format!("the cookie in another browser is answered {}", reply.said()),
        "[sessions] on-other-client = \"challenge\"",
    )?;
    let after = browser.get(&path).send().await?;
    let goes_on = if after.passed() {
        "goes on"
    } else {
        "has ended too (`on-other-client = \"end\"`)"
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "the cookie in another browser: {}; the owner's session {goes_on}",
            reply.said()
        ),
    ))
}

/// S4
pub(super) async fn at_rest(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT token_hash FROM session WHERE user_id = $1";
    let w = &scene.live;
    let browser = w.signed_in(&w.people.plain).await?;
    let text = browser.cookie(&w.session_cookie()).unwrap_or_default();
    let rows = w
        .stores
        .db
        .fetch_all(SQL, &[w.people.plain.id.into()])
        .await?;
    let mut stored = Vec::new();
    for row in &rows {
        stored.push(row.bytes("token_hash")?);
    }
    let known = stored.contains(&hash_of(&text)?);
    let clear = stored
        .iter()
        .any(|bytes| bytes.as_slice() == text.as_bytes());
    must(
        known && !clear,
        || "the session table holds the token itself, or not this session".to_owned(),
        ALWAYS,
    )?;
    // What is stored, played back as a cookie.
    let mut opened = None;
    for bytes in &stored {
        let thief = w.browser();
        let text = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
        thief.set_cookie(&w.session_cookie(), &text);
        let reply = thief.get(&auth("me")).send().await?;
        if reply.passed() {
            opened = Some(reply.said());
        }
    }
    must(
        opened.is_none(),
        || "what is stored opens a session".to_owned(),
        ALWAYS,
    )?;
    let also = match Stored::of_redis(w).await {
        None => String::new(),
        Some(Ok(kept)) => {
            nothing(kept.find(&[("a session", &text)])?)?;
            format!("; {} keys in Redis hold no session", kept.parts())
        }
        Some(Err(why)) => return Err(Short::not_proven(why)),
    };
    Ok(Held::at(
        Place::State,
        format!(
            "{} rows hold hashes alone, and none of them opens anything as a cookie{also}",
            stored.len()
        ),
    ))
}

/// S5
pub(super) async fn revoked(scene: &Scene) -> Probed {
    let w = &scene.live;
    let browser = w.signed_in(&w.people.other).await?;
    let me = auth("me");
    let before = browser.get(&me).send().await?;
    must(
        before.status == 200,
        || format!("a fresh session is answered {}", before.said()),
        ALWAYS,
    )?;
    let ended = w
        .stores
        .identity
        .accounts
        .end_sessions_of(w.people.other.id, &By::operator())
        .await;
    ended.map_err(|error| Short::not_proven(error.to_string()))?;
    let began = tokio::time::Instant::now();
    let heard = w
        .until(async || Ok(browser.get(&me).send().await?.status == 401))
        .await?;
    must(
        heard,
        || "a revoked session still opens the gate after ten seconds".to_owned(),
        "no key turns this off: see `portcullis_revocation_feed_age_milliseconds`",
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "sessions that the operator ended are refused after {} ms",
            began.elapsed().as_millis()
        ),
    ))
}

/// S6
pub(super) async fn not_for_script(scene: &Scene) -> Probed {
    let w = &scene.live;
    let (reply, browser) = w.try_sign_in(&w.people.plain).await?;
    let name = w.session_cookie();
    let line = reply
        .set_cookie(&name)
        .unwrap_or_default()
        .to_ascii_lowercase();
    must(
        line.contains("samesite=lax") || line.contains("samesite=strict"),
        || format!("`{name}` goes along from other sites"),
        "[sessions] same-site",
    )?;
    let token = browser.cookie(&name).unwrap_or_default();
    let me = browser.get(&auth("me")).send().await?;
    let told = [&reply, &me]
        .iter()
        .any(|reply| !token.is_empty() && reply.text().contains(&token));
    must(
        !told,
        || "an answer's body holds the session's token, where script can keep it".to_owned(),
        ALWAYS,
    )?;
    let body = reply.json();
    let jwt = body.get("access_token").and_then(Value::as_str);
    must(
        jwt.is_none(),
        || "signing in a browser hands out a token".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        "SameSite is set, the cookie is HttpOnly, and no answer's body holds what opens the session",
    ))
}

/// S7
pub(super) async fn secret_length(scene: &Scene) -> Probed {
    Hostile::sound()?.is_taken().await?;
    let short = Hostile::sound()?
        .master("3f9a1c77e0b2d4")
        .is_refused_for("secrets.master")
        .await?;
    let master = scene.live.stores.loaded.secrets.master.as_ref();
    let length = master.map_or(0, |secret| secret.expose().len());
    must(
        length >= 32,
        || format!("the master secret has {length} bytes"),
        "secrets.master: `openssl rand -hex 32`",
    )?;
    Ok(Held::at(
        Place::Start,
        format!("14 characters are refused ({short}); the one in use has {length}"),
    ))
}
