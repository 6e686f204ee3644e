//! Taking the secrets out of what a session is told.
//!
//! Responsible for what may stand on a tape: for each kind of end, the part that a session reads,
//! with a placeholder for each secret, so that it takes the same path without them. What a server
//! may have said again is looked for in everything that is text. Must not know tapes.
//!
//! | where | what stands on the tape |
//! |---|---|
//! | credentials | placeholders |
//! | answers of token services | how long a token is good; everything else of the same length |
//! | `Location`, `Link`, realms | scheme, host, port, path; a placeholder for the query |
//! | error bodies | codes, messages and digests |
//! | documents | as they are, or they would be others; of configurations the platform |

mod address;

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use http::{HeaderMap, HeaderValue, header};

use super::done::{
    BodyForm, BrokenForm, CredentialForm, End, FlawForm, HttpForm, Octets, StoreForm,
};
use crate::call::{Call, Expect, Job};
use crate::digest::Digest;
use crate::header::{Challenge, challenges};
use crate::op::basic;
use crate::said::{self, Piece, rewritten};
use crate::secrets::{Secrets, at_least, filler, placeholder};

/// Knows the secrets that were met so far.
#[derive(Debug)]
pub(super) struct Scrub {
    secrets: Secrets,
    withheld: bool,
}

/// Words that stand on every tape. A password that is one of them is not looked for: it cannot be
/// told from them.
const VOCABULARY: &str = "username password credentials collected transport \
    destination platforms registry manifests blobs/uploads location content-type \
    content-length www-authenticate docker-content-digest application/vnd.oci.image.manifest.v1+json \
    application/vnd.oci.image.index.v1+json application/json localhost 127.0.0.1 anonymous repository";

impl Scrub {
    pub(super) fn new() -> Self {
        let mut secrets = Secrets::default();
        secrets.publish(VOCABULARY);
        Self {
            secrets,
            withheld: false,
        }
    }

    /// Notes what the user said before any secret was known.
    pub(super) fn publish(&mut self, line: &str) {
        self.secrets.publish(line);
    }

    /// Notes the secret that a request carries. It was met before, in the answer it came from; this
    /// makes it certain.
    pub(super) fn went_out(&mut self, call: &Call) {
        let headers = call.request().headers();
        let value = headers.get(header::AUTHORIZATION);
        let value = value.and_then(|value| value.to_str().ok());
        if let Some((_, secret)) = value.and_then(|value| value.split_once(' ')) {
            self.secrets.learn(secret);
        }
    }

    /// The end of `job` as it may be written.
    pub(super) fn clean(&mut self, job: Option<&Job>, end: End) -> End {
        match (end, job) {
            (End::Http(form), Some(Job::Http(call))) => End::Http(self.http(form, call.expect())),
            (End::Http(form), _) => End::Http(self.http(form, &Expect::Head)),
            (End::Store(form), _) => End::Store(self.store(form)),
            (End::Credentials(form), _) => End::Credentials(self.credentials(form)),
            (End::Lost, _) => End::Lost,
        }
    }

    /// Whether something was left out that has no placeholder: what follows from it is lost.
    pub(super) const fn has_withheld(&self) -> bool {
        self.withheld
    }

    /// Whether a line has a secret in it nevertheless.
    pub(super) fn is_in(&self, line: &str) -> bool {
        self.secrets.is_in(line.as_bytes())
    }

    fn credentials(&mut self, form: CredentialForm) -> CredentialForm {
        match form {
            CredentialForm::None => CredentialForm::None,
            CredentialForm::Basic { username, password } => {
                if let Ok(pair) = basic(&username, &password).to_str() {
                    self.secrets.learn(pair.trim_start_matches("Basic "));
                }
                let mut user = self.secrets.user(&username);
                if username.contains(':') {
                    // It is refused for that.
                    user.push(':');
                }
                CredentialForm::Basic {
                    username: user,
                    password: self.token(&password),
                }
            }
            CredentialForm::Bearer(secret) => CredentialForm::Bearer(self.token(&secret)),
            CredentialForm::Refresh(secret) => CredentialForm::Refresh(self.token(&secret)),
            CredentialForm::Failed(why) => CredentialForm::Failed(self.secrets.clean_text(&why)),
        }
    }

    /// A token that can be sent if this one can.
    fn token(&mut self, secret: &str) -> String {
        let number = self.secrets.learn(secret);
        let mut token = at_least(number, 0);
        if HeaderValue::from_str(secret).is_err() {
            token.push('\n');
        }
        token
    }

    fn store(&mut self, form: StoreForm) -> StoreForm {
        match form {
            StoreForm::Loaded(document) => {
                let bytes = document.bytes().unwrap_or_default();
                StoreForm::Loaded(Octets::new(&self.document(&bytes)))
            }
            StoreForm::Failed(mut error) => {
                error.detail = self.secrets.clean_text(&error.detail);
                StoreForm::Failed(error)
            }
            StoreForm::Absent
            | StoreForm::Complete
            | StoreForm::Partial(_)
            | StoreForm::Busy(_)
            | StoreForm::Hashed(_)
            | StoreForm::Written
            | StoreForm::Found(_) => form,
        }
    }

    fn http(&mut self, form: HttpForm, expect: &Expect) -> HttpForm {
        let is_good = form
            .status
            .is_some_and(|status| (200..300).contains(&status));
        // The headers first: what an error body says again may have come in one of them.
        let headers = form.headers.into_iter();
        let headers = headers
            .map(|(name, value)| {
                let value = self.header(&name, &value.bytes().unwrap_or_default());
                (name, Octets::new(&value))
            })
            .collect();
        let body = match form.body {
            BodyForm::Collected { bytes, cut } => {
                let bytes = bytes.bytes().unwrap_or_default();
                let bytes = match expect {
                    Expect::Token { .. } => self.token_answer(&bytes, is_good),
                    Expect::Document { .. } if is_good => self.document(&bytes),
                    Expect::Document { .. } | Expect::Head | Expect::Blob { .. } => {
                        self.error_body(&bytes)
                    }
                };
                let bytes = Octets::new(&bytes);
                BodyForm::Collected { bytes, cut }
            }
            body @ (BodyForm::Nothing | BodyForm::Stored { .. }) => body,
        };
        HttpForm {
            status: form.status,
            headers,
            body,
            flaw: form.flaw.map(|flaw| self.flaw(flaw)),
            broken: form.broken.map(|broken| self.broken(broken)),
        }
    }

    fn flaw(&self, flaw: FlawForm) -> FlawForm {
        match flaw {
            FlawForm::Encoded { coding } => FlawForm::Encoded {
                coding: self.secrets.clean_text(&coding),
            },
            FlawForm::Range { said } => FlawForm::Range {
                said: said.map(|said| self.secrets.clean_text(&said)),
            },
            FlawForm::TooLarge { .. } | FlawForm::TooLong { .. } | FlawForm::Length { .. } => flaw,
        }
    }

    fn broken(&self, broken: BrokenForm) -> BrokenForm {
        let mut broken = broken;
        match &mut broken {
            BrokenForm::Transport(error) | BrokenForm::NotSent(error) => {
                error.detail = self.secrets.clean_text(&error.detail);
            }
            BrokenForm::Store(error) => error.detail = self.secrets.clean_text(&error.detail),
            BrokenForm::Damaged { .. } | BrokenForm::Aborted => {}
        }
        broken
    }

    fn header(&mut self, name: &str, value: &[u8]) -> Vec<u8> {
        // Each byte as one character, so that none is lost whatever it is.
        let text: String = value.iter().copied().map(char::from).collect();
        let bytes = |text: &str| {
            text.chars()
                .filter_map(|char| u8::try_from(char).ok())
                .collect()
        };
        if name == header::LOCATION.as_str() {
            return bytes(&address::scrubbed(&text, &mut self.secrets));
        }
        if name == header::LINK.as_str() {
            return bytes(&self.link(&text));
        }
        if name == header::WWW_AUTHENTICATE.as_str() {
            return self.challenges(value);
        }
        self.secrets.clean(value)
    }

    /// `<address>; rel="next", …`
    fn link(&mut self, text: &str) -> String {
        let mut out = String::new();
        for (i, part) in text.split('<').enumerate() {
            if i > 0 {
                out.push('<');
            }
            match part.split_once('>') {
                Some((target, after)) => {
                    out.push_str(&address::scrubbed(target, &mut self.secrets));
                    out.push('>');
                    out.push_str(&self.secrets.clean_text(after));
                }
                None => out.push_str(&self.secrets.clean_text(part)),
            }
        }
        out
    }

    /// The challenges of one line, with the parameters that are read.
    fn challenges(&mut self, value: &[u8]) -> Vec<u8> {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return Vec::new();
        };
        let line = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]);
        let written: Vec<String> = challenges(&line)
            .iter()
            .map(|challenge| self.challenge(challenge))
            .collect();
        written.join(", ").into_bytes()
    }

    fn challenge(&mut self, challenge: &Challenge) -> String {
        let mut written = self.secrets.clean_text(&challenge.scheme);
        let mut separator = " ";
        for name in ["realm", "service", "scope", "error"] {
            let Some(value) = challenge.param(name) else {
                continue;
            };
            let value = if name == "realm" {
                address::scrubbed(value, &mut self.secrets)
            } else {
                self.secrets.clean_text(value)
            };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            written.push_str(&format!("{separator}{name}=\"{value}\""));
            separator = ", ";
        }
        written
    }

    /// What a token service said: how long its token is good, and everything else unreadable.
    fn token_answer(&mut self, body: &[u8], is_good: bool) -> Vec<u8> {
        let Ok(text) = core::str::from_utf8(body) else {
            return filler(body.len()).into_bytes();
        };
        if !is_good {
            return self.error_body(body);
        }
        if serde_json::from_str::<serde_json::Value>(text).is_err() {
            return filler(body.len()).into_bytes();
        }
        let scrubbed = rewritten(text, |piece| match piece {
            Piece::Name("token" | "access_token" | "expires_in" | "issued_at") => None,
            Piece::Name(name) => Some(filler(name.len())),
            Piece::Text {
                name: "expires_in" | "issued_at",
                ..
            } => None,
            Piece::Text { raw, .. } => Some(self.token_text(raw)),
        });
        self.secrets.clean(scrubbed.as_bytes())
    }

    /// A text of a token service's answer, which may be a token.
    fn token_text(&mut self, raw: &str) -> String {
        let text = serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap_or_default();
        let number = self.secrets.learn(&text);
        if HeaderValue::from_str(&text).is_ok() || raw.len() < 2 {
            return placeholder(number, raw.len());
        }
        // It is refused because it cannot be sent, and so is this.
        let mut token = placeholder(number, raw.len() - 2);
        token.push_str("\\n");
        token
    }

    /// What an error says to people and to us: codes, messages, digests.
    fn error_body(&self, body: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(body);
        let start = text.trim_start();
        if start.starts_with('<') {
            return self.secrets.clean(page(&text, body.len()).as_bytes());
        }
        let is_object = start.starts_with('{')
            && serde_json::from_str::<serde_json::Value>(text.trim()).is_ok();
        if !is_object {
            return self.secrets.clean(body);
        }
        let is_read = |name: &str| {
            matches!(
                name,
                "errors"
                    | "code"
                    | "message"
                    | "detail"
                    | "details"
                    | "error"
                    | "error_description"
            )
        };
        let scrubbed = rewritten(&text, |piece| match piece {
            Piece::Name(name) => (!is_read(name)).then(|| filler(name.len())),
            Piece::Text { name, raw } => {
                let is_shown = is_read(name) && name != "errors";
                let is_digest = raw
                    .parse::<Digest>()
                    .is_ok_and(|digest| digest.algorithm().is_some());
                (!is_shown && !is_digest).then(|| filler(raw.len()))
            }
        });
        self.secrets.clean(scrubbed.as_bytes())
    }

    /// A manifest as it is, unless it holds a secret; of an image's configuration the platform.
    fn document(&mut self, bytes: &[u8]) -> Vec<u8> {
        let bytes = reduced(bytes).unwrap_or_else(|| bytes.to_vec());
        if self.secrets.is_in(&bytes) {
            // It cannot be changed and stay what its digest says.
            self.withheld = true;
            return filler(bytes.len()).into_bytes();
        }
        bytes
    }
}

/// A page or a storage service's XML: what people are shown of it, and as many bytes.
fn page(text: &str, len: usize) -> String {
    let mut kept = String::new();
    for name in ["Code", "Message"] {
        if let Some(inside) = said::element(text, name) {
            kept.push_str(&format!("<{name}>{inside}</{name}>"));
        }
    }
    if kept.is_empty() {
        kept.push('<');
    }
    let rest = filler(len.saturating_sub(kept.len()));
    kept + &rest
}

/// An image's configuration with nothing but its platform in it, of the same length; `None` for
/// everything that may be a manifest.
fn reduced(bytes: &[u8]) -> Option<Vec<u8>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
    let of_manifests = ["schemaVersion", "mediaType", "manifests", "layers", "blobs"];
    if of_manifests.iter().any(|name| object.contains_key(*name)) {
        return None;
    }
    let of_platforms = ["os", "architecture", "variant", "os.version", "os.features"];
    let platform: serde_json::Map<_, _> = of_platforms
        .iter()
        .filter_map(|name| Some(((*name).to_string(), object.get(*name)?.clone())))
        .collect();
    let mut reduced = serde_json::to_vec(&platform).ok()?;
    if reduced.len() > bytes.len() {
        reduced = b"{}".to_vec();
    }
    reduced.resize(bytes.len(), b' ');
    Some(reduced)
}

#[cfg(test)]
mod tests;
