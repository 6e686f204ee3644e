//! Answers that no registry should give.
//!
//! Responsible for what is said instead of the truth. Must not know when.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use windlass_testbed::{Answer, Request};

use super::choose::Choose;
use super::exchange::{RequestKind, status};
use super::fault::Fault;
use super::greedy;
use super::plan::Access;

/// In the query of where somebody else sends a client back to its registry.
pub(crate) const BACK: &str = "sent-back=1";

/// The answer that a fault puts in the place of the model's, if it does.
pub(crate) fn instead(
    choose: &mut dyn Choose,
    fault: Fault,
    request: &Request,
    owner: usize,
    access: Access,
    truthful: bool,
    now: Duration,
) -> Option<Answer> {
    Some(match fault {
        Fault::Unauthorized => unauthorized(choose, owner, access, truthful),
        Fault::TooManySeconds => {
            let seconds = ["0", "1", "7", "60"][pick(choose, 4)];
            too_many(StatusCode::TOO_MANY_REQUESTS).header("retry-after", seconds)
        }
        Fault::TooManyDate => dated(choose, now),
        Fault::TooManyAbsurd => {
            let absurd = ["99999999999999999999", "86400", "-5", "soon", "61"][pick(choose, 5)];
            too_many(StatusCode::TOO_MANY_REQUESTS).header("retry-after", absurd)
        }
        Fault::ServerError => {
            let code = match [503, 500, 502, 504, 408, 501, 505, 599][pick(choose, 8)] {
                // By this a registry says that it has no referrers API.
                501 if request.target.contains("/referrers/") => 503,
                code => code,
            };
            let answer = Answer::error(status(code), "UNAVAILABLE", "later");
            if choose.below(4) == 3 {
                answer.header("retry-after", "3")
            } else {
                answer
            }
        }
        Fault::RedirectLoop => {
            let location = match choose.below(2) {
                0 => format!("https://{}{}", request.host, request.target),
                _ => request.target.clone(),
            };
            redirect(choose, &location)
        }
        Fault::RedirectForeign => {
            let location = foreign(choose, owner, &request.target);
            redirect(choose, &location)
        }
        Fault::RedirectUnsafe => {
            let location = [
                format!("http://reg{owner}.example{}", request.target),
                "https://169.254.169.254/latest/meta-data".to_owned(),
                "https://127.0.0.1:1/x".to_owned(),
                "file:///etc/passwd".to_owned(),
                "https://user:password@evil0.example/".to_owned(),
                "https://[::1]/x".to_owned(),
            ];
            let location = location[pick(choose, 6)].clone();
            redirect(choose, &location)
        }
        Fault::RefusedMount => match choose.below(6) {
            0 => Answer::error(StatusCode::FORBIDDEN, "DENIED", "no"),
            1 => Answer::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no"),
            2 => Answer::error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "no"),
            3 => Answer::error(StatusCode::BAD_REQUEST, "UNSUPPORTED", "no"),
            4 => Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "no"),
            _ => Answer::new(StatusCode::ACCEPTED),
        },
        Fault::Vouches if request.method == Method::HEAD => Answer::new(StatusCode::OK),
        Fault::Vouches => Answer::new(StatusCode::CREATED).header("location", "/v2/x/blobs/y"),
        Fault::Forgets => Answer::new(StatusCode::CREATED).header("location", "/v2/x/blobs/y"),
        Fault::Expired => {
            let code = [403, 400][pick(choose, 2)];
            let said =
                "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
            Answer::new(status(code)).body(said)
        }
        Fault::Echo => echo(choose, request),
        Fault::Arbitrary => super::arbitrary::answer(choose, request, owner),
        Fault::Bloated => greedy::bloated(choose, request),
        Fault::Endless => greedy::endless(choose),
        Fault::NewRealm => greedy::new_realm(choose, owner, access),
        _ => return None,
    })
}

/// The model's answer, spoiled.
pub(crate) fn spoil(
    choose: &mut dyn Choose,
    fault: Fault,
    mut answer: Answer,
    owner: usize,
) -> Answer {
    let len = answer.body.len();
    match fault {
        Fault::Short if len > 0 => {
            let kept = pick(choose, len.min(3));
            answer.body = answer.body.slice(..len - 1 - kept.min(len - 1));
        }
        Fault::Garbled if len > 0 => {
            let mut bytes = answer.body.to_vec();
            let place = [len - 1, 0, len / 2][pick(choose, 3)];
            let at = within(&bytes).unwrap_or(place);
            bytes[at] ^= [1, 0x20, 0x80][pick(choose, 3)];
            answer.body = bytes.into();
        }
        Fault::Extra => {
            let mut bytes = answer.body.to_vec();
            bytes.extend_from_slice(b"more"[..1 + pick(choose, 4)].into());
            let len = bytes.len();
            answer.body = bytes.into();
            // With a length that says so, without any, or behind the one that was right.
            match choose.below(3) {
                0 => set(&mut answer, header::CONTENT_LENGTH, &len.to_string()),
                1 => {
                    answer.headers.remove(header::CONTENT_LENGTH);
                }
                _ => {}
            }
        }
        Fault::LyingLength => {
            let said = [
                (len + 1).to_string(),
                len.saturating_sub(1).to_string(),
                "0".into(),
                "18446744073709551615".into(),
                "x".into(),
            ];
            set(&mut answer, header::CONTENT_LENGTH, &said[pick(choose, 5)]);
        }
        Fault::LyingRange => {
            let said = [
                "bytes 0-0/1",
                "bytes 1-99999999999/*",
                "bytes 5-3/10",
                "bytes */5",
                "nonsense",
                "bytes 18446744073709551615-18446744073709551615/*",
            ];
            set(&mut answer, header::CONTENT_RANGE, said[pick(choose, 6)]);
            if choose.below(3) == 2 {
                answer.headers.remove(header::CONTENT_RANGE);
            }
        }
        Fault::OddLocation => odd_location(choose, &mut answer, owner),
        Fault::Noisy => return greedy::noisy(choose, answer),
        _ => {}
    }
    answer
}

/// What somebody says who is no registry of ours.
pub(crate) fn stranger(
    choose: &mut dyn Choose,
    request: &Request,
    owner: usize,
    truthful: bool,
) -> Answer {
    // Lies about what is there would be believed by a registry that does not look.
    match choose.below(if truthful { 4 } else { 6 }) {
        0 => Answer::error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "who are you?"),
        1 => Answer::new(StatusCode::UNAUTHORIZED)
            .header("www-authenticate", "Basic realm=\"give me\"")
            .body("?"),
        2 => {
            let path = request.target.split('?').next().unwrap_or_default();
            redirect(choose, &format!("https://reg{owner}.example{path}?{BACK}"))
        }
        3 => {
            let location = format!("https://evil{owner}.example{}x", request.target);
            redirect(choose, &location)
        }
        4 => Answer::new(StatusCode::CREATED),
        _ => super::arbitrary::answer(choose, request, owner),
    }
}

/// The registry has lost the end of what came.
pub(crate) fn rewound(kept: usize) -> Answer {
    Answer::error(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "RANGE_INVALID",
        "not all of it is here",
    )
    .header("range", format!("0-{}", kept.saturating_sub(1)))
}

/// Where a manifest still reads as one when it was changed.
fn within(bytes: &[u8]) -> Option<usize> {
    let place = bytes.windows(9).position(|word| word == b".layer.v1")?;
    Some(place + 1)
}

/// What it was sent, in the words of somebody who looks for a mistake.
fn echo(choose: &mut dyn Choose, request: &Request) -> Answer {
    let presented = request.field(header::AUTHORIZATION).unwrap_or("nobody");
    let body = if request.field(header::CONTENT_TYPE) == Some("application/x-www-form-urlencoded") {
        String::from_utf8_lossy(&request.body).into_owned()
    } else {
        String::new()
    };
    let said = format!("you are {presented} at {}: {body}", request.target);
    let code = [403, 400, 500][pick(choose, 3)];
    let answer = Answer::new(status(code)).header("warning", format!("299 - \"{said}\""));
    match choose.below(3) {
        0 => answer.body(said),
        1 => answer.body(json!({"errors": [{"code": "DENIED", "message": said}]}).to_string()),
        _ => answer.body(json!({"error": "denied", "error_description": said}).to_string()),
    }
}

fn unauthorized(choose: &mut dyn Choose, owner: usize, access: Access, truthful: bool) -> Answer {
    let realm = token_service(owner, access);
    let bearer = format!("Bearer realm=\"{realm}\",service=\"testbed\"");
    let challenge = match choose.below(if truthful { 6 } else { 9 }) {
        0 => bearer,
        1 => format!("{bearer},error=\"invalid_token\""),
        2 => format!("{bearer},error=\"insufficient_scope\",scope=\"repository:else:pull\""),
        3 => "Basic realm=\"x\"".into(),
        4 => String::new(),
        5 => "Bearer".into(),
        // Who collects credentials would like to be asked for tokens.
        6 => format!("Bearer realm=\"https://evil{owner}.example/token\",service=\"testbed\""),
        7 => format!("Bearer realm=\"http://reg{owner}.example/token\",service=\"testbed\""),
        _ => "Negotiate abc, Bearer realm=\"https://10.0.0.1/token\"".into(),
    };
    let answer = Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is asking?");
    if challenge.is_empty() {
        answer
    } else {
        answer.header("www-authenticate", challenge)
    }
}

fn dated(choose: &mut dyn Choose, now: Duration) -> Answer {
    // 1,800,000,000 s after the epoch is Fri, 15 Jan 2027 08:00:00 GMT.
    let date = |after: u64| {
        let seconds = (now.as_secs() + after) % 50_000 + 8 * 3600;
        let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        format!("Fri, 15 Jan 2027 {h:02}:{m:02}:{s:02} GMT")
    };
    let after = [5, 0, 59, 3600][pick(choose, 4)];
    too_many(StatusCode::TOO_MANY_REQUESTS)
        .header("date", date(0))
        .header("retry-after", date(after))
}

fn too_many(status: StatusCode) -> Answer {
    Answer::error(status, "TOOMANYREQUESTS", "slower")
}

fn redirect(choose: &mut dyn Choose, location: &str) -> Answer {
    let code = [307, 302, 301, 303, 308][pick(choose, 5)];
    Answer::new(status(code)).header("location", location)
}

/// Places that are not the registry, some of them nearly.
fn foreign(choose: &mut dyn Choose, owner: usize, target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    match choose.below(5) {
        0 => format!("https://evil{owner}.example{path}?signed=1"),
        1 => format!("https://reg{owner}.example:444{path}"),
        2 => format!("https://reg{owner}.example.evil{owner}.example{path}"),
        3 => format!("//evil{owner}.example{path}"),
        _ => format!("https://reg{owner}.example@evil{owner}.example{path}"),
    }
}

fn odd_location(choose: &mut dyn Choose, answer: &mut Answer, owner: usize) {
    let odd = match choose.below(9) {
        0 => {
            answer.headers.remove(header::LOCATION);
            return;
        }
        1 => format!("https://evil{owner}.example/upload?x=1"),
        2 => "relative?a=b".into(),
        3 => format!("http://reg{owner}.example/v2/dst/one/blobs/uploads/x?y=1"),
        4 => "https://192.168.1.1/upload".into(),
        5 => "?only=query".into(),
        6 => format!("https://reg{owner}.example/v2/dst/one/blobs/uploads/gone?_state=1#fragment"),
        7 => "/../../v2/%2e%2e/'x'?a=\"b\"&c=<d>".into(),
        _ => "\u{fc}ber".into(),
    };
    set(answer, header::LOCATION, &odd);
}

pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        answer.headers.insert(name, value);
    }
}

/// Where a registry's token service is, if it has one.
pub(crate) fn token_service(owner: usize, access: Access) -> String {
    match access {
        Access::Elsewhere | Access::Untrusted => format!("https://auth{owner}.example/token"),
        _ => format!("https://reg{owner}.example/token"),
    }
}

/// Whether the request only asks.
pub(crate) fn asks(request: &Request) -> bool {
    request.method == Method::GET || RequestKind::of(request) == RequestKind::Head
}

fn pick(choose: &mut dyn Choose, n: usize) -> usize {
    usize::try_from(choose.below(n as u64)).unwrap_or(0)
}
