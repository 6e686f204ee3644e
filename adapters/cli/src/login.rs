//! Finds user names and passwords in references and addresses on the command line.
//!
//! Responsible for refusing them without repeating them, since standard error ends up in logs. Must
//! not know what the text is for.

use std::borrow::Cow;
use std::ops::Range;

/// Replaces a login in messages.
const HIDDEN: &str = "***";

/// Why a text with a login is refused.
pub(crate) const REFUSED: &str = "a user name or password is not allowed here, where others can \
    see it; use `windlass login`, or --username with --password-stdin";

/// Whether `text` contains a login: something before an `@` that is not followed by a digest, if a
/// scheme, a colon or the rest of an address shows that it is one.
pub(crate) fn is_in(text: &str) -> bool {
    find(text).is_some()
}

/// `text` with its login and its URL's query hidden.
pub(crate) fn hidden(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    if let Some(query) = query(text) {
        shown.to_mut().replace_range(query, HIDDEN);
    }
    if let Some(login) = find(text) {
        shown.to_mut().replace_range(login, HIDDEN);
    }
    shown
}

fn find(text: &str) -> Option<Range<usize>> {
    let begin = authority(text);
    let ends = text[begin..].rmatch_indices('@').map(|(at, _)| begin + at);
    let end = ends.into_iter().find(|at| !is_digest(&text[at + 1..]))?;
    let has_scheme = text[..end].contains("://");
    let is_login = has_scheme || text[begin..end].contains(':') || text[end..].contains('/');
    (is_login && begin < end).then_some(begin..end)
}

/// The query of a URL, which may be signed.
fn query(text: &str) -> Option<Range<usize>> {
    let address = text.find("://")?;
    let mark = address + text[address..].find('?')?;
    Some(mark + 1..text.len())
}

/// Where the authority (login and host) of an address begins.
fn authority(text: &str) -> usize {
    if let Some(at) = text.find("://") {
        return at + "://".len();
    }
    // An option's value: `--tls=HOST`, `REGISTRY=REALM`.
    let before = text.find('@').unwrap_or(text.len());
    text[..before].find('=').map_or(0, |at| at + 1)
}

/// Whether `text` begins with a digest, even an invalid one.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else {
        return false;
    };
    let is_hex = encoded.len() >= 32 && encoded.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_name = algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric());
    matches!(algorithm, "sha256" | "sha512") || (is_name && is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_and_hidden() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let table = [
            (
                "https://alice:pw@r.example/x:v1",
                "https://***@r.example/x:v1",
            ),
            ("alice:pw@r.example/x:v1", "***@r.example/x:v1"),
            ("alice:pw@r.example", "***@r.example"),
            ("token@r.example/x", "***@r.example/x"),
            ("https://token@r.example", "https://***@r.example"),
            ("docker://alice:pw@r.example/x", "docker://***@r.example/x"),
            (
                "oci:https://alice:pw@r.example/x",
                "oci:https://***@r.example/x",
            ),
            ("https://alice:p@w/d@r.example/x", "https://***@r.example/x"),
            ("alice:p@w://d@r.example/x", "alice:p@w://***@r.example/x"),
            (
                "r.example=https://alice:pw@a.example/t",
                "r.example=https://***@a.example/t",
            ),
            ("r.example=alice:pw@a.example", "r.example=***@a.example"),
            ("--tls=alice:pw@a.example", "--tls=***@a.example"),
            ("https://r.example/x?sig=pw", "https://r.example/x?***"),
            (
                "https://alice:pw@r.example/x?sig=pw",
                "https://***@r.example/x?***",
            ),
        ];
        for (text, shown) in table {
            assert_eq!(hidden(text), shown);
            assert_eq!(is_in(text), text.contains('@'), "{text}");
            let digested = format!("{text}@{digest}");
            assert_eq!(is_in(&digested), text.contains('@'), "{digested}");
        }
    }

    #[test]
    fn what_is_no_login_is_shown() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for text in [
            "r.example/app:v1",
            "alpine@3.20",
            "alpine:3.20@sha256:short",
            "oci:/home/alice:name",
            "md5@md5:00000000000000000000000000000000",
            "a/b?c",
            "@r.example/x",
            "",
        ] {
            assert_eq!(hidden(text), text);
            assert!(!is_in(text), "{text}");
        }
        assert!(!is_in(&format!("r.example:5000/app:v1@{digest}")));
    }
}
