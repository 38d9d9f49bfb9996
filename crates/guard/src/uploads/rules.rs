//! What one route takes.

use portcullis_core::finding::Finding;
use portcullis_core::size::ByteSize;
use portcullis_core::upload::{FileType, UploadConfig};

use super::Error;

/// What a form may bring beside its files, all of it, heads of parts included.
pub(super) const FIELDS: u64 = 64 * 1024;
/// As many files as one receipt has room for.
const MOST_FILES: u8 = 16;

/// `[route.upload]`, compiled.
#[derive(Debug, Clone)]
pub struct Rules {
    types: Box<[FileType]>,
    pub(super) max_size: u64,
    pub(super) max_files: usize,
    /// Whether the product gets descriptions in place of the files.
    pub(super) store: bool,
}

impl Rules {
    /// `key` is where the table stands in the file.
    pub fn compile(config: &UploadConfig, key: &str) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        if config.types.is_empty() {
            findings.push(
                Finding::error(
                    "upload-types",
                    format!("{key}.types"),
                    "no kind of file is taken",
                )
                .remedy("name some, or leave the key out for pdf, docx, txt and md"),
            );
        }
        if config.max_size.as_u64() == 0 {
            findings.push(
                Finding::error(
                    "upload-size",
                    format!("{key}.max-size"),
                    "no file is that small",
                )
                .remedy("write \"10MiB\", or leave the key out"),
            );
        }
        if config.max_files == 0 || config.max_files > MOST_FILES {
            let message = format!("`{}` is not 1 to {MOST_FILES}", config.max_files);
            findings.push(
                Finding::error("upload-files", format!("{key}.max-files"), message)
                    .remedy("write max-files = 1"),
            );
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Rules {
            types: config.types.clone().into_boxed_slice(),
            max_size: config.max_size.as_u64(),
            max_files: usize::from(config.max_files),
            store: config.store,
        })
    }

    /// Whether the gate keeps what is taken.
    pub const fn stores(&self) -> bool {
        self.store
    }

    /// The largest body: its files, and what stands around them.
    pub fn max_body(&self) -> ByteSize {
        let files = u64::try_from(self.max_files).unwrap_or(u64::MAX);
        ByteSize::bytes(self.max_size.saturating_mul(files).saturating_add(FIELDS))
    }

    /// The kind, if the route takes it.
    pub(super) fn admit(&self, kind: Option<FileType>) -> Result<FileType, Error> {
        kind.filter(|kind| self.types.contains(kind))
            .ok_or_else(|| Error::Type(self.taken()))
    }

    /// For the client: what is taken here.
    pub(super) fn taken(&self) -> String {
        let names: Vec<&str> = self.types.iter().map(|kind| kind.as_str()).collect();
        names.join(", ")
    }
}
