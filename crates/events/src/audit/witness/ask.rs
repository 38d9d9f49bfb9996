//! One exchange with a witness, and what becomes of it.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use portcullis_core::{Span, Timestamp};
use portcullis_edge::outbound::Answer;
use portcullis_store::{Value, look_up};
use portcullis_vault::note::{self, Note};
use tokio::time::MissedTickBehavior;

use super::state::{self, State};
use super::{Witness, Witnesses};
use crate::audit::checkpoint::number;
use crate::audit::log::{HEAD, Head};
use crate::audit::{Error, Log, tree};

/// How often a node looks whether somebody is to be asked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How far a witness's clock may be ahead of ours.
const AHEAD: Span = Span::from_minutes(5);
const KIND: &str = "text/plain; charset=utf-8";

/// What a witness did with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It signed, at this time by its own clock.
    Cosigned(Timestamp),
    /// It may sign later: it is away, or does not do what the protocol says.
    NotNow(String),
    /// It has seen this log longer, or another one.
    Contradicted(String),
    /// There is nothing to sign yet, or another node asks it just now.
    NotAsked,
}

/// What it said, verified.
enum Said {
    Cosigned {
        at: Timestamp,
        line: String,
    },
    /// The size that it has.
    Conflict(u64),
    /// The proof from the size that it has does not lead to what it has.
    Unprovable,
    NotNow(String),
}

enum Outcome {
    Cosigned { at: Timestamp, line: String },
    NotNow(String),
    Contradicted(String),
}

impl Log {
    /// Asks the witnesses whose turn it is, for as long as the process lives.
    pub async fn ask_witnesses(self) {
        if self.parts().witnesses.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.ask_those_due().await {
                tracing::warn!(%error, "witnesses of the audit log could not be asked");
            }
        }
    }

    async fn ask_those_due(&self) -> Result<(), Error> {
        let witnesses = &self.parts().witnesses;
        // One that hangs holds up no other.
        let asked = join_all(witnesses.all.iter().map(|one| self.ask_one(one, false))).await;
        asked.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.tell_of_late_ones().await
    }

    /// Asks each one now, whoever's turn it is: by name, what it did.
    ///
    /// # Errors
    /// The database does not answer, or the log is damaged.
    pub async fn ask_witnesses_now(&self) -> Result<Vec<(String, Answered)>, Error> {
        let mut told = Vec::new();
        for one in &self.parts().witnesses.all {
            told.push((one.name.clone(), self.ask_one(one, true).await?));
        }
        Ok(told)
    }

    /// Dropped half way, nothing is kept, and after the lease somebody asks again.
    async fn ask_one(&self, witness: &Witness, at_once: bool) -> Result<Answered, Error> {
        let (db, now) = (self.db(), self.now());
        state::make(db, witness, now).await?;
        let Some(head) = self.head().await? else {
            return Ok(Answered::NotAsked);
        };
        let Some(checkpoint) = &head.checkpoint else {
            return Ok(Answered::NotAsked);
        };
        if !state::claim(db, &witness.name, now, at_once).await? {
            return Ok(Answered::NotAsked);
        }
        let before = state::find(db, &witness.name).await?;
        let Some(before) = before else {
            return Ok(Answered::NotAsked);
        };
        let outcome = self.exchange(witness, &head, checkpoint, &before).await?;
        self.keep_outcome(witness, &head, checkpoint, &before, outcome)
            .await
    }

    async fn exchange(
        &self,
        witness: &Witness,
        head: &Head,
        checkpoint: &str,
        before: &State,
    ) -> Result<Outcome, Error> {
        let from = before.size.min(head.size);
        let said = self.submit(witness, head, checkpoint, from).await?;
        let Said::Conflict(theirs) = said else {
            return Ok(outcome(said, from));
        };
        if let Some(contradicted) = contradiction(theirs, from, head.size) {
            return Ok(contradicted);
        }
        // It signed more than we remember, or less: from there, once.
        let said = self.submit(witness, head, checkpoint, theirs).await?;
        if let Said::Conflict(still) = said
            && let Some(contradicted) = contradiction(still, theirs, head.size)
        {
            return Ok(contradicted);
        }
        Ok(outcome(said, theirs))
    }

    async fn submit(
        &self,
        witness: &Witness,
        head: &Head,
        checkpoint: &str,
        from: u64,
    ) -> Result<Said, Error> {
        let mut body = format!("old {from}\n");
        for hash in self.proof_from(head, from).await? {
            // Writing to a string does not fail.
            let _infallible = writeln!(body, "{}", STANDARD.encode(hash));
        }
        body.push('\n');
        body.push_str(checkpoint);
        let sent = super::outbound()
            .post(&witness.target, KIND, Bytes::from(body))
            .await;
        Ok(match sent {
            Ok(answer) => read(witness, checkpoint, &answer, self.now()),
            Err(error) => Said::NotNow(error.to_string()),
        })
    }

    /// That the log goes on from its own first `from` leaves.
    async fn proof_from(&self, head: &Head, from: u64) -> Result<Vec<tree::Hash>, Error> {
        let leaves = [from.saturating_sub(1), from];
        let mut places = tree::needed(head.size, &leaves);
        places.extend(tree::needed(from, &[]));
        let tiles = self.tiles(&places).await?;
        let then = tiles.root(from).ok_or(Error::Damaged("a tile"))?;
        let path = tiles.consistency(from, head.size);
        let path = path.ok_or(Error::Damaged("a tile"))?;
        // What is damaged here is no witness's fault, and none is blamed for it.
        if tree::verify_consistency(from, head.size, &then, &head.root, &path) {
            Ok(path)
        } else {
            Err(Error::Damaged("a tile"))
        }
    }
}

/// What a conflict says already, without another question.
fn contradiction(theirs: u64, from: u64, ours: u64) -> Option<Outcome> {
    let said = if theirs > ours {
        format!(
            "it signed {theirs} leaves of this log, which has {ours}: it was put back or cut short"
        )
    } else if theirs == from && theirs == ours {
        format!("it signed other {ours} leaves than this log has: there are two histories")
    } else if theirs == from {
        return Some(Outcome::NotNow(format!(
            "it says that it has {theirs} leaves, and refuses to go on from there"
        )));
    } else {
        return None;
    };
    Some(Outcome::Contradicted(said))
}

fn outcome(said: Said, from: u64) -> Outcome {
    match said {
        Said::Cosigned { at, line } => Outcome::Cosigned { at, line },
        Said::NotNow(fault) => Outcome::NotNow(fault),
        Said::Conflict(_) => Outcome::NotNow("somebody else asked it meanwhile".to_owned()),
        Said::Unprovable => Outcome::Contradicted(format!(
            "the log does not go on from the {from} leaves that it signed: they were rewritten"
        )),
    }
}

/// SECURITY: nothing that a witness answers is kept before its key has verified it.
fn read(witness: &Witness, checkpoint: &str, answer: &Answer, now: Timestamp) -> Said {
    let body = std::str::from_utf8(&answer.body).ok();
    match answer.status.as_u16() {
        200 => match body.map(|lines| cosigned(witness, checkpoint, lines, now)) {
            Some(Ok((at, line))) => Said::Cosigned { at, line },
            Some(Err(error)) => Said::NotNow(format!("its cosignature is refused: {error}")),
            None => Said::NotNow("it answered something that is no cosignature".to_owned()),
        },
        409 => match body.and_then(size) {
            Some(size) => Said::Conflict(size),
            None => Said::NotNow("it answered 409 without a size".to_owned()),
        },
        422 => Said::Unprovable,
        403 => Said::NotNow("it does not know the key of this log (403): give it what `portcullis audit key` prints".to_owned()),
        404 => Said::NotNow("it does not know this log (404): give it what `portcullis audit key` prints".to_owned()),
        other => Said::NotNow(format!("it answered {other}")),
    }
}

fn cosigned(
    witness: &Witness,
    checkpoint: &str,
    lines: &str,
    now: Timestamp,
) -> Result<(Timestamp, String), note::Error> {
    let note: Note = format!("{checkpoint}{lines}").parse()?;
    let (seconds, line) = note.signed_by(&witness.key)?;
    let seconds = i64::try_from(seconds).map_err(|_| note::Error::Malformed)?;
    // SECURITY: a time to come would pass for a fresh signature until then.
    if seconds > (now + AHEAD).as_seconds() {
        return Err(note::Error::Malformed);
    }
    Ok((Timestamp::from_seconds(seconds), line))
}

/// A decimal number, and a newline.
fn size(body: &str) -> Option<u64> {
    number(body.strip_suffix('\n')?)
}

impl Witnesses {
    /// Asks each one for the newest checkpoint of the database at `url`: for `doctor`. Nothing is kept.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn try_out(
        &self,
        state: &portcullis_store::Config,
        url: &portcullis_core::Secret<String>,
        now: Timestamp,
    ) -> Result<Vec<(String, Result<String, String>)>, Error> {
        let row = look_up(state, url, HEAD, &[]).await?;
        let head = row.as_ref().map(Head::read).transpose()?;
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let Some((head, checkpoint)) = head.and_then(|head| {
            let checkpoint = head.checkpoint.clone()?;
            Some((head, checkpoint))
        }) else {
            return Ok(Vec::new());
        };
        let mut told = Vec::new();
        for one in &self.all {
            let name: Value<'_> = (&one.name).into();
            let row = look_up(state, url, state::FIND, &[name]).await?;
            let before = row.as_ref().map(State::read).transpose()?;
            let contradicted = before.filter(|before| before.contradicts);
            let said = match contradicted.and_then(|before| before.fault) {
                Some(fault) => Err(fault),
                None => try_one(one, &head, &checkpoint, now).await,
            };
            told.push((one.name.clone(), said));
        }
        Ok(told)
    }
}

/// From nothing: whoever has signed something says how much.
async fn try_one(
    witness: &Witness,
    head: &Head,
    checkpoint: &str,
    now: Timestamp,
) -> Result<String, String> {
    let body = Bytes::from(format!("old 0\n\n{checkpoint}"));
    let sent = super::outbound().post(&witness.target, KIND, body).await;
    let answer = sent.map_err(|error| error.to_string())?;
    match read(witness, checkpoint, &answer, now) {
        Said::Cosigned { .. } => Ok("answers, and signs".to_owned()),
        Said::Conflict(theirs) => match contradiction(theirs, 0, head.size) {
            Some(Outcome::Contradicted(fault) | Outcome::NotNow(fault)) => Err(fault),
            Some(Outcome::Cosigned { .. }) | None => {
                Ok(format!("answers, and has signed {theirs} leaves"))
            }
        },
        Said::Unprovable => Err("it refuses a log from its first leaf on (422)".to_owned()),
        Said::NotNow(fault) => Err(fault),
    }
}

impl Log {
    async fn keep_outcome(
        &self,
        witness: &Witness,
        head: &Head,
        checkpoint: &str,
        before: &State,
        outcome: Outcome,
    ) -> Result<Answered, Error> {
        let (parts, now) = (self.parts(), self.now());
        let metrics = parts.trail.metrics();
        let mut tx = self.db().begin().await?;
        let answered = match outcome {
            Outcome::Cosigned { at, line } => {
                let signed = state::Signed {
                    size: head.size,
                    checkpoint,
                    line: &line,
                    at,
                };
                let next = now + parts.witnesses.every;
                state::signed(&mut tx, &witness.name, &signed, next).await?;
                state::prune(&mut tx, parts.witnesses.wanted, now).await?;
                metrics.witness_signed();
                Answered::Cosigned(at)
            }
            Outcome::NotNow(fault) => {
                state::failed(
                    &mut tx,
                    &witness.name,
                    before,
                    now,
                    &fault,
                    before.contradicts,
                )
                .await?;
                metrics.witness_failed();
                tracing::warn!(
                    witness = witness.name,
                    fault,
                    "a witness of the audit log did not sign"
                );
                Answered::NotNow(fault)
            }
            Outcome::Contradicted(fault) => {
                state::failed(&mut tx, &witness.name, before, now, &fault, true).await?;
                if !before.contradicts {
                    parts
                        .trail
                        .record_in(&mut tx, state::contradicted(&witness.name, &fault, now))
                        .await?;
                }
                metrics.witness_failed();
                tracing::error!(
                    witness = witness.name,
                    fault,
                    "a witness contradicts the audit log: `portcullis audit verify`"
                );
                Answered::Contradicted(fault)
            }
        };
        tx.commit().await?;
        Ok(answered)
    }

    /// Somebody is told once of each witness that has not signed for too long.
    async fn tell_of_late_ones(&self) -> Result<(), Error> {
        let (parts, now) = (self.parts(), self.now());
        let (mut late, mut contradicting) = (0, 0);
        for one in &parts.witnesses.all {
            let Some(state) = state::find(self.db(), &one.name).await? else {
                continue;
            };
            contradicting += i64::from(state.contradicts);
            let last = state.signed_at.unwrap_or(state.since);
            if now.since(last) <= parts.witnesses.alert_after {
                continue;
            }
            late += 1;
            let mut tx = self.db().begin().await?;
            if state::is_late(&mut tx, &one.name).await? {
                let event = state::unwitnessed(&one.name, last, now);
                parts.trail.record_in(&mut tx, event).await?;
                tracing::error!(witness = one.name, last = %last, "a witness has not signed the audit log for too long");
            }
            tx.commit().await?;
        }
        parts.trail.metrics().witnesses(late, contradicting);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_one_spelling() {
        assert_eq!(size("0\n"), Some(0));
        assert_eq!(size("20852014\n"), Some(20_852_014));
        for odd in [
            "",
            "\n",
            "7",
            "07\n",
            "+7\n",
            "7\n\n",
            "7 \n",
            "99999999999999999999\n",
        ] {
            assert_eq!(size(odd), None, "{odd:?}");
        }
    }
}
