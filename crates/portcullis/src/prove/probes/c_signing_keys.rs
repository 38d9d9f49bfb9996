//! c. Signing keys, over their whole life (J6).

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Span;
use portcullis_events::Actor;
use portcullis_identity::signing_keys::Error;
use portcullis_identity::tokens::TokenAlgorithm;
use portcullis_vault::ring::{KeyState, OVERLAP};
use portcullis_vault::tokens::random;
use serde_json::Value;

use super::c_tokens::{Pair, grant};
use crate::config::document::Environment;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::product::Product;
use crate::prove::rehearsal::{BENCH, Copy, Folder};
use crate::prove::wire::{Addresses, Target};
use crate::prove::world::{World, auth, base, until};
use crate::verbs::{self, Stores, now};

const LATE: &str =
    "portcullis signing-keys rotate; the log of the gate says why it does not do it itself";
const LOOKED_AFTER: std::time::Duration = std::time::Duration::from_secs(20);

fn said(error: &Error) -> Short {
    Short::not_proven(format!("the signing keys: {error}"))
}

/// J6
pub(super) async fn replaced(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let by_hand = by_hand(w).await?;
    let every = every(&scene.live);
    let scheduled = Box::pin(on_schedule(&scene.product, every)).await?;
    let live = at_the_gate(&scene.live, every).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!("{by_hand}; {scheduled}; {live}"),
    ))
}

fn every(w: &World) -> Span {
    let tokens = w.config().tokens.clone().unwrap_or_default();
    tokens.rotate_signing_keys_every
}

/// The keys that a gate publishes.
pub(super) async fn published(target: &Target) -> anyhow::Result<Vec<String>> {
    let set = target.get(&base("/jwks.json")).send().await?.json();
    let keys = set.get("keys").and_then(Value::as_array);
    let name = |key: &Value| key.get("kid")?.as_str().map(str::to_owned);
    Ok(keys.into_iter().flatten().filter_map(name).collect())
}

/// Which key signed a token.
fn signer(token: &str) -> Option<String> {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let head: Value = serde_json::from_slice(&head).ok()?;
    Some(head.get("kid")?.as_str()?.to_owned())
}

/// Which key signs what the product is told of somebody who has just signed in.
async fn tells_the_product(w: &World) -> anyhow::Result<Option<String>> {
    let browser = w.signed_in(&w.people.plain).await?;
    let path = format!("{BENCH}/user");
    browser.get(&path).send().await?;
    let seen = w.product().ok().and_then(|product| product.last(&path));
    let header = w.config().assertion.header.to_ascii_lowercase();
    Ok(seen.and_then(|seen| signer(seen.header(&header)?)))
}

/// A token that a key of the ring signs, where the policy has such.
async fn token(w: &World) -> Result<Option<Pair>, Short> {
    match &w.config().tokens {
        Some(tokens) if tokens.algorithm == TokenAlgorithm::EdDsa => {
            grant(w, &w.people.plain, w.target.fresh()).await.map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

async fn counts(w: &World, pair: &Pair) -> anyhow::Result<bool> {
    let me = auth("me");
    Ok(w.target.get(&me).bearer(pair.access()).send().await?.status == 200)
}

/// A rotation, its overlap, and what is left of a key that was taken out.
async fn by_hand(w: &World) -> Result<String, Short> {
    let keys = &w.stores.identity.signing_keys;
    let before = published(&w.target).await?;
    let told = tells_the_product(w).await?;
    must(
        told.is_some_and(|kid| before.contains(&kid)),
        || "the product is told by a key that nobody publishes".to_owned(),
        ALWAYS,
    )?;
    let old = token(w).await?;
    let rotated = keys.rotate(Actor::Operator, true).await;
    let rotated = rotated.map_err(|error| said(&error))?;
    let new = rotated.map(|rotated| rotated.kid).unwrap_or_default();
    let both = w.until(async || {
        let now = published(&w.target).await?;
        Ok(now.contains(&new) && before.iter().all(|kid| now.contains(kid)))
    });
    must(
        both.await?,
        || "after a rotation old and new key are not both published".to_owned(),
        ALWAYS,
    )?;
    let taken = w.until(async || Ok(tells_the_product(w).await?.as_deref() == Some(&new)));
    must(
        taken.await?,
        || "after a rotation the product is still told by the old key".to_owned(),
        ALWAYS,
    )?;
    if let Some(old) = &old {
        must(
            counts(w, old).await?,
            || "after a rotation a token of before counts no more".to_owned(),
            ALWAYS,
        )?;
    }
    let newer = token(w).await?;
    for kid in &before {
        let revoked = keys.revoke(Actor::Operator, kid).await;
        revoked.map_err(|error| said(&error))?;
    }
    let gone = w.until(async || {
        let now = published(&w.target).await?;
        Ok(before.iter().all(|kid| !now.contains(kid)))
    });
    must(
        gone.await?,
        || "a key that was taken out is still published".to_owned(),
        ALWAYS,
    )?;
    let (Some(old), Some(newer)) = (old, newer) else {
        return Ok("a rotation publishes the new key beside the old one and the product is told by it, a revocation takes the old one out".to_owned());
    };
    must(
        signer(newer.access()).as_deref() == Some(&new),
        || "after a rotation tokens are still signed by the old key".to_owned(),
        ALWAYS,
    )?;
    let refused = w.until(async || Ok(!counts(w, &old).await?));
    must(
        refused.await?,
        || "a token of a key that was taken out still counts".to_owned(),
        ALWAYS,
    )?;
    must(
        counts(w, &newer).await?,
        || "with one key another one's tokens were taken out".to_owned(),
        ALWAYS,
    )?;
    Ok("a rotation publishes the new key beside the old one, the product is told and tokens are signed by it, and those of before count on; when the old key is taken out they count no more, and the new ones do".to_owned())
}

/// A gate that finds its keys older than its rule, one of them long past its overlap.
async fn on_schedule(product: &Product, every: Span) -> Result<String, Short> {
    const AGE: &str =
        "UPDATE signing_key SET created_at = created_at - $1, active_at = active_at - $1";
    let folder = Folder::new()?;
    let master = random::<32>().map_err(|error| Short::not_proven(error.to_string()))?;
    folder.write("master", &hex::encode(master))?;
    let text = format!(
        "mode = \"development\"\n\n[listen]\naddress = \"127.0.0.1:0\"\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[secrets]\nmaster = {{ file = \"master\" }}\n\n[state]\ndatabase = \"sqlite://old.db\"\n\n[log]\nformat = \"json\"\n\n[tokens]\nrotate-signing-keys-every = \"{every}\"\n\n[upstream.app]\nurl = \"{}\"\n\n[[route]]\npath = \"/\"\nallow = \"public\"\n",
        product.url()
    );
    folder.write("portcullis.toml", &text)?;
    let file = folder.path().join("portcullis.toml");
    let (loaded, keys) = verbs::sound(&file, Environment::default())?;
    let stores = Stores::open(loaded, &keys).await?;
    // So long ago that the second is due, and the first is over.
    let longest = every.max(OVERLAP);
    let ago = longest
        .as_micros()
        .saturating_add(Span::from_hours(1).as_micros());
    let planted = async {
        let first = names(&stores).await?;
        let second = stores.identity.signing_keys.rotate(Actor::Operator, true);
        let second = second.await?.map(|rotated| rotated.kid);
        let mut tx = stores.db.begin().await?;
        tx.execute(AGE, &[ago.into()]).await?;
        tx.commit().await?;
        anyhow::Ok((first, second.unwrap_or_default()))
    };
    let planted = planted.await;
    stores.close().await;
    let (first, second) = planted?;
    let gate = Copy::with(folder, &text).await?;
    let mut now = Vec::new();
    let target = own_target(gate.address);
    let is_right = |now: &[String]| {
        let is_over = first.iter().all(|kid| !now.contains(kid));
        is_over && now.contains(&second) && now.len() == 2
    };
    until(LOOKED_AFTER, &mut async || {
        now = published(&target).await?;
        Ok(is_right(&now))
    })
    .await?;
    must(
        now.len() > 1 || !now.contains(&second),
        || format!("a gate whose key is older than {every} makes no new one"),
        "[tokens] rotate-signing-keys-every",
    )?;
    must(
        is_right(&now),
        || {
            format!(
                "a key whose successor has signed for longer than {longest} is still published, or the wrong one is gone"
            )
        },
        "this program is not the one that was released",
    )?;
    Ok(format!(
        "a gate that finds its key older than {every} publishes the next one by itself, and none whose overlap of {OVERLAP} is over"
    ))
}

async fn names(stores: &Stores) -> anyhow::Result<Vec<String>> {
    let list = stores.identity.signing_keys.list().await?;
    Ok(list.0.into_iter().map(|key| key.kid).collect())
}

fn own_target(address: SocketAddr) -> Target {
    let host = address.to_string();
    let origin = format!("http://{host}");
    Target::new(address, host, origin, Addresses::Loopback)
}

/// What the gate itself publishes, and how old what it signs with is.
async fn at_the_gate(live: &World, every: Span) -> Result<String, Short> {
    let keys = &live.stores.identity.signing_keys;
    let mut odd = String::new();
    let same = live.until(async || {
        keys.ring.reload().await?;
        let list = keys.list().await?.0;
        let counts = |state| match state {
            KeyState::Next | KeyState::Signing | KeyState::Verifying => true,
            KeyState::Retired | KeyState::Revoked => false,
        };
        let shown = published(&live.target).await?;
        let wrong = list
            .iter()
            .find(|key| counts(key.state) != shown.contains(&key.kid));
        odd = wrong.map_or_else(String::new, |key| {
            format!("{} ({})", key.kid, key.state.as_str())
        });
        Ok(wrong.is_none())
    });
    must(
        same.await?,
        || format!("what the gate publishes of its keys is not what they are: {odd}"),
        ALWAYS,
    )?;
    let list = keys.list().await.map_err(|error| said(&error))?.0;
    let signing = list.iter().find(|key| key.state == KeyState::Signing);
    let since = signing.map(|key| key.created_at.clone());
    let since = since.unwrap_or_default();
    // A day for a gate that stood still.
    let due = keys.ring.is_due(every, now() - Span::from_days(1)).await;
    let due = due.map_err(|error| Short::not_proven(error.to_string()))?;
    must(
        !due,
        || format!("the signing key is of {since}, older than {every}"),
        LATE,
    )?;
    Ok(format!(
        "the gate's own is of {since}, replaced every {every}, and it publishes those that count and no other"
    ))
}
