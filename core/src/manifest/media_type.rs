//! The media types of documents.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

/// An OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The configuration of an OCI image.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The empty object `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The artifact manifest of the 1.1 release candidates, withdrawn.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// A Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The configuration of a Docker image.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The `Accept` of every request for a manifest: all types, in this order, on one line (PULLM-03).
/// If one is missing, some registries answer 404 or convert the image.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Whether a text is a media type without parameters, in the form of RFC 6838, 4.2 (MT-01).
pub fn is_valid(text: &str) -> bool {
    let may_follow = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
    let is_name = |name: &str| {
        let is_first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        is_first && name.len() <= 127 && name.bytes().all(may_follow)
    };
    let parts = text.split_once('/');
    parts.is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// The `Accept` for a document whose descriptor has this type. Strict registries answer 404 if its
/// type is missing, and artifacts are fetched only by descriptor.
pub(crate) fn accept(descriptor: Option<&str>) -> Cow<'static, str> {
    if descriptor.and_then(essence).as_deref() == Some(OCI_ARTIFACT) {
        return format!("{ACCEPT_MANIFESTS}, {OCI_ARTIFACT}").into();
    }
    ACCEPT_MANIFESTS.into()
}

/// Whether `media_type` is that of an index, ignoring case and parameters.
pub fn is_index_type(media_type: &str) -> bool {
    is_one_of(media_type, &[OCI_INDEX, DOCKER_LIST])
}

/// Whether `media_type` is that of a manifest or an index.
pub fn is_manifest_type(media_type: &str) -> bool {
    is_index_type(media_type) || is_one_of(media_type, &[OCI_MANIFEST, DOCKER_MANIFEST])
}

/// Whether a type in lower case, without parameters, is one of a supported document.
pub(super) fn is_document_type(essence: &str) -> bool {
    is_manifest_type(essence) || essence == OCI_ARTIFACT
}

/// Whether documents of both types have the same members.
pub(super) fn is_same_form(one: &str, other: &str) -> bool {
    is_index_type(one) == is_index_type(other) && (one == OCI_ARTIFACT) == (other == OCI_ARTIFACT)
}

/// Docker's schema 1 in its three spellings.
pub(super) fn is_schema1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

/// The type in lower case, without parameters (PULLM-04); `None` for generic types (PULLM-08).
pub(super) fn essence(media_type: &str) -> Option<String> {
    let essence = without_parameters(media_type).to_ascii_lowercase();
    let says_nothing = [
        "",
        "application/octet-stream",
        "text/plain",
        "application/json",
    ];
    (!says_nothing.contains(&essence.as_str())).then_some(essence)
}

/// Whether `media_type` is `expected`, ignoring case and parameters.
pub(crate) fn is_type(media_type: &str, expected: &str) -> bool {
    is_one_of(media_type, &[expected])
}

fn is_one_of(media_type: &str, types: &[&str]) -> bool {
    let essence = without_parameters(media_type);
    types
        .iter()
        .any(|known| known.eq_ignore_ascii_case(essence))
}

fn without_parameters(media_type: &str) -> &str {
    media_type
        .split_once(';')
        .map_or(media_type, |(essence, _)| essence)
        .trim()
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn media_types() {
        let long = "a".repeat(127);
        let table = [
            ("application/vnd.oci.image.manifest.v1+json", true),
            ("a/b", true),
            ("1/2", true),
            ("a/!", false),
            ("a/b!#$&^_.+-", true),
            ("a", false),
            ("a/", false),
            ("/b", false),
            ("a/b/c", false),
            ("a/b; charset=utf-8", false),
            ("a/b*", false),
            (&alloc::format!("{long}/{long}"), true),
            (&alloc::format!("{long}a/b"), false),
            (&alloc::format!("a/{long}a"), false),
        ];
        for (text, expected) in table {
            assert_eq!(is_valid(text), expected, "MT-01 {text}");
        }
    }
}
