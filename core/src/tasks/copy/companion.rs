//! A manifest that belongs to another one without being a part of it: a companion.
//!
//! It is a node of the copy without parents, copied like any other. An error of a companion, or of what is below it,
//! ends that companion and not the copy.
//!
//! Responsible for which companions are wanted, what is special about putting them, and for those that fail. Must not
//! know how they are found (`carry`).

use alloc::format;
use alloc::string::String;

use super::node::{Node, NodePhase};
use super::{CopyLocation, CopyState};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::ids::NodeId;
use crate::manifest::Document;
use crate::reference::{Tag, Target};
use crate::referrers;
use crate::store::{StoreErrorKind, StoreOp};
use crate::task::{NotCarried, Report};
use crate::tasks::TaskPorts;

/// What makes a node a companion.
#[derive(Clone, Debug)]
pub(super) struct Companion {
    /// The manifest that it belongs to.
    pub(super) subject: NodeId,
    /// The tag at which it is found, unless it is a referrer.
    pub(super) tag: Option<Tag>,
    /// The destination lists it as a referrer of its subject.
    pub(super) is_listed: bool,
    /// What its list says of its artifact type.
    pub(super) artifact_type: Option<String>,
    /// It was put, and not only found.
    pub(super) was_put: bool,
}

impl CopyState {
    /// Looks for a companion at its tag.
    pub(super) fn find_tagged(
        &mut self,
        node: NodeId,
        tag: Tag,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let companion = Companion {
            subject: node,
            tag: Some(tag.clone()),
            is_listed: false,
            artifact_type: None,
            was_put: false,
        };
        let id = self.add_companion(companion, None)?;
        match &self.source {
            CopyLocation::Registry { site, .. } => {
                let site = site.clone();
                self.get(id, site, Target::Tag(tag), None, ports);
            }
            CopyLocation::Store { store, .. } => {
                self.nodes[id.0].phase = NodePhase::Finding;
                let name = Some(tag.as_str().into());
                ports.store(id, *store, StoreOp::Find { name });
            }
        }
        Ok(())
    }

    pub(super) fn add_companion(
        &mut self,
        companion: Companion,
        descriptor: Option<Descriptor>,
    ) -> Result<NodeId, Error> {
        let id = NodeId(self.nodes.len());
        if let Some(descriptor) = &descriptor {
            self.by_digest.insert(descriptor.digest.clone(), id);
        }
        self.companions(companion.subject)?.left += 1;
        let mut node = Node::new(descriptor, 0);
        node.companion = Some(companion);
        self.nodes.push(node);
        Ok(id)
    }

    /// The manifest of a companion is here. Whether it is wanted: a list may say anything (RFR-12, RFR-16).
    pub(super) fn admits(&self, node: NodeId, document: &Document) -> Result<bool, Error> {
        let Some(Companion {
            subject, tag: None, ..
        }) = &self.nodes[node.0].companion
        else {
            return Ok(true);
        };
        let expected = &self.descriptor(*subject)?.digest;
        let found = referrers::subject(document).map(|it| &it.digest);
        if found != Some(expected) {
            let found = found.map_or_else(|| "none".into(), |found| format!("{found}"));
            let what =
                format!("it is listed as a referrer of {expected}, but its subject is {found}");
            return Err(Error::Policy { what });
        }
        let companions = self.nodes[subject.0].companions.as_ref();
        let of_image = companions.is_some_and(|it| it.level == 0);
        let entry = referrers::entry(document);
        Ok(!of_image || self.wants(entry.artifact_type.as_ref()))
    }

    pub(super) fn wants(&self, artifact_type: Option<&String>) -> bool {
        let wanted = &self.carry.artifact_types;
        wanted.is_empty() || artifact_type.is_some_and(|it| wanted.contains(it))
    }

    /// The tag that a companion has to get at the destination.
    pub(super) fn companion_tag(&self, node: NodeId) -> Option<&Tag> {
        self.nodes[node.0].companion.as_ref()?.tag.as_ref()
    }

    /// Whether a companion that is at the destination is put again: only that shows whether the registry lists it.
    pub(super) fn puts_again(&self, node: NodeId) -> bool {
        let companion = self.nodes[node.0].companion.as_ref();
        companion.is_some_and(|it| it.tag.is_none() && !it.is_listed && !it.was_put)
    }

    /// A companion was put. Whether it is done with that, and not to be named first.
    pub(super) fn companion_put(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<bool, Error> {
        let Some(companion) = &mut self.nodes[node.0].companion else {
            return Ok(true);
        };
        companion.was_put = true;
        let CopyLocation::Store { store, .. } = &self.destination else {
            return Ok(true);
        };
        let store = *store;
        match &companion.tag {
            Some(tag) => {
                let name = Some(tag.as_str().into());
                let descriptor = self.descriptor(node)?.clone();
                self.nodes[node.0].phase = NodePhase::Naming;
                ports.store(node, store, StoreOp::Tag { name, descriptor });
                Ok(false)
            }
            None => {
                self.is_unlisted(node)?;
                Ok(true)
            }
        }
    }

    /// A companion has to be added to the list of its subject, with all others that have to. Whether the node is
    /// one.
    pub(super) fn is_unlisted(&mut self, node: NodeId) -> Result<bool, Error> {
        let Some(Companion {
            subject, tag: None, ..
        }) = &self.nodes[node.0].companion
        else {
            return Ok(false);
        };
        let (subject, entry) = (*subject, referrers::entry(self.document(node)?));
        self.companions(subject)?.unlisted.push(entry);
        Ok(true)
    }

    /// A node is done. If it is a companion, what belongs to it is looked for.
    pub(super) fn companion_done(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let Some(companion) = &self.nodes[node.0].companion else {
            return Ok(());
        };
        let (subject, was_put) = (companion.subject, companion.was_put);
        let carried = &mut self.carrying.carried;
        *(if was_put {
            &mut carried.copied
        } else {
            &mut carried.present
        }) += 1;
        let level = self.companions(subject)?.level;
        self.look(node, level + 1, ports)?;
        self.companion_over(subject, ports)
    }

    /// Passes an error on, unless it is one of a companion: that one is missed then, and told.
    pub(super) fn isolate(
        &mut self,
        node: NodeId,
        result: Result<(), Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match result {
            Err(error) if self.is_carrying() && !is_fatal(&error) => self.miss(node, &error, ports),
            result => result,
        }
    }

    /// A node that belongs to the image cannot be copied, and nor can what it is a part of.
    fn miss(
        &mut self,
        node: NodeId,
        error: &Error,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let mut nodes = alloc::vec![node];
        while let Some(node) = nodes.pop() {
            nodes.extend(core::mem::take(&mut self.nodes[node.0].parents));
            let Some(companion) = self.drop_node(node) else {
                continue;
            };
            let subject = self.descriptor(companion.subject)?.digest.clone();
            let known = self.nodes[node.0].descriptor.as_ref();
            let digest = known.map(|it| it.digest.clone());
            // There need not be anything at a tag.
            let is_nothing = digest.is_none() && error.kind() == ErrorKind::NotFound;
            if !is_nothing {
                self.not_carried(subject, digest, companion.artifact_type, error, ports);
            }
            self.companion_over(companion.subject, ports)?;
        }
        Ok(())
    }

    /// A companion is of a type that is not wanted.
    pub(super) fn unwanted(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match self.drop_node(node) {
            Some(companion) => self.companion_over(companion.subject, ports),
            None => Ok(()),
        }
    }

    /// Gives a node up. What made it a companion, if it was one and not given up yet.
    fn drop_node(&mut self, node: NodeId) -> Option<Companion> {
        let this = &mut self.nodes[node.0];
        if let Some(document) = this.document.take() {
            self.held = self.held.saturating_sub(document.bytes().len() as u64);
        }
        // A part of the image that was only looked at again is there.
        let is_of_image = node.0 < self.carrying.image;
        this.phase = if is_of_image {
            NodePhase::Done
        } else {
            NodePhase::Missed
        };
        self.unrequested.retain(|other| *other != node);
        this.companion.take()
    }

    pub(super) fn not_carried(
        &mut self,
        subject: Digest,
        digest: Option<Digest>,
        artifact_type: Option<String>,
        error: &Error,
        ports: &mut TaskPorts<'_>,
    ) {
        let what = match &digest {
            Some(digest) => format!("{digest}, which belongs to {subject}, was not copied"),
            None => format!("what belongs to {subject} could not be found out"),
        };
        ports.event(Event::Warning(format!("{what}: {error}")));
        let carried = &mut self.carrying.carried;
        carried.failed += 1;
        if carried.not_carried.len() < Report::LISTED {
            carried.not_carried.push(NotCarried {
                subject,
                digest,
                artifact_type,
                kind: error.kind(),
                why: format!("{error}"),
            });
        }
    }
}

/// Whether an error concerns more than one manifest.
pub(super) fn is_fatal(error: &Error) -> bool {
    match error {
        Error::Internal { .. } | Error::Cancelled | Error::Deadline | Error::Driver { .. } => true,
        Error::Store(error) => !matches!(
            error.kind(),
            StoreErrorKind::NoSuchName
                | StoreErrorKind::Ambiguous
                | StoreErrorKind::Absent
                | StoreErrorKind::Damaged
                | StoreErrorKind::TooLarge
        ),
        Error::Registry(_)
        | Error::NotFound(_)
        | Error::Peer { .. }
        | Error::Mismatch(_)
        | Error::Auth(_)
        | Error::Transport { .. }
        | Error::Route(_)
        | Error::Endpoints { .. }
        | Error::Outdated { .. }
        | Error::Policy { .. }
        | Error::Exhausted { .. } => false,
    }
}
