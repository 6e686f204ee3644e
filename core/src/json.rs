//! JSON as other programs write it.
//!
//! Responsible for what has to be accepted in any of it. Must not know what a text is about: how strict one has to be
//! with documents is in `manifest::json`.

use alloc::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// JSON with each lone surrogate escape, such as `\ud83d`, replaced by `\ufffd`, as Go reads it.
/// Tools that cut text by UTF-16 units write them, and serde rejects the whole document for one.
pub fn replace_lone_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut replaced = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(next) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        let is_pair = matches!(escaped(json, at + 6), Some(0xdc00..=0xdfff));
        at += match escaped(json, at) {
            Some(0xd800..=0xdbff) if is_pair => 12,
            Some(0xd800..=0xdfff) => {
                replaced.to_mut()[at..at + 6].copy_from_slice(b"\\ufffd");
                6
            }
            Some(_) => 6,
            None => 2.min(json.len() - at),
        };
    }
    replaced
}

/// The code unit of the escape `\uXXXX` at `at`.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let hex = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let hex = core::str::from_utf8(hex).ok()?;
    u16::from_str_radix(hex, 16).ok()
}

/// `null` counts as absent (image-spec HEAD, N-19).
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An optional member: a wrong type counts as absent.
pub(crate) fn carried<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mutations;

    #[test]
    fn lone_surrogates_are_replaced() {
        let table = [
            (r"", r""),
            (r"\ud83d", r"\ufffd"),
            (r"\uD83Dx", r"\ufffdx"),
            (r"\ude00", r"\ufffd"),
            (r"\ud83d\ude00", r"\ud83d\ude00"),
            (r"\ud83d\ud83d\ude00", r"\ufffd\ud83d\ude00"),
            (r"\ude00\ud83d", r"\ufffd\ufffd"),
            (r"\ud83d\n", r"\ufffd\n"),
            (r"\\ud83d", r"\\ud83d"),
            (r"\\\ud83d", r"\\\ufffd"),
            (r"\u00e9\ud8", r"\u00e9\ud8"),
            (r"\ud83", r"\ud83"),
            (r"\", r"\"),
            (r"\\", r"\\"),
            ("\\\u{e9}\\ud83d", "\\\u{e9}\\ufffd"),
        ];
        for (json, expected) in table {
            let found = replace_lone_surrogates(json.as_bytes());
            assert_eq!(found, expected.as_bytes(), "{json}");
            mutations(json, |json| {
                let found = replace_lone_surrogates(json.as_bytes());
                assert_eq!(found.len(), json.len(), "{json}");
                let again = replace_lone_surrogates(&found);
                assert_eq!(again, found, "{json}");
            });
        }
    }
}
