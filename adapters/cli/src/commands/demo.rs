//! `windlass demo`: pushes, pulls and copies an image against a local registry.
//!
//! ```text
//!  folder ─▶ first layout ─push─▶ demo/original ─copy─▶ demo/copy
//!                 ▲                     │
//!                 └──── compared ───────┴─pull─▶ second layout
//! ```
//!
//! Responsible for the steps and for the verdict. It verifies the bytes on disk itself, without the
//! client.

mod image;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use windlass_core::{Algorithm, Carry, Digest, Event, Platforms, Reference, TaskId};
use windlass_driver::{Observer, Settings};

use super::Context;
use crate::args::Demo;
use crate::client::{self, Client, Existing, ImageLocation, Wanted};
use crate::exit::Problem;
use crate::printer::{Chatter, Printer};
use crate::progress::Size;
use crate::testbed::LocalRegistry;

const NAME: &str = "v1";

pub(super) fn run(context: &Context, demo: &Demo) -> Result<(), Problem> {
    let temporary = tempfile::tempdir().map_err(|error| failed("a temporary folder", &error))?;
    context.interrupt.owns(temporary.path().to_owned());
    let home = demo.keep.as_deref().unwrap_or_else(|| temporary.path());
    let [first, second] = ["first", "second"].map(|name| home.join(name));
    if let Some(taken) = [&first, &second].into_iter().find(|path| path.exists()) {
        return Err(Problem::Usage(format!(
            "{} exists already",
            taken.display()
        )));
    }
    let registry = LocalRegistry::start().map_err(|error| failed("a local registry", &error))?;
    let mut run = Run {
        original: reference(&registry, "demo/original")?,
        copy: reference(&registry, "demo/copy")?,
        first,
        second,
        client: client(context)?,
        context,
        registry,
        steps: Vec::new(),
    };
    context.watch()?;
    let root = run.play(demo.folder.as_deref())?;
    let blobs = run.verify(&root)?;
    run.verdict(&root, &blobs)
}

/// The registry is on loopback: no credentials, no proxy, no TLS roots.
fn client(context: &Context) -> Result<Client, Problem> {
    let mut settings = Settings::default();
    settings.config = context.common.config(&[], None)?;
    settings.time_limits = context.common.time_limits(None);
    settings.tape = context.tape()?;
    context.connect(settings)
}

fn reference(registry: &LocalRegistry, repository: &str) -> Result<Reference, Problem> {
    let text = format!("{}/{repository}:{NAME}", registry.address());
    text.parse()
        .map_err(|error| Problem::Demo(format!("{text}: {error}")))
}

/// The state of a demo.
struct Run<'a> {
    context: &'a Context,
    registry: LocalRegistry,
    client: Client,
    original: Reference,
    copy: Reference,
    first: PathBuf,
    second: PathBuf,
    /// The steps so far, with their numbers of requests.
    steps: Vec<(&'static str, usize)>,
}

impl Run<'_> {
    /// Runs all steps and returns the image's digest.
    fn play(&mut self, folder: Option<&Path>) -> Result<Digest, Problem> {
        for folder in [&self.first, &self.second] {
            fs::create_dir_all(folder)
                .map_err(|error| failed(&folder.display().to_string(), &error))?;
        }
        let first = client::open_or_create_layout(&self.first, Existing::Trusted)
            .map_err(super::store_failed)?;
        let second = client::open_or_create_layout(&self.second, Existing::Trusted)
            .map_err(super::store_failed)?;
        let image = image::build(folder, first.as_ref(), NAME)?;
        self.say(&format!(
            "Image of {} files, layer of {}: {}",
            image.files,
            Size(image.layer),
            image.root
        ))?;

        let [made, pulled] = [first, second].map(|store| ImageLocation::Store {
            store,
            name: Some(NAME.to_owned()),
        });
        let original = ImageLocation::Registry(self.original.clone());
        let copy = ImageLocation::Registry(self.copy.clone());
        self.step("push", &made, &original)?;
        self.step("push again", &made, &original)?;
        self.step("pull", &original, &pulled)?;
        self.step("pull again", &original, &pulled)?;
        self.step("copy inside the registry", &original, &copy)?;
        Ok(image.root)
    }

    fn step(
        &mut self,
        name: &'static str,
        from: &ImageLocation,
        to: &ImageLocation,
    ) -> Result<(), Problem> {
        let before = self.registry.requests().len();
        let observer = Arc::new(Quietly(Arc::clone(&self.context.printer)));
        let cancel = &self.context.cancel;
        let wanted = Wanted {
            platforms: Platforms::All,
            nondistributable: false,
            existing: Existing::Trusted,
            mount_from: Vec::new(),
            missing_from: None,
            carry: Carry::NOTHING,
            more_tags: Vec::new(),
        };
        let report = self.client.copy(from, to, &wanted, observer, cancel)?;
        let requests = self.registry.requests().split_off(before);
        let count = match requests.len() {
            1 => "1 request".to_owned(),
            many => format!("{many} requests"),
        };
        self.say("")?;
        self.say(&format!(
            "{name}: {count}, {} {} ({}) moved, {} mounted",
            report.moved,
            if report.moved == 1 { "blob" } else { "blobs" },
            Size(report.bytes),
            report.mounted
        ))?;
        for request in &requests {
            self.say(&format!("    {request}"))?;
        }
        self.steps.push((name, requests.len()));
        Ok(())
    }

    /// Compares the layouts byte for byte, and resolves both references.
    fn verify(&self, root: &Digest) -> Result<Blobs, Problem> {
        let [made, pulled] = [&self.first, &self.second].map(|layout| blobs(layout));
        let (made, pulled) = (made?, pulled?);
        compare(&made, &pulled).map_err(Problem::Demo)?;
        for reference in [&self.original, &self.copy] {
            let observer = Arc::new(Quietly(Arc::clone(&self.context.printer)));
            let cancel = &self.context.cancel;
            let found = self.client.resolve(reference, observer, cancel)?;
            if found.digest != *root {
                return Err(Problem::Demo(format!(
                    "{reference} resolves to {}, not to {root}",
                    found.digest
                )));
            }
        }
        Ok(made)
    }

    fn verdict(&self, root: &Digest, blobs: &Blobs) -> Result<(), Problem> {
        let bytes: u64 = blobs.values().map(|blob| blob.len() as u64).sum();
        if self.context.printer.is_json() {
            let steps: Vec<Value> = self
                .steps
                .iter()
                .map(|(name, requests)| json!({ "name": name, "requests": requests }))
                .collect();
            let line = json!({
                "ok": true,
                "digest": root.as_str(),
                "blobs": blobs.len(),
                "bytes": bytes,
                "steps": steps,
            });
            return self.data(&line.to_string());
        }
        self.say("")?;
        self.data(&format!(
            "ok: {} blobs ({}) are identical, each matches its digest, and the copy has the same \
             digest",
            blobs.len(),
            Size(bytes)
        ))
    }

    /// Prints a line, but not with `--quiet` or `--json`, which show the verdict alone.
    fn say(&self, line: &str) -> Result<(), Problem> {
        if self.context.printer.is_json() || self.context.common.quiet {
            return Ok(());
        }
        self.data(line)
    }

    fn data(&self, line: &str) -> Result<(), Problem> {
        self.context.printer.data(line).map_err(Problem::Output)
    }
}

/// Shows warnings, and the transcript with `--trace`, but no progress.
#[derive(Debug)]
struct Quietly(Arc<Printer>);

impl Observer for Quietly {
    fn event(&self, _: TaskId, event: &Event) {
        if let Event::Warning(text) = event {
            self.0.warning(text);
        }
    }

    fn trace(&self, line: &str) {
        self.0.trace(line);
    }

    fn traces(&self) -> bool {
        self.0.chatter() == Chatter::Trace
    }
}

/// A layout's blobs by name. They are small enough to hold in memory.
type Blobs = BTreeMap<String, Vec<u8>>;

fn blobs(layout: &Path) -> Result<Blobs, Problem> {
    let folder = layout.join("blobs").join("sha256");
    let read = || -> io::Result<Blobs> {
        fs::read_dir(&folder)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok((name, fs::read(entry.path())?))
            })
            .collect()
    };
    read().map_err(|error| failed(&folder.display().to_string(), &error))
}

/// Checks that both layouts hold the same blobs, and that each blob matches its name.
fn compare(made: &Blobs, pulled: &Blobs) -> Result<(), String> {
    for (name, bytes) in made {
        if Digest::of(Algorithm::Sha256, bytes).encoded() != name {
            return Err(format!("blob {name} does not match its digest"));
        }
        match pulled.get(name) {
            Some(other) if other == bytes => {}
            Some(_) => return Err(format!("blob {name} came back changed")),
            None => return Err(format!("blob {name} did not come back")),
        }
    }
    match pulled.keys().find(|name| !made.contains_key(*name)) {
        Some(name) => Err(format!("blob {name} came back but was never sent")),
        None => Ok(()),
    }
}

fn failed(what: &str, error: &dyn std::error::Error) -> Problem {
    Problem::Demo(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(content: &[&[u8]]) -> Blobs {
        let name = |bytes: &[u8]| Digest::of(Algorithm::Sha256, bytes).encoded().to_owned();
        content
            .iter()
            .map(|bytes| (name(bytes), bytes.to_vec()))
            .collect()
    }

    #[test]
    fn the_comparison_notices_everything() {
        let made = with(&[b"a", b"b"]);
        assert_eq!(compare(&made, &made), Ok(()));
        let says = |made: &Blobs, pulled: &Blobs| compare(made, pulled).expect_err("a difference");
        assert!(says(&made, &with(&[b"a"])).ends_with("did not come back"));
        assert!(says(&made, &with(&[b"a", b"b", b"c"])).ends_with("never sent"));

        let mut changed = made.clone();
        changed.values_mut().next().expect("a blob").push(0);
        assert!(says(&made, &changed).ends_with("changed"));
        assert!(says(&changed, &changed).ends_with("does not match its digest"));
    }
}
