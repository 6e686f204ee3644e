//! What the fuzz targets run, as functions of bytes, so that `cargo test` can replay their corpus.
//!
//! Responsible for what must hold for any input: nothing panics, nothing grows without bound, what
//! was read and is written again reads the same. Must not know libFuzzer.

use std::path::Path;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use windlass_config::credentials::{Helpers, LoginFile, parse_credential, parse_list};
use windlass_config::{CredentialSearch, Policy};
use windlass_core::checkpoint::Checkpoint;
use windlass_core::credential::{CredentialAnswer, Question, Secret};
use windlass_core::header::{
    Challenge, ContentRange, challenges, http_date, next_link, range_header, retry_after, rfc3339,
    unsatisfied_total, warnings,
};
use windlass_core::manifest::{Declared, Document, replace_lone_surrogates};
use windlass_core::sanitize::escape;
use windlass_core::scope::Scopes;
use windlass_core::tape::replay;
use windlass_core::uri::Url;
use windlass_core::{Digest, Origin, Platform, Reference, Registry};
use windlass_driver::Credentials as _;
use windlass_store::{Begun, Layout, Store as _};

use crate::sim;

/// Every header that is read, with the input as its value.
pub fn headers(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let with = |name: HeaderName| HeaderMap::from_iter([(name, value.clone())]);
    for challenge in challenges(&with(header::WWW_AUTHENTICATE)) {
        if let Ok(line) = HeaderValue::from_str(&written(&challenge)) {
            let line = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, line)]);
            assert_eq!(challenges(&line), [challenge]);
        }
    }
    let base = Url::parse("https://reg.example/v2/a/tags/list").expect("a URL");
    if let Ok(Some(next)) = next_link(&with(header::LINK), &base) {
        assert_eq!(Url::parse(next.as_str()).as_ref(), Ok(&next));
    }
    let after = retry_after(&with(header::RETRY_AFTER), Some(0));
    for warning in warnings(&with(header::WARNING)) {
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let shown = escape(text, 100);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    // The end of the year 9999, somewhere in the west.
    let last = 253_402_300_800 + 24 * 60 * 60;
    let micros = rfc3339(text).map(|micros| micros / 1_000_000);
    let dates = [http_date(text), micros].into_iter().flatten();
    dates.for_each(|date| assert!(date < last, "{date}"));
    if let Ok(seconds) = text.trim_matches([' ', '\t']).parse::<u32>()
        && !text.contains('+')
    {
        assert_eq!(after, Some(Duration::from_secs(seconds.into())));
    }
    if let Some(total) = unsatisfied_total(text) {
        assert_eq!(unsatisfied_total(&format!("bytes */{total}")), Some(total));
    }
    if let Some(range) = ContentRange::parse(text) {
        assert!(range.first <= range.last);
        let total = range
            .total
            .map_or_else(|| "*".into(), |total| total.to_string());
        let written = format!("bytes {}-{}/{total}", range.first, range.last);
        assert_eq!(ContentRange::parse(&written), Some(range));
        assert!(range_header(range.first, range.last).starts_with("bytes="));
    }
    let scopes = Scopes::from_challenge(text);
    let written: Vec<String> = scopes.iter().collect();
    assert_eq!(Scopes::from_challenge(&written.join(" ")), scopes);
}

/// A challenge as a server would write it.
fn written(challenge: &Challenge) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let params = challenge.params.iter();
    let params = params.map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
    let parts: Vec<_> = challenge
        .token68
        .clone()
        .into_iter()
        .chain(params)
        .collect();
    format!("{} {}", challenge.scheme, parts.join(", "))
}

/// Names that people and servers write: what is read is written as it reads.
pub fn names(data: &[u8]) {
    let base = Url::parse("https://reg.example/v2/a/blobs/uploads/1?x=%2f").expect("a URL");
    let located = base.resolve_location(data);
    if let Ok(url) = &located {
        assert!(!data.iter().any(u8::is_ascii_control));
        assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url));
        assert!(url.to_http().is_ok());
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    macro_rules! reads_as_written {
        ($($name:ty),*) => {$(
            if let Ok(read) = text.parse::<$name>() {
                let written = read.to_string();
                assert_eq!(written.parse::<$name>().as_ref(), Ok(&read), "{written}");
            }
        )*};
    }
    reads_as_written!(Reference, Registry, Origin, Digest, Platform);
    if let Ok(url) = Url::parse(text) {
        assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url));
        if let Ok(sent) = url.to_http() {
            // What a URL leaves out, its request has: the first slash.
            let target = sent.path_and_query().map_or("", |it| it.as_str());
            let said = target.trim_start_matches('/');
            assert!(url.as_str().ends_with(said), "{target} of {}", url.as_str());
        }
    }
    // What needs no escaping is not escaped.
    if let Ok(url) = base.resolve(text) {
        assert_eq!(located, Ok(url));
    }
}

/// Manifests and indexes: the bytes stay as they are, and so does their digest. Checkpoints: what is
/// read is written as it reads.
pub fn documents(data: &[u8]) {
    let (kind, bytes) = data
        .split_first()
        .map_or((0, data), |(kind, rest)| (*kind, rest));
    let types = [
        None,
        Some(windlass_testbed::OCI_MANIFEST),
        Some(windlass_testbed::OCI_INDEX),
        Some("application/vnd.docker.distribution.manifest.v2+json"),
        Some("text/plain"),
    ];
    let declared = types[usize::from(kind) % types.len()];
    let read = |declared| Document::parse(bytes.to_vec(), declared);
    if let Ok(text) = std::str::from_utf8(bytes) {
        checkpoint(text);
    }
    if let Ok(document) = read(Declared::ContentType(declared)) {
        assert_eq!(&document.bytes()[..], bytes);
        let replaced = replace_lone_surrogates(bytes);
        assert_eq!(replace_lone_surrogates(&replaced), replaced);
        assert!(document.digest().verifies(bytes));
        let media_type = document.media_type().to_owned();
        let again = read(Declared::Descriptor(&media_type)).expect("it was read before");
        assert_eq!(again.descriptor(), document.descriptor());
    }
}

fn checkpoint(text: &str) {
    let Ok(read) = Checkpoint::from_json(text) else {
        return;
    };
    let written = read.to_json();
    let again = Checkpoint::from_json(&written).expect("it was read before");
    assert_eq!(again.len(), read.len());
    assert_eq!(again.to_json(), written);
}

/// containerd's `hosts.toml`, for a registry on another host and for one on this machine: what is read is reached
/// at addresses, and an error has a position in the text.
pub fn hosts_toml(data: &[u8]) {
    use windlass_config::hosts::containerd;
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for name in ["reg.example", "localhost:5000"] {
        let registry: Registry = name.parse().expect("a registry");
        match containerd::parse(Path::new("hosts.toml"), text, &registry) {
            Ok(file) => {
                for host in file.hosts.iter().chain([&file.server]) {
                    let url = host.url.to_string();
                    assert!(!url.ends_with('/'), "{url}");
                    let path = host.url.api.to_string();
                    assert!(path.split('/').all(|part| part != ".."), "{url}");
                }
                let positions = file.findings.iter().map(|finding| finding.position);
                positions.for_each(|position| is_within(position, text));
            }
            Err(error) => is_within(error.position(), text),
        }
    }
}

/// podman's `registries.conf`: an entry is for a repository only below its prefix.
pub fn registries_conf(data: &[u8]) {
    use windlass_config::hosts::registries::RegistriesConf;
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match RegistriesConf::parse(Path::new("registries.conf"), text) {
        Ok(conf) => {
            for name in ["reg.example/team/app", "alpine", "a.reg.example:5000/app"] {
                let reference: Reference = name.parse().expect("a reference");
                if let Some(entry) = conf.entry(&reference) {
                    let prefix = entry.prefix.trim_start_matches('*');
                    let (registry, repository) = (reference.registry(), reference.repository());
                    let whole = format!("{registry}/{repository}");
                    assert!(whole.contains(prefix), "{prefix} in {whole}");
                    assert!(entry.located(&whole).is_some());
                }
            }
            for (short, full) in &conf.aliases {
                if let Ok(Some(found)) = conf.alias(short) {
                    assert_eq!(Ok(found), full.parse());
                }
            }
        }
        Err(error) => is_within(error.position(), text),
    }
}

/// windlass' own file: what it says can be applied, and an error has a position in the text.
pub fn config_file(data: &[u8]) {
    use windlass_config::{ConfigFile, Proxies};
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match ConfigFile::parse(Path::new("/nonexistent/config.toml"), text) {
        Ok(file) => {
            let mut config = windlass_core::Config::default();
            file.apply(&mut config);
            assert!((1..=256).contains(&config.in_flight.max));
            let mut limits = windlass_driver::TimeLimits::default();
            file.apply_time_limits(&mut limits);
            assert!(!limits.connect.is_zero() && !limits.idle.is_zero());
            // Without the file of the password there are none.
            let proxies = file
                .proxies(|_| None)
                .unwrap_or_else(|_| Proxies::default());
            let origin: Origin = "https://reg.example".parse().expect("an origin");
            let explained = proxies.explain(&origin).to_string();
            assert!(!explained.contains('@'), "{explained}");
        }
        Err(error) => {
            if let Some(position) = error.position() {
                is_within(Some(position), text);
            }
        }
    }
}

fn is_within(position: Option<windlass_config::Position>, text: &str) {
    let position = position.expect("what is read has positions");
    let lines = text.split('\n').count();
    assert!((1..=lines).contains(&position.line), "{position:?}");
    assert!(
        (1..=text.chars().count() + 1).contains(&position.column),
        "{position:?}"
    );
}

/// A world in which everything that is chosen comes from the input; what must hold is the same.
pub fn world(data: &[u8]) {
    good(&sim::drawn(&mut sim::Bytes::new(data)));
}

/// A world in which every answer is any answer.
pub fn hostile(data: &[u8]) {
    good(&sim::hostile(&mut sim::Bytes::new(data)));
}

fn good(run: &sim::Run) {
    let violation = run.violation.as_deref();
    let choices: Vec<String> = run.choices.iter().map(u64::to_string).collect();
    let replay = choices.join(",");
    assert_eq!(violation, None, "{}\n--replay {replay}", run.transcript);
}

/// A directory that claims to be an image layout: the input is its files, each with a name from a
/// list, a length and its bytes.
pub fn layout(data: &[u8]) {
    const NAMES: [&str; 9] = [
        "index.json",
        "oci-layout",
        "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "blobs/sha256/x",
        "blobs/sha256",
        ".windlass/x",
        ".windlass/partial/sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "blobs",
        "x",
    ];
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut rest = data;
    while let [name, len, after @ ..] = rest {
        let (bytes, after) = after.split_at(after.len().min(usize::from(*len) * 4));
        rest = after;
        let path = folder.path().join(NAMES[usize::from(*name) % NAMES.len()]);
        // What stands in the way of another one is part of the input.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(&path, bytes);
    }
    let Ok(layout) = Layout::open(folder.path()) else {
        return;
    };
    let _ = (layout.find(None), layout.find(Some("latest")));
    let empty = Digest::of(windlass_core::Algorithm::Sha256, b"");
    if let Ok(true) = layout.contains(&empty, 0) {
        assert!(matches!(layout.open(&empty, 0), Ok(Some(_))));
    }
    // Whatever is in its place, and whatever an earlier run has left of it: it is good afterwards, or it
    // is said that it is not.
    let is_there = || matches!(layout.contains(&empty, 0), Ok(true));
    if let Ok(Begun::Ours(mut partial)) = layout.begin(&empty, 0) {
        let is_cut = partial.is_empty() || partial.truncate(0).is_ok();
        if is_cut && partial.commit().is_ok() {
            assert!(is_there());
        }
    }
    if layout.put(&empty, b"").is_ok() {
        assert!(is_there());
    }
}

/// Any text as a policy: it is one, or an error that moves no cursor. One rule applies to each image and layout,
/// and it is the same rule for every spelling of a host.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let policy = match Policy::from_json(text) {
        Ok(policy) => policy,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(char::is_control), "{said:?}");
            return;
        }
    };
    for (one, other) in [
        ("r.example/a/b:v1", "R.example:443/a/b:v1"),
        ("docker.io/library/x", "registry-1.docker.io/library/x"),
        ("[::1]:5000/a", "[::1]:5000/a"),
    ] {
        let judged = [one, other].map(|image| {
            let image: Reference = image.parse().expect("a reference");
            let rule = policy.of_registry(&image);
            let said = rule.to_string();
            assert!(!said.chars().any(char::is_control), "{said:?}");
            (rule.judgement(), rule.scope().map(ToOwned::to_owned))
        });
        assert_eq!(judged[0], judged[1], "{one}");
    }
    let _judged = policy.of_layout(Path::new("/nowhere/images")).judgement();
}

/// Files with credentials, each form of them, and what credential helpers answer: everything is an answer
/// or an error that moves no cursor. A login in such a file is found afterwards, or the file stays as it is.
pub fn credentials(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("config.json"), bytes).expect("a file");
    let search = match kind % 3 {
        0 => CredentialSearch::file(path("config.json")),
        1 => {
            std::fs::rename(path("config.json"), path(".dockercfg")).expect("a file");
            let home = path("");
            let home = move |name: &str| (name == "HOME").then(|| home.clone().into());
            CredentialSearch::from_variables(home).expect("text")
        }
        _ => return helper_answers(bytes),
    };
    for reference in ["r.example/a/b", "docker.io/library/x", "[::1]:5000/a"] {
        let reference: Reference = reference.parse().expect("a reference");
        let (registry, repository) = (reference.registry(), Some(reference.repository()));
        let question = Question::new(registry.clone(), repository.cloned(), registry.origin());
        let found = search.find(&question).answer;
        if let CredentialAnswer::Failed(why) = &found {
            assert!(!why.chars().any(char::is_control), "{why:?}");
        }
        let said = search.explain(registry, repository).to_string();
        assert!(
            !said.replace('\n', "").chars().any(char::is_control),
            "{said:?}"
        );
        assert_eq!(search.find(&question).answer, found);
    }
    if kind % 3 == 0 {
        login(&path("config.json"), bytes);
    }
}

fn login(path: &Path, before: &[u8]) {
    let registry: Registry = "r.example".parse().expect("a registry");
    let file = LoginFile::new(path, Helpers::new(None));
    let find = || {
        let search = CredentialSearch::file(path);
        let question = Question::new(registry.clone(), None, registry.origin());
        search.find(&question).answer
    };
    let read = || std::fs::read(path).expect("a file");
    match file.store(&registry, "u", &Secret::new("p:q")) {
        Ok(_) => {
            let expected = CredentialAnswer::Basic {
                username: "u".into(),
                password: Secret::new("p:q"),
            };
            assert_eq!(find(), expected);
            let erased = file.erase(&registry).expect("it was read before");
            assert!(!erased.is_empty());
            assert_eq!(find(), CredentialAnswer::None);
        }
        Err(_) => assert_eq!(read(), before),
    }
}

fn helper_answers(bytes: &[u8]) {
    let wrong = [parse_credential(bytes).err(), parse_list(bytes).err()];
    for why in wrong.into_iter().flatten() {
        assert!(!why.chars().any(char::is_control), "{why:?}");
    }
    if let Ok(Some(CredentialAnswer::Basic { username, .. })) = parse_credential(bytes) {
        assert!(!matches!(username.as_str(), "" | "<token>"));
    }
}

/// A tape, or anything else: it is replayed as far as it goes, or refused.
pub fn tape(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let replay = replay(text);
    let lines = text.matches('\n').count();
    assert!(
        replay.lines.len() < lines.max(1),
        "each line says one thing"
    );
    assert!(
        !replay
            .lines
            .iter()
            .any(|line| line.chars().any(char::is_control))
    );
    if let Err(error) = &replay.end {
        let said = error.to_string();
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
    assert_eq!(windlass_core::tape::replay(text), replay, "twice the same");
}
