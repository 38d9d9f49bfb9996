//! The upstream's side of an upgraded connection, and the copying both ways.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::drain::Drain;
use crate::transport::Transport;

/// An upstream connection after its 101, with what it had sent behind the head.
#[derive(Debug)]
pub struct Tunnel {
    pub(crate) upstream: Transport,
    pub(crate) early: Bytes,
    /// Ends the connection when it is told to.
    pub(crate) until: Option<Drain>,
    /// Holds the upstream's place among its requests in flight.
    pub(crate) _place: crate::upstream::Place,
}

impl Tunnel {
    /// Copies both ways until both ends have finished, nothing moved for `idle`, or `until` says so.
    pub(crate) async fn run<C>(mut self, client: C, early: &[u8], idle: Duration) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let until = self.until.take();
        let (mut upstream_read, mut upstream_write) = tokio::io::split(self.upstream);
        upstream_write.write_all(early).await?;
        client_write.write_all(&self.early).await?;
        let last_moved = std::cell::Cell::new(Instant::now());
        let both = async {
            tokio::try_join!(
                copy(&mut client_read, &mut upstream_write, &last_moved),
                copy(&mut upstream_read, &mut client_write, &last_moved),
            )
        };
        let silence = async {
            loop {
                let until = last_moved.get() + idle;
                if until <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(until).await;
            }
        };
        let told = async {
            match until {
                Some(mut until) => until.started().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told => Ok(()),
            outcome = both => outcome.map(|_| ()),
            () = silence => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

async fn copy<R, W>(from: &mut R, to: &mut W, moved: &std::cell::Cell<Instant>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = bytes::BytesMut::with_capacity(8 * 1024);
    loop {
        buffer.clear();
        buffer.reserve(8 * 1024);
        if from.read_buf(&mut buffer).await? == 0 {
            return to.shutdown().await;
        }
        moved.set(Instant::now());
        to.write_all(&buffer).await?;
        to.flush().await?;
        moved.set(Instant::now());
    }
}
