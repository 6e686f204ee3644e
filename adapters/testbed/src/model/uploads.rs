//! Upload sessions and mounts.
//!
//! Responsible for: PUSHB.
//! Must not know: who may push.
//!
//! ```text
//!            POST ──▶ open ──PATCH──▶ open ──PUT──▶ blob
//!   each answer has   │ ▲ GET: 204      │ DELETE, wrong digest, expiry
//!   a new Location    └─┘               ▼ gone
//! ```

use core::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::json;

use super::contents::Upload;
use super::message::{Answer, Refusal, Request};
use super::options::{Location, Stale, UnreadableMount, UploadRange};
use super::target::{Target, digest};
use super::{Model, method_not_allowed};
use crate::Digest;

impl Model {
    /// POST: a mount, a whole blob, or a new session.
    pub(crate) fn start_upload(
        &mut self,
        request: &Request,
        name: &str,
        target: &Target<'_>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        self.check_repository(name)?;
        if let Some(mount) = target.parameter("mount") {
            let wanted = digest(&mount)?;
            if let Some(answer) = self.mount(request, name, &wanted, target, now) {
                return Ok(answer);
            }
        } else if let Some(named) = target.parameter("digest")
            && self.options.uploads.one_request
        {
            return self.commit(name, digest(&named)?, request.body.clone());
        }
        // N-2, N-13: say early that an algorithm is not supported.
        let algorithm = target.parameter("digest-algorithm");
        if algorithm.is_some_and(|algorithm| algorithm != "sha256" && algorithm != "sha512") {
            return Err(Refusal::new(
                400,
                "DIGEST_INVALID",
                "unsupported digest algorithm",
            ));
        }
        let id = self.opaque("upload");
        let upload = Upload {
            repository: name.to_owned(),
            state: String::new(),
            parts: Vec::new(),
            length: 0,
            before: 0,
            short: false,
            touched: now,
        };
        self.uploads.insert(id.clone(), upload);
        let mut answer = self.progress(StatusCode::ACCEPTED, request, name, &id);
        if let Some(least) = self.options.uploads.chunk_min_length {
            answer = answer.header("oci-chunk-min-length", least.to_string());
        }
        Ok(answer)
    }

    /// PATCH, PUT, GET or DELETE of a session.
    pub(crate) fn upload(
        &mut self,
        request: &Request,
        name: &str,
        id: &str,
        target: &Target<'_>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let changes = request.method == Method::PATCH || request.method == Method::PUT;
        let fresh = self.check_session(name, id, target, now)?;
        if !fresh && changes {
            return Ok(self.out_of_range(request, name, id));
        }
        match request.method {
            Method::GET => Ok(self.progress(StatusCode::NO_CONTENT, request, name, id)),
            Method::DELETE => {
                self.uploads.remove(id);
                Ok(Answer::new(StatusCode::NO_CONTENT))
            }
            Method::PATCH => {
                if let Some(refused) = self.refused_chunk(request, name, id) {
                    return refused;
                }
                if !self.take(request, id)? {
                    return Ok(self.out_of_range(request, name, id));
                }
                Ok(self.progress(self.options.uploads.patch_status, request, name, id))
            }
            Method::PUT if !self.options.uploads.put_bodies && !request.body.is_empty() => {
                Err(method_not_allowed())
            }
            Method::PUT => {
                let named = target.parameter("digest").unwrap_or_default();
                let named = digest(&named)?;
                if !request.body.is_empty() && !self.take(request, id)? {
                    return Ok(self.out_of_range(request, name, id));
                }
                // PUSHB-22: whatever the outcome, the session is over.
                let upload = self.uploads.remove(id).ok_or_else(upload_unknown)?;
                if upload.parts.len() > 1 && !self.options.uploads.whole_chunks {
                    let message = "the layer digest does not match the calculated one";
                    return Err(Refusal::new(400, "BLOB_UPLOAD_INVALID", message));
                }
                let answer = self.commit(name, named.clone(), upload.content());
                let last = upload.parts.last().filter(|_| upload.parts.len() > 1);
                if let (Ok(_), Some(last), true) =
                    (&answer, last, self.options.uploads.last_chunk_only)
                {
                    self.repository(name).blobs.insert(named, last.clone());
                }
                answer
            }
            _ => Err(method_not_allowed()),
        }
    }

    /// What a PATCH is refused with by a registry that takes none of this size, or no second one.
    fn refused_chunk(
        &mut self,
        request: &Request,
        name: &str,
        id: &str,
    ) -> Option<Result<Answer, Refusal>> {
        let uploads = &self.options.uploads;
        let length = request.body.len() as u64;
        if uploads.chunk_max_length.is_some_and(|most| length > most) {
            return Some(Ok(self.out_of_range(request, name, id)));
        }
        let last = self.uploads.get(id).and_then(|it| it.parts.last());
        let least = uploads.untold_least_chunk.unwrap_or(0);
        if last.is_some_and(|last| (last.len() as u64) < least) {
            let message = "a layer part is too small";
            return Some(Err(Refusal::new(400, "SIZE_INVALID", message)));
        }
        let is_second = self.uploads.get(id).is_some_and(|it| it.length > 0);
        (is_second && !uploads.several_chunks).then(|| {
            let message = "a blob comes in one request";
            Err(Refusal::new(400, "UNSUPPORTED", message))
        })
    }

    /// Bytes of a request that broke off: kept as if they had been a chunk, and the `Location` the
    /// client knows stays good, since no answer could give it another.
    pub(crate) fn keep_partial(
        &mut self,
        name: &str,
        id: &str,
        request: &Request,
        target: &Target<'_>,
        now: Duration,
    ) {
        let changes = request.method == Method::PATCH || request.method == Method::PUT;
        if !changes || !self.options.uploads.keep_partial {
            return;
        }
        if !matches!(self.check_session(name, id, target, now), Ok(true)) {
            return;
        }
        let Some(upload) = self.uploads.get_mut(id) else {
            return;
        };
        let starts = match request.field(header::CONTENT_RANGE) {
            None => true,
            Some(range) => content_range(range).is_some_and(|(first, _)| first == upload.length),
        };
        if starts {
            upload.append(&request.body);
        }
    }

    /// `None` when there is nothing to mount: the POST opens a session (PUSHB-51, PUSHB-55).
    fn mount(
        &mut self,
        request: &Request,
        name: &str,
        wanted: &Digest,
        target: &Target<'_>,
        now: Duration,
    ) -> Option<Answer> {
        if !self.options.uploads.mounts {
            return None;
        }
        let blob = match target.parameter("from").filter(|from| !from.is_empty()) {
            Some(from) => {
                let hidden = self.options.uploads.unreadable_mount == UnreadableMount::Session
                    && !self.may_read(request, &from, now);
                if hidden {
                    return None;
                }
                self.blob_bytes(&from, wanted).cloned()
            }
            // PUSHB-52: readable ones only, or the mount would tell what others have.
            None if self.options.uploads.anonymous_mount => {
                let mut sources = self.repositories.iter();
                let source = sources.find(|(source, repository)| {
                    repository.blobs.contains_key(wanted) && self.may_read(request, source, now)
                });
                source
                    .and_then(|(_, repository)| repository.blobs.get(wanted))
                    .cloned()
            }
            None => None,
        }?;
        if !self.options.vouches {
            self.repository(name).blobs.insert(wanted.clone(), blob);
        }
        Some(self.created(name, wanted))
    }

    /// Whether `_state` is the latest. A session of another repository, an expired one and, with
    /// [`Stale::Invalid`], one addressed by an old `_state` do not exist.
    fn check_session(
        &mut self,
        name: &str,
        id: &str,
        target: &Target<'_>,
        now: Duration,
    ) -> Result<bool, Refusal> {
        let life = self.options.uploads.life;
        let upload = self
            .uploads
            .get_mut(id)
            .filter(|upload| upload.repository == name);
        let upload = upload.ok_or_else(upload_unknown)?;
        if life.is_some_and(|life| now >= upload.touched.saturating_add(life)) {
            self.uploads.remove(id);
            return Err(upload_unknown());
        }
        upload.touched = now;
        let (_, added) = self.options.labels.query();
        let fresh = if self.options.uploads.signed_location {
            // PUSHB-07: byte for byte, and only more parameters after it.
            let rest = target.query.strip_prefix(&signed_query(&upload.state));
            let rest = rest.and_then(|rest| rest.strip_prefix(added));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('&'))
        } else if !target.query.contains(added) {
            false
        } else {
            target
                .parameter("_state")
                .is_some_and(|state| state == upload.state)
        };
        if !fresh && self.options.uploads.stale == Stale::Invalid {
            self.uploads.remove(id);
            return Err(Refusal::new(
                404,
                "BLOB_UPLOAD_INVALID",
                "blob upload invalid",
            ));
        }
        Ok(fresh)
    }

    /// Adds the body to the session; `false` when it is out of order.
    fn take(&mut self, request: &Request, id: &str) -> Result<bool, Refusal> {
        let least = self.options.uploads.chunk_min_length.unwrap_or(0);
        let upload = self.uploads.get_mut(id).ok_or_else(upload_unknown)?;
        let content_type = request.field(header::CONTENT_TYPE).unwrap_or_default();
        // PUSHB-14.
        if !matches!(content_type, "" | "application/octet-stream") {
            return Err(Refusal::new(
                415,
                "UNSUPPORTED",
                "not application/octet-stream",
            ));
        }
        let length = request.body.len() as u64;
        if let Some(range) = request.field(header::CONTENT_RANGE) {
            // PUSHB-12 and PUSHB-13.
            let (first, last) = content_range(range).ok_or_else(|| {
                Refusal::new(
                    400,
                    "BLOB_UPLOAD_INVALID",
                    "Content-Range is not first-last",
                )
            })?;
            if first != upload.length {
                return Ok(false);
            }
            if last.checked_sub(first).and_then(|n| n.checked_add(1)) != Some(length) {
                return Err(Refusal::new(
                    400,
                    "SIZE_INVALID",
                    "not as long as Content-Range says",
                ));
            }
        }
        // PUSHB-11: only the last chunk may be small.
        if upload.short && length > 0 {
            return Err(Refusal::new(
                400,
                "SIZE_INVALID",
                "an earlier chunk was too small",
            ));
        }
        upload.short = request.method == Method::PATCH && length < least;
        upload.append(&request.body);
        Ok(true)
    }

    fn commit(
        &mut self,
        name: &str,
        named: Digest,
        content: bytes::Bytes,
    ) -> Result<Answer, Refusal> {
        if !named.matches([&content[..]]) {
            let message = "provided digest did not match uploaded content";
            return Err(Refusal::new(400, "DIGEST_INVALID", message)
                .details(vec![json!({"digest": named.as_str()})]));
        }
        let answer = self.created(name, &named);
        self.repository(name).blobs.insert(named, content);
        Ok(answer)
    }

    /// PUSHB-19: `Location` is the blob.
    fn created(&self, name: &str, digest: &Digest) -> Answer {
        let answer = Answer::new(StatusCode::CREATED)
            .header("location", format!("/v2/{name}/blobs/{digest}"));
        self.with_digest(answer, digest)
    }

    /// How far a session is, and its next `Location` (PUSHB-10, PUSHB-30).
    fn progress(&mut self, status: StatusCode, request: &Request, name: &str, id: &str) -> Answer {
        let state = format!("{}==", self.opaque("state"));
        let base = match &self.options.uploads.location {
            Location::Relative => String::new(),
            Location::Absolute => format!("{}://{}", self.options.scheme, request.host),
            Location::Elsewhere(base) => base.clone(),
        };
        let signed = self.options.uploads.signed_location;
        let query = if signed {
            signed_query(&state)
        } else {
            plain_query(&state)
        };
        let (added, _) = self.options.labels.query();
        let shape = self.options.uploads.range;
        let answer = Answer::new(status)
            .header(
                "location",
                format!("{base}/v2/{name}/blobs/uploads/{id}?{query}{added}"),
            )
            .header("docker-upload-uuid", id);
        let Some(upload) = self.uploads.get_mut(id) else {
            return answer;
        };
        upload.state = state;
        // PUSHB-32: nothing and one byte look the same.
        let last = upload.length.saturating_sub(1);
        match shape {
            UploadRange::Correct => answer.header("range", format!("0-{last}")),
            UploadRange::ChunkOnly => answer.header("range", format!("{}-{last}", upload.before)),
            UploadRange::FirstChunk => {
                let first = upload.parts.first().map_or(0, |part| part.len() as u64);
                answer.header("range", format!("0-{}", first.saturating_sub(1)))
            }
            UploadRange::OffByOne => answer.header("range", format!("0-{}", upload.length)),
            UploadRange::Absent => answer,
        }
    }

    /// PUSHB-37: bare, or with what the status GET would say.
    fn out_of_range(&mut self, request: &Request, name: &str, id: &str) -> Answer {
        let mut refusal = Answer::from(Refusal::new(
            416,
            "RANGE_INVALID",
            "the chunk is out of order",
        ));
        if self.options.uploads.help_on_416 {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let help = self.progress(status, request, name, id);
            refusal.headers.extend(help.headers);
        }
        refusal
    }
}

fn plain_query(state: &str) -> String {
    format!("_state={}", super::target::encode(state))
}

/// What clients like to re-encode or sort, around the state.
fn signed_query(state: &str) -> String {
    format!("z=%2fa+b&_state={state}&a=%7E1")
}

/// `^[0-9]+-[0-9]+$`: no unit, no total.
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (first, last) = value.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((number(first)?, number(last)?))
}

fn upload_unknown() -> Refusal {
    Refusal::new(
        404,
        "BLOB_UPLOAD_UNKNOWN",
        "blob upload unknown to registry",
    )
}
