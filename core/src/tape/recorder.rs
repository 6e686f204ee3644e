//! The recorder: writes what a session is told, without secrets, and what follows from that.
//!
//! Responsible for a tape that replays as it was recorded: what is on it is played as well, outputs
//! and ends of jobs before they are given out, tasks and their cancelling right after. A tape that
//! would tell another story than the session's ends there. Must not know files.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::configured::ConfigForm;
use super::done::End;
use super::line::{Header, Line, Out};
use super::player::Player;
use super::scrub::Scrub;
use super::{Sink, VERSION};
use crate::call::{Done, Job};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::session::Output;
use crate::task::{Task, TaskId};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Recorder {
    sink: Arc<dyn Sink>,
    scrub: Scrub,
    /// The session that knows no secret; gone when the recording is over.
    player: Option<Player>,
}

const WITHHELD: &str = "the next line would have held a secret";
const ALTERED: &str = "something else follows from a document that is not on the tape";

impl Recorder {
    pub(super) fn new(
        config: &Config,
        seed: u64,
        checkpoint: Option<&Checkpoint>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let header = Header {
            tape: VERSION,
            windlass: env!("CARGO_PKG_VERSION").into(),
            seed,
            config: ConfigForm::from(config),
            checkpoint: checkpoint.map(checkpoint::Form::from),
        };
        let text = serde_json::to_string(&header).expect("names and numbers can be written");
        let mut scrub = Scrub::new();
        for (registry, origin) in &config.endpoints {
            scrub.publish(registry.as_str());
            scrub.publish(&format!("{origin}"));
        }
        if let Some(checkpoint) = checkpoint {
            scrub.publish(&checkpoint.to_json());
        }
        let mut recorder = Self {
            sink,
            scrub,
            player: None,
        };
        match serde_json::from_str(&text).map(Player::new) {
            Ok(Ok(player)) => recorder.player = Some(player),
            Ok(Err(why)) => return recorder.refused(&text, &why),
            Err(why) => return recorder.refused(&text, &format!("{why}")),
        }
        recorder.sink.line(&text);
        recorder
    }

    pub(super) fn start(&mut self, task: &Task) {
        let line = Line::Start(task.into());
        let text = written(&line);
        self.scrub.publish(&text);
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
            self.scrub.went_out(call);
        }
        let at = now.as_micros();
        let out = player.poll(at);
        let told = Out::of(live);
        let is_same = match (&out, &told) {
            (Out::Event(said), Out::Event(told)) if self.scrub.has_altered() => {
                *said == self.scrub.retold(told)
            }
            _ => out.is_of_the_sort_of(&told),
        };
        match (is_same, self.scrub.has_altered()) {
            (true, _) => {}
            (false, true) => return self.end(ALTERED),
            (false, false) => {
                return self.end("without the secrets that were left out something else happens");
            }
        }
        let text = written(&Line::Poll { at, out });
        if self.scrub.is_in(&text) {
            return self.end(WITHHELD);
        }
        self.tell(&text);
    }

    pub(super) fn handled(&mut self, done: &Done, now: Time) {
        let Some(player) = &mut self.player else {
            return;
        };
        // The session ignores what it does not wait for, and so does the tape.
        let Some(job) = player.outside(done.id()) else {
            return;
        };
        let end = self.scrub.clean(Some(job), End::from(done.outcome()));
        if self.scrub.has_withheld() {
            return self.end("a manifest has a secret in it");
        }
        let line = Line::Done {
            job: done.id().0,
            at: now.as_micros(),
            end,
        };
        let text = written(&line);
        if self.scrub.is_in(&text) {
            return self.end(WITHHELD);
        }
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

    fn refused(self, header: &str, why: &str) -> Self {
        let why = format!("the session cannot be written: {why}");
        self.sink.line(header);
        self.sink.line(&written(&Line::Broken(why.clone())));
        self.sink.broken(&why);
        self
    }

    fn tell(&self, line: &str) {
        if self.player.is_some() {
            self.sink.line(line);
        }
    }

    /// Ends the recording: what the session does from now on is not on the tape.
    fn end(&mut self, why: &str) {
        self.tell(&written(&Line::Broken(why.into())));
        self.player = None;
        self.sink.broken(why);
    }
}

fn written(line: &Line) -> String {
    serde_json::to_string(line).expect("text and numbers can be written")
}
