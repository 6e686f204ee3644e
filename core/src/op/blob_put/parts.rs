//! The parts of an upload: which one is next, what the registry has of the blob, and where to go on after a
//! part was refused or broke off.
//!
//! Responsible for positions within one upload session. Must not know how a session begins (`super`).
//!
//! A success status acknowledges a part, whatever `Range` it has: some registries report a stale or a
//! relative one (clients.md C.2, C.13). A `Range` that differs is cross-checked once by a status request.

use alloc::format;
use alloc::string::{String, ToString as _};

use super::{BlobPut, Head, Stage};
use crate::call::Before;
use crate::capabilities::Chunks;
use crate::digest::Digest;
use crate::error::Error;
use crate::hashing::Hashing;
use crate::op::{Answer, Operation, Outcome, Verdict};
use crate::uploads::SavedUpload;
use crate::uri::Url;

/// From this many bytes on, those that a registry may have of a broken upload are worth a round trip.
const RESUME_FROM: u64 = 64 * 1024;

/// Status requests without progress before a session is given up.
const CHECKS: u8 = 3;

/// What is known of a session beside the position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Bytes that were acknowledged by a success status.
    acknowledged: u64,
    /// The end of the bytes that were sent, whatever came of them.
    reached: u64,
    /// The hash over what the last request read, if its position is uncertain.
    read: Option<Hashing>,
    /// Status requests since the last acknowledged part.
    checks: u8,
    /// A `Range` was cross-checked: from here on our own count is right.
    is_doubted: bool,
    /// Bytes were sent that none of the hashes is over: an attempt to send a part again broke off before it
    /// had read what the one before had.
    is_unverified: bool,
    /// Another process has opened it and sent what it has.
    is_inherited: bool,
    /// A status request said where it goes on.
    is_resumed: bool,
    /// The bytes came in several requests.
    in_parts: bool,
    /// Bytes that each part except the last must have (PUSHB-11).
    pub(super) least: u64,
}

/// An upload session to which nothing was sent yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenUpload {
    pub(crate) url: Url,
    pub(super) least: u64,
}

impl BlobPut {
    /// Sends the blob to a session that was opened for it.
    pub(crate) fn send_to(&mut self, session: OpenUpload) {
        self.session.least = session.least;
        self.stage = self.next_part(session.url);
    }

    /// Goes on with a session that another process has left. How far it is, the registry is asked: what was
    /// written down may be old, and some of what was sent after it may have arrived.
    pub(crate) fn go_on_with(&mut self, upload: &SavedUpload) {
        let session = upload.url().clone();
        self.chunk = self.chunk.min(upload.chunk());
        self.session = Session {
            reached: self.size,
            is_inherited: true,
            least: upload.least(),
            ..Session::default()
        };
        self.stage = match self.head {
            Head::Due => Stage::Check {
                session: Some(session),
            },
            Head::Done | Head::Never => Stage::Status { session },
        };
    }

    /// How many bytes the registry has acknowledged.
    pub(crate) const fn acknowledged(&self) -> u64 {
        self.session.acknowledged
    }

    /// The least size of chunks that the registry asked for.
    pub(crate) const fn least_chunk(&self) -> u64 {
        self.session.least
    }

    /// Notes bytes that a request sent, successful or not, and the hash over all that it read.
    pub(crate) fn has_sent(&mut self, bytes: u64, hashed: Option<&Hashing>) {
        self.sent = self.sent.saturating_add(bytes);
        if bytes > 0 {
            // The registry may have some bytes as they were read now and others as they were read before.
            let read = hashed.map_or(0, Hashing::len);
            let earlier = self.before().earlier;
            self.session.is_unverified |= earlier.is_some_and(|earlier| read < earlier.len());
            self.session.read = hashed.cloned();
        }
        let reached = self.position.saturating_add(bytes).min(self.size);
        self.session.reached = self.session.reached.max(reached);
    }

    /// Where the part that is sent next ends: all of the blob is sent in a PUT.
    pub(super) fn part_end(&self) -> u64 {
        match self.stage {
            Stage::Patch { .. } => {
                let end = self.position.saturating_add(self.part_size());
                end.min(self.size)
            }
            Stage::Check { .. }
            | Stage::Start { .. }
            | Stage::Put { .. }
            | Stage::Status { .. }
            | Stage::Close { .. }
            | Stage::Confirm => self.size,
        }
    }

    fn part_size(&self) -> u64 {
        self.chunk.max(self.session.least).max(1)
    }

    /// Sends what the session lacks.
    pub(super) fn send_rest(mut self, session: Url) -> Verdict {
        self.stage = self.next_part(session);
        Verdict::Next(Operation::BlobPut(self))
    }

    pub(super) fn next_part(&self, session: Url) -> Stage {
        let begins_later = self.position > 0;
        let is_large = self.size > self.part_size();
        if begins_later && self.position >= self.size {
            Stage::Close { session }
        } else if self.size > 0 && (self.patches || begins_later || is_large) {
            Stage::Patch { session }
        } else {
            Stage::Put { session }
        }
    }

    /// A part was accepted (PUSHB-33, V-E.2).
    pub(super) fn answer_part(mut self, session: &Url, answer: &Answer) -> Verdict {
        let session = newest(session, answer);
        let end = self.part_end();
        self.session.in_parts |= self.position > 0;
        self.session.checks = 0;
        self.session.acknowledged = end;
        self.session.reached = self.session.reached.max(end);
        if let Some(hashing) = &answer.hashed {
            self.hashing = hashing.clone();
        }
        self.session.read = None;
        self.position = end;
        let agrees = stored(answer).is_none_or(|stored| stored == end || stored == end + 1);
        if agrees || self.session.is_doubted {
            return self.send_rest(session);
        }
        self.session.is_doubted = true;
        self.ask(session)
    }

    fn ask(mut self, session: Url) -> Verdict {
        self.stage = Stage::Status { session };
        Verdict::Next(Operation::BlobPut(self))
    }

    /// The response to a status request (PUSHB-34, PUSHB-36).
    pub(super) fn answer_status(mut self, session: &Url, answer: &Answer) -> Verdict {
        if !answer.status.is_success() {
            // No status requests here, or no session any more: PUSHB-38.
            if self.ends_session(answer) {
                self.forget_session();
            }
            return self.begin();
        }
        let session = newest(session, answer);
        self.stage = Stage::Status {
            session: session.clone(),
        };
        let (acknowledged, reached) = (self.session.acknowledged, self.session.reached);
        // PUSHB-32: nothing and one byte look the same, and a PUT is appended to whatever there is.
        let stored = stored(answer).filter(|stored| *stored != 1 || acknowledged == 1);
        self.position = match stored {
            Some(stored) if stored <= reached => stored,
            Some(stored) if stored == reached + 1 => reached,
            Some(_) | None if acknowledged > 0 => acknowledged,
            Some(_) | None => return self.begin(),
        };
        if self.session.is_inherited && self.session.acknowledged == 0 {
            // From here on it is as if it had been sent by us: it is read again and hashed, and the registry
            // compares the digest.
            self.session.acknowledged = self.position;
            self.session.reached = self.position;
        }
        if self.is_verified() {
            self.session.is_resumed = true;
            self.send_rest(session)
        } else {
            self.begin()
        }
    }

    /// Whether the bytes before the position are known to be those that were read: an earlier request's hash
    /// is over them and perhaps over some more.
    fn is_verified(&self) -> bool {
        let read = self.session.read.as_ref().map_or(0, Hashing::len);
        let known = self.hashing.len().max(read).max(self.session.acknowledged);
        self.position <= known
    }

    /// The hashes with which the next part begins. Bytes that were sent before, and that a hash is over that is
    /// ahead of the position, have to be read again and compared with that hash.
    pub(super) fn before(&self) -> Before {
        let ahead = |hashing: &&Hashing| hashing.len() > self.position;
        let exact = |hashing: &&Hashing| hashing.len() == self.position;
        let read = self.session.read.as_ref();
        if let Some(read) = read.filter(exact) {
            return read.clone().into();
        }
        let earlier = read
            .filter(ahead)
            .or_else(|| Some(&self.hashing).filter(ahead));
        let hashing = if self.hashing.len() > self.position {
            self.hashing.restarted()
        } else {
            self.hashing.clone()
        };
        Before {
            hashing,
            earlier: earlier.cloned(),
        }
    }

    /// Continues a session that may have some of the bytes.
    pub(super) fn resume(self, session: Url) -> Verdict {
        if self.may_resume() {
            self.ask(session)
        } else {
            self.begin()
        }
    }

    /// Whether what the session may have is worth a status request.
    pub(super) const fn may_resume(&self) -> bool {
        let is_worth_it = self.session.acknowledged > 0 || self.session.reached >= RESUME_FROM;
        is_worth_it && !self.session.is_unverified
    }

    /// Whether every byte was sent in this session, so that the blob may be there.
    pub(super) const fn reached_end(&self) -> bool {
        self.session.reached >= self.size
    }

    /// Whether the session goes on after a part that broke off, or was taken in part.
    pub(super) const fn is_resumed(&self) -> bool {
        self.session.is_resumed
    }

    /// Whether any byte was sent in this session.
    pub(crate) const fn has_begun(&self) -> bool {
        self.session.reached > 0
    }

    /// Goes back to the blob's first byte: a new session has none.
    pub(super) fn restart(&mut self) {
        let session = self.stage.session().cloned();
        self.given_up = session.or_else(|| self.given_up.take());
        (self.position, self.hashing) = (0, self.hashing.restarted());
        self.session = Session::default();
    }

    /// Continues after a refusal that is about the size or the order of parts; `None` if it is about
    /// something else.
    pub(super) fn resized_or_reordered(&mut self, answer: &Answer) -> Option<Verdict> {
        let session = match &self.stage {
            Stage::Put { session } | Stage::Patch { session } | Stage::Close { session } => {
                newest(session, answer)
            }
            Stage::Check { .. } | Stage::Start { .. } | Stage::Status { .. } | Stage::Confirm => {
                return None;
            }
        };
        if let Some(chunk) = self.too_large(answer) {
            self.chunk = chunk;
            // A chunk of another size in an upload, or a session that refused one, are not relied on.
            return Some(if self.position == 0 && answer.status.as_u16() == 413 {
                self.clone().send_rest(session)
            } else {
                self.clone().begin()
            });
        }
        if answer.status.as_u16() != 416 || !self.has_begun() || !self.may_resume() {
            return None;
        }
        let acknowledged = self.session.acknowledged;
        if self.position < acknowledged {
            // It had said that it has less than it had acknowledged.
            self.position = acknowledged;
            return Some(self.clone().send_rest(session));
        }
        if self.session.checks >= CHECKS {
            return None;
        }
        self.session.checks += 1;
        Some(self.clone().ask(session))
    }

    /// The size of chunks to try instead, if a part was refused because of its size: by a proxy with
    /// 413, or with 416 though it was the first one (clients.md C.5).
    pub(super) fn too_large(&self, answer: &Answer) -> Option<u64> {
        let is_first = matches!(self.stage, Stage::Patch { .. }) && self.position == 0;
        let refused = match answer.status.as_u16() {
            413 => self.part_end() - self.position,
            416 if is_first => self.part_end(),
            _ => return None,
        };
        let least = self.session.least;
        let chunks = Chunks::of(&self.site.registry);
        chunks
            .below(refused, least)
            .filter(|_| answer.denied.is_none())
    }

    /// All bytes were accepted. Of a blob that was sent in parts, some registries keep only the last one
    /// and report success (clients.md C.8).
    pub(super) fn stored(mut self) -> Verdict {
        if self.session.in_parts {
            self.stage = Stage::Confirm;
            return Verdict::Next(Operation::BlobPut(self));
        }
        Verdict::Done(Outcome::Sent { bytes: self.sent })
    }

    pub(super) fn answer_confirm(self, answer: &Answer) -> Verdict {
        let said: Option<&str> = answer.header("content-length");
        let size = said.and_then(|size| size.parse::<u64>().ok());
        let is_other = answer.contradicts(&self.digest) || size.is_some_and(|it| it != self.size);
        // A HEAD that is refused says nothing.
        if answer.status.is_success() && is_other {
            let digest: Option<Digest> = answer.content_digest();
            let found = digest.map_or_else(String::new, |digest| format!("{digest}, "));
            return Verdict::Failed(Error::Mismatch {
                what: self.what(),
                expected: format!("{}, {} bytes", self.digest, self.size),
                found: format!(
                    "{found}{} bytes at the registry after an upload in parts",
                    size.map_or_else(|| "an unknown number of".into(), |size| size.to_string())
                ),
            });
        }
        Verdict::Done(Outcome::Sent { bytes: self.sent })
    }
}

/// PUSHB-10: the newest `Location`. If it is missing or no URL, the old one may still work.
fn newest(session: &Url, answer: &Answer) -> Url {
    answer.location().unwrap_or_else(|_| session.clone())
}

/// How many bytes the registry has by the `Range` of an upload answer (PUSHB-31): `0-1023`,
/// `bytes=0-1023` and `bytes 0-1023` are 1024. `None` if there is none, or it is not a range.
fn stored(answer: &Answer) -> Option<u64> {
    let range: &str = answer.header("range")?;
    let range = match range.get(..5) {
        Some(unit) if unit.eq_ignore_ascii_case("bytes") => {
            range[5..].trim_start_matches(['=', ' '])
        }
        Some(_) | None => range,
    };
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok())?
    };
    if last == "-1" {
        // An empty session, as some write it.
        return Some(0);
    }
    let (first, last) = (number(first)?, number(last)?);
    if first <= last {
        last.checked_add(1)
    } else {
        None
    }
}
