use super::*;
use crate::among;

fn read(variables: &[(&str, &str)]) -> Proxies {
    Proxies::from_variables(among(variables))
}

fn url(proxies: &Proxies, scheme: Scheme, host: &str, port: u16) -> Option<String> {
    match proxies.select(scheme, host, port).expect("a good URL") {
        Selected::Through(proxy, _) => Some(proxy.url.clone()),
        Selected::NoProxy | Selected::Excepted(..) => None,
    }
}

#[test]
fn which_variable_counts() {
    // (variables, for http, for https)
    type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, Option<&'a str>);
    let a = Some("http://a:80");
    let b = Some("http://b:80");
    let table: &[Row<'_>] = &[
        (&[], None, None),
        (&[("HTTP_PROXY", "a")], a, None),
        (&[("http_proxy", "a")], a, None),
        (&[("HTTP_PROXY", "a"), ("http_proxy", "b")], a, None),
        (&[("HTTP_PROXY", ""), ("http_proxy", "b")], b, None),
        (&[("HTTPS_PROXY", "a")], None, a),
        (&[("https_proxy", "a")], None, a),
        (&[("ALL_PROXY", "a")], a, a),
        (&[("all_proxy", "a"), ("HTTPS_PROXY", "b")], a, b),
        (
            &[("HTTP_PROXY", "a"), ("REQUEST_METHOD", "GET")],
            None,
            None,
        ),
        (&[("http_proxy", "b"), ("REQUEST_METHOD", "GET")], b, None),
    ];
    for (variables, http, https) in table {
        let proxies = read(variables);
        let got = |scheme, port| url(&proxies, scheme, "r.example", port);
        assert_eq!(got(Scheme::Http, 80).as_deref(), *http, "{variables:?}");
        assert_eq!(got(Scheme::Https, 443).as_deref(), *https, "{variables:?}");
    }
}

#[test]
fn urls() {
    let table = [
        ("proxy", Some("http://proxy:80")),
        ("proxy:3128", Some("http://proxy:3128")),
        ("http://proxy:3128/", Some("http://proxy:3128")),
        ("HTTP://proxy", Some("http://proxy:80")),
        ("http://u:p%40q@proxy:1", Some("http://u:p%40q@proxy:1")),
        ("http://[fd00::1]:3128", Some("http://[fd00::1]:3128")),
        ("http://[fd00::1]", Some("http://[fd00::1]:80")),
        ("https://proxy", None),
        ("socks5://proxy", None),
        ("http://", None),
        ("http://proxy:port", None),
        ("http://proxy:0", None),
        ("http://proxy/path", None),
        ("http://u:p@q@proxy", None),
        ("http://pro xy", None),
        ("http://fd00::1:80", None),
    ];
    for (text, expected) in table {
        let parsed = parse(text).map(|proxy| proxy.url).ok();
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }
}

#[test]
fn errors_name_the_variable_and_no_password() {
    let proxies = read(&[("HTTPS_PROXY", "socks5://u:s3cret@proxy")]);
    let origin: Origin = "https://r.example".parse().expect("an origin");
    let error = proxies.check(&origin).expect_err("not spoken");
    let text = format!("{error} {error:?}");
    assert!(text.contains("HTTPS_PROXY"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn no_proxy() {
    // (NO_PROXY, host, port, direct)
    let table = [
        ("", "r.example", 443, false),
        ("*", "r.example", 443, true),
        ("r.example", "r.example", 443, true),
        ("r.example", "a.r.example", 443, true),
        ("r.example", "ar.example", 443, false),
        ("R.Example.", "r.example", 443, true),
        (".example", "r.example", 443, true),
        (".r.example", "r.example", 443, false),
        ("*.r.example", "a.r.example", 443, true),
        ("*.r.example", "r.example", 443, false),
        ("r.example:5000", "r.example", 5000, true),
        ("r.example:5000", "r.example", 443, false),
        ("a, r.example ,b", "r.example", 443, true),
        ("a r.example", "r.example", 443, true),
        ("10.1.2.3", "10.1.2.3", 443, true),
        ("10.1.2.3:80", "10.1.2.3", 443, false),
        ("10.1.2.3:443", "10.1.2.3", 443, true),
        ("10.0.0.0/8", "10.200.0.1", 443, true),
        ("10.0.0.0/8", "11.0.0.1", 443, false),
        ("10.0.0.0/8", "r.example", 443, false),
        ("0.0.0.0/0", "11.0.0.1", 443, true),
        ("0.0.0.0/0", "[fd00::1]", 443, false),
        ("10.0.0.1/32", "10.0.0.1", 443, true),
        ("fd00::/8", "[fd00::1]", 443, true),
        ("fd00::/8", "[fe80::1]", 443, false),
        ("::/0", "[fe80::1]", 443, true),
        ("[fd00::1]:5000", "[fd00::1]", 5000, true),
        ("fd00::1", "[fd00::1]", 5000, true),
        ("10.0.0.0/99", "10.0.0.0", 443, false),
        ("10.0.0.0/33", "10.0.0.0", 443, false),
        ("10.0.0.0/-1", "10.0.0.0", 443, false),
        ("10.0.0.0/", "10.0.0.0", 443, false),
        ("10.0.0.1/32", "10.0.0.2", 443, false),
        ("10.0.0.0/31", "10.0.0.1", 443, true),
        // The other kind of address is in no network, whatever its width.
        ("::/0", "10.0.0.1", 443, false),
        ("fd00::/32", "10.0.0.1", 443, false),
        ("fd00::/33", "10.0.0.1", 443, false),
        ("fd00::/64", "10.0.0.1", 443, false),
        ("fd00::1/128", "10.0.0.1", 443, false),
        ("fd00::/129", "[fd00::]", 443, false),
        ("fd00::/33", "[fd00:0:7fff::]", 443, true),
        ("fd00::/33", "[fd00:0:8000::]", 443, false),
        ("fd00::/64", "[fd00::1]", 443, true),
        ("fd00::/64", "[fd00:0:0:1::1]", 443, false),
        ("fd00::1/128", "[fd00::1]", 443, true),
        ("fd00::1/128", "[fd00::2]", 443, false),
        ("[fd00::]/64", "[fd00::1]", 443, true),
        ("fd00::/64, 10.0.0.0/8", "10.0.0.1", 443, true),
        (",,", "r.example", 443, false),
        (".", "r.example", 443, false),
    ];
    for (list, host, port, direct) in table {
        let proxies = read(&[("ALL_PROXY", "proxy"), ("NO_PROXY", list)]);
        let chosen = url(&proxies, Scheme::Https, host, port);
        assert_eq!(chosen.is_none(), direct, "{list}: {host}:{port}");
    }
}

#[test]
fn what_cannot_be_used_matters_where_it_is_needed() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>);
    let bad = ("ALL_PROXY", "socks5h://proxy:1080");
    // (variables, origin, the variable that is to blame)
    let table: &[Row<'_>] = &[
        (&[bad], "https://r.example", Some("ALL_PROXY")),
        (&[bad], "http://r.example", Some("ALL_PROXY")),
        (&[bad], "http://127.0.0.1:5000", None),
        (&[bad], "https://localhost", None),
        (&[bad, ("NO_PROXY", "r.example")], "https://r.example", None),
        (&[bad, ("HTTPS_PROXY", "proxy")], "https://r.example", None),
        (
            &[bad, ("HTTPS_PROXY", "proxy")],
            "http://r.example",
            Some("ALL_PROXY"),
        ),
        (&[("HTTP_PROXY", "x://y")], "https://r.example", None),
        (
            &[("HTTP_PROXY", "x://y")],
            "http://r.example",
            Some("HTTP_PROXY"),
        ),
    ];
    for (variables, origin, blamed) in table {
        let proxies = read(variables);
        let origin: Origin = origin.parse().expect("an origin");
        let error = proxies.check(&origin).err();
        assert_eq!(
            error.map(|error| error.by),
            blamed.map(|name| format!("the variable {name}")),
            "{variables:?} {origin}"
        );
        let is_direct = proxies.proxy(&origin).is_none();
        assert!(
            blamed.is_none() || !is_direct,
            "never past it: {variables:?} {origin}"
        );
    }
}

/// An invalid value does not mean that there is no proxy.
#[test]
#[cfg(unix)]
fn what_is_no_text_is_not_passed_over() {
    let (proxied, http) = ("https://r.example", "http://r.example");
    let here = "http://127.0.0.1:5000";
    // (the variable, others, origin, whether it is an error)
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, bool);
    let proxy = ("ALL_PROXY", "proxy");
    let table: &[Row<'_>] = &[
        ("HTTPS_PROXY", &[], proxied, true),
        ("https_proxy", &[], proxied, true),
        ("HTTPS_PROXY", &[("https_proxy", "proxy")], proxied, true),
        ("https_proxy", &[("HTTPS_PROXY", "proxy")], proxied, false),
        ("HTTPS_PROXY", &[], http, false),
        ("HTTP_PROXY", &[], http, true),
        ("http_proxy", &[], http, true),
        ("HTTP_PROXY", &[], proxied, false),
        ("HTTP_PROXY", &[("REQUEST_METHOD", "GET")], http, false),
        ("ALL_PROXY", &[], proxied, true),
        ("all_proxy", &[], http, true),
        ("all_proxy", &[("HTTPS_PROXY", "proxy")], proxied, false),
        ("ALL_PROXY", &[], here, false),
        ("NO_PROXY", &[proxy], proxied, true),
        ("no_proxy", &[proxy], http, true),
        ("no_proxy", &[proxy, ("NO_PROXY", "x")], proxied, false),
        ("NO_PROXY", &[], proxied, false),
        ("NO_PROXY", &[proxy], here, false),
    ];
    for (bad, others, origin, is_error) in table {
        let proxies = Proxies::from_variables(crate::with_bad(bad, others));
        let origin: Origin = origin.parse().expect("an origin");
        let checked = proxies.check(&origin);
        assert_eq!(checked.is_err(), *is_error, "{bad} {others:?} {origin}");
        if let Err(error) = checked {
            assert_eq!(error.by, format!("the variable {bad}"));
            assert!(error.to_string().contains("is not valid UTF-8"), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
            let proxy = proxies.proxy(&origin).expect("never past it");
            assert!(proxy.url.is_empty(), "{bad}");
        }
    }
}

#[test]
fn debug_hides_passwords() {
    let proxies = read(&[("ALL_PROXY", "http://u:s3cret@proxy")]);
    assert!(!format!("{proxies:?}").contains("s3cret"));
}

/// What `explain` shows, and that it shows no password.
#[test]
fn the_way_is_explained() {
    let proxies = read(&[
        ("HTTPS_PROXY", "http://u:s3cret@proxy:3128"),
        ("HTTP_PROXY", "socks5://u:s3cret@proxy"),
        ("NO_PROXY", "direct.example:443, 10.0.0.0/8, .lan"),
    ]);
    let table = [
        (
            "https://r.example",
            "proxy proxy:3128, with credentials: the variable HTTPS_PROXY",
        ),
        (
            "http://r.example",
            "none is used: the variable HTTP_PROXY names an unsupported proxy",
        ),
        (
            "https://direct.example",
            "direct: the variable NO_PROXY has direct.example:443",
        ),
        (
            "https://10.1.2.3",
            "direct: the variable NO_PROXY has 10.0.0.0/8",
        ),
        ("https://r.lan", "direct: the variable NO_PROXY has .lan"),
        ("https://localhost:5000", "direct: it is on this machine"),
    ];
    for (origin, expected) in table {
        let origin: Origin = origin.parse().expect("an origin");
        let shown = proxies.explain(&origin).to_string();
        assert!(shown.starts_with(expected), "{origin}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let none = read(&[]).explain(&"https://r.example".parse().expect("an origin"));
    assert_eq!(none.to_string(), "direct: no proxy is set");
}

#[test]
fn the_callers_own() {
    let proxies = Proxies::new(None, Some("p:1"), "direct.example").expect("good");
    let got = |host: &str| url(&proxies, Scheme::Https, host, 443);
    assert_eq!(got("r.example").as_deref(), Some("http://p:1"));
    assert_eq!(got("direct.example"), None);
    assert_eq!(url(&proxies, Scheme::Http, "r.example", 80), None);
    let error = Proxies::new(Some("https://u:s3cret@p"), None, "").expect_err("not spoken");
    assert_eq!(
        error.to_string(),
        "the caller names an unsupported proxy; expected http://[user:password@]host[:port]"
    );
}

/// Variables come before the file, each key for itself.
#[test]
fn what_the_file_says_where_no_variable_is_set() {
    let login = ("u@corp".to_owned(), Secret::new("s3/cret:%"));
    let own = Own {
        http: Some("file-http"),
        https: Some("file-https:3128"),
        no_proxy: Some(&["direct.example".to_owned(), "10.0.0.0/8".to_owned()]),
        login: Some(&login),
        by: Path::new("/c.toml"),
    };
    let with = "u%40corp:s3%2Fcret%3A%25@";
    let file = format!("http://{with}file-https:3128");
    let http = format!("http://{with}file-http:80");
    // (variables, for https, for http, whether direct.example is direct)
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, bool);
    let table: &[Row<'_>] = &[
        (&[], &file, &http, true),
        (&[("HTTPS_PROXY", "env")], "http://env:80", &http, true),
        (
            &[("ALL_PROXY", "env")],
            "http://env:80",
            "http://env:80",
            true,
        ),
        (&[("NO_PROXY", "other.example")], &file, &http, false),
    ];
    for (variables, https, http, is_direct) in table {
        let proxies = Proxies::with_own(&own, among(variables));
        let got = |scheme, host: &str| url(&proxies, scheme, host, 1);
        assert_eq!(
            got(Scheme::Https, "r.example").as_deref(),
            Some(*https),
            "{variables:?}"
        );
        assert_eq!(
            got(Scheme::Http, "r.example").as_deref(),
            Some(*http),
            "{variables:?}"
        );
        assert_eq!(
            got(Scheme::Https, "direct.example").is_none(),
            *is_direct,
            "{variables:?}"
        );
        assert!(!format!("{proxies:?}").contains("s3"), "{proxies:?}");
    }
    // Credentials in the URL stay.
    let own = Own {
        https: Some("http://a:b@p"),
        ..own
    };
    let proxies = Proxies::with_own(&own, among(&[]));
    let got = url(&proxies, Scheme::Https, "r.example", 443);
    assert_eq!(got.as_deref(), Some("http://a:b@p:80"));
    let shown = proxies.explain(&"https://r.example".parse().expect("an origin"));
    assert_eq!(
        shown.to_string(),
        "proxy p:80, with credentials: /c.toml, [proxy] https"
    );
}
