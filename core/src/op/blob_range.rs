//! `GET /v2/<name>/blobs/<digest>` of some bytes in the middle of a blob (RNG).
//!
//! The bytes have no digest of their own, so they are not verified: the caller is told so. A server may
//! return fewer bytes than requested (RNG-05), and a whole blob that is no longer than the range (RNG-06).

use alloc::format;
use core::ops::Range;

use http::{Method, StatusCode, header};

use super::{Answer, Draft, OpOutcome, Site, Verdict};
use crate::call::{Expect, Flaw};
use crate::digest::Digest;
use crate::error::{Error, Measure};
use crate::header::{ContentRange, encoding, range_header};
use crate::task::BlobRange;

/// Reads some bytes of a blob.
#[derive(Clone, Debug)]
pub(crate) struct RangeGet {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
    /// Not empty.
    pub(crate) range: Range<u64>,
    /// The range is the whole blob, which is verified.
    pub(crate) is_whole: bool,
}

impl RangeGet {
    /// Reads a small blob into memory, verified.
    pub(crate) const fn whole(site: Site, digest: Digest, size: u64) -> Self {
        Self {
            site,
            digest,
            range: 0..size,
            is_whole: true,
        }
    }

    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("blobs/{}", self.digest));
        let limit = self.range.end - self.range.start;
        let digest = self.is_whole.then(|| self.digest.clone());
        let draft = Draft::new(Method::GET, url, Expect::Part { limit, digest });
        if self.is_whole {
            return draft;
        }
        // Closed, because some servers refuse open ranges (clients.md C.17.3).
        let range = range_header(self.range.start, self.range.end - 1);
        draft.with(header::RANGE, &range)
    }

    pub(super) fn answer(&self, answer: &Answer) -> Verdict {
        match self.part(answer) {
            Ok(part) => Verdict::Done(OpOutcome::Part(part)),
            Err(error) => Verdict::Failed(error),
        }
    }

    fn part(&self, answer: &Answer) -> Result<BlobRange, Error> {
        if !answer.status.is_success() {
            return Err(answer.failure(&format!("blob {}", self.digest)));
        }
        let encoding = encoding(&answer.headers);
        if let Some(Flaw::Digest { found }) = &answer.flaw {
            let len = answer.bytes().len() as u64;
            return Err(Error::mismatch(
                format!("blob {}", self.digest),
                Measure::of(&self.digest, self.range.end),
                Measure::of(found, len).adding(&encoding),
            ));
        }
        // The digest of a whole blob says what its bytes are, whatever the header says (HTTP-16).
        if !encoding.is_empty() && !self.is_whole {
            return Err(answer.peer(format!("answered a Range with encoded bytes{encoding}")));
        }
        let bytes = answer.bytes();
        let len = bytes.len() as u64;
        if answer.status != StatusCode::PARTIAL_CONTENT {
            // The whole blob, if it is no longer than what was requested.
            return match answer.flaw {
                None if self.range.start == 0 => Ok(BlobRange {
                    bytes: bytes.to_vec(),
                    total: Some(len),
                }),
                Some(Flaw::TooLarge { limit }) if self.is_whole => {
                    Err(answer.peer(format!("sent more than the {limit} bytes of the blob")))
                }
                None | Some(_) => Err(answer.peer("answered a Range with the whole blob")),
            };
        }
        if let Some(Flaw::TooLarge { .. }) = answer.flaw {
            return Err(answer.peer("answered a Range with more bytes than requested"));
        }
        let said = answer
            .header(header::CONTENT_RANGE)
            .unwrap_or("no valid value");
        let fits = |range: &ContentRange| {
            range.first == self.range.start
                && range.last < self.range.end
                && range.total.is_none_or(|total| range.last < total)
                && range.last - range.first + 1 == len
        };
        match ContentRange::parse(said).filter(fits) {
            Some(range) => Ok(BlobRange {
                bytes: bytes.to_vec(),
                total: range.total,
            }),
            None => {
                let what = format!("answered a Range with {len} bytes and Content-Range: {said}");
                Err(answer.peer(what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use alloc::vec;

    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    /// RNG-01, 02, 05, 06, 08.
    #[test]
    fn answers() {
        let get = |range| RangeGet {
            site: site(),
            digest: Digest::of(Algorithm::Sha256, b"hello"),
            range,
            is_whole: false,
        };
        let draft = get(2..5).draft();
        assert_eq!(draft.headers[header::RANGE], "bytes=2-4");
        let said = |value| vec![("content-range", value)];
        for (range, status, headers, body, expected) in [
            (2..4, 206, said("bytes 2-3/5"), "ll", Ok(("ll", Some(5)))),
            (2..4, 206, said("bytes 2-3/*"), "ll", Ok(("ll", None))),
            (2..9, 206, said("bytes 2-4/5"), "llo", Ok(("llo", Some(5)))),
            (0..5, 200, vec![], "hello", Ok(("hello", Some(5)))),
            (0..9, 200, vec![], "hello", Ok(("hello", Some(5)))),
            (2..4, 200, vec![], "hello", Err("whole blob")),
            (2..4, 206, vec![], "ll", Err("no valid value")),
            (2..4, 206, said("bytes 1-2/5"), "el", Err("bytes 1-2/5")),
            (2..4, 206, said("bytes 2-4/5"), "llo", Err("bytes 2-4/5")),
            (2..4, 206, said("bytes 2-3/5"), "l", Err("1 bytes")),
            (2..4, 206, said("bytes 2-3/3"), "ll", Err("bytes 2-3/3")),
            (7..9, 416, vec![], "", Err("416")),
            (2..4, 404, vec![], "", Err("blob sha256:")),
            (
                0..5,
                200,
                vec![("content-encoding", "gzip")],
                "hello",
                Err("gzip"),
            ),
        ] {
            let context = format!("{range:?} {status} {headers:?}");
            let answer = answer(status, &headers, body.as_bytes());
            match (get(range).answer(&answer), expected) {
                (Verdict::Done(OpOutcome::Part(part)), Ok((bytes, total))) => {
                    assert_eq!(
                        (&*part.bytes, part.total),
                        (bytes.as_bytes(), total),
                        "{context}"
                    );
                }
                (Verdict::Failed(error), Err(text)) => {
                    assert!(error.to_string().contains(text), "{context}: {error}");
                }
                (verdict, _) => panic!("{context}: {verdict:?}"),
            }
        }
        let mut long = answer(206, &said("bytes 2-3/5"), b"ll");
        long.flaw = Some(Flaw::TooLarge { limit: 2 });
        let verdict = get(2..4).answer(&long);
        assert!(
            matches!(verdict, Verdict::Failed(Error::Peer { .. })),
            "{verdict:?}"
        );
    }
    /// A configuration, for instance: no Range, and another one is a mismatch.
    #[test]
    fn a_whole_blob_is_what_was_asked_for() {
        let digest = Digest::of(Algorithm::Sha256, b"hello");
        let get = RangeGet::whole(site(), digest, 5);
        assert!(get.draft().headers.is_empty());
        let flaws = [
            (Flaw::TooLarge { limit: 5 }, "more than the 5 bytes"),
            (
                Flaw::Digest {
                    found: Digest::of(Algorithm::Sha256, b"hullo"),
                },
                "expected sha256:2cf24dba",
            ),
        ];
        for (flaw, text) in flaws {
            let mut answer = answer(200, &[], b"hullo");
            answer.flaw = Some(flaw);
            let Verdict::Failed(error) = get.answer(&answer) else {
                panic!("it is another one");
            };
            assert!(error.to_string().contains(text), "{error}");
        }
        // Its digest matches, whatever a header says of it.
        let labelled = answer(200, &[("content-encoding", "gzip")], b"hello");
        let verdict = get.answer(&labelled);
        assert!(
            matches!(&verdict, Verdict::Done(OpOutcome::Part(part)) if *part.bytes == *b"hello"),
            "{verdict:?}"
        );
    }
}
