//! What was found, in the admin API.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use portcullis_console::api::{Failure, paging};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Anomalies, DETECTORS, Error, Filter, Found, rules};

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Anomalies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_anomalies))
        .routes(routes!(list_rules))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// Something that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = Anomaly)]
pub struct View {
    pub id: String,
    pub detector: String,
    /// `low`, `medium` or `high`.
    pub severity: &'static str,
    /// `kind:name`, or `gate`.
    pub subject: String,
    pub tenant: Option<String>,
    pub told: String,
    pub began_at: String,
    pub found_at: String,
    pub last_at: String,
    /// Nothing while it goes on.
    pub ended_at: Option<String>,
    pub count: u64,
}

impl From<Found> for View {
    fn from(found: Found) -> Self {
        View {
            id: found.id.to_string(),
            detector: found.detector,
            severity: found.severity.as_str(),
            subject: found.subject,
            tenant: found.tenant.map(|tenant| tenant.to_string()),
            told: found.told,
            began_at: found.began_at.to_string(),
            found_at: found.found_at.to_string(),
            last_at: found.last_at.to_string(),
            ended_at: found.ended_at.map(|at| at.to_string()),
            count: found.count,
        }
    }
}

/// A rule that is on.
#[derive(Serialize, ToSchema)]
#[schema(as = AnomalyRule)]
pub struct RuleView {
    pub detector: &'static str,
    /// `low`, `medium` or `high`.
    pub severity: &'static str,
    /// What it does, with its figures.
    pub rule: String,
}

impl Anomalies {
    /// The rules that are on, with their figures.
    pub fn rules(&self) -> Vec<RuleView> {
        let rules = rules(&self.config);
        let views = rules.iter().map(|rule| RuleView {
            detector: rule.name(),
            severity: rule.severity().as_str(),
            rule: rule.described(),
        });
        views.collect()
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many, newest first. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The list goes on behind this one.
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<String>,
    /// Only of this detector.
    #[param(
        pattern = "^(login-burst|credential-stuffing|enumeration|new-device|key-networks|limit-attack|denial-surge|error-surge|stolen-credential|impossible-travel)$"
    )]
    detector: Option<String>,
    /// Only what goes on.
    #[param(pattern = "^(open|all)$")]
    state: Option<String>,
}

/// Lists what was found.
#[utoipa::path(get, path = "/anomalies", tag = "anomalies", params(Asked),
    responses((status = 200, description = "What was found, newest first", body = Vec<View>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_anomalies(
    State(anomalies): State<Anomalies>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<View>>, Failure> {
    let Query(asked) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(asked.limit)?;
    let is_unknown = |name: &str| !DETECTORS.contains(&name);
    if asked.detector.as_deref().is_some_and(is_unknown) {
        return Err(paging::refused("detector", "must be a detector's name"));
    }
    let open_only = match asked.state.as_deref() {
        None | Some("all") => false,
        Some("open") => true,
        Some(_) => return Err(paging::refused("state", "must be open or all")),
    };
    let after = paging::after(asked.after)?;
    let filter = Filter {
        detector: asked.detector,
        open_only,
    };
    let list = anomalies.list(&filter, after, limit).await?;
    let list = list.ok_or_else(paging::unknown)?;
    Ok(Json(list.into_iter().map(View::from).collect()))
}

/// Lists the rules that are on.
#[utoipa::path(get, path = "/anomalies/rules", tag = "anomalies",
    responses((status = 200, description = "The rules that are on, with their figures", body = Vec<RuleView>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_rules(State(anomalies): State<Anomalies>) -> Json<Vec<RuleView>> {
    Json(anomalies.rules())
}
