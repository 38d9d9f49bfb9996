//! How a line is written, by hand: a line costs less than the machinery that would write it.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::address_text::AddressText;
use portcullis_core::principal::CallerKind;
use portcullis_core::{RequestId, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::log::Format;
use crate::redact;
use crate::traces::TraceId;

const MAX_METHOD_BYTES: usize = 32;
const MAX_PATH_BYTES: usize = 512;
/// A line is hardly ever longer, in bytes.
pub(super) const LONGEST: usize = 2048;

/// What is told of one request.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// When the request's head had arrived.
    pub at: Timestamp,
    pub request: RequestId,
    pub method: &'a str,
    /// The matched route's pattern, if any route matched.
    pub route: Option<&'a str>,
    /// The path as decided on. Anything from `?` on is left out here once more.
    pub path: &'a str,
    pub status: u16,
    /// The slug of the problem that was answered.
    pub problem: Option<&'static str>,
    /// Of which kind the caller is, and which one.
    pub principal: Option<(CallerKind, Uuid)>,
    pub client: IpAddr,
    pub duration: Duration,
    /// Bytes of the response's body.
    pub bytes: u64,
    pub upstream: Option<&'a str>,
    /// Where traces are exported, the one of this request.
    pub trace: Option<TraceId>,
}

#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    lines: u64,
    second: i64,
    /// `second` as text, without the `Z`: the calendar is worked out once a second.
    clock: String,
}

impl Buffer {
    /// What was written since the last time; the next lines go into `next`.
    pub(super) fn take(&mut self, next: Vec<u8>) -> (Vec<u8>, u64) {
        let bytes = std::mem::replace(&mut self.bytes, next);
        (bytes, std::mem::take(&mut self.lines))
    }

    pub(super) fn push(&mut self, line: &Line<'_>, format: Format) {
        self.lines = self.lines.saturating_add(1);
        if self.clock.is_empty() || self.second != line.at.as_seconds() {
            self.second = line.at.as_seconds();
            let text = Timestamp::from_seconds(self.second).to_string();
            text.trim_end_matches('Z').clone_into(&mut self.clock);
        }
        let whole = self.second.saturating_mul(1_000_000);
        let micros = line.at.as_micros().saturating_sub(whole);
        match format {
            Format::Json => json(&mut self.bytes, &self.clock, micros, line),
            // Writing into a Vec cannot fail.
            Format::Text => drop(text(&mut self.bytes, &self.clock, micros, line)),
        }
    }
}

fn json(out: &mut Vec<u8>, clock: &str, micros: i64, line: &Line<'_>) {
    let mut id = [0; 36];
    let request = line.request.as_uuid().hyphenated();
    let request = request.encode_lower(&mut id);
    out.extend_from_slice(br#"{"time":""#);
    out.extend_from_slice(clock.as_bytes());
    out.push(b'.');
    fraction(out, micros.unsigned_abs(), 100_000);
    out.extend_from_slice(br#"Z","request.id":""#);
    out.extend_from_slice(request.as_bytes());
    if let Some(trace) = line.trace {
        out.extend_from_slice(br#"","trace.id":""#);
        // Writing into a Vec cannot fail.
        drop(write!(out, "{trace}"));
    }
    out.extend_from_slice(br#"","http.request.method":"#);
    string(out, cut(line.method, MAX_METHOD_BYTES));
    if let Some(route) = line.route {
        out.extend_from_slice(br#","http.route":"#);
        string(out, route);
    }
    out.extend_from_slice(br#","url.path":"#);
    with_path(line.path, |path| string(out, path));
    out.extend_from_slice(br#","http.response.status_code":"#);
    number(out, line.status.into());
    if let Some(problem) = line.problem {
        out.extend_from_slice(br#","problem.slug":"#);
        string(out, problem);
    }
    if let Some((kind, principal)) = line.principal {
        out.extend_from_slice(br#","principal.kind":""#);
        out.extend_from_slice(kind.as_str().as_bytes());
        out.push(b'"');
        let principal = principal.hyphenated();
        let principal = principal.encode_lower(&mut id);
        out.extend_from_slice(br#","principal.id":""#);
        out.extend_from_slice(principal.as_bytes());
        out.push(b'"');
    }
    if let Some(upstream) = line.upstream {
        out.extend_from_slice(br#","upstream.name":"#);
        string(out, upstream);
    }
    out.extend_from_slice(br#","client.address":""#);
    out.extend_from_slice(AddressText::of(line.client).as_bytes());
    out.extend_from_slice(br#"","duration_ms":"#);
    let (millis, micros) = millis(line.duration);
    number(out, millis);
    out.push(b'.');
    fraction(out, micros, 100);
    out.extend_from_slice(br#","http.response.body.size":"#);
    number(out, line.bytes);
    out.extend_from_slice(b"}\n");
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// With zeros in front, so that its first digit counts `first` of its units.
fn fraction(out: &mut Vec<u8>, number: u64, first: u64) {
    let mut unit = first;
    while unit > number.max(1) {
        out.push(b'0');
        unit /= 10;
    }
    self::number(out, number);
}

fn text(out: &mut Vec<u8>, clock: &str, micros: i64, line: &Line<'_>) -> std::io::Result<()> {
    let (millis, fraction) = millis(line.duration);
    write!(out, "{clock}.{micros:06}Z {} ", line.status)?;
    plain(out, cut(line.method, MAX_METHOD_BYTES));
    out.push(b' ');
    with_path(line.path, |path| plain(out, path));
    write!(
        out,
        " {millis}.{fraction:03}ms {}B client={}",
        line.bytes, line.client
    )?;
    for (name, value) in [
        ("route", line.route),
        ("problem", line.problem),
        ("upstream", line.upstream),
    ] {
        if let Some(value) = value {
            write!(out, " {name}=")?;
            plain(out, value);
        }
    }
    if let Some((kind, principal)) = line.principal {
        write!(out, " principal={kind}:{principal}")?;
    }
    if let Some(trace) = line.trace {
        write!(out, " trace={trace}")?;
    }
    writeln!(out, " request={}", line.request)
}

fn millis(duration: Duration) -> (u64, u64) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    (micros / 1000, micros % 1000)
}

fn with_path(path: &str, mut write: impl FnMut(&str)) {
    let end = path.bytes().position(|byte| matches!(byte, b'?' | b'#'));
    let path = end.and_then(|end| path.get(..end)).unwrap_or(path);
    if path.len() <= MAX_PATH_BYTES && redact::is_plain_path(path) {
        write(path);
    } else {
        write(&redact::bounded(path, MAX_PATH_BYTES));
    }
}

fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..max_bytes)
        .unwrap_or(if text.len() <= max_bytes { text } else { "" })
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Nearly nothing has to be escaped, and that is seen faster for all bytes together.
    let is_odd = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\' || byte == 0x7f;
    if !text.bytes().fold(false, |odd, byte| odd | is_odd(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut serializer = serde_json::Serializer::new(out);
    // A string into a Vec cannot fail.
    drop(text.serialize(&mut serializer));
}

/// One word: what would end it or the line is escaped.
fn plain(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() {
            out.extend(c.escape_unicode().map(|c| u8::try_from(c).unwrap_or(b'?')));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}
