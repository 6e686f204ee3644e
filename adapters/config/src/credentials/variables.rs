//! Credentials in variables: `WINDLASS_AUTH_<HOST>_…`.
//!
//! Responsible for the names of the variables: each is for one registry.
//! Must not know other sources.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use windlass_core::credential::{CredentialAnswer, TimedAnswer};

use super::entry::{basic, bearer};
use super::explain::{Consulted, SourceOutcome};
use super::keys::Wanted;
use super::token_file::TokenFile;

/// How the names begin.
pub(super) const PREFIX: &str = "WINDLASS_AUTH_";

/// Keeps the variables `WINDLASS_AUTH_…` of this process from a program that it runs: the credentials in them are
/// for windlass alone.
pub fn remove_own_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            command.env_remove(name);
        }
    }
}

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// The variables of all registries, each looked up when it is needed.
pub(super) struct Variables {
    lookup: Box<Lookup>,
    token_files: TokenFiles,
}

/// The token files that variables named, by path: what came through a pipe cannot be read again for the next
/// repository.
#[derive(Default)]
struct TokenFiles(Mutex<BTreeMap<String, Arc<TokenFile>>>);

impl TokenFiles {
    fn at(&self, path: &str) -> Arc<TokenFile> {
        // An entry is added as a whole.
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files.entry(path.to_owned());
        file.or_insert_with(|| Arc::new(TokenFile::new(path.into())))
            .clone()
    }
}

/// The variables of one registry.
struct Of<'a> {
    lookup: &'a Lookup,
    token_files: &'a TokenFiles,
    host: &'a str,
}

impl Variables {
    pub(super) fn new(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self {
            lookup: Box::new(lookup),
            token_files: TokenFiles::default(),
        }
    }

    pub(super) fn look(
        &self,
        wanted: &Wanted<'_>,
        consulted: &mut Vec<Consulted>,
    ) -> Option<CredentialAnswer> {
        let (name, host) = (wanted.host(), mangled(&wanted.host()));
        let of = Of {
            lookup: &*self.lookup,
            token_files: &self.token_files,
            host: &host,
        };
        let found = of.credential().and_then(|found| match (found, owner(&name)) {
            (Some(_), Some(owner)) => Err(format!(
                "the variables {PREFIX}{host}_* are for `{owner}`, not for `{name}`; use another source \
                 for it"
            )),
            (found, _) => Ok(found),
        });
        let source = format!("the variables {PREFIX}{host}_*");
        let mut told = Consulted::new(source, SourceOutcome::NotConsulted);
        let answer = told.add(found);
        consulted.push(told);
        answer
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

impl Of<'_> {
    fn credential(&self) -> Result<Option<TimedAnswer>, String> {
        let username = self.value("USERNAME")?;
        let mut secrets = Vec::new();
        for what in ["PASSWORD", "TOKEN", "TOKEN_FILE"] {
            secrets.extend(self.value(what)?.map(|value| (what, value)));
        }
        let (what, value) = match secrets.as_slice() {
            [] if username.is_some() => {
                let (user, password) = (self.name("USERNAME"), self.name("PASSWORD"));
                return Err(format!("{user} is set, but not {password}"));
            }
            [] => return Ok(None),
            [one] => one,
            [(one, _), (other, _), ..] => {
                let (one, other) = (self.name(one), self.name(other));
                return Err(format!("{one} and {other} are both set"));
            }
        };
        let answer = match (*what, username) {
            ("TOKEN_FILE", username) => {
                let timed = self.token_files.at(value).answer(username.as_deref());
                if let CredentialAnswer::Failed(why) = timed.answer {
                    return Err(why);
                }
                timed
            }
            ("PASSWORD", None) => {
                let (user, password) = (self.name("USERNAME"), self.name("PASSWORD"));
                return Err(format!("{password} is set, but not {user}"));
            }
            (_, Some(username)) => basic(&username, value).into(),
            (_, None) => bearer(value).into(),
        };
        Ok(Some(answer))
    }

    /// An empty value counts as unset.
    fn value(&self, what: &str) -> Result<Option<String>, String> {
        let name = self.name(what);
        let value = (self.lookup)(&name).filter(|value| !value.is_empty());
        let value = value.map(OsString::into_string).transpose();
        // The value is not shown: it may be a password.
        value.map_err(|_| format!("the value of the variable {name} is not valid UTF-8"))
    }

    fn name(&self, what: &str) -> String {
        format!("{PREFIX}{}_{what}", self.host)
    }
}

/// The host in the names of variables: upper case, `__` for `-`, and `_` for `.`, `:` and brackets.
///
/// Two hosts never have the same name here, or the password of one could go to the other, which
/// anybody may have registered. A `-` is never beside a `.` or `:`, so that underscores in pairs can only
/// be hyphens. A name that begins with one is an IPv6 address. For `.` and `:` see [`owner`].
pub(super) fn mangled(host: &str) -> String {
    let mut name = String::new();
    for char in host.chars() {
        match char {
            '-' => name.push_str("__"),
            _ if char.is_ascii_alphanumeric() => name.push(char.to_ascii_uppercase()),
            _ => name.push('_'),
        }
    }
    name
}

/// The registry that the variables are for if it is another than `host`: `r.example:5000` for
/// `r.example.5000`, since no top-level domain has digits only, and `10.0.0.5` for `10.0.0:5`.
fn owner(host: &str) -> Option<String> {
    let (name, last) = host.rsplit_once(['.', ':'])?;
    if last.is_empty() || !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let dotted = format!("{name}.{last}");
    let is_address = dotted.parse::<Ipv4Addr>().is_ok();
    match (is_address, host == dotted) {
        (true, false) => Some(dotted),
        (false, true) => Some(format!("{name}:{last}")),
        (true, true) | (false, false) => None,
    }
}
