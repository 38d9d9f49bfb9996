//! What the product sealed with Fernet before, taken into the vault: over HTTP, and from a CSV file.
//!
//! A token goes in and a sealed value comes out; nobody is shown what is between. It is a permission
//! of its own (`import:vault`), and an audit event with the numbers. Whatever is wrong with a token,
//! the answer is `does-not-open`.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Json;
use axum::extract::State;
use portcullis_console::api::Failure;
use portcullis_core::finding::Finding;
use portcullis_core::{Problem, Secret, Span, TenantId, problem};
use portcullis_events::{Action, By, Event, Outcome, Target};
use portcullis_vault::fernet::Fernet;
use serde::{Deserialize, Serialize};

use super::{Answers, Asked, Vault, place};
use crate::cli::output::{self, Format};
use crate::config::{Loaded, Secrets, read_secret};
use crate::verbs::Stores;

/// What a key must hold to bring in what was sealed elsewhere.
pub(crate) const IMPORT: &str = "import:vault";
/// Rows of a file between two audit events.
const STEP: usize = 500;

/// Reads the keys of `vault.fernet-keys`.
pub(crate) fn read_secrets(loaded: &mut Loaded) {
    let keys = loaded.config.vault.as_ref();
    let keys = keys.map(|vault| vault.fernet_keys.clone());
    for (at, reference) in keys.unwrap_or_default().iter().enumerate() {
        let key = read_secret(loaded, &format!("vault.fernet-keys.{at}"), reference);
        loaded.secrets.fernet_keys.extend(key);
    }
}

/// The keys, or which of them is none.
pub(super) fn compile(secrets: &Secrets) -> Result<Arc<Fernet>, Finding> {
    let said = |error: portcullis_vault::fernet::NotAKey| {
        Finding::error("vault", "vault.fernet-keys", format!("one of them {error}"))
    };
    Fernet::new(&secrets.fernet_keys)
        .map(Arc::new)
        .map_err(said)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToImport {
    table: String,
    field: String,
    row: String,
    #[serde(default)]
    subject: Option<String>,
    token: Secret,
    /// The `ttl` with which the product read it, such as `"30d"`: an older one does not open.
    #[serde(default)]
    max_age: Option<Span>,
}

/// A sealed value, or that the token does not open.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ImportedView {
    Sealed { sealed: String },
    Error { error: &'static str },
}

impl Vault {
    /// One token, sealed for its place.
    async fn import(
        &self,
        tenant: Option<TenantId>,
        item: &ToImport,
    ) -> Result<ImportedView, Problem> {
        let now = self.clock.now();
        let Some(plain) = self.fernet.open(item.token.expose(), item.max_age, now) else {
            let error = problem::DOES_NOT_OPEN.slug;
            return Ok(ImportedView::Error { error });
        };
        let place = place(tenant, &item.table, &item.field, &item.row)?;
        let subject = item.subject.as_deref();
        let sealed = self.fields.seal(&place, subject, plain.expose()).await?;
        Ok(ImportedView::Sealed { sealed })
    }

    /// SECURITY: nothing is handed out before it is written down.
    async fn note_import(
        &self,
        by: &By,
        tenant: Option<TenantId>,
        items: &[ImportedView],
    ) -> Result<(), Problem> {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let imported = items.iter().filter(|item| item.is_sealed()).count();
        let event = Event::new(self.clock.now(), Action::FieldsImported, Outcome::Allowed)
            .done(by)
            .to(Target::named("vault", "fields"))
            .tenant(tenant)
            .with("imported", count(imported))
            .with("asked", count(items.len()));
        let recorded = self.trail.record(event).await;
        recorded.map_err(|error| Problem::new(&problem::TEMPORARILY_UNAVAILABLE).caused_by(error))
    }
}

impl ImportedView {
    const fn is_sealed(&self) -> bool {
        matches!(self, ImportedView::Sealed { .. })
    }
}

pub(super) async fn import(
    State(vault): State<Vault>,
    asked: Asked<ToImport>,
) -> Result<Json<Answers<ImportedView>>, Failure> {
    if vault.fernet.is_empty() {
        let said = "there is no key to open it with: name one in `vault.fernet-keys`";
        return Err(Problem::new(&problem::INVALID_INPUT)
            .field("token", said)
            .into());
    }
    let mut items = Vec::with_capacity(asked.items.len());
    for item in &asked.items {
        items.push(vault.import(asked.tenant, item).await?);
    }
    vault.note_import(&asked.by, asked.tenant, &items).await?;
    Ok(Json(Answers { items }))
}

/// `portcullis vault import-fernet`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The table of the product that the values stand in.
    #[arg(long, value_name = "NAME")]
    table: String,
    /// Their field in it.
    #[arg(long, value_name = "NAME")]
    field: String,
    /// Whose they are: a tenant, by its id.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<uuid::Uuid>,
    /// The `ttl` with which the product read them, such as 30d: older tokens do not open.
    #[arg(long, value_name = "TIME")]
    max_age: Option<Span>,
    /// A CSV file. Default: standard input.
    #[arg(long, value_name = "PATH")]
    file: Option<std::path::PathBuf>,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    row: String,
    token: Secret,
    #[serde(default)]
    subject: Option<String>,
}

/// A line of the answer.
#[derive(Serialize)]
struct Imported {
    row: String,
    #[serde(flatten)]
    view: ImportedView,
}

pub(crate) async fn run(format: Format, args: &Args, stores: &Stores) -> anyhow::Result<bool> {
    let vault = &stores.identity.vault;
    if vault.fernet.is_empty() {
        return Err(crate::cli::Usage::error(
            "there is no key to open them with: write `fernet-keys = [{ env = \"API_KEY_ENCRYPTION_KEY\" }]` under [vault]",
        ));
    }
    let source: Box<dyn Read> = match &args.file {
        Some(path) => {
            Box::new(std::fs::File::open(path).with_context(|| format!("`{}`", path.display()))?)
        }
        None => Box::new(std::io::stdin()),
    };
    let mut rows = csv::Reader::from_reader(source);
    let mut rows = rows.deserialize::<Line>().enumerate().peekable();
    if format == Format::Text {
        output::line("row,sealed");
    }
    let (mut told, mut all_open) = (Vec::new(), true);
    while rows.peek().is_some() {
        let mut step = Vec::new();
        for (position, row) in rows.by_ref().take(STEP) {
            // The header is the first line.
            let line = position.saturating_add(2);
            step.push((line, row.with_context(|| format!("line {line}"))?));
        }
        for (line, imported) in import_step(args, vault, step).await? {
            if !imported.view.is_sealed() {
                all_open = false;
                output::aside(format!("line {line}: the token does not open"));
            }
            match (format, imported.view) {
                (Format::Text, ImportedView::Sealed { sealed }) => {
                    output::line(format!("{},{sealed}", quoted(&imported.row)));
                }
                (Format::Text, ImportedView::Error { .. }) => {}
                (Format::Json, view) => told.push(Imported {
                    row: imported.row,
                    view,
                }),
            }
        }
    }
    if format == Format::Json {
        output::json(&told);
    }
    Ok(all_open)
}

/// Some lines, written down before they are handed out.
async fn import_step(
    args: &Args,
    vault: &Vault,
    step: Vec<(usize, Line)>,
) -> anyhow::Result<Vec<(usize, Imported)>> {
    let said = |problem: Problem| anyhow::anyhow!("{}", crate::verbs::told(problem));
    let tenant = args.tenant.map(TenantId::from_uuid);
    let (mut views, mut rows) = (Vec::new(), Vec::new());
    for (line, row) in step {
        let item = ToImport {
            table: args.table.clone(),
            field: args.field.clone(),
            row: row.row,
            subject: row.subject.filter(|subject| !subject.is_empty()),
            token: row.token,
            max_age: args.max_age,
        };
        let view = vault.import(tenant, &item).await;
        views.push(view.map_err(|problem| said(problem).context(format!("line {line}")))?);
        rows.push((line, item.row));
    }
    let noted = vault.note_import(&By::OPERATOR, tenant, &views).await;
    noted.map_err(said)?;
    let told = rows.into_iter().zip(views);
    Ok(told
        .map(|((line, row), view)| (line, Imported { row, view }))
        .collect())
}

/// RFC 4180.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
