//! `Warning`: messages of a server to the user (WARN).

use alloc::string::String;
use alloc::vec::Vec;

use http::HeaderMap;
use http::header::WARNING;

use super::{Cursor, is_space};
use crate::redact::redact_urls;
use crate::sanitize::escape;

/// The most text reported per response: what distribution-spec allows a server to send (WARN-01).
const TOTAL_LIMIT: usize = 4096;

/// The warnings of a response without duplicates, safe to print (WARN-01 to WARN-05): escaped, and
/// with the queries of URLs redacted.
///
/// Only `299 - "text"` counts: other codes and agents belong to caches.
pub fn warnings(headers: &HeaderMap) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut left = TOTAL_LIMIT;
    for line in headers.get_all(WARNING) {
        let mut cursor = Cursor::new(line.as_bytes());
        while !cursor.is_at_end() && left > 0 {
            let Some(text) = member(&mut cursor) else {
                continue;
            };
            let text = escape(&redact_urls(&text), left);
            if !text.is_empty() && !found.contains(&text) {
                left -= text.len();
                found.push(text);
            }
        }
    }
    found
}

/// Takes one member of the list and its comma; `None` if it is not a `299`.
fn member(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.take_while(|byte| is_space(byte) || byte == b',');
    let is_ours = cursor.rest().starts_with(b"299 - \"");
    let mut text = None;
    loop {
        cursor.take_while(|byte| byte != b',' && byte != b'"');
        if cursor.peek() != Some(b'"') {
            break;
        }
        let Some(quoted) = cursor.quoted() else {
            return None; // unterminated: the rest of the line is unparsable
        };
        // A second quoted string would be the date (RFC 7234 section 5.5).
        text.get_or_insert(quoted);
    }
    text.filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use std::format;

    use http::HeaderValue;

    use super::*;
    use crate::testing::mutations;

    fn read(lines: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines.split('\n') {
            if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
                headers.append(WARNING, value);
            }
        }
        warnings(&headers)
    }

    const TABLE: &[(&str, &str, &[&str])] = &[
        ("V-G quoted", r#"299 - "a, \"b\"""#, &[r#"a, "b""#]),
        ("V-G two on a line", r#"299 - "x", 299 - "y""#, &["x", "y"]),
        ("WARN-01 two lines", "299 - \"x\"\n299 - \"y\"", &["x", "y"]),
        (
            "V-G date",
            r#"299 - "x" "Sun, 06 Nov 1994 08:49:37 GMT", 299 - "y""#,
            &["x", "y"],
        ),
        ("V-G other code", r#"110 proxy "Response is stale""#, &[]),
        (
            "WARN-04 after another code",
            r#"110 proxy "stale, very", 299 - "x""#,
            &["x"],
        ),
        ("WARN-04 other agent", r#"299 proxy "x""#, &[]),
        ("V-G not quoted", "299 - x", &[]),
        ("V-G identical", r#"299 - "x", 299 - "x""#, &["x"]),
        ("unterminated", r#"299 - "x", 299 - "y"#, &["x"]),
        (
            "WARN-05",
            "299 - \"a\u{9b}2J\u{202e}b\"",
            &[r"a\u{9b}2J\u{202e}b"],
        ),
        (
            "a signed URL",
            r#"299 - "see https://h/a?b=\c&d=e""#,
            &["see https://h/a?***"],
        ),
        ("empty", "", &[]),
    ];

    #[test]
    fn warnings_are_read() {
        for (row, lines, expected) in TABLE {
            assert_eq!(read(lines), *expected, "{row}");
            mutations(lines, |lines| {
                read(lines);
            });
        }
    }

    #[test]
    fn warnings_are_bounded() {
        let long = "é".repeat(3000);
        let total: usize = read(&format!("299 - \"{long}\"\n299 - \"x\""))
            .iter()
            .map(String::len)
            .sum();
        assert!(total <= TOTAL_LIMIT, "WARN-01: {total}");
    }
}
