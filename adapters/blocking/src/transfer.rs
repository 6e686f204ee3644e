//! One job: a call, a step in a store, or a question for credentials.
//!
//! Responsible for carrying bytes between connection and store, and for telling how far they got.
//! Must not know when jobs run.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use http::Response;
use windlass_core::call::{Body, Interrupted, Keep, Payload};
use windlass_core::{Call, Done, Job};
use windlass_driver::{BodyOutcome, Incoming, OutgoingReader, Progress, Resources, accepted_early};

use crate::control::Control;
use crate::exchange::{Content, Exchanges, Inflow, Upload, read_interrupted};

/// What one read of a body takes at most: as much as a connection has read.
pub(crate) const BUFFER: usize = 64 * 1024;

/// A blob of which at least this much is to come is worth a second thread: starting one takes as
/// long as hashing some tens of KiB.
const WORTH_OVERLAPPING: u64 = 8 * 1024 * 1024;

/// Buffers between the thread that reads and the thread that hashes and writes, and their size:
/// half a MiB for each of the few transfers that overlap.
const OVERLAP_BUFFERS: usize = 4;
const OVERLAP_BUFFER: usize = 128 * 1024;

/// How long a buffer waits to be full: a slow link is to be seen moving, and what has arrived is to
/// be there after a crash.
const FILLING: Duration = Duration::from_millis(100);

/// What jobs need of a client.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) exchanges: Exchanges,
    pub(crate) resources: Resources,
    /// Threads that move a blob's bytes.
    pub(crate) moving: AtomicUsize,
    pub(crate) parallelism: usize,
}

impl Context {
    /// Runs a job to its end.
    pub(crate) fn run(&self, job: Job, control: &Arc<Control>) -> Done {
        let done = match job {
            Job::Http(call) => self.exchange(call, control),
            Job::Relay(relay) => self.relay(*relay, control),
            step @ (Job::Store(_) | Job::Credentials(_)) => self.resources.step(step),
        };
        if done.lacks_descriptor_for_body() {
            self.exchanges.close_idle();
        }
        done
    }

    fn exchange(&self, mut call: Box<Call>, control: &Arc<Control>) -> Done {
        let _entered = control.enter();
        if let Err(error) = self.resources.stores.check(call.stored()) {
            return call.finish(Err(Interrupted::Store(error)));
        }
        let proxy = self.resources.proxy(call.origin());
        if let Some(proxy) = &proxy {
            call.through_proxy(&proxy.url);
        }
        let mut body = match Stored::open(self, &call, control) {
            Ok(body) => body,
            Err(why) => return call.finish(Err(why)),
        };
        let result = {
            let upload = body.as_mut().map(|stored| {
                let len = stored.body.len;
                Upload::new(stored, len, control)
            });
            self.exchanges
                .send(call.request(), upload, proxy.as_ref(), control)
        };
        let outcome = body.map(Stored::end);
        if let Some(outgoing) = outcome.as_ref().and_then(BodyOutcome::outgoing) {
            call.sent(outgoing);
        }
        let response = match result {
            Ok(response) => response,
            Err(Interrupted::Aborted) => return call.finish(Err(Interrupted::Aborted)),
            Err(why) => {
                let failure = outcome.and_then(|outcome| outcome.failure());
                return call.finish(Err(failure.unwrap_or(why)));
            }
        };
        if control.has_peer_stopped_reading() && response.status().is_success() {
            return call.finish(Err(Interrupted::Transport(accepted_early())));
        }
        let progress = Progress::new(&self.resources.progress, &call);
        self.receive(call, response, progress, control)
    }

    pub(crate) fn receive(
        &self,
        mut call: Box<Call>,
        response: Response<Inflow>,
        progress: Progress,
        control: &Arc<Control>,
    ) -> Done {
        let expected = call.expects_bytes();
        let (head, body) = response.into_parts();
        let receive = call.head(Response::from_parts(head, ()));
        let incoming = Incoming::new(&self.resources.stores, call, receive);
        if !incoming.wants_body() {
            return incoming.finish(Ok(()));
        }
        let Some(expected) = expected else {
            let (incoming, end) = straight(body, incoming, progress, control);
            return incoming.finish(end);
        };
        let others = self.moving.fetch_add(1, Relaxed);
        let _moving = Moving(&self.moving);
        let overlaps = expected >= WORTH_OVERLAPPING && others < self.parallelism;
        let (incoming, end) = if overlaps {
            overlapped(body, incoming, progress, control)
        } else {
            straight(body, incoming, progress, control)
        };
        incoming.finish(end)
    }
}

/// A stored blob on its way out, with what watches it.
struct Stored<'a> {
    context: &'a Context,
    call: &'a Call,
    body: &'a Body,
    control: &'a Control,
    reader: OutgoingReader,
    progress: Progress,
}

impl<'a> Stored<'a> {
    /// The call's body, if it is a stored blob.
    fn open(
        context: &'a Context,
        call: &'a Call,
        control: &'a Control,
    ) -> Result<Option<Self>, Interrupted> {
        let Payload::Body(body) = call.request().body() else {
            return Ok(None);
        };
        Ok(Some(Self {
            context,
            call,
            body,
            control,
            reader: read_stored(context, call, body, control)?,
            progress: Progress::new(&context.resources.progress, call),
        }))
    }

    /// What came of it. Its meter is there once this is gone.
    fn end(mut self) -> BodyOutcome {
        self.progress.end();
        self.reader.outcome()
    }
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.progress.add(read as u64);
        Ok(read)
    }
}

impl Content for Stored<'_> {
    fn rewind(&mut self) -> Result<(), Interrupted> {
        if let Some(why) = self.reader.outcome().failure() {
            return Err(why);
        }
        self.reader = read_stored(self.context, self.call, self.body, self.control)?;
        self.progress.restart(self.call.starts_at());
        Ok(())
    }
}

/// A reader that is about to give out the first byte that is sent.
fn read_stored(
    context: &Context,
    call: &Call,
    body: &Body,
    control: &Control,
) -> Result<OutgoingReader, Interrupted> {
    let mut reader = context.resources.stores.body(body, call.outgoing())?;
    reader.catch_up(|| control.is_stopped())?;
    Ok(reader)
}

/// One transfer less when it is dropped.
struct Moving<'a>(&'a AtomicUsize);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(crate) type Ended = Result<(), Interrupted>;

/// Reads, hashes and writes in turn.
pub(crate) fn straight(
    mut body: impl Read,
    mut incoming: Incoming,
    mut progress: Progress,
    control: &Control,
) -> (Incoming, Ended) {
    let mut buffer = vec![0; BUFFER];
    let end = loop {
        match read(&mut body, &mut buffer, control) {
            Ok(0) => break Ok(()),
            Ok(read) if incoming.chunk(&buffer[..read]) == Keep::Stop => break Ok(()),
            Ok(_) => progress.at(incoming.position()),
            Err(why) => break Err(why),
        }
    };
    progress.end();
    (incoming, end)
}

/// Reads on this thread, hashes and writes on another.
fn overlapped(
    body: impl Read,
    mut incoming: Incoming,
    mut progress: Progress,
    control: &Control,
) -> (Incoming, Ended) {
    let (full, filled) = sync_channel::<(Vec<u8>, usize)>(OVERLAP_BUFFERS);
    let (empty, emptied) = sync_channel(OVERLAP_BUFFERS);
    for _ in 0..OVERLAP_BUFFERS {
        drop(empty.send(vec![0; OVERLAP_BUFFER]));
    }
    thread::scope(|scope| {
        let keeper = scope.spawn(move || {
            for (buffer, len) in filled {
                if incoming.chunk(&buffer[..len]) == Keep::Stop {
                    break;
                }
                progress.at(incoming.position());
                // The reader may be through.
                drop(empty.send(buffer));
            }
            progress.end();
            incoming
        });
        let end = fill(body, &full, &emptied, control);
        drop(full);
        let incoming = keeper.join().unwrap_or_else(|panic| resume_unwind(panic));
        (incoming, end)
    })
}

/// Fills empty buffers with the body, until it ends or no more is wanted.
fn fill(
    mut body: impl Read,
    full: &SyncSender<(Vec<u8>, usize)>,
    emptied: &Receiver<Vec<u8>>,
    control: &Control,
) -> Ended {
    while let Ok(mut buffer) = emptied.recv() {
        let mut len = 0;
        let mut end = None;
        let begun = Instant::now();
        while end.is_none() && len < buffer.len() && (len == 0 || begun.elapsed() < FILLING) {
            match read(&mut body, &mut buffer[len..], control) {
                Ok(0) => end = Some(Ok(())),
                Ok(read) => len += read,
                Err(why) => end = Some(Err(why)),
            }
        }
        let unwanted = full.send((buffer, len)).is_err();
        if let Some(end) = end {
            return end;
        }
        if unwanted {
            break;
        }
    }
    Ok(())
}

pub(crate) fn read(
    body: &mut impl Read,
    buffer: &mut [u8],
    control: &Control,
) -> Result<usize, Interrupted> {
    loop {
        if control.is_stopped() {
            return Err(Interrupted::Aborted);
        }
        match body.read(buffer) {
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_interrupted(&error, control)),
        }
    }
}
