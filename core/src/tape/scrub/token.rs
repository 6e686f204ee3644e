//! What token services answer: how long their tokens are good, and everything else unreadable.
//!
//! Responsible for which of the texts in such an answer are secrets, to be found wherever they are said
//! again. What a token is good for is none: challenges say the same.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::manifest::replace_lone_surrogates;
use crate::op::can_be_sent;
use crate::said::{Piece, meant, rewritten};
use crate::scope::Scope;
use crate::secrets::{Secrets, placeholder};
use crate::shown::filler;

/// From this length on a text is taken for a token, whatever the service calls it.
const TOKEN: usize = 16;

/// The answer without its secrets, of the same length.
pub(super) fn scrubbed(body: &[u8], secrets: &mut Secrets) -> Vec<u8> {
    let body = &*replace_lone_surrogates(body);
    let text = core::str::from_utf8(body).ok();
    let is_json = |text: &&str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    let Some(text) = text.filter(is_json) else {
        return filler(body.len()).into_bytes();
    };
    let scrubbed = rewritten(text, |piece| match piece {
        Piece::Name(name) => {
            let is_read = ["token", "access_token", "expires_in", "issued_at"];
            let is_read = is_read.contains(&meant(name).0.as_str());
            (!is_read).then(|| filler(name.len()))
        }
        Piece::Text { name, raw } => match meant(name).0.as_str() {
            "expires_in" | "issued_at" => None,
            name => Some(replaced(name, raw, secrets)),
        },
    });
    secrets.clean(scrubbed.as_bytes())
}

fn replaced(name: &str, raw: &str, secrets: &mut Secrets) -> String {
    let text = serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap_or_default();
    if !is_secret(name, &text) {
        return filler(raw.len());
    }
    let number = secrets.learn(&text);
    if can_be_sent(&text) || raw.len() < 2 {
        return placeholder(number, raw.len());
    }
    // It is refused because it cannot be sent, and so is this.
    let mut token = placeholder(number, raw.len() - 2);
    token.push_str("\\n");
    token
}

fn is_secret(name: &str, text: &str) -> bool {
    match name {
        "token" | "access_token" | "refresh_token" | "id_token" => true,
        "token_type" | "scope" | "service" | "account" | "client_id" => false,
        _ => text.len() >= TOKEN && !is_scopes(text),
    }
}

/// Whether a text says what a token is good for. A mere word would do for a scope, too, and is none
/// here.
fn is_scopes(text: &str) -> bool {
    let scope = |word: &str| word.parse::<Scope>().ok();
    text.split_ascii_whitespace()
        .all(|word| scope(word).is_some_and(|scope| scope.name().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_of_an_answer_is_secret() {
        let table = [
            ("token", "short", true),
            ("access_token", "short", true),
            ("refresh_token", "short", true),
            ("id_token", "short", true),
            ("token_type", "Bearer", false),
            ("token_type", "a-type-that-is-long", false),
            ("scope", "repository:a/b:pull,push offline_access", false),
            ("service", "registry.example", false),
            ("access", "repository:a/b:pull repository:c:pull", false),
            ("access", "repository:a/b:pull offline_access", true),
            ("session", "0123456789abcdef", true),
            ("session", "0123456789abcde", false),
        ];
        for (name, text, expected) in table {
            let mut secrets = Secrets::default();
            let body = format!("{{\"{name}\":\"{text}\"}}");
            let found = scrubbed(body.as_bytes(), &mut secrets);
            assert_eq!(found.len(), body.len(), "{body}");
            let said = format!("it is {text}.");
            let is_secret = secrets.clean_text(&said) != said;
            assert_eq!(is_secret, expected, "{body}");
            let found = String::from_utf8_lossy(&found);
            assert!(!found.contains(text), "{body}: {found}");
        }
    }
}
