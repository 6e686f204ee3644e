//! The allow-list: what of the results of jobs is on a tape.
//!
//! Responsible for keeping what a session acts on and nothing else. Text that a server wrote is kept
//! where it is a word of the protocol or one that the user wrote; any other text becomes a numbered
//! placeholder, the same for the same text, so a session that is told the placeholders takes the same
//! path. Must not know the form of tapes.
//!
//! | where | what is on the tape |
//! |---|---|
//! | credentials | their kind, with placeholders |
//! | answers of token services | a placeholder for the token, and its lifetime |
//! | error bodies | codes that are known, and digests |
//! | `Location`, realms | scheme, host and port; of paths and queries, known words and digests |
//! | challenges | schemes, realms, services, scopes and `error`, word by word |
//! | other headers | media types, lengths, dates, digests; that there is a warning or an `ETag` |
//! | manifests | all of them, or they would be other ones |
//! | configurations of images | the platform |
//! | errors of drivers and stores | their kinds |

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::job_result::{Credential, End};
use crate::call::{Call, Exchanged, Expect, Job, Outcome, Received, is_number};
use crate::credential::{CredentialAnswer, Secret};
use crate::digest::Digest;
use crate::error_body;
use crate::header::{Challenge, challenges, content_type, date, warnings};
use crate::manifest::{Content, Declared, Document, replace_lone_surrogates};
use crate::op::{TokenResponse, can_be_sent};
use crate::platform::Platform;
use crate::redact::Redactor;
use crate::scope::Scope;
use crate::store::StoreAnswer;
use crate::uri::Url;

/// The words of the protocol.
const VOCABULARY: &str = "\
    v2 manifests blobs uploads token \
    bearer basic negotiate digest insufficient_scope invalid_token invalid_request \
    repository registry catalog pull push delete * registry.docker.io \
    application text multipart json octet-stream plain html xml byteranges problem+json \
    vnd.oci.image.index.v1+json vnd.oci.image.manifest.v1+json vnd.oci.image.config.v1+json \
    vnd.oci.artifact.manifest.v1+json vnd.oci.empty.v1+json vnd.docker.container.image.v1+json \
    vnd.docker.distribution.manifest.list.v2+json vnd.docker.distribution.manifest.v2+json \
    vnd.docker.distribution.manifest.v1+json vnd.docker.distribution.manifest.v1+prettyjws \
    linux windows darwin freebsd amd64 arm64 arm 386 ppc64le s390x riscv64 v5 v6 v7 v8";

/// The codes of errors that are kept: those of OCI and distribution, of OAuth, of storage services, and
/// others that registries are known to send.
const CODES: &str = "\
    BLOB_UNKNOWN BLOB_UPLOAD_INVALID BLOB_UPLOAD_UNKNOWN DIGEST_INVALID MANIFEST_BLOB_UNKNOWN \
    MANIFEST_INVALID MANIFEST_UNKNOWN MANIFEST_UNVERIFIED NAME_INVALID NAME_UNKNOWN SIZE_INVALID \
    TAG_INVALID TAG_IMMUTABLE UNAUTHORIZED DENIED UNSUPPORTED TOOMANYREQUESTS UNAVAILABLE UNKNOWN \
    RANGE_INVALID NOT_FOUND FORBIDDEN BAD_REQUEST CONFLICT PRECONDITION INTERNAL_SERVER_ERROR \
    invalid_request invalid_client invalid_grant invalid_scope invalid_token unauthorized_client \
    unsupported_grant_type insufficient_scope access_denied server_error temporarily_unavailable \
    denied unauthorized AccessDenied AuthenticationFailed AuthorizationFailure BlobNotFound \
    ExpiredToken InternalError InvalidArgument NoSuchKey RequestTimeTooSkewed ServerBusy \
    SignatureDoesNotMatch SlowDown";

/// Stands for a code that is not known.
const OTHER_CODE: &str = "OTHER";

/// A URL that is refused, as the one is that it stands for.
const NO_URL: &str = "http://";

/// From this length on a placeholder is as long as its text: limits may depend on it.
const LONG: usize = 256;

pub(super) struct AllowList {
    known: BTreeSet<String>,
    numbers: BTreeMap<String, usize>,
    /// The credentials that were met: what is kept as it came must not have one in it.
    credentials: Redactor,
    /// The configurations of the images that were met.
    configs: BTreeSet<Digest>,
    withheld: Option<&'static str>,
}

impl fmt::Debug for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowList({} placeholders)", self.numbers.len())
    }
}

impl AllowList {
    pub(super) fn new() -> Self {
        let mut list = Self {
            known: BTreeSet::new(),
            numbers: BTreeMap::new(),
            credentials: Redactor::default(),
            configs: BTreeSet::new(),
            withheld: None,
        };
        list.known.extend(VOCABULARY.split(' ').map(Into::into));
        list.credentials.allow(VOCABULARY);
        list
    }

    /// Notes text of the user's: its words are kept, and no part of it counts as a secret.
    pub(super) fn add_words(&mut self, text: &str) {
        let is_inner = |char: char| char.is_ascii_alphanumeric() || "-._+~".contains(char);
        let words = text.split(|char| !is_inner(char));
        self.known.extend(words.map(Into::into));
        self.credentials.allow(text);
    }

    /// Notes the credentials that a request carries.
    pub(super) fn add_credentials(&mut self, call: &Call) {
        call.add_credentials(&mut self.credentials);
    }

    /// Why the last result cannot be on a tape, if it cannot.
    pub(super) const fn withheld(&self) -> Option<&'static str> {
        self.withheld
    }

    /// The result of `job` as it may be on a tape; `None` if it is not one of such a job.
    pub(super) fn keep(&mut self, job: &Job, outcome: &Outcome) -> Option<End> {
        Some(match (job, outcome) {
            (Job::Http(call), Outcome::Http(exchanged)) => {
                End::Http(Box::new(self.exchanged(call, exchanged)))
            }
            (Job::Store(call), Outcome::Store(answer)) => {
                let mut answer = answer.clone();
                if let Ok(StoreAnswer::Loaded(bytes)) = &mut answer {
                    *bytes = self.document(bytes, call.op().digest(), None);
                }
                End::Store(answer)
            }
            (Job::Credentials(_), Outcome::Credentials(answer)) => {
                End::Credentials(self.credential(answer))
            }
            (_, Outcome::Lost) => End::Lost,
            (
                Job::Http(_) | Job::Store(_) | Job::Credentials(_),
                Outcome::Http(_) | Outcome::Store(_) | Outcome::Credentials(_),
            ) => return None,
        })
    }

    fn credential(&mut self, answer: &CredentialAnswer) -> Credential {
        match answer {
            CredentialAnswer::None => Credential::None,
            CredentialAnswer::Basic { username, password } => {
                // A user name with a colon is refused.
                let colon = if username.contains(':') { ":" } else { "" };
                let number = self.number(username);
                Credential::Basic {
                    username: format!("user-{number}{colon}"),
                    password: self.secret(password),
                }
            }
            CredentialAnswer::Bearer(token) => Credential::Bearer(self.secret(token)),
            CredentialAnswer::Refresh(token) => Credential::Refresh(self.secret(token)),
            CredentialAnswer::Failed(_) => Credential::Failed,
        }
    }

    /// A placeholder that can be sent if the secret can.
    fn secret(&mut self, secret: &Secret) -> String {
        self.credentials.add(secret.expose());
        let placeholder = self.placeholder(secret.expose());
        match can_be_sent(secret.expose()) {
            true => placeholder,
            false => placeholder + "\n",
        }
    }

    fn exchanged(&mut self, call: &Call, exchanged: &Exchanged) -> Exchanged {
        let url = Url::parse(&call.request().uri().to_string()).ok();
        if let Some(url) = &url {
            // It is on the tape already, and a redirect may lead to it again.
            let words = url.path().split('/').filter(|word| !is_digest(word));
            self.known.extend(words.map(Into::into));
        }
        let body = match &exchanged.body {
            Received::Collected { bytes, cut } => {
                let is_good = exchanged.status.is_some_and(|status| status.is_success());
                let kept = match call.expect() {
                    Expect::Token { .. } if is_good => self.token(bytes, &exchanged.headers),
                    Expect::Document { .. } if is_good => {
                        let last = url.as_ref().and_then(|url| url.path().rsplit('/').next());
                        let digest = last.and_then(|last| last.parse().ok());
                        self.document(bytes, digest.as_ref(), content_type(&exchanged.headers))
                    }
                    Expect::Token { .. }
                    | Expect::Document { .. }
                    | Expect::Head
                    | Expect::Blob { .. } => errors(bytes),
                };
                Received::Collected {
                    bytes: padded(kept, bytes.len()),
                    cut: *cut,
                }
            }
            body @ (Received::Nothing | Received::Stored { .. }) => body.clone(),
        };
        Exchanged {
            status: exchanged.status,
            headers: self.headers(&exchanged.headers, url.as_ref()),
            body,
            sent: exchanged.sent,
            hashed: exchanged.hashed.clone(),
            flaw: exchanged.flaw.clone(),
            interrupted: exchanged.interrupted.clone(),
        }
    }

    fn headers(&mut self, headers: &HeaderMap, url: Option<&Url>) -> HeaderMap {
        let mut kept = HeaderMap::new();
        for name in headers.keys() {
            let value = self.header(name, headers, url);
            let value = value.and_then(|value| HeaderValue::try_from(value).ok());
            kept.extend(value.map(|value| (name.clone(), value)));
        }
        kept
    }

    /// What is kept of a header: of all its values where all are read, else of the first.
    fn header(&mut self, name: &HeaderName, all: &HeaderMap, url: Option<&Url>) -> Option<String> {
        let value = &all[name];
        let text = value.to_str().unwrap_or_default().trim();
        Some(match name.as_str() {
            "location" => {
                let target = url.and_then(|url| url.resolve_location(value.as_bytes()).ok());
                self.url(target.as_ref())
            }
            "www-authenticate" => {
                let challenges = challenges(all);
                joined(challenges.iter().map(|it| self.challenge(it, url)), ", ")
            }
            "warning" => {
                let warning = |text: &String| format!("299 - \"{}\"", self.placeholder(text));
                joined(warnings(all).iter().map(warning), ", ")
            }
            "content-type" => {
                let essence = text.split(';').next()?.trim_end();
                let kept = self.words(&essence.to_ascii_lowercase(), &['/']);
                let is_same = kept.eq_ignore_ascii_case(essence);
                Some(if is_same { essence.into() } else { kept }).filter(|it| it.contains('/'))?
            }
            "etag" => {
                let inner = text.strip_prefix('"')?.strip_suffix('"')?;
                format!("\"{}\"", self.word(inner))
            }
            "docker-content-digest" | "oci-subject" if is_digest(text) => text.into(),
            "content-length" | "retry-after" | "date" if is_number(name, value) => text.into(),
            _ => return None,
        })
    }

    fn challenge(&mut self, challenge: &Challenge, url: Option<&Url>) -> String {
        let mut params = Vec::new();
        if let Some(realm) = challenge.param("realm") {
            let realm = url.and_then(|url| url.resolve(realm).ok());
            params.push(format!("realm=\"{}\"", self.url(realm.as_ref())));
        }
        if let Some(scope) = challenge.param("scope") {
            let scopes = scope.split_ascii_whitespace();
            let scopes = scopes.filter(|scope| scope.parse::<Scope>().is_ok());
            let scopes = scopes.map(|scope| self.words(scope, &[':', ',', '/', '(', ')']));
            params.push(format!("scope=\"{}\"", joined(scopes, " ")));
        }
        for name in ["service", "error"] {
            let value = challenge.param(name).map(|value| self.word(value));
            params.extend(value.map(|value| format!("{name}=\"{value}\"")));
        }
        format!("{} {}", self.word(&challenge.scheme), params.join(", "))
    }

    /// A URL, or one that is refused if there is none.
    fn url(&mut self, url: Option<&Url>) -> String {
        let Some(url) = url else {
            return NO_URL.into();
        };
        let origin = url.origin().to_string();
        if self.credentials.contains(origin.as_bytes()) {
            self.withheld = Some("the name of a host has a secret in it");
        }
        let path = self.words(url.path(), &['/']);
        let Some(query) = url.query() else {
            return format!("{origin}{path}");
        };
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            // What this protocol adds is kept: a redirect to where it came from is one.
            Some(("digest" | "mount" | "from", value)) if self.are_known(value) => pair.into(),
            Some(_) | None => self.word(pair),
        });
        format!("{origin}{path}?{}", joined(pairs, "&"))
    }

    /// Text whose words are looked at one by one.
    fn words(&mut self, text: &str, separators: &[char]) -> String {
        let parts = text.split_inclusive(separators);
        let parts = parts.map(|part| {
            let word = part.trim_end_matches(separators);
            self.word(word) + &part[word.len()..]
        });
        parts.collect()
    }

    /// The word, or what stands for it.
    fn word(&mut self, word: &str) -> String {
        if word.is_empty() || self.is_known(word) {
            return word.into();
        }
        self.placeholder(word)
    }

    fn are_known(&self, words: &str) -> bool {
        words.split('/').all(|word| self.is_known(word))
    }

    fn is_known(&self, word: &str) -> bool {
        self.known.contains(word) || is_digest(word)
    }

    fn placeholder(&mut self, text: &str) -> String {
        let len = Some(text.len()).filter(|len| *len >= LONG).unwrap_or(0);
        format!("{:-<len$}", format!("secret-{}", self.number(text)))
    }

    fn number(&mut self, text: &str) -> usize {
        let next = self.numbers.len() + 1;
        *self.numbers.entry(text.into()).or_insert(next)
    }

    /// What a token service granted.
    fn token(&mut self, bytes: &[u8], headers: &HeaderMap) -> Vec<u8> {
        let Ok(response) = TokenResponse::read(bytes) else {
            return Vec::new();
        };
        let life = response.life(date(headers));
        match response.token() {
            Some(token) => {
                let token = self.secret(&Secret::new(token));
                let kept = json!({ "token": token, "expires_in": life });
                kept.to_string().into()
            }
            None => errors(bytes),
        }
    }

    /// A manifest as it is, of a configuration the platform, and of anything else nothing but what it
    /// says of an error. What has the digest that was asked for counts as a manifest.
    fn document(
        &mut self,
        bytes: &[u8],
        digest: Option<&Digest>,
        content_type: Option<&str>,
    ) -> Vec<u8> {
        if digest.is_some_and(|digest| self.configs.contains(digest)) {
            return padded(self.platform(bytes).unwrap_or_default(), bytes.len());
        }
        let is_named = digest.is_some_and(|digest| {
            let algorithm = digest.algorithm();
            algorithm.is_some_and(|algorithm| Digest::of(algorithm, bytes) == *digest)
        });
        match manifest(bytes, content_type) {
            Some(document) => {
                if let Content::Image(image) = document.content() {
                    self.configs.insert(image.config.digest.clone());
                }
            }
            None if is_named => {}
            None => return padded(errors(bytes), bytes.len()),
        }
        if core::str::from_utf8(bytes).is_err() {
            self.withheld = Some("a manifest is no text");
        }
        if self.credentials.contains(bytes) {
            self.withheld = Some("a manifest has a secret in it");
        }
        bytes.to_vec()
    }

    fn platform(&mut self, config: &[u8]) -> Option<Vec<u8>> {
        let config = replace_lone_surrogates(config);
        let mut platform = serde_json::from_slice::<Platform>(&config).ok()?;
        for word in [&mut platform.os, &mut platform.architecture]
            .into_iter()
            .chain(&mut platform.variant)
            .chain(&mut platform.os_version)
            .chain(&mut platform.os_features)
        {
            *word = self.word(word);
        }
        serde_json::to_vec(&platform).ok()
    }
}

/// Whether a text is a digest that content of ours can have: one of another algorithm is free text.
fn is_digest(text: &str) -> bool {
    let digest = text.parse::<Digest>();
    digest.is_ok_and(|digest| digest.algorithm().is_some())
}

/// The document, if it is one.
fn manifest(bytes: &[u8], content_type: Option<&str>) -> Option<Document> {
    let types = [None, content_type].into_iter();
    let mut parsed = types.map(|it| Document::parse(bytes.to_vec(), Declared::ContentType(it)));
    parsed.find_map(Result::ok)
}

/// The codes of an error body, and the digests in its details.
fn errors(body: &[u8]) -> Vec<u8> {
    let errors = error_body::read(body);
    let entries = errors.entries.iter().filter_map(|entry| {
        let code = match entry.code.as_str() {
            "" => None,
            code if CODES.split(' ').any(|known| known == code) => Some(code),
            _ => Some(OTHER_CODE),
        };
        let mut kept = serde_json::Map::new();
        kept.extend(code.map(|code| ("code".into(), code.into())));
        if !entry.digests.is_empty() {
            kept.insert("detail".into(), json!(entry.digests));
        }
        (!kept.is_empty()).then_some(kept)
    });
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return Vec::new();
    }
    json!({ "errors": entries }).to_string().into()
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

/// As many bytes as came: a body that is shorter than its head says is one that was cut.
fn padded(mut kept: Vec<u8>, len: usize) -> Vec<u8> {
    kept.resize(len.max(kept.len()), b' ');
    kept
}

#[cfg(test)]
mod tests;
