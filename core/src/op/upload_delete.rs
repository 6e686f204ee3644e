//! `DELETE` of an upload session that nothing goes on with (PUSHB-43, PUSHB-44).
//!
//! ```text
//!  Delete ─┬─ 416: bytes came after its URL was given ▶ Ask ─ 2xx with a newer one ▶ Again ─▶ over
//!          └─ anything else ▶ over
//! ```

use http::{Method, StatusCode, header};

use super::{Draft, OpOutcome, Site, Verdict};
use crate::call::Expect;
use crate::uri::Url;

/// Cancels an upload session. Sessions expire, so nothing depends on it.
#[derive(Clone, Debug)]
pub(crate) struct UploadDelete {
    pub(crate) site: Site,
    session: Url,
    step: DeleteStep,
}

#[derive(Clone, Copy, Debug)]
enum DeleteStep {
    Delete,
    Ask,
    Again,
}

impl UploadDelete {
    pub(crate) const fn new(site: Site, session: Url) -> Self {
        Self {
            site,
            session,
            step: DeleteStep::Delete,
        }
    }

    pub(super) fn draft(&self) -> Draft {
        let url = self.session.clone();
        match self.step {
            DeleteStep::Ask => Draft::new(Method::GET, url, Expect::Head),
            DeleteStep::Delete | DeleteStep::Again => {
                Draft::new(Method::DELETE, url, Expect::Head).with(header::CONTENT_LENGTH, "0")
            }
        }
    }

    /// What to request next, if there is anything. CNCF distribution v3 deletes a session only by its newest URL,
    /// and nothing told that one after a request that broke off.
    pub(crate) fn next(&self, status: StatusCode, location: Option<Url>) -> Option<Self> {
        let (step, session) = match self.step {
            DeleteStep::Delete if status == StatusCode::RANGE_NOT_SATISFIABLE => {
                (DeleteStep::Ask, self.session.clone())
            }
            DeleteStep::Ask if status.is_success() => (DeleteStep::Again, location?),
            DeleteStep::Delete | DeleteStep::Ask | DeleteStep::Again => return None,
        };
        let site = self.site.clone();
        Some(Self {
            site,
            session,
            step,
        })
    }

    /// The response does not matter.
    pub(super) const fn answer() -> Verdict {
        Verdict::Done(OpOutcome::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::site;
    use super::*;

    #[test]
    fn a_session_is_deleted_by_its_newest_url() {
        let url = |state: &str| {
            let text = alloc::format!("https://reg.example/v2/a/b/blobs/uploads/u1?_state={state}");
            Url::parse(&text).expect("a URL")
        };
        let line = |op: &UploadDelete| {
            let draft = op.draft();
            alloc::format!("{} {}", draft.method, draft.url.query().unwrap_or("-"))
        };
        let status = |code: u16| StatusCode::from_u16(code).expect("a status");
        let first = UploadDelete::new(site(), url("1"));
        assert_eq!(line(&first), "DELETE _state=1");
        for code in [200, 204, 401, 403, 404, 405, 500] {
            assert!(first.next(status(code), Some(url("2"))).is_none(), "{code}");
        }
        let asks = first.next(status(416), None).expect("it asks");
        assert_eq!(line(&asks), "GET _state=1");
        assert!(asks.next(status(404), Some(url("2"))).is_none());
        assert!(asks.next(status(204), None).is_none());
        let again = asks.next(status(204), Some(url("2"))).expect("again");
        assert_eq!(line(&again), "DELETE _state=2");
        assert!(again.next(status(416), Some(url("3"))).is_none());
    }
}
