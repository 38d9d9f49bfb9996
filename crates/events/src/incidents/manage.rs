//! Incidents in the admin API: what there are, what was done, and a note of what was found. What contains one is
//! for whoever has a shell: an account that was taken over must not end everybody's sessions.

use axum::Json;
use axum::extract::{FromRef, Path, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, paging, parse_id};
use portcullis_core::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Error, File, Incident, Incidents};
use crate::audit::By;

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Incidents: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_incidents))
        .routes(routes!(show_incident))
        .routes(routes!(acknowledge_incident))
        .routes(routes!(note_incident))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Incident)]
pub struct View {
    pub id: String,
    pub title: String,
    /// `critical`, `high`, `medium` or `low`.
    pub severity: &'static str,
    pub opened_at: String,
    pub acknowledge_by: String,
    pub acknowledged_at: Option<String>,
    /// Of critical ones.
    pub triage_by: Option<String>,
    pub triaged_at: Option<String>,
    /// Nothing while it is open.
    pub closed_at: Option<String>,
    pub root_cause: Option<String>,
    /// What should have been done by now, in words.
    pub late: Vec<&'static str>,
}

impl View {
    pub fn of(incident: &Incident, now: Timestamp) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        View {
            id: incident.id.to_string(),
            title: incident.title.clone(),
            severity: incident.severity.as_str(),
            opened_at: incident.opened_at.to_string(),
            acknowledge_by: incident.acknowledge_by().to_string(),
            acknowledged_at: text(incident.acknowledged_at),
            triage_by: text(incident.triage_by()),
            triaged_at: text(incident.triaged_at),
            closed_at: text(incident.closed_at),
            root_cause: incident.root_cause.clone(),
            late: match incident.closed_at {
                Some(_) => Vec::new(),
                None => incident.overdue(now),
            },
        }
    }
}

/// What was done or found.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentNote)]
pub struct NoteView {
    pub at: String,
    /// Who noted it: `operator`, or a user or a key by id.
    pub by: String,
    pub phase: &'static str,
    pub text: String,
}

/// What is to be done.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentTask)]
pub struct TaskView {
    pub number: i64,
    pub text: String,
    pub owner: String,
    pub due_at: Option<String>,
    pub done_at: Option<String>,
    pub result: Option<String>,
}

/// A route that answers nobody.
#[derive(Serialize, ToSchema)]
#[schema(as = FrozenRoute)]
pub struct FrozenView {
    pub pattern: String,
    pub reason: String,
    pub at: String,
    pub by: String,
}

/// All of one incident.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentFile)]
pub struct FileView {
    #[serde(flatten)]
    pub incident: View,
    pub notes: Vec<NoteView>,
    pub tasks: Vec<TaskView>,
    pub frozen: Vec<FrozenView>,
    /// What keeps it from being closed, in words.
    pub left: Vec<String>,
}

impl FileView {
    fn of(file: File, now: Timestamp) -> Self {
        let left = match file.incident.closed_at {
            Some(_) => Vec::new(),
            None => file.left(),
        };
        let notes = file.notes.into_iter().map(|note| NoteView {
            at: note.at.to_string(),
            by: note.by,
            phase: note.phase.as_str(),
            text: note.text,
        });
        let tasks = file.tasks.into_iter().map(|task| TaskView {
            number: task.number,
            text: task.text,
            owner: task.owner,
            due_at: task.due_at.map(|at| at.to_string()),
            done_at: task.done_at.map(|at| at.to_string()),
            result: task.result,
        });
        let frozen = file.frozen.into_iter().map(|frozen| FrozenView {
            pattern: frozen.pattern,
            reason: frozen.reason,
            at: frozen.at.to_string(),
            by: frozen.by,
        });
        FileView {
            incident: View::of(&file.incident, now),
            notes: notes.collect(),
            tasks: tasks.collect(),
            frozen: frozen.collect(),
            left,
        }
    }
}

/// Lists incidents, newest first.
#[utoipa::path(get, path = "/incidents", tag = "incidents",
    responses((status = 200, description = "The newest thousand", body = Vec<View>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_incidents(State(incidents): State<Incidents>) -> Result<Json<Vec<View>>, Failure> {
    let list = incidents.list().await?;
    let now = incidents.clock.now();
    let views = list.iter().map(|incident| View::of(incident, now));
    Ok(Json(views.collect()))
}

/// Shows all of one: its clock, what was done, what is left to do.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents",
    params(("id" = String, Path, format = Uuid, description = "The incident's id")),
    responses((status = 200, description = "The incident", body = FileView)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn show_incident(
    State(incidents): State<Incidents>,
    Path(id): Path<String>,
) -> Result<Json<FileView>, Failure> {
    let file = incidents.file(parse_id(&id)?).await?;
    Ok(Json(FileView::of(file, incidents.clock.now())))
}

/// Says that somebody has taken it up.
#[utoipa::path(post, path = "/incidents/{id}/acknowledge", tag = "incidents",
    params(("id" = String, Path, format = Uuid, description = "The incident's id")),
    responses((status = 204, description = "Its clock has stopped")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn acknowledge_incident(
    State(incidents): State<Incidents>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    incidents.acknowledge(parse_id(&id)?, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A note to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewIncidentNote)]
struct NewNote {
    /// `triage`, `contain`, `eradicate`, `recover` or `postmortem`.
    #[schema(pattern = "^(triage|contain|eradicate|recover|postmortem)$")]
    phase: String,
    /// What was done or found. Secrets in it are masked.
    #[schema(min_length = 1, max_length = 4000)]
    text: String,
}

/// Notes what was done or found. A note is never changed.
#[utoipa::path(post, path = "/incidents/{id}/notes", tag = "incidents", request_body = NewNote,
    params(("id" = String, Path, format = Uuid, description = "The incident's id")),
    responses((status = 204, description = "It is noted")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn note_incident(
    State(incidents): State<Incidents>,
    Path(id): Path<String>,
    by: By,
    Input(note): Input<NewNote>,
) -> Result<StatusCode, Failure> {
    let phase = note.phase.parse();
    let phase = phase.map_err(|_| paging::refused("phase", "must be a phase"))?;
    incidents
        .note(parse_id(&id)?, phase, &note.text, &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
