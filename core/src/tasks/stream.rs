//! Putting a stream: a blob whose digest and size are known at its end.
//!
//! ```text
//!                   ┌────────────── sent so far ◀──────────────┐
//!                   ▼                                          │
//!  begin ─▶ gathering a chunk ─┬─ and there is more ─▶ sending ┼─ no parts taken ─▶ gathering all
//!                              │                               └─ all was sent ─▶ over     │
//!                              └─ that is all, and nothing was sent ─▶ wanted ◀────────────┘
//!                                                                        └─▶ over
//! ```
//!
//! Responsible for how much of the stream is gathered at once, and for an upload that is open meanwhile. What
//! ends within one chunk, and what has to be gathered to its end, is a blob of a store like any other. Must not
//! know how parts are sent (`op::blob_put`) nor how blobs move (`blobs`).

use alloc::boxed::Box;
use alloc::format;

use crate::blobs::{BlobKey, BlobSource, Waiter};
use crate::config::ChunkSizes;
use crate::digest::Digest;
use crate::error::Error;
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::op::{BlobPut, OpOutcome, Operation, Site};
use crate::scope::Scopes;
use crate::store::{StoreAnswer, StoreError, StoreErrorKind, StoreOp};
use crate::task::{BlobDelivery, BlobPut as Report, StreamTask, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::tasks::machine::{TaskMachine, unexpected};
use crate::totals::Delivery;
use crate::uri::Url;

/// The largest chunk that is held in memory because a registry asks for it.
const LARGEST_CHUNK: u64 = 64 << 20;

const NODE: NodeId = NodeId(0);

/// A stream that is being put.
#[derive(Debug)]
pub(crate) struct StreamState {
    site: Site,
    task: StreamTask,
    phase: StreamPhase,
    /// The end of what is being gathered.
    upto: Option<u64>,
    /// The digest and size of what was gathered so far.
    gathered: Option<(Digest, u64)>,
}

#[derive(Debug)]
enum StreamPhase {
    /// Reading on. An upload may be open, which goes on after that.
    Gathering(Option<Box<BlobPut>>),
    /// In an exchange, or as a blob that is wanted.
    Sending,
}

impl StreamState {
    pub(super) fn new(task: StreamTask, exchanges: &Exchanges) -> Self {
        Self {
            site: exchanges.destination(&task.repository),
            task,
            phase: StreamPhase::Gathering(None),
            upto: None,
            gathered: None,
        }
    }
}

impl TaskMachine for StreamState {
    fn requested(&self) -> TaskKind {
        TaskKind::Stream(self.task.clone())
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().destination(&self.task.repository)?;
        // What is no longer than a chunk goes in one request, also where no chunks are taken.
        let first = ports.config().first_stream_chunk(&self.site.registry);
        let chunk = ports.stream_chunk(&self.site).unwrap_or(first);
        self.gather(0, Some(chunk), ports);
        Ok(())
    }

    /// Takes what was gathered.
    fn step_ended(
        &mut self,
        _node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let answer = answer.map_err(Error::Store)?;
        let StoreAnswer::Gathered {
            digest,
            size,
            is_whole,
        } = answer
        else {
            return Err(Error::internal("a stream was not gathered"));
        };
        self.check_gathered(&digest, size, is_whole)?;
        self.gathered = Some((digest.clone(), size));
        let phase = core::mem::replace(&mut self.phase, StreamPhase::Sending);
        let StreamPhase::Gathering(upload) = phase else {
            return Err(Error::internal("a stream was gathered twice"));
        };
        match upload {
            Some(mut op) => {
                op.go_on((digest, size), is_whole);
                self.send(op, ports);
            }
            None if is_whole => self.want(digest, size, ports),
            None => match ports.stream_chunk(&self.site) {
                Some(chunk) => {
                    let (site, from) = (self.site.clone(), self.task.store);
                    let transfer = ports.new_transfer();
                    let kind = ports.config().kind(&site.registry);
                    let chunks = kind.map_or(ChunkSizes::ANY, |kind| kind.habits().chunks);
                    let source = (from, transfer);
                    let op = BlobPut::of_stream(site, source, (digest, size), (chunk, chunks));
                    self.send(op.into(), ports);
                }
                None => self.gather_all(ports),
            },
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    fn exchange_done(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match outcome {
            OpOutcome::SentSoFar(op) => {
                let least = op.least_chunk();
                if least > LARGEST_CHUNK && op.position == 0 {
                    let unused = op.open_session().cloned();
                    if let Some(session) = unused {
                        ports.delete_upload(self.site.clone(), session);
                    }
                    self.gather_all(ports);
                    return Ok(());
                }
                let chunk = op.chunk.max(least);
                let upto = op.position.saturating_add(chunk);
                let from = op.needed_from();
                self.phase = StreamPhase::Gathering(Some(op));
                self.gather(from, Some(upto), ports);
                Ok(())
            }
            OpOutcome::TakesNoParts { .. } => {
                self.gather_all(ports);
                Ok(())
            }
            OpOutcome::Sent { bytes } => self.finish(BlobDelivery::Sent(bytes), ports),
            OpOutcome::Present { .. } => self.finish(BlobDelivery::Present, ports),
            _ => Err(unexpected("the upload of a stream")),
        }
    }

    fn blob_done(&mut self, delivery: Delivery, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.finish(delivery.into(), ports)
    }

    fn take_session(&mut self) -> Option<(Site, Url)> {
        let StreamPhase::Gathering(upload) = &mut self.phase else {
            return None;
        };
        let session = upload.take()?.open_session()?.clone();
        Some((self.site.clone(), session))
    }
}

impl StreamState {
    /// A store that answers otherwise would be asked again and again, or have bytes taken for others.
    fn check_gathered(&self, digest: &Digest, size: u64, is_whole: bool) -> Result<(), Error> {
        let before = self.gathered.as_ref().map_or(0, |(_, size)| *size);
        let is_enough = is_whole || self.upto.is_some_and(|upto| size >= upto);
        if size < before || !is_enough {
            let what = format!("{size} bytes of a stream were gathered, fewer than asked for");
            return Err(Error::Store(StoreError::new(StoreErrorKind::Io, what)));
        }
        match self.task.repository.digest() {
            Some(named) if is_whole && named != digest => {
                let what = format!("the stream for `{}`", self.task.repository);
                Err(Error::mismatch(what, named, digest))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn gather(&mut self, from: u64, upto: Option<u64>, ports: &mut TaskPorts<'_>) {
        self.upto = upto;
        ports.store(NODE, self.task.store, StoreOp::Gather { from, upto });
    }

    /// Reads the stream to its end, which tells its digest and size.
    fn gather_all(&mut self, ports: &mut TaskPorts<'_>) {
        self.phase = StreamPhase::Gathering(None);
        self.gather(0, None, ports);
    }

    fn send(&self, op: Box<BlobPut>, ports: &mut TaskPorts<'_>) {
        let scopes = Scopes::push(&self.site.repository);
        ports.exchange(NODE, self.site.clone(), Operation::BlobPut(*op), scopes);
    }

    fn want(&self, digest: Digest, size: u64, ports: &mut TaskPorts<'_>) {
        let source = BlobSource::Store(self.task.store);
        let waiter = Waiter {
            is_named: false,
            ..ports.waiter(source, size, Scopes::push(&self.site.repository))
        };
        ports.want(BlobKey::Repository(self.site.clone(), digest), waiter);
    }

    fn finish(&self, how: BlobDelivery, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let gathered = self.gathered.clone();
        let (digest, size) = gathered.ok_or_else(|| Error::internal("nothing was gathered"))?;
        ports.finish(TaskReport::BlobPut(Report { digest, size, how }));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
