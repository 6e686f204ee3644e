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
//! | `Location`, `Link`, realms | scheme, host, port, path; in a query digests and `from` |
//! | error bodies | codes, messages and digests, as much of them as people are shown |
//! | warnings | their texts |
//! | manifests | all of it, or they would be others |
//! | other documents | the platform, for configurations; how they begin, for pages |
//! | what drivers and stores say | all of it: paths of local files are in it |
//!
//! Everything else in an address is replaced by placeholders.
//!
//! A secret that is said again is looked for if it has four bytes or more: a shorter one is a part
//! of any text. If it has less than eight, it is looked for as a word, and so is a user's name,
//! however long. Words stay in manifests. What is a part of what the user said, or of what stands
//! on every tape, is not looked for.

mod address;
mod document;
mod token;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use http::{HeaderMap, HeaderValue, header};

use super::done::{
    BodyForm, BrokenForm, CredentialForm, End, FlawForm, HttpForm, Octets, StoreForm,
};
use crate::call::{Call, Expect, Job};
use crate::digest::Digest;
use crate::header::{Challenge, challenges, warnings};
use crate::op::{basic, can_be_sent, is_no_grant};
use crate::said;
use crate::secrets::{Secrets, at_least, len_in_url};
use crate::shown::{filler, urls};

/// Knows the secrets that were met so far.
#[derive(Debug)]
pub(super) struct Scrub {
    secrets: Secrets,
    withheld: bool,
    altered: bool,
    /// The configurations of the images that were met.
    configs: BTreeSet<Digest>,
}

/// Words that stand on every tape. A password that is one of them is not looked for: it cannot be
/// told from them.
const VOCABULARY: &str = "username password credentials collected transport \
    destination platforms registry manifests blobs/uploads location content-type \
    content-length www-authenticate docker-content-digest application/vnd.oci.image.manifest.v1+json \
    token access_token expires_in issued_at errors code message detail details error \
    error_description \
    application/vnd.oci.image.index.v1+json application/json localhost 127.0.0.1 anonymous repository";

impl Scrub {
    pub(super) fn new() -> Self {
        let mut secrets = Secrets::default();
        secrets.publish(VOCABULARY);
        Self {
            secrets,
            withheld: false,
            altered: false,
            configs: BTreeSet::new(),
        }
    }

    /// Notes what the user said: what is met from now on is not looked for if it is a part of it.
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
            (End::Store(form), Some(Job::Store(call))) => {
                End::Store(self.store(form, call.op().digest()))
            }
            (End::Store(form), _) => End::Store(self.store(form, None)),
            (End::Credentials(form), _) => End::Credentials(self.credentials(form)),
            (End::Lost, _) => End::Lost,
        }
    }

    /// Whether something was left out that has no placeholder: what follows from it is lost.
    pub(super) const fn has_withheld(&self) -> bool {
        self.withheld
    }

    /// Whether something was written otherwise than it came, so that more may have been said of it:
    /// from then on it has to be the same that is said, word for word.
    pub(super) const fn has_altered(&self) -> bool {
        self.altered
    }

    /// A line of the session that has the secrets, as the one says it that has not.
    pub(super) fn retold(&self, line: &str) -> String {
        self.secrets.retold(line)
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
            CredentialForm::Refresh(secret) => {
                let number = self.secrets.learn(&secret);
                // The transcript shows the length of the form in which it is sent; any can be.
                CredentialForm::Refresh(at_least(number, len_in_url(&secret)))
            }
            CredentialForm::Failed(why) => {
                CredentialForm::Failed(self.secrets.clean_text(&urls::filled(&why)))
            }
        }
    }

    /// A token that can be sent if this one can.
    fn token(&mut self, secret: &str) -> String {
        let number = self.secrets.learn(secret);
        let mut token = at_least(number, 0);
        if !can_be_sent(secret) {
            token.push('\n');
        }
        token
    }

    fn store(&mut self, form: StoreForm, digest: Option<&Digest>) -> StoreForm {
        match form {
            StoreForm::Loaded(document) => {
                let bytes = document.bytes().unwrap_or_default();
                let is_config = digest.is_some_and(|digest| self.configs.contains(digest));
                StoreForm::Loaded(Octets::new(&self.document(&bytes, is_config)))
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
            | StoreForm::Found(_)
            | StoreForm::Several(_) => form,
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
                    Expect::Token { .. } if is_good && !is_no_grant(&bytes) => {
                        token::scrubbed(&bytes, &mut self.secrets)
                    }
                    Expect::Document { .. } if is_good => self.document(&bytes, false),
                    Expect::Token { .. }
                    | Expect::Document { .. }
                    | Expect::Head
                    | Expect::Blob { .. } => self.error_body(&bytes, cut || form.broken.is_some()),
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
            sent: form.sent,
            flaw: form.flaw.map(|flaw| self.flaw(flaw)),
            broken: form.broken.map(|broken| self.broken(broken)),
        }
    }

    fn flaw(&self, flaw: FlawForm) -> FlawForm {
        match flaw {
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
        let value = self.secrets.clean(value);
        if name == header::WARNING.as_str() {
            return self.warnings(&value);
        }
        value
    }

    /// The warnings of one line, as they are shown.
    fn warnings(&self, value: &[u8]) -> Vec<u8> {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return Vec::new();
        };
        let line = HeaderMap::from_iter([(header::WARNING, value)]);
        let written: Vec<String> = warnings(&line)
            .iter()
            .map(|text| format!("299 - {}", quoted(&self.secrets.clean_text(text))))
            .collect();
        written.join(", ").into_bytes()
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
            written.push_str(&format!("{separator}{name}={}", quoted(&value)));
            separator = ", ";
        }
        written
    }

    /// What an error says to people and to us: codes, messages, digests.
    fn error_body(&self, body: &[u8], is_cut: bool) -> Vec<u8> {
        said::kept(body, |kept| {
            if is_cut {
                self.secrets.clean_cut(kept)
            } else {
                self.secrets.clean(kept)
            }
        })
    }

    /// A manifest as it is, unless it holds a secret; of anything else what is read of it.
    fn document(&mut self, bytes: &[u8], is_config: bool) -> Vec<u8> {
        let left = match document::form(bytes, is_config) {
            // It is told as an error.
            document::Form::Object(_) | document::Form::Other
                if !is_config && said::is_error(bytes) =>
            {
                self.error_body(bytes, false)
            }
            document::Form::Manifest { config } => {
                self.configs.extend(config);
                if self.secrets.is_in(bytes) {
                    // It cannot be changed and stay what its digest says.
                    self.withheld = true;
                    return filler(bytes.len()).into_bytes();
                }
                return bytes.to_vec();
            }
            document::Form::Object(object) => {
                let reduced = document::reduced(&object, bytes.len());
                self.secrets.clean(&reduced)
            }
            document::Form::Other => document::start(bytes, |start| self.secrets.clean_cut(start)),
        };
        self.altered |= left != bytes;
        left
    }
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests;
