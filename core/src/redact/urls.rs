//! Redacts user names, queries and fragments of the URLs in a text: they hold signatures and the states
//! of uploads (users.md 1.13).
//!
//! Responsible for finding them in any text, even within escapes: an error may quote another error. Must
//! not know what the text is about.

use alloc::string::String;

/// The text with `***` in their place.
pub(crate) fn redact_urls(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(':') {
        out = out + before + ":";
        rest = after;
        let has_scheme = before.ends_with(|char: char| char.is_ascii_alphanumeric());
        let Some(start) = has_scheme.then(|| slashes(rest)).flatten() else {
            continue;
        };
        let (slashes, url) = rest.split_at(start);
        let (url, behind) = url.split_at(url_len(url));
        out.push_str(slashes);
        let authority = url.find(['/', '?', '#', '\\']).unwrap_or(url.len());
        let user = url[..authority].rfind('@').unwrap_or(0);
        out.push_str(if user > 0 { "***" } else { "" });
        let public = url.find(['?', '#']).map_or(url.len(), |mark| mark + 1);
        out.push_str(&url[user..public]);
        out.push_str(if public < url.len() { "***" } else { "" });
        rest = behind;
    }
    out + rest
}

/// The length of the `//` that begins here, each of them escaped or not.
fn slashes(text: &str) -> Option<usize> {
    let skip = |text: &'_ str| Some(text.trim_start_matches('\\').strip_prefix('/')?.len());
    let rest = skip(&text[text.len() - skip(text)?..])?;
    Some(text.len() - rest)
}

/// The length of the URL that begins here, without what rather belongs to the sentence.
fn url_len(text: &str) -> usize {
    let is_border =
        |char: char| char.is_whitespace() || char.is_control() || "\"`<>".contains(char);
    let end = text.find(is_border).unwrap_or(text.len());
    let is_punctuation = |char| "\\'()[]{}.,:;!".contains(char);
    text[..end].trim_end_matches(is_punctuation).len()
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
            (r"https://x/a?b\nnext c", r"https://x/a?*** c"),
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
