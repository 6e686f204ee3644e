//! Taking text out of JSON, byte for byte of the same length.
//!
//! Responsible for telling names, text and the rest apart in text that is known to be JSON. Must not
//! know which text is secret.

use alloc::string::String;

/// What is to become of a piece of text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    /// The name of a member.
    Name(&'a str),
    /// Text, and the name of the member that it is in or below.
    Text {
        /// The name, empty if there is none.
        name: &'a str,
        /// The text, as it is written.
        raw: &'a str,
    },
}

/// Rewrites the text within JSON. `rewrite` answers what is to be written instead of a name or a text,
/// of the same length, or `None` to keep it. Numbers of members whose name is not kept become ones.
pub(super) fn rewritten(
    json: &str,
    mut rewrite: impl FnMut(Piece<'_>) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(json.len());
    let mut name = String::new();
    let mut is_known = true;
    let mut rest = json;
    while let Some(char) = rest.chars().next() {
        if char != '"' {
            let is_digit = char.is_ascii_digit() && !is_known;
            out.push(if is_digit { '1' } else { char });
            rest = &rest[char.len_utf8()..];
            continue;
        }
        let end = end_of_text(rest);
        let raw = rest.get(1..end - 1).unwrap_or_default();
        let after = &rest[end..];
        let is_name = after.trim_start().starts_with(':');
        let new = if is_name {
            let new = rewrite(Piece::Name(raw));
            is_known = new.is_none();
            name = raw.into();
            new
        } else {
            rewrite(Piece::Text { name: &name, raw })
        };
        out.push('"');
        out.push_str(new.as_deref().unwrap_or(raw));
        out.push('"');
        rest = after;
    }
    out
}

/// Where a text that begins with its quote ends, its last quote included.
fn end_of_text(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mutations;

    fn scrubbed(json: &str) -> String {
        rewritten(json, |piece| match piece {
            Piece::Name("code" | "list") => None,
            Piece::Name(name) => Some("n".repeat(name.len())),
            Piece::Text { name: "code", .. } => None,
            Piece::Text { raw, .. } => Some("t".repeat(raw.len())),
        })
    }

    #[test]
    fn names_and_text_are_told_apart() {
        let table = [
            (r#"{"code":"a","x":"b"}"#, r#"{"code":"a","n":"t"}"#),
            (
                r#"{ "code" : "a\"b", "list": ["c", 1] }"#,
                r#"{ "code" : "a\"b", "list": ["t", 1] }"#,
            ),
            (r#"{"pin":1234,"code":12}"#, r#"{"nnn":1111,"code":12}"#),
            (r#"{"a":{"code":"é"}}"#, r#"{"n":{"code":"é"}}"#),
            (r#"["\\","\"",""]"#, r#"["tt","tt",""]"#),
            ("12", "12"),
        ];
        for (json, expected) in table {
            assert_eq!(scrubbed(json), expected);
        }
    }

    #[test]
    fn the_length_stays_whatever_it_is() {
        mutations(
            r#"{"code":"a\"b","list":["c\\",{"x":1e5}],"y":"é"}"#,
            |json| {
                let is_json = serde_json::from_str::<serde_json::Value>(json).is_ok();
                let found = scrubbed(json);
                if is_json {
                    assert_eq!(found.len(), json.len(), "{json}");
                    let read = serde_json::from_str::<serde_json::Value>(&found);
                    assert!(read.is_ok(), "{json}: {found}");
                }
            },
        );
    }
}
