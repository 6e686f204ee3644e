//! Credentials that die.
//!
//! Responsible for what a source answers, for how long registries take it, and for who may be asked again:
//! once for each death. Must not know how a client finds out.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::call::{Call, Done};
use windlass_core::credential::{CredentialAnswer, CredentialCall, Question, Secret, TimedAnswer};
use windlass_core::{Event, JobId};
use windlass_testbed::{Auth, Request, User};

use super::choose::Choose;
use super::echoed;
use super::exchange::owner_of;
use super::fault::Fault;
use super::mirrors::mirror_of;
use super::plan::{Access, Operation, small};
use super::secrets::mark;
use super::world::World;

/// How old an answer has to be before it is asked for again.
const FRESH: Duration = Duration::from_secs(5);

/// How much time passes while credentials are rotated.
const ROTATION: Duration = Duration::from_secs(10);

/// How long the credentials of a registry live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    span: Duration,
    /// Whether the source says so.
    announced: bool,
}

impl Life {
    /// Most credentials do not die by themselves.
    pub(crate) fn draw(choose: &mut dyn Choose) -> Option<Self> {
        let announced = match choose.below(6) {
            4 => true,
            5 => false,
            _ => return None,
        };
        let seconds = [6, 30, 600][small(choose, 3)];
        Some(Self {
            span: Duration::from_secs(seconds),
            announced,
        })
    }
}

/// The secrets that a registry takes, and until when.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    given: u64,
    live: BTreeMap<String, Duration>,
    /// Until when their source said that they live, also if they have died before.
    announced: BTreeMap<String, Duration>,
}

impl Leases {
    fn is_live(&self, secret: &str, now: Duration) -> bool {
        self.live.get(secret).is_some_and(|until| now < *until)
    }
}

/// What a process was answered last, or asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    at: Duration,
    /// Until when it is good, if that was said.
    said: Option<Duration>,
    /// `None`: nothing, or a failure.
    secret: Option<String>,
    /// Questions so far because of refusals.
    refusals: u64,
    /// How often the registry had forbidden something when it was asked for last.
    forbidden: u64,
    /// It is being asked for.
    pending: bool,
}

impl World<'_> {
    /// Answers a question for credentials.
    pub(crate) fn credentials(&mut self, process: usize, call: CredentialCall) -> Done {
        let owner = owner(call.question());
        let what = what(call.question());
        if let Some(answer) = self.credentials_of_mirror(call.question().registry().as_str()) {
            self.note_answer(process, call.id(), what, None);
            return call.finish(answer);
        }
        if self.occasion(&[Fault::NoCredentials]).is_some() {
            let lost = self.choose.below(2) == 1;
            if self.plan.settings[owner].options.hidden.is_some() {
                // To strangers this registry has nothing: all of it may be moved once more.
                let known = self.plan.pictures.iter().flat_map(|it| it.blobs(false));
                self.economy.wasted += 2 * known.map(|(_, size)| size).sum::<u64>();
            }
            self.note_answer(process, call.id(), what, None);
            return if lost {
                Done::lost(call.id())
            } else {
                call.finish(CredentialAnswer::Failed("planned".into()))
            };
        }
        let setting = &self.plan.settings[owner];
        if setting.access == Access::Open && !setting.leftover {
            self.note_answer(process, call.id(), what, None);
            return call.finish(CredentialAnswer::None);
        }
        let (access, life) = (setting.access, setting.life);
        let secret = self.secret(process, owner, &what, access, life);
        self.note_answer(process, call.id(), what, Some(secret.clone()));
        let answer = match access {
            Access::Refresh => CredentialAnswer::Refresh(Secret::new(secret)),
            Access::Open
            | Access::Basic
            | Access::Bearer
            | Access::Elsewhere
            | Access::Untrusted => CredentialAnswer::Basic {
                username: "alice".into(),
                password: Secret::new(secret),
            },
        };
        let mut timed = TimedAnswer::from(answer);
        let announced = life.filter(|life| life.announced);
        timed.valid_for = announced.map(|life| life.span);
        call.finish(timed)
    }

    /// The same secret as before as long as it lives, if it does not die by itself.
    fn secret(
        &mut self,
        process: usize,
        owner: usize,
        what: &str,
        access: Access,
        life: Option<Life>,
    ) -> String {
        let leases = &mut self.leases[owner];
        let before = self.processes[process].watch.asked.get(what);
        let before = before.and_then(|given| given.secret.clone());
        let before = before.filter(|it| life.is_none() && leases.is_live(it, self.now));
        if let Some(before) = before {
            return before;
        }
        let secret = match access {
            Access::Refresh => self.models[owner].issue_refresh_token("alice"),
            _ => format!("{}password.{}", mark(owner), leases.given),
        };
        leases.given += 1;
        leases.live.insert(secret.clone(), Duration::MAX);
        secret
    }

    fn note_answer(&mut self, process: usize, id: JobId, what: String, secret: Option<String>) {
        let answers = &mut self.processes[process].watch.answers;
        answers.insert(id, (what, secret));
    }

    /// A process learns of an answer: from now on it lives.
    pub(crate) fn begin_lease(&mut self, process: usize, id: JobId) {
        let watch = &mut self.processes[process].watch;
        let Some((what, secret)) = watch.answers.remove(&id) else {
            return;
        };
        let owner = owner_of(&what).unwrap_or(0);
        let life = self.plan.settings[owner].life;
        let until = life.map(|life| self.now + life.span);
        if let (Some(secret), Some(until)) = (&secret, until) {
            let leases = &mut self.leases[owner];
            leases.live.insert(secret.clone(), until);
            if life.is_some_and(|it| it.announced) {
                leases.announced.insert(secret.clone(), until);
            }
        }
        let before = watch.asked.get(&what);
        if secret.is_some() && before.is_some_and(|given| given.secret == secret) {
            watch.watch_unchanged();
        }
        let given = watch.asked.entry(what).or_default();
        given.at = self.now;
        given.said = until.filter(|_| secret.is_some() && life.is_some_and(|it| it.announced));
        given.secret = secret;
        given.pending = false;
    }

    /// Before a registry looks at a request: it takes the secrets that live.
    pub(crate) fn admit(&mut self, owner: usize, request: &Request) {
        let shown = echoed::presented(request);
        let leases = &self.leases[owner];
        let live = shown.iter().find(|it| leases.is_live(it, self.now));
        let password = live.cloned().unwrap_or_else(|| "dead".to_owned());
        let dead = shown.iter().filter(|it| leases.live.contains_key(*it));
        for secret in dead.filter(|it| !leases.is_live(it, self.now)) {
            self.models[owner].revoke_refresh_token(secret);
        }
        let users = match &mut self.models[owner].options_mut().auth {
            Auth::Basic(basic) => &mut basic.users,
            Auth::Bearer(bearer) => &mut bearer.users,
            _ => return,
        };
        users.insert("alice".to_owned(), User::new(password));
    }

    /// Whether credentials can be rotated now: not while a source is about to answer with old ones.
    pub(crate) fn may_rotate(&self, owner: usize, request: &Request) -> bool {
        let leases = &self.leases[owner];
        let shown = echoed::presented(request);
        let shows = shown.iter().any(|it| leases.is_live(it, self.now));
        let mut running = self.processes.iter().flat_map(|it| &it.running);
        let signs_in = !matches!(
            self.plan.settings[owner].access,
            Access::Open | Access::Untrusted
        );
        signs_in
            && (shows || request.headers.contains_key(http::header::AUTHORIZATION))
            && !running.any(|it| it.question)
    }

    /// All credentials of a registry are replaced, and perhaps its tokens are dead, too. That takes a while.
    pub(crate) fn rotate(&mut self, owner: usize) {
        self.now += ROTATION;
        for until in self.leases[owner].live.values_mut() {
            *until = (*until).min(self.now);
        }
        if self.choose.below(2) == 1 {
            self.models[owner].revoke_tokens();
        }
    }

    /// Nothing that is written goes on anonymously, nor anything where that is not allowed.
    pub(crate) fn check_anonymous(&mut self, task: usize, event: &Event) {
        let Event::Warning(warning) = event else {
            return;
        };
        if !warning.contains("going on anonymously") {
            return;
        }
        let planned = self.plan.tasks[task];
        // A copy inside one registry reads there, too.
        let reads = planned.operation == Operation::CopyWithin;
        let writes = planned.operation.changes_registry() && !reads;
        let mirrored = warning.contains("//mir");
        let there = writes && !mirrored && owner_of(warning) == Some(planned.destination());
        let allowed = self.plan.fallback && !there;
        self.check(allowed, || {
            format!("anonymous: task {task} must not go on so: {warning}")
        });
    }

    /// No credential goes to a registry after the time until which its source said it lives.
    pub(crate) fn check_expired(&mut self, call: &Call) {
        let uri = call.request().uri();
        let host = uri.host().unwrap_or_default();
        let Some(owner) = owner_of(host).filter(|_| uri.path().starts_with("/v2/")) else {
            return;
        };
        let mut request = Request::new(call.request().method().clone(), host, uri.path());
        request.headers = call.request().headers().clone();
        let shown = echoed::presented(&request);
        let leases = &self.leases[owner];
        let slipped = self.fired[Fault::TimeSlips.place()] > 0;
        let ends = |secret: &String| leases.announced.get(secret);
        let is_over = |secret: &String| ends(secret).is_some_and(|it| *it <= self.now);
        let expired = !slipped && shown.iter().any(is_over);
        self.check(!expired, || {
            format!("credentials: those for reg{owner} have expired, and are shown")
        });
    }

    /// The driver is asked for the same credentials once, and again for each death: not before the answer is
    /// some seconds old, and not if it is neither over nor refused.
    pub(crate) fn check_question(&mut self, process: usize, call: &CredentialCall) {
        let question = call.question();
        let (owner, what) = (owner(question), what(question));
        let slipped = self.fired[Fault::TimeSlips.place()] > 0;
        let misled = self.total() > u64::from(self.fired[Fault::Rotated.place()]);
        // Those of a mirror do not die.
        let mirrored = mirror_of(question.registry().as_str()).is_some();
        let (now, leases) = (self.now, &self.leases[owner]);
        let watch = &mut self.processes[process].watch;
        let (refused, forbidden) = (watch.refusals[owner], watch.forbidden[owner]);
        let known = watch.asked.contains_key(&what);
        let given = watch.asked.entry(what.clone()).or_default();
        let is_over = given.said.is_some_and(|until| until <= now);
        let is_live = |secret: &String| leases.is_live(secret, now);
        let lives = given.secret.as_ref().is_some_and(is_live);
        given.refusals += u64::from(known && !is_over);
        let wrong = match (known, question.is_again()) {
            (false, true) => Some("asked for again, and were not asked for"),
            (true, false) => Some("asked for twice"),
            (false, false) => None,
            (true, true) if given.pending => Some("asked for twice at once"),
            (true, true) if now - given.at < FRESH && !slipped => Some("asked for again too early"),
            (true, true) if mirrored => None,
            (true, true) if !is_over && given.refusals > refused => {
                Some("asked for again, though they were not refused")
            }
            (true, true) if !is_over && lives && !misled && given.forbidden == forbidden => {
                Some("asked for again, though they live")
            }
            (true, true) => None,
        };
        given.pending = true;
        given.forbidden = forbidden;
        if let Some(wrong) = wrong {
            self.violate(format!("single flight: credentials for {what} are {wrong}"));
        }
    }
}

fn owner(question: &Question) -> usize {
    owner_of(question.registry().as_str()).unwrap_or(0)
}

fn what(question: &Question) -> String {
    format!("{} {:?}", question.registry(), question.repository())
}
