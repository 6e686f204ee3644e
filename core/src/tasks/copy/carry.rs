//! What belongs to the image without being a part of it: referrers, and what cosign keeps at tags.
//!
//! ```text
//!  all of the image is there ─▶ each manifest of it: reading its lists ─▶ copying ─▶ listing ─▶ over
//!                                                         ▲                  │
//!                                                         └── each of them ◀─┘ (referrers of referrers)
//!  all are over ─▶ the image gets its tag or name
//! ```
//!
//! Responsible for the lists of what belongs to a manifest, for when all of that is done, and for what the report says
//! of it. Must not know how a list is read (`referrers_read`) or changed (`referrers_list`), nor how one manifest is
//! copied (`companion`).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::companion::{Companion, is_fatal};
use super::node::{NodePhase, Presence};
use super::{CopyLocation, CopyState, ROOT};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::op::{OpOutcome, Site};
use crate::referrers;
use crate::store::{StoreAnswer, StoreError, StoreOp};
use crate::task::{Carried, Carry, Referrers, ReferrersSource};
use crate::tasks::TaskPorts;
use crate::tasks::referrers_list::{Change, ListChange};
use crate::tasks::referrers_read::ListReader;

/// The ends of the tags at which cosign keeps signatures, attestations and SBOMs.
const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// How far the copying of what belongs to the image is.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    phase: CarryPhase,
    /// How many nodes the image itself has.
    pub(super) image: usize,
    /// How many manifests have companions that are not over.
    open: usize,
    pub(super) carried: Carried,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum CarryPhase {
    #[default]
    Before,
    Running,
    Over,
}

/// The companions of a manifest, while they are looked for and copied.
#[derive(Debug)]
pub(super) struct Companions {
    /// 0 for a manifest of the image, 1 for its companions.
    pub(super) level: usize,
    /// How many of these are under way: the reading of its list, and companions that are not done.
    pub(super) left: usize,
    /// The list that is being read.
    reader: Option<ListReader>,
    /// What the source's list has, while that of the destination is read.
    found: Option<Referrers>,
    /// Companions that were put and have to be listed.
    pub(super) unlisted: Vec<Descriptor>,
}

impl CopyState {
    /// Whether what belongs to the image is still to be copied, before the image gets its name.
    pub(super) fn carries(&self) -> bool {
        !self.carry.is_nothing() && self.carrying.phase != CarryPhase::Over
    }

    /// Whether it is being copied.
    pub(super) fn is_carrying(&self) -> bool {
        self.carrying.phase == CarryPhase::Running
    }

    /// All of the image is at the destination.
    pub(super) fn carry_all(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.carrying.phase = CarryPhase::Running;
        self.nodes[ROOT.0].phase = NodePhase::Carrying;
        // In one repository all of it is there.
        if matches!((&self.source, &self.destination),
            (CopyLocation::Registry { site: from, .. }, CopyLocation::Registry { site: to, .. }) if from == to)
        {
            return self.all_carried(ports);
        }
        self.carrying.image = self.nodes.len();
        let manifests = 0..self.nodes.len();
        let manifests = manifests.filter(|n| self.nodes[*n].descriptor.is_some());
        let manifests: Vec<NodeId> = manifests.map(NodeId).collect();
        // Held back by one, so that it is not over before all have begun.
        self.carrying.open = 1;
        for node in manifests {
            self.look(node, 0, ports)?;
        }
        self.manifest_over(ports)
    }

    /// Looks for what belongs to a manifest, which is at the destination.
    pub(super) fn look(
        &mut self,
        node: NodeId,
        level: usize,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let subject = self.descriptor(node)?.digest.clone();
        self.carrying.open += 1;
        self.nodes[node.0].companions = Some(Box::new(Companions {
            level,
            left: 1,
            reader: None,
            found: None,
            unlisted: Vec::new(),
        }));
        if self.carry.digest_tags {
            for suffix in SUFFIXES {
                let tag = format!("{}.{suffix}", referrers::tag(&subject));
                if let Ok(tag) = tag.parse() {
                    self.find_tagged(node, tag, ports)?;
                }
            }
        }
        if !self.carry.referrers {
            return self.companion_over(node, ports);
        }
        match &self.source {
            CopyLocation::Registry { lists, .. } => {
                let lists = lists.clone();
                // A registry can be asked for one type at once.
                let only = match &self.carry.artifact_types[..] {
                    [only] if level == 0 => Some(only.clone()),
                    _ => None,
                };
                self.read_lists(node, lists, subject, only, ports)
            }
            CopyLocation::Store { store, .. } => {
                ports.store(node, *store, StoreOp::Referrers { subject });
                Ok(())
            }
        }
    }

    fn read_lists(
        &mut self,
        node: NodeId,
        site: Site,
        subject: Digest,
        only: Option<String>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let scopes = self.task_scopes(&site);
        let reader = ListReader::new(site, subject, None, scopes).narrowed(only);
        let companions = self.companions(node)?;
        companions.reader.insert(reader).begin(node, ports);
        Ok(())
    }

    /// Takes the result of an exchange about a list, if the node has a list that is being read.
    pub(super) fn list_read(
        &mut self,
        node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let companions = self.companions(node)?;
        let Some(reader) = &mut companions.reader else {
            return Err(Error::internal("no list is being read"));
        };
        let read = match reader.ended(node, result, ports) {
            Ok(None) => return Ok(()),
            Ok(Some(read)) => Ok(read),
            Err(error) => Err(error),
        };
        companions.reader = None;
        match (companions.found.take(), read) {
            (None, Ok(found)) => self.source_listed(node, found, ports),
            (_, Err(error)) if is_fatal(&error) => Err(error),
            (None, Err(error)) => self.list_failed(node, &error, ports),
            (Some(found), Ok(there)) => self.copy_referrers(node, found, Some(there), ports),
            // What is there is put again, and if it cannot be listed then, that is told.
            (Some(found), Err(_)) => self.copy_referrers(node, found, None, ports),
        }
    }

    /// Takes the answer of a store about a list.
    pub(super) fn companions_stepped(
        &mut self,
        node: NodeId,
        answer: Result<StoreAnswer, StoreError>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let is_read = self.companions(node)?.left > 0;
        match answer.map_err(Error::Store) {
            Ok(StoreAnswer::Referrers(referrers)) => {
                let found = Referrers {
                    subject: self.descriptor(node)?.digest.clone(),
                    referrers,
                    source: ReferrersSource::Tag,
                };
                self.source_listed(node, found, ports)
            }
            Ok(StoreAnswer::Written) => self.companions_listed(node, ports),
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) if is_read => self.list_failed(node, &error, ports),
            // The image is there; its list is as it was.
            Err(error) => {
                let subject = self.descriptor(node)?.digest.clone();
                self.not_carried(subject, None, None, &error, ports);
                self.companions_listed(node, ports)
            }
            // Of something that was asked for before the node was found at the destination.
            Ok(_) => Ok(()),
        }
    }

    /// What belongs to a manifest cannot be found out.
    fn list_failed(
        &mut self,
        node: NodeId,
        error: &Error,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let subject = self.descriptor(node)?.digest.clone();
        self.not_carried(subject, None, None, error, ports);
        self.companion_over(node, ports)
    }

    /// The source's list is here. The destination may have what is in it.
    fn source_listed(
        &mut self,
        node: NodeId,
        found: Referrers,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let was_there = self.nodes[node.0].presence != Presence::No;
        match &self.destination {
            CopyLocation::Registry { site, .. } if was_there && !found.referrers.is_empty() => {
                let (site, subject) = (site.clone(), found.subject.clone());
                self.companions(node)?.found = Some(found);
                self.read_lists(node, site, subject, None, ports)
            }
            CopyLocation::Registry { .. } | CopyLocation::Store { .. } => {
                self.copy_referrers(node, found, None, ports)
            }
        }
    }

    /// Copies what refers to a manifest. `there`: what the destination lists.
    fn copy_referrers(
        &mut self,
        node: NodeId,
        found: Referrers,
        there: Option<Referrers>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let level = self.companions(node)?.level;
        // A registry lists what it has; a list at a tag may name what is gone.
        let is_sure = there
            .as_ref()
            .is_some_and(|it| it.source == ReferrersSource::Api);
        let listed = there.map(|it| it.referrers).unwrap_or_default();
        let listed = listed.into_iter().map(|it| (it.digest, it.artifact_type));
        let listed: BTreeMap<Digest, Option<String>> = listed.collect();
        for mut descriptor in found.referrers {
            let artifact_type = descriptor.artifact_type.take();
            let type_there = listed.get(&descriptor.digest).and_then(Option::as_ref);
            let is_by_api = found.source == ReferrersSource::Api;
            // If no registry lists it with a type that is wanted, its manifest is obtained and decides (RFR-16).
            let is_wanted = level > 0
                || self.wants(type_there)
                || (is_by_api && self.wants(artifact_type.as_ref()));
            // A manifest of the image, or in two lists: once is enough.
            if self.by_digest.contains_key(&descriptor.digest) {
                continue;
            }
            if level == Carry::LEVELS {
                let what = format!("referrers are nested more than {level} deep");
                let (digest, error) = (descriptor.digest, Error::Policy { what });
                self.not_carried(
                    found.subject.clone(),
                    Some(digest),
                    artifact_type,
                    &error,
                    ports,
                );
                continue;
            }
            let is_listed = listed.contains_key(&descriptor.digest);
            let companion = Companion {
                subject: node,
                tag: None,
                is_listed,
                artifact_type,
                was_put: false,
            };
            let id = self.add_companion(companion, Some(descriptor))?;
            let begun = if is_listed && is_sure && is_wanted {
                self.done(id, ports)
            } else {
                self.check_objects(0, ports.limits())
                    .and_then(|()| self.obtain(id, ports))
            };
            self.isolate(id, begun, ports)?;
        }
        self.companion_over(node, ports)
    }

    /// A companion of a manifest is done, or its list is read.
    pub(super) fn companion_over(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let companions = self.companions(node)?;
        companions.left -= 1;
        if companions.left > 0 {
            return Ok(());
        }
        let entries = core::mem::take(&mut companions.unlisted);
        if entries.is_empty() {
            return self.companions_listed(node, ports);
        }
        let subject = self.descriptor(node)?.digest.clone();
        match &self.destination {
            CopyLocation::Registry { site, .. } => {
                let (site, change) = (site.clone(), Change::Add(entries));
                let scopes = self.task_scopes(&site);
                let listing = ListChange::new(site, subject, change, scopes);
                ports.lists.join(listing.key.clone(), (ports.task, node));
                self.nodes[node.0].listing = Some(listing);
            }
            CopyLocation::Store { store, .. } => {
                ports.store(node, *store, StoreOp::AddReferrers { subject, entries });
            }
        }
        Ok(())
    }

    /// All companions of a manifest are done and listed.
    pub(super) fn companions_listed(
        &mut self,
        node: NodeId,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.nodes[node.0].companions = None;
        self.manifest_over(ports)
    }

    fn manifest_over(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.carrying.open -= 1;
        if self.carrying.open > 0 {
            return Ok(());
        }
        self.all_carried(ports)
    }

    fn all_carried(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        self.carrying.phase = CarryPhase::Over;
        self.image_there(ports)
    }

    /// What was copied with the image, for the report.
    pub(super) fn carried(&mut self) -> Option<Carried> {
        let carried = core::mem::take(&mut self.carrying.carried);
        (!self.carry.is_nothing()).then_some(carried)
    }

    pub(super) fn companions(&mut self, node: NodeId) -> Result<&mut Companions, Error> {
        let companions = self.nodes[node.0].companions.as_deref_mut();
        companions.ok_or_else(|| Error::internal("a manifest is not being looked at"))
    }
}

impl Companions {
    /// Whether a list is being read.
    pub(super) const fn is_reading(&self) -> bool {
        self.reader.is_some()
    }
}
