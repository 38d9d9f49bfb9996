//! [`StrictIo`]: what stands between the socket and hyper.
//!
//! A read goes straight into hyper's buffer; when it ends in complete, good messages (it nearly
//! always does) nothing is copied. The incomplete rest of a head is held back until it is whole. A
//! refused head never reaches hyper: a substitute takes its place, and [`Gate`] remembers which
//! request that is, so that the refusal is answered in order with pipelined requests.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::chunked::{Chunked, Progress};
use super::head::{self, Following, Head};
use super::{Limits, Malformed};

/// Stands for a refused head. Its answer closes the connection.
const SUBSTITUTE: &[u8] =
    b"GET / HTTP/1.1\r\nhost: portcullis.invalid\r\nconnection: close\r\n\r\n";

/// How long a client may take; see `[listen]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) body_idle: Duration,
    /// Bytes per second; 0 is no least rate.
    pub(crate) body_min_rate: u64,
    pub(crate) write: Duration,
}

/// What we are waiting for the client to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Nothing,
    NextRequest,
    Head,
    Body,
}

/// Whether the bytes behind a request for a `WebSocket` are requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    Undecided,
    Declined,
    Accepted,
}

/// What the connection's task, its handler and its [`StrictIo`] share.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    patience: Patience,
    /// The request of this number (from 0) was refused.
    refused: Cell<Option<(u64, Malformed)>>,
    upgrade: Cell<Upgrade>,
    reader: RefCell<Option<Waker>>,
    wait: Cell<Wait>,
    read_by: Cell<Option<Instant>>,
    write_by: Cell<Option<Instant>>,
    late: Cell<Option<Wait>>,
}

impl Gate {
    pub(crate) fn new(limits: Limits, patience: Patience) -> Self {
        Gate {
            limits,
            patience,
            refused: Cell::new(None),
            upgrade: Cell::new(Upgrade::Undecided),
            reader: RefCell::default(),
            wait: Cell::new(Wait::Nothing),
            read_by: Cell::new(None),
            write_by: Cell::new(None),
            late: Cell::new(None),
        }
    }

    /// Why the request of this number is not to be served, if so.
    pub(crate) fn refusal(&self, number: u64) -> Option<Malformed> {
        self.refused
            .get()
            .filter(|(refused, _)| *refused == number)
            .map(|(_, reason)| reason)
    }

    /// The upgrade that the last request asked for was made (or not): what follows are its bytes
    /// (or the next request).
    pub(crate) fn decide_upgrade(&self, accepted: bool) {
        self.upgrade.set(if accepted {
            Upgrade::Accepted
        } else {
            Upgrade::Declined
        });
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// Every answer was sent: the next request may take its time.
    pub(crate) fn rest(&self) {
        if self.wait.get() == Wait::Nothing {
            self.await_client(Wait::NextRequest, self.patience.idle);
        }
    }

    /// A request is being answered.
    pub(crate) fn work(&self) {
        if self.wait.get() == Wait::NextRequest {
            self.stop_waiting();
        }
    }

    /// The earliest moment at which something is late.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.read_by.get(), self.write_by.get()) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (read, write) => read.or(write),
        }
    }

    /// Called when [`Self::deadline`] has passed. True when the connection is to be dropped, false
    /// when reading goes on (and finds what to answer).
    pub(crate) fn ring(&self) -> bool {
        let now = Instant::now();
        if self.write_by.get().is_some_and(|by| by <= now) {
            return true;
        }
        match self.wait.get() {
            Wait::NextRequest => true,
            wait @ (Wait::Head | Wait::Body) => {
                self.late.set(Some(wait));
                self.read_by.set(None);
                false
            }
            Wait::Nothing => {
                self.read_by.set(None);
                false
            }
        }
    }

    fn await_client(&self, wait: Wait, patience: Duration) {
        self.wait.set(wait);
        self.read_by.set(Instant::now().checked_add(patience));
    }

    fn stop_waiting(&self) {
        self.wait.set(Wait::Nothing);
        self.read_by.set(None);
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the start of a message, or inside its head.
    Head,
    Length(u64),
    Chunked(Chunked),
    /// Behind a request for a `WebSocket`.
    Upgrade,
    /// A head was refused; nothing more is read.
    Refused,
    /// A body was; hyper gets an error.
    Broken(io::ErrorKind),
}

/// An HTTP/1 connection whose framing is checked. See the module's documentation.
#[derive(Debug)]
pub(crate) struct StrictIo<T> {
    inner: T,
    gate: Rc<Gate>,
    state: State,
    /// Bytes that hyper has not been given: the beginning of a head, or of what follows an upgrade.
    held: BytesMut,
    /// How many of these were looked through for the end of the head.
    searched: usize,
    /// Bytes that hyper may have, before any other.
    ready: BytesMut,
    substitute: bool,
    /// Good heads so far.
    heads: u64,
    /// Waiting and bytes of the present body, for its least rate.
    body_bytes: u64,
    body_waited: Duration,
    body_wait_began: Option<Instant>,
}

impl<T> StrictIo<T> {
    /// `early` are bytes that were read from `inner` before.
    pub(crate) fn new(inner: T, gate: Rc<Gate>, early: BytesMut) -> Self {
        StrictIo {
            inner,
            gate,
            state: State::Head,
            held: early,
            searched: 0,
            ready: BytesMut::new(),
            substitute: false,
            heads: 0,
            body_bytes: 0,
            body_waited: Duration::ZERO,
            body_wait_began: None,
        }
    }

    /// The connection, and bytes that were read from it and given to nobody.
    pub(crate) fn into_parts(self) -> (T, BytesMut) {
        (self.inner, self.held)
    }

    /// Looks at new bytes; gives how many of them hyper may have. The rest is to be held.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut position = 0;
        loop {
            let rest = bytes.get(position..).unwrap_or_default();
            if rest.is_empty() {
                return position;
            }
            match &mut self.state {
                State::Head => match head::parse(rest, &self.gate.limits) {
                    Ok(Head::Partial) => return position,
                    Ok(Head::Complete {
                        len,
                        following,
                        websocket,
                    }) => {
                        position = position.saturating_add(len);
                        self.begin_body(following, websocket);
                    }
                    Err(reason) => {
                        self.refuse(reason);
                        return position;
                    }
                },
                State::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    position = position.saturating_add(taken);
                    *left = left.saturating_sub(taken as u64);
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Chunked(chunked) => match chunked.advance(rest) {
                    Progress::More => return bytes.len(),
                    Progress::Done(taken) => {
                        position = position.saturating_add(taken);
                        self.state = State::Head;
                    }
                    Progress::Wrong(at) => {
                        self.state = State::Broken(io::ErrorKind::InvalidData);
                        return position.saturating_add(at);
                    }
                },
                State::Upgrade | State::Refused | State::Broken(_) => return position,
            }
        }
    }

    fn begin_body(&mut self, following: Following, websocket: bool) {
        self.heads = self.heads.saturating_add(1);
        self.searched = 0;
        self.body_bytes = 0;
        self.body_waited = Duration::ZERO;
        self.gate.stop_waiting();
        self.state = match following {
            _ if websocket => {
                self.gate.upgrade.set(Upgrade::Undecided);
                State::Upgrade
            }
            Following::Length(0) => State::Head,
            Following::Length(length) => State::Length(length),
            Following::Chunked => State::Chunked(Chunked::new()),
        };
    }

    fn refuse(&mut self, reason: Malformed) {
        self.gate.refused.set(Some((self.heads, reason)));
        self.gate.stop_waiting();
        self.state = State::Refused;
        self.substitute = true;
    }

    /// Scans what is held; true when hyper can go on.
    fn scan_held(&mut self) {
        // Parsing again with every small read would cost the square of the head's length.
        let from = self.searched.saturating_sub(2);
        let unsearched = self.held.get(from..).unwrap_or_default();
        let may_end = self.searched == 0 || has_empty_line(unsearched);
        self.searched = self.held.len();
        if matches!(self.state, State::Head) && !may_end && self.held.len() < self.gate.limits.head
        {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let good = self.scan(&held);
        self.held = held;
        let good = self.held.split_to(good);
        if !good.is_empty() {
            self.searched = self.held.len();
        }
        if self.ready.is_empty() {
            self.ready = good;
        } else {
            self.ready.extend_from_slice(&good);
        }
        if matches!(self.state, State::Refused | State::Broken(_)) {
            self.held = BytesMut::new();
        }
    }

    /// Nothing can be read at the moment: whom are we waiting for, and until when?
    fn wait(&mut self) {
        match self.state {
            State::Head if !self.held.is_empty() && self.gate.wait.get() != Wait::Head => {
                self.gate.await_client(Wait::Head, self.gate.patience.head);
            }
            State::Length(_) | State::Chunked(_) if self.body_wait_began.is_none() => {
                let patience = &self.gate.patience;
                let mut left = patience.body_idle;
                if let Some(seconds) = self.body_bytes.checked_div(patience.body_min_rate) {
                    let earned = Duration::from_secs(seconds).saturating_add(patience.body_idle);
                    left = left.min(earned.saturating_sub(self.body_waited));
                }
                self.gate.await_client(Wait::Body, left);
                self.body_wait_began = Some(Instant::now());
            }
            State::Head
            | State::Length(_)
            | State::Chunked(_)
            | State::Upgrade
            | State::Refused
            | State::Broken(_) => {}
        }
    }

    /// Bytes came while we were in a body.
    fn note_body(&mut self, bytes: usize) {
        self.body_bytes = self.body_bytes.saturating_add(bytes as u64);
        if let Some(began) = self.body_wait_began.take() {
            self.body_waited = self.body_waited.saturating_add(began.elapsed());
            self.gate.stop_waiting();
        }
    }

    fn take_late(&mut self) {
        match self.gate.late.take() {
            Some(Wait::Head) if matches!(self.state, State::Head) => {
                self.held = BytesMut::new();
                self.refuse(Malformed::HeadTimeout);
            }
            Some(Wait::Body) if matches!(self.state, State::Length(_) | State::Chunked(_)) => {
                self.gate.stop_waiting();
                self.state = State::Broken(io::ErrorKind::TimedOut);
            }
            Some(_) | None => {}
        }
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ready.len().min(buf.remaining());
        if let Some(bytes) = self.ready.get(..count) {
            buf.put_slice(bytes);
        }
        self.ready.advance(count);
        if self.ready.is_empty() {
            self.ready = BytesMut::new();
        }
    }
}

fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|it| it == b"\n\r\n")
}

impl<T: AsyncRead + Unpin> AsyncRead for StrictIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.searched == 0 && !this.held.is_empty() {
            this.scan_held();
        }
        loop {
            this.take_late();
            if this.ready.is_empty() && this.substitute {
                this.substitute = false;
                this.ready.extend_from_slice(SUBSTITUTE);
            }
            if !this.ready.is_empty() {
                this.hand_over(buf);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Refused => return Poll::Pending,
                State::Broken(kind) => return Poll::Ready(Err(kind.into())),
                State::Upgrade => match this.gate.upgrade.get() {
                    Upgrade::Undecided | Upgrade::Accepted => {
                        *this.gate.reader.borrow_mut() = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Upgrade::Declined => {
                        this.state = State::Head;
                        if !this.held.is_empty() {
                            this.searched = 0;
                            this.scan_held();
                            continue;
                        }
                    }
                },
                State::Head | State::Length(_) | State::Chunked(_) => {}
            }
            let start = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Pending => {
                    this.wait();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            let new = buf.filled().get(start..).unwrap_or_default();
            if new.is_empty() {
                // The end of the stream. A head that can no longer become whole may have been
                // wrong from the start; how it was cut into reads must not matter.
                if matches!(this.state, State::Head) && !this.held.is_empty() {
                    this.searched = 0;
                    this.scan_held();
                    if this.substitute {
                        continue;
                    }
                }
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, State::Length(_) | State::Chunked(_)) {
                this.note_body(new.len());
            }
            if this.held.is_empty() {
                let good = this.scan(new);
                let rest = new.get(good..).unwrap_or_default();
                if !rest.is_empty() && matches!(this.state, State::Head | State::Upgrade) {
                    this.held.extend_from_slice(rest);
                    this.searched = this.held.len();
                }
                buf.set_filled(start.saturating_add(good));
                if good > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.extend_from_slice(new);
                buf.set_filled(start);
                this.scan_held();
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> StrictIo<T> {
    fn wrote<R>(&self, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let gate = &self.gate;
        match &outcome {
            Poll::Pending if gate.write_by.get().is_none() => {
                gate.write_by
                    .set(Instant::now().checked_add(gate.patience.write));
            }
            Poll::Pending => {}
            Poll::Ready(_) => gate.write_by.set(None),
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for StrictIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.wrote(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
