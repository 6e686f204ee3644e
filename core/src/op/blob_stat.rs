//! `HEAD /v2/<name>/blobs/<digest>`: the size of a blob, or why it cannot be had.

use alloc::format;
use alloc::string::String;

use http::{Method, header};

use super::{Answer, Draft, OpOutcome, Operation, Site, Verdict};
use crate::call::{Expect, content_length};
use crate::digest::Digest;
use crate::header::{ContentRange, unsatisfied_total};

/// Finds out whether a blob exists, and its size.
#[derive(Clone, Debug)]
pub(crate) struct BlobStat {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
    pub(crate) by: StatBy,
}

/// How it is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatBy {
    Head,
    /// A GET of the first byte, after a HEAD that told nothing: the answer to a HEAD does not say why
    /// (HTTP-22), and some registries refuse every HEAD.
    FirstByte,
}

impl BlobStat {
    pub(crate) const fn new(site: Site, digest: Digest) -> Self {
        let by = StatBy::Head;
        Self { site, digest, by }
    }

    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("blobs/{}", self.digest));
        match self.by {
            StatBy::Head => Draft::new(Method::HEAD, url, Expect::Head),
            StatBy::FirstByte => {
                Draft::new(Method::GET, url, Expect::Head).with(header::RANGE, "bytes=0-0")
            }
        }
    }

    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        let size = self.size(answer);
        match (size, self.by) {
            (Some(_), _) if answer.contradicts(&self.digest) => {
                Verdict::Failed(answer.peer(format!(
                    "was asked for {}, but its response names another digest",
                    self.digest
                )))
            }
            (Some(size), _) => Verdict::Done(OpOutcome::Stat { size }),
            // Who is not allowed to HEAD is not allowed to GET.
            (None, StatBy::Head) if answer.denied.is_none() => Verdict::Next(self.first_byte()),
            (None, _) if answer.status.is_success() => {
                Verdict::Failed(answer.peer("does not say how large the blob is"))
            }
            (None, _) => Verdict::Failed(answer.failure(&self.what())),
        }
    }

    /// What follows a HEAD that failed.
    pub(super) fn without_head(self) -> Option<Verdict> {
        (self.by == StatBy::Head).then(|| Verdict::Next(self.first_byte()))
    }

    fn first_byte(self) -> Operation {
        let by = StatBy::FirstByte;
        Operation::BlobStat(Self { by, ..self })
    }

    fn size(&self, answer: &Answer) -> Option<u64> {
        let range = || answer.header(header::CONTENT_RANGE);
        match (self.by, answer.status.as_u16()) {
            (StatBy::FirstByte, 206) => ContentRange::parse(range()?)?.total,
            // An empty blob has no first byte.
            (StatBy::FirstByte, 416) => unsatisfied_total(range()?),
            (_, 200..=299) => content_length(&answer.headers),
            _ => None,
        }
    }

    fn what(&self) -> String {
        format!(
            "blob {} of `{}/{}`",
            self.digest, self.site.registry, self.site.repository
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    fn stat(by: StatBy) -> BlobStat {
        let digest = Digest::of(Algorithm::Sha256, b"hello");
        BlobStat {
            by,
            ..BlobStat::new(site(), digest)
        }
    }

    fn shown(verdict: Option<Verdict>) -> String {
        match verdict {
            Some(Verdict::Next(Operation::BlobStat(op))) => format!("{:?}", op.by),
            Some(Verdict::Failed(error)) => format!("{:?}", error.kind()),
            Some(Verdict::Done(outcome)) => format!("{outcome:?}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn answers() {
        use StatBy::{FirstByte, Head};
        let other = Digest::of(Algorithm::Sha256, b"other");
        let length = ("content-length", "5");
        let named = ("docker-content-digest", other.as_str());
        type Headers<'a> = &'a [(&'static str, &'a str)];
        let table: &[(StatBy, u16, Headers<'_>, &str)] = &[
            (Head, 200, &[length], "Stat { size: 5 }"),
            (Head, 200, &[], "FirstByte"),
            (Head, 200, &[length, named], "Refused"),
            (Head, 404, &[], "FirstByte"),
            (Head, 405, &[length], "FirstByte"),
            (Head, 403, &[], "FirstByte"),
            (
                FirstByte,
                206,
                &[("content-range", "bytes 0-0/5")],
                "Stat { size: 5 }",
            ),
            (
                FirstByte,
                206,
                &[("content-range", "bytes 0-0/*")],
                "Refused",
            ),
            (FirstByte, 206, &[("content-length", "1")], "Refused"),
            (FirstByte, 200, &[length], "Stat { size: 5 }"),
            (FirstByte, 200, &[], "Refused"),
            (
                FirstByte,
                416,
                &[("content-range", "bytes */0")],
                "Stat { size: 0 }",
            ),
            (FirstByte, 416, &[], "Refused"),
            (FirstByte, 404, &[], "NotFound"),
            (FirstByte, 403, &[], "Auth"),
        ];
        for (by, status, headers, expected) in table {
            let found = shown(Some(stat(*by).answer(&answer(*status, headers, b""))));
            assert_eq!(found, *expected, "PULLB {by:?} {status} {headers:?}");
        }
        assert_eq!(shown(stat(Head).without_head()), "FirstByte");
        assert_eq!(shown(stat(FirstByte).without_head()), "None");
    }

    #[test]
    fn requests() {
        let draft = stat(StatBy::Head).draft();
        assert_eq!((draft.method, draft.headers.len()), (Method::HEAD, 0));
        let draft = stat(StatBy::FirstByte).draft();
        assert_eq!(draft.method, Method::GET);
        assert_eq!(draft.headers[header::RANGE], "bytes=0-0");
    }
}
