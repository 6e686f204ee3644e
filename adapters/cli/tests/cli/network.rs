//! Connections: proxies, plain HTTP, TLS, and where credentials are sent.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{failed, layout, printed, registry, windlass, windlass_with_retries};
use windlass_testbed::Auth;

/// A proxy that reaches nothing: it keeps the head of each request and answers with a failure.
struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        Self::answering("502 No")
    }

    fn answering(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port").to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let head = head(&stream);
                kept.lock().expect("no panic").push(head);
                let rest = "content-length: 0\r\nconnection: close\r\n\r\n";
                let answer = format!("HTTP/1.1 {status}\r\n{rest}");
                let _gone = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { address, heads }
    }

    /// The first lines of the requests so far.
    fn asked(&self) -> Vec<String> {
        let heads = self.heads.lock().expect("no panic");
        let first = |head: &String| head.lines().next().unwrap_or_default().to_owned();
        heads.iter().map(first).collect()
    }
}

fn head(mut stream: &TcpStream) -> String {
    let limit = Some(Duration::from_secs(5));
    stream.set_read_timeout(limit).expect("a socket");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// The registry that was not meant keeps TLS, and its credentials with it.
#[test]
fn a_copy_speaks_plain_http_only_to_the_registry_that_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    // Basic authentication of `source.test`, as `docker login` keeps it.
    let config = r#"{"auths":{"source.test":{"auth":"dTpzZWNyZXQ="}}}"#;
    std::fs::write(folder.path().join("config.json"), config).expect("a file");
    let (proxy, registry) = (Proxy::start(), registry(Auth::Open));
    let variables = [
        ("DOCKER_CONFIG", folder.path().to_str().expect("UTF-8")),
        ("HTTP_PROXY", proxy.address.as_str()),
        ("HTTPS_PROXY", proxy.address.as_str()),
    ];
    let here = registry.host();
    let to = format!("{here}/app:v2");
    let copy = |plain: &str| windlass(&["copy", "source.test/app:v1", &to, plain], &variables);

    let ambiguous = copy("--plain-http");
    let said = failed(&ambiguous, 2);
    assert!(said.contains(&format!("--plain-http={here}")), "{said}");
    assert!(said.contains("--plain-http=source.test"), "{said}");
    assert_eq!(proxy.asked(), [""; 0], "nothing is sent");

    let named = copy(&format!("--plain-http={here}"));
    failed(&named, 5);
    assert_eq!(proxy.asked(), ["CONNECT source.test:443 HTTP/1.1"]);
}

/// One of two registries on loopback behind TLS: the other one stays as it is.
#[test]
fn tls_can_be_for_one_side_of_a_copy() {
    let (from, to) = (registry(Auth::Open), registry(Auth::Open));
    let words = [
        "copy",
        &format!("{}/app:v1", from.host()),
        &format!("{}/app:v2", to.host()),
        &format!("--tls={}", to.host()),
    ];
    // There is no TLS at the other end, so it gets no further than to try.
    failed(&windlass(&words, &[]), 1);
    assert!(!from.requests().is_empty(), "asked in plain HTTP");
    assert!(to.requests().is_empty(), "not asked in plain HTTP");
}

/// A proxy that cannot be used is no obstacle to what needs none.
#[test]
fn a_proxy_of_an_unknown_kind_matters_where_it_is_needed() {
    let (folder, registry) = (tempfile::tempdir().expect("a folder"), registry(Auth::Open));
    let variables = [("ALL_PROXY", "socks5h://u:s3cret@127.0.0.1:1080")];
    let reference = format!("{}/app:v1", registry.host());
    let [first, second] = ["first", "second"].map(|name| layout(folder.path(), name));
    for words in [
        &["digest", &reference][..],
        &["pull", "--platform", "all", &reference, &first],
        &["copy", &format!("{first}:v1"), &second],
    ] {
        printed(&windlass(words, &variables));
    }
    let output = windlass(&["digest", "source.test/app:v1"], &variables);
    let said = failed(&output, 2);
    assert!(
        said.contains("ALL_PROXY") && !said.contains("s3cret"),
        "{said}"
    );
}

/// Each scheme has its variable, and loopback is reached without either.
#[test]
fn proxies_are_those_of_the_variables() {
    let (plain, secure, registry) = (Proxy::start(), Proxy::start(), registry(Auth::Open));
    let variables = [
        ("HTTP_PROXY", plain.address.as_str()),
        ("HTTPS_PROXY", secure.address.as_str()),
        ("NO_PROXY", "direct.invalid"),
    ];
    let here = format!("{}/app:v1", registry.host());
    printed(&windlass(&["digest", &here], &variables));
    assert_eq!(
        (plain.asked(), secure.asked()),
        (vec![], vec![]),
        "loopback"
    );

    failed(
        &windlass(&["digest", "direct.invalid/app:v1"], &variables),
        5,
    );
    assert_eq!(
        (plain.asked(), secure.asked()),
        (vec![], vec![]),
        "NO_PROXY"
    );

    failed(&windlass(&["digest", "source.test/app:v1"], &variables), 5);
    assert_eq!(secure.asked(), ["CONNECT source.test:443 HTTP/1.1"]);
    assert_eq!(plain.asked(), [""; 0]);

    let words = ["digest", "source.test:5000/app:v1", "--plain-http"];
    failed(&windlass(&words, &variables), 5);
    assert_eq!(secure.asked().len(), 1);
    let asked = plain.asked();
    assert!(
        asked.iter().all(|line| line.contains("source.test:5000")),
        "{asked:?}"
    );
    assert!(!asked.is_empty());
}

/// Which option was missing is said where it can be known.
#[test]
fn the_wrong_scheme_is_answered_with_the_right_option() {
    let registry = registry(Auth::Open);
    let host = registry.host();
    let output = windlass(&["digest", &format!("{host}/app:v1"), "--tls"], &[]);
    let said = failed(&output, 1);
    let hint = format!("hint: {host} does not seem to speak TLS");
    assert!(said.contains(&hint), "{said}");
    assert!(said.contains(&format!("--plain-http={host}")), "{said}");

    // A registry behind TLS, as those that are written in Go answer plain HTTP.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("a port").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _head = head(&stream);
            let answer =
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS \
                server.\n";
            let _gone = (&stream).write_all(answer);
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (reference, out) = (format!("{host}/app:v1"), layout(folder.path(), "out"));
    for words in [&["digest", &reference][..], &["pull", &reference, &out]] {
        let output = windlass(words, &[]);
        let said = failed(&output, 1);
        let hint = format!("hint: {host} seems to speak TLS; use --tls={host}\n");
        assert!(said.contains(&hint), "{words:?}: {said}");
    }
}

/// Credentials that cannot be read are no credentials, and the error names the file.
#[cfg(unix)]
#[test]
fn a_configuration_that_never_ends_is_named() {
    let server = registry(Auth::Basic(windlass_testbed::Basic {
        users: crate::common::users(),
        ..windlass_testbed::Basic::default()
    }));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe");
    let config = folder.path().to_str().expect("UTF-8");
    let words = ["digest", &format!("{}/app:v1", server.host())];
    for is_pipe in [true, false] {
        if !is_pipe {
            std::fs::remove_file(&path).expect("it is there");
            let file = std::fs::File::create(&path).and_then(|file| file.set_len(1 << 40));
            file.expect("a sparse file");
        }
        let output = windlass(&words, &[("DOCKER_CONFIG", config)]);
        let said = failed(&output, 4);
        assert!(said.contains(path.to_str().expect("UTF-8")), "{said}");
    }
}

/// A wrong password stays wrong: it is shown to the proxy once, and the error is about the proxy.
#[test]
fn a_proxy_that_wants_other_credentials_is_asked_once() {
    for scheme in ["--tls", "--plain-http"] {
        let proxy = Proxy::answering("407 Proxy Authentication Required");
        let url = format!("http://alice:s3cret@{}", proxy.address);
        let variables = [("ALL_PROXY", url.as_str())];
        let output = windlass_with_retries(&["digest", "r.invalid/app:v1", scheme], &variables);
        let said = failed(&output, 4);
        assert_eq!(proxy.asked().len(), 1, "{said}");
        assert!(said.contains(&format!("proxy {}", proxy.address)), "{said}");
        assert!(said.contains("hint: credentials for a proxy"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_proxy_that_cannot_be_reached_is_named() {
    for scheme in ["--tls", "--plain-http"] {
        for proxy in ["127.0.0.1:9", "proxy.invalid:3128"] {
            let url = format!("http://alice:s3cret@{proxy}");
            let words = ["digest", "r.invalid/app:v1", scheme, "--timeout", "3"];
            let output = windlass(&words, &[("ALL_PROXY", url.as_str())]);
            let said = failed(&output, 5);
            assert!(said.contains(&format!("proxy {proxy}: ")), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

/// A proxy that repeats what it was sent in a page of its own.
#[test]
fn a_proxy_that_repeats_its_credentials_is_not_quoted() {
    // alice:s3cret-pass
    const PAIR: &str = "YWxpY2U6czNjcmV0LXBhc3M=";
    let proxy = Proxy::answering(
        "403 No\r\nContent-Type: YWxpY2U6czNjcmV0LXBhc3M=\r\nWarning: 299 - \"s3cret-pass\"",
    );
    let url = format!("http://alice:s3cret-pass@{}", proxy.address);
    let words = ["digest", "r.invalid/app:v1", "--plain-http", "--trace"];
    let output = windlass(&words, &[("ALL_PROXY", url.as_str())]);
    let said = failed(&output, 4);
    let head = proxy.heads.lock().expect("no panic").concat();
    assert!(head.contains(PAIR), "it was sent: {head}");
    assert!(!said.contains(PAIR) && !said.contains("s3cret"), "{said}");
}
