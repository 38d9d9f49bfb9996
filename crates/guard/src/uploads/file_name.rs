//! Names of files: one reading on every system, or none (CWE-22, CWE-158, CWE-646).

use percent_encoding::percent_decode_str;
use portcullis_core::upload::FileType;

use super::Error;

/// Longer ones do not fit into every file system.
const MOST_BYTES: usize = 200;

/// Extensions that something runs or shows as a page. As the last one they are no kind that is taken; before
/// it (`report.php.pdf`) servers with handlers for every extension would run them.
const RUN: &[&str] = &[
    "asp", "aspx", "bat", "cgi", "cmd", "com", "cpl", "dll", "docm", "dotm", "exe", "hta", "htm",
    "html", "htaccess", "jar", "js", "jse", "jsp", "jspx", "lnk", "mht", "mhtml", "msi", "phar",
    "php", "php3", "php4", "php5", "php7", "php8", "pht", "phtml", "pif", "pl", "ps1", "py", "rb",
    "reg", "scr", "sh", "shtml", "svg", "swf", "vb", "vbe", "vbs", "wsf", "wsh", "xht", "xhtml",
    "xlsm", "xml", "xsl",
];

/// Names of devices on Windows, whatever follows their first dot.
const DEVICES: &[&str] = &[
    "aux", "clock$", "con", "conin$", "conout$", "nul", "prn", "com0", "com1", "com2", "com3",
    "com4", "com5", "com6", "com7", "com8", "com9", "lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5",
    "lpt6", "lpt7", "lpt8", "lpt9",
];

const PATH: &str = "The file's name has a path in it.";
const UNREADABLE: &str = "The file's name has characters that cannot be seen.";
const TWO_READINGS: &str = "The file's name can be read in more than one way.";

/// The kind that the name says, where the name is one that every system reads alike.
pub(super) fn check(name: &str) -> Result<Option<FileType>, Error> {
    characters(name)?;
    // SECURITY: browsers write `"` as `%22`, and products decode more than that.
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    if decoded != name {
        characters(&decoded)?;
    }
    for name in [name, &decoded] {
        parts(name)?;
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    Ok(extension.and_then(FileType::of_extension))
}

fn characters(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MOST_BYTES {
        return Err(Error::Name("The file's name is empty or too long."));
    }
    for letter in name.chars() {
        if is_separator(letter) {
            return Err(Error::Name(PATH));
        }
        if is_hidden(letter) {
            return Err(Error::Name(UNREADABLE));
        }
        if matches!(letter, '"' | '<' | '>' | '|' | '?' | '*' | '\u{fffd}') {
            return Err(Error::Name(TWO_READINGS));
        }
    }
    Ok(())
}

/// What separates folders, drives and streams somewhere, and what looks like it or becomes it when a system
/// folds compatibility characters (NFKC).
const fn is_separator(letter: char) -> bool {
    matches!(
        letter,
        '/' | '\\'
            | ':'
            | '\u{2024}'
            | '\u{2025}'
            | '\u{2044}'
            | '\u{2215}'
            | '\u{2216}'
            | '\u{29f5}'
            | '\u{29f8}'
            | '\u{fe55}'
            | '\u{fe68}'
            | '\u{fe52}'
            | '\u{ff0e}'
            | '\u{ff0f}'
            | '\u{ff1a}'
            | '\u{ff3c}'
    )
}

/// Controls, what turns the direction of writing, and what takes no room.
const fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn parts(name: &str) -> Result<(), Error> {
    let edges = [' ', '.', '-', '~'];
    if name.starts_with(edges) || name.ends_with([' ', '.', '~']) || name.contains("..") {
        return Err(Error::Name(TWO_READINGS));
    }
    let mut parts = name.split('.');
    let stem = parts.next().unwrap_or_default().trim();
    if DEVICES
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
    {
        return Err(Error::Name("The file has the name of a device."));
    }
    let lies = |part: &str| {
        let part = part.trim();
        RUN.iter().any(|known| part.eq_ignore_ascii_case(known))
    };
    let mut last = None;
    for part in parts {
        if last.replace(part).is_some_and(lies) {
            return Err(Error::Name(
                "The file's name has a second, misleading ending.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass_in_every_writing() {
        for (name, kind) in [
            ("report.pdf", FileType::Pdf),
            ("Übersicht 2026 (final).PDF", FileType::Pdf),
            ("v1.2.release-notes.md", FileType::Md),
            ("履歴書.docx", FileType::Docx),
            ("سيرة ذاتية.docx", FileType::Docx),
            ("100% done.txt", FileType::Txt),
            ("a&b=c;d'e.jpg", FileType::Jpeg),
        ] {
            assert_eq!(check(name).unwrap(), Some(kind), "{name}");
        }
        assert_eq!(check("README").unwrap(), None);
        assert_eq!(check("run.exe").unwrap(), None);
    }

    #[test]
    fn names_with_another_reading_are_refused() {
        for name in [
            "",
            "../a.pdf",
            "a/b.pdf",
            "a\\b.pdf",
            "C:a.pdf",
            "a.txt::$DATA",
            "a\u{0}.pdf",
            "a.php\u{0}.pdf",
            "a.php%00.pdf",
            "..%2fa.pdf",
            "a%0d%0ab.pdf",
            "a\r\nb.pdf",
            "a\u{202e}fdp.exe.pdf",
            "a\u{200b}.pdf",
            "a\u{2044}b.pdf",
            "a\u{ff0f}b.pdf",
            ".htaccess",
            "-rf.pdf",
            "~a.pdf",
            "a.pdf.",
            "a.pdf ",
            " a.pdf",
            "a..pdf",
            "con.pdf",
            "LPT1.report.pdf",
            "invoice.exe.pdf",
            "shell.PHP .pdf",
            "page.html.txt",
            "a\"b.pdf",
            "a*.pdf",
            "a\u{e0041}.pdf",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&format!("{}.pdf", "a".repeat(200))).is_err());
    }
}
