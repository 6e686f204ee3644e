//! The recorder: writes what a session is told, as far as the allow-list goes, and what follows from it.
//!
//! Responsible for a tape that replays as it was recorded: what is on it is played as well, outputs
//! and results before they are given out, tasks and their cancelling right after. Where the player does
//! not want what the session wants, the tape ends. Must not know files.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;

use serde::Serialize;

use super::allow::AllowList;
use super::line::{Header, Line, Out};
use super::player::Player;
use super::{TapeSink, VERSION};
use crate::call::{Done, JobId};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::session::Output;
use crate::task::{Task, TaskId};
use crate::time::Time;
use crate::uploads::SavedUpload;

#[derive(Debug)]
pub(super) struct Recorder {
    sink: Arc<dyn TapeSink>,
    allowed: AllowList,
    /// The session that is told only what is on the tape; gone when the recording is over.
    player: Option<Player>,
}

impl Recorder {
    pub(super) fn new(
        config: &Config,
        seed: u64,
        checkpoint: &Checkpoint,
        sink: Arc<dyn TapeSink>,
    ) -> Self {
        let text = text(&Header {
            tape: VERSION,
            windlass: env!("CARGO_PKG_VERSION").into(),
            seed,
            config: config.clone(),
            checkpoint: (!checkpoint.is_empty()).then(|| checkpoint.without_uploads()),
        });
        sink.line(&text);
        let mut recorder = Self {
            sink,
            allowed: AllowList::new(&text),
            player: None,
        };
        let header = serde_json::from_str(&text).map_err(|error| error.to_string());
        match header.and_then(Player::new) {
            Ok(player) => recorder.player = Some(player),
            Err(why) => recorder.end(&format!("the session cannot be written: {why}")),
        }
        for upload in &checkpoint.uploads {
            recorder.offer_upload(upload);
        }
        recorder
    }

    pub(super) fn offer_upload(&mut self, upload: &SavedUpload) {
        self.record_upload(upload, Line::Upload);
    }

    pub(super) fn leave_upload(&mut self, upload: &SavedUpload) {
        self.record_upload(upload, Line::Left);
    }

    fn record_upload(&mut self, upload: &SavedUpload, line: fn(SavedUpload) -> Line) {
        self.allowed.add_words(&upload.key().to_string());
        match self.allowed.upload(upload) {
            Some(kept) => self.record(&line(kept)),
            None => self.end("the address of an upload cannot be written"),
        }
    }

    pub(super) fn start(&mut self, task: &Task) {
        let line = Line::Start(task.clone());
        self.allowed.add_words(&text(&line));
        self.record(&line);
    }

    pub(super) fn cancel(&mut self, task: TaskId) {
        self.record(&Line::Cancel(task.0));
    }

    pub(super) fn yielded(&mut self, job: JobId) {
        self.record(&Line::Yield(job.0));
    }

    pub(super) fn polled(&mut self, now: Time, live: &Output) {
        let Some(player) = &mut self.player else {
            return;
        };
        if let Output::Job(job) = live {
            let calls = job.calls();
            calls.for_each(|call| call.add_credentials(&mut self.allowed.credentials));
        }
        let at = now.as_micros();
        let out = player.poll(at);
        if !out.stands_for(&Out::of(live)) {
            return self.end("replay without the redacted data went another way");
        }
        self.sink.line(&text(&Line::Poll { at, out }));
    }

    pub(super) fn handled(&mut self, done: &Done, now: Time) {
        let (id, at) = (done.id(), now.as_micros());
        // The session ignores what it does not wait for, and so does the tape.
        let Some(job) = self.player.as_ref().and_then(|it| it.outside(id)) else {
            return;
        };
        match self.allowed.keep(job, done.outcome()) {
            Ok(end) => self.record(&Line::Done { job: id.0, at, end }),
            Err(why) => self.end(why),
        }
    }

    /// Plays a line as it can be read back, as a replay does, and writes it.
    fn record(&mut self, line: &Line) {
        let Some(player) = &mut self.player else {
            return;
        };
        let text = text(line);
        let line = serde_json::from_str(&text).map_err(|_| "a line cannot be read back");
        match line.and_then(|line| player.play(line)) {
            Ok(_) => self.sink.line(&text),
            Err(why) => self.end(why),
        }
    }

    /// Ends the recording: what the session does from now on is not on the tape.
    fn end(&mut self, why: &str) {
        self.sink.line(&text(&Line::Broken(why.into())));
        self.player = None;
        self.sink.broken(why);
    }
}

fn text(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("text and numbers can be written")
}
