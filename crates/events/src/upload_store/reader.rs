//! A stored file on its way out: each chunk is opened before any of it is handed on, and the last one waits
//! until the digest of the whole was compared.

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use bytes::Bytes;
use portcullis_vault::ct_eq;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::chunks::{self, Chunks};
use super::rows::Stored;
use super::sealed::Content;
use super::{Error, UploadStore};
use crate::audit::By;

/// Chunks that wait for the client.
const WAITING: usize = 2;

pub(super) struct Reader {
    file: tokio::fs::File,
    chunks: Chunks,
    digest: Context,
    expected: [u8; 32],
}

impl Reader {
    pub(super) async fn of(
        file: std::fs::File,
        stored: &Stored,
        content: &Content,
    ) -> Result<Self, Error> {
        let file = tokio::fs::File::from_std(file);
        if file.metadata().await?.len() != chunks::on_disk(stored.size) {
            return Err(Error::Damaged("its file has another length"));
        }
        Ok(Reader {
            file,
            chunks: Chunks::new(content.key.expose(), stored.id, stored.size)?,
            digest: Context::new(&SHA256),
            expected: stored.sha256,
        })
    }

    /// The next chunk, in the clear. Nothing after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(length) = self.chunks.next_sealed() else {
            return Ok(None);
        };
        let mut chunk = vec![0; length];
        self.file
            .read_exact(&mut chunk)
            .await
            .map_err(|_| Error::Damaged("its file ends early"))?;
        self.chunks.open(&mut chunk)?;
        self.digest.update(&chunk);
        if self.chunks.next_plain().is_none()
            && !ct_eq(self.digest.clone().finish().as_ref(), &self.expected)
        {
            return Err(Error::Damaged("its digest is another one"));
        }
        Ok(Some(chunk.into()))
    }
}

/// The body of an answer that begins with `first`. It never ends cleanly where a fault is found: the connection
/// breaks off instead.
pub(super) fn body(
    store: UploadStore,
    mut reader: Reader,
    first: Bytes,
    stored: Stored,
    by: By,
) -> Body {
    let (sender, receiver) = mpsc::channel(WAITING);
    let size = stored.size;
    tokio::spawn(async move {
        let mut next = Ok(Some(first));
        loop {
            match next {
                Ok(Some(chunk)) => {
                    // Nobody listens any more.
                    if sender.send(Ok(chunk)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    store.tell_damaged(&stored, &error, &by).await;
                    let broken = std::io::Error::other("the stored upload is damaged");
                    let _ = sender.send(Err(broken)).await;
                    return;
                }
            }
            next = reader.next().await;
        }
    });
    let pieces = futures_util::stream::unfold((receiver, size), async |(mut pieces, left)| {
        let piece: Result<Bytes, std::io::Error> = match pieces.recv().await {
            Some(piece) => piece,
            // SECURITY: what was cut short is an error, or somebody would take it for the whole.
            None if left > 0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            None => return None,
        };
        let taken = piece
            .as_ref()
            .map_or(left, |piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Some((piece, (pieces, left.saturating_sub(taken))))
    });
    Body::from_stream(pieces)
}
