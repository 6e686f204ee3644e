//! What belongs to images without being a part of them, in worlds where copies take it along: referrers, and
//! what cosign keeps at tags made of digests.
//!
//! Responsible for drawing it and putting it where it is read from, and for judging what a copy brings of it, what
//! a list says of it, and what a deletion leaves. Must not make anything happen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use windlass_core::{Carry, Descriptor, Digest, Report};
use windlass_store::Store as _;
use windlass_testbed::{Filter, Image, Model, OCI_INDEX, OCI_MANIFEST, Pages};

use super::choose::Choose;
use super::fault::Fault;
use super::optional::OnePage;
use super::plan::{OLD, Operation, Picture, Plan, Planned, SOURCES, small};
use super::readers;
use super::world::World;
use crate::family::{Referrer, artifact, list_tag, put_list};
use crate::world::Memory;
use crate::world::scenes::digest;

/// The artifact types there are.
const TYPES: [&str; 2] = [
    "application/vnd.example.sbom",
    "application/vnd.example.seal",
];

/// A manifest that belongs to another one.
#[derive(Clone, Debug)]
pub(crate) struct Companion {
    referrer: Referrer,
    /// What cosign calls it at a tag. Otherwise its manifest has a subject.
    suffix: Option<&'static str>,
}

/// What a copy takes along.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Taken {
    referrers: bool,
    /// Of one artifact type only.
    typed: bool,
    digest_tags: bool,
}

/// What a task is about in worlds with companions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) taken: Taken,
    /// A list is asked for of this one of a picture's manifests; a deletion is one of a referrer.
    pub(crate) of: Option<usize>,
    /// A list is asked for of one artifact type.
    pub(super) typed: bool,
    /// The most bytes that the reader of a stream gives at once; 0 counts as 1.
    pub(crate) piece: usize,
    /// How many further tags an image gets.
    pub(crate) tags: usize,
    /// Of a list of tags, one page is asked for.
    pub(crate) page: Option<OnePage>,
    /// How a blob is read.
    pub(crate) habit: readers::Habit,
}

impl Extra {
    /// The artifact type of which a list is asked for.
    pub(crate) fn artifact_type(&self) -> Option<String> {
        self.typed.then(|| TYPES[0].to_owned())
    }
}

impl Taken {
    /// The same as a client is told.
    pub(crate) fn carry(self) -> Carry {
        let mut carry = Carry::NOTHING;
        carry.referrers = self.referrers;
        carry.digest_tags = self.digest_tags;
        if self.typed {
            carry.artifact_types.push(TYPES[0].to_owned());
        }
        carry
    }

    const fn is_nothing(self) -> bool {
        !self.referrers && !self.digest_tags
    }

    /// Whether it is taken along, with the image itself or with what belongs to that.
    fn takes(self, companion: &Companion, with_image: bool) -> bool {
        if companion.suffix.is_some() {
            return self.digest_tags;
        }
        let is_wanted = companion.referrer.artifact_type == TYPES[0];
        self.referrers && (is_wanted || !self.typed || !with_image)
    }
}

impl Companion {
    fn digest(&self) -> Digest {
        self.referrer.digest()
    }

    fn entry(&self) -> Descriptor {
        let bytes = &self.referrer.artifact.manifest;
        let mut entry = Descriptor::new(OCI_MANIFEST, self.digest(), bytes.len() as u64);
        entry.artifact_type = Some(self.referrer.artifact_type.clone());
        entry
    }

    /// The tag at which it is, if it is no referrer.
    fn tag(&self) -> Option<String> {
        let suffix = self.suffix?;
        Some(format!("{}.{suffix}", list_tag(&self.referrer.subject)))
    }
}

/// Draws what is different in a world with companions.
pub(crate) fn draw(choose: &mut dyn Choose, plan: &mut Plan) {
    for (at, picture) in plan.pictures.iter_mut().enumerate() {
        picture.companions = belonging(choose, picture, at);
    }
    share_companions(&mut plan.pictures);
    for setting in &mut plan.settings {
        let options = &mut setting.options;
        options.pages = Pages {
            cap: [None, Some(1), Some(2)][small(choose, 3)],
            ..Pages::default()
        };
        options.filter = [Filter::Applied, Filter::Ignored, Filter::Claimed][small(choose, 3)];
    }
    if choose.below(3) == 2 && write_together(choose, plan) {
        return;
    }
    for task in &mut plan.tasks {
        let picture = &plan.pictures[task.picture];
        match task.operation {
            // There are tags in these repositories that no picture has.
            Operation::Tags | Operation::Referrers | Operation::Resolve => {
                task.operation = Operation::Referrers;
                task.extra.of = Some(small(choose, manifests(picture).len()));
                task.extra.typed = choose.below(2) == 1;
            }
            Operation::Delete => task.extra.of = Some(0),
            _ => {
                task.extra.taken = taken(choose);
            }
        }
    }
}

/// A manifest has one list of what belongs to it, and one signature at its tag: pictures that have one in common are the
/// same.
fn share_companions(pictures: &mut [Picture]) {
    let [first, others @ ..] = pictures else {
        return;
    };
    let known = manifests(first);
    for picture in others {
        if manifests(picture).iter().any(|it| known.contains(it)) {
            *picture = first.clone();
        }
    }
}

/// Several processes push one picture to one repository, where they change the same lists: those of a world that
/// writes to a registry at all.
fn write_together(choose: &mut dyn Choose, plan: &mut Plan) -> bool {
    let mut writers = plan.tasks.iter();
    let Some(first) = writers.find(|task| task.operation.writes_to_registry()) else {
        return false;
    };
    let first = Planned {
        operation: Operation::Push,
        registry: first.destination(),
        deadline: None,
        later: false,
        included: false,
        ..*first
    };
    plan.processes = 2;
    plan.tasks = (0..2 + small(choose, 2))
        .map(|at| Planned {
            process: at % 2,
            extra: Extra {
                taken: Taken {
                    referrers: true,
                    // What one adds the other does not know.
                    typed: at % 2 == 1,
                    digest_tags: false,
                },
                ..Extra::default()
            },
            ..first
        })
        .collect();
    true
}

fn taken(choose: &mut dyn Choose) -> Taken {
    let referrers = choose.below(5) < 4;
    Taken {
        referrers,
        typed: referrers && choose.below(3) == 2,
        digest_tags: !referrers || choose.below(2) == 1,
    }
}

/// One to five companions of a picture's manifests, and of each other.
fn belonging(choose: &mut dyn Choose, picture: &Picture, at: usize) -> Vec<Companion> {
    let mut subjects = manifests(picture);
    let mut companions: Vec<Companion> = Vec::new();
    for n in 0..1 + small(choose, 5) {
        let (media_type, subject) = subjects[small(choose, subjects.len())].clone();
        let artifact_type = TYPES[small(choose, 2)];
        let suffix = [None, None, None, Some("sig"), Some("att")][small(choose, 5)];
        let about = suffix.is_none().then_some((media_type, &subject[..]));
        let artifact = artifact(artifact_type, &format!("{n} of p{at}"), about);
        let manifest = artifact.manifest.to_vec();
        let referrer = Referrer {
            artifact,
            subject: digest(&subject),
            artifact_type: artifact_type.to_owned(),
        };
        let companion = Companion { referrer, suffix };
        let is_taken = |it: &Companion| suffix.is_some() && it.tag() == companion.tag();
        if !companions.iter().any(is_taken) {
            companions.push(companion);
            subjects.push((OCI_MANIFEST, manifest));
        }
    }
    companions
}

/// The manifests of a picture with their media types, the root first.
fn manifests(picture: &Picture) -> Vec<(&'static str, Vec<u8>)> {
    let index = picture.index.iter();
    let index = index.map(|index| (OCI_INDEX, index.manifest.to_vec()));
    let images = picture.images.iter();
    let images = images.map(|image| (OCI_MANIFEST, image.manifest.to_vec()));
    index.chain(images).collect()
}

/// The manifest of a picture that a list is asked for.
pub(crate) fn subject(picture: &Picture, at: usize) -> Digest {
    digest(&manifests(picture)[at].1)
}

/// Puts companions into a repository, with lists where the registry has none.
pub(crate) fn seed(companions: &[Companion], model: &mut Model, repository: &str) {
    let mut lists: BTreeMap<&Digest, Vec<Value>> = BTreeMap::new();
    for companion in companions {
        let referrer = &companion.referrer;
        model.put_image(repository, companion.tag().as_deref(), &referrer.artifact);
        if companion.suffix.is_none() && !model.options().referrers_api {
            let list = lists.entry(&referrer.subject).or_default();
            list.push(referrer.entry());
        }
    }
    for (subject, entries) in lists {
        put_list(model, repository, subject, &entries);
    }
}

/// Puts companions into a store.
pub(crate) fn fill(memory: &Memory, companions: &[Companion]) {
    for companion in companions {
        let Image {
            manifest, config, ..
        } = &companion.referrer.artifact;
        let layers = &companion.referrer.artifact.layers;
        for blob in layers.iter().chain([manifest, config]) {
            memory.blob(&digest(blob), blob);
        }
        let entry = companion.entry();
        let put = match companion.tag() {
            Some(tag) => memory.tag(Some(&tag), &entry),
            None => memory.add_referrers(&companion.referrer.subject, &[entry]),
        };
        put.expect("it is far from full");
    }
}

/// What is deleted in the world's task of this number, and what stays: two referrers of one image.
pub(crate) fn old(at: usize) -> [Companion; 2] {
    let subject = windlass_testbed::image(&[]);
    let about = Some((OCI_MANIFEST, &subject.manifest[..]));
    [format!("t{at}"), OLD.1.to_owned()].map(|name| Companion {
        referrer: Referrer {
            artifact: artifact(TYPES[0], &name, about),
            subject: digest(&subject.manifest),
            artifact_type: TYPES[0].to_owned(),
        },
        suffix: None,
    })
}

/// The referrer that a task of this number deletes.
pub(crate) fn deleted(at: usize) -> Digest {
    old(at)[0].digest()
}

/// Puts what is deleted, and what stays, into a registry.
pub(crate) fn seed_old(model: &mut Model, tasks: &[usize]) {
    let all: BTreeMap<Digest, Companion> = tasks
        .iter()
        .flat_map(|at| old(*at))
        .map(|it| (it.digest(), it))
        .collect();
    let all: Vec<Companion> = all.into_values().collect();
    seed(&all, model, OLD.0);
}

impl World<'_> {
    /// What a copy has to take along of what is where it reads from.
    fn expected(&self, task: &Planned) -> Vec<Companion> {
        let from_store = matches!(task.operation, Operation::Push | Operation::LayoutCopy);
        let pictures = self.plan.pictures.iter().enumerate();
        let here = pictures
            .filter(|(at, _)| from_store || SOURCES[at % SOURCES.len()] == task.read())
            .flat_map(|(_, picture)| &picture.companions);
        let here: BTreeMap<Digest, &Companion> = here.map(|it| (it.digest(), it)).collect();
        let picture = &self.plan.pictures[task.picture];
        let images = picture.chosen(task.one).iter();
        let images = images.map(|image| digest(&image.manifest));
        let mut subjects: BTreeSet<Digest> = images.chain([picture.root(task.one)]).collect();
        let (mut found, mut with_image) = (Vec::new(), true);
        while !subjects.is_empty() {
            let taken = here.values().filter(|it| {
                subjects.contains(&it.referrer.subject) && task.extra.taken.takes(it, with_image)
            });
            let taken: Vec<Companion> = taken.map(|it| (*it).clone()).collect();
            subjects = taken.iter().map(Companion::digest).collect();
            found.extend(taken);
            with_image = false;
        }
        found
    }

    /// A copy has ended well: what it does not tell of as missing is there and listed.
    pub(crate) fn check_carried(&mut self, at: usize, report: &Report) {
        let task = self.plan.tasks[at];
        let Some(carried) = &report.carried else {
            let asked = !task.extra.taken.is_nothing();
            return self.check(!asked, || {
                format!("carried: task {at} does not say what it took along")
            });
        };
        if report.root.digest != self.plan.pictures[task.picture].root(task.one) {
            return;
        }
        let expected = self.expected(&task);
        let alone = self.plan.processes == 1;
        if self.fresh || self.passes() && !self.is_deceived() {
            let all = carried.copied + carried.present == expected.len() as u64;
            let listed = report.unlisted.is_empty() || !alone;
            self.check(all && listed && carried.failed == 0, || {
                format!(
                    "carried: task {at} found {} companions, and reports {carried:?}, {:?}",
                    expected.len(),
                    report.unlisted
                )
            });
        } else if self.is_deceived() {
            return;
        }
        // What belongs to something that is missing is missing with it.
        let told = carried.not_carried.iter();
        let told = told.map(|it| it.digest.as_ref().unwrap_or(&it.subject).clone());
        let mut missing: BTreeSet<Digest> = told.collect();
        let unlisted = report.unlisted.iter().map(|it| it.digest.clone());
        let unlisted: BTreeSet<Digest> = unlisted.collect();
        for companion in expected {
            let digest = companion.digest();
            if missing.contains(&companion.referrer.subject) || missing.contains(&digest) {
                missing.insert(digest);
                continue;
            }
            let is_listed = !unlisted.contains(&digest);
            if is_listed && companion.suffix.is_none() && task.disk().is_none() {
                let subject = companion.referrer.subject.clone();
                let (registry, repository) = (task.destination(), task.written());
                let listed = (registry, repository, subject, digest.to_string());
                self.listed.insert(listed);
            }
            self.check_companion(at, &task, &companion, is_listed);
        }
    }

    /// In the end all of it is there.
    pub(crate) fn check_companions(&mut self, at: usize, task: &Planned) {
        for companion in self.expected(task) {
            self.check_companion(at, task, &companion, true);
        }
    }

    fn check_companion(&mut self, at: usize, task: &Planned, companion: &Companion, listed: bool) {
        let digest = companion.digest();
        let missing = match task.disk() {
            Some(disk) => self.missing_in_store(disk, companion, listed),
            None => self.missing_in_registry(task, companion, listed),
        };
        if let Some(what) = missing {
            self.violate(format!(
                "carried: task {at} is good, but of {} {digest} {what}",
                companion.referrer.subject
            ));
        }
    }

    fn missing_in_store(
        &self,
        disk: usize,
        companion: &Companion,
        listed: bool,
    ) -> Option<&'static str> {
        let memory = &self.disks[disk].memory;
        if memory.bytes(&companion.digest()).is_none() {
            return Some("is not there");
        }
        let is_named = match companion.tag() {
            Some(tag) => memory
                .find(Some(&tag))
                .is_ok_and(|it| it.digest == companion.digest()),
            None => memory
                .referrers(&companion.referrer.subject)
                .is_ok_and(|list| list.iter().any(|it| it.digest == companion.digest())),
        };
        (listed && !is_named).then_some("is not listed")
    }

    fn missing_in_registry(
        &self,
        task: &Planned,
        companion: &Companion,
        listed: bool,
    ) -> Option<&'static str> {
        let (registry, repository) = (task.destination(), task.written());
        let model = &self.models[registry];
        let digest = &companion.referrer.artifact.digest;
        if model.manifest_bytes(repository, digest).is_none() {
            return Some("is not there");
        }
        let is_named = match companion.tag() {
            Some(tag) => model.tag(repository, &tag) == Some(digest),
            None => {
                let keeps = self.fresh || self.keeps_lists(registry);
                let subject = &companion.referrer.subject;
                model.options().referrers_api
                    || !keeps
                    || self.has_listed(registry, repository, subject, digest.as_str())
            }
        };
        (listed && !is_named).then_some("is not listed")
    }

    /// Whether something was said that a client cannot see through: that a manifest is there, or was put; that a
    /// list is another one.
    fn is_deceived(&self) -> bool {
        let lies = [
            Fault::Arbitrary,
            Fault::RedirectForeign,
            Fault::Endless,
            Fault::Garbled,
            Fault::EchoHeader,
            Fault::Forgets,
            // Their status may say that there is no referrers API.
            Fault::Bloated,
            Fault::Echo,
        ];
        lies.iter().any(|it| self.fired[it.place()] > 0)
    }

    /// What the lists have of what refers to a manifest, of the type that is asked for.
    pub(crate) fn list_of(&self, task: &Planned, subject: &Digest) -> BTreeSet<String> {
        let pictures = self.plan.pictures.iter().enumerate();
        let here = pictures.filter(|(at, _)| SOURCES[at % SOURCES.len()] == task.read());
        let all = here.flat_map(|(_, picture)| &picture.companions);
        let wanted = task.extra.artifact_type();
        let found = all.filter(|it| {
            let referrer = &it.referrer;
            let is_wanted = wanted
                .as_ref()
                .is_none_or(|it| *it == referrer.artifact_type);
            it.suffix.is_none() && referrer.subject == *subject && is_wanted
        });
        found.map(|it| it.digest().to_string()).collect()
    }

    /// A referrer that was deleted is gone, also from its subject's list, and the other one is not.
    pub(crate) fn check_old(&mut self, at: usize, registry: usize, unlisted: bool) {
        let model = &self.models[registry];
        let [gone, stays] = old(at);
        let there = |it: &Companion| {
            let bytes = model.manifest_bytes(OLD.0, &it.referrer.artifact.digest);
            bytes.is_some()
        };
        let listed = |it: &Companion| {
            let digest = it.digest();
            self.has_listed(registry, OLD.0, &it.referrer.subject, digest.as_str())
        };
        let keeps = !model.options().referrers_api;
        let good = !there(&gone) && there(&stays);
        let good = good && (!keeps || unlisted || (!listed(&gone) && listed(&stays)));
        self.check(good, || {
            format!("deletes: task {at} left its referrer, or took another one")
        });
    }
}
