//! Sending a blob: an empty POST, perhaps with a mount, then one PUT (PUSHB, design §4).
//!
//! ```text
//!          200 Present
//!  Check ──┤
//!          404 ▶ Start ──┬─ 201 ▶ Mounted / Present
//!    ▲                   ├─ 202, held ▶ Opened(session)
//!    │                   └─ 202 ▶ Put ──┬─ 2xx ▶ Sent
//!    │                         ▲        ├─ session gone, at most 3 times ▶ Start
//!    └──── answer lost ────────┴────────┘
//! ```
//!
//! A refused mount is an answer, not a failure: the blob is sent in the ordinary way.

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
    /// How often the upload was begun anew.
    pub(crate) restarts: u8,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Is it there?
    Check,
    /// Open a session, or mount from this repository.
    Start { mount: Option<Repository> },
    /// Send it to this session.
    Put { session: Url },
}

/// How often an upload is begun anew after its session broke (PUSHB-42).
const RESTARTS: u8 = 3;

impl BlobPut {
    pub(super) fn draft(&self) -> Draft {
        match &self.stage {
            Stage::Check => {
                let url = self.site.url(&format!("blobs/{}", self.digest));
                Draft::new(Method::HEAD, url, Expect::Head)
            }
            Stage::Start { mount } => {
                let mut url = self.site.url("blobs/uploads/");
                if let Some(from) = mount {
                    url = url.with_query("mount", self.digest.as_str());
                    url = url.with_query("from", from.as_str());
                }
                if self.digest.algorithm() != Some(Algorithm::Sha256) {
                    // N-2: registries that do not know the parameter ignore it.
                    url = url.with_query("digest-algorithm", self.digest.algorithm_name());
                }
                Draft::new(Method::POST, url, Expect::Head).with(header::CONTENT_LENGTH, "0")
            }
            Stage::Put { session } => self.draft_put(session),
        }
    }

    fn draft_put(&self, session: &Url) -> Draft {
        let url = session.with_query("digest", self.digest.as_str());
        let mut draft = Draft::new(Method::PUT, url, Expect::Head)
            .with(header::CONTENT_TYPE, "application/octet-stream");
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
            Stage::Check => self.answer_check(answer),
            Stage::Start { mount } => {
                let mount = mount.is_some();
                self.answer_start(answer, mount)
            }
            Stage::Put { .. } => self.answer_put(answer),
        }
    }

    /// The answer to a PUT was lost, or the session broke: ask whether it arrived (PUSHB-23).
    pub(super) fn interrupted(&mut self) {
        match &self.stage {
            Stage::Put { .. } => self.stage = Stage::Check,
            // PUSHB-54: what goes wrong with a mount is not tried again as one.
            Stage::Start { mount: Some(_) } => self.do_not_mount(),
            Stage::Check | Stage::Start { mount: None } => {}
        }
    }

    /// The repository that it is about to be mounted from.
    pub(crate) const fn mounts_from(&self) -> Option<&Repository> {
        match &self.stage {
            Stage::Start { mount } => mount.as_ref(),
            Stage::Check | Stage::Put { .. } => None,
        }
    }

    /// Gives up mounting it.
    pub(crate) fn do_not_mount(&mut self) {
        self.stage = Stage::Start { mount: None };
    }

    pub(super) fn needs(&self) -> Scopes {
        match &self.stage {
            Stage::Check => Scopes::pull(&self.site.repository),
            Stage::Start { mount: Some(from) } => {
                let mut scopes = Scopes::push(&self.site.repository);
                scopes.merge(&Scopes::pull(from));
                scopes
            }
            Stage::Start { mount: None } | Stage::Put { .. } => Scopes::push(&self.site.repository),
        }
    }

    fn answer_check(self, answer: &Answer) -> Verdict {
        match answer.status.as_u16() {
            200..=299 => Verdict::Done(Outcome::Present),
            404 | 405 | 410 => self.start(),
            _ => Verdict::Failed(answer.failure(&self.what())),
        }
    }

    fn answer_start(self, answer: &Answer, mount: bool) -> Verdict {
        match answer.status.as_u16() {
            201 if mount => Verdict::Done(Outcome::Mounted),
            201 => Verdict::Done(Outcome::Present),
            200 | 202..=299 => match answer.location() {
                Ok(session) if self.source.is_none() => Verdict::Done(Outcome::Opened(session)),
                Ok(session) => Verdict::Next(Operation::BlobPut(Self {
                    stage: Stage::Put { session },
                    ..self
                })),
                Err(_) if mount => self.start(),
                Err(error) => Verdict::Failed(error),
            },
            // PUSHB-54: whatever a mount is refused with, a plain upload is tried once.
            400..=599 if mount => self.start(),
            _ => Verdict::Failed(answer.failure(&self.what())),
        }
    }

    fn answer_put(mut self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            let said = answer.content_digest();
            return match said.filter(|said| said.algorithm() == self.digest.algorithm()) {
                Some(said) if said != self.digest => Verdict::Failed(answer.peer(format!(
                    "says it stored {said}, but was sent {}",
                    self.digest
                ))),
                Some(_) | None => Verdict::Done(Outcome::Sent),
            };
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
            return self.start();
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
