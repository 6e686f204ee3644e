//! Uploads a blob: a HEAD if it is large, an empty POST, perhaps with a mount, then its bytes
//! (PUSHB).
//!
//! ```text
//!  Check ─┬─ 2xx ▶ Present; an open session is not needed
//!         └─ anything else ▶ Start, or the open session
//!  Start ─┬─ 201 ▶ Mounted / Present
//!         ├─ 2xx ▶ Check if large and not checked yet, Opened(session) without bytes,
//!         │        else Put, or Patch where a PUT must have no body
//!         ├─ all bytes were posted: 201 ▶ Sent, 2xx ▶ Put, a refusal ▶ Start without bytes
//!         └─ no mount ▶ Start with the next one, or without, after Check if large
//!  Put ───┬─ 2xx ▶ Sent
//!         ├─ no bodies accepted, or none of this size ▶ Patch, unless parts were refused
//!         └─ session gone, at most 3 times ▶ Start, after Check if large
//!  Patch ─┬─ 2xx ▶ Patch with the next chunk; Close after the last one ─ 2xx ▶ Sent, or Confirm ▶ Sent
//!         │        SentSoFar where a stream has not ended
//!         ├─ too large ▶ Patch, or Start, with smaller chunks
//!         ├─ parts refused ▶ Start, in one request; so after a Close with a wrong digest
//!         └─ out of order ▶ Status ─┬─ 2xx ▶ Patch from there, or Close
//!                                   └─ anything else ▶ Start
//!  Put, Patch, Close without a response ▶ Check if all bytes were sent; Status if some were; else Start
//! ```
//!
//! An upload that another process has left begins with its session, at Check or Status. A session that is not
//! gone on with is in `given_up`.
//!
//! HEAD and mount save work, but neither is required: whatever they are refused with, the blob is
//! sent.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use http::{Method, header};

use super::{Answer, Draft, OpOutcome, Operation, Site, Verdict};
use crate::call::{Body, Expect, Payload, Source, TransferId};
use crate::capabilities::Capabilities;
use crate::config::ChunkSizes;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Measure};
use crate::hashing::Hashing;
use crate::scope::Scopes;
use crate::store::StoreId;
use crate::task::MountFrom;
use crate::uri::Url;

/// Uploads a blob to a repository, or mounts it there.
#[derive(Clone, Debug)]
pub(crate) struct BlobPut {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The next byte of the blob to send: how many the registry has in this session, as far as is known.
    pub(crate) position: u64,
    /// The hash over them, or over the first of them.
    pub(crate) hashing: Hashing,
    pub(crate) transfer: TransferId,
    pub(crate) step: UploadStep,
    /// Where else it may be mounted from, the next one last.
    pub(crate) mounts: Vec<MountFrom>,
    /// Where the bytes are. `None` while they have to be fetched first: then an opened session is handed back.
    pub(crate) source: Option<UploadSource>,
    pub(crate) head: Head,
    /// Whether the bytes go in PATCHes even if one request can hold them: the registry takes no PUT with a
    /// body.
    pub(crate) patches: bool,
    /// Whether the bytes of a small blob go in the POST: the registry is known to take them, or is tried.
    pub(crate) posts: bool,
    /// A larger blob is sent in chunks of this many bytes.
    pub(crate) chunk: u64,
    /// The sizes of chunks to try after a refusal.
    pub(crate) chunks: ChunkSizes,
    /// What is known of the open session.
    pub(crate) session: Session,
    /// How often the upload was restarted.
    pub(crate) restarts: u8,
    /// Parts were refused, or their digest was wrong: it is sent in one request, or not at all.
    pub(crate) in_one_request: bool,
    /// How often relayed bytes may still be sent again from the first one, because the registry did not keep
    /// those of a request that broke off; then the blob goes through a store. `None` where there is none.
    pub(crate) rewinds: Option<u8>,
    /// The bytes of the blob sent in all attempts.
    pub(crate) sent: u64,
    /// A session that it does not go on with, and that the registry may still have.
    pub(crate) given_up: Option<Url>,
    /// Set if the bytes come from a stream, of which `digest` and `size` are those of what was gathered so far.
    pub(crate) stream: Option<Stream>,
    /// Whether a manifest follows that names the blob: a registry without the blob refuses that.
    pub(crate) is_named: bool,
}

/// Where the bytes of an upload are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UploadSource {
    Store(StoreId),
    /// In a registry: another exchange fetches them while they are sent.
    Relay,
}

#[derive(Clone, Debug)]
pub(crate) enum UploadStep {
    /// HEAD the blob. A session may be open already.
    Check { session: Option<Url> },
    /// POST for a session, or for a mount.
    Start { mount: Option<MountFrom> },
    /// PUT the bytes to this session, which closes it.
    Put { session: Url },
    /// PATCH the next bytes to this session.
    Patch { session: Url },
    /// GET how many bytes this session has.
    Status { session: Url },
    /// PUT without a body to close this session, which has all bytes.
    Close { session: Url },
    /// HEAD the blob, which was sent in parts.
    Confirm,
}

impl UploadStep {
    /// The session that is open.
    const fn session(&self) -> Option<&Url> {
        match self {
            Self::Check { session } => session.as_ref(),
            Self::Put { session }
            | Self::Patch { session }
            | Self::Status { session }
            | Self::Close { session } => Some(session),
            Self::Start { .. } | Self::Confirm => None,
        }
    }
}

/// Whether a HEAD precedes the upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Head {
    /// Not sent yet, and worth its round trip.
    Due,
    /// Sent, or the blob is small. After a lost response it is sent anyway.
    Done,
    /// A HEAD or a mount was answered untruthfully, or the blob's digest is not known yet: it is sent without
    /// either.
    Never,
}

/// From this size on, a HEAD before an upload is worth its round trip.
const CHECK_FROM: u64 = 256 * 1024;

/// A blob that is not larger is worth a POST with its bytes. One that ignores them costs no more than that.
const POST_UPTO: u64 = 64 * 1024;

/// How often an upload is restarted after its session broke (PUSHB-42).
const RESTARTS: u8 = 3;

impl Head {
    /// Whether a HEAD is worth its round trip for an unchecked blob of this size.
    pub(crate) const fn for_size(size: u64) -> Self {
        if size >= CHECK_FROM {
            Self::Due
        } else {
            Self::Done
        }
    }
}

impl BlobPut {
    pub(super) fn draft(&self) -> Draft {
        match &self.step {
            UploadStep::Check { .. } | UploadStep::Confirm => {
                let url = self.site.url(&format!("blobs/{}", self.digest));
                Draft::new(Method::HEAD, url, Expect::Head)
            }
            UploadStep::Status { session } => {
                Draft::new(Method::GET, session.clone(), Expect::Head)
            }
            UploadStep::Start { mount } => self.draft_start(mount.as_ref()),
            UploadStep::Put { session } => {
                let url = session.with_query("digest", self.digest.as_str());
                self.with_bytes(Draft::new(Method::PUT, url, Expect::Head))
            }
            UploadStep::Patch { session } => {
                // PUSHB-12: no unit, no total.
                let range = format!("{}-{}", self.position, self.part_end().saturating_sub(1));
                let draft = Draft::new(Method::PATCH, session.clone(), Expect::Head);
                self.with_bytes(draft.with(header::CONTENT_RANGE, &range))
            }
            UploadStep::Close { session } => {
                let url = session.with_query("digest", self.digest.as_str());
                Draft::new(Method::PUT, url, Expect::Head).with(header::CONTENT_LENGTH, "0")
            }
        }
    }

    fn draft_start(&self, mount: Option<&MountFrom>) -> Draft {
        let mut url = self.site.url("blobs/uploads/");
        if mount.is_none() && self.posts_all() {
            // PUSHB-18: one that ignores the digest opens a session.
            let url = url.with_query("digest", self.digest.as_str());
            return self.with_bytes(Draft::new(Method::POST, url, Expect::Head));
        }
        if let Some(from) = mount {
            url = url.with_query("mount", self.digest.as_str());
            if let Some(from) = from.repository() {
                url = url.with_query("from", from.as_str());
            }
        }
        if self.digest.algorithm() != Some(Algorithm::Sha256) {
            // N-2: registries that do not know the parameter ignore it.
            url = url.with_query("digest-algorithm", self.digest.algorithm_name());
        }
        let mut draft =
            Draft::new(Method::POST, url, Expect::Head).with(header::CONTENT_LENGTH, "0");
        if let (None, Some(UploadSource::Store(store)), 1..) = (mount, self.source, self.size) {
            draft.stored = Some((store, self.digest.clone()));
        }
        draft
    }

    fn with_bytes(&self, draft: Draft) -> Draft {
        let mut draft = draft.with(header::CONTENT_TYPE, "application/octet-stream");
        match self.source {
            // PUSHB-16: an empty blob is an empty PUT.
            Some(source) if self.size > 0 => {
                let digest = self.digest.clone();
                let source = match source {
                    UploadSource::Store(store) => Source::Stored { store, digest },
                    UploadSource::Relay => Source::Relayed { digest },
                };
                draft.payload = Payload::Body(Body {
                    source,
                    offset: self.position,
                    len: self.part_end() - self.position,
                    size: self.size,
                });
                draft.transfer = Some((self.transfer, Some(self.before())));
                draft
            }
            Some(_) | None => draft.with(header::CONTENT_LENGTH, "0"),
        }
    }

    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        match &self.step {
            UploadStep::Check { .. } => self.answer_check(answer),
            UploadStep::Start { mount } => {
                let mount = mount.clone();
                self.answer_start(answer, mount)
            }
            UploadStep::Patch { session } if answer.status.is_success() => {
                let session = session.clone();
                self.answer_part(&session, answer)
            }
            UploadStep::Status { session } => {
                let session = session.clone();
                self.answer_status(&session, answer)
            }
            UploadStep::Confirm => self.answer_confirm(answer),
            UploadStep::Put { .. } | UploadStep::Patch { .. } | UploadStep::Close { .. } => {
                self.answer_bytes(answer)
            }
        }
    }

    /// The exchange broke off. A HEAD checks whether the blob arrived (PUSHB-23), unless its answer was
    /// untruthful before, and a status request what did (PUSHB-40).
    pub(super) fn interrupted(&mut self) {
        match &self.step {
            UploadStep::Put { session }
            | UploadStep::Patch { session }
            | UploadStep::Close { session } => {
                let session = session.clone();
                let may_check = self.head != Head::Never;
                self.step = if may_check && (self.reached_end() || !self.may_resume()) {
                    // Whether the session goes on or is given up, depends on the answer.
                    UploadStep::Check {
                        session: Some(session),
                    }
                } else if self.may_resume() {
                    UploadStep::Status { session }
                } else {
                    self.restart();
                    UploadStep::Start { mount: None }
                };
            }
            // PUSHB-54: a mount that failed is not retried as a mount.
            UploadStep::Start { mount: Some(_) } => self.do_not_mount(),
            // The registry may have answered before it read the body.
            UploadStep::Start { mount: None } if self.posts_all() => self.do_not_post(),
            UploadStep::Check { .. }
            | UploadStep::Start { mount: None }
            | UploadStep::Status { .. }
            | UploadStep::Confirm => {}
        }
    }

    /// Skips a mount that the registry refuses, patches where it takes no PUT with a body, sends chunks that are
    /// not larger than what it takes, and none where it takes no parts. Whether a mount is skipped.
    pub(super) fn adapt(&mut self, known: &Capabilities) -> bool {
        let mut is_vain = false;
        while self.mounts_from().is_some_and(|it| known.refuses_mount(it)) {
            is_vain = true;
            match self.mounts.pop() {
                next @ Some(_) => self.step = UploadStep::Start { mount: next },
                None => self.do_not_mount(),
            }
        }
        self.patches |= known.needs_patch;
        self.posts &= !known.takes_no_posts;
        if self.position == 0 {
            // A smaller chunk that was chosen since then stays.
            let begins = matches!(
                self.step,
                UploadStep::Check { .. } | UploadStep::Start { .. }
            );
            if known.takes_no_parts && begins && !self.is_growing() {
                self.chunk = u64::MAX;
            }
            let taken = known.chunk.filter(|_| !self.in_one_request);
            self.chunk = taken.map_or(self.chunk, |it| it.min(self.chunk));
        }
        if let UploadStep::Put { session } = &self.step {
            self.step = self.next_part(session.clone());
        }
        is_vain
    }

    /// Notes a mount that the registry refuses, that it takes a PATCH after no PUT, which size of a body
    /// it may take after it refused a larger one, and that it takes no parts.
    pub(super) fn learn<'a>(
        &self,
        answer: &Answer,
        registry: impl FnOnce() -> &'a mut Capabilities,
    ) {
        match self.mounts_from() {
            Some(MountFrom::Repository(from))
                if matches!(answer.status.as_u16(), 401 | 403 | 405) =>
            {
                registry().unmountable.insert(from.clone());
            }
            Some(MountFrom::Anywhere) if answer.status.as_u16() == 201 => {
                registry().searches_for_mounts = Some(true);
            }
            Some(MountFrom::Anywhere) if answer.status.is_client_error() => {
                registry().searches_for_mounts = Some(false);
            }
            None if self.patches && self.is_patching() && answer.status.is_success() => {
                registry().needs_patch = true;
            }
            None if self.ignores_posted(answer) => registry().takes_no_posts = true,
            None if self.takes_no_parts(answer) => registry().takes_no_parts = true,
            // Other sizes may be taken.
            None if self.refuses_parts(answer) && !answer.errors().has("SIZE_INVALID") => {
                registry().takes_no_parts = true;
            }
            None => {
                if let Some(chunk) = self.too_large(answer) {
                    let known = &mut registry().chunk;
                    *known = Some(known.map_or(chunk, |known| known.min(chunk)));
                }
            }
            Some(_) => {}
        }
    }

    /// Where the mount is from that is about to be requested.
    const fn mounts_from(&self) -> Option<&MountFrom> {
        match &self.step {
            UploadStep::Start { mount } => mount.as_ref(),
            UploadStep::Check { .. }
            | UploadStep::Put { .. }
            | UploadStep::Patch { .. }
            | UploadStep::Status { .. }
            | UploadStep::Close { .. }
            | UploadStep::Confirm => None,
        }
    }

    /// Whether all bytes go in the POST that begins the upload.
    fn posts_all(&self) -> bool {
        let is_small = (1..=POST_UPTO.min(self.chunk)).contains(&self.size);
        let is_stored = matches!(self.source, Some(UploadSource::Store(_)));
        self.posts && is_small && is_stored && !self.patches && self.stream.is_none()
    }

    /// Whether an answer to a POST of all bytes is that of a registry that does not look at them.
    fn ignores_posted(&self, answer: &Answer) -> bool {
        let is_refused = answer.status.is_client_error() && answer.status.as_u16() != 404;
        let is_posted = matches!(self.step, UploadStep::Start { mount: None }) && self.posts_all();
        is_posted && answer.denied.is_none() && (is_refused || answer.status.as_u16() == 202)
    }

    /// Gives up posting the bytes, of which the registry has none.
    fn do_not_post(&mut self) {
        self.restart();
        self.posts = false;
    }

    /// Gives up mounting.
    fn do_not_mount(&mut self) {
        self.mounts.clear();
        self.step = self.beginning();
    }

    /// Continues without a HEAD or a mount that failed; `None` if neither is next.
    pub(super) fn without_shortcut(self) -> Option<Verdict> {
        match self.step.clone() {
            UploadStep::Check { session } => Some(self.not_there(session)),
            UploadStep::Start { mount: Some(_) } => Some(self.begin()),
            UploadStep::Status { session } => Some(self.without_status(session)),
            UploadStep::Confirm => Some(Verdict::Done(OpOutcome::Sent { bytes: self.sent })),
            UploadStep::Start { mount: None }
            | UploadStep::Put { .. }
            | UploadStep::Patch { .. }
            | UploadStep::Close { .. } => None,
        }
    }

    /// Whether the next request carries bytes of the blob.
    pub(crate) fn sends_bytes(&self) -> bool {
        match self.step {
            UploadStep::Put { .. } | UploadStep::Patch { .. } => true,
            UploadStep::Start { mount: None } => self.posts_all(),
            UploadStep::Check { .. }
            | UploadStep::Start { mount: Some(_) }
            | UploadStep::Status { .. }
            | UploadStep::Close { .. }
            | UploadStep::Confirm => false,
        }
    }

    /// Whether the next request carries bytes that another exchange fetches.
    pub(super) fn wants_relay(&self) -> bool {
        self.sends_bytes() && self.size > 0 && self.source == Some(UploadSource::Relay)
    }

    /// The bytes of the blob that the next request needs: those that it sends, and those before them that are
    /// still to be hashed.
    pub(crate) fn relayed_part(&self) -> Range<u64> {
        self.before().hashing.len().min(self.position)..self.part_end()
    }

    /// The bytes that were relayed so far are not the blob's: begins again, with another session.
    pub(crate) fn was_spoiled(&mut self) {
        self.restart();
        self.step = self.beginning();
    }

    /// Gives the session back, so that the blob is fetched first and then sent to it. `None` if it cannot be
    /// used for that.
    pub(crate) fn without_relay(&mut self) -> Option<OpenUpload> {
        if let (UploadStep::Put { session } | UploadStep::Patch { session }, false) =
            (&self.step, self.has_begun())
        {
            let (url, least) = (session.clone(), self.session.least);
            return Some(OpenUpload { url, least });
        }
        self.restart();
        None
    }

    /// Whether the bytes are sent in a PATCH.
    const fn is_patching(&self) -> bool {
        matches!(self.step, UploadStep::Patch { .. })
    }

    pub(super) fn needs(&self) -> Scopes {
        match &self.step {
            UploadStep::Check { .. } | UploadStep::Confirm => Scopes::pull(&self.site.repository),
            UploadStep::Start { mount } => {
                let mut scopes = Scopes::push(&self.site.repository);
                if let Some(from) = mount.as_ref().and_then(MountFrom::repository) {
                    scopes.merge(&Scopes::pull(from));
                }
                scopes
            }
            UploadStep::Put { .. }
            | UploadStep::Patch { .. }
            | UploadStep::Status { .. }
            | UploadStep::Close { .. } => Scopes::push(&self.site.repository),
        }
    }

    /// What reading from everything that it may be mounted from needs.
    pub(crate) fn mount_scopes(&self) -> Scopes {
        let mut scopes = Scopes::default();
        let all = self.mounts.iter().chain(self.mounts_from());
        for from in all.filter_map(MountFrom::repository) {
            scopes.merge(&Scopes::pull(from));
        }
        scopes
    }

    fn answer_check(self, answer: &Answer) -> Verdict {
        let UploadStep::Check { session } = self.step.clone() else {
            return self.start();
        };
        if answer.has_blob(&self.digest, self.size) {
            let has_begun = session.is_none() || self.has_begun();
            if has_begun && self.sent >= self.size.max(1) {
                // The response to the last byte was lost, but not the blob.
                return Verdict::Done(OpOutcome::Sent { bytes: self.sent });
            }
            return Verdict::Done(OpOutcome::Present { unused: session });
        }
        self.not_there(session)
    }

    fn not_there(mut self, session: Option<Url>) -> Verdict {
        self.head = Head::Done;
        match session {
            Some(session) if self.has_begun() => self.resume(session),
            Some(session) => self.opened(session),
            None if self.lacks_dropped() => Verdict::Failed(self.cannot_send_again()),
            None => self.start(),
        }
    }

    fn answer_start(mut self, answer: &Answer, mount: Option<MountFrom>) -> Verdict {
        if mount.is_none() && self.posts_all() {
            if answer.status.as_u16() == 201 {
                return self.answer_bytes(answer);
            }
            self.do_not_post();
            if answer.status.is_client_error() && answer.denied.is_none() {
                return self.start();
            }
        }
        self.session.least = least(answer);
        match (answer.status.as_u16(), mount) {
            (201, Some(_)) if answer.contradicts(&self.digest) => self.not_mounted(None),
            // PUSHB-51. The `Location` is not used.
            (201, Some(from)) => Verdict::Done(OpOutcome::Mounted { from }),
            (201, None) if self.is_growing() => {
                Verdict::Failed(answer.peer("says that it has a blob of which nothing was sent"))
            }
            (201, None) => Verdict::Done(OpOutcome::Present { unused: None }),
            (200 | 202..=299, mount) => match answer.location() {
                Ok(session) if mount.is_some() => self.not_mounted(Some(session)),
                Ok(session) => self.opened(session),
                Err(_) if mount.is_some() => self.not_mounted(None),
                Err(error) => Verdict::Failed(error),
            },
            // PUSHB-54: after any refusal of a mount, a plain upload is tried once.
            (400..=599, Some(_)) => self.not_mounted(None),
            _ => Verdict::Failed(answer.failure(&self.what())),
        }
    }

    /// Tries the next mount. After the last one the session that it has opened is used (PUSHB-44).
    fn not_mounted(mut self, session: Option<Url>) -> Verdict {
        match (self.mounts.pop(), session) {
            (Some(next), session) => {
                self.given_up = session;
                self.step = UploadStep::Start { mount: Some(next) };
                Verdict::Next(Operation::BlobPut(self))
            }
            (None, Some(session)) => self.opened(session),
            (None, None) => self.begin(),
        }
    }

    /// Continues with an open session.
    fn opened(mut self, session: Url) -> Verdict {
        if self.head == Head::Due {
            self.step = UploadStep::Check {
                session: Some(session),
            };
        } else if self.source.is_none() {
            return Verdict::Done(OpOutcome::Opened(OpenUpload {
                url: session,
                least: self.session.least,
            }));
        } else {
            return self.send_rest(session);
        }
        Verdict::Next(Operation::BlobPut(self))
    }

    /// The response to the PUT, or to a failed PATCH.
    fn answer_bytes(mut self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            if answer.contradicts(&self.digest) {
                let said = answer.header("docker-content-digest").unwrap_or_default();
                return Verdict::Failed(answer.peer(format!(
                    "says it stored {said}, but was sent {}",
                    self.digest
                )));
            }
            return self.stored();
        }
        if let UploadStep::Put { session } = &self.step
            && self.takes_no_body(answer)
        {
            let session = session.clone();
            self.patches = true;
            return self.send_rest(session);
        }
        if self.takes_no_parts(answer) {
            let unused = self.open_session().cloned();
            let unused = unused.filter(|_| !self.ends_session(answer));
            return Verdict::Done(OpOutcome::TakesNoParts { unused });
        }
        if self.refuses_parts(answer) && self.restarts < RESTARTS {
            self.restarts += 1;
            (self.chunk, self.in_one_request) = (u64::MAX, true);
            if self.ends_session(answer) {
                self.forget_session();
            }
            return self.begin();
        }
        if let Some(verdict) = self.resized_or_reordered(answer) {
            return verdict;
        }
        let errors = answer.errors();
        let gone = is_gone(answer)
            || answer.status.as_u16() == 416
            // PUSHB-39. One that takes no small chunks does not take one that broke off, either.
            || (self.is_resumed() && answer.status.is_client_error());
        let refused = errors.has("DIGEST_INVALID");
        // Sent twice with a wrong digest is enough.
        let again = (gone && self.restarts < RESTARTS) || (refused && self.restarts == 0);
        if answer.denied.is_none() && again {
            // The end of an upload brings no bytes, and it may have been sent before, with its answer lost.
            let may_be_there = !refused || matches!(self.step, UploadStep::Close { .. });
            self.restarts += 1;
            if matches!(self.step, UploadStep::Close { .. }) && self.can_begin_again() {
                // Some take all parts and find the digest wrong at the end (clients.md C.8). A session that is gone
                // may be gone for another reason, and a proxy may let through nothing but parts.
                self.chunk = u64::MAX;
                self.in_one_request |= refused || self.restarts > 1;
            }
            if self.ends_session(answer) {
                self.forget_session();
            }
            if may_be_there && self.head == Head::Done {
                // A session is also gone if the first attempt has delivered the blob.
                self.head = Head::for_size(self.size);
            }
            return self.begin();
        }
        if refused {
            // The bytes were verified before they were sent, so they were changed in transit or by
            // the registry.
            let found = Measure::unknown("another digest, says the registry");
            return Verdict::Failed(Error::mismatch(self.what(), &self.digest, found));
        }
        Verdict::Failed(answer.failure(&self.what()))
    }

    /// The session that is open, if one is.
    pub(crate) const fn open_session(&self) -> Option<&Url> {
        if self.session.is_of_another() {
            return None;
        }
        self.step.session()
    }

    /// Whether the registry has no such session any more after this response, so that there is nothing to
    /// delete (PUSHB-22, PUSHB-38).
    pub(crate) fn ends_session(&self, answer: &Answer) -> bool {
        match self.step {
            UploadStep::Put { .. }
            | UploadStep::Patch { .. }
            | UploadStep::Status { .. }
            | UploadStep::Close { .. } => is_gone(answer) || answer.errors().has("DIGEST_INVALID"),
            UploadStep::Check { .. } | UploadStep::Start { .. } | UploadStep::Confirm => false,
        }
    }

    /// The registry does not have the session any more.
    pub(crate) fn forget_session(&mut self) {
        self.step = self.beginning();
    }

    /// Whether a PUT was refused because it had a body. Some registries take bytes by PATCH only
    /// and say so in one of these ways. A 404 may also mean that the session is gone, so it has to
    /// come twice.
    fn takes_no_body(&self, answer: &Answer) -> bool {
        if !matches!(self.step, UploadStep::Put { .. }) || self.size == 0 || answer.denied.is_some()
        {
            return false;
        }
        let errors = answer.errors();
        match answer.status.as_u16() {
            405 | 501 => true,
            400 | 404 if errors.has("UNSUPPORTED") => true,
            // A 400 of a registry that checks the digest has a code.
            400 => errors.entries.iter().all(|entry| entry.code.is_empty()),
            404 => self.restarts > 0 && errors.entries.iter().all(|entry| entry.code.is_empty()),
            _ => false,
        }
    }

    /// The first step: a HEAD if it is due, otherwise the upload.
    fn beginning(&self) -> UploadStep {
        match self.head {
            Head::Due => UploadStep::Check { session: None },
            Head::Done | Head::Never => UploadStep::Start { mount: None },
        }
    }

    fn begin(mut self) -> Verdict {
        self.restart();
        self.step = self.beginning();
        if self.lacks_dropped() && !matches!(self.step, UploadStep::Check { .. }) {
            return Verdict::Failed(self.cannot_send_again());
        }
        Verdict::Next(Operation::BlobPut(self))
    }

    fn start(self) -> Verdict {
        Verdict::Next(Operation::BlobPut(Self {
            step: UploadStep::Start { mount: None },
            ..self
        }))
    }

    fn what(&self) -> String {
        format!(
            "{} for `{}/{}`",
            self.subject(),
            self.site.registry,
            self.site.repository
        )
    }
}

/// Whether a registry does not know a session.
fn is_gone(answer: &Answer) -> bool {
    let errors = answer.errors();
    answer.status.as_u16() == 404
        || errors.has("BLOB_UPLOAD_INVALID")
        || errors.has("BLOB_UPLOAD_UNKNOWN")
}

/// The least size of all chunks but the last (PUSHB-11); 0 if the registry does not say one.
fn least(answer: &Answer) -> u64 {
    let said: Option<&str> = answer.header("oci-chunk-min-length");
    let is_number = |said: &&str| said.bytes().all(|byte| byte.is_ascii_digit());
    let said = said.filter(is_number).and_then(|said| said.parse().ok());
    said.unwrap_or(0)
}

mod parts;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use parts::{OpenUpload, Session};
pub(crate) use stream::Stream;
