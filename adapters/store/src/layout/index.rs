//! `index.json`: which names a layout has, and what they stand for.
//!
//! Responsible for reading it leniently, for changing one entry and nothing else, and for not
//! losing what others write at the same time. Entries, fields and annotations that we do not know
//! are kept. Must not know blobs.

use std::fmt::Write as _;
use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use windlass_core::{Descriptor, StoreError, StoreErrorKind};

use super::{Layout, read_small, sys};

/// Where a layout's entries have their names (image-spec `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where containerd and Docker put the full name when `ref.name` is only the tag (LAY-07).
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The most bytes of an `index.json` that are read: some hundred thousand entries.
const INDEX_LIMIT: u64 = 64 * 1024 * 1024;

/// How long to wait for another process to finish rewriting `index.json`. That takes milliseconds;
/// whoever holds the lock this long is stopped or stuck on a dead network share.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// The longest pause between two looks at the lock. Polled rather than waited for, because a
/// blocking `flock` cannot be given up.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How often a rewrite begins anew when tools that take no lock (containers/image,
/// go-containerregistry) change the file meanwhile.
const TURNS: usize = 64;

/// How many names an error lists.
const LISTED: usize = 20;

impl Layout {
    pub(super) fn find_entry(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        let (_, index) = self.read_index()?;
        let entry = index
            .choose(name)
            .map_err(|(kind, why)| {
                StoreError::new(
                    kind,
                    format!("image layout {}: {why}", self.path().display()),
                )
            })?
            .clone();
        serde_json::from_value(entry).map_err(|error| {
            let path = self.index_path();
            StoreError::new(
                StoreErrorKind::Damaged,
                format!("read {}: invalid descriptor: {error}", path.display()),
            )
        })
    }

    pub(super) fn tag_entry(
        &self,
        name: Option<&str>,
        descriptor: &Descriptor,
    ) -> Result<(), StoreError> {
        if let Some(name) = name {
            check_name(name)?;
        }
        self.prepare()?;
        self.sync_blob_dirs()?;
        let _lock = self.lock_index()?;
        for _ in 0..TURNS {
            let (before, mut index) = self.read_index()?;
            if !index.set(name, descriptor) {
                return Ok(());
            }
            let staged = self.stage(&index.to_bytes())?;
            // Compared as late as can be: other tools write in place and without a lock (LAY-12).
            if read_small(&self.index_path(), INDEX_LIMIT)?.as_ref() != Some(&before) {
                continue;
            }
            staged.rename(self, &self.index_path())?;
            if self.is_durable() {
                sys::sync_dir(self.path()).inspect_err(|_| self.put_back(&before))?;
            }
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Io,
            format!(
                "rewrite {}: something else kept changing it",
                self.index_path().display()
            ),
        ))
    }

    /// The old entries stand if the new ones may not survive: else the next run would find them and take them
    /// for durable.
    fn put_back(&self, before: &[u8]) {
        let staged = self.stage(before);
        // The failure that is reported is the one before.
        let _ = staged.and_then(|staged| staged.rename(self, &self.index_path()));
    }

    /// Writes an index without entries, unless somebody else was quicker.
    pub(super) fn create_index(&self) -> Result<(), StoreError> {
        self.prepare()?;
        let _lock = self.lock_index()?;
        if self.has_index()? {
            return Ok(());
        }
        self.replace(&self.index_path(), &Index::empty().to_bytes())
    }

    fn read_index(&self) -> Result<(Vec<u8>, Index), StoreError> {
        let Some(bytes) = read_small(&self.index_path(), INDEX_LIMIT)? else {
            return Err(self.refuse("it has no `index.json`"));
        };
        let index = Index::parse(&bytes)
            .map_err(|why| self.refuse(&format!("its `index.json` is no image index: {why}")))?;
        Ok((bytes, index))
    }

    /// Waits for the right to rewrite `index.json`; dropping the file gives it back.
    fn lock_index(&self) -> Result<File, StoreError> {
        let path = self.private().join("index.lock");
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(file) = self.open_shared(&path)?
                && sys::try_lock(&file, &path)?
                && self.keeps(&file, &path)?
            {
                return Ok(file);
            }
            if begun.elapsed() > LOCK_PATIENCE {
                return Err(StoreError::new(
                    StoreErrorKind::Io,
                    format!(
                        "lock {}: another process has held it for {} s",
                        path.display(),
                        LOCK_PATIENCE.as_secs()
                    ),
                ));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LOCK_PAUSE);
        }
    }
}

/// An image index, as it was found.
#[derive(Clone, Debug, PartialEq)]
struct Index {
    root: Map<String, Value>,
    manifests: Vec<Value>,
}

impl Index {
    fn empty() -> Self {
        let mut root = Map::new();
        root.insert("schemaVersion".into(), json!(2));
        root.insert(
            "mediaType".into(),
            json!("application/vnd.oci.image.index.v1+json"),
        );
        Self {
            root,
            manifests: Vec::new(),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let root: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let Value::Object(mut root) = root else {
            return Err("it is no JSON object".into());
        };
        if root.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            return Err("its schemaVersion is not 2".into());
        }
        let manifests = match root.remove("manifests") {
            Some(Value::Array(manifests)) => manifests,
            // Go writes an empty list as null.
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                return Err("its manifests are no list".into());
            }
        };
        Ok(Self { root, manifests })
    }

    /// Gives `name` to the descriptor and takes it from what had it. Says whether anything changed.
    fn set(&mut self, name: Option<&str>, descriptor: &Descriptor) -> bool {
        let digest = descriptor.digest.as_str();
        let is_ours = |entry: &Value| digest_of(entry) == Some(digest);
        let Some(name) = name else {
            if self.manifests.iter().any(is_ours) {
                return false;
            }
            self.manifests.push(overlay(Map::new(), None, descriptor));
            return true;
        };
        let before = self.manifests.clone();
        let has_name = |entry: &Value| annotation(entry, REF_NAME) == Some(name);
        // An entry without any name that stands for the same content becomes the named one, as
        // containers/image has it.
        let at = self
            .manifests
            .iter()
            .position(|entry| has_name(entry) && is_ours(entry))
            .or_else(|| {
                let is_bare = |entry: &Value| is_ours(entry) && names_of(entry).next().is_none();
                self.manifests.iter().position(is_bare)
            });
        let base = at.and_then(|at| self.manifests[at].as_object().cloned());
        let entry = overlay(base.unwrap_or_default(), Some(name), descriptor);
        let place = at.or_else(|| self.manifests.iter().position(has_name));
        match place {
            Some(place) => self.manifests[place] = entry,
            None => self.manifests.push(entry),
        }
        let place = place.unwrap_or(self.manifests.len() - 1);
        let mut position = 0;
        self.manifests.retain(|entry| {
            position += 1;
            position - 1 == place || !has_name(entry)
        });
        self.manifests != before
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut root = self.root.clone();
        root.insert("manifests".into(), Value::Array(self.manifests.clone()));
        Value::Object(root).to_string().into_bytes()
    }

    /// The entry that `name` stands for; without one the only entry (LAY-09).
    fn choose(&self, name: Option<&str>) -> Result<&Value, (StoreErrorKind, String)> {
        let Some(name) = name else {
            return match self.manifests.as_slice() {
                [] => Err((StoreErrorKind::NoSuchName, "it holds nothing".into())),
                [only] => Ok(only),
                several => Err((
                    StoreErrorKind::Ambiguous,
                    format!("it holds several entries: {}", list(several.iter())),
                )),
            };
        };
        // In this order (LAY-07): what is written out beats what is guessed.
        let rules: [&dyn Fn(&Value) -> bool; 4] = [
            &|entry| annotation(entry, REF_NAME) == Some(name),
            &|entry| annotation(entry, CONTAINERD_NAME) == Some(name),
            &|entry| annotation(entry, REF_NAME).and_then(tag_part) == Some(name),
            &|entry| digest_of(entry) == Some(name),
        ];
        for rule in rules {
            let hits: Vec<&Value> = self.manifests.iter().filter(|entry| rule(entry)).collect();
            let Some(first) = hits.first() else {
                continue;
            };
            // The same content twice is no question.
            if hits.iter().all(|hit| digest_of(hit) == digest_of(first)) {
                return Ok(first);
            }
            let hits = list(hits.into_iter());
            let why = format!("several entries are called {name:?}: {hits}");
            return Err((StoreErrorKind::Ambiguous, why));
        }
        let there = if self.manifests.is_empty() {
            "nothing".into()
        } else {
            list(self.manifests.iter())
        };
        let why = format!("no entry is called {name:?}; it holds {there}");
        Err((StoreErrorKind::NoSuchName, why))
    }
}

/// The entry for `descriptor`, on top of what is known of the same content already.
fn overlay(mut entry: Map<String, Value>, name: Option<&str>, descriptor: &Descriptor) -> Value {
    entry.insert("mediaType".into(), json!(descriptor.media_type));
    entry.insert("digest".into(), json!(descriptor.digest.as_str()));
    entry.insert("size".into(), json!(descriptor.size));
    if let Some(platform) = &descriptor.platform {
        entry.insert("platform".into(), json!(platform));
    }
    if let Some(artifact_type) = &descriptor.artifact_type {
        entry.insert("artifactType".into(), json!(artifact_type));
    }
    let mut annotations = match entry.remove("annotations") {
        Some(Value::Object(annotations)) => annotations,
        Some(_) | None => Map::new(),
    };
    for (key, value) in &descriptor.annotations {
        // A name belongs to the layout it was found in.
        if key != REF_NAME && key != CONTAINERD_NAME {
            annotations.insert(key.clone(), json!(value));
        }
    }
    if let Some(name) = name {
        annotations.insert(REF_NAME.into(), json!(name));
    }
    if !annotations.is_empty() {
        entry.insert("annotations".into(), Value::Object(annotations));
    }
    Value::Object(entry)
}

fn annotation<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry.get("annotations")?.get(key)?.as_str()
}

fn names_of(entry: &Value) -> impl Iterator<Item = &str> {
    [REF_NAME, CONTAINERD_NAME]
        .into_iter()
        .filter_map(|key| annotation(entry, key))
}

fn digest_of(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}

/// The tag of a full reference; `None` if there is none, or if it is only a tag anyway.
fn tag_part(name: &str) -> Option<&str> {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let (repository, tag) = name.rsplit_once(':')?;
    // In `host:5000/name` the colon belongs to the port.
    (!repository.is_empty() && !tag.is_empty() && !tag.contains('/')).then_some(tag)
}

/// Names and digests for an error: quoted, as they come from a file that may be hostile.
fn list<'a>(entries: impl ExactSizeIterator<Item = &'a Value>) -> String {
    let total = entries.len();
    let mut text = String::new();
    for entry in entries.take(LISTED) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let digest = digest_of(entry).unwrap_or("no digest");
        let written = match names_of(entry).next() {
            Some(name) => write!(text, "{name:?} ({})", digest.escape_debug()),
            None => write!(text, "{}", digest.escape_debug()),
        };
        written.expect("writing to a string cannot fail");
    }
    if total > LISTED {
        write!(text, " and {} more", total - LISTED).expect("writing to a string cannot fail");
    }
    text
}

/// What a name may be. The grammar of LAY-06 is only recommended, and tags such as `_x` and
/// references to `[::1]:5000` break it; so only what would be a trap for people is refused.
pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    if !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Denied,
        format!("refused to write the name {name:?}: it is empty, or has spaces in it"),
    ))
}
