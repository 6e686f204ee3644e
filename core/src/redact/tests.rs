use alloc::format;
use alloc::string::ToString as _;

use super::*;

const SECRET: &str = "correct/horse \"battery\"+staple";

fn knowing(secrets: &[&str]) -> Redactor {
    let mut redactor = Redactor::default();
    for secret in secrets {
        redactor.add(secret);
    }
    redactor
}

fn redacted(redactor: &Redactor, text: &str) -> String {
    let redacted = redactor.redact(text.as_bytes());
    match redacted {
        Some(text) => String::from_utf8(text).expect("text"),
        None => "(escaped)".into(),
    }
}

/// In each form a secret is found, and nothing of it is left.
#[test]
fn a_secret_is_found_in_each_form() {
    use base64::engine::general_purpose::STANDARD;
    let redactor = knowing(&[SECRET]);
    let pair = |user: &str| STANDARD.encode(format!("{user}:{SECRET}"));
    let unicode: String = SECRET
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let encoded: String = SECRET.bytes().map(|b| format!("%{b:02X}")).collect();
    let quoted = serde_json::to_string(SECRET).expect("JSON");
    for text in [
        SECRET.to_string(),
        format!("your password {SECRET} is wrong"),
        quoted.clone(),
        quoted.replace('/', "\\/"),
        SECRET.replace('/', "%2f").replace('"', "%22"),
        STANDARD.encode(SECRET),
        URL_SAFE_NO_PAD.encode(SECRET),
        pair("a"),
        pair("al"),
        pair("ali"),
        URL_SAFE_NO_PAD.encode(format!("x{SECRET}y")),
        unicode,
        encoded.clone(),
        encoded.replace('%', "%25"),
        encoded.replace('%', "\\u0025"),
    ] {
        assert!(redactor.contains(text.as_bytes()), "{text}");
        let found = redacted(&redactor, &text);
        let is_found = found.contains("***") || found == "(escaped)";
        assert!(is_found, "{text}: {found}");
        assert!(!redactor.contains(found.as_bytes()), "{text}: {found}");
        assert!(!found.contains("battery"), "{text}: {found}");
    }
}

#[test]
fn other_text_stays() {
    let redactor = knowing(&[SECRET, "test", "x", "é", "token-of-alice"]);
    for (text, expected) in [
        ("latest", "latest"),
        ("tests", "tests"),
        ("test", "***"),
        ("a test.", "a ***."),
        ("x is 100% of it", "x is 100% of it"),
        ("correct horse", "correct horse"),
        ("größer \\u00e9", "größer \\u00e9"),
        ("not with token-of-alices", "not with ***s"),
        ("no 100%25 t%65st", "(escaped)"),
        ("", ""),
    ] {
        assert_eq!(redacted(&redactor, text), expected);
    }
}

#[test]
fn a_part_of_what_is_allowed_is_no_secret() {
    let mut redactor = Redactor::default();
    redactor.allow("reg.example/team-of-alice/app:v1");
    redactor.add("team-of-alice");
    redactor.add("another-secret");
    assert_eq!(redacted(&redactor, "team-of-alice"), "team-of-alice");
    assert_eq!(redacted(&redactor, "another-secret"), "***");
}

#[test]
fn values_of_a_query_are_secrets_if_they_are_long() {
    let mut redactor = Redactor::default();
    redactor.add_query("sig=0123456789abc%2Bef&flag=on&digest=sha256:0123456789abcdef");
    for (text, expected) in [
        ("0123456789abc%2Bef", "***"),
        ("0123456789abc+ef", "***"),
        ("on sha256:0123456789abcdef", "on sha256:0123456789abcdef"),
    ] {
        assert_eq!(redacted(&redactor, text), expected);
    }
}
