//! What gives itself away by its own form.

use super::extent::{Extent, find, is_break};
use super::providers::Provider;
use super::view::{Cover, End, Found, View, is_delimiter};
use super::{Kind, MASK};

/// How far a URL's user information is looked for.
const MAX_USER_INFORMATION: usize = 2048;

pub(super) fn key(view: &View<'_>, at: usize, provider: &Provider) -> Option<Found> {
    if !view.from(at).starts_with(provider.prefix.as_bytes()) {
        return None;
    }
    let mut start = at;
    if provider.prefix.starts_with(':') {
        // The number of a bot comes before its secret.
        start = view.back_while(at, 12, |byte| byte.is_ascii_digit());
        if at - start < 6 {
            return None;
        }
    } else if provider.is_short() && !is_word_start(view, at) {
        return None;
    }
    let body = at + provider.prefix.len();
    let is_part = provider.made.of();
    if view.count(body, provider.least, is_part) < provider.least {
        return None;
    }
    Some(Found {
        kind: Kind::Keys,
        start,
        end: view.end(Extent::While(is_part), body),
        cover: Cover::Mask,
    })
}

/// A prefix of the configuration, and what follows it.
pub(super) fn prefixed(view: &View<'_>, at: usize, prefix: &str) -> Option<Found> {
    if !view.from(at).starts_with(prefix.as_bytes()) {
        return None;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let body = at + prefix.len();
    if view.count(body, 8, is_part) < 8 {
        return None;
    }
    Some(Found {
        kind: Kind::Keys,
        start: at,
        end: view.end(Extent::While(is_part), body),
        cover: Cover::Mask,
    })
}

/// Not within a word; the two digits of `%20` are none.
fn is_word_start(view: &View<'_>, at: usize) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match view.before(at) {
        Some(byte) if is_word(byte) => {
            let escape = view.slice(at.saturating_sub(3), at);
            escape.first() == Some(&b'%') && escape.iter().skip(1).all(u8::is_ascii_hexdigit)
        }
        Some(_) | None => true,
    }
}

/// `eyJ` is how base64 of `{"` begins: a JOSE header (RFC 7515 section 3.1).
pub(super) fn jwt(view: &View<'_>, at: usize) -> Option<Found> {
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=');
    if !view.from(at).starts_with(b"eyJ") || view.count(at, 16, is_part) < 16 {
        return None;
    }
    view.mask(Kind::Tokens, at, Extent::While(is_part))
}

/// The word behind `Bearer ` and its kind.
pub(super) fn credentials(view: &View<'_>, start: usize, end: usize) -> Option<Found> {
    if !is_word_start(view, start) {
        return None;
    }
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b'%' | b':'
            )
    };
    let at = end + view.count(end, 8, |byte| byte == b' ');
    let is_bearer = view
        .at(start)
        .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'b'))
        && view
            .at(start + 1)
            .is_some_and(|byte| byte.eq_ignore_ascii_case(&b'e'));
    let least = if is_bearer { 3 } else { 4 };
    let count = view.count(at, 256, is_part);
    let word = view.slice(at, at + count);
    // Base64 of a name and a password; `basic authentication` is a phrase.
    let is_drawn = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'=';
    if count < least || (!is_bearer && !word.iter().any(is_drawn)) {
        return None;
    }
    view.mask(Kind::Tokens, at, Extent::While(is_part))
}

/// `-----BEGIN .. PRIVATE KEY-----` and what follows in its line. Whether the key goes on in the lines
/// below is told, too.
pub(super) fn private_key(view: &View<'_>, start: usize, end: usize) -> Option<(Found, bool)> {
    let label = view.count(end, 48, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
    });
    let words = view.slice(end, end + label);
    if !words.windows(11).any(|part| part == b"PRIVATE KEY")
        || !view.from(end + label).starts_with(b"-----")
    {
        return None;
    }
    let found = view.mask(Kind::PrivateKeys, start, Extent::Pem)?;
    let goes_on = match found.end {
        End::At(end) => {
            view.at(end).is_none_or(is_break)
                && find(view.slice(start, end), b"-----END ").is_none()
        }
        End::Open(_) => false,
    };
    Some((found, goes_on))
}

/// `scheme://user:password@host`. `clear` is up to where no `@` can be. `named` knows where a secret ends that
/// begins between two places, because of a name beside it, and goes on behind the second.
pub(super) fn user_information(
    view: &View<'_>,
    end: usize,
    clear: &mut usize,
    named: impl Fn(&View<'_>, usize, usize) -> Option<usize>,
) -> Option<Found> {
    if end < *clear {
        return None;
    }
    let scheme = view.back_while(end - 3, 16, |byte| byte.is_ascii_alphanumeric());
    let scheme = view.slice(scheme, end - 3);
    // In these a `/` ends the host. In those of databases people write passwords as they are.
    let is_web = ["http", "https", "ws", "wss", "ftp"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web.as_bytes()));
    let ends = |byte: &u8| {
        byte.is_ascii_whitespace()
            || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'?' | b'\\')
            || (is_web && matches!(byte, b'/' | b'#'))
    };
    let most = view.bytes.len().min(end + MAX_USER_INFORMATION);
    let near = View {
        bytes: view.slice(0, most),
        whole: view.whole && most == view.bytes.len(),
        ..*view
    };
    let (mut from, mut last) = (end, None);
    loop {
        let authority = near.from(from);
        let length = authority.iter().position(ends).unwrap_or(authority.len());
        let authority = near.slice(from, from + length);
        if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
            last = Some(from + at);
        } else if from == end {
            *clear = end + length;
        }
        // What ended it may be part of a secret that will be masked. Then it goes on behind the mask, as
        // whoever goes over the result sees it.
        match named(&near, from, from + length) {
            Some(behind) => from = behind,
            None => break,
        }
    }
    let at = last?;
    let content = view.slice(end, at);
    if content.is_empty() || content == MASK.as_bytes() {
        return None;
    }
    Some(Found {
        kind: Kind::Urls,
        start: end,
        end: End::At(at),
        cover: Cover::Mask,
    })
}

/// The local part of an address whose `@` (or `%40`) stands from `at` to `end`.
pub(super) fn email(view: &View<'_>, at: usize, end: usize, any_domain: bool) -> Option<Found> {
    let is_local = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(
                byte,
                b'.' | b'_' | b'%' | b'+' | b'-' | b'!' | b'#' | b'$' | b'~'
            )
    };
    let is_domain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'-');
    let local = view.back_while(at, 256, is_local);
    let trimmed = view.slice(local, at);
    let trimmed = trimmed
        .iter()
        .position(|byte| byte.is_ascii_alphanumeric() || *byte >= 0xc0)?;
    let start = local + trimmed;
    let local = view.slice(start, at);
    let after = end + view.count(end, 256, is_domain);
    let domain = view.slice(end, after);
    let is_any = any_domain && !domain.is_empty();
    // Where the next address begins in it, nobody can say where the domain ends; and once that address is
    // masked it would be another one.
    let runs_on = view.slice(after, after + 1) == b"@" || view.slice(after, after + 3) == b"%40";
    if !is_any && !runs_on && !is_public(domain) {
        return None;
    }
    let first = match local.first().copied()? {
        _ if local.len() < 3 => 0,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0.. => 4,
        _ => 1,
    };
    Some(Found {
        kind: Kind::Emails,
        start,
        end: End::At(at),
        cover: Cover::Stars { first },
    })
}

/// It has a dot, and behind the last one letters alone.
fn is_public(domain: &[u8]) -> bool {
    let trimmed = domain.strip_suffix(b".").unwrap_or(domain);
    let Some(dot) = trimmed.iter().rposition(|byte| *byte == b'.') else {
        return false;
    };
    let last = trimmed.get(dot + 1..).unwrap_or_default();
    dot > 0
        && last.len() >= 2
        && (last.starts_with(b"xn--")
            || last
                .iter()
                .all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80))
}

/// The name behind `/home/` and the like.
pub(super) fn home(view: &View<'_>, start: usize, end: usize) -> Option<Found> {
    let marker = view.slice(start, end);
    if !matches!(marker, b"/home/" | b"/Users/") {
        return None;
    }
    // `/api/v1/Users/`, `example.com/home/`: in the middle of something else.
    let is_inside =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'}');
    if view.before(start).is_some_and(is_inside) {
        return None;
    }
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'_' | b'-' | b'+')
    };
    view.mask(Kind::Paths, end, Extent::While(is_part))
}

/// The name behind `C:\Users\`, also where its backslashes are escaped.
pub(super) fn windows_home(view: &View<'_>, start: usize, end: usize) -> Option<Found> {
    if !view
        .before(start)
        .is_some_and(|byte| byte.is_ascii_alphabetic())
    {
        return None;
    }
    let at = end + view.count(end, 8, |byte| byte == b'\\');
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'_' | b'-' | b'+')
    };
    let with_blanks = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(byte, b'.' | b'_' | b'-' | b'+' | b' ')
    };
    // `John Smith`, where a backslash follows.
    let count = view.count(at, 64, with_blanks);
    if count > 0 && view.at(at + count) == Some(b'\\') {
        return Some(Found {
            kind: Kind::Paths,
            start: at,
            end: End::At(at + count),
            cover: Cover::Mask,
        });
    }
    view.mask(Kind::Paths, at, Extent::While(is_part))
}

/// The query of a URL or of a path.
pub(super) fn query(view: &View<'_>, at: usize) -> Option<Found> {
    // Also what was masked: no mask has a `/` that was not there.
    let before = view.slice(at.saturating_sub(2048), at).iter().rev();
    let mut run = before.take_while(|byte| !is_delimiter(**byte));
    if !run.any(|byte| *byte == b'/') {
        return None;
    }
    view.mask(
        Kind::Queries,
        at + 1,
        Extent::While(|byte| !is_delimiter(byte)),
    )
}
