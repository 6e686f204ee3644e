//! Operations: the requests of one operation, and the meaning of their responses.
//!
//! Responsible for requests, for the meaning of responses, and for what a registry may lack that refuses one. Must not know authentication,
//! retries, slots, ids or time: an operation is a value with [`draft`](Operation::draft), which
//! builds the next request, and [`answer`](Operation::answer), which turns its response into a
//! verdict.
//!
//! ```text
//!            ┌── Next(operation) ◀──┐
//!            ▼                      │
//!  draft ─▶ request … answer ─▶ verdict ─▶ Done(outcome) | Failed(error)
//! ```

mod blob_get;
mod blob_head;
mod blob_put;
mod blob_range;
mod blob_stat;
mod check;
mod delete;
mod manifest_get;
mod manifest_head;
mod manifest_put;
mod name_list;
mod ping;
mod referrers_get;
mod site;
mod token;
mod upload_delete;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub(crate) use self::blob_get::BlobGet;
pub(crate) use self::blob_head::BlobHead;
pub(crate) use self::blob_put::{
    BlobPut, Head, OpenUpload, Session as UploadSession, UploadSource, UploadStep,
};
pub(crate) use self::blob_range::RangeGet;
pub(crate) use self::blob_stat::BlobStat;
pub(crate) use self::check::Check;
pub(crate) use self::delete::{Delete, DeleteOf};
pub(crate) use self::manifest_get::ManifestGet;
pub(crate) use self::manifest_head::ManifestHead;
pub(crate) use self::manifest_put::{Condition, ManifestPut};
use self::name_list::NameLists;
pub(crate) use self::name_list::{NameList, NamePage, NamesOf, Page};
pub(crate) use self::ping::Ping;
pub(crate) use self::referrers_get::{ReferrersGet, ReferrersPage};
pub(crate) use self::site::Site;
pub(crate) use self::token::{Grant, Token, TokenCredential, TokenResponse, basic, can_be_sent};
pub(crate) use self::upload_delete::UploadDelete;
use crate::call::{Before, Exchanged, Expect, Payload, Received, TransferId};
use crate::capabilities::Capabilities as Known;
use crate::config::{Capabilities, Lack};
use crate::digest::Digest;
use crate::error::{AuthError, Error, ErrorKind, NotFound, Refusal, RegistryErrors, RequestLine};
use crate::error_body;
use crate::extents::Extents;
use crate::hashing::Hashing;
use crate::header::request_id;
use crate::manifest::Document;
use crate::reference::Target;
use crate::scope::Scopes;
use crate::store::StoreId;
use crate::task::{BlobRange, Checked, MountFrom};
use crate::uri::Url;

/// A request, without the headers that the session adds (authorisation, and those of every
/// request).
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) expect: Expect,
    /// The transfer that the request belongs to, and for an upload the hash over the bytes before
    /// those that it sends.
    pub(crate) transfer: Option<(TransferId, Option<Before>)>,
    /// A blob that must be in a store before the request is sent.
    pub(crate) stored: Option<(StoreId, Digest)>,
    /// The parts of the blob that are in the store, if the request fetches one.
    pub(crate) present: Extents,
}

impl Draft {
    pub(crate) fn new(method: Method, url: Url, expect: Expect) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            expect,
            transfer: None,
            stored: None,
            present: Extents::default(),
        }
    }

    /// Adds a header with a validated value.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value)
            .expect("header values are made of validated text and numbers");
        self.headers.insert(name, value);
        self
    }
}

/// A response, after redirects and authentication.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: RequestLine,
    /// The URL of the last request.
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Received,
    /// The hash over a blob after the part of it that the request sent.
    pub(crate) hashed: Option<Hashing>,
    pub(crate) flaw: Option<crate::call::Flaw>,
    /// Set if authentication failed permanently; the status is then 401 or 403.
    pub(crate) denied: Option<AuthError>,
    /// The credentials that the request carried, and a hint, for an error.
    pub(crate) presented: String,
    pub(crate) hint: Option<String>,
}

impl Answer {
    /// What a request without credentials presented.
    pub(crate) const NO_CREDENTIALS: &'static str = "no credentials";
    /// The same, of a request with a token that was asked for without credentials.
    pub(crate) const ANONYMOUS_TOKEN: &'static str = "a fresh anonymous token";

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            Received::Collected { bytes, .. } => bytes,
            Received::Nothing | Received::Stored { .. } | Received::Relayed { .. } => &[],
        }
    }

    pub(crate) fn errors(&self) -> RegistryErrors {
        RegistryErrors {
            request_id: request_id(&self.headers),
            ..error_body::read(self.bytes())
        }
    }

    /// A header's value, if the header occurs once and is text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers
            .get(name)?
            .to_str()
            .ok()
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// The `Docker-Content-Digest`, if valid.
    pub(crate) fn content_digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.parse().ok()
    }

    /// The error in the body of a response with status 200, if it has one.
    pub(crate) fn error_with_200(&self, what: &str) -> Option<Error> {
        if !error_body::is_error(self.bytes()) {
            return None;
        }
        let errors = self.errors();
        let has = |codes: &[&str]| codes.iter().any(|code| errors.has(code));
        let status = if has(&[
            "MANIFEST_UNKNOWN",
            "NAME_UNKNOWN",
            "BLOB_UNKNOWN",
            "NOT_FOUND",
        ]) {
            StatusCode::NOT_FOUND
        } else if has(&["UNAUTHORIZED", "DENIED"]) {
            StatusCode::FORBIDDEN
        } else {
            return Some(self.refusal());
        };
        Some(self.failure_of(status, what))
    }

    /// Whether the response names another digest. One of another algorithm does not count.
    pub(crate) fn contradicts(&self, digest: &Digest) -> bool {
        let said = self.content_digest();
        said.is_some_and(|said| said.algorithm() == digest.algorithm() && said != *digest)
    }

    /// Whether this response to a HEAD says that the blob exists, whole. With another length it does not count:
    /// some registries keep only the last chunk of an upload and report success (PUSHB-02; clients.md C.8).
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        let len = self.content_length();
        let is_whole = len.is_none_or(|len| len == size);
        self.status.is_success() && !self.contradicts(digest) && is_whole
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        let said: Option<&str> = self.header("content-length");
        said.and_then(|said| said.parse().ok())
    }

    /// The `Location`, resolved against the request's URL (PUSHB-06).
    pub(crate) fn location(&self) -> Result<Url, Error> {
        let said = self
            .headers
            .get(http::header::LOCATION)
            .ok_or_else(|| self.peer("answered without a Location"))?;
        self.url
            .resolve_location(said.as_bytes())
            .map_err(|error| self.peer(format!("sent an invalid Location: {error}")))
    }

    /// The error for a protocol violation.
    pub(crate) fn peer(&self, what: impl Into<String>) -> Error {
        Error::Peer {
            request: self.request.clone(),
            what: what.into(),
        }
    }

    /// The error for this response, if it is not the expected one.
    pub(crate) fn failure(&self, what: &str) -> Error {
        if let Some(denied) = &self.denied {
            return Error::Auth(Box::new(denied.clone()));
        }
        self.failure_of(self.status, what)
    }

    /// The error for this response as if it had `status`.
    fn failure_of(&self, status: StatusCode, what: &str) -> Error {
        let errors = self.errors();
        match status.as_u16() {
            404 | 410 => {
                let hint = errors
                    .has("NAME_UNKNOWN")
                    .then(|| "the registry does not know the repository".into());
                Error::NotFound(NotFound {
                    what: what.into(),
                    request: Some(self.request.clone()),
                    status: Some(self.status.as_u16()),
                    errors,
                    hint,
                })
            }
            401 | 403 => Error::Auth(Box::new(AuthError {
                request: self.request.clone(),
                status: self.status.as_u16(),
                presented: self.presented.clone(),
                errors,
                hint: self.hint.clone(),
            })),
            _ => self.refusal(),
        }
    }

    /// The error for a request that cannot mean "not found".
    pub(crate) fn refusal(&self) -> Error {
        let errors = self.errors();
        let status = self.status.as_u16();
        Error::Registry(Box::new(Refusal {
            request: self.request.clone(),
            status,
            hint: hint(status, &errors),
            errors,
        }))
    }
}

fn hint(status: u16, errors: &RegistryErrors) -> Option<String> {
    let hint = match status {
        413 => "a proxy in front of the registry may limit the size of requests",
        409 => "the tag may be immutable",
        405 | 501 => "the registry does not support this operation",
        415 => "the registry does not take this type of manifest",
        _ if errors.has("TAG_IMMUTABLE") => "the tag is immutable",
        _ => return None,
    };
    Some(hint.into())
}

/// A list of names in a response, as the server wrote it. What of it a tape keeps is decided word by word (`tape::allow`).
pub(crate) struct KeptList {
    /// Its name in JSON.
    pub(crate) key: &'static str,
    pub(crate) names: Vec<String>,
    /// What can be a name in it.
    pub(crate) is_name: fn(&str) -> bool,
}

impl KeptList {
    fn new(key: &'static str, names: Option<Vec<String>>, is_name: fn(&str) -> bool) -> Self {
        let names = names.unwrap_or_default();
        Self {
            key,
            names,
            is_name,
        }
    }
}

/// The lists of names that a tape looks for in a document that is no manifest, whatever was asked for. `None` if it
/// can have none.
pub(crate) fn kept_lists(bytes: &[u8]) -> Option<Vec<KeptList>> {
    NameLists::kept(bytes)
}

/// What a response means for its operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Continue with this operation.
    Next(Operation),
    /// It is done.
    Done(OpOutcome),
    /// It failed permanently.
    Failed(Error),
}

impl Verdict {
    /// Says in an error which request it is about.
    pub(crate) fn of_request(self, line: &RequestLine) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.of_request(line)),
            Self::Next(_) | Self::Done(_) => self,
        }
    }
}

/// The result of an operation.
#[derive(Debug)]
pub(crate) enum OpOutcome {
    /// The manifest or index, and its strong `ETag` if it has one.
    Document {
        document: Box<Document>,
        etag: Option<String>,
    },
    /// The manifest exists; digest, size and type as far as the registry said.
    Found {
        digest: Option<Digest>,
        size: Option<u64>,
        media_type: Option<String>,
    },
    /// It does not exist, or the response to HEAD was not useful.
    Absent,
    /// This part of the blob is in the partial; `bytes` were received. It is verified if the hash is over
    /// all of the blob.
    Fetched {
        bytes: u64,
        range: Range<u64>,
        hashing: Hashing,
        /// Why a part ended early.
        missed: Option<Error>,
    },
    /// The blob existed in the repository. `unused` is an upload session that was opened and is not
    /// needed.
    Present {
        unused: Option<Url>,
    },
    /// The blob was mounted.
    Mounted {
        from: MountFrom,
    },
    /// An upload session was opened instead of a mount.
    Opened(OpenUpload),
    /// The blob has to be fetched into a store before it is sent, to this session if it is open.
    Unrelayed(Option<OpenUpload>),
    /// The blob was sent. `bytes` counts all attempts and may exceed its size.
    Sent {
        bytes: u64,
    },
    /// All that was gathered of a stream is at the registry. Its session is open.
    SentSoFar(Box<BlobPut>),
    /// The registry takes no blob in parts. `unused` as above.
    TakesNoParts {
        unused: Option<Url>,
    },
    /// The manifest was accepted. `listed`: whether the registry added it to its subject's
    /// referrers.
    Put {
        listed: bool,
    },
    /// The same of one that was put with several tags. `tags`: those that the registry says it created; `None`
    /// if it says nothing of tags.
    Tagged {
        listed: bool,
        tags: Option<Vec<String>>,
    },
    /// The blob exists.
    Stat {
        size: u64,
    },
    /// It was deleted.
    Deleted,
    /// The registry does not delete tags.
    Undeletable(Error),
    /// The condition was not met: another writer has changed the target.
    Outdated,
    /// The manifest was refused because content that it refers to is missing.
    Childless(Error),
    /// A page of a list of names.
    Names(NamePage),
    /// Some bytes of a blob, not verified.
    Part(BlobRange),
    /// A page of a manifest's referrers.
    Referrers(Box<ReferrersPage>),
    /// The registry has no such API.
    Unsupported,
    Granted(Grant),
    /// The registry accepted the request.
    Accepted(Checked),
}

/// An operation on a registry or a token service.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    BlobGet(BlobGet),
    BlobHead(BlobHead),
    BlobPut(BlobPut),
    BlobStat(BlobStat),
    Check(Check),
    Delete(Delete),
    ManifestGet(ManifestGet),
    ManifestHead(ManifestHead),
    ManifestPut(ManifestPut),
    NameList(NameList),
    Ping(Ping),
    RangeGet(RangeGet),
    ReferrersGet(ReferrersGet),
    Token(Token),
    UploadDelete(UploadDelete),
}

impl Operation {
    /// Whether a response to an upload says that its session is over.
    pub(crate) fn ends_session(&self, answer: &Answer) -> bool {
        if let Self::BlobPut(op) = self {
            return op.ends_session(answer);
        }
        false
    }

    /// What to tell if a response, or its absence, makes an upload begin again.
    pub(crate) fn lost_progress(&self, answer: Option<&Answer>) -> Option<String> {
        if let Self::BlobPut(op) = self {
            return op.lost_progress(answer);
        }
        None
    }

    /// What to tell if a registry does not answer whether it has what was sent.
    pub(crate) fn unconfirmed(&self) -> Option<String> {
        if let Self::BlobPut(op) = self {
            return op.unconfirmed();
        }
        None
    }

    /// Records the bytes of a blob that a request sent, successful or not, and the hash over all that it
    /// read.
    pub(crate) fn has_sent(&mut self, exchanged: &Exchanged) {
        if let Self::BlobPut(op) = self {
            if exchanged.sent > 0 || exchanged.hashed.is_some() {
                op.has_passed(&exchanged.marks);
            }
            op.has_sent(exchanged.sent, exchanged.hashed.as_ref());
        }
    }

    /// Changes the next request to what the registry is known to support. Whether it changed so that
    /// refusals of the previous request do not apply to it.
    pub(crate) fn adapt(&mut self, known: &Known) -> bool {
        if let Self::BlobPut(op) = self {
            return op.adapt(known);
        }
        false
    }

    /// Notes what an answer tells about the registry.
    pub(crate) fn learn<'a>(&self, answer: &Answer, registry: impl FnOnce() -> &'a mut Known) {
        if let Self::BlobPut(op) = self {
            op.learn(answer, registry);
        } else if let Self::ManifestPut(op) = self {
            op.learn(answer, registry);
        } else if let Self::ReferrersGet(op) = self {
            op.learn(answer, registry);
        }
    }

    /// The digest and size of the blob whose bytes it moves, if it moves any and they are known.
    pub(crate) const fn blob(&self) -> Option<(&Digest, u64)> {
        if let Self::BlobGet(op) = self {
            return Some((&op.digest, op.size));
        }
        if let Self::BlobPut(op) = self
            && op.stream.is_none()
        {
            return Some((&op.digest, op.size));
        }
        None
    }

    pub(crate) fn draft(&self) -> Draft {
        match self {
            Self::BlobGet(op) => op.draft(),
            Self::BlobHead(op) => op.draft(),
            Self::BlobPut(op) => op.draft(),
            Self::BlobStat(op) => op.draft(),
            Self::Check(op) => op.draft(),
            Self::Delete(op) => op.draft(),
            Self::ManifestGet(op) => op.draft(),
            Self::ManifestHead(op) => op.draft(),
            Self::ManifestPut(op) => op.draft(),
            Self::NameList(op) => op.draft(),
            Self::Ping(op) => op.draft(),
            Self::RangeGet(op) => op.draft(),
            Self::ReferrersGet(op) => op.draft(),
            Self::Token(op) => op.draft(),
            Self::UploadDelete(op) => op.draft(),
        }
    }

    pub(crate) fn answer(self, answer: Answer) -> Verdict {
        match self {
            Self::BlobGet(op) => op.answer(answer),
            Self::BlobHead(op) => op.answer(&answer),
            Self::BlobPut(op) => op.answer(&answer),
            Self::BlobStat(op) => op.answer(&answer),
            Self::Check(op) => op.answer(&answer),
            Self::Delete(op) => op.answer(&answer),
            Self::ManifestGet(op) => op.answer(answer),
            Self::ManifestHead(op) => op.answer(&answer),
            Self::ManifestPut(op) => op.answer(&answer),
            Self::NameList(op) => op.answer(&answer),
            Self::Ping(_) => Verdict::Done(OpOutcome::Absent),
            Self::RangeGet(op) => op.answer(&answer),
            Self::ReferrersGet(op) => op.answer(&answer),
            Self::Token(op) => op.answer(&answer),
            Self::UploadDelete(_) => UploadDelete::answer(),
        }
    }

    /// The continuation of a HEAD of a blob, or a mount, that failed; `None` for other operations.
    pub(crate) fn without_shortcut(self) -> Option<Verdict> {
        if let Self::BlobHead(_) = self {
            return Some(Verdict::Done(OpOutcome::Absent));
        }
        if let Self::BlobPut(op) = self {
            return op.without_shortcut();
        }
        if let Self::BlobStat(op) = self {
            return op.without_head();
        }
        None
    }

    /// An attempt failed in a way that leaves open whether the registry has done it.
    pub(crate) fn may_be_done(&mut self) {
        if let Self::Delete(op) = self {
            op.again = true;
        }
    }

    /// The exchange broke off after receiving `body`. A retry of a transfer continues from there; other operations
    /// have nothing to carry over.
    pub(crate) fn interrupted(&mut self, body: Received) {
        if let Self::BlobGet(op) = self {
            op.take(body);
        } else if let Self::BlobPut(op) = self {
            op.interrupted();
        }
    }

    /// The scopes without which it cannot succeed.
    pub(crate) fn needs(&self) -> Scopes {
        match self {
            Self::BlobGet(op) => Scopes::pull(&op.site.repository),
            Self::BlobHead(op) => Scopes::pull(&op.site.repository),
            Self::BlobPut(op) => op.needs(),
            Self::BlobStat(op) => Scopes::pull(&op.site.repository),
            Self::Delete(op) => Scopes::delete(&op.site.repository),
            Self::ManifestGet(op) => Scopes::pull(&op.site.repository),
            Self::ManifestHead(op) => Scopes::pull(&op.site.repository),
            Self::ManifestPut(op) => Scopes::push(&op.site.repository),
            Self::NameList(op) => op.needs(),
            Self::RangeGet(op) => Scopes::pull(&op.site.repository),
            Self::ReferrersGet(op) => Scopes::pull(&op.site.repository),
            Self::Check(_) | Self::Ping(_) | Self::Token(_) => Scopes::default(),
            Self::UploadDelete(op) => Scopes::push(&op.site.repository),
        }
    }

    /// What a registry may not have that refuses it with an error of this kind, the most telling first.
    pub(crate) const fn lacks(&self, kind: ErrorKind) -> &'static [Lack] {
        match (self, kind) {
            (_, ErrorKind::Temporary | ErrorKind::Cancelled | ErrorKind::Internal) => &[],
            (Self::NameList(op), _) => op.of.lacks(),
            (Self::Delete(_), ErrorKind::Refused | ErrorKind::Auth) => &[Lack::Deletion],
            (Self::BlobPut(_) | Self::ManifestPut(_), ErrorKind::NotFound) => {
                &[Lack::Pushes, Lack::NewRepositories]
            }
            (Self::BlobPut(_) | Self::ManifestPut(_), ErrorKind::Refused | ErrorKind::Auth) => {
                &[Lack::Pushes]
            }
            (
                Self::BlobGet(_)
                | Self::BlobHead(_)
                | Self::BlobPut(_)
                | Self::BlobStat(_)
                | Self::Check(_)
                | Self::Delete(_)
                | Self::ManifestGet(_)
                | Self::ManifestHead(_)
                | Self::ManifestPut(_)
                | Self::Ping(_)
                | Self::RangeGet(_)
                | Self::ReferrersGet(_)
                | Self::Token(_)
                | Self::UploadDelete(_),
                ErrorKind::Mismatch | ErrorKind::Auth | ErrorKind::NotFound | ErrorKind::Refused,
            ) => &[],
        }
    }

    /// Whether its next request carries bytes that another exchange fetches.
    pub(crate) fn wants_relay(&self) -> bool {
        matches!(self, Self::BlobPut(op) if op.wants_relay())
    }

    /// Whether it fetches a document of unknown digest.
    pub(crate) const fn is_by_tag(&self) -> bool {
        matches!(self, Self::ManifestGet(op) if matches!(op.target, Target::Tag(_)))
    }

    /// Whether an endpoint may be asked for what it reads (HOSTS-03).
    pub(crate) const fn is_allowed(&self, at: &Capabilities) -> bool {
        match self.asked_for() {
            Some(Target::Tag(_)) => at.resolve,
            Some(Target::Digest(_)) | None => at.pull,
        }
    }

    /// The manifest that it asks for.
    pub(crate) const fn asked_for(&self) -> Option<&Target> {
        if let Self::ManifestGet(ManifestGet { target, .. })
        | Self::ManifestHead(ManifestHead { target, .. }) = self
        {
            return Some(target);
        }
        None
    }

    /// Whether it only reads content of a repository.
    pub(crate) const fn is_read(&self) -> bool {
        matches!(
            self,
            Self::BlobGet(_)
                | Self::BlobHead(_)
                | Self::ManifestGet(_)
                | Self::ManifestHead(_)
                | Self::RangeGet(_)
        )
    }

    /// Goes on at another endpoint. If that is not the last one, wrong content is not asked for there a
    /// second time.
    pub(crate) fn move_to(&mut self, site: Site, is_last: bool) {
        match self {
            Self::BlobGet(op) => op.move_to(site, is_last),
            Self::BlobHead(op) => op.site = site,
            Self::ManifestGet(op) => (op.site, op.again) = (site, !is_last),
            Self::ManifestHead(op) => op.site = site,
            Self::RangeGet(op) => op.site = site,
            // These do not read.
            Self::BlobPut(_)
            | Self::BlobStat(_)
            | Self::Check(_)
            | Self::Delete(_)
            | Self::ManifestPut(_)
            | Self::NameList(_)
            | Self::Ping(_)
            | Self::ReferrersGet(_)
            | Self::Token(_)
            | Self::UploadDelete(_) => {}
        }
    }

    /// How far a transfer has progressed; 0 if it cannot be resumed.
    pub(crate) const fn position(&self) -> u64 {
        if let Self::BlobGet(BlobGet { position, .. }) | Self::BlobPut(BlobPut { position, .. }) =
            self
        {
            return *position;
        }
        0
    }
}

/// Builds operations in a given state, for tests.
#[cfg(test)]
pub(crate) mod testing {
    use alloc::vec::Vec;

    use super::*;
    use crate::reference::Reference;

    pub(crate) fn site() -> Site {
        site_of("reg.example/a/b")
    }

    pub(crate) fn site_of(reference: &str) -> Site {
        let reference: Reference = reference.parse().expect("a reference");
        let registry = reference.registry();
        let repository = reference.repository().clone();
        Site::new(registry.clone(), registry.origin(), repository)
    }

    pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            assert!(
                crate::header::is_read(&name.parse().expect("a name")),
                "an answer has no {name}: it is not in `header::READ`"
            );
            map.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        Answer {
            request: RequestLine::ping(),
            url: site().url("blobs/uploads/"),
            status: StatusCode::from_u16(status).expect("a status"),
            headers: map,
            body: Received::Collected {
                bytes: Vec::from(body),
                cut: false,
            },
            hashed: None,
            flaw: None,
            denied: None,
            presented: "no credentials".into(),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{answer, site, site_of};
    use super::*;
    use crate::registry::Origin;

    /// A mount works within one registry that is contacted at one origin.
    #[test]
    fn beside() {
        let (here, ours) = (site_of("reg.example/c"), site());
        let mirror: Origin = "https://mirror.example".parse().expect("an origin");
        let mirrored = Site::new(ours.registry.clone(), mirror, ours.repository.clone());
        let other = site_of("other.example/a/b").registry.clone();
        let mirroring = Site::new(other, ours.origin.clone(), ours.repository.clone());
        assert!(ours.is_beside(&here));
        assert!(!ours.is_beside(&mirrored) && !ours.is_beside(&mirroring));
    }

    /// Errors have a hint where the status or the code allows one.
    #[test]
    fn hints() {
        for (status, code, expected) in [
            (413, "", Some("limit the size")),
            (409, "", Some("tag may be immutable")),
            (405, "", Some("does not support")),
            (501, "UNSUPPORTED", Some("does not support")),
            (415, "", Some("this type of manifest")),
            (400, "TAG_IMMUTABLE", Some("tag is immutable")),
            (400, "MANIFEST_INVALID", None),
        ] {
            let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
            let Error::Registry(refusal) = answer(status, &[], body.as_bytes()).refusal() else {
                panic!("{status} is a refusal")
            };
            assert_eq!(refusal.status, status);
            let hint = refusal.hint.unwrap_or_default();
            assert!(
                hint.contains(expected.unwrap_or_default()),
                "{status}: {hint}"
            );
            assert_eq!(hint.is_empty(), expected.is_none(), "{status}: {hint}");
        }
        let unknown = br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
        let Error::NotFound(missing) = answer(404, &[], unknown).failure("x") else {
            panic!("404 is nothing found")
        };
        assert_eq!(missing.what, "x");
        let hint = missing.hint.expect("a hint");
        assert!(hint.contains("does not know the repository"), "{hint}");
    }
}
