//! Finding secrets in what leaves and in what is shown.
//!
//! Responsible for recognising one, raw, percent-encoded or in base64, and for whose it is. Every
//! secret of a world begins with [`MARK`], the number of its registry and its sort, so looking for
//! all of them is looking for the mark. Must not know who may see what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What every secret begins with: long enough that base64 shows eight characters of it wherever it
/// begins, and made of characters that percent-encoding leaves alone.
pub(crate) const MARK: &str = "zQ9xWv7k";

/// A secret that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// The registry it belongs to.
    pub(crate) owner: usize,
    pub(crate) sort: SecretKind,
}

/// The sorts of secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SecretKind {
    Password,
    Token,
    Refresh,
    /// The signature in the query of a URL of the storage service.
    Signature,
    /// The state in the query of an upload's `Location`.
    State,
    /// Base64 that cannot be read.
    Unknown,
}

/// The mark of a registry's secrets.
pub(crate) fn mark(owner: usize) -> String {
    format!("{MARK}{owner}")
}

/// The secrets in a text.
pub(crate) fn find(text: &str) -> Vec<Found> {
    let mut found = raw(text);
    for needle in needles() {
        for (at, _) in text.match_indices(needle) {
            found.extend(encoded(text, at));
        }
    }
    found
}

fn raw(text: &str) -> Vec<Found> {
    let marked = text.match_indices(MARK);
    marked
        .filter_map(|(at, _)| {
            let rest = &text[at + MARK.len()..];
            let owner = rest.bytes().next().filter(u8::is_ascii_digit)?;
            let sorts = [
                ("pass", SecretKind::Password),
                ("token", SecretKind::Token),
                ("refresh", SecretKind::Refresh),
                ("sig", SecretKind::Signature),
                ("state", SecretKind::State),
            ];
            let sort = sorts
                .iter()
                .find(|(name, _)| rest[1..].starts_with(name))?
                .1;
            let owner = usize::from(owner - b'0');
            Some(Found { owner, sort })
        })
        .collect()
}

/// What base64 makes of the mark's inner bytes, by where it begins in a group of three.
fn needles() -> [&'static str; 3] {
    use std::sync::OnceLock;
    static NEEDLES: OnceLock<[String; 3]> = OnceLock::new();
    NEEDLES
        .get_or_init(|| [0, 2, 1].map(|skip| STANDARD_NO_PAD.encode(&MARK[skip..skip + 6])))
        .each_ref()
        .map(String::as_str)
}

/// Reads the base64 around a needle.
fn encoded(text: &str, at: usize) -> Vec<Found> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let bytes = text.as_bytes();
    let before = bytes[..at].iter().rev().take_while(|byte| is_digit(byte));
    let after = bytes[at..].iter().take_while(|byte| is_digit(byte));
    let (from, to) = (at - before.count(), at + after.count());
    for skip in 0..4 {
        let run = &text[from + skip..to];
        let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
        // The last bits of a run that was cut may be set.
        let Ok(decoded) = STANDARD_NO_PAD.decode(&whole[..whole.len() / 4 * 4]) else {
            continue;
        };
        let found = raw(&String::from_utf8_lossy(&decoded));
        if !found.is_empty() {
            return found;
        }
    }
    let (owner, sort) = (usize::MAX, SecretKind::Unknown);
    vec![Found { owner, sort }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_however_they_are_written() {
        let secret = format!("{}token.5.abcdef0123456789", mark(1));
        let expected = Found {
            owner: 1,
            sort: SecretKind::Token,
        };
        assert_eq!(find(&format!("a {secret} b")), [expected]);
        for user in ["", "a", "al", "ali", "alice"] {
            let pair = STANDARD_NO_PAD.encode(format!("{user}:{secret}"));
            assert_eq!(find(&format!("Basic {pair}==")), [expected], "{user}");
        }
        assert_eq!(find("nothing of interest"), []);
        assert_eq!(find(&format!("{}upload.3.abc", mark(0))), []);
    }
}
