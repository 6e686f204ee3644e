//! The content of a response on its way from a connection to the worker that stores it.
//!
//! ```text
//!  connection ── full ─▶ worker
//!             ◀─ read ──
//! ```
//!
//! One buffer goes round; each chunk is copied into it before the next one is asked for. A chunk keeps all of the
//! buffer that hyper read it into, up to 400 KiB: if it is let go at once, hyper reads into the same buffer again, while
//! chunks that wait for a thread cost as many buffers, whose pages the system has to clear. While the worker has the
//! buffer, hyper reads one chunk ahead, and the system what the socket takes.
//!
//! Responsible for how much of a response is in memory. Must not know what becomes of it.

use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use windlass_core::call::Interrupted;

use crate::exchange::Exchanges;
use crate::job::Stop;
use crate::transfer::stopped;

/// From this size on the buffer is passed on, which wakes a thread. Its last chunk may make it larger.
const FULL: usize = 128 * 1024;

/// How long the buffer waits for more content: a slow link is to be seen moving, and what has arrived is
/// to be there after a crash.
const GATHERING: Duration = Duration::from_millis(100);

/// How long the worker of a job that is to end waits for what its connection has left.
const LAST: Duration = Duration::from_millis(200);

/// What a connection passes on.
pub(crate) enum Message {
    Content(Vec<u8>),
    End(Result<(), Interrupted>),
}

/// The connection's end of a pipe.
pub(crate) struct PipeWriter {
    full: mpsc::Sender<Message>,
    read: mpsc::Receiver<Vec<u8>>,
    /// What is not passed on yet.
    buffer: Vec<u8>,
}

/// The worker's end of a pipe.
pub(crate) struct PipeReader {
    full: mpsc::Receiver<Message>,
    read: mpsc::Sender<Vec<u8>>,
}

pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (full, filled) = mpsc::channel(1);
    let (give_back, read) = mpsc::channel(1);
    let writer = PipeWriter {
        full,
        read,
        // It grows: most blobs are small.
        buffer: Vec::new(),
    };
    let reader = PipeReader {
        full: filled,
        read: give_back,
    };
    (writer, reader)
}

impl PipeWriter {
    /// Passes a body on, as long as it is wanted. Dropped before it is through, it leaves content for `end`.
    pub(crate) async fn pass(
        &mut self,
        exchanges: &Exchanges,
        response: &mut reqwest::Response,
    ) -> Result<(), Interrupted> {
        loop {
            let end = self.fill(exchanges, response).await;
            let full = Message::Content(std::mem::take(&mut self.buffer));
            if self.full.send(full).await.is_err() {
                return Ok(());
            }
            if let Some(end) = end {
                return end;
            }
            let Some(buffer) = self.read.recv().await else {
                return Ok(());
            };
            self.buffer = buffer;
        }
    }

    /// Fills the buffer, unless the body ends or takes its time. How the body ended, if it did.
    async fn fill(
        &mut self,
        exchanges: &Exchanges,
        response: &mut reqwest::Response,
    ) -> Option<Result<(), Interrupted>> {
        while self.buffer.len() < FULL {
            let chunk = if self.buffer.is_empty() {
                exchanges.chunk(response).await
            } else {
                let chunk = timeout(GATHERING, exchanges.chunk(response)).await;
                chunk.ok()?
            };
            match chunk {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Some(Ok(())),
                Err(why) => return Some(Err(why)),
            }
        }
        None
    }

    /// Passes on what is left, and how the body ended.
    pub(crate) async fn end(self, end: Result<(), Interrupted>) {
        // The reader is gone if the rest is not wanted.
        if !self.buffer.is_empty() {
            drop(self.full.send(Message::Content(self.buffer)).await);
        }
        drop(self.full.send(Message::End(end)).await);
    }
}

impl PipeReader {
    /// What comes next. If the job is to end, its connection has a moment to pass on what it has.
    pub(crate) fn next(&mut self, stop: &mut Stop) -> Option<Message> {
        let heard = Handle::current().block_on(async {
            tokio::select! {
                biased;
                message = self.full.recv() => Some(message),
                () = stopped(stop) => None,
            }
        });
        if let Some(message) = heard {
            return message;
        }
        let until = Instant::now() + LAST;
        loop {
            match self.full.try_recv() {
                Ok(message) => return Some(message),
                Err(mpsc::error::TryRecvError::Empty) if Instant::now() < until => {
                    thread::sleep(LAST / 20);
                }
                Err(_) => return None,
            }
        }
    }

    /// Gives the buffer back.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        // A connection that is gone needs none.
        drop(self.read.try_send(buffer));
    }
}
