//! Which faults fit which request.
//!
//! Responsible for that table. Must not know what a fault does.

use windlass_testbed::Request;

use super::echoed;
use super::exchange::RequestKind;
use super::fault::Fault;
use super::listed::is_list;
use super::world::World;

impl World<'_> {
    /// The faults that fit, drawn from. Nobody may want the answer any more.
    pub(crate) fn draw(
        &mut self,
        request: &Request,
        sort: RequestKind,
        owner: usize,
        unwanted: bool,
    ) -> Option<Fault> {
        use Fault::*;
        let mut kinds = vec![
            Refused,
            ResetUnseen,
            Unanswered,
            Unauthorized,
            TooManySeconds,
            TooManyDate,
            TooManyAbsurd,
            ServerError,
            RedirectLoop,
            RedirectForeign,
            RedirectUnsafe,
            Echo,
            Arbitrary,
            Noisy,
            Bloated,
            LostExchange,
        ];
        if sort != RequestKind::Token && sort != RequestKind::Ping {
            kinds.push(NewRealm);
        }
        if sort == RequestKind::Ping {
            // What a registry says there of itself is believed for as long as a session lives.
            kinds.retain(|it| !matches!(it, Unauthorized | Arbitrary | Noisy | Bloated | Echo));
        }
        if sort == RequestKind::GetManifest {
            kinds.extend([Endless, Endless]);
        }
        if request.headers.contains_key(http::header::AUTHORIZATION) && sort != RequestKind::Token {
            kinds.push(Revoked);
        }
        if self.may_rotate(owner, request) {
            kinds.push(Rotated);
        }
        if !echoed::presented(request).is_empty() {
            kinds.push(EchoHeader);
        }
        let reads = [Cut, Stalled, Short, Garbled, Extra, LyingLength];
        // What can happen to few requests happens to those more often.
        let special: &[Fault] = match sort {
            RequestKind::Head if asks_for_blob(request) => &[Vouches],
            RequestKind::Head | RequestKind::Ping => &[],
            RequestKind::GetManifest => &reads,
            RequestKind::Token => &[DeadToken, DeadToken, DeadToken, Cut, Short, Garbled, Extra],
            RequestKind::GetBlob if request.headers.contains_key(http::header::RANGE) => &[
                LyingRange,
                LyingRange,
                RangeIgnored,
                RangeIgnored,
                Cut,
                Stalled,
                Garbled,
            ],
            RequestKind::GetBlob => &[
                Cut,
                Stalled,
                Short,
                Garbled,
                Extra,
                LyingLength,
                DiskFull,
                CrashInBody,
                DiskFull,
            ],
            // With a small blob.
            RequestKind::Start if !request.body.is_empty() => &[Broken, Forgets, Late],
            RequestKind::Start => &[OddLocation, Late],
            RequestKind::Mount => &[RefusedMount, OddLocation, Vouches],
            RequestKind::PutBlob => &[
                Broken,
                LostSession,
                Rewound,
                Rewound,
                Forgets,
                Forgets,
                Late,
            ],
            RequestKind::PutManifest => &[Broken, Late, Forgets],
        };
        (0..3).for_each(|_| kinds.extend(special));
        let storage = request.target.starts_with("/bucket/");
        if storage {
            kinds.push(Expired);
        }
        if !self.models[owner].options().check_references {
            kinds.retain(|fault| !fault.is_lie());
        }
        if self.crashes >= 4 {
            kinds.retain(|fault| *fault != CrashInBody);
        }
        if request.body.is_empty() {
            kinds.retain(|fault| *fault != Broken);
        }
        if request.method == http::Method::PATCH {
            // Its answer names the upload, not the blob: there is nothing yet to forget.
            kinds.retain(|fault| *fault != Forgets);
        }
        if self.plan.swarm.even {
            // All are tried, each once.
            kinds.sort_unstable();
            kinds.dedup();
            return self.occasion(&kinds);
        }
        let (times, rare): (usize, &[Fault]) = match sort {
            // What is said to who is gone holds for the others.
            _ if unwanted => (4, &[TooManySeconds]),
            RequestKind::GetBlob if storage => (2, &[Expired, Expired, Cut, DiskFull]),
            RequestKind::GetBlob if request.headers.contains_key(http::header::RANGE) => {
                (4, &[LyingRange, RangeIgnored])
            }
            RequestKind::GetBlob => (2, &[DiskFull, CrashInBody, Cut, Cut, Stalled]),
            RequestKind::GetManifest => (1, &[Endless]),
            RequestKind::Start => (2, &[OddLocation]),
            RequestKind::Mount => (2, &[RefusedMount, OddLocation, Vouches]),
            RequestKind::Head if asks_for_blob(request) => (3, &[Vouches]),
            RequestKind::PutManifest if is_list(request) => (4, &[Forgets]),
            RequestKind::PutBlob => (2, &[LostSession, Rewound, Forgets, Broken, Late]),
            _ => (0, &[]),
        };
        let rare: Vec<Fault> = rare
            .iter()
            .copied()
            .filter(|it| kinds.contains(it))
            .collect();
        (0..times)
            .find_map(|_| self.occasion(&rare))
            .or_else(|| self.occasion(&kinds))
    }
}

/// Whether it is the HEAD of a blob.
pub(crate) fn asks_for_blob(request: &Request) -> bool {
    request.method == http::Method::HEAD && request.target.contains("/blobs/")
}
