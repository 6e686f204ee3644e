//! Exchanges with bodies in memory, as in the simulation of a library's user.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::time::Duration;

use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_core::credential::CredentialAnswer;
use windlass_core::http::Response;
use windlass_core::{Config, Event, Failure, Job, Output, Platforms, Report, Session, Task, Time};
use windlass_driver::{Stores, exchange};
use windlass_testbed::{Answer, Image, Model, Options, Request, image};
use windlass_tests::world::Memory;
use windlass_tests::world::scenes::{digest, fill, reference};

const TARGET: &str = "reg.example/team/app:v1";

/// What becomes of one request: the model's answer, or something else in its place.
type Fate<'a> = &'a dyn Fn(&Request, Answer) -> Result<Answer, TransportError>;

struct Shop {
    model: Model,
    stores: Arc<Stores>,
    memory: Memory,
    requests: Vec<String>,
}

impl Shop {
    fn new() -> Self {
        Self {
            model: Model::new(Options::default()),
            stores: Arc::default(),
            memory: Memory::default(),
            requests: Vec::new(),
        }
    }

    fn push(&mut self, fate: Fate<'_>) -> Result<Report, Failure> {
        let store = self.stores.add(&(Arc::new(self.memory.clone()) as _));
        self.run(
            Task::push(store, None, reference(TARGET), Platforms::All),
            fate,
        )
    }

    fn pull(&mut self, fate: Fate<'_>) -> Result<Report, Failure> {
        let store = self.stores.add(&(Arc::new(self.memory.clone()) as _));
        self.run(
            Task::pull(reference(TARGET), store, None, Platforms::All),
            fate,
        )
    }

    fn run(&mut self, task: Task, fate: Fate<'_>) -> Result<Report, Failure> {
        let (mut session, mut now) = (Session::new(Config::default(), 1), Time::ZERO);
        session.start(task);
        loop {
            let done = match session.poll(now) {
                Output::Job(Job::Http(call)) => exchange(&self.stores, call, |request| {
                    let request = Request::from(request);
                    self.requests.push(request.method.to_string());
                    let answer = self.model.answer(&request, Duration::ZERO);
                    fate(&request, answer).map(Response::from)
                }),
                Output::Job(Job::Store(call)) => self.stores.run(call),
                Output::Job(Job::Credentials(call)) => call.finish(CredentialAnswer::None),
                Output::Event(_, Event::Finished(result)) => {
                    return result.map(|report| report.copied().expect("it is a copy"));
                }
                Output::Event(..) => continue,
                Output::Wait(Some(until)) => {
                    now = until;
                    continue;
                }
                other @ (Output::Job(Job::Relay(_))
                | Output::Abort(_)
                | Output::Wait(_)
                | Output::Idle) => {
                    panic!("every job ends before the next poll: {other:?}")
                }
            };
            session.handle(done, now);
        }
    }
}

fn app() -> Image {
    image(&[vec![7; 300_000], vec![8; 1000]])
}

fn well(_: &Request, answer: Answer) -> Result<Answer, TransportError> {
    Ok(answer)
}

#[test]
fn what_is_pushed_is_pulled() {
    let mut shop = Shop::new();
    fill(&shop.memory, &app());
    assert_eq!(shop.push(&well).unwrap().moved, 3);
    shop.memory = Memory::default();
    assert_eq!(shop.pull(&well).unwrap().moved, 3);
    assert_eq!(
        shop.memory.blobs()[&digest(&app().layers[0])],
        app().layers[0]
    );
}

/// An answer shorter than its length is a cut connection: the rest is asked for by a range.
#[test]
fn a_short_answer_is_a_cut_one() {
    let mut shop = Shop::new();
    shop.model.put_image("team/app", Some("v1"), &app());
    let short = |request: &Request, mut answer: Answer| {
        if answer.body.len() == 300_000 && !request.headers.contains_key("range") {
            answer.body.truncate(100_000);
        }
        Ok(answer)
    };
    let report = shop.pull(&short).unwrap();
    assert_eq!(report.moved, 3);
    assert_eq!(
        shop.requests.len(),
        2 + 2 + 1,
        "one more than L + 2: {:?}",
        shop.requests
    );
}

/// A connection that breaks before an answer came is tried again.
#[test]
fn an_error_is_a_broken_connection() {
    let mut shop = Shop::new();
    let refuse = |_: &Request, _: Answer| -> Result<Answer, TransportError> {
        Err(TransportError::new(TransportErrorKind::Reset, "planned"))
    };
    let failure = shop.pull(&refuse).unwrap_err();
    assert!(failure.to_string().contains("planned"), "{failure}");
    assert_eq!(shop.requests.len(), 5, "as many tries as there are");
}

/// A damaged blob does not get as far as a request.
#[test]
fn a_damaged_blob_is_not_sent() {
    let mut shop = Shop::new();
    fill(&shop.memory, &app());
    let layer = digest(&app().layers[0]);
    shop.memory.blob(&layer, &[6; 300_000]);
    let failure = shop.push(&well).unwrap_err();
    assert!(failure.to_string().contains(layer.as_str()), "{failure}");
    let held = windlass_testbed::Digest::parse(layer.as_str()).unwrap();
    assert_eq!(shop.model.blob_bytes("team/app", &held), None);
}
