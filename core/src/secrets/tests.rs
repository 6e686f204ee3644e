use super::*;

const SECRET: &str = "correct/horse \"battery\"+staple";

fn knowing(secrets: &[&str]) -> Secrets {
    let mut known = Secrets::default();
    for secret in secrets {
        known.learn(secret);
    }
    known
}

/// Everything that is text here is cleaned, and nothing of the secret is left.
#[test]
fn a_secret_is_found_however_it_is_said() {
    use base64::engine::general_purpose::STANDARD;
    let known = knowing(&[SECRET]);
    let pair = |user: &str| STANDARD.encode(format!("{user}:{SECRET}"));
    let unicode: String = SECRET
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let encoded: String = SECRET.bytes().map(|b| format!("%{b:02X}")).collect();
    let said = [
        SECRET.to_string(),
        format!("your password {SECRET} is wrong"),
        serde_json::to_string(SECRET).expect("JSON"),
        serde_json::to_string(SECRET)
            .expect("JSON")
            .replace('/', "\\/"),
        percent_encoded(SECRET, |byte| format!("%{byte:02X}")),
        percent_encoded(SECRET, |byte| format!("%{byte:02x}")),
        STANDARD.encode(SECRET),
        URL_SAFE_NO_PAD.encode(SECRET),
        pair("a"),
        pair("al"),
        pair("ali"),
        URL_SAFE_NO_PAD.encode(format!("x{SECRET}y")),
        unicode,
        encoded.clone(),
        encoded.replace('%', "\\u0025"),
    ];
    for text in said {
        assert!(known.is_in(text.as_bytes()), "{text}");
        let cleaned = known.clean_text(&text);
        assert_eq!(cleaned.len(), text.len(), "{text}");
        assert!(!known.is_in(cleaned.as_bytes()), "{text}: {cleaned}");
        assert!(!cleaned.contains("battery"), "{text}: {cleaned}");
    }
}

#[test]
fn what_is_no_secret_stays() {
    let known = knowing(&[SECRET, "test", "x", "é"]);
    let table = [
        ("latest", "latest"),
        ("tests", "tests"),
        ("test", "xxxx"),
        ("a test.", "a xxxx."),
        ("100% of it", "100% of it"),
        ("correct horse", "correct horse"),
        ("größer \\u00e9", "größer \\u00e9"),
        ("", ""),
    ];
    for (text, expected) in table {
        assert_eq!(known.clean_text(text), expected);
    }
}

#[test]
fn what_the_user_said_before_is_no_secret() {
    let mut known = Secrets::default();
    known.publish("reg.example/team-of-alice/app:v1");
    known.learn("team-of-alice");
    known.learn("another-secret");
    assert_eq!(known.clean_text("team-of-alice"), "team-of-alice");
    assert_eq!(known.clean_text("another-secret"), "secret-2------");
}

#[test]
fn the_same_secret_has_the_same_number() {
    let mut known = Secrets::default();
    assert_eq!(
        (known.learn("a"), known.learn("b"), known.learn("a")),
        (1, 2, 1)
    );
    let table = [
        (placeholder(1, 12), "secret-1----"),
        (placeholder(10, 9), "secret-10"),
        (placeholder(10, 8), "xxxxxxxx"),
        (placeholder(1, 0), ""),
        (at_least(1, 3), "secret-1"),
        (at_least(1, 10), "secret-1--"),
    ];
    for (found, expected) in table {
        assert_eq!(found, expected);
    }
}

#[test]
fn users_are_found_as_words() {
    let mut known = Secrets::default();
    known.publish("reg.example/bobby/app");
    assert_eq!(known.user("alice"), "user-1");
    assert_eq!(known.user("bobby"), "user-2");
    assert_eq!(known.user("alice"), "user-1");
    let said = "alice is not bobby, alices, malice or `alice`";
    let expected = "xxxxx is not bobby, alices, malice or `xxxxx`";
    assert_eq!(known.clean_text(said), expected);
    assert!(!known.is_in(said.as_bytes()));
    for (name, said, expected) in [
        ("elisabeth", "of elisabeth", "of user-3---"),
        ("al", "of al", "of al"),
        (
            "alice@corp.example",
            "<alice@corp.example>",
            "<user-5------------>",
        ),
        (
            "alice@corp.example",
            "?account=alice%40corp.example&x=1",
            "?account=user-5--------------&x=1",
        ),
        ("alice@corp.example", "of alice", "of xxxxx"),
        ("corp\\bob", r#""corp\\bob""#, r#""user-6---""#),
        ("r$b/ö", "r%24b%2f%c3%b6", "user-7--------"),
    ] {
        known.user(name);
        assert_eq!(known.clean_text(said), expected, "{name}");
    }
}

#[test]
fn what_is_told_again() {
    let mut known = knowing(&[SECRET]);
    known.user("al");
    known.user("elisabeth");
    let told = format!("`al` and `elisabeth`, elisabeth: {SECRET}");
    let expected = "`user-1` and `user-2`, user-2---: secret-1----------------------";
    assert_eq!(known.retold(&told)[..expected.len()], *expected);
}

/// What is left of a secret where a text was cut off.
#[test]
fn a_secret_that_was_cut_is_found() {
    let mut known = knowing(&[SECRET, "token-of-alice", "token-of-alice-and-more", "pa55"]);
    known.user("elisabeth");
    let table = [
        ("not with token-of-al", "not with xxxxxxxxxxx"),
        ("not with token-of-alice", "not with xxxxxxxxxxxxxx"),
        ("token-of-alice-and-mor", "xxxxxxxxxxxxxxxxxxxxxx"),
        ("token-of-alice-and-more", "secret-3---------------"),
        ("token-of-alice.", "secret-2------."),
        ("not with toke", "not with xxxx"),
        ("not with tok", "not with tok"),
        ("toke and more", "toke and more"),
        (r"not with correct\/hor", r"not with xxxxxxxxxxxx"),
        ("?q=correct%2Fhorse%2", "?q=xxxxxxxxxxxxxxxxx"),
        ("not with elisab", "not with xxxxxx"),
        ("not withelisab", "not withelisab"),
        ("is not pa55", "is not xxxx"),
        ("", ""),
    ];
    for (said, expected) in table {
        let found = known.clean_cut(said.as_bytes());
        assert_eq!(core::str::from_utf8(&found), Ok(expected), "{said}");
    }
    // In base64, and in escapes that cannot be taken out one by one, cut at any place.
    let coded = STANDARD_NO_PAD.encode(SECRET);
    let unicode: String = SECRET
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let percent: String = SECRET.bytes().map(|b| format!("%{b:02x}")).collect();
    let nested = percent.replace('%', "%25");
    for (text, each) in [
        (SECRET.into(), 1),
        (coded, 1),
        (unicode, 6),
        (percent, 3),
        (nested, 5),
    ] {
        for end in AS_WORD * each..text.len() {
            let cut = &text[..end];
            let found = known.clean_cut(cut.as_bytes());
            assert_eq!(found.len(), end, "{cut}");
            let begin = &text.as_bytes()[..AS_WORD * each];
            assert!(!found.starts_with(begin), "{cut}");
        }
    }
}

#[test]
fn the_longest_is_taken_first() {
    let known = knowing(&["token-of-alice", "token-of-alice-and-more"]);
    assert_eq!(
        known.clean_text("token-of-alice-and-more"),
        "secret-2---------------"
    );
    assert_eq!(
        known.clean_text("token-of-alice-and-mor"),
        "secret-1-------and-mor"
    );
}
