//! A body that ends in an error when it grows over its limit, or holds more than it may.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::structure::{Structure, TooMuch};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Streams `B` until `limit` bytes have passed, or its structure is too much. Cancel safe: it holds
/// nothing back.
#[derive(Debug)]
pub struct LimitedBody<B> {
    inner: B,
    limit: u64,
    left: u64,
    structure: Option<Structure>,
    over: bool,
}

/// The error of a body that was cut off. Found by `Error::source` under whatever wraps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    #[error("the body grew over {limit} bytes")]
    Size { limit: u64 },
    #[error(transparent)]
    Structure(TooMuch),
}

impl Overflow {
    /// Looks for an overflow in an error and its sources.
    pub fn find(error: &(dyn std::error::Error + 'static)) -> Option<Overflow> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref::<Overflow>().copied())
    }
}

impl<B> LimitedBody<B> {
    pub fn new(inner: B, limit: portcullis_core::size::ByteSize) -> Self {
        LimitedBody {
            inner,
            limit: limit.as_u64(),
            left: limit.as_u64(),
            structure: None,
            over: false,
        }
    }

    /// The same, and what passes is counted.
    #[must_use]
    pub fn counted(mut self, structure: Option<Structure>) -> Self {
        self.structure = structure;
        self
    }

    fn check(&mut self, piece: &[u8]) -> Result<(), Overflow> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let limit = self.limit;
        self.left = (self.left.checked_sub(length)).ok_or(Overflow::Size { limit })?;
        match &mut self.structure {
            Some(structure) => structure.count(piece).map_err(Overflow::Structure),
            None => Ok(()),
        }
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref()
            && let Err(overflow) = self.check(data)
        {
            self.over = true;
            return Poll::Ready(Some(Err(overflow.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    /// The inner body's own: the upstream gets the `Content-Length` that the client announced.
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
