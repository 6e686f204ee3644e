//! The secrets that were met, and their placeholders.
//!
//! Responsible for numbers (the same secret has the same one), for placeholders that are legal where
//! secrets stand (in a header, a query, a JSON string), and for finding a secret in any text in which
//! somebody may have said it again. Must not know where secrets come from.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::shown::{escape, filler};

/// From this length on a secret is looked for anywhere in a text.
const ANYWHERE: usize = 8;
/// From this length on it is looked for as a word. What is shorter than this stands in any text, and
/// says nothing there.
const AS_WORD: usize = 4;

/// From this length on the value of a query's or a form's parameter is looked for by itself: signatures
/// and upload states are longer, flags and names are shorter.
const VALUE: usize = 16;

/// Text without one sort of escapes, if there were any.
type Undo = fn(&[u8]) -> Option<Vec<u8>>;

/// So many pairs of bytes there are.
const PAIRS: usize = 1 << 16;

fn pair(first: u8, second: u8) -> usize {
    usize::from(u16::from_be_bytes([first, second]))
}

#[derive(Default)]
pub(crate) struct Secrets {
    numbers: BTreeMap<String, usize>,
    /// Forms of secrets by their first bytes.
    forms: BTreeMap<[u8; ANYWHERE], Vec<(Vec<u8>, usize)>>,
    /// A bit for each pair of bytes that a form begins with: most text is done with here.
    begins: Vec<u64>,
    /// What is looked for as a word only.
    words: Vec<(Vec<u8>, String)>,
    users: BTreeMap<String, usize>,
    /// What the user said, and what stands on every tape, as far as it was noted. A secret that is
    /// met later and is a part of it is not looked for: that it stands there gives nothing away.
    public: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.numbers.len())
    }
}

impl Secrets {
    /// Notes what is no secret: what the user said, and what stands on every tape.
    pub(crate) fn publish(&mut self, text: &str) {
        self.public.push_str(text);
        self.public.push('\n');
    }

    /// The number of a secret, which is looked for from now on in every form.
    pub(crate) fn learn(&mut self, secret: &str) -> usize {
        if let Some(known) = self.numbers.get(secret) {
            return *known;
        }
        let number = self.numbers.len() + 1;
        self.numbers.insert(secret.into(), number);
        for form in forms(secret) {
            self.look_for(form, number);
        }
        number
    }

    /// Notes the secrets among the parameters of a query or a form: somebody who says a part of it again
    /// may say a part that is a secret by itself.
    pub(crate) fn learn_query(&mut self, query: &str) {
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            let is_public = matches!(
                name,
                "digest" | "mount" | "from" | "scope" | "service" | "client_id" | "account"
            );
            if is_public || value.len() < VALUE {
                continue;
            }
            self.learn(value);
            if let Some(plain) = unquoted(value.as_bytes())
                && let Ok(plain) = String::from_utf8(plain)
            {
                self.learn(&plain);
            }
        }
    }

    /// What stands for a user. The name is looked for as a word, also in the ways in which it stands
    /// in a URL and in JSON.
    pub(crate) fn user(&mut self, name: &str) -> String {
        let next = self.users.len() + 1;
        let number = match self.users.entry(name.into()) {
            Entry::Occupied(known) => return stands_for(*known.get()),
            Entry::Vacant(new) => *new.insert(next),
        };
        let user = stands_for(number);
        for form in plain_forms(name) {
            if form.len() >= AS_WORD && !self.is_public(form.as_bytes()) {
                let placeholder = padded(&user, form.len());
                self.look_for_word(form.into_bytes(), placeholder);
            }
        }
        user
    }

    /// Takes what is secret out of a text: by placeholders of the same length, or, if it is there in a
    /// form that cannot be taken out, by a filler.
    pub(crate) fn clean(&self, text: &[u8]) -> Vec<u8> {
        let cleaned = self.replace(text);
        if self.is_hidden_in(&cleaned) {
            return filler(text.len()).into_bytes();
        }
        cleaned
    }

    /// The same for text that may have been cut off in the middle of a secret: what could be the
    /// beginning of one at its end is taken out, too.
    pub(crate) fn clean_cut(&self, text: &[u8]) -> Vec<u8> {
        let mut cleaned = self.clean(text);
        // Of the text as it was: a shorter secret may have been found within the longer one.
        let begun = self.begun_at_end(text);
        if self.begun_escaped_at_end(&cleaned) > begun {
            return filler(text.len()).into_bytes();
        }
        let keep = cleaned.len().saturating_sub(begun);
        cleaned.truncate(keep);
        cleaned.extend_from_slice(filler(begun).as_bytes());
        cleaned
    }

    /// The same for text.
    pub(crate) fn clean_text(&self, text: &str) -> String {
        let cleaned = self.clean(text.as_bytes());
        // Forms and placeholders begin and end at the borders of characters.
        String::from_utf8(cleaned).unwrap_or_else(|_| filler(text.len()))
    }

    /// What somebody says who knows the secrets, as somebody says it who was told their placeholders.
    pub(crate) fn retold(&self, text: &str) -> String {
        let mut retold = text.to_string();
        for (name, number) in &self.users {
            // Names are shown so.
            let name = format!("`{}`", escape(name, 100));
            retold = retold.replace(&name, &format!("`{}`", stands_for(*number)));
        }
        self.clean_text(&retold)
    }

    /// Whether a secret is in this, said in any way. Words are not looked for.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        self.found_in(text) || self.is_hidden_in(text)
    }

    fn look_for(&mut self, form: Vec<u8>, number: usize) {
        if form.len() < AS_WORD || self.is_public(&form) {
            return;
        }
        let Some(key) = form.first_chunk::<ANYWHERE>() else {
            let placeholder = placeholder(number, form.len());
            return self.look_for_word(form, placeholder);
        };
        if self.begins.is_empty() {
            self.begins.resize(PAIRS / 64, 0);
        }
        let pair = pair(key[0], key[1]);
        self.begins[pair / 64] |= 1 << (pair % 64);
        let alike = self.forms.entry(*key).or_default();
        alike.push((form, number));
        // The longest is found first.
        alike.sort_by_key(|(form, _)| core::cmp::Reverse(form.len()));
    }

    fn look_for_word(&mut self, word: Vec<u8>, placeholder: String) {
        self.words.push((word, placeholder));
        // The longest is found first.
        self.words
            .sort_by_key(|(word, _)| core::cmp::Reverse(word.len()));
    }

    fn is_public(&self, form: &[u8]) -> bool {
        let public = self.public.as_bytes();
        public.windows(form.len()).any(|window| window == form)
    }

    fn replace(&self, text: &[u8]) -> Vec<u8> {
        let mut cleaned = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            if let Some((len, number)) = self.at(text, at) {
                cleaned.extend_from_slice(placeholder(number, len).as_bytes());
                at += len;
            } else if let Some((len, placeholder)) = self.word_at(text, at) {
                cleaned.extend_from_slice(placeholder.as_bytes());
                at += len;
            } else {
                cleaned.push(text[at]);
                at += 1;
            }
        }
        cleaned
    }

    fn found_in(&self, text: &[u8]) -> bool {
        (0..text.len()).any(|at| self.at(text, at).is_some())
    }

    /// Whether a secret comes out once escapes are undone.
    fn is_hidden_in(&self, text: &[u8]) -> bool {
        let mut undone = text.to_vec();
        // Twice, for a query within a JSON string.
        for undo in [unescaped, unquoted, unquoted] {
            if let Some(next) = undo(&undone) {
                if self.found_in(&next) {
                    return true;
                }
                undone = next;
            }
        }
        false
    }

    /// How many bytes at the end could be the beginning of what is looked for.
    fn begun_at_end(&self, text: &[u8]) -> usize {
        let forms = self.forms.values().flatten();
        let forms = forms.map(|(form, _)| begun_at_end(text, form));
        let is_inner =
            |len: usize| len < text.len() && text[text.len() - len - 1].is_ascii_alphanumeric();
        let words = self.words.iter();
        let words = words
            .map(|(word, _)| begun_at_end(text, word))
            .filter(|len| !is_inner(*len));
        forms.chain(words).max().unwrap_or(0)
    }

    /// The same once escapes are undone, also without an escape that was cut itself.
    fn begun_escaped_at_end(&self, text: &[u8]) -> usize {
        let mut begun = 0;
        let mut undone = text.to_vec();
        for (undo, begins, len) in [
            (unescaped as Undo, b'\\', b"\\u0000".len()),
            (unquoted, b'%', b"%00".len()),
            (unquoted, b'%', b"%00".len()),
        ] {
            let Some(whole) = undo(&undone) else {
                continue;
            };
            begun = begun.max(self.begun_at_end(&whole));
            let last = undone.iter().rposition(|byte| *byte == begins);
            let cut = last.filter(|at| undone.len() - at < len);
            let cut = cut.map(|at| undo(&undone[..at]).unwrap_or_else(|| undone[..at].to_vec()));
            undone = cut.unwrap_or(whole);
            begun = begun.max(self.begun_at_end(&undone));
        }
        begun
    }

    /// The secret that begins here: its length and number.
    fn at(&self, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let pair = pair(text[at], *text.get(at + 1)?);
        if self.begins.get(pair / 64)? >> (pair % 64) & 1 == 0 {
            return None;
        }
        let rest = &text[at..];
        let alike = self.forms.get(rest.first_chunk::<ANYWHERE>()?)?;
        let found = alike.iter().find(|(form, _)| rest.starts_with(form))?;
        Some((found.0.len(), found.1))
    }

    /// The word that is looked for and stands here by itself: its length, and what it is replaced by.
    fn word_at(&self, text: &[u8], at: usize) -> Option<(usize, &str)> {
        let is_inner = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        if self.words.is_empty() || (at > 0 && is_inner(text.get(at - 1))) {
            return None;
        }
        let rest = &text[at..];
        let stands = |word: &[u8]| rest.starts_with(word) && !is_inner(rest.get(word.len()));
        let (word, placeholder) = self.words.iter().find(|(word, _)| stands(word))?;
        Some((word.len(), placeholder))
    }
}

/// Text of this length in place of a secret: a token, a word, a legal part of any URL.
pub(crate) fn placeholder(number: usize, len: usize) -> String {
    padded(&format!("secret-{number}"), len)
}

fn padded(placeholder: &str, len: usize) -> String {
    match len.checked_sub(placeholder.len()) {
        Some(missing) => format!("{placeholder}{}", "-".repeat(missing)),
        None => filler(len),
    }
}

/// The shortest placeholder, where length does not matter.
pub(crate) fn at_least(number: usize, len: usize) -> String {
    let shortest = format!("secret-{number}").len();
    placeholder(number, len.max(shortest))
}

/// The length of a text where it is percent-encoded.
pub(crate) fn len_in_url(text: &str) -> usize {
    percent_encoded(text, |byte| format!("%{byte:02X}")).len()
}

/// What stands for the user of this number where length does not matter.
fn stands_for(user: usize) -> String {
    format!("user-{user}")
}

/// The length of the longest proper beginning of `form` that ends `text`, if it says anything.
fn begun_at_end(text: &[u8], form: &[u8]) -> usize {
    let longest = text.len().min(form.len().saturating_sub(1));
    (AS_WORD..=longest)
        .rev()
        .find(|len| text.ends_with(&form[..*len]))
        .unwrap_or(0)
}

/// The ways in which somebody may say a secret.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = plain_forms(secret);
    // Within something that is encoded as a whole, the secret may begin at any of three places.
    for before in 0..3 {
        let mut bytes = alloc::vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let begins = [0, 2, 3][before];
        let ends = bytes.len() * 8 / 6;
        for encoded in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            if let Some(inner) = encoded.get(begins..ends)
                && inner.len() >= ANYWHERE
            {
                forms.push(inner.into());
            }
        }
    }
    forms.sort();
    forms.dedup();
    forms.into_iter().map(String::into_bytes).collect()
}

/// A text as it is, in a URL, and in JSON.
fn plain_forms(text: &str) -> Vec<String> {
    let mut forms = alloc::vec![
        text.to_string(),
        percent_encoded(text, |byte| format!("%{byte:02X}")),
        percent_encoded(text, |byte| format!("%{byte:02x}")),
    ];
    if let Ok(quoted) = serde_json::to_string(text) {
        let inner = quoted[1..quoted.len() - 1].to_string();
        forms.push(inner.replace('/', "\\/"));
        forms.push(inner);
    }
    forms.sort();
    forms.dedup();
    forms
}

fn percent_encoded(text: &str, encode: impl Fn(u8) -> String) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&encode(byte));
        }
    }
    encoded
}

/// Without the escapes of JSON, if there were any.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'\\') {
        return None;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            plain.push(text[at]);
            at += 1;
            continue;
        }
        let hex = text.get(at + 2..at + 6);
        let code = hex.and_then(|hex| core::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match (text.get(at + 1), code.and_then(char::from_u32)) {
            (Some(b'u'), Some(char)) => {
                plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                at += 6;
            }
            (Some(escaped), _) => {
                plain.push(*escaped);
                at += 2;
            }
            (None, _) => at += 1,
        }
    }
    Some(plain)
}

/// Without percent-encoding, if there was any.
pub(crate) fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'%') {
        return None;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3);
        let byte = hex.and_then(|hex| core::str::from_utf8(hex).ok());
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if text[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            Some(_) | None => {
                plain.push(text[at]);
                at += 1;
            }
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests;
