//! The adapters as a driver asks them: with registries and origins.

use std::fs;

use windlass_config::{CredentialSearch, Explicit, Judgement, Policy, Proxies};
use windlass_core::credential::{CredentialAnswer, Question, Secret};
use windlass_core::{Reference, Registry};
use windlass_driver::{Credentials, ProxySelector};

fn user(credentials: &dyn Credentials, reference: &str) -> String {
    let reference: Reference = reference.parse().expect("a reference");
    let registry = reference.registry();
    let repository = Some(reference.repository().clone());
    let question = Question::new(registry.clone(), repository, registry.origin());
    match credentials.find(&question).answer {
        CredentialAnswer::Basic { username, .. } => username,
        CredentialAnswer::None => "none".to_owned(),
        other @ (CredentialAnswer::Bearer(_)
        | CredentialAnswer::Refresh(_)
        | CredentialAnswer::Failed(_)
        | _) => format!("{other:?}"),
    }
}

fn docker() -> (tempfile::TempDir, CredentialSearch) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let entry = |name: &str| format!(r#"{{"username":"{name}","password":"p"}}"#);
    let text = format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{},"r.example":{},"r.example/team":{},
            "r.example:5000":{},"r.example/team/b":{},"q.example/a/b":{},"q.example/a/c":{}}}}}"#,
        entry("hub"),
        entry("host"),
        entry("team"),
        entry("port"),
        entry("one"),
        entry("b"),
        entry("c"),
    );
    fs::write(&path, text).expect("a file");
    (folder, CredentialSearch::file(path))
}

#[test]
fn docker_entries_by_reference() {
    let (_folder, docker) = docker();
    let table = [
        ("ubuntu", "hub"),
        ("docker.io/org/app:1", "hub"),
        ("index.docker.io/org/app", "hub"),
        ("registry-1.docker.io/org/app", "hub"),
        ("registry.hub.docker.com/ubuntu", "hub"),
        ("hub.docker.com/ubuntu", "none"),
        ("r.example/app", "host"),
        ("r.example:443/app", "host"),
        ("r.example:5000/app", "port"),
        ("r.example:5001/app", "none"),
        ("r.example/team/app", "team"),
        ("r.example/teams/app", "host"),
        ("r.example/team/b", "one"),
        ("r.example/team/b/c", "one"),
        ("r.example/team/bc", "team"),
        ("q.example/a/b", "b"),
        ("q.example/a/c/d", "c"),
        ("q.example/a/d", "none"),
        ("q.example/a", "none"),
        ("other.example/app", "none"),
    ];
    for (reference, expected) in table {
        assert_eq!(user(&docker, reference), expected, "{reference}");
    }
}

/// A rule for Docker Hub counts for every name of it.
#[test]
fn policies_know_all_names_of_hub() {
    let policy = r#"{"default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {"docker.io": [{"type": "reject"}]}}}"#;
    let policy = Policy::from_json(policy).expect("a policy");
    for image in [
        "busybox",
        "registry-1.docker.io/library/busybox",
        "registry-1.docker.io:443/library/busybox",
        "index.docker.io:443/busybox",
        "registry.hub.docker.com:443/busybox",
    ] {
        let image: Reference = image.parse().expect("a reference");
        let judgement = policy.of_registry(&image).judgement();
        assert_eq!(judgement, Judgement::Rejected, "{image}");
    }
}

#[test]
fn explicit_ones_stay_with_their_registry() {
    let (_folder, docker) = docker();
    let registry: Registry = "r.example".parse().expect("a registry");
    let explicit = Explicit::password(registry, "me", Secret::new("s3cret"));
    let explicit = docker.explicit(explicit);
    let table = [
        ("r.example/app", "me"),
        ("r.example:5000/app", "port"),
        ("ubuntu", "hub"),
        ("other.example/app", "none"),
    ];
    for (reference, expected) in table {
        assert_eq!(user(&explicit, reference), expected, "{reference}");
    }
    assert!(!format!("{explicit:?}").contains("s3cret"));
    // However it is spelled.
    let (_folder, docker) = self::docker();
    let registry: Registry = "registry-1.docker.io".parse().expect("a registry");
    let explicit = Explicit::password(registry, "me", Secret::new("s3cret"));
    let explicit = docker.explicit(explicit);
    let source = |name: &str| {
        let registry: Registry = name.parse().expect(name);
        explicit.source(&registry, None)
    };
    assert_eq!(source("docker.io").as_deref(), Some("the command line"));
    let file = source("r.example").expect("a file");
    assert!(file.ends_with("config.json (key r.example)"), "{file}");
    assert_eq!(source("other.example"), None);
    assert_eq!(user(&explicit, "ubuntu"), "me");
    assert_eq!(user(&explicit, "r.example/app"), "host");
}

#[test]
fn loopback_is_reached_directly() {
    let all = |name: &str| (name == "ALL_PROXY").then(|| "proxy.example:3128".into());
    let proxies = Proxies::from_variables(all);
    let table = [
        ("r.example", true),
        ("192.0.2.1:5000", true),
        ("localhost", false),
        ("localhost:5000", false),
        ("127.0.0.1:5000", false),
        ("127.1.2.3", false),
        ("[::1]:5000", false),
    ];
    for (name, is_proxied) in table {
        let registry: Registry = name.parse().expect(name);
        let proxy = proxies.proxy(&registry.origin());
        assert_eq!(proxy.is_some(), is_proxied, "{name}");
    }
}
