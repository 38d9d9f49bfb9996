//! One line per request, from one place.
//!
//! A lane formats its lines into a buffer of its own; a thread takes full buffers, and four times a
//! second whatever there is, and writes them out. A lane never waits for the output: when the
//! writer cannot keep up, whole buffers are dropped and their lines counted. Telemetry fails open.
//!
//! Never in a line: query strings, headers, bodies. The path is bounded and passes through
//! [`redact`]; whatever a client chose is escaped, so that no request can forge a line (CWE-117).

mod line;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use line::Line;

use crate::Metrics;
use crate::log::Format;

/// A buffer of this size is handed over.
const FULL: usize = 32 * 1024;
/// So many full buffers may wait for the writer: 8 MiB.
const WAITING: usize = 256;
const TICK: Duration = Duration::from_millis(250);

/// The writer, and the lanes that write through it.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    format: Format,
    metrics: Arc<Metrics>,
    lanes: Mutex<Vec<Arc<Mutex<line::Buffer>>>>,
    /// Buffers that were written, for the lanes to fill again: making one and letting it go with
    /// every hundred requests has the kernel clear its pages each time.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// So many are kept.
const SPARE: usize = 8;

impl Shared {
    fn spare(&self) -> Vec<u8> {
        let spare = held(&self.spare).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(FULL.saturating_add(line::LONGEST)))
    }

    fn keep(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = held(&self.spare);
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    Stop,
}

/// One lane's end of the log. Used by one thread; sharing it is safe, and slower.
#[derive(Debug)]
pub struct Lane {
    buffer: Arc<Mutex<line::Buffer>>,
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl AccessLog {
    /// Starts the thread that writes to `output`: standard output, or a file.
    pub fn start(
        output: Box<dyn Write + Send>,
        format: Format,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let shared = Arc::new(Shared {
            format,
            metrics,
            lanes: Mutex::default(),
            spare: Mutex::default(),
        });
        let writer = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || write_all(output, &receiver, &shared))?
        };
        Ok(AccessLog {
            shared,
            sender,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// One more lane. Called once per lane at its start.
    pub fn lane(&self) -> Lane {
        let buffer = Arc::new(Mutex::new(line::Buffer::default()));
        held(&self.shared.lanes).push(buffer.clone());
        Lane {
            buffer,
            sender: self.sender.clone(),
            shared: self.shared.clone(),
        }
    }

    /// Writes what there is, and ends the thread. Blocks until the output has taken it: call it
    /// when no lane runs any more.
    pub fn shutdown(&self) {
        let writer = held(&self.writer).take();
        if let Some(writer) = writer
            && self.sender.send(Message::Stop).is_ok()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the access log broke");
        }
    }
}

impl Lane {
    /// Adds one line. Well under a microsecond; never waits for the output.
    pub fn line(&self, line: &Line<'_>) {
        let mut buffer = held(&self.buffer);
        buffer.push(line, self.shared.format);
        if buffer.bytes.len() < FULL {
            return;
        }
        let (bytes, lines) = buffer.take(self.shared.spare());
        drop(buffer);
        match self.sender.try_send(Message::Lines(bytes)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.metrics.access_log_dropped(lines);
            }
        }
    }
}

fn write_all(mut output: Box<dyn Write + Send>, receiver: &Receiver<Message>, shared: &Shared) {
    loop {
        let stop = match receiver.recv_timeout(TICK) {
            Ok(Message::Lines(lines)) => {
                write(&mut output, &lines);
                shared.keep(lines);
                continue;
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        };
        let lanes = held(&shared.lanes).clone();
        for lane in lanes {
            let (bytes, _) = held(&lane).take(shared.spare());
            write(&mut output, &bytes);
            shared.keep(bytes);
        }
        if stop {
            return;
        }
    }
}

fn write(output: &mut Box<dyn Write + Send>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        tracing::warn!(%error, "the access log could not be written");
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
