//! The frame of the admin API: what all of its routes have in common.
//!
//! - A route is a function with `#[utoipa::path]`. Its `security` names the one permission that it
//!   asks for; [`operations`] reads that again, and the binary makes the gate's own routes of it.
//!   So there is no way to add a handler here that the pipeline does not guard.
//! - A handler takes [`By`], [`Input`] and the ids in the path, calls one method, and answers.
//! - Whatever it changes is one transaction with its audit event, in the slice's own code.

use axum::Router;
use axum::extract::{FromRef, FromRequestParts};
use axum::routing::get;
use http::Method;
use http::request::Parts;
use portcullis_console::api::{Failure, no_store};
use portcullis_core::{Principal, Problem, problem};
use portcullis_events::{
    Alerts, Anomalies, Incidents, Scans, SecretStore, UploadStore, Webhooks, alerts, anomalies,
    audit, incidents, scans, secret_store, upload_store, webhooks,
};
use serde::Serialize;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::accounts::By;
use crate::{
    Accounts, ApiKeys, Client, OpenidLogin, Privacy, SigningKeys, Tenants, Visitors, api_keys,
    import, openid_login, privacy, sessions, signing_keys, tenants, users, visitors,
};

/// Where the whole API lies, below what the binary reserves for itself.
pub const MOUNT: &str = "/admin/v1";
/// Who may read the document.
pub const READ_DOCUMENT: &str = "manage:system";

/// What the handlers work with.
#[derive(Clone)]
pub struct Admin {
    pub accounts: Accounts,
    pub keys: ApiKeys,
    pub tenants: Tenants,
    pub visitors: Visitors,
    pub webhooks: Webhooks,
    pub alerts: Alerts,
    pub anomalies: Anomalies,
    pub incidents: Incidents,
    pub secret_store: SecretStore,
    pub upload_store: UploadStore,
    pub signing_keys: SigningKeys,
    pub openid: OpenidLogin,
    pub audit_log: audit::Log,
    pub privacy: Privacy,
    pub scans: Scans,
}

impl FromRef<Admin> for Scans {
    fn from_ref(admin: &Admin) -> Self {
        admin.scans.clone()
    }
}

impl FromRef<Admin> for audit::Log {
    fn from_ref(admin: &Admin) -> Self {
        admin.audit_log.clone()
    }
}

impl FromRef<Admin> for SecretStore {
    fn from_ref(admin: &Admin) -> Self {
        admin.secret_store.clone()
    }
}

impl FromRef<Admin> for UploadStore {
    fn from_ref(admin: &Admin) -> Self {
        admin.upload_store.clone()
    }
}

impl FromRef<Admin> for Alerts {
    fn from_ref(admin: &Admin) -> Self {
        admin.alerts.clone()
    }
}

impl FromRef<Admin> for Anomalies {
    fn from_ref(admin: &Admin) -> Self {
        admin.anomalies.clone()
    }
}

impl FromRef<Admin> for Incidents {
    fn from_ref(admin: &Admin) -> Self {
        admin.incidents.clone()
    }
}

impl FromRef<Admin> for Webhooks {
    fn from_ref(admin: &Admin) -> Self {
        admin.webhooks.clone()
    }
}

/// One route of the API: what the pipeline has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    /// Relative to [`MOUNT`].
    pub path: String,
    /// Nothing where the handler does not name exactly one: such a route stays shut.
    pub permission: Option<String>,
}

impl Route {
    /// Largest body, in bytes, where it takes a longer one than the others.
    pub fn max_body(&self) -> Option<usize> {
        if self.path.starts_with(import::manage::AT) {
            Some(import::manage::MAX_BODY)
        } else if self.path == scans::manage::RECORD {
            Some(scans::MAX_REPORT)
        } else {
            None
        }
    }
}

/// Every slice's routes.
fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .merge(import::manage::routes())
        .merge(users::manage::routes())
        .merge(openid_login::manage::routes())
        .merge(sessions::manage::routes())
        .merge(signing_keys::manage::routes())
        .merge(api_keys::manage::routes())
        .merge(tenants::manage::routes())
        .merge(visitors::manage::routes())
        .merge(webhooks::manage::routes())
        .merge(anomalies::manage::routes())
        .merge(alerts::manage::routes())
        .merge(incidents::manage::routes())
        .merge(scans::manage::routes())
        .merge(secret_store::manage::routes())
        .merge(secret_store::of_tenant::routes())
        .merge(upload_store::manage::routes())
        .merge(audit::manage::routes())
        .merge(privacy::manage::routes())
}

/// The handlers, relative to [`MOUNT`].
pub fn router(admin: Admin, base: &str) -> Router {
    let document = document(base);
    routes()
        .split_for_parts()
        .0
        .route(
            "/openapi.json",
            get(async move || axum::Json(document.clone())),
        )
        .fallback(async || Failure(Problem::new(&problem::NOT_FOUND)))
        .method_not_allowed_fallback(async || Failure(Problem::new(&problem::METHOD_NOT_ALLOWED)))
        .layer(axum::middleware::map_response(no_store))
        .with_state(admin)
}

/// Every route there is, with the permission that it asks for.
pub fn operations() -> Vec<Route> {
    let mut all = vec![Route {
        method: Method::GET,
        path: "/openapi.json".to_owned(),
        permission: Some(READ_DOCUMENT.to_owned()),
    }];
    for (path, item) in &routes().into_openapi().paths.paths {
        all.extend(methods(item).map(|(method, operation)| Route {
            method,
            path: path.clone(),
            permission: permission(operation),
        }));
    }
    all
}

fn methods(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// The permission under `security`: a list with one scheme that has one scope.
fn permission(operation: &Operation) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct One(std::collections::BTreeMap<String, Vec<String>>);
    let written = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let list: Vec<One> = serde_json::from_value(written).ok()?;
    let mut permissions: Vec<String> = list
        .into_iter()
        .flat_map(|One(schemes)| schemes.into_values().flatten())
        .collect();
    permissions.dedup();
    let one = permissions.pop()?;
    permissions.is_empty().then_some(one)
}

/// The OpenAPI document of all routes, as they are below `base`.
pub fn document(base: &str) -> OpenApi {
    let mut api = OpenApiRouter::<Admin>::new()
        .nest(&format!("{base}{MOUNT}"), routes())
        .into_openapi();
    // The router's word for the rest of a path is none of OpenAPI's.
    let paths = std::mem::take(&mut api.paths.paths).into_iter();
    api.paths.paths = paths
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    "Portcullis admin API".clone_into(&mut api.info.title);
    "1".clone_into(&mut api.info.version);
    api.info.description = Some("A call bears an API key, or a session cookie with `X-CSRF-Token`. The scopes under `security` are permissions: the caller must hold them.".to_owned());
    let components = api.components.get_or_insert_default();
    components.add_security_scheme(
        "api-key",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("__Host-session"))),
    );
    components.schemas.insert(
        ProblemDocument::name().into_owned(),
        ProblemDocument::schema(),
    );
    let refusal = ResponseBuilder::new()
        .description("Refused, and why (RFC 9457)")
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(ProblemDocument::name())))
                .build(),
        )
        .build();
    for item in api.paths.paths.values_mut() {
        for operation in [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ]
        .into_iter()
        .flatten()
        {
            let refusal = refusal.clone().into();
            operation
                .responses
                .responses
                .insert("default".to_owned(), refusal);
        }
    }
    api
}

/// What every refusal looks like. It is written elsewhere; this describes it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
struct ProblemDocument {
    r#type: String,
    title: String,
    status: u16,
    detail: Option<String>,
    request_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Failure;

    /// The permitted caller. The pipeline has let nobody through whom it does not know.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let actor = portcullis_events::By::caller(&parts.extensions)?.actor;
        let client = Client::of(&parts.extensions);
        let caller = parts.extensions.get::<Principal>();
        Ok(match caller {
            Some(caller) => By::caller(actor, client, caller),
            None => By::themselves(actor, client),
        })
    }
}
