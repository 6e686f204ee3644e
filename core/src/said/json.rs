//! Taking text out of JSON, byte for byte of the same length.
//!
//! Responsible for telling names, text and the rest apart, also where the JSON was cut. Must not know
//! which text is read.

use alloc::string::String;
use alloc::vec::Vec;

/// What is to become of a piece of text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Piece<'a> {
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
/// of the same length, or `None` to keep it. Numbers of members whose name is not kept become ones. A
/// text that does not end is rewritten as far as it goes.
pub(crate) fn rewritten(
    json: &str,
    mut rewrite: impl FnMut(Piece<'_>) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(json.len());
    let mut name = String::new();
    let mut is_known = true;
    let mut rest = json;
    while let Some(char) = rest.chars().next() {
        if char != '"' {
            // A zero before all others is one of few things that may follow, or be alone.
            let is_first = !out.ends_with(|char: char| char.is_ascii_digit());
            let is_kept = is_known || !char.is_ascii_digit() || (char == '0' && is_first);
            out.push(if is_kept { char } else { '1' });
            rest = &rest[char.len_utf8()..];
            continue;
        }
        let end = end_of_text(rest);
        let raw = &rest[1..end.unwrap_or(rest.len())];
        let after = end.map_or("", |end| &rest[end + 1..]);
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
        if end.is_some() {
            out.push('"');
        }
        rest = after;
    }
    out
}

/// Where the last quote of a text is that begins with its first.
fn end_of_text(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// What a text means that is written like this, and for each of its bytes, and for its end, where it
/// is written. What is no valid escape means something, too.
pub(crate) fn meant(raw: &str) -> (String, Vec<usize>) {
    let (mut meant, mut places) = (String::new(), Vec::new());
    let mut at = 0;
    while let Some(char) = raw[at..].chars().next() {
        let (means, len) = match char {
            '\\' => escaped(&raw[at..]),
            _ => (char, char.len_utf8()),
        };
        meant.push(means);
        places.resize(meant.len(), at);
        at += len;
    }
    places.push(raw.len());
    (meant, places)
}

/// What the escape means with which a text begins, and its length.
fn escaped(text: &str) -> (char, usize) {
    let Some(char) = text[1..].chars().next() else {
        return ('\\', 1);
    };
    let hex = text.get(2..6).filter(|_| char == 'u');
    if let Some(code) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
        // Of a pair, each half for itself: what it means does not matter, only that it is no border.
        return (char::from_u32(code).unwrap_or('\u{fffd}'), 6);
    }
    let means = match char {
        'n' | 'r' | 't' | 'b' | 'f' => '\n',
        _ => char,
    };
    (means, 1 + char.len_utf8())
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
            (r#"{"x":[05,-0.05e10]}"#, r#"{"n":[01,-0.01e11]}"#),
            (r#"{"a":{"code":"é"}}"#, r#"{"n":{"code":"é"}}"#),
            (r#"["\\","\"",""]"#, r#"["tt","tt",""]"#),
            ("12", "12"),
            (r#"{"code":"abc"#, r#"{"code":"abc"#),
            (r#"{"x":"ab"#, r#"{"n":"tt"#),
            (r#"{"x":""#, r#"{"n":""#),
            (r#"{"x":1,"ab\"#, r#"{"n":1,"ttt"#),
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
                assert_eq!(found.len(), json.len(), "{json}");
                let read = serde_json::from_str::<serde_json::Value>(&found);
                assert!(read.is_ok() || !is_json, "{json}: {found}");
            },
        );
    }

    #[test]
    fn what_text_means() {
        let table = [
            (r#"a\"b\/c\\d"#, "a\"b/c\\d"),
            (r"\u0026\u00e9", "&é"),
            (r"\ud83d\ude00!", "\u{fffd}\u{fffd}!"),
            (r"a\nb\tc", "a\nb\nc"),
            (r"a\u00", "au00"),
            (r"a\u00ö", "au00ö"),
            (r"a\", r"a\"),
            ("é", "é"),
            ("", ""),
        ];
        for (raw, expected) in table {
            let (found, places) = meant(raw);
            assert_eq!(found, expected);
            assert_eq!(places.len(), found.len() + 1, "{raw}");
            assert!(places.is_sorted(), "{raw}");
            assert!(places.iter().all(|at| raw.is_char_boundary(*at)), "{raw}");
        }
        assert_eq!(meant(r"a\u0026b").1, [0, 1, 7, 8]);
    }
}
