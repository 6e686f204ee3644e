//! What a world is made of, before anything happens in it.
//!
//! Responsible for drawing registries, images and tasks that can all succeed if nothing goes wrong.
//! Must not know how they are run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use windlass_core::config::{Concurrency, Limits, Parts, Retry};
use windlass_core::{Config, Digest, Platform};
use windlass_testbed::{Image, Index, Model, OCI_MANIFEST, descriptor, image_for, index};

use super::choose::Choose;
use super::companions::{self, Companion, Extra};
use super::fault::{Fault, Swarm};
use super::foreign::{self, Layer};
use super::greedy;
use super::kept;
use super::mirrors::Mirrors;
use super::optional;
use super::readers;
pub(crate) use super::settings::Access;
use super::settings::{Setting, options, setting};
use super::streams;
use super::stubborn::Stubborn;
use crate::world::scenes::digest;

/// The sorts of tasks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Operation {
    /// From a registry into a store.
    Pull,
    /// From a store to a registry.
    Push,
    /// From one repository to another of the same registry.
    CopyWithin,
    /// From one registry to another.
    CopyBetween,
    /// From one store into another.
    LayoutCopy,
    /// What a reference stands for.
    Resolve,
    /// The tags of a repository.
    Tags,
    /// What refers to a manifest.
    Referrers,
    /// A tag that is of no use any more.
    Delete,
    /// From a reader to a registry: in worlds with streams only.
    Stream,
    /// From a registry to a reader: in worlds with readers only.
    Read,
    /// The manifest and the configuration of an image: in worlds with readers only.
    Open,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Pull,
        Self::Push,
        Self::CopyWithin,
        Self::CopyBetween,
        Self::LayoutCopy,
        Self::Resolve,
        Self::Tags,
        Self::Referrers,
        Self::Delete,
        Self::Stream,
        Self::Read,
        Self::Open,
    ];

    /// Those of worlds without streams and readers.
    pub(crate) const USUAL: &[Self] = Self::ALL.split_at(9).0;

    /// Whether it moves no content into a store or a registry.
    pub(crate) const fn moves_nothing(self) -> bool {
        matches!(
            self,
            Self::Resolve | Self::Tags | Self::Referrers | Self::Delete | Self::Read | Self::Open
        )
    }

    /// Whether it reads a list.
    pub(crate) const fn lists(self) -> bool {
        matches!(self, Self::Tags | Self::Referrers)
    }

    /// Whether it is more than reading for a registry.
    pub(crate) const fn changes_registry(self) -> bool {
        self.writes_to_registry() || matches!(self, Self::Delete)
    }

    pub(crate) const fn writes_to_registry(self) -> bool {
        matches!(
            self,
            Self::Push | Self::CopyWithin | Self::CopyBetween | Self::Stream
        )
    }
}

/// The repositories that are read from, by the place of a picture.
pub(crate) const SOURCES: [&str; 2] = ["src/app", "src/lib"];
/// The repositories that are written to.
pub(crate) const DESTINATIONS: [&str; 2] = ["dst/one", "dst/two"];
/// The repository of tags that are deleted, and the one that stays there.
pub(crate) const OLD: (&str, &str) = ("old/app", "stays");

/// A task to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) operation: Operation,
    pub(crate) picture: usize,
    /// The registry it reads from or, for a push, writes to.
    pub(crate) registry: usize,
    /// The repository it writes to, of [`DESTINATIONS`].
    pub(crate) repository: usize,
    /// One platform of an index, instead of all.
    pub(crate) one: bool,
    /// The process that it runs in.
    pub(crate) process: usize,
    pub(crate) deadline: Option<Duration>,
    /// It starts when others are under way or over.
    pub(crate) later: bool,
    /// A copy between layouts goes where pulls go.
    pub(crate) beside: bool,
    /// A push knows where else its blobs are.
    pub(crate) mounts: bool,
    /// Foreign layers are moved, too.
    pub(crate) included: bool,
    pub(crate) extra: Extra,
}

impl Planned {
    /// The registry it writes to.
    pub(crate) const fn destination(&self) -> usize {
        match self.operation {
            Operation::CopyBetween => 1 - self.registry,
            _ => self.registry,
        }
    }

    /// The repository it writes to.
    pub(crate) const fn written(&self) -> &'static str {
        DESTINATIONS[self.repository]
    }

    /// The repository it reads from.
    pub(crate) const fn read(&self) -> &'static str {
        SOURCES[self.picture % SOURCES.len()]
    }

    /// Which of a world's disks it writes to, if it writes to one.
    pub(crate) const fn disk(&self) -> Option<usize> {
        match self.operation {
            Operation::Pull => Some(1),
            Operation::LayoutCopy => Some(if self.beside { 1 } else { 2 }),
            Operation::Push
            | Operation::CopyWithin
            | Operation::CopyBetween
            | Operation::Resolve
            | Operation::Tags
            | Operation::Referrers
            | Operation::Delete
            | Operation::Stream
            | Operation::Read
            | Operation::Open => None,
        }
    }
}

/// An image or an index of images.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) images: Vec<Image>,
    pub(crate) index: Option<Index>,
    /// The foreign layers of each image.
    pub(crate) foreign: Vec<Vec<Layer>>,
    /// What belongs to its manifests.
    pub(crate) companions: Vec<Companion>,
    /// The blobs of each image, and their sizes: hashing them whenever they are wanted is slow.
    blobs: Vec<Vec<(Digest, u64)>>,
}

pub(crate) const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/s390x"];

impl Picture {
    pub(crate) fn new(images: Vec<Image>, index: Option<Index>) -> Self {
        let named = |blob: &[u8]| (digest(blob), blob.len() as u64);
        let blobs = |image: &Image| image.blobs().map(|blob| named(blob)).collect();
        Self {
            blobs: images.iter().map(blobs).collect(),
            foreign: vec![Vec::new(); images.len()],
            companions: Vec::new(),
            images,
            index,
        }
    }

    /// What is put as a stream.
    pub(crate) fn streamed(&self) -> &[u8] {
        &self.images[0].layers[0]
    }

    /// The one platform that is asked for, if it is one.
    pub(crate) fn platform() -> Platform {
        Platform::new("linux", "amd64")
    }

    pub(crate) const fn is_index(&self) -> bool {
        self.index.is_some()
    }

    /// The root of what a task moves.
    pub(crate) fn root(&self, one: bool) -> Digest {
        let digest = match &self.index {
            Some(index) if !one => &index.digest,
            Some(_) | None => &self.images[0].digest,
        };
        digest.as_str().parse().expect("a digest")
    }

    /// The images that a task moves.
    pub(crate) fn chosen(&self, one: bool) -> &[Image] {
        if one { &self.images[..1] } else { &self.images }
    }

    /// Those of them that are about something.
    pub(crate) fn signatures(&self, one: bool) -> impl Iterator<Item = &Image> {
        let is_about = |image: &&Image| {
            let manifest: Value = serde_json::from_slice(&image.manifest).expect("a manifest");
            manifest["subject"].is_object()
        };
        self.chosen(one).iter().filter(is_about)
    }

    /// The distinct blobs that a task moves, and their sizes.
    pub(crate) fn blobs(&self, one: bool) -> BTreeMap<Digest, u64> {
        let chosen = &self.blobs[..self.chosen(one).len()];
        chosen.iter().flatten().cloned().collect()
    }

    /// The foreign layers of the images that a task moves.
    pub(crate) fn foreign(&self, one: bool) -> impl Iterator<Item = &Layer> {
        self.foreign[..self.chosen(one).len()].iter().flatten()
    }

    /// Whether each image that has a blob has it as such a foreign layer only.
    fn is_only(&self, one: bool, digest: &Digest, is: impl Fn(&Layer) -> bool) -> bool {
        let images = self.blobs.iter().zip(&self.foreign);
        let times = |blobs: &[(Digest, u64)]| blobs.iter().filter(|it| it.0 == *digest).count();
        let mut images = images.take(self.chosen(one).len());
        images.all(|(blobs, foreign)| match times(blobs) {
            0 => true,
            1 => foreign.iter().any(|it| it.digest == *digest && is(it)),
            _ => false,
        })
    }

    /// The distinct blobs that a task has to move, and their sizes.
    pub(crate) fn moved(&self, task: &Planned) -> BTreeMap<Digest, u64> {
        let mut blobs = self.blobs(task.one);
        if task.operation == Operation::Stream {
            let streamed = digest(self.streamed());
            blobs.retain(|digest, _| *digest == streamed);
            return blobs;
        }
        let demands = task.operation.writes_to_registry();
        if !task.included {
            blobs.retain(|digest, _| !self.is_only(task.one, digest, |it| !(it.wanted && demands)));
        }
        blobs
    }

    /// The blobs that are not where it is read from.
    pub(crate) fn lacks(&self) -> BTreeSet<Digest> {
        let unheld = self.foreign(false).filter(|it| !it.held);
        let unheld = unheld.filter(|it| self.is_only(false, &it.digest, |it| !it.held));
        unheld.map(|it| it.digest.clone()).collect()
    }

    /// How many manifests and blobs it has.
    pub(crate) fn parts(&self) -> usize {
        1 + self.images.len() + self.blobs(false).len() + 4 * self.companions.len()
    }

    /// Puts it into a registry.
    pub(crate) fn seed(&self, model: &mut Model, repository: &str, tag: &str) {
        let lacks = self.lacks();
        for blob in self.images.iter().flat_map(Image::blobs) {
            if lacks.is_empty() || !lacks.contains(&digest(blob)) {
                model.put_blob(repository, blob.clone());
            }
        }
        for image in &self.images {
            let tag = (!self.is_index()).then_some(tag);
            model.put_manifest(repository, tag, OCI_MANIFEST, image.manifest.clone());
        }
        if let Some(index) = &self.index {
            model.put_index(repository, Some(tag), index);
        }
        companions::seed(&self.companions, model, repository);
    }
}

/// A world to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: [Setting; 2],
    pub(crate) pictures: Vec<Picture>,
    pub(crate) tasks: Vec<Planned>,
    pub(crate) processes: usize,
    pub(crate) in_flight: u32,
    pub(crate) swarm: Swarm,
    /// Whether jobs overtake each other.
    pub(crate) reorders: bool,
    pub(crate) jitter: u64,
    /// What a session may hold.
    pub(crate) limits: Limits,
    /// The size of the chunks that larger blobs are sent in.
    pub(crate) chunk_size: Option<u64>,
    /// How many further tags each picture has where it is read from.
    pub(crate) names: usize,
    /// Whether small blobs are sent in the POST that begins their upload.
    pub(crate) posts: bool,
    /// What registries always answer in the same way.
    pub(crate) stubborn: Vec<Stubborn>,
    /// From which size on open uploads are kept for other processes, if they are.
    pub(crate) keeps: Option<u64>,
    /// The least bytes of a part, if large blobs are fetched in parts.
    pub(crate) parts: Option<u64>,
    /// Whether tapes run along.
    pub(crate) taped: bool,
    /// Whether copies take along what belongs to images.
    pub(crate) carries: bool,
    pub(crate) mirrors: Mirrors,
    /// Whether those that read go on anonymously if their credentials are refused.
    pub(crate) fallback: bool,
}

impl Plan {
    /// Any world.
    pub(crate) fn draw(choose: &mut dyn Choose) -> Self {
        let pictures: Vec<Picture> = (0..1 + small(choose, 2))
            .map(|at| picture(choose, at))
            .collect();
        let processes = if choose.below(5) == 4 { 2 } else { 1 };
        let tasks: Vec<Planned> = (0..1 + choose.below(3))
            .map(|_| planned(choose, &pictures, processes))
            .collect();
        let settings = [0, 1].map(|registry| {
            let written = |task: &Planned| {
                task.operation.changes_registry() && task.destination() == registry
            };
            setting(choose, registry, tasks.iter().any(written))
        });
        Self {
            settings,
            pictures,
            tasks,
            processes,
            in_flight: 1 + u32::try_from(choose.below(4)).expect("it is small"),
            swarm: swarm(choose),
            reorders: choose.below(4) > 0,
            jitter: choose.below(4),
            limits: greedy::limits(),
            chunk_size: (choose.below(4) == 3).then_some(64 * 1024),
            parts: [None, None, Some(16), Some(500), Some(20_000)][small(choose, 5)],
            names: 0,
            posts: false,
            stubborn: Vec::new(),
            keeps: None,
            taped: false,
            carries: false,
            fallback: choose.below(4) == 3,
            mirrors: Mirrors::default(),
        }
    }

    /// Any world with mirrors.
    pub(crate) fn mirrored(choose: &mut dyn Choose) -> Self {
        let mirrors = Mirrors::draw(choose);
        let taped = choose.below(4) == 3;
        let mut plan = Self::draw(choose);
        for task in &mut plan.tasks {
            // A list is read at one mirror, whatever that is like, where there is no registry to ask.
            if mirrors.replaces(task.registry) && task.operation.lists() {
                task.operation = Operation::Resolve;
            }
        }
        Self {
            mirrors,
            taped,
            ..plan
        }
    }

    /// Any world in which copies take along what belongs to images.
    pub(crate) fn carrying(choose: &mut dyn Choose) -> Self {
        let taped = choose.below(8) == 7;
        let mut plan = Self::draw(choose);
        companions::draw(choose, &mut plan);
        Self {
            carries: true,
            taped,
            ..plan
        }
    }

    /// Any world in which tasks put streams.
    pub(crate) fn streaming(choose: &mut dyn Choose) -> Self {
        let taped = choose.below(8) == 7;
        let mut plan = Self::draw(choose);
        streams::draw(choose, &mut plan);
        Self { taped, ..plan }
    }

    /// Any world in which tasks read blobs without a store.
    pub(crate) fn reading(choose: &mut dyn Choose) -> Self {
        let taped = choose.below(8) == 7;
        let mut plan = Self::draw(choose);
        readers::draw(choose, &mut plan);
        Self { taped, ..plan }
    }

    /// Any world in which tasks ask for what few do.
    pub(crate) fn optional(choose: &mut dyn Choose) -> Self {
        let taped = choose.below(8) == 7;
        let mut plan = Self::draw(choose);
        optional::draw(choose, &mut plan);
        kept::draw(choose, &mut plan);
        Self { taped, ..plan }
    }

    /// How often a session tries. One in four gives up soon: that the same thing fails five times is rare.
    pub(crate) fn attempts(&self) -> u32 {
        let usual = Retry::default().attempts;
        if self.jitter == 3 { 2 } else { usual }
    }

    /// The smallest world for an operation, with at most one fault, which may be any.
    pub(crate) fn tiny(operation: Operation, access: Access) -> Self {
        // Two chunks.
        let streams = operation == Operation::Stream;
        let layer = if streams {
            streams::content(65_540)
        } else {
            b"layer".to_vec()
        };
        let image = image_for(PLATFORMS[0], &[layer]);
        // There is no end to what these can be.
        let endless = [
            Fault::Arbitrary,
            Fault::Noisy,
            Fault::Endless,
            Fault::NewRealm,
        ];
        let endless = endless
            .iter()
            .fold(0_u64, |bits, kind| bits | 1 << kind.place());
        let task = Planned {
            operation,
            picture: 0,
            registry: 0,
            one: false,
            repository: 0,
            process: 0,
            deadline: None,
            later: false,
            beside: false,
            mounts: false,
            included: false,
            extra: Extra {
                piece: usize::MAX,
                ..Extra::default()
            },
        };
        Self {
            settings: [0, 1].map(|registry| Setting {
                access,
                options: options(registry, access),
                leftover: false,
                echoes: None,
                life: None,
                plain: true,
            }),
            pictures: vec![Picture::new(vec![image], None)],
            tasks: vec![task],
            processes: 1,
            in_flight: 1,
            swarm: Swarm {
                rate: 1000,
                kinds: !endless,
                crashes: 1000,
                most: 1,
                even: true,
            },
            reorders: false,
            jitter: 0,
            limits: greedy::limits(),
            chunk_size: streams.then_some(streams::CHUNK),
            names: 0,
            posts: false,
            stubborn: Vec::new(),
            keeps: None,
            parts: None,
            taped: false,
            carries: false,
            mirrors: Mirrors::default(),
            fallback: false,
        }
    }

    /// A world in which registries do nothing but try to make a session hold much, for as many tasks
    /// as it takes.
    pub(crate) fn greedy(choose: &mut dyn Choose) -> Self {
        let mut plan = Self::draw(choose);
        let pictures = plan.pictures.clone();
        plan.processes = 1;
        plan.in_flight = 8;
        let tasks = (0..30 + choose.below(30)).map(|_| Planned {
            deadline: None,
            ..planned(choose, &pictures, 1)
        });
        plan.tasks = tasks.collect();
        plan.settings = [0, 1].map(|registry| setting(choose, registry, true));
        let kinds = [
            Fault::Noisy,
            Fault::Bloated,
            Fault::Endless,
            Fault::NewRealm,
            Fault::Arbitrary,
            Fault::Cancelled,
            Fault::Crash,
        ];
        plan.swarm = Swarm {
            rate: 700,
            kinds: kinds.iter().fold(0, |bits, kind| bits | 1 << kind.place()),
            crashes: 1,
            most: 5000,
            even: false,
        };
        for setting in &mut plan.settings {
            setting.options.check_references = true;
        }
        plan
    }

    /// How the sessions of this world are set up.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.in_flight = Concurrency::at_most(self.in_flight);
        config.limits = self.limits;
        config.chunk_size = self.chunk_size;
        config.post_blobs = self.posts.then_some(true);
        config.keep_uploads = self.keeps;
        config.parts = self.parts.map_or(Parts::NONE, Parts::of_at_least);
        config.retry.attempts = self.attempts();
        self.mirrors.configure(&mut config);
        config.anonymous_fallback = self.fallback;
        for (at, setting) in self.settings.iter().enumerate() {
            if setting.access == Access::Elsewhere {
                let registry = format!("reg{at}.example").parse().expect("a registry");
                let realm = format!("https://auth{at}.example").parse();
                let pair = (registry, realm.expect("an origin"));
                config.trusted_realms.push(pair);
            }
        }
        config
    }
}

fn swarm(choose: &mut dyn Choose) -> Swarm {
    let rates = [0, 20, 50, 80, 120, 160, 250];
    let at = usize::try_from(choose.below(rates.len() as u64)).expect("it is small");
    // Half of the kinds at most worlds, few at some, all at others.
    let bits = 1 << Fault::ALL.len();
    let kinds = match choose.below(4) {
        0 | 1 => choose.below(bits),
        2 => choose.below(bits) & choose.below(bits),
        _ => bits - 1,
    };
    let crashes = [0, 4, 10, 20, 40];
    let crash = usize::try_from(choose.below(crashes.len() as u64)).expect("it is small");
    Swarm {
        rate: rates[at],
        kinds,
        crashes: crashes[crash],
        most: 4 + choose.below(30),
        even: false,
    }
}

/// Mostly tiny, some around the limits that matter: what an upload holds back, progress that gives
/// tries back, the size from which on a HEAD goes first.
fn layer(choose: &mut dyn Choose) -> Vec<u8> {
    const SIZES: [usize; 20] = [
        5, 1, 13, 40, 100, 300, 500, 900, 1500, 4096, 5, 17, 200, 0, 6000, 20_000, 65_536, 70_001,
        140_000, 300_000,
    ];
    let size = SIZES[usize::try_from(choose.below(20)).expect("it is small")];
    let salt = u8::try_from(choose.below(3)).expect("it is small");
    (0..size)
        .map(|i| (i % 251) as u8 ^ (i / 251) as u8 ^ salt)
        .collect()
}

fn picture(choose: &mut dyn Choose, at: usize) -> Picture {
    let layers = |choose: &mut dyn Choose| -> Vec<Vec<u8>> {
        (0..1 + choose.below(4)).map(|_| layer(choose)).collect()
    };
    let platforms = match choose.below(6) {
        4 => 2,
        5 => 3,
        _ => 1,
    };
    let images = PLATFORMS[..platforms].iter().map(|platform| {
        let image = image_for(platform, &layers(choose));
        let (image, foreign) = foreign::perhaps(choose, image, at);
        let image = match choose.below(6) {
            4 | 5 => about(&image),
            _ => image,
        };
        (image, foreign)
    });
    let (images, foreign): (Vec<Image>, Vec<Vec<Layer>>) = images.unzip();
    let entries: Vec<(&str, &Image)> = PLATFORMS.into_iter().zip(&images).collect();
    let index = (platforms > 1).then(|| index(&entries));
    Picture {
        foreign,
        ..Picture::new(images, index)
    }
}

/// What signatures in these worlds are about.
pub(crate) const SUBJECT: &[u8] = b"somebody else's";

/// The same image, which says that it is about another one, as signatures do.
fn about(image: &Image) -> Image {
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("a manifest");
    manifest["artifactType"] = "application/vnd.example.signature".into();
    manifest["subject"] = descriptor(OCI_MANIFEST, SUBJECT);
    let manifest = manifest.to_string().into_bytes();
    Image {
        digest: windlass_testbed::Digest::sha256(&manifest),
        manifest: manifest.into(),
        ..image.clone()
    }
}

fn planned(choose: &mut dyn Choose, pictures: &[Picture], processes: usize) -> Planned {
    let mut one_of = |n: usize| usize::try_from(choose.below(n as u64)).expect("it is small");
    let operation = Operation::USUAL[one_of(Operation::USUAL.len())];
    let picture = one_of(pictures.len());
    let task = Planned {
        operation,
        picture,
        registry: one_of(2),
        one: pictures[picture].is_index() && one_of(3) == 2,
        repository: one_of(3) / 2,
        process: one_of(processes),
        deadline: (one_of(12) == 11)
            .then(|| Duration::from_millis([20_000, 1, 25, 300][one_of(4)])),
        later: one_of(3) == 2,
        beside: one_of(2) == 1,
        mounts: one_of(3) == 2,
        included: false,
        extra: Extra::default(),
    };
    let mut foreign = pictures[picture].foreign(task.one).peekable();
    let from_store = matches!(operation, Operation::Push | Operation::LayoutCopy);
    let may_include = foreign.peek().is_some()
        && foreign.all(|layer| layer.held || (layer.reachable && !from_store));
    Planned {
        included: may_include && one_of(2) == 1,
        ..task
    }
}

pub(crate) fn small(choose: &mut dyn Choose, n: usize) -> usize {
    usize::try_from(choose.below(n as u64)).expect("it is small")
}
