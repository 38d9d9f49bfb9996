//! From a file into a database, and a look at whether it is all there: the same for a restore and for the
//! trial after a backup.

use std::io::BufRead;

use portcullis_core::Timestamp;
use portcullis_store::dump::{Cell, Load, Target};
use portcullis_vault::keys::Mac;

use super::format::{Error, Reader, Tally, Tallying};
use super::progress::Progress;

/// What is handed to the database at once.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What was poured.
pub(super) struct Poured {
    pub(super) rows: u64,
    /// Each table, and what is in it now; nothing where it was left out.
    pub(super) tables: Vec<(String, Option<Tally>)>,
}

/// Reads the whole backup into an empty database, reads that database again, and compares. Nothing is
/// committed: that is for the caller.
///
/// The MAC is checked where `keys` are given. Tables that `leave_out` names are read and not written.
pub(super) async fn pour<R: BufRead>(
    mut reader: Reader<R>,
    target: Target<'_>,
    keys: Option<&Mac>,
    leave_out: &[&str],
    now: Timestamp,
    phase: &'static str,
) -> Result<(Load, Poured), Error> {
    let mut load = Load::begin(target, &reader.header.steps, now).await?;
    let schema = load.schema().clone();
    reader.header.fits(&schema)?;
    let mut progress = Progress::begin(phase);
    let mut poured = Poured {
        rows: 0,
        tables: Vec::new(),
    };
    for table in &schema.tables {
        let is_kept = !leave_out.contains(&table.name.as_str());
        let mut tallying = Tallying::new();
        let mut batch: Vec<Vec<Cell>> = Vec::new();
        let mut bytes = 0_usize;
        reader.table(table)?;
        while let Some((row, length)) = reader.row(table, &mut tallying)? {
            progress.row(&table.name, length);
            if is_kept {
                batch.push(row);
                bytes += length;
            }
            if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                load.insert(table, &batch).await?;
                batch.clear();
                bytes = 0;
            }
        }
        load.insert(table, &batch).await?;
        let tally = tallying.end();
        reader.rows(table, &tally)?;
        progress.table();
        poured.rows += tally.rows;
        poured
            .tables
            .push((table.name.clone(), is_kept.then_some(tally)));
    }
    reader.end(keys)?;
    progress.end();
    for (table, (_, told)) in schema.tables.iter().zip(&poured.tables) {
        let mut tallying = Tallying::new();
        load.read(table, |row| tallying.row(&row).map(drop)).await?;
        if told.as_ref().is_some_and(|told| tallying.end() != *told) {
            return Err(Error::Broken(format!(
                "what came into the table `{}` is not what the backup holds",
                table.name
            )));
        }
    }
    Ok((load, poured))
}
