//! What is secret in an address: its query, its user name, its fragment.
//!
//! Responsible for placeholders that lead to the same place, and to the same complaint where a part is
//! not legal. Scheme, host, port and path stay: the transcript shows them, too. Must not know in which
//! header an address stands.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::reference::Repository;
use crate::secrets::{Secrets, at_least};
use crate::uri::{escaped, user_info};

/// The address without its secrets. Any text will do; most is no address.
pub(super) fn scrubbed(text: &str, secrets: &mut Secrets) -> String {
    let (text, fragment) = split(text, '#');
    let (path, query) = split(text, '?');
    let mut out = String::new();
    let mut place = path;
    if let Some(user) = user_info(path) {
        out.push_str(&path[..user.start]);
        out.push_str(&replaced(&path[user.clone()], secrets));
        place = &path[user.end..];
    }
    out.push_str(&secrets.clean_text(place));
    if let Some(query) = query {
        secrets.learn_query(query);
        // And as it is sent, with what no URL has encoded.
        if let Ok(Cow::Owned(sent)) = escaped(&latin1(query)) {
            secrets.learn_query(&sent);
        }
        out.push('?');
        out.push_str(&without_secrets(query, secrets));
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(&replaced(fragment, secrets));
    }
    out
}

/// The bytes of a header whose value was read with each byte as one character.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .filter_map(|char| u8::try_from(char).ok())
        .collect()
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// A query with placeholders. What this protocol adds to one stays beside them: a server that sends a
/// request to where it came from sends it in a circle, and that must be seen.
fn without_secrets(query: &str, secrets: &mut Secrets) -> String {
    let digest = |value: &str| value.parse::<Digest>().ok()?.algorithm();
    let mounts = query.split('&').any(|pair| pair.starts_with("mount="));
    let is_ours = |pair: &str| match pair.split_once('=') {
        Some(("digest" | "mount", value)) => digest(value).is_some(),
        Some(("from", value)) => mounts && value.parse::<Repository>().is_ok(),
        Some(_) | None => false,
    };
    let mut parts = Vec::new();
    let mut secret: Option<String> = None;
    for pair in query.split('&') {
        if is_ours(pair) {
            parts.extend(secret.take().map(|secret| replaced(&secret, secrets)));
            parts.push(secrets.clean_text(pair));
        } else {
            secret = Some(secret.map_or_else(|| pair.into(), |before| format!("{before}&{pair}")));
        }
    }
    parts.extend(secret.map(|secret| replaced(&secret, secrets)));
    parts.join("&")
}

/// A placeholder with whatever makes the whole illegal, so that it is refused for the same reason.
fn replaced(secret: &str, secrets: &mut Secrets) -> String {
    if secret.is_empty() {
        return String::new();
    }
    let number = secrets.learn(secret);
    let is_legal = |char: char| char.is_ascii_graphic() && !"\"<>\\^`{|}".contains(char);
    // A control character is refused in any address; the others in a `Location` are encoded.
    let mut illegal = secret.chars().filter(|char| !is_legal(*char));
    let worst = illegal.clone().find(char::is_ascii_control);
    let mut text = at_least(number, secret.len());
    if let Some(char) = worst.or_else(|| illegal.next()) {
        let keep = text.len().saturating_sub(char.len_utf8()).max(8);
        text.truncate(keep);
        text.push(char);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;
    use crate::testing::mutations;
    use crate::uri::Url;

    #[test]
    fn what_is_secret_in_an_address() {
        let mut secrets = Secrets::default();
        let table = [
            (
                "https://h:5000/a/b?sig=0123456789",
                "https://h:5000/a/b?secret-1------",
            ),
            ("/a/b?sig=0123456789", "/a/b?secret-1------"),
            ("/a?x", "/a?secret-2"),
            ("/a?", "/a?"),
            ("/a", "/a"),
            ("https://u:p@h/a", "https://secret-3@h/a"),
            ("//u@h@h/a?x#x", "//secret-4@h/a?secret-2#secret-2"),
            ("/a@b//c@d", "/a@b//c@d"),
            ("/a?a b", "/a?secret-5 "),
            ("/a?a\u{e9} ", "/a?secret-6\u{e9}"),
            ("not an address", "not an address"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(scrubbed(text, &mut secrets), expected, "{text}");
        }
    }

    /// The query of a `Location` is sent with some bytes encoded, and found in that form too.
    #[test]
    fn what_is_sent_encoded_is_found() {
        let mut secrets = Secrets::default();
        scrubbed("/a?sig=0123456789|abc{\u{fc}}", &mut secrets);
        let said = "you asked for sig=0123456789%7Cabc%7B%FC%7D";
        assert!(!secrets.clean_text(said).contains("0123"));
    }

    #[test]
    fn a_part_that_is_said_again_is_found() {
        let mut secrets = Secrets::default();
        scrubbed(
            "/a?X-Signature=0123456789abcdef&digest=sha256:0123&flag=1",
            &mut secrets,
        );
        let said = "0123456789abcdef is no signature of sha256:0123, flag=1";
        let cleaned = secrets.clean_text(said);
        assert_eq!(
            cleaned,
            "secret-1-------- is no signature of sha256:0123, flag=1"
        );
    }

    #[test]
    fn what_we_add_to_a_query_stays() {
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let mut secrets = Secrets::default();
        let table = [
            ("_state=0123&x=1", "secret-1-------"),
            ("_state=0123&x=1&digest=D", "secret-1-------&digest=D"),
            ("digest=D&_state=0123&x=1&", "digest=D&secret-2--------"),
            ("mount=D&from=a/b", "mount=D&from=a/b"),
            ("from=a/b", "secret-3"),
            ("digest=D0&mount=md5:0123&from=A", "secret-4"),
            ("digest=D", "digest=D"),
        ];
        for (query, expected) in table {
            let full = |text: &str| format!("/a?{}", text.replace('D', digest));
            let found = scrubbed(&full(query), &mut secrets);
            let found = found.trim_end_matches('-');
            assert_eq!(found, full(expected).trim_end_matches('-'), "{query}");
        }
    }

    /// What follows from an address follows from the one without secrets.
    #[test]
    fn an_address_leads_where_it_led() {
        let base = Url::parse("https://reg.example/v2/a/blobs/x").expect("a URL");
        let address = "https://u:p@cdn.example:444/a/../b/c?sig=a%2Bb&x=1#f";
        for address in [
            address,
            &address.replace("u:p@", ""),
            "/v2/a?_state=0123&x=1",
        ] {
            mutations(address, |text| {
                let found = scrubbed(text, &mut Secrets::default());
                let realm = (base.resolve(text), base.resolve(&found));
                // As the bytes that the characters stand for.
                let location = |text: &str| base.resolve_location(&latin1(text));
                let location = (location(text), location(&found));
                for (before, after) in [realm, location] {
                    match (before, after) {
                        (Ok(before), Ok(after)) => {
                            assert_eq!(before.to_string(), after.to_string(), "{text}");
                        }
                        (before, after) => {
                            assert_eq!(before.err(), after.err(), "{text}: {found}");
                        }
                    }
                }
            });
        }
    }
}
