//! Credentials that expire or are refused are asked for again, once.

use super::*;

const FRESH: Duration = Duration::from_secs(5);

pub(super) fn password(password: &str) -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new(password),
    }
}

/// A bench with a Basic registry that has accepted request 0.
pub(super) fn basic(answer: impl Into<TimedAnswer>) -> Bench {
    let mut bench = Bench::pulling();
    bench.challenged_by(BASIC, answer);
    assert_eq!(bench.permit(0), "go with Basic YWxpY2U6b25l");
    bench.accepted(0);
    bench
}

impl Bench {
    pub(super) fn challenged_by(&mut self, challenge: &str, answer: impl Into<TimedAnswer>) {
        assert_eq!(self.permit(0), "go");
        assert_eq!(self.refused(0, 401, challenge), "again");
        assert_eq!(self.permit(0), "ask for https://reg.example");
        self.answered(answer);
        assert_eq!(self.resumed(), [0]);
    }

    pub(super) fn later(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }
}

pub(super) const ASK: &str = "ask for https://reg.example again";
pub(super) const ASK_AGAIN: &str = "ask for https://reg.example again, again";

#[test]
fn another_secret_goes_on() {
    let mut bench = basic(password("one"));
    bench.later(5);
    for id in [1, 2, 3] {
        assert_eq!(bench.permit(id), "go with Basic YWxpY2U6b25l");
    }
    // One question, however many are refused.
    assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
    assert_eq!(bench.refused(2, 401, BASIC), "again");
    assert_eq!(bench.permit(1), "park");
    assert_eq!(bench.permit(2), "park");
    bench.answered(password("two"));
    assert_eq!(bench.resumed(), [1, 2]);
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6dHdv");
    assert_eq!(bench.permit(2), "go with Basic YWxpY2U6dHdv");
    // A refusal of the old secret that comes late is none of the new one.
    bench.later(6);
    assert_eq!(bench.refused(3, 401, BASIC), "again");
    assert_eq!(bench.permit(3), "go with Basic YWxpY2U6dHdv");
    // A second death is another question, and a third.
    bench.accepted(1);
    assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
}

/// Credentials that expire once more while a request waits for its next try are asked for once more.
#[test]
fn each_try_asks_again() {
    let mut bench = basic(password("one"));
    bench.later(5);
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6b25l");
    assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
    assert_eq!(bench.permit(1), "park");
    bench.answered(password("two"));
    assert_eq!(bench.resumed(), [1]);
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6dHdv");
    // The response was 429: try again in a minute.
    bench.broker.handle(AuthInput::TriedAgain(ExchangeId(1)));
    bench.later(60);
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6dHdv");
    assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
    // Within one try it is once.
    assert_eq!(bench.permit(1), "park");
    bench.answered(password("three"));
    assert_eq!(bench.resumed(), [1]);
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6dGhyZWU=");
    bench.later(60);
    assert_ne!(bench.refused(1, 401, BASIC), ASK_AGAIN);
}

#[test]
fn the_same_secret_is_denied() {
    let mut bench = basic(password("one"));
    bench.later(5);
    for id in [1, 2] {
        assert_eq!(bench.permit(id), "go with Basic YWxpY2U6b25l");
    }
    assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
    assert_eq!(bench.permit(1), "park");
    bench.answered(password("one"));
    assert_eq!(bench.resumed(), [1]);
    let denied = "denied with the credentials of `alice`";
    assert_eq!(bench.permit(1), denied);
    // The answer is fresh: nothing is asked for the others.
    assert_eq!(bench.refused(2, 401, BASIC), denied);
    // A later task may find another secret; a refused request asks once.
    bench.later(5);
    assert_eq!(bench.permit(3), "go with Basic YWxpY2U6b25l");
    assert_eq!(bench.refused(3, 401, BASIC), ASK_AGAIN);
    assert_eq!(bench.permit(3), "park");
    bench.later(5);
    bench.answered(password("two"));
    bench.later(5);
    assert_eq!(bench.permit(3), "go with Basic YWxpY2U6dHdv");
    assert_eq!(bench.refused(3, 401, BASIC), denied);
}

#[test]
fn an_answer_that_was_just_given_is_not_asked_for_again() {
    let mut bench = basic(password("one"));
    bench.now = Time::ZERO + (FRESH - Duration::from_micros(1));
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6b25l");
    let denied = "denied with the credentials of `alice`";
    assert_eq!(bench.refused(1, 401, BASIC), denied);
    bench.now = Time::ZERO + FRESH;
    assert_eq!(bench.permit(2), "go with Basic YWxpY2U6b25l");
    assert_eq!(bench.refused(2, 401, BASIC), ASK_AGAIN);
}

#[test]
fn an_answer_that_expires_is_asked_for_again() {
    let minute = Duration::from_secs(60);
    let mut bench = basic(password("one").valid_for(minute));
    bench.now = Time::ZERO + (minute - Duration::from_micros(1));
    assert_eq!(bench.permit(1), "go with Basic YWxpY2U6b25l");
    bench.now = Time::ZERO + minute;
    assert_eq!(bench.permit(2), ASK);
    assert_eq!(bench.permit(3), "park");
    // The same secret, renewed.
    bench.answered(password("one").valid_for(minute));
    assert_eq!(bench.resumed(), [2, 3]);
    assert_eq!(bench.permit(2), "go with Basic YWxpY2U6b25l");
    // One that has expired is used for five seconds, so that no source can make a session ask for ever.
    bench.later(60);
    assert_eq!(bench.permit(4), ASK);
    bench.answered(password("two").valid_for(Duration::ZERO));
    for _ in 0..2 {
        assert_eq!(bench.permit(4), "go with Basic YWxpY2U6dHdv");
        bench.later(2);
    }
    bench.later(1);
    assert_eq!(bench.permit(4), ASK);
}

/// What was asked for again and is gone is no reason to go on anonymously (AUTH-47).
#[test]
fn no_secret_after_a_refusal_is_denied() {
    let failed = "the helper was not found";
    for (answer, hint) in [
        (
            CredentialAnswer::None,
            "there are no credentials for `reg.example`",
        ),
        (CredentialAnswer::Failed(failed.into()), failed),
    ] {
        let mut bench = basic(password("one"));
        bench.later(5);
        assert_eq!(bench.permit(1), "go with Basic YWxpY2U6b25l");
        assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
        assert_eq!(bench.permit(1), "park");
        bench.answered(answer);
        let permit = bench.broker.permit(&request!(bench, 1), bench.now);
        let Permit::Denied(error) = permit else {
            panic!("{permit:?}")
        };
        assert_eq!(error.presented, "the credentials of `alice`");
        assert_eq!(error.hint.as_deref(), Some(hint));
    }
}

/// Credentials that were missing or failed are asked for again, too, before a request is denied.
#[test]
fn credentials_that_were_missing() {
    for challenge in [BASIC, BEARER] {
        let mut bench = Bench::pulling();
        bench.challenged_by(challenge, CredentialAnswer::Failed("no helper".into()));
        bench.later(5);
        if challenge == BEARER {
            let fetch = "fetch repository:a/b:pull with no credentials";
            assert_eq!(bench.permit(0), fetch);
            bench.granted("T1");
            assert_eq!(bench.permit(0), "go with Bearer T1");
            assert_eq!(bench.refused(0, 401, BEARER), ASK_AGAIN);
            assert_eq!(bench.permit(0), "park");
        } else {
            assert_eq!(bench.permit(0), ASK);
        }
        bench.answered(password("one"));
        assert_eq!(bench.resumed(), [0]);
        let next = bench.permit(0);
        assert!(next.starts_with("go with Basic") || next.ends_with("of `alice`"));
    }
}

/// The token service refuses what it took before. 403: as ghcr.io answers a token that was revoked.
#[test]
fn a_refused_token_request_asks_again() {
    for status in [401, 403] {
        let mut bench = Bench::pulling().with_token_for(password("one"));
        bench.accepted(0);
        bench.later(300);
        let fetch = "fetch repository:a/b:pull with the credentials of `alice`";
        assert_eq!(bench.permit(0), fetch);
        assert_eq!(bench.permit(1), "park");
        bench.not_granted_to(status, &[0, 1]);
        assert_eq!(bench.permit(0), ASK);
        assert_eq!(bench.permit(1), "park");
        bench.answered(password("two"));
        assert_eq!(bench.resumed(), [0, 1]);
        assert_eq!(bench.permit(0), fetch);
        assert_eq!(bench.permit(1), "park");
        // The new one is refused at once: that is final.
        bench.not_granted_to(status, &[0, 1]);
        assert_eq!(bench.permit(0), "denied with x");
        assert_eq!(bench.permit(1), "denied with x");
        assert_eq!(bench.permit(2), "go", "the challenge is looked for again");
    }
}

/// All that waited for the token are denied, none of them goes out to probe the host.
#[test]
fn the_same_secret_is_denied_to_all_who_wait() {
    let mut bench = Bench::pulling().with_token_for(password("one"));
    bench.accepted(0);
    bench.later(300);
    assert!(bench.permit(0).starts_with("fetch"));
    assert_eq!(bench.permit(1), "park");
    bench.not_granted_to(401, &[0, 1]);
    assert_eq!(bench.permit(0), ASK);
    assert_eq!(bench.permit(1), "park");
    bench.answered(password("one"));
    assert_eq!(bench.resumed(), [0, 1]);
    assert_eq!(bench.permit(0), "denied with x");
    assert_eq!(bench.permit(1), "denied with x");
    assert_eq!(bench.permit(2), "go", "the challenge is looked for again");
}

/// A token that grants too little is no sign of a dead credential; one that is invalid is.
#[test]
fn a_refused_token_of_old_credentials() {
    let mut bench = Bench::pulling().with_token_for(password("one"));
    bench.later(5);
    let denied = "denied with a fresh token of `alice`";
    assert_eq!(bench.refused(0, 403, MORE), denied);
    assert_eq!(bench.permit(1), "go with Bearer T1");
    assert_eq!(bench.refused(1, 401, INVALID), "again");
    assert!(bench.permit(1).starts_with("fetch"));
    bench.granted("T2");
    assert_eq!(bench.permit(1), "go with Bearer T2");
    assert_eq!(bench.refused(1, 401, INVALID), ASK_AGAIN);
}

/// Credentials that were withheld were not refused.
#[test]
fn withheld_credentials_are_not_asked_for_again() {
    let challenge = r#"Bearer realm="https://id.example/token",service="s""#;
    let mut bench = Bench::pulling();
    bench.broker.anonymous_fallback = true;
    assert_eq!(bench.permit(0), "go");
    assert_eq!(bench.refused(0, 401, challenge), "again");
    assert_eq!(bench.permit(0), "ask for https://id.example");
    bench.answered(alice());
    assert!(bench.permit(0).starts_with("fetch"));
    bench.granted("T1");
    bench.later(60);
    assert_eq!(bench.permit(0), "go with Bearer T1");
    let denied = "denied with a fresh anonymous token";
    assert_eq!(bench.refused(0, 401, challenge), denied);
    assert_eq!(bench.warnings.len(), 1, "{:?}", bench.warnings);
}

mod anonymously {
    use super::*;

    fn falling_back(task_scopes: &str) -> Bench {
        let mut bench = Bench::new(task_scopes, "repository:a/b:pull");
        bench.broker.anonymous_fallback = true;
        bench
    }

    #[test]
    fn a_refused_credential_is_left_out_for_reading() {
        let mut bench = falling_back("repository:a/b:pull");
        bench.challenged_by(BASIC, alice());
        assert_eq!(bench.permit(1), "go with Basic YWxpY2U6cGE1NQ==");
        assert_eq!(bench.refused(1, 401, BASIC), "again");
        assert_eq!(
            core::mem::take(&mut bench.warnings),
            [
                "GET https://r.example/v2/: 401 with the credentials of `alice`; going on anonymously, as is allowed for reading"
            ]
        );
        assert_eq!(bench.permit(1), "go");
        assert_eq!(bench.permit(2), "go");
        // It was anonymous before: there is nothing more to try.
        assert_eq!(bench.permit(0), "denied with no credentials");
        assert_eq!(bench.refused(2, 401, BASIC), "again");
        assert_eq!(bench.permit(2), "denied with no credentials");
        let hint =
            "the credentials for `reg.example` were refused, so that the request was anonymous";
        assert_eq!(bench.hint(2).as_deref(), Some(hint));
        assert!(bench.warnings.is_empty());
        // The next task tries the credentials again.
        bench.broker.handle(AuthInput::TaskBegan);
        assert_eq!(bench.permit(3), "go with Basic YWxpY2U6cGE1NQ==");
    }

    #[test]
    fn a_token_is_fetched_anonymously() {
        for status in [401, 403] {
            let mut bench = falling_back("repository:a/b:pull");
            bench.challenged_by(BEARER, alice());
            assert!(bench.permit(0).ends_with("with the credentials of `alice`"));
            bench.not_granted(status);
            let fetch = "fetch repository:a/b:pull with no credentials";
            assert_eq!(bench.permit(0), fetch);
            assert_eq!(bench.warnings.len(), 1);
            bench.granted("T1");
            assert_eq!(bench.permit(0), "go with Bearer T1");
            let denied = "denied with a fresh anonymous token";
            assert_eq!(bench.refused(0, 401, BEARER), denied);
        }
    }

    #[test]
    fn a_token_that_grants_too_little_is_left_out() {
        let mut bench = falling_back("repository:a/b:pull").with_token_for(alice());
        assert_eq!(bench.refused(0, 403, MORE), "again");
        let fetch = "fetch repository:a/b:pull with no credentials";
        assert_eq!(bench.permit(0), fetch);
    }

    /// An old answer is asked for again first.
    #[test]
    fn other_credentials_come_first() {
        for same in [true, false] {
            let mut bench = falling_back("repository:a/b:pull");
            bench.challenged_by(BASIC, password("one"));
            assert_eq!(bench.permit(1), "go with Basic YWxpY2U6b25l");
            bench.later(5);
            assert_eq!(bench.refused(1, 401, BASIC), ASK_AGAIN);
            assert_eq!(bench.permit(1), "park");
            if same {
                bench.answered(password("one"));
                assert_eq!(bench.permit(1), "go");
            } else {
                bench.answered(password("two"));
                assert_eq!(bench.permit(1), "go with Basic YWxpY2U6dHdv");
                assert_eq!(bench.refused(1, 401, BASIC), "again");
                assert_eq!(bench.permit(1), "go");
            }
            assert_eq!(bench.warnings.len(), 1);
        }
    }

    /// A task that writes is never anonymous, not even where it reads, nor after one that was.
    #[test]
    fn never_for_a_push() {
        let mut bench = falling_back("repository:a/b:pull");
        bench.challenged_by(BASIC, alice());
        assert_eq!(bench.permit(1), "go with Basic YWxpY2U6cGE1NQ==");
        assert_eq!(bench.refused(1, 401, BASIC), "again");
        bench.task_scopes = Scopes::from_challenge("repository:a/b:pull,push");
        assert_eq!(bench.permit(2), "go with Basic YWxpY2U6cGE1NQ==");
        let denied = "denied with the credentials of `alice`";
        assert_eq!(bench.refused(2, 401, BASIC), denied);

        let mut bench = falling_back("repository:a/b:pull,push");
        bench.challenged_by(BEARER, alice());
        assert!(bench.permit(0).starts_with("fetch"));
        bench.not_granted(401);
        assert_eq!(bench.permit(0), "denied with x");
        assert!(bench.warnings.is_empty());
    }

    #[test]
    fn only_where_it_is_allowed() {
        let mut bench = Bench::pulling();
        bench.challenged_by(BASIC, alice());
        assert_eq!(bench.permit(1), "go with Basic YWxpY2U6cGE1NQ==");
        let denied = "denied with the credentials of `alice`";
        assert_eq!(bench.refused(1, 401, BASIC), denied);
    }
}

/// A registry that asked for a token once, by mistake or before it was set up again: its address of the token
/// service leads to nothing.
#[test]
fn an_absent_token_service_makes_a_request_probe_again() {
    let absent = |status| {
        let refusal = crate::error::Refusal {
            request: RequestLine::ping(),
            status,
            errors: RegistryErrors::default(),
            hint: None,
        };
        Error::Registry(refusal.into())
    };
    for (status, probes) in [(404, true), (405, true), (410, true), (400, false)] {
        let mut bench = Bench::pulling().with_token_for(password("one"));
        bench.accepted(0);
        bench.later(300);
        assert!(bench.permit(1).starts_with("fetch"));
        assert_eq!(bench.permit(2), "park");
        let key = bench.fetching.remove(0);
        let error = absent(status);
        bench
            .broker
            .handle(AuthInput::NotGranted(&key, Some(&error)));
        if !probes {
            for id in [1, 2] {
                let output = bench.broker.poll();
                assert!(matches!(output, Some(AuthOutput::Fail(ExchangeId(it), _)) if it == id));
            }
            continue;
        }
        assert_eq!(bench.resumed(), [1, 2]);
        assert_eq!(bench.permit(1), "go");
        assert_eq!(bench.permit(2), "park");
        // It has Basic now.
        assert_eq!(bench.refused(1, 401, "Basic realm=\"r\""), "again");
        assert!(bench.permit(1).starts_with("go with Basic"));
        assert!(bench.permit(2).starts_with("go with Basic"));
    }
    // The same challenge once more is no mistake.
    let mut bench = Bench::pulling();
    assert_eq!(bench.permit(0), "go");
    assert_eq!(bench.refused(0, 401, BEARER), "again");
    assert!(bench.permit(0).starts_with("ask"));
    bench.answered(password("one"));
    assert!(bench.permit(0).starts_with("fetch"));
    let key = bench.fetching.remove(0);
    let error = absent(404);
    bench
        .broker
        .handle(AuthInput::NotGranted(&key, Some(&error)));
    assert_eq!(bench.outputs().as_deref(), Some("fail Refused"));
}
