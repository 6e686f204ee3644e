//! Parses values of the command line: locations of images (`REF`, `docker://REF`, `oci:DIR[:NAME]`,
//! `oci:DIR@DIGEST`), platforms, trusted realms, file names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use windlass_core::{Digest, Origin, Platforms, Reference, Registry, Scheme};

use crate::login;
use crate::short_names;

/// A source or destination of an image.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    Registry(Reference),
    Layout(InLayout),
}

/// An image in a layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InLayout {
    pub(crate) path: PathBuf,
    pub(crate) name: Option<String>,
    /// Selects the image instead of `name`.
    pub(crate) digest: Option<Digest>,
}

impl InLayout {
    /// The digest or name to look up in the layout.
    pub(crate) fn wanted(&self) -> Option<String> {
        let digest = self.digest.as_ref().map(Digest::to_string);
        digest.or_else(|| self.name.clone())
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        match split(text)? {
            Shape::Registry(bare) => Ok(Self::Registry(reference(text, bare)?)),
            Shape::Layout(layout) => Ok(Self::Layout(layout)),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Layout(layout) => layout.fmt(f),
        }
    }
}

impl fmt::Display for InLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}", self.path.display())?;
        match (&self.digest, &self.name) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(name)) => write!(f, ":{name}"),
            (None, None) => Ok(()),
        }
    }
}

/// Parses a location that must be in a registry.
pub(crate) fn registry(text: &str) -> Result<Reference, LocationError> {
    match split(text)? {
        Shape::Registry(bare) => reference(text, bare),
        Shape::Layout(_) => Err(LocationError(
            "a reference to a registry is expected here; `windlass copy` takes layouts on both sides"
                .to_owned(),
        )),
    }
}

/// Parses a repository of a registry.
pub(crate) fn repository(text: &str) -> Result<Reference, LocationError> {
    let reference = registry(text)?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(LocationError(format!(
            "a repository is expected here, without a tag or digest: write {}/{}",
            reference.registry(),
            reference.repository()
        )));
    }
    Ok(reference)
}

/// Parses something in a registry that is named by a tag or a digest: what is not named is not `latest`.
pub(crate) fn named(text: &str) -> Result<Reference, LocationError> {
    let reference = registry(text)?;
    if reference.tag().is_none() && reference.digest().is_none() {
        return Err(LocationError(format!(
            "a tag or a digest is expected here: write {}/{}:latest if you mean that",
            reference.registry(),
            reference.repository()
        )));
    }
    Ok(reference)
}

/// Parses something in a registry that is named by its digest.
pub(crate) fn by_digest(text: &str) -> Result<Reference, LocationError> {
    let reference = registry(text)?;
    if reference.digest().is_none() {
        return Err(LocationError(format!(
            "a digest is expected here: write {}/{}@sha256:…",
            reference.registry(),
            reference.repository()
        )));
    }
    Ok(reference)
}

/// Parses a location that must be in a layout.
pub(crate) fn layout(text: &str) -> Result<InLayout, LocationError> {
    match split(text)? {
        Shape::Layout(layout) => Ok(layout),
        Shape::Registry(text) => Err(LocationError(format!(
            "an image layout is expected here: write oci:{text} if that is a folder"
        ))),
    }
}

/// Parses a layout without a name or digest.
pub(crate) fn whole_layout(text: &str) -> Result<InLayout, LocationError> {
    let layout = layout(text)?;
    match layout.wanted() {
        Some(_) => Err(LocationError(format!(
            "a whole layout is expected here: write oci:{}",
            layout.path.display()
        ))),
        None => Ok(layout),
    }
}

/// Parses a layout as a destination.
pub(crate) fn into_layout(text: &str) -> Result<InLayout, LocationError> {
    let layout = layout(text)?;
    match layout.digest {
        Some(_) => Err(no_name(&layout)),
        None => Ok(layout),
    }
}

/// Parses a location as a destination.
pub(crate) fn destination(text: &str) -> Result<Location, LocationError> {
    let location: Location = text.parse()?;
    match &location {
        Location::Layout(layout) if layout.digest.is_some() => Err(no_name(layout)),
        Location::Layout(_) | Location::Registry(_) => Ok(location),
    }
}

fn no_name(layout: &InLayout) -> LocationError {
    LocationError(format!(
        "a layout as destination takes a name, not a digest: write oci:{}[:NAME]",
        layout.path.display()
    ))
}

/// Parses platforms with commas between them, or `all`.
pub(crate) fn platforms(text: &str) -> Result<Platforms, LocationError> {
    if !text.contains(',') {
        return platform(text);
    }
    let platforms = text.split(',').map(|text| {
        let all = || LocationError("`all` is all platforms: write nothing else".to_owned());
        platform(text)?.one().cloned().ok_or_else(all)
    });
    platforms.collect::<Result<_, _>>().map(Platforms::Several)
}

/// Parses a platform, or `all`.
pub(crate) fn platform(text: &str) -> Result<Platforms, LocationError> {
    if text == "all" {
        return Ok(Platforms::All);
    }
    let platform = text.parse().map(Platforms::One);
    platform.map_err(|error| LocationError(format!("{error}, or `all`")))
}

/// Parses `REGISTRY=REALM`, where REALM is `host[:port]` or a URL whose path is ignored.
pub(crate) fn trusted_realm(text: &str) -> Result<(Registry, Origin), LocationError> {
    if login::is_in(text) {
        return Err(LocationError(login::REFUSED.to_owned()));
    }
    let (registry, realm) = text
        .split_once('=')
        .ok_or_else(|| LocationError("expected REGISTRY=REALM".to_owned()))?;
    let (scheme, rest) = match realm.split_once("://") {
        None => (Scheme::Https, realm),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        Some((other, _)) => {
            return Err(LocationError(format!(
                "a realm must be http or https, not {other}"
            )));
        }
    };
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    Ok((name(registry)?, name(host)?.origin().with_scheme(scheme)))
}

/// Parses the registry of a login: `host[:port]`, also as a URL like the keys of docker's configuration.
pub(crate) fn login_host(text: &str) -> Result<Registry, LocationError> {
    if login::is_in(text) {
        return Err(LocationError(login::REFUSED.to_owned()));
    }
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let host = bare.unwrap_or(text).trim_end_matches('/');
    let host = host
        .strip_suffix("/v1")
        .or_else(|| host.strip_suffix("/v2"))
        .unwrap_or(host);
    if host.contains('/') {
        return Err(LocationError(
            "expected a registry without a repository".to_owned(),
        ));
    }
    name(host)
}

/// Checks the path of a file. A URL with a login is refused here, because an error about a missing
/// file would print it.
pub(crate) fn file(path: PathBuf) -> Result<PathBuf, LocationError> {
    let text = path.to_string_lossy();
    if login::is_in(&text) && text.contains("://") {
        return Err(LocationError(login::REFUSED.to_owned()));
    }
    Ok(path)
}

/// Parses what is written as `text`. After `docker://` there are no short names.
fn reference(text: &str, bare: &str) -> Result<Reference, LocationError> {
    if text == bare {
        return short_names::reference(text).map_err(LocationError);
    }
    bare.parse()
        .map_err(|error| LocationError(format!("{error}")))
}

fn name(text: &str) -> Result<Registry, LocationError> {
    text.parse()
        .map_err(|error| LocationError(format!("{text}: {error}")))
}

/// A location by its prefix alone.
#[derive(Debug, Eq, PartialEq)]
enum Shape<'a> {
    Registry(&'a str),
    Layout(InLayout),
}

fn split(text: &str) -> Result<Shape<'_>, LocationError> {
    // The name of a layout's entry may contain an `@`, as in `oci:DIR:user@host/app`.
    if login::is_in(text) && (text.contains("://") || !text.starts_with("oci:")) {
        return Err(LocationError(login::REFUSED.to_owned()));
    }
    // Other tools' prefixes. Each would otherwise parse as a registry's name.
    const UNSUPPORTED: [&str; 6] = [
        "oci-archive:",
        "docker-archive:",
        "docker-daemon:",
        "containers-storage:",
        "dir:",
        "tarball:",
    ];
    if let Some(reference) = text.strip_prefix("docker://") {
        return Ok(Shape::Registry(reference));
    }
    if text.starts_with("oci://") {
        return Err(LocationError(
            "oci:// is not a place; write docker://REF for a registry, oci:DIR for a layout"
                .to_owned(),
        ));
    }
    if let Some(rest) = text.strip_prefix("oci:") {
        return in_layout(rest, cfg!(windows)).map(Shape::Layout);
    }
    let has_other = |scheme: &&&str| text.starts_with(**scheme);
    if let Some(scheme) = UNSUPPORTED.iter().find(has_other) {
        return Err(LocationError(format!(
            "{scheme} is not supported; use REF, docker://REF or oci:DIR[:NAME]"
        )));
    }
    if let Some((scheme @ ("http" | "https"), _)) = text.split_once("://") {
        return Err(LocationError(format!(
            "a reference has no {scheme}://; write host[:port]/repository[:tag]"
        )));
    }
    Ok(Shape::Registry(text))
}

/// The first colon ends the path and the rest is the name (REF-22), unless an `@` begins a digest.
/// The colon of a drive letter does not count.
fn in_layout(text: &str, drives: bool) -> Result<InLayout, LocationError> {
    let drive = match text.as_bytes() {
        [letter, b':', b'\\' | b'/', ..] if drives && letter.is_ascii_alphabetic() => 2,
        _ => 0,
    };
    let (path, name) = match text[drive..].split_once(':') {
        Some((path, name)) => (&text[..drive + path.len()], Some(name)),
        None => (text, None),
    };
    let (path, name, digest) = match (path.rsplit_once('@'), name) {
        // As oras and regctl write it. Without a known algorithm the `@` belongs to the folder's
        // name.
        (Some((path, algorithm @ ("sha256" | "sha512"))), encoded) => {
            let digest = format!("{algorithm}:{}", encoded.unwrap_or_default());
            let digest = digest.parse::<Digest>();
            let digest = digest.map_err(|error| LocationError(format!("oci:{text}: {error}")))?;
            (path, None, Some(digest))
        }
        (_, name) => (path, name, None),
    };
    if path.is_empty() {
        return Err(LocationError("no folder after oci:".to_owned()));
    }
    if name.is_some_and(str::is_empty) {
        return Err(LocationError(format!(
            "no name after oci:{path}: (leave out the colon for the default)"
        )));
    }
    Ok(InLayout {
        path: path.into(),
        name: name.map(str::to_owned),
        digest,
    })
}

/// Why a text is not a place, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LocationError(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, name: Option<&str>) -> InLayout {
        InLayout {
            path: path.into(),
            name: name.map(str::to_owned),
            digest: None,
        }
    }

    #[test]
    fn shapes() {
        let table = [
            ("ubuntu", Shape::Registry("ubuntu")),
            ("docker://ubuntu:24.04", Shape::Registry("ubuntu:24.04")),
            ("localhost:5000/a:b", Shape::Registry("localhost:5000/a:b")),
            ("ocix:5000/a", Shape::Registry("ocix:5000/a")),
            ("oci:x", Shape::Layout(at("x", None))),
            ("oci:/tmp/x", Shape::Layout(at("/tmp/x", None))),
            // REF-22: the first colon ends the path.
            ("oci:/tmp/x:a:b", Shape::Layout(at("/tmp/x", Some("a:b")))),
            (
                "oci:x:docker.io/a:1",
                Shape::Layout(at("x", Some("docker.io/a:1"))),
            ),
        ];
        for (text, shape) in table {
            assert_eq!(split(text), Ok(shape), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_says_what_would_be() {
        let table = [
            ("oci:", "no folder"),
            ("oci::name", "no folder"),
            ("oci:x:", "no name"),
            ("oci://host/x", "docker://REF"),
            ("docker-archive:x.tar", "not supported"),
            ("https://host/x", "no https://"),
        ];
        for (text, expected) in table {
            let error = split(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// As oras and regctl write an image of a layout. It never becomes a folder with `@sha256` in
    /// its name.
    #[test]
    fn digests() {
        let of = |algorithm, length| format!("{algorithm}:{}", "a".repeat(length));
        for digest in [of("sha256", 64), of("sha512", 128)] {
            for path in ["x", "/tmp/x@y"] {
                let text = format!("oci:{path}@{digest}");
                let found = layout(&text).expect(&text);
                assert_eq!(found.path, PathBuf::from(path), "{text}");
                assert_eq!(found.name, None);
                assert_eq!(found.wanted(), Some(digest.clone()));
                assert_eq!(found.to_string(), text);
                let error = into_layout(&text).expect_err(&text).to_string();
                assert!(error.contains(&format!("oci:{path}[:NAME]")), "{error}");
                assert!(destination(&text).is_err(), "{text}");
                assert!(text.parse::<Location>().is_ok(), "{text}");
            }
        }
        for bad in [
            "oci:x@sha256",
            "oci:x@sha256:",
            "oci:x@sha256:abc",
            "oci:x@sha256:v1",
            &format!("oci:x@{}", of("sha512", 64)),
            &format!("oci:@{}", of("sha256", 64)),
        ] {
            assert!(layout(bad).is_err(), "{bad}");
            assert!(destination(bad).is_err(), "{bad}");
        }
        // Folder names may contain an `@`.
        for (text, path, name) in [
            ("oci:a@b", "a@b", None),
            ("oci:a@b:v1", "a@b", Some("v1")),
            ("oci:a@b:v1@sha256:x", "a@b", Some("v1@sha256:x")),
        ] {
            assert_eq!(layout(text), Ok(at(path, name)), "{text}");
        }
    }

    #[test]
    fn drive_letters() {
        let table = [
            (r"C:\x:a", true, at(r"C:\x", Some("a"))),
            ("C:/x", true, at("C:/x", None)),
            ("C:x", true, at("C", Some("x"))),
            ("C:/x", false, at("C", Some("/x"))),
        ];
        for (text, drives, expected) in table {
            assert_eq!(in_layout(text, drives), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sides_that_take_one_kind() {
        assert!(registry("oci:x").is_err());
        let error = layout("images").expect_err("no scheme").to_string();
        assert!(error.contains("oci:images"), "{error}");
    }

    #[test]
    fn platform_texts() {
        assert_eq!(platforms("all"), Ok(Platforms::All));
        let table = [
            ("linux/arm/v7", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ];
        for (text, expected) in table {
            let Ok(Platforms::One(platform)) = platforms(text) else {
                panic!("{text} is a platform");
            };
            assert_eq!(platform.to_string(), expected, "{text}");
        }
        let several = ["linux/amd64", "linux/arm64"].map(|text| text.parse().expect(text));
        let several = Platforms::Several(several.to_vec());
        assert_eq!(platforms("linux/amd64,arm64"), Ok(several));
        let error = platforms("arm64,all").expect_err("all is not one of several");
        assert!(error.to_string().contains("write nothing else"), "{error}");
        platform("amd64,arm64").expect_err("one is expected");
        let bad = [
            "",
            ",",
            "arm64,",
            "linux",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/am d64",
            "lin$ux/a",
        ];
        for text in bad {
            let error = platforms(text).expect_err(text).to_string();
            assert!(error.ends_with("or `all`"), "{error}");
        }
    }

    #[test]
    fn realms() {
        let table = [
            ("r.example=auth.example", "https://auth.example"),
            ("r.example=auth.example:8443", "https://auth.example:8443"),
            (
                "r.example=https://auth.example/token?x",
                "https://auth.example",
            ),
            ("r.example=http://auth.example:81", "http://auth.example:81"),
            ("r.example=http://auth.example", "http://auth.example"),
            // TLS unless the URL says otherwise, also on loopback.
            ("r.example=localhost:81", "https://localhost:81"),
        ];
        for (text, expected) in table {
            let (registry, realm) = trusted_realm(text).expect(text);
            assert_eq!(registry.as_str(), "r.example");
            assert_eq!(realm.to_string(), expected, "{text}");
        }
        for bad in [
            "r.example",
            "=x",
            "r.example=",
            "r.example=ftp://x",
            "a/b=x",
        ] {
            assert!(trusted_realm(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_to_log_in_to() {
        for (text, expected) in [
            ("r.example", "r.example"),
            ("localhost:5000", "localhost:5000"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "index.docker.io"),
            ("http://r.example:5000/", "r.example:5000"),
        ] {
            assert_eq!(login_host(text).expect(text).as_str(), expected);
        }
        for bad in [
            "",
            "r.example/team",
            "https://",
            "alice:pw@r.example",
            "ftp://r.example",
        ] {
            let why = login_host(bad).expect_err(bad).to_string();
            assert!(!why.contains("pw"), "{why}");
        }
    }

    #[test]
    fn displayed_as_typed() {
        for text in ["oci:/tmp/x:a:b", "oci:x", "r.example/a:1"] {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), text);
        }
    }
}
