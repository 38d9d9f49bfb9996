//! Visitors in the admin API. All of it is bound to the caller's own tenant, as that of members is.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use portcullis_console::api::{Failure, Input, parse_id};
use portcullis_core::{TenantId, VisitorId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::VisitorInfo;
use crate::accounts::By;
use crate::admin_api::Admin;
use crate::paging::{self, Asked};

pub(crate) fn routes() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(show_widget, set_widget))
        .routes(routes!(list_visitors, end_visitors))
        .routes(routes!(end_visitor))
}

/// The widget of a tenant.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Widget)]
struct WidgetView {
    /// The origins whose pages may open it, each as browsers write it. Without any it opens nowhere.
    origins: Vec<String>,
}

/// A live visit.
#[derive(Serialize, ToSchema)]
#[schema(as = Visitor)]
pub(crate) struct VisitorView {
    id: String,
    /// The origin of the page that it began on.
    origin: String,
    /// What the browser told of itself.
    metadata: BTreeMap<String, Value>,
    created_at: String,
    expires_at: String,
}

impl From<VisitorInfo> for VisitorView {
    fn from(info: VisitorInfo) -> Self {
        VisitorView {
            id: info.id.to_string(),
            origin: info.origin,
            metadata: info.metadata.as_map().clone(),
            created_at: info.created_at.to_string(),
            expires_at: info.expires_at.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Ended {
    /// How many visits ended.
    ended: u64,
}

/// The tenant that the path names. That it is the caller's own, the decision has seen to.
async fn named(admin: &Admin, name: &str) -> Result<TenantId, Failure> {
    Ok(admin.tenants.get(name).await?.id)
}

/// Shows on which origins the widget of the caller's tenant opens.
#[utoipa::path(get, path = "/tenants/{tenant}/widget", tag = "visitors",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "The widget", body = WidgetView)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn show_widget(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
) -> Result<Json<WidgetView>, Failure> {
    let tenant = named(&admin, &tenant).await?;
    let origins = admin.visitors.origins(tenant).await?;
    Ok(Json(WidgetView { origins }))
}

/// Says on which origins it opens. Visits that began on another one end.
#[utoipa::path(put, path = "/tenants/{tenant}/widget", tag = "visitors", request_body = WidgetView,
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "The widget", body = WidgetView)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn set_widget(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    by: By,
    Input(new): Input<WidgetView>,
) -> Result<Json<WidgetView>, Failure> {
    let tenant = named(&admin, &tenant).await?;
    let origins = admin
        .visitors
        .set_origins(tenant, &new.origins, &by)
        .await?;
    Ok(Json(WidgetView { origins }))
}

/// Lists the live visits of the caller's tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/visitors", tag = "visitors",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), paging::Page),
    responses((status = 200, description = "Live visits, newest first", body = Vec<VisitorView>)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn list_visitors(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    page: Asked,
) -> Result<Json<Vec<VisitorView>>, Failure> {
    let (after, limit) = paging::read(page)?;
    let after = after.map(VisitorId::from_uuid);
    let tenant = named(&admin, &tenant).await?;
    let list = admin.visitors.list(tenant, after, limit).await?;
    let list = list.ok_or_else(paging::unknown)?;
    Ok(Json(list.into_iter().map(VisitorView::from).collect()))
}

/// Ends every visit of the caller's tenant.
#[utoipa::path(delete, path = "/tenants/{tenant}/visitors", tag = "visitors",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant")),
    responses((status = 200, description = "How many ended", body = Ended)),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn end_visitors(
    State(admin): State<Admin>,
    Path(tenant): Path<String>,
    by: By,
) -> Result<Json<Ended>, Failure> {
    let tenant = named(&admin, &tenant).await?;
    let ended = admin.visitors.revoke_all(tenant, &by).await?;
    Ok(Json(Ended { ended }))
}

/// Ends one visit of the caller's tenant. It is refused from the next request on.
#[utoipa::path(delete, path = "/tenants/{tenant}/visitors/{visitor}", tag = "visitors",
    params(("tenant" = String, Path, pattern = "^[0-9a-z-]{2,63}$", description = "The caller's own tenant"), ("visitor" = String, Path, format = Uuid, description = "The visitor's id")),
    responses((status = 204, description = "Done")),
    security(("session" = ["manage:users"]), ("api-key" = ["manage:users"])))]
async fn end_visitor(
    State(admin): State<Admin>,
    Path((tenant, visitor)): Path<(String, String)>,
    by: By,
) -> Result<StatusCode, Failure> {
    let (visitor, tenant): (VisitorId, TenantId) =
        (parse_id(&visitor)?, named(&admin, &tenant).await?);
    admin.visitors.revoke(tenant, visitor, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}
