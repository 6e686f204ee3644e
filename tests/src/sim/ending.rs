//! What must be there: whole images under names and tags at any time, everything at the end.
//!
//! Responsible for looking at stores, registries and sums. Must not know how they came to be so.

use serde_json::Value;
use windlass_core::{Descriptor, Digest, StoreErrorKind};
use windlass_store::Store as _;
use windlass_testbed::Model;

use super::disk::Disk;
use super::fault::Fault;
use super::optional;
use super::oracles::ASKS_FROM;
use super::plan::{Access, DESTINATIONS, OLD, Operation, Plan, Planned};
use super::settings::SHORTENED;
use super::world::World;

impl World<'_> {
    pub(crate) fn check_names(&mut self) {
        let mut missing = None;
        for disk in &self.disks[1..] {
            for (name, root) in disk.memory.names() {
                let has = |digest: &Digest, size: Option<u64>| {
                    let bytes = disk.memory.bytes(digest)?;
                    size.is_none_or(|size| size == bytes.len() as u64)
                        .then_some(bytes)
                };
                let problem = incomplete(root.digest.as_str(), Some(root.size), &has);
                missing =
                    missing.or_else(|| Some(format!("names: {name:?} is named, but {}", problem?)));
            }
        }
        missing.into_iter().for_each(|what| self.violate(what));
    }

    /// After a step of a store: nothing whose sync failed has a name, and no document and no image that it
    /// is a part of, unless it was written again.
    pub(crate) fn check_synced(&mut self) {
        let mut said = None;
        for disk in &self.disks {
            let notes = disk.notes();
            if notes.unsynced.is_empty() {
                continue;
            }
            let synced = |digest: &Digest, _| {
                let failed = notes.unsynced.contains(digest);
                // What was never there is for the others.
                (!failed).then(|| disk.memory.bytes(digest).unwrap_or_default())
            };
            let named = notes.unsynced.iter();
            let named = named.filter(|digest| disk.memory.bytes(digest).is_some());
            let names = disk.memory.names();
            let roots = names.iter().map(|(_, root)| &root.digest);
            for digest in named.chain(&notes.put).chain(roots) {
                if let Some(problem) = incomplete(digest.as_str(), None, &synced) {
                    let problem = problem.replace("is missing", "could not be synced");
                    said = said
                        .or_else(|| Some(format!("durable: {digest} has a name, but {problem}")));
                }
            }
        }
        said.into_iter().for_each(|what| self.violate(what));
    }

    /// A document was put into a store: what it names was there before.
    pub(crate) fn check_order(&mut self, disk: &Disk, put: &Digest) {
        let has = |digest: &Digest, size: Option<u64>| {
            let bytes = disk.memory.bytes(digest)?;
            size.is_none_or(|size| size == bytes.len() as u64)
                .then_some(bytes)
        };
        if let Some(problem) = incomplete(put.as_str(), None, &has) {
            self.violate(format!("order: {put} was put into a store, but {problem}"));
        }
    }

    /// A registry took a manifest: whatever it has now is whole, whether it looks or not, and so is
    /// what it has tags for.
    pub(crate) fn check_tags(&mut self) {
        let mut missing = None;
        for (owner, model) in self.models.iter().enumerate() {
            for repository in DESTINATIONS {
                let tasks = self.plan.tasks.iter().enumerate();
                let tags = tasks.flat_map(|(at, task)| {
                    let own = [format!("t{at}")];
                    own.into_iter().chain(optional::tags(at, task))
                });
                let tags = tags.filter_map(|tag| {
                    let root = model.tag(repository, &tag)?.as_str().to_owned();
                    Some((tag, root))
                });
                let roots = model.manifest_digests(repository).into_iter();
                let roots = roots.filter(|root| !self.lists.contains(root));
                let roots = roots.map(|root| ("a manifest".to_owned(), root.as_str().to_owned()));
                for (what, root) in tags.chain(roots) {
                    let problem = incomplete(&root, None, &|digest, size| {
                        in_registry(model, repository, digest, size)
                    });
                    missing = missing.or_else(|| {
                        Some(format!(
                            "names: reg{owner}/{repository} has {what}, but {}",
                            problem?
                        ))
                    });
                }
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
            self.check_foreign(at, &task);
            let expected = self.plan.pictures[task.picture].root(task.one);
            let name = format!("t{at}");
            let found = match task.operation {
                Operation::Resolve
                | Operation::Tags
                | Operation::Referrers
                | Operation::Read
                | Operation::Open => continue,
                Operation::Stream => {
                    self.check_stream(at, &task);
                    continue;
                }
                Operation::Delete if task.extra.of.is_some() => {
                    self.check_old(at, task.registry, false);
                    continue;
                }
                Operation::Delete => {
                    self.check_deleted(at, &task);
                    continue;
                }
                _ => match task.disk() {
                    Some(disk) => named(&self.disks[disk], &name),
                    None => {
                        let model = &self.models[task.destination()];
                        let tag = model.tag(task.written(), &name);
                        tag.map(|digest| digest.as_str().to_owned())
                    }
                },
            };
            self.check(found.as_deref() == Some(expected.as_str()), || {
                format!("names: task {at} is good, but {name} is {found:?}")
            });
            self.check_companions(at, &task);
            self.check_all_tags(at, &task);
        }
        self.check_lists();
        self.check_disks();
        self.check_registries();
        self.check_economy();
        for process in std::mem::take(&mut self.processes) {
            self.bury(process);
        }
    }

    /// A tag that was deleted is gone, and nothing else is.
    fn check_deleted(&mut self, at: usize, task: &Planned) {
        let model = &self.models[task.registry];
        let there = model.tag(OLD.0, &format!("t{at}")).is_some();
        let stays = model.tag(OLD.0, OLD.1);
        let stays = stays.and_then(|digest| model.manifest_bytes(OLD.0, digest));
        let good = !there && stays.is_some();
        self.check(good, || {
            format!("deletes: task {at} left its tag, or took another one")
        });
    }

    /// Every byte in a store is what its name says, and nothing is half done.
    pub(crate) fn check_disks(&mut self) {
        let disks = self
            .disks
            .iter()
            .chain(self.processes.iter().map(|it| &it.spool));
        let mut wrong: Vec<String> = Vec::new();
        for disk in disks {
            let blobs = disk.memory.blobs();
            let bad = blobs.iter().filter(|(name, bytes)| !name.verifies(bytes));
            wrong.extend(bad.map(|(name, _)| format!("integrity: {name} has other bytes")));
            let taken = disk.memory.taken();
            wrong.extend(
                taken
                    .iter()
                    .map(|name| format!("leaks: {name} is still open")),
            );
        }
        for process in &self.processes {
            let left = process.spool.memory.blobs().into_keys();
            wrong.extend(left.map(|name| format!("leaks: {name} is still in a spool")));
        }
        wrong.into_iter().for_each(|what| self.violate(what));
    }

    /// Without trouble every upload session that is left open was asked to end: a deletion is tried for a second, and
    /// not always again with a new token.
    pub(crate) fn check_uploads(&mut self) {
        let open: usize = self.models.iter().map(Model::open_uploads).sum();
        let in_time = self.plan.tasks.iter().all(|task| task.deadline.is_none());
        let is_calm = in_time && self.plan.mirrors.is_empty() && self.total() == 0;
        // One that did not come to an end in its second is in no log.
        let is_asked = self
            .lines
            .iter()
            .any(|line| line.contains("> DELETE https://") && line.contains("/blobs/uploads/"));
        let good = open == 0 || !is_calm || is_asked;
        self.check(good, || {
            format!("leaks: {open} upload sessions are still open")
        });
    }

    pub(crate) fn check_registries(&mut self) {
        let mut wrong = Vec::new();
        let places = self.models.iter();
        let places = places.flat_map(|model| DESTINATIONS.map(|repository| (model, repository)));
        for (model, repository) in places {
            for digest in model.blob_digests(repository) {
                let bytes = model.blob_bytes(repository, &digest);
                let good = bytes.is_some_and(|bytes| is(digest.as_str(), bytes));
                wrong.extend(
                    (!good).then(|| format!("integrity: {digest} has other bytes in a registry")),
                );
            }
            for digest in model.manifest_digests(repository) {
                let bytes = model.manifest_bytes(repository, &digest);
                let good = bytes.is_some_and(|(_, bytes)| is(digest.as_str(), bytes));
                wrong.extend(
                    (!good).then(|| format!("integrity: {digest} has other bytes in a registry")),
                );
            }
        }
        wrong.into_iter().for_each(|what| self.violate(what));
    }

    pub(crate) fn check_economy(&mut self) {
        if self.plan.carries {
            return;
        }
        let (mut moved, mut apart) = (self.economy.appended + self.economy.sent, 0);
        self.each_disk(|notes| {
            moved += notes.appended;
            apart += notes.apart;
        });
        let allowed = self.economy.needed + self.economy.wasted + apart;
        self.check(moved <= allowed, || {
            format!("economy: {moved} bytes were moved, {allowed} would have done")
        });
        let requests = self.economy.requests;
        if let Some(allowed) = self.economy.allowed {
            self.check(requests <= allowed, || {
                format!("economy: {requests} requests, the second time {allowed} would have done")
            });
        }
    }

    /// Before everything is asked for once more: if all of it is done, few requests are needed.
    pub(crate) fn expect_little(&mut self) {
        let done = self.results.iter().all(|it| matches!(it, Some(Ok(_))));
        let mut settings = self.plan.settings.iter();
        let plain = settings.all(|it| {
            it.plain && it.options.digest_header && it.options.labels.manifest_type.is_none()
        });
        if self.total() == 0 && done && plain && !self.plan.carries {
            let requests: u64 = self
                .plan
                .tasks
                .iter()
                .map(|task| again(&self.plan, task))
                .sum();
            self.economy.allowed = Some(self.economy.requests + requests);
        }
    }

    /// Before the faults are switched off: each of them has cost a few requests and no more.
    pub(crate) fn check_requests(&mut self) {
        // A manifest of things that do not exist has them all asked for.
        let endless = self.fired[Fault::Endless.place()] > 0;
        if let Some(budget) = budget(&self.plan).filter(|_| !endless) {
            let runs = 1 + u64::from(self.crashes);
            let mut faults = Fault::ALL
                .into_iter()
                .filter(|it| self.fired[it.place()] > 0);
            let unmounted = if faults.any(|it| it == Fault::RefusedMount || it.misleads()) {
                unmounted(&self.plan)
            } else {
                0
            };
            let again = self.plan.mirrors.again(&self.plan, self.now);
            let allowed = runs * (budget + unmounted) + COST * self.total() + again;
            let requests = self.economy.requests;
            self.check(requests <= allowed, || {
                format!("economy: {requests} requests, {allowed} would have done")
            });
        }
    }
}

/// Requests that a fault may cost. An upload that breaks asks whether it arrived, begins anew and sends,
/// and may have to say again who it is; few faults cost more than one.
pub(crate) const COST: u64 = 6;

/// Requests until a registry knows who a task is: none, a challenge, or a challenge and tokens for what
/// is read, written and both.
const fn sign_in(access: Access) -> u64 {
    match access {
        Access::Open => 0,
        Access::Basic => 1,
        Access::Bearer | Access::Refresh | Access::Elsewhere | Access::Untrusted => 3,
    }
}

/// The same for all the registries that a task has to do with.
fn signs_in(plan: &Plan, task: &Planned) -> u64 {
    let at = |registry: usize| sign_in(plan.settings[registry].access);
    match task.operation {
        Operation::LayoutCopy => 0,
        Operation::Resolve
        | Operation::Tags
        | Operation::Referrers
        | Operation::Delete
        | Operation::Pull
        | Operation::Push
        | Operation::CopyWithin
        | Operation::Stream
        | Operation::Read
        | Operation::Open => at(task.registry),
        Operation::CopyBetween => at(0) + at(1),
    }
}

/// Requests for a plan in which nothing goes wrong, at the most (design §5).
pub(crate) fn budget(plan: &Plan) -> Option<u64> {
    let mut sum = 0;
    for task in &plan.tasks {
        let picture = &plan.pictures[task.picture];
        let blobs = picture.blobs(task.one);
        let large = blobs.values().filter(|size| **size >= ASKS_FROM).count() as u64;
        let empty = blobs.values().filter(|size| **size == 0).count() as u64;
        // What an earlier run left is gone on with, in as many pieces as the registry likes.
        let pieces: u64 = blobs.values().map(|size| size / SHORTENED).sum();
        let blobs = blobs.len() as u64;
        let images = picture.chosen(task.one).len() as u64;
        let indexes = u64::from(picture.is_index());
        let (read, written) = (images + indexes, images + 1);
        let push = 2 + large + 2 * written;
        sum += match task.operation {
            Operation::LayoutCopy => 0,
            Operation::Resolve => resolves(plan, task),
            Operation::Tags => optional::lists(plan, task),
            Operation::Delete => 1,
            Operation::Referrers => lists(plan, task),
            Operation::Pull => read + blobs - empty + pieces,
            Operation::Push => push + 2 * blobs,
            Operation::CopyWithin => read + push + blobs,
            Operation::CopyBetween => read + push + 3 * blobs + pieces,
            // In chunks, or with all of it gathered first: then it is asked for, and a session is deleted.
            Operation::Stream => 6,
            // With a HEAD if nothing has shown yet whether the registry wants credentials.
            Operation::Read => 2 + pieces,
            Operation::Open => 3,
        };
        if task.operation.writes_to_registry() {
            let destination = &plan.settings[task.destination()].options;
            // A list is read, written and read. Processes that know nothing of each other may replace each
            // other's.
            let each = if plan.processes == 1 { 3 } else { 9 };
            let signatures = picture.signatures(task.one).count() as u64;
            sum += u64::from(!destination.referrers_api) * each * signatures;
            sum += in_chunks(plan, task) + optional::puts_tags(plan, task);
        }
        sum += signs_in(plan, task) + for_foreign(plan, task) + plan.mirrors.cost(plan, task);
    }
    let plain = plan.settings.iter().all(|it| it.plain);
    (plain && !plan.carries).then_some(sum)
}

/// Requests for blobs in chunks: each chunk, the end, a HEAD, and a status request if the registry counts otherwise.
fn in_chunks(plan: &Plan, task: &Planned) -> u64 {
    let sizes = plan.pictures[task.picture].blobs(task.one).into_values();
    let chunks = |size: u64| plan.chunk_size.map_or(0, |chunk| size / chunk + 3);
    sizes.map(chunks).sum()
}

/// Requests beyond the budget if copies cannot mount: a refusal of one mount is taken for one of all that
/// come from that repository.
pub(crate) fn unmounted(plan: &Plan) -> u64 {
    let copies = plan.tasks.iter();
    let copies = copies.filter(|task| task.operation == Operation::CopyWithin);
    let blobs = copies.flat_map(|task| plan.pictures[task.picture].blobs(task.one).into_values());
    // It is fetched, in as many pieces as the registry likes, and sent with a PUT.
    blobs.map(|size| 2 + size / SHORTENED).sum()
}

/// Requests for a task whose work is done already, at the most.
fn again(plan: &Plan, task: &Planned) -> u64 {
    // An index leads to the image that is wanted.
    let read = 1 + u64::from(task.one);
    let asked = match task.operation {
        Operation::LayoutCopy => 0,
        Operation::Resolve => resolves(plan, task),
        Operation::Referrers => lists(plan, task),
        Operation::Tags => optional::lists(plan, task),
        Operation::Pull | Operation::Push | Operation::Delete => 1,
        Operation::CopyWithin | Operation::CopyBetween => read + 1,
        Operation::Stream => 6 + in_chunks(plan, task),
        Operation::Read => 2,
        Operation::Open => 3,
    };
    let asked = asked + optional::puts_tags(plan, task);
    asked + signs_in(plan, task) + for_foreign(plan, task) + plan.mirrors.cost(plan, task)
}

/// Requests that foreign layers may cost beside those of every blob: their URLs with a redirect each; a
/// destination that has the manifest and is asked for them; a registry that refuses a manifest for those
/// that were left out, so that everything below it is asked for again.
fn for_foreign(plan: &Plan, task: &Planned) -> u64 {
    let picture = &plan.pictures[task.picture];
    let layers = picture.foreign(task.one).count() as u64;
    let images = picture.chosen(task.one).len() as u64;
    let parts = images + picture.blobs(task.one).len() as u64;
    if layers == 0 || task.operation.moves_nothing() {
        return 0;
    }
    let demands = u64::from(!task.included && task.operation.writes_to_registry());
    let includes = u64::from(task.included);
    includes * (12 * layers + 3 * images) + demands * layers * 4 * parts
}

/// Requests for a look-up. Some registries do not say in a HEAD what they have.
fn resolves(plan: &Plan, task: &Planned) -> u64 {
    let options = &plan.settings[task.registry].options;
    1 + u64::from(!options.digest_header || options.labels.manifest_type.is_some())
}

/// Requests for a list of referrers: by the API, or by the tag after that.
fn lists(plan: &Plan, task: &Planned) -> u64 {
    1 + u64::from(!plan.settings[task.registry].options.referrers_api)
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

fn in_registry(
    model: &Model,
    repository: &str,
    digest: &Digest,
    size: Option<u64>,
) -> Option<Vec<u8>> {
    let digest = windlass_testbed::Digest::parse(digest.as_str())?;
    let manifest = model
        .manifest_bytes(repository, &digest)
        .map(|(_, bytes)| bytes);
    let bytes = manifest.or_else(|| model.blob_bytes(repository, &digest))?;
    size.is_none_or(|size| size == bytes.len() as u64)
        .then(|| bytes.to_vec())
}

/// The bytes of some content, if they are there and of that size.
type Has<'a> = &'a dyn Fn(&Digest, Option<u64>) -> Option<Vec<u8>>;

/// What is missing of a document and everything below it.
fn incomplete(digest: &str, size: Option<u64>, has: Has<'_>) -> Option<String> {
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
        let size = descriptor["size"].as_u64();
        let problem = incomplete(digest, size, has)?;
        // Whether a foreign layer has to be there is known to its task only.
        let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
        let is_foreign = media_type.contains("foreign")
            || media_type.contains("nondistributable")
            || descriptor["urls"].is_array();
        (!is_foreign).then_some(problem)
    })
}
