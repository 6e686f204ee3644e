use std::fs;

use windlass_core::{Origin, Reference};

use super::*;
use crate::among;
use crate::testing::folder;

fn file(text: &str) -> ConfigFile {
    ConfigFile::parse(Path::new("/etc/windlass/config.toml"), text).expect("a good file")
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// Where a reference is read from.
fn sources(file: &ConfigFile, text: &str) -> String {
    let reference = reference(text);
    let mut config = Config::default();
    let route = file.mirror(reference.registry(), reference.repository());
    config.routes = route.into_iter().collect();
    match config.sources(&reference) {
        Ok(contacts) => {
            let shown = contacts.iter().map(|it| {
                let ns = it.ns.as_ref().map(|ns| format!("?ns={ns}"));
                format!(
                    "{}{}/{}{}",
                    it.origin,
                    it.api,
                    it.repository,
                    ns.unwrap_or_default()
                )
            });
            shown.collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn mirrors() {
    let file = file(
        r#"
blocked = ["evil.example", "*.evil.example", "docker.io/bad"]
[mirror."docker.io"]
url = ["https://m.example/hub", "n.example"]
[mirror."ghcr.io"]
url = "https://art.example/ghcr-remote"
mode = "replace"
[mirror."r.example/team"]
url = "https://m.example/x"
references = "with-digest"
[mirror."*.lan"]
url = "http://127.0.0.1:5000"
ns = true
"#,
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let table = [
        (
            "alpine".to_owned(),
            "https://m.example/v2/hub/library/alpine https://n.example/v2/library/alpine \
             https://registry-1.docker.io/v2/library/alpine"
                .to_owned(),
        ),
        (
            "ghcr.io/o/r".to_owned(),
            "https://art.example/v2/ghcr-remote/o/r".to_owned(),
        ),
        (
            "r.example/team/a".to_owned(),
            "https://r.example/v2/team/a".to_owned(),
        ),
        (
            format!("r.example/team/a@{digest}"),
            "https://m.example/v2/x/a https://r.example/v2/team/a".to_owned(),
        ),
        (
            "a.lan/x".to_owned(),
            "http://127.0.0.1:5000/v2/x?ns=a.lan https://a.lan/v2/x".to_owned(),
        ),
        ("q.example/x".to_owned(), "https://q.example/v2/x".to_owned()),
        (
            "evil.example/x".to_owned(),
            "`evil.example/x` is blocked by /etc/windlass/config.toml, blocked \"evil.example\"".to_owned(),
        ),
        (
            "a.evil.example/x".to_owned(),
            "`a.evil.example/x` is blocked by /etc/windlass/config.toml, blocked \"*.evil.example\"".to_owned(),
        ),
        (
            "docker.io/bad/x".to_owned(),
            "`docker.io/bad/x` is blocked by /etc/windlass/config.toml, blocked \"docker.io/bad\"".to_owned(),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(sources(&file, &text), expected, "{text}");
    }
}

#[test]
fn sections_reach_the_configuration() {
    let file = file(
        r#"
[limits]
jobs = 3
retries = 0
retry-after = "2m"
connect-timeout = "5s"
idle-timeout = "6s"
answer-timeout = "7s"
settle = "250ms"
manifest-size = 8388608
[[trusted-realm]]
registry = "r.example"
realm = "https://auth.example"
[host."plain.example:5000"]
plain-http = true
"#,
    );
    let mut config = Config::default();
    file.apply(&mut config);
    assert_eq!((config.in_flight.max, config.retry.attempts), (3, 1));
    assert_eq!(config.retry.retry_after_cap.as_secs(), 120);
    assert_eq!(config.settle.as_millis(), 250);
    assert_eq!(config.limits.document, 8_388_608);
    assert_eq!(config.trusted_realms.len(), 1);
    let plain: Registry = "plain.example:5000".parse().expect("a registry");
    assert_eq!(
        config.endpoints[&plain].to_string(),
        "http://plain.example:5000"
    );
    let mut limits = windlass_driver::TimeLimits::default();
    file.apply_time_limits(&mut limits);
    let seconds = [limits.connect, limits.idle, limits.answer].map(|it| it.as_secs());
    assert_eq!(seconds, [5, 6, 7]);
}

#[test]
fn paths_are_beside_the_file() {
    let file = file(
        r#"
hosts-dir = "tree"
registries-conf = "/r.conf"
certs-dirs = ["certs.d", "/certs.d"]
policy = "policy.json"
[tls]
ca = "corp.pem"
only-ca = true
[credentials]
auth-file = "auth.json"
helpers = ["pass"]
anonymous-fallback = true
[host."r.example"]
ca = ["a.pem", "/b.pem"]
client-cert = "c.pem"
client-key = "k.pem"
connect-timeout = "200ms"
"#,
    );
    let at = |name: &str| PathBuf::from("/etc/windlass").join(name);
    assert_eq!(file.hosts_dir(), Some(at("tree")));
    assert_eq!(file.registries_conf(), Some(PathBuf::from("/r.conf")));
    assert_eq!(
        file.certs_dirs(),
        Some(vec![at("certs.d"), PathBuf::from("/certs.d")])
    );
    assert_eq!(file.policy(), Some(at("policy.json")));
    assert_eq!(file.authorities(), (vec![at("corp.pem")], true));
    assert_eq!(file.auth_file(), Some(at("auth.json")));
    assert_eq!(file.credential_helpers(), ["pass"]);
    assert_eq!(file.anonymous_fallback(), Some(true));
    let (name, rule) = &file.hosts()[0];
    assert_eq!(name.to_string(), "r.example");
    assert_eq!(rule.ca, [at("a.pem"), PathBuf::from("/b.pem")]);
    assert_eq!(rule.clients, [(at("c.pem"), Some(at("k.pem")))]);
    assert_eq!(rule.connect, Some(std::time::Duration::from_millis(200)));
}

#[test]
fn sections_that_contradict_themselves_are_errors() {
    let table = [
        (
            "[host.\"r.io\"]\nclient-key = \"k\"",
            "[host.\"r.io\"]: client-key needs client-cert",
        ),
        (
            "[host.\"r.io\"]\nonly-ca = true",
            "[host.\"r.io\"]: only-ca needs ca",
        ),
        ("[tls]\nonly-ca = true", "[tls]: only-ca needs ca"),
        (
            "[mirror.\"r.io\"]\nurl = []",
            "[mirror.\"r.io\"]: needs a url",
        ),
        (
            "[mirror.\"r.io\"]\nurl = \"m\"\nheader = { \"a b\" = \"s3cret\" }",
            "[mirror.\"r.io\"]: ",
        ),
        (
            "[proxy]\npassword-file = \"p\"",
            "[proxy]: password-file needs username",
        ),
    ];
    for (text, expected) in table {
        let path = Path::new("/c.toml");
        let parsed = ConfigFile::parse(path, text);
        let error = parsed.map(drop).expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("/c.toml: {expected}")),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let text = "[mirror.\"r.io\"]\nurl = \"m\"\nheader = { authorization = \"Basic s3cret\" }\n\
                [proxy]\nhttps = \"http://u:s3cret@p\"\n";
    let file = file(text);
    assert!(!format!("{file:?}").contains("s3cret"), "{file:?}");
}

#[test]
fn which_file_is_read() {
    let folder = folder(&[("windlass/config.toml", ""), ("named.toml", "")]);
    let user = folder.path().join("windlass/config.toml");
    let named = folder.path().join("named.toml");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (xdg, named) = (text(folder.path()), text(&named));
    let found = |variables: &[(&str, &str)]| {
        let file = ConfigFile::from_variables(among(variables)).expect("good files");
        file.map(|file| file.path().to_owned())
    };
    let both = [
        ("WINDLASS_CONFIG", named.as_str()),
        ("XDG_CONFIG_HOME", &xdg),
    ];
    assert_eq!(found(&both), Some(PathBuf::from(&named)));
    assert_eq!(found(&both[1..]), Some(user));
    let missing = [("WINDLASS_CONFIG", "/nonexistent.toml")];
    let error = ConfigFile::from_variables(among(&missing)).expect_err("named");
    assert_eq!(
        error.to_string(),
        "/nonexistent.toml: there is no such file"
    );
}

#[test]
fn a_password_for_the_proxies_is_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    let text = "[proxy]\nhttps = \"proxy:3128\"\nusername = \"u\"\npassword-file = \"secret\"\n";
    fs::write(&path, text).expect("a file");
    let file = ConfigFile::read(&path).expect("a good file");
    let error = file
        .proxies(among(&[]))
        .map(drop)
        .expect_err("no such file");
    assert!(
        error.to_string().ends_with("secret: there is no such file"),
        "{error}"
    );
    fs::write(folder.path().join("secret"), "s3cret\nmore\n").expect("a file");
    let proxies = file.proxies(among(&[])).expect("good files");
    let origin: Origin = "https://r.example".parse().expect("an origin");
    let proxy = windlass_driver::ProxySelector::proxy(&proxies, &origin).expect("a proxy");
    assert_eq!(proxy.url, "http://u:s3cret@proxy:3128");
}

fn registry(name: &str) -> Registry {
    name.parse().expect("a registry")
}

#[test]
fn settings_for_single_registries() {
    let file = file(
        r#"
[limits]
jobs = 8
manifests = "200/6h"
retries = 1
retry-after = "7s"
[registry."*.corp"]
jobs = 2
retries = 9
header = { x-team = "blue" }
[registry."harbor.corp:5000"]
kind = "harbor"
manifests = "5/m"
uploads = 3
chunk-size = 8388608
post-blobs = true
scope = "repository:team/base:pull"
write-auth-file = "write.json"
"#,
    );
    let mut config = Config::default();
    file.apply(&mut config);
    let harbor = registry("harbor.corp:5000");
    assert_eq!(config.in_flight_for(&harbor).max, 2);
    assert_eq!(config.in_flight_for(&registry("r.example")).max, 8);
    assert_eq!(
        config.kind(&harbor).expect("it is said").to_string(),
        "harbor"
    );
    let manifests = |of| config.manifests_for(of).map(|it| it.to_string());
    assert_eq!(manifests(&harbor).as_deref(), Some("5/1m"));
    assert_eq!(manifests(&registry("a.corp")).as_deref(), Some("200/6h"));
    assert_eq!(config.uploads_for(&harbor), Some(3));
    assert_eq!(config.chunk_size_for(&harbor), 8 << 20);
    assert!(config.posts_blobs_to(&harbor));
    assert!(!config.posts_blobs_to(&registry("other.corp")));
    let retry = config.retry_for(&harbor);
    assert_eq!((retry.attempts, retry.retry_after_cap.as_secs()), (10, 7));
    assert!(config.has_separate_writes(&harbor));
    assert!(!config.has_separate_writes(&registry("other.corp")));
    let [closest, other] = &config.settings(&harbor).collect::<Vec<_>>()[..] else {
        panic!("{config:?}");
    };
    assert_eq!(closest.scopes[0].to_string(), "repository:team/base:pull");
    assert_eq!(other.headers[0].name(), "x-team");
    assert_eq!(
        closest.rule,
        "/etc/windlass/config.toml, [registry.\"harbor.corp:5000\"]"
    );
}

#[test]
fn settings_for_single_registries_that_are_wrong() {
    let parse = |text: &str| {
        let error = ConfigFile::parse(Path::new("/c.toml"), text).expect_err(text);
        error.to_string()
    };
    for (text, expected) in [
        ("[registry.\"a b\"]", "neither a registry"),
        (
            "[registry.\"r.example\"]\nkind = \"ECR\"",
            "must be one of docker-hub",
        ),
        ("[registry.\"r.example\"]\nchunk-size = 1", "from 65536 to"),
        ("[registry.\"r.example\"]\nuploads = 0", "from 1 to 256"),
        ("[registry.\"r.example\"]\nmanifests = \"5\"", "\"100/6h\""),
        ("[limits]\nmanifests = 5", "a string"),
        (
            "[registry.\"r.example\"]\nupload = 1",
            "did you mean `uploads`?",
        ),
        ("[registry.\"r.example\"]\nscope = \"a b\"", "scope"),
        (
            "[registry.\"r.example\"]\nheader = { host = \"x\" }",
            "[registry.\"r.example\"]: the header `host` cannot be configured",
        ),
    ] {
        let error = parse(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// The files for reading and for writing are relative to the file that names them, and no other source is asked.
#[test]
fn credentials_for_reading_and_for_writing() {
    use crate::credentials::{CredentialAnswer, Credentials as _, Question};

    let auth = |user: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret"));
        format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#)
    };
    let files = [("read.json", auth("reader")), ("any.json", auth("any"))];
    let folder = folder(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
    let text = r#"
[registry."r.example"]
read-auth-file = "read.json"
write-auth-file = "missing.json"
"#;
    let file = ConfigFile::parse(&folder.path().join("c.toml"), text).expect("a good file");
    let others = CredentialSearch::file(folder.path().join("any.json"));
    let search = file.add_credentials(others);
    let find = |access| {
        let question = Question::of(&reference("r.example/a/b")).for_access(access);
        search.find(&question).answer
    };
    for (access, user) in [(Access::Read, "reader"), (Access::Any, "any")] {
        let CredentialAnswer::Basic { username, .. } = find(access) else {
            panic!("{access:?}: {:?}", find(access));
        };
        assert_eq!(username, user);
    }
    let CredentialAnswer::Failed(why) = find(Access::Write) else {
        panic!("{:?}", find(Access::Write));
    };
    assert!(why.contains("missing.json"), "{why}");
}
