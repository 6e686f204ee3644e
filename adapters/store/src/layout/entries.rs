//! The content of `index.json`.
//!
//! Responsible for parsing it leniently and for changing one entry and nothing else: unknown parts
//! keep their text. Borrows everything from the file's bytes, so a large file needs little more
//! memory than its size. Must not know files.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::iter;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use windlass_core::referrers::{self, is_digest_tag};
use windlass_core::{Descriptor, Digest, StoreErrorKind};

/// The annotation with an entry's name (image-spec `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation in which containerd and Docker put the full name when `ref.name` is only the tag
/// (LAY-07).
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What `cosign save` says in the annotation `kind` of the image: its entries have no names.
const COSIGN_IMAGES: [&str; 2] = [
    "dev.cosignproject.cosign/image",
    "dev.cosignproject.cosign/imageIndex",
];

/// What it says of that which belongs to the image, and how the tag ends at which that is in a registry.
const COSIGN_COMPANIONS: [(&str, &str); 2] = [
    ("dev.cosignproject.cosign/sigs", ".sig"),
    ("dev.cosignproject.cosign/atts", ".att"),
];

/// How many names an error lists.
const LISTED: usize = 20;

/// Why an `index.json` cannot be used.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is not an index.
    NoIndex(String),
    /// It exceeds [`Index::MOST`] entries or the limit of bytes.
    TooLong,
}

/// An image index as read.
#[derive(Debug)]
pub(super) struct Index<'a> {
    /// All members but `manifests`.
    members: Members<'a>,
    manifests: Vec<&'a RawValue>,
}

/// An index with one entry changed, in pieces.
#[derive(Debug)]
pub(super) struct Changed<'a> {
    /// From `{` to the list of entries.
    head: String,
    entries: Vec<Cow<'a, str>>,
}

impl Changed<'_> {
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        let entries = self.entries.iter().enumerate().flat_map(|(n, entry)| {
            let comma = if n == 0 { "" } else { "," };
            [comma, entry.as_ref()]
        });
        iter::once(self.head.as_str())
            .chain(entries)
            .chain(iter::once("]}"))
    }
}

impl<'a> Index<'a> {
    /// An index without entries.
    pub(super) const EMPTY: &'static str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

    /// The most entries that are read or written: enough for a whole registry's names.
    pub(super) const MOST: usize = 100_000;

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let no_index = |error: serde_json::Error| Unreadable::NoIndex(error.to_string());
        let members: Members<'a> = serde_json::from_slice(bytes).map_err(no_index)?;
        let (manifests, members): (Vec<_>, Vec<_>) = members
            .0
            .into_iter()
            .partition(|(key, _)| key == "manifests");
        let version = members.iter().find(|(key, _)| key == "schemaVersion");
        if version.is_some_and(|(_, version)| !matches!(version.get(), "2" | "\"2\"" | "null")) {
            return Err(Unreadable::NoIndex("its schemaVersion is not 2".into()));
        }
        let manifests = match manifests.as_slice() {
            [] => Vec::new(),
            // Go writes an empty list as null.
            [(_, list)] => match serde_json::from_str(list.get()).map_err(no_index)? {
                Some(Entries::All(entries)) => entries,
                Some(Entries::TooMany) => return Err(Unreadable::TooLong),
                None => Vec::new(),
            },
            _ => return Err(Unreadable::NoIndex("it has two lists of manifests".into())),
        };
        Ok(Self {
            members: Members(members),
            manifests,
        })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &'a RawValue> {
        self.manifests.iter().copied()
    }

    /// The index in which only the descriptor's entry has `name`; `None` if that is already so.
    pub(super) fn with(
        &self,
        name: Option<&str>,
        descriptor: &Descriptor,
    ) -> Result<Option<Changed<'a>>, Unreadable> {
        let digest = descriptor.digest.as_str();
        let seen: Vec<Seen> = self.manifests.iter().map(|entry| Seen::of(entry)).collect();
        let has_name = |seen: &Seen| name.is_some() && seen.name.as_deref() == name;
        let is_ours = |seen: &Seen| seen.digest.as_deref() == Some(digest);
        let first = |rule: &dyn Fn(&Seen) -> bool| seen.iter().position(rule);
        // An unnamed entry of the same content becomes the named one, as in containers/image.
        let base = match name {
            None if first(&is_ours).is_some() => return Ok(None),
            None => None,
            Some(_) => first(&|it| has_name(it) && is_ours(it))
                .or_else(|| first(&|it| is_ours(it) && it.names().next().is_none())),
        };
        let entry = overlay(base.map(|at| self.manifests[at]), name, descriptor)
            .map_err(|error| Unreadable::NoIndex(error.to_string()))?;
        let place = base.or_else(|| first(&has_name));
        let others = seen.iter().enumerate();
        let others = others.filter(|(at, it)| has_name(it) && Some(*at) != place);
        let others: Vec<usize> = others.map(|(at, _)| at).collect();
        if others.is_empty() && base.is_some_and(|at| self.manifests[at].get() == entry) {
            return Ok(None);
        }
        if place.is_none() && self.manifests.len() >= Self::MOST {
            return Err(Unreadable::TooLong);
        }
        let mut entries = Vec::with_capacity(self.manifests.len() + 1);
        for (at, old) in self.manifests.iter().enumerate() {
            if Some(at) == place {
                entries.push(Cow::Owned(entry.clone()));
            } else if others.binary_search(&at).is_err() {
                entries.push(Cow::Borrowed(old.get()));
            }
        }
        if place.is_none() {
            entries.push(Cow::Owned(entry));
        }
        let members = self.members.0.iter();
        let members = members.map(|(key, value)| format!("{}:{value},", json(key)));
        let head = format!("{{{}\"manifests\":[", members.collect::<String>());
        Ok(Some(Changed { head, entries }))
    }

    /// The names of entries, each once, in their order.
    pub(super) fn names(&self) -> Vec<String> {
        let mut known = BTreeSet::new();
        let names = self
            .manifests
            .iter()
            .filter_map(|entry| Seen::of(entry).name);
        names.filter(|name| known.insert(name.clone())).collect()
    }

    /// The entries that can be meant by no name: lists of referrers and signatures cannot, unless there is nothing else.
    fn images(&self) -> Vec<&'a RawValue> {
        let is_image = |entry: &&&RawValue| {
            let seen = Seen::of(entry);
            let has_digest_tag = seen.name.as_deref().is_some_and(is_digest_tag);
            !has_digest_tag && seen.cosign_suffix().is_none()
        };
        let images: Vec<_> = self.manifests.iter().filter(is_image).copied().collect();
        if images.is_empty() {
            self.manifests.clone()
        } else {
            images
        }
    }

    /// The entry of `name`; without one the only entry (LAY-09). Several if each of them has a
    /// platform, which then decides.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<&'a RawValue>, (StoreErrorKind, String)> {
        let Some(name) = name else {
            let images = self.images();
            return match images.as_slice() {
                [] => Err((StoreErrorKind::NoSuchName, "it is empty".into())),
                [first, rest @ ..] if is_one_content(first, rest) => Ok(vec![first]),
                several if is_one_name(several) && are_for_platforms(several) => {
                    Ok(several.to_vec())
                }
                several => Err((
                    StoreErrorKind::Ambiguous,
                    format!("it holds several entries: {}", list(several)),
                )),
            };
        };
        let mut hits: Vec<&RawValue> = Vec::new();
        let mut best = usize::MAX;
        for entry in &self.manifests {
            let Some(rank) = Seen::of(entry).rank(name) else {
                continue;
            };
            if rank < best {
                best = rank;
                hits.clear();
            }
            if rank == best {
                hits.push(entry);
            }
        }
        if hits.is_empty() {
            hits = self.saved_by_cosign(name);
        }
        match hits.as_slice() {
            [] => {
                let there = match self.manifests.as_slice() {
                    [] => "nothing".into(),
                    some => list(some),
                };
                let why = format!("no entry is called {name:?}; it holds {there}");
                Err((StoreErrorKind::NoSuchName, why))
            }
            [first, rest @ ..] if is_one_content(first, rest) => Ok(vec![first]),
            several if are_for_platforms(several) => Ok(several.to_vec()),
            several => {
                let why = format!("several entries are called {name:?}: {}", list(several));
                Err((StoreErrorKind::Ambiguous, why))
            }
        }
    }
}

impl<'a> Index<'a> {
    /// The entries that `name` means where `cosign save` wrote the layout, if it is one of cosign's tags for the image in
    /// it. There is one image in such a layout.
    fn saved_by_cosign(&self, name: &str) -> Vec<&'a RawValue> {
        let mut images = self.manifests.iter().map(|entry| Seen::of(entry));
        let image = images.find(|it| {
            let kind = it.kind.as_deref();
            kind.is_some_and(|kind| COSIGN_IMAGES.contains(&kind))
        });
        let digest = image.and_then(|image| as_digest(image.digest.as_deref()?));
        let Some(stem) = digest.map(|digest| referrers::tag(&digest)) else {
            return Vec::new();
        };
        let suffix = name.strip_prefix(stem.as_str());
        let is_meant = |entry: &&&RawValue| {
            let of_entry = Seen::of(entry).cosign_suffix();
            of_entry.is_some() && of_entry == suffix
        };
        self.manifests.iter().filter(is_meant).copied().collect()
    }
}

/// Several entries of the same content are not ambiguous.
fn is_one_content(first: &RawValue, rest: &[&RawValue]) -> bool {
    if rest.is_empty() {
        return true;
    }
    let digest = Seen::of(first).digest;
    digest.is_some() && rest.iter().all(|entry| Seen::of(entry).digest == digest)
}

/// The most entries of one name that may differ by platform; real images have a dozen.
const PLATFORMS: usize = 1000;

/// Whether each of these entries has a platform.
fn are_for_platforms(entries: &[&RawValue]) -> bool {
    let is_for_one = |entry: &&RawValue| Seen::of(entry).has_platform;
    entries.len() <= PLATFORMS && entries.iter().all(is_for_one)
}

/// Whether all entries have the same name, or none.
fn is_one_name(entries: &[&RawValue]) -> bool {
    let mut names = entries.iter().map(|entry| {
        let Seen {
            name, full_name, ..
        } = Seen::of(entry);
        (name, full_name)
    });
    let first = names.next();
    names.all(|name| Some(name) == first)
}

/// The digest that a name is, if it can be verified.
pub(super) fn as_digest(name: &str) -> Option<Digest> {
    let digest: Digest = name.parse().ok()?;
    digest.algorithm().is_some().then_some(digest)
}

/// The parts of an entry that matter. One of a wrong type counts as absent, because other tools may
/// have written the entry.
#[derive(Debug, Default)]
struct Seen {
    digest: Option<String>,
    has_platform: bool,
    name: Option<String>,
    full_name: Option<String>,
    /// What `cosign save` says that it is.
    kind: Option<String>,
}

#[derive(Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    digest: Option<&'a RawValue>,
    #[serde(borrow)]
    platform: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Names<'a> {
    #[serde(borrow, rename = "org.opencontainers.image.ref.name")]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.containerd.image.name")]
    full_name: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
}

/// The fields of an object; none for anything else.
fn fields<'a, T: Default + Deserialize<'a>>(value: &'a RawValue) -> T {
    // serde would read a list as the fields in order.
    let object = Some(value.get()).filter(|text| text.starts_with('{'));
    object
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

impl Seen {
    fn of(entry: &RawValue) -> Self {
        let Fields {
            digest,
            platform,
            annotations,
        } = fields(entry);
        let Names {
            name,
            full_name,
            kind,
        } = annotations.map(fields).unwrap_or_default();
        let text = |value: Option<&RawValue>| serde_json::from_str(value?.get()).ok();
        Self {
            digest: text(digest),
            has_platform: platform.is_some_and(|it| it.get().starts_with('{')),
            name: text(name),
            full_name: text(full_name),
            kind: text(kind),
        }
    }

    /// How cosign's tag for it ends, if `cosign save` wrote it beside an image.
    fn cosign_suffix(&self) -> Option<&'static str> {
        let kind = self.kind.as_deref()?;
        let known = COSIGN_COMPANIONS.iter().find(|(known, _)| *known == kind);
        known.map(|(_, suffix)| *suffix)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        [&self.name, &self.full_name]
            .into_iter()
            .filter_map(|name| name.as_deref())
    }

    /// The rank of the rule by which this entry has `name`. In this order (LAY-07): an explicit
    /// name before a guessed one. A digest never names other content.
    fn rank(&self, name: &str) -> Option<usize> {
        if as_digest(name).is_some() {
            return (self.digest.as_deref() == Some(name)).then_some(0);
        }
        let rules = [
            self.name.as_deref(),
            self.full_name.as_deref(),
            self.name.as_deref().and_then(tag_part),
            self.digest.as_deref(),
        ];
        rules.iter().position(|it| *it == Some(name))
    }
}

/// The entry for `descriptor`, with the annotations of an existing entry of the same content.
fn overlay(
    base: Option<&RawValue>,
    name: Option<&str>,
    descriptor: &Descriptor,
) -> Result<String, serde_json::Error> {
    let mut base = base.map_or_else(|| Ok(Members::default()), Members::of)?;
    let annotations = base.take("annotations");
    let annotations = annotations.map_or_else(|| Ok(Members::default()), Members::of)?;
    let mut entry = Object::default();
    entry.set("mediaType", &json(&descriptor.media_type));
    entry.set("digest", &json(descriptor.digest.as_str()));
    entry.set("size", &json(&descriptor.size));
    if let Some(platform) = &descriptor.platform {
        entry.set("platform", &json(platform));
    }
    if let Some(artifact_type) = &descriptor.artifact_type {
        entry.set("artifactType", &json(artifact_type));
    }
    let mut texts = Object::default();
    for (key, value) in &descriptor.annotations {
        // A name belongs to the layout it was found in.
        if key != REF_NAME && key != CONTAINERD_NAME {
            texts.set(key, &json(value));
        }
    }
    if let Some(name) = name {
        texts.set(REF_NAME, &json(name));
    }
    texts.keep(&annotations);
    if !texts.0.is_empty() {
        entry.set("annotations", &texts.to_string());
    }
    entry.keep(&base);
    Ok(entry.to_string())
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts, numbers and platforms can be written")
}

/// An object that is being written. The first value of a member wins.
#[derive(Debug, Default)]
struct Object(Vec<(String, String)>);

impl Object {
    fn set(&mut self, key: &str, value: &str) {
        if !self.0.iter().any(|(known, _)| known == key) {
            self.0.push((key.to_owned(), value.to_owned()));
        }
    }

    fn keep(&mut self, members: &Members<'_>) {
        for (key, value) in &members.0 {
            self.set(key, value.get());
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (key, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", json(key))?;
        }
        f.write_str("}")
    }
}

/// The members of an object in order, as text.
#[derive(Debug, Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The most members of an object that is read whole.
    const MOST: usize = 10_000;

    /// The members of an object; none for anything else.
    fn of(value: &'a RawValue) -> Result<Self, serde_json::Error> {
        match value.get() {
            object if object.starts_with('{') => serde_json::from_str(object),
            _ => Ok(Self::default()),
        }
    }

    fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == Members::MOST {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[derive(Debug)]
enum Entries<'a> {
    All(Vec<&'a RawValue>),
    TooMany,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of manifests")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() == Index::MOST {
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Entries::TooMany);
                    }
                    entries.push(entry);
                }
                Ok(Entries::All(entries))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

/// The tag of a full reference; `None` if it has none or is only a tag.
fn tag_part(name: &str) -> Option<&str> {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let (repository, tag) = name.rsplit_once(':')?;
    // In `host:5000/name` the colon belongs to the port.
    (!repository.is_empty() && !tag.is_empty() && !tag.contains('/')).then_some(tag)
}

/// Names and digests for an error, quoted: the file may be hostile.
fn list(entries: &[&RawValue]) -> String {
    let mut text = String::new();
    for entry in entries.iter().take(LISTED) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let seen = Seen::of(entry);
        let digest = seen.digest.as_deref().unwrap_or("no digest");
        let written = match seen.names().next() {
            Some(name) => write!(text, "{name:?} ({})", digest.escape_debug()),
            None => write!(text, "{}", digest.escape_debug()),
        };
        written.expect("writing to a string cannot fail");
    }
    if entries.len() > LISTED {
        let more = entries.len() - LISTED;
        write!(text, " and {more} more").expect("writing to a string cannot fail");
    }
    text
}
