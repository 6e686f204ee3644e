//! The referrers tag schema: the list of a manifest's referrers, as an index at a tag.
//!
//! Registries without the referrers API keep what clients put there; image layouts have no other list.
//!
//! Responsible for the tag's name, for the entry of a manifest, and for appending an entry without
//! changing the rest of a list. Must not know requests.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::manifest::media_type::OCI_INDEX;
use crate::manifest::{Content, Document};
use crate::reference::Tag;

/// The tag of the list of `subject`'s referrers (RFR-03).
pub fn tag(subject: &Digest) -> Tag {
    /// The lengths to which the parts are cut: 32, a hyphen and 64 fit into a tag's 128.
    const PARTS: (usize, usize) = (32, 64);
    let part = |text: &str, most: usize| -> String {
        let may_stay = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let replaced = |c: char| if may_stay(c) { c } else { '-' };
        text.chars().take(most).map(replaced).collect()
    };
    let algorithm = part(subject.algorithm_name(), PARTS.0);
    let encoded = part(subject.encoded(), PARTS.1);
    format!("{algorithm}-{encoded}")
        .parse()
        .expect("an algorithm begins with a letter or digit, and all else was replaced")
}

/// The manifest's subject.
pub const fn subject(document: &Document) -> Option<&Descriptor> {
    match document.content() {
        Content::Image(image) => image.subject.as_ref(),
        Content::Index(index) => index.subject.as_ref(),
        Content::Artifact(artifact) => artifact.subject.as_ref(),
    }
}

/// The manifest's entry in the list, with its artifact type and annotations.
pub fn entry(document: &Document) -> Descriptor {
    let mut entry = document.descriptor();
    let (artifact_type, annotations) = match document.content() {
        Content::Image(image) => {
            let own = image.artifact_type.as_ref().filter(|own| !own.is_empty());
            let artifact_type = own.unwrap_or(&image.config.media_type);
            (Some(artifact_type), &image.annotations)
        }
        Content::Index(index) => (index.artifact_type.as_ref(), &index.annotations),
        Content::Artifact(artifact) => (artifact.artifact_type.as_ref(), &artifact.annotations),
    };
    entry.artifact_type = artifact_type.cloned();
    entry.annotations.clone_from(annotations);
    entry
}

/// Whether a list has an entry for this digest.
///
/// # Errors
///
/// If the document is not an index: the tag is used for something else.
pub(crate) fn lists(document: &Document, digest: &Digest) -> Result<bool, String> {
    let listed = entries(document)?;
    Ok(listed.iter().any(|it| it.digest == *digest))
}

/// The entries of a list.
///
/// # Errors
///
/// If the document is not an OCI index: the tag is used for something else.
pub fn entries(document: &Document) -> Result<&[Descriptor], String> {
    match document.content() {
        Content::Index(index) if document.media_type() == OCI_INDEX => Ok(&index.manifests),
        Content::Index(_) | Content::Image(_) | Content::Artifact(_) => {
            let found = document.media_type();
            Err(format!("the tag is not an OCI index but {found}"))
        }
    }
}

/// The list with these entries, too, as bytes. All existing entries and members are kept byte for byte
/// (RFR-04).
///
/// # Errors
///
/// If it would exceed `limit`, beyond which clients refuse to read it.
pub fn with(
    list: Option<&Document>,
    entries: &[Descriptor],
    limit: u64,
) -> Result<Vec<u8>, String> {
    let new = br#"{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#;
    let known: BTreeSet<&Digest> = match list {
        Some(list) => self::entries(list)?.iter().map(|it| &it.digest).collect(),
        None => BTreeSet::new(),
    };
    let missing = entries.iter().filter(|it| !known.contains(&it.digest));
    let bytes = list.map_or(new.as_slice(), |list| &list.bytes()[..]);
    let bytes =
        added(bytes, missing).map_err(|error| format!("the list cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!(
            "the list would have {} bytes, more than the {limit} that are read",
            bytes.len()
        ));
    }
    Ok(bytes)
}

/// Whether a name is a tag made of a digest: that of a list, or one at which cosign keeps something.
pub fn is_digest_tag(name: &str) -> bool {
    let (stem, suffix) = name.split_once('.').unwrap_or((name, ""));
    let (algorithm, encoded) = stem.rsplit_once('-').unwrap_or_default();
    let is_hex = |it: &str| it.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_digest = matches!(algorithm, "sha256" | "sha512") && encoded.len() == 64;
    is_digest && is_hex(encoded) && matches!(suffix, "" | "sig" | "att" | "sbom")
}

/// The list without the entries of these manifests, as bytes. Everything else is kept byte for byte.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn without(list: &[u8], digests: &BTreeSet<Digest>) -> Result<Vec<u8>, String> {
    let removed = removed(list, digests);
    removed.map_err(|error| format!("the list cannot be read: {error}"))
}

/// The entries of a list that was written, as far as they are descriptors.
pub(crate) fn descriptors(list: &[u8]) -> Vec<Descriptor> {
    let entries = members(list).map_or_else(|_| Vec::new(), |(_, entries)| entries);
    let read = entries.iter().map(|raw| serde_json::from_str(raw.get()));
    read.filter_map(Result::ok).collect()
}

type Members = BTreeMap<String, Box<RawValue>>;

/// The members of a list, and its entries.
fn members(bytes: &[u8]) -> serde_json::Result<(Members, Vec<Box<RawValue>>)> {
    let members: Members = serde_json::from_slice(bytes)?;
    let entries = members.get("manifests").map_or("null", |raw| raw.get());
    let entries: Option<Vec<Box<RawValue>>> = serde_json::from_str(entries)?;
    Ok((members, entries.unwrap_or_default()))
}

/// The digest of an entry, if it has one.
fn digest_of(entry: &RawValue) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Entry {
        digest: Digest,
    }
    let entry = serde_json::from_str::<Entry>(entry.get());
    entry.ok().map(|entry| entry.digest)
}

fn removed(bytes: &[u8], digests: &BTreeSet<Digest>) -> serde_json::Result<Vec<u8>> {
    let (mut members, mut entries) = members(bytes)?;
    entries.retain(|raw| digest_of(raw).is_none_or(|digest| !digests.contains(&digest)));
    members.insert("manifests".to_owned(), to_raw_value(&entries)?);
    serde_json::to_vec(&members)
}

fn added<'a>(
    bytes: &[u8],
    more: impl Iterator<Item = &'a Descriptor>,
) -> serde_json::Result<Vec<u8>> {
    let (mut members, mut entries) = members(bytes)?;
    for entry in more {
        entries.push(to_raw_value(entry)?);
    }
    members.insert("manifests".to_owned(), to_raw_value(&entries)?);
    serde_json::to_vec(&members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Declared;

    const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    const OTHER: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8b";

    fn read(json: &str) -> Document {
        let bytes = json.as_bytes().to_vec();
        Document::parse(bytes, Declared::ContentType(None)).expect("a document")
    }

    #[test]
    fn tags() {
        let long = "test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+\
            overall+truncation:alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLots\
            OfCharactersToExcerciseEncodedTruncation";
        let sha512 = format!("sha512:{}", "b".repeat(128));
        let table = [
            (EMPTY, EMPTY.replace(':', "-")),
            (&sha512, format!("sha512-{}", "b".repeat(64))),
            (
                long,
                "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphen\
                    ReplacementAndLotsAndLot"
                    .into(),
            ),
        ];
        for (digest, expected) in table {
            let digest: Digest = digest.parse().expect("a digest");
            assert_eq!(tag(&digest).as_str(), expected, "RFR-03");
        }
    }

    /// RFR-16.
    #[test]
    fn tags_made_of_digests() {
        let tag = EMPTY.replace(':', "-");
        for suffix in ["", ".sig", ".att", ".sbom"] {
            assert!(is_digest_tag(&format!("{tag}{suffix}")), "{suffix}");
        }
        let (short, other) = (&tag[..70], tag.replace("sha256", "md5"));
        for name in [
            "",
            "v1",
            "sha256-",
            short,
            &other,
            &format!("{tag}.x"),
            &format!("{tag}0"),
        ] {
            assert!(!is_digest_tag(name), "{name}");
        }
    }

    #[test]
    fn entries_of_manifests() {
        let descriptor = |media_type: &str| {
            format!(r#"{{"mediaType":"{media_type}","digest":"{EMPTY}","size":2}}"#)
        };
        let image = |more: &str| {
            let config = descriptor("a/config");
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                    "config":{config},"layers":[]{more}}}"#
            )
        };
        let index = |more: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
                    "manifests":[]{more}}}"#
            )
        };
        let subject_of = format!(r#","subject":{}"#, descriptor("a/b"));
        let typed = r#","artifactType":"a/sbom","annotations":{"k":"v"}"#;
        // (document, has a subject, type of artifact, annotations)
        let table = [
            (image(""), false, Some("a/config"), 0),
            (image(&subject_of), true, Some("a/config"), 0),
            (image(r#","artifactType":"""#), false, Some("a/config"), 0),
            (image(typed), false, Some("a/sbom"), 1),
            (index(&subject_of), true, None, 0),
            (index(typed), false, Some("a/sbom"), 1),
        ];
        for (json, has_subject, artifact_type, annotations) in table {
            let document = read(&json);
            assert_eq!(subject(&document).is_some(), has_subject, "{json}");
            let entry = entry(&document);
            assert_eq!(entry.artifact_type.as_deref(), artifact_type, "{json}");
            assert_eq!(entry.annotations.len(), annotations, "{json}");
            assert_eq!(entry.digest, *document.digest());
            assert_eq!(entry.size, json.len() as u64);
        }
    }

    /// PUSHM-03.
    #[test]
    fn an_entry_more_and_nothing_less() {
        let digest: Digest = OTHER.parse().expect("a digest");
        let entry = Descriptor::new("a/b", digest.clone(), 7);
        let added = format!(r#"{{"mediaType":"a/b","digest":"{OTHER}","size":7}}"#);
        let theirs = format!(
            r#"{{"size":2, "digest":"{EMPTY}","mediaType":"a/b","x":1e3,"y":"\ud800","data":null}}"#
        );
        let list = |entries: &str, more: &str| {
            format!(
                r#"{{"manifests":{entries},"mediaType":"{OCI_INDEX}","schemaVersion":2{more}}}"#
            )
        };
        // (list, result)
        let table = [
            (None, list(&format!("[{added}]"), "")),
            (Some(list("[]", "")), list(&format!("[{added}]"), "")),
            (Some(list("null", "")), list(&format!("[{added}]"), "")),
            (
                Some(list(&format!("[{theirs}]"), r#","x":{"a":[1.50]}"#)),
                list(&format!("[{theirs},{added}]"), r#","x":{"a":[1.50]}"#),
            ),
        ];
        for (before, after) in table {
            let before = before.as_deref().map(read);
            if let Some(before) = &before {
                assert_eq!(lists(before, &digest), Ok(false));
            }
            let bytes =
                with(before.as_ref(), core::slice::from_ref(&entry), 1000).expect("it is short");
            let text = String::from_utf8(bytes).expect("UTF-8");
            assert_eq!(text, after);
            assert_eq!(lists(&read(&text), &digest), Ok(true));
            let listed = descriptors(text.as_bytes());
            assert!(listed.iter().any(|it| it.digest == digest));
            let removed = without(text.as_bytes(), &[digest.clone()].into());
            let removed = removed.expect("it is a list");
            assert_eq!(
                lists(&read(&String::from_utf8_lossy(&removed)), &digest),
                Ok(false)
            );
            if let Some(before) = &before
                && before.bytes().windows(4).all(|four| four != b"null")
            {
                assert_eq!(
                    removed,
                    before.bytes()[..],
                    "RFR-10: the others stay as they were"
                );
            }
            let twice = [entry.clone(), entry.clone()];
            let again = with(Some(&read(&text)), &twice, 1000);
            assert_eq!(again.as_deref(), Ok(text.as_bytes()), "it is there once");
            let limit = text.len() as u64 - 1;
            let error = with(before.as_ref(), core::slice::from_ref(&entry), limit);
            assert!(error.expect_err("it is too long").contains("more than"));
        }
    }

    #[test]
    fn what_is_no_list() {
        let digest: Digest = EMPTY.parse().expect("a digest");
        for (media_type, member) in [
            (
                "application/vnd.oci.image.manifest.v1+json",
                format!(r#""config":{{"mediaType":"a/b","digest":"{EMPTY}","size":2}}"#),
            ),
            (
                "application/vnd.docker.distribution.manifest.list.v2+json",
                r#""manifests":[]"#.into(),
            ),
        ] {
            let json = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}",{member}}}"#);
            let error = lists(&read(&json), &digest).expect_err("it is no list");
            assert!(error.contains(media_type), "{error}");
        }
    }
}
