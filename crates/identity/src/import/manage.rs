//! Taking over in the admin API, for programs that move people while the gate runs. What is said of the
//! command line holds here: nothing is kept unless asked, and a call can be made again and again.
//!
//! Whoever calls needs `manage:system`, and still gives nobody what they do not hold.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use portcullis_console::api::{Caller, Failure, Known, json_up_to};
use portcullis_core::{Problem, Secret, problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::read::Rows;
use super::{Error, Report, Run, sessions, users};
use crate::accounts::By;
use crate::admin_api::Admin;
use crate::api_keys::{self, Grantor};
use crate::users::manage::check_roles;

/// What each path of these begins with.
pub(crate) const AT: &str = "/import/";
/// Largest body, in bytes: about a thousand rows.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(import_users))
        .routes(routes!(import_sessions))
        .routes(routes!(import_keys))
}

/// The rows of one call, and what is to be done with them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asked<T> {
    /// Keep what is taken over. Without it everything is tried, and nothing kept.
    #[serde(default)]
    apply: bool,
    /// Names the product that the ids are of. Default `product`.
    source: Option<String>,
    /// Columns that nobody here understands, to be left out.
    #[serde(default)]
    ignore: Vec<String>,
    /// One object to a row, with the columns of the command line. About a thousand to a call.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Map<String, Value>>,
    /// How they are to be understood.
    how: T,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Users {
    /// Roles for everybody.
    #[serde(default)]
    roles: Vec<String>,
    /// Roles by their old names; `*` stands for every other.
    #[serde(default)]
    role_map: BTreeMap<String, String>,
    /// Whether whoever has a tenant gets their roles there, and nowhere else.
    #[serde(default)]
    roles_in_tenant: bool,
    /// Tenants by their old names, as they stand in `tenant_id`: short names or ids here.
    #[serde(default)]
    tenant_map: BTreeMap<String, String>,
    /// Make tenants that are not there. Else their people are refused.
    #[serde(default)]
    make_tenants: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Sessions {
    /// The key that the product signed its cookies with.
    #[schema(value_type = String, format = Password)]
    cookie_key: Secret<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// What each of the keys may do. The caller must hold each.
    #[serde(default)]
    permissions: Vec<String>,
    /// Beginnings of the paths of routes that they may use. Default: all that admit keys.
    routes: Option<Vec<String>>,
    /// The `iss` of the issuer whose subjects `user_id` holds.
    issuer: Option<String>,
}

/// What all of them say alike.
struct Given {
    run: Run,
    rows: Rows,
    source: String,
    ignore: Vec<String>,
}

impl<T> Asked<T> {
    fn taken(self) -> Result<(Given, T), Failure> {
        let source = self.source.unwrap_or_else(|| "product".to_owned());
        if source.is_empty() || source.len() > 100 || source.contains(char::is_control) {
            return Err(invalid("source", "must be 1 to 100 characters"));
        }
        let rows = self.rows.into_iter().map(Value::Object).collect();
        let given = Given {
            run: if self.apply { Run::Apply } else { Run::Dry },
            rows: Rows::given(rows),
            source,
            ignore: self.ignore,
        };
        Ok((given, self.how))
    }
}

fn invalid(field: &'static str, message: impl Into<String>) -> Failure {
    Failure(Problem::new(&problem::INVALID_INPUT).field(field, message.into()))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownColumn { .. } | Error::Malformed { .. } | Error::Read(_) => {
                invalid("rows", error.to_string())
            }
            Error::Store(error) => Failure(error.into()),
            Error::Address(error) => Failure(error.into()),
            Error::Trail(error) => Failure(error.into()),
        }
    }
}

/// A body of many rows.
struct Many<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Many<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        Ok(Many(json_up_to(MAX_BODY, &parts.headers, body).await?))
    }
}

/// Takes accounts over from another product.
#[utoipa::path(post, path = "/import/users", tag = "import", request_body = Asked<Users>,
    responses((status = 200, description = "What came of it, with each refused row", body = Report)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn import_users(
    State(admin): State<Admin>,
    by: By,
    Known(known): Known,
    Many(asked): Many<Asked<Users>>,
) -> Result<Json<Report>, Failure> {
    let (given, how) = asked.taken()?;
    let named = how.roles.iter().chain(how.role_map.values());
    check_roles(&known, &named.cloned().collect::<Vec<_>>())?;
    let plan = users::Plan {
        source: given.source,
        known_roles: known.names().map(str::to_owned).collect(),
        role_map: how.role_map.into_iter().collect(),
        roles: how.roles,
        roles_in_tenant: how.roles_in_tenant,
        tenant_map: how.tenant_map.into_iter().collect(),
        make_tenants: how.make_tenants,
        ignore: given.ignore,
    };
    let accounts = &admin.accounts;
    let report = accounts.import(given.rows, &plan, given.run, &by, |_| ());
    Ok(Json(report.await?))
}

/// Takes sessions over, of people who were taken over before.
#[utoipa::path(post, path = "/import/sessions", tag = "import", request_body = Asked<Sessions>,
    responses((status = 200, description = "What came of it, with each refused row", body = Report)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn import_sessions(
    State(admin): State<Admin>,
    by: By,
    Many(asked): Many<Asked<Sessions>>,
) -> Result<Json<Report>, Failure> {
    let (given, how) = asked.taken()?;
    let plan = sessions::Plan {
        source: given.source,
        cookie_key: how.cookie_key,
        ignore: given.ignore,
    };
    let accounts = &admin.accounts;
    let report = accounts.import_sessions(given.rows, &plan, given.run, &by, |_| ());
    Ok(Json(report.await?))
}

/// Takes hashes of API keys over.
#[utoipa::path(post, path = "/import/keys", tag = "import", request_body = Asked<Keys>,
    responses((status = 200, description = "What came of it, with each refused row", body = Report)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn import_keys(
    State(admin): State<Admin>,
    by: By,
    Caller(caller): Caller,
    Known(known): Known,
    Many(asked): Many<Asked<Keys>>,
) -> Result<Json<Report>, Failure> {
    let (given, how) = asked.taken()?;
    let grantor = Grantor::Caller(&caller, &known);
    api_keys::check_gift(&how.permissions, how.routes.as_deref(), &grantor)?;
    if !admin.keys.takes_over() {
        let detail = "Nothing could know these keys again: `api-keys.imported-prefix` and `secrets.imported-api-keys` are not set.";
        return Err(Failure(
            Problem::new(&problem::INVALID_INPUT).detail(detail),
        ));
    }
    let plan = api_keys::import::Plan {
        source: given.source,
        issuer: how.issuer,
        permissions: how.permissions,
        routes: how.routes,
        ignore: given.ignore,
    };
    let as_who = (&grantor, &by);
    let keys = &admin.keys;
    let report = keys.import(given.rows, &plan, given.run, as_who, |_| ());
    Ok(Json(report.await?))
}
