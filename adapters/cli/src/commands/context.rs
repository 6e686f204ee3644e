//! What subcommands share: a client, cancelling, and why credentials were refused.
//!
//! Must not know any subcommand.

use std::sync::{Arc, OnceLock};

use windlass_core::tape::TapeSink;
use windlass_core::{Error, Failure, Reference, Registry};
use windlass_driver::{Credentials, RequestSpec, Settings, TypedReport};
use windlass_driver::{TapeFile, UploadFolder};

use crate::args::Common;
use crate::client::{CancelHandle, Client, Connect};
use crate::exit::Problem;
use crate::hint;
use crate::interrupt::Interrupt;
use crate::location::Location;
use crate::printer::{Chatter, OutputFormat, Printer};
use crate::progress::Progress;
use crate::uploads::Resume;

pub(super) struct Context {
    pub(super) connect: Connect,
    pub(super) common: Common,
    pub(super) printer: Arc<Printer>,
    pub(super) cancel: CancelHandle,
    pub(super) interrupt: Interrupt,
    /// Set when the session begins.
    pub(super) tape: OnceLock<Arc<TapeFile>>,
    pub(super) credentials: OnceLock<Arc<dyn Credentials>>,
    /// Where unfinished uploads are kept, if they are.
    pub(super) uploads: OnceLock<Arc<UploadFolder>>,
}

impl Context {
    /// Creates the tape of `--tape`.
    pub(super) fn tape(&self) -> Result<Option<Arc<dyn TapeSink>>, Problem> {
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
    pub(super) fn check_tape(&self) {
        if let (Some(path), Some(tape)) = (&self.common.tape, self.tape.get())
            && let Err(why) = tape.complete()
        {
            let path = path.display();
            self.printer
                .warning(&format!("the tape {path} is incomplete: {why}"));
        }
    }

    /// Uploads of the client that is built next are kept.
    pub(super) fn keep_uploads(&self, resume: &Resume) {
        if let Some(folder) = resume.folder(|name| std::env::var_os(name)) {
            self.uploads
                .get_or_init(|| Arc::new(UploadFolder::new(folder)));
        }
    }

    /// Warns if uploads were not kept, or one could not be read. The transfer is not affected.
    pub(super) fn check_uploads(&self) {
        if let Some(problem) = self.uploads.get().and_then(|it| it.problem()) {
            let what = format!("unfinished uploads are not kept or not gone on with: {problem}");
            self.printer.warning(&what);
        }
    }

    pub(super) fn connect(&self, settings: Settings) -> Result<Client, Problem> {
        (self.connect)(settings).map_err(|error| Problem::Usage(error.to_string()))
    }

    pub(super) fn watch(&self) -> Result<(), Problem> {
        self.interrupt
            .watch(self.cancel.clone(), Arc::clone(&self.printer))
            .map_err(|error| Problem::Usage(format!("cannot watch for signals: {error}")))
    }

    /// Runs a request about one repository.
    pub(super) fn ask<R: TypedReport>(
        &self,
        reference: &Reference,
        spec: RequestSpec,
    ) -> Result<R, Problem> {
        self.asker(reference)?.ask(spec)
    }

    /// A client for requests about one repository.
    pub(super) fn asker(&self, reference: &Reference) -> Result<Asker<'_>, Problem> {
        self.asker_for(&[reference])
    }

    /// A client for requests about several repositories. The credentials of the options are for the first.
    pub(super) fn asker_for(&self, references: &[&Reference]) -> Result<Asker<'_>, Problem> {
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
    pub(super) fn refused(&self, failure: &Failure, locations: &[&Location]) -> Option<String> {
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
pub(super) struct Asker<'a> {
    pub(super) context: &'a Context,
    pub(super) client: Client,
    pub(super) locations: Vec<Location>,
}

impl Asker<'_> {
    pub(super) fn ask<R: TypedReport>(&self, spec: RequestSpec) -> Result<R, Problem> {
        let context = self.context;
        let observer = Arc::new(Progress::new(Arc::clone(&context.printer)));
        let asked = self.client.ask(spec, observer, &context.cancel);
        asked.map_err(|failure| self.explained(failure))
    }

    pub(super) fn explained(&self, failure: Failure) -> Problem {
        let locations: Vec<&Location> = self.locations.iter().collect();
        let hint = self.context.refused(&failure, &locations);
        Problem::Failed { failure, hint }
    }
}

impl Common {
    pub(super) const fn chatter(&self) -> Chatter {
        match (self.trace, self.quiet) {
            (true, _) => Chatter::Trace,
            (false, true) => Chatter::Quiet,
            (false, false) => Chatter::Bars,
        }
    }

    pub(super) const fn output_format(&self) -> OutputFormat {
        if self.json {
            OutputFormat::Json
        } else {
            OutputFormat::Text
        }
    }

    /// Checks what clap cannot, because options may stand on both sides of the subcommand.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.trace && self.quiet {
            let why = "--trace and --quiet exclude each other";
            return Err(Problem::Usage(why.to_owned()));
        }
        self.authentication.given().check()
    }
}

pub(super) fn store_failed(error: windlass_core::StoreError) -> Problem {
    Problem::failed(Error::Store(error))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

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
