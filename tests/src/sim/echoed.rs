//! Headers of answers that repeat what the request presented.
//!
//! Responsible for all headers that a client reads, and for values that are legal in them. Must not know
//! when a server does this.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use windlass_testbed::{Answer, Request};

use super::choose::Choose;
use super::plan::small;

/// The headers, and a value of each around a secret.
const HEADERS: [(&str, &str); 15] = [
    ("warning", "299 - \"you are {}\""),
    ("content-type", "application/{}"),
    ("content-encoding", "{}"),
    ("content-range", "bytes {}"),
    ("location", "/v2/{}?x=1"),
    ("www-authenticate", "Basic realm=\"{}\""),
    ("docker-content-digest", "sha256:{}"),
    ("link", "</v2/{}>; rel=\"next\""),
    ("etag", "\"{}\""),
    ("accept-ranges", "{}"),
    ("range", "0-{}"),
    ("retry-after", "{}"),
    ("oci-subject", "sha256:{}"),
    ("oci-filters-applied", "{}"),
    ("oci-tag", "{}"),
];

/// How many headers there are to choose from.
pub(crate) const COUNT: usize = HEADERS.len();

/// What a request presented: its token or password, as it was sent and decoded.
pub(crate) fn presented(request: &Request) -> Vec<String> {
    let mut secrets = Vec::new();
    let field = request.field(header::AUTHORIZATION).unwrap_or_default();
    if let Some((scheme, secret)) = field.split_once(' ') {
        secrets.push(secret.to_owned());
        let decoded = STANDARD.decode(secret).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded);
        let password = decoded.split_once(':').filter(|_| scheme == "Basic");
        secrets.extend(password.map(|(_, password)| password.to_owned()));
    }
    if request.field(header::CONTENT_TYPE) == Some("application/x-www-form-urlencoded") {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let secret = pairs.filter(|(name, _)| matches!(*name, "password" | "refresh_token"));
        secrets.extend(secret.map(|(_, value)| value.to_owned()));
    }
    secrets
}

/// One header of the answer, whichever it is.
pub(crate) fn one(choose: &mut dyn Choose, request: &Request, answer: &mut Answer) {
    let (name, around) = HEADERS[small(choose, COUNT)];
    let secrets = presented(request);
    let secret = secrets.get(small(choose, secrets.len()));
    let Some(value) = secret.and_then(|secret| value(around, secret)) else {
        return;
    };
    let name = HeaderName::from_static(name);
    if name == header::WWW_AUTHENTICATE || name == header::WARNING {
        answer.headers.append(name, value);
    } else {
        answer.headers.insert(name, value);
    }
}

/// The header of this number, on each answer in which it decides nothing.
pub(crate) fn always(at: usize, request: &Request, answer: &mut Answer) {
    let (name, around) = HEADERS[at];
    let name = HeaderName::from_static(name);
    let secrets = presented(request);
    let value = secrets.last().and_then(|secret| value(around, secret));
    let labels = [header::WARNING, header::CONTENT_ENCODING];
    let is_label = labels.contains(&name) || !answer.headers.contains_key(&name);
    let is_whole = answer.status == StatusCode::OK && request.method == Method::GET;
    // There it leads to the next page.
    let lists = ["/tags/list", "/referrers/"];
    let lists = lists.iter().any(|part| request.target.contains(part));
    let is_whole = is_whole && !(lists && name == header::LINK);
    if let Some(value) = value.filter(|_| is_label && is_whole) {
        answer.headers.insert(name, value);
    }
}

fn value(around: &str, secret: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&around.replace("{}", secret)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::choose::List;
    use crate::sim::secrets::{self, mark};

    /// The simulation looks for what was repeated by its mark, so it has to stay in each header.
    #[test]
    fn each_header_repeats_a_secret() {
        let pair = STANDARD.encode(format!("alice:{}password", mark(0)));
        let request = Request::new(Method::GET, "reg0.example", "/v2/a/manifests/b");
        let request = request.header("authorization", format!("Basic {pair}"));
        assert_eq!(presented(&request).len(), 2);
        for (at, (name, _)) in HEADERS.iter().enumerate() {
            for which in [0, 1] {
                let mut answer = Answer::new(StatusCode::OK);
                let choices = [at as u64, which];
                one(&mut List::new(&choices), &request, &mut answer);
                let value = answer.headers.get(*name).expect("it is there");
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                assert_eq!(secrets::find(&value).len(), 1, "{value}");
            }
            let mut answer = Answer::new(StatusCode::OK);
            always(at, &request, &mut answer);
            assert_eq!(answer.headers.len(), 1, "{name}");
        }
    }
}
