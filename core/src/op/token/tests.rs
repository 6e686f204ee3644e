//! Each item of `protocol.md` 4.2 to 4.4 that is about one request; `auth` has those about several.

use super::*;
use crate::call::Flaw;
use crate::op::testing::answer;

fn token(credential: TokenCredential) -> Token {
    Token {
        realm: Url::parse("https://reg.example/token?x=1").expect("a URL"),
        service: Some("the service".into()),
        scopes: Scopes::from_challenge("repository:a/b:pull,push repository:c:pull"),
        credential,
        limit: 1000,
    }
}

fn shown(verdict: Verdict) -> String {
    match verdict {
        Verdict::Done(OpOutcome::Granted(grant)) => {
            format!("{} for {} s", grant.token.expose(), grant.life)
        }
        Verdict::Failed(error) => format!("{:?}", error.kind()),
        other @ (Verdict::Next(_) | Verdict::Done(_)) => format!("{other:?}"),
    }
}

/// V-B, token responses.
#[test]
fn answers() {
    let date = ("date", "Thu, 01 Jan 2026 00:00:30 GMT");
    let table: &[(u16, &str, &str)] = &[
        (200, r#"{"token":"T"}"#, "T for 60 s"),
        (
            200,
            r#"{"access_token":"T","expires_in":300}"#,
            "T for 300 s",
        ),
        (200, r#"{"token":"A","access_token":"B"}"#, "B for 60 s"),
        (200, r#"{"token":"A","access_token":""}"#, "A for 60 s"),
        (200, r#"{"token":"T","expires_in":10}"#, "T for 60 s"),
        (200, r#"{"token":"T","expires_in":0}"#, "T for 60 s"),
        (200, r#"{"token":"T","expires_in":-5}"#, "T for 60 s"),
        (200, r#"{"token":"T","expires_in":"300"}"#, "T for 300 s"),
        (200, r#"{"token":"T","expires_in":null}"#, "T for 60 s"),
        (
            200,
            r#"{"token":"T","issued_at":"2026-01-01T00:00:00.5Z","expires_in":120}"#,
            "T for 90 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":"2026-01-01T01:00:00Z","expires_in":120}"#,
            "T for 120 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":"2020-01-01T00:00:00Z","expires_in":120}"#,
            "T for 60 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":"yesterday","expires_in":120}"#,
            "T for 120 s",
        ),
        (200, r#"{"token":"T","expires_in":300.9}"#, "T for 300 s"),
        (200, r#"{"token":"T","expires_in":3e2}"#, "T for 300 s"),
        (
            200,
            r#"{"token":"T","expires_in":" 300.5 "}"#,
            "T for 300 s",
        ),
        (200, r#"{"token":"T","expires_in":"-300"}"#, "T for 60 s"),
        (200, r#"{"token":"T","expires_in":"inf"}"#, "T for 60 s"),
        (200, r#"{"token":"T","expires_in":"1h"}"#, "T for 60 s"),
        (200, r#"{"token":"T","expires_in":{"a":[]}}"#, "T for 60 s"),
        (
            200,
            r#"{"token":"T","expires_in":18446744073709551615,"issued_at":1}"#,
            "T for 18446744073709551615 s",
        ),
        (
            200,
            r#"{"token":"T","expires_in":1e300}"#,
            "T for 18446744073709551615 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":1457510670,"expires_in":120}"#,
            "T for 120 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":"1457510670","expires_in":120}"#,
            "T for 120 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":null,"expires_in":120}"#,
            "T for 120 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":{"seconds":1.5},"expires_in":120}"#,
            "T for 120 s",
        ),
        (
            200,
            r#"{"token":"T","issued_at":"\ud83d","scope":["\ude00"],"\ud83d":1}"#,
            "T for 60 s",
        ),
        (200, r#"{"token":null,"access_token":"T"}"#, "T for 60 s"),
        (200, r#"{"token":7,"access_token":"T"}"#, "T for 60 s"),
        (200, r#"{"token":7}"#, "Refused"),
        (200, r#"{"token":"\ud83d"}"#, "Refused"),
        (200, r#"{"token":"T","token":"U"}"#, "Refused"),
        (200, r#"{"errors":[{"code":"DENIED"}]}"#, "Refused"),
        (200, r#"{"token":"","access_token":""}"#, "Refused"),
        (200, "{}", "Refused"),
        (200, "<html>", "Refused"),
        (200, "", "Refused"),
        (200, r#"["T"]"#, "Refused"),
        (200, "{\"token\":\"T\\nX: y\"}", "Refused"),
        (200, r#"{"token":"T\r\n"}"#, "Refused"),
        (200, r#"{"token":"T\tU"}"#, "Refused"),
        (200, r#"{"token":"T\u0000"}"#, "Refused"),
        (200, r#"{"token":"T\u007f"}"#, "Refused"),
        (200, r#"{"token":"T\u0085"}"#, "Refused"),
        (200, r#"{"token":"Té"}"#, "Refused"),
        (200, r#"{"access_token":"\u212a","token":"T"}"#, "Refused"),
        (200, r#"{"token":"T U~!"}"#, "T U~! for 60 s"),
        (
            200,
            r#"{"access_token":"T","refresh_token":"R","scope":"repository:a:pull"}"#,
            "T for 60 s",
        ),
        (401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#, "Auth"),
        (403, "", "Auth"),
        (404, "", "Refused"),
        (410, "", "Refused"),
        (400, r#"{"error":"invalid_grant"}"#, "Refused"),
    ];
    for (status, body, expected) in table {
        let answer = answer(*status, &[date], body.as_bytes());
        let found = shown(token(TokenCredential::Anonymous).answer(&answer));
        assert_eq!(found, *expected, "V-B {status} {body}");
    }
}

/// AUTH-32: without POST, the identity token is sent by GET, once, to the same realm.
#[test]
fn services_without_post() {
    let body = |error: &str| format!(r#"{{"error":"{error}"}}"#);
    for (status, error, falls_back) in [
        (404, "", true),
        (405, "", true),
        (501, "", true),
        (400, "unsupported_grant_type", true),
        (401, "unsupported_grant_type", true),
        (400, "invalid_request", true),
        (400, "", true),
        (401, "", true),
        (401, "unauthorized", true),
        (400, "invalid_grant", false),
        (401, "invalid_grant", false),
        (403, "", false),
        (429, "", false),
        (500, "", false),
        (403, "unsupported_grant_type", false),
        (410, "", false),
    ] {
        let secret = || Secret::new("identity");
        let post = token(TokenCredential::Refresh(secret()));
        let realm = post.realm.clone();
        let errors = answer(status, &[], body(error).as_bytes());
        let verdict = post.answer(&errors);
        let Verdict::Next(Operation::Token(get)) = verdict else {
            assert!(!falls_back, "{status} {error}");
            assert!(matches!(verdict, Verdict::Failed(_)), "{status} {error}");
            continue;
        };
        assert!(falls_back, "{status} {error}");
        let draft = get.draft();
        assert_eq!(draft.method, Method::GET);
        assert_eq!(draft.url.origin(), realm.origin());
        assert_eq!(
            draft.headers[header::AUTHORIZATION],
            basic("<token>", "identity")
        );
        assert!(draft.headers[header::AUTHORIZATION].is_sensitive());
        assert!(matches!(draft.payload, Payload::Empty));
        // Neither again nor for other credentials.
        for other in [
            get.credential,
            TokenCredential::Anonymous,
            TokenCredential::Basic {
                username: "alice".into(),
                password: secret(),
            },
        ] {
            let verdict = token(other).answer(&errors);
            assert!(matches!(verdict, Verdict::Failed(_)), "{status} {error}");
        }
    }
}

/// AUTH-20 to AUTH-24: what the realm has stays, a service that is empty is left out, each scope is a
/// parameter of its own. Neither an account nor an offline token is asked for.
#[test]
fn queries() {
    let one = "repository:a/b:pull";
    let two = "repository:a/b:pull,push repository:c:pull";
    let table = [
        ("https://r.example/t", None, "", ""),
        ("https://r.example/t", Some(""), "", ""),
        ("https://r.example/t", Some("s"), "", "?service=s"),
        (
            "https://r.example/t",
            None,
            one,
            "?scope=repository:a/b:pull",
        ),
        (
            "https://r.example/t",
            Some("s p"),
            two,
            "?service=s%20p&scope=repository:a/b:pull,push&scope=repository:c:pull",
        ),
        (
            "https://r.example/t?x=1&service=other",
            Some("s"),
            one,
            "&service=s&scope=repository:a/b:pull",
        ),
    ];
    let credentials = [
        TokenCredential::Anonymous,
        TokenCredential::Basic {
            username: "alice".into(),
            password: Secret::new("pa55"),
        },
        TokenCredential::RefreshByGet(Secret::new("identity")),
    ];
    for (realm, service, scopes, query) in table {
        for credential in credentials.clone() {
            let request = Token {
                realm: Url::parse(realm).expect("a URL"),
                service: service.map(Into::into),
                scopes: Scopes::from_challenge(scopes),
                credential,
                limit: 1000,
            };
            let draft = request.draft();
            assert_eq!(draft.method, Method::GET);
            assert_eq!(draft.url.as_str(), format!("{realm}{query}"));
            assert!(matches!(draft.payload, Payload::Empty));
        }
    }
}

/// AUTH-30, AUTH-31: the body byte for byte. A password is never sent by POST (AUTH-33).
#[test]
fn forms() {
    let start = "grant_type=refresh_token&client_id=windlass&service=";
    let table = [
        (None, "", ""),
        (Some("s&p"), "", "s%26p"),
        (
            Some("s"),
            "repository:a:pull",
            "s&scope=repository%3Aa%3Apull",
        ),
        (
            Some("s"),
            "repository:a:pull,push repository:b:pull",
            "s&scope=repository%3Aa%3Apull%2Cpush%20repository%3Ab%3Apull",
        ),
    ];
    for (service, scopes, expected) in table {
        let request = Token {
            realm: Url::parse("https://r.example/t?x=1").expect("a URL"),
            service: service.map(Into::into),
            scopes: Scopes::from_challenge(scopes),
            credential: TokenCredential::Refresh(Secret::new("i+d/=&")),
            limit: 1000,
        };
        let draft = request.draft();
        assert_eq!(draft.method, Method::POST);
        assert_eq!(draft.url.as_str(), "https://r.example/t?x=1");
        assert_eq!(draft.headers.get(header::AUTHORIZATION), None);
        assert_eq!(
            draft.headers[header::CONTENT_TYPE],
            "application/x-www-form-urlencoded"
        );
        let Payload::Bytes(form) = &draft.payload else {
            panic!("a form")
        };
        let expected = format!("{start}{expected}&refresh_token=i%2Bd%2F%3D%26");
        assert_eq!(core::str::from_utf8(form), Ok(expected.as_str()));
    }
}

/// AUTH-48: more than the limit is no token, whatever it says.
#[test]
fn an_answer_that_is_too_long() {
    for (flaw, expected) in [
        (None, "T for 60 s"),
        (Some(Flaw::TooLarge { limit: 9 }), "Refused"),
    ] {
        let mut answer = answer(200, &[], br#"{"token":"T"}"#);
        answer.flaw = flaw;
        let found = shown(token(TokenCredential::Anonymous).answer(&answer));
        assert_eq!(found, expected);
    }
}

/// AUTH-47: which answers say that the credentials are wrong. RFC 6749 §5.2: a dead identity token is
/// refused with 400.
#[test]
fn refusals() {
    let refresh = || TokenCredential::Refresh(Secret::new("identity"));
    let by_get = || TokenCredential::RefreshByGet(Secret::new("identity"));
    let anonymous = || TokenCredential::Anonymous;
    let table = [
        (anonymous(), 401, "", "Auth"),
        (anonymous(), 403, "", "Auth"),
        (anonymous(), 400, "invalid_grant", "Refused"),
        (refresh(), 401, "invalid_grant", "Auth"),
        (refresh(), 400, "invalid_grant", "Auth"),
        (refresh(), 403, "", "Auth"),
        (by_get(), 400, "invalid_grant", "Auth"),
        (by_get(), 400, "", "Refused"),
        (by_get(), 401, "", "Auth"),
    ];
    for (credential, status, error, expected) in table {
        let body = format!(r#"{{"error":"{error}"}}"#);
        let verdict = token(credential).answer(&answer(status, &[], body.as_bytes()));
        assert_eq!(shown(verdict), expected, "{status} {error}");
    }
}

#[test]
fn requests() {
    let get = token(TokenCredential::Anonymous).draft();
    assert_eq!(
        get.url.as_str(),
        "https://reg.example/token?x=1&service=the%20service\
         &scope=repository:a/b:pull,push&scope=repository:c:pull",
        "AUTH-63"
    );
    assert_eq!(get.headers.get(header::AUTHORIZATION), None);
    let basic = token(TokenCredential::Basic {
        username: "alice".into(),
        password: Secret::new("pa55"),
    });
    let basic = basic.draft();
    assert_eq!(
        basic.headers[header::AUTHORIZATION],
        "Basic YWxpY2U6cGE1NQ=="
    );
    assert!(basic.headers[header::AUTHORIZATION].is_sensitive());
    let post = token(TokenCredential::Refresh(Secret::new("a+b/c"))).draft();
    let Payload::Bytes(form) = &post.payload else {
        panic!("a form")
    };
    assert_eq!(
        core::str::from_utf8(form),
        Ok(
            "grant_type=refresh_token&client_id=windlass&service=the%20service\
            &scope=repository%3Aa%2Fb%3Apull%2Cpush%20repository%3Ac%3Apull\
            &refresh_token=a%2Bb%2Fc"
        ),
        "AUTH-30"
    );
}
