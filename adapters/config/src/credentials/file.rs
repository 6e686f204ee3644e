//! Files with credentials: docker's config.json, podman's auth.json, Kubernetes' `.dockerconfigjson`
//! (CRED-01 to CRED-11, CRED-40 to CRED-44).
//!
//! Responsible for what such a file, or a variable with its text, has for a registry. Must not know
//! where the files are. A file is read for each question: a long-lived process must see that somebody
//! has logged in.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use windlass_core::credential::CredentialAnswer;
use windlass_core::sanitize::escape;
use windlass_driver::read_file;

use super::document::{Document, Members};
use super::entry::Entry;
use super::explain::{Consulted, SourceOutcome};
use super::helper::Helpers;
use super::keys::{Wanted, by_fit};

/// The largest file that is read.
pub(super) const LARGEST: u64 = 4 << 20;

/// A file or variable with credentials.
#[derive(Debug)]
pub(super) struct AuthFile {
    /// Its name in messages.
    label: String,
    content: Content,
    format: FileFormat,
}

enum Content {
    File { path: PathBuf, is_required: bool },
    Text(String),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, .. } => path.fmt(f),
            // It has passwords.
            Self::Text(_) => f.write_str("***"),
        }
    }
}

/// What is read of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FileFormat {
    /// `auths`, `credHelpers` and `credsStore`.
    Docker,
    /// `auths` and `credHelpers` (CRED-44).
    Podman,
    /// The members of `auths` on the top level, as in `.dockercfg` (CRED-41).
    Old,
}

impl AuthFile {
    pub(super) fn optional(path: PathBuf, format: FileFormat) -> Self {
        Self::file(path, format, false)
    }

    /// A file that is named, so that it has to exist (CRED-40).
    pub(super) fn required(path: PathBuf) -> Self {
        Self::file(path, FileFormat::Docker, true)
    }

    pub(super) fn text(label: &str, text: String) -> Self {
        Self {
            label: label.to_owned(),
            content: Content::Text(text),
            format: FileFormat::Docker,
        }
    }

    fn file(path: PathBuf, format: FileFormat, is_required: bool) -> Self {
        Self {
            label: path.display().to_string(),
            content: Content::File { path, is_required },
            format,
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether an option or a variable names it or has its text.
    pub(super) const fn is_named(&self) -> bool {
        match &self.content {
            Content::Text(_) => true,
            Content::File { is_required, .. } => *is_required,
        }
    }

    /// The credential in this file. Everything that was consulted is added to `consulted`.
    pub(super) fn look(
        &self,
        wanted: &Wanted<'_>,
        helpers: &Helpers,
        consulted: &mut Vec<Consulted>,
    ) -> Option<CredentialAnswer> {
        let told = |outcome| Consulted::new(self.label.clone(), outcome);
        let read = self.read();
        let bytes = match &read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                consulted.push(told(SourceOutcome::Missing));
                return None;
            }
            Err(why) => {
                consulted.push(told(SourceOutcome::Failed(why.clone())));
                return None;
            }
        };
        let before = consulted.len();
        let found = self.look_in(bytes, wanted, helpers, consulted);
        let (outcome, answer) = match found {
            Ok(None) if consulted.len() > before => return None,
            Ok(None) => (SourceOutcome::NoEntry, None),
            Ok(Some((answer, by))) => {
                consulted.push(by);
                return Some(answer);
            }
            Err(why) => (SourceOutcome::Failed(why), None),
        };
        consulted.push(told(outcome));
        answer
    }

    fn look_in(
        &self,
        bytes: &[u8],
        wanted: &Wanted<'_>,
        helpers: &Helpers,
        consulted: &mut Vec<Consulted>,
    ) -> Result<Option<(CredentialAnswer, Consulted)>, String> {
        let document = Document::new(&self.label, bytes)?;
        let members = document.members()?;
        if self.format == FileFormat::Old {
            return self.entry(&document, &members, wanted);
        }
        match named_helper(&document, &members, self.format, wanted) {
            Ok(Some((name, key))) => {
                let told = Consulted::new(self.label.clone(), SourceOutcome::NoEntry);
                let mut told = told.with_key(key.as_ref()).with_helper(&name);
                let asked = wanted.ask(helpers, &name, key.as_deref());
                let asked = asked.map_err(|why| format!("{why} (it is named in {})", self.label));
                match told.add(asked) {
                    Some(answer) => return Ok(Some((answer, told))),
                    None => consulted.push(told),
                }
            }
            Ok(None) => {}
            Err(why) => consulted.push(Consulted::new(
                self.label.clone(),
                SourceOutcome::Failed(why),
            )),
        }
        let auths = document.members_of("`auths`", members.get("auths"))?;
        self.entry(&document, &auths, wanted)
    }

    /// The first entry that is a credential.
    fn entry(
        &self,
        document: &Document<'_>,
        auths: &Members<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(CredentialAnswer, Consulted)>, String> {
        let mut failed = None;
        for (key, entry) in by_fit(auths.iter(), wanted) {
            let shown = escape(key, 255);
            let found = document
                .part(&format!("the entry of {shown}"), Some(entry))
                .and_then(|entry: Entry| {
                    let found = entry.credential();
                    found.map_err(|why| format!("{}: the `auth` of {shown} {why}", self.label))
                });
            match found {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    let told = Consulted::new(self.label.clone(), SourceOutcome::found(&answer));
                    return Ok(Some((answer, told.with_key(Some(key)))));
                }
                Err(why) => {
                    failed.get_or_insert(why);
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let (path, is_required) = match &self.content {
            Content::Text(text) => return Ok(Some(text.clone().into_bytes())),
            Content::File { path, is_required } => (path, *is_required),
        };
        read_optional(path).and_then(|read| match read {
            None if is_required => Err(format!("cannot read {}: no such file", self.label)),
            read => Ok(read),
        })
    }
}

/// The content of a file, unless there is none.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match read_file(path, LARGEST) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The helper that a file names for a registry (CRED-06), and the key that named it.
pub(super) fn named_helper(
    document: &Document<'_>,
    members: &Members<'_>,
    format: FileFormat,
    wanted: &Wanted<'_>,
) -> Result<Option<(String, Option<String>)>, String> {
    let helpers = document.members_of("`credHelpers`", members.get("credHelpers"))?;
    let own: Option<(&String, &&RawValue)> = by_fit(helpers.iter(), wanted).into_iter().next();
    let (name, key): (String, _) = match own {
        Some((key, helper)) => {
            let name =
                document.part(&format!("the helper of {}", escape(key, 255)), Some(helper))?;
            (name, Some(key.clone()))
        }
        None if format == FileFormat::Docker => (
            document.part("`credsStore`", members.get("credsStore"))?,
            None,
        ),
        None => return Ok(None),
    };
    // An empty name means the file itself.
    Ok((!name.is_empty()).then_some((name, key)))
}
