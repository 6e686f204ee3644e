//! The parts of an upload: which one is next, what the registry has of the blob, and where to go on after a
//! part was refused or broke off.
//!
//! Responsible for positions within one upload session. Must not know how a session begins (`super`).
//!
//! A success status acknowledges a part, whatever `Range` it has: some registries report a stale or a
//! relative one (clients.md C.2, C.13). A `Range` that differs is cross-checked once by a status request.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{BlobPut, Head, RESTARTS, UploadSource, UploadStep};
use crate::call::Before;
use crate::capabilities::smaller_chunk;
use crate::digest::Digest;
use crate::error::{Error, Measure};
use crate::hashing::{Hashing, Marks};
use crate::op::{Answer, OpOutcome, Operation, Verdict};
use crate::uploads::SavedUpload;
use crate::uri::Url;

/// From this many bytes on, those that a registry may have of a broken upload are worth a round trip.
const RESUME_FROM: u64 = 64 * 1024;

/// Status requests without progress before a session is given up.
pub(super) const CHECKS: u8 = 3;

/// How many broken requests in a row keep their hashes. Beyond that, some sent bytes cannot be compared.
const READS: usize = 8;

/// What is known of a session beside the position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Bytes that were acknowledged by a success status.
    acknowledged: u64,
    /// The end of the bytes that were sent, whatever came of them.
    reached: u64,
    /// One hash per request since the last acknowledged part, each longer than the next: where a request read the same
    /// bytes again, they were compared.
    reads: Vec<Hashing>,
    /// The hashes on the way of what requests read since then: reading goes on at one of them.
    marks: Marks,
    /// Status requests since the last acknowledged part.
    checks: u8,
    /// A `Range` was cross-checked: from here on our own count is right.
    is_doubted: bool,
    /// The status request is for that: every byte was acknowledged.
    cross_checks: bool,
    /// Some sent bytes have no hash to compare re-read bytes with: a request told none, or more than [`READS`] broke off.
    is_unverified: bool,
    /// Another process has opened it, and this number of bytes was acknowledged; `None` once the registry was asked.
    inherited: Option<u64>,
    /// Another process owns the session: it is neither used nor deleted.
    is_of_another: bool,
    /// A status request said where it goes on.
    is_resumed: bool,
    /// The bytes came in several requests.
    in_parts: bool,
    /// Bytes that each part except the last must have (PUSHB-11).
    pub(super) least: u64,
}

impl Session {
    /// Whether it is another process's.
    pub(super) const fn is_of_another(&self) -> bool {
        self.is_of_another
    }
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
        self.step = self.next_part(session.url);
    }

    /// Goes on with a session that another process has left. How far it is, the registry is asked: what was
    /// written down may be old, and some of what was sent after it may have arrived. If the registry says less and
    /// then refuses to go on there, it goes on where the other process was.
    pub(crate) fn go_on_with(&mut self, upload: &SavedUpload) {
        let session = upload.url.clone();
        self.chunk = self.chunk.min(upload.chunk);
        self.session = Session {
            reached: self.size,
            inherited: Some(upload.acknowledged()),
            least: upload.least,
            ..Session::default()
        };
        self.step = match self.head {
            Head::Due => UploadStep::Check {
                session: Some(session),
            },
            Head::Done | Head::Never => UploadStep::Status { session },
        };
    }

    /// Another process goes on with the session, so this upload begins one of its own. Returns false if this upload
    /// has already resumed the session, or was not about to.
    pub(crate) fn leave_to_another(&mut self) -> bool {
        if self.session.inherited.is_none() {
            return false;
        }
        match &mut self.step {
            UploadStep::Check { session } if session.is_some() => {
                *session = None;
                self.session = Session::default();
                true
            }
            // It may be asked already. That does no harm, and the answer is not used.
            UploadStep::Status { .. } => {
                self.session.is_of_another = true;
                true
            }
            UploadStep::Check { .. }
            | UploadStep::Start { .. }
            | UploadStep::Put { .. }
            | UploadStep::Patch { .. }
            | UploadStep::Close { .. }
            | UploadStep::Confirm => false,
        }
    }

    /// How many bytes the registry has acknowledged.
    pub(crate) const fn acknowledged(&self) -> u64 {
        self.session.acknowledged
    }

    /// The least size of chunks that the registry asked for.
    pub(crate) const fn least_chunk(&self) -> u64 {
        self.session.least
    }

    /// Notes the hashes on the way of what a request read. Comes before [`has_sent`](Self::has_sent).
    pub(crate) fn has_passed(&mut self, marks: &Marks) {
        let began = self.before().hashing.len();
        self.session.marks.go_on(began, marks);
    }

    /// Notes bytes that a request sent, successful or not, and the hash over all that it read.
    pub(crate) fn has_sent(&mut self, bytes: u64, hashed: Option<&Hashing>) {
        self.sent = self.sent.saturating_add(bytes);
        if bytes > 0 {
            self.has_read(hashed);
        } else if let Some(read) = hashed
            && (self.hashing.len()..=self.position).contains(&read.len())
        {
            // All that it read is before the first byte that was to be sent.
            self.hashing = read.clone();
        }
        let reached = self.position.saturating_add(bytes).min(self.size);
        self.session.reached = self.session.reached.max(reached);
    }

    /// Notes what a request read. The registry may have some bytes as they were read now and others as they were
    /// read before, so what it has not read again is compared later.
    fn has_read(&mut self, hashed: Option<&Hashing>) {
        let Some(read) = hashed else {
            self.session.is_unverified |= !self.before().earlier.is_empty();
            self.session.reads.clear();
            return;
        };
        let reads = &mut self.session.reads;
        reads.retain(|earlier| earlier.len() > read.len());
        reads.push(read.clone());
        self.session.is_unverified |= reads.len() > READS;
    }

    /// Where the part that is sent next ends: all of the blob is sent in a PUT.
    pub(super) fn part_end(&self) -> u64 {
        match self.step {
            UploadStep::Patch { .. } => {
                let end = self.position.saturating_add(self.part_size());
                end.min(self.size)
            }
            UploadStep::Check { .. }
            | UploadStep::Start { .. }
            | UploadStep::Put { .. }
            | UploadStep::Status { .. }
            | UploadStep::Close { .. }
            | UploadStep::Confirm => self.size,
        }
    }

    pub(super) fn part_size(&self) -> u64 {
        self.chunk.max(self.session.least).max(1)
    }

    pub(super) fn next_part(&self, session: Url) -> UploadStep {
        let begins_later = self.position > 0;
        let is_large = self.size > self.part_size();
        if self.is_growing() {
            UploadStep::Patch { session }
        } else if begins_later && self.position >= self.size {
            UploadStep::Close { session }
        } else if self.size > 0 && (self.patches || begins_later || is_large) {
            UploadStep::Patch { session }
        } else {
            UploadStep::Put { session }
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
        self.session.reads.clear();
        self.session.marks = Marks::default();
        self.position = end;
        let agrees = stored(answer).is_none_or(|stored| stored == end || stored == end + 1);
        if agrees || self.session.is_doubted {
            return self.send_rest(session);
        }
        self.session.is_doubted = true;
        self.session.cross_checks = true;
        self.ask(session)
    }

    /// What to tell if a status request does not help, or its response did not come: the upload begins again.
    pub(crate) fn lost_progress(&self, answer: Option<&Answer>) -> Option<String> {
        let is_asked = matches!(self.step, UploadStep::Status { .. });
        let begins_again = match answer {
            Some(answer) if answer.status.is_success() => self.goes_on_at(answer).is_none(),
            Some(_) | None => !self.session.cross_checks && self.can_begin_again(),
        };
        (is_asked && begins_again && !self.session.is_of_another()).then(|| {
            let (registry, subject) = (&self.site.registry, self.subject());
            let refused = answer.map(|answer| answer.status);
            let how = match refused.filter(|status| !status.is_success()) {
                Some(status) => format!("answers {} when it is asked", status.as_u16()),
                None => "does not say".to_string(),
            };
            format!("`{registry}` {how} how much of {subject} it has, so all of it is sent again")
        })
    }

    fn ask(mut self, session: Url) -> Verdict {
        self.step = UploadStep::Status { session };
        Verdict::Next(Operation::BlobPut(self))
    }

    /// The response to a status request (PUSHB-34, PUSHB-36).
    pub(super) fn answer_status(mut self, session: &Url, answer: &Answer) -> Verdict {
        if self.session.is_of_another() {
            return self.begin();
        }
        if !answer.status.is_success() {
            // No status requests here, or no session any more: PUSHB-38.
            if self.ends_session(answer) && !self.session.cross_checks {
                let was_sent = self.session.inherited.is_none() && self.reached_end();
                if was_sent && self.head == Head::Done {
                    // The registry may have stored the blob since it was asked for it.
                    self.head = Head::for_size(self.size);
                }
                self.forget_session();
                return self.begin_again();
            }
            return self.without_status(session.clone());
        }
        self.session.cross_checks = false;
        let session = newest(session, answer);
        self.step = UploadStep::Status {
            session: session.clone(),
        };
        let acknowledged = self.session.acknowledged;
        let Some(position) = self.goes_on_at(answer) else {
            return self.begin_again();
        };
        self.position = position;
        if self.lacks_dropped() {
            // Some registries report the Range of an earlier part (clients.md C.2.4): our own count is right.
            self.position = acknowledged;
        }
        if let Some(acknowledged) = self.session.inherited.take() {
            // From here on it is as if it had been sent by us: it is read again and hashed, and the registry
            // compares the digest.
            let acknowledged = acknowledged.max(self.position);
            (self.session.acknowledged, self.session.reached) = (acknowledged, acknowledged);
        }
        self.session.in_parts |= self.position > 0;
        if self.is_verified() {
            self.session.is_resumed = true;
            self.send_rest(session)
        } else {
            self.begin_again()
        }
    }

    /// How much the registry has by the answer to a status request, if it says so or has acknowledged some of it.
    fn goes_on_at(&self, answer: &Answer) -> Option<u64> {
        let (acknowledged, reached) = (self.session.acknowledged, self.session.reached);
        // PUSHB-32: nothing and one byte look the same, and a PUT is appended to whatever there is.
        match stored(answer).filter(|stored| *stored != 1 || acknowledged == 1) {
            Some(stored) if stored <= reached => Some(stored),
            Some(stored) if stored == reached + 1 => Some(reached),
            Some(_) | None => Some(acknowledged).filter(|it| *it > 0),
        }
    }

    /// Begins again after a status request that did not help. If that was about a part that was refused, another
    /// session may end in the same way (PUSHB-42); after a connection that broke, the attempts are an end.
    fn begin_again(mut self) -> Verdict {
        let is_refused = self.session.checks > 0;
        self.restarts = self.restarts.saturating_add(u8::from(is_refused));
        self.begin()
    }

    /// Goes on although the registry does not say what it has: behind what was acknowledged if nothing else was
    /// sent, or if that cannot be read again; otherwise from the first byte.
    pub(super) fn without_status(mut self, session: Url) -> Verdict {
        if !self.session.cross_checks && self.can_begin_again() {
            return self.begin_again();
        }
        self.session.cross_checks = false;
        self.position = self.acknowledged();
        self.send_rest(session)
    }

    /// Whether the bytes before the position are known to be those that were read: an earlier request's hash
    /// is over them and perhaps over some more.
    fn is_verified(&self) -> bool {
        let read = self.session.reads.first().map_or(0, Hashing::len);
        let known = self.hashing.len().max(read).max(self.session.acknowledged);
        self.position <= known || !self.may_change()
    }

    /// The hashes with which the next part begins. What earlier requests read is read again, and compared with the
    /// hash of each of them.
    pub(super) fn before(&self) -> Before {
        let is_ahead = self.hashing.len() > self.position;
        let mut earlier = self.session.reads.clone();
        earlier.extend(is_ahead.then(|| self.hashing.clone()));
        earlier.sort_by_key(Hashing::len);
        let exact = earlier.first().filter(|it| it.len() == self.position);
        let begun = if is_ahead {
            self.rewound()
        } else {
            self.hashing.clone()
        };
        let passed = self.session.marks.upto(self.position);
        let passed = passed.filter(|it| it.len() > begun.len()).cloned();
        let hashing = exact.cloned().or(passed).unwrap_or(begun);
        earlier.retain(|earlier| earlier.len() > hashing.len());
        Before { hashing, earlier }
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
        is_worth_it && !(self.session.is_unverified && self.may_change())
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
        let session = self.open_session().cloned();
        self.given_up = session.or_else(|| self.given_up.take());
        (self.position, self.hashing) = (0, self.hashing.restarted());
        if self.has_begun()
            && self.source == Some(UploadSource::Relay)
            && let Some(left) = &mut self.rewinds
        {
            *left = left.saturating_sub(1);
        }
        self.session = Session::default();
    }

    /// Continues after a refusal that is about the size or the order of parts; `None` if it is about
    /// something else.
    pub(super) fn resized_or_reordered(&mut self, answer: &Answer) -> Option<Verdict> {
        let session = match &self.step {
            UploadStep::Put { session }
            | UploadStep::Patch { session }
            | UploadStep::Close { session } => newest(session, answer),
            UploadStep::Check { .. }
            | UploadStep::Start { .. }
            | UploadStep::Status { .. }
            | UploadStep::Confirm => {
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
        if self.position != acknowledged && acknowledged > 0 {
            // Its `Range` contradicts what it has acknowledged: some count one byte too many.
            self.position = acknowledged;
            return Some(self.clone().send_rest(session));
        }
        if self.session.checks >= CHECKS || self.restarts >= RESTARTS {
            return None;
        }
        self.session.checks += 1;
        Some(self.clone().ask(session))
    }

    /// The size of chunks to try instead, if a part was refused because of its size: by a proxy with
    /// 413, or with 416 though it was the first one (clients.md C.5).
    pub(super) fn too_large(&self, answer: &Answer) -> Option<u64> {
        let is_first = matches!(self.step, UploadStep::Patch { .. }) && self.position == 0;
        let refused = match answer.status.as_u16() {
            413 => self.part_end() - self.position,
            416 if is_first => self.part_end(),
            _ => return None,
        };
        let least = self.session.least;
        let smaller = smaller_chunk(self.chunks, refused, least);
        // Where parts were refused, smaller ones would be, too.
        smaller.filter(|_| answer.denied.is_none() && !self.in_one_request)
    }

    /// Whether the registry refuses to take a blob in parts, or in parts of this size, that can be sent in one
    /// request.
    pub(super) fn refuses_parts(&self, answer: &Answer) -> bool {
        let is_part = self.is_patching() && self.size > self.part_size();
        if !is_part || self.is_growing() || !self.can_begin_again() || answer.denied.is_some() {
            return false;
        }
        let errors = answer.errors();
        match answer.status.as_u16() {
            405 | 411 | 501 => true,
            400 | 404 | 415 | 422 => errors.has("UNSUPPORTED") || errors.has("SIZE_INVALID"),
            _ => false,
        }
    }

    /// All bytes were accepted. Of a blob that was sent in parts, some registries keep only the last one
    /// and report success (clients.md C.8).
    pub(super) fn stored(mut self) -> Verdict {
        // Where parts went wrong before, and no manifest shows whether the blob is there, it is looked at again.
        let went_wrong = (self.in_one_request || self.head == Head::Never) && self.sent > self.size;
        if self.session.in_parts || (went_wrong && !self.is_named) {
            self.step = UploadStep::Confirm;
            return Verdict::Next(Operation::BlobPut(self));
        }
        Verdict::Done(OpOutcome::Sent { bytes: self.sent })
    }

    /// What to tell if the registry does not answer what it has of a blob that was sent in parts, and nothing that
    /// follows would show that it has lost some.
    pub(crate) fn unconfirmed(&self) -> Option<String> {
        let is_asked = matches!(self.step, UploadStep::Confirm);
        (is_asked && !self.is_named).then(|| {
            let (registry, repository) = (&self.site.registry, &self.site.repository);
            let subject = self.subject();
            format!(
                "`{registry}/{repository}` has taken all parts of {subject}, but does not say that it has the blob"
            )
        })
    }

    /// If the registry has something else, the blob is sent once more, in one request, if it still can be.
    pub(super) fn answer_confirm(mut self, answer: &Answer) -> Verdict {
        let size = answer.content_length();
        // A HEAD that is refused says nothing, nor does 404: some say it to every HEAD, or as long as a blob is new.
        if answer.status.is_success() && !answer.has_blob(&self.digest, self.size) {
            if self.head != Head::Never && self.can_begin_again() {
                (self.chunk, self.head) = (u64::MAX, Head::Never);
                return self.begin();
            }
            let digest: Option<Digest> = answer.content_digest();
            let found = digest
                .as_ref()
                .map_or_else(String::new, |digest| format!("{digest}, "));
            let found = format!(
                "{found}{} bytes at the registry after an upload {}",
                size.map_or_else(|| "an unknown number of".into(), |size| size.to_string()),
                if self.session.in_parts {
                    "in parts"
                } else {
                    "in one request"
                }
            );
            let expected = format!("{}, {} bytes", self.digest, self.size);
            return Verdict::Failed(Error::mismatch(
                self.what(),
                Measure::told(Some(self.digest.clone()), Some(self.size), expected),
                Measure::told(digest, size, found),
            ));
        }
        Verdict::Done(OpOutcome::Sent { bytes: self.sent })
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
