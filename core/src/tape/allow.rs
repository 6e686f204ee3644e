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
//! | error bodies | codes that are known, digests, and that a login has expired |
//! | headers | known words, digests, and numbers, dates and ranges where they belong |
//! | `Location`, realms | scheme, host and port, too |
//! | manifests | all of them, or they would be other ones |
//! | lists of tags and repositories | known words |
//! | configurations of images | the platform |
//! | errors of drivers and stores | their kinds |

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use crate::call::{Call, Exchanged, Expect, Job, JobResult, Received, Relayed};
use crate::credential::{CredentialAnswer, Secret, TimedAnswer};
use crate::digest::Digest;
use crate::error_body;
use crate::header::{content_type, date, is_number, warnings};
use crate::manifest::{Content, Declared, Document, replace_lone_surrogates};
use crate::op::{TokenResponse, can_be_sent, kept_lists};
use crate::platform::Platform;
use crate::redact::{Redactor, VOCABULARY};
use crate::store::StoreAnswer;
use crate::uploads::SavedUpload;
use crate::uri::Url;

/// A URL that is refused, as the one is that it stands for.
const NO_URL: &str = "http://";

/// From this length on a placeholder is as long as its text: limits may depend on it.
const LONG: usize = 256;

pub(super) struct AllowList {
    known: BTreeSet<String>,
    numbers: BTreeMap<String, usize>,
    /// The credentials that were met: what is kept as it came must not have one in it.
    pub(super) credentials: Redactor,
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
    /// A list for a session that was configured with this text.
    pub(super) fn new(config: &str) -> Self {
        let mut list = Self {
            known: BTreeSet::new(),
            numbers: BTreeMap::new(),
            credentials: Redactor::default(),
            configs: BTreeSet::new(),
            withheld: None,
        };
        list.known
            .extend(VOCABULARY.split([' ', '/', ':']).map(Into::into));
        list.credentials.allow(VOCABULARY);
        list.add_words(config);
        list
    }

    /// Notes text of the user's: its words are kept, and no part of it counts as a secret.
    pub(super) fn add_words(&mut self, text: &str) {
        let words = text.split(|char| !is_inner(char));
        self.known.extend(words.map(Into::into));
        self.credentials.allow(text);
    }

    /// The result of `job` as it may be on a tape, or why it may not.
    pub(super) fn keep(
        &mut self,
        job: &Job,
        outcome: &JobResult,
    ) -> Result<JobResult, &'static str> {
        let kept = match (job, outcome) {
            (Job::Http(call), JobResult::Http(exchanged)) => {
                JobResult::Http(self.exchanged(call, exchanged).into())
            }
            (Job::Relay(relay), JobResult::Relay(relayed)) => {
                let source = self.exchanged(relay.source(), &relayed.source);
                let sink = self.exchanged(relay.sink(), &relayed.sink);
                JobResult::Relay(Relayed { source, sink }.into())
            }
            (Job::Store(call), JobResult::Store(answer)) => {
                let mut answer = answer.clone();
                if let Ok(StoreAnswer::Loaded(bytes)) = &mut answer {
                    *bytes = self.document(bytes, call.op().digest(), None);
                }
                JobResult::Store(answer)
            }
            (Job::Credentials(_), JobResult::Credentials(answer)) => {
                JobResult::Credentials(self.timed(answer))
            }
            (_, JobResult::Lost) => JobResult::Lost,
            (
                Job::Http(_) | Job::Relay(_) | Job::Store(_) | Job::Credentials(_),
                JobResult::Http(_)
                | JobResult::Relay(_)
                | JobResult::Store(_)
                | JobResult::Credentials(_),
            ) => return Err("the result is not one of such a job"),
        };
        self.withheld.map_or(Ok(kept), Err)
    }

    /// An upload with a URL that stands for its secret one.
    pub(super) fn upload(&mut self, upload: &SavedUpload) -> Option<SavedUpload> {
        let kept = self.url(Some(&upload.url));
        if self.withheld.is_some() {
            return None;
        }
        Some(upload.with_url(Url::parse(&kept).ok()?))
    }

    fn timed(&mut self, timed: &TimedAnswer) -> TimedAnswer {
        TimedAnswer {
            answer: self.credential(&timed.answer),
            valid_for: timed.valid_for,
        }
    }

    fn credential(&mut self, answer: &CredentialAnswer) -> CredentialAnswer {
        match answer {
            CredentialAnswer::Basic { username, password } => {
                // A user name with a colon is refused.
                let colon = if username.contains(':') { ":" } else { "" };
                CredentialAnswer::Basic {
                    username: format!("user-{}{colon}", self.number(username)),
                    password: self.secret(password),
                }
            }
            CredentialAnswer::Bearer(token) => CredentialAnswer::Bearer(self.secret(token)),
            CredentialAnswer::Refresh(token) => CredentialAnswer::Refresh(self.secret(token)),
            CredentialAnswer::None | CredentialAnswer::Failed(_) => answer.clone(),
        }
    }

    /// A placeholder that can be sent if the secret can.
    fn secret(&mut self, secret: &Secret) -> Secret {
        self.credentials.add(secret.expose());
        let newline = (!can_be_sent(secret.expose())).then_some("\n");
        Secret::new(self.placeholder(secret.expose()) + newline.unwrap_or_default())
    }

    fn exchanged(&mut self, call: &Call, exchanged: &Exchanged) -> Exchanged {
        let url = Url::parse(&call.request().uri().to_string()).ok();
        if let Some(url) = &url {
            // It is on the tape already, and a redirect may lead to it again.
            let words = url.path().split('/').filter(|word| !is_digest(word));
            self.known.extend(words.map(Into::into));
            // The size of a page is the client's choice.
            let sizes = url.query().unwrap_or_default().split('&');
            let sizes = sizes.filter_map(|part| part.strip_prefix("n="));
            let is_size = |text: &&str| text.len() <= 5 && text.parse::<u32>().is_ok();
            self.known.extend(sizes.filter(is_size).map(Into::into));
        }
        let mut kept = exchanged.clone();
        if let Received::Collected { bytes, .. } = &mut kept.body {
            let is_good = exchanged.status.is_some_and(|status| status.is_success());
            let body = match call.expect() {
                Expect::Token { .. } if is_good => self.token(bytes, &exchanged.headers),
                Expect::Document { .. } if is_good => {
                    let last = url.as_ref().and_then(|url| url.path().rsplit('/').next());
                    let digest = last.and_then(|last| last.parse().ok());
                    self.document(bytes, digest.as_ref(), content_type(&exchanged.headers))
                }
                Expect::Token { .. }
                | Expect::Document { .. }
                | Expect::Part { .. }
                | Expect::Head
                | Expect::Relay { .. }
                | Expect::Blob { .. } => error_body::codes(bytes),
            };
            *bytes = padded(body, bytes.len());
        }
        kept.headers = self.headers(&exchanged.headers, url.as_ref());
        kept
    }

    fn headers(&mut self, headers: &HeaderMap, url: Option<&Url>) -> HeaderMap {
        let mut kept = HeaderMap::new();
        for (name, value) in headers {
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = match name.as_str() {
                "location" => {
                    let target = url.and_then(|url| url.resolve_location(value.as_bytes()).ok());
                    self.url(target.as_ref())
                }
                "www-authenticate" => self.challenges(&text),
                // Their number and length are limited, so a placeholder stands for each.
                "warning" => {
                    let one = HeaderMap::from_iter([(name.clone(), value.clone())]);
                    let warnings = warnings(&one).into_iter();
                    let kept =
                        warnings.map(|text| format!("299 - \"{}\"", self.placeholder(&text)));
                    kept.collect::<Vec<_>>().join(", ")
                }
                _ if is_number(name, value) => text.into_owned(),
                _ => self.words(&text),
            };
            let value = HeaderValue::try_from(text).ok();
            kept.extend(value.map(|value| (name.clone(), value)));
        }
        kept
    }

    /// Challenges word by word, with the hosts of realms.
    fn challenges(&mut self, text: &str) -> String {
        let mut parts = text.split("://");
        let mut kept = self.words(parts.next().unwrap_or_default());
        for part in parts {
            let is_inner = |char: char| char.is_ascii_alphanumeric() || ".-:[]".contains(char);
            let end = part.find(|char| !is_inner(char)).unwrap_or(part.len());
            // A user name is none.
            let (host, rest) = part.split_at(if part[end..].starts_with('@') { 0 } else { end });
            self.check_host(host);
            kept = format!("{kept}://{host}{}", self.words(rest));
        }
        kept
    }

    /// A URL, or one that is refused if there is none.
    fn url(&mut self, url: Option<&Url>) -> String {
        let Some(url) = url else {
            return NO_URL.into();
        };
        let origin = url.origin().to_string();
        self.check_host(&origin);
        let mut kept = origin + &self.words(url.path());
        if let Some(query) = url.query() {
            kept = kept + "?" + &self.words(query);
        }
        kept
    }

    fn check_host(&mut self, host: &str) {
        if self.credentials.contains(host.as_bytes()) {
            self.withheld = Some("the name of a host has a secret in it");
        }
    }

    /// Text in which each word is kept or has a placeholder.
    fn words(&mut self, text: &str) -> String {
        let mut kept = String::new();
        for part in text.split_inclusive(is_border) {
            let word = part.trim_end_matches(is_border);
            let is_hash = |algorithm: &&str| {
                kept.ends_with(*algorithm) && is_digest(&format!("{algorithm}{word}"))
            };
            kept = match ["sha256:", "sha512:"].iter().any(is_hash) {
                true => kept + word,
                false => kept + &self.word(word),
            };
            kept.push_str(part.trim_start_matches(|char| !is_border(char)));
        }
        kept
    }

    /// The word, or what stands for it.
    fn word(&mut self, word: &str) -> String {
        let is_known = self.known.contains(word) || self.known.contains(&word.to_ascii_lowercase());
        if word.is_empty() || is_known {
            return word.into();
        }
        self.placeholder(word)
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
                let kept = json!({ "token": token.expose(), "expires_in": life });
                kept.to_string().into()
            }
            None => error_body::codes(bytes),
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
            None => {
                let names = self.names(bytes);
                let kept = names.unwrap_or_else(|| match error_body::codes(bytes) {
                    codes if codes.is_empty() && is_empty_list(bytes, content_type) => {
                        b"{}".to_vec()
                    }
                    codes => codes,
                });
                return padded(kept, bytes.len());
            }
        }
        if core::str::from_utf8(bytes).is_err() {
            self.withheld = Some("a manifest is no text");
        }
        if self.credentials.contains(bytes) {
            self.withheld = Some("a manifest has a secret in it");
        }
        bytes.to_vec()
    }

    /// A list of tags or repositories, name by name. What is none stays none.
    fn names(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut lists = Map::new();
        for list in kept_lists(bytes)? {
            if !list.names.is_empty() {
                let kept = list.names.iter().map(|name| match (list.is_name)(name) {
                    true => self.words(name),
                    false => "-".to_string(),
                });
                lists.insert(list.key.to_string(), kept.collect::<Vec<_>>().into());
            }
        }
        (!lists.is_empty()).then(|| Value::Object(lists).to_string().into_bytes())
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

/// Whether this can be a list without names, whatever else it says. Where an empty object would be a manifest, it is
/// none.
fn is_empty_list(bytes: &[u8], content_type: Option<&str>) -> bool {
    let is_list = kept_lists(bytes).is_some();
    is_list && manifest(b"{}", content_type).is_none()
}

/// The document, if it is one.
fn manifest(bytes: &[u8], content_type: Option<&str>) -> Option<Document> {
    let types = [None, content_type].into_iter();
    let mut parsed = types.map(|it| Document::parse(bytes.to_vec(), Declared::ContentType(it)));
    parsed.find_map(Result::ok)
}

/// Whether a character is between words.
pub(super) fn is_border(char: char) -> bool {
    char.is_ascii() && !is_inner(char)
}

/// Whether a character can be inside of a word.
fn is_inner(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-._+~*%".contains(char)
}

/// As many bytes as came: a body that is shorter than its head says is one that was cut.
fn padded(mut kept: Vec<u8>, len: usize) -> Vec<u8> {
    kept.resize(len.max(kept.len()), b' ');
    kept
}

#[cfg(test)]
mod tests;
