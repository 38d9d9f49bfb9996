//! What was accepted goes on: its headers made right, its body streamed from quarantine.

use std::fs::File;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::intake::{Piece, Place};
use super::{Accepted, DESCRIPTION_TYPE, Error, Facts};

/// What is read from the quarantine at once; three of them wait for the product at most.
const PIECE: usize = 64 * 1024;

/// Digests of the form that came, which is not the one that goes on.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

impl Accepted {
    /// What the product is told of the body, in place of what the client said.
    pub fn describe(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.length()));
        headers.remove(CONTENT_ENCODING);
        match &self.disposition {
            Some(value) => headers.insert(CONTENT_DISPOSITION, value.clone()),
            None => headers.remove(CONTENT_DISPOSITION),
        };
        if self.is_rewritten {
            for name in DIGESTS {
                headers.remove(name);
            }
        }
    }

    /// The files that were screened: of each where it begins, and the file that all of them stand in.
    pub fn contents(&self) -> io::Result<Vec<(&Facts, u64, File)>> {
        let mut at = 0_u64;
        let each = self.files.iter().map(|facts| {
            let begins = at;
            at = at.saturating_add(facts.size);
            Ok((facts, begins, self.file.try_clone()?))
        });
        each.collect()
    }

    /// What goes on where the gate keeps the files: of each a description, in its order.
    ///
    /// SECURITY: no client can send what looks so. A part or a body of that type is refused, since it is no kind
    /// of file that is taken; so an id in it is one that the gate gave to this very upload.
    pub fn described(mut self, descriptions: Vec<Bytes>) -> Result<Self, Error> {
        let mut descriptions = descriptions.into_iter();
        for piece in &mut self.pieces {
            if matches!(piece, Piece::File(_)) {
                *piece = Piece::Bytes(descriptions.next().ok_or(Error::Lost)?);
            }
        }
        if descriptions.next().is_some() {
            return Err(Error::Lost);
        }
        if !self.is_rewritten {
            self.content_type = HeaderValue::from_static(DESCRIPTION_TYPE);
            self.disposition = None;
            self.is_rewritten = true;
        }
        Ok(self)
    }

    fn length(&self) -> u64 {
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Piece::File(length) => *length,
        });
        lengths.fold(0, u64::saturating_add)
    }

    /// The body. The file is read on `back`, a little ahead of whoever reads the body.
    pub fn into_body(self, back: &Handle) -> HandedOn {
        let left = self.length();
        let (sender, pieces) = mpsc::channel(2);
        let (file, place) = (tokio::fs::File::from_std(self.file), self.place);
        back.spawn(send(file, self.pieces, place, sender));
        HandedOn { pieces, left }
    }
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// The file, and the leave to have it, end with this.
async fn send(mut file: tokio::fs::File, pieces: Vec<Piece>, place: Place, sender: Sender) {
    if let Err(error) = try_send(&mut file, pieces, &sender).await {
        // Nobody may be listening any more.
        let _ = sender.send(Err(error)).await;
    }
    drop((file, place));
}

async fn try_send(
    file: &mut tokio::fs::File,
    pieces: Vec<Piece>,
    sender: &Sender,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(0)).await?;
    file.set_max_buf_size(PIECE);
    for piece in pieces {
        let mut left = match piece {
            Piece::Bytes(bytes) => {
                if sender.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
                0
            }
            Piece::File(length) => length,
        };
        while left > 0 {
            let mut buffer = BytesMut::with_capacity(PIECE);
            let mut part = tokio::io::AsyncReadExt::take(&mut *file, left);
            if part.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
            if sender.send(Ok(buffer.freeze())).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The body that goes on. Its length is known.
#[derive(Debug)]
pub struct HandedOn {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Body for HandedOn {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.pieces.poll_recv(cx)) {
            Some(Ok(data)) => {
                let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
                this.left = this.left.saturating_sub(count);
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error)),
            // SECURITY: what was cut short is an error, or the product would take it for the whole.
            None if this.left > 0 => {
                this.left = 0;
                Some(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
