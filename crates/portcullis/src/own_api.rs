//! The handlers behind the gate's own routes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use portcullis_console::api::Failure;
use portcullis_console::{Nonce, Page};
use portcullis_core::finding::Finding;
use portcullis_core::{Clock, Problem, problem};
use portcullis_events::{secret_store, upload_store, webhooks};
use portcullis_guard::csrf::Csrf;
use portcullis_identity::admin_api::{self, Admin};
use portcullis_identity::admin_pages::{self, Console, FormTokens};
use portcullis_identity::api::{self, Api, CsrfCookie, CsrfToken};
use portcullis_identity::privacy::subjects;
use portcullis_identity::{consents, visitors};
use portcullis_vault::KeyRing;
use portcullis_vault::tokens::TokenHash;

use crate::health::Probe;
use crate::own::{AUTH, BASE, CHANGE_PASSWORD, CONSOLE};
use crate::upkeep::Identity;
use crate::vault_api;

/// All of them. By the time one runs, the pipeline has decided.
pub(crate) fn router(
    identity: &Identity,
    (ring, clock): (Arc<KeyRing>, Arc<dyn Clock>),
    csrf: &Arc<Csrf>,
    secure: bool,
    mounts: &[String],
    (probe, posture): (Probe, Arc<ArcSwap<Vec<Finding>>>),
) -> Router {
    let tokens = csrf_tokens(Arc::clone(csrf), secure);
    let mut router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || probe.readiness().await))
        .route(
            "/health",
            get(async || Json(serde_json::json!({ "status": "ok" }))),
        )
        .route(
            &format!("{BASE}/jwks.json"),
            get(async move || {
                (
                    [(header::CACHE_CONTROL, "public, max-age=300")],
                    Json(ring.jwks(clock.now())),
                )
            }),
        )
        .route(&format!("{BASE}/problems/{{slug}}"), get(problem_page))
        .route(
            CHANGE_PASSWORD,
            get(async || Redirect::temporary(&format!("{AUTH}/password"))),
        );
    let admin = Admin {
        accounts: identity.accounts.clone(),
        keys: identity.keys.clone(),
        tenants: identity.tenants.clone(),
        visitors: identity.visitors.clone(),
        webhooks: identity.webhooks.clone(),
        alerts: identity.anomalies.alerts().clone(),
        anomalies: identity.anomalies.clone(),
        incidents: identity.incidents(),
        secret_store: identity.secret_store.clone(),
        upload_store: identity.upload_store.clone(),
        signing_keys: identity.signing_keys.clone(),
        openid: identity.openid.clone(),
        audit_log: identity.audit_log.clone(),
        privacy: identity.privacy.clone(),
        scans: identity.scans.clone(),
    };
    router = router.nest(
        &format!("{BASE}{}", admin_api::MOUNT),
        admin_api::router(admin.clone(), BASE),
    );
    router = router.nest(BASE, visitors::http::router(identity.visitors.clone()));
    router = router.nest(BASE, vault_api::router(identity.vault.clone()));
    router = router.nest(BASE, consents::http::router(identity.consents.clone()));
    router = router.nest(BASE, subjects::http::router(identity.privacy.clone()));
    router = router.nest(
        BASE,
        secret_store::served::router(identity.secret_store.clone()),
    );
    router = router.nest(
        BASE,
        upload_store::served::router(identity.upload_store.clone(), BASE),
    );
    let console = Console {
        live: admin_pages::Live::default(),
        admin,
        traffic: identity.traffic.clone(),
        posture: Arc::new(move || posture.load().to_vec()),
        tokens: form_tokens(csrf),
        base: CONSOLE.into(),
        auth: AUTH.into(),
    };
    router = router.nest(CONSOLE, admin_pages::router(console));
    for mount in std::iter::once(AUTH).chain(mounts.iter().map(String::as_str)) {
        let api = Api {
            accounts: identity.accounts.clone(),
            keys: identity.keys.clone(),
            bearers: identity.bearers.clone(),
            tenants: identity.tenants.clone(),
            openid: identity.openid.clone(),
            privacy: identity.privacy.clone(),
            consents: identity.consents.clone(),
            csrf: tokens.clone(),
            mount: mount.into(),
        };
        router = router.nest(mount, api::router(api));
    }
    // Their paths are those of the snapshot, which a reload changes.
    router.fallback_service(webhooks::http::router(identity.webhooks.clone()))
}

/// Tokens of forms, for the same.
fn form_tokens(csrf: &Arc<Csrf>) -> FormTokens {
    let (issuer, verifier) = (Arc::clone(csrf), Arc::clone(csrf));
    FormTokens {
        issue: Arc::new(move |session: &TokenHash| issuer.issue(session).ok()),
        verify: Arc::new(move |token: &str, session: &TokenHash| {
            verifier.is_token_of(token, session)
        }),
    }
}

/// Tokens as the guard makes them, for a slice that does not know the guard.
fn csrf_tokens(csrf: Arc<Csrf>, secure: bool) -> CsrfCookie {
    let scheme = if secure {
        portcullis_core::Scheme::Https
    } else {
        portcullis_core::Scheme::Http
    };
    CsrfCookie(Arc::new(
        move |session: &TokenHash, headers: Option<&HeaderMap>| {
            let kept = headers.and_then(|headers| csrf.token_of(headers, session));
            let token = match kept {
                Some(token) => token.to_owned(),
                None => csrf.issue(session).unwrap_or_default(),
            };
            let set_cookie = csrf
                .set_cookie(&token, scheme)
                .and_then(|value| value.to_str().ok().map(str::to_owned))
                .unwrap_or_default();
            CsrfToken { token, set_cookie }
        },
    ))
}

/// What a problem means and what to do about it: the page that a problem's `type` names.
async fn problem_page(
    Path(slug): Path<String>,
    nonce: Option<Extension<Nonce>>,
) -> Result<Response, Failure> {
    let kind = problem::ALL
        .iter()
        .find(|kind| kind.slug == slug)
        .ok_or_else(|| Failure(Problem::new(&problem::NOT_FOUND)))?;
    let page = Page {
        title: kind.title,
        nonce: nonce.as_ref().map(|Extension(nonce)| nonce),
    };
    let body = crate::problem_pages::html(kind.slug);
    Ok((StatusCode::OK, Html(page.render(&body).into_string())).into_response())
}
