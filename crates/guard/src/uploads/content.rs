//! Whether a file is what its name says, by its structure.
//!
//! A file that is two things at once (CWE-434, CWE-436) ends or begins with what does not belong to the one:
//! so each kind is checked at both ends, and text all the way through.

use std::io::Read;

use portcullis_core::upload::FileType;

use super::slice::Slice;
use super::{Error, docx, image, zip};

const POLYGLOT: Error = Error::Content("It is two kinds of files at once.");

/// Refuses what is not of this kind, or not of this kind alone.
pub(super) fn check(kind: FileType, file: Slice<'_>) -> Result<(), Error> {
    if file.length == 0 {
        return Err(Error::Content("It is empty."));
    }
    match kind {
        FileType::Docx => return docx::check(file),
        FileType::Pdf => pdf(file)?,
        FileType::Txt => text(file, TAGS)?,
        FileType::Md => text(file, PAGES)?,
        FileType::Png => image::png(file)?,
        FileType::Jpeg => image::jpeg(file)?,
    }
    if zip::has_end(file)? {
        return Err(POLYGLOT);
    }
    Ok(())
}

/// The header stands at the first byte, though viewers find it in the first thousand, and after the last
/// mark of the end comes nothing (ISO 32000-2, 7.5.2 and 7.5.5).
fn pdf(file: Slice<'_>) -> Result<(), Error> {
    const NOT_ONE: Error = Error::Content("It is no PDF file.");
    let first: [u8; 8] = file.array(0)?.ok_or(NOT_ONE)?;
    let is_header = first.starts_with(b"%PDF-")
        && matches!(first, [_, _, _, _, _, b'1' | b'2', b'.', b'0'..=b'9']);
    if !is_header {
        return Err(NOT_ONE);
    }
    let tail = file.tail(1024).bytes()?;
    let mark = b"%%EOF";
    let end = tail
        .windows(mark.len())
        .rposition(|part| part == mark)
        .ok_or(NOT_ONE)?;
    let after = tail
        .get(end.saturating_add(mark.len())..)
        .unwrap_or_default();
    if !after.iter().all(u8::is_ascii_whitespace) {
        return Err(POLYGLOT);
    }
    Ok(())
}

/// What makes a page of a text for whoever guesses types (WHATWG mimesniff, 7.1), in lower case.
const TAGS: &[&str] = &[
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
    "<!--",
    "<?xml",
    "<svg",
    "<math",
    "<object",
    "<embed",
    "<meta",
    "<link",
    "<img",
    "<form",
];

/// The same for Markdown, which may begin with a tag of its own.
const PAGES: &[&str] = &[
    "<!doctype",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<style",
    "<title",
    "<body",
    "<?xml",
    "<svg",
    "<object",
    "<embed",
    "<meta",
    "<link",
    "<form",
];

/// First bytes of other kinds that are text as well.
const OTHERS: &[&str] = &["%pdf", "{\\rtf", "%!ps"];

/// UTF-8 from the first byte to the last, without controls, and no page of a browser.
fn text(file: Slice<'_>, pages: &[&str]) -> Result<(), Error> {
    const NOT_TEXT: Error = Error::Content("It is no text in UTF-8.");
    let mut reader = file.reader();
    let mut buffer = vec![0; 64 * 1024];
    // The beginning of a letter that the next piece ends.
    let mut kept = 0;
    let mut is_first = true;
    loop {
        let room = buffer.get_mut(kept..).unwrap_or_default();
        let count = reader.read(room)?;
        let filled = kept.saturating_add(count);
        let piece = buffer.get(..filled).unwrap_or_default();
        let valid = match std::str::from_utf8(piece) {
            Ok(valid) => valid,
            Err(error) if error.error_len().is_some() || count == 0 => return Err(NOT_TEXT),
            Err(error) => {
                let valid = piece.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(valid).map_err(|_| NOT_TEXT)?
            }
        };
        if valid
            .bytes()
            .any(|byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c'))
        {
            return Err(NOT_TEXT);
        }
        if is_first && begins_as(valid, pages) {
            return Err(POLYGLOT);
        }
        if count == 0 {
            return Ok(());
        }
        // What is only white space so far has not begun.
        is_first &= valid.trim_start_matches('\u{feff}').trim_start().is_empty();
        let used = valid.len();
        buffer.copy_within(used..filled, 0);
        kept = filled.saturating_sub(used);
    }
}

fn begins_as(text: &str, pages: &[&str]) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let beginning: String = text
        .chars()
        .take(24)
        .collect::<String>()
        .to_ascii_lowercase();
    OTHERS.iter().any(|other| beginning.starts_with(other))
        || pages.iter().any(|tag| is_tag(&beginning, tag))
}

/// `<b` is a tag, `<bear` is none.
fn is_tag(beginning: &str, tag: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric();
    let is_whole =
        |rest: &str| !rest.starts_with(is_letter) || tag.starts_with("<!") || tag.starts_with("<?");
    beginning.strip_prefix(tag).is_some_and(is_whole)
}
