//! Uploads a blob: a HEAD if it is large, an empty POST, perhaps with a mount, then its bytes
//! (PUSHB).
//!
//! ```text
//!  Check ─┬─ 2xx ▶ Present; an open session is not needed
//!         └─ anything else ▶ Start, or the open session
//!  Start ─┬─ 201 ▶ Mounted / Present
//!         ├─ 2xx ▶ Check if large and not checked yet, Opened(session) without bytes,
//!         │        else Put, or Patch where a PUT must have no body
//!         └─ mount refused ▶ Start without it, after Check if large
//!  Put ───┬─ 2xx ▶ Sent
//!         ├─ no bodies accepted, or none of this size ▶ Patch
//!         └─ session gone, at most 3 times ▶ Start, after Check if large
//!  Patch ─┬─ 2xx ▶ Patch with the next chunk; Close after the last one ─ 2xx ▶ Sent, or Confirm ▶ Sent
//!         ├─ too large ▶ Patch, or Start, with smaller chunks
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

use http::{Method, header};

use super::{Answer, Draft, Operation, Outcome, Site, Verdict};
use crate::call::{Body, Expect, Payload, Source, TransferId};
use crate::capabilities::Capabilities;
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::hashing::Hashing;
use crate::reference::Repository;
use crate::scope::Scopes;
use crate::store::StoreId;
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
    pub(crate) stage: Stage,
    /// The store with the bytes. `None` while they have to be fetched first: then an opened session
    /// is handed back.
    pub(crate) source: Option<StoreId>,
    pub(crate) head: Head,
    /// Whether the bytes go in PATCHes even if one request can hold them: the registry takes no PUT with a
    /// body.
    pub(crate) patches: bool,
    /// A larger blob is sent in chunks of this many bytes.
    pub(crate) chunk: u64,
    /// What is known of the open session.
    pub(crate) session: Session,
    /// How often the upload was restarted.
    pub(crate) restarts: u8,
    /// The bytes of the blob sent in all attempts.
    pub(crate) sent: u64,
    /// A session that it does not go on with, and that the registry may still have.
    pub(crate) given_up: Option<Url>,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// HEAD the blob. A session may be open already.
    Check { session: Option<Url> },
    /// POST for a session, or for a mount from this repository.
    Start { mount: Option<Repository> },
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

impl Stage {
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
    /// A HEAD or a mount was answered untruthfully: the blob is sent without either.
    Never,
}

/// From this size on, a HEAD before an upload is worth its round trip.
const CHECK_FROM: u64 = 256 * 1024;

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
        match &self.stage {
            Stage::Check { .. } | Stage::Confirm => {
                let url = self.site.url(&format!("blobs/{}", self.digest));
                Draft::new(Method::HEAD, url, Expect::Head)
            }
            Stage::Status { session } => Draft::new(Method::GET, session.clone(), Expect::Head),
            Stage::Start { mount } => self.draft_start(mount.as_ref()),
            Stage::Put { session } => {
                let url = session.with_query("digest", self.digest.as_str());
                self.with_bytes(Draft::new(Method::PUT, url, Expect::Head))
            }
            Stage::Patch { session } => {
                // PUSHB-12: no unit, no total.
                let range = format!("{}-{}", self.position, self.part_end().saturating_sub(1));
                let draft = Draft::new(Method::PATCH, session.clone(), Expect::Head);
                self.with_bytes(draft.with(header::CONTENT_RANGE, &range))
            }
            Stage::Close { session } => {
                let url = session.with_query("digest", self.digest.as_str());
                Draft::new(Method::PUT, url, Expect::Head).with(header::CONTENT_LENGTH, "0")
            }
        }
    }

    fn draft_start(&self, mount: Option<&Repository>) -> Draft {
        let mut url = self.site.url("blobs/uploads/");
        if let Some(from) = mount {
            url = url.with_query("mount", self.digest.as_str());
            url = url.with_query("from", from.as_str());
        }
        if self.digest.algorithm() != Some(Algorithm::Sha256) {
            // N-2: registries that do not know the parameter ignore it.
            url = url.with_query("digest-algorithm", self.digest.algorithm_name());
        }
        let mut draft =
            Draft::new(Method::POST, url, Expect::Head).with(header::CONTENT_LENGTH, "0");
        if let (None, Some(store), 1..) = (mount, self.source, self.size) {
            draft.stored = Some((store, self.digest.clone()));
        }
        draft
    }

    fn with_bytes(&self, draft: Draft) -> Draft {
        let mut draft = draft.with(header::CONTENT_TYPE, "application/octet-stream");
        match self.source {
            // PUSHB-16: an empty blob is an empty PUT.
            Some(store) if self.size > 0 => {
                let source = Source::Stored {
                    store,
                    digest: self.digest.clone(),
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
        match &self.stage {
            Stage::Check { .. } => self.answer_check(answer),
            Stage::Start { mount } => {
                let mount = mount.is_some();
                self.answer_start(answer, mount)
            }
            Stage::Patch { session } if answer.status.is_success() => {
                let session = session.clone();
                self.answer_part(&session, answer)
            }
            Stage::Status { session } => {
                let session = session.clone();
                self.answer_status(&session, answer)
            }
            Stage::Confirm => self.answer_confirm(answer),
            Stage::Put { .. } | Stage::Patch { .. } | Stage::Close { .. } => {
                self.answer_bytes(answer)
            }
        }
    }

    /// The exchange broke off. A HEAD checks whether the blob arrived (PUSHB-23), unless its answer was
    /// untruthful before, and a status request what did (PUSHB-40).
    pub(super) fn interrupted(&mut self) {
        match &self.stage {
            Stage::Put { session } | Stage::Patch { session } | Stage::Close { session } => {
                let session = session.clone();
                let may_check = self.head != Head::Never;
                self.stage = if may_check && (self.reached_end() || !self.may_resume()) {
                    // Whether the session goes on or is given up, depends on the answer.
                    Stage::Check {
                        session: Some(session),
                    }
                } else if self.may_resume() {
                    Stage::Status { session }
                } else {
                    self.restart();
                    Stage::Start { mount: None }
                };
            }
            // PUSHB-54: a mount that failed is not retried as a mount.
            Stage::Start { mount: Some(_) } => self.do_not_mount(),
            Stage::Check { .. }
            | Stage::Start { mount: None }
            | Stage::Status { .. }
            | Stage::Confirm => {}
        }
    }

    /// Skips a mount that the registry refuses, patches where it takes no PUT with a body, and sends chunks
    /// that are not larger than what it takes. Whether a mount is skipped.
    pub(super) fn adapt(&mut self, known: &Capabilities) -> bool {
        let mount = self.mounts_from();
        let is_vain = mount.is_some_and(|from| known.unmountable.contains(from));
        if is_vain {
            self.do_not_mount();
        }
        self.patches |= known.needs_patch;
        if let Some(chunk) = known.chunk
            && self.position == 0
        {
            self.chunk = self.chunk.min(chunk);
        }
        if let Stage::Put { session } = &self.stage {
            self.stage = self.next_part(session.clone());
        }
        is_vain
    }

    /// Notes a mount that the registry refuses, that it takes a PATCH after no PUT, and which size of a body
    /// it may take after it refused a larger one.
    pub(super) fn learn<'a>(
        &self,
        answer: &Answer,
        registry: impl FnOnce() -> &'a mut Capabilities,
    ) {
        match self.mounts_from() {
            Some(from) if matches!(answer.status.as_u16(), 401 | 403 | 405) => {
                registry().unmountable.insert(from.clone());
            }
            None if self.patches && self.is_patching() && answer.status.is_success() => {
                registry().needs_patch = true;
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

    /// The repository of the mount that is about to be requested.
    const fn mounts_from(&self) -> Option<&Repository> {
        match &self.stage {
            Stage::Start { mount } => mount.as_ref(),
            Stage::Check { .. }
            | Stage::Put { .. }
            | Stage::Patch { .. }
            | Stage::Status { .. }
            | Stage::Close { .. }
            | Stage::Confirm => None,
        }
    }

    /// Gives up the mount.
    fn do_not_mount(&mut self) {
        self.stage = self.beginning();
    }

    /// Continues without a HEAD or a mount that failed; `None` if neither is next.
    pub(super) fn without_shortcut(self) -> Option<Verdict> {
        match self.stage.clone() {
            Stage::Check { session } => Some(self.not_there(session)),
            Stage::Start { mount: Some(_) } | Stage::Status { .. } => Some(self.begin()),
            Stage::Confirm => Some(Verdict::Done(Outcome::Sent { bytes: self.sent })),
            Stage::Start { mount: None }
            | Stage::Put { .. }
            | Stage::Patch { .. }
            | Stage::Close { .. } => None,
        }
    }

    /// Whether the bytes are sent in a PATCH.
    const fn is_patching(&self) -> bool {
        matches!(self.stage, Stage::Patch { .. })
    }

    pub(super) fn needs(&self) -> Scopes {
        match &self.stage {
            Stage::Check { .. } | Stage::Confirm => Scopes::pull(&self.site.repository),
            Stage::Start { mount: Some(from) } => {
                let mut scopes = Scopes::push(&self.site.repository);
                scopes.merge(&Scopes::pull(from));
                scopes
            }
            Stage::Start { mount: None }
            | Stage::Put { .. }
            | Stage::Patch { .. }
            | Stage::Status { .. }
            | Stage::Close { .. } => Scopes::push(&self.site.repository),
        }
    }

    fn answer_check(self, answer: &Answer) -> Verdict {
        let Stage::Check { session } = self.stage.clone() else {
            return self.start();
        };
        if answer.has_blob(&self.digest) {
            let has_begun = session.is_none() || self.has_begun();
            if has_begun && self.sent >= self.size.max(1) {
                // The response to the last byte was lost, but not the blob.
                return Verdict::Done(Outcome::Sent { bytes: self.sent });
            }
            return Verdict::Done(Outcome::Present { unused: session });
        }
        self.not_there(session)
    }

    fn not_there(mut self, session: Option<Url>) -> Verdict {
        self.head = Head::Done;
        match session {
            Some(session) if self.has_begun() => self.resume(session),
            Some(session) => self.opened(session),
            None => self.start(),
        }
    }

    fn answer_start(mut self, answer: &Answer, mount: bool) -> Verdict {
        self.session.least = least(answer);
        match answer.status.as_u16() {
            201 if mount && answer.contradicts(&self.digest) => self.begin(),
            // PUSHB-51. The `Location` is not used.
            201 if mount => Verdict::Done(Outcome::Mounted),
            201 => Verdict::Done(Outcome::Present { unused: None }),
            200 | 202..=299 => match answer.location() {
                Ok(session) => self.opened(session),
                Err(_) if mount => self.begin(),
                Err(error) => Verdict::Failed(error),
            },
            // PUSHB-54: after any refusal of a mount, a plain upload is tried once.
            400..=599 if mount => self.begin(),
            _ => Verdict::Failed(answer.failure(&self.what())),
        }
    }

    /// Continues with an open session.
    fn opened(mut self, session: Url) -> Verdict {
        if self.head == Head::Due {
            self.stage = Stage::Check {
                session: Some(session),
            };
        } else if self.source.is_none() {
            return Verdict::Done(Outcome::Opened(OpenUpload {
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
        if let Stage::Put { session } = &self.stage
            && self.takes_no_body(answer)
        {
            let session = session.clone();
            self.patches = true;
            return self.send_rest(session);
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
            self.restarts += 1;
            if self.ends_session(answer) {
                self.forget_session();
            }
            if !refused && self.head == Head::Done {
                // A session is also gone if the first attempt has delivered the blob.
                self.head = Head::for_size(self.size);
            }
            return self.begin();
        }
        if refused {
            // The bytes were verified before they were sent, so they were changed in transit or by
            // the registry.
            return Verdict::Failed(Error::Mismatch {
                what: self.what(),
                expected: format!("{}", self.digest),
                found: "another digest, says the registry".into(),
            });
        }
        Verdict::Failed(answer.failure(&self.what()))
    }

    /// The session that is open, if one is.
    pub(crate) const fn open_session(&self) -> Option<&Url> {
        self.stage.session()
    }

    /// Whether the registry has no such session any more after this response, so that there is nothing to
    /// delete (PUSHB-22, PUSHB-38).
    pub(crate) fn ends_session(&self, answer: &Answer) -> bool {
        match self.stage {
            Stage::Put { .. }
            | Stage::Patch { .. }
            | Stage::Status { .. }
            | Stage::Close { .. } => is_gone(answer) || answer.errors().has("DIGEST_INVALID"),
            Stage::Check { .. } | Stage::Start { .. } | Stage::Confirm => false,
        }
    }

    /// The registry does not have the session any more.
    pub(crate) fn forget_session(&mut self) {
        self.stage = self.beginning();
    }

    /// Whether a PUT was refused because it had a body. Some registries take bytes by PATCH only
    /// and say so in one of these ways. A 404 may also mean that the session is gone, so it has to
    /// come twice.
    fn takes_no_body(&self, answer: &Answer) -> bool {
        if !matches!(self.stage, Stage::Put { .. }) || self.size == 0 || answer.denied.is_some() {
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

    /// The first stage: a HEAD if it is due, otherwise the upload.
    fn beginning(&self) -> Stage {
        match self.head {
            Head::Due => Stage::Check { session: None },
            Head::Done | Head::Never => Stage::Start { mount: None },
        }
    }

    fn begin(mut self) -> Verdict {
        self.restart();
        self.stage = self.beginning();
        Verdict::Next(Operation::BlobPut(self))
    }

    fn start(self) -> Verdict {
        Verdict::Next(Operation::BlobPut(Self {
            stage: Stage::Start { mount: None },
            ..self
        }))
    }

    fn what(&self) -> String {
        format!(
            "blob {} for `{}/{}`",
            self.digest, self.site.registry, self.site.repository
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
#[cfg(test)]
mod tests;

pub(crate) use parts::{OpenUpload, Session};
