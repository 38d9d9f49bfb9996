//! Alerts and silences, in the admin API. Addresses of recipients are not shown.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Path, Query, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, paging, parse_id};
use portcullis_core::Span;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Alert, Alerts, Error, Filter, Silence, Silencing, State as Stage};
use crate::audit::By;
use crate::entry_name::is_entry_name;

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Alerts: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(list_silences, create_silence))
        .routes(routes!(lift_silence))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// An alert, and where it is on its way.
#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct View {
    pub id: String,
    /// The `[[alert]]` it goes to.
    pub destination: String,
    /// `began`, `summary` or `test`.
    pub kind: &'static str,
    /// The detector, or where else it comes from.
    pub source: String,
    /// `low`, `medium` or `high`.
    pub severity: &'static str,
    pub subject: String,
    pub told: String,
    /// `waiting`, `sent`, `dead` or `silenced`.
    pub state: &'static str,
    pub created_at: String,
    /// When it is tried next, while it waits.
    pub due_at: Option<String>,
    pub attempts: i64,
    /// Why it was not taken the last time.
    pub fault: Option<String>,
    pub ended_at: Option<String>,
}

impl From<Alert> for View {
    fn from(alert: Alert) -> Self {
        let waits = alert.state == Stage::Waiting;
        View {
            id: alert.id.to_string(),
            destination: alert.destination,
            kind: alert.kind.as_str(),
            source: alert.source,
            severity: alert.severity.as_str(),
            subject: alert.subject,
            told: alert.told,
            state: alert.state.as_str(),
            created_at: alert.created_at.to_string(),
            due_at: waits.then(|| alert.due_at.to_string()),
            attempts: alert.attempts,
            fault: alert.fault,
            ended_at: alert.ended_at.map(|at| at.to_string()),
        }
    }
}

/// A silence that holds.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertSilence)]
pub struct SilenceView {
    pub id: String,
    pub source: String,
    /// Nothing where it is of the whole source.
    pub subject: Option<String>,
    pub because: String,
    pub made_by: String,
    pub made_at: String,
    pub until: String,
}

impl From<Silence> for SilenceView {
    fn from(silence: Silence) -> Self {
        SilenceView {
            id: silence.id.to_string(),
            source: silence.source,
            subject: silence.subject,
            because: silence.because,
            made_by: silence.made_by,
            made_at: silence.made_at.to_string(),
            until: silence.until.to_string(),
        }
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
    /// Only what is `waiting`, `sent`, `dead` or `silenced`.
    #[param(pattern = "^(waiting|sent|dead|silenced)$")]
    state: Option<String>,
    /// Only to this destination.
    #[param(pattern = "^[0-9a-z-]{1,60}$")]
    destination: Option<String>,
}

/// Lists alerts.
#[utoipa::path(get, path = "/alerts", tag = "alerts", params(Asked),
    responses((status = 200, description = "Alerts, newest first", body = Vec<View>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_alerts(
    State(alerts): State<Alerts>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<View>>, Failure> {
    let Query(asked) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(asked.limit)?;
    let state = asked.state.map(|word| {
        Stage::parse(&word)
            .ok_or_else(|| paging::refused("state", "must be waiting, sent, dead or silenced"))
    });
    if asked
        .destination
        .as_deref()
        .is_some_and(|name| !is_entry_name(name))
    {
        return Err(paging::refused(
            "destination",
            "must be the name of an alert",
        ));
    }
    let after = paging::after(asked.after)?;
    let filter = Filter {
        state: state.transpose()?,
        destination: asked.destination,
    };
    let list = alerts.list(&filter, after, limit).await?;
    let list = list.ok_or_else(paging::unknown)?;
    Ok(Json(list.into_iter().map(View::from).collect()))
}

/// Lists the silences that hold.
#[utoipa::path(get, path = "/alerts/silences", tag = "alerts",
    responses((status = 200, description = "Silences, newest first", body = Vec<SilenceView>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_silences(State(alerts): State<Alerts>) -> Result<Json<Vec<SilenceView>>, Failure> {
    let list = alerts.silences().await?;
    Ok(Json(list.into_iter().map(SilenceView::from).collect()))
}

/// A silence to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSilence {
    /// A detector, or another source of alerts.
    #[schema(max_length = 60)]
    source: String,
    /// Of this subject only, as alerts name it.
    #[schema(min_length = 1, max_length = 256)]
    subject: Option<String>,
    /// For so long, 30 days at most.
    #[schema(minimum = 1, maximum = 2_592_000)]
    seconds: u64,
    /// Why. It is in the audit trail.
    #[schema(min_length = 1, max_length = 256)]
    because: String,
}

/// Keeps a source silent for a while.
#[utoipa::path(post, path = "/alerts/silences", tag = "alerts", request_body = NewSilence,
    responses((status = 201, description = "It is silent", body = Made)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn create_silence(
    State(alerts): State<Alerts>,
    by: By,
    Input(new): Input<NewSilence>,
) -> Result<(StatusCode, Json<Made>), Failure> {
    let silencing = Silencing {
        source: new.source,
        subject: new.subject,
        span: Span::from_seconds(new.seconds),
        because: new.because,
    };
    let id = alerts.silence(&silencing, &by).await?.to_string();
    Ok((StatusCode::CREATED, Json(Made { id })))
}

/// What was made.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeSilence)]
struct Made {
    id: String,
}

/// Ends a silence before its time.
#[utoipa::path(delete, path = "/alerts/silences/{id}", tag = "alerts",
    params(("id" = String, Path, format = Uuid, description = "The silence's id")),
    responses((status = 204, description = "It holds no more")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn lift_silence(
    State(alerts): State<Alerts>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    alerts.lift_silence(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
