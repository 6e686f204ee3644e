//! What may be kept of what servers said: what people are shown of it, and as many bytes.
//!
//! Responsible for bodies of which the same is read as of those that came. Must not know secrets, but
//! to whom to show what is left.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Form, START, TEXT, begin, element, form, of_object, of_text, text, trimmed};
use crate::shown::{filler, urls};

/// A byte that is in no text.
const NO_TEXT: u8 = 0xff;

/// An error body with nothing in it but what [`read`](super::read) reads, of the same length. `clean`
/// is shown what is left, and may change it; then what is beyond the part that is shown goes, too.
pub(crate) fn kept(body: &[u8], clean: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let Some(said) = text(body) else {
        return alloc::vec![NO_TEXT; body.len()];
    };
    let mut kept = match form(said) {
        Form::Nothing => said.into(),
        Form::Object(_) => of_object(said),
        Form::Page => page(said),
        Form::Text => within(said, |said| urls::filled(&of_text(said))),
    }
    .into_bytes();
    kept.extend_from_slice(&body[said.len()..]);
    shortened(&clean(&kept))
}

/// The same for what came instead of a document: only its beginning is shown.
pub(crate) fn kept_start(body: &[u8], clean: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    if text(body).is_none() {
        return alloc::vec![NO_TEXT; body.len()];
    }
    let lead = body.len() - body.trim_ascii_start().len();
    let shown = begin(&body[lead..]);
    let end = lead + shown.len();
    let mut kept = body[..lead].to_vec();
    kept.extend_from_slice(urls::filled(shown).as_bytes());
    // A character that does not fit any more, so that no other does.
    let next = body.get(end..).and_then(|rest| rest.utf8_chunks().next());
    let next = next.and_then(|chunk| chunk.valid().chars().next());
    if let Some(next) = next.filter(|next| shown.len() + next.len_utf8() > START) {
        kept.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
    }
    padded(clean(&kept), body.len())
}

/// A page or a storage service's XML: what people are shown of it.
fn page(text: &str) -> String {
    let mut kept = String::new();
    for name in ["Code", "Message"] {
        if let Some(inside) = element(text, name) {
            kept.push_str(&format!("<{name}>{}</{name}>", urls::filled(inside)));
        }
    }
    if kept.is_empty() {
        kept.push('<');
    }
    let rest = filler(text.len().saturating_sub(kept.len()));
    kept + &rest
}

/// Text of which only the beginning is left, as much as is shown.
fn shortened(kept: &[u8]) -> Vec<u8> {
    let Some(said) = text(kept) else {
        return alloc::vec![NO_TEXT; kept.len()];
    };
    let mut short = match form(said) {
        Form::Text => within(said, |said| {
            let begin = &said[..shown_until(said)];
            let begin = padded(begin.into(), said.len());
            String::from_utf8(begin).unwrap_or_default()
        }),
        Form::Nothing | Form::Object(_) | Form::Page => said.into(),
    }
    .into_bytes();
    // What is left of a character that was cut is not shown.
    short.resize(kept.len(), b' ');
    short
}

/// Changes a text but for the white space around it.
fn within(text: &str, change: impl FnOnce(&str) -> String) -> String {
    let inner = trimmed(text);
    let lead = text.len() - text.trim_start_matches('\u{feff}').trim_start().len();
    let after = &text[lead + inner.len()..];
    format!("{}{}{after}", &text[..lead], change(inner))
}

/// How much of a text has more in it than is shown, if there is as much.
fn shown_until(text: &str) -> usize {
    let (mut shown, mut at) = (0, 0);
    for secret in urls::found(text) {
        let before = shown + secret.start - at;
        if before > TEXT {
            break;
        }
        (shown, at) = (before + "***".len(), secret.end);
    }
    // One more than is shown, and the mark at least that ends a user name.
    let more = (TEXT + 1).saturating_sub(shown).max(1);
    let mut end = (at + more).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    end
}

/// Filled up to a length. What is added is no part of a word or a URL that was there.
fn padded(text: Vec<u8>, len: usize) -> Vec<u8> {
    let mut text = text;
    if text.len() < len {
        text.push(b' ');
    }
    text.resize(len, b'x');
    text
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::super::{read, shown_start};
    use super::*;
    use crate::testing::mutations;

    fn all_kept(body: &[u8]) -> Vec<u8> {
        kept(body, <[u8]>::to_vec)
    }

    /// The same is read of what is kept, whatever it is, and nothing more can be left out.
    #[track_caller]
    fn check(body: &[u8]) {
        let found = all_kept(body);
        let shown = String::from_utf8_lossy(body);
        let left = String::from_utf8_lossy(&found);
        assert_eq!(found.len(), body.len(), "{shown}");
        assert_eq!(read(&found), read(body), "{shown}\n{left}");
        assert_eq!(all_kept(&found), found, "{shown}\n{left}");
    }

    #[test]
    fn the_same_is_read_of_what_is_kept() {
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let url = "https://u:p@x.example/a?b=c\\u0026d";
        let long = "ä long story ".repeat(16);
        for body in [
            format!(
                r#"{{"errors":[{{"code":"A","message":"b \"{url}\": c","detail":{{"digest":"{digest}","x":"y"}}}}]}} "#
            ),
            format!(r#"{{"error":"e","error_description":"{url} é","trace":[1,"t"],"n":-2e3}}"#),
            format!(" {{\"message\":\"{url} {long}\",\"x\":\"y\"}} and more"),
            format!("\u{feff}[{{\"message\":\"a\",\"x\":[\"{digest}\",7]}}]"),
            format!("no, {url}; {url} {long}"),
            format!("{long} {url}"),
            format!("<E><Code>A</Code><Id>x</Id><Message>b {url}</Message></E>"),
            " <html><p>no</p></html>".into(),
        ] {
            // Of what is long only the length matters.
            if body.len() < 250 {
                mutations(&body, |body| check(body.as_bytes()));
            }
            for end in 0..body.len() {
                check(&body.as_bytes()[..end]);
            }
        }
        check(b"\x1f\x8b\x08 and more");
        check(b"t\0o\0");
    }

    #[test]
    fn what_is_kept() {
        let table = [
            (
                r#"{"message":"no","refresh_token":"0123456789","n":12"#,
                r#"{"message":"no","xxxxxxxxxxxxx":"xxxxxxxxxx","x":11"#,
            ),
            (
                r#"{"m\u0065ssage":"https://x?a\u0026b","message\u0000":"c"}"#,
                r#"{"m\u0065ssage":"https://x?xxxxxxxx","xxxxxxxxxxxxx":"x"}"#,
            ),
            ("Get https://x?a=b: no", "Get https://x?xxx: no"),
            (" text \n", " text \n"),
            ("<html>", "<xxxxx"),
        ];
        for (body, expected) in table {
            let found = all_kept(body.as_bytes());
            assert_eq!(core::str::from_utf8(&found), Ok(expected), "{body}");
        }
        // Of long text as much as is shown; and of what is no text nothing.
        let found = all_kept("word ".repeat(100).as_bytes());
        let found = String::from_utf8(found).expect("text");
        let (begin, rest) = found.split_at(201);
        assert_eq!(begin, "word ".repeat(40) + "w");
        assert_eq!(rest.trim_start_matches(' '), filler(297) + " ");
        assert_eq!(all_kept(b"a\xffb"), [0xff; 3]);
        assert_eq!(all_kept(b"a\xc3"), b"a ");
    }

    /// What is no document begins as it did.
    #[test]
    fn the_same_is_shown_of_a_start_that_is_kept() {
        let kept = |body: &[u8]| kept_start(body, <[u8]>::to_vec);
        for body in [
            "<!DOCTYPE html>\n<html lang=\"en\"><meta name=\"csrf\" content=\"0123\">".to_string(),
            "\n<html><body data-token=\"0123456789\">log in, please, and then try again".into(),
            format!("<{}", "a".repeat(100)),
            r#"[{"token":"0123"}]"#.into(),
            "log in at https://x.example/?a=0123&b=0123, and do it at once, please".into(),
            format!("a{}", "é".repeat(50)),
            "no".into(),
        ] {
            mutations(&body, |body| {
                let found = kept(body.as_bytes());
                assert_eq!(found.len(), body.len(), "{body}");
                let start = |body: &[u8]| shown_start(body.trim_ascii_start());
                let shown = String::from_utf8_lossy(&found);
                // A query that is cut there may end otherwise.
                if !body.contains('?') {
                    assert_eq!(start(&found), start(body.as_bytes()), "{body}\n{shown}");
                    assert_eq!(kept(&found), found, "{body}\n{shown}");
                }
            });
        }
        for (body, expected) in [
            (
                &b"log in at https://x.example/?a=0123 now"[..],
                &b"log in at https://x.example/?xxxxxx now"[..],
            ),
            (b" <html token=0123>", b" <html xxxxxxxxxxx"),
            (b"<a><b>", b"<a> xx"),
            (b"[0123]", b"[ xxxx"),
            (b"ab\xffcd", &[0xff; 5]),
        ] {
            assert_eq!(kept(body), expected);
        }
    }
}
