//! The shortest way to ask a model.

use core::time::Duration;

use http::Method;
use windlass_testbed::{Answer, Model, Options, Request};

/// A model, the time, and headers that go with every request.
pub(crate) struct Client {
    pub(crate) model: Model,
    pub(crate) now: Duration,
    pub(crate) authorization: Option<String>,
}

impl Client {
    pub(crate) fn new(options: Options) -> Self {
        let now = Duration::from_secs(1_000_000);
        Self {
            model: Model::new(options),
            now,
            authorization: None,
        }
    }

    pub(crate) fn ask(&mut self, mut request: Request) -> Answer {
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.model.answer(&request, self.now)
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask(request(Method::GET, target))
    }

    pub(crate) fn head(&mut self, target: &str) -> Answer {
        self.ask(request(Method::HEAD, target))
    }

    pub(crate) fn delete(&mut self, target: &str) -> Answer {
        self.ask(request(Method::DELETE, target))
    }

    pub(crate) fn post(&mut self, target: &str) -> Answer {
        self.ask(request(Method::POST, target))
    }

    pub(crate) fn put(&mut self, target: &str, body: &[u8]) -> Answer {
        self.ask(request(Method::PUT, target).body(body.to_vec()))
    }

    pub(crate) fn put_manifest(&mut self, target: &str, media_type: &str, body: &[u8]) -> Answer {
        let request = request(Method::PUT, target).header("content-type", media_type);
        self.ask(request.body(body.to_vec()))
    }

    /// PATCH with `Content-Range`, or without for a stream.
    pub(crate) fn patch(&mut self, target: &str, range: Option<&str>, body: &[u8]) -> Answer {
        let mut request =
            request(Method::PATCH, target).header("content-type", "application/octet-stream");
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        self.ask(request.body(body.to_vec()))
    }
}

pub(crate) fn request(method: Method, target: &str) -> Request {
    Request::new(method, "registry.test", target)
}

pub(crate) fn location(answer: &Answer) -> String {
    answer
        .field("location")
        .expect("the answer has a Location")
        .to_owned()
}

/// The first error code of an answer.
pub(crate) fn code(answer: &Answer) -> String {
    let body: serde_json::Value =
        serde_json::from_slice(&answer.body).expect("errors have JSON bodies");
    body["errors"][0]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).expect("the answer is JSON")
}
