//! Bodies on their way in.
//!
//! Responsible for giving each chunk to the call first and to the store second. Must not know where chunks come from.

use std::sync::Arc;
use std::time::Instant;

use windlass_core::call::{
    Call, Done, Interrupted, Keep, Receive, TransportError, TransportErrorKind,
};
use windlass_core::{Digest, StoreError, StoreErrorKind, StoreId};

use crate::stall::{MinRate, StallDetector};
use crate::stores::{Lease, Stores};

/// A response's body on its way into a store, or into the call that collects it. If it is dropped without
/// [`finish`](Self::finish), the driver owes the session a [`Done::lost`].
#[derive(Debug)]
pub struct Incoming {
    call: Box<Call>,
    sink: BodyTarget,
    stall: StallDetector,
    stalled: bool,
}

impl Incoming {
    /// Takes over a call after `Call::head`, with what that returned.
    /// Opens nothing for `Collect` and `Discard`.
    pub fn new(stores: &Arc<Stores>, call: Box<Call>, receive: Receive) -> Self {
        let sink = BodyTarget::new(stores, receive);
        Self {
            call,
            sink,
            stall: StallDetector::new(MinRate::DEFAULT),
            stalled: false,
        }
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
        let kept = match self.call.data(chunk) {
            Keep::All => self.store(chunk),
            Keep::Stop => Keep::Stop,
        };
        if kept == Keep::All && self.stall.moved(chunk.len()) {
            self.stalled = true;
            return Keep::Stop;
        }
        kept
    }

    /// Passes a chunk on. A reader that takes its time is no stall of the peer's.
    fn store(&mut self, chunk: &[u8]) -> Keep {
        let begun = Instant::now();
        let kept = self.sink.take(chunk);
        self.stall.paused(begun.elapsed());
        kept
    }

    /// Where the transfer stands: bytes of the blob that are in the store.
    pub fn position(&self) -> u64 {
        self.sink.position()
    }

    /// Ends the call. A failure of the store on the way goes before `end`.
    pub fn finish(self, end: Result<(), Interrupted>) -> Done {
        // The partial first: once the session has its answer it may commit it at once.
        let end = self.sink.end().and(end);
        let end = if self.stalled {
            end.and_then(|()| Err(too_slow()))
        } else {
            end
        };
        self.call.finish(end)
    }
}

/// Why a body that came too slowly was ended.
pub(crate) fn too_slow() -> Interrupted {
    let MinRate { window, bytes } = MinRate::DEFAULT;
    let why = format!("less than {bytes} bytes came in {} s", window.as_secs());
    Interrupted::Transport(TransportError::new(TransportErrorKind::Idle, why))
}

/// Where chunks go after the call has seen them.
#[derive(Debug)]
enum BodyTarget {
    /// The call keeps them.
    Call,
    /// Read only so that the connection can be used again, while there is something `left`.
    Nowhere {
        left: u64,
    },
    Partial {
        lease: Lease,
        /// Where the next chunk goes.
        next: u64,
        /// Whether other parts are there, or are being written: nothing is cut.
        is_part: bool,
        /// Whether one came. What is behind stays so long: a transfer that brings nothing takes nothing
        /// away.
        has_begun: bool,
    },
    Failed(StoreError),
}

impl BodyTarget {
    fn new(stores: &Stores, receive: Receive) -> Self {
        match receive {
            Receive::Collect => Self::Call,
            Receive::Discard { limit } => Self::Nowhere { left: limit },
            // It has no store: it is `RelaySource` that takes it.
            Receive::Relay { .. } => Self::Nowhere { left: 0 },
            Receive::Store {
                store,
                digest,
                offset,
                end,
            } => match open(stores, (store, &digest), offset, end) {
                Ok(lease) => Self::Partial {
                    lease,
                    next: offset,
                    is_part: end.is_some(),
                    has_begun: false,
                },
                Err(error) => Self::Failed(error),
            },
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Keep {
        match self {
            Self::Call => Keep::All,
            Self::Nowhere { left } => {
                *left = left.saturating_sub(chunk.len() as u64);
                if *left == 0 { Keep::Stop } else { Keep::All }
            }
            Self::Partial { .. } if chunk.is_empty() => Keep::All,
            Self::Partial {
                lease,
                next,
                is_part,
                has_begun,
            } => {
                let written = lease.with(|partial| {
                    if !*has_begun && !*is_part {
                        partial.truncate(*next)?;
                    }
                    partial.write_at(*next, chunk)?;
                    Ok(partial.preserve())
                });
                // Others go on writing meanwhile.
                match written.and_then(|preserve| preserve.map_or(Ok(()), |preserve| preserve())) {
                    Ok(()) => {
                        *has_begun = true;
                        *next += chunk.len() as u64;
                        Keep::All
                    }
                    Err(error) => {
                        *self = Self::Failed(error);
                        Keep::Stop
                    }
                }
            }
            Self::Failed(_) => Keep::Stop,
        }
    }

    fn wants_body(&self) -> bool {
        match self {
            Self::Call | Self::Partial { .. } => true,
            Self::Nowhere { left } => *left > 0,
            Self::Failed(_) => false,
        }
    }

    fn position(&self) -> u64 {
        match self {
            Self::Partial { next, .. } => *next,
            Self::Call | Self::Nowhere { .. } | Self::Failed(_) => 0,
        }
    }

    fn end(self) -> Result<(), Interrupted> {
        match self {
            Self::Call | Self::Nowhere { .. } | Self::Partial { .. } => Ok(()),
            Self::Failed(error) => Err(Interrupted::Store(error)),
        }
    }
}

/// Takes the partial. Unless a part is to be written, it must reach to where the first chunk goes.
fn open(
    stores: &Stores,
    (store, digest): (StoreId, &Digest),
    offset: u64,
    end: Option<u64>,
) -> Result<Lease, StoreError> {
    let lease = stores.lease(store, digest)?;
    let len = lease.len();
    if len < offset && end.is_none() {
        return Err(StoreError::new(
            StoreErrorKind::Io,
            format!("the partial of {digest} is shorter than expected: {len} of {offset} bytes"),
        ));
    }
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use windlass_core::{Algorithm, StoreOp};
    use windlass_store::{Layout, Store};

    use super::*;

    struct World {
        stores: Stores,
        id: StoreId,
        digest: Digest,
    }

    /// A store with an open partial that holds `prefix`.
    fn world(prefix: &[u8]) -> World {
        let store: Arc<dyn Store> = Arc::new(Layout::temporary().expect("spool"));
        let stores = Stores::default();
        let id = stores.add(&store);
        let digest = Digest::of(Algorithm::Sha256, b"hello");
        let (begin, world) = (digest.clone(), World { stores, id, digest });
        let begin = StoreOp::Begin {
            private: false,
            digest: begin,
            size: 5,
        };
        world.stores.step(world.id, &begin).expect("begin");
        let lease = world.stores.lease(world.id, &world.digest).expect("held");
        let appended = lease.with(|partial| partial.append(prefix));
        appended.expect("append");
        world
    }

    fn sink(world: &World, offset: u64) -> BodyTarget {
        BodyTarget::new(
            &world.stores,
            Receive::Store {
                store: world.id,
                digest: world.digest.clone(),
                offset,
                end: None,
            },
        )
    }

    fn held(world: &World) -> u64 {
        world
            .stores
            .lease(world.id, &world.digest)
            .expect("held")
            .len()
    }

    #[test]
    fn chunks_go_behind_what_is_there() {
        let world = world(b"hel");
        let mut sink = sink(&world, 3);
        assert_eq!(sink.position(), 3);
        assert_eq!(sink.take(b"lo"), Keep::All);
        assert_eq!(sink.position(), 5);
        sink.end().expect("good");
        assert_eq!(held(&world), 5);
    }

    #[test]
    fn the_partial_is_cut_to_where_the_first_chunk_goes_when_it_came() {
        for offset in [0, 2] {
            let world = world(b"hel");
            let mut sink = sink(&world, offset);
            assert_eq!(sink.position(), offset);
            assert_eq!(sink.take(b""), Keep::All);
            sink.end().expect("good");
            assert_eq!(held(&world), 3, "nothing came, nothing goes");
        }
        for offset in [0, 2] {
            let world = world(b"hel");
            let mut sink = sink(&world, offset);
            assert_eq!(sink.take(b"x"), Keep::All);
            assert_eq!(sink.position(), offset + 1);
            sink.end().expect("good");
            assert_eq!(held(&world), offset + 1);
        }
    }

    #[test]
    fn a_partial_that_is_too_short_is_a_failure_of_the_store() {
        let world = world(b"hel");
        let mut sink = sink(&world, 4);
        assert!(!sink.wants_body());
        assert_eq!(sink.take(b"o"), Keep::Stop);
        let end = sink.end();
        assert!(matches!(end, Err(Interrupted::Store(_))), "{end:?}");
        assert_eq!(held(&world), 3);
    }

    #[test]
    fn the_partial_stays_when_the_worker_dies() {
        let world = world(b"hel");
        let mut sink = sink(&world, 3);
        assert_eq!(sink.take(b"l"), Keep::All);
        drop(sink);
        assert_eq!(held(&world), 4);
    }

    #[test]
    fn a_body_of_no_interest_is_read_up_to_its_limit() {
        let stores = Stores::default();
        let mut sink = BodyTarget::new(&stores, Receive::Discard { limit: 10 });
        assert_eq!(sink.take(b"123456789"), Keep::All);
        assert_eq!(sink.take(b"0"), Keep::Stop);
        assert!(!BodyTarget::new(&stores, Receive::Discard { limit: 0 }).wants_body());
        assert!(BodyTarget::new(&stores, Receive::Collect).wants_body());
    }
}
