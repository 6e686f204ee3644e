//! `windlass explain`: what it prints, and that it shows no secrets.

use std::fs;

use crate::common::{failed, printed, windlass};

/// A machine with a login, a mirror and a policy. No server is contacted: there is none.
#[test]
fn a_reference_is_explained_without_secrets() {
    let home = tempfile::tempdir().expect("a folder");
    let write = |path: &str, content: &str| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    };
    let login = r#"{"auths": {"r.example": {"auth": "dXNlcjpzM2NyZXQ="}}}"#;
    write(".docker/config.json", login);
    let own = "policy = \"policy.json\"\n[mirror.\"r.example\"]\nurl = \"https://mirror.corp\"\n";
    write(".config/windlass/config.toml", own);
    let policy = r#"{"default": [{"type": "reject"}],
        "transports": {"docker": {"r.example": [{"type": "insecureAcceptAnything"}]}}}"#;
    write(".config/windlass/policy.json", policy);

    let variables = [("HOME", home.path().to_str().expect("UTF-8"))];
    let output = windlass(&["explain", "r.example/app:v1"], &variables);
    let printed = printed(&output);
    for line in [
        "reference: r.example/app:v1",
        "read from, 1: https://mirror.corp/v2/app",
        "read from, 2: https://r.example/v2/app",
        "push to: https://r.example/v2/app",
    ] {
        assert!(printed.lines().any(|it| it == line), "{line}\n{printed}");
    }
    assert!(printed.contains("(key r.example): user name `user`, password ***"));
    assert!(printed.contains("policy: accepted by transports.docker[\"r.example\"]"));
    assert!(!printed.contains("s3cret") && !printed.contains("dXNlcjpzM2NyZXQ"));

    let output = windlass(&["explain", "--json", "other.example/app"], &variables);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(value["sources"][0]["url"], "https://other.example/v2/app");
    assert_eq!(value["sources"][0]["credential"], serde_json::Value::Null);
    let policy = value["policy"].as_str().expect("text");
    assert!(policy.starts_with("rejected by `default`"), "{policy}");
}

/// HOSTS-44: short names stand for their aliases only where that is asked for.
#[test]
fn short_names() {
    let home = tempfile::tempdir().expect("a folder");
    let write = |path: &str, content: &str| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    };
    write(
        ".config/containers/registries.conf",
        "unqualified-search-registries = [\"q.example\"]\n",
    );
    write(
        ".config/containers/registries.conf.d/000-shortnames.conf",
        "[aliases]\n\"fedora\" = \"registry.fedoraproject.org/fedora\"\n\"bad\" = \"fedora\"\n",
    );
    let own = write("own.toml", "short-names = true\n");
    let variables = [("HOME", home.path().to_str().expect("UTF-8"))];
    let (option, config) = (&["--short-names"][..], &["--config", &own][..]);
    for (options, written, expected) in [
        (&[][..], "fedora:40", "docker.io/library/fedora:40"),
        (option, "fedora:40", "registry.fedoraproject.org/fedora:40"),
        (config, "fedora:40", "registry.fedoraproject.org/fedora:40"),
        (option, "docker://fedora:40", "docker.io/library/fedora:40"),
        (option, "docker.io/fedora:40", "docker.io/library/fedora:40"),
        (option, "debian:12", "docker.io/library/debian:12"),
    ] {
        let output = windlass(&[options, &["explain", written]].concat(), &variables);
        let printed = printed(&output);
        let line = format!("reference: {expected}");
        assert!(
            printed.lines().any(|it| it.starts_with(&line)),
            "{line}\n{printed}"
        );
        let said = String::from_utf8_lossy(&output.stderr);
        let note = format!("the short name {written} stands for {expected}");
        let is_alias = expected.starts_with("registry");
        assert_eq!(said.contains(&note), is_alias, "{said}");
    }
    let output = windlass(&["--short-names", "explain", "bad"], &variables);
    let said = failed(&output, 2);
    assert!(
        said.contains("the alias of bad in registries.conf is invalid"),
        "{said}"
    );
    let words = ["--short-names", "--registries-conf=", "explain", "fedora"];
    let output = windlass(&words, &variables);
    assert!(failed(&output, 2).contains("--short-names needs a registries.conf"));
}
