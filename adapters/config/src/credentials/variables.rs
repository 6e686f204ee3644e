//! Credentials in variables: `WINDLASS_AUTH_<HOST>_…`.
//!
//! Responsible for the names of the variables, and for telling when one could be for two registries.
//! Must not know other sources.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use windlass_core::credential::CredentialAnswer;

use super::entry::{basic, bearer};
use super::explain::{Consulted, Outcome};
use super::keys::Wanted;
use super::token_file;

/// How the names begin. Programs that windlass runs do not get these variables.
pub(crate) const PREFIX: &str = "WINDLASS_AUTH_";

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// The variables of all registries, each looked up when it is needed.
pub(super) struct Variables {
    lookup: Box<Lookup>,
    /// The registry that each `<HOST>` is for: the first one for which a variable was found.
    hosts: Mutex<BTreeMap<String, String>>,
}

/// The variables of one registry.
struct Of<'a> {
    lookup: &'a Lookup,
    host: &'a str,
}

impl Variables {
    pub(super) fn new(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self {
            lookup: Box::new(lookup),
            hosts: Mutex::default(),
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
            host: &host,
        };
        let found = of.credential().and_then(|found| match found {
            Some(found) => self.claim(&host, &name).map(|()| Some(found)),
            None => Ok(None),
        });
        let source = format!("the variables {PREFIX}{host}_*");
        let (outcome, answer) = match found {
            Ok(Some(answer)) => (Outcome::found(&answer), Some(answer)),
            Ok(None) => (Outcome::NoEntry, None),
            Err(why) => (Outcome::Failed(why), None),
        };
        consulted.push(Consulted::new(source, outcome));
        answer
    }

    /// The hosts of two registries can lead to the same names. The password of the first one must not
    /// go to the second.
    fn claim(&self, mangled: &str, host: &str) -> Result<(), String> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = hosts
            .entry(mangled.to_owned())
            .or_insert_with(|| host.to_owned());
        if owner == host {
            return Ok(());
        }
        Err(format!(
            "the variables {PREFIX}{mangled}_* could be for `{owner}` or for `{host}`; use another \
             source for one of them"
        ))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

impl Of<'_> {
    fn credential(&self) -> Result<Option<CredentialAnswer>, String> {
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
        let secret = match *what {
            "TOKEN_FILE" => token_file::read(value.as_ref())?,
            "PASSWORD" if username.is_none() => {
                let (user, password) = (self.name("USERNAME"), self.name("PASSWORD"));
                return Err(format!("{password} is set, but not {user}"));
            }
            _ => value.clone(),
        };
        Ok(Some(match username {
            Some(username) => basic(&username, &secret),
            None => bearer(&secret),
        }))
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

/// The host in the names of variables: upper case, and `_` for whatever is neither a letter nor a
/// digit.
pub(super) fn mangled(host: &str) -> String {
    let plain = |char: char| match char.is_ascii_alphanumeric() {
        true => char.to_ascii_uppercase(),
        false => '_',
    };
    host.chars().map(plain).collect()
}
