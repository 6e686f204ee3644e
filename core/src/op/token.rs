//! Requests to token services (AUTH-20 to AUTH-49).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Draft, OpOutcome, Operation, Verdict};
use crate::call::{Expect, Payload};
use crate::credential::Secret;
use crate::error::{AuthError, Error};
use crate::error_body;
use crate::header::{date, rfc3339};
use crate::json::{carried, replace_lone_surrogates};
use crate::sanitize::escape;
use crate::scope::Scopes;
use crate::uri::Url;

/// Requests a token: by GET, or by POST to exchange an identity token. A service that takes no POST
/// gets the identity token by GET, as a password (AUTH-32).
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scopes: Scopes,
    pub(crate) credential: TokenCredential,
    pub(crate) limit: u64,
}

/// The credential for a token service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TokenCredential {
    Anonymous,
    Basic {
        username: String,
        password: Secret,
    },
    Refresh(Secret),
    /// An identity token, for a service that refused it by POST.
    RefreshByGet(Secret),
}

impl TokenCredential {
    const fn is_identity(&self) -> bool {
        match self {
            Self::Refresh(_) | Self::RefreshByGet(_) => true,
            Self::Anonymous | Self::Basic { .. } => false,
        }
    }
}

/// A token and its lifetime.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) token: Secret,
    /// Seconds from now, without leeway.
    pub(crate) life: u64,
}

/// The user name that marks a password as an identity token (AUTH-33).
const IDENTITY_USER: &str = "<token>";

/// AUTH-41: the lifetime, in seconds, if it is missing or shorter.
const SHORTEST_LIFE: u64 = 60;

/// A token response. A member of a wrong type counts as absent.
#[derive(Deserialize)]
pub(crate) struct TokenResponse {
    #[serde(default, deserialize_with = "carried")]
    token: Option<String>,
    #[serde(default, deserialize_with = "carried")]
    access_token: Option<String>,
    expires_in: Option<Value>,
    #[serde(default, deserialize_with = "carried")]
    issued_at: Option<String>,
}

impl TokenResponse {
    pub(crate) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(&replace_lone_surrogates(body))
    }

    /// If both are there and differ, `access_token` is what Go clients take (V-B).
    pub(crate) fn token(self) -> Option<String> {
        let mut tokens = [self.access_token, self.token].into_iter().flatten();
        tokens.find(|token| !token.is_empty())
    }

    /// Seconds the token has still to live: `expires_in` less what has passed since `issued_at` by the
    /// service's own clock, in seconds since the epoch (AUTH-41 to AUTH-43).
    pub(crate) fn life(&self, date: Option<u64>) -> u64 {
        let announced = self.expires_in.as_ref().and_then(seconds);
        let announced = announced.unwrap_or(SHORTEST_LIFE);
        let issued = self.issued_at.as_deref().and_then(rfc3339);
        let issued = issued.map(|micros| micros / 1_000_000);
        let age = match (date, issued) {
            (Some(date), Some(issued)) => date.saturating_sub(issued),
            (Some(_) | None, Some(_) | None) => 0,
        };
        announced.saturating_sub(age).max(SHORTEST_LIFE)
    }
}

impl Token {
    pub(super) fn draft(&self) -> Draft {
        let expect = Expect::Token { limit: self.limit };
        match &self.credential {
            TokenCredential::Refresh(secret) => self.draft_post(secret, expect),
            TokenCredential::Anonymous => Draft::new(Method::GET, self.url(), expect),
            TokenCredential::Basic { username, password } => {
                self.draft_basic(username, password, expect)
            }
            TokenCredential::RefreshByGet(secret) => {
                self.draft_basic(IDENTITY_USER, secret, expect)
            }
        }
    }

    fn draft_basic(&self, username: &str, password: &Secret, expect: Expect) -> Draft {
        let mut draft = Draft::new(Method::GET, self.url(), expect);
        // The only place where a password is sent; `realm::judge` has decided to whom.
        draft
            .headers
            .insert(header::AUTHORIZATION, basic(username, password.expose()));
        draft
    }

    fn url(&self) -> Url {
        let mut url = self.realm.clone();
        if let Some(service) = self
            .service
            .as_deref()
            .filter(|service| !service.is_empty())
        {
            url = url.with_encoded_query("service", service);
        }
        for scope in self.scopes.iter() {
            url = url.with_encoded_query("scope", &scope);
        }
        url
    }

    fn draft_post(&self, secret: &Secret, expect: Expect) -> Draft {
        let scopes: Vec<String> = self.scopes.iter().collect();
        let scopes = scopes.join(" ");
        let service = self.service.as_deref().unwrap_or_default();
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", "windlass"),
            ("service", service),
            ("scope", &scopes),
            ("refresh_token", secret.expose()),
        ];
        let mut form = String::new();
        // Without a scope, the field is left out: an empty one is none (RFC 6749 §3.3).
        for (name, value) in fields.into_iter().filter(|it| *it != ("scope", "")) {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            form.push_str(&form_encoded(value));
        }
        let mut draft = Draft::new(Method::POST, self.realm.clone(), expect)
            .with(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        draft.payload = Payload::Bytes(form.into_bytes().into());
        draft
    }

    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        let status = answer.status.as_u16();
        // What a service without POST answers (AUTH-32): 404 (GCR), 401 (Artifactory), 400 (ACR). One that
        // knows OAuth2 and refuses the token says so (RFC 6749 §5.2), and is not asked again.
        let is_dead = answer.errors().has("invalid_grant");
        let takes_no_post = match status {
            404 | 405 | 501 => true,
            400 | 401 => !is_dead,
            _ => false,
        };
        if let (true, TokenCredential::Refresh(secret)) = (takes_no_post, &self.credential) {
            let credential = TokenCredential::RefreshByGet(secret.clone());
            return Verdict::Next(Operation::Token(Self { credential, ..self }));
        }
        // AUTH-47: wrong credentials. An identity token that is dead is refused with 400, as RFC 6749 says.
        let is_dead = is_dead && status == 400 && self.credential.is_identity();
        if matches!(status, 401 | 403) || is_dead {
            return Verdict::Failed(Error::Auth(alloc::boxed::Box::new(AuthError {
                request: answer.request.clone(),
                status,
                presented: self.presented(),
                errors: answer.errors(),
                hint: None,
            })));
        }
        if !answer.status.is_success() {
            // Also for a 404: the service is missing, not the requested content.
            return Verdict::Failed(answer.refusal());
        }
        if answer.flaw.is_some() {
            return Verdict::Failed(answer.peer("sent more than a token"));
        }
        let Ok(response) = TokenResponse::read(answer.bytes()) else {
            return Verdict::Failed(answer.peer("sent no token: the answer is not a JSON object"));
        };
        let life = response.life(date(&answer.headers));
        match response.token() {
            Some(token) if can_be_sent(&token) => Verdict::Done(OpOutcome::Granted(Grant {
                token: Secret::new(token),
                life,
            })),
            Some(_) => Verdict::Failed(answer.peer("sent a token that is invalid in a header")),
            // Some services report errors with status 200.
            None if error_body::is_error(answer.bytes()) => Verdict::Failed(answer.refusal()),
            None => Verdict::Failed(answer.peer("sent no token")),
        }
    }

    /// The credential, for an error.
    pub(crate) fn presented(&self) -> String {
        match &self.credential {
            TokenCredential::Anonymous => "no credentials".into(),
            TokenCredential::Basic { username, .. } => {
                format!("the credentials of `{}`", escape(username, 100))
            }
            TokenCredential::Refresh(_) | TokenCredential::RefreshByGet(_) => {
                "an identity token".into()
            }
        }
    }
}

/// Whether a token can stand in a header. HTTP libraries differ about tabs and bytes beyond ASCII, so
/// neither is taken.
pub(crate) fn can_be_sent(token: &str) -> bool {
    token.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Seconds as a number or a string, with or without a fraction.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    seconds.is_finite().then_some(seconds as u64)
}

/// A Basic `Authorization` value, marked as sensitive.
pub(crate) fn basic(username: &str, password: &str) -> HeaderValue {
    let pair = STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
        .expect("base64 is made of visible characters");
    value.set_sensitive(true);
    value
}

fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
