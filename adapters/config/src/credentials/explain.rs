//! Which sources were consulted for a credential, for people (CRED-45).
//!
//! Responsible for telling it without secrets. Must not know how sources are read.

use std::fmt;
use std::time::Duration;

use windlass_core::credential::{CredentialAnswer, TimedAnswer};
use windlass_core::sanitize::escape;

/// How a credential was looked for: every source in order. Secrets are masked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The sources. Those after the one that decides were not consulted.
    pub consulted: Vec<Consulted>,
}

/// One source.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Consulted {
    /// The file, the variables, the option, or the credential helper.
    pub source: String,
    /// The key in the file.
    pub key: Option<String>,
    /// The credential helper that the source names: `docker-credential-…`.
    pub helper: Option<String>,
    /// What came of it.
    pub outcome: SourceOutcome,
    /// How long the credential counts, if it is not known to count until it is refused.
    pub(super) valid_for: Option<Duration>,
}

/// What came of consulting a source.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SourceOutcome {
    /// It has the credential, which this describes.
    Found(String),
    /// It has none for this registry.
    NoEntry,
    /// There is no such file.
    Missing,
    /// It could not be used: why. The next source was consulted unless this one was named for the program.
    Failed(String),
    /// A source before it has the credential, or has ended the search by failing.
    NotConsulted,
}

impl Explanation {
    /// The source that the credential comes from.
    pub fn found(&self) -> Option<&Consulted> {
        let is_it = |it: &&Consulted| matches!(it.outcome, SourceOutcome::Found(_));
        self.consulted.iter().find(is_it)
    }

    /// The sources that could not be used.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.consulted.iter().filter_map(Consulted::failure)
    }
}

/// A line for each source.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.consulted.iter();
        if let Some(first) = lines.next() {
            first.fmt(f)?;
        }
        lines.try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl Consulted {
    pub(super) const fn new(source: String, outcome: SourceOutcome) -> Self {
        Self {
            source,
            key: None,
            helper: None,
            outcome,
            valid_for: None,
        }
    }

    /// Adds the answer of a helper, and returns it.
    pub(super) fn add(
        &mut self,
        answer: Result<Option<TimedAnswer>, String>,
    ) -> Option<CredentialAnswer> {
        match answer {
            Ok(Some(timed)) => {
                self.outcome = SourceOutcome::found(&timed.answer);
                self.valid_for = timed.valid_for;
                return Some(timed.answer);
            }
            Ok(None) => self.outcome = SourceOutcome::NoEntry,
            Err(why) => self.outcome = SourceOutcome::Failed(why),
        }
        None
    }

    /// Why it could not be used.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.outcome {
            SourceOutcome::Failed(why) => Some(why),
            SourceOutcome::Found(_)
            | SourceOutcome::NoEntry
            | SourceOutcome::Missing
            | SourceOutcome::NotConsulted => None,
        }
    }

    pub(super) fn with_key(mut self, key: Option<&String>) -> Self {
        self.key = key.map(|key| escape(key, 255));
        self
    }

    pub(super) fn with_helper(mut self, name: &str) -> Self {
        self.helper = Some(format!("docker-credential-{}", escape(name, 128)));
        self
    }

    /// The source with its key and helper.
    pub fn place(&self) -> String {
        match (&self.helper, &self.key) {
            (None, None) => self.source.clone(),
            (None, Some(key)) => format!("{} (key {key})", self.source),
            (Some(helper), None) => format!("{helper}, named in {}", self.source),
            (Some(helper), Some(key)) => format!("{helper}, named in {} (key {key})", self.source),
        }
    }
}

impl fmt::Display for Consulted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place())?;
        match &self.outcome {
            SourceOutcome::Found(what) => f.write_str(what),
            SourceOutcome::NoEntry => f.write_str("no entry"),
            SourceOutcome::Missing => f.write_str("no such file"),
            SourceOutcome::Failed(why) => write!(f, "failed: {why}"),
            SourceOutcome::NotConsulted => f.write_str("not consulted"),
        }
    }
}

impl SourceOutcome {
    /// Describes a credential without its secret.
    pub(super) fn found(answer: &CredentialAnswer) -> Self {
        let what = match answer {
            CredentialAnswer::Basic { username, .. } => {
                format!("user name `{}`, password ***", escape(username, 255))
            }
            CredentialAnswer::Bearer(_) => "token ***".to_owned(),
            CredentialAnswer::Refresh(_) => "identity token ***".to_owned(),
            CredentialAnswer::None => return Self::NoEntry,
            CredentialAnswer::Failed(why) => return Self::Failed(why.clone()),
            // Kinds that later versions add.
            _ => "a credential".to_owned(),
        };
        Self::Found(what)
    }
}
