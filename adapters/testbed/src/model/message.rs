//! What goes into the model and what comes out.
//!
//! Responsible for: the two messages and their construction.
//! Must not know: what any of them means.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

/// One HTTP request as the model sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The authority of the `Host` header: `registry.example:5000`.
    pub host: String,
    /// The raw request target: path and query, byte for byte.
    pub target: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Request {
    /// A request without header fields and body.
    pub fn new(method: Method, host: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            method,
            host: host.into(),
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a header field; a value that cannot be one leaves the request as it is.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        append(&mut self.headers, name, value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The text of a header field, if it is there once at least and is text.
    pub fn field(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl<B: Into<Bytes>> From<http::Request<B>> for Request {
    fn from(request: http::Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let said = head.headers.get(header::HOST);
        let said = said.and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = said.or_else(|| head.uri.authority().map(|it| it.as_str().to_owned()));
        let target = head.uri.path_and_query().map_or("/", |it| it.as_str());
        Self {
            host: host.unwrap_or_default(),
            target: target.to_owned(),
            method: head.method,
            headers: head.headers,
            body: body.into(),
        }
    }
}

impl From<Answer> for http::Response<Bytes> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// One HTTP answer. For a HEAD the body is empty and `Content-Length` tells the size.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// An answer without header fields and body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// An answer with the error body of the distribution spec (ERR-01).
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::new(status).json(&json!({"errors": [{"code": code, "message": message}]}))
    }

    /// Adds a header field (lower-case name); a value that cannot be one leaves the answer as it is.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        append(&mut self.headers, name, value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and, unless there is one, its `Content-Type`.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        self.body(body.to_string())
    }

    /// The text of a header field, if it is there once at least and is text.
    pub fn field(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn append(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
        headers.append(name, value);
    }
}

/// Why a request is refused: becomes an [`Answer`] with an error body.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    details: Vec<Value>,
    challenge: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            code,
            message,
            details: Vec::new(),
            challenge: None,
        }
    }

    /// One error per detail (PUSHM-13).
    pub(crate) fn details(mut self, details: Vec<Value>) -> Self {
        self.details = details;
        self
    }

    pub(crate) fn challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            status,
            code,
            message,
            details,
            challenge,
        } = refusal;
        let errors: Vec<Value> = if details.is_empty() {
            vec![json!({"code": code, "message": message})]
        } else {
            let error = |detail| json!({"code": code, "message": message, "detail": detail});
            details.into_iter().map(error).collect()
        };
        let answer = Self::new(status).json(&json!({"errors": errors}));
        match challenge {
            Some(challenge) => answer.header("www-authenticate", challenge),
            None => answer,
        }
    }
}
