//! Whether manifests that are about another one are found by who looks for what refers to that one.
//!
//! Responsible for that oracle. Must not make anything happen.

use std::collections::BTreeSet;

use windlass_core::{Event, Report, TaskId};
use windlass_testbed::{Digest, Request};

use super::fault::Fault;
use super::plan::SUBJECT;
use super::world::World;
use crate::family::list_tag;
use crate::world::scenes::digest;

impl World<'_> {
    /// A task put something.
    pub(crate) fn watch_stored(&mut self, process: usize, id: TaskId, event: &Event) {
        if let Event::Stored { digest, .. } = event {
            let stored = &mut self.processes[process].watch.stored;
            stored.entry(id).or_default().insert(digest.to_string());
        }
    }

    /// RFR-02: what a task put is in the list of what refers to its subject if the registry does not list
    /// it, or the task says that it is not.
    pub(crate) fn check_listed(&mut self, process: usize, id: TaskId, at: usize, report: &Report) {
        let stored = self.processes[process].watch.stored.remove(&id);
        let (stored, task) = (stored.unwrap_or_default(), self.plan.tasks[at]);
        if !task.operation.writes_to_registry() {
            return;
        }
        let told: BTreeSet<&str> = report
            .unlisted
            .iter()
            .map(|it| it.digest.as_str())
            .collect();
        let picture = &self.plan.pictures[task.picture];
        let signatures = picture.signatures(task.one).map(|it| it.digest.to_string());
        let listed = signatures.filter(|it| stored.contains(it) && !told.contains(it.as_str()));
        let (registry, repository) = (task.destination(), task.written());
        let listed = listed.map(|it| (registry, repository, digest(SUBJECT), it));
        self.listed.extend(listed.collect::<Vec<_>>());
        self.check_lists();
    }

    /// Something goes wrong with a request; it may be about a list.
    pub(crate) fn watch_list_fault(&mut self, request: &Request, fault: Fault) {
        if is_list(request) {
            self.list_faults.insert(fault);
        }
    }

    /// A list is no image: what a registry said of what others put there may be no more true.
    pub(crate) fn watch_list(&mut self, request: &Request) {
        if is_list(request) {
            self.lists.insert(Digest::sha256(&request.body));
        }
    }

    /// What was listed once still is, also in the end.
    pub(crate) fn check_lists(&mut self) {
        let missing = self
            .listed
            .iter()
            .find(|(registry, repository, subject, digest)| {
                self.keeps_lists(*registry)
                    && !self.has_listed(*registry, repository, subject, digest)
            });
        let missing = missing.map(|(registry, repository, _, digest)| {
            format!("listed: {digest} is not in the list of reg{registry}/{repository}")
        });
        missing.into_iter().for_each(|what| self.violate(what));
    }

    /// Whether a list at a tag has something.
    pub(crate) fn has_listed(
        &self,
        registry: usize,
        repository: &str,
        subject: &windlass_core::Digest,
        digest: &str,
    ) -> bool {
        let model = &self.models[registry];
        let list = model.tag(repository, &list_tag(subject));
        let list = list.and_then(|list| model.manifest_bytes(repository, list));
        list.is_some_and(|(_, bytes)| String::from_utf8_lossy(bytes).contains(digest))
    }

    /// Whether a registry cannot lose an entry unnoticed: by a list that others replace,
    /// that arrives late, or that was said not to be there, or was damaged.
    pub(crate) fn keeps_lists(&self, registry: usize) -> bool {
        let options = self.models[registry].options();
        let fired = |faults: &[Fault]| faults.iter().any(|it| self.list_faults.contains(it));
        let damaged = fired(&[Fault::Garbled, Fault::Arbitrary]) && !options.digest_header;
        let replaced = fired(&[Fault::Late, Fault::Arbitrary, Fault::RedirectForeign])
            || self.plan.processes > 1;
        // Another index in place of the list, with nothing that would tell.
        let invented = fired(&[Fault::Endless]);
        // A registry that honours conditions is believed when it, or where it leads to, says that it took a list.
        let lies = [Fault::Forgets, Fault::Arbitrary, Fault::RedirectForeign];
        let forgotten = options.conditions && fired(&lies);
        !options.referrers_api
            && !damaged
            && !invented
            && !forgotten
            && (options.conditions || !replaced)
    }
}

/// Whether a request is about the list of what refers to a subject.
pub(crate) fn is_list(request: &Request) -> bool {
    // What cosign keeps at tags has a suffix.
    let target = request.target.split('?').next().unwrap_or_default();
    let tag = target.split_once("/manifests/sha256-");
    tag.is_some_and(|(_, tag)| !tag.contains('.'))
}
