//! `WWW-Authenticate`, by the policy P1 to P8 of `protocol.md` 4.1.

use alloc::string::String;
use alloc::vec::Vec;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::{Cursor, is_space, lossy};

/// The longest line that is parsed. Real ones have some hundred bytes; SEC-05 asks for a limit.
const LINE_LIMIT: usize = 16 * 1024;

/// The most challenges kept, and the most parameters of one. Real responses have two and five.
const COUNT_LIMIT: usize = 32;

/// The parameters that the client uses.
const USED: [&str; 4] = ["realm", "service", "scope", "error"];

/// An authentication challenge.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub scheme: String,
    /// The token that replaces the parameters, as in `Negotiate TlRM…`.
    pub token68: Option<String>,
    /// The parameters in order: names in lower case, values as written.
    pub params: Vec<(String, String)>,
}

impl Challenge {
    /// The value of the parameter `name` (lower case).
    pub fn param(&self, name: &str) -> Option<&str> {
        let (_, value) = self.params.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// Compares the scheme, ignoring case.
    pub fn is_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Whether the token is valid but has too few scopes (RFC 6750).
    pub(crate) fn wants_more_scope(&self) -> bool {
        self.is_scheme("bearer") && self.param("error") == Some("insufficient_scope")
    }
}

/// The challenges of all `WWW-Authenticate` lines, in order (P1).
///
/// A syntax error ends its line; the challenges before it stay (P7). The challenge with the error
/// stays, too, if it can be answered without the damaged part: `Basic` always can, others if the
/// damaged parameter is not used. Parameters may be separated by `;`. A challenge with two
/// different values of a parameter is dropped, but several `scope` are joined (P6). A `bearer`
/// without `realm` is kept for its `error` (P8).
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        if value.len() <= LINE_LIMIT {
            parse_line(value.as_bytes(), &mut found);
        }
    }
    found
}

/// A challenge being parsed; not `usable` once it contradicts itself.
struct Open {
    challenge: Challenge,
    usable: bool,
}

fn parse_line(line: &[u8], found: &mut Vec<Challenge>) {
    let mut cursor = Cursor::new(line);
    let mut open: Option<Open> = None;
    loop {
        cursor.take_while(|byte| is_space(byte) || is_separator(byte));
        if found.len() >= COUNT_LIMIT {
            return;
        }
        if cursor.is_at_end() {
            close(open, found);
            return;
        }
        let word = cursor.token();
        if word.is_empty() {
            return close(open.filter(Open::is_basic), found); // P7: junk
        }
        let mut ahead = cursor;
        ahead.skip_space();
        if !ahead.take(b'=') {
            close(open.take(), found);
            open = Some(scheme(word, &mut cursor));
            continue;
        }
        cursor = ahead;
        let name = lossy(word).to_ascii_lowercase();
        let Some(value) = parse_value(&mut cursor) else {
            // P7: unterminated
            let is_used = USED.contains(&name.as_str());
            return close(open.filter(|open| open.is_basic() || !is_used), found);
        };
        let Some(open) = &mut open else {
            return; // P7: a parameter before any scheme
        };
        open.add(name, value);
    }
}

fn close(open: Option<Open>, found: &mut Vec<Challenge>) {
    if let Some(open) = open.filter(|open| open.usable) {
        found.push(open.challenge);
    }
}

/// Begins a challenge, with its token68 if it has one (P3).
fn scheme(word: &[u8], cursor: &mut Cursor<'_>) -> Open {
    let mut ahead = *cursor;
    ahead.skip_space();
    let start = ahead.at;
    ahead.take_while(is_token68);
    let is_there = ahead.at > start;
    ahead.take_while(|byte| byte == b'=');
    let text = &ahead.line[start..ahead.at];
    ahead.skip_space();
    let ends = matches!(ahead.peek(), None | Some(b','));
    let token68 = (is_there && ends).then(|| lossy(text));
    if token68.is_some() {
        *cursor = ahead;
    }
    Open {
        challenge: Challenge {
            scheme: lossy(word).to_ascii_lowercase(),
            token68,
            params: Vec::new(),
        },
        usable: true,
    }
}

/// A quoted string, or the bytes up to white space or a separator (P5).
fn parse_value(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.skip_space();
    if cursor.peek() == Some(b'"') {
        return cursor.quoted();
    }
    let text = cursor.take_while(|byte| !is_space(byte) && !is_separator(byte));
    Some(lossy(text))
}

impl Open {
    /// Whether the parameters do not matter for answering it.
    fn is_basic(&self) -> bool {
        self.challenge.scheme == "basic"
    }

    fn add(&mut self, name: String, value: String) {
        let params = &mut self.challenge.params;
        let Some((_, before)) = params.iter_mut().find(|(key, _)| *key == name) else {
            self.usable &= params.len() < COUNT_LIMIT;
            if self.usable {
                params.push((name, value));
            }
            return;
        };
        if name == "scope" {
            before.push(' ');
            before.push_str(&value);
        } else if *before != value {
            self.usable = false;
        }
    }
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b';')
}

const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString as _;

    use http::HeaderValue;

    use super::*;
    use crate::testing::mutations;

    fn read(lines: &str) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines.split('\n') {
            if let Ok(value) = HeaderValue::from_str(line) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
        challenges(&headers)
    }

    /// `bearer{realm=x,service=y};negotiate:TOKEN68{}`
    fn print(challenges: &[Challenge]) -> String {
        let print = |c: &Challenge| {
            let token = c.token68.as_ref().map(|t| format!(":{t}"));
            let params: Vec<_> = c.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!(
                "{}{}{{{}}}",
                c.scheme,
                token.unwrap_or_default(),
                params.join("|")
            )
        };
        challenges.iter().map(print).collect::<Vec<_>>().join(";")
    }

    const TABLE: &[(&str, &str, &str)] = &[
        (
            "V-B 1",
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push""#,
            "bearer{realm=https://auth.docker.io/token|service=registry.docker.io|scope=repository:samalba/my-app:pull,push}",
        ),
        (
            "V-B 2",
            r#"Basic realm="GitHub Package Registry""#,
            "basic{realm=GitHub Package Registry}",
        ),
        (
            "V-B 3",
            r#"BASIC realm="Sonatype Nexus Repository Manager""#,
            "basic{realm=Sonatype Nexus Repository Manager}",
        ),
        (
            "V-B 5",
            r#"bearer REALM="https://a/t" , Service=reg , SCOPE="repository:x:pull""#,
            "bearer{realm=https://a/t|service=reg|scope=repository:x:pull}",
        ),
        (
            "V-B 6",
            r#"Bearer realm = "https://a/t"   ,service=reg.example.io, scope  ="repository:x:pull"  "#,
            "bearer{realm=https://a/t|service=reg.example.io|scope=repository:x:pull}",
        ),
        (
            "V-B 7",
            r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull repository:b:pull,push""#,
            "bearer{realm=https://a/t|service=s|scope=repository:a:pull repository:b:pull,push}",
        ),
        (
            "P6 scopes are joined",
            r#"Bearer realm="r",scope="a:b:c",scope="d:e:f""#,
            "bearer{realm=r|scope=a:b:c d:e:f}",
        ),
        (
            "P6 contradiction",
            r#"Bearer realm="r",realm="q", Basic realm="b""#,
            "basic{realm=b}",
        ),
        (
            "P6 the same twice",
            r#"Bearer realm="r",realm=r"#,
            "bearer{realm=r}",
        ),
        (
            "V-B 9",
            "Negotiate\nBasic realm=\"x\"",
            "negotiate{};basic{realm=x}",
        ),
        (
            "V-B 10",
            r#"Negotiate, Basic realm="x""#,
            "negotiate{};basic{realm=x}",
        ),
        (
            "V-B 11",
            r#"Negotiate TlRMTVNTUAABAAAA==, Bearer realm="https://a/t",service="s""#,
            "negotiate:TlRMTVNTUAABAAAA=={};bearer{realm=https://a/t|service=s}",
        ),
        (
            "V-B 13",
            r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull", Basic realm="fallback""#,
            "bearer{realm=https://a/t|service=s|scope=repository:a:pull};basic{realm=fallback}",
        ),
        (
            "V-B 14",
            r#"Digest realm="r", qop="auth, auth-int", nonce="abc==", Bearer realm="https://a/t""#,
            "digest{realm=r|qop=auth, auth-int|nonce=abc==};bearer{realm=https://a/t}",
        ),
        (
            "V-B 15",
            r#"Bearer realm="https://a/t",service="s",error="invalid_token",error_description="token expired, log in""#,
            "bearer{realm=https://a/t|service=s|error=invalid_token|error_description=token expired, log in}",
        ),
        (
            "V-B 17",
            r#", ,Bearer realm="https://a/t",, service="s","#,
            "bearer{realm=https://a/t|service=s}",
        ),
        (
            "V-B 18",
            "Bearer realm=https://a.example/token,service=reg",
            "bearer{realm=https://a.example/token|service=reg}",
        ),
        (
            "V-B 19",
            r#"Bearer realm="/token",service="s""#,
            "bearer{realm=/token|service=s}",
        ),
        (
            "V-B 21",
            r#"Bearer service="s",scope="repository:a:pull""#,
            "bearer{service=s|scope=repository:a:pull}",
        ),
        ("V-B 22", r#"Bearer realm="https://a/t",service="reg"#, ""),
        (
            "V-B 23",
            r#"Bearer realm="https://a/t",service="#,
            "bearer{realm=https://a/t|service=}",
        ),
        (
            "V-B 25",
            r#"Basic realm="Dev", charset="UTF-8""#,
            "basic{realm=Dev|charset=UTF-8}",
        ),
        (
            "V-B 26",
            r#"Basic realm="Dev" charset="UTF-8""#,
            "basic{realm=Dev|charset=UTF-8}",
        ),
        (
            "V-B 27",
            r#"Bearer realm="https://a/t",service="My \\ \"Reg\"",scope="""#,
            r#"bearer{realm=https://a/t|service=My \ "Reg"|scope=}"#,
        ),
        (
            "V-B 29",
            r#"Bearer realm="https://a/t",scope="repository:host:5000/a:pull""#,
            "bearer{realm=https://a/t|scope=repository:host:5000/a:pull}",
        ),
        (
            "V-B 30",
            r#"Basic realm="ok", Bearer realm="https://a/t"#,
            "basic{realm=ok}",
        ),
        (
            "V-B 31",
            r#"Bearer realm="https://a/t" service="s" Basic realm="b""#,
            "bearer{realm=https://a/t|service=s};basic{realm=b}",
        ),
        (
            "V-B 33",
            "Bearer\trealm=\"https://a/t\"",
            "bearer{realm=https://a/t}",
        ),
        (
            "a Basic realm without end",
            r#"Basic realm="Registry"#,
            "basic{}",
        ),
        (
            "a Basic realm without end, and another challenge in it",
            r#"Basic realm="Registry, Bearer realm="https://a/t""#,
            "basic{realm=Registry, Bearer realm=}",
        ),
        (
            "a Basic realm with quotes in it",
            r#"Basic realm="the "best" registry""#,
            "basic{realm=the }",
        ),
        (
            "junk after Basic",
            r#"Basic realm="x" {}, Bearer realm="https://a/t""#,
            "basic{realm=x}",
        ),
        ("a colon after the scheme", r#"Basic: realm="x""#, "basic{}"),
        (
            "a service without end",
            r#"Bearer realm="https://a/t",service="s"#,
            "",
        ),
        ("junk after Bearer", r#"Bearer realm="https://a/t" {}"#, ""),
        (
            "a description with quotes in it",
            r#"Bearer realm="https://a/t",service="s",error="invalid_token",error_description="it "is" over, "log in"#,
            "bearer{realm=https://a/t|service=s|error=invalid_token|error_description=it }",
        ),
        (
            "a description that is cut",
            r#"Bearer realm="https://a/t",service="s",error="invalid_token",error_description="it is ov"#,
            "bearer{realm=https://a/t|service=s|error=invalid_token}",
        ),
        (
            "semicolons",
            r#"Bearer realm="https://a/t";service="a;b"; scope="repository:x:pull";"#,
            "bearer{realm=https://a/t|service=a;b|scope=repository:x:pull}",
        ),
        (
            "semicolons without quotes",
            "Bearer realm=https://a/t;service=s ; scope=repository:x:pull",
            "bearer{realm=https://a/t|service=s|scope=repository:x:pull}",
        ),
        (
            "a semicolon after the scheme",
            r#"Basic;realm="x";charset=UTF-8"#,
            "basic{realm=x|charset=UTF-8}",
        ),
        (
            "a contradiction in Basic",
            r#"Basic realm="a",realm="b""#,
            "",
        ),
        ("V-B 34", r#""Basic" realm="x""#, ""),
        ("V-B 35", "", ""),
        (
            "a parameter without scheme",
            r#"realm="x", Basic realm="y""#,
            "",
        ),
    ];

    #[test]
    fn challenges_are_read_by_the_policy() {
        for (row, lines, expected) in TABLE {
            assert_eq!(print(&read(lines)), *expected, "{row}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        let found = read(r#"BEARER Realm="https://a/t""#);
        assert!(found[0].is_scheme("Bearer"));
        assert_eq!(found[0].param("realm"), Some("https://a/t"));
        assert_eq!(found[0].param("service"), None);
    }

    #[test]
    fn counts_and_lengths_are_bounded() {
        assert_eq!(read(&"a,".repeat(100)).len(), COUNT_LIMIT);
        assert_eq!(read(&"a,".repeat(LINE_LIMIT)).len(), 0);
        let many: Vec<_> = (0..100).map(|n| format!("p{n}=1")).collect();
        assert_eq!(read(&("x ".to_string() + &many.join(","))).len(), 0);
    }

    #[test]
    fn nothing_panics() {
        for (_, lines, _) in TABLE {
            mutations(lines, |lines| {
                read(lines);
            });
        }
    }
}
