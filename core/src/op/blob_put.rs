//! Sending a blob: a HEAD if it is large, an empty POST, perhaps with a mount, then its bytes (PUSHB,
//! design §4).
//!
//! ```text
//!  Check ─┬─ 2xx ▶ Present, the session that is open is not needed
//!         └─ anything else ▶ Start, or the session that is open
//!  Start ─┬─ 201 ▶ Mounted / Present
//!         ├─ 2xx ▶ Check if it is large and was not asked for, Opened(session) without bytes,
//!         │        else Put, or Patch where a PUT must have no body
//!         └─ a mount that is refused ▶ Start without it, after Check if it is large
//!  Put ───┬─ 2xx ▶ Sent
//!         ├─ no bodies are taken ▶ Patch ─ 2xx ▶ Close ─ 2xx ▶ Sent
//!         └─ session gone, at most 3 times ▶ Start, after Check if it is large
//!  Put, Patch, Close whose answer was lost ▶ Check
//! ```
//!
//! HEAD and mount save work. Neither is required: whatever they are refused with, the blob is sent.

use alloc::format;
use alloc::string::String;

use http::{Method, header};

use super::{Answer, Draft, Operation, Outcome, Site, Verdict};
use crate::call::{Body, Expect, Payload, Source, TransferId};
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::reference::Repository;
use crate::scope::Scopes;
use crate::store::StoreId;
use crate::uri::Url;

/// Brings a blob into a repository.
#[derive(Clone, Debug)]
pub(crate) struct BlobPut {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) transfer: TransferId,
    pub(crate) stage: Stage,
    /// Where the bytes are. `None` as long as they have to be fetched first: then a session that is
    /// opened is handed back.
    pub(crate) source: Option<StoreId>,
    pub(crate) head: Head,
    pub(crate) form: Form,
    /// How often the upload was begun anew.
    pub(crate) restarts: u8,
    /// How many bytes of the blob were sent, in all tries.
    pub(crate) sent: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Is it there? Perhaps a session is open already.
    Check { session: Option<Url> },
    /// Open a session, or mount from this repository.
    Start { mount: Option<Repository> },
    /// Send it to this session and close it.
    Put { session: Url },
    /// Send it to this session.
    Patch { session: Url },
    /// Close this session, which has all bytes.
    Close { session: Url },
}

/// Whether a HEAD goes before the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Head {
    /// It was not asked yet, and is worth its round trip.
    Due,
    /// It was asked, or the blob is small. After an answer was lost it is asked all the same.
    Done,
    /// What a HEAD or a mount said was not true: the blob is sent whatever they would say.
    Never,
}

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// With the PUT that closes the session.
    Put,
    /// With a PATCH before it. One for the whole blob; chunks would be several.
    Patch,
}

/// From this size on a HEAD before an upload is worth its round trip (design §5).
const CHECK_FROM: u64 = 256 * 1024;

/// How often an upload is begun anew after its session broke (PUSHB-42).
const RESTARTS: u8 = 3;

impl Head {
    /// Whether one is worth its round trip for a blob of this size that nobody asked for yet.
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
            Stage::Check { .. } => {
                let url = self.site.url(&format!("blobs/{}", self.digest));
                Draft::new(Method::HEAD, url, Expect::Head)
            }
            Stage::Start { mount } => self.draft_start(mount.as_ref()),
            Stage::Put { session } => {
                let url = session.with_query("digest", self.digest.as_str());
                self.with_bytes(Draft::new(Method::PUT, url, Expect::Head))
            }
            Stage::Patch { session } => {
                // PUSHB-12: no unit, no total.
                let range = format!("0-{}", self.size.saturating_sub(1));
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
                    offset: 0,
                    len: self.size,
                });
                draft.transfer = Some((self.transfer, Some(self.digest.clone())));
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
                // PUSHB-10: the newest `Location`. Without one the old one may do.
                let session = answer.location().unwrap_or_else(|_| session.clone());
                Verdict::Next(Operation::BlobPut(Self {
                    stage: Stage::Close { session },
                    ..self
                }))
            }
            Stage::Put { .. } | Stage::Patch { .. } | Stage::Close { .. } => {
                self.answer_bytes(answer)
            }
        }
    }

    /// The exchange broke off. Whether bytes arrived is asked (PUSHB-23), unless the answer to that
    /// was not true before.
    pub(super) fn interrupted(&mut self) {
        match &self.stage {
            Stage::Put { .. } | Stage::Patch { .. } | Stage::Close { .. } => {
                self.stage = match self.head {
                    Head::Due | Head::Done => Stage::Check { session: None },
                    Head::Never => Stage::Start { mount: None },
                };
            }
            // PUSHB-54: what goes wrong with a mount is not tried again as one.
            Stage::Start { mount: Some(_) } => self.do_not_mount(),
            Stage::Check { .. } | Stage::Start { mount: None } => {}
        }
    }

    /// The repository that it is about to be mounted from.
    pub(crate) const fn mounts_from(&self) -> Option<&Repository> {
        match &self.stage {
            Stage::Start { mount } => mount.as_ref(),
            Stage::Check { .. } | Stage::Put { .. } | Stage::Patch { .. } | Stage::Close { .. } => {
                None
            }
        }
    }

    /// Gives up mounting it.
    pub(crate) fn do_not_mount(&mut self) {
        self.stage = self.beginning();
    }

    /// Goes on without a HEAD or a mount that comes to nothing; `None` if it is about to do neither.
    pub(super) fn without_shortcut(self) -> Option<Verdict> {
        match self.stage.clone() {
            Stage::Check { session } => Some(self.not_there(session)),
            Stage::Start { mount: Some(_) } => Some(self.begin()),
            Stage::Start { mount: None }
            | Stage::Put { .. }
            | Stage::Patch { .. }
            | Stage::Close { .. } => None,
        }
    }

    /// Sends its bytes with a PATCH, if it is about to send them with a PUT.
    pub(crate) fn do_patch(&mut self) {
        self.form = Form::Patch;
        if let Stage::Put { session } = &self.stage
            && self.size > 0
        {
            self.stage = Stage::Patch {
                session: session.clone(),
            };
        }
    }

    /// Whether it is sending its bytes with a PATCH.
    pub(crate) const fn is_patching(&self) -> bool {
        matches!(self.stage, Stage::Patch { .. })
    }

    pub(super) fn needs(&self) -> Scopes {
        match &self.stage {
            Stage::Check { .. } => Scopes::pull(&self.site.repository),
            Stage::Start { mount: Some(from) } => {
                let mut scopes = Scopes::push(&self.site.repository);
                scopes.merge(&Scopes::pull(from));
                scopes
            }
            Stage::Start { mount: None }
            | Stage::Put { .. }
            | Stage::Patch { .. }
            | Stage::Close { .. } => Scopes::push(&self.site.repository),
        }
    }

    fn answer_check(self, answer: &Answer) -> Verdict {
        let Stage::Check { session } = self.stage.clone() else {
            return self.start();
        };
        if answer.has_blob(&self.digest) {
            if session.is_none() && self.sent >= self.size.max(1) {
                // The answer to its last byte was lost, not the blob.
                return Verdict::Done(Outcome::Sent { bytes: self.sent });
            }
            return Verdict::Done(Outcome::Present { unused: session });
        }
        self.not_there(session)
    }

    fn not_there(mut self, session: Option<Url>) -> Verdict {
        self.head = Head::Done;
        match session {
            Some(session) => self.opened(session),
            None => self.start(),
        }
    }

    fn answer_start(self, answer: &Answer, mount: bool) -> Verdict {
        match answer.status.as_u16() {
            201 if mount && answer.contradicts(&self.digest) => self.begin(),
            // PUSHB-51. Its `Location` is of no use, whoever it names.
            201 if mount => Verdict::Done(Outcome::Mounted),
            201 => Verdict::Done(Outcome::Present { unused: None }),
            200 | 202..=299 => match answer.location() {
                Ok(session) => self.opened(session),
                Err(_) if mount => self.begin(),
                Err(error) => Verdict::Failed(error),
            },
            // PUSHB-54: whatever a mount is refused with, a plain upload is tried once.
            400..=599 if mount => self.begin(),
            _ => Verdict::Failed(answer.failure(&self.what())),
        }
    }

    /// A session is open.
    fn opened(mut self, session: Url) -> Verdict {
        if self.head == Head::Due {
            self.stage = Stage::Check {
                session: Some(session),
            };
        } else if self.source.is_none() {
            return Verdict::Done(Outcome::Opened(session));
        } else {
            self.stage = Stage::Put { session };
            if self.form == Form::Patch {
                self.do_patch();
            }
        }
        Verdict::Next(Operation::BlobPut(self))
    }

    /// The answer to the PUT, or to a PATCH that failed.
    fn answer_bytes(mut self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            if answer.contradicts(&self.digest) {
                let said = answer.header("docker-content-digest").unwrap_or_default();
                return Verdict::Failed(answer.peer(format!(
                    "says it stored {said}, but was sent {}",
                    self.digest
                )));
            }
            return Verdict::Done(Outcome::Sent { bytes: self.sent });
        }
        if self.takes_no_body(answer) {
            self.do_patch();
            return Verdict::Next(Operation::BlobPut(self));
        }
        let said = answer.said();
        let gone = matches!(answer.status.as_u16(), 404 | 416)
            || said.has("BLOB_UPLOAD_INVALID")
            || said.has("BLOB_UPLOAD_UNKNOWN");
        let refused = said.has("DIGEST_INVALID");
        // Sent twice and wrong twice is enough.
        let again = (gone && self.restarts < RESTARTS) || (refused && self.restarts == 0);
        if answer.denied.is_none() && again {
            self.restarts += 1;
            if !refused && self.head == Head::Done {
                // A session is also gone if the blob arrived the first time it was sent.
                self.head = Head::for_size(self.size);
            }
            return self.begin();
        }
        if refused {
            // Our bytes were verified on their way out, so they changed on the way or over there.
            return Verdict::Failed(Error::Mismatch {
                what: self.what(),
                expected: format!("{}", self.digest),
                found: "another digest, says the registry".into(),
            });
        }
        Verdict::Failed(answer.failure(&self.what()))
    }

    /// Whether a PUT was refused because it had a body. Some registries take bytes by PATCH only, and
    /// say so in one of these ways; 404 also means that the session is gone, so it has to come twice.
    fn takes_no_body(&self, answer: &Answer) -> bool {
        if !matches!(self.stage, Stage::Put { .. }) || self.size == 0 || answer.denied.is_some() {
            return false;
        }
        let said = answer.said();
        match answer.status.as_u16() {
            405 | 501 => true,
            400 | 404 if said.has("UNSUPPORTED") => true,
            404 => self.restarts > 0 && said.entries.iter().all(|entry| entry.code.is_empty()),
            _ => false,
        }
    }

    /// What comes first if nothing is known: a HEAD if it is due, else the upload.
    fn beginning(&self) -> Stage {
        match self.head {
            Head::Due => Stage::Check { session: None },
            Head::Done | Head::Never => Stage::Start { mount: None },
        }
    }

    fn begin(mut self) -> Verdict {
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

#[cfg(test)]
mod tests;
