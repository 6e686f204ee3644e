//! Which images may be used: containers-policy.json(5), as podman, skopeo and buildah read it.
//!
//! Responsible for finding and reading the file, and for the scope that applies to an image. Strict as the
//! others are: an unknown key or type is an error, since it may have been meant to forbid something. Must
//! not verify signatures.

mod file;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use windlass_core::Reference;
use windlass_driver::read_file;

pub use self::file::Requirement;
use self::file::{PolicyFile, Requirements};
use crate::{VariableError, set};

/// The largest file that is read.
const LARGEST: u64 = 4 << 20;

/// Where the system's file is.
const SYSTEM: &str = "/etc/containers/policy.json";

/// A policy: which images are accepted, rejected, or need a verification.
///
/// ```
/// use windlass_config::{Judgement, Policy};
///
/// let policy = Policy::from_json(
///     r#"{"default": [{"type": "reject"}], "transports": {"docker": {
///         "registry.example/team": [{"type": "insecureAcceptAnything"}]}}}"#,
/// )?;
/// let image = "registry.example/team/app:v1".parse()?;
/// assert_eq!(policy.of_registry(&image).judgement(), Judgement::Accepted);
/// let image = "registry.example/other:v1".parse()?;
/// assert_eq!(policy.of_registry(&image).judgement(), Judgement::Rejected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    path: PathBuf,
    file: PolicyFile,
}

/// What applies to an image.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    path: &'a Path,
    transport: &'static str,
    scope: Option<&'a str>,
    requirements: &'a [Requirement],
}

/// What a rule says, signatures aside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Judgement {
    /// The image may be used as it is.
    Accepted,
    /// The image must not be used.
    Rejected,
    /// The image may be used if it is signed as the rule says.
    NeedsVerification,
}

impl Policy {
    /// The user's policy, `.config/containers/policy.json` in the home folder, otherwise the system's,
    /// `/etc/containers/policy.json`; `None` if there is neither.
    ///
    /// # Errors
    ///
    /// If `HOME` is not valid text, or the file cannot be read or is invalid.
    pub fn find(variables: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, PolicyError> {
        let home = set(&variables, "HOME")?;
        let user = home.map(|home| Path::new(&home).join(".config/containers/policy.json"));
        let places = user.into_iter().chain([PathBuf::from(SYSTEM)]);
        for path in places {
            match Self::from_file(&path) {
                Err(PolicyError::Unreadable { error, .. })
                    if error.kind() == io::ErrorKind::NotFound => {}
                policy => return policy.map(Some),
            }
        }
        Ok(None)
    }

    /// The policy in this file.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is invalid.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        let path = path.into();
        let text = match read_file(&path, LARGEST) {
            Ok(text) => text,
            Err(error) => return Err(PolicyError::Unreadable { path, error }),
        };
        Self::parse(path, &text)
    }

    /// The policy that this text is.
    ///
    /// # Errors
    ///
    /// If it is invalid.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        Self::parse(PathBuf::from("policy.json"), text.as_bytes())
    }

    fn parse(path: PathBuf, text: &[u8]) -> Result<Self, PolicyError> {
        match file::parse(text) {
            Ok(file) => Ok(Self { path, file }),
            Err(why) => Err(PolicyError::Invalid { path, why }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What applies to an image in a registry.
    pub fn of_registry(&self, image: &Reference) -> Rule<'_> {
        self.rule("docker", docker_scopes(image))
    }

    /// What applies to an image layout in this folder. Symbolic links in the path are followed, so that
    /// no other name of the folder avoids its rule.
    pub fn of_layout(&self, folder: &Path) -> Rule<'_> {
        let absolute = folder
            .canonicalize()
            .or_else(|_| std::path::absolute(folder));
        let absolute = absolute.unwrap_or_else(|_| folder.to_path_buf());
        let scopes = absolute.ancestors().filter(|it| it.parent().is_some());
        let scopes = scopes.map(|it| it.to_string_lossy().into_owned());
        self.rule("oci", scopes.collect())
    }

    fn rule(&self, transport: &'static str, scopes: Vec<String>) -> Rule<'_> {
        let rule = |scope, requirements| self.found(transport, scope, requirements);
        let Some(known) = self.file.transport(transport) else {
            return rule(None, &self.file.default);
        };
        // The empty scope is the transport's default.
        let mut scopes = scopes.iter().map(String::as_str).chain([""]);
        let found = scopes.find_map(|scope| {
            let mut other = known.iter().filter(|(known, _)| is_same(known, scope));
            known.get_key_value(scope).or_else(|| other.next())
        });
        match found {
            Some((scope, requirements)) => rule(Some(scope.as_str()), requirements),
            None => rule(None, &self.file.default),
        }
    }

    fn found<'a>(
        &'a self,
        transport: &'static str,
        scope: Option<&'a str>,
        requirements: &'a Requirements,
    ) -> Rule<'a> {
        Rule {
            path: &self.path,
            transport,
            scope,
            requirements: &requirements.0,
        }
    }
}

impl<'a> Rule<'a> {
    /// What the rule says: all of its requirements have to be met.
    pub fn judgement(&self) -> Judgement {
        if self.requirements.contains(&Requirement::Reject {}) {
            Judgement::Rejected
        } else if self.verifications().next().is_some() {
            Judgement::NeedsVerification
        } else {
            Judgement::Accepted
        }
    }

    /// The types of the signatures that are required: `signedBy`, `sigstoreSigned`.
    pub fn verifications(&self) -> impl Iterator<Item = &'static str> {
        self.requirements.iter().filter_map(|it| it.verification())
    }

    /// The file that the rule is in.
    pub const fn path(&self) -> &'a Path {
        self.path
    }

    /// The scope of `transports.docker` or `transports.oci` that applies; empty for the transport's
    /// default, `None` for the policy's `default`.
    pub const fn scope(&self) -> Option<&'a str> {
        self.scope
    }
}

/// The place of the rule in its file, as in `transports.docker["docker.io"] of /etc/containers/policy.json`.
impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Some(scope) => write!(f, "transports.{}[{scope:?}]", self.transport)?,
            None => f.write_str("`default`")?,
        }
        write!(f, " of {}", self.path.display())
    }
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is not a policy.
    #[error("the policy {} is invalid: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// A variable is not valid text.
    #[error(transparent)]
    Variable(#[from] VariableError),
}

/// The scopes of an image in a registry, the most specific first: with its tag or digest, its repository,
/// the namespaces above it, its host, and `*.` with each domain above that.
fn docker_scopes(image: &Reference) -> Vec<String> {
    let name = format!("{}/{}", image.registry(), image.repository());
    // A digest decides, whatever tag stands beside it: the tag may stand for something else.
    let mut scopes = vec![match (image.digest(), image.tag()) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, Some(tag)) => format!("{name}:{tag}"),
        (None, None) => format!("{name}:latest"),
    }];
    let mut above = name.as_str();
    while let Some((namespace, _)) = above.rsplit_once('/') {
        scopes.push(above.to_owned());
        above = namespace;
    }
    scopes.push(above.to_owned());
    // Domains are compared without the port.
    let mut domain = image.registry().host();
    while let Some((_, rest)) = domain.split_once('.') {
        scopes.push(format!("*.{rest}"));
        domain = rest;
    }
    scopes
}

/// Whether two scopes are the same. A host is the same in capitals and with the port 443, so that no
/// spelling avoids its rule.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let parts = |scope: &str| -> (String, String) {
        let (host, rest) = scope.split_once('/').unwrap_or((scope, ""));
        let host = host.strip_suffix(":443").unwrap_or(host);
        (host.to_ascii_lowercase(), rest.to_owned())
    };
    one == other || parts(one) == parts(other)
}

#[cfg(test)]
mod tests;
