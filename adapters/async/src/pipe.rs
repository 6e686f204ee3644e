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
//! buffer, hyper reads one chunk ahead, and the system what the socket takes. Two pipes of a client
//! have a second buffer, so that neither end waits for the other: one blob alone takes an eighth less time. Where many
//! arrive, others go on meanwhile.
//!
//! Responsible for how much of a response is in memory. Must not know what becomes of it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use windlass_core::call::Interrupted;

use crate::stop::{Stop, stopped};

/// From this size on the buffer is passed on, which wakes a thread. Its last chunk may make it larger.
const FULL: usize = 128 * 1024;

/// How many pipes of a client have a second buffer.
const SPARE: usize = 2;

/// The most buffers of one pipe.
const BUFFERS: usize = 2;

/// How long the buffer waits for more content: a slow link is to be seen moving, and what has arrived is
/// to be there after a crash.
const GATHERING: Duration = Duration::from_millis(100);

/// How long the worker of a job that is to end waits for what its connection has left.
const LAST: Duration = Duration::from_millis(200);

/// A body that arrives.
pub(crate) trait Chunks: Send {
    /// The next chunk; `None` is the end. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Interrupted>> + Send;
}

/// What a connection passes on.
pub(crate) enum Message {
    Content(Vec<u8>),
    End(Result<(), Interrupted>),
}

/// The second buffers of a client's pipes.
#[derive(Clone, Debug)]
pub(crate) struct Spare(Arc<Semaphore>);

impl Default for Spare {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SPARE)))
    }
}

/// The connection's end of a pipe.
pub(crate) struct PipeWriter {
    full: mpsc::Sender<Message>,
    read: mpsc::Receiver<Vec<u8>>,
    spare: Spare,
    /// Held while there are two buffers.
    second: Option<OwnedSemaphorePermit>,
    /// What is not passed on yet.
    buffer: Vec<u8>,
}

/// The worker's end of a pipe.
pub(crate) struct PipeReader {
    full: mpsc::Receiver<Message>,
    read: mpsc::Sender<Vec<u8>>,
}

pub(crate) fn pipe(spare: Spare) -> (PipeWriter, PipeReader) {
    let (full, filled) = mpsc::channel(BUFFERS);
    let (give_back, read) = mpsc::channel(BUFFERS);
    let writer = PipeWriter {
        full,
        read,
        spare,
        second: None,
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
    /// Passes a body on, as long as it is wanted. What is in the buffer when this ends or is dropped is left for `end`.
    pub(crate) async fn pass(&mut self, mut chunks: impl Chunks) -> Result<(), Interrupted> {
        loop {
            if let Some(end) = self.fill(&mut chunks).await {
                return end;
            }
            let Ok(room) = self.full.reserve().await else {
                return Ok(());
            };
            room.send(Message::Content(std::mem::take(&mut self.buffer)));
            let Some(buffer) = self.empty().await else {
                return Ok(());
            };
            self.buffer = buffer;
        }
    }

    /// A buffer that was read, or a second one if the worker still has the first.
    async fn empty(&mut self) -> Option<Vec<u8>> {
        if let Ok(buffer) = self.read.try_recv() {
            return Some(buffer);
        }
        if self.second.is_none()
            && let Ok(permit) = Arc::clone(&self.spare.0).try_acquire_owned()
        {
            self.second = Some(permit);
            return Some(Vec::new());
        }
        self.read.recv().await
    }

    /// Fills the buffer, unless the body ends or takes its time. How the body ended, if it did.
    async fn fill(&mut self, chunks: &mut impl Chunks) -> Option<Result<(), Interrupted>> {
        while self.buffer.len() < FULL {
            let chunk = if self.buffer.is_empty() {
                chunks.next().await
            } else {
                timeout(GATHERING, chunks.next()).await.ok()?
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::pending;

    use tokio::sync::watch;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        runtime.block_on(future)
    }

    /// Chunks, and how the body ends; `None` stands still.
    struct Body(VecDeque<Vec<u8>>, Option<Result<(), Interrupted>>);

    impl Chunks for Body {
        async fn next(&mut self) -> Result<Option<Bytes>, Interrupted> {
            let Self(chunks, end) = self;
            match (chunks.pop_front(), end) {
                (Some(chunk), _) => Ok(Some(chunk.into())),
                (None, Some(end)) => end.clone().map(|()| None),
                (None, None) => pending().await,
            }
        }
    }

    /// Chunks of these sizes, of increasing bytes.
    fn body(sizes: &[usize], end: Option<Result<(), Interrupted>>) -> Body {
        let chunks = (1..).zip(sizes).map(|(byte, size)| vec![byte; *size]);
        Body(chunks.collect(), end)
    }

    /// The lengths of what comes out of a pipe, with the byte that each begins with, and its end.
    fn read(mut reader: PipeReader) -> (Vec<(usize, u8)>, Option<bool>) {
        let (_running, mut stop) = watch::channel(false);
        let mut contents = Vec::new();
        loop {
            match reader.next(&mut stop) {
                Some(Message::Content(buffer)) => {
                    contents.push((buffer.len(), buffer[0]));
                    reader.give_back(buffer);
                }
                Some(Message::End(end)) => return (contents, Some(end.is_ok())),
                None => return (contents, None),
            }
        }
    }

    /// Passes a body on, for at most a second.
    fn passed(body: Body) -> (Vec<(usize, u8)>, Option<bool>) {
        run(async {
            let (mut writer, reader) = pipe(Spare::default());
            let worker = tokio::task::spawn_blocking(|| read(reader));
            let end = timeout(Duration::from_secs(1), writer.pass(body)).await;
            writer.end(end.unwrap_or(Err(Interrupted::Aborted))).await;
            worker.await.expect("the worker ends")
        })
    }

    #[test]
    fn chunks_are_gathered_until_the_buffer_is_full() {
        let all = passed(body(&[FULL - 1, 2, FULL + 5, 3], None));
        // The last one waits no longer than that.
        assert_eq!(all.0, [(FULL + 1, 1), (FULL + 5, 3), (3, 4)]);
        assert_eq!(all.1, Some(false));
    }

    /// No buffer without content is passed on.
    #[test]
    fn a_body_ends_with_an_empty_buffer() {
        let all = passed(body(&[FULL], Some(Ok(()))));
        assert_eq!(all, (vec![(FULL, 1)], Some(true)));
        assert_eq!(passed(body(&[], Some(Ok(())))), (vec![], Some(true)));
    }

    #[test]
    fn what_was_gathered_is_passed_on_when_the_body_breaks() {
        let all = passed(body(&[10, 5], Some(Err(Interrupted::OtherCall))));
        assert_eq!(all, (vec![(15, 1)], Some(false)));
    }

    /// A job that is aborted in the middle of gathering.
    #[test]
    fn what_was_gathered_is_passed_on_when_passing_is_dropped() {
        run(async {
            let (mut writer, reader) = pipe(Spare::default());
            let passing = timeout(GATHERING / 4, writer.pass(body(&[10], None)));
            assert!(passing.await.is_err());
            let worker = tokio::task::spawn_blocking(|| read(reader));
            writer.end(Err(Interrupted::Aborted)).await;
            let all = worker.await.expect("the worker ends");
            assert_eq!(all, (vec![(10, 1)], Some(false)));
        });
    }

    /// How many buffers a pipe has passed on when its worker reads none of them.
    async fn passed_unread(writer: &mut PipeWriter) -> usize {
        let passing = writer.pass(body(&[FULL; BUFFERS + 1], None));
        assert!(timeout(GATHERING, passing).await.is_err());
        writer.full.max_capacity() - writer.full.capacity()
    }

    #[test]
    fn the_first_pipes_that_wait_have_a_second_buffer() {
        run(async {
            let spare = Spare::default();
            let mut pipes = [(); SPARE + 1].map(|()| pipe(spare.clone()));
            let mut passed = Vec::new();
            for (writer, _) in &mut pipes {
                passed.push(passed_unread(writer).await);
            }
            assert_eq!(passed, [BUFFERS, BUFFERS, 1]);
            drop(pipes);
            let (mut writer, _reader) = pipe(spare);
            assert_eq!(passed_unread(&mut writer).await, BUFFERS, "they are free");
        });
    }

    #[test]
    fn a_worker_that_wants_no_more_ends_the_passing() {
        run(async {
            let (mut writer, mut reader) = pipe(Spare::default());
            let passing = writer.pass(body(&[FULL, FULL], None));
            let taking = async {
                let first = reader.full.recv().await;
                drop(reader);
                first
            };
            let (end, first) = tokio::join!(passing, taking);
            assert!(end.is_ok() && matches!(first, Some(Message::Content(_))));
            writer.end(Ok(())).await;
        });
    }

    #[test]
    fn a_buffer_is_given_back_to_a_connection_that_is_gone() {
        let (writer, mut reader) = pipe(Spare::default());
        drop(writer);
        reader.give_back(vec![1; 10]);
        assert!(reader.read.is_closed() && reader.full.try_recv().is_err());
    }
}
