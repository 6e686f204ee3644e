//! Where credentials are found: every place that docker, podman and their relatives know.
//!
//! The first source that has a credential for a registry wins:
//!
//! 1. [`Explicit`]: what the user gave for this registry, such as `--username`;
//! 2. the file that is for reading or for writing only ([`CredentialSearch::file_for`]), if one is named for the
//!    registry and the question says which it is. It has to exist, and nothing below is read then;
//! 3. the variables `WINDLASS_AUTH_<HOST>_USERNAME`, `…_PASSWORD`, `…_TOKEN` and `…_TOKEN_FILE`;
//! 4. the variable `DOCKER_AUTH_CONFIG`: the text of a docker `config.json`;
//! 5. the file of `--authfile` or `REGISTRY_AUTH_FILE`, if one is named. It has to exist, and the files
//!    below are not read then;
//! 6. podman's `auth.json`, in `$XDG_RUNTIME_DIR/containers` (Linux; without the variable in
//!    `/run/containers/<user id>`), then in `$XDG_CONFIG_HOME/containers` (`~/.config/containers`);
//! 7. docker's `config.json`, in `$DOCKER_CONFIG` or `~/.docker`, then `~/.dockercfg`;
//! 8. the programs in `credential-helpers` of `registries.conf`. Those before the word
//!    `containers-auth.json` in that list come before 5.
//!
//! *Variables.* `<HOST>` is the registry's `host[:port]`, `docker.io` for Docker Hub, in upper case, with `__` for
//! each `-`, and `_` for each other character that is neither a letter nor a digit:
//! `WINDLASS_AUTH_R_EXAMPLE_5000_TOKEN` is for `r.example:5000`, `WINDLASS_AUTH_A__B_EXAMPLE_TOKEN` for
//! `a-b.example`. So each name is for one host. Port 443 is left out. A token alone is sent to the registry as it
//! is; with a user name it is a password.
//!
//! *In a file*, a helper in `credHelpers` comes before `credsStore`, and either before `auths`; `credsStore` is
//! ignored in podman's own files, as podman ignores it. If the helper has nothing or fails, `auths`
//! is read. Keys may have a scheme, `/v1/` or `/v2/`, capital letters and, for https, port 443; Docker
//! Hub may have any of its names. Keys with a namespace (`r.example/team`) come first, the longest
//! before shorter ones. Of an entry, `registrytoken` comes before `identitytoken`, that before `auth`, and
//! that before `username` and `password`.
//!
//! *Errors.* A file that is missing is empty. One that cannot be read or parsed, and a helper that is
//! absent or fails, is passed over, and so are errors in entries of other registries. But what was named for this
//! program is not replaced by another identity: after an error in 2, 3, 4 or 5 no later source is consulted. If no
//! source has a credential, the answer is [`CredentialAnswer::Failed`] with the first reason: the request
//! goes on without a credential, to the same registry, and if it is refused, the error tells that reason.
//! [`on_failure`](CredentialSearch::on_failure) gets each reason, whether the request succeeds or not.
//!
//! Files are read for each question, so a login in another process counts from the next question on. The content
//! of a token file (1 and 3) counts for a minute; then the question is asked again.
//! Helpers: see [`Helpers`].
//!
//! ```no_run
//! use windlass_config::CredentialSearch;
//!
//! let search = CredentialSearch::from_variables(|name| std::env::var_os(name))?;
//! let reference: windlass_core::Reference = "registry.example/team/app".parse().expect("a reference");
//! println!("{}", search.explain(reference.registry(), Some(reference.repository())));
//! # Ok::<(), windlass_config::VariableError>(())
//! ```

mod document;
mod entry;
mod explain;
mod explicit;
mod failures;
mod file;
mod helper;
mod keys;
mod login;
mod places;
mod token_file;
mod variables;

use std::ffi::OsString;
use std::path::PathBuf;

use windlass_core::Registry;
use windlass_core::config::RegistryPattern;
use windlass_core::reference::Repository;

pub use windlass_core::credential::{Access, CredentialAnswer, Question, Secret, TimedAnswer};
pub use windlass_driver::Credentials;

pub use self::explain::{Consulted, Explanation, SourceOutcome};
pub use self::explicit::Explicit;
use self::failures::Failures;
use self::file::{AuthFile, FileFormat};
pub use self::helper::{
    HelperError, HelperLimits, Helpers, end_helpers, parse_credential, parse_list,
};
use self::keys::Wanted;
pub use self::login::{Kept, LoginError, LoginFile};
use self::variables::Variables;
pub use self::variables::remove_own_variables;
use crate::{VariableError, set};

/// Finds credentials where docker, podman and their relatives keep them. The crate's
/// documentation has the order.
#[derive(Debug)]
pub struct CredentialSearch {
    explicit: Vec<Explicit>,
    /// Files that are for one kind of access to some registries.
    apart: Vec<(Access, RegistryPattern, Source)>,
    sources: Vec<Source>,
    helpers: Helpers,
    failures: Failures,
}

/// What the user can choose about the search.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SearchOptions {
    /// The file to read instead of podman's and docker's, like `REGISTRY_AUTH_FILE`.
    pub authfile: Option<PathBuf>,
    /// `credential-helpers` of `registries.conf`: names of helpers without `docker-credential-`. The word
    /// `containers-auth.json` stands for the files.
    pub credential_helpers: Vec<String>,
    /// Bounds on the runs of helpers.
    pub helper_limits: HelperLimits,
}

#[derive(Debug)]
enum Source {
    Variables(Variables),
    File(AuthFile),
    /// A helper that is asked for every registry: of `registries.conf`, or the program's own.
    Helper {
        name: String,
        is_listed: bool,
    },
}

impl CredentialSearch {
    /// All sources, at the places that follow from these variables. Reads no file yet.
    ///
    /// # Errors
    ///
    /// If the value of a variable that names a place is not valid text.
    pub fn from_variables(
        variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
    ) -> Result<Self, VariableError> {
        Self::with_options(SearchOptions::default(), variables)
    }

    /// The same, with options.
    ///
    /// # Errors
    ///
    /// If the value of a variable that names a place is not valid text.
    pub fn with_options(
        options: SearchOptions,
        variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
    ) -> Result<Self, VariableError> {
        /// In the list of helpers: the files.
        const FILES: &str = "containers-auth.json";
        let helpers = Helpers::new(variables("PATH")).limits(options.helper_limits);
        let text = set(&variables, "DOCKER_AUTH_CONFIG")?;
        let text = text.map(|text| AuthFile::text("DOCKER_AUTH_CONFIG", text));
        let authfile = match options.authfile {
            Some(path) => Some(path),
            None => places::authfile(&variables)?,
        };
        let files = match authfile {
            Some(path) => vec![AuthFile::required(path)],
            None => places::files(&variables)?,
        };
        let listed = options.credential_helpers;
        let split = listed.iter().position(|it| it == FILES).unwrap_or(0);
        let (before, after) = listed.split_at(split);
        let named = |names: &[String]| {
            let names = names.iter().filter(|it| *it != FILES).cloned();
            let is_listed = true;
            names
                .map(|name| Source::Helper { name, is_listed })
                .collect::<Vec<_>>()
        };
        let mut sources: Vec<_> = text.into_iter().map(Source::File).collect();
        sources.extend(named(before));
        sources.extend(files.into_iter().map(Source::File));
        sources.extend(named(after));
        sources.insert(0, Source::Variables(Variables::new(variables)));
        Ok(Self {
            sources,
            ..Self::empty().helpers(helpers)
        })
    }

    /// No source yet.
    pub fn empty() -> Self {
        Self {
            explicit: Vec::new(),
            apart: Vec::new(),
            sources: Vec::new(),
            helpers: Helpers::new(None),
            failures: Failures::default(),
        }
    }

    /// One file in the form of docker's `config.json`, which may be missing. Helpers that it names are absent
    /// unless [`helpers`](Self::helpers) are given.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let file = AuthFile::optional(path.into(), FileFormat::Docker);
        Self {
            sources: vec![Source::File(file)],
            ..Self::empty()
        }
    }

    /// A text in the form of docker's `config.json`, for instance a Kubernetes secret. `label` is its name in
    /// messages.
    pub fn text(label: &str, text: impl Into<String>) -> Self {
        Self {
            sources: vec![Source::File(AuthFile::text(label, text.into()))],
            ..Self::empty()
        }
    }

    /// The helper `docker-credential-NAME`, asked for every registry. It is absent unless
    /// [`helpers`](Self::helpers) are given.
    pub fn helper(name: impl Into<String>) -> Self {
        Self {
            sources: vec![Source::Helper {
                name: name.into(),
                is_listed: false,
            }],
            ..Self::empty()
        }
    }

    /// Helpers in these folders, and with these limits.
    #[must_use]
    pub fn helpers(mut self, helpers: Helpers) -> Self {
        self.helpers = helpers;
        self
    }

    /// With a credential of the user's. One for a repository comes before those for its registry; among
    /// equals the first one counts.
    #[must_use]
    pub fn explicit(mut self, explicit: Explicit) -> Self {
        self.explicit.push(explicit);
        self
    }

    /// With a file in the form of docker's `config.json`, which must exist, for reading from the registries of a
    /// pattern, or for writing to them. It takes the place of every source but the user's own. Of several files
    /// that are for a registry the closest pattern counts. Such credentials are asked for where
    /// [`RegistrySettings::separate_writes`](windlass_core::config::RegistrySettings::separate_writes) is set.
    #[must_use]
    pub fn file_for(
        mut self,
        access: Access,
        registries: RegistryPattern,
        path: impl Into<PathBuf>,
    ) -> Self {
        let file = Source::File(AuthFile::required(path.into()));
        self.apart.push((access, registries, file));
        self
    }

    /// Calls `tell` with the reason why a source could not be used, once for each reason, also if another source has
    /// the credential. It is called by the thread that asks for credentials.
    #[must_use]
    pub fn on_failure(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.failures = Failures::new(tell);
        self
    }

    /// How the credential for a registry or repository is found. Runs helpers, as
    /// [`find`](Credentials::find) does.
    pub fn explain(&self, registry: &Registry, repository: Option<&Repository>) -> Explanation {
        self.explain_for(Access::Any, registry, repository)
    }

    /// The same for a credential that is for reading or for writing only.
    pub fn explain_for(
        &self,
        access: Access,
        registry: &Registry,
        repository: Option<&Repository>,
    ) -> Explanation {
        let (registry, repository) = (registry.clone(), repository.cloned());
        let recipient = registry.origin();
        let question = Question::new(registry, repository, recipient).for_access(access);
        self.search(&question).1
    }

    fn search(&self, question: &Question) -> (CredentialAnswer, Explanation) {
        let (registry, repository) = (question.registry(), question.repository());
        let wanted = Wanted {
            again: question.is_again(),
            ..Wanted::new(registry, repository, question.recipient())
        };
        let mut consulted = Vec::new();
        let mut answer = None;
        if let Some(given) = self.given(registry, repository) {
            let mut told = Consulted::new(given.to_string(), SourceOutcome::NotConsulted);
            // What the user wants is this one, even if it fails.
            answer = told.add(Ok(Some(given.answer())));
            consulted.push(told);
        }
        let apart = self.apart(question).map(std::slice::from_ref);
        for source in apart.unwrap_or(&self.sources) {
            if answer.is_some() {
                consulted.push(Consulted::new(source.label(), SourceOutcome::NotConsulted));
            } else {
                let before = consulted.len();
                answer = source.look(&wanted, &self.helpers, &mut consulted);
                // Another identity than the one that was named must not be used instead.
                if answer.is_none() && source.is_named() {
                    let why = consulted[before..].iter().find_map(Consulted::failure);
                    answer = why.map(|why| CredentialAnswer::Failed(why.to_owned()));
                }
            }
        }
        let explanation = Explanation { consulted };
        let answer = answer.unwrap_or_else(|| {
            let first = explanation.failures().next();
            first.map_or(CredentialAnswer::None, |why| {
                CredentialAnswer::Failed(why.to_owned())
            })
        });
        (answer, explanation)
    }

    /// The file for this kind of access alone, if there is one.
    fn apart(&self, question: &Question) -> Option<&Source> {
        let fitting = self.apart.iter().filter_map(|(access, pattern, source)| {
            let closeness = pattern.closeness(question.registry())?;
            (*access == question.access()).then_some((closeness, source))
        });
        fitting
            .max_by_key(|(closeness, _)| *closeness)
            .map(|(_, source)| source)
    }

    fn given(&self, registry: &Registry, repository: Option<&Repository>) -> Option<&Explicit> {
        let fitting = || {
            let all = self.explicit.iter();
            all.filter(|it| it.is_for(registry, repository))
        };
        fitting()
            .find(|it| it.is_for_repository())
            .or_else(|| fitting().next())
    }
}

impl Credentials for CredentialSearch {
    fn find(&self, question: &Question) -> TimedAnswer {
        let (answer, explanation) = self.search(question);
        explanation
            .failures()
            .for_each(|why| self.failures.tell(why));
        let valid_for = explanation.found().and_then(|found| found.valid_for);
        let mut timed = TimedAnswer::from(answer);
        timed.valid_for = valid_for;
        timed
    }

    fn source(&self, registry: &Registry, repository: Option<&Repository>) -> Option<String> {
        let explanation = self.explain(registry, repository);
        let place = explanation.found()?.place();
        let failed: Vec<_> = explanation.failures().collect();
        Some(match failed.as_slice() {
            [] => place,
            failed => format!("{place}, because before it {}", failed.join("; ")),
        })
    }
}

impl Source {
    fn label(&self) -> String {
        match self {
            Self::Variables(_) => format!("the variables {}…", variables::PREFIX),
            Self::File(file) => file.label().to_owned(),
            Self::Helper { name, is_listed } => asked(name, *is_listed).place(),
        }
    }

    /// Whether it was named for this program, rather than found where every program looks.
    const fn is_named(&self) -> bool {
        match self {
            Self::Variables(_) => true,
            Self::File(file) => file.is_named(),
            Self::Helper { is_listed, .. } => !*is_listed,
        }
    }

    fn look(
        &self,
        wanted: &Wanted<'_>,
        helpers: &Helpers,
        consulted: &mut Vec<Consulted>,
    ) -> Option<CredentialAnswer> {
        match self {
            Self::Variables(variables) => variables.look(wanted, consulted),
            Self::File(file) => file.look(wanted, helpers, consulted),
            Self::Helper { name, is_listed } => {
                let mut told = asked(name, *is_listed);
                let answer = told.add(wanted.ask(helpers, name, None));
                consulted.push(told);
                answer
            }
        }
    }
}

/// A helper as a source.
fn asked(name: &str, is_listed: bool) -> Consulted {
    let source = match is_listed {
        true => "`credential-helpers` of registries.conf",
        false => "this program",
    };
    Consulted::new(source.to_owned(), SourceOutcome::NotConsulted).with_helper(name)
}

#[cfg(test)]
mod tests;
