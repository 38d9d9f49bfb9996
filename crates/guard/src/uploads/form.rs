//! A form: its files go into the spool, its fields stay in memory, and both into a form written anew.
//!
//! multer finds the parts. Left to itself it reads on while the client sends, and keeps the head of a part
//! until that ends: so it is given small pieces, one for each time it asks, and only so many between two
//! signs of progress.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use multer::{Field, Multipart};
use portcullis_core::locks::lock;
use tokio::sync::mpsc;

use super::intake::{Chunk, Filing, Piece, Received, Told, essence};
use super::rules::FIELDS;
use super::spool::Spool;
use super::{DESCRIPTION_TYPE, Error, Rules, disposition};

/// What multer is given at once.
const PIECE: usize = 16 * 1024;
/// What it may hold without having found anything: the head of a part, what lies before the first.
const HOARD: usize = 64 * 1024;
/// Fields beside the files.
const MOST_FIELDS: usize = 256;
const LONGEST_NAME: usize = 256;

const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

pub(super) async fn receive(
    spool: Spool,
    rules: &Rules,
    boundary: String,
    chunks: mpsc::Receiver<Chunk>,
) -> Result<Received, Error> {
    let source = Arc::new(Mutex::new(Source {
        chunks,
        piece: Bytes::new(),
        is_over: false,
        given: false,
        hoard: 0,
    }));
    let mut parts = Multipart::new(Reading(Arc::clone(&source)), boundary);
    let mut form = Form {
        rules,
        spool,
        files: Vec::new(),
        fields: 0,
        bytes: 0,
        written: Written::new(),
    };
    while let Some(mut part) = parts.next_field().await.map_err(refused)? {
        lock(&source).hoard = 0;
        form.part(&mut part, &source).await?;
    }
    drop(parts);
    // What follows the last part belongs to nobody; that it is all there does.
    std::future::poll_fn(|cx| lock(&source).drain(cx)).await?;
    let (content_type, pieces) = form.written.end()?;
    Ok(Received {
        spool: form.spool,
        files: form.files,
        pieces,
        content_type,
        disposition: None,
    })
}

/// A form as far as it has been read.
struct Form<'r> {
    rules: &'r Rules,
    spool: Spool,
    files: Vec<super::Facts>,
    fields: usize,
    /// Of all fields together.
    bytes: u64,
    written: Written,
}

impl Form<'_> {
    async fn part(&mut self, part: &mut Field<'_>, source: &Mutex<Source>) -> Result<(), Error> {
        let headers = part.headers();
        plain(headers)?;
        let told = disposition::of(headers)?.filter(|told| told.kind == "form-data");
        let told = told.ok_or(Error::Malformed("A part of the form is no field of it."))?;
        let name = told
            .name
            .ok_or(Error::Malformed("A field of the form has no name."))?;
        let is_readable = name.len() <= LONGEST_NAME
            && !name
                .chars()
                .any(|letter| letter.is_control() || letter == '"');
        // To some servers the field `_charset_` says how to read all others.
        if !is_readable || name == "_charset_" {
            return Err(Error::Malformed(
                "The name of a field can be read in more than one way.",
            ));
        }
        let called = called(headers)?;
        if told.file_name.as_deref().unwrap_or_default().is_empty() {
            self.fields = self.fields.saturating_add(1);
            if self.fields > MOST_FIELDS {
                return Err(Error::Malformed("The form has more fields than are read."));
            }
        }
        match told.file_name {
            None => self.field(part, &name, called.as_deref(), source).await,
            // What browsers send for a field without a file.
            Some(empty) if empty.is_empty() => {
                self.written.head(&name, Some(""), None);
                match part.chunk().await.map_err(refused)? {
                    Some(data) if !data.is_empty() => Err(Error::Name("The file has no name.")),
                    Some(_) | None => Ok(()),
                }
            }
            Some(file_name) => {
                let told = Told::of(Some(name), Some(file_name), called.as_deref(), self.rules)?;
                self.file(part, told, source).await
            }
        }
    }

    async fn file(
        &mut self,
        part: &mut Field<'_>,
        told: Told,
        source: &Mutex<Source>,
    ) -> Result<(), Error> {
        let limit = self.rules.max_files;
        if self.files.len() >= limit {
            return Err(Error::TooMany { limit });
        }
        let name = told.name.clone();
        self.written.head(
            told.field.as_deref().unwrap_or_default(),
            name.as_deref(),
            Some(if self.rules.store {
                DESCRIPTION_TYPE
            } else {
                told.kind.media_type()
            }),
        );
        let mut file = Filing::begin(told);
        while let Some(data) = part.chunk().await.map_err(refused)? {
            lock(source).hoard = 0;
            file.write(&mut self.spool, self.rules, &data).await?;
        }
        let facts = file.end();
        self.written.file(facts.size);
        self.files.push(facts);
        Ok(())
    }

    async fn field(
        &mut self,
        part: &mut Field<'_>,
        name: &str,
        called: Option<&str>,
        source: &Mutex<Source>,
    ) -> Result<(), Error> {
        let kind = match called.map(essence).transpose()?.as_deref() {
            None => None,
            Some("text/plain") => Some("text/plain; charset=utf-8"),
            Some("application/json") => Some("application/json"),
            // SECURITY: products take such a part for a file, with a name or without.
            Some(_) => return Err(Error::Called("A field without a file's name is text.")),
        };
        self.written.head(name, None, kind);
        let mut text = BytesMut::new();
        while let Some(data) = part.chunk().await.map_err(refused)? {
            lock(source).hoard = 0;
            let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(count);
            if self.bytes > FIELDS {
                return Err(Error::TooLarge { limit: FIELDS });
            }
            text.extend_from_slice(&data);
        }
        if std::str::from_utf8(&text).is_err() || text.contains(&0) {
            return Err(Error::Malformed("A field of the form is no text in UTF-8."));
        }
        self.written.text(&text);
        Ok(())
    }
}

/// No part may be in a transfer encoding: some products would decode it, and find another file there.
fn plain(headers: &HeaderMap) -> Result<(), Error> {
    let is_plain = |value: &HeaderValue| {
        ["7bit", "8bit", "binary"]
            .iter()
            .any(|plain| value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    };
    if headers
        .get_all(CONTENT_TRANSFER_ENCODING)
        .iter()
        .all(is_plain)
    {
        Ok(())
    } else {
        Err(Error::Malformed(
            "A part of the form is in a transfer encoding.",
        ))
    }
}

fn called(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(called), None) => Ok(Some(called.to_owned())),
        (Ok(_) | Err(_), Some(_)) | (Err(_), None) => Err(Error::Malformed(
            "A part of the form has no readable `Content-Type`.",
        )),
    }
}

/// What multer reads from.
struct Source {
    chunks: mpsc::Receiver<Chunk>,
    piece: Bytes,
    is_over: bool,
    /// A piece was given: the next question is answered with `Pending`, or multer would read on.
    given: bool,
    /// What multer was given since it last found something.
    hoard: usize,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the body ended early")]
    Aborted,
    #[error("the head of a part does not end")]
    Hoard,
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if std::mem::take(&mut self.given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.piece.is_empty() {
            if self.is_over {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.chunks.poll_recv(cx)) {
                Some(Chunk::Data(data)) => self.piece = data,
                Some(Chunk::End) => self.is_over = true,
                None => return Poll::Ready(Some(Err(Broken::Aborted))),
            }
        }
        let data = self.piece.split_to(PIECE.min(self.piece.len()));
        self.hoard = self.hoard.saturating_add(data.len());
        if self.hoard > HOARD {
            return Poll::Ready(Some(Err(Broken::Hoard)));
        }
        self.given = true;
        Poll::Ready(Some(Ok(data)))
    }

    /// Reads what is left, and forgets it.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.is_over {
            match std::task::ready!(self.chunks.poll_recv(cx)) {
                Some(Chunk::Data(_)) => {}
                Some(Chunk::End) => self.is_over = true,
                None => return Poll::Ready(Err(Error::Aborted)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

struct Reading(Arc<Mutex<Source>>);

impl Stream for Reading {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        lock(&self.0).poll(cx)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn refused(error: multer::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(Broken::Aborted) => return Error::Aborted,
            Some(Broken::Hoard) => {
                return Error::Malformed("The head of a part of the form is too long.");
            }
            None => {}
        }
        cause = match error.downcast_ref::<multer::Error>() {
            Some(multer::Error::StreamReadFailed(inner)) => {
                Some(&**inner as &(dyn std::error::Error + 'static))
            }
            Some(_) | None => error.source(),
        };
    }
    Error::Malformed("The form cannot be read.")
}

/// The form that goes on.
struct Written {
    boundary: String,
    pieces: Vec<Piece>,
    text: BytesMut,
}

impl Written {
    fn new() -> Self {
        Written {
            // Nobody knows it before, so that no content can end a part.
            boundary: format!("portcullis-{}", uuid::Uuid::new_v4().simple()),
            pieces: Vec::new(),
            text: BytesMut::new(),
        }
    }

    /// Names are without quotes and controls here.
    fn head(&mut self, name: &str, file_name: Option<&str>, kind: Option<&str>) {
        let between = if self.pieces.is_empty() && self.text.is_empty() {
            ""
        } else {
            "\r\n"
        };
        let mut head = format!(
            "{between}--{}\r\nContent-Disposition: form-data; name=\"{name}\"",
            self.boundary
        );
        if let Some(file_name) = file_name {
            head.push_str("; filename=\"");
            head.push_str(file_name);
            head.push('"');
        }
        if let Some(kind) = kind {
            head.push_str("\r\nContent-Type: ");
            head.push_str(kind);
        }
        head.push_str("\r\n\r\n");
        self.text.extend_from_slice(head.as_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    fn file(&mut self, size: u64) {
        let before = self.text.split().freeze();
        self.pieces.push(Piece::Bytes(before));
        self.pieces.push(Piece::File(size));
    }

    fn end(mut self) -> Result<(HeaderValue, Vec<Piece>), Error> {
        let before = if self.pieces.is_empty() && self.text.is_empty() {
            ""
        } else {
            "\r\n"
        };
        let end = format!("{before}--{}--\r\n", self.boundary);
        self.text.extend_from_slice(end.as_bytes());
        self.pieces.push(Piece::Bytes(self.text.freeze()));
        let told = format!("multipart/form-data; boundary={}", self.boundary);
        Ok((
            HeaderValue::try_from(told).map_err(|_| Error::Lost)?,
            self.pieces,
        ))
    }
}
