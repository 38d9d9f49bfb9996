//! `Content-Disposition` with one reading (RFC 6266, RFC 7578 section 4.2, RFC 8187).
//!
//! Servers differ in which of two `filename`s they take, and in what a backslash means. A header on which
//! they differ is refused.

use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use percent_encoding::percent_decode_str;

use super::Error;

/// What it says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    /// `form-data`, `attachment`, `inline`, in lower case.
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) file_name: Option<String>,
}

const TWICE: Error =
    Error::Malformed("There is more than one `Content-Disposition`, or more than one name in it.");
const UNREADABLE: Error =
    Error::Malformed("`Content-Disposition` can be read in more than one way.");

/// Nothing where there is no such header.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Disposition>, Error> {
    let mut values = headers.get_all(CONTENT_DISPOSITION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TWICE);
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| UNREADABLE)?;
    parse(text).map(Some)
}

fn parse(text: &str) -> Result<Disposition, Error> {
    let (kind, mut rest) = text.split_once(';').unwrap_or((text, ""));
    let mut told = Disposition {
        kind: kind.trim().to_ascii_lowercase(),
        ..Disposition::default()
    };
    if !is_token(&told.kind) {
        return Err(UNREADABLE);
    }
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=').ok_or(UNREADABLE)?;
        let key = key.trim().to_ascii_lowercase();
        let (value, after) = value(after.trim_start())?;
        rest = after;
        let place = match key.as_str() {
            "name" => &mut told.name,
            "filename" => &mut told.file_name,
            // In a form it must not be (RFC 7578), elsewhere it is the one way to say other letters.
            "filename*" if told.kind != "form-data" => {
                let name = extended(&value)?;
                if told.file_name.replace(name).is_some() {
                    return Err(TWICE);
                }
                continue;
            }
            "filename*" | "name*" => return Err(UNREADABLE),
            key if is_token(key) => continue,
            _ => return Err(UNREADABLE),
        };
        if place.replace(value).is_some() {
            return Err(TWICE);
        }
    }
    Ok(told)
}

/// A value and what stands behind it and its `;`.
fn value(text: &str) -> Result<(String, &str), Error> {
    let (value, after) = if let Some(quoted) = text.strip_prefix('"') {
        let (value, after) = quoted.split_once('"').ok_or(UNREADABLE)?;
        // SECURITY: to some it quotes the next letter, to others it is one.
        if value.contains('\\') {
            return Err(UNREADABLE);
        }
        (value, after)
    } else {
        let end = text.find(';').unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end).ok_or(UNREADABLE)?;
        let value = value.trim_end();
        let is_plain = |byte: u8| is_token_byte(byte) || byte >= 0x80;
        if value.is_empty() || !value.bytes().all(is_plain) {
            return Err(UNREADABLE);
        }
        (value, after)
    };
    let after = after.trim_start();
    if after.is_empty() {
        return Ok((value.to_owned(), after));
    }
    let after = after.strip_prefix(';').ok_or(UNREADABLE)?;
    Ok((value.to_owned(), after))
}

/// `UTF-8''name%20with%20other%20letters`.
fn extended(value: &str) -> Result<String, Error> {
    let mut parts = value.splitn(3, '\'');
    let (Some(charset), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(UNREADABLE);
    };
    if !charset.eq_ignore_ascii_case("utf-8") || !encoded.is_ascii() {
        return Err(UNREADABLE);
    }
    let name = percent_decode_str(encoded).decode_utf8();
    name.map(Into::into).map_err(|_| UNREADABLE)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 9110 section 5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, name: Option<&str>, file_name: Option<&str>) -> Disposition {
        Disposition {
            kind: kind.to_owned(),
            name: name.map(str::to_owned),
            file_name: file_name.map(str::to_owned),
        }
    }

    #[test]
    fn what_browsers_and_clients_write_is_read() {
        for (text, expected) in [
            ("form-data; name=\"a\"", told("form-data", Some("a"), None)),
            (
                "form-data; name=\"file\"; filename=\"Größe; 1.pdf\"",
                told("form-data", Some("file"), Some("Größe; 1.pdf")),
            ),
            (
                "Form-Data;name=file;filename=a.pdf",
                told("form-data", Some("file"), Some("a.pdf")),
            ),
            (
                "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe.pdf",
                told("attachment", None, Some("Größe.pdf")),
            ),
            ("inline", told("inline", None, None)),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_two_servers_read_differently_is_refused() {
        for text in [
            "form-data; name=\"a\"; filename=\"a.pdf\"; filename=\"b.exe\"",
            "form-data; name=\"a\"; name=\"b\"",
            "form-data; name=\"a\"; filename=\"a.pdf\"; filename*=UTF-8''b.exe",
            "form-data; name=\"a\"; filename*=UTF-8''b.pdf",
            "attachment; filename=\"a.pdf\"; filename*=UTF-8''b.exe",
            "attachment; filename*=iso-8859-1'en'a.pdf",
            "attachment; filename*=UTF-8''a%ff.pdf",
            "form-data; name=\"a\"; filename=\"a\\\".exe\".pdf\"",
            "form-data; name=\"a\"; filename=\"a.pdf",
            "form-data; name=\"a\"; filename=a b.pdf",
            "form-data; name=\"a\" filename=\"b\"",
            "form-data; name",
            "; name=\"a\"",
            "form-data; file name=\"a\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
