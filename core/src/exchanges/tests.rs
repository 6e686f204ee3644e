use alloc::boxed::Box;
use alloc::string::ToString as _;

use http::StatusCode;

use super::*;
use crate::call::{Call, Done, Job};
use crate::credential::{CredentialAnswer, Secret};
use crate::digest::{Algorithm, Digest};
use crate::ids::TransferId;
use crate::op::BlobHead;
use crate::op::testing::site_of;

const OWNER: Owner = Owner::Transfer(TransferId(1));

fn begin(exchanges: &mut Exchanges, task: u64) {
    let site = site_of("reg.example/a");
    let head = Operation::BlobHead(BlobHead {
        site: site.clone(),
        digest: Digest::of(Algorithm::Sha256, b"blob"),
        size: 4,
    });
    let scopes = Scopes::pull(&site.repository);
    let _id = exchanges.begin(OWNER, TaskId(task), site, head, scopes);
}

fn end(mut call: Box<Call>, status: StatusCode, challenge: Option<&'static str>) -> Done {
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    if let Some(challenge) = challenge {
        let value = http::HeaderValue::from_static(challenge);
        head.headers_mut().insert("www-authenticate", value);
    }
    let _receive = call.head(head);
    call.finish(Ok(()))
}

/// CRED-42: what `/v2/` answers is learned, also if the task that asked has ended meanwhile: the next one asks for a
/// token at once.
#[test]
fn a_challenge_is_learned_for_later_tasks() {
    let mut exchanges = Exchanges::new(Config::default());
    let (now, mut rng) = (Time::from_micros(1), Rng::new(1));
    let mut jobs = 0;
    let mut next = |exchanges: &mut Exchanges| {
        // Questions, and the requests that an answer leads to, come one step later.
        for _ in 0..4 {
            jobs += 1;
            let job = JobId(jobs);
            if let Some(question) = exchanges.next_question(job) {
                let password = CredentialAnswer::Basic {
                    username: "alice".into(),
                    password: Secret::new("pa55"),
                };
                let done = question.finish(password);
                exchanges.question_ended(job, done.into_outcome(), now);
            } else if let Some((id, Job::Http(call))) = exchanges.next_job(job, now) {
                let target = call.request().uri().to_string();
                return (id, job, call, target);
            }
        }
        panic!("nothing goes out")
    };

    begin(&mut exchanges, 1);
    let (id, job, call, _) = next(&mut exchanges);
    let done = end(call, StatusCode::NOT_FOUND, None);
    exchanges.call_ended((id, None), job, done.into_outcome(), now, &mut rng);
    let (ping, job, call, target) = next(&mut exchanges);
    assert_eq!(target, "https://reg.example/v2/");
    exchanges.abandon_errands(TaskId(1));
    assert_eq!(exchanges.take_abort(), Some(job));
    // It was answered before it was told.
    let challenge = r#"Bearer realm="https://reg.example/token",service="s""#;
    let done = end(call, StatusCode::UNAUTHORIZED, Some(challenge));
    exchanges.call_ended((ping, None), job, done.into_outcome(), now, &mut rng);

    begin(&mut exchanges, 2);
    let (.., target) = next(&mut exchanges);
    assert!(target.starts_with("https://reg.example/token?"), "{target}");
}

impl Exchanges {
    /// Loses the exchange of a job, as a defect would. Whether there was one.
    pub(crate) fn lose(&mut self, job: JobId) -> bool {
        let before = self.exchanges.len();
        self.exchanges
            .retain(|_, exchange| !matches!(exchange.state, State::Outside(it) if it == job));
        self.exchanges.len() < before
    }
}
