//! A hash that is under way, as a value that can be handed from one call to the next.
//!
//! Responsible for hashing and for counting what was hashed. A cut transfer returns its `Hashing`
//! and the next one goes on from it, so nothing is hashed twice within a process.

use core::fmt;

use sha2::{Digest as _, Sha256, Sha512};

use crate::digest::{Algorithm, Digest};

/// The state of a hash over the first [`len`](Self::len) bytes of some content.
#[derive(Clone)]
pub struct Hashing {
    state: State,
    len: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hashing {
    /// A hash over nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, len: 0 }
    }

    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
        self.len += bytes.len() as u64;
    }

    /// How many bytes were hashed.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was hashed yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest of everything hashed.
    pub fn digest(self) -> Digest {
        match self.state {
            State::Sha256(state) => Digest::from_hash(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::from_hash(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashing({} bytes)", self.len)
    }
}
