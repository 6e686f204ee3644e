//! What must be true in every world, whatever goes wrong in it.
//!
//! Responsible for the judgement alone. Each oracle has a test in `tests/tests/simulation.rs` that
//! shows what it would say. Must not make anything happen.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::MutexGuard;
use std::time::Duration;

use serde_json::Value;
use windlass_core::call::{Call, Payload};
use windlass_core::{Descriptor, Digest, Failure, Report, StoreErrorKind};
use windlass_store::Store as _;
use windlass_testbed::{Location, Model, Request};

use super::disk::{Disk, Notes};
use super::exchange::owner_of;
use super::plan::{Access, Operation, Picture, Plan, Planned};
use super::secrets::{self, Found, Sort};
use super::world::World;

/// Bytes of blobs and requests: what was used, and what it may have been.
#[derive(Debug, Default)]
pub(crate) struct Economy {
    /// Bytes of blobs sent.
    pub(crate) sent: u64,
    /// Bytes that had to be moved for nothing, at the most.
    pub(crate) wasted: u64,
    pub(crate) requests: u64,
    /// Bytes received by processes that are no more.
    appended: u64,
    needed: u64,
    /// What was counted already: who moves it where.
    counted: BTreeSet<(usize, Operation, Digest)>,
}

/// From this size on a push asks before it sends.
const ASKS_FROM: u64 = 256 * 1024;

impl Economy {
    /// A task starts, perhaps again: what it needs to move.
    pub(crate) fn starts(&mut self, task: &Planned, picture: &Picture) {
        if task.operation == Operation::Resolve {
            return;
        }
        let times = match task.operation {
            // Into the spool and out again, if it is not mounted.
            Operation::CopyWithin | Operation::CopyBetween => 2,
            _ => 1,
        };
        for (digest, size) in picture.blobs(task.one) {
            let place = if task.operation.writes_to_registry() {
                task.destination()
            } else {
                2
            };
            let new = self.counted.insert((place, task.operation, digest));
            // Small blobs are sent without asking whether they are there, and so are all that could
            // not be mounted.
            let asks = size >= ASKS_FROM && task.operation != Operation::CopyWithin;
            if new || (task.operation.writes_to_registry() && !asks) {
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

/// Requests for a plan in which nothing goes wrong, at the most (design §5).
fn budget(plan: &Plan) -> Option<u64> {
    let mut sum = 0;
    for task in &plan.tasks {
        let picture = &plan.pictures[task.picture];
        let blobs = picture.blobs(task.one);
        let large = blobs.values().filter(|size| **size >= ASKS_FROM).count() as u64;
        let empty = blobs.values().filter(|size| **size == 0).count() as u64;
        let blobs = blobs.len() as u64;
        let images = picture.chosen(task.one).len() as u64;
        let indexes = u64::from(picture.is_index());
        let (read, written) = (images + indexes, images + 1);
        let push = 2 + large + 2 * written;
        sum += match task.operation {
            Operation::LayoutCopy => 0,
            Operation::Resolve => 1,
            Operation::Pull => read + blobs - empty,
            Operation::Push => push + 2 * blobs,
            Operation::CopyWithin => read + push + blobs,
            Operation::CopyBetween => read + push + 3 * blobs,
        };
        let ends = if task.operation == Operation::CopyBetween {
            2
        } else {
            1
        };
        // A challenge, and tokens for what is read, written and both.
        sum += 3 * ends;
    }
    plan.settings.iter().all(|it| it.plain).then_some(sum)
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
            self.violate(format!("a secret is shown ({found:?}): {text}"));
        }
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
        if !uri.path().starts_with("/token") {
            return (Some(owner), None);
        }
        let authorization = request.headers().get("authorization");
        let body = match request.body() {
            Payload::Bytes(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let key = format!("{uri} {authorization:?} {body:?}");
        let mut running = self.processes[process].running.iter();
        let twice = running.any(|other| other.token.as_ref() == Some(&key));
        self.check(!twice, || {
            format!("a token is asked for twice at once: {}", uri.path())
        });
        let fetched = self.processes[process]
            .fetched
            .entry(key.clone())
            .or_default();
        *fetched += 1;
        let again = *fetched > 1 && self.now < Duration::from_secs(30);
        let (total, granted) = (self.total(), self.plan.settings[owner].plain);
        self.check(!again || total > 0 || !granted, || {
            "a token is asked for again, though nothing went wrong".into()
        });
        (None, Some(key))
    }

    /// Contract 4: slots per registry.
    pub(crate) fn check_slots(&mut self, process: usize) {
        let most = self.plan.in_flight as usize;
        for owner in 0..2 {
            let running = self.processes[process].running.iter();
            let taken = running.filter(|it| it.slot == Some(owner)).count();
            self.check(taken <= most, || {
                format!("{taken} exchanges with reg{owner} outside, {most} allowed")
            });
        }
    }

    /// Nothing leaves for somebody whom it is not for, nothing unencrypted, nothing to private places.
    pub(crate) fn check_request(&mut self, call: &Call, request: &Request) {
        let uri = call.request().uri();
        let https = uri.scheme_str() == Some("https");
        self.check(https, || format!("{} goes in the clear", request.host));
        let private = ["169.254.", "127.", "192.168.", "10.", "[::1]", "localhost"];
        let private = private.iter().any(|it| request.host.starts_with(it));
        self.check(!private, || format!("{} is private", request.host));
        let mut seen = format!("{} {}\n", request.host, request.target);
        for (name, value) in &request.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            writeln!(seen, "{name}: {value}").expect("a string takes everything");
        }
        if matches!(call.request().body(), Payload::Bytes(_)) {
            seen.push_str(&String::from_utf8_lossy(&request.body));
        }
        for found in secrets::find(&seen) {
            let good = found.owner < 2 && self.may_see(found, request);
            self.check(good, || {
                format!("{} {} gets {found:?}", request.method, request.host)
            });
        }
    }

    fn may_see(&self, found: Found, request: &Request) -> bool {
        let owner = found.owner;
        let setting = &self.plan.settings[owner];
        // Who was sent back by somebody else does so without.
        let sent_back = request.target.contains(super::mangle::BACK);
        let host = |name: &str| !sent_back && request.host == format!("{name}{owner}.example");
        let asks_for_token = request.target.starts_with("/token");
        let realm = match setting.access {
            Access::Elsewhere => host("auth") && asks_for_token,
            Access::Bearer | Access::Refresh => host("reg") && asks_for_token,
            Access::Open | Access::Basic | Access::Untrusted => false,
        };
        match found.sort {
            // Its own registry may always ask for it, whatever it asked for before.
            Sort::Password => realm || host("reg"),
            Sort::Refresh => realm,
            Sort::Token => host("reg") && request.target.starts_with("/v2/"),
            Sort::Signature => host("cdn"),
            Sort::State => match setting.options.uploads.location {
                Location::Elsewhere(_) => host("up"),
                _ => host("reg"),
            },
            Sort::Unknown => false,
        }
    }

    /// Nobody is told of trouble that nobody made.
    pub(crate) fn check_blame(&mut self, why: &str) {
        let lost = why.contains("the worker was lost");
        let credits = &mut self.credits;
        let found = credits
            .iter()
            .position(|credit| why.starts_with(credit.as_str()))
            .or_else(|| (lost && !credits.is_empty()).then_some(0));
        match found {
            Some(at) => {
                credits.remove(at);
            }
            None => self.violate(format!("nothing explains: {why}")),
        }
    }

    /// Without faults every task is good, and when they have stopped, every task is.
    pub(crate) fn check_result(&mut self, at: usize, result: &Result<Report, Failure>) {
        let task = self.plan.tasks[at];
        let calm = self.calm || self.total() == 0;
        let text = match result {
            Ok(report) => {
                let expected = self.plan.pictures[task.picture].root(task.one);
                let expected = match task.operation {
                    Operation::Resolve => self.plan.pictures[task.picture].root(false),
                    _ => expected,
                };
                (calm && report.root.digest != expected).then(|| format!("{report:?}"))
            }
            Err(failure) => {
                let text = format!("{failure} {failure:?}");
                self.check_text(&text);
                (calm && task.deadline.is_none()).then_some(text)
            }
        };
        if let Some(text) = text {
            self.violate(format!(
                "nothing went wrong, but task {at} ended with: {text}"
            ));
        }
    }

    pub(crate) fn each_disk(&self, mut change: impl FnMut(&mut MutexGuard<'_, Notes>)) {
        let spools = self.processes.iter().map(|process| &process.spool);
        for disk in self.disks.iter().chain(spools) {
            change(&mut disk.notes());
        }
    }

    /// After a step of a store: nothing was committed twice, and what is named is whole.
    pub(crate) fn after_step(&mut self) {
        let (mut twice, mut named) = (None, false);
        self.each_disk(|notes| {
            twice = twice.take().or(notes.twice.take());
            named |= std::mem::take(&mut notes.named);
        });
        if let Some(digest) = twice {
            self.violate(format!("{digest} was committed twice"));
        }
        if named {
            self.check_names();
        }
    }

    /// After a registry was asked something: what it has a tag for is whole.
    pub(crate) fn after_request(&mut self, request: &Request) {
        if request.method == http::Method::PUT && request.target.contains("/manifests/") {
            self.check_tags();
        }
    }

    fn check_names(&mut self) {
        let mut missing = None;
        for disk in &self.disks[1..] {
            for (name, root) in disk.memory.names() {
                let has = |digest: &Digest, size: Option<u64>| {
                    let bytes = disk.memory.bytes(digest)?;
                    size.is_none_or(|size| size == bytes.len() as u64)
                        .then_some(bytes)
                };
                let problem = incomplete(root.digest.as_str(), Some(root.size), &has);
                missing = missing.or(problem.map(|it| format!("{name:?} is named, but {it}")));
            }
        }
        missing.into_iter().for_each(|what| self.violate(what));
    }

    fn check_tags(&mut self) {
        let mut missing = None;
        for (owner, model) in self.models.iter().enumerate() {
            for at in 0..self.plan.tasks.len() {
                let tag = format!("t{at}");
                let Some(root) = model.tag("dst/one", &tag) else {
                    continue;
                };
                let problem = incomplete(root.as_str(), None, &|digest, size| {
                    in_registry(model, digest, size)
                });
                missing = missing.or(problem.map(|it| format!("reg{owner} has {tag}, but {it}")));
            }
        }
        missing.into_iter().for_each(|what| self.violate(what));
    }

    /// At the end of everything: both sides are complete, every byte is what its name says, nothing
    /// was moved more often than it had to be.
    pub(crate) fn check_end(&mut self) {
        let debug: Vec<String> = self
            .processes
            .iter()
            .map(|it| format!("{:?}", it.session))
            .collect();
        debug.iter().for_each(|text| self.check_text(text));
        self.check_names();
        self.check_tags();
        for (at, task) in self.plan.tasks.clone().into_iter().enumerate() {
            let expected = self.plan.pictures[task.picture].root(task.one);
            let name = format!("t{at}");
            let found = match task.operation {
                Operation::Resolve => continue,
                Operation::Pull => named(&self.disks[1], &name),
                Operation::LayoutCopy => named(&self.disks[2], &name),
                _ => {
                    let model = &self.models[task.destination()];
                    let tag = model.tag("dst/one", &name);
                    tag.map(|digest| digest.as_str().to_owned())
                }
            };
            self.check(found.as_deref() == Some(expected.as_str()), || {
                format!("task {at} is good, but {name} is {found:?}")
            });
        }
        let disks = self
            .disks
            .iter()
            .chain(self.processes.iter().map(|it| &it.spool));
        let mut wrong: Vec<String> = Vec::new();
        for disk in disks {
            let blobs = disk.memory.blobs();
            let bad = blobs.iter().filter(|(name, bytes)| !name.verifies(bytes));
            wrong.extend(bad.map(|(name, _)| format!("{name} has other bytes")));
            let taken = disk.memory.taken();
            wrong.extend(taken.iter().map(|name| format!("{name} is still open")));
        }
        wrong.into_iter().for_each(|what| self.violate(what));
        self.check_registries();
        self.check_economy();
    }

    fn check_registries(&mut self) {
        let mut wrong = Vec::new();
        for model in &self.models {
            for digest in model.blob_digests("dst/one") {
                let bytes = model.blob_bytes("dst/one", &digest);
                let good = bytes.is_some_and(|bytes| is(digest.as_str(), bytes));
                wrong.extend((!good).then(|| format!("{digest} has other bytes in a registry")));
            }
            for digest in model.manifest_digests("dst/one") {
                let bytes = model.manifest_bytes("dst/one", &digest);
                let good = bytes.is_some_and(|(_, bytes)| is(digest.as_str(), bytes));
                wrong.extend((!good).then(|| format!("{digest} has other bytes in a registry")));
            }
        }
        wrong.into_iter().for_each(|what| self.violate(what));
    }

    fn check_economy(&mut self) {
        let (mut moved, mut apart) = (self.economy.appended + self.economy.sent, 0);
        self.each_disk(|notes| {
            moved += notes.appended;
            apart += notes.apart;
        });
        let allowed = self.economy.needed + self.economy.wasted + apart;
        self.check(moved <= allowed, || {
            format!("{moved} bytes were moved, {allowed} would have done")
        });
    }

    /// Before the faults are switched off: if there were none, few requests were needed.
    pub(crate) fn check_requests(&mut self) {
        if self.total() > 0 {
            return;
        }
        if let Some(budget) = budget(&self.plan) {
            let requests = self.economy.requests;
            self.check(requests <= budget, || {
                format!("{requests} requests, {budget} would have done")
            });
        }
    }
}

fn named(disk: &Disk, name: &str) -> Option<String> {
    let found: Result<Descriptor, _> = disk.find(Some(name));
    match found {
        Ok(descriptor) => Some(descriptor.digest.to_string()),
        Err(error) => {
            debug_assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
            None
        }
    }
}

fn is(digest: &str, bytes: &[u8]) -> bool {
    digest
        .parse::<Digest>()
        .is_ok_and(|digest| digest.verifies(bytes))
}

fn in_registry(model: &Model, digest: &Digest, size: Option<u64>) -> Option<Vec<u8>> {
    let digest = windlass_testbed::Digest::parse(digest.as_str())?;
    let manifest = model
        .manifest_bytes("dst/one", &digest)
        .map(|(_, bytes)| bytes);
    let bytes = manifest.or_else(|| model.blob_bytes("dst/one", &digest))?;
    size.is_none_or(|size| size == bytes.len() as u64)
        .then(|| bytes.to_vec())
}

/// What is missing of a document and everything below it.
fn incomplete(
    digest: &str,
    size: Option<u64>,
    has: &dyn Fn(&Digest, Option<u64>) -> Option<Vec<u8>>,
) -> Option<String> {
    let parsed = digest.parse::<Digest>().ok()?;
    let Some(bytes) = has(&parsed, size) else {
        return Some(format!("{digest} is missing"));
    };
    let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
        return None;
    };
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let below = list("manifests").into_iter().chain(list("layers"));
    let config = document.get("config").filter(|it| it["digest"].is_string());
    below.chain(config.cloned()).find_map(|descriptor| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        incomplete(digest, descriptor["size"].as_u64(), has)
    })
}
