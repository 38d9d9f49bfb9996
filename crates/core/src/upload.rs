//! Files that come in: which kinds there are, and which of them a route takes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::size::ByteSize;

/// A kind of file that the gate can tell by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    Pdf,
    Docx,
    Txt,
    Md,
    Png,
    Jpeg,
}

impl FileType {
    pub const ALL: [FileType; 6] = [
        FileType::Pdf,
        FileType::Docx,
        FileType::Txt,
        FileType::Md,
        FileType::Png,
        FileType::Jpeg,
    ];

    /// The word in the configuration, which is also the usual extension.
    pub const fn as_str(self) -> &'static str {
        match self {
            FileType::Pdf => "pdf",
            FileType::Docx => "docx",
            FileType::Txt => "txt",
            FileType::Md => "md",
            FileType::Png => "png",
            FileType::Jpeg => "jpeg",
        }
    }

    /// The kind that an extension stands for, whatever its case.
    pub fn of_extension(extension: &str) -> Option<Self> {
        let is = |word: &str| extension.eq_ignore_ascii_case(word);
        if is("jpg") {
            return Some(FileType::Jpeg);
        }
        if is("markdown") {
            return Some(FileType::Md);
        }
        FileType::ALL.into_iter().find(|kind| is(kind.as_str()))
    }

    /// What the product is told that it is.
    pub const fn media_type(self) -> &'static str {
        match self {
            FileType::Pdf => "application/pdf",
            FileType::Docx => {
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
            }
            FileType::Txt => "text/plain; charset=utf-8",
            FileType::Md => "text/markdown; charset=utf-8",
            FileType::Png => "image/png",
            FileType::Jpeg => "image/jpeg",
        }
    }

    /// What a client may call it, without parameters, in lower case.
    pub const fn called(self) -> &'static [&'static str] {
        match self {
            FileType::Pdf => &["application/pdf"],
            FileType::Docx => {
                &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"]
            }
            FileType::Txt => &["text/plain"],
            FileType::Md => &["text/markdown", "text/x-markdown", "text/plain"],
            FileType::Png => &["image/png"],
            FileType::Jpeg => &["image/jpeg", "image/jpg"],
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[route.upload]`: what comes in on the route is files, and each is screened before the product sees
/// any of it. An empty table is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UploadConfig {
    /// The kinds of files that are taken, of `"pdf"`, `"docx"`, `"txt"`, `"md"`, `"png"`, `"jpeg"`. A file
    /// must be of one by its name, by what the client calls it and by its content. Default
    /// `["pdf", "docx", "txt", "md"]`.
    pub types: Vec<FileType>,
    /// The largest file. Default `"10MiB"`. What is larger is refused while it comes in. The scanner has a
    /// limit of its own (`StreamMaxLength` of clamd): keep that one larger.
    pub max_size: ByteSize,
    /// How many files one form may bring. Default `1`, at most 16.
    pub max_files: u8,
    /// Whether the gate keeps the files (`[upload-store]`): the product gets ids in place of the bytes. Default
    /// `false`: the files go on to the product.
    pub store: bool,
}

impl Default for UploadConfig {
    fn default() -> Self {
        UploadConfig {
            types: vec![FileType::Pdf, FileType::Docx, FileType::Txt, FileType::Md],
            max_size: ByteSize::mib(10),
            max_files: 1,
            store: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_stands_for_one_kind_in_any_case() {
        for kind in FileType::ALL {
            let upper = kind.as_str().to_ascii_uppercase();
            assert_eq!(FileType::of_extension(&upper), Some(kind));
        }
        assert_eq!(FileType::of_extension("JPG"), Some(FileType::Jpeg));
        assert_eq!(FileType::of_extension("exe"), None);
        assert_eq!(FileType::of_extension(""), None);
    }
}
