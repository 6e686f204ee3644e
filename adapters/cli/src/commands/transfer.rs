//! Copies between two locations: what pull, push and copy have in common.
//!
//! Responsible for what several copies between the same locations share (a client, the open layouts, the policy), for
//! one copy, and for its report. Must not know which images are copied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_core::{Descriptor, Error, Failure, Reference, Registry, Report};
use windlass_store::Store;

use super::{Context, additional_tags, carried, left_out, store_failed};
use crate::admission::{self, Admitted};
use crate::args::Admission;
use crate::authentication::Sides;
use crate::client::{self, CancelHandle, Client, ImageLocation, Wanted};
use crate::exit::Problem;
use crate::hint;
use crate::location::{InLayout, Location};
use crate::printer::Printer;
use crate::progress::{Progress, Seconds, Size};

/// What copies between two locations share. Threads may share it, too.
pub(super) struct Mover {
    client: Client,
    /// The layouts at the ends.
    source: Option<Arc<dyn Store>>,
    destination: Option<Arc<dyn Store>>,
    printer: Arc<Printer>,
    cancel: CancelHandle,
}

/// A copy that is over.
pub(super) struct Copied {
    pub(super) report: Report,
    pub(super) took: Duration,
}

impl Mover {
    /// Copies an image.
    pub(super) fn copy(
        &self,
        from: &Location,
        to: &Location,
        wanted: &Wanted,
    ) -> Result<Copied, Failure> {
        let source = end(from, self.source.as_ref(), InLayout::wanted)?;
        let name = |layout: &InLayout| layout.name.clone();
        let destination = end(to, self.destination.as_ref(), name)?;
        let begun = Instant::now();
        let observer = Arc::new(Progress::new(Arc::clone(&self.printer)));
        let client = &self.client;
        let report = client.copy(&source, &destination, wanted, observer, &self.cancel)?;
        let took = begun.elapsed();
        Ok(Copied { report, took })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }
}

pub(super) fn end(
    location: &Location,
    store: Option<&Arc<dyn Store>>,
    name: impl Fn(&InLayout) -> Option<String>,
) -> Result<ImageLocation, Failure> {
    match (location, store) {
        (Location::Registry(reference), _) => Ok(ImageLocation::Registry(reference.clone())),
        (Location::Layout(layout), Some(store)) => Ok(ImageLocation::store(store, name(layout))),
        (Location::Layout(layout), None) => {
            let opened = client::open_layout(&layout.path);
            let store = opened.map_err(|error| Failure::new(vec![Error::Store(error)]))?;
            Ok(ImageLocation::store(&store, name(layout)))
        }
    }
}

impl Context {
    /// Copies an image and prints the report.
    pub(super) fn copy(
        &self,
        verb: &str,
        (from, to): (Location, Location),
        wanted: &Wanted,
        sides: &Sides,
        admission: &Admission,
    ) -> Result<(), Problem> {
        let to = named_like(&from, to);
        if let Location::Layout(InLayout {
            name: Some(name), ..
        }) = &to
        {
            client::check_name(name).map_err(|error| Problem::Usage(error.to_string()))?;
        }
        let (mover, admitted) = self.mover((&from, &to), wanted, sides, admission)?;
        let pinned = self.pin(&admitted, mover.client(), &from)?;
        let copied = mover.copy(&pinned, &to, wanted);
        let copied = copied.map_err(|failure| self.explained(failure, &from, &to))?;
        self.told(verb, &from, &to, &copied);
        let line = if self.printer.is_json() {
            described(&from, &to, &copied).to_string()
        } else {
            copied.report.root.digest.to_string()
        };
        self.printer.result(&line).map_err(Problem::Output)?;
        carried::problem(&copied.report).map_or(Ok(()), Err)
    }

    /// What copies between two locations share, if the policy admits the source.
    pub(super) fn mover<'a>(
        &self,
        (from, to): (&Location, &Location),
        wanted: &Wanted,
        sides: &Sides,
        admission: &'a Admission,
    ) -> Result<(Mover, Admitted<'a>), Problem> {
        sides.check(&self.common.authentication)?;
        let own = self.common.hosts.file()?;
        let admitted = admission::check(admission, own.as_deref(), from)?;
        let (source, destination) = (reference(from), reference(to));
        let given = sides.owned_by(&self.common.authentication, source, destination)?;
        let references: Vec<&Reference> = [destination, source].into_iter().flatten().collect();
        let client = self.client(&references, &given)?;
        let source = match from {
            Location::Registry(_) => None,
            Location::Layout(layout) => {
                Some(client::open_layout(&layout.path).map_err(store_failed)?)
            }
        };
        let destination = match to {
            Location::Registry(_) => None,
            Location::Layout(layout) => {
                let opened = client::open_or_create_layout(&layout.path, wanted.existing);
                Some(opened.map_err(store_failed)?)
            }
        };
        let mover = Mover {
            client,
            source,
            destination,
            printer: Arc::clone(&self.printer),
            cancel: self.cancel.clone(),
        };
        Ok((mover, admitted))
    }

    /// The source by its digest, if a program was asked about that.
    pub(super) fn pin(
        &self,
        admitted: &Admitted<'_>,
        client: &Client,
        from: &Location,
    ) -> Result<Location, Problem> {
        let resolve = || self.resolve(client, from);
        admitted.verify(from, resolve, &self.cancel)
    }

    /// Why a copy failed, and what to do about it.
    pub(super) fn explained(&self, failure: Failure, from: &Location, to: &Location) -> Problem {
        let hint = match (registry(from), registry(to)) {
            (Some(from), Some(to)) => {
                let is_given = self.common.authentication.given().is_any();
                hint::between(from, to, &failure, is_given)
            }
            (Some(_), None) | (None, _) => None,
        };
        let hint = hint.or_else(|| self.refused(&failure, &[from, to]));
        Problem::Failed { failure, hint }
    }

    /// Tells people what a copy did.
    pub(super) fn told(&self, verb: &str, from: &Location, to: &Location, copied: &Copied) {
        let Copied { report, took } = copied;
        self.printer.note(&format!(
            "{verb} {from} to {to}: {} blobs, {} moved, {} mounted, {} already present, in {}",
            report.moved,
            Size(report.bytes),
            report.mounted,
            report.present,
            Seconds(*took)
        ));
        if let Some(tags) = additional_tags::note(to, report) {
            self.printer.note(&tags);
        }
        if let Some(carried) = carried::note(report) {
            self.printer.note(&carried);
        }
        if let Some(served) = left_out::served(report) {
            self.printer.note(&served);
        }
        if let Some(sparse) = left_out::sparse(report) {
            self.printer.note(&sparse);
        }
        if let Some(warning) = left_out::warning(report) {
            self.printer.warning(&warning);
        }
    }

    /// Shows the progress of a request.
    pub(super) fn observer(&self) -> Arc<Progress> {
        Arc::new(Progress::new(Arc::clone(&self.printer)))
    }

    /// What a source is by now.
    pub(super) fn resolve(
        &self,
        client: &Client,
        source: &Location,
    ) -> Result<Descriptor, Problem> {
        match source {
            Location::Registry(reference) => {
                let observer = Arc::new(Progress::new(Arc::clone(&self.printer)));
                let root = client.resolve(reference, observer, &self.cancel);
                root.map_err(|failure| {
                    let hint = self.refused(&failure, &[source]);
                    Problem::Failed { failure, hint }
                })
            }
            Location::Layout(layout) => {
                let store = client::open_layout(&layout.path).map_err(store_failed)?;
                store.find(layout.wanted().as_deref()).map_err(store_failed)
            }
        }
    }
}

/// A copy as an object.
pub(super) fn described(from: &Location, to: &Location, copied: &Copied) -> Value {
    let Copied { report, took } = copied;
    json!({
        "source": from.to_string(),
        "destination": to.to_string(),
        "digest": report.root.digest.as_str(),
        "mediaType": report.root.media_type,
        "size": report.root.size,
        "tags": additional_tags::json(report),
        "blobsMoved": report.moved,
        "bytesMoved": report.bytes,
        "blobsMounted": report.mounted,
        "blobsPresent": report.present,
        "layersLeftOut": report.left_out,
        "leftOut": left_out::listed(report),
        "entriesAbsent": report.absent,
        "unlisted": left_out::unlisted(report),
        "carried": carried::json(report),
        "served": left_out::served_json(report),
        "seconds": took.as_secs_f64(),
    })
}

fn registry(location: &Location) -> Option<&Registry> {
    reference(location).map(Reference::registry)
}

pub(super) const fn reference(location: &Location) -> Option<&Reference> {
    match location {
        Location::Registry(reference) => Some(reference),
        Location::Layout(_) => None,
    }
}

/// Names the destination's entry, unless it has a name: after the reference's tag, `latest` if
/// there is neither tag nor digest, or the source layout's name.
pub(super) fn named_like(from: &Location, to: Location) -> Location {
    let Location::Layout(mut layout) = to else {
        return to;
    };
    layout.name = layout.name.or_else(|| match from {
        Location::Layout(source) => source.name.clone(),
        Location::Registry(reference) => match (reference.tag(), reference.digest()) {
            (Some(tag), _) => Some(tag.to_string()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        },
    });
    Location::Layout(layout)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn entries_are_named_after_the_reference() {
        let digest = windlass_core::Digest::of(windlass_core::Algorithm::Sha256, b"");
        let table = [
            ("r.example/a:1".to_owned(), "oci:x:1"),
            ("r.example/a".to_owned(), "oci:x:latest"),
            (format!("r.example/a@{digest}"), "oci:x"),
            (format!("r.example/a:1@{digest}"), "oci:x:1"),
        ];
        for (text, expected) in table {
            let from: Location = text.parse().expect("a reference");
            let to: Location = "oci:x".parse().expect("a layout");
            assert_eq!(named_like(&from, to).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn names_between_layouts() {
        let layout = |name: Option<&str>| {
            Location::Layout(InLayout {
                path: PathBuf::from("x"),
                name: name.map(str::to_owned),
                digest: None,
            })
        };
        let table = [
            (None, None, "oci:x"),
            (Some("a"), None, "oci:x:a"),
            (Some("a"), Some("b"), "oci:x:b"),
            (None, Some("b"), "oci:x:b"),
        ];
        for (from, to, expected) in table {
            let named = named_like(&layout(from), layout(to));
            assert_eq!(named.to_string(), expected);
        }
    }
}
