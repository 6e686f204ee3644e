//! The parts of a copy: its manifests and blobs, and what is known of each.
//!
//! Responsible for the vocabulary of the copy's machine. Must not know what is done with it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::carry::Companions;
use super::companion::Companion;
use crate::blobs::Recheck;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::tasks::referrers_list::ListChange;
use crate::totals::Delivery;

/// What a blob is to its image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BlobRole {
    /// Only layers can be foreign: an image is of no use without its configuration.
    Layer,
    Config,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Known from the start for everything but a root that is named by a tag.
    pub(super) descriptor: Option<Descriptor>,
    pub(super) document: Option<Document>,
    pub(super) parents: Vec<NodeId>,
    pub(super) depth: usize,
    pub(super) phase: NodePhase,
    /// Children that are not there yet: manifests and blobs.
    pub(super) waiting: usize,
    /// How many of its children were requested, if they are blobs.
    pub(super) requested: usize,
    /// Whether the destination has it with everything below.
    pub(super) presence: Presence,
    /// What was done about children that the destination says are missing.
    pub(super) repushed: Repushed,
    /// When it was put last: how often something was pushed again before.
    pub(super) put_round: u32,
    /// Check everything below again, whatever the destination said about it.
    pub(super) force_check: bool,
    /// It stands for a blob that came with its descriptor, not for a manifest.
    pub(super) embedded: Option<Digest>,
    /// The way into a referrers list: of it into that of its subject, or of its companions into its own.
    pub(super) listing: Option<ListChange>,
    /// Set if it belongs to another manifest without being part of the image.
    pub(super) companion: Option<Companion>,
    /// The manifests that belong to it, while they are looked for and copied.
    pub(super) companions: Option<Box<Companions>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NodePhase {
    Finding,
    Loading,
    Asking,
    Open,
    Putting,
    /// It is put, and is being listed at its subject.
    Listing,
    /// All of it is there; what belongs to the image is being copied.
    Carrying,
    /// Looking at the image's configuration, to compare its platform.
    Comparing,
    Naming,
    Done,
    /// It belongs to the image, or is below what does, and could not be copied.
    Missed,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Presence {
    Unknown,
    Asking,
    No,
    /// It is there with everything below it, but perhaps without foreign layers.
    Yes,
    /// The same, and the tag stands for it.
    Tagged,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Repushed {
    Not,
    /// Everything below was checked again, and what the registry said it misses was sent.
    Once,
    /// Everything below that the registry said it has was sent.
    Sent,
    /// The same with layers that were left out only because they have `urls`: some registries demand
    /// them.
    WithUrls,
}

#[derive(Debug)]
pub(super) struct Blob {
    /// Manifests that wait for it.
    pub(super) nodes: Vec<NodeId>,
    pub(super) done: bool,
    /// How it came to the destination.
    pub(super) delivery: Option<Delivery>,
    /// The same before it had to be checked again.
    pub(super) before: Option<Delivery>,
    pub(super) recheck: Recheck,
    /// Whether it is had from elsewhere than the source, which lacks it.
    pub(super) is_elsewhere: bool,
    /// When it was requested: how often something was pushed again before.
    pub(super) round: u32,
}

impl Node {
    /// Whether the destination has it with everything below it, but perhaps without foreign layers.
    pub(super) const fn is_present(&self) -> bool {
        matches!(self.presence, Presence::Yes | Presence::Tagged)
    }

    pub(super) const fn new(descriptor: Option<Descriptor>, depth: usize) -> Self {
        Self {
            descriptor,
            document: None,
            parents: Vec::new(),
            depth,
            phase: NodePhase::Loading,
            waiting: 0,
            requested: 0,
            presence: Presence::Unknown,
            repushed: Repushed::Not,
            put_round: 0,
            force_check: false,
            embedded: None,
            listing: None,
            companion: None,
            companions: None,
        }
    }
}
