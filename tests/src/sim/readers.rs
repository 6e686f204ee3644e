//! Blobs that are read without a store while they arrive, in worlds where tasks do so.
//!
//! Responsible for drawing them, for their callers, who stop reading, go on later or drop the reader, and for judging
//! what a reader brings: the bytes of the blob in order, none of them fetched again without a reason, and an error at
//! the end of wrong ones. A reader that is not read must not keep others from their slots. The readers themselves are
//! the driver crate's, as are the stores they are for a session.
//!
//! ```text
//!   pieces of a body ─▶ BlobReader ─┬─ is read: the next piece
//!                                   ├─ is not read: its job is aside, without a slot ─▶ is read again, or dropped
//!                                   └─ is dropped: its task is cancelled
//! ```

use std::collections::BTreeSet;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::Value;
use windlass_core::call::{
    Call, Done, Interrupted, JobId, Keep, Receive, TransportError, TransportErrorKind,
};
use windlass_core::{
    Descriptor, Digest, Failure, Fetched, OpenedImage, Task, TaskId, TaskReport, transcript,
};
use windlass_driver::{BlobReader, CancelHandle, Incoming, ReaderEnd};
use windlass_testbed::{Answer, Ranges, Request};

use super::choose::Choose;
use super::exchange::{Delivery, RequestKind, begins, blame, head};
use super::fault::Fault;
use super::plan::{Operation, Picture, Plan, Planned, small};
use super::world::{JobState, Ran, Running, STORES, World};
use crate::world::scenes::reference;

/// What some registries send at once in these worlds: of the largest blob not too many pieces for a client.
const SHORT: u64 = 30_000;
/// How long a reader is not read before its driver says so.
const UNREAD: Duration = Duration::from_millis(200);

/// How a blob is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habit {
    /// Which of a picture's blobs it is.
    blob: usize,
    /// One of this many pieces that arrive is left unread for a while; 0: the caller always reads on.
    stops: u64,
    /// The caller drops it once this many bytes were read.
    drops_at: Option<u64>,
}

/// Draws what is different in a world with readers. The first task is one, or opens an image.
pub(crate) fn draw(choose: &mut dyn Choose, plan: &mut Plan) {
    let first = plan.tasks[0];
    let more = (0..choose.below(3)).map(|_| Planned {
        process: small(choose, plan.processes),
        registry: small(choose, 2),
        picture: small(choose, plan.pictures.len()),
        deadline: None,
        later: false,
        ..first
    });
    let more: Vec<Planned> = more.collect();
    // The drawn ones come last: what others do is not for the first places alone.
    let drawn = plan.tasks.len();
    plan.tasks.extend(more);
    for (at, task) in plan.tasks.iter_mut().enumerate() {
        if at > 0 && at < drawn && choose.below(2) == 0 {
            continue;
        }
        task.operation = match choose.below(5) {
            4 => Operation::Open,
            _ => Operation::Read,
        };
        (task.one, task.included, task.extra) = (false, false, Default::default());
        task.extra.habit = Habit {
            blob: small(choose, 4),
            stops: [0, 1, 2, 4][small(choose, 4)],
            drops_at: (choose.below(5) == 4).then(|| [0, 1, 400, 30_000][small(choose, 4)]),
        };
        if task.operation == Operation::Open {
            task.one = plan.pictures[task.picture].is_index();
        }
    }
    for (registry, setting) in plan.settings.iter_mut().enumerate() {
        // A chunk that is relayed to another registry would have to be asked for too often.
        let relays =
            |task: &Planned| task.operation == Operation::CopyBetween && task.registry == registry;
        if choose.below(4) == 3 && !plan.tasks.iter().any(relays) {
            setting.options.ranges = Ranges::Shortened(SHORT);
            setting.plain = false;
        }
    }
}

impl Picture {
    /// The blob that a task reads.
    pub(crate) fn read(&self, task: &Planned) -> (Digest, u64) {
        let lacks = self.lacks();
        let blobs = self.blobs(false).into_iter();
        let blobs: Vec<_> = blobs
            .filter(|(digest, _)| !lacks.contains(digest))
            .collect();
        // The configuration is always there.
        blobs[task.extra.habit.blob % blobs.len()].clone()
    }
}

/// A reader, its caller, and what was read.
pub(crate) struct Reading {
    /// Whose it is.
    at: usize,
    blob: Descriptor,
    expected: Vec<u8>,
    /// `None`: its caller has dropped it.
    reader: Option<BlobReader>,
    /// `None`: its task is over.
    end: Option<ReaderEnd>,
    read: Vec<u8>,
    /// How many bytes, from the first, have arrived for it.
    arrived: u64,
    /// A registry has answered a range with all of the blob, or not at all: it may begin again.
    may_restart: bool,
}

/// A body on its way to a reader.
pub(crate) struct Body {
    id: JobId,
    /// The place of its reader.
    place: usize,
    incoming: Incoming,
    delivery: Delivery,
    /// So much of it has arrived.
    at: usize,
    piece: usize,
    /// What a `Retrying` says if it breaks off.
    blame: String,
    /// It has given its slot to others.
    has_yielded: bool,
}

/// What the caller of a reader does with what has arrived.
enum Caller {
    Reads,
    Stops,
    Drops,
}

impl World<'_> {
    /// A task that reads a blob from its first byte.
    pub(crate) fn read_blob(&mut self, at: usize) -> Task {
        let task = self.plan.tasks[at];
        let picture = &self.plan.pictures[task.picture];
        let (digest, size) = picture.read(&task);
        let mut blobs = picture.images.iter().flat_map(|image| image.blobs());
        let expected = blobs.find(|bytes| digest.verifies(bytes));
        let expected = expected.expect("it is of this picture").to_vec();
        let blob = Descriptor::new("application/octet-stream", digest, size);
        let (reader, store, end) = BlobReader::new(&blob, &CancelHandle::new());
        let process = &mut self.processes[task.process];
        let id = process.stores.add(&store);
        process.readers.push(Reading {
            at,
            blob: blob.clone(),
            expected,
            reader: Some(reader),
            end: Some(end),
            read: Vec::new(),
            arrived: 0,
            may_restart: false,
        });
        let from = format!("reg{}.example/{}", task.registry, task.read());
        Task::fetch_blob(reference(&from), blob, id)
    }

    /// Whether this is how a task with a reader is written down.
    pub(crate) fn is_reader_of(&self, process: usize, at: usize, written: &Value) -> bool {
        let id = written["store"].as_u64();
        let place = id.and_then(|id| usize::try_from(id).ok()?.checked_sub(STORES));
        let readers = &self.processes[process].readers;
        place.is_some_and(|place| readers.get(place).is_some_and(|it| it.at == at))
    }

    /// A new process reads again what another one was reading. The places stay.
    pub(crate) fn read_anew(&mut self, tasks: &[usize]) {
        for at in tasks {
            self.read_blob(*at);
        }
    }

    /// The place of the reader that an exchange is for.
    pub(crate) fn reader_of(&self, process: usize, call: &Call) -> Option<usize> {
        let process = &self.processes[process];
        let task = process.session.task_of(call.id())?;
        let at = process.tasks.get(&task)?;
        process.readers.iter().rposition(|it| it.at == *at)
    }

    /// Nothing that has arrived is fetched again, unless it may be worth nothing; and nothing is left out.
    pub(crate) fn check_read_on(&mut self, process: usize, place: usize, request: &Request) {
        if RequestKind::of(request) != RequestKind::GetBlob {
            return;
        }
        let reading = &self.processes[process].readers[place];
        let (from, arrived) = (begins(request).unwrap_or(0), reading.arrived);
        let mut fired = Fault::ALL.into_iter();
        let is_spoiled = fired.any(|fault| {
            // What a lost worker has received is not known.
            let loses = fault.spoils() || fault == Fault::LostExchange;
            loses && self.fired[fault.place()] > 0
        });
        let is_again = from < arrived && !is_spoiled && !reading.may_restart;
        let digest = reading.blob.digest.clone();
        self.check(!is_again && from <= arrived, || {
            format!("readers: {digest} is asked for from {from} on, and {arrived} bytes were read")
        });
    }

    /// What a registry answers to a range decides whether a reader may begin again.
    pub(crate) fn watch_range(
        &mut self,
        process: usize,
        place: usize,
        request: &Request,
        answer: &Answer,
    ) {
        let is_whole = matches!(answer.status.as_u16(), 200 | 400 | 416 | 501);
        let reading = &mut self.processes[process].readers[place];
        reading.may_restart |= is_whole && begins(request).is_some();
    }

    /// The place of the reader that takes a body.
    fn taken_by(&self, process: usize, receive: &Receive) -> Option<usize> {
        let Receive::Store { store, .. } = receive else {
            return None;
        };
        let place = usize::try_from(store.0).ok()?.checked_sub(STORES)?;
        (place < self.processes[process].readers.len()).then_some(place)
    }

    /// Brings an answer to a reader. What it takes no bytes of is no different from others.
    pub(crate) fn bring(
        &mut self,
        process: usize,
        mut call: Box<Call>,
        (sort, delivery): (RequestKind, Delivery),
        unwanted: bool,
    ) -> Ran {
        let receive = call.head(head(&delivery.answer));
        let Some(place) = self.taken_by(process, &receive) else {
            return self.take_body(process, call, receive, sort, delivery);
        };
        // It is not on a disk.
        self.each_disk(|notes| notes.room = None);
        let (id, blame) = (call.id(), blame(&call));
        let incoming = Incoming::new(&self.processes[process].stores, call, receive);
        let len = delivery.kept.min(delivery.answer.body.len());
        let pieces = if self.plan.swarm.even {
            2
        } else {
            1 + small(&mut *self.choose, 4)
        };
        let body = Body {
            id,
            place,
            incoming,
            delivery,
            at: 0,
            piece: len.div_ceil(pieces).max(1),
            blame,
            has_yielded: false,
        };
        self.pass_to_reader(process, body, unwanted)
    }

    /// The caller reads again. The registry may have closed the connection meanwhile.
    pub(crate) fn pass_on_to_reader(
        &mut self,
        process: usize,
        mut body: Body,
        unwanted: bool,
    ) -> Ran {
        self.read_all(process, body.place);
        let is_whole = body.at >= body.delivery.answer.body.len();
        if !is_whole && !unwanted && self.occasion(&[Fault::Cut]).is_some() {
            self.credits.push(body.blame.clone());
            // More had come when it broke off at first.
            self.economy.cut = None;
            let error = TransportError::new(TransportErrorKind::Reset, "planned");
            body.delivery.breaks(body.at, error);
            (body.delivery.lost, body.delivery.crash) = (false, false);
        }
        self.pass_to_reader(process, body, unwanted)
    }

    /// Passes the rest of a body to its reader, piece by piece, as long as that is read.
    fn pass_to_reader(&mut self, process: usize, mut body: Body, unwanted: bool) -> Ran {
        let id = self.processes[process].readers[body.place].at;
        let habit = self.plan.tasks[id].extra.habit;
        let bytes = body.delivery.answer.body.clone();
        let bytes = &bytes[..body.delivery.kept.min(bytes.len())];
        let mut stopped = false;
        while body.at < bytes.len() {
            let end = bytes.len().min(body.at + body.piece);
            let chunk = &bytes[body.at..end];
            if !body.incoming.wants_body() || body.incoming.chunk(chunk) != Keep::All {
                stopped = true;
                break;
            }
            body.at = end;
            let position = body.incoming.position();
            let reading = &mut self.processes[process].readers[body.place];
            reading.arrived = reading.arrived.max(position);
            match self.caller(process, body.place, habit, unwanted) {
                Caller::Reads => self.read_all(process, body.place),
                Caller::Drops => self.drop_reader(process, body.place),
                Caller::Stops => return Ran::Unread(Box::new(body)),
            }
        }
        if body.delivery.crash {
            return Ran::Crashed;
        }
        if body.delivery.lost {
            return Ran::Done(Done::lost(body.id));
        }
        let end = if stopped { Ok(()) } else { body.delivery.end };
        Ran::Done(body.incoming.finish(end))
    }

    fn caller(&mut self, process: usize, place: usize, habit: Habit, unwanted: bool) -> Caller {
        let reading = &self.processes[process].readers[place];
        if reading.reader.is_none() || unwanted {
            return Caller::Reads;
        }
        let is_enough = habit.drops_at.is_some_and(|at| reading.arrived >= at);
        if is_enough && !self.calm {
            return Caller::Drops;
        }
        if habit.stops > 0 && self.choose.below(habit.stops) == habit.stops - 1 {
            return Caller::Stops;
        }
        Caller::Reads
    }

    /// The body of a reader that is not read waits, without a slot.
    pub(crate) fn put_aside(&mut self, process: usize, mut running: Running) {
        let id = running.id;
        self.now += UNREAD;
        let has_yielded = self.call(process, |session| session.yield_slot(id));
        let JobState::Unread(body) = &mut running.work else {
            return self.violate(format!("jobs: {id} is no body that is read"));
        };
        let is_first = !std::mem::replace(&mut body.has_yielded, true);
        if has_yielded {
            running.slots.clear();
            self.line(transcript::yielded(id));
        }
        self.check(has_yielded == is_first, || {
            format!("slots: {id} is not read for the first time: {is_first}, and gives a slot: {has_yielded}")
        });
        self.processes[process].unread.push(running);
    }

    /// A job that is not aside any more, if it was.
    pub(crate) fn take_up(&mut self, process: usize, id: JobId) {
        let Some(process) = self.processes.get_mut(process) else {
            return;
        };
        if let Some(at) = process.unread.iter().position(|it| it.id == id) {
            let running = process.unread.remove(at);
            process.running.push(running);
        }
    }

    /// Perhaps one of the readers that are not read is read again or dropped: the last resort if nothing else can
    /// happen. Whether one was.
    pub(crate) fn reads_again(&mut self, nothing_else: bool) -> bool {
        let aside = self.processes.iter().enumerate();
        let aside = aside.flat_map(|(at, process)| {
            let jobs = process.unread.iter();
            jobs.map(move |running| (at, running.id))
        });
        let aside: Vec<(usize, JobId)> = aside.collect();
        if aside.is_empty() {
            return false;
        }
        if nothing_else {
            self.check_starved();
        } else if self.choose.below(8) != 7 {
            return false;
        }
        let (process, id) = aside[small(&mut *self.choose, aside.len())];
        self.line(format!("~ {id} is read again"));
        self.take_up(process, id);
        if !self.calm && self.choose.below(6) == 5 {
            let running = self.processes[process].running.last();
            let place = running.and_then(|it| match &it.work {
                JobState::Unread(body) => Some(body.place),
                JobState::ToDo(_) | JobState::Done(_) => None,
            });
            place
                .into_iter()
                .for_each(|place| self.drop_reader(process, place));
        }
        true
    }

    /// Nothing can happen any more unless a reader is read: then all that waits, waits for readers.
    fn check_starved(&mut self) {
        // A transfer for which no descriptor was left waits for another one to be over.
        if self.fired[Fault::StepFails.place()] > 0 {
            return;
        }
        let mut starved = Vec::new();
        for process in &self.processes {
            let unread = process.unread.iter();
            let read: BTreeSet<TaskId> = unread
                .filter_map(|it| process.session.task_of(it.id))
                .collect();
            let waiting = process.tasks.keys().filter(|id| !read.contains(id));
            starved.extend(waiting.copied());
        }
        self.check(starved.is_empty(), || {
            format!("slots: {starved:?} wait for readers that are not read")
        });
    }

    /// The caller takes what there is.
    fn read_all(&mut self, process: usize, place: usize) {
        let reading = &mut self.processes[process].readers[place];
        let _more_to_come = reading.take();
        let (at, mut wrong) = (reading.at, None);
        let in_order = reading.expected.starts_with(&reading.read);
        if reading.read.len() > reading.expected.len() {
            wrong = Some("more than the blob");
        } else if !in_order {
            wrong = Some("other bytes");
        }
        let garbles = [
            Fault::Garbled,
            Fault::Extra,
            Fault::Arbitrary,
            Fault::Bloated,
            Fault::RedirectForeign,
            Fault::EchoHeader,
        ];
        let garbles = garbles.iter().any(|it| self.fired[it.place()] > 0);
        if let Some(wrong) = wrong.filter(|_| !garbles) {
            self.violate(format!("readers: task {at} reads {wrong}"));
        }
    }

    fn drop_reader(&mut self, process: usize, place: usize) {
        let reading = &mut self.processes[process].readers[place];
        if reading.reader.take().is_none() {
            return;
        }
        let at = reading.at;
        self.lines
            .push(format!("~ the reader of task {at} is dropped"));
        let tasks = &self.processes[process].tasks;
        let id = tasks
            .iter()
            .find(|(_, task)| **task == at)
            .map(|(id, _)| *id);
        if let Some(id) = id {
            self.line(format!("{id} cancel"));
            self.call(process, |session| session.cancel(id));
        }
    }

    /// A worker that dies behind the last byte of a blob takes along the hash over what its caller has read, and a
    /// reader cannot read again: the read ends with an error.
    pub(crate) fn may_lose_reading(&self, task: &Planned) -> bool {
        let lost = self.fired[Fault::LostExchange.place()] > 0;
        task.operation == Operation::Read && lost && !self.calm
    }

    /// Whether a task failed because its reader was dropped.
    pub(crate) fn was_dropped(&self, at: usize) -> bool {
        let process = &self.processes[self.plan.tasks[at].process];
        let last = process.readers.iter().rev().find(|it| it.at == at);
        last.is_some_and(|it| it.reader.is_none())
    }

    /// The task of a reader is over: its caller reads to the end. Only the blob ends well, and a bad end stays one.
    pub(crate) fn check_reader(
        &mut self,
        process: usize,
        at: usize,
        result: &Result<TaskReport, Failure>,
    ) {
        let readers = &mut self.processes[process].readers;
        let place = readers.iter().rposition(|it| it.at == at);
        let Some(place) = place.filter(|_| self.plan.tasks[at].operation == Operation::Read) else {
            return;
        };
        let reading = &mut readers[place];
        let fetched = match result.clone() {
            Ok(report) => report.fetched().map(Ok),
            Err(failure) => Some(Err(failure)),
        };
        if let (Some(end), Some(fetched)) = (reading.end.take(), fetched) {
            end.finish(fetched);
        }
        if reading.reader.is_none() {
            return;
        }
        let (end, again) = (reading.take(), reading.take());
        let is_it = reading.read == reading.expected;
        self.read_all(process, place);
        let well = match (&end, &again) {
            (Some(Ok(())), Some(Ok(()))) => true,
            (Some(Err(first)), Some(Err(second))) if first.to_string() == second.to_string() => {
                self.check_text(&format!("{first} {first:?}"));
                false
            }
            _ => {
                let what = format!("readers: task {at} ends with {end:?}, then {again:?}");
                return self.violate(what);
            }
        };
        self.check(!well || (is_it && result.is_ok()), || {
            format!("readers: task {at} comes to a good end, whose blob is not: {result:?}")
        });
        self.check(well || result.is_err() || !is_it, || {
            format!("readers: task {at} has read all of its blob, and fails: {end:?}")
        });
        let calm = (self.calm && !self.lenient) || self.total() == 0 || self.passes();
        self.check(well || !calm || result.is_err(), || {
            format!(
                "liveness: nothing stands in its way, but the reader of task {at} ends with {end:?}"
            )
        });
    }

    /// A report says what was fetched.
    pub(crate) fn check_fetched(&self, task: &Planned, report: &Fetched) -> bool {
        let (digest, size) = self.plan.pictures[task.picture].read(task);
        report.blob.digest == digest && report.blob.size == size && report.bytes >= size
    }

    /// An image that was opened has the configuration that its manifest names, and is the right one.
    pub(crate) fn check_opened(&self, task: &Planned, image: &OpenedImage, is_true: bool) -> bool {
        let config = image.config_descriptor();
        let is_whole = config.digest.verifies(image.config_bytes());
        let expected = self.plan.pictures[task.picture].root(true);
        is_whole && (!is_true || *image.digest() == expected)
    }
}

impl Body {
    /// The job is aborted.
    pub(crate) fn abort(self) -> Done {
        self.incoming.finish(Err(Interrupted::Aborted))
    }
}

impl Reading {
    /// The task that it is for.
    pub(crate) const fn task(&self) -> usize {
        self.at
    }

    /// Reads what is there. `None`: more is to come; otherwise the end.
    fn take(&mut self) -> Option<Result<(), Failure>> {
        let reader = self.reader.as_mut()?;
        let context = Context::from_waker(Waker::noop());
        loop {
            match reader.poll_chunk(&context) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Some(chunk))) => self.read.extend(chunk),
                Poll::Ready(Ok(None)) => return Some(Ok(())),
                Poll::Ready(Err(failure)) => return Some(Err(failure)),
            }
        }
    }
}
