//! Zip files, right ones and others, and the documents that are made of them.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// One entry, and what of it is to be wrong.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) local_name: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) packed: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) external: u32,
    /// The size that both headers tell.
    pub(crate) size: u32,
    pub(crate) crc: u32,
    /// Sizes follow the data.
    pub(crate) streamed: bool,
}

pub(crate) fn stored(name: &str, data: &[u8]) -> Entry {
    let mut crc = Crc::new();
    crc.update(data);
    Entry {
        name: name.as_bytes().to_vec(),
        local_name: name.as_bytes().to_vec(),
        data: data.to_vec(),
        packed: data.to_vec(),
        method: 0,
        flags: 0,
        external: 0,
        size: u32::try_from(data.len()).unwrap(),
        crc: crc.sum(),
        streamed: false,
    }
}

pub(crate) fn deflated(name: &str, data: &[u8]) -> Entry {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    Entry {
        packed: encoder.finish().unwrap(),
        method: 8,
        ..stored(name, data)
    }
}

impl Entry {
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// More bytes than the packed data has.
    pub(crate) fn padded(mut self) -> Self {
        self.packed.extend_from_slice(b"more");
        self
    }

    fn packed_size(&self) -> u32 {
        u32::try_from(self.packed.len()).unwrap()
    }

    fn numbers(&self, known: bool) -> Vec<u8> {
        let numbers = if known {
            [self.crc, self.packed_size(), self.size]
        } else {
            [0; 3]
        };
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    fn local(&self) -> Vec<u8> {
        let mut out = b"PK\x03\x04\x14\0".to_vec();
        out.extend((self.flags | if self.streamed { 8 } else { 0 }).to_le_bytes());
        out.extend(self.method.to_le_bytes());
        out.extend([0, 0, 0x21, 0]);
        out.extend(self.numbers(!self.streamed));
        out.extend(u16::try_from(self.local_name.len()).unwrap().to_le_bytes());
        out.extend([0, 0]);
        out.extend(&self.local_name);
        out.extend(&self.packed);
        if self.streamed {
            out.extend(b"PK\x07\x08");
            out.extend(self.numbers(true));
        }
        out
    }

    fn central(&self, at: usize) -> Vec<u8> {
        let mut out = b"PK\x01\x02\x14\x03\x14\0".to_vec();
        out.extend((self.flags | if self.streamed { 8 } else { 0 }).to_le_bytes());
        out.extend(self.method.to_le_bytes());
        out.extend([0, 0, 0x21, 0]);
        out.extend(self.numbers(true));
        out.extend(u16::try_from(self.name.len()).unwrap().to_le_bytes());
        out.extend([0; 8]);
        out.extend(self.external.to_le_bytes());
        out.extend(u32::try_from(at).unwrap().to_le_bytes());
        out.extend(&self.name);
        out
    }
}

/// A zip file: what is in `between` stands after the entries, and `comment` at its end.
pub(crate) fn zip_with(entries: &[Entry], between: &[u8], comment: &[u8]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        directory.extend(entry.central(out.len()));
        out.extend(entry.local());
    }
    out.extend(between);
    let at = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend(u16::try_from(comment.len()).unwrap().to_le_bytes());
    out.extend(comment);
    out
}

pub(crate) fn zip(entries: &[Entry]) -> Vec<u8> {
    zip_with(entries, b"", b"")
}

const TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"#;
const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"#;
const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>Grüße</w:t></w:r></w:p></w:body></w:document>"#;
/// A document's own hyperlinks are allowed.
const LINKS: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink" Target="https://example.com/?a=1&amp;b=2" TargetMode="External"/></Relationships>"#;

/// The parts of a small Word document.
pub(crate) fn document() -> Vec<Entry> {
    vec![
        deflated("[Content_Types].xml", TYPES.as_bytes()),
        deflated("_rels/.rels", RELATIONS.as_bytes()),
        deflated("word/document.xml", DOCUMENT.as_bytes()),
        deflated("word/_rels/document.xml.rels", LINKS.as_bytes()),
        stored("word/media/image1.png", b"\x89PNG\r\n\x1a\nnot looked into"),
    ]
}

/// The same with these entries beside them.
pub(crate) fn document_with(more: &[Entry]) -> Vec<u8> {
    let mut entries = document();
    entries.extend_from_slice(more);
    zip(&entries)
}

/// The same with one part's text changed.
pub(crate) fn document_changed(part: &str, from: &str, to: &str) -> Vec<u8> {
    let entries: Vec<Entry> = document()
        .into_iter()
        .map(|entry| {
            if entry.name != part.as_bytes() {
                return entry;
            }
            let text = String::from_utf8(entry.data().to_vec()).unwrap();
            assert!(text.contains(from));
            deflated(part, text.replace(from, to).as_bytes())
        })
        .collect();
    zip(&entries)
}
