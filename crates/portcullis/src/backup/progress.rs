//! How far it is, on standard error.

use portcullis_core::{Span, Timestamp};

use crate::cli::output;
use crate::verbs::now;

/// Between two lines.
const EVERY: Span = Span::from_millis(500);

/// One phase: so many rows and bytes so far.
pub(super) struct Progress {
    phase: &'static str,
    told_at: Timestamp,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    tables: usize,
}

impl Progress {
    pub(super) fn begin(phase: &'static str) -> Self {
        Progress {
            phase,
            told_at: now(),
            rows: 0,
            bytes: 0,
            tables: 0,
        }
    }

    pub(super) fn row(&mut self, table: &str, bytes: usize) {
        self.rows += 1;
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        // The clock is not asked for each row.
        if self.rows.is_multiple_of(256) && now().since(self.told_at) >= EVERY {
            self.told_at = now();
            let (phase, rows, tables) = (self.phase, self.rows, self.tables);
            let bytes = size(self.bytes);
            output::aside(format_args!(
                "{phase}: {tables} tables and {rows} rows done, {bytes}; in `{table}`"
            ));
        }
    }

    pub(super) fn table(&mut self) {
        self.tables += 1;
    }

    pub(super) fn end(&self) {
        let (phase, rows, tables) = (self.phase, self.rows, self.tables);
        let bytes = size(self.bytes);
        output::aside(format_args!(
            "{phase}: {tables} tables, {rows} rows, {bytes}"
        ));
    }
}

/// Bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, one) in UNITS {
        if bytes >= one {
            let tenths = bytes.saturating_mul(10) / one;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}
