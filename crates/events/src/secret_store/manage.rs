//! Secrets in the admin API: what there is, new values, rotation. No private part leaves here, also not
//! the one that was just written (X3, W4).

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Query, Request, State};
use http::StatusCode;
use http::request::Parts;
use portcullis_console::api::{Failure, json_up_to, paging, parse_id};
use portcullis_core::{Problem, Secret, Span, TenantId, Timestamp, problem};
use portcullis_vault::tokens::sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    Change, Done, Error, Label, Listed, Made, Public, Rotation, SecretStore, Stored, Version,
};
use crate::audit::By;

/// Largest body, in bytes: the largest value may be escaped.
const MAX_BODY: usize = 64 * 1024;

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    SecretStore: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_secrets))
        .routes(routes!(show_secret, write_secret, remove_secret))
        .routes(routes!(rotate_secret))
        .routes(routes!(end_previous_values))
}

/// A secret, without its values.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredSecret)]
pub struct SecretView {
    name: String,
    /// Whose it is; nothing for the product's own.
    #[schema(value_type = Option<String>, format = Uuid)]
    tenant: Option<TenantId>,
    /// Who answers for it.
    owner: String,
    purpose: String,
    /// `provider`, or how it is made at random: `hex:32`.
    made: String,
    rotate_every: Option<String>,
    /// How long an old value is served beside a new one.
    overlap: String,
    created_at: String,
    rotated_at: String,
    /// The version in use.
    version: i64,
    age_days: u64,
    overdue: bool,
    /// Where it is in the store of `[secret-store.remote]`; nothing where there is none, for a file, and for
    /// tenants' own administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<RemoteView>,
    /// Newest first; in lists there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<VersionView>>,
}

/// How far a secret was carried to the store of somebody else.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredSecretRemote)]
pub struct RemoteView {
    /// `written`, `pending`, `failing` (it is tried again) or `drifted` (somebody else changed it there: it
    /// is left alone until `portcullis secrets push`).
    state: &'static str,
    /// The version that was written there last; 0 for none.
    version: i64,
    /// Since when it fails, or since when it is known to have drifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Why it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl RemoteView {
    fn of(stored: &Stored) -> Self {
        let none = |state, version| RemoteView {
            state,
            version,
            since: None,
            fault: None,
        };
        let Some(carried) = &stored.carried else {
            return none("pending", 0);
        };
        let version = carried.version;
        match (carried.drifted_at, carried.failing_since) {
            (Some(at), _) => RemoteView {
                since: Some(at.to_string()),
                ..none("drifted", version)
            },
            (None, Some(since)) => RemoteView {
                since: Some(since.to_string()),
                fault: carried.fault.clone(),
                ..none("failing", version)
            },
            (None, None) if version < stored.version => none("pending", version),
            (None, None) => none("written", version),
        }
    }
}

/// A version, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredSecretVersion)]
pub struct VersionView {
    version: i64,
    /// `current`, `previous` (served still) or `retired`.
    state: &'static str,
    #[schema(value_type = Object)]
    public: Map<String, Value>,
    created_at: String,
    served_until: Option<String>,
    made_by: String,
}

impl VersionView {
    fn of(version: Version, now: Timestamp) -> Self {
        VersionView {
            state: version.standing(now).as_str(),
            version: version.version,
            public: version.public.into_map(),
            created_at: version.created_at.to_string(),
            served_until: version.served_until.map(|at| at.to_string()),
            made_by: version.made_by,
        }
    }
}

impl SecretStore {
    pub fn view(&self, stored: &Stored) -> SecretView {
        SecretView {
            name: stored.label.name.to_string(),
            tenant: stored.label.tenant,
            owner: stored.owner.clone(),
            purpose: stored.purpose.clone(),
            made: stored.made.to_string(),
            rotate_every: stored.rotate_every.map(|every| every.to_string()),
            overlap: stored.overlap.to_string(),
            created_at: stored.created_at.to_string(),
            rotated_at: stored.rotated_at.to_string(),
            version: stored.version,
            age_days: self.age(stored).as_seconds() / 86_400,
            overdue: self.is_overdue(stored),
            remote: (self.remote.is_some() && stored.made != Made::File)
                .then(|| RemoteView::of(stored)),
            versions: None,
        }
    }

    /// With its versions.
    pub async fn whole_view(&self, label: &Label) -> Result<SecretView, Error> {
        let stored = self.find(label).await?;
        let now = self.clock.now();
        let versions = self.versions(&stored).await?.into_iter();
        let mut view = self.view(&stored);
        view.versions = Some(versions.map(|one| VersionView::of(one, now)).collect());
        Ok(view)
    }
}

impl SecretView {
    /// Without what is the operator's alone: where it is carried to.
    pub(super) fn for_tenants(self) -> Self {
        SecretView {
            remote: None,
            ..self
        }
    }
}

/// One line for people.
impl std::fmt::Display for SecretView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = self
            .tenant
            .map_or_else(|| "-".to_owned(), |tenant| tenant.to_string());
        let overdue = if self.overdue { "  OVERDUE" } else { "" };
        write!(
            f,
            "{}  {whose}  version {}  {} days old{overdue}  made by {}  owner {}  {}",
            self.name, self.version, self.age_days, self.made, self.owner, self.purpose
        )?;
        if let Some(remote) = &self.remote {
            write!(f, "  {}", remote.state)?;
            if let Some(since) = &remote.since {
                write!(f, " since {since}")?;
            }
            if let Some(fault) = &remote.fault {
                write!(f, " ({fault})")?;
            }
        }
        for one in self.versions.iter().flatten() {
            let until = one.served_until.as_deref().unwrap_or("-");
            write!(
                f,
                "\n  version {}  {}  since {}  until {until}  by {}",
                one.version, one.state, one.created_at, one.made_by
            )?;
        }
        Ok(())
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many, by tenant and name. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only this tenant's, by its id; `none` for the product's own.
    tenant: Option<String>,
    /// The list goes on behind this one: its name, or `TENANT/NAME`.
    after: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct OfTenant {
    /// The tenant's id. Default: the product's own secret of that name.
    #[param(value_type = Option<String>, format = Uuid)]
    tenant: Option<String>,
}

/// A secret as it is to be. What is not given stays as it is; a new one needs `owner` and `purpose`.
#[derive(Deserialize, ToSchema)]
#[schema(as = SecretToWrite)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// The private part. It is never shown again here.
    #[schema(value_type = Option<String>)]
    value: Option<Secret<String>>,
    /// What every client of the tenant may know, such as `{"publicApiKey": ".."}`.
    #[schema(value_type = Option<Object>)]
    public: Option<Map<String, Value>>,
    owner: Option<String>,
    purpose: Option<String>,
    /// `provider` (default), or `hex:N` or `base64url:N` for N random bytes.
    made: Option<String>,
    /// Such as `90d`; `0s` for never.
    #[schema(value_type = Option<String>)]
    rotate_every: Option<Span>,
    /// How long the value before is served still, at most `90d`.
    #[schema(value_type = Option<String>)]
    overlap: Option<Span>,
}

/// A new value. Without one it is made at random, as `made` says.
#[derive(Deserialize, ToSchema)]
#[schema(as = SecretRotation)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotated {
    #[schema(value_type = Option<String>)]
    value: Option<Secret<String>>,
    #[schema(value_type = Option<Object>)]
    public: Option<Map<String, Value>>,
    /// For this time alone; `0s` where the old value is known to others.
    #[schema(value_type = Option<String>)]
    overlap: Option<Span>,
}

/// How many values are served no more.
#[derive(Serialize, ToSchema)]
pub(super) struct Ended {
    pub(super) ended: u64,
}

/// Whose secret, and who asks.
struct Named {
    label: Label,
    by: By,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let by = By::caller(&parts.extensions)?;
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(&problem::NOT_FOUND))?;
        let query: Result<Query<OfTenant>, QueryRejection> =
            Query::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|_| paging::refused("query", "has `tenant` alone"))?;
        let tenant = match query.tenant.as_deref() {
            None => None,
            Some(id) => Some(id.parse().map_err(|_| Error::NoTenant)?),
        };
        let label = Label {
            tenant,
            name: name.parse()?,
        };
        Ok(Named { label, by })
    }
}

/// A body, and the digest of its `Idempotency-Key`.
pub(super) struct Keyed<T>(T, Option<[u8; 32]>);

impl Keyed<Written> {
    pub(super) fn into_change(self) -> Result<Change, Failure> {
        let Keyed(input, request) = self;
        Ok(Change {
            value: input.value,
            public: public(input.public)?,
            owner: input.owner,
            purpose: input.purpose,
            made: input.made.map(|made| made.parse::<Made>()).transpose()?,
            rotate_every: input.rotate_every,
            overlap: input.overlap,
            request,
        })
    }
}

impl Keyed<Rotated> {
    pub(super) fn into_rotation(self) -> Result<Rotation, Failure> {
        let Keyed(input, request) = self;
        Ok(Rotation {
            value: input.value,
            public: public(input.public)?,
            overlap: input.overlap,
            request,
        })
    }
}

pub(super) fn status_of(done: Done) -> StatusCode {
    match done {
        Done::Created => StatusCode::CREATED,
        Done::NewVersion | Done::Described | Done::Unchanged => StatusCode::OK,
    }
}

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for Keyed<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let body: Body = body;
        let key = parts.headers.get("idempotency-key");
        let input = json_up_to(MAX_BODY, &parts.headers, body).await?;
        Ok(Keyed(input, key.map(|key| sha256(key.as_bytes()))))
    }
}

fn public(given: Option<Map<String, Value>>) -> Result<Option<Public>, Failure> {
    Ok(given.map(Public::new).transpose()?)
}

/// Lists the secrets, without their values.
#[utoipa::path(get, path = "/secrets", tag = "secrets", params(Asked),
    responses((status = 200, description = "Secrets, by tenant and name", body = Vec<SecretView>)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn list_secrets(
    State(store): State<SecretStore>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<SecretView>>, Failure> {
    let Query(asked) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(asked.limit)?;
    let listed = match asked.tenant.as_deref() {
        None => Listed::All,
        Some("none") => Listed::Of(None),
        Some(id) => Listed::Of(Some(id.parse().map_err(|_| Error::NoTenant)?)),
    };
    let after = asked.after.as_deref().map(after).transpose()?;
    let list = store.list(listed, after.as_ref(), limit).await?;
    Ok(Json(list.iter().map(|one| store.view(one)).collect()))
}

/// `NAME` or `TENANT/NAME`.
fn after(text: &str) -> Result<Label, Failure> {
    let (tenant, name) = match text.split_once('/') {
        None => (None, text),
        Some((tenant, name)) => (Some(parse_id(tenant).map_err(|_| paging::unknown())?), name),
    };
    let name = name.parse().map_err(|_: Error| paging::unknown())?;
    Ok(Label { tenant, name })
}

/// Shows one with its versions, without their values.
#[utoipa::path(get, path = "/secrets/{name}", tag = "secrets", params(OfTenant,
    ("name" = String, Path, description = "The secret's name")),
    responses((status = 200, description = "The secret", body = SecretView)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn show_secret(
    State(store): State<SecretStore>,
    named: Named,
) -> Result<Json<SecretView>, Failure> {
    Ok(Json(store.whole_view(&named.label).await?))
}

/// Writes one: makes it, gives it a new version, or says something else about it. The same again changes
/// nothing.
#[utoipa::path(put, path = "/secrets/{name}", tag = "secrets", request_body = Written, params(OfTenant,
    ("name" = String, Path, description = "The secret's name"),
    ("Idempotency-Key" = Option<String>, Header, description = "By what a repeated call is known")),
    responses((status = 200, description = "The secret as it is now", body = SecretView),
        (status = 201, description = "It is new", body = SecretView)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn write_secret(
    State(store): State<SecretStore>,
    named: Named,
    written: Keyed<Written>,
) -> Result<(StatusCode, Json<SecretView>), Failure> {
    let change = written.into_change()?;
    let status = status_of(store.put(&named.label, &change, &named.by).await?);
    Ok((status, Json(store.whole_view(&named.label).await?)))
}

/// Gives one a new value. The one before is served until the overlap is over.
#[utoipa::path(post, path = "/secrets/{name}/rotate", tag = "secrets", request_body = Rotated, params(OfTenant,
    ("name" = String, Path, description = "The secret's name"),
    ("Idempotency-Key" = Option<String>, Header, description = "By what a repeated call is known")),
    responses((status = 200, description = "The secret as it is now", body = SecretView)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn rotate_secret(
    State(store): State<SecretStore>,
    named: Named,
    rotated: Keyed<Rotated>,
) -> Result<Json<SecretView>, Failure> {
    let rotation = rotated.into_rotation()?;
    store.rotate(&named.label, &rotation, &named.by).await?;
    Ok(Json(store.whole_view(&named.label).await?))
}

/// Ends every value but the one in use, at once.
#[utoipa::path(post, path = "/secrets/{name}/end-previous", tag = "secrets", params(OfTenant,
    ("name" = String, Path, description = "The secret's name")),
    responses((status = 200, description = "How many were ended", body = Ended)),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn end_previous_values(
    State(store): State<SecretStore>,
    named: Named,
) -> Result<Json<Ended>, Failure> {
    let ended = store.end_previous(&named.label, &named.by).await?;
    Ok(Json(Ended { ended }))
}

/// Takes one out, with every version of it.
#[utoipa::path(delete, path = "/secrets/{name}", tag = "secrets", params(OfTenant,
    ("name" = String, Path, description = "The secret's name")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:secrets"]), ("api-key" = ["manage:secrets"])))]
async fn remove_secret(
    State(store): State<SecretStore>,
    named: Named,
) -> Result<StatusCode, Failure> {
    store.remove(&named.label, &named.by).await?;
    Ok(StatusCode::NO_CONTENT)
}
