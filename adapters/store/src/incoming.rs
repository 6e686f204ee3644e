//! Bodies on their way in.
//!
//! Responsible for giving each chunk to the call first and to the store second, and for handing
//! the partial back whatever happens. Must not know where chunks come from.

use std::sync::Arc;

use windlass_core::call::{Call, Done, Interrupted, Keep, Receive};
use windlass_core::{Digest, StoreError, StoreErrorKind, StoreId};

use crate::stores::{Lease, Stores};

/// A response's body on its way into a store, or into the call that collects it. Dropped without
/// [`finish`](Self::finish), it hands the partial back all the same; the driver then owes the
/// session a [`Done::lost`].
#[derive(Debug)]
pub struct Incoming {
    call: Box<Call>,
    sink: Sink,
}

impl Incoming {
    /// Takes over a call whose response head was just taken, with what `Call::head` answered.
    /// Opens nothing for `Collect` and `Discard`.
    pub fn new(stores: &Arc<Stores>, call: Box<Call>, receive: Receive) -> Self {
        let sink = Sink::new(stores, receive);
        Self { call, sink }
    }

    /// Whether the body should be read at all. If not, drop the connection and `finish`.
    pub fn wants_body(&self) -> bool {
        self.sink.wants_body()
    }

    /// Takes the next chunk: the call first (hash or collect), then the store.
    pub fn chunk(&mut self, chunk: &[u8]) -> Keep {
        if !self.sink.wants_body() {
            return Keep::Stop;
        }
        match self.call.data(chunk) {
            Keep::All => self.sink.take(chunk),
            stop @ (Keep::Stop | _) => stop,
        }
    }

    /// Where the transfer stands: bytes of the blob that are in the store.
    pub fn position(&self) -> u64 {
        self.sink.position()
    }

    /// Ends the call. A failure of the store on the way goes before `end`.
    pub fn finish(self, end: Result<(), Interrupted>) -> Done {
        // The partial first: once the session has its answer it may ask for it at once.
        let end = self.sink.end().and(end);
        self.call.finish(end)
    }
}

/// Where chunks go after the call has seen them.
#[derive(Debug)]
enum Sink {
    /// The call keeps them.
    Call,
    /// Read only so that the connection can be used again, while there is something `left`.
    Nowhere {
        left: u64,
    },
    Partial(Lease),
    Failed(StoreError),
}

impl Sink {
    fn new(stores: &Stores, receive: Receive) -> Self {
        match receive {
            Receive::Collect => Self::Call,
            Receive::Discard { limit } => Self::Nowhere { left: limit },
            Receive::Store {
                store,
                digest,
                offset,
            } => open(stores, store, &digest, offset).map_or_else(Self::Failed, Self::Partial),
            other => Self::Failed(StoreError::new(
                StoreErrorKind::Io,
                format!("no place is known for {other:?}"),
            )),
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Keep {
        match self {
            Self::Call => Keep::All,
            Self::Nowhere { left } => {
                *left = left.saturating_sub(chunk.len() as u64);
                if *left == 0 { Keep::Stop } else { Keep::All }
            }
            Self::Partial(lease) => match lease.partial().append(chunk) {
                Ok(()) => Keep::All,
                Err(error) => {
                    // Replacing it hands the partial back.
                    *self = Self::Failed(error);
                    Keep::Stop
                }
            },
            Self::Failed(_) => Keep::Stop,
        }
    }

    fn wants_body(&self) -> bool {
        match self {
            Self::Call | Self::Partial(_) => true,
            Self::Nowhere { left } => *left > 0,
            Self::Failed(_) => false,
        }
    }

    fn position(&self) -> u64 {
        match self {
            Self::Partial(lease) => lease.len(),
            Self::Call | Self::Nowhere { .. } | Self::Failed(_) => 0,
        }
    }

    fn end(self) -> Result<(), Interrupted> {
        match self {
            Self::Call | Self::Nowhere { .. } | Self::Partial(_) => Ok(()),
            Self::Failed(error) => Err(Interrupted::Store(error)),
        }
    }
}

/// Takes the partial and makes it end where the first chunk goes.
fn open(
    stores: &Stores,
    store: StoreId,
    digest: &Digest,
    offset: u64,
) -> Result<Lease, StoreError> {
    let mut lease = stores.lease(store, digest)?;
    let len = lease.len();
    if len < offset {
        return Err(StoreError::new(
            StoreErrorKind::Io,
            format!("the partial of {digest} is shorter than expected: {len} of {offset} bytes"),
        ));
    }
    lease.partial().truncate(offset)?;
    Ok(lease)
}
