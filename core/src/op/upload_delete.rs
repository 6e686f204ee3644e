//! `DELETE` of an unused upload session (PUSHB-43, PUSHB-44).

use http::{Method, header};

use super::{Draft, Outcome, Site, Verdict};
use crate::call::Expect;
use crate::uri::Url;

/// Cancels an upload session. Sessions expire, so nothing depends on it.
#[derive(Clone, Debug)]
pub(crate) struct UploadDelete {
    pub(crate) site: Site,
    pub(crate) session: Url,
}

impl UploadDelete {
    pub(super) fn draft(&self) -> Draft {
        Draft::new(Method::DELETE, self.session.clone(), Expect::Head)
            .with(header::CONTENT_LENGTH, "0")
    }

    /// The response does not matter.
    pub(super) const fn answer() -> Verdict {
        Verdict::Done(Outcome::Absent)
    }
}
