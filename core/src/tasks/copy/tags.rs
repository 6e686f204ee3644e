//! Further tags of an image that was put by its own.
//!
//! Responsible for putting them in one request where the registry takes several (PUSHM-09), else in one each. Must not
//! know how the image came to the registry.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{CopyLocation, CopyState, ROOT};
use crate::descriptor::Descriptor;
use crate::digest::Algorithm;
use crate::error::Error;
use crate::ids::NodeId;
use crate::op::{ManifestPut, OpOutcome, Operation};
use crate::reference::{Tag, Target};
use crate::tasks::TaskPorts;
use crate::tasks::machine::unexpected;

/// How many tags are put at once. A registry should take that many (PUSHM-09).
const BATCH: usize = 10;

/// How many tags an error names, so that it stays a line that people read.
const SHOWN: usize = 10;

/// The tags beside the destination's own.
#[derive(Debug)]
pub(super) struct MoreTags {
    /// Each once, without the destination's own.
    pub(super) requested: Vec<Tag>,
    left: VecDeque<Tag>,
    /// Some of them are being put.
    pub(super) are_under_way: bool,
    /// The registry did not take all that were put at once.
    one_by_one: bool,
}

impl MoreTags {
    pub(super) fn new(own: Option<&Tag>, tags: Vec<Tag>) -> Self {
        let mut requested: Vec<Tag> = Vec::new();
        for tag in tags {
            if own != Some(&tag) && !requested.contains(&tag) {
                requested.push(tag);
            }
        }
        Self {
            left: requested.iter().cloned().collect(),
            requested,
            are_under_way: false,
            one_by_one: false,
        }
    }
}

impl CopyState {
    /// Puts the tags that are left, or ends the copy.
    pub(super) fn put_tags(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        let (CopyLocation::Registry { site, .. }, Some(first)) =
            (&self.destination, self.more_tags.left.front())
        else {
            return self.complete(ports);
        };
        let (document, size) = (self.document(ROOT)?, self.descriptor(ROOT)?.size);
        let digest = document.digest().clone();
        let takes_several = ports.takes_tags(&site.origin) && !self.more_tags.one_by_one;
        // PUSHM-11: what is put by a tag gets a sha256 digest.
        let needs_digest = digest.algorithm() != Some(Algorithm::Sha256);
        let (target, tags) = if takes_several && (self.more_tags.left.len() > 1 || needs_digest) {
            let tags = self.more_tags.left.iter().take(BATCH).cloned().collect();
            (Target::Digest(digest.clone()), tags)
        } else if needs_digest {
            let what = format!(
                "the registry takes no tags for a manifest by its digest, which {digest} needs"
            );
            return Err(Error::Policy { what });
        } else {
            (Target::Tag(first.clone()), Vec::new())
        };
        let op = ManifestPut {
            site: site.clone(),
            target,
            tags,
            tags_refused: false,
            descriptor: Descriptor::new(document.media_type(), digest, size),
            bytes: document.bytes().clone(),
            // The list of its subject has it since it was put by its own tag.
            subject: None,
            condition: None,
        };
        self.exchange(ROOT, site.clone(), Operation::ManifestPut(op), ports);
        self.more_tags.are_under_way = true;
        Ok(())
    }

    /// Takes the answer to a request with tags. Those that it does not name were not created (PUSHM-10).
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "outcomes of other operations are defects"
    )]
    pub(super) fn tags_put(
        &mut self,
        outcome: OpOutcome,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.more_tags.are_under_way = false;
        let left = &mut self.more_tags.left;
        match outcome {
            OpOutcome::Put { .. } => drop(left.pop_front()),
            OpOutcome::Tagged { tags, .. } => {
                let named = tags.unwrap_or_default();
                let sent = left.len().min(BATCH);
                let rest = left.split_off(sent);
                left.retain(|tag| !named.iter().any(|named| named == tag.as_str()));
                self.more_tags.one_by_one |= !left.is_empty();
                left.extend(rest);
            }
            OpOutcome::Childless(error) => return Err(error),
            _ => return Err(unexpected("putting tags")),
        }
        self.put_tags(ports)
    }

    /// Adds to an error the further tag that failed, if it is about one, and the tags that were put.
    pub(super) fn about_tags(&self, node: NodeId, error: Error) -> Error {
        match self.more_tags.left.front() {
            Some(tag) if node == ROOT && self.more_tags.are_under_way => {
                error.about(&format!("tag {tag}{}", in_place(&self.tags())))
            }
            Some(_) | None => error,
        }
    }

    /// The tags that refer to the image, once it is at the destination: none in a store.
    pub(super) fn tags(&self) -> Vec<Tag> {
        let CopyLocation::Registry { reference, .. } = &self.destination else {
            return Vec::new();
        };
        let MoreTags {
            requested, left, ..
        } = &self.more_tags;
        let more = requested.iter().filter(|tag| !left.contains(tag));
        reference
            .written_tag()
            .into_iter()
            .chain(more.cloned())
            .collect()
    }
}

/// Tags, for an error about another one.
fn in_place(tags: &[Tag]) -> String {
    let shown: Vec<&str> = tags.iter().take(SHOWN).map(Tag::as_str).collect();
    match (shown.is_empty(), tags.len() - shown.len()) {
        (true, _) => String::new(),
        (false, 0) => format!("; in place: {}", shown.join(", ")),
        (false, more) => format!("; in place: {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_some_tags() {
        let tags = |count: usize| -> Vec<Tag> {
            let tag = |n: usize| format!("t{n}").parse().expect("a tag");
            (0..count).map(tag).collect()
        };
        for (count, expected) in [
            (0, ""),
            (2, "; in place: t0, t1"),
            (10, "; in place: t0, t1, t2, t3, t4, t5, t6, t7, t8, t9"),
            (
                12,
                "; in place: t0, t1, t2, t3, t4, t5, t6, t7, t8, t9 and 2 more",
            ),
        ] {
            assert_eq!(in_place(&tags(count)), expected);
        }
    }
}
