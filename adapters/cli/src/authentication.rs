//! Options that give credentials, and the search for all others.
//!
//! Responsible for which credential an option gives to which registry or repository. Must not know how a
//! registry authenticates.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use windlass_config::hosts::Plan;
use windlass_config::{ConfigFile, CredentialSearch, Explicit, SearchOptions};
use windlass_core::credential::Secret;
use windlass_core::reference::Repository;
use windlass_core::{Reference, Registry};

use crate::args::file;
use crate::exit::Problem;

/// Options for every subcommand.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Authentication")]
pub(crate) struct Authentication {
    /// User name, with --password-stdin or --token-file; of a copy, for DST's registry
    ///
    /// With --token-file the password is in FILE. If DST of a copy is a layout, the user name is for SRC's registry.
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Read a token from the first line of standard input
    ///
    /// It is sent to the registry as it is, in place of a token from its token service.
    #[arg(long)]
    pub(crate) token_stdin: bool,
    /// Read a token, or USER's password, from FILE
    ///
    /// The file may change: it is read again after a minute, and when its content was refused. Without --username it
    /// holds a token, which is sent to the registry as it is.
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Read credentials from FILE instead of podman's and docker's
    ///
    /// FILE has the form of docker's config.json or podman's auth.json, like that of REGISTRY_AUTH_FILE.
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
    )]
    pub(crate) authfile: Option<PathBuf>,
}

/// Options of a copy, for its two sides.
#[derive(ClapArgs, Debug, Default)]
#[command(next_help_heading = "Authentication of one side")]
pub(crate) struct Sides {
    /// Like --username, for the registry of SRC
    #[arg(long, value_name = "USER")]
    pub(crate) src_username: Option<String>,
    /// Like --password-stdin, for the registry of SRC
    #[arg(long)]
    pub(crate) src_password_stdin: bool,
    /// Like --token-stdin, for the registry of SRC
    #[arg(long)]
    pub(crate) src_token_stdin: bool,
    /// Like --token-file, for the registry of SRC
    #[arg(long, value_name = "FILE", value_parser = file())]
    pub(crate) src_token_file: Option<PathBuf>,
    /// Like --username, for the registry of DST
    #[arg(long, value_name = "USER")]
    pub(crate) dest_username: Option<String>,
    /// Like --password-stdin, for the registry of DST
    #[arg(long)]
    pub(crate) dest_password_stdin: bool,
    /// Like --token-stdin, for the registry of DST
    #[arg(long)]
    pub(crate) dest_token_stdin: bool,
    /// Like --token-file, for the registry of DST
    #[arg(long, value_name = "FILE", value_parser = file())]
    pub(crate) dest_token_file: Option<PathBuf>,
}

/// One credential, as options give it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// How the names of its options begin.
    prefix: &'static str,
    username: Option<&'a String>,
    password_stdin: bool,
    token_stdin: bool,
    token_file: Option<&'a Path>,
}

/// A credential, and what it is for.
#[derive(Clone, Debug)]
pub(crate) struct For<'a> {
    given: Given<'a>,
    registry: Registry,
    repository: Option<Repository>,
}

impl Authentication {
    pub(crate) fn given(&self) -> Given<'_> {
        Given {
            prefix: "--",
            username: self.username.as_ref(),
            password_stdin: self.password_stdin,
            token_stdin: self.token_stdin,
            token_file: self.token_file.as_deref(),
        }
    }

    /// The credential of the options for a registry, if they give one.
    ///
    /// # Errors
    ///
    /// If they give one and there is no registry.
    pub(crate) fn owned_by(&self, owner: Option<&Registry>) -> Result<Vec<For<'_>>, Problem> {
        let given = self.given();
        match (given.is_any(), owner) {
            (false, _) => Ok(Vec::new()),
            (true, None) => Err(usage(format!("{} needs a registry", given.first()))),
            (true, Some(owner)) => Ok(vec![For {
                given,
                registry: owner.clone(),
                repository: None,
            }]),
        }
    }

    /// The credentials for a transfer: those of `given`, then those that are found elsewhere.
    ///
    /// # Errors
    ///
    /// If standard input has no secret, or if a file or variable that is named cannot be used.
    pub(crate) fn search(
        &self,
        given: &[For<'_>],
        file: Option<&ConfigFile>,
        plan: &Plan,
    ) -> Result<CredentialSearch, Problem> {
        if let Some(path) = &self.authfile
            && let Err(error) = path.metadata()
        {
            let path = path.display();
            return Err(usage(format!("cannot read the authfile {path}: {error}")));
        }
        let mut search = self.found(file, plan.credential_helpers())?;
        for credential in given {
            search = search.explicit(credential.read()?);
        }
        Ok(search)
    }

    /// The file that is read instead of podman's and docker's: of the option, or of windlass' own file. Variables
    /// come before the latter.
    pub(crate) fn authfile(&self, file: Option<&ConfigFile>) -> Option<PathBuf> {
        let variable = std::env::var_os("REGISTRY_AUTH_FILE");
        let is_set = variable.is_some_and(|value| !value.is_empty());
        let own = || file.filter(|_| !is_set)?.auth_file();
        self.authfile.clone().or_else(own)
    }

    /// The credentials that no option gives. Helpers that windlass' own file names come after those of
    /// `registries.conf`.
    pub(crate) fn found(
        &self,
        file: Option<&ConfigFile>,
        helpers: &[String],
    ) -> Result<CredentialSearch, Problem> {
        let mut options = SearchOptions::default();
        options.authfile = self.authfile(file);
        options.credential_helpers = helpers.to_vec();
        let own = file.map(ConfigFile::credential_helpers).unwrap_or_default();
        options.credential_helpers.extend_from_slice(own);
        let search = CredentialSearch::with_options(options, |name| std::env::var_os(name));
        let search = search.map_err(|error| usage(error.to_string()))?;
        Ok(match file {
            // A file that is named for everything comes before those for reading and for writing.
            Some(file) if self.authfile.is_none() => file.add_credentials(search),
            Some(_) | None => search,
        })
    }
}

impl Sides {
    fn source(&self) -> Given<'_> {
        Given {
            prefix: "--src-",
            username: self.src_username.as_ref(),
            password_stdin: self.src_password_stdin,
            token_stdin: self.src_token_stdin,
            token_file: self.src_token_file.as_deref(),
        }
    }

    fn destination(&self) -> Given<'_> {
        Given {
            prefix: "--dest-",
            username: self.dest_username.as_ref(),
            password_stdin: self.dest_password_stdin,
            token_stdin: self.dest_token_stdin,
            token_file: self.dest_token_file.as_deref(),
        }
    }

    /// Checks what clap cannot.
    pub(crate) fn check(&self, common: &Authentication) -> Result<(), Problem> {
        let all = [common.given(), self.source(), self.destination()];
        all.into_iter().try_for_each(Given::check)?;
        let from_stdin: Vec<_> = all.iter().filter_map(|it| it.stdin()).collect();
        if let [one, other, ..] = from_stdin.as_slice() {
            let why =
                format!("{one} and {other} cannot both read standard input; use a file for one");
            return Err(usage(why));
        }
        Ok(())
    }

    /// The credentials of the options of a copy. Where both sides are in one registry, each is for its
    /// repository only.
    pub(crate) fn owned_by<'a>(
        &'a self,
        common: &'a Authentication,
        from: Option<&Reference>,
        to: Option<&Reference>,
    ) -> Result<Vec<For<'a>>, Problem> {
        let owner = to.or(from).map(Reference::registry);
        let mut all = Vec::new();
        let is_same = from.zip(to).is_some_and(|(from, to)| {
            from.registry().credential_key() == to.registry().credential_key()
        });
        for (given, side, name) in [
            (self.source(), from, "SRC"),
            (self.destination(), to, "DST"),
        ] {
            if !given.is_any() {
                continue;
            }
            let reference =
                side.ok_or_else(|| usage(format!("{} needs a registry as {name}", given.first())))?;
            all.push(For {
                given,
                registry: reference.registry().clone(),
                repository: is_same.then(|| reference.repository().clone()),
            });
        }
        if let [one, other] = all.as_slice()
            && is_same
            && one.repository == other.repository
        {
            let why = "SRC and DST are one repository, which can have one credential";
            return Err(usage(why.to_owned()));
        }
        if common.given().is_any() && all.iter().any(|it| Some(&it.registry) == owner && !is_same) {
            let (one, other) = (common.given().first(), "the options for one side");
            return Err(usage(format!(
                "{one} and {other} are for the same registry"
            )));
        }
        all.extend(common.owned_by(owner)?);
        Ok(all)
    }

    /// The same for several destinations. A credential is for one registry, or for one repository, so that all of them
    /// have to be in one registry, and not in that of the source, if options give one.
    pub(crate) fn owned_by_each<'a>(
        &'a self,
        common: &'a Authentication,
        from: Option<&Reference>,
        to: &[&Reference],
    ) -> Result<Vec<For<'a>>, Problem> {
        let mut keys = to.iter().map(|to| to.registry().credential_key());
        let first = keys.next();
        let source = from.map(|from| from.registry().credential_key());
        let is_apart = keys.all(|key| Some(key) == first) && source != first;
        let all = [common.given(), self.source(), self.destination()];
        if let Some(given) = all.iter().find(|given| given.is_any())
            && !is_apart
        {
            let why = "is for one registry; with several destinations, credentials come from a file or a helper";
            return Err(usage(format!("{} {why}", given.first())));
        }
        self.owned_by(common, from, to.first().copied())
    }
}

impl Given<'_> {
    pub(crate) const fn is_any(&self) -> bool {
        self.username.is_some()
            || self.password_stdin
            || self.token_stdin
            || self.token_file.is_some()
    }

    /// Checks what clap cannot, because options may stand on both sides of the subcommand.
    pub(crate) fn check(self) -> Result<(), Problem> {
        let name = |option: &str| format!("{}{option}", self.prefix);
        let (username, password) = (name("username"), name("password-stdin"));
        let (token, file) = (name("token-stdin"), name("token-file"));
        let sources = [
            (self.password_stdin, &password),
            (self.token_stdin, &token),
            (self.token_file.is_some(), &file),
        ];
        let sources: Vec<_> = sources
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, it)| *it)
            .collect();
        if let [one, other, ..] = sources.as_slice() {
            return Err(usage(format!("{one} and {other} exclude each other")));
        }
        let wrong = if self.password_stdin && self.username.is_none() {
            format!("{password} needs {username}")
        } else if self.token_stdin && self.username.is_some() {
            format!("{token} takes no {username}; use {password}")
        } else if self.username.is_some() && sources.is_empty() {
            format!(
                "{username} needs {password}: a password on the command line is visible to other users"
            )
        } else {
            return Ok(());
        };
        Err(usage(wrong))
    }

    /// The option that reads standard input.
    fn stdin(self) -> Option<String> {
        let option = match (self.password_stdin, self.token_stdin) {
            (true, _) => "password-stdin",
            (false, true) => "token-stdin",
            (false, false) => return None,
        };
        Some(format!("{}{option}", self.prefix))
    }

    /// The first of its options, for messages.
    fn first(self) -> String {
        let option = if self.username.is_some() {
            "username"
        } else if self.password_stdin {
            "password-stdin"
        } else if self.token_stdin {
            "token-stdin"
        } else {
            "token-file"
        };
        format!("{}{option}", self.prefix)
    }
}

impl For<'_> {
    fn read(&self) -> Result<Explicit, Problem> {
        let Given {
            username,
            token_file,
            ..
        } = self.given;
        let registry = self.registry.clone();
        let given = match (username, token_file) {
            (username, Some(path)) => Explicit::file(registry, username.cloned(), path),
            (Some(username), None) => Explicit::password(registry, username, secret("password")?),
            (None, None) => Explicit::token(registry, secret("token")?),
        };
        Ok(match &self.repository {
            Some(repository) => given.repository(repository.clone()),
            None => given,
        })
    }
}

/// Reads a secret from standard input.
pub(crate) fn secret(what: &str) -> Result<Secret, Problem> {
    read(io::stdin().lock(), what).map_err(usage)
}

/// Reads the first line, without its end.
fn read(input: impl BufRead, what: &str) -> Result<Secret, String> {
    /// More than any token has.
    const MOST: u64 = 64 << 10;
    let mut line = String::new();
    input
        .take(MOST)
        .read_line(&mut line)
        .map_err(|error| format!("cannot read the {what} from standard input: {error}"))?;
    if line.len() as u64 == MOST {
        return Err(format!("the {what} on standard input is too long"));
    }
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(format!("no {what} on standard input"));
    }
    Ok(Secret::new(line))
}

const fn usage(why: String) -> Problem {
    Problem::Usage(why)
}

#[cfg(test)]
mod tests;
