//! Credential helpers: programs `docker-credential-NAME` (CRED-20 to CRED-29).
//!
//! Responsible for the protocol: what a helper reads and writes, and what its answer means. Each
//! question is one process, with a limit on its time and output. Must not know which helper is for
//! which registry.
//!
//! ```text
//!  docker-credential-NAME get    ◀─ URL          ─▶ {"ServerURL":…,"Username":…,"Secret":…}
//!                         store  ◀─ {"ServerURL":…,"Username":…,"Secret":…}
//!                         erase  ◀─ URL
//!                         list   ◀─ `unused`     ─▶ {"URL":"user name",…}
//!  exit status 1: what is wrong, on standard output
//! ```
//!
//! A secret is passed through a pipe: neither the command line nor the environment has it.

mod answer;
mod known;
mod process;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass_core::credential::{CredentialAnswer, Secret, TimedAnswer};
use windlass_core::sanitize::escape;

pub use self::answer::{parse_credential, parse_list};
use self::known::Known;
use self::process::{Finished, RunError};

/// Bounds on one run of a helper.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HelperLimits {
    /// The longest that a helper may take; 30 s by default. Then its process group is killed.
    pub time: Duration,
    /// The most bytes that it may write to standard output; 1 MiB by default.
    pub output: usize,
    /// How long an answer is used before the helper is asked again; an hour by default. That there is
    /// no credential, or that the helper failed, is remembered for a minute at most.
    pub keep: Duration,
}

impl Default for HelperLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            output: 1 << 20,
            keep: Duration::from_secs(60 * 60),
        }
    }
}

/// Runs credential helpers. Clones share what they know: each question is asked once, however many
/// threads ask it.
#[derive(Clone)]
pub struct Helpers {
    /// The folders with programs, as in `PATH`.
    folders: Option<OsString>,
    limits: HelperLimits,
    known: Arc<Known>,
}

impl Helpers {
    /// Helpers in these folders: the value of `PATH`. Without a value there are none.
    pub fn new(folders: Option<OsString>) -> Self {
        Self {
            folders,
            limits: HelperLimits::default(),
            known: Arc::default(),
        }
    }

    /// With other limits.
    #[must_use]
    pub const fn limits(mut self, limits: HelperLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The credential that the helper `docker-credential-NAME` has for `url`: a user name and password,
    /// an identity token (`<token>` as the user name, CRED-24), or `None`.
    ///
    /// # Errors
    ///
    /// If the helper is absent, fails, takes too long, or answers in another form.
    pub fn get(&self, name: &str, url: &str) -> Result<Option<CredentialAnswer>, HelperError> {
        match self.run(name, "get", url.as_bytes())? {
            Answer::Said(text) => {
                let read = parse_credential(&text);
                read.map_err(|why| HelperError::new(name, Problem::Answer(why)))
            }
            Answer::Nothing => Ok(None),
        }
    }

    /// Stores a credential for `url`.
    ///
    /// # Errors
    ///
    /// If the helper is absent, fails, or takes too long.
    pub fn store(
        &self,
        name: &str,
        url: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<(), HelperError> {
        // The protocol: the helper keeps it, and gets it through a pipe.
        let secret = secret.expose();
        let input = json!({ "ServerURL": url, "Username": username, "Secret": secret });
        let stored = self.run(name, "store", input.to_string().as_bytes());
        self.known.forget();
        match stored? {
            Answer::Said(_) => Ok(()),
            Answer::Nothing => Err(HelperError::new(
                name,
                Problem::Failed(shown(b"credentials not found")),
            )),
        }
    }

    /// Removes the credential for `url`. Whether there was one, as far as the helper says.
    ///
    /// # Errors
    ///
    /// If the helper is absent, fails, or takes too long.
    pub fn erase(&self, name: &str, url: &str) -> Result<bool, HelperError> {
        let erased = self.run(name, "erase", url.as_bytes());
        self.known.forget();
        Ok(matches!(erased?, Answer::Said(_)))
    }

    /// What the helper has: URLs, and the user name of each.
    ///
    /// # Errors
    ///
    /// If the helper is absent, fails, takes too long, or answers in another form.
    pub fn list(&self, name: &str) -> Result<BTreeMap<String, String>, HelperError> {
        match self.run(name, "list", b"unused")? {
            Answer::Said(text) => {
                parse_list(&text).map_err(|why| HelperError::new(name, Problem::Answer(why)))
            }
            Answer::Nothing => Ok(BTreeMap::new()),
        }
    }

    /// Like [`get`](Self::get) for the first of `urls` that the helper knows, but asked once by this
    /// process (CRED-29). Helpers do not say how long a credential lives: the answer counts for the rest of
    /// the time that it is kept.
    pub(super) fn find(&self, name: &str, urls: &[String]) -> Result<Option<TimedAnswer>, String> {
        self.find_within(self.limits.keep, name, urls)
    }

    /// The same when the last answer is of no use any more.
    pub(super) fn find_again(
        &self,
        name: &str,
        urls: &[String],
    ) -> Result<Option<TimedAnswer>, String> {
        self.find_within(self.limits.keep.min(JUST_ASKED), name, urls)
    }

    fn find_within(
        &self,
        keep: Duration,
        name: &str,
        urls: &[String],
    ) -> Result<Option<TimedAnswer>, String> {
        let subject = (name.to_owned(), urls.to_vec());
        let (found, age) = self.known.find(subject, keep, || {
            for url in urls {
                match self.get(name, url) {
                    Ok(None) => {}
                    Ok(found) => return Ok(found),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(None)
        });
        let left = self.limits.keep.saturating_sub(age);
        Ok(found?.map(|answer| answer.valid_for(left)))
    }

    fn run(&self, name: &str, action: &str, input: &[u8]) -> Result<Answer, HelperError> {
        let failed = |problem| HelperError::new(name, problem);
        let program = self.program(name).map_err(failed)?;
        let finished = process::run(&program, action, input, &self.limits);
        let finished = finished.map_err(|error| {
            failed(match error {
                RunError::Start(error) => Problem::Start(error.to_string()),
                RunError::Late { stderr } => Problem::Late(self.limits.time, shown(&stderr)),
                RunError::Flood => Problem::Flood(self.limits.output),
            })
        })?;
        judge(&finished).map_err(failed)
    }

    /// The program of a helper. Only absolute folders count: a relative one is wherever the process
    /// happens to be.
    fn program(&self, name: &str) -> Result<PathBuf, Problem> {
        if !is_name(name) {
            return Err(Problem::Name);
        }
        let file = format!("docker-credential-{name}");
        let folders = self.folders.iter().flat_map(|it| env::split_paths(it));
        folders
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(|path| is_program(path))
            .ok_or(Problem::Absent)
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Kills the helpers that run in this process, with what they have started. For a program that ends, for instance at
/// Ctrl-C, which does not reach them: each has a process group of its own.
pub fn end_helpers() {
    process::end_all();
}

/// An answer that is asked for again is this old at least: a younger one was given since, for another
/// repository.
const JUST_ASKED: Duration = Duration::from_secs(5);

/// CRED-26: no path, nothing for a shell.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_plain)
}

fn is_program(path: &Path) -> bool {
    let found = path.metadata();
    found.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// What a helper wrote.
enum Answer {
    Said(Vec<u8>),
    /// It has no such credential.
    Nothing,
}

/// CRED-23: an error is on standard output, and one of them means that there is no credential.
fn judge(finished: &Finished) -> Result<Answer, Problem> {
    const NOT_FOUND: &str = "credentials not found in native keychain";
    if finished.is_success {
        return Ok(Answer::Said(finished.stdout.clone()));
    }
    if finished.stdout.trim_ascii() == NOT_FOUND.as_bytes() {
        return Ok(Answer::Nothing);
    }
    let message = shown(&finished.stdout).or_else(|| shown(&finished.stderr));
    Err(Problem::Failed(message))
}

/// Why a credential helper gave no answer. The text names the program, and quotes no credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HelperError {
    name: String,
    problem: Problem,
}

impl HelperError {
    const fn named(name: String, problem: Problem) -> Self {
        Self { name, problem }
    }

    fn new(name: &str, problem: Problem) -> Self {
        Self::named(escape(name, 128), problem)
    }

    /// The helper, without `docker-credential-`.
    pub fn helper(&self) -> &str {
        &self.name
    }

    /// Whether there is no such program.
    pub const fn is_absent(&self) -> bool {
        matches!(self.problem, Problem::Absent)
    }
}

impl fmt::Display for HelperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the credential helper `docker-credential-{}` ",
            self.name
        )?;
        match &self.problem {
            Problem::Name => {
                f.write_str("cannot exist: a name has only letters, digits, `.`, `_`, `-`")
            }
            Problem::Absent => f.write_str("is not in PATH"),
            Problem::Start(why) => write!(f, "cannot be run: {why}"),
            Problem::Late(limit, message) => {
                write!(f, "did not end within {} s", limit.as_secs_f32())?;
                match message {
                    Some(message) => write!(f, ": {message}"),
                    None => Ok(()),
                }
            }
            Problem::Flood(most) => write!(f, "wrote more than {most} bytes"),
            Problem::Failed(Some(message)) => write!(f, "failed: {message}"),
            Problem::Failed(None) => f.write_str("failed without a message"),
            Problem::Answer(why) => write!(f, "gave an answer that {why}"),
        }
    }
}

impl std::error::Error for HelperError {}

/// A message that can be shown. One that looks like the answer to a question could hold a secret.
fn shown(message: &[u8]) -> Option<String> {
    let message = String::from_utf8_lossy(message);
    let message = message.trim();
    if message.is_empty() {
        return None;
    }
    if message.contains(['{', '}']) || message.to_ascii_lowercase().contains("secret\"") {
        return Some("(the message is not shown: it may have a credential in it)".to_owned());
    }
    Some(escape(message, 500))
}

/// What is wrong. Messages of helpers are [`shown`] ones, so that `Debug` has no secret either.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Problem {
    Name,
    Absent,
    Start(String),
    Late(Duration, Option<String>),
    Flood(usize),
    Failed(Option<String>),
    Answer(String),
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
