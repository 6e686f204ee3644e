//! Streams that are put while they are read, in worlds where tasks do so.
//!
//! Responsible for drawing them, for the reader of each, and for judging how much of one is held, what its task
//! reports and what the registry has in the end. Must not make anything go wrong.

use std::io::{self, Read};

use serde_json::Value;
use windlass_core::{BlobDelivery, BlobPut, StoreCall, StoreOp, Task, Time};
use windlass_driver::{BlobStream, RequestSpec};
use windlass_testbed::{BlobHeads, Stale, UploadRange, image_for};

use super::choose::Choose;
use super::fault::Fault;
use super::plan::{Operation, PLATFORMS, Picture, Plan, Planned, small};
use super::settings::setting;
use super::world::{STORES, World};
use crate::world::scenes::{digest, reference};

/// The size of a chunk where chunks are sent at all.
pub(crate) const CHUNK: u64 = 64 * 1024;

/// The contents of streams: around the end of a chunk, and of several.
const SIZES: [usize; 12] = [
    5, 65_536, 65_537, 140_000, 131_072, 200_000, 0, 65_535, 1, 150_001, 270_000, 196_608,
];

/// How many bytes a reader gives at once, at the most.
const PIECES: [usize; 4] = [usize::MAX, 1000, 65_536, 70_001];

/// What is streamed where that is not drawn.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

/// Draws what is different in a world with streams. The first task puts one.
pub(crate) fn draw(choose: &mut dyn Choose, plan: &mut Plan) {
    for picture in &mut plan.pictures {
        let streamed = content(SIZES[small(choose, SIZES.len())]);
        *picture = Picture::new(vec![image_for(PLATFORMS[0], &[streamed])], None);
    }
    plan.settings = [0, 1].map(|registry| setting(choose, registry, true));
    for setting in &mut plan.settings {
        // Of a stream no byte can be sent again that was acknowledged: it ends at a registry that takes no chunks.
        let uploads = &mut setting.options.uploads;
        (uploads.several_chunks, uploads.whole_chunks) = (true, true);
        uploads.untold_least_chunk = None;
        if choose.below(4) == 3 {
            setting.options.uploads.range = UploadRange::FirstChunk;
            setting.plain = false;
        }
    }
    plan.chunk_size = (choose.below(8) < 7).then_some(CHUNK);
    for (at, task) in plan.tasks.iter_mut().enumerate() {
        (task.one, task.included) = (false, false);
        if at == 0 || choose.below(2) == 1 {
            task.operation = Operation::Stream;
            task.extra.piece = PIECES[small(choose, PIECES.len())];
        }
    }
}

/// Gives this many bytes at once, at the most.
struct Pieces {
    bytes: io::Cursor<Vec<u8>>,
    most: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.most.max(1));
        self.bytes.read(&mut buffer[..most])
    }
}

/// What another process was reading.
struct Gone;

impl Read for Gone {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("its process is no more"))
    }
}

impl World<'_> {
    /// A task that puts a stream from its first byte. Its store is known as long as its process lives.
    pub(crate) fn put_stream(&mut self, at: usize, task: &Planned) -> Task {
        let bytes = self.plan.pictures[task.picture].streamed().to_vec();
        let to = format!("reg{}.example/{}", task.registry, task.written());
        let pieces = Pieces {
            bytes: io::Cursor::new(bytes),
            most: task.extra.piece,
        };
        let spec = RequestSpec::put_stream(&reference(&to), BlobStream::new(pieces));
        let process = &mut self.processes[task.process];
        let asked = spec.task(&process.stores, Time::ZERO);
        let (asked, guard) = asked.expect("nothing is read yet");
        process.streams.push((at, guard));
        asked
    }

    /// Whether this is how a task with a stream is written down.
    pub(crate) fn is_stream_of(&self, process: usize, at: usize, written: &Value) -> bool {
        let streams = &self.processes[process].streams;
        let id = written["id"]
            .as_u64()
            .and_then(|id| usize::try_from(id).ok());
        let place = id.and_then(|id| id.checked_sub(STORES));
        place.is_some_and(|place| streams.get(place).is_some_and(|stream| stream.0 == at))
    }

    /// A new process has none of the streams that another one was reading. Their places stay.
    pub(crate) fn lose_streams(&mut self, process: usize, tasks: &[usize]) {
        let process = &mut self.processes[process];
        let name = reference("gone.example/a");
        for at in tasks {
            let spec = RequestSpec::put_stream(&name, BlobStream::new(Gone));
            let lost = spec.task(&process.stores, Time::ZERO);
            let (_, guard) = lost.expect("nothing is read yet");
            process.streams.push((*at, guard));
        }
    }

    /// A stream is read on: no more of it is held than the chunk that is sent next, unless all of it has to be
    /// gathered first.
    pub(crate) fn check_gathered(&mut self, call: &StoreCall) {
        let &StoreOp::Gather {
            from,
            upto: Some(upto),
        } = call.op()
        else {
            return;
        };
        let Some(chunk) = self.plan.chunk_size else {
            return;
        };
        let models = self.models.iter();
        let least = models.filter_map(|model| model.options().uploads.chunk_min_length);
        let least = least.max().unwrap_or(0);
        // The rest of a chunk that was taken in part may be too small for a request of its own. What was taken is
        // hashed again, from memory: a request that broke off brings back hashes 4 MiB apart, which no chunk here has.
        let broken = self.total();
        let most = (1 + broken) * chunk.max(least) + least;
        self.check(upto.saturating_sub(from) <= most, || {
            format!("memory: a stream is held from {from} to {upto}, {most} bytes allowed")
        });
    }

    /// A report tells the digest and size of all that was read, whatever went wrong.
    pub(crate) fn check_streamed(&self, task: &Planned, report: &BlobPut) -> bool {
        let streamed = self.plan.pictures[task.picture].streamed();
        let is_it = report.digest == digest(streamed) && report.size == streamed.len() as u64;
        // A session that was told so believes that a blob is there, which no manifest disproves.
        let is_true = self.total() == 0 || self.fresh || self.has_confirmed(task, report);
        is_it && (!is_true || self.has_streamed(task))
    }

    /// What came in several parts is asked for in the end, with a HEAD. Nothing went wrong that it can be about.
    fn has_confirmed(&self, task: &Planned, report: &BlobPut) -> bool {
        let options = self.models[task.registry].options();
        let largest = self.plan.chunk_size.max(options.uploads.chunk_min_length);
        let in_parts = largest.is_some_and(|chunk| report.size > 2 * chunk);
        let harmless = [
            Fault::Broken,
            Fault::Rewound,
            Fault::LostSession,
            Fault::Crash,
            Fault::Cancelled,
            Fault::StepFails,
            Fault::Duplicate,
        ];
        let fired = harmless.map(|fault| u64::from(self.fired[fault.place()]));
        in_parts
            && matches!(report.how, BlobDelivery::Sent(_))
            && options.blob_heads == BlobHeads::Answered
            && fired.iter().sum::<u64>() == self.total()
    }

    /// What is read of a stream is read once: what its registry has lost, or the process, ends its task.
    pub(crate) fn may_lose_stream(&self, task: &Planned) -> bool {
        let lose = [
            Fault::LostSession,
            Fault::Forgets,
            Fault::Crash,
            Fault::CrashInBody,
        ];
        // How much arrived of a chunk that broke off is not to be known where the `Range` is another one, where a
        // session is not found by the `Location` before, or has expired.
        let options = self.models[task.registry].options();
        let uploads = &options.uploads;
        let is_found = uploads.stale == Stale::OutOfRange && uploads.life.is_none();
        // Nor whether a PUT without a response closed an upload, where HEADs are refused.
        let tells = options.blob_heads == BlobHeads::Answered;
        let is_known = uploads.range == UploadRange::Correct && is_found && tells;
        let hides = !is_known && self.total() > 0;
        let is_lost = hides || lose.iter().any(|fault| self.fired[fault.place()] > 0);
        task.operation == Operation::Stream && is_lost && !self.calm
    }

    /// In the end the registry has it.
    pub(crate) fn check_stream(&mut self, at: usize, task: &Planned) {
        let good = self.has_streamed(task);
        self.check(good, || {
            format!("names: task {at} is good, but its stream is not in the repository")
        });
    }

    fn has_streamed(&self, task: &Planned) -> bool {
        let (model, streamed) = (
            &self.models[task.registry],
            self.plan.pictures[task.picture].streamed(),
        );
        let name = windlass_testbed::Digest::sha256(streamed);
        // That a blob was vouched for in vain is not known as long as no manifest names it.
        let there = model.blob_bytes(task.written(), &name);
        model.options().vouches || there.is_some_and(|there| **there == *streamed)
    }
}
