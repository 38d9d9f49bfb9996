//! The way of one upload: from the wire into quarantine, looked at, scanned, and ready to go on.

use std::fs::File;
use std::io::SeekFrom;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use portcullis_core::upload::FileType;
use tokio::io::AsyncSeekExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::scanner::{Answer, Clamd};
use super::slice::Slice;
use super::spool::Spool;
use super::{Error, Rules, Scanner, Uploads, content, disposition, file_name, form};

/// A piece of the body on its way here.
#[derive(Debug)]
pub enum Chunk {
    Data(Bytes),
    /// All of it is there. Without this it broke off.
    End,
}

/// Leave to have one upload under way.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// What the head says of the body.
#[derive(Debug, PartialEq, Eq)]
pub enum Shape {
    Form { boundary: String },
    One(Told),
}

/// What is said of one file before its content is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub(super) kind: FileType,
    pub(super) field: Option<String>,
    pub(super) name: Option<String>,
}

/// One file that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The form's field; nothing where the file was the whole body.
    pub field: Option<String>,
    pub name: Option<String>,
    pub kind: FileType,
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
}

/// How its content was judged beyond its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Read to the end by this scanner, in its own words, and nothing found.
    Clean { scanner: String },
    /// By the operator's choice nothing is scanned.
    NotScanned,
    /// It was to be scanned and was not: nobody may have its content.
    Quarantined,
}

impl Verdict {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Verdict::Clean { .. } => "clean",
            Verdict::NotScanned => "not-scanned",
            Verdict::Quarantined => "quarantined",
        }
    }

    pub fn scanner(&self) -> Option<&str> {
        match self {
            Verdict::Clean { scanner } => Some(scanner),
            Verdict::NotScanned | Verdict::Quarantined => None,
        }
    }
}

/// An upload that may go on.
#[derive(Debug)]
pub struct Accepted {
    pub files: Vec<Facts>,
    pub verdict: Verdict,
    pub(super) file: File,
    pub(super) pieces: Vec<Piece>,
    pub(super) content_type: HeaderValue,
    pub(super) disposition: Option<HeaderValue>,
    pub(super) is_rewritten: bool,
    pub(super) place: Place,
}

/// What came of an upload that is right in itself.
#[derive(Debug)]
pub enum Taken {
    Accepted(Accepted),
    /// It goes no further, unless somebody chose to keep such files.
    Held(Held),
}

/// An upload in which the scanner found something, or that it did not scan.
#[derive(Debug)]
pub struct Held {
    /// [`Error::Infected`] or [`Error::Scanner`].
    pub why: Error,
    upload: Accepted,
}

impl Held {
    /// The files, for the quarantine alone.
    pub const fn upload(&self) -> &Accepted {
        &self.upload
    }

    /// What goes on in its place, to be described and not handed over: the verdict says so.
    pub fn into_upload(self) -> Accepted {
        self.upload
    }
}

/// What the body that goes on is put together from.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    /// So many bytes of the quarantined file. Pieces of it come in its order and leave nothing out.
    File(u64),
}

/// Everything that came in, not yet looked into.
pub(super) struct Received {
    pub(super) spool: Spool,
    pub(super) files: Vec<Facts>,
    pub(super) pieces: Vec<Piece>,
    pub(super) content_type: HeaderValue,
    pub(super) disposition: Option<HeaderValue>,
}

const CALLED: &str =
    "The type that the request gives for the file is not that of a file that is taken here.";

impl Shape {
    /// By the head alone, before anything is read.
    pub fn of(head: &Parts, rules: &Rules) -> Result<Self, Error> {
        let headers = &head.headers;
        // SECURITY: the product would unpack what was never looked at.
        let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get_all(CONTENT_ENCODING).iter().all(plain) {
            return Err(Error::Called(
                "A file is taken as it is, without `Content-Encoding`.",
            ));
        }
        // SECURITY: a file that comes in parts is put together behind our back.
        if headers.contains_key(CONTENT_RANGE) {
            return Err(Error::Malformed(
                "A file is taken whole, without `Content-Range`.",
            ));
        }
        let told = one(headers)?;
        let essence = essence(told)?;
        if essence == "multipart/form-data" {
            let boundary = multer::parse_boundary(told);
            let boundary = boundary.map_err(|_| Error::Malformed("The form has no boundary."))?;
            // RFC 2046 section 5.1.1, without the blank.
            let is_plain =
                |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
            if boundary.is_empty() || boundary.len() > 70 || !boundary.bytes().all(is_plain) {
                return Err(Error::Malformed("The form's boundary is none."));
            }
            return Ok(Shape::Form { boundary });
        }
        let named = disposition::of(headers)?;
        let name = named.and_then(|named| named.file_name);
        Told::of(None, name, Some(told), rules).map(Shape::One)
    }
}

/// The one `Content-Type` of a body.
fn one(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next().ok_or(Error::Called(
        "The request does not say of what type its body is.",
    ))?;
    if values.next().is_some() {
        return Err(Error::Malformed("There is more than one `Content-Type`."));
    }
    value.to_str().map_err(|_| Error::Called(CALLED))
}

/// A media type without its parameters, in lower case. Text in another charset than UTF-8 is refused: the
/// product would read other letters than were looked at (UTF-7).
pub(super) fn essence(told: &str) -> Result<String, Error> {
    let mut parts = told.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset
            && !["utf-8", "us-ascii"]
                .iter()
                .any(|known| value.eq_ignore_ascii_case(known))
        {
            return Err(Error::Called("Text is taken in UTF-8."));
        }
    }
    Ok(essence)
}

impl Told {
    /// By its name and by what the client calls it: both, where there are both, must be of one kind.
    pub(super) fn of(
        field: Option<String>,
        name: Option<String>,
        called: Option<&str>,
        rules: &Rules,
    ) -> Result<Self, Error> {
        let called = called.map(essence).transpose()?;
        // What programs say that do not know better.
        let called = called.filter(|called| called != "application/octet-stream");
        let by_name = name.as_deref().map(file_name::check).transpose()?;
        let kind = match (&by_name, &called) {
            (Some(kind), _) => rules.admit(*kind)?,
            (None, Some(called)) => {
                let kind = FileType::ALL
                    .into_iter()
                    .find(|kind| kind.called().contains(&called.as_str()));
                rules.admit(kind)?
            }
            (None, None) => return Err(Error::Type(rules.taken())),
        };
        if called.is_some_and(|called| !kind.called().contains(&called.as_str())) {
            return Err(Error::Called(CALLED));
        }
        Ok(Told { kind, field, name })
    }
}

impl Uploads {
    /// Leave for one more, or 503.
    pub fn place(&self) -> Result<Place, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place
            .map(|permit| Place { _permit: permit })
            .map_err(|_| Error::Busy)
    }

    /// Takes a whole body in and judges it. Whatever is wrong with it, nothing of it is left.
    pub async fn take(
        &self,
        rules: &Rules,
        shape: Shape,
        chunks: mpsc::Receiver<Chunk>,
        place: Place,
    ) -> Result<Taken, Error> {
        let spool = Spool::open(&self.folder).await?;
        let is_rewritten = matches!(shape, Shape::Form { .. });
        let received = match shape {
            Shape::Form { boundary } => form::receive(spool, rules, boundary, chunks).await?,
            Shape::One(told) => receive(spool, rules, told, chunks).await?,
        };
        let Received {
            spool,
            files,
            pieces,
            content_type,
            disposition,
        } = received;
        let file = Arc::new(spool.finish().await?);
        let file = self.inspect(file, &files).await?;
        let (file, judged) = self.scan(file, &files).await?;
        let (verdict, why) = match judged {
            Ok(verdict) => (verdict, None),
            // SECURITY: what else is wrong is refused here and now.
            Err(why @ (Error::Infected { .. } | Error::Scanner(_))) => {
                (Verdict::Quarantined, Some(why))
            }
            Err(error) => return Err(error),
        };
        let upload = Accepted {
            files,
            verdict,
            file,
            pieces,
            content_type,
            disposition,
            is_rewritten,
            place,
        };
        Ok(match why {
            None => Taken::Accepted(upload),
            Some(why) => Taken::Held(Held { why, upload }),
        })
    }

    /// Looks into each file, on a thread where it may take its time.
    async fn inspect(&self, file: Arc<File>, files: &[Facts]) -> Result<File, Error> {
        let Ok(_turn) = self.inspections.acquire().await else {
            return Err(Error::Lost);
        };
        let parts: Vec<_> = files.iter().map(|facts| (facts.kind, facts.size)).collect();
        let inspection = tokio::task::spawn_blocking(move || {
            let mut at = 0_u64;
            for (kind, size) in parts {
                content::check(kind, Slice::new(&file, at, size))?;
                at = at.saturating_add(size);
            }
            Ok::<_, Error>(file)
        });
        let file = inspection.await.map_err(|_| Error::Lost)??;
        Arc::into_inner(file).ok_or(Error::Lost)
    }

    /// The file, whatever the verdict: it may have to be kept.
    async fn scan(
        &self,
        file: File,
        files: &[Facts],
    ) -> Result<(File, Result<Verdict, Error>), Error> {
        let clamd = match &self.scanner {
            Scanner::None => return Ok((file, Ok(Verdict::NotScanned))),
            Scanner::Clamd(clamd) => clamd,
        };
        let mut file = tokio::fs::File::from_std(file);
        let verdict = self.scan_all(clamd, &mut file, files).await;
        Ok((file.into_std().await, verdict))
    }

    async fn scan_all(
        &self,
        clamd: &Clamd,
        file: &mut tokio::fs::File,
        files: &[Facts],
    ) -> Result<Verdict, Error> {
        // Before the files: the verdict is by these signatures or newer ones.
        let version = self.scanner.version().await?.unwrap_or_default();
        file.seek(SeekFrom::Start(0)).await?;
        for facts in files {
            scan_one(clamd, file, facts.size).await?;
        }
        Ok(Verdict::Clean { scanner: version })
    }

    /// Has one file scanned again, `size` bytes of it.
    pub async fn scan_again(&self, file: File, size: u64) -> Result<Verdict, Error> {
        let clamd = match &self.scanner {
            Scanner::None => return Ok(Verdict::NotScanned),
            Scanner::Clamd(clamd) => clamd,
        };
        let version = self.scanner.version().await?.unwrap_or_default();
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(0)).await?;
        scan_one(clamd, &mut file, size).await?;
        Ok(Verdict::Clean { scanner: version })
    }
}

async fn scan_one(clamd: &Clamd, file: &mut tokio::fs::File, size: u64) -> Result<(), Error> {
    match clamd.scan(file, size).await? {
        Answer::Clean => Ok(()),
        Answer::Found(signature) => Err(Error::Infected { signature }),
        Answer::Limit(limit) => Err(Error::Unscannable(limit)),
    }
}

/// One file as the whole body.
async fn receive(
    mut spool: Spool,
    rules: &Rules,
    told: Told,
    mut chunks: mpsc::Receiver<Chunk>,
) -> Result<Received, Error> {
    let mut file = Filing::begin(told);
    loop {
        match chunks.recv().await {
            Some(Chunk::Data(data)) => file.write(&mut spool, rules, &data).await?,
            Some(Chunk::End) => break,
            None => return Err(Error::Aborted),
        }
    }
    let facts = file.end();
    let disposition = facts.name.as_deref().map(attachment).transpose()?;
    Ok(Received {
        pieces: vec![Piece::File(facts.size)],
        content_type: HeaderValue::from_static(facts.kind.media_type()),
        disposition,
        files: vec![facts],
        spool,
    })
}

/// The name in the one spelling that all read alike: plain where that can say it, else RFC 8187.
fn attachment(name: &str) -> Result<HeaderValue, Error> {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b" ._-()".contains(&byte));
    let text = if is_plain {
        format!("attachment; filename=\"{name}\"")
    } else {
        format!(
            "attachment; filename*=UTF-8''{}",
            utf8_percent_encode(name, NON_ALPHANUMERIC)
        )
    };
    HeaderValue::try_from(text).map_err(|_| Error::Lost)
}

/// One file on its way into the spool.
pub(super) struct Filing {
    told: Told,
    size: u64,
    digest: Context,
}

impl Filing {
    pub(super) fn begin(told: Told) -> Self {
        Filing {
            told,
            size: 0,
            digest: Context::new(&SHA256),
        }
    }

    pub(super) async fn write(
        &mut self,
        spool: &mut Spool,
        rules: &Rules,
        data: &[u8],
    ) -> Result<(), Error> {
        let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.size = self.size.saturating_add(count);
        if self.size > rules.max_size {
            return Err(Error::TooLarge {
                limit: rules.max_size,
            });
        }
        self.digest.update(data);
        spool.write(data).await
    }

    pub(super) fn end(self) -> Facts {
        Facts {
            field: self.told.field,
            name: self.told.name,
            kind: self.told.kind,
            size: self.size,
            sha256: hex::encode(self.digest.finish()),
        }
    }
}
