//! `portcullis visitors`: where a tenant's widget opens, and who visits.

use portcullis_core::{TenantId, VisitorId};
use portcullis_identity::accounts::By;
use portcullis_identity::visitors::{Error, VisitorInfo};
use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{self, Format};
use crate::cli::{Page, Usage};
use crate::verbs::{Stores, told};

/// `portcullis visitors`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Visitors {
    /// Show the origins whose pages may open the tenant's widget.
    Origins {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
    /// Make exactly these the origins whose pages may open it. Visits that began on others end.
    ///
    ///     portcullis visitors set-origins acme https://www.acme.example https://shop.acme.example
    #[command(verbatim_doc_comment)]
    SetOrigins {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// Origins as browsers write them; without any, the widget opens nowhere.
        #[arg(value_name = "ORIGIN")]
        origins: Vec<String>,
    },
    /// Show the live visits of a tenant, newest first.
    List {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        #[command(flatten)]
        page: Page,
    },
    /// End a visit, or all of a tenant's: it is refused from the next request on.
    Revoke {
        /// Short name or id.
        #[arg(value_name = "TENANT")]
        tenant: String,
        /// The visitor's id, as `list` shows it.
        #[arg(
            value_name = "VISITOR",
            required_unless_present = "all",
            conflicts_with = "all"
        )]
        visitor: Option<VisitorId>,
        /// Every visit of the tenant.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Serialize)]
struct Row {
    id: VisitorId,
    origin: String,
    metadata: Value,
    created_at: String,
    expires_at: String,
}

impl From<VisitorInfo> for Row {
    fn from(info: VisitorInfo) -> Self {
        Row {
            id: info.id,
            metadata: info.metadata.as_map().clone().into_iter().collect(),
            origin: info.origin,
            created_at: info.created_at.to_string(),
            expires_at: info.expires_at.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Ended {
    ended: u64,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended", self.ended)
    }
}

fn failed(what: &str, error: Error) -> anyhow::Error {
    match error {
        Error::NotFound => Usage::error(format!(
            "there is no live visit `{what}` of this tenant: `portcullis visitors list` shows those there are"
        )),
        Error::Invalid { .. } => Usage::error(error.to_string()),
        Error::OriginNotAllowed | Error::Randomness(_) | Error::Trail(_) | Error::Store(_) => {
            anyhow::anyhow!("{what}: {}", told(error))
        }
    }
}

async fn named(stores: &Stores, name: &str) -> anyhow::Result<TenantId> {
    crate::tenants::named(stores, name).await
}

pub(crate) async fn run(format: Format, verb: &Visitors, stores: &Stores) -> anyhow::Result<bool> {
    let (visitors, by) = (&stores.identity.visitors, By::operator());
    match verb {
        Visitors::Origins { tenant } => {
            let id = named(stores, tenant).await?;
            let origins = visitors.origins(id).await;
            lines(format, &origins.map_err(|error| failed(tenant, error))?);
        }
        Visitors::SetOrigins { tenant, origins } => {
            let id = named(stores, tenant).await?;
            let set = visitors.set_origins(id, origins, &by).await;
            lines(format, &set.map_err(|error| failed(tenant, error))?);
        }
        Visitors::List { tenant, page } => {
            let id = named(stores, tenant).await?;
            let after = page.after.map(VisitorId::from_uuid);
            let list = visitors.list(id, after, page.limit()).await;
            let list = list.map_err(|error| failed(tenant, error))?;
            let list = Page::there(list)?;
            let rows: Vec<Row> = list.into_iter().map(Row::from).collect();
            match format {
                Format::Json => output::json(&rows),
                Format::Text => {
                    for row in rows {
                        output::line(format!(
                            "{}  until {}  {}",
                            row.id, row.expires_at, row.origin
                        ));
                    }
                }
            }
        }
        Visitors::Revoke {
            tenant, visitor, ..
        } => {
            let id = named(stores, tenant).await?;
            let ended = if let Some(visitor) = visitor {
                let ended = visitors.revoke(id, *visitor, &by).await;
                ended.map_err(|error| failed(&visitor.to_string(), error))?;
                1
            } else {
                let ended = visitors.revoke_all(id, &by).await;
                ended.map_err(|error| failed(tenant, error))?
            };
            output::answer(format, &Ended { ended });
        }
    }
    Ok(true)
}

fn lines(format: Format, origins: &[String]) {
    match format {
        Format::Json => output::json(&origins),
        Format::Text => origins.iter().for_each(output::line),
    }
}
