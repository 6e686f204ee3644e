//! The stores a driver knows, and bodies on their way into and out of them.

use std::io::{self, Read};
use std::sync::Arc;

use windlass_core::call::{Body, Call, Done, Interrupted, Keep, Outgoing, Receive};
use windlass_core::{StoreCall, StoreError, StoreId};

use crate::store::Store;

/// The stores that a driver's session refers to by [`StoreId`], and the partials it holds open.
#[derive(Debug, Default)]
pub struct Stores;

impl Stores {
    /// Makes a store known. The same store (by pointer) keeps its id as long as anybody uses it.
    pub fn add(&self, _store: &Arc<dyn Store>) -> StoreId {
        unimplemented!()
    }

    /// Forgets a store that no task uses any more, once per `add`.
    pub fn forget(&self, _store: StoreId) {
        unimplemented!()
    }

    /// Runs a step. Blocks.
    pub fn run(&self, _call: StoreCall) -> Done {
        unimplemented!()
    }

    /// Opens the bytes of a request's body; every byte is hashed by `outgoing`, and the last ones
    /// are held back until the digest matched.
    ///
    /// # Errors
    ///
    /// If the store cannot give the blob.
    pub fn outgoing(
        &self,
        _body: &Body,
        _outgoing: Outgoing,
    ) -> Result<OutgoingReader, StoreError> {
        unimplemented!()
    }
}

/// A response's body on its way into a store, or into the call that collects it.
#[derive(Debug)]
pub struct Incoming;

impl Incoming {
    /// Takes over a call whose response head was just taken, with what `Call::head` answered.
    /// Opens nothing for `Collect` and `Discard`.
    pub fn new(_stores: &Arc<Stores>, _call: Box<Call>, _receive: Receive) -> Self {
        unimplemented!()
    }

    /// Whether the body should be read at all. If not, drop the connection and `finish`.
    pub fn wants_body(&self) -> bool {
        unimplemented!()
    }

    /// Takes the next chunk: the call first (hash or collect), then the store.
    pub fn chunk(&mut self, _chunk: &[u8]) -> Keep {
        unimplemented!()
    }

    /// Where the transfer stands: bytes of the blob that are in the store.
    pub fn position(&self) -> u64 {
        unimplemented!()
    }

    /// Ends the call. A failure of the store on the way goes before `end`.
    pub fn finish(self, _end: Result<(), Interrupted>) -> Done {
        unimplemented!()
    }
}

/// Reads a blob for sending. An early end or a failure of the store is an `io::Error`; what it
/// really was is in [`failure`](Self::failure) (a clone of the handle can be kept by the driver).
#[derive(Debug)]
pub struct OutgoingReader;

impl OutgoingReader {
    /// A handle that tells, after the request failed, whether the body was the reason.
    pub fn failure(&self) -> Failure {
        unimplemented!()
    }
}

impl Read for OutgoingReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}

/// Why a body could not be sent to its end.
#[derive(Clone, Debug, Default)]
pub struct Failure;

impl Failure {
    /// The reason, if the body was the reason.
    pub fn take(&self) -> Option<Interrupted> {
        unimplemented!()
    }
}
