//! Deliveries in the admin API. What a message says is not shown here: it is the product's.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Path, Query, State};
use http::StatusCode;
use portcullis_console::api::{Failure, paging, parse_id};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Delivery, Error, Filter, State as Stage, Webhooks};
use crate::audit::By;
use crate::entry_name::is_entry_name;

/// For whatever state has the slice in it.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Webhooks: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_deliveries))
        .routes(routes!(show_delivery))
        .routes(routes!(replay_delivery))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// A message of another service, and where it is on its way to the product.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryView {
    id: String,
    /// The webhook's name.
    endpoint: String,
    /// The sender's id of it, or a digest of its body.
    event: String,
    kind: Option<String>,
    /// `waiting`, `delivered` or `dead`.
    state: &'static str,
    received_at: String,
    /// When it is tried next, while it waits.
    due_at: Option<String>,
    attempts: i64,
    /// What the product answered last.
    status: Option<i64>,
    /// Why it was not delivered the last time.
    fault: Option<String>,
    ended_at: Option<String>,
    /// When what it said was erased with a person that it named. It is not delivered again.
    erased_at: Option<String>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        DeliveryView {
            id: delivery.id.to_string(),
            endpoint: delivery.endpoint,
            event: delivery.event,
            kind: delivery.kind,
            state: delivery.state.as_str(),
            received_at: delivery.received_at.to_string(),
            due_at: delivery.due_at.map(|at| at.to_string()),
            attempts: delivery.attempts,
            status: delivery.status,
            fault: delivery.fault,
            ended_at: delivery.ended_at.map(|at| at.to_string()),
            erased_at: delivery.erased_at.map(|at| at.to_string()),
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
    /// The list goes on behind this delivery.
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<String>,
    /// Only what is `waiting`, `delivered` or `dead`.
    #[param(pattern = "^(waiting|delivered|dead)$")]
    state: Option<String>,
    /// Only of this webhook.
    #[param(pattern = "^[0-9a-z-]{1,60}$")]
    endpoint: Option<String>,
}

/// Lists what other services told the product.
#[utoipa::path(get, path = "/webhooks/deliveries", tag = "webhooks", params(Asked),
    responses((status = 200, description = "Deliveries, newest first", body = Vec<DeliveryView>)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn list_deliveries(
    State(webhooks): State<Webhooks>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<DeliveryView>>, Failure> {
    let Query(asked) = asked.map_err(|_| paging::no_limit())?;
    let limit = paging::limit(asked.limit)?;
    let state = asked.state.map(|word| {
        Stage::parse(&word)
            .ok_or_else(|| paging::refused("state", "must be waiting, delivered or dead"))
    });
    if asked
        .endpoint
        .as_deref()
        .is_some_and(|name| !is_entry_name(name))
    {
        return Err(paging::refused("endpoint", "must be a webhook's name"));
    }
    let after = paging::after(asked.after)?;
    let filter = Filter {
        state: state.transpose()?,
        endpoint: asked.endpoint,
    };
    let list = webhooks.list(&filter, after, limit).await?;
    let list = list.ok_or_else(paging::unknown)?;
    Ok(Json(list.into_iter().map(DeliveryView::from).collect()))
}

/// Shows one.
#[utoipa::path(get, path = "/webhooks/deliveries/{id}", tag = "webhooks",
    params(("id" = String, Path, format = Uuid, description = "The delivery's id")),
    responses((status = 200, description = "The delivery", body = DeliveryView)),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn show_delivery(
    State(webhooks): State<Webhooks>,
    Path(id): Path<String>,
) -> Result<Json<DeliveryView>, Failure> {
    Ok(Json(webhooks.get(parse_id(&id)?).await?.into()))
}

/// Delivers one again, whatever became of it.
#[utoipa::path(post, path = "/webhooks/deliveries/{id}/replay", tag = "webhooks",
    params(("id" = String, Path, format = Uuid, description = "The delivery's id")),
    responses((status = 202, description = "It will be delivered")),
    security(("session" = ["manage:system"]), ("api-key" = ["manage:system"])))]
async fn replay_delivery(
    State(webhooks): State<Webhooks>,
    Path(id): Path<String>,
    by: By,
) -> Result<StatusCode, Failure> {
    webhooks.replay(parse_id(&id)?, &by).await?;
    Ok(StatusCode::ACCEPTED)
}
