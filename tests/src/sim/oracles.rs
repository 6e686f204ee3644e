//! What must be true in every world, whatever goes wrong in it.
//!
//! Responsible for the judgement alone; `watch` has the oracles that need a memory, `ending` those
//! that look at what is there. A violation begins with the name of its oracle, up to the first colon.
//! What an oracle would say is shown by a test (`tests`), by a bug that it catches (`tests/mutations`), or
//! by both. Must not make anything happen.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::MutexGuard;
use std::time::Duration;

use windlass_core::call::{Call, Payload};
use windlass_core::{Digest, ErrorKind, Failure, Job, TaskReport};
use windlass_testbed::{BlobHeads, Location, Model, Request};

use super::disk::{Disk, Notes};
use super::exchange::owner_of;
use super::fault::Fault;
use super::foreign;
use super::mirrors::mirror_of;
use super::plan::{Access, Operation, Picture, Planned};
use super::secrets::{self, Found, SecretKind};
use super::watch::token_key;
use super::world::World;

/// Bytes of blobs and requests: what was used, and what it may have been.
#[derive(Debug, Default)]
pub(crate) struct Economy {
    /// A blob whose download broke off last, how much of it had come, and how many faults there were.
    pub(crate) cut: Option<(Digest, u64, u64)>,
    /// Bytes of blobs sent.
    pub(crate) sent: u64,
    /// Bytes of blobs that registries have stored.
    pub(crate) stored: u64,
    /// Bytes that had to be moved for nothing, at the most.
    pub(crate) wasted: u64,
    pub(crate) requests: u64,
    /// Bytes received by processes that are no more.
    pub(crate) appended: u64,
    pub(crate) needed: u64,
    /// A token was dead before it was good for anything, which is as good as a refusal.
    pub(crate) refused: bool,
    /// How many requests there may be in the end, if that can be told.
    pub(crate) allowed: Option<u64>,
    /// What was counted already: who moves it where.
    counted: BTreeSet<(usize, usize, Operation, Digest)>,
}

/// From this size on a push asks before it sends.
pub(crate) const ASKS_FROM: u64 = 256 * 1024;

impl Economy {
    /// A task starts, perhaps again: what it needs to move to its registry, if it writes to one.
    pub(crate) fn starts(&mut self, task: &Planned, picture: &Picture, registry: &Model) {
        if task.operation.moves_nothing() {
            return;
        }
        let writes = task.operation.writes_to_registry();
        let answers = registry.options().blob_heads == BlobHeads::Answered;
        let times = match task.operation {
            // Into the spool and out again, if it is not mounted.
            Operation::CopyWithin | Operation::CopyBetween => 2,
            _ => 1,
        };
        for (digest, size) in picture.moved(task) {
            let place = match task.disk() {
                Some(disk) => 4 + disk,
                None => 2 * task.destination() + task.repository,
            };
            // Small blobs are sent without asking whether they are there. No other one is, whether it
            // was to be mounted or not, where a HEAD says so.
            let names = task.operation != Operation::Stream;
            let asks = writes && names && answers && size >= ASKS_FROM;
            let is_there = asks && is_in(registry, task.written(), &digest);
            // Two processes know nothing of each other.
            let key = (place, task.process, task.operation, digest);
            let new = self.counted.insert(key);
            if (new && !is_there) || (writes && !asks) {
                self.needed += size * times;
            }
        }
    }

    /// A disk that is no more.
    pub(crate) fn retire(&mut self, disk: &Disk) {
        let notes = disk.notes();
        self.appended += notes.appended;
        self.wasted += notes.apart;
    }
}

impl World<'_> {
    pub(crate) fn violate(&mut self, what: String) {
        self.lines.push(format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn check(&mut self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            self.violate(what());
        }
    }

    /// A line of the transcript: it can be shown to anybody.
    pub(crate) fn line(&mut self, line: String) {
        self.check_text(&line);
        self.lines.push(line);
    }

    pub(crate) fn check_text(&mut self, text: &str) {
        if let Some(found) = secrets::find(text).first() {
            self.violate(format!("secrets: one is shown ({found:?}): {text}"));
        }
    }

    /// What goes out runs for a task that is not finished. Who asked for credentials may be gone: the
    /// answer is kept.
    pub(crate) fn check_whose(&mut self, process: usize, job: &Job) {
        let (id, question) = (job.id(), matches!(job, Job::Credentials(_)));
        let process = &self.processes[process];
        let task = process.session.task_of(id);
        let good = task.map_or(question, |task| process.tasks.contains_key(&task));
        self.check(good, || format!("whose: {id} is for {task:?}"));
    }

    /// Says whose slot an HTTP job holds, or which token it asks for. Single flight: a token is asked
    /// for once at a time, and once at all if nothing goes wrong.
    pub(crate) fn check_job(
        &mut self,
        process: usize,
        call: &Call,
    ) -> (Option<usize>, Option<String>) {
        let request = call.request();
        let uri = request.uri();
        let owner = owner_of(uri.authority().map_or("", |it| it.as_str())).unwrap_or(0);
        let target = uri.path_and_query().map_or("/", |it| it.as_str());
        if let Some(at) = mirror_of(uri.host().unwrap_or_default()) {
            self.check_put_back(process, at);
            let is_token = uri.path().starts_with("/token");
            return (None, is_token.then(|| token_key(call)));
        }
        if foreign::is_foreign(uri.host().unwrap_or_default(), target) {
            // It holds a slot of the registry of its manifest, which may be the other one.
            return (None, None);
        }
        if !uri.path().starts_with("/token") {
            self.check_patience(process, call, owner);
            return (Some(owner), None);
        }
        let key = token_key(call);
        let mut running = self.processes[process].running.iter();
        let twice = running.any(|other| other.token.as_ref() == Some(&key));
        self.check(!twice, || {
            format!(
                "single flight: a token is asked for twice at once: {}",
                uri.path()
            )
        });
        let fetched = self.processes[process]
            .fetched
            .entry(key.clone())
            .or_default();
        *fetched += 1;
        let again = *fetched > 1 && self.now < Duration::from_secs(30);
        self.check_fetch(process, call);
        let (total, granted) = (self.total(), self.plan.settings[owner].plain);
        self.check(!again || total > 0 || !granted, || {
            "single flight: a token is asked for again, though nothing went wrong".into()
        });
        (None, Some(key))
    }

    /// Contract 4: slots per registry.
    pub(crate) fn check_slots(&mut self, process: usize) {
        let most = self.plan.in_flight as usize;
        for owner in 0..2 {
            let running = self.processes[process].running.iter();
            let taken = running.filter(|it| it.slots.contains(&owner)).count();
            self.check(taken <= most, || {
                format!("slots: {taken} exchanges with reg{owner} outside, {most} allowed")
            });
        }
    }

    /// Nothing leaves for somebody whom it is not for, nothing unencrypted, nothing to private places.
    pub(crate) fn check_request(&mut self, call: &Call, request: &Request) {
        let uri = call.request().uri();
        let https = uri.scheme_str() == Some("https");
        self.check(https, || {
            format!("hops: {} is asked in the clear", request.host)
        });
        let private = ["169.254.", "127.", "192.168.", "10.", "[::1]", "localhost"];
        let private = private.iter().any(|it| request.host.starts_with(it));
        self.check(!private, || format!("hops: {} is private", request.host));
        let mut seen = format!("{} {}\n", request.host, request.target);
        for (name, value) in &request.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            writeln!(seen, "{name}: {value}").expect("a string takes everything");
        }
        if matches!(call.request().body(), Payload::Bytes(_)) {
            seen.push_str(&String::from_utf8_lossy(&request.body));
        }
        for found in secrets::find(&seen) {
            let good = if found.owner < 2 {
                self.may_see(found, request)
            } else {
                Self::may_see_mirrors(found, request)
            };
            self.check(good, || {
                format!(
                    "secrets: {} {} gets {found:?}",
                    request.method, request.host
                )
            });
        }
    }

    fn may_see(&self, found: Found, request: &Request) -> bool {
        let owner = found.owner;
        let setting = &self.plan.settings[owner];
        // Who was sent there by somebody else, or by a manifest, shows nothing.
        let sent_back = request.target.contains(super::mangle::BACK)
            || foreign::is_foreign(&request.host, &request.target);
        let host = |name: &str| !sent_back && request.host == format!("{name}{owner}.example");
        let asks_for_token = request.target.starts_with("/token");
        let realm = match setting.access {
            Access::Elsewhere => host("auth") && asks_for_token,
            Access::Bearer | Access::Refresh => host("reg") && asks_for_token,
            Access::Open | Access::Basic | Access::Untrusted => false,
        };
        match found.sort {
            // Its own registry may always ask for it, whatever it asked for before.
            SecretKind::Password => realm || host("reg"),
            SecretKind::Refresh => realm,
            SecretKind::Token => host("reg") && request.target.starts_with("/v2/"),
            // Its URL is its own, wherever the request before it was sent from.
            SecretKind::Signature => ["cdn", "put"]
                .iter()
                .any(|name| request.host == format!("{name}{owner}.example")),
            SecretKind::State if setting.options.uploads.redirects.is_some() && host("put") => true,
            SecretKind::State => match setting.options.uploads.location {
                Location::Elsewhere(_) => host("up"),
                _ => host("reg"),
            },
            SecretKind::Unknown => false,
        }
    }

    /// No task is told of trouble that no fault made.
    pub(crate) fn check_blame(&mut self, why: &str) {
        let credits = &mut self.credits;
        // No query is shown.
        let explains = |credit: &String| {
            let rest = why.strip_prefix(credit.as_str());
            rest.is_some_and(|rest| rest.starts_with(": ") || rest.starts_with('?'))
        };
        let found = credits.iter().position(explains);
        match found {
            Some(at) => {
                credits.remove(at);
            }
            None => self.violate(format!("blame: nothing explains: {why}")),
        }
    }

    /// Without faults every task is good, and when they have stopped, every task is.
    pub(crate) fn check_result(&mut self, at: usize, result: &Result<TaskReport, Failure>) {
        let task = self.plan.tasks[at];
        let calm = (self.calm && !self.lenient) || self.total() == 0 || self.passes();
        let text = match result {
            Ok(report) => {
                let expected = self.plan.pictures[task.picture].root(task.one);
                let expected = match task.operation {
                    Operation::Resolve => self.plan.pictures[task.picture].root(false),
                    _ => expected,
                };
                let rootless = matches!(
                    task.operation,
                    Operation::Delete | Operation::Stream | Operation::Read
                );
                let has_root = !task.operation.lists() && !rootless;
                let is_other = report.root().is_none_or(|root| root.digest != expected);
                (calm && has_root && is_other).then(|| format!("{report:?}"))
            }
            Err(failure) => {
                let text = format!("{failure} {failure:?}");
                self.check_text(&text);
                for error in failure.errors() {
                    self.check(error.kind() != ErrorKind::Internal, || {
                        format!("defect: task {at} ended with: {error}")
                    });
                }
                // A process that died may have deleted it, and another one that began again does not know that.
                let is_gone = task.operation == Operation::Delete
                    && failure.kind() == ErrorKind::NotFound
                    && self.crashes > 0
                    && !self.calm;
                let is_gone = is_gone || self.may_lose_stream(&task) || self.was_dropped(at);
                let is_gone = is_gone || self.may_lose_reading(&task);
                (calm && task.deadline.is_none() && !is_gone).then_some(text)
            }
        };
        if let Some(text) = text {
            self.violate(format!(
                "liveness: nothing stands in its way, but task {at} ended with: {text}"
            ));
        }
    }

    /// One call of a session does not take more than it may.
    pub(crate) fn check_call(&mut self, bytes: u64) {
        self.held.call = self.held.call.max(bytes);
        let most = self.bounds.call;
        self.check(bytes <= most, || {
            format!("memory: one call took {bytes} bytes, {most} would have done")
        });
    }

    /// This many bytes of a body were collected, and more were wanted.
    pub(crate) fn check_collected(&mut self, bytes: u64) {
        let limits = &self.plan.limits;
        let most = limits
            .document
            .max(limits.error_body)
            .max(limits.token_body);
        self.check(bytes <= most, || {
            format!("memory: {bytes} bytes of a body were collected, {most} allowed")
        });
    }

    /// A session is gone that had so many unfinished tasks: it did not hold more than it may.
    pub(crate) fn check_held(&mut self, bytes: u64, tasks: usize) {
        self.held.busy = self.held.busy.max(bytes);
        if tasks == 0 {
            self.held.idle = self.held.idle.max(bytes);
        }
        let endless = [Fault::Endless, Fault::Arbitrary, Fault::RedirectForeign];
        let endless = endless.iter().any(|it| self.fired[it.place()] > 0);
        let most = self.bounds.held(tasks, self.total(), endless);
        self.held.share = self.held.share.max(bytes * 100 / most);
        self.check(bytes <= most, || {
            format!(
                "memory: a session with {tasks} unfinished tasks held {bytes} bytes, {most} allowed"
            )
        });
    }

    pub(crate) fn each_disk(&self, mut change: impl FnMut(&mut MutexGuard<'_, Notes>)) {
        let spools = self.processes.iter().map(|process| &process.spool);
        for disk in self.disks.iter().chain(spools) {
            change(&mut disk.notes());
        }
    }

    /// After a step of a store: nothing was committed twice, manifests came after what they name,
    /// names after those, and nothing is taken away but from a spool.
    pub(crate) fn after_step(&mut self) {
        let (mut twice, mut named) = (None, false);
        let (mut unverified, mut apart) = (None, 0);
        self.each_disk(|notes| {
            twice = twice.take().or_else(|| notes.twice.take());
            unverified = unverified.take().or_else(|| notes.unverified.take());
            apart += notes.apart;
            named |= std::mem::take(&mut notes.named);
        });
        if let Some(digest) = twice {
            self.violate(format!("commits: {digest} was committed twice"));
        }
        self.check_synced();
        for disk in self.disks.clone() {
            let (put, removed) = {
                let mut notes = disk.notes();
                (std::mem::take(&mut notes.put), notes.removed.pop())
            };
            for digest in put {
                self.check_order(&disk, &digest);
            }
            if let Some((digest, _)) = removed {
                self.violate(format!(
                    "commits: {digest} was removed from where it was to stay"
                ));
            }
        }
        if let Some(digest) = unverified {
            self.violate(format!("integrity: other bytes were committed as {digest}"));
        }
        let early = apart > 0 && self.now < Duration::from_secs(60);
        self.check(!early, || {
            "commits: a blob is written twice, though its owner has not stood still".into()
        });
        if named {
            self.check_names();
        }
        self.unspooled();
    }

    /// What was removed from a spool before it was where it was to go has to come once more.
    fn unspooled(&mut self) {
        for process in &self.processes {
            let removed = std::mem::take(&mut process.spool.notes().removed);
            for (digest, size) in removed {
                let digest = windlass_testbed::Digest::parse(digest.as_str());
                let digest = digest.expect("a digest");
                let copies = self.plan.tasks.iter();
                let mut copies = copies.filter(|task| task.operation.writes_to_registry());
                let is_missing = |task: &Planned| {
                    let model = &self.models[task.destination()];
                    model.blob_bytes(task.written(), &digest).is_none()
                };
                if copies.any(is_missing) {
                    self.economy.wasted += size;
                }
            }
        }
    }

    /// After a registry was asked something: what it has a tag for is whole.
    pub(crate) fn after_request(&mut self, request: &Request) {
        if request.method == http::Method::PUT && request.target.contains("/manifests/") {
            self.watch_list(request);
            self.check_tags();
            self.check_further_tags();
        }
    }
}

fn is_in(model: &Model, repository: &str, digest: &Digest) -> bool {
    let digest = windlass_testbed::Digest::parse(digest.as_str());
    digest.is_some_and(|digest| model.blob_bytes(repository, &digest).is_some())
}

#[cfg(test)]
mod tests;
