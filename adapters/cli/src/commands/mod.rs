//! The subcommands, and what they share: a client, cancelling, and why credentials were refused.

mod additional_tags;
mod artifact;
mod blob;
mod blob_get;
mod build;
mod carried;
mod change;
mod config;
mod copy;
mod copy_many;
mod copy_to_each;
mod demo;
mod digest;
mod explain;
mod gc;
mod input;
mod left_out;
mod list;
mod login;
mod manifest;
mod procedure;
mod pull;
mod push;
mod referrers;
mod replay;
mod transfer;
mod unlisted;
mod verify;

use std::sync::{Arc, OnceLock};

use windlass_core::tape::TapeSink;
use windlass_core::{Error, Failure, Reference, Registry};
use windlass_driver::{Credentials, RequestSpec, Settings, TypedReport};
use windlass_driver::{TapeFile, UploadFolder};

use crate::args::{Args, Command, Common};
use crate::client::{CancelHandle, Client, Connect};
use crate::exit::{Exit, Problem};
use crate::hint;
use crate::interrupt::Interrupt;
use crate::location::Location;
use crate::printer::{Chatter, Form, Printer};
use crate::progress::Progress;
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
        Command::Attach(words) => artifact::attach(&context, &words),
        Command::Artifact(command) => artifact::run(&context, &command),
        Command::Manifest(command) => manifest::run(&context, &command),
        Command::Blob(command) => blob::run(&context, &command),
        Command::Config(words) => config::run(&context, &words),
        Command::Append(words) => change::append(&context, &words),
        Command::Mutate(words) => change::mutate(&context, &words),
        Command::Index(command) => change::index(&context, &command),
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
        self.asker_for(&[reference])
    }

    /// A client for requests about several repositories. The credentials of the options are for the first.
    fn asker_for(&self, references: &[&Reference]) -> Result<Asker<'_>, Problem> {
        let registry = references.first().map(|first| first.registry());
        let given = self.common.authentication.owned_by(registry)?;
        let client = self.client(references, &given)?;
        let locations = references.iter().copied().cloned();
        Ok(Asker {
            context: self,
            client,
            locations: locations.map(Location::Registry).collect(),
        })
    }

    /// A hint that says where the refused credentials came from.
    fn refused(&self, failure: &Failure, locations: &[&Location]) -> Option<String> {
        let Error::Auth(error) = failure.first() else {
            return None;
        };
        if !hint::shows_credentials(error) {
            return None;
        }
        let credentials = self.credentials.get()?;
        let source = |location: &&Location| match location {
            Location::Registry(reference) => {
                let (registry, repository) = (reference.registry(), reference.repository());
                let source = credentials.source(registry, Some(repository))?;
                Some((registry.clone(), source))
            }
            Location::Layout(_) => None,
        };
        let mut sources: Vec<_> = locations.iter().filter_map(source).collect();
        let at = |registry: &Registry| error.request.registry() == registry;
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
}

/// A client for requests about the same repositories. They share its session.
struct Asker<'a> {
    context: &'a Context,
    client: Client,
    locations: Vec<Location>,
}

impl Asker<'_> {
    fn ask<R: TypedReport>(&self, spec: RequestSpec) -> Result<R, Problem> {
        let context = self.context;
        let observer = Arc::new(Progress::new(Arc::clone(&context.printer)));
        let asked = self.client.ask(spec, observer, &context.cancel);
        asked.map_err(|failure| self.explained(failure))
    }

    fn explained(&self, failure: Failure) -> Problem {
        let locations: Vec<&Location> = self.locations.iter().collect();
        let hint = self.context.refused(&failure, &locations);
        Problem::Failed { failure, hint }
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

fn store_failed(error: windlass_core::StoreError) -> Problem {
    Problem::failed(Error::Store(error))
}

#[cfg(test)]
mod tests {
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
}
