//! What every kind of task has: the state machine that the registry of tasks calls.
//!
//! Responsible for what happens to a task that is handed what it did not request: it fails. Must not know any
//! kind of task.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use super::lists::ListKey;
use super::ports::TaskPorts;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::Error;
use crate::ids::NodeId;
use crate::op::{OpOutcome, Site};
use crate::reference::{Reference, Tag};
use crate::store::{StoreAnswer, StoreError};
use crate::task::{Foreign, TaskKind};
use crate::totals::{Delivery, Totals};
use crate::uri::Url;

/// The state of one task. An error that a method returns fails the task.
pub(super) trait TaskMachine: fmt::Debug + Send + Sync {
    /// What was requested, for a checkpoint.
    fn requested(&self) -> TaskKind;

    /// What was requested to happen to foreign layers.
    fn foreign(&self) -> Foreign {
        Foreign::LeftOut
    }

    /// The tags that were requested beside the destination's own.
    fn more_tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    /// The content that its source's name was found to stand for, for a checkpoint.
    fn pinned(&self) -> Option<Descriptor> {
        None
    }

    /// What it has to do, and has done.
    fn totals(&self) -> Totals {
        Totals::default()
    }

    /// Takes the content that its source's name was found to stand for earlier. Comes before `begin`.
    fn pin(&mut self, _root: Descriptor) {}

    /// Where blobs are had that its source lacks, for a checkpoint.
    fn missing_from(&self) -> Option<Reference> {
        None
    }

    fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error>;

    /// Takes the result of an exchange that it began for `node`. Of one whose error fails the task, the outcome is
    /// all that matters.
    fn exchange_ended(
        &mut self,
        _node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.exchange_done(result?, ports)
    }

    /// Takes the outcome of the only exchange that it has in flight.
    fn exchange_done(
        &mut self,
        _outcome: OpOutcome,
        _ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        Err(not_requested("an exchange"))
    }

    /// Takes the answer to a store operation that it requested for `node`.
    fn step_ended(
        &mut self,
        _node: NodeId,
        _answer: Result<StoreAnswer, StoreError>,
        _ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        Err(not_requested("a store operation"))
    }

    /// A blob that it wants is where it was wanted, or cannot be had, which fails a task that wants no other.
    fn blob_settled(
        &mut self,
        _digest: &Digest,
        result: Result<Delivery, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        self.blob_done(result?, ports)
    }

    /// The only blob that it wants is where it was wanted.
    fn blob_done(&mut self, _delivery: Delivery, _ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        Err(not_requested("a blob"))
    }

    /// It is the turn of `node` to change its referrers list.
    fn read_list(&mut self, _node: NodeId, _ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        Err(not_requested("a referrers list"))
    }

    /// An upload session that it has open between two exchanges. When the task fails it is deleted.
    fn take_session(&mut self) -> Option<(Site, Url)> {
        None
    }

    /// The referrers lists that its nodes are to change.
    fn lists(&self) -> Vec<(&ListKey, NodeId)> {
        Vec::new()
    }
}

fn not_requested(what: &str) -> Error {
    Error::internal(&format!("a task was handed {what} that it did not request"))
}

/// The error for an outcome that belongs to another operation than the one that was begun.
pub(super) fn unexpected(what: &str) -> Error {
    Error::internal(&format!("{what} ended in the outcome of another operation"))
}
