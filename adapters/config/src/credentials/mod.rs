//! Where credentials are found: every place that docker, podman and their relatives know.
//!
//! The first source that has a credential for a registry wins:
//!
//! 1. [`Explicit`]: what the user gave for this registry, such as `--username`;
//! 2. the variables `WINDLASS_AUTH_<HOST>_USERNAME`, `…_PASSWORD`, `…_TOKEN` and `…_TOKEN_FILE`;
//! 3. the variable `DOCKER_AUTH_CONFIG`: the text of a docker `config.json`;
//! 4. the file of `--authfile` or `REGISTRY_AUTH_FILE`, if one is named. It has to exist, and the files
//!    below are not read then;
//! 5. podman's `auth.json`, in `$XDG_RUNTIME_DIR/containers` (Linux; without the variable in
//!    `/run/containers/<user id>`), then in `$XDG_CONFIG_HOME/containers` (`~/.config/containers`);
//! 6. docker's `config.json`, in `$DOCKER_CONFIG` or `~/.docker`, then `~/.dockercfg`;
//! 7. the programs in `credential-helpers` of `registries.conf`. Those before the word
//!    `containers-auth.json` in that list come before 4.
//!
//! *Variables.* `<HOST>` is the registry's `host[:port]`, `docker.io` for Docker Hub, in upper case, with `_` for
//! each character that is neither a letter nor a digit: `WINDLASS_AUTH_R_EXAMPLE_5000_TOKEN` is for
//! `r.example:5000`. Port 443 is left out. A token alone is sent to the registry as it is; with a user name it is a
//! password. Two hosts can lead to the same name, as `a-b.example` and `a.b.example` do: the variables
//! are then for the one that needs them first, and the other gets an error that names both.
//!
//! *In a file*, a helper in `credHelpers` comes before `credsStore`, and either before `auths`; `credsStore` is
//! ignored in podman's own files, as podman ignores it. If the helper has nothing or fails, `auths`
//! is read. Keys may have a scheme, `/v1/` or `/v2/`, capital letters and, for https, port 443; Docker
//! Hub may have any of its names. Keys with a namespace (`r.example/team`) come first, the longest
//! before shorter ones. Of an entry, `registrytoken` comes before `identitytoken`, that before `auth`, and
//! that before `username` and `password`.
//!
//! *Errors.* A file that is missing is empty. One that cannot be read or parsed, and a helper that is
//! absent or fails, is passed over, and so are errors in entries of other registries. If no later source
//! has a credential, the answer is [`CredentialAnswer::Failed`] with the first reason: the request goes on
//! without a credential, to the same registry, and if it is refused, the error tells that reason.
//!
//! Files are read for each question, so a login in another process counts from the next question on.
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
use windlass_core::credential::{CredentialAnswer, Question, TimedAnswer};
use windlass_core::reference::Repository;
use windlass_driver::Credentials;

pub use self::explain::{Consulted, Explanation, Outcome};
pub use self::explicit::Explicit;
use self::file::{AuthFile, Form};
pub use self::helper::{
    HelperError, HelperLimits, Helpers, end_helpers, parse_credential, parse_list,
};
use self::keys::Wanted;
pub use self::login::{Kept, LoginError, LoginFile};
use self::variables::Variables;
use crate::{VariableError, set};

/// Finds credentials where docker, podman and their relatives keep them. The crate's
/// documentation has the order.
#[derive(Debug)]
pub struct CredentialSearch {
    explicit: Vec<Explicit>,
    sources: Vec<Source>,
    helpers: Helpers,
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
    /// A helper that is asked for every registry.
    Helper(String),
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
            names.map(Source::Helper).collect::<Vec<_>>()
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
            sources: Vec::new(),
            helpers: Helpers::new(None),
        }
    }

    /// One file in the form of docker's `config.json`, which may be missing. Helpers that it names are absent
    /// unless [`helpers`](Self::helpers) are given.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let file = AuthFile::optional(path.into(), Form::Docker);
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

    /// How the credential for a registry or repository is found. Runs helpers, as
    /// [`find`](Credentials::find) does.
    pub fn explain(&self, registry: &Registry, repository: Option<&Repository>) -> Explanation {
        let (registry, repository) = (registry.clone(), repository.cloned());
        let recipient = registry.origin();
        self.search(&Question::new(registry, repository, recipient))
            .1
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
            let found = given.answer();
            let outcome = Outcome::found(&found);
            consulted.push(Consulted::new(given.to_string(), outcome));
            // What the user wants is this one, even if it fails.
            answer = Some(found);
        }
        for source in &self.sources {
            if answer.is_some() {
                consulted.push(Consulted::new(source.label(), Outcome::NotConsulted));
            } else {
                answer = source.look(&wanted, &self.helpers, &mut consulted);
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
        // Helpers do not say how long a credential lives.
        let by_helper = explanation.found().is_some_and(|it| it.helper.is_some());
        TimedAnswer {
            answer,
            valid_for: by_helper.then(|| self.helpers.keep()),
        }
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
            Self::Helper(name) => listed(name).place(),
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
            Self::Helper(name) => {
                let (outcome, answer) = match wanted.ask(helpers, name, None) {
                    Ok(Some(answer)) => (Outcome::found(&answer), Some(answer)),
                    Ok(None) => (Outcome::NoEntry, None),
                    Err(why) => (Outcome::Failed(why), None),
                };
                consulted.push(Consulted {
                    outcome,
                    ..listed(name)
                });
                answer
            }
        }
    }
}

/// A helper of `registries.conf` as a source.
fn listed(name: &str) -> Consulted {
    let source = "`credential-helpers` of registries.conf".to_owned();
    Consulted::new(source, Outcome::NotConsulted).with_helper(name)
}

#[cfg(test)]
mod tests;
