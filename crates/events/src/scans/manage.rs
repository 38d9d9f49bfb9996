//! Scans in the admin API: a build hands its report in and asks whether a release may go on.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRef, Path, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, paging};
use portcullis_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Error, Found, Scans, Standing};
use crate::audit::By;

/// Where reports are handed in, relative to the admin API.
pub const RECORD: &str = "/scans/{name}";

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Scans: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_scans))
        .routes(routes!(record_scan))
        .routes(routes!(accept_finding))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// What a rule found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScanFinding)]
pub struct FindingView {
    /// `*` stands for what has no rule, or came behind the first 500 rules.
    pub rule: String,
    /// `error`, `warning` or `note`.
    pub level: &'static str,
    pub count: u64,
    /// Where the first one is.
    pub place: String,
    pub accepted: bool,
}

/// A wanted scan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Scan)]
pub struct View {
    pub name: String,
    /// `code`, `dependencies`, `image`, `secrets`, `penetration-test` or `proof`.
    pub covers: &'static str,
    /// `missing`, `overdue`, `failing` or `clean`.
    pub verdict: &'static str,
    /// The same in words, with what to do.
    pub said: String,
    pub tool: Option<String>,
    pub version: Option<String>,
    pub recorded_at: Option<String>,
    pub recorded_by: Option<String>,
    pub due_at: Option<String>,
    /// Of the whole report, in hexadecimal digits.
    pub sha256: Option<String>,
    pub findings: Vec<FindingView>,
}

impl View {
    pub fn of(standing: &Standing) -> Self {
        let report = standing.latest.as_ref();
        let is_accepted =
            |found: &Found| standing.accepted.iter().any(|one| one.rule == found.rule);
        let findings = report
            .map(|report| report.found.as_slice())
            .unwrap_or_default();
        let findings = findings.iter().map(|found| FindingView {
            rule: found.rule.clone(),
            level: found.level.as_str(),
            count: found.count,
            place: found.place.clone(),
            accepted: is_accepted(found),
        });
        View {
            name: standing.scan.name.clone(),
            covers: standing.scan.covers.as_str(),
            verdict: standing.verdict.as_str(),
            said: standing.to_string(),
            tool: report.map(|report| report.tool.clone()),
            version: report.map(|report| report.version.clone()),
            recorded_at: report.map(|report| report.recorded_at.to_string()),
            recorded_by: report.map(|report| report.recorded_by.clone()),
            due_at: standing.due_at().map(|at| at.to_string()),
            sha256: report.map(|report| hex::encode(report.sha256)),
            findings: findings.collect(),
        }
    }
}

/// Lists the scans that the policy wants, each with how it stands.
#[utoipa::path(get, path = "/scans", tag = "scans",
    responses((status = 200, description = "In the order of the policy", body = Vec<View>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_scans(State(scans): State<Scans>) -> Result<Json<Vec<View>>, Failure> {
    let standings = scans.standings().await?;
    Ok(Json(standings.iter().map(View::of).collect()))
}

/// Hands in the report of a wanted scan, in SARIF 2.1.0. Its summary and its hash are kept.
#[utoipa::path(post, path = "/scans/{name}", tag = "scans",
    request_body(content = Object, content_type = "application/json", description = "A SARIF 2.1.0 document, of one tool"),
    params(("name" = String, Path, description = "The scan's name in the policy")),
    responses((status = 200, description = "How the scan stands now", body = View)),
    security(("session" = ["record:scans"]), ("api-key" = ["record:scans"])))]
async fn record_scan(
    State(scans): State<Scans>,
    Path(name): Path<String>,
    by: By,
    report: Bytes,
) -> Result<Json<View>, Failure> {
    let standing = scans.record(&name, &report, &by).await?;
    Ok(Json(View::of(&standing)))
}

/// A finding to be lived with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScanAcceptance)]
struct Acceptance {
    /// The scanner's own name of the rule.
    #[schema(min_length = 1, max_length = 200)]
    rule: String,
    /// Secrets in it are masked.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Within a year, such as `2027-03-01T00:00:00Z`.
    #[schema(format = DateTime)]
    until: String,
}

/// Lives with what a rule finds, until a day. Then it counts again.
#[utoipa::path(post, path = "/scans/{name}/accepted", tag = "scans", request_body = Acceptance,
    params(("name" = String, Path, description = "The scan's name in the policy")),
    responses((status = 204, description = "It is accepted")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn accept_finding(
    State(scans): State<Scans>,
    Path(name): Path<String>,
    by: By,
    Input(acceptance): Input<Acceptance>,
) -> Result<StatusCode, Failure> {
    let until = acceptance.until.parse::<Timestamp>();
    let until = until.map_err(|_| paging::refused("until", "must be a time"))?;
    scans
        .accept((&name, &acceptance.rule), &acceptance.reason, until, &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
