//! The field API: what the product calls to seal its fields and to open them (E3, E4, K3).
//!
//! By the time a handler runs, the pipeline has let a program's key through that holds the route's
//! permission. A key of a tenant works for that tenant alone.

pub(crate) mod import_fernet;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, State};
use axum::http::{HeaderMap, Request};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_console::api::{Failure, json_up_to, no_store};
use portcullis_core::finding::Finding;
use portcullis_core::{Clock, Principal, Problem, Secret, TenantId, problem};
use portcullis_events::{Action, Actor, By, Event, Outcome, Target, Trail};
use portcullis_store::Db;
use portcullis_vault::fernet::Fernet;
use portcullis_vault::fields::{self, Place};
use portcullis_vault::{Fields, Keys};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{self, Config, Loaded, Secrets};

/// What a key must hold to seal, to index and to seal anew.
pub(crate) const SEAL: &str = "seal:vault";
/// What a key must hold to open.
pub(crate) const OPEN: &str = "open:vault";
/// Every route, below what the binary reserves for itself, with the permission that it asks for.
pub(crate) const ROUTES: [(&str, &str); 5] = [
    ("/vault/seal", SEAL),
    ("/vault/reseal", SEAL),
    ("/vault/index", SEAL),
    ("/vault/open", OPEN),
    ("/vault/import-fernet", import_fernet::IMPORT),
];
/// Largest body, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// Values in one call.
const MOST: usize = 1000;

/// What is wrong with `[vault]`, with what seals its values there, and with the keys that are above
/// all others.
pub(crate) fn findings(config: &Config, secrets: &Secrets, keys: &Keys) -> Vec<Finding> {
    let of_vault = config.vault.iter().flat_map(fields::Config::findings);
    let of_vault = of_vault.map(|(key, message)| Finding::error("vault", key, message));
    let of_store = config.secret_store.iter();
    let of_store = of_store.flat_map(portcullis_events::secret_store::Config::findings);
    let of_store = of_store.map(|(key, message)| Finding::error("secret-store", key, message));
    let mut findings: Vec<Finding> = of_vault.chain(of_store).collect();
    findings.extend(config::kek::findings(config, secrets, keys));
    findings.extend(config::remote_secrets::findings(config, secrets));
    findings.extend(import_fernet::compile(secrets).err());
    findings
}

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Vault {
    pub(crate) fields: Fields,
    fernet: Arc<Fernet>,
    pub(crate) trail: Trail,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Vault {
    pub(crate) fn new(
        loaded: &Loaded,
        keys: &Keys,
        db: &Db,
        trail: &Trail,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Vec<Finding>> {
        let config = &loaded.config;
        let settings = config.vault.clone().unwrap_or_default();
        let under = config::kek::compile(config, &loaded.secrets, keys, clock)?;
        let (clock_too, remember_for) = (Arc::clone(clock), config.kek.remember_for);
        Ok(Vault {
            fields: Fields::new(db.clone(), under, clock_too, &settings, remember_for),
            fernet: import_fernet::compile(&loaded.secrets).map_err(|finding| vec![finding])?,
            trail: trail.clone(),
            clock: Arc::clone(clock),
        })
    }
}

/// The handlers, relative to where they are mounted.
pub(crate) fn router(vault: Vault) -> Router {
    Router::new()
        .route("/vault/seal", post(seal))
        .route("/vault/reseal", post(reseal))
        .route("/vault/index", post(index))
        .route("/vault/open", post(open))
        .route("/vault/import-fernet", post(import_fernet::import))
        .layer(axum::middleware::map_response(no_store))
        .with_state(vault)
}

/// Values of one tenant, each answered in its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<T> {
    /// The tenant's id. Nothing: the key's own, or where the key has none, no tenant.
    #[serde(default)]
    tenant: Option<uuid::Uuid>,
    items: Vec<T>,
}

#[derive(Serialize)]
struct Answers<T> {
    items: Vec<T>,
}

/// How a value is written in JSON.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Text,
    Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToSeal {
    table: String,
    field: String,
    row: String,
    /// Whose value it is within the tenant: it gets keys of its own, which can be destroyed.
    #[serde(default)]
    subject: Option<String>,
    value: portcullis_core::Secret<String>,
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToOpen {
    table: String,
    field: String,
    row: String,
    sealed: String,
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToIndex {
    table: String,
    field: String,
    value: portcullis_core::Secret<String>,
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Serialize)]
struct SealedView {
    sealed: String,
}

#[derive(Serialize)]
struct IndexView {
    index: String,
}

/// One value, or that it does not open.
#[derive(Serialize)]
#[serde(untagged)]
enum OpenedView {
    Value { value: String },
    Error { error: &'static str },
}

/// A batch, with whose it is and who asks.
struct Asked<T> {
    tenant: Option<TenantId>,
    by: By,
    items: Vec<T>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let headers: &HeaderMap = &parts.headers;
        let batch: Batch<T> = json_up_to(MAX_BODY, headers, body).await?;
        if batch.items.len() > MOST {
            let said = format!("at most {MOST} in one call");
            return Err(Problem::new(&problem::INVALID_INPUT)
                .field("items", said)
                .into());
        }
        let Some(Principal::ApiKey(key)) = parts.extensions.get::<Principal>() else {
            return Err(Problem::new(&problem::NOT_PERMITTED).into());
        };
        let asked = batch.tenant.map(TenantId::from_uuid);
        // SECURITY: a tenant's key never works for another, whatever the body says.
        let tenant = match (key.tenant, asked) {
            (None, asked) => asked,
            (Some(own), None) => Some(own),
            (Some(own), Some(asked)) if own == asked => Some(own),
            (Some(_), Some(_)) => return Err(Problem::new(&problem::NOT_PERMITTED).into()),
        };
        Ok(Asked {
            tenant,
            by: By::of(&parts.extensions, Actor::ApiKey(key.id)),
            items: batch.items,
        })
    }
}

async fn seal(
    State(vault): State<Vault>,
    asked: Asked<ToSeal>,
) -> Result<Json<Answers<SealedView>>, Failure> {
    let mut items = Vec::with_capacity(asked.items.len());
    for item in &asked.items {
        let place = place(asked.tenant, &item.table, &item.field, &item.row)?;
        let plain = item.encoding.read(item.value.expose())?;
        let subject = item.subject.as_deref();
        let sealed = vault.fields.seal(&place, subject, plain.expose()).await;
        items.push(SealedView {
            sealed: sealed.map_err(Problem::from)?,
        });
    }
    Ok(Json(Answers { items }))
}

async fn reseal(
    State(vault): State<Vault>,
    asked: Asked<ToOpen>,
) -> Result<Json<Answers<SealedView>>, Failure> {
    let mut items = Vec::with_capacity(asked.items.len());
    for item in &asked.items {
        let place = place(asked.tenant, &item.table, &item.field, &item.row)?;
        let sealed = vault.fields.reseal(&place, &item.sealed).await;
        items.push(SealedView {
            sealed: sealed.map_err(Problem::from)?,
        });
    }
    Ok(Json(Answers { items }))
}

async fn index(
    State(vault): State<Vault>,
    asked: Asked<ToIndex>,
) -> Result<Json<Answers<IndexView>>, Failure> {
    let mut items = Vec::with_capacity(asked.items.len());
    for item in &asked.items {
        must_not_be_ours(&item.table)?;
        let plain = item.encoding.read(item.value.expose())?;
        let index = vault
            .fields
            .blind_index(asked.tenant, &item.table, &item.field, plain.expose())
            .await
            .map_err(Problem::from)?;
        items.push(IndexView {
            index: STANDARD.encode(index),
        });
    }
    Ok(Json(Answers { items }))
}

async fn open(
    State(vault): State<Vault>,
    asked: Asked<ToOpen>,
) -> Result<Json<Answers<OpenedView>>, Failure> {
    let mut items = Vec::with_capacity(asked.items.len());
    let mut opened = 0_u64;
    for item in &asked.items {
        let place = place(asked.tenant, &item.table, &item.field, &item.row)?;
        let view = match vault.fields.open(&place, &item.sealed).await {
            Ok(plain) => {
                opened += 1;
                OpenedView::Value {
                    value: item.encoding.write(plain.expose())?,
                }
            }
            // One that does not open hides none of the others.
            Err(fields::Error::DoesNotOpen) => OpenedView::Error {
                error: problem::DOES_NOT_OPEN.slug,
            },
            Err(error) => return Err(Problem::from(error).into()),
        };
        items.push(view);
    }
    // SECURITY: nothing is handed out before it is written down who got it.
    let event = Event::new(vault.clock.now(), Action::FieldsOpened, Outcome::Allowed)
        .done(&asked.by)
        .to(Target::named("vault", "fields"))
        .tenant(asked.tenant)
        .with("opened", opened)
        .with("asked", u64::try_from(items.len()).unwrap_or(u64::MAX));
    vault
        .trail
        .record(event)
        .await
        .map_err(|error| Problem::new(&problem::TEMPORARILY_UNAVAILABLE).caused_by(error))?;
    Ok(Json(Answers { items }))
}

/// Where a value stands, in a table of the product's.
///
/// SECURITY: what the gate itself seals stands in tables of ours. Whoever copied such a value out of the
/// database could have it opened here.
fn place<'a>(
    tenant: Option<TenantId>,
    table: &'a str,
    field: &'a str,
    row: &'a str,
) -> Result<Place<'a>, Problem> {
    must_not_be_ours(table)?;
    Ok(Place {
        tenant,
        table,
        field,
        row,
    })
}

fn must_not_be_ours(table: &str) -> Result<(), Problem> {
    if table.starts_with(fields::OURS) {
        let said = "must not begin with `portcullis.`: such are the gate's own";
        return Err(Problem::new(&problem::INVALID_INPUT).field("table", said));
    }
    Ok(())
}

impl Encoding {
    fn read(self, text: &str) -> Result<Secret<Vec<u8>>, Failure> {
        match self {
            Encoding::Text => Ok(Secret::new(text.as_bytes().to_vec())),
            Encoding::Base64 => STANDARD.decode(text).map(Secret::new).map_err(|_| {
                let said = "is no base64 (RFC 4648 section 4), as `encoding` says it is";
                Problem::new(&problem::INVALID_INPUT)
                    .field("value", said)
                    .into()
            }),
        }
    }

    fn write(self, plain: &[u8]) -> Result<String, Failure> {
        match self {
            Encoding::Text => String::from_utf8(plain.to_vec()).map_err(|_| {
                let said = "the value is no text: ask for `base64`";
                Problem::new(&problem::INVALID_INPUT)
                    .field("encoding", said)
                    .into()
            }),
            Encoding::Base64 => Ok(STANDARD.encode(plain)),
        }
    }
}
