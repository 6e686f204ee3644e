//! Registries that answer one or two kinds of requests always in the same way: what a client does again because of
//! such an answer, it has to give up.
//!
//! Responsible for the kinds and the answers. Must not know what a client makes of them: a world in which a task goes
//! on for ever is found because it takes too many steps.

use http::{Method, StatusCode};
use windlass_testbed::{Answer, Request};

use super::choose::Choose;
use super::exchange::status;
use super::plan::small;

/// The kinds: a method, and what the target has in it.
const KINDS: [(Method, &str); 10] = [
    (Method::PUT, "/blobs/uploads/"),
    (Method::PATCH, "/blobs/uploads/"),
    (Method::GET, "/blobs/uploads/"),
    (Method::POST, "/blobs/uploads/"),
    (Method::HEAD, "/blobs/"),
    (Method::GET, "/blobs/sha256"),
    (Method::HEAD, "/manifests/"),
    (Method::GET, "/manifests/"),
    (Method::PUT, "/manifests/"),
    (Method::GET, "/referrers/"),
];

const CODES: [u16; 18] = [
    416, 404, 405, 413, 400, 403, 409, 202, 204, 200, 201, 501, 422, 401, 410, 206, 416, 413,
];

const NAMES: [&str; 8] = [
    "",
    "UNSUPPORTED",
    "SIZE_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "DENIED",
];

const RANGES: [&str; 6] = ["", "0-0", "0-65535", "0-99999999", "0-99", "garbage"];

/// An answer that one kind of request gets.
#[derive(Clone, Debug)]
pub(crate) struct Stubborn {
    kind: (Method, &'static str),
    /// Only requests with at least this many bytes get it.
    from: usize,
    answer: Answer,
}

impl Stubborn {
    pub(crate) fn draw(choose: &mut dyn Choose) -> Vec<Self> {
        (0..=choose.below(2)).map(|_| Self::one(choose)).collect()
    }

    fn one(choose: &mut dyn Choose) -> Self {
        // Half of them are about uploads, of which the most is done again.
        let kinds = if choose.below(2) == 1 { 3 } else { KINDS.len() };
        let kind = KINDS[small(choose, kinds)].clone();
        let mut answer = match (
            CODES[small(choose, CODES.len())],
            NAMES[small(choose, NAMES.len())],
        ) {
            (code @ 400.., name) if !name.is_empty() => Answer::error(status(code), name, "never"),
            (code, _) => Answer::new(status(code)),
        };
        let range = RANGES[small(choose, RANGES.len())];
        if !range.is_empty() {
            answer = answer.header("range", range);
        }
        if kind.0 == Method::HEAD || answer.status == StatusCode::NO_CONTENT {
            answer = answer.body(Vec::new());
        }
        let from = [0, 0, 1, 1000][small(choose, 4)];
        Self { kind, from, answer }
    }

    /// The answer, if the request is of its kind.
    pub(crate) fn answer(&self, request: &Request) -> Option<Answer> {
        let (method, part) = &self.kind;
        let is_it = request.method == *method && request.target.contains(part);
        (is_it && request.body.len() >= self.from).then(|| self.answer.clone())
    }
}
