//! `portcullis secrets`: the product's named secrets. What they are is never printed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use portcullis_core::{Secret, Span};
use portcullis_events::By;
use portcullis_events::secret_store::manage::SecretView;
use portcullis_events::secret_store::{
    Change, Done, Error, Label, Listed, Made, Public, Rotation, Stored,
};
use serde::Serialize;

use crate::cli::Usage;
use crate::cli::output::{self, Format};
use crate::verbs::{Stores, told};

mod replace;

/// `portcullis secrets`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Secrets {
    /// Show the secrets with their age: whose, of which version, made how, who answers for them.
    List {
        /// Only those of this tenant: short name or id.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Only what should have been replaced by now. Exit code 1 where there is any.
        #[arg(long)]
        overdue: bool,
    },
    /// Show one with its versions.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Write a secret: make it, give it a new value, or say something else about it.
    ///
    ///   portcullis secrets put stripe --owner payments --purpose "charges cards" --value-from key.txt
    ///   portcullis secrets put cookie-key --owner web --purpose "signs cookies" --made hex:32 --rotate-every 90d
    ///
    /// The same value again changes nothing. The value before is served until the overlap is over.
    #[command(verbatim_doc_comment)]
    Put {
        #[command(flatten)]
        which: Which,
        /// A file with the value; `-` is standard input. A newline at its end is not part of it.
        #[arg(long, value_name = "FILE")]
        value_from: Option<PathBuf>,
        /// What every client of the tenant may know, a JSON object.
        #[arg(long, value_name = "JSON")]
        public: Option<String>,
        /// Who answers for it. A new secret needs one.
        #[arg(long, value_name = "WHO")]
        owner: Option<String>,
        /// What it is for. A new secret needs one.
        #[arg(long, value_name = "WORDS")]
        purpose: Option<String>,
        /// `provider` (default), or `hex:N` or `base64url:N`: N random bytes, made here.
        #[arg(long, value_name = "HOW")]
        made: Option<String>,
        /// Replace it so often, or, where a provider makes it, say so often that it is due. `0s` for never.
        #[arg(long, value_name = "SPAN")]
        rotate_every: Option<Span>,
        /// How long the value before is served still. Default: `secret-store.overlap`.
        #[arg(long, value_name = "SPAN")]
        overlap: Option<Span>,
    },
    /// Give a secret a new value, at random or from a file.
    ///
    /// The value before is served until the overlap is over, and the product is told (`hook-path`).
    Rotate {
        #[command(flatten)]
        which: Which,
        /// A file with the new value; `-` is standard input. Default: it is made at random.
        #[arg(long, value_name = "FILE")]
        value_from: Option<PathBuf>,
        /// How long the value before is served still: `0s` where others know it.
        #[arg(long, value_name = "SPAN")]
        overlap: Option<Span>,
    },
    /// Walk through the replacement of a secret in six steps, each of them recorded.
    ///
    ///   identify    what it is, and who reads it
    ///   provider    make a new one at the provider (you)
    ///   stores      put the new value into the store; the product is told
    ///   redeploy    see that everything runs with it (you)
    ///   invalidate  the old value is served no more; with --end-sessions every session ends
    ///   audit       who read the old value
    ///
    /// It does what it can and stops where you are needed: exit code 1, and it says what to do. Call it again
    /// with --confirm, and it goes on where it was. At a terminal it asks.
    #[command(verbatim_doc_comment)]
    Replace(replace::Args),
    /// End every value but the one in use, at once.
    EndPrevious {
        #[command(flatten)]
        which: Which,
    },
    /// Write over what somebody else changed where the secret was carried to ([secret-store.remote]).
    ///
    /// `secrets list` tells of such as `drifted`. What stands there then is lost there, unless it keeps versions.
    Push {
        #[command(flatten)]
        which: Which,
    },
    /// Take a secret out, with every version of it. Where it was carried to, it stays.
    Remove {
        #[command(flatten)]
        which: Which,
    },
}

/// Which secret.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// The tenant whose it is: short name or id. Default: the product's own.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl Which {
    async fn label(&self, stores: &Stores) -> anyhow::Result<Label> {
        let tenant = match &self.tenant {
            None => None,
            Some(name) => Some(crate::tenants::named(stores, name).await?),
        };
        let name = self.name.parse().map_err(failed)?;
        Ok(Label { tenant, name })
    }
}

/// Secrets shown at once.
const PAGE: u32 = 500;

/// Some of them, one line each.
#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<SecretView>);

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, one) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Written {
    outcome: &'static str,
    secret: SecretView,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.outcome, self.secret)
    }
}

#[derive(Serialize)]
struct Ended {
    ended: u64,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values are served no more", self.ended)
    }
}

fn failed(error: Error) -> anyhow::Error {
    match error {
        Error::NotFound => {
            Usage::error("there is no such secret: `portcullis secrets list` shows those there are")
        }
        Error::Invalid(field, message) => Usage::error(format!("{field} {message}")),
        Error::NoTenant
        | Error::KeyReused
        | Error::Busy
        | Error::NotThisStep
        | Error::Unreadable
        | Error::Fields(_)
        | Error::Randomness(_)
        | Error::Hook(_)
        | Error::Trail(_)
        | Error::Store(_) => anyhow::anyhow!("{}", told(error)),
    }
}

/// A value from a file. It is never an argument: those stand in the list of processes.
fn value(file: Option<&Path>) -> anyhow::Result<Option<Secret<String>>> {
    let Some(file) = file else { return Ok(None) };
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)
            .map_err(|error| Usage::error(format!("`{}`: {error}", file.display())))?;
    }
    let trimmed = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(trimmed);
    Ok(Some(Secret::new(text)))
}

fn public(text: Option<&str>) -> anyhow::Result<Option<Public>> {
    let Some(text) = text else { return Ok(None) };
    let object = serde_json::from_str(text)
        .map_err(|_| Usage::error("--public: write a JSON object, {\"publicApiKey\": \"..\"}"))?;
    Public::new(object).map(Some).map_err(failed)
}

pub(crate) async fn run(format: Format, verb: &Secrets, stores: &Stores) -> anyhow::Result<bool> {
    let store = &stores.identity.secret_store;
    match verb {
        Secrets::List { tenant, overdue } => {
            return list(format, tenant.as_deref(), *overdue, stores).await;
        }
        Secrets::Show { which } => {
            let label = which.label(stores).await?;
            output::answer(format, &store.whole_view(&label).await.map_err(failed)?);
        }
        Secrets::Put { .. } => put(format, verb, stores).await?,
        Secrets::Rotate {
            which,
            value_from,
            overlap,
        } => {
            let label = which.label(stores).await?;
            let rotation = Rotation {
                value: value(value_from.as_deref())?,
                overlap: *overlap,
                ..Rotation::default()
            };
            let rotated = store.rotate(&label, &rotation, &By::OPERATOR).await;
            rotated.map_err(failed)?;
            output::answer(format, &store.whole_view(&label).await.map_err(failed)?);
        }
        Secrets::Replace(args) => return replace::run(format, args, stores).await,
        Secrets::EndPrevious { which } => {
            let label = which.label(stores).await?;
            let ended = store.end_previous(&label, &By::OPERATOR).await;
            let ended = ended.map_err(failed)?;
            output::answer(format, &Ended { ended });
        }
        Secrets::Push { which } => {
            let label = which.label(stores).await?;
            store.push(&label, &By::OPERATOR).await.map_err(failed)?;
            output::answer(format, &store.whole_view(&label).await.map_err(failed)?);
        }
        Secrets::Remove { which } => {
            let label = which.label(stores).await?;
            store.remove(&label, &By::OPERATOR).await.map_err(failed)?;
            output::aside(format_args!("{} is gone, with every version", label.name));
        }
    }
    Ok(true)
}

async fn list(
    format: Format,
    tenant: Option<&str>,
    overdue: bool,
    stores: &Stores,
) -> anyhow::Result<bool> {
    let store = &stores.identity.secret_store;
    let listed = match tenant {
        None => Listed::All,
        Some(name) => Listed::Of(Some(crate::tenants::named(stores, name).await?)),
    };
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let after = all.last().map(|last| &last.label);
        let page = store.list(listed, after, PAGE).await.map_err(failed)?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let shown = all.iter();
    let shown = shown.filter(|one| !overdue || store.is_overdue(one));
    let list = List(shown.map(|one| store.view(one)).collect());
    output::answer(format, &list);
    Ok(!overdue || list.0.is_empty())
}

async fn put(format: Format, verb: &Secrets, stores: &Stores) -> anyhow::Result<()> {
    let Secrets::Put {
        which,
        value_from,
        public: of_public,
        owner,
        purpose,
        made,
        rotate_every,
        overlap,
    } = verb
    else {
        return Ok(());
    };
    let store = &stores.identity.secret_store;
    let label = which.label(stores).await?;
    let made: Option<Made> = made
        .as_deref()
        .map(|made| made.parse().map_err(failed))
        .transpose()?;
    let change = Change {
        value: value(value_from.as_deref())?,
        public: public(of_public.as_deref())?,
        owner: owner.clone(),
        purpose: purpose.clone(),
        made,
        rotate_every: *rotate_every,
        overlap: *overlap,
        request: None,
    };
    let done = store.put(&label, &change, &By::OPERATOR).await;
    let outcome = match done.map_err(failed)? {
        Done::Created => "created",
        Done::NewVersion => "new version",
        Done::Described => "described",
        Done::Unchanged => "unchanged",
    };
    let secret = store.whole_view(&label).await.map_err(failed)?;
    output::answer(format, &Written { outcome, secret });
    Ok(())
}
