//! `portcullis restore`: everything, or nothing.

use std::fs::File;

use anyhow::Context as _;
use portcullis_events::{Action, Actor, Event, Outcome, Target as About};
use portcullis_store::dump::{Load, Target};
use portcullis_store::revocations::{self, Revocation};
use serde::Serialize;

use super::format::{Error, Header, Reader};
use super::lock::{KeyKind, Keys};
use super::make::{Begun, begin, engine, runtime};
use super::pour::{Poured, pour};
use crate::cli::{Cli, Usage, backup, output};
use crate::verbs::now;

/// Where it stands who is signed in or about to be. `--without-sessions` leaves them out.
pub(super) const SESSIONS: [&str; 9] = [
    "openid_login",
    "passkey_ceremony",
    "recovery_token",
    "refresh_token",
    "registration_token",
    "session",
    "sign_in_challenge",
    "token_family",
    "visitor",
];

/// What is said when all is done.
#[derive(Serialize)]
struct Restored {
    from: String,
    made_at: String,
    made_by: String,
    /// Which database it was made from.
    engine: String,
    tables: usize,
    rows: u64,
    opened_with: KeyKind,
    /// Into which database, or nothing where it was only tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    into: Option<&'static str>,
}

impl std::fmt::Display for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, made_at) = (&self.from, &self.made_at);
        let (rows, tables) = (self.rows, self.tables);
        write!(f, "{from}, made {made_at}: {rows} rows of {tables} tables ")?;
        match self.into {
            None => f.write_str("would be restored; nothing was changed"),
            Some(into) => write!(
                f,
                "are in the {into} database, and nothing else is. What was revoked, ended or destroyed since then is valid again: docs/backup.md says what to look at"
            ),
        }
    }
}

/// `portcullis restore`
pub(crate) fn run(cli: &Cli, args: &backup::Restore) -> anyhow::Result<bool> {
    let begun = begin(&cli.config)?;
    let keys = Keys::of(args)?;
    let name = args.from.display().to_string();
    let file = File::open(&args.from)
        .map_err(|error| Usage::error(format!("`{name}` cannot be read: {error}")))?;
    let refused = || {
        let changed = if args.check {
            ""
        } else {
            "; nothing was changed"
        };
        format!("`{name}` is not restored{changed}")
    };
    let restored = runtime()?.block_on(async {
        let plain = keys.open(file)?;
        let reader = Reader::begin(plain)?;
        let header = reader.header.clone();
        let known = known(&begun, args, &header)?;
        let target = if args.check {
            Target::Nowhere
        } else {
            Target::At {
                url: &begun.url,
                replace: args.replace,
            }
        };
        let leave_out: &[&str] = if args.without_sessions {
            &SESSIONS
        } else {
            &[]
        };
        let (mut load, poured) = pour(reader, target, known, leave_out, now(), "restoring").await?;
        load.finish(now()).await?;
        let into = engine(load.tx().engine());
        if !args.check {
            settle(&begun, &mut load, &name, &header, &poured).await?;
            load.commit().await?;
        }
        anyhow::Ok(Restored {
            from: name.clone(),
            made_at: header.made_at,
            made_by: header.made_by,
            engine: header.engine,
            tables: poured.tables.len(),
            rows: poured.rows,
            opened_with: keys.kind,
            into: (!args.check).then_some(into),
        })
    });
    let restored = restored.with_context(refused)?;
    output::answer(cli.output, &restored);
    Ok(true)
}

/// The keys that the backup's MAC has to be of; none where another master secret is taken knowingly.
fn known<'b>(
    begun: &'b Begun,
    args: &backup::Restore,
    header: &Header,
) -> Result<Option<&'b portcullis_vault::keys::Mac>, Error> {
    let kek = &begun.loaded.config.kek.kind;
    let previous = &begun.loaded.config.previous_keks;
    let is_named = |kind: String| kind == header.kek;
    if !is_named(kek.to_string())
        && header.kek != "master"
        && !previous.iter().any(|kek| is_named(kek.kind.to_string()))
    {
        output::aside(format_args!(
            "its data keys were kept by a KEK of kind `{}`, and [kek] is of kind `{kek}`: name the other under [[previous-kek]], or sealed fields do not open",
            header.kek
        ));
    }
    match (header.is_under_ours(&begun.keys), args.other_master) {
        (true, _) => Ok(Some(&begun.keys)),
        (false, true) => {
            output::aside(
                "another master secret: what is sealed in this backup does not open here, API keys in it do not count, and it may be anybody's",
            );
            Ok(None)
        }
        (false, false) => Err(Error::OtherMaster),
    }
}

/// What a restored database needs beside its rows, in the same transaction.
async fn settle(
    begun: &Begun,
    load: &mut Load,
    name: &str,
    header: &Header,
    poured: &Poured,
) -> anyhow::Result<()> {
    let event = Event::new(now(), Action::BackupRestored, Outcome::Allowed)
        .by(Actor::Operator)
        .to(About::named("backup", name))
        .with("made-at", header.made_at.as_str())
        .with("rows", poured.rows);
    let config = &begun.loaded.config.audit;
    portcullis_events::audit::record_alone(load.tx(), config, event).await?;
    // A node that could not be seen, and comes back, forgets what it had in memory.
    revocations::publish(load.tx(), Revocation::Everything, now()).await?;
    Ok(())
}
