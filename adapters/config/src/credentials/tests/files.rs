//! What files contain.

use std::fs;
use std::path::PathBuf;

use windlass_core::credential::Secret;

use super::*;
use crate::credentials::file::LARGEST;

#[test]
fn auth_fields() {
    // V-G "Docker auth", CRED-04.
    let table = [
        ("dTpw", Ok(("u", "p"))),
        ("dTpwOnE=", Ok(("u", "p:q"))),
        ("dTpwOnE", Ok(("u", "p:q"))),
        ("dTo=", Ok(("u", ""))),
        ("dTpwAAA=", Ok(("u", "p"))),
        ("dTpwOnF=", Ok(("u", "p:q"))),
        ("dTpw\\n", Ok(("u", "p"))),
        (" dTpw\\r\\nOnE= \\n", Ok(("u", "p:q"))),
        ("d T\\tp\\nw", Ok(("u", "p"))),
        ("dTpw\\nOnE", Ok(("u", "p:q"))),
        // OpenShift's user name: a password of Basic authentication, not an identity token.
        ("PHRva2VuPjpw", Ok(("<token>", "p"))),
        ("dTpw\\u00a0", Err("is not valid base64")),
        ("OnA=", Err("has no user name")),
        ("dQ==", Err("has no colon between user name and password")),
        ("/zpw", Err("is not text")),
        ("!!", Err("is not valid base64")),
    ];
    for (auth, expected) in table {
        let file = format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#);
        let expected = match expected {
            Ok((username, password)) => basic(username, password),
            Err(why) => CredentialAnswer::Failed(format!("FILE: the `auth` of r.example {why}")),
        };
        assert_eq!(ask(&file, "r.example"), expected, "{auth}");
    }
}

#[test]
fn entries() {
    // CRED-03, CRED-11; the empty entry is CRED-07's marker.
    let table = [
        (r#"{"username":"u","password":"p"}"#, basic("u", "p")),
        (r#"{"username":"u"}"#, CredentialAnswer::None),
        (r#"{"password":"p"}"#, CredentialAnswer::None),
        (r#"{"auth":"","email":"x"}"#, CredentialAnswer::None),
        (r"{}", CredentialAnswer::None),
        ("null", CredentialAnswer::None),
        (
            r#"{"auth":"dTpw","identitytoken":"I"}"#,
            CredentialAnswer::Refresh(Secret::new("I")),
        ),
        (
            r#"{"auth":"dTpw","identitytoken":"I","registrytoken":"R"}"#,
            CredentialAnswer::Bearer(Secret::new("R")),
        ),
        (
            r#"{"auth":"dTpw","username":"other","password":"other"}"#,
            basic("u", "p"),
        ),
    ];
    for (entry, expected) in table {
        let file = format!(r#"{{"auths":{{"r.example":{entry}}}}}"#);
        assert_eq!(ask(&file, "r.example"), expected, "{entry}");
    }
}

#[test]
fn broken_files_say_where_and_quote_nothing() {
    // CRED-01
    let table: [(&[u8], &str); 8] = [
        (
            b"{\n  \"auths\": {",
            "FILE is not valid JSON at line 2, column 12",
        ),
        (
            b"[\"s3cret\"]",
            "FILE is not in the form of docker's configuration at line 1, column 1",
        ),
        (
            b"not json: s3cret",
            "FILE is not valid JSON at line 1, column 2",
        ),
        (
            b"{\n\"x\": \"s3cret\xff\"}",
            "FILE is not valid UTF-8 at line 2, column 13",
        ),
        (
            b"{\"a\": 1,\n \"auths\":\n  \"s3cret\"}",
            "FILE: `auths` is not in the form of docker's configuration at line 3, column 10",
        ),
        (
            b"{\"auths\": {\n  \"r.example\": {\n    \"auth\": [\"s3cret\"]}}}",
            "FILE: the entry of r.example is not in the form of docker's configuration at line 3, column 12",
        ),
        (
            b"{\"auths\": {\"r.example\": \"s3cret\"}}",
            "FILE: the entry of r.example is not in the form of docker's configuration at line 1, column 32",
        ),
        (
            b"{\"credHelpers\": [\"s3cret\"]}",
            "FILE: `credHelpers` is not in the form of docker's configuration at line 1, column 17",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    for (text, expected) in table {
        fs::write(&path, text).expect("a file");
        let answer = find(&CredentialSearch::file(&path), "r.example");
        let CredentialAnswer::Failed(why) = answer else {
            panic!("{expected}: {answer:?}");
        };
        let why = why.replace(&path.display().to_string(), "FILE");
        assert_eq!(why, expected);
    }
}

#[test]
fn empty_files_and_marks_are_no_errors() {
    let good = r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#;
    for (text, expected) in [
        (String::new(), CredentialAnswer::None),
        (" \n\t".to_owned(), CredentialAnswer::None),
        ("\u{feff}".to_owned(), CredentialAnswer::None),
        (format!("\u{feff}{good}\r\n"), basic("u", "p")),
    ] {
        assert_eq!(ask(&text, "r.example"), expected, "{text:?}");
    }
}

/// Errors elsewhere in the file do not matter; errors in the used entry do.
#[test]
fn only_what_is_used_has_to_be_right() {
    let good = r#""r.example":{"auth":"dTpw"}"#;
    let found = [
        format!(r#"{{"auths":{{"o.example":5,{good}}}}}"#),
        format!(r#"{{"auths":{{"o.example":{{"auth":[1]}},{good}}}}}"#),
        format!(r#"{{"auths":{{"o.example":{{"auth":"!!"}},{good}}}}}"#),
        format!(r#"{{"auths":{{{good}}},"credHelpers":7,"credsStore":{{}}}}"#),
        format!(r#"{{"HttpHeaders":null,"plugins":[{{}}],"auths":{{{good}}},"x":"\ud800"}}"#),
        r#"{"auths":{"r.example":{"auth":"dTpw","email":null,"identitytoken":null,"x":5}}}"#
            .to_owned(),
        // A broken entry is no reason to ignore a good one for the same registry.
        r#"{"auths":{"r.example":{"auth":"!!"},"https://r.example/v1/":{"auth":"dTpw"}}}"#
            .to_owned(),
    ];
    for text in found {
        assert_eq!(ask(&text, "r.example"), basic("u", "p"), "{text}");
    }
    let nothing = [
        r#"{"auths":null,"credHelpers":null,"credsStore":null}"#,
        r#"{"auths":{"r.example":null},"credHelpers":{"r.example":null,"o.example":5}}"#,
    ];
    for text in nothing {
        assert_eq!(ask(text, "r.example"), CredentialAnswer::None, "{text}");
    }
    let wrong = [
        (r#"{"auths":"s3cret"}"#, "`auths`"),
        (
            r#"{"auths":{"r.example":{"auth":5}}}"#,
            "the entry of r.example",
        ),
        (
            r#"{"auths":{"r.example":"s3cret"}}"#,
            "the entry of r.example",
        ),
        (r#"{"auths":{},"credHelpers":["s3cret"]}"#, "`credHelpers`"),
        (
            r#"{"credHelpers":{"r.example":["s3cret"]}}"#,
            "the helper of r.example",
        ),
        (r#"{"credsStore":["s3cret"]}"#, "`credsStore`"),
    ];
    for (text, what) in wrong {
        let answer = ask(text, "r.example");
        let CredentialAnswer::Failed(why) = answer else {
            panic!("{text}: {answer:?}");
        };
        let begin = format!("FILE: {what} is not in the form of docker's configuration at line 1");
        assert!(why.starts_with(&begin) && !why.contains("s3cret"), "{why}");
    }
}

#[test]
fn files_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let entry = r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#;
    fs::write(&path, entry).expect("a file");
    let file = fs::File::options().write(true).open(&path);
    let resized = file.and_then(|file| file.set_len(LARGEST + 1));
    resized.expect("a sparse file");
    let folder = folder.path().to_owned();
    for path in [
        path,
        folder,
        PathBuf::from("/dev/zero"),
        PathBuf::from("/dev/null"),
    ] {
        let label = path.display().to_string();
        let answer = find(&CredentialSearch::file(path), "r.example");
        let CredentialAnswer::Failed(why) = answer else {
            panic!("{label}: {answer:?}");
        };
        assert!(why.starts_with(&format!("cannot read {label}: ")), "{why}");
    }
}

/// A login in another process counts from the next question on (CRED-29).
#[test]
fn files_are_read_for_each_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let search = CredentialSearch::file(&path);
    let asked = || user(&find(&search, "r.example"));
    assert_eq!(asked(), "None");
    for user in ["one", "two"] {
        fs::write(&path, json(user)).expect("a file");
        assert_eq!(asked(), user);
    }
    fs::remove_file(&path).expect("a file");
    assert_eq!(asked(), "None");
}

#[test]
fn nothing_prints_a_secret() {
    let text =
        r#"{"auths":{"r.example":{"auth":"dTpzM2NyZXQ="},"t.example":{"registrytoken":"s3cret"}}}"#;
    let search = CredentialSearch::text("FILE", text);
    let registry: Registry = "r.example".parse().expect("a registry");
    let explanation = search.explain(&registry, None);
    assert_eq!(
        explanation.to_string(),
        "FILE (key r.example): user name `u`, password ***"
    );
    let registry: Registry = "t.example".parse().expect("a registry");
    let token = search.explain(&registry, None);
    assert_eq!(token.to_string(), "FILE (key t.example): token ***");
    let said = format!("{search:?} {explanation:?} {explanation} {token:?} {token}");
    assert!(
        !said.contains("s3cret") && !said.contains("dTpzM2NyZXQ"),
        "{said}"
    );
}
