//! Each verb of the command line, carried out.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Secret, Timestamp, UserId};
use portcullis_events::{Actor, Metrics, Trail};
use portcullis_identity::accounts::{By, Registering};
use portcullis_identity::users::Account;
use portcullis_store::Db;
use portcullis_vault::keys::Keys;
use serde::Serialize;

use crate::check::{self, Format as CheckFormat};
use crate::cli::output::{self, Format};
use crate::cli::{
    Cli, Routes, SigningKeys, Usage, Users, Verb, alerts, anomalies, api_keys, audit, backup,
    consents, privacy, scans, secret_store, sessions, upload_store, vault, visitors, webhooks,
};
use crate::components::Components;
use crate::config::Loaded;
use crate::config::document::Environment;
use crate::snapshot::Snapshot;
use crate::upkeep::{self, Identity};
use crate::{
    demo, doctor, explain, health_check, import, incident, init, migrate, prove, routes_diff,
    scrub, serve, tenants,
};

/// Runs what was asked for. `Ok(false)` is a finding: exit code 1.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<bool> {
    match &cli.verb {
        Verb::Demo(args) => demo::run(args),
        Verb::Init(args) => {
            output::answer(cli.output, &init::run(args, &cli.config)?);
            Ok(true)
        }
        Verb::Serve => serve::run(&cli.config),
        Verb::Check(args) => check(cli, args),
        Verb::Doctor => doctor::run(&cli.config, cli.output),
        Verb::Migrate(args) => migrate::run(&cli.config, args, cli.output),
        Verb::Health => health_check::run(&cli.config),
        Verb::Prove(args) => prove::run(&cli.config, args, cli.output),
        Verb::Explain(args) => explain::run(&cli.config, args, cli.output),
        Verb::Routes(Routes::List { own }) => {
            output::answer(cli.output, &explain::list(&cli.config, *own)?);
            Ok(true)
        }
        Verb::Routes(Routes::Diff { old, new }) => {
            let diff = routes_diff::run(old, new)?;
            output::answer(cli.output, &diff);
            Ok(!diff.opens_something())
        }
        Verb::Users(verb) => with_stores(&cli.config, async |stores| {
            users(cli.output, verb, stores).await
        }),
        Verb::Keys(verb) => with_stores(&cli.config, async |stores| {
            api_keys::run(cli.output, verb, stores).await
        }),
        Verb::Import(verb) => with_stores(&cli.config, async |stores| {
            import::run(cli.output, verb, stores).await
        }),
        Verb::SigningKeys(verb) => with_stores(&cli.config, async |stores| {
            signing_keys(cli.output, verb, stores).await
        }),
        Verb::Vault(verb) => with_stores(&cli.config, async |stores| {
            vault::run(cli.output, verb, stores).await
        }),
        Verb::Secrets(verb) => with_stores(&cli.config, async |stores| {
            secret_store::run(cli.output, verb, stores).await
        }),
        Verb::Components => {
            output::answer(cli.output, &Components::own()?);
            Ok(true)
        }
        Verb::Scan(verb) => with_stores(&cli.config, async |stores| {
            scans::run(cli.output, verb, stores).await
        }),
        Verb::Uploads(verb) => with_stores(&cli.config, async |stores| {
            upload_store::run(cli.output, verb, stores).await
        }),
        Verb::Incident(incident::Verb::Rehearse(args)) => {
            incident::rehearse(&cli.config, args, cli.output)
        }
        Verb::Consents(verb) => with_stores(&cli.config, async |stores| {
            consents::run(cli.output, verb, stores).await
        }),
        Verb::Privacy(verb) => match privacy::offline(&cli.config, cli.output, verb) {
            Some(answer) => answer,
            None => with_stores(&cli.config, async |stores| {
                privacy::run(cli.output, verb, stores).await
            }),
        },
        Verb::Incident(verb) => with_stores(&cli.config, async |stores| {
            incident::run(cli.output, verb, stores).await
        }),
        Verb::Tenants(verb) => with_stores(&cli.config, async |stores| {
            tenants::tenants(cli.output, verb, stores).await
        }),
        Verb::Roles(verb) => with_stores(&cli.config, async |stores| {
            tenants::roles(cli.output, verb, stores).await
        }),
        Verb::Grants(verb) => with_stores(&cli.config, async |stores| {
            tenants::grants(cli.output, verb, stores).await
        }),
        Verb::Visitors(verb) => with_stores(&cli.config, async |stores| {
            visitors::run(cli.output, verb, stores).await
        }),
        Verb::Webhooks(verb) => with_stores(&cli.config, async |stores| {
            webhooks::run(cli.output, verb, stores).await
        }),
        Verb::Anomalies(verb) => with_stores(&cli.config, async |stores| {
            anomalies::run(cli.output, verb, stores).await
        }),
        Verb::Alerts(verb) => with_stores(&cli.config, async |stores| {
            alerts::run(cli.output, verb, stores).await
        }),
        Verb::Audit(verb) => match audit::offline(cli.output, verb) {
            Some(answer) => answer,
            None => with_stores(&cli.config, async |stores| {
                audit::run(cli.output, verb, stores).await
            }),
        },
        Verb::Backup(args) => backup::backup(cli, args),
        Verb::Restore(args) => backup::restore(cli, args),
        Verb::Scrub(args) => scrub::run(args, cli.output),
    }
}

fn check(cli: &Cli, args: &check::Args) -> anyhow::Result<bool> {
    let report = check::run(&cli.config, &args.beside, &Environment::of_process())?;
    let format = args.format.unwrap_or(match cli.output {
        Format::Text => CheckFormat::Text,
        Format::Json => CheckFormat::Json,
    });
    match format {
        CheckFormat::Text => output::line(&report),
        CheckFormat::Json => output::json(&report),
        CheckFormat::Sarif => output::json(&report.sarif()),
    }
    Ok(report.errors == 0)
}

/// What verbs work on that need no running gate.
pub(crate) struct Stores {
    pub(crate) db: Db,
    pub(crate) identity: Identity,
    pub(crate) trail: Trail,
    pub(crate) loaded: Loaded,
}

impl Stores {
    pub(crate) fn incidents(&self) -> portcullis_events::Incidents {
        self.identity.incidents()
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

impl Stores {
    /// Opens what verbs work on. [`Stores::close`] it in the end.
    pub(crate) async fn open(loaded: Loaded, keys: &Keys) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = loaded
            .secrets
            .database
            .as_ref()
            .context("`state.database` names no database")?;
        let db = Db::open(&loaded.config.state, url, clock.now())
            .await
            .context("the database (`state.database`) cannot be used")?;
        let trail = Trail::start(
            db.clone(),
            Arc::clone(&clock),
            Metrics::new(),
            &loaded.config.audit,
        );
        let identity = upkeep::identity(&loaded, &db, keys, &trail, &clock).await?;
        Ok(Stores {
            db,
            identity,
            trail,
            loaded,
        })
    }

    /// Writes what is still to be written.
    pub(crate) async fn close(self) {
        self.trail.shutdown().await;
        self.db.close().await;
    }
}

/// Reads a configuration that has no error, and its keys.
pub(crate) fn sound(file: &Path, environment: Environment) -> anyhow::Result<(Loaded, Keys)> {
    let mut loaded = serve::load(file, environment)?;
    let Some(keys) = check::keys(&mut loaded).filter(|_| !loaded.has_errors()) else {
        bail!("the configuration has errors: `portcullis check` names them");
    };
    Ok((loaded, keys))
}

fn with_stores<T>(
    file: &Path,
    work: impl AsyncFnOnce(&Stores) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (loaded, keys) = sound(file, Environment::of_process())?;
    serve::redact(&loaded.config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stores = Stores::open(loaded, &keys).await?;
        let outcome = work(&stores).await;
        stores.close().await;
        outcome
    })
}

async fn signing_keys(format: Format, verb: &SigningKeys, stores: &Stores) -> anyhow::Result<bool> {
    let keys = &stores.identity.signing_keys;
    match verb {
        SigningKeys::List => output::answer(format, &keys.list().await?),
        SigningKeys::Rotate { now } => {
            let rotated = keys.rotate(Actor::Operator, *now).await?;
            let rotated = rotated.context("a node just made the next key: see `list`")?;
            output::answer(format, &rotated);
        }
        SigningKeys::Revoke { kid } => {
            if !keys.revoke(Actor::Operator, kid).await? {
                return Err(Usage::error(format!(
                    "there is no key `{kid}` to take out: `portcullis signing-keys list` shows them"
                )));
            }
            output::answer(format, &keys.list().await?);
        }
    }
    Ok(true)
}

/// An account that was made, and its password where nobody else knows it.
#[derive(Serialize)]
struct Created {
    id: UserId,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl std::fmt::Display for Created {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "created {} ({})", self.email, self.id)?;
        match &self.password {
            Some(password) => write!(f, "\npassword, shown this once: {password}"),
            None => Ok(()),
        }
    }
}

/// A password that was set, and what it is where nobody else knows it.
#[derive(Serialize)]
struct PasswordSet {
    id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl std::fmt::Display for PasswordSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} has a new password and its sessions have ended",
            self.id
        )?;
        match &self.password {
            Some(password) => write!(f, "\npassword, shown this once: {password}"),
            None => Ok(()),
        }
    }
}

async fn link(stores: &Stores, user: &str, provider: &str, subject: &str) -> anyhow::Result<()> {
    let id = find(stores, user).await?;
    let openid = &stores.identity.openid;
    openid
        .link(id, provider, subject, &By::operator())
        .await
        .map_err(|error| anyhow::anyhow!("{user}: {error}"))?;
    output::aside(format_args!("{user} signs in at {provider} as well"));
    Ok(())
}

async fn list_users(format: Format, stores: &Stores) -> anyhow::Result<()> {
    let list = everybody(stores).await?;
    match format {
        Format::Json => output::json(&list.iter().map(|account| serde_json::json!({ "id": account.id, "email": account.email, "roles": account.roles, "deactivated": account.deactivated_at.is_some(), "email_verified_at": account.email_verified_at.map(|at| at.to_string()) })).collect::<Vec<_>>()),
        Format::Text => {
            for account in &list {
                let state = if account.deactivated_at.is_some() { "deactivated" } else { "active" };
                output::line(format_args!("{}  {:<11}  {}  [{}]", account.id, state, account.email, account.roles.join(", ")));
            }
        }
    }
    Ok(())
}

async fn users(format: Format, verb: &Users, stores: &Stores) -> anyhow::Result<bool> {
    let accounts = &stores.identity.accounts;
    match verb {
        Users::Create {
            email,
            roles,
            password_stdin,
        } => {
            known_roles(stores, roles)?;
            let (password, shown) = password(*password_stdin)?;
            let account = accounts
                .create(
                    &Registering {
                        email,
                        password: &password,
                        display_name: None,
                    },
                    roles,
                    None,
                    &By::operator(),
                )
                .await
                .map_err(|error| anyhow::anyhow!("{email}: {}", told(error)))?;
            output::answer(
                format,
                &Created {
                    id: account.id,
                    email: account.email,
                    password: shown.then(|| password.expose().clone()),
                },
            );
        }
        Users::List => list_users(format, stores).await?,
        Users::SetRoles { user, roles } => {
            known_roles(stores, roles)?;
            let id = find(stores, user).await?;
            accounts
                .set_roles(id, roles, &By::operator())
                .await
                .map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            output::aside(format_args!(
                "{user} holds [{}] from the next request on",
                roles.join(", ")
            ));
        }
        Users::SetPassword {
            user,
            password_stdin,
        } => {
            let id = find(stores, user).await?;
            let (password, shown) = password(*password_stdin)?;
            accounts
                .set_password(id, &password, &By::operator())
                .await
                .map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            output::answer(
                format,
                &PasswordSet {
                    id,
                    password: shown.then(|| password.expose().clone()),
                },
            );
        }
        Users::Link {
            user,
            provider,
            subject,
        } => link(stores, user, provider, subject).await?,
        Users::ResetFactors { user } => {
            let id = find(stores, user).await?;
            accounts
                .reset_factors(id, &By::operator())
                .await
                .map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            output::aside(format_args!(
                "{user} has no second factor any more and its sessions have ended"
            ));
        }
        Users::Deactivate { user } => {
            let id = find(stores, user).await?;
            accounts
                .deactivate(id, &By::operator())
                .await
                .map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            output::aside(format_args!(
                "{user} is switched off and its sessions have ended"
            ));
        }
        Users::Access(verb) => sessions::run(format, verb, stores).await?,
    }
    Ok(true)
}

/// The account with this address or id.
pub(crate) async fn find(stores: &Stores, who: &str) -> anyhow::Result<UserId> {
    use portcullis_identity::{Email, users};
    let addresses = stores.identity.accounts.addresses();
    let found = if let Ok(id) = who.parse::<UserId>() {
        users::find(&stores.db, addresses, id)
            .await?
            .map(|account| account.id)
    } else {
        let email = Email::parse(who).map_err(|_| {
            Usage::error(format!(
                "`{who}` is neither an e-mail address nor the id of an account"
            ))
        })?;
        users::find_by_email(&stores.db, addresses, &email)
            .await?
            .map(|account| account.id)
    };
    found.ok_or_else(|| {
        Usage::error(format!(
            "there is no account `{who}`: `portcullis users list` shows those there are"
        ))
    })
}

/// What a client would be told, for the operator: the sentence, and each field's fault.
pub(crate) fn told(error: impl Into<portcullis_core::Problem>) -> String {
    let problem = error.into();
    let faults = problem
        .fields
        .iter()
        .map(|fault| format!("{}: {}", fault.field, fault.message));
    let cause = problem.cause.as_ref().map(ToString::to_string);
    std::iter::once(
        problem
            .detail
            .as_deref()
            .unwrap_or(problem.kind.title)
            .to_owned(),
    )
    .chain(faults)
    .chain(cause)
    .collect::<Vec<_>>()
    .join("; ")
}

/// All accounts, read page by page.
pub(crate) async fn everybody(stores: &Stores) -> anyhow::Result<Vec<Account>> {
    let mut list: Vec<Account> = Vec::new();
    loop {
        let behind = list.last().map(|account| account.id);
        match stores.identity.accounts.list(behind, 1000).await? {
            Some(page) if !page.is_empty() => list.extend(page),
            Some(_) | None => return Ok(list),
        }
    }
}

pub(crate) fn known_roles(stores: &Stores, roles: &[String]) -> anyhow::Result<()> {
    let defined = stores.loaded.config.access.roles();
    for role in roles {
        if !defined.contains_key(role) {
            return Err(Usage::error(format!(
                "no role `{role}` is defined: there are {}",
                defined.keys().cloned().collect::<Vec<_>>().join(", ")
            )));
        }
    }
    Ok(())
}

/// The password, and whether it has to be shown because it was made here.
fn password(from_stdin: bool) -> anyhow::Result<(Secret, bool)> {
    if !from_stdin {
        return Ok((crate::demo::one_time_password()?, true));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let trimmed = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(trimmed);
    if text.is_empty() {
        return Err(Usage::error("no password came on standard input"));
    }
    Ok((Secret::new(text), false))
}

/// Compiles a configuration for verbs that only look at it.
pub(crate) fn snapshot(file: &Path) -> anyhow::Result<(Loaded, Snapshot)> {
    let mut loaded = serve::load(file, Environment::of_process())?;
    let snapshot = check::keys(&mut loaded).and_then(|keys| Snapshot::compile(&mut loaded, &keys));
    match snapshot {
        Some(snapshot) => Ok((loaded, snapshot)),
        None => bail!("the configuration has errors: `portcullis check` names them"),
    }
}
