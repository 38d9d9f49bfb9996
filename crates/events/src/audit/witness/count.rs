//! Who has signed what: for `audit verify`, for proofs, and for whoever reads a checkpoint.

use portcullis_core::Timestamp;
use portcullis_vault::note::{self, Note, Verifier};
use serde::Serialize;

use super::state;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::log::{Head, signed, unsigned};
use crate::audit::{Error, Log, tree};

const NEWEST: &str =
    "SELECT checkpoint, line FROM audit_cosignature WHERE witness = $1 ORDER BY size DESC LIMIT 1";
const LINES: &str =
    "SELECT checkpoint, line FROM audit_cosignature WHERE size = $1 ORDER BY witness";
const ENOUGH: &str = "SELECT size FROM audit_cosignature WHERE size > $1 GROUP BY size HAVING count(*) >= $2 ORDER BY size DESC LIMIT 1";

/// What one witness signed last, verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    pub witness: String,
    /// Leaves of the checkpoint.
    pub size: u64,
    /// By the witness's own clock.
    #[serde(serialize_with = "in_words")]
    pub at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn in_words<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

/// How the log stands with its witnesses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// How many there are.
    pub witnesses: usize,
    /// How many have to have signed.
    pub wanted: usize,
    pub signed: Vec<Witnessed>,
    /// Leaves that as many as are wanted (one at least) have signed.
    pub covered: u64,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} witnesses signed, {} are wanted: so many signed the first {} leaves",
            self.signed.len(),
            self.witnesses,
            self.wanted,
            self.covered
        )?;
        for one in &self.signed {
            write!(f, "\n  {}: {} leaves, at {}", one.witness, one.size, one.at)?;
        }
        Ok(())
    }
}

/// What is wrong with a witness's word.
pub(crate) enum Odd {
    /// What is kept of it was not signed by it, or not by this log.
    Unsigned(String),
    /// It signed what this log is no continuation of.
    Contradicts(String),
}

/// Names of the keys that have cosigned a checkpoint, and when.
///
/// # Errors
/// A line in the name of one of them does not verify, or it is no note.
pub fn cosigned_by(
    checkpoint: &str,
    keys: &[Verifier],
) -> Result<Vec<(String, Timestamp)>, note::Error> {
    let note: Note = checkpoint.parse()?;
    let mut all = Vec::new();
    for key in keys {
        match note.signed_by(key) {
            Ok((seconds, _)) => {
                let seconds = i64::try_from(seconds).map_err(|_| note::Error::Malformed)?;
                all.push((key.name().to_owned(), Timestamp::from_seconds(seconds)));
            }
            Err(note::Error::NotSigned) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

impl Log {
    /// Who signed this log, and what does not fit. Nothing where nobody is asked to.
    pub(in crate::audit) async fn standing(
        &self,
        head: &Head,
        keys: &[Verifier],
    ) -> Result<Option<(Standing, Vec<Odd>)>, Error> {
        let witnesses = &self.parts().witnesses;
        if witnesses.is_empty() {
            return Ok(None);
        }
        let mut standing = Standing {
            witnesses: witnesses.all.len(),
            wanted: witnesses.wanted,
            ..Standing::default()
        };
        let mut odd = Vec::new();
        for one in &witnesses.all {
            let before = state::find(self.db(), &one.name).await?;
            let contradicts = before.filter(|before| before.contradicts);
            if let Some(fault) = contradicts.and_then(|before| before.fault) {
                odd.push(Odd::Contradicts(format!("witness {}: {fault}", one.name)));
            }
            let args = [(&one.name).into()];
            let row = self.db().fetch_optional(NEWEST, &args).await?;
            let Some(row) = row else { continue };
            let text = format!("{}{}", row.text("checkpoint")?, row.text("line")?);
            let said = Checkpoint::verify(&text, keys).ok();
            let by = cosigned_by(&text, std::slice::from_ref(&one.key)).ok();
            let at = by.and_then(|by| by.first().map(|(_, at)| *at));
            let Some((said, at)) = said.zip(at) else {
                odd.push(Odd::Unsigned(format!(
                    "what is kept of witness {} was not signed by it",
                    one.name
                )));
                continue;
            };
            if !self.begins_with(head, &said).await? {
                odd.push(Odd::Contradicts(format!(
                    "witness {} signed {} leaves that this log does not go on from",
                    one.name, said.size
                )));
                continue;
            }
            standing.signed.push(Witnessed {
                witness: one.name.clone(),
                size: said.size,
                at,
            });
        }
        let mut sizes: Vec<u64> = standing.signed.iter().map(|one| one.size).collect();
        sizes.sort_unstable_by(|one, other| other.cmp(one));
        let last = standing.wanted.max(1).saturating_sub(1);
        standing.covered = sizes.get(last).copied().unwrap_or(0);
        Ok(Some((standing, odd)))
    }

    async fn begins_with(&self, head: &Head, then: &Checkpoint) -> Result<bool, Error> {
        if then.size > head.size {
            return Ok(false);
        }
        let tiles = self.tiles(&tree::needed(then.size, &[])).await?;
        Ok(tiles.root(then.size) == Some(then.root))
    }

    /// The newest checkpoint of more than `leaf` leaves that as many witnesses signed as are wanted (one at
    /// least), with their signatures.
    pub(in crate::audit) async fn witnessed_head(
        &self,
        newest: &Head,
        leaf: u64,
    ) -> Result<Option<Head>, Error> {
        let enough = self.parts().witnesses.wanted.max(1);
        let enough = i64::try_from(enough).unwrap_or(i64::MAX);
        let row = self
            .db()
            .fetch_optional(ENOUGH, &[signed(leaf).into(), enough.into()])
            .await?;
        let Some(row) = row else { return Ok(None) };
        let size = unsigned(row.int("size")?)?;
        let Some(text) = self.lines_under(None, size).await? else {
            return Ok(None);
        };
        let keys = self.verifiers_of(newest)?;
        // What was kept of another history is none of this log's.
        let Ok(said) = Checkpoint::verify(&text, &keys) else {
            return Ok(None);
        };
        if said.size != size || !self.begins_with(newest, &said).await? {
            return Ok(None);
        }
        Ok(Some(newest.at(&said, text)))
    }

    /// A checkpoint with what witnesses signed under it: that one, or whichever was signed at this size.
    pub(in crate::audit) async fn lines_under(
        &self,
        checkpoint: Option<&str>,
        size: u64,
    ) -> Result<Option<String>, Error> {
        let rows = self.db().fetch_all(LINES, &[signed(size).into()]).await?;
        let mut text = checkpoint.map(str::to_owned);
        let mut plain = text.clone();
        for row in &rows {
            let under = row.text("checkpoint")?;
            if plain.is_none() {
                (plain, text) = (Some(under.clone()), Some(under.clone()));
            }
            if let (Some(plain), Some(text)) = (&plain, &mut text)
                && *plain == under
            {
                text.push_str(&row.text("line")?);
            }
        }
        Ok(text)
    }

    /// The newest signed checkpoint, with the signatures of the witnesses who have signed that one already.
    pub async fn cosigned_checkpoint(&self) -> Result<Option<String>, Error> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let Some(checkpoint) = &head.checkpoint else {
            return Ok(None);
        };
        self.lines_under(Some(checkpoint), head.size).await
    }

    /// The newest checkpoint that as many witnesses signed as are wanted, one at least.
    pub async fn witnessed_checkpoint(&self) -> Result<Option<String>, Error> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let witnessed = self.witnessed_head(&head, 0).await?;
        Ok(witnessed.and_then(|head| head.checkpoint))
    }
}
