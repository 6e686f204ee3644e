//! `DELETE /v2/<name>/manifests/<reference>` and `DELETE /v2/<name>/blobs/<digest>` (DEL-01 to DEL-03).

use alloc::format;
use alloc::string::String;

use http::Method;

use super::{Answer, Draft, OpOutcome, Site, Verdict};
use crate::call::Expect;
use crate::digest::Digest;
use crate::reference::Target;

/// Deletes a tag, a manifest or a blob.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) site: Site,
    pub(crate) of: DeleteOf,
    /// An earlier attempt may have succeeded: its answer was lost.
    pub(crate) again: bool,
}

/// What is deleted.
#[derive(Clone, Debug)]
pub(crate) enum DeleteOf {
    /// A tag alone, or a manifest with all its tags.
    Manifest(Target),
    Blob(Digest),
}

impl Delete {
    pub(super) fn draft(&self) -> Draft {
        let url = match &self.of {
            DeleteOf::Manifest(target) => self.site.url(&format!("manifests/{target}")),
            DeleteOf::Blob(digest) => self.site.url(&format!("blobs/{digest}")),
        };
        Draft::new(Method::DELETE, url, Expect::Head)
    }

    pub(super) fn answer(&self, answer: &Answer) -> Verdict {
        let status = answer.status.as_u16();
        if answer.status.is_success() || (self.again && matches!(status, 404 | 410)) {
            return Verdict::Done(OpOutcome::Deleted);
        }
        let mut failure = answer.failure(&self.what());
        if answer.denied.is_some() || !matches!(status, 400 | 405 | 501) {
            return Verdict::Failed(failure);
        }
        match self.of {
            DeleteOf::Manifest(Target::Tag(_)) => Verdict::Done(OpOutcome::Undeletable(failure)),
            DeleteOf::Manifest(Target::Digest(_)) | DeleteOf::Blob(_) => {
                failure
                    .replace_hint("the registry may be configured not to delete anything".into());
                Verdict::Failed(failure)
            }
        }
    }

    fn what(&self) -> String {
        let (kind, name) = match &self.of {
            DeleteOf::Manifest(target) => ("manifest", format!("{target}")),
            DeleteOf::Blob(digest) => ("blob", format!("{digest}")),
        };
        format!(
            "{kind} `{name}` of `{}/{}`",
            self.site.registry, self.site.repository
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;
    use crate::digest::Algorithm;

    fn tag() -> DeleteOf {
        DeleteOf::Manifest(Target::Tag("v1".parse().expect("a tag")))
    }

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, b"x")
    }

    #[test]
    fn requests() {
        let digest = digest();
        for (of, expected) in [
            (tag(), "manifests/v1".into()),
            (
                DeleteOf::Manifest(Target::Digest(digest.clone())),
                format!("manifests/{digest}"),
            ),
            (DeleteOf::Blob(digest.clone()), format!("blobs/{digest}")),
        ] {
            let op = Delete {
                site: site(),
                of,
                again: false,
            };
            let draft = op.draft();
            let expected = format!("https://reg.example/v2/a/b/{expected}");
            assert_eq!(
                (draft.method, draft.url.as_str()),
                (Method::DELETE, &*expected)
            );
        }
    }

    #[test]
    fn answers() {
        let manifest = || DeleteOf::Manifest(Target::Digest(digest()));
        let blob = || DeleteOf::Blob(digest());
        // (what, whether it was sent before, status, result)
        for (of, again, status, expected) in [
            (tag(), false, 202, "Deleted"),
            (tag(), false, 200, "Deleted"),
            (tag(), false, 204, "Deleted"),
            (tag(), false, 404, "NotFound"),
            (tag(), true, 404, "Deleted"),
            (tag(), true, 410, "Deleted"),
            (tag(), false, 405, "Undeletable"),
            (tag(), false, 400, "Undeletable"),
            (tag(), false, 501, "Undeletable"),
            (tag(), false, 403, "Auth"),
            (tag(), false, 409, "Refused"),
            (manifest(), false, 202, "Deleted"),
            (manifest(), false, 404, "NotFound"),
            (manifest(), false, 405, "Refused, may be configured"),
            (manifest(), false, 400, "Refused, may be configured"),
            (blob(), false, 202, "Deleted"),
            (blob(), false, 404, "NotFound"),
            (blob(), true, 404, "Deleted"),
            (blob(), false, 405, "Refused, may be configured"),
        ] {
            let op = Delete {
                site: site(),
                of,
                again,
            };
            let found = match op.answer(&answer(status, &[], b"")) {
                Verdict::Done(OpOutcome::Undeletable(_)) => "Undeletable".into(),
                Verdict::Done(outcome) => format!("{outcome:?}"),
                Verdict::Failed(error) => {
                    let hint = error.hint().unwrap_or_default();
                    let is_known = hint.contains("may be configured");
                    let hint = if is_known { ", may be configured" } else { "" };
                    format!("{:?}{hint}", error.kind())
                }
                next @ Verdict::Next(_) => format!("{next:?}"),
            };
            assert_eq!(
                found, expected,
                "DEL-01, DEL-02, DEL-03 {status} {:?}",
                op.of
            );
        }
    }
}
