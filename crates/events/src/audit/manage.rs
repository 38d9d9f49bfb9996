//! The audit trail in the admin API: events, proofs and checkpoints. Whoever holds `manage:audit` in a tenant
//! reads and proves the events of that one alone.
//!
//! SECURITY: below `/tenants/{tenant}` the pipeline lets nobody through whose own tenant is not the one in the
//! path, and the tenant is taken from the caller, never from the request. What a proof shows of other events is
//! hashes.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use portcullis_console::api::{Failure, Immutable, paging, parse_id};
use portcullis_core::id::EventId;
use portcullis_core::{Problem, TenantId, Timestamp, problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::tiles::{Resource, What};
use super::{Filter, Log};
use crate::secret_store::of_tenant::Own;

impl From<super::Error> for Failure {
    fn from(error: super::Error) -> Self {
        Failure(error.into())
    }
}

/// For whatever state has the log in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Log: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(prove_event))
        .routes(routes!(newest_checkpoint))
        .routes(routes!(prove_consistency))
        .routes(routes!(read_tile))
        .routes(routes!(witnessed_checkpoint))
        .routes(routes!(list_own_events))
        .routes(routes!(prove_own_event))
        .routes(routes!(newest_checkpoint_for_tenants))
        .routes(routes!(read_tile_for_tenants))
        .routes(routes!(witnessed_checkpoint_for_tenants))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many, newest first. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The list goes on where this `next` of the page before says.
    after: Option<String>,
    /// Only this action, such as `login.failed`.
    action: Option<String>,
    /// Only what was `allowed`, `denied` or `failed`.
    #[param(pattern = "^(allowed|denied|failed)$")]
    outcome: Option<String>,
    /// Only by this user, API key or visitor.
    #[param(value_type = Option<String>, format = Uuid)]
    actor: Option<String>,
    /// Not before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
}

impl Asked {
    fn filter(&self, tenant: Option<TenantId>) -> Result<Filter, Failure> {
        let time = |field, text: &Option<String>| -> Result<Option<Timestamp>, Failure> {
            let parsed = text.as_deref().map(str::parse).transpose();
            parsed.map_err(|_| paging::refused(field, "must be a time"))
        };
        let action = self.action.as_deref().map(str::parse).transpose();
        let outcome = self.outcome.as_deref().map(str::parse).transpose();
        let actor = self.actor.as_deref().map(str::parse::<Uuid>).transpose();
        Ok(Filter {
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
            actor: actor.map_err(|_| paging::refused("actor", "must be an id"))?,
            action: action.map_err(|_| paging::refused("action", "must be an action"))?,
            outcome: outcome
                .map_err(|_| paging::refused("outcome", "must be allowed, denied or failed"))?,
            tenant,
        })
    }
}

/// A page of the trail.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvents)]
struct Events {
    /// Newest first. Those whose personal part is not open say so in `personal`: `sealed` or `erased`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<serde_json::Value>,
    /// Where the next page begins; nothing when this was the last one.
    next: Option<String>,
}

async fn page(
    log: &Log,
    asked: Result<Query<Asked>, QueryRejection>,
    tenant: Option<TenantId>,
) -> Result<Json<Events>, Failure> {
    let Query(asked) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(asked.limit)?;
    let after = asked.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_: super::Error| paging::unknown())?;
    let page = log.list(&asked.filter(tenant)?, after, limit).await?;
    Ok(Json(Events {
        events: page.events.iter().map(super::Event::to_json).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

type Text = ([(HeaderName, HeaderValue); 1], String);

fn text(text: String) -> Text {
    const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(CONTENT_TYPE, PLAIN)], text)
}

async fn proof(log: &Log, id: &str, tenant: Option<TenantId>) -> Result<Text, Failure> {
    let id: EventId = parse_id(id)?;
    let proof = log.prove(id, tenant.map(TenantId::as_uuid)).await?;
    let proof = proof.ok_or(Problem::new(&problem::NOT_FOUND))?;
    Ok(text(proof.text()))
}

async fn checkpoint(log: &Log) -> Result<Text, Failure> {
    let newest = log.cosigned_checkpoint().await?;
    Ok(text(newest.ok_or(Problem::new(&problem::NOT_FOUND))?))
}

async fn witnessed(log: &Log) -> Result<Text, Failure> {
    let newest = log.witnessed_checkpoint().await?;
    Ok(text(newest.ok_or(Problem::new(&problem::NOT_FOUND))?))
}

/// A resource of c2sp.org/tlog-tiles, by its path below `tile/`.
async fn tile(log: &Log, path: &str, with_entries: bool) -> Result<Response, Failure> {
    const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
    let missing = || Problem::new(&problem::NOT_FOUND);
    let resource = Resource::parse(path).ok_or_else(missing)?;
    let is_content = match resource.what {
        What::Hashes(_) => false,
        // SECURITY: a bundle has the events of all tenants, one beside the other.
        What::Entries(_) if with_entries => true,
        What::Entries(_) => return Err(missing().into()),
    };
    let bytes = log.resource(resource).await?.ok_or_else(missing)?;
    let mut response = ([(CONTENT_TYPE, BYTES)], bytes).into_response();
    // Hashes say nothing and stay. Events are kept by nobody but the trail, which forgets some in the end.
    if !is_content {
        response.extensions_mut().insert(Immutable);
    }
    Ok(response)
}

/// Lists events of all tenants.
#[utoipa::path(get, path = "/audit/events", tag = "audit", params(Asked),
    responses((status = 200, description = "Events, newest first", body = Events)),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn list_events(
    State(log): State<Log>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Events>, Failure> {
    page(&log, asked, None).await
}

/// Proves that an event is in the log, under its newest checkpoint (c2sp.org/tlog-proof). An event that was
/// recorded within the last second may not be there yet.
#[utoipa::path(get, path = "/audit/events/{id}/proof", tag = "audit",
    params(("id" = String, Path, format = Uuid, description = "The event's id")),
    responses((status = 200, description = "The proof", body = String, content_type = "text/plain")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn prove_event(State(log): State<Log>, Path(id): Path<String>) -> Result<Text, Failure> {
    proof(&log, &id, None).await
}

/// The log's newest signed checkpoint (c2sp.org/tlog-checkpoint), with the cosignatures of witnesses who have signed
/// that one already.
#[utoipa::path(get, path = "/audit/checkpoint", tag = "audit",
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn newest_checkpoint(State(log): State<Log>) -> Result<Text, Failure> {
    checkpoint(&log).await
}

/// The newest checkpoint that as many witnesses signed as `audit.witnesses-wanted` says, one at least, with their
/// cosignatures (c2sp.org/tlog-cosignature).
#[utoipa::path(get, path = "/audit/checkpoint/witnessed", tag = "audit",
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn witnessed_checkpoint(State(log): State<Log>) -> Result<Text, Failure> {
    witnessed(&log).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Since {
    /// The size of the checkpoint that was kept.
    old: u64,
}

/// That the newest checkpoint goes on from an older one (RFC 6962 section 2.1.2).
#[derive(Serialize, ToSchema)]
#[schema(as = AuditConsistency)]
struct Consistency {
    /// Hashes in base64, as RFC 6962 orders them.
    proof: Vec<String>,
    checkpoint: String,
}

/// Proves that the log goes on from an older checkpoint.
#[utoipa::path(get, path = "/audit/consistency", tag = "audit", params(Since),
    responses((status = 200, description = "The proof", body = Consistency)),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn prove_consistency(
    State(log): State<Log>,
    asked: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Consistency>, Failure> {
    let refused = || paging::refused("old", "must be the size of a checkpoint of this log");
    let Query(asked) = asked.map_err(|_| refused())?;
    let (proof, checkpoint) = log.consistency(asked.old).await?.ok_or_else(refused)?;
    Ok(Json(Consistency {
        proof: proof.iter().map(|hash| STANDARD.encode(hash)).collect(),
        checkpoint,
    }))
}

/// A tile of the log's hashes, or a bundle of its entries (c2sp.org/tlog-tiles; the prefix is that of
/// `checkpoint`).
#[utoipa::path(get, path = "/audit/tile/{*tile}", tag = "audit",
    params(("tile" = String, Path, pattern = "^([0-7]|entries)/(x[0-9]{3}/)*[0-9]{3}([.]p/[1-9][0-9]{0,2})?$",
        description = "`LEVEL/INDEX`, `LEVEL/INDEX.p/WIDTH` or the same with `entries` for the level; the index in groups of three digits, such as `x001/x234/067`. Slashes stand as they are: an escaped one is refused in every path")),
    responses((status = 200, description = "32 bytes per hash, or entries with two bytes of length before each",
        body = String, content_type = "application/octet-stream")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn read_tile(State(log): State<Log>, Path(path): Path<String>) -> Result<Response, Failure> {
    tile(&log, &path, true).await
}

/// Lists the events of the caller's tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/audit/events", tag = "audit", params(Asked,
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "Events, newest first", body = Events)),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn list_own_events(
    State(log): State<Log>,
    own: Own,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Events>, Failure> {
    page(&log, asked, Some(own.tenant)).await
}

/// Proves that an event of the caller's tenant is in the log.
#[utoipa::path(get, path = "/tenants/{tenant}/audit/events/{id}/proof", tag = "audit", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("id" = String, Path, format = Uuid, description = "The event's id")),
    responses((status = 200, description = "The proof", body = String, content_type = "text/plain")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn prove_own_event(
    State(log): State<Log>,
    own: Own,
    Path((_, id)): Path<(String, String)>,
) -> Result<Text, Failure> {
    proof(&log, &id, Some(own.tenant)).await
}

/// The log's newest signed checkpoint, for a tenant's own administrators.
#[utoipa::path(get, path = "/tenants/{tenant}/audit/checkpoint", tag = "audit", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn newest_checkpoint_for_tenants(State(log): State<Log>, _own: Own) -> Result<Text, Failure> {
    checkpoint(&log).await
}

/// The newest checkpoint that witnesses signed, for a tenant's own administrators.
#[utoipa::path(get, path = "/tenants/{tenant}/audit/checkpoint/witnessed", tag = "audit", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn witnessed_checkpoint_for_tenants(
    State(log): State<Log>,
    _own: Own,
) -> Result<Text, Failure> {
    witnessed(&log).await
}

/// A tile of the log's hashes, for a tenant's own administrators. Entries are not served here: a bundle of them has
/// those of other tenants. A tenant gets its own by their proofs.
#[utoipa::path(get, path = "/tenants/{tenant}/audit/tile/{*tile}", tag = "audit", params(
    ("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"),
    ("tile" = String, Path, pattern = "^[0-7]/(x[0-9]{3}/)*[0-9]{3}([.]p/[1-9][0-9]{0,2})?$",
        description = "`LEVEL/INDEX` or `LEVEL/INDEX.p/WIDTH`; the index in groups of three digits, such as `x001/x234/067`. Slashes stand as they are: an escaped one is refused in every path")),
    responses((status = 200, description = "32 bytes per hash", body = String, content_type = "application/octet-stream")),
    security(("session" = ["manage:audit"]), ("api-key" = ["manage:audit"])))]
async fn read_tile_for_tenants(
    State(log): State<Log>,
    _own: Own,
    Path((_, path)): Path<(String, String)>,
) -> Result<Response, Failure> {
    tile(&log, &path, false).await
}
