//! The player: a session that is told what a tape says.
//!
//! Responsible for telling a session nothing that could not have happened: the end of a job must be
//! one of a job that is outside, and of its sort. Must not know where lines come from.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};

use super::job_result::End;
use super::line::{Header, Out};
use crate::call::{Call, Done, Exchanged, Expect, Flaw, Job, JobId, Outcome, Payload, Received};
use crate::checkpoint::Checkpoint;
use crate::digest::Algorithm;
use crate::hashing::Hashing;
use crate::session::{Output, Session};
use crate::task::{Task, TaskId};
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
        let session = match header.checkpoint {
            Some(form) => {
                let checkpoint = Checkpoint::try_from(form).map_err(|error| error.to_string())?;
                Session::resume(config, checkpoint, header.seed).0
            }
            None => Session::new(config, header.seed),
        };
        Ok(Self {
            session,
            outside: BTreeMap::new(),
        })
    }

    pub(super) fn start(&mut self, task: Task) {
        let _ = self.session.start(task);
    }

    pub(super) fn cancel(&mut self, task: u64) {
        self.session.cancel(TaskId(task));
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

    /// Hands the end of a job over, and says it in the words of the transcript.
    pub(super) fn done(&mut self, job: u64, at: u64, end: End) -> Result<String, &'static str> {
        let id = JobId(job);
        let job = self.outside.get(&id).ok_or("no such job is outside")?;
        let outcome = Outcome::from(end);
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
fn check(job: &Job, outcome: &Outcome) -> Result<(), &'static str> {
    match (job, outcome) {
        (Job::Http(call), Outcome::Http(exchanged)) => check_exchanged(call, exchanged),
        (Job::Store(call), Outcome::Store(Ok(answer))) if !call.op().takes(answer) => {
            Err("the end is not one of such a step")
        }
        (Job::Store(_), Outcome::Store(_))
        | (Job::Credentials(_), Outcome::Credentials(_))
        | (_, Outcome::Lost) => Ok(()),
        (
            Job::Http(_) | Job::Store(_) | Job::Credentials(_),
            Outcome::Http(_) | Outcome::Store(_) | Outcome::Credentials(_),
        ) => Err("the end is not one of such a job"),
    }
}

fn check_exchanged(call: &Call, exchanged: &Exchanged) -> Result<(), &'static str> {
    let blob = match call.expect() {
        Expect::Blob {
            digest,
            size,
            offset,
            ..
        } => Some((digest, *size, *offset)),
        Expect::Head | Expect::Document { .. } | Expect::Token { .. } => None,
    };
    match &exchanged.flaw {
        Some(Flaw::TooLong { expected } | Flaw::Length { expected, .. })
            if blob.is_none_or(|(_, size, _)| *expected > size) =>
        {
            return Err("more was expected than the blob has");
        }
        Some(_) | None => {}
    }
    let is_sent = |hashed: &Hashing| matches!(call.request().body(), Payload::Body(body) if hashed.len() <= body.size);
    if !exchanged.hashed.as_ref().is_none_or(is_sent) {
        return Err("more was sent than the request has");
    }
    let Received::Stored {
        hashing,
        from,
        to,
        range_end,
    } = &exchanged.body
    else {
        let is_silent = exchanged.status.is_none();
        let has_body = matches!(exchanged.body, Received::Collected { .. });
        return if is_silent && has_body {
            Err("a body without a status")
        } else {
            Ok(())
        };
    };
    let Some((digest, size, asked)) = blob else {
        return Err("bytes were stored that nobody asked for");
    };
    let is_good = exchanged.status.is_some_and(|status| status.is_success());
    let begins = *from == 0 || *from == asked;
    let is_in_order = from <= to && to <= range_end && *range_end <= size && hashing.len() <= *to;
    let algorithm = digest.algorithm().unwrap_or(Algorithm::Sha256);
    if is_good && begins && is_in_order && hashing.algorithm() == algorithm {
        Ok(())
    } else {
        Err("the stored bytes are not those that were asked for")
    }
}
