use alloc::format;
use core::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::challenged::ROUNDS;
use super::credentials::checked;
use super::tokens::{KEYS, withheld};
use super::*;
use crate::credential::Access;
use crate::error::RegistryErrors;
use crate::op::Grant;
use crate::op::testing::site;

const BEARER: &str = r#"Bearer realm="https://reg.example/token",service="s""#;
const INVALID: &str =
    r#"Bearer realm="https://reg.example/token",service="s",error="invalid_token""#;
const MORE: &str =
    r#"Bearer realm="https://reg.example/token",service="s",error="insufficient_scope""#;
const BASIC: &str = r#"Basic realm="r""#;

/// Request `id`; a macro, as it borrows the bench's site and scopes only.
macro_rules! request {
    ($bench:expr, $id:expr) => {
        AuthRequest {
            id: ExchangeId($id),
            site: &$bench.site,
            task_scopes: &$bench.task_scopes,
            required_scopes: $bench.required_scopes.clone(),
            large: false,
            is_head: false,
            line: RequestLine::ping(),
        }
    };
}

mod again;
mod forbidden;

#[derive(PartialEq)]
enum Answers {
    Small,
    Large,
}

/// A broker and requests to one repository, which need to pull and will push.
struct Bench {
    broker: Broker,
    site: Site,
    task_scopes: Scopes,
    required_scopes: Scopes,
    fetching: Vec<TokenKey>,
    resumed: Vec<u64>,
    warnings: Vec<String>,
    now: Time,
}

impl Bench {
    fn new(task_scopes: &str, required_scopes: &str) -> Self {
        Self {
            broker: Broker::new(&Config::default()),
            site: site(),
            task_scopes: Scopes::from_challenge(task_scopes),
            required_scopes: Scopes::from_challenge(required_scopes),
            fetching: Vec::new(),
            resumed: Vec::new(),
            warnings: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// Most tasks need no more than this request.
    fn pulling() -> Self {
        Self::new("repository:a/b:pull", "repository:a/b:pull")
    }

    /// Polls; of what is to be done, what is not resuming or warning, in words.
    fn outputs(&mut self) -> Option<String> {
        let mut outputs = Vec::new();
        while let Some(output) = self.broker.poll() {
            outputs.push(match output {
                AuthOutput::Resume(id) => {
                    self.resumed.push(id.0);
                    continue;
                }
                AuthOutput::Warn(_, warning) => {
                    self.warnings.push(warning);
                    continue;
                }
                AuthOutput::Ask(question) => {
                    let again = if question.is_again() { " again" } else { "" };
                    format!("ask for {}{again}", question.recipient())
                }
                AuthOutput::Fetch(_, key, token) => {
                    self.fetching.push(key);
                    format!("fetch {} with {}", token.scopes, token.presented())
                }
                AuthOutput::Probe(_) => "probe".into(),
                AuthOutput::Again(_) => "again".into(),
                AuthOutput::Denied(_, error) => format!("denied with {}", error.presented),
                AuthOutput::Fail(_, error) => format!("fail {:?}", error.kind()),
                AuthOutput::Stands(_) => "stands".into(),
                AuthOutput::Ping(_) => panic!("no response is doubtful"),
            });
        }
        let question = outputs.iter().filter(|it| it.starts_with("ask"));
        assert!(outputs.len() - question.count() < 2, "{outputs:?}");
        (!outputs.is_empty()).then(|| outputs.join(", "))
    }

    /// The requests that are resumed since the last call.
    fn resumed(&mut self) -> Vec<u64> {
        assert_eq!(self.outputs(), None);
        core::mem::take(&mut self.resumed)
    }

    /// The permit of request `id`.
    fn permit(&mut self, id: u64) -> String {
        self.permit_of(id, Answers::Small)
    }

    fn permit_of(&mut self, id: u64, answers: Answers) -> String {
        let mut request = request!(self, id);
        request.large = answers == Answers::Large;
        let permit = self.broker.permit(&request, self.now);
        let outputs = self.outputs();
        match permit {
            Permit::Park => outputs.unwrap_or_else(|| "park".into()),
            _ if outputs.is_some() => panic!("{permit:?}, and {outputs:?}"),
            Permit::Go(None) => "go".into(),
            Permit::Go(Some(value)) => {
                assert!(value.is_sensitive());
                format!("go with {}", value.to_str().expect("visible characters"))
            }
            Permit::Denied(error) => format!("denied with {}", error.presented),
            Permit::Fail(error) => format!("fail {:?}", error.kind()),
        }
    }

    /// Request `id` is answered with this challenge.
    fn refused(&mut self, id: u64, status: u16, challenge: &str) -> String {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(challenge).expect("a value");
        headers.insert("www-authenticate", value);
        let status = StatusCode::from_u16(status).expect("a status");
        let url = self.site.url("manifests/v1");
        let errors = RegistryErrors::default();
        let request = request!(self, id);
        let input = AuthInput::Challenged(request, status, &headers, &url, errors, self.now);
        self.broker.handle(input);
        self.outputs().expect("an answer")
    }

    /// The hint for a refusal of request `id`.
    fn hint(&self, id: u64) -> Option<String> {
        self.broker.explain(&request!(self, id)).1
    }

    /// What request `id` carried, for errors.
    fn presented(&self, id: u64) -> String {
        self.broker.explain(&request!(self, id)).0
    }

    fn accepted(&mut self, id: u64) {
        let accepted = AuthInput::Accepted(ExchangeId(id), &self.site.origin);
        self.broker.handle(accepted);
    }

    fn answered(&mut self, answer: impl Into<TimedAnswer>) {
        let key = CredentialKey {
            registry: self.site.registry.clone(),
            repository: self.site.repository.clone(),
            access: Access::Any,
        };
        let answered = AuthInput::Credentials(key, answer.into(), self.now);
        self.broker.handle(answered);
    }

    /// Returns how many requests are resumed.
    fn granted(&mut self, token: &str) -> usize {
        let key = self.fetching.remove(0);
        let token = Secret::new(token);
        let grant = Grant { token, life: 300 };
        self.resumed();
        self.broker
            .handle(AuthInput::Granted(&key, grant, self.now));
        self.resumed().len()
    }

    /// The token service refuses the token that is being fetched.
    fn not_granted(&mut self, status: u16) {
        self.not_granted_to(status, &[0]);
    }

    fn not_granted_to(&mut self, status: u16, waiting: &[u64]) {
        let key = self.fetching.remove(0);
        let error = Error::Auth(refusal(status).into());
        self.resumed();
        self.broker
            .handle(AuthInput::NotGranted(&key, Some(&error)));
        assert_eq!(self.resumed(), waiting);
    }

    /// Request 0 has learned the scheme and has a token.
    fn with_token(self) -> Self {
        self.with_token_for(CredentialAnswer::None)
    }

    fn with_token_for(mut self, credential: CredentialAnswer) -> Self {
        assert_eq!(self.permit(0), "go");
        assert_eq!(self.refused(0, 401, BEARER), "again");
        assert!(self.permit(0).starts_with("ask"));
        self.answered(credential);
        assert!(self.permit(0).starts_with("fetch"));
        self.granted("T1");
        assert_eq!(self.permit(0), "go with Bearer T1");
        self
    }
}

/// A token service's refusal.
fn refusal(status: u16) -> AuthError {
    AuthError {
        request: RequestLine::ping(),
        status,
        presented: "x".into(),
        errors: RegistryErrors::default(),
        hint: None,
    }
}

fn alice() -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new("pa55"),
    }
}

/// AUTH 4.6, rows 1, 2 and 4: no token at first; a challenge is met once.
#[test]
fn no_token_then_one_then_cached() {
    let mut bench = Bench::pulling().with_token();
    bench.accepted(0);
    assert_eq!(bench.permit(1), "go with Bearer T1");
}

/// Row 3: the token has expired, or nearly.
#[test]
fn a_token_that_expires_soon_is_fetched_first() {
    let mut bench = Bench::pulling().with_token();
    bench.now = Time::ZERO + Duration::from_secs(269);
    assert_eq!(bench.permit(1), "go with Bearer T1");
    bench.now = Time::ZERO + Duration::from_secs(270);
    assert_eq!(
        bench.permit(1),
        "fetch repository:a/b:pull with no credentials"
    );
}

/// Row 5: an invalid token is replaced once; a second refusal is final.
#[test]
fn an_invalid_token_is_replaced_once() {
    for challenge in [BEARER, INVALID] {
        let mut bench = Bench::pulling().with_token();
        bench.accepted(0);
        assert_eq!(bench.permit(1), "go with Bearer T1");
        assert_eq!(bench.refused(1, 401, challenge), "again");
        assert!(bench.permit(1).starts_with("fetch"));
        bench.granted("T2");
        assert_eq!(bench.permit(1), "go with Bearer T2");
        let denied = "denied with a fresh anonymous token";
        assert_eq!(bench.refused(1, 401, challenge), denied);
    }
}

/// A refusal names the credentials.
#[test]
fn what_was_presented() {
    let refresh = CredentialAnswer::Refresh(Secret::new("1dent1ty"));
    for (credential, expected) in [
        (CredentialAnswer::None, "a fresh anonymous token"),
        (alice(), "a fresh token of `alice`"),
        (refresh, "a fresh token for an identity token"),
    ] {
        let mut bench = Bench::pulling().with_token_for(credential);
        let denied = format!("denied with {expected}");
        assert_eq!(bench.refused(0, 403, MORE), denied);
    }
}

/// Row 6: a challenge with more scopes is met, for this request alone.
#[test]
fn more_scope_is_asked_for_once() {
    let more = format!(r#"{MORE},scope="repository:other:pull :: junk""#);
    for status in [401, 403] {
        let mut bench = Bench::pulling().with_token();
        assert_eq!(bench.refused(0, status, &more), "again");
        let both = "fetch repository:a/b:pull repository:other:pull junk with no credentials";
        assert_eq!(bench.permit(0), both);
        bench.granted("T2");
        assert_eq!(bench.permit(0), "go with Bearer T2");
        let denied = "denied with a fresh anonymous token";
        assert_eq!(bench.refused(0, status, &more), denied);
        // AUTH-66: other requests do not ask for more, but may use the token.
        assert!(bench.permit(1).starts_with("go with Bearer T"));
    }
}

/// Row 7: a valid but insufficient token is kept, and no other one is fetched.
#[test]
fn not_enough_is_an_answer() {
    let mut bench = Bench::pulling().with_token();
    let denied = "denied with a fresh anonymous token";
    assert_eq!(bench.refused(0, 403, MORE), denied);
    assert_eq!(bench.permit(1), "go with Bearer T1");
}

/// Row 8.
#[test]
fn basic_is_tried_once() {
    let mut bench = Bench::pulling();
    assert_eq!(bench.permit(0), "go");
    assert_eq!(bench.permit(1), "park");
    assert_eq!(bench.refused(0, 401, BASIC), "again");
    assert_eq!(bench.resumed(), [1]);
    assert_eq!(bench.permit(0), "ask for https://reg.example");
    assert_eq!(bench.permit(1), "park");
    bench.answered(alice());
    assert_eq!(bench.resumed(), [0, 1]);
    assert_eq!(bench.permit(0), "go with Basic YWxpY2U6cGE1NQ==");
    assert_eq!(
        bench.refused(0, 401, BASIC),
        "denied with the credentials of `alice`"
    );
}

/// Row 11: the token service is on a host that must not be contacted.
#[test]
fn a_realm_that_is_refused() {
    for realm in ["http://reg.example/token", "https://10.0.0.1/token"] {
        let mut bench = Bench::pulling();
        assert_eq!(bench.permit(0), "go");
        let challenge = format!(r#"Bearer realm="{realm}""#);
        assert_eq!(bench.refused(0, 401, &challenge), "again");
        assert!(bench.permit(0).starts_with("ask"));
        bench.answered(alice());
        assert_eq!(bench.permit(0), "fail Refused");
        // A wrong challenge does not last: the next request probes again.
        assert_eq!(bench.permit(1), "go");
    }
}

/// A service on another host gets no credentials (AUTH-84); one warning says so, and why.
#[test]
fn credentials_that_are_withheld_are_told_of() {
    let realm = "https://id.example";
    let challenge = format!(r#"Bearer realm="{realm}/token",service="s""#);
    let mut bench = Bench::pulling();
    let other: Registry = "other.example".parse().expect("a registry");
    let elsewhere: Origin = "https://elsewhere.example".parse().expect("an origin");
    bench.broker.withheld.insert((other, elsewhere));
    assert_eq!(bench.permit(0), "go");
    assert_eq!(bench.refused(0, 401, &challenge), "again");
    assert_eq!(bench.permit(0), format!("ask for {realm}"));
    bench.answered(alice());
    let told = withheld(&bench.site.registry, &realm.parse().expect("an origin"));
    for (id, warnings) in [(0, alloc::vec![told.clone()]), (1, Vec::new())] {
        // As if no token were being fetched.
        bench.broker.fetching.clear();
        let fetch = "fetch repository:a/b:pull with no credentials";
        assert_eq!(bench.permit(id), fetch);
        assert_eq!(core::mem::take(&mut bench.warnings), warnings);
    }
    assert!(told.contains("`--trust-realm reg.example=https://id.example`"));
    assert_eq!(bench.hint(0), Some(told));
}

/// A refusal's hint says why there are no credentials.
#[test]
fn a_refusal_says_why_there_are_no_credentials() {
    let failed = "the helper was not found";
    for (answer, expected) in [
        (
            CredentialAnswer::None,
            "there are no credentials for `reg.example`",
        ),
        (CredentialAnswer::Failed(failed.into()), failed),
    ] {
        let mut bench = Bench::pulling();
        assert_eq!(bench.hint(0), None);
        assert_eq!(bench.permit(0), "go");
        assert_eq!(bench.refused(0, 401, BASIC), "again");
        assert!(bench.permit(0).starts_with("ask"));
        assert_eq!(bench.hint(0), None);
        bench.answered(answer);
        assert_eq!(bench.hint(0).as_deref(), Some(expected));
        let permit = bench.broker.permit(&request!(bench, 0), Time::ZERO);
        let Permit::Denied(error) = permit else {
            panic!("the same would be asked again")
        };
        assert_eq!(error.hint.as_deref(), Some(expected));
    }
}

/// AUTH-74: a configured token is presented unchanged, once.
#[test]
fn a_configured_token_is_tried_once() {
    for challenge in [BEARER, BASIC] {
        let mut bench = Bench::pulling();
        assert_eq!(bench.permit(0), "go");
        assert_eq!(bench.refused(0, 401, challenge), "again");
        assert!(bench.permit(0).starts_with("ask"));
        bench.answered(CredentialAnswer::Bearer(Secret::new("eyJ.e30.")));
        assert_eq!(bench.permit(0), "go with Bearer eyJ.e30.");
        let denied = "denied with the configured token";
        assert_eq!(bench.refused(0, 401, challenge), denied);
    }
}

#[test]
fn no_challenge_or_none_that_can_be_met() {
    for challenge in ["", "Negotiate", r#"Bearer service="s""#, "Basic2 x"] {
        let mut bench = Bench::pulling();
        assert_eq!(bench.permit(0), "go");
        let denied = "denied with no credentials and no usable challenge";
        assert_eq!(bench.refused(0, 401, challenge), denied, "{challenge}");
        // The next request tries for itself.
        assert_eq!(bench.permit(1), "go");
    }
}

/// Harbor: the Bearer challenge stays, whatever a later one says (clients.md C.7.1).
#[test]
fn basic_after_bearer() {
    let mut bench = Bench::pulling().with_token();
    bench.accepted(0);
    assert_eq!(bench.permit(1), "go with Bearer T1");
    assert_eq!(bench.refused(1, 401, BASIC), "again");
    assert!(bench.permit(1).starts_with("fetch"));
}

/// AUTH-71, and a refusal of an old token does not count.
#[test]
fn one_fetch_for_all_who_wait() {
    let mut bench = Bench::pulling().with_token();
    bench.accepted(0);
    for id in 1..50 {
        assert_eq!(bench.permit(id), "go with Bearer T1");
    }
    for id in 1..49 {
        assert_eq!(bench.refused(id, 401, INVALID), "again");
    }
    assert!(bench.permit(1).starts_with("fetch"));
    for id in 2..49 {
        assert_eq!(bench.permit(id), "park");
    }
    assert_eq!(bench.granted("T2"), 48);
    assert_eq!(bench.permit(1), "go with Bearer T2");
    // The last response is late and about a token that is gone.
    assert_eq!(bench.refused(49, 401, INVALID), "again");
    assert_eq!(bench.permit(49), "go with Bearer T2");
    assert!(bench.fetching.is_empty());
}

/// A union that the token service or the registry refuses is split, once and for all.
#[test]
fn a_union_is_split_once() {
    let union = "repository:a/b:pull,push repository:c:pull";
    let start = || {
        let mut bench = Bench::new(union, "repository:a/b:pull");
        assert_eq!(bench.permit(0), "go");
        assert_eq!(bench.refused(0, 401, BEARER), "again");
        assert!(bench.permit(0).starts_with("ask"));
        bench.answered(alice());
        let fetch = format!("fetch {union} with the credentials of `alice`");
        assert_eq!(bench.permit(0), fetch);
        bench
    };
    let split = "fetch repository:a/b:pull with the credentials of `alice`";

    let mut at_realm = start();
    at_realm.not_granted(403);
    assert_eq!(at_realm.permit(0), split);
    assert_eq!(at_realm.permit(1), "park", "it is split for others too");

    let mut at_registry = start();
    at_registry.granted("T1");
    assert_eq!(at_registry.permit(0), "go with Bearer T1");
    assert_eq!(at_registry.refused(0, 401, INVALID), "again");
    assert_eq!(at_registry.permit(0), split);
    assert_eq!(at_registry.permit(1), "park", "it is split for others too");
    at_registry.granted("T2");
    assert_eq!(at_registry.permit(0), "go with Bearer T2");
    // A request that needs the whole union is not tried any more.
    at_registry.required_scopes = at_registry.task_scopes.clone();
    assert!(
        at_registry
            .permit(2)
            .starts_with("denied with a fresh token")
    );

    // GitLab answers 401 to a union, too (clients.md C.10.1).
    let mut refused = start();
    refused.not_granted(401);
    assert_eq!(refused.permit(0), split);
}

/// SEC-05: the memory of refusals is bounded, and holds more than the last one.
#[test]
fn refused_unions_are_forgotten_when_there_are_too_many() {
    let mut bench = Bench::new(
        "repository:a/b:pull repository:c:pull",
        "repository:a/b:pull",
    )
    .with_token();
    let key = bench.broker.tokens.keys().next().expect("one").clone();
    let error = refusal(403);
    let keys: Vec<TokenKey> = (0..200)
        .map(|n| TokenKey {
            service: Some(format!("{n:03}")),
            ..key.clone()
        })
        .collect();
    for (known, key) in keys.iter().enumerate() {
        bench.broker.remember_union(key, error.clone());
        assert_eq!(bench.broker.unions.len(), KEYS.min(known + 1));
        assert!(bench.broker.unions.contains_key(key));
    }
    // A known union does not displace another one.
    bench.broker.remember_union(&keys[199], error);
    assert_eq!(bench.broker.unions.len(), KEYS);
}

/// AUTH-47: wrong credentials are wrong for fewer scopes as well.
#[test]
fn wrong_credentials_are_presented_once() {
    let mut bench = Bench::new("repository:a/b:pull,push", "repository:a/b:pull");
    assert_eq!(bench.permit(0), "go");
    assert_eq!(bench.refused(0, 401, BEARER), "again");
    assert!(bench.permit(0).starts_with("ask"));
    bench.answered(alice());
    assert!(
        bench
            .permit(0)
            .starts_with("fetch repository:a/b:pull,push")
    );
    bench.not_granted(401);
    assert_eq!(bench.permit(0), "denied with x");
}

/// A request is challenged at most a bounded number of times.
#[test]
fn challenges_for_ever_end() {
    let mut bench = Bench::pulling().with_token();
    for round in 0.. {
        // As if the registry redirected to itself and then challenged again.
        bench.accepted(0);
        if bench.refused(0, 401, INVALID) != "again" {
            // The first challenge counts.
            assert_eq!(round + 1, u32::from(ROUNDS));
            return;
        }
        assert!(bench.permit(0).starts_with("fetch"));
        bench.granted(&format!("T{round}"));
        assert!(bench.permit(0).starts_with("go with Bearer"));
    }
}

/// A request with a large response waits for a small one.
#[test]
fn a_large_answer_waits_for_a_probe() {
    let mut bench = Bench::pulling();
    assert_eq!(bench.permit_of(0, Answers::Large), "probe");
    let began = AuthInput::ProbeBegan(&bench.site.origin, ExchangeId(9));
    bench.broker.handle(began);
    assert_eq!(bench.permit(1), "park");
    assert_eq!(bench.permit(9), "go");
    bench.accepted(9);
    assert_eq!(bench.resumed(), [0, 1]);
    assert_eq!(bench.permit(1), "go");
}

/// A probe without a response is replaced.
#[test]
fn a_probe_that_is_gone() {
    let mut bench = Bench::pulling();
    assert_eq!(bench.permit(0), "go");
    assert_eq!(bench.permit(1), "park");
    let gone = AuthInput::Gone(ExchangeId(0), &bench.site.origin);
    bench.broker.handle(gone);
    assert!(bench.broker.requests.contains_key(&ExchangeId(1)));
    assert!(!bench.broker.requests.contains_key(&ExchangeId(0)));
    assert_eq!(bench.resumed(), [1]);
    assert_eq!(bench.permit(1), "go");
    assert_eq!(bench.permit(2), "park");
}

/// AUTH-73, and values that no header can carry.
#[test]
fn credentials_that_cannot_be_sent() {
    let colon = CredentialAnswer::Basic {
        username: "a:b".into(),
        password: Secret::new("x"),
    };
    let bearer = |token: &str| CredentialAnswer::Bearer(Secret::new(token));
    for answer in [colon, bearer("a\nb"), bearer("a\tb"), bearer("é")] {
        assert!(matches!(checked(answer), CredentialAnswer::Failed(_)));
    }
    assert_eq!(checked(bearer("a b")), bearer("a b"));
}

/// SEC-05: a registry chooses realms and scopes, and so the number of tokens; it is bounded.
#[test]
fn tokens_are_forgotten_when_there_are_too_many() {
    let mut bench = Bench::pulling().with_token();
    for n in 0..1000 {
        let realm = format!(r#"Bearer realm="https://reg.example/token?n={n}""#);
        let more = format!(r#"{realm},error="insufficient_scope",scope="repository:x{n}:pull""#);
        assert_eq!(
            bench.permit(n + 1),
            if n == 0 {
                "go with Bearer T1"
            } else {
                "go with Bearer T"
            }
        );
        assert_eq!(bench.refused(n + 1, 401, &more), "again");
        assert!(bench.permit(n + 1).starts_with("fetch"), "{n}");
        assert_eq!(bench.granted("T"), 1);
    }
    assert_eq!(bench.broker.tokens.len(), KEYS);
    // A refusal of an evicted token does not count for a later one.
    assert_eq!(bench.refused(0, 401, BEARER), "again");
    assert!(bench.permit(0).starts_with("fetch"));
    bench.granted("T2");
    assert_eq!(bench.permit(0), "go with Bearer T2");
}

/// SEC-05: the parts of a token's key are bounded.
#[test]
fn absurd_realms_and_scopes_are_not_taken() {
    let mut bench = Bench::pulling();
    assert_eq!(bench.permit(0), "go");
    let long = "x".repeat(3000);
    let realm = format!(r#"Bearer realm="https://reg.example/token?{long}""#);
    assert!(bench.refused(0, 401, &realm).starts_with("denied"));

    let mut bench = Bench::pulling().with_token();
    let scopes: Vec<String> = (0..500).map(|n| format!("repository:x{n}:pull")).collect();
    let more = format!(
        r#"{MORE},scope="repository:{long}:pull {}""#,
        scopes.join(" ")
    );
    assert_eq!(bench.refused(0, 401, &more), "again");
    let fetch = bench.permit(0);
    assert_eq!(fetch.matches("repository:").count(), 9, "{fetch}");
    assert!(!fetch.contains(&long));
}

/// A refusal of another request's wider token is not final.
#[test]
fn a_larger_token_that_is_refused_is_followed_by_ones_own() {
    let mut bench = Bench::new(
        "repository:a/b:pull,push repository:other:pull",
        "repository:a/b:pull,push repository:other:pull",
    )
    .with_token();
    (bench.task_scopes, bench.required_scopes) = (
        Scopes::from_challenge("repository:a/b:pull"),
        Scopes::from_challenge("repository:a/b:pull"),
    );
    bench
        .broker
        .requests
        .entry(ExchangeId(1))
        .or_default()
        .refused = Some(0);
    assert_eq!(bench.permit(1), "go with Bearer T1");
    assert_eq!(bench.refused(1, 401, BEARER), "again");
    let own = "fetch repository:a/b:pull with no credentials";
    assert_eq!(bench.permit(1), own);
    bench.granted("T2");
    assert_eq!(bench.permit(1), "go with Bearer T2");
    let denied = "denied with a fresh anonymous token";
    assert_eq!(bench.refused(1, 401, BEARER), denied);
}
