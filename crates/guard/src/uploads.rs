//! Files that come in: nothing of one reaches the product before all of it was looked at (CWE-434).
//!
//! 1. A body on such a route is a form (`multipart/form-data`) or one file. Everything else is refused, and
//!    so is what would make the product read other bytes than were screened: `Content-Encoding`,
//!    `Content-Range`, `Content-Transfer-Encoding`, another charset, names with two readings.
//! 2. It goes into a file without a name in a folder that nobody else may enter, and is counted on the way.
//!    Whatever ends the request, a crash included, ends the file: there is nothing to sweep.
//! 3. Name, what the client calls it, and content must be of one kind that the route takes. The content is
//!    checked for its structure, not for a magic number: see [`content`](self::content) and
//!    [`docx`](self::docx).
//! 4. A scanner (clamd) reads every file. Infected, cut short, silent, away or not understood: refused.
//! 5. What goes on is not the form that came but one written anew from what was screened, so that the
//!    product cannot read it in another way; with it goes a receipt that the gate signs. Where the gate keeps the
//!    files, a description of each stands in its place.
//!
//! Memory: a few buffers for each upload, however large the file. Deployment: the folder needs room for
//! `at-once` uploads of the largest size. What it does not do: judge what a document says, or take active
//! content out of PDF files; that is the scanner's matter, and the viewer's.

mod content;
mod disposition;
mod docx;
mod error;
mod file_name;
mod form;
mod handed_on;
mod image;
mod intake;
mod rules;
mod scanner;
mod slice;
mod spool;
mod zip;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::Span;
use portcullis_core::finding::Finding;
use serde::Deserialize;
use tokio::sync::Semaphore;

pub use self::error::Error;
pub use self::handed_on::HandedOn;
pub use self::intake::{Accepted, Chunk, Facts, Held, Place, Shape, Taken, Verdict};
pub use self::rules::Rules;
pub use self::scanner::{Error as ScannerError, Scanner};

/// `[uploads]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Where clamd listens: `"127.0.0.1:3310"` or `"unix:/run/clamav/clamd.ctl"`. Required in production where
    /// a route takes uploads; `"none"` says that nothing is scanned. Default: none. Risk: without one,
    /// known malware passes if its form is right.
    pub scanner: Option<String>,
    /// How long the scanner may take for one file, from the connection to the verdict. Default `"60s"`. After
    /// that the upload is refused.
    pub scan_timeout: Span,
    /// The folder in which uploads lie while they are screened, without a name. It is made for the gate's user
    /// alone. Default `"quarantine"`, beside this file. Put it on a disk with room for `at-once` uploads.
    pub folder: PathBuf,
    /// How many uploads may be under way at once. Default `32`. Those beyond get 503.
    pub at_once: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scanner: None,
            scan_timeout: Span::from_seconds(60),
            folder: PathBuf::from("quarantine"),
            at_once: 32,
        }
    }
}

const SCANNER: &str = "uploads.scanner";

impl Config {
    /// What is wrong with the table. `routes` says whether any route takes uploads.
    pub fn findings(&self, routes: bool, production: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        match Scanner::parse(self.scanner.as_deref(), self.scan_timeout) {
            Err(why) => findings
                .push(Finding::error("uploads-scanner", SCANNER, why).remedy(
                    "write \"127.0.0.1:3310\", \"unix:/run/clamav/clamd.ctl\" or \"none\"",
                )),
            Ok(Scanner::None) if routes => {
                findings.push(unscanned(self.scanner.is_some(), production));
            }
            Ok(Scanner::None | Scanner::Clamd(_)) => {}
        }
        if self.scan_timeout.is_zero() {
            findings.push(
                Finding::error(
                    "uploads-scan-timeout",
                    "uploads.scan-timeout",
                    "no scanner answers in no time",
                )
                .remedy("write \"60s\""),
            );
        }
        if self.at_once == 0 || self.at_once > MOST_AT_ONCE {
            findings.push(
                Finding::error(
                    "uploads-at-once",
                    "uploads.at-once",
                    format!("`{}` is not 1 to {MOST_AT_ONCE}", self.at_once),
                )
                .remedy("write at-once = 32"),
            );
        }
        findings
    }

    /// What screens uploads from now on. A relative folder begins at `base`.
    pub fn start(&self, base: &Path) -> Uploads {
        let scanner = Scanner::parse(self.scanner.as_deref(), self.scan_timeout);
        Uploads {
            folder: base.join(&self.folder),
            // SECURITY: what cannot be read has been refused by `findings`; were it not, nothing would pass.
            scanner: scanner.unwrap_or_else(|_| Scanner::unreachable()),
            places: Arc::new(Semaphore::new(self.at_once.min(MOST_AT_ONCE))),
            inspections: Semaphore::new(INSPECTIONS),
        }
    }
}

fn unscanned(on_purpose: bool, production: bool) -> Finding {
    let message = "a route takes uploads and no scanner reads them: known malware passes if its form is right";
    let remedy = "install clamd and write scanner = \"127.0.0.1:3310\" under [uploads]; or \"none\", if nothing is to be scanned";
    if production && !on_purpose {
        Finding::error("upload-without-scanner", SCANNER, message).remedy(remedy)
    } else {
        Finding::warning("upload-without-scanner", SCANNER, message).remedy(remedy)
    }
}

/// What stands in place of a file that the gate keeps: its id and what is known of it, as JSON.
pub const DESCRIPTION_TYPE: &str = "application/vnd.portcullis.upload+json";

/// More would be a queue on the disk.
const MOST_AT_ONCE: usize = 4096;
/// How many files are looked into at once: it is work for a core each.
const INSPECTIONS: usize = 2;

/// What screens uploads, for all routes.
#[derive(Debug)]
pub struct Uploads {
    folder: PathBuf,
    scanner: Scanner,
    places: Arc<Semaphore>,
    inspections: Semaphore,
}

impl Uploads {
    pub const fn scanner(&self) -> &Scanner {
        &self.scanner
    }
}
