//! Blobs: GET, HEAD, DELETE, and single ranges.
//!
//! Responsible for: PULLB, RNG, DEL-03.
//! Must not know: how blobs came to be there.

use core::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::message::{Answer, Refusal, Request};
use super::options::{BlobHeads, Ranges};
use super::target::digest;
use super::{Model, method_not_allowed};
use crate::Digest;

impl Model {
    pub(crate) fn blob(
        &mut self,
        request: &Request,
        name: &str,
        reference: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let digest = digest(reference)?;
        if request.method == Method::HEAD
            && let BlobHeads::Refused(status) = self.options.blob_heads
        {
            let message = "blobs have no HEAD";
            return Err(Refusal::new(status.as_u16(), "UNSUPPORTED", message));
        }
        let repository = self.repositories.get(name);
        let blob = repository
            .and_then(|repository| repository.blobs.get(&digest))
            .cloned();
        let blob = blob.or_else(|| self.vouched_for(request, &digest));
        let blob = blob.ok_or_else(|| {
            Refusal::new(404, "BLOB_UNKNOWN", "blob unknown to registry")
                .details(vec![serde_json::json!({"digest": digest.as_str()})])
        });
        match request.method {
            Method::GET | Method::HEAD if self.redirects(&request.method) => {
                blob.map(|_| self.redirect_to_storage(name, &digest, now))
            }
            Method::GET | Method::HEAD => blob.map(|blob| self.serve(request, &digest, &blob)),
            Method::DELETE if !self.options.deletes.blobs => Err(method_not_allowed()),
            Method::DELETE => {
                blob?;
                self.repository(name).blobs.remove(&digest);
                Ok(Answer::new(StatusCode::ACCEPTED))
            }
            _ => Err(method_not_allowed()),
        }
    }

    fn redirects(&self, method: &Method) -> bool {
        let redirects_heads = self.options.blob_heads == BlobHeads::Redirected;
        self.options.storage.is_some() && (method == Method::GET || redirects_heads)
    }

    /// A blob that a HEAD reports although another repository has it.
    fn vouched_for(&self, request: &Request, digest: &Digest) -> Option<Bytes> {
        if request.method != Method::HEAD || !self.options.vouches {
            return None;
        }
        let mut repositories = self.repositories.values();
        repositories.find_map(|repository| repository.blobs.get(digest).cloned())
    }

    /// The blob, or the part of it that is asked for.
    pub(crate) fn serve(&self, request: &Request, digest: &Digest, blob: &Bytes) -> Answer {
        let etag = format!("\"{digest}\"");
        let full = |status| {
            let answer = Answer::new(status)
                .header("content-type", "application/octet-stream")
                .header("etag", &etag);
            let answer = self.options.labels.content(answer);
            if self.options.digest_header {
                answer.header("docker-content-digest", digest.as_str())
            } else {
                answer
            }
        };
        // RFC 9110 §13.1.5: an If-Range that does not match means the whole.
        let current = request
            .field(header::IF_RANGE)
            .is_none_or(|value| value == etag);
        // RNG-02: only GET has ranges.
        let wanted = match request.field(header::RANGE) {
            Some(value) if request.method == Method::GET && current => {
                parse_range(value, blob.len() as u64)
            }
            _ => Wanted::Whole,
        };
        let most = match self.options.ranges {
            Ranges::Honoured => u64::MAX,
            Ranges::Ignored => return full(StatusCode::OK).body(blob.clone()),
            Ranges::Shortened(most) => most.max(1),
        };
        match wanted {
            Wanted::Whole => full(StatusCode::OK)
                .header("accept-ranges", "bytes")
                .body(blob.clone()),
            Wanted::Part { first, last } => {
                let last = last.min(first.saturating_add(most - 1));
                let part = slice(blob, first, last);
                full(StatusCode::PARTIAL_CONTENT)
                    .header("accept-ranges", "bytes")
                    .header(
                        "content-range",
                        format!("bytes {first}-{last}/{}", blob.len()),
                    )
                    .body(part)
            }
            Wanted::Nothing => {
                let refusal = Refusal::new(416, "RANGE_INVALID", "the range cannot be satisfied");
                Answer::from(refusal).header("content-range", format!("bytes */{}", blob.len()))
            }
        }
    }
}

/// What a `Range` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part { first: u64, last: u64 },
    Nothing,
}

/// RFC 9110 §14.1.2. What is malformed, or more than one range, is as if it were not there.
fn parse_range(value: &str, length: u64) -> Wanted {
    let Some((first, last)) = value
        .strip_prefix("bytes=")
        .and_then(|r| r.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) {
        return Wanted::Whole;
    }
    // Too many digits for a u64 is a number beyond every blob.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    if first.is_empty() {
        let suffix = number(last).min(length);
        return match suffix {
            0 => Wanted::Nothing,
            suffix => Wanted::Part {
                first: length - suffix,
                last: length - 1,
            },
        };
    }
    let first = number(first);
    if !last.is_empty() && number(last) < first {
        return Wanted::Whole;
    }
    if first >= length {
        return Wanted::Nothing;
    }
    let last = if last.is_empty() {
        length - 1
    } else {
        number(last).min(length - 1)
    };
    Wanted::Part { first, last }
}

fn slice(blob: &Bytes, first: u64, last: u64) -> Bytes {
    let at = |n: u64| usize::try_from(n).map_or(blob.len(), |n| n.min(blob.len()));
    blob.slice(at(first)..at(last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Wanted::Part { first, last };
        for (value, wanted) in [
            // RNG-14: conformance's six, on 2048 bytes.
            ("bytes=500-1499", part(500, 1499)),
            ("bytes=500-", part(500, 2047)),
            ("bytes=-500", part(1548, 2047)),
            ("bytes=2000-5000", part(2000, 2047)),
            ("bytes=500-0", Wanted::Whole),
            ("bytes=5000-10000", Wanted::Nothing),
            ("bytes=0-0", part(0, 0)),
            ("bytes=-5000", part(0, 2047)),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=2048-", Wanted::Nothing),
            ("bytes=99999999999999999999-", Wanted::Nothing),
            ("bytes=0-99999999999999999999", part(0, 2047)),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes 0-1", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
        ] {
            assert_eq!(parse_range(value, 2048), wanted, "{value}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(parse_range("bytes=-5", 0), Wanted::Nothing);
    }
}
