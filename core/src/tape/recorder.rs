//! The recorder: writes what a session is told, as far as the allow-list goes, and what follows from it.
//!
//! Responsible for a tape that replays as it was recorded: what is on it is played as well, outputs
//! and results before they are given out, tasks and their cancelling right after. Where the player does
//! not want what the session wants, the tape ends. Must not know files.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::allow::AllowList;
use super::line::{Header, Line, Out};
use super::player::Player;
use super::{TapeSink, VERSION};
use crate::call::{Done, Job};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::session::Output;
use crate::task::{Task, TaskId};
use crate::time::Time;

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
        checkpoint: Option<&Checkpoint>,
        sink: Arc<dyn TapeSink>,
    ) -> Self {
        let header = Header {
            tape: VERSION,
            windlass: env!("CARGO_PKG_VERSION").into(),
            seed,
            config: config.clone(),
            checkpoint: checkpoint.map(checkpoint::Form::from),
        };
        let text = serde_json::to_string(&header).expect("names and numbers can be written");
        let mut allowed = AllowList::new();
        allowed.add_words(&text);
        let player = serde_json::from_str(&text).map_err(|error| format!("{error}"));
        let player = player.and_then(Player::new);
        sink.line(&text);
        let mut recorder = Self {
            sink,
            allowed,
            player: None,
        };
        match player {
            Ok(player) => recorder.player = Some(player),
            Err(why) => recorder.end(&format!("the session cannot be written: {why}")),
        }
        recorder
    }

    pub(super) fn start(&mut self, task: &Task) {
        let text = written(&Line::Start(task.clone()));
        self.allowed.add_words(&text);
        self.tell(&text);
        // From what is written, as a replay does.
        match (serde_json::from_str(&text), &mut self.player) {
            (Ok(Line::Start(task)), Some(player)) => player.start(task),
            (_, None) => {}
            (_, Some(_)) => self.end("a task that cannot be written was started"),
        }
    }

    pub(super) fn cancel(&mut self, task: TaskId) {
        self.tell(&written(&Line::Cancel(task.0)));
        if let Some(player) = &mut self.player {
            player.cancel(task.0);
        }
    }

    pub(super) fn polled(&mut self, now: Time, live: &Output) {
        let Some(player) = &mut self.player else {
            return;
        };
        if let Output::Job(Job::Http(call)) = live {
            self.allowed.add_credentials(call);
        }
        let at = now.as_micros();
        let out = player.poll(at);
        if !out.stands_for(&Out::of(live)) {
            return self.end("without what is not on the tape something else happens");
        }
        self.tell(&written(&Line::Poll { at, out }));
    }

    pub(super) fn handled(&mut self, done: &Done, now: Time) {
        let Some(player) = &mut self.player else {
            return;
        };
        // The session ignores what it does not wait for, and so does the tape.
        let Some(job) = player.outside(done.id()) else {
            return;
        };
        let Some(end) = self.allowed.keep(job, done.outcome()) else {
            return self.end("the end is not one of such a job");
        };
        if let Some(why) = self.allowed.withheld() {
            return self.end(why);
        }
        let (job, at) = (done.id().0, now.as_micros());
        let text = written(&Line::Done { job, at, end });
        let played = match serde_json::from_str(&text) {
            Ok(Line::Done { job, at, end }) => player.done(job, at, end).map(drop),
            Ok(_) | Err(_) => Err("it cannot be read back"),
        };
        match played {
            Ok(()) => self.tell(&text),
            Err(why) => self.end(&format!(
                "the end of {} cannot be written: {why}",
                done.id()
            )),
        }
    }

    fn tell(&self, line: &str) {
        if self.player.is_some() {
            self.sink.line(line);
        }
    }

    /// Ends the recording: what the session does from now on is not on the tape.
    fn end(&mut self, why: &str) {
        self.sink.line(&written(&Line::Broken(why.into())));
        self.player = None;
        self.sink.broken(why);
    }
}

fn written(line: &Line) -> String {
    serde_json::to_string(line).expect("text and numbers can be written")
}
