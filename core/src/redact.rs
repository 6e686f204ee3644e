//! Redaction: finding secrets in text that may repeat them, and taking them out.
//!
//! Responsible for the forms in which a secret may be repeated: as it is, in base64, and both within the
//! escapes of URLs and JSON. Must not know where secrets come from.

mod urls;

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

pub(crate) use self::urls::redact_urls;

/// Words of the protocol. They are no secret, even if a password is one of them.
pub(crate) const VOCABULARY: &str = "\
    v2 manifests blobs uploads token https:// http:// sha256: sha512: rel next last n tags list _catalog artifactType \
    basic bearer negotiate digest Basic Bearer Negotiate realm service scope error \
    insufficient_scope invalid_token invalid_request repository registry catalog pull push delete * \
    registry.docker.io bytes identity gzip deflate br zstd compress charset utf-8 \
    text/plain text/html application/xml multipart/byteranges application/octet-stream \
    application/json application/problem+json application/vnd.oci.image.index.v1+json \
    application/vnd.oci.image.manifest.v1+json application/vnd.oci.image.config.v1+json \
    application/vnd.oci.artifact.manifest.v1+json application/vnd.oci.empty.v1+json \
    application/vnd.docker.container.image.v1+json \
    application/vnd.docker.distribution.manifest.list.v2+json \
    application/vnd.docker.distribution.manifest.v2+json \
    application/vnd.docker.distribution.manifest.v1+json \
    application/vnd.docker.distribution.manifest.v1+prettyjws \
    linux windows darwin freebsd amd64 arm64 arm 386 ppc64le s390x riscv64 v5 v6 v7 v8 299 - mount from tag W";

/// What stands for a secret.
const REDACTED: &[u8] = b"***";

/// From this length on a form is found anywhere in a text; a shorter one is found as a word only.
const ANYWHERE: usize = 8;
/// A form that is shorter than this is not looked for: it is a part of any text.
const SHORTEST: usize = 4;

/// From this length on the value of a parameter of a query or a form is a secret by itself: signatures
/// and upload states are longer, flags and names are shorter.
const VALUE: usize = 16;

/// How often escapes may be within escapes, as in a query within a string of JSON.
const LAYERS: usize = 4;

/// Secrets, and text in which they do not count as secrets.
#[derive(Default)]
pub(crate) struct Redactor {
    forms: BTreeSet<Vec<u8>>,
    allowed: String,
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
        // The first byte is compared apart: this runs for each response, and few parts begin alike.
        let is_allowed = |form: &[u8]| {
            let mut parts = allowed.windows(form.len());
            parts.any(|part| part[0] == form[0] && part == form)
        };
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
                "digest" | "mount" | "from" | "scope" | "service" | "client_id" | "account" | "ns"
            );
            if !is_public && value.len() >= VALUE {
                self.add(value);
                let plain = decoded(value.as_bytes()).unwrap_or_default();
                self.add(&String::from_utf8_lossy(&plain));
            }
        }
    }

    /// The length of the longest form; 0 if there is no secret.
    pub(crate) fn longest(&self) -> usize {
        self.forms.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether a secret is in this text, in any form and in escapes. Short ones are not looked for.
    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        self.finds(text, ANYWHERE)
    }

    /// The text without secrets; `None` if one is there in escapes.
    pub(crate) fn redact(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut redacted = Vec::with_capacity(text.len());
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            let found = self.find(text, at);
            match found {
                Some(_) => redacted.extend_from_slice(REDACTED),
                None => redacted.push(*byte),
            }
            at += found.unwrap_or(1);
        }
        (!self.finds(&redacted, SHORTEST)).then_some(redacted)
    }

    /// Whether a form of at least this length is in the text, or in what its escapes stand for.
    fn finds(&self, text: &[u8], shortest: usize) -> bool {
        let is_long = |text: &[u8], at| self.find(text, at).is_some_and(|len| len >= shortest);
        let layers = core::iter::successors(Some(Cow::Borrowed(text)), |text| {
            decoded(text).map(Cow::Owned)
        });
        let mut layers = layers.take(LAYERS);
        layers.any(|text| (0..text.len()).any(|at| is_long(&text, at)))
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

/// The forms in which a secret may be repeated, beside escapes.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = alloc::vec![secret.as_bytes().to_vec()];
    // Within text that is encoded as a whole, the secret may begin at any of three places.
    for (before, begins) in [0, 2, 3].into_iter().enumerate() {
        let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
        let ends = bytes.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&bytes).into_bytes();
            let inner = encoded.get(begins..ends).unwrap_or_default();
            forms.extend((inner.len() >= ANYWHERE).then(|| inner.to_vec()));
        }
    }
    forms
}

/// The text without the escapes of JSON and URLs; `None` if there are none.
pub(crate) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    if !text.iter().any(|byte| matches!(byte, b'\\' | b'%')) {
        return None;
    }
    let hex = |from: usize, len: usize| {
        let digits = core::str::from_utf8(text.get(from..from + len)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let byte_code = (*byte == b'%').then(|| hex(at + 1, 2)).flatten();
        let is_unicode = text[at..].starts_with(br"\u");
        let unicode = is_unicode.then(|| hex(at + 2, 4)).flatten();
        if let Some(code) = byte_code.and_then(|code| u8::try_from(code).ok()) {
            plain.push(code);
            at += 3;
        } else if let Some(char) = unicode.and_then(char::from_u32) {
            plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            at += 6;
        } else {
            // Of other escapes, the character behind the backslash.
            at += usize::from(*byte == b'\\');
            plain.extend(text.get(at));
            at += 1;
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests;
