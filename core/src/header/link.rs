//! `Link`, as far as paging needs it (RFC 8288, TAGS-06 to TAGS-09).

use alloc::string::String;

use http::HeaderMap;
use http::header::LINK;

use super::{Cursor, is_space, lossy};
use crate::uri::{Url, UrlError};

/// The URL of the next page: the first link with `rel="next"`, resolved against `base`, the URL of
/// the request. `None` on the last page.
///
/// # Errors
///
/// [`LinkError`] if the next page must not be requested: it is at another origin (TAGS-08), is the
/// current page (TAGS-09), or its URL is invalid.
pub fn next_link(headers: &HeaderMap, base: &Url) -> Result<Option<Url>, LinkError> {
    let lines = headers.get_all(LINK).into_iter();
    let Some(target) = lines
        .filter_map(|line| next_target(line.as_bytes(), base))
        .next()
    else {
        return Ok(None);
    };
    if target.is_empty() {
        return Err(LinkError::Loop);
    }
    let url = base.resolve(&target)?;
    if url.origin() != base.origin() {
        return Err(LinkError::Foreign);
    }
    if url == *base {
        return Err(LinkError::Loop);
    }
    Ok(Some(url))
}

/// The target of the line's first link to a next page. A syntax error ends the line.
fn next_target(line: &[u8], base: &Url) -> Option<String> {
    let mut cursor = Cursor::new(line);
    loop {
        cursor.take_while(|byte| is_space(byte) || byte == b',');
        if !cursor.take(b'<') {
            return None;
        }
        let target = lossy(cursor.take_while(|byte| byte != b'>'));
        if !cursor.take(b'>') {
            return None;
        }
        if leads_on(&mut cursor, base)? {
            return Some(target);
        }
    }
}

/// Parses a link's parameters: whether it leads to the next page; `None` on a syntax error.
fn leads_on(cursor: &mut Cursor<'_>, base: &Url) -> Option<bool> {
    let mut rel: Option<String> = None;
    let mut is_of_base = true;
    loop {
        cursor.skip_space();
        if !cursor.take(b';') {
            break;
        }
        cursor.skip_space();
        let name = lossy(cursor.token()).to_ascii_lowercase();
        let value = parse_value(cursor)?;
        match name.as_str() {
            // Only the first one counts (RFC 8288 section 3.3).
            "rel" => rel = rel.or(Some(value)),
            "anchor" => is_of_base &= base.resolve(&value).is_ok_and(|anchor| anchor == *base),
            _ => {}
        }
    }
    let is_next = |word: &str| word.eq_ignore_ascii_case("next");
    let leads_on = is_of_base && rel.is_some_and(|rel| rel.split([' ', '\t']).any(is_next));
    matches!(cursor.peek(), None | Some(b',')).then_some(leads_on)
}

/// The value after `=`, empty if there is none.
fn parse_value(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.skip_space();
    if !cursor.take(b'=') {
        return Some(String::new());
    }
    cursor.skip_space();
    if cursor.peek() == Some(b'"') {
        return cursor.quoted();
    }
    Some(lossy(cursor.take_while(|byte| {
        !is_space(byte) && !matches!(byte, b',' | b';')
    })))
}

/// Why the next page is not requested.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It has another scheme, host or port.
    #[error("the next page is at another scheme, host or port")]
    Foreign,
    /// It is the page that was just read.
    #[error("the next page is the one just read")]
    Loop,
    /// Its URL is invalid.
    #[error("the link to the next page is invalid: {0}")]
    Url(#[from] UrlError),
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::testing::mutations;

    fn base() -> Url {
        Url::parse("https://reg.example/v2/a/tags/list?n=2").expect("V-C's URL")
    }

    fn read(lines: &str) -> Result<Option<Url>, LinkError> {
        let mut headers = HeaderMap::new();
        for line in lines.split('\n').filter(|line| !line.is_empty()) {
            if let Ok(value) = HeaderValue::from_str(line) {
                headers.append(LINK, value);
            }
        }
        next_link(&headers, &base())
    }

    type Row = (
        &'static str,
        &'static str,
        Result<Option<&'static str>, LinkError>,
    );

    const TABLE: &[Row] = &[
        (
            "V-C 1",
            r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
            Ok(Some("https://reg.example/v2/a/tags/list?last=b&n=2")),
        ),
        (
            "V-C 2",
            "<https://reg.example/v2/a/tags/list?last=b&n=2>;rel=next",
            Ok(Some("https://reg.example/v2/a/tags/list?last=b&n=2")),
        ),
        (
            "V-C 3",
            r#"<?last=b&n=2>; rel="next""#,
            Ok(Some("https://reg.example/v2/a/tags/list?last=b&n=2")),
        ),
        (
            "V-C 5",
            r#"</v2/a/tags/list?next_page=gAAA%3D&n=50>; rel="next""#,
            Ok(Some(
                "https://reg.example/v2/a/tags/list?next_page=gAAA%3D&n=50",
            )),
        ),
        (
            "V-C 6",
            r#"<//cdn.example/v2/a/tags/list?last=b>; rel="next""#,
            Err(LinkError::Foreign),
        ),
        (
            "V-C 7",
            r#"<http://reg.example/v2/a/tags/list?last=b>; rel="next""#,
            Err(LinkError::Foreign),
        ),
        (
            "V-C 9",
            r#"</p1>; rel="prev", </p2>; rel="next""#,
            Ok(Some("https://reg.example/p2")),
        ),
        (
            "V-C 10",
            "</p1>; rel=\"first prev\"\n</p3>; rel=\"last NEXT\"",
            Ok(Some("https://reg.example/p3")),
        ),
        (
            "V-C 11",
            r#"</p>; REL=Next ; title="a, b; rel=\"prev\"""#,
            Ok(Some("https://reg.example/p")),
        ),
        ("V-C 13", r#"</p>; rel="next"; anchor="/other""#, Ok(None)),
        (
            "TAGS-06 anchor to itself",
            r#"</p>; rel="next"; anchor="?n=2""#,
            Ok(Some("https://reg.example/p")),
        ),
        (
            "TAGS-06 first rel",
            r#"</p>; rel="prev"; rel="next""#,
            Ok(None),
        ),
        ("V-C 14", r#"</p>; rev="next""#, Ok(None)),
        ("V-C 15", "</p>", Ok(None)),
        ("V-C 17", r#"</p; rel="next""#, Ok(None)),
        ("V-C 18", r#"<>; rel="next""#, Err(LinkError::Loop)),
        ("TAGS-09", r#"<?n=2>; rel="next""#, Err(LinkError::Loop)),
        (
            "V-C 19",
            r#"</v2/a/tags/list?last=v1,2&n=2>; rel="next""#,
            Ok(Some("https://reg.example/v2/a/tags/list?last=v1,2&n=2")),
        ),
        ("V-C 21", "", Ok(None)),
        (
            "bad URL",
            r#"</a b>; rel="next""#,
            Err(LinkError::Url(UrlError::Character)),
        ),
    ];

    #[test]
    fn links_to_the_next_page() {
        for (row, lines, expected) in TABLE {
            let found = read(lines);
            let found = found.as_ref().map(|url| url.as_ref().map(Url::as_str));
            assert_eq!(found, expected.as_ref().copied(), "{row}");
            mutations(lines, |lines| {
                if let Ok(Some(url)) = read(lines) {
                    assert_eq!(url.origin().host(), "reg.example", "{lines}");
                }
            });
        }
    }
}
