//! A 403 to a credential: it may have died, or the user may not do this.

use super::again::{ASK, ASK_AGAIN, basic, password};
use super::*;
use crate::error::RegistryError;

const EXPIRED: &str = "Your authorization token has expired. Reauthenticate and try again.";

fn errors(message: &str) -> RegistryErrors {
    RegistryErrors {
        entries: alloc::vec![RegistryError {
            code: "DENIED".into(),
            message: message.into(),
            digests: Vec::new(),
            detail: None,
        }],
        request_id: None,
    }
}

impl Bench {
    /// Request `id` is answered with 403. `none`: it waits.
    fn forbidden(&mut self, id: u64) -> String {
        assert!(self.may_be_refused(id, 403, ""));
        let (request, status) = (request!(self, id), StatusCode::FORBIDDEN);
        let input = AuthInput::Forbidden(request, status, errors("no"), self.now);
        self.broker.handle(input);
        self.outputs().unwrap_or_else(|| "waits".into())
    }

    /// Request `id`, whose response waits, is resumed.
    fn decided(&mut self, id: u64) -> String {
        self.broker.handle(AuthInput::Doubtful(request!(self, id)));
        self.outputs().unwrap_or_else(|| "waits".into())
    }

    fn may_be_refused(&self, id: u64, status: u16, message: &str) -> bool {
        self.doubt(id, status, message) == Some(Doubt::Refused)
    }

    /// Why a response that is no challenge is in doubt.
    fn doubt(&self, id: u64, status: u16, message: &str) -> Option<Doubt> {
        let status = StatusCode::from_u16(status).expect("a status");
        let (headers, url) = (HeaderMap::new(), self.site.url("manifests/v1"));
        let (id, errors) = (ExchangeId(id), || errors(message));
        self.broker
            .doubt(id, false, (status, &headers), &url, errors)
    }

    fn shows(&mut self, id: u64, secret: &str) {
        assert_eq!(self.permit(id), format!("go with {secret}"));
    }
}

const ONE: &str = "Basic YWxpY2U6b25l";
const TWO: &str = "Basic YWxpY2U6dHdv";

#[test]
fn which_responses_may_be_about_the_credential() {
    let mut bench = basic(password("one"));
    bench.shows(1, ONE);
    for (status, message, expected) in [
        (403, "", true),
        (403, EXPIRED, true),
        (400, EXPIRED, true),
        (400, "Your Authorization Token has expired", true),
        (400, "invalid tag name", false),
        (400, "", false),
        (404, EXPIRED, false),
        (405, "", false),
        (200, EXPIRED, false),
    ] {
        let found = bench.may_be_refused(1, status, message);
        assert_eq!(found, expected, "{status} {message}");
    }
    // A request that carried no secret is for `look`.
    let mut bench = Bench::pulling();
    assert_eq!(bench.permit(0), "go");
    assert!(!bench.may_be_refused(0, 403, ""));
    let bench = Bench::pulling().with_token();
    assert!(!bench.may_be_refused(0, 403, ""));
    let bench = Bench::pulling().with_token_for(password("one"));
    assert!(bench.may_be_refused(0, 403, ""));
    assert!(!bench.may_be_refused(7, 403, ""));
}

#[test]
fn another_secret_goes_on() {
    let mut bench = basic(password("one"));
    bench.later(5);
    for id in [1, 2, 3] {
        bench.shows(id, ONE);
    }
    // One question, however many are refused.
    assert_eq!(bench.forbidden(1), ASK);
    assert_eq!(bench.forbidden(2), "waits");
    assert_eq!(bench.presented(1), "the credentials of `alice`");
    bench.answered(password("two"));
    assert_eq!(bench.resumed(), [1, 2]);
    assert_eq!(bench.decided(1), "again");
    assert_eq!(bench.decided(2), "again");
    bench.shows(1, TWO);
    bench.shows(2, TWO);
    // A refusal of the old secret that comes late is none of the new one.
    bench.later(60);
    assert_eq!(bench.forbidden(3), "again");
    bench.shows(3, TWO);
    // The new one is refused: for the same request it is not asked again.
    assert_eq!(bench.forbidden(3), "stands");
    // A second death is another question.
    bench.accepted(1);
    assert_eq!(bench.forbidden(1), ASK);
}

/// The answer stands, and for a minute no other 403 has the source asked.
#[test]
fn the_same_secret_stands() {
    let mut bench = basic(password("one"));
    bench.later(5);
    for id in [1, 2, 3, 4] {
        bench.shows(id, ONE);
    }
    assert_eq!(bench.forbidden(1), ASK);
    assert_eq!(bench.forbidden(2), "waits");
    bench.answered(password("one"));
    assert_eq!(bench.decided(1), "stands");
    assert_eq!(bench.decided(2), "stands");
    bench.later(59);
    assert_eq!(bench.forbidden(3), "stands");
    // A challenge is another matter.
    assert_eq!(bench.refused(3, 401, BASIC), ASK_AGAIN);
    bench.answered(password("one"));
    bench.later(5);
    assert_eq!(bench.forbidden(4), ASK);
    bench.answered(password("one"));
    assert_eq!(bench.decided(4), "stands");
    bench.later(60);
    bench.shows(5, ONE);
    assert_eq!(bench.forbidden(5), ASK);
}

/// It is told as the registry said it, not as anonymous (AUTH-47).
#[test]
fn no_secret_any_more_stands() {
    for answer in [
        CredentialAnswer::None,
        CredentialAnswer::Failed("no helper".into()),
    ] {
        let mut bench = basic(password("one"));
        bench.later(5);
        bench.shows(1, ONE);
        assert_eq!(bench.forbidden(1), ASK);
        bench.answered(answer);
        assert_eq!(bench.decided(1), "stands");
        assert_eq!(bench.presented(1), "the credentials of `alice`");
    }
}

#[test]
fn an_answer_that_was_just_given_stands() {
    let mut bench = basic(password("one"));
    bench.later(4);
    bench.shows(1, ONE);
    assert_eq!(bench.forbidden(1), "stands");
}

/// A token that the secret bought may be forbidden because of it.
#[test]
fn a_token_of_a_dead_secret() {
    let mut bench = Bench::pulling().with_token_for(password("one"));
    bench.later(5);
    assert_eq!(bench.forbidden(0), ASK);
    bench.answered(password("two"));
    assert_eq!(bench.decided(0), "again");
    let fetch = "fetch repository:a/b:pull with the credentials of `alice`";
    assert_eq!(bench.permit(0), fetch);
}

mod anonymously {
    use super::*;

    fn falling_back(answer: CredentialAnswer) -> Bench {
        let mut bench = basic(answer);
        bench.broker.anonymous_fallback = true;
        bench
    }

    #[test]
    fn what_only_reads_goes_on() {
        let mut bench = falling_back(password("one"));
        bench.shows(1, ONE);
        bench.shows(2, ONE);
        assert_eq!(bench.forbidden(1), "again");
        let warning = "GET https://r.example/v2/: 403 with the credentials of `alice` (DENIED: no); going on anonymously, as is \
                       allowed for reading";
        assert_eq!(core::mem::take(&mut bench.warnings), [warning]);
        assert_eq!(bench.permit(1), "go");
        assert_eq!(bench.forbidden(2), "again");
        assert_eq!(bench.permit(2), "go");
        assert!(bench.warnings.is_empty());
        // Forbidden to strangers, too: that is final, and costs no further question or request.
        for status in [403, 404] {
            assert_eq!(bench.doubt(1, status, ""), Some(Doubt::Unshown));
            assert_eq!(bench.decided(1), "stands");
        }
        let hint =
            "the credentials for `reg.example` were refused, so that the request was anonymous";
        assert_eq!(bench.hint(1).as_deref(), Some(hint));
    }

    /// An old answer is asked for again first.
    #[test]
    fn other_credentials_come_first() {
        for same in [true, false] {
            let mut bench = falling_back(password("one"));
            bench.later(5);
            bench.shows(1, ONE);
            assert_eq!(bench.forbidden(1), ASK);
            if same {
                bench.answered(password("one"));
                assert_eq!(bench.decided(1), "again");
            } else {
                bench.answered(password("two"));
                assert_eq!(bench.decided(1), "again");
                bench.shows(1, TWO);
                assert_eq!(bench.forbidden(1), "again");
            }
            assert_eq!(bench.permit(1), "go");
            assert_eq!(bench.warnings.len(), 1);
        }
    }

    /// HTTP-21: Artifactory forbids HEADs to everybody.
    #[test]
    fn a_head_does_not() {
        let mut bench = falling_back(password("one"));
        bench.later(5);
        for id in [1, 2] {
            bench.shows(id, ONE);
            let mut request = request!(bench, id);
            request.is_head = true;
            let (status, now) = (StatusCode::FORBIDDEN, bench.now);
            let input = AuthInput::Forbidden(request, status, errors(""), now);
            bench.broker.handle(input);
            if id == 1 {
                assert_eq!(bench.outputs().as_deref(), Some(ASK));
                bench.answered(password("one"));
                let mut request = request!(bench, id);
                request.is_head = true;
                bench.broker.handle(AuthInput::Doubtful(request));
            }
            assert_eq!(bench.outputs().as_deref(), Some("stands"));
        }
        assert!(bench.warnings.is_empty());
        bench.shows(3, ONE);
    }

    #[test]
    fn what_writes_does_not() {
        let mut bench = falling_back(password("one"));
        bench.task_scopes = Scopes::from_challenge("repository:a/b:pull,push");
        bench.shows(1, ONE);
        assert_eq!(bench.forbidden(1), "stands");
        bench.shows(2, ONE);
        assert!(bench.warnings.is_empty());
    }
}
