//! `GET /v2/`: whether a registry accepts the credentials for it (PING, AUTH-24).

use alloc::format;

use http::Method;

use super::{Answer, Draft, OpOutcome, Ping, Site, Verdict};
use crate::call::Expect;
use crate::task::Checked;

/// Asks the registry for nothing but to be let in. A token for it has no scope.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) site: Site,
}

impl Check {
    pub(super) fn draft(&self) -> Draft {
        let site = self.site.clone();
        Draft::new(Method::GET, Ping { site }.url(), Expect::Head)
    }

    pub(super) fn answer(&self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            let asked = answer.presented != Answer::NO_CREDENTIALS;
            let anonymous = !asked || answer.presented == Answer::ANONYMOUS_TOKEN;
            return Verdict::Done(OpOutcome::Accepted(Checked { anonymous, asked }));
        }
        let what = format!("a registry at {}", self.site.origin);
        Verdict::Failed(answer.failure(&what))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, site};
    use super::*;

    #[test]
    fn request() {
        let draft = Check { site: site() }.draft();
        assert_eq!(draft.method, Method::GET);
        assert_eq!(draft.url.as_str(), "https://reg.example/v2/");
    }

    #[test]
    fn answers() {
        let table = [
            (
                200,
                "the credentials of `u`",
                "anonymous: false, asked: true",
            ),
            (200, "a fresh token of `u`", "anonymous: false, asked: true"),
            (200, "no credentials", "anonymous: true, asked: false"),
            (
                200,
                "a fresh anonymous token",
                "anonymous: true, asked: true",
            ),
            (401, "the credentials of `u`", "Auth"),
            (403, "the credentials of `u`", "Auth"),
            (404, "no credentials", "NotFound"),
            (400, "no credentials", "Refused"),
        ];
        for (status, presented, expected) in table {
            let mut answer = answer(status, &[], b"");
            answer.presented = presented.into();
            let found = match (Check { site: site() }).answer(&answer) {
                Verdict::Done(OpOutcome::Accepted(Checked { anonymous, asked })) => {
                    format!("anonymous: {anonymous}, asked: {asked}")
                }
                Verdict::Done(other) => format!("{other:?}"),
                Verdict::Failed(error) => format!("{:?}", error.kind()),
                next @ Verdict::Next(_) => format!("{next:?}"),
            };
            assert_eq!(found, expected, "{status} with {presented}");
        }
    }
}
