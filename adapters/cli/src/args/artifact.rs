//! Artifacts: pushed, attached and pulled.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Subcommand};
use windlass_core::manifest::media_type;
use windlass_core::{Platform, Reference};

use super::{AdditionalTags, file};
use crate::location;
use crate::uploads::Resume;

#[derive(Debug, Subcommand)]
pub(crate) enum Artifact {
    /// Push files as an artifact
    ///
    /// Each file is a layer, whose title is the path as given, or the file's name if the path is absolute or leads
    /// upwards. The same files and options always give the same digest.
    Push(ArtifactPush),
    /// Pull the files of an artifact into a folder, and print their names
    ///
    /// The files get their names when all are complete and verified. A name that leads out of the folder or through a
    /// symbolic link is refused. Existing files are replaced. What an interrupted pull received is in
    /// DIR/.windlass-partial, with which the next one goes on.
    Pull(ArtifactPull),
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass artifact push registry.example/team/docs:v1 README.md:text/markdown figures.tar.gz
  windlass artifact push --artifact-type application/vnd.acme.model --artifact-config model.json:application/vnd.acme.config+json \\
      registry.example/team/model:v1 weights.bin")]
pub(crate) struct ArtifactPush {
    /// The destination: [registry/]repository[:tag]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// The files, each with its media type [default: application/octet-stream]
    #[arg(value_name = "FILE[:MEDIATYPE]")]
    pub(crate) files: Vec<Typed>,
    /// What the artifact is, as a media type
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "application/vnd.unknown.artifact.v1"
    )]
    pub(crate) artifact_type: String,
    /// The configuration, of a media type of its own [default: the empty object]
    #[arg(long, value_name = "FILE:MEDIATYPE")]
    pub(crate) artifact_config: Option<Typed>,
    #[command(flatten)]
    pub(crate) additional_tags: AdditionalTags,
    #[command(flatten)]
    pub(crate) annotations: Annotations,
    #[command(flatten)]
    pub(crate) resume: Resume,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Examples:
  windlass attach --artifact-type application/spdx+json registry.example/app:v1 sbom.json:application/spdx+json
  windlass attach --artifact-type application/vnd.acme.approval --annotation by=me registry.example/app:v1")]
pub(crate) struct Attach {
    /// What it is attached to: [registry/]repository[:tag][@digest]
    ///
    /// An image, an index or an artifact.
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// The files, each with its media type [default: application/octet-stream]
    #[arg(value_name = "FILE[:MEDIATYPE]")]
    pub(crate) files: Vec<Typed>,
    /// What is attached, as a media type
    #[arg(long, value_name = "TYPE")]
    pub(crate) artifact_type: String,
    /// Of an index, only the image for PLATFORM [default: the index]
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) annotations: Annotations,
    #[command(flatten)]
    pub(crate) resume: Resume,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass artifact pull registry.example/team/docs:v1 docs")]
pub(crate) struct ArtifactPull {
    /// The artifact: [registry/]repository[:tag][@digest]
    #[arg(value_name = "REF", value_parser = location::registry)]
    pub(crate) reference: Reference,
    /// The folder, created if missing
    #[arg(value_name = "DIR", value_parser = file())]
    pub(crate) folder: PathBuf,
    /// Of an index, only what is for PLATFORM
    ///
    /// PLATFORM is os/arch[/variant], arch (linux) or */arch (any system).
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

/// Annotations of a manifest.
#[derive(ClapArgs, Debug)]
pub(crate) struct Annotations {
    /// An annotation of the manifest (repeatable)
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) all: Vec<(String, String)>,
}

/// A name and a value.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        Some(_) | None => Err("expected NAME=VALUE".into()),
    }
}

/// A file and its media type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Typed {
    pub(crate) path: PathBuf,
    pub(crate) media_type: Option<String>,
}

/// A media type after the last colon, if what is there is one. A path that looks like that has its type given, too.
impl FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, media_type) = match text.rsplit_once(':') {
            Some((path, kind)) if media_type::is_valid(kind) => (path, Some(kind.to_owned())),
            Some(_) | None => (text, None),
        };
        if path.is_empty() {
            return Err("no file before the media type".into());
        }
        let path = location::file(path.into()).map_err(|error| error.to_string())?;
        Ok(Self { path, media_type })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_media_types() {
        for (text, path, media_type) in [
            ("sbom.json", "sbom.json", None),
            (
                "a/b.json:application/spdx+json",
                "a/b.json",
                Some("application/spdx+json"),
            ),
            ("a:b", "a:b", None),
            ("a:b/c", "a", Some("b/c")),
            ("a:b/c:text/plain", "a:b/c", Some("text/plain")),
            ("/tmp/a:b/c/d", "/tmp/a:b/c/d", None),
        ] {
            let expected = Typed {
                path: path.into(),
                media_type: media_type.map(Into::into),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let error = ":a/b".parse::<Typed>().expect_err("no file");
        assert_eq!(error, "no file before the media type");
    }

    #[test]
    fn names_with_values() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        for text in ["a", "=b", ""] {
            pair(text).expect_err(text);
        }
    }
}
