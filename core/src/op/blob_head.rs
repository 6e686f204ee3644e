//! `HEAD /v2/<name>/blobs/<digest>`: whether a blob exists. Also the auth probe with a small
//! response.

use alloc::format;

use http::Method;

use super::{Answer, Draft, Outcome, Site, Verdict};
use crate::call::Expect;
use crate::digest::Digest;

/// Checks whether a blob exists in a repository.
#[derive(Clone, Debug)]
pub(crate) struct BlobHead {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
}

impl BlobHead {
    pub(super) fn draft(&self) -> Draft {
        Draft::new(
            Method::HEAD,
            self.site.url(&format!("blobs/{}", self.digest)),
            Expect::Head,
        )
    }

    /// Anything but a success counts as absent: the upload that follows shows whether it is
    /// allowed. Some registries refuse every HEAD, and some redirect it to a storage that does.
    pub(super) fn answer(&self, answer: &Answer) -> Verdict {
        Verdict::Done(if answer.has_blob(&self.digest) {
            Outcome::Present { unused: None }
        } else {
            Outcome::Absent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn answers() {
        for (status, expected) in [
            (200, "Present { unused: None }"),
            (204, "Present { unused: None }"),
            (400, "Absent"),
            (401, "Absent"),
            (403, "Absent"),
            (404, "Absent"),
            (405, "Absent"),
            (410, "Absent"),
            (501, "Absent"),
        ] {
            let digest = Digest::of(Algorithm::Sha256, b"hello");
            let op = BlobHead {
                site: site(),
                digest,
            };
            let found = match op.answer(&answer(status, &[], b"")) {
                Verdict::Done(outcome) => format!("{outcome:?}"),
                Verdict::Failed(error) => format!("{:?}", error.kind()),
                next @ Verdict::Next(_) => format!("{next:?}"),
            };
            assert_eq!(found, expected, "PUSHB-02 {status}");
        }
    }
}
