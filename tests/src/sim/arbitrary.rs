//! Answers of any kind: what a hostile server might say.
//!
//! Responsible for heads and bodies that are plausible enough to get past the first check. Must not
//! know which of them are dangerous.

use http::StatusCode;
use windlass_testbed::{Answer, Request, image};

use super::choose::Choose;
use super::exchange::status;
use super::mangle::asks;

/// Any answer.
pub(crate) fn answer(choose: &mut dyn Choose, request: &Request, owner: usize) -> Answer {
    let common = [
        200, 404, 206, 201, 202, 204, 401, 403, 400, 416, 413, 307, 429, 304, 405, 409,
    ];
    let mut code = match choose.below(20) {
        at @ 0..=15 => common[usize::try_from(at).expect("it is small")],
        _ => 200 + u16::try_from(choose.below(400)).expect("it is small"),
    };
    // What was not done is not said to be done more often than it is said not to be.
    if !asks(request) && code < 300 && choose.below(2) == 1 {
        code = 400;
    }
    let body = body(choose);
    let mut answer = Answer::new(status(code)).body(body);
    for _ in 0..choose.below(4) {
        let (name, value) = field(choose, owner);
        answer = answer.header(name, value);
    }
    if request.method == http::Method::HEAD || answer.status == StatusCode::NO_CONTENT {
        answer = answer.body(Vec::new());
    }
    answer
}

fn body(choose: &mut dyn Choose) -> Vec<u8> {
    match choose.below(13) {
        0 => Vec::new(),
        1 => b"{}".to_vec(),
        2 => br#"{"token":"t","expires_in":1}"#.to_vec(),
        3 => br#"{"token":"a\nb"}"#.to_vec(),
        4 => br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","detail":{"digest":"x"}}]}"#.to_vec(),
        5 => br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"\u001b[31mred"}]}"#.to_vec(),
        6 => image(&[b"arbitrary".to_vec()]).manifest.to_vec(),
        7 => b"[".repeat(3000),
        8 => br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:00","size":-1}],"layers":[]}"#
            .to_vec(),
        9 => endless(u64::MAX),
        10 => endless(0),
        11 => b"<html>".to_vec(),
        _ => (0..choose.below(200))
            .map(|_| u8::try_from(choose.below(256)).expect("it is small"))
            .collect(),
    }
}

/// A manifest with a layer of an absurd size.
fn endless(size: u64) -> Vec<u8> {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let one = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{one},"layers":[{one},{one}]}}"#,
        windlass_testbed::OCI_MANIFEST
    )
    .into_bytes()
}

fn field(choose: &mut dyn Choose, owner: usize) -> (&'static str, String) {
    let number = |choose: &mut dyn Choose| match choose.below(5) {
        0 => "0".to_owned(),
        1 => "1".to_owned(),
        2 => u64::MAX.to_string(),
        3 => "-1".to_owned(),
        _ => choose.below(1 << 20).to_string(),
    };
    match choose.below(14) {
        0 => ("content-length", number(choose)),
        1 => {
            let (first, last, all) = (number(choose), number(choose), number(choose));
            ("content-range", format!("bytes {first}-{last}/{all}"))
        }
        2 => ("content-type", windlass_testbed::OCI_MANIFEST.into()),
        3 => ("content-type", windlass_testbed::OCI_INDEX.into()),
        4 => ("content-type", "text/html".into()),
        5 => ("content-encoding", "gzip".into()),
        6 => ("location", format!("https://evil{owner}.example/x?y=1")),
        7 => (
            "location",
            "/v2/dst/one/blobs/uploads/made-up?_state=1".into(),
        ),
        8 => (
            "www-authenticate",
            format!("Bearer realm=\"https://evil{owner}.example/token\",scope=\"a:b:c\""),
        ),
        9 => ("www-authenticate", "Basic".into()),
        10 => ("retry-after", number(choose)),
        11 => (
            "docker-content-digest",
            format!("sha256:{}", "0".repeat(64)),
        ),
        12 => ("warning", "299 - \"\u{1b}[2J look here\"".into()),
        _ => ("date", "Fri, 15 Jan 2027 08:00:00 GMT".into()),
    }
}
