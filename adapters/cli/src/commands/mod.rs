//! The subcommands, and what they share: building a client from the options, and reporting how a
//! task ended.

mod blob;
mod blob_get;
mod build;
mod copy;
mod demo;
mod digest;
mod explain;
mod gc;
mod input;
mod left_out;
mod list;
mod login;
mod manifest;
mod pull;
mod push;
mod referrers;
mod replay;
mod verify;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::json;
use windlass_core::tape::TapeSink;
use windlass_core::{Descriptor, Error, Failure, Reference, Registry, Report};
use windlass_driver::{Credentials, RequestSpec, Settings, TypedReport};
use windlass_driver::{TapeFile, UploadFolder};

use crate::admission;
use crate::args::{Admission, Args, Command, Common};
use crate::authentication::Sides;
use crate::client::{self, CancelHandle, Client, Connect, End, Wanted};
use crate::exit::{Exit, Problem};
use crate::hint;
use crate::interrupt::Interrupt;
use crate::place::{InLayout, Place};
use crate::printer::{Chatter, Form, Printer};
use crate::progress::{Progress, Seconds, Size};
use crate::short_names;
use crate::uploads::Resume;

pub(crate) fn run(args: Args, connect: Connect) -> Exit {
    let Args { common, command } = args;
    let printer = Arc::new(Printer::new(common.chatter(), common.form()));
    let context = Context {
        connect,
        common,
        printer: Arc::clone(&printer),
        cancel: CancelHandle::default(),
        interrupt: Interrupt::default(),
        tape: OnceLock::new(),
        credentials: OnceLock::new(),
        uploads: OnceLock::new(),
    };
    for name in short_names::told() {
        printer.note(&name);
    }
    let is_replay = matches!(command, Command::Replay(_));
    let checked = context.common.check().and_then(|()| {
        if is_replay && context.common.tape.is_some() {
            let why = "--tape cannot be used with replay";
            return Err(Problem::Usage(why.to_owned()));
        }
        Ok(())
    });
    let result = checked.and_then(|()| match command {
        Command::Pull(pull) => pull::run(&context, pull),
        Command::Push(push) => push::run(&context, push),
        Command::Copy(copy) => copy::run(&context, copy),
        Command::Digest(digest) => digest::print(&context, &digest.reference),
        Command::Tags(words) => list::tags(&context, &words),
        Command::Catalog(words) => list::catalog(&context, &words),
        Command::Tag(words) => manifest::tag(&context, &words),
        Command::Delete(words) => manifest::delete(&context, &words),
        Command::Referrers(words) => referrers::run(&context, &words),
        Command::Manifest(command) => manifest::run(&context, &command),
        Command::Blob(command) => blob::run(&context, &command),
        Command::Explain(words) => explain::run(&context, &words),
        Command::Login(login) => login::login(&context, &login),
        Command::Logout(logout) => login::logout(&context, &logout),
        Command::Verify(verify) => verify::run(&context, &verify),
        Command::Gc(gc) => gc::run(&context, &gc),
        Command::Replay(replay) => replay::run(&context, &replay),
        Command::Demo(demo) => demo::run(&context, &demo),
    });
    context.check_tape();
    context.check_uploads();
    let Err(problem) = result else {
        return Exit::Done;
    };
    let asked = context.interrupt.asked();
    problem.tell(&printer);
    asked.unwrap_or_else(|| problem.exit())
}

struct Context {
    connect: Connect,
    common: Common,
    printer: Arc<Printer>,
    cancel: CancelHandle,
    interrupt: Interrupt,
    /// Set when the session begins.
    tape: OnceLock<Arc<TapeFile>>,
    credentials: OnceLock<Arc<dyn Credentials>>,
    /// Where unfinished uploads are kept, if they are.
    uploads: OnceLock<Arc<UploadFolder>>,
}

impl Context {
    /// Creates the tape of `--tape`.
    fn tape(&self) -> Result<Option<Arc<dyn TapeSink>>, Problem> {
        let Some(path) = &self.common.tape else {
            return Ok(None);
        };
        let tape = TapeFile::create(path).map_err(|error| {
            Problem::Usage(format!("cannot write the tape {}: {error}", path.display()))
        })?;
        let tape: Arc<dyn TapeSink> = Arc::clone(self.tape.get_or_init(|| Arc::new(tape))) as _;
        Ok(Some(tape))
    }

    /// Warns if the tape is incomplete. The transfer is not affected.
    fn check_tape(&self) {
        if let (Some(path), Some(tape)) = (&self.common.tape, self.tape.get())
            && let Err(why) = tape.complete()
        {
            let path = path.display();
            self.printer
                .warning(&format!("the tape {path} is incomplete: {why}"));
        }
    }

    /// Uploads of the client that is built next are kept.
    fn keep_uploads(&self, resume: &Resume) {
        if let Some(folder) = resume.folder(|name| std::env::var_os(name)) {
            self.uploads
                .get_or_init(|| Arc::new(UploadFolder::new(folder)));
        }
    }

    /// Warns if uploads were not kept, or one could not be read. The transfer is not affected.
    fn check_uploads(&self) {
        if let Some(problem) = self.uploads.get().and_then(|it| it.problem()) {
            let what = format!("unfinished uploads are not kept or not gone on with: {problem}");
            self.printer.warning(&what);
        }
    }

    fn connect(&self, settings: Settings) -> Result<Client, Problem> {
        (self.connect)(settings).map_err(|error| Problem::Usage(error.to_string()))
    }

    fn watch(&self) -> Result<(), Problem> {
        self.interrupt
            .watch(self.cancel.clone(), Arc::clone(&self.printer))
            .map_err(|error| Problem::Usage(format!("cannot watch for signals: {error}")))
    }

    /// Runs a request about one repository.
    fn ask<R: TypedReport>(&self, reference: &Reference, spec: RequestSpec) -> Result<R, Problem> {
        self.asker(reference)?.ask(spec)
    }

    /// A client for requests about one repository.
    fn asker(&self, reference: &Reference) -> Result<Asker<'_>, Problem> {
        let registry = reference.registry();
        let given = self.common.authentication.owned_by(Some(registry))?;
        let client = self.client(&[reference], &given)?;
        let reference = reference.clone();
        Ok(Asker {
            context: self,
            client,
            reference,
        })
    }

    /// Copies an image and prints the report.
    fn copy(
        &self,
        verb: &str,
        (from, to): (Place, Place),
        wanted: &Wanted,
        sides: &Sides,
        admission: &Admission,
    ) -> Result<(), Problem> {
        sides.check(&self.common.authentication)?;
        let to = named_like(&from, to);
        let own = self.common.hosts.file()?;
        let admitted = admission::check(admission, own.as_deref(), &from)?;
        if let Place::Layout(InLayout {
            name: Some(name), ..
        }) = &to
        {
            client::check_name(name).map_err(|error| Problem::Usage(error.to_string()))?;
        }
        let (source, destination) = (reference(&from), reference(&to));
        let given = sides.owned_by(&self.common.authentication, source, destination)?;
        let references: Vec<&Reference> = [destination, source].into_iter().flatten().collect();
        let client = self.client(&references, &given)?;
        let resolve = || self.resolve(&client, &from);
        let pinned = admitted.verify(&from, resolve, &self.cancel)?;
        let source = match &pinned {
            Place::Registry(reference) => End::Registry(reference.clone()),
            Place::Layout(layout) => End::Store {
                store: client::open_layout(&layout.path).map_err(store_failed)?,
                name: layout.wanted(),
            },
        };
        let destination = match &to {
            Place::Registry(reference) => End::Registry(reference.clone()),
            Place::Layout(layout) => End::Store {
                store: client::open_or_create_layout(&layout.path, wanted.existing)
                    .map_err(store_failed)?,
                name: layout.name.clone(),
            },
        };
        let begun = Instant::now();
        let observer = Arc::new(Progress::new(Arc::clone(&self.printer)));
        let copied = client.copy(&source, &destination, wanted, observer, &self.cancel);
        let report = copied.map_err(|failure| {
            let hint = match (registry(&from), registry(&to)) {
                (Some(from), Some(to)) => {
                    let is_given = self.common.authentication.given().is_any();
                    hint::between(from, to, &failure, is_given)
                }
                (Some(_), None) | (None, _) => None,
            };
            let hint = hint.or_else(|| self.refused(&failure, &[&from, &to]));
            Problem::Failed { failure, hint }
        })?;
        self.report(verb, &from, &to, &report, begun.elapsed())
    }

    /// What a source is by now.
    fn resolve(&self, client: &Client, source: &Place) -> Result<Descriptor, Problem> {
        match source {
            Place::Registry(reference) => {
                let observer = Arc::new(Progress::new(Arc::clone(&self.printer)));
                let root = client.resolve(reference, observer, &self.cancel);
                root.map_err(|failure| {
                    let hint = self.refused(&failure, &[source]);
                    Problem::Failed { failure, hint }
                })
            }
            Place::Layout(layout) => {
                let store = client::open_layout(&layout.path).map_err(store_failed)?;
                store.find(layout.wanted().as_deref()).map_err(store_failed)
            }
        }
    }

    /// A hint that says where the refused credentials came from.
    fn refused(&self, failure: &Failure, places: &[&Place]) -> Option<String> {
        let Error::Auth(error) = failure.first() else {
            return None;
        };
        if !hint::shows_credentials(error) {
            return None;
        }
        let credentials = self.credentials.get()?;
        let source = |place: &&Place| match place {
            Place::Registry(reference) => {
                let (registry, repository) = (reference.registry(), reference.repository());
                let source = credentials.source(registry, Some(repository))?;
                Some((registry.clone(), source))
            }
            Place::Layout(_) => None,
        };
        let mut sources: Vec<_> = places.iter().filter_map(source).collect();
        // A request to the registry says which side refused; the token service may be on any host.
        let line = error.request.to_string();
        let at = |registry: &Registry| line.contains(&format!(" {}/", registry.origin()));
        if sources.iter().any(|(registry, _)| at(registry)) {
            sources.retain(|(registry, _)| at(registry));
        }
        sources.dedup();
        let told = sources.iter().map(|(registry, source)| {
            format!("the credentials for `{registry}` came from {source}")
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| format!("{}; they may have expired", told.join("; ")))
    }

    fn report(
        &self,
        verb: &str,
        from: &Place,
        to: &Place,
        report: &Report,
        took: Duration,
    ) -> Result<(), Problem> {
        let Report {
            root,
            moved,
            bytes,
            mounted,
            present,
            ..
        } = report;
        self.printer.note(&format!(
            "{verb} {from} to {to}: {moved} blobs, {} moved, {mounted} mounted, {present} already \
             present, in {}",
            Size(*bytes),
            Seconds(took)
        ));
        if let Some(served) = left_out::served(report) {
            self.printer.note(&served);
        }
        if let Some(warning) = left_out::warning(report) {
            self.printer.warning(&warning);
        }
        let line = if self.printer.is_json() {
            json!({
                "source": from.to_string(),
                "destination": to.to_string(),
                "digest": root.digest.as_str(),
                "mediaType": root.media_type,
                "size": root.size,
                "blobsMoved": moved,
                "bytesMoved": bytes,
                "blobsMounted": mounted,
                "blobsPresent": present,
                "layersLeftOut": report.left_out,
                "leftOut": left_out::listed(report),
                "unlisted": left_out::unlisted(report),
                "served": left_out::served_json(report),
                "seconds": took.as_secs_f64(),
            })
            .to_string()
        } else {
            root.digest.to_string()
        };
        self.printer.result(&line).map_err(Problem::Output)
    }
}

/// A client for requests about one repository. They share its session.
struct Asker<'a> {
    context: &'a Context,
    client: Client,
    reference: Reference,
}

impl Asker<'_> {
    fn ask<R: TypedReport>(&self, spec: RequestSpec) -> Result<R, Problem> {
        let context = self.context;
        let observer = Arc::new(Progress::new(Arc::clone(&context.printer)));
        let asked = self.client.ask(spec, observer, &context.cancel);
        asked.map_err(|failure| {
            let place = Place::Registry(self.reference.clone());
            let hint = context.refused(&failure, &[&place]);
            Problem::Failed { failure, hint }
        })
    }
}

impl Common {
    const fn chatter(&self) -> Chatter {
        match (self.trace, self.quiet) {
            (true, _) => Chatter::Trace,
            (false, true) => Chatter::Quiet,
            (false, false) => Chatter::Bars,
        }
    }

    const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    /// Checks what clap cannot, because options may stand on both sides of the subcommand.
    fn check(&self) -> Result<(), Problem> {
        if self.trace && self.quiet {
            let why = "--trace and --quiet exclude each other";
            return Err(Problem::Usage(why.to_owned()));
        }
        self.authentication.given().check()
    }
}

fn registry(place: &Place) -> Option<&Registry> {
    reference(place).map(Reference::registry)
}

const fn reference(place: &Place) -> Option<&Reference> {
    match place {
        Place::Registry(reference) => Some(reference),
        Place::Layout(_) => None,
    }
}

/// Names the destination's entry, unless it has a name: after the reference's tag, `latest` if
/// there is neither tag nor digest, or the source layout's name.
fn named_like(from: &Place, to: Place) -> Place {
    let Place::Layout(mut layout) = to else {
        return to;
    };
    layout.name = layout.name.or_else(|| match from {
        Place::Layout(source) => source.name.clone(),
        Place::Registry(reference) => match (reference.tag(), reference.digest()) {
            (Some(tag), _) => Some(tag.to_string()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        },
    });
    Place::Layout(layout)
}

fn store_failed(error: windlass_core::StoreError) -> Problem {
    Problem::failed(Error::Store(error))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser as _;

    use super::*;

    fn common(options: &[&str]) -> Common {
        let words = ["windlass", "demo"].iter().chain(options);
        Args::try_parse_from(words).expect("good options").common
    }

    #[test]
    fn options_that_exclude_or_need_each_other() {
        let table: [(&[&str], bool); 5] = [
            (&[], true),
            (&["--quiet", "--trace"], false),
            (&["--username", "u"], false),
            (&["--password-stdin"], false),
            (&["--username", "u", "--password-stdin"], true),
        ];
        for (options, is_good) in table {
            let checked = common(options).check();
            assert_eq!(checked.is_ok(), is_good, "{options:?}");
        }
    }

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
            let from: Place = text.parse().expect("a reference");
            let to: Place = "oci:x".parse().expect("a layout");
            assert_eq!(named_like(&from, to).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn names_between_layouts() {
        let layout = |name: Option<&str>| {
            Place::Layout(InLayout {
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
