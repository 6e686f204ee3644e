use super::*;

fn registry(name: &str) -> Registry {
    name.parse().expect("a registry")
}

fn read_as(name: &str, text: &str) -> Result<HostsToml, FileError> {
    parse(Path::new("/c/hosts.toml"), text, &registry(name))
}

fn good(text: &str) -> HostsToml {
    read_as("docker.io", text).expect("a good file")
}

fn urls(file: &HostsToml) -> Vec<String> {
    let hosts = file.hosts.iter().chain([&file.server]);
    hosts.map(|host| host.url.to_string()).collect()
}

/// HOSTS-01.
#[test]
fn hosts_come_in_the_order_of_the_file() {
    let file = good(
        r#"
server = "https://registry.example"
[host."https://z.example"]
[host."https://a.example".header]
x = "1"
[host."http://m.example:5000"]
capabilities = ["pull"]
"#,
    );
    let expected = [
        "https://z.example/v2",
        "https://a.example/v2",
        "http://m.example:5000/v2",
        "https://registry.example/v2",
    ];
    assert_eq!(urls(&file), expected);
    let lines: Vec<_> = file.hosts.iter().map(|host| host.line).collect();
    assert_eq!(lines, [3, 4, 6]);
}

/// HOSTS-02, HOSTS-09.
#[test]
fn without_a_server_the_registry_itself_is_the_last() {
    let text = "capabilities = [\"pull\"]\nskip_verify = true\nheader = { x = \"1\" }\n";
    let file = good(text);
    assert!(!file.has_server);
    assert_eq!(urls(&file), ["https://registry-1.docker.io/v2"]);
    assert_eq!(file.server.capabilities, Capabilities::ALL);
    assert_eq!(file.server.skip_verify, Some(true));
    assert_eq!(file.server.headers.len(), 1);
    let file = good(&format!("server = \"https://r.example\"\n{text}"));
    assert!(file.has_server);
    assert!(file.server.capabilities.pull && !file.server.capabilities.push);
    // HOSTS-07: loopback hosts are not reached over TLS.
    let file = read_as("localhost:5000", "dial_timeout = \"1s\"").expect("good");
    assert_eq!(urls(&file), ["http://localhost:5000/v2"]);
}

#[test]
fn what_a_host_may_be_asked_for() {
    let of = |list: &str| good(&format!("[host.\"https://m\"]\n{list}")).hosts[0].capabilities;
    assert_eq!(of(""), Capabilities::ALL);
    assert_eq!(of("capabilities = []"), Capabilities::ALL);
    let some = of(r#"capabilities = ["pull", "resolve"]"#);
    assert!(some.pull && some.resolve && !some.push && !some.referrers);
    let some = of(r#"capabilities = ["push", "referrers"]"#);
    assert!(!some.pull && !some.resolve && some.push && some.referrers);
}

#[test]
fn files_are_beside_the_file() {
    let client = |value: &str| {
        let file = good(&format!("[host.\"https://m\"]\nclient = {value}"));
        let pairs = file.hosts[0].client.iter();
        let shown = pairs.map(|(certificate, key)| {
            let key = key.as_ref().map(|key| key.display().to_string());
            format!("{} {}", certificate.display(), key.unwrap_or_default())
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(client(r#""a.pem""#), "/c/a.pem ");
    assert_eq!(client(r#"["a.pem", "/x/b.pem"]"#), "/c/a.pem , /x/b.pem ");
    assert_eq!(client(r#"[["a.crt", "a.key"]]"#), "/c/a.crt /c/a.key");
    assert_eq!(
        client(r#"[["a.crt", ""], ["b.crt", "b.key"]]"#),
        "/c/a.crt , /c/b.crt /c/b.key"
    );
    let ca = |value: &str| good(&format!("ca = {value}")).server.ca;
    assert_eq!(ca(r#""ca.crt""#), [PathBuf::from("/c/ca.crt")]);
    assert_eq!(
        ca(r#"["a", "/b"]"#),
        [PathBuf::from("/c/a"), PathBuf::from("/b")]
    );
}

/// HOSTS-08.
#[test]
fn http_with_certificates_is_tried_with_tls_first() {
    let of = |text: &str| {
        let file = good(&format!("[host.\"http://h:5000\"]\n{text}"));
        let origins = origins(&file.hosts[0].url.origin, &file.hosts[0]);
        let shown: Vec<_> = origins.iter().map(ToString::to_string).collect();
        shown.join(" ")
    };
    assert_eq!(of(""), "http://h:5000");
    for field in [
        "ca = \"ca.crt\"",
        "client = \"c.pem\"",
        "skip_verify = true",
    ] {
        assert_eq!(of(field), "https://h:5000 http://h:5000", "{field}");
    }
}

/// HOSTS-09, and the folders of ports.
#[test]
fn folders_of_a_registry() {
    let table: [(&str, &[&str]); 5] = [
        ("docker.io", &["docker.io", "_default"]),
        ("registry-1.docker.io", &["docker.io", "_default"]),
        ("r.example", &["r.example", "_default"]),
        (
            "R.example:5000",
            &["r.example_5000_", "r.example:5000", "_default"],
        ),
        ("[::1]:5000", &["[::1]_5000_", "[::1]:5000", "_default"]),
    ];
    for (name, expected) in table {
        assert_eq!(folders(&registry(name)), expected, "{name}");
    }
}

/// HOSTS-06, with positions.
#[test]
fn broken_files_are_errors() {
    let table = [
        ("server = ", "1:10: "),
        (
            "server = \"ftp://x\"",
            "1:10: the scheme must be http or https",
        ),
        (
            "[host.\"https://u:s3cret@h\"]",
            "1:7: a user name is not allowed here",
        ),
        ("host = 1", "1:8: host must be a table"),
        (
            "[host]\n\"https://h\" = 1",
            "2:15: https://h must be a table",
        ),
        ("\ncapabilities = [\"fly\"]", "2:17: unknown capability"),
        (
            "capabilities = \"pull\"",
            "1:16: capabilities must be a list of strings",
        ),
        ("client = [[\"a\"]]", "1:11: client must be a file, a list"),
        ("client = 1", "1:10: client must be a file, a list"),
        ("ca = 1", "1:6: ca must be a list of strings"),
        (
            "skip_verify = \"yes\"",
            "1:15: skip_verify must be true or false",
        ),
        (
            "dial_timeout = \"s3cret\"",
            "1:16: dial_timeout is not a duration",
        ),
        ("dial_timeout = 5", "1:16: dial_timeout must be a string"),
        ("[header]\n\"a b\" = \"s3cret\"", "2:1: "),
        ("[header]\na = \"s3\\r\\ncret\"", "2:1: "),
        ("[header]\na = 1", "2:5: a must be a list of strings"),
    ];
    for (text, expected) in table {
        let error = read_as("r.example", text).expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("/c/hosts.toml:{expected}")),
            "{text}: {error}"
        );
        assert!(!error.contains("s3"), "{error}");
    }
}

#[test]
fn unknown_keys_are_ignored_and_can_be_told() {
    let file = good("srever = 1\n[host.\"https://h\"]\nskip-verify = true\n");
    let told: Vec<_> = file.findings.iter().map(ToString::to_string).collect();
    let expected = [
        "/c/hosts.toml:1:1: unknown key \"srever\", ignored",
        "/c/hosts.toml:3:1: unknown key \"skip-verify\", ignored",
    ];
    assert_eq!(told, expected);
    assert!(file.findings.iter().all(|finding| !finding.is_warning));
}

#[test]
fn headers_are_not_printed() {
    let file = good("[header]\nAuthorization = \"Basic s3cret\"\nx-many = [\"a\", \"b\"]\n");
    assert_eq!(file.server.headers.len(), 3);
    assert!(!format!("{file:?}").contains("s3cret"));
    let file = good("[header]\nHost = \"h\"\nx-a = \"1\"\n");
    assert_eq!(file.server.headers.len(), 1);
    let told = file.findings[0].to_string();
    assert_eq!(
        told,
        "/c/hosts.toml:2:1: header \"Host\" cannot be set, ignored"
    );
}

#[test]
fn a_file_that_is_empty_or_absent_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = || read(folder.path(), &registry("r.example"));
    assert_eq!(read(), Ok(None));
    std::fs::write(folder.path().join(FILE), " \n").expect("a file");
    assert_eq!(read(), Ok(None));
    std::fs::write(folder.path().join(FILE), b"\xff").expect("a file");
    let error = read().expect_err("no text").to_string();
    assert!(
        error.ends_with("hosts.toml: it is not valid UTF-8"),
        "{error}"
    );
}

/// What Spegel's configuration command writes, with a `prependExisting` of none and authentication.
#[test]
fn what_spegel_writes() {
    let file = good(
        r#"server = 'https://registry-1.docker.io'

[host.'http://127.0.0.1:30020']
capabilities = ['pull', 'resolve']
dial_timeout = '200ms'

[host.'http://127.0.0.1:30020'.header]
Authorization = 'Basic c3BlZ2VsOnMzY3JldA=='

[host.'http://127.0.0.1:30021']
capabilities = ['pull', 'resolve']
dial_timeout = '200ms'
"#,
    );
    let expected = [
        "http://127.0.0.1:30020/v2",
        "http://127.0.0.1:30021/v2",
        "https://registry-1.docker.io/v2",
    ];
    assert_eq!(urls(&file), expected);
    assert_eq!(file.hosts[0].dial_timeout, Some(Duration::from_millis(200)));
    assert_eq!(file.hosts[0].headers[0].name(), "authorization");
    assert!(file.hosts[1].headers.is_empty());
    assert!(file.findings.is_empty());
    // Its `_default` has no server.
    let file = read_as(
        "quay.io",
        "[host.'http://127.0.0.1:30020']\ncapabilities = ['pull', 'resolve']\ndial_timeout = '200ms'\n",
    );
    assert_eq!(
        urls(&file.expect("good")),
        ["http://127.0.0.1:30020/v2", "https://quay.io/v2"]
    );
}

/// What Dragonfly's client writes for a registry, and for all of them.
#[test]
fn what_dragonfly_writes() {
    let file = good(
        r#"server = "https://index.docker.io"

[host."http://127.0.0.1:4001"]
capabilities = ["pull", "resolve"]
skip_verify = true

[host."http://127.0.0.1:4001".header]
X-Dragonfly-Registry = "https://index.docker.io"
"#,
    );
    assert_eq!(
        urls(&file),
        ["http://127.0.0.1:4001/v2", "https://index.docker.io/v2"]
    );
    assert_eq!(file.hosts[0].headers[0].name(), "x-dragonfly-registry");
    assert_eq!(file.hosts[0].skip_verify, Some(true));
    assert_eq!(file.findings, []);
    let file = read_as(
        "ghcr.io",
        "[host.\"http://127.0.0.1:4001\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
    );
    assert_eq!(
        urls(&file.expect("good")),
        ["http://127.0.0.1:4001/v2", "https://ghcr.io/v2"]
    );
}
