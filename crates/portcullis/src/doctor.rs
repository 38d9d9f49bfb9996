//! `portcullis doctor`: tries what the configuration names, from where the gate stands.

mod certificates;
mod checkpoints;
mod scans;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Timestamp};
use portcullis_identity::addresses::Forms;
use portcullis_store::Condition;
use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::config::Loaded;
use crate::config::document::Environment;
use crate::failure::Matrix;
use crate::{check, serve};

/// No answer within this time is a finding.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was tried, and how it went.
#[derive(Debug, Serialize)]
struct Trial {
    what: String,
    ok: bool,
    /// Nothing is wrong yet.
    warning: bool,
    detail: String,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Trials(Vec<Trial>);

/// What was tried, and what would happen if some of it were away.
#[derive(Debug, Serialize)]
struct Diagnosis {
    trials: Trials,
    failures: Matrix,
}

/// Tries everything. `Ok(false)` where something does not answer.
pub(crate) fn run(file: &Path, format: Format) -> anyhow::Result<bool> {
    let mut loaded = serve::load(file, Environment::of_process())?;
    check::judge(&mut loaded);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let trials = runtime.block_on(async {
        let mut trials = vec![trial("configuration".to_owned(), configuration(&loaded))];
        for (name, upstream) in &loaded.config.upstreams {
            trials.push(trial(
                format!("upstream `{name}` ({})", upstream.url),
                reach(&upstream.url).await.map_err(|error| {
                    format!("{error}; is the product started, and upstream.{name}.url right?")
                }),
            ));
        }
        let answer = database(&loaded).await;
        // One that does not answer is not waited for again.
        let more = if answer.is_ok() {
            [
                power_cut(&loaded).await,
                database_user(&loaded).await,
                addresses(&loaded).await,
            ]
        } else {
            [None, None, None]
        };
        trials.push(trial(
            "database".to_owned(),
            answer.map_err(|error| format!("{error}; see state.database")),
        ));
        trials.extend(more.into_iter().flatten());
        if let Some(store) = &loaded.config.secret_store {
            trials.push(trial("secrets".to_owned(), ages(&loaded, store).await));
        }
        trials.extend(remote_secrets(&loaded).await);
        trials.extend(checkpoints::trials(&mut loaded).await);
        trials.extend(scans::trials(&loaded).await);
        if let Some(url) = &loaded.secrets.redis {
            trials.push(trial(
                "redis".to_owned(),
                redis(&loaded, url)
                    .await
                    .map_err(|error| format!("{error}; see state.redis")),
            ));
        }
        trials.extend(scanner(&loaded).await);
        trials.extend(upload_folder(&loaded));
        trials.extend(issuers(&loaded).await);
        if loaded.config.kek.kind.is_service() {
            trials.push(trial(
                format!("KEK `{}`", loaded.config.kek.kind),
                kek(&mut loaded)
                    .await
                    .map_err(|error| format!("{error}; see [kek]")),
            ));
        }
        trials.push(trial("clock".to_owned(), clock()));
        trials.extend(certificates::trials(&loaded, SystemClock.now()));
        for host in loaded
            .config
            .hosts
            .allow
            .iter()
            .filter(|host| !host.starts_with('*'))
        {
            trials.push(trial(
                format!("name `{host}`"),
                resolves(host)
                    .await
                    .map_err(|error| format!("{error}; see hosts.allow")),
            ));
        }
        trials
    });
    let diagnosis = Diagnosis {
        trials: Trials(trials),
        failures: Matrix::of(&loaded)?,
    };
    output::answer(format, &diagnosis);
    Ok(diagnosis.trials.0.iter().all(|trial| trial.ok))
}

fn trial(what: String, outcome: Result<String, String>) -> Trial {
    match outcome {
        Ok(detail) => Trial {
            what,
            ok: true,
            warning: false,
            detail,
        },
        Err(detail) => Trial {
            what,
            ok: false,
            warning: false,
            detail,
        },
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} seconds", PATIENCE.as_secs())))
}

fn configuration(loaded: &Loaded) -> Result<String, String> {
    if loaded.has_errors() {
        Err("has errors; `portcullis check` names them".to_owned())
    } else {
        Ok("has no errors".to_owned())
    }
}

async fn reach(url: &str) -> Result<String, String> {
    let url = url::Url::parse(url).map_err(|error| error.to_string())?;
    let host = url
        .host_str()
        .ok_or("it names no host")?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = url.port_or_known_default().ok_or("it names no port")?;
    in_time(async {
        tokio::net::TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| format!("cannot be connected to: {error}"))?;
        Ok("takes connections".to_owned())
    })
    .await
}

async fn database(loaded: &Loaded) -> Result<String, String> {
    let url = loaded
        .secrets
        .database
        .as_ref()
        .ok_or("`state.database` cannot be read")?;
    in_time(async {
        // Looks only: `doctor` may run as another user than the gate, and leaves no file behind.
        let (engine, condition) = portcullis_store::inspect(&loaded.config.state, url)
            .await
            .map_err(|error| error.to_string())?;
        Ok(match condition {
            Condition::NotThere => format!("{engine:?}: no file yet, the gate makes it when it starts"),
            Condition::Behind(steps) => format!(
                "{engine:?} answers; {steps} steps of its tables are to be made, the gate does so when it starts"
            ),
            Condition::UpToDate => format!("{engine:?} answers, its tables are up to date"),
        })
    })
    .await
}

/// A server that does not wait for its own disk.
async fn power_cut(loaded: &Loaded) -> Option<Trial> {
    let url = loaded.secrets.database.as_ref()?;
    let asked = Box::pin(portcullis_store::forgetful(&loaded.config.state, url));
    let off = in_time(async { asked.await.map_err(|error| error.to_string()) });
    let off = off.await.ok()??;
    Some(Trial {
        what: "database after a power cut".to_owned(),
        ok: true,
        warning: true,
        detail: format!("acknowledged sessions and events may be gone: off on the server: {off}"),
    })
}

/// What the user of the database may do that the gate does not need (T7).
async fn database_user(loaded: &Loaded) -> Option<Trial> {
    let url = loaded.secrets.database.as_ref()?;
    let asked = Box::pin(portcullis_store::privileges(&loaded.config.state, url));
    let found = in_time(async { asked.await.map_err(|error| error.to_string()) });
    let found = found.await.ok()??;
    let user = &found.user;
    let (warning, detail) = if !found.beyond.is_empty() {
        let beyond = found.beyond.join(", ");
        let detail = format!(
            "`{user}` reaches beyond the gate's tables: {beyond}; docs/howto/least-privilege-database.md makes one who does not"
        );
        (true, detail)
    } else if found.owns_tables {
        let detail = format!(
            "`{user}` has no power beyond its own tables, which it may change; docs/howto/least-privilege-database.md takes that away as well"
        );
        (false, detail)
    } else {
        (
            false,
            format!("`{user}` reads and writes rows, and no more"),
        )
    };
    Some(Trial {
        what: "database user".to_owned(),
        ok: true,
        warning,
        detail,
    })
}

/// E-mail addresses that are still in the form that `accounts.seal-addresses` does not name.
async fn addresses(loaded: &Loaded) -> Option<Trial> {
    let url = loaded.secrets.database.as_ref()?;
    let asked = Box::pin(Forms::count(&loaded.config.state, url));
    // Before the first start there are no tables: the line of the database says so.
    let found = in_time(async { asked.await.map_err(|error| error.to_string()) });
    let Forms { clear, sealed } = found.await.ok()?;
    let left = "the gate moves them while it runs, and its log names those that stay";
    let (warning, detail) = match (loaded.config.accounts.seal_addresses, clear, sealed) {
        (true, 0, _) => (false, format!("{sealed} are sealed, none is in the clear")),
        (true, _, _) => (true, format!("{clear} are in the clear still: {left}")),
        (false, _, 0) => return None,
        (false, _, _) => (true, format!("{sealed} are sealed still: {left}")),
    };
    Some(Trial {
        what: "addresses (accounts.seal-addresses)".to_owned(),
        ok: true,
        warning,
        detail,
    })
}

/// Values of the store of secrets that should have been replaced by now.
async fn ages(
    loaded: &Loaded,
    store: &portcullis_events::secret_store::Config,
) -> Result<String, String> {
    let url = loaded
        .secrets
        .database
        .as_ref()
        .ok_or("`state.database` cannot be read")?;
    let state = &loaded.config.state;
    in_time(async {
        match portcullis_store::inspect(state, url).await {
            Ok((_, Condition::UpToDate)) => {}
            Ok((_, Condition::NotThere | Condition::Behind(_))) => {
                return Ok("there is no store yet".to_owned());
            }
            Err(error) => return Err(error.to_string()),
        }
        let aged = store.look_at_ages(state, url, SystemClock.now()).await;
        let aged = aged.map_err(|error| error.to_string())?;
        if aged.overdue == 0 {
            Ok("none is overdue".to_owned())
        } else {
            let count = aged.overdue;
            Err(format!("{count} should have been replaced by now; `portcullis secrets list --overdue` names them"))
        }
    })
    .await
}

async fn redis(loaded: &Loaded, url: &portcullis_core::Secret) -> Result<String, String> {
    use portcullis_store::counters::{Counters, Health};
    let (counters, keeper) =
        Counters::redis(&loaded.config.state, url).map_err(|error| error.to_string())?;
    let keeping = tokio::spawn(keeper.run());
    let outcome = in_time(async {
        while counters.health() != Health::Shared {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok("answers".to_owned())
    })
    .await;
    keeping.abort();
    outcome
}

/// What reads uploads, where anything does.
async fn scanner(loaded: &Loaded) -> Option<Trial> {
    let uploads = loaded.config.uploads.start(&loaded.folder);
    let answer = uploads.scanner().version().await.transpose()?;
    let answer = answer.map_err(|error| format!("{error}; see uploads.scanner"));
    Some(trial("scanner".to_owned(), answer))
}

/// Where uploads are kept, if they are.
fn upload_folder(loaded: &Loaded) -> Option<Trial> {
    let store = loaded.config.upload_store.as_ref()?;
    let folder = store.folder.display();
    let outcome = match store.inspect(&loaded.folder) {
        Ok(true) => Ok(format!("`{folder}` is there, and the gate's alone")),
        Ok(false) => Ok(format!(
            "`{folder}` is not there yet: the first upload makes it"
        )),
        Err(error) => Err(format!("{error}; see upload-store.folder")),
    };
    Some(trial("uploads".to_owned(), outcome))
}

/// Other issuers: their discovery documents and keys. What is wrong with their tables is told above.
async fn issuers(loaded: &Loaded) -> Vec<Trial> {
    let Ok(compiled) = crate::config::bearers::compile(&loaded.config, &loaded.secrets) else {
        return Vec::new();
    };
    let asked = compiled.issuers.ask(SystemClock.now()).await;
    let told = |(name, outcome): (String, Result<&str, String>)| {
        let outcome = outcome.map(str::to_owned);
        let outcome = outcome.map_err(|error| format!("{error}; see issuer.{name}.issuer"));
        trial(format!("issuer `{name}`"), outcome)
    };
    asked.into_iter().map(told).collect()
}

/// Where secrets are carried to: it answers, and the gate may write there. Nothing is written.
async fn remote_secrets(loaded: &Loaded) -> Option<Trial> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let compiled = crate::config::remote_secrets::compile(&loaded.config, &loaded.secrets, &clock);
    // What is wrong with the table is told above.
    let remote = compiled.ok().flatten()?;
    let tried = remote.try_out().await;
    Some(trial(
        format!("store of secrets `{}`", remote.kind().as_str()),
        tried
            .map(|()| "answers, and may be written to".to_owned())
            .map_err(|error| format!("{error}; see [secret-store.remote]")),
    ))
}

/// The key of all keys: wraps something, unwraps it, and is refused for somebody else's.
async fn kek(loaded: &mut Loaded) -> Result<String, String> {
    let keys = check::keys(loaded).ok_or("there is no master secret")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let compiled = crate::config::kek::compile(&loaded.config, &loaded.secrets, &keys, &clock);
    let compiled = compiled.map_err(|findings| {
        let said = findings.iter().map(ToString::to_string);
        said.collect::<Vec<_>>().join("; ")
    })?;
    compiled
        .try_out()
        .await
        .map_err(|error| error.to_string())?;
    Ok("wraps and unwraps, and tells one owner from another".to_owned())
}

/// A clock before this release was written is wrong, and tokens would never end.
fn clock() -> Result<String, String> {
    const RELEASED: Timestamp = Timestamp::from_seconds(1_790_000_000);
    let now = SystemClock.now();
    if now < RELEASED {
        Err(format!("it says {now}, which is before this release"))
    } else {
        Ok(format!("it says {now}"))
    }
}

async fn resolves(host: &str) -> Result<String, String> {
    let name = host.split(':').next().unwrap_or(host);
    in_time(async {
        let addresses = tokio::net::lookup_host((name, 443))
            .await
            .map_err(|error| error.to_string())?;
        Ok(addresses
            .map(|address| address.ip().to_string())
            .collect::<Vec<_>>()
            .join(", "))
    })
    .await
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.trials, self.failures)
    }
}

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, trial) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "{}  {}: {}",
                match (trial.ok, trial.warning) {
                    (true, false) => "ok  ",
                    (true, true) => "warn",
                    (false, _) => "FAIL",
                },
                trial.what,
                trial.detail
            )?;
        }
        Ok(())
    }
}
