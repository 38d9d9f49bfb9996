//! `portcullis import`: takes over accounts and sessions of the product that stood here before.

#![expect(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "the comments are the help of the command line, which is plain text"
)]

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use portcullis_core::Secret;
use portcullis_identity::accounts::By;
use portcullis_identity::api_keys::{Grantor, import as import_keys};
use portcullis_identity::import::read::Rows;
use portcullis_identity::import::{self, Report, Run};
use portcullis_store::Foreign;
use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::cli::{Usage, api_keys};
use crate::config::document::Environment;
use crate::config::secrets::{Read as _, SecretRef};
use crate::verbs::Stores;

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Take over accounts with their bcrypt hashes: nobody chooses a new password.
    ///
    /// Columns: id and email; and, if there, password_hash, display_name, roles, tenant_id, created_at,
    /// deleted_at. Says what would happen; keeps it with --apply. May be run again at any time.
    ///
    ///   portcullis import users --file users.csv --map-role '*=user'
    ///   portcullis import users --postgres env:OLD_DATABASE_URL --shape session-app --role user --apply
    #[command(verbatim_doc_comment)]
    Users(Users),
    /// Take over sessions of signed cookies: nobody signs in again.
    ///
    /// Columns: token (as the product stores it), user_id (of `import users`), expires_at; and, if there,
    /// id, created_at, client_address, user_agent. Only a hash of each whole cookie is kept. Then name
    /// the cookie in the configuration: `[sessions] carried-over-cookie = "session"`.
    ///
    ///   portcullis import sessions --postgres env:OLD_DATABASE_URL --shape session-app \
    ///     --cookie-key env:OLD_SECRET_KEY --apply
    #[command(verbatim_doc_comment)]
    Sessions(Sessions),
    /// Take over hashes of API keys: the keys that are out there go on working.
    ///
    /// Columns: key_hash, the hex HMAC-SHA256 of the whole key; and, if there, id, name, user_id, email,
    /// created_at, expires_at. user_id is that of `import users` (with the same --source), an account's id
    /// here, or with --issuer the subject at that issuer. First name that system's secret in
    /// `secrets.imported-api-keys` and its prefix in `api-keys.imported-prefix`.
    ///
    ///   portcullis import keys --file keys.csv --permission read:all --apply
    #[command(verbatim_doc_comment)]
    Keys(Keys),
}

/// Where rows come from, and whether they are kept.
#[derive(Debug, Args)]
pub(crate) struct From {
    /// A file: .csv with a header line, .json (an array of objects) or .jsonl (one to a line).
    #[arg(long, value_name = "PATH", required_unless_present = "postgres", conflicts_with_all = ["postgres", "query", "shape"])]
    file: Option<PathBuf>,
    /// The product's PostgreSQL: env:NAME of a variable or file:PATH that holds its URL. It is only read.
    #[arg(long, value_name = "SECRET", value_parser = secret_ref)]
    postgres: Option<SecretRef>,
    /// A SELECT whose columns have the names above.
    #[arg(
        long,
        value_name = "SQL",
        requires = "postgres",
        conflicts_with = "shape"
    )]
    query: Option<String>,
    /// The query of a product of this shape.
    #[arg(long, value_enum, requires = "postgres")]
    shape: Option<Shape>,
    /// A word for the product that ids are of. Users and sessions of one product need the same.
    #[arg(long, value_name = "WORD", default_value = "product")]
    source: String,
    /// A column to leave behind; may be given several times.
    #[arg(long = "ignore", value_name = "COLUMN")]
    ignore: Vec<String>,
    /// Keep it. Without this nothing is changed.
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Users {
    #[command(flatten)]
    from: From,
    /// A role for everybody; may be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A role by its old name and the one here; `*` stands for every other. May be given several times.
    #[arg(long = "map-role", value_name = "OLD=ROLE", value_parser = pair)]
    map_roles: Vec<(String, String)>,
    /// Whoever has a tenant gets their roles there, and nowhere else.
    #[arg(long)]
    roles_in_tenant: bool,
    /// A tenant by its old name, as it stands in `tenant_id`, and its short name or id here. May be given
    /// several times.
    #[arg(long = "map-tenant", value_name = "OLD=TENANT", value_parser = pair)]
    map_tenants: Vec<(String, String)>,
    /// Make tenants that are not there yet: a UUID stays their id, another name becomes their short name.
    /// Without this their people are refused.
    #[arg(long)]
    make_tenants: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    #[command(flatten)]
    from: From,
    /// The key that the product signed its cookies with: env:NAME or file:PATH.
    #[arg(long, value_name = "SECRET", value_parser = secret_ref)]
    cookie_key: SecretRef,
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(flatten)]
    from: From,
    /// What each of the keys may do; may be given several times.
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Beginning of the path of a route that they may use; may be given several times.
    #[arg(long = "route", value_name = "PATH")]
    routes: Vec<String>,
    /// The table `[issuer.NAME]` whose subjects `user_id` holds.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
}

/// Products whose tables are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Signed session cookies, users in `talents`, sessions in `"Session"`.
    SessionApp,
    /// Users in `users` with `hashed_password`.
    HardenedApi,
}

const SESSION_APP_USERS: &str = "SELECT id, email, password_hash, nullif(trim(concat_ws(' ', first_name, last_name)), '') AS display_name, tier AS roles, deleted_at FROM talents ORDER BY id";
const SESSION_APP_SESSIONS: &str = "SELECT id, token, \"userId\" AS user_id, \"expiresAt\" AS expires_at, \"createdAt\" AS created_at, ip AS client_address, \"userAgent\" AS user_agent FROM \"Session\" ORDER BY \"createdAt\"";
const HARDENED_API_USERS: &str =
    "SELECT id, email, hashed_password AS password_hash FROM users ORDER BY id";

fn secret_ref(text: &str) -> Result<SecretRef, String> {
    match text.split_once(':') {
        Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env {
            env: name.to_owned(),
        }),
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File { file: path.into() }),
        // Not repeated: it may be the secret itself.
        Some(_) | None => {
            Err("write env:NAME or file:PATH; a secret has no place on a command line".to_owned())
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.to_owned(), new.to_owned()))
        }
        Some(_) | None => Err("write OLD=NEW".to_owned()),
    }
}

/// Carries it out. `Ok(false)` where a row was refused.
pub(crate) async fn run(format: Format, verb: &Import, stores: &Stores) -> anyhow::Result<bool> {
    let (what, outcome) = match verb {
        Import::Users(args) => ("accounts", users(args, stores).await),
        Import::Sessions(args) => ("sessions", sessions(args, stores).await),
        Import::Keys(args) => ("keys", keys(args, stores).await),
    };
    // An import error is about the file or the query, unless a database failed.
    let report = outcome?;
    let all = report.refused.is_empty();
    output::answer(format, &Told { what, report });
    Ok(all)
}

async fn users(args: &Users, stores: &Stores) -> anyhow::Result<Report> {
    let plan = import::users::Plan {
        source: args.from.source.clone(),
        known_roles: stores.loaded.config.access.roles().into_keys().collect(),
        role_map: args.map_roles.clone(),
        roles: args.roles.clone(),
        roles_in_tenant: args.roles_in_tenant,
        tenant_map: args.map_tenants.clone(),
        make_tenants: args.make_tenants,
        ignore: args.from.ignore.clone(),
    };
    let new = args.map_roles.iter().map(|(_, new)| new.clone());
    let named: Vec<String> = args.roles.iter().cloned().chain(new).collect();
    crate::verbs::known_roles(stores, &named)?;
    let rows = args.from.rows(|shape| Some(shape.users()), stores).await?;
    let accounts = &stores.identity.accounts;
    let by = By::operator();
    let report = accounts.import(rows, &plan, args.from.run(), &by, progress);
    Ok(report.await?)
}

async fn sessions(args: &Sessions, stores: &Stores) -> anyhow::Result<Report> {
    let plan = import::sessions::Plan {
        source: args.from.source.clone(),
        cookie_key: secret(&args.cookie_key, stores)?,
        ignore: args.from.ignore.clone(),
    };
    let rows = args.from.rows(Shape::sessions, stores).await?;
    let accounts = &stores.identity.accounts;
    let by = By::operator();
    let report = accounts.import_sessions(rows, &plan, args.from.run(), &by, progress);
    let report = report.await?;
    if stores.loaded.config.sessions.carried_over_cookie.is_none() {
        output::aside(
            "no cookie of theirs counts yet: write [sessions] carried-over-cookie = \"NAME\" and restart the gate",
        );
    }
    Ok(report)
}

async fn keys(args: &Keys, stores: &Stores) -> anyhow::Result<Report> {
    let loaded = &stores.loaded;
    api_keys::check_permissions(&args.permissions, stores)?;
    if loaded.config.api_keys.imported_prefix.is_none()
        || loaded.secrets.imported_api_keys.is_none()
    {
        return Err(Usage::error(
            "nothing could know these keys again: write `imported-prefix` under [api-keys] and `imported-api-keys = { env = \"..\" }` under [secrets]",
        ));
    }
    let issuer = args.issuer.as_ref().map(|name| {
        let config = loaded.config.issuers.get(name);
        config
            .map(|config| config.issuer.clone())
            .ok_or_else(|| Usage::error(format!("there is no table [issuer.{name}] (`--issuer`)")))
    });
    let plan = import_keys::Plan {
        source: args.from.source.clone(),
        issuer: issuer.transpose()?,
        permissions: args.permissions.clone(),
        routes: (!args.routes.is_empty()).then(|| args.routes.clone()),
        ignore: args.from.ignore.clone(),
    };
    let rows = args.from.rows(|_| None, stores).await?;
    let by = By::operator();
    let roles = api_keys::roles(stores)?;
    let grantor = Grantor::Operator(&roles);
    let keys = &stores.identity.keys;
    Ok(keys
        .import(rows, &plan, args.from.run(), (&grantor, &by), progress)
        .await?)
}

/// Every ten thousand rows.
fn progress(read: u64) {
    if read.is_multiple_of(10_000) {
        output::aside(format_args!("{read} rows read"));
    }
}

fn secret(reference: &SecretRef, stores: &Stores) -> anyhow::Result<Secret> {
    reference
        .read(&Environment::of_process(), &stores.loaded.folder)
        .map_err(|error| Usage::error(error.to_string()))
}

impl Shape {
    const fn users(self) -> &'static str {
        match self {
            Shape::SessionApp => SESSION_APP_USERS,
            Shape::HardenedApi => HARDENED_API_USERS,
        }
    }

    const fn sessions(self) -> Option<&'static str> {
        match self {
            Shape::SessionApp => Some(SESSION_APP_SESSIONS),
            Shape::HardenedApi => None,
        }
    }
}

impl From {
    const fn run(&self) -> Run {
        if self.apply { Run::Apply } else { Run::Dry }
    }

    async fn rows(
        &self,
        of: impl FnOnce(Shape) -> Option<&'static str>,
        stores: &Stores,
    ) -> anyhow::Result<Rows> {
        if let Some(file) = &self.file {
            return open(file);
        }
        let url = self.postgres.as_ref().context("no source is named")?;
        let url = secret(url, stores)?;
        let query = match (&self.query, self.shape) {
            (Some(query), _) => query.as_str(),
            (None, Some(shape)) => of(shape).ok_or_else(|| {
                Usage::error("products of this shape keep none of these: give a --query")
            })?,
            (None, None) => return Err(Usage::error("give a --query, or a --shape with one")),
        };
        let foreign = Foreign::open(&url, query)
            .await
            .context("the product's database cannot be read (`--postgres`, `--query`)")?;
        Ok(Rows::postgres(foreign))
    }
}

fn open(file: &Path) -> anyhow::Result<Rows> {
    let input = || -> anyhow::Result<Box<dyn BufRead + Send>> {
        let file = File::open(file).map_err(|error| {
            Usage::error(format!("`{}` cannot be read ({error})", file.display()))
        })?;
        Ok(Box::new(BufReader::new(file)))
    };
    match file.extension().and_then(std::ffi::OsStr::to_str) {
        Some("csv") => Ok(Rows::csv(Box::new(input()?))),
        Some("json") => Ok(Rows::json(Box::new(input()?))?),
        Some("jsonl" | "ndjson") => Ok(Rows::json_lines(input()?)),
        Some(_) | None => Err(Usage::error("the file must end in .csv, .json or .jsonl")),
    }
}

/// A report with the word for what it is about.
#[derive(Debug, Serialize)]
struct Told {
    what: &'static str,
    #[serde(flatten)]
    report: Report,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            dry_run,
            read,
            imported,
            already,
            over,
            refused,
            ..
        } = &self.report;
        for row in refused {
            let id = row.id.as_deref().unwrap_or("-");
            writeln!(f, "row {} (id {id}): {}", row.row, row.reason)?;
        }
        let verb = if *dry_run {
            "would be taken over"
        } else {
            "taken over"
        };
        write!(
            f,
            "{read} {} read: {imported} {verb}, {already} there already, {over} over, {} refused",
            self.what,
            refused.len()
        )?;
        if *dry_run {
            write!(f, "\nnothing was changed: --apply keeps it")?;
        }
        Ok(())
    }
}
