//! The faults there are, and how often they happen.
//!
//! Responsible for their names and for what each may explain. Must not know how one is done: that is
//! `exchange`, `mangle`, `echoed`, `greedy` and `arbitrary` for the network, `local` and `disk` for stores,
//! `trouble`, `resume` and `surprises` for processes, tags and clocks, `world` for the ends of jobs.

use std::fmt;

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Fault {
    /// No connection.
    Refused,
    /// The connection breaks before the server has seen the request.
    ResetUnseen,
    /// The server does what it is asked, and its answer is lost.
    Unanswered,
    /// The same, and what it is asked happens later, behind the client's back.
    Late,
    /// The request breaks off in its body.
    Broken,
    /// The answer breaks off in its body.
    Cut,
    /// The answer stands still in its body until the idle limit.
    Stalled,
    /// The answer ends early as if it were whole.
    Short,
    /// Bytes are flipped in a body.
    Garbled,
    /// There are more bytes than there should be.
    Extra,
    /// A `Content-Length` that is not the body's.
    LyingLength,
    /// A `Content-Range` that is not what comes.
    LyingRange,
    /// 200 to a `Range`.
    RangeIgnored,
    /// 401, whatever was presented.
    Unauthorized,
    /// Every token that was given out is dead.
    Revoked,
    /// All credentials were replaced by others.
    Rotated,
    /// A token that is dead when it arrives.
    DeadToken,
    /// 429 with some seconds to wait.
    TooManySeconds,
    /// 429 with a date to wait for.
    TooManyDate,
    /// 429 with an absurd time to wait.
    TooManyAbsurd,
    /// A 5xx.
    ServerError,
    /// A redirect to where the request just was.
    RedirectLoop,
    /// A redirect to somebody else.
    RedirectForeign,
    /// A redirect to http, or to a private address.
    RedirectUnsafe,
    /// The `Location` of an upload is odd.
    OddLocation,
    /// The registry has forgotten its upload sessions.
    LostSession,
    /// The upload session has lost what came last.
    Rewound,
    /// The storage does not take what the registry has signed: it has expired.
    Expired,
    /// A mount is refused, in one of the ways they are.
    RefusedMount,
    /// The registry says of a blob that it is there, or that it was mounted, and it is not.
    Vouches,
    /// The registry says it has stored what it has not.
    Forgets,
    /// An error that says again what the server was sent, secrets and all.
    Echo,
    /// A header of the answer repeats the token or the password that the request presented.
    EchoHeader,
    /// An answer of any kind.
    Arbitrary,
    /// Hundreds of useless headers; the answer stands.
    Noisy,
    /// A body far longer than anybody asked for.
    Bloated,
    /// A manifest with as many parts as may be, or one more, none of which exists.
    Endless,
    /// A challenge that names another realm and other scopes each time.
    NewRealm,
    /// The worker dies with an exchange.
    LostExchange,
    /// The driver cannot tell which credentials there are.
    NoCredentials,
    /// A step of the store fails.
    StepFails,
    /// The worker dies with a step of the store.
    LostStep,
    /// A step of the store is answered as if it had been another.
    StoreLies,
    /// No space is left while bytes arrive.
    DiskFull,
    /// What is to get a name cannot be made durable.
    SyncFails,
    /// Bytes read from a store are not those that were written.
    ReadFlips,
    /// A partial is not what was written to it.
    PartialDamaged,
    /// A partial has lost its end.
    PartialShorter,
    /// The process dies between two steps.
    Crash,
    /// The process dies while a body arrives.
    CrashInBody,
    /// The tags that are read from are moved to another image.
    TagMoves,
    /// Somebody cancels a task.
    Cancelled,
    /// The end of a job is reported a second time.
    Duplicate,
    /// A job that is to be aborted ends by itself.
    EndsAnyway,
    /// Much time passes at once: the machine slept.
    TimeLeaps,
    /// An instant is handed in that has passed.
    TimeSlips,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 56] = [
        Self::Refused,
        Self::ResetUnseen,
        Self::Unanswered,
        Self::Late,
        Self::Broken,
        Self::Cut,
        Self::Stalled,
        Self::Short,
        Self::Garbled,
        Self::Extra,
        Self::LyingLength,
        Self::LyingRange,
        Self::RangeIgnored,
        Self::Unauthorized,
        Self::Revoked,
        Self::Rotated,
        Self::DeadToken,
        Self::TooManySeconds,
        Self::TooManyDate,
        Self::TooManyAbsurd,
        Self::ServerError,
        Self::RedirectLoop,
        Self::RedirectForeign,
        Self::RedirectUnsafe,
        Self::OddLocation,
        Self::LostSession,
        Self::Rewound,
        Self::Expired,
        Self::RefusedMount,
        Self::Vouches,
        Self::Forgets,
        Self::Echo,
        Self::EchoHeader,
        Self::Arbitrary,
        Self::Noisy,
        Self::Bloated,
        Self::Endless,
        Self::NewRealm,
        Self::LostExchange,
        Self::NoCredentials,
        Self::StepFails,
        Self::LostStep,
        Self::StoreLies,
        Self::DiskFull,
        Self::SyncFails,
        Self::ReadFlips,
        Self::PartialDamaged,
        Self::PartialShorter,
        Self::Crash,
        Self::CrashInBody,
        Self::TagMoves,
        Self::Cancelled,
        Self::Duplicate,
        Self::EndsAnyway,
        Self::TimeLeaps,
        Self::TimeSlips,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub const fn place(self) -> usize {
        self as usize
    }

    /// Whether it says something untrue that a client cannot see through, such as that a blob is
    /// there: only registries that check what manifests name are safe from it.
    pub(crate) const fn is_lie(self) -> bool {
        matches!(self, Self::Vouches | Self::Forgets | Self::Arbitrary)
    }

    /// Whether a session can learn something wrong from it that it finds out only by failing once more.
    pub(crate) const fn misleads(self) -> bool {
        matches!(
            self,
            Self::Unauthorized
                | Self::EchoHeader
                | Self::Arbitrary
                | Self::NewRealm
                | Self::RedirectForeign
        )
    }

    /// Whether a client has to bear it as if it were nothing.
    pub(crate) const fn is_harmless(self) -> bool {
        matches!(self, Self::Noisy)
    }

    /// Whether a task survives it, as long as it happens once or twice.
    pub(crate) const fn passes(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::ResetUnseen
                | Self::Unanswered
                | Self::Broken
                | Self::Cut
                | Self::Revoked
                | Self::Rotated
                | Self::TooManySeconds
                | Self::RangeIgnored
                | Self::LostSession
                | Self::Rewound
                | Self::Expired
                | Self::RefusedMount
                | Self::Vouches
                | Self::Forgets
                | Self::LostExchange
                | Self::PartialDamaged
                | Self::PartialShorter
                | Self::Crash
                | Self::CrashInBody
                | Self::Duplicate
        )
    }

    /// Whether bytes that came with it are worth nothing, so that the blob may have to move again.
    pub(crate) const fn spoils(self) -> bool {
        matches!(
            self,
            Self::Garbled
                | Self::Extra
                | Self::Short
                | Self::LyingLength
                | Self::LyingRange
                | Self::RangeIgnored
                | Self::EchoHeader
                | Self::Arbitrary
                | Self::Bloated
                | Self::RedirectForeign
                | Self::DiskFull
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How often things go wrong in a world: swarm testing, so each world has its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Swarm {
    /// Faults per thousand occasions.
    pub(crate) rate: u64,
    /// The kinds that happen: bit n is for `Fault::ALL[n]`.
    pub(crate) kinds: u64,
    /// Crashes per thousand steps.
    pub(crate) crashes: u64,
    /// How many faults there may be at most.
    pub(crate) most: u64,
    /// Whether every fault is as likely as none: for trying them all.
    pub(crate) even: bool,
}

impl Swarm {
    pub(crate) const fn has(&self, fault: Fault) -> bool {
        self.kinds >> fault.place() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_places() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.place(), place);
        }
    }
}
