use std::fs;

use super::*;
use crate::testing::write;

fn conf(text: &str) -> RegistriesConf {
    RegistriesConf::parse(Path::new("/r.conf"), text).expect("a good file")
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// The prefix of the entry for a reference, and what its location makes of it.
fn found(conf: &RegistriesConf, text: &str) -> String {
    let reference = reference(text);
    let Some(entry) = conf.entry(&reference) else {
        return "none".to_owned();
    };
    let located = entry.located(&name(&reference));
    format!("{} {}", entry.prefix, located.expect("it matches"))
}

/// HOSTS-41.
#[test]
fn every_key() {
    let conf = conf(
        r#"
unqualified-search-registries = ["docker.io", "quay.io"]
credential-helpers = ["containers-auth.json", "secretservice"]
short-name-mode = "enforcing"

[aliases]
fedora = "registry.fedoraproject.org/fedora"

[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar"
insecure = true
blocked = true

[[registry.mirror]]
location = "mirror-1.example/a"
insecure = true
pull-from-mirror = "digest-only"

[[registry.mirror]]
location = "mirror-2.example:5000"
pull-from-mirror = "tag-only"

[[registry]]
location = "example.com/"
mirror-by-digest-only = true

[[registry.mirror]]
location = "mirror-3.example"
"#,
    );
    assert_eq!(conf.findings, []);
    assert_eq!(conf.unqualified_search, ["docker.io", "quay.io"]);
    let helpers = conf.credential_helpers.as_deref();
    assert_eq!(
        helpers.expect("helpers"),
        ["containers-auth.json", "secretservice"]
    );
    let foo = &conf.registries["example.com/foo"];
    assert!(foo.insecure && foo.blocked);
    assert_eq!(foo.location.as_deref(), Some("internal.example/bar"));
    let mirrors: Vec<_> = foo
        .mirrors
        .iter()
        .map(|it| (it.insecure, it.pulls))
        .collect();
    let expected = [
        (true, MirrorPulls::DigestOnly),
        (false, MirrorPulls::TagOnly),
    ];
    assert_eq!(mirrors, expected);
    let whole = &conf.registries["example.com"];
    assert_eq!(whole.mirrors[0].pulls, MirrorPulls::DigestOnly);
    assert_eq!((foo.line, whole.line), (9, 24));
    let mirrored = foo.mirrored("example.com/foo/x", &foo.mirrors[0]);
    assert_eq!(mirrored.as_deref(), Some("mirror-1.example/a/x"));
}

/// HOSTS-42, HOSTS-43.
#[test]
fn the_longest_prefix_counts_and_ends_where_a_name_does() {
    let conf = conf(
        r#"
[[registry]]
prefix = "example.com/foo"
location = "a.example/x"
[[registry]]
prefix = "example.com"
location = "b.example"
[[registry]]
prefix = "*.example.com"
[[registry]]
prefix = "*.deep.example.com"
location = "c.example/y"
[[registry]]
location = "docker.io/library/alpine"
[[registry]]
location = "r.example:5000"
"#,
    );
    let table = [
        ("example.com/foo/img", "example.com/foo a.example/x/img"),
        ("example.com/foo:v1", "example.com/foo a.example/x:v1"),
        ("example.com/foobar/img", "example.com b.example/foobar/img"),
        ("example.com/x", "example.com b.example/x"),
        ("EXAMPLE.com/x", "example.com b.example/x"),
        ("example.com:5000/x", "example.com b.example:5000/x"),
        ("a.example.com/x", "*.example.com a.example.com/x"),
        (
            "a.b.example.com:5000/x",
            "*.example.com a.b.example.com:5000/x",
        ),
        ("a.deep.example.com/x", "*.deep.example.com c.example/y/x"),
        ("deep.example.com/x", "*.example.com deep.example.com/x"),
        ("notexample.com/x", "none"),
        ("example.community/x", "none"),
        (
            "alpine",
            "docker.io/library/alpine docker.io/library/alpine",
        ),
        (
            "index.docker.io/library/alpine",
            "docker.io/library/alpine docker.io/library/alpine",
        ),
        ("alpine2", "none"),
        ("r.example:5000/x", "r.example:5000 r.example:5000/x"),
        ("r.example/x", "none"),
        ("r.example:50001/x", "none"),
    ];
    for (text, expected) in table {
        assert_eq!(found(&conf, text), expected, "{text}");
    }
}

/// Files of machines that were set up years ago.
#[test]
fn version_1() {
    let conf = conf(
        "[registries.search]\nregistries = [\"docker.io\"]\n\
         [registries.insecure]\nregistries = [\"r.lan:5000\", \"both.lan\"]\n\
         [registries.block]\nregistries = [\"both.lan\", \"evil.example\"]\n",
    );
    let said = conf.registries.values();
    let said = said.map(|it| (it.prefix.as_str(), it.insecure, it.blocked));
    let expected = [
        ("both.lan", true, true),
        ("evil.example", false, true),
        ("r.lan:5000", true, false),
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    assert_eq!(conf.unqualified_search, ["docker.io"]);
    assert_eq!(found(&conf, "r.lan:5000/x"), "r.lan:5000 r.lan:5000/x");
}

/// A prefix may name one image.
#[test]
fn a_prefix_with_a_tag_or_a_digest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let conf = conf(&format!(
        "[[registry]]\nlocation = \"r.example/app\"\n\
         [[registry]]\nprefix = \"r.example/app:v1\"\nlocation = \"a.example/one\"\n\
         [[registry]]\nprefix = \"r.example/app@{digest}\"\nlocation = \"a.example/two\"\n",
    ));
    assert_eq!(
        found(&conf, "r.example/app:v1"),
        "r.example/app:v1 a.example/one"
    );
    assert_eq!(
        found(&conf, "r.example/app:v10"),
        "r.example/app r.example/app:v10"
    );
    let by_digest = format!("r.example/app@{digest}");
    assert_eq!(
        found(&conf, &by_digest),
        format!("{by_digest} a.example/two")
    );
    assert_eq!(
        found(&conf, "r.example/app/x"),
        "r.example/app r.example/app/x"
    );
}

/// HOSTS-44: only when asked for.
#[test]
fn aliases_of_short_names() {
    let conf = conf(
        "[aliases]\nfedora = \"registry.fedoraproject.org/fedora\"\n\"a/b\" = \"quay.io/a/b\"\nbad = \"::\"\n\
         unqualified = \"a/b\"\nupper = \"r.example/A\"\n\"r.example/x\" = \"q.example/x\"",
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let table = [
        (
            "fedora".to_owned(),
            Some("registry.fedoraproject.org/fedora".to_owned()),
        ),
        (
            "fedora:40".to_owned(),
            Some("registry.fedoraproject.org/fedora:40".to_owned()),
        ),
        (
            format!("fedora@{digest}"),
            Some(format!("registry.fedoraproject.org/fedora@{digest}")),
        ),
        ("a/b:1".to_owned(), Some("quay.io/a/b:1".to_owned())),
        ("debian".to_owned(), None),
        ("r.example/fedora".to_owned(), None),
        ("r.example/x".to_owned(), None),
    ];
    for (short, full) in table {
        let full = full.map(|full| reference(&full));
        assert_eq!(conf.alias(&short), Ok(full), "{short}");
    }
    // They must not be read as Docker Hub's.
    for (short, why) in [
        ("bad", "it has no registry"),
        ("unqualified:1", "it has no registry"),
        ("upper", "lower case"),
    ] {
        let error = conf.alias(short).expect_err(short).to_string();
        let name = short.split(':').next().expect("a name");
        assert!(
            error.starts_with(&format!(
                "the alias of {name} in registries.conf is invalid: "
            )),
            "{error}"
        );
        assert!(error.contains(why), "{error}");
    }
}

/// HOSTS-45, and what the format's owner refuses.
#[test]
fn invalid_files_are_errors_with_a_position() {
    let table = [
        (
            "[[registry]]\nlocation = \"https://x\"",
            "2:12: location must not have a scheme",
        ),
        (
            "[[registry]]\nlocation = \"*.x\"",
            "2:12: location must not begin with",
        ),
        (
            "[[registry]]\nprefix = \"*.x/y\"",
            "2:10: prefix with \"*.\" must be a host",
        ),
        (
            "[[registry]]\nprefix = \"a.*.x\"\nlocation = \"b\"",
            "2:10: prefix must be host",
        ),
        (
            "[[registry]]\nlocation = \"x/../y\"",
            "2:12: location must be host",
        ),
        (
            "[[registry]]\nlocation = \"u:s3cret@x\"",
            "2:12: location must be host",
        ),
        (
            "[[registry]]\nprefix = \"x\"",
            "1:1: [[registry]] needs a location, unless",
        ),
        (
            "[[registry]]",
            "1:1: [[registry]] needs a location or a prefix",
        ),
        (
            "[[registry]]\nlocation = \"\"",
            "1:1: [[registry]] needs a location or a prefix",
        ),
        (
            "[[registry]]\nlocation = 1",
            "2:12: location must be a string",
        ),
        (
            "[registry]\nlocation = \"x\"",
            "1:1: registry must be a list of tables",
        ),
        (
            "[registries.search]\nregistries = []\n[[registry]]\nlocation = \"x\"",
            "3:1: [registries] is of version 1 and excludes",
        ),
        (
            "[registries.block]\nregistries = \"x\"",
            "2:14: registries must be a list",
        ),
        (
            "[[registry]]\nlocation = \"x/y:v1\"",
            "2:12: location must not have a tag",
        ),
        (
            "[[registry]]\nlocation = \"x\"\npull-from-mirror = \"all\"",
            "3:20: pull-from-mirror belongs into",
        ),
        (
            "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\n",
            "3:1: [[registry.mirror]] needs a location",
        ),
        (
            "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\nlocation = \"y\"\npull-from-mirror = \"no\"",
            "5:20: pull-from-mirror must be all",
        ),
        (
            "[[registry]]\nlocation = \"x\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"y\"\npull-from-mirror = \"all\"",
            "6:20: pull-from-mirror excludes",
        ),
        (
            "[[registry]]\nlocation = \"x\"\n[[registry]]\nlocation = \"x\"",
            "3:1: another [[registry]] has the same prefix",
        ),
        (
            "credential-helpers = \"x\"",
            "1:22: credential-helpers must be a list",
        ),
        ("[aliases]\nx = 1", "2:5: x must be a string"),
    ];
    for (text, expected) in table {
        let error = RegistriesConf::parse(Path::new("/r.conf"), text);
        let error = error.expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("/r.conf:{expected}")),
            "{text}: {error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn unknown_keys_are_warned_of() {
    let conf = conf(
        "unknwon = 1\n[[registry]]\nlocation = \"x\"\nmirors = []\n[[registry.mirror]]\nlocation = \"y\"\nx = 1",
    );
    let told: Vec<_> = conf.findings.iter().map(ToString::to_string).collect();
    let expected = [
        "/r.conf:1:1: unknown key \"unknwon\", ignored",
        "/r.conf:4:1: unknown key \"mirors\", ignored",
        "/r.conf:7:1: unknown key \"x\", ignored",
    ];
    assert_eq!(told, expected);
    assert!(conf.findings.iter().all(|finding| finding.is_warning));
}

/// HOSTS-40.
#[test]
fn which_files_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    let files = |pairs: &[(&str, &str)]| {
        RegistriesFiles::from_variables(crate::among(pairs)).expect("text")
    };
    let at_home = home.to_str().expect("UTF-8");
    let system = files(&[("HOME", at_home)]);
    assert_eq!(system.file, Path::new("/etc/containers/registries.conf"));
    assert_eq!(
        system.folders,
        [PathBuf::from("/etc/containers/registries.conf.d")]
    );
    let user = home.join(".config/containers/registries.conf");
    write(&user, "");
    let found = files(&[("HOME", at_home)]);
    assert_eq!((&found.file, found.is_named), (&user, false));
    assert_eq!(
        found.folders,
        [home.join(".config/containers/registries.conf.d")]
    );
    let elsewhere = home.join(".config");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    assert_eq!(files(&[("XDG_CONFIG_HOME", elsewhere)]).file, user);
    let named = files(&[("HOME", at_home), ("CONTAINERS_REGISTRIES_CONF", "/x.conf")]);
    assert_eq!(named, RegistriesFiles::named("/x.conf"));
    assert_eq!(
        files(&[("REGISTRIES_CONFIG_PATH", "/y")]),
        RegistriesFiles::named("/y")
    );
    let error = RegistriesFiles::named("/nonexistent.conf")
        .read()
        .expect_err("named");
    assert_eq!(
        error.to_string(),
        "/nonexistent.conf: there is no such file"
    );
}

/// HOSTS-40: drop-ins by name; an entry replaces the one of the same prefix, a list the list.
#[test]
fn drop_ins_replace_key_by_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("registries.conf");
    let drop_ins = folder.path().join("registries.conf.d");
    fs::create_dir(&drop_ins).expect("a folder");
    let write = |name: &str, text: &str| fs::write(drop_ins.join(name), text).expect("a file");
    fs::write(
        &file,
        "credential-helpers = [\"a\"]\n[aliases]\nx = \"q.io/x\"\ny = \"q.io/y\"\n\
         [[registry]]\nlocation = \"r\"\ninsecure = true\n[[registry]]\nlocation = \"s\"\n",
    )
    .expect("a file");
    write(
        "20.conf",
        "[[registry]]\nlocation = \"r\"\nblocked = true\n",
    );
    write(
        "10.conf",
        "credential-helpers = [\"b\"]\n[[registry]]\nlocation = \"r\"\n",
    );
    write("30.conf", "[aliases]\nx = \"\"\n");
    write("40.toml", "this is not read");
    let files = RegistriesFiles {
        file: file.clone(),
        is_named: false,
        folders: vec![drop_ins.clone(), folder.path().join("absent")],
    };
    let conf = files.read().expect("good files");
    assert!(conf.registries["r"].blocked && !conf.registries["r"].insecure);
    assert_eq!(conf.registries["r"].path, drop_ins.join("20.conf"));
    assert_eq!(conf.registries["s"].path, file);
    assert_eq!(conf.credential_helpers, Some(vec!["b".to_owned()]));
    assert_eq!(conf.aliases.keys().collect::<Vec<_>>(), ["y"]);
    assert_eq!(conf.files.len(), 4);
    write("15.conf", "[[registry]]\n");
    let error = files.read().expect_err("invalid").to_string();
    assert!(error.contains("15.conf:1:1: "), "{error}");
}
