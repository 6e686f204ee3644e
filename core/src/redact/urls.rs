//! Redacts user names, queries and fragments of the URLs in a text: they hold signatures and the states
//! of uploads (users.md 1.13).
//!
//! Responsible for finding them in any text, even within escapes: an error may quote another error. Must
//! not know what the text is about.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// The text with `***` in their place.
pub(crate) fn redact_urls(text: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for secret in find(text) {
        out.push_str(&text[at..secret.start]);
        out.push_str("***");
        at = secret.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Where they are, in order.
fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(colon) = text[at..].find(':') {
        let colon = at + colon;
        at = colon + 1;
        let has_scheme = text[..colon].ends_with(|char: char| char.is_ascii_alphanumeric());
        let Some(start) = has_scheme.then(|| slashes(text, at)).flatten() else {
            continue;
        };
        let end = end_of_url(text, start);
        let url = &text[start..end];
        let authority = url.find(['/', '?', '#', '\\']).unwrap_or(url.len());
        if let Some(user) = url[..authority].rfind('@').filter(|len| *len > 0) {
            found.push(start..start + user);
        }
        if let Some(mark) = url.find(['?', '#']) {
            let secret = start + mark + 1..end;
            found.extend((!secret.is_empty()).then_some(secret));
        }
        at = end;
    }
    found
}

/// Where the `//` ends that begins here, each of them escaped or not.
fn slashes(text: &str, at: usize) -> Option<usize> {
    let skip = |text: &str| {
        text.trim_start_matches('\\')
            .strip_prefix('/')
            .map(str::len)
    };
    let rest = skip(&text[at..])?;
    let rest = skip(&text[text.len() - rest..])?;
    Some(text.len() - rest)
}

/// Where the URL ends that has come to here, without what rather belongs to the sentence.
fn end_of_url(text: &str, start: usize) -> usize {
    let is_border =
        |char: char| char.is_whitespace() || char.is_control() || "\"`<>".contains(char);
    let mut end = start;
    while let Some(char) = text[end..].chars().next() {
        if char == '\\' {
            let escape = text[end..].len() - text[end..].trim_start_matches('\\').len();
            let after = &text[end + escape..];
            // An escaped `&` or `/` does not end it, an escaped quote does.
            let code = after.strip_prefix('u').and_then(|code| code.get(..4));
            let is_code = code.is_some_and(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
            if !is_code && !after.starts_with('/') {
                break;
            }
            end += escape + 1;
        } else if is_border(char) {
            break;
        } else {
            end += char.len_utf8();
        }
    }
    let url = &text[start..end];
    start
        + url
            .trim_end_matches(|char| "'()[]{}.,:;!".contains(char))
            .len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden() {
        let table = [
            (
                r#"Get "https://x.blob.example/a?sv=1&sig=b%2B": timeout"#,
                r#"Get "https://x.blob.example/a?***": timeout"#,
            ),
            (
                r#"Get \"https:\/\/x\/a?sv=1\u0026sig=b\": timeout"#,
                r#"Get \"https:\/\/x\/a?***\": timeout"#,
            ),
            (r"https://x/a?b\\u0026c=d e", "https://x/a?*** e"),
            (r"https://x/a?b\nnext", r"https://x/a?***\nnext"),
            ("see 'https://x/?a=b'.", "see 'https://x/?***'."),
            (
                "(https://x?a), <https://y?b>",
                "(https://x?***), <https://y?***>",
            ),
            ("https://u:p@x/a@b?c", "https://***@x/a@b?***"),
            ("https://x/#a?b", "https://x/#***"),
            ("s3+x://x/?ä ö", "s3+x://x/?*** ö"),
            ("https://x/a, https://y/b", "https://x/a, https://y/b"),
            ("is it https://x/a?", "is it https://x/a?"),
            ("what? ://x?y a:b?c 1:/?", "what? ://x?y a:b?c 1:/?"),
            ("https://x?***", "https://x?***"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(redact_urls(text), expected);
            assert_eq!(redact_urls(expected), expected, "it stays as it is");
        }
    }
}
