//! Errors of windlass' own file: the position, and for an unknown key the one that was likely meant.

use std::path::Path;

use serde::Deserialize as _;

use super::content::Content;
use crate::document::{FileError, Source};

/// Parses a file.
pub(super) fn parse(path: &Path, text: &str) -> Result<Content, FileError> {
    let source = Source { path, text };
    let content = toml::Deserializer::parse(text).and_then(Content::deserialize);
    content.map_err(|error| {
        let plain = source.parse_error(&error);
        match suggestion(error.message()) {
            Some(what) => plain.with_reason(what),
            None => plain,
        }
    })
}

/// serde's message about an unknown field or variant, with what was likely meant. Its form is checked by a test.
fn suggestion(message: &str) -> Option<String> {
    let rest = message.trim_end();
    let (kind, rest) = match rest.strip_prefix("unknown field `") {
        Some(rest) => ("key", rest),
        None => ("value", rest.strip_prefix("unknown variant `")?),
    };
    let (found, rest) = rest.split_once("`, ")?;
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let shown = windlass_core::sanitize::escape(found, 80);
    let closest = known
        .iter()
        .map(|known| (strsim::osa_distance(found, known), known));
    // A third of it may be wrong, and letters of two words may be in another order.
    let most = (found.chars().count() / 3).max(2);
    let hint = match closest.min() {
        Some((distance, known)) if distance <= most => format!("did you mean `{known}`?"),
        Some(_) => format!("expected one of {}", known.join(", ")),
        None => "no key is known here".to_owned(),
    };
    Some(format!("unknown {kind} `{shown}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = parse(Path::new("/c.toml"), text).expect_err(text);
        error.to_string()
    }

    #[test]
    fn unknown_keys_are_errors_with_a_suggestion() {
        let table = [
            (
                "hosts-dirs = \"x\"",
                "/c.toml:1:1: unknown key `hosts-dirs`; did you mean `hosts-dir`?",
            ),
            (
                "\n[limit]\njobs = 1",
                "/c.toml:2:2: unknown key `limit`; did you mean `limits`?",
            ),
            (
                "[limits]\n  job = 1",
                "/c.toml:2:3: unknown key `job`; did you mean `jobs`?",
            ),
            (
                "[host.\"r.example\"]\nskip_verify = true",
                "/c.toml:2:1: unknown key `skip_verify`; did you mean `skip-verify`?",
            ),
            (
                "[mirror.\"docker.io\"]\nurl = \"m\"\nmode = \"prefre\"",
                "/c.toml:3:8: unknown value `prefre`; did you mean `prefer`?",
            ),
            (
                "[tls]\nwhatever = 1",
                "/c.toml:2:1: unknown key `whatever`; expected one of ca, only-ca",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_checked_where_they_are() {
        let table = [
            (
                "[limits]\njobs = 0",
                "/c.toml:2:8: must be a number from 1 to 256",
            ),
            (
                "[limits]\nretries = 101",
                "/c.toml:2:11: must be a number from 0 to 100",
            ),
            (
                "[limits]\nidle-timeout = \"5\"",
                "/c.toml:2:16: has no unit",
            ),
            (
                "[host.\"https://r\"]",
                "/c.toml:1:7: expected a host as in references",
            ),
            ("[mirror.\"r/\"]\nurl = \"m\"", "/c.toml:1:9: "),
            (
                "[mirror.\"r.io\"]\nurl = \"ftp://m\"",
                "/c.toml:2:7: expected https://host",
            ),
            (
                "[mirror.\"r.io\"]\nurl = [\"m\", \"https://u:s3cret@m\"]",
                "/c.toml:2:7: expected",
            ),
            (
                "[mirror.\"r.io\"]\nurl = \"https://m/v2\"",
                "/c.toml:2:7: /v2 is added to it",
            ),
            (
                "[mirror.\"r.io\"]\nurl = \"https://m/A\"",
                "/c.toml:2:7: the path must be",
            ),
            (
                "[mirror.\"r.io\"]\nmode = \"prefer\"",
                "/c.toml:1:1: missing field `url`",
            ),
            (
                "[[trusted-realm]]\nregistry = \"r.io\"\nrealm = \"ftp://x\"",
                "/c.toml:3:9: the scheme",
            ),
            (
                "blocked = \"r.io\"",
                "/c.toml:1:11: invalid type: a string, expected a sequence",
            ),
            (
                "[proxy]\nhttps = [\"http://u:s3cret@p\"]",
                "/c.toml:2:9: invalid type: sequence",
            ),
            ("x", "/c.toml:1:2: "),
        ];
        for (text, expected) in table {
            let error = error(text);
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
