//! A running hash, as a value that passes from one call to the next.
//!
//! Responsible for hashing and counting. An interrupted transfer returns its `Hashing` and the next
//! one continues it, so nothing is hashed twice within a process. How far a transfer is says nothing
//! about how far its hash is: the hash follows the bytes that come in order. Must not know where they come from.

use core::fmt;

use sha2::{Digest as _, Sha256, Sha512};

use crate::digest::{Algorithm, Digest};

mod marks;

pub(crate) use self::marks::Marks;

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
    /// The result of another process's hash: all that a tape has of it.
    Told(Digest),
}

impl Hashing {
    /// An empty hash.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, len: 0 }
    }

    /// An empty hash for the content of this digest. If its algorithm is unknown, nothing matches.
    pub(crate) fn for_digest(digest: &Digest) -> Self {
        Self::new(digest.algorithm().unwrap_or(Algorithm::Sha256))
    }

    /// Hashes `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Told(_) => unreachable!("a session that is replayed gets no bytes"),
        }
        self.len += bytes.len() as u64;
    }

    /// Hashes those of `bytes` that are next. The first of them is at `position` of the content.
    /// Bytes that were hashed before are skipped, and nothing is hashed if there is a gap.
    pub fn follow(&mut self, position: u64, bytes: &[u8]) {
        let known = self.len.checked_sub(position);
        let known = known.and_then(|known| usize::try_from(known).ok());
        if let Some(next @ [_, ..]) = known.and_then(|known| bytes.get(known..)) {
            self.update(next);
        }
    }

    /// An empty hash of the same algorithm.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self::new(self.algorithm())
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
            State::Told(digest) => digest,
        }
    }

    /// A hash of which only the result is known, for replays; it cannot continue. `None` if the
    /// algorithm is unknown.
    pub(crate) fn told(len: u64, digest: Digest) -> Option<Self> {
        digest.algorithm()?;
        let state = State::Told(digest);
        Some(Self { state, len })
    }

    /// The hash algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match &self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
            State::Told(digest) => digest.algorithm().expect("it was checked in `told`"),
        }
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashing({} bytes)", self.len)
    }
}

impl Digest {
    /// The digest of `content`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hashing = Hashing::new(algorithm);
        hashing.update(content);
        hashing.digest()
    }

    /// Whether `content` has this digest; `false` if the algorithm is unknown.
    pub fn verifies(&self, content: &[u8]) -> bool {
        self.algorithm()
            .is_some_and(|algorithm| Self::of(algorithm, content) == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA512_OF_EMPTY_OBJECT: &str = "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd";

    #[test]
    fn known_hashes() {
        let table: &[(Algorithm, &[u8], &str)] = &[
            (
                Algorithm::Sha256,
                b"",
                "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                Algorithm::Sha256,
                b"{}",
                "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            ),
            (Algorithm::Sha512, b"{}", SHA512_OF_EMPTY_OBJECT),
        ];
        for (algorithm, content, expected) in table {
            let digest: Digest = expected.parse().expect("SEC-16");
            assert_eq!(Digest::of(*algorithm, content), digest, "SEC-16");
            assert!(digest.verifies(content) && !digest.verifies(b"x"), "SEC-16");
        }
    }

    #[test]
    fn a_hash_goes_on_where_it_was_cut() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let content = [7; 300];
            for cut in 0..content.len() {
                let mut first = Hashing::new(algorithm);
                first.update(&content[..cut]);
                let mut second = first.clone();
                second.update(&content[cut..]);
                assert_eq!(second.len(), 300);
                assert_eq!(
                    second.digest(),
                    Digest::of(algorithm, &content),
                    "cut at {cut}"
                );
                assert_eq!(first.is_empty(), cut == 0);
            }
        }
    }

    #[test]
    fn a_hash_follows_the_bytes_that_are_next() {
        let content = b"0123456789";
        let follow = |hashed: usize, from: usize, to: usize| {
            let mut hashing = Hashing::new(Algorithm::Sha512);
            hashing.update(&content[..hashed]);
            hashing.follow(from as u64, &content[from..to]);
            let len = usize::try_from(hashing.len()).expect("it is small");
            let over = Digest::of(Algorithm::Sha512, &content[..len]);
            assert_eq!(hashing.digest(), over, "{hashed}: {from}..{to}");
            len
        };
        for (hashed, from, to, expected) in [
            (0, 0, 10, 10),
            (4, 4, 10, 10),
            (4, 4, 4, 4),
            // It is ahead: by some of the bytes, by all of them, and by more.
            (4, 0, 10, 10),
            (4, 0, 4, 4),
            (4, 0, 2, 4),
            // It is behind.
            (4, 5, 10, 4),
            (0, 1, 1, 0),
        ] {
            assert_eq!(follow(hashed, from, to), expected, "{hashed}: {from}..{to}");
        }
        let restarted = Hashing::new(Algorithm::Sha512).restarted();
        assert_eq!(restarted.algorithm(), Algorithm::Sha512);
    }
}
