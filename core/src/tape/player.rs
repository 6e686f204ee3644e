//! The player: a session that is told what a tape says.
//!
//! Responsible for telling a session nothing that could not have happened: the end of a job must be
//! one of a job that is outside, and of its sort. Must not know where lines come from.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};

use super::line::{Header, Line, Out};
use crate::call::{Call, Done, Exchanged, Expect, Flaw, Job, JobId, JobResult, Payload, Received};
use crate::checkpoint::Checkpoint;
use crate::config::Concurrency;
use crate::digest::Algorithm;
use crate::hashing::Hashing;
use crate::session::{Output, Session};
use crate::task::TaskId;
use crate::time::Time;
use crate::transcript;

/// A session, and the jobs that are outside for it.
#[derive(Debug)]
pub(super) struct Player {
    session: Session,
    outside: BTreeMap<JobId, Job>,
}

impl Player {
    /// A player for the session of this header.
    pub(super) fn new(header: Header) -> Result<Self, String> {
        let mut config = header.config;
        config.in_flight = config.in_flight.clamped();
        for settings in &mut config.registries {
            settings.in_flight = settings.in_flight.map(Concurrency::clamped);
        }
        let checkpoint = header.checkpoint.map(Checkpoint::try_from).transpose();
        let checkpoint = checkpoint.map_err(|error| error.to_string())?;
        let (session, _) = Session::resume(config, checkpoint.unwrap_or_default(), header.seed);
        Ok(Self {
            session,
            outside: BTreeMap::new(),
        })
    }

    /// Does what a line says. Returns the line of the transcript, if there is one.
    pub(super) fn play(&mut self, line: Line) -> Result<Option<String>, &'static str> {
        match line {
            Line::Start(task) => drop(self.session.start(task)),
            Line::Cancel(task) => self.session.cancel(TaskId(task)),
            Line::Yield(job) => return self.yields(JobId(job)).map(Some),
            Line::Upload(upload) => self.session.offer_upload(upload),
            Line::Left(upload) => self.session.leave_upload(&upload),
            Line::Poll { at, .. } => return Ok(self.poll(at).line()),
            Line::Done { job, at, end } => return self.done(JobId(job), at, end).map(Some),
            Line::Broken(_) => {}
        }
        Ok(None)
    }

    /// Polls, and says what is wanted.
    pub(super) fn poll(&mut self, at: u64) -> Out {
        let output = self.session.poll(Time::from_micros(at));
        let out = Out::of(&output);
        if let Output::Job(job) = output {
            self.outside.insert(job.id(), job);
        }
        out
    }

    /// Gives the slot of a job back.
    fn yields(&mut self, job: JobId) -> Result<String, &'static str> {
        let yielded = self
            .session
            .yield_slot(job)
            .then(|| transcript::yielded(job));
        yielded.ok_or("the job has no slot to give back")
    }

    /// Hands the end of a job over.
    fn done(&mut self, id: JobId, at: u64, outcome: JobResult) -> Result<String, &'static str> {
        let job = self.outside.get(&id).ok_or("no such job is outside")?;
        check(job, &outcome)?;
        let done = Done::new(id, outcome);
        let line = transcript::done(&done);
        self.outside.remove(&id);
        self.session.handle(done, Time::from_micros(at));
        Ok(line)
    }

    /// The job of this id, if it is outside.
    pub(super) fn outside(&self, job: JobId) -> Option<&Job> {
        self.outside.get(&job)
    }
}

/// Whether a job can end like this.
fn check(job: &Job, outcome: &JobResult) -> Result<(), &'static str> {
    match (job, outcome) {
        (Job::Http(call), JobResult::Http(exchanged)) => check_exchanged(call, exchanged),
        (Job::Relay(relay), JobResult::Relay(relayed)) => {
            check_exchanged(relay.source(), &relayed.source)?;
            check_exchanged(relay.sink(), &relayed.sink)
        }
        (Job::Store(call), JobResult::Store(Ok(answer))) if !call.op().takes(answer) => {
            Err("the end is not one of such a step")
        }
        (Job::Store(_), JobResult::Store(_))
        | (Job::Credentials(_), JobResult::Credentials(_))
        | (_, JobResult::Lost) => Ok(()),
        (
            Job::Http(_) | Job::Relay(_) | Job::Store(_) | Job::Credentials(_),
            JobResult::Http(_)
            | JobResult::Relay(_)
            | JobResult::Store(_)
            | JobResult::Credentials(_),
        ) => Err("the end is not one of such a job"),
    }
}

fn check_exchanged(call: &Call, exchanged: &Exchanged) -> Result<(), &'static str> {
    let (size, asked, algorithm) = match call.expect() {
        Expect::Blob {
            digest,
            size,
            offset,
            ..
        } => (Some(*size), *offset, digest.algorithm()),
        Expect::Relay { size, offset, .. } => (Some(*size), *offset, None),
        Expect::Head | Expect::Document { .. } | Expect::Part { .. } | Expect::Token { .. } => {
            (None, 0, None)
        }
    };
    if let Some(Flaw::TooLong { expected } | Flaw::Length { expected, .. }) = &exchanged.flaw
        && size.is_none_or(|size| *expected > size)
    {
        return Err("more was expected than the blob has");
    }
    let is_sent = |hashed: &Hashing| matches!(call.request().body(), Payload::Body(body) if hashed.len() <= body.size);
    if !exchanged.hashed.as_ref().is_none_or(is_sent) {
        return Err("more was sent than the request has");
    }
    let is_good = match (&exchanged.body, exchanged.status) {
        (Received::Nothing, _) | (Received::Collected { .. }, Some(_)) => true,
        (Received::Collected { .. } | Received::Stored { .. } | Received::Relayed { .. }, None) => {
            false
        }
        (
            Received::Stored {
                hashing,
                from,
                to,
                range_end,
            },
            Some(status),
        ) => {
            let is_in_order = from <= to && to <= range_end && hashing.len() <= *to;
            status.is_success()
                && (*from == 0 || *from == asked)
                && is_in_order
                && Some(*range_end) <= size
                && hashing.algorithm() == algorithm.unwrap_or(Algorithm::Sha256)
        }
        (Received::Relayed { from, to, end, .. }, Some(status)) => {
            let is_asked =
                matches!(call.expect(), Expect::Relay { end: asked, .. } if asked == end);
            // Or it was asked for the rest, and said "later".
            let is_answer = status.is_success() || matches!(status.as_u16(), 429 | 503);
            is_answer
                && is_asked
                && (*from == 0 || *from == asked)
                && from <= to
                && Some(*to) <= size
        }
    };
    if is_good {
        Ok(())
    } else {
        Err("the body is not one of such a request")
    }
}
