//! o. What people agreed to: the ledger (P2), and the routes that ask for it (P4).

use portcullis_access::config::Allow;
use portcullis_core::UserId;
use portcullis_core::principal::CallerKind;
use portcullis_core::problem::CONSENT_REQUIRED;
use portcullis_events::Action;
use serde_json::{Value, json};
use uuid::Uuid;

use super::c_tokens::grant;
use super::m_audit::recorded;
use super::routes;
use crate::prove::Scene;
use crate::prove::probe::{Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{Browser, Reply};
use crate::prove::world::{self, Account, World, auth};
use crate::verbs::now;

const LEDGER: &str = "[[purpose]]";
const ASKS: &str = "consent = .. on the route";

fn is_asked(reply: &Reply) -> bool {
    reply.status == 403 && reply.problem() == CONSENT_REQUIRED.slug
}

/// Says it as the person does.
async fn says(browser: &Browser, purpose: &str, state: &str) -> Result<(), Short> {
    let body = json!({ "purpose": purpose, "state": state });
    let written = browser.change("POST", &auth("consents")).json(&body);
    let written = written.send().await?;
    must(
        written.status == 200,
        || format!("a consent cannot be written down: {}", written.said()),
        LEDGER,
    )
}

/// That a consent is given and taken back over the wire, and both are remembered.
pub(super) async fn remembered(browser: &Browser, purpose: &str) -> Result<(), Short> {
    for state in ["given", "withdrawn"] {
        says(browser, purpose, state).await?;
        let told = browser.get(&auth("consents")).send().await?.json();
        let of = |one: &&Value| one.get("purpose").and_then(Value::as_str) == Some(purpose);
        let all = told.get("consents").and_then(Value::as_array);
        let standing = all.into_iter().flatten().find(of);
        let standing = standing.and_then(|one| one.get("standing"));
        must(
            standing.and_then(Value::as_str) == Some(state),
            || format!("a consent that was {state} is not told as such: {told}"),
            LEDGER,
        )?;
    }
    Ok(())
}

/// Somebody at a route that asks for a consent, in rehearsal.
struct Visit<'w> {
    w: &'w World,
    account: Account,
    browser: Browser,
    path: String,
}

impl<'w> Visit<'w> {
    async fn by(w: &'w World, name: &str) -> Result<Self, Short> {
        let roles: Vec<String> = w.plain_role.iter().cloned().collect();
        let account = world::account(&w.stores, name, &roles).await?;
        let browser = w.signed_in(&account).await?;
        let path = format!("{BENCH}/agreed");
        Ok(Visit {
            w,
            account,
            browser,
            path,
        })
    }

    /// That they are let in, or that the product sees nothing of it.
    async fn is(&self, let_in: bool, why: &str) -> Result<(), Short> {
        let product = self.w.product()?;
        let before = product.count(&self.path);
        let reply = self.browser.get(&self.path).send().await?;
        let came = product.count(&self.path).saturating_sub(before);
        let right = if let_in {
            reply.passed() && came == 1
        } else {
            is_asked(&reply) && came == 0
        };
        must(
            right,
            || {
                format!(
                    "a route that asks for a consent answers somebody {why} with {}, and the product sees {came} requests",
                    reply.said()
                )
            },
            ASKS,
        )
    }
}

/// Without a consent refused, with one allowed, for a withdrawn or an older one refused; at the gate, whatever of
/// the policy's own routes asks for one.
pub(super) async fn asked_for(scene: &Scene) -> Result<String, Short> {
    let w = scene.rehearsal()?;
    let Some(purpose) = w.config().purposes.first() else {
        return Ok("no consent is asked for".to_owned());
    };
    let purpose = purpose.name.as_str();
    let (one, other) = (Visit::by(w, "agrees").await?, Visit::by(w, "silent").await?);
    one.is(false, "who was never asked").await?;
    says(&one.browser, purpose, "given").await?;
    one.is(true, "who has agreed").await?;
    other.is(false, "who has not, when another has").await?;
    // Of somebody of whom the gate remembers nothing yet.
    let outdated = Visit::by(w, "outdated").await?;
    older(w, outdated.account.id, purpose).await?;
    outdated.is(false, "who agreed to an older text").await?;
    by_token(&one).await?;
    says(&one.browser, purpose, "withdrawn").await?;
    one.is(false, "who has taken it back").await?;
    recorded(w, Action::ConsentGiven).await?;
    recorded(w, Action::ConsentWithdrawn).await?;
    let own = own_routes(&scene.live).await?;
    Ok(format!(
        "without a consent to `{purpose}` a route that asks for it refuses and the product sees nothing, with one it answers, and not for another person's, an older text's or one that was taken back; {own}"
    ))
}

/// The ledger as it is when the text has changed since.
async fn older(w: &World, user: UserId, purpose: &str) -> Result<(), Short> {
    const ADD: &str = "INSERT INTO consent (id, tenant, subject, purpose, version, state, at, source) VALUES ($1, '', $2, $3, 'prove: an older text', 'given', $4, 'prove')";
    let user = user.to_string();
    let args = [
        Uuid::now_v7().into(),
        (&user).into(),
        purpose.into(),
        now().into(),
    ];
    let mut tx = w.stores.db.begin().await?;
    tx.execute(ADD, &args).await?;
    Ok(tx.commit().await?)
}

/// What a person agreed to goes for their tokens, and what they take back as well.
async fn by_token(visit: &Visit<'_>) -> Result<(), Short> {
    let w = visit.w;
    let pair = match grant(w, &visit.account, w.target.fresh()).await {
        Ok(pair) => pair,
        Err(Short::NotConfigured { .. }) => return Ok(()),
        Err(short) => return Err(short),
    };
    let reply = w.target.get(&visit.path).bearer(pair.access()).send();
    let reply = reply.await?;
    must(
        reply.passed(),
        || {
            format!(
                "by token somebody who has agreed is answered {}",
                reply.said()
            )
        },
        ASKS,
    )
}

/// The policy's own routes, as the gate answers somebody who has agreed to nothing.
async fn own_routes(live: &World) -> Result<String, Short> {
    let asking: Vec<_> = routes::of_policy(live)
        .into_iter()
        .filter(|sample| {
            let route = &sample.route;
            route.consent.is_some()
                && route.allow == Some(Allow::User)
                && route.callers.contains(&CallerKind::User)
                && !route.mfa
                && route.tenant.is_none()
                && route.host.is_none()
        })
        .collect();
    if asking.is_empty() {
        return Ok("no route of the policy for whoever is signed in asks for one".to_owned());
    }
    let browser = live.signed_in(&live.people.plain).await?;
    let mut calls = 0_usize;
    for sample in &asking {
        for method in &sample.methods {
            let reply = browser.change(method, &sample.path).send().await?;
            must(
                is_asked(&reply),
                || {
                    format!(
                        "{method} {} by somebody who has agreed to nothing is answered {}",
                        sample.path,
                        reply.said()
                    )
                },
                &format!("the route `{}`: consent", sample.route.path),
            )?;
            calls = calls.saturating_add(1);
        }
    }
    Ok(format!(
        "at the gate {calls} calls of the policy's own routes, such as {}, are refused so",
        asking.first().map_or("", |sample| sample.path.as_str())
    ))
}
