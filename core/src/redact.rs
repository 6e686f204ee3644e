//! Redaction: finding secrets in text that may repeat them, and taking them out.
//!
//! Responsible for the forms in which a secret may be repeated: as it is, in a URL, in JSON, in base64,
//! in escapes. Must not know where secrets come from.

mod urls;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

pub(crate) use self::urls::redact_urls;

/// What stands for a secret.
const REDACTED: &[u8] = b"***";

/// From this length on a form is found anywhere in a text; a shorter one is found as a word only.
const ANYWHERE: usize = 8;
/// A form that is shorter than this is not looked for: it is a part of any text.
const SHORTEST: usize = 4;

/// From this length on the value of a parameter of a query or a form is a secret by itself: signatures
/// and upload states are longer, flags and names are shorter.
const VALUE: usize = 16;

/// Secrets, and text in which they do not count as secrets.
#[derive(Default)]
pub(crate) struct Redactor {
    forms: BTreeSet<Vec<u8>>,
    allowed: String,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

impl Redactor {
    /// A secret that is added later and is a part of this text is not looked for.
    pub(crate) fn allow(&mut self, text: &str) {
        self.allowed.push_str(text);
        self.allowed.push('\n');
    }

    /// Adds a secret.
    pub(crate) fn add(&mut self, secret: &str) {
        let allowed = self.allowed.as_bytes();
        let is_allowed = |form: &[u8]| allowed.windows(form.len()).any(|part| part == form);
        let forms = forms(secret).into_iter();
        let forms = forms.filter(|form| form.len() >= SHORTEST && !is_allowed(form));
        self.forms.extend(forms);
    }

    /// Adds the secrets among the parameters of a query or a form.
    pub(crate) fn add_query(&mut self, query: &str) {
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            let is_public = matches!(
                name,
                "digest" | "mount" | "from" | "scope" | "service" | "client_id" | "account"
            );
            if is_public || value.len() < VALUE {
                continue;
            }
            self.add(value);
            if let Some(Ok(plain)) = decoded(value.as_bytes()).map(String::from_utf8) {
                self.add(&plain);
            }
        }
    }

    /// Whether a secret is in this text, in any form. Short ones are not looked for.
    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        let mut layer = Some(text.to_vec());
        // Escapes within escapes: a query within a string of JSON.
        for _ in 0..4 {
            let Some(text) = layer else {
                return false;
            };
            let is_long = |at| self.find(&text, at).is_some_and(|len| len >= ANYWHERE);
            if (0..text.len()).any(is_long) {
                return true;
            }
            layer = decoded(&text);
        }
        false
    }

    /// The text without secrets. If one is there in escapes, nothing of the text is left.
    pub(crate) fn redact(&self, text: &[u8]) -> Vec<u8> {
        let mut redacted = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match self.find(text, at) {
                Some(len) => {
                    redacted.extend_from_slice(REDACTED);
                    at += len;
                }
                None => {
                    redacted.push(text[at]);
                    at += 1;
                }
            }
        }
        if self.contains(&redacted) {
            return REDACTED.into();
        }
        redacted
    }

    /// The same for text that may end within a secret: its end goes, as far as one may reach in escapes.
    pub(crate) fn redact_truncated(&self, text: &[u8]) -> Vec<u8> {
        let longest = self.forms.iter().map(Vec::len).max().unwrap_or(0);
        let mut redacted = self.redact(text);
        if longest > 0 {
            redacted.truncate(redacted.len().saturating_sub(longest * br"\u0000".len()));
            let end = redacted.iter().rposition(u8::is_ascii);
            redacted.truncate(end.map_or(0, |end| end + 1));
            redacted.extend_from_slice(REDACTED);
        }
        redacted
    }

    /// The length of the longest secret that begins here.
    fn find(&self, text: &[u8], at: usize) -> Option<usize> {
        let is_inner = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let rest = &text[at..];
        let begins_word = at == 0 || !is_inner(text.get(at - 1));
        let stands = |form: &&Vec<u8>| {
            let is_word = || begins_word && !is_inner(rest.get(form.len()));
            rest.starts_with(form) && (form.len() >= ANYWHERE || is_word())
        };
        let from = rest.get(..1)?;
        let alike = self
            .forms
            .range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let alike = alike.take_while(|form| form.starts_with(from));
        alike.filter(stands).map(Vec::len).max()
    }
}

/// The forms in which a secret may be repeated.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let quoted = serde_json::to_string(secret).unwrap_or_default();
    let quoted = quoted.trim_matches('"');
    let mut forms = alloc::vec![
        secret.to_string(),
        percent_encoded(secret, |byte| format!("%{byte:02X}")),
        percent_encoded(secret, |byte| format!("%{byte:02x}")),
        quoted.replace('/', "\\/"),
        quoted.into(),
    ];
    // Within text that is encoded as a whole, the secret may begin at any of three places.
    for (before, begins) in [0, 2, 3].into_iter().enumerate() {
        let mut bytes = alloc::vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let ends = bytes.len() * 8 / 6;
        for encoded in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            let inner = encoded.get(begins..ends).unwrap_or_default();
            forms.extend((inner.len() >= ANYWHERE).then(|| inner.into()));
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn percent_encoded(text: &str, encode: impl Fn(u8) -> String) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match byte {
        _ if is_plain(byte) => char::from(byte).to_string(),
        _ => encode(byte),
    };
    text.bytes().map(encode).collect()
}

/// The text without the escapes of JSON and URLs; `None` if there are none.
pub(crate) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    if !text.iter().any(|byte| matches!(byte, b'\\' | b'%')) {
        return None;
    }
    let hex = |from: usize, len: usize| {
        let digits = text.get(from..from + len)?;
        let digits = core::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let unicode = (text[at..].starts_with(br"\u")).then(|| hex(at + 2, 4));
        if let Some(char) = unicode.flatten().and_then(char::from_u32) {
            plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            at += 6;
        } else if *byte == b'\\' {
            plain.extend(text.get(at + 1));
            at += 2;
        } else if let Some(Ok(code)) = (*byte == b'%')
            .then(|| hex(at + 1, 2))
            .flatten()
            .map(u8::try_from)
        {
            plain.push(code);
            at += 3;
        } else {
            plain.push(*byte);
            at += 1;
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests;
