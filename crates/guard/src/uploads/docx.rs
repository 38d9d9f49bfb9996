//! Whether a zip file is a Word document, and one without programs in it.
//!
//! Its parts must be there; macros, embedded objects, controls and archives must not, by name, by declared
//! type or by their first bytes. Its XML may declare no entities (CWE-611, CWE-776) and is in UTF-8, so that
//! the words that are looked for here are the words that a reader finds. A template may not be fetched from
//! elsewhere.

use std::io::{self, Read};
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::Error;
use super::slice::Slice;
use super::zip::{self, Entry};

const NOT_ONE: Error = Error::Content("It is no Word document.");
const PROGRAM: Error = Error::Content("It has macros, controls or embedded objects in it.");
const ARCHIVE: Error = Error::Content("It has another archive or program in it.");
const ENTITIES: Error = Error::Content("Its XML declares entities, or is not in UTF-8.");
const ELSEWHERE: Error = Error::Content("It fetches its template from elsewhere.");

/// The part that lists the others and their types.
const TYPES: &str = "[content_types].xml";

/// What parts of XML are searched for, without case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Doctype,
    Entity,
    Document,
    Macros,
    Object,
    Template,
    Elsewhere,
    Reference,
}

const WORDS: &[(&str, Word)] = &[
    ("<!DOCTYPE", Word::Doctype),
    ("<!ENTITY", Word::Entity),
    ("wordprocessingml.document.main+xml", Word::Document),
    ("macroEnabled", Word::Macros),
    ("vbaProject", Word::Macros),
    ("vbaData", Word::Macros),
    ("oleObject", Word::Object),
    ("activeX", Word::Object),
    ("relationships/package", Word::Object),
    ("attachedTemplate", Word::Template),
    ("Target=\"http", Word::Elsewhere),
    ("Target='http", Word::Elsewhere),
    ("Target=\"ftp", Word::Elsewhere),
    ("Target='ftp", Word::Elsewhere),
    ("Target=\"\\\\", Word::Elsewhere),
    ("Target='\\\\", Word::Elsewhere),
    ("Target=\"//", Word::Elsewhere),
    ("Target='//", Word::Elsewhere),
    ("&#", Word::Reference),
];

static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(text, _)| text);
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(words)
        .ok()
});

/// First bytes of archives and programs.
const STARTS: &[&[u8]] = &[
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"Rar!\x1a",
    b"7z\xbc\xaf\x27\x1c",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"MSCF",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"MZ",
    b"\x7fELF",
    b"%PDF",
    b"\xca\xfe\xba\xbe",
];

pub(super) fn check(file: Slice<'_>) -> Result<(), Error> {
    let entries = zip::entries(file)?;
    let has = |wanted: fn(&str) -> bool| {
        entries
            .iter()
            .any(|entry| wanted(&entry.name.to_ascii_lowercase()))
    };
    let is_whole = has(|name| name == TYPES)
        && has(|name| name == "_rels/.rels")
        && has(|name| name.starts_with("word/document") && has_ending(name, "xml"));
    if !is_whole {
        return Err(NOT_ONE);
    }
    for entry in &entries {
        part(file, entry)?;
    }
    Ok(())
}

fn part(file: Slice<'_>, entry: &Entry) -> Result<(), Error> {
    let name = entry.name.to_ascii_lowercase();
    let is_forbidden = name.contains("vbaproject")
        || name.contains("vbadata")
        || name
            .split('/')
            .any(|part| matches!(part, "embeddings" | "activex" | "customui"))
        || ["bin", "ole", "exe", "dll", "docm", "dotm"]
            .iter()
            .any(|ending| has_ending(&name, ending));
    if is_forbidden {
        return Err(PROGRAM);
    }
    let mut reader = entry.reader(file);
    let mut first = Vec::new();
    sound(reader.by_ref().take(16).read_to_end(&mut first))?;
    if STARTS.iter().any(|start| first.starts_with(start)) {
        return Err(ARCHIVE);
    }
    let is_relations = has_ending(&name, "rels");
    if !is_relations && !has_ending(&name, "xml") {
        sound(io::copy(&mut reader, &mut io::sink()))?;
        return if name == TYPES { Err(NOT_ONE) } else { Ok(()) };
    }
    // UTF-16 and UTF-32 have a byte order mark or a zero among their first two.
    if first.starts_with(b"\xff\xfe")
        || first.starts_with(b"\xfe\xff")
        || first.iter().take(2).any(|byte| *byte == 0)
    {
        return Err(ENTITIES);
    }
    let words = words(&first, reader)?;
    let has = |word| words.contains(&word);
    if has(Word::Doctype) || has(Word::Entity) {
        return Err(ENTITIES);
    }
    let is_types = name == TYPES;
    if (is_types || is_relations) && (has(Word::Macros) || has(Word::Object)) {
        return Err(PROGRAM);
    }
    if is_types && !has(Word::Document) {
        return Err(NOT_ONE);
    }
    // A character reference would hide the words from this search.
    let hides = (is_types || is_relations) && has(Word::Reference);
    if hides || (is_relations && has(Word::Template) && has(Word::Elsewhere)) {
        return Err(ELSEWHERE);
    }
    Ok(())
}

fn words(first: &[u8], rest: impl Read) -> Result<Vec<Word>, Error> {
    let Some(search) = SEARCH.as_ref() else {
        return Err(Error::Lost);
    };
    let mut found = Vec::new();
    for hit in search.stream_find_iter(first.chain(rest)) {
        let hit = sound(hit)?;
        let word = WORDS.get(hit.pattern().as_usize()).map(|(_, word)| *word);
        if let Some(word) = word.filter(|word| !found.contains(word)) {
            found.push(word);
        }
    }
    Ok(found)
}

/// What does not unpack is the file's fault, what cannot be read is the disk's.
fn sound<T>(read: io::Result<T>) -> Result<T, Error> {
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Error::Content("It does not unpack to what it says.")
        }
        _ => Error::from(error),
    })
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, last)| last == ending)
}
