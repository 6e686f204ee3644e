use std::fs;

use super::*;
use crate::testing::write;

fn policy(text: &str) -> Policy {
    Policy::from_json(text).expect("a policy")
}

fn scope_of(policy: &Policy, image: &str) -> Option<String> {
    let image = image.parse().expect("a reference");
    policy.of_registry(&image).scope().map(str::to_owned)
}

/// A policy that accepts these scopes, and nothing else.
fn accepting(transport: &str, scopes: &[&str]) -> Policy {
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    let scopes: Vec<String> = scopes.iter().map(|it| format!("{it:?}:{accept}")).collect();
    let scopes = scopes.join(",");
    policy(&format!(
        r#"{{"default":[{{"type":"reject"}}],"transports":{{"{transport}":{{{scopes}}}}}}}"#
    ))
}

/// containers-policy.json(5): the most specific scope applies, and no other one.
#[test]
fn the_most_specific_scope_applies() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let with_digest = format!("r.example/ns/app@{digest}");
    for (image, first) in [
        ("r.example/ns/app:v1".to_owned(), "r.example/ns/app:v1"),
        (format!("r.example/ns/app@{digest}"), &with_digest),
        (format!("r.example/ns/app:v1@{digest}"), &with_digest),
    ] {
        let all = [
            first,
            "r.example/ns/app",
            "r.example/ns",
            "r.example",
            "*.example",
            "",
        ];
        for skipped in 0..all.len() {
            let policy = accepting("docker", &all[skipped..]);
            assert_eq!(scope_of(&policy, &image).as_deref(), Some(all[skipped]));
        }
        assert_eq!(scope_of(&accepting("docker", &[]), &image), None);
        assert_eq!(scope_of(&accepting("oci", &[""]), &image), None);
    }
    // A tag that is accepted does not let another digest pass.
    let pinned = format!("r.example/ns/app:v1@{digest}");
    assert_eq!(
        scope_of(&accepting("docker", &["r.example/ns/app:v1"]), &pinned),
        None
    );
}

#[test]
fn names_of_registries() {
    let table = [
        ("busybox", "docker.io/library/busybox:latest", true),
        ("busybox", "docker.io/library", true),
        ("index.docker.io/library/busybox", "docker.io", true),
        ("registry-1.docker.io/library/busybox", "docker.io", true),
        ("busybox", "busybox", false),
        ("busybox", "library/busybox", false),
        ("r.example:5000/a", "r.example:5000", true),
        ("r.example:5000/a", "r.example", false),
        ("r.example:5000/a", "*.example", true),
        ("R.Example/a", "r.example/a", true),
        ("r.example:443/a", "r.example/a", true),
        ("r.example/a", "R.EXAMPLE:443", true),
        ("a.b.c.example/x", "*.c.example", true),
        ("a.b.c.example/x", "*.example", true),
        ("example/x", "*.example", false),
        ("r.example/team2/x", "r.example/team", false),
        ("r.example/a:V1", "r.example/a:v1", false),
        ("[::1]:5000/a", "[::1]:5000", true),
    ];
    for (image, scope, applies) in table {
        let found = scope_of(&accepting("docker", &[scope]), image);
        assert_eq!(
            found.as_deref(),
            applies.then_some(scope),
            "{image} {scope}"
        );
    }
}

#[test]
fn layouts_are_scoped_by_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    let layout = root.join("images");
    fs::create_dir(&layout).expect("a folder");
    let link = root.join("link");
    std::os::unix::fs::symlink(&layout, &link).expect("a link");
    let scope = |path: &Path| path.to_str().expect("text").to_owned();
    for (scopes, applies) in [
        (vec![scope(&root), scope(&layout)], Some(scope(&layout))),
        (vec![scope(&root)], Some(scope(&root))),
        (vec![scope(&link)], None),
        (vec!["".to_owned()], Some("".to_owned())),
    ] {
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let policy = accepting("oci", &scopes);
        let rule = policy.of_layout(&link);
        assert_eq!(rule.scope(), applies.as_deref());
    }
    // One that is not there yet.
    let policy = accepting("oci", &[&scope(&root)]);
    let rule = policy.of_layout(&root.join("none"));
    assert_eq!(rule.scope(), root.to_str());
}

#[test]
fn judgements() {
    let accept = r#"{"type":"insecureAcceptAnything"}"#;
    let reject = r#"{"type":"reject"}"#;
    let signed = r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k.gpg"}"#;
    let sigstore =
        r#"{"type":"sigstoreSigned","keyData":"a","signedIdentity":{"type":"matchRepository"}}"#;
    let table: &[(&[&str], Judgement, &[&str])] = &[
        (&[accept], Judgement::Accepted, &[]),
        (&[accept, accept], Judgement::Accepted, &[]),
        (&[accept, reject], Judgement::Rejected, &[]),
        (&[signed, reject], Judgement::Rejected, &["signedBy"]),
        (&[signed], Judgement::NeedsVerification, &["signedBy"]),
        (
            &[accept, sigstore, signed],
            Judgement::NeedsVerification,
            &["sigstoreSigned", "signedBy"],
        ),
    ];
    for (requirements, judgement, verifications) in table {
        let policy = policy(&format!(r#"{{"default":[{}]}}"#, requirements.join(",")));
        let image = "busybox".parse().expect("a reference");
        let rule = policy.of_registry(&image);
        assert_eq!(rule.judgement(), *judgement, "{requirements:?}");
        assert_eq!(rule.verifications().collect::<Vec<_>>(), *verifications);
        assert_eq!(rule.to_string(), "`default` of policy.json");
    }
}

/// What Fedora and RHEL install.
#[test]
fn the_file_of_a_distribution() {
    let policy = policy(
        r#"{
    "default": [{"type": "insecureAcceptAnything"}],
    "transports": {
        "docker": {
            "registry.access.redhat.com": [{
                "type": "signedBy",
                "keyType": "GPGKeys",
                "keyPaths": ["/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release",
                             "/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-beta"]
            }]
        },
        "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}
    }
}"#,
    );
    let image = "registry.access.redhat.com/ubi9"
        .parse()
        .expect("a reference");
    let rule = policy.of_registry(&image);
    assert_eq!(rule.judgement(), Judgement::NeedsVerification);
    assert_eq!(
        rule.to_string(),
        r#"transports.docker["registry.access.redhat.com"] of policy.json"#
    );
    let image = "busybox".parse().expect("a reference");
    assert_eq!(policy.of_registry(&image).judgement(), Judgement::Accepted);
}

#[test]
fn invalid_files_say_where() {
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    let table = [
        ("", "line 1"),
        ("{", "line 1"),
        ("[]", "struct"),
        ("{}", "missing field `default`"),
        (r#"{"default":[]}"#, "must not be empty"),
        (r#"{"default":[{}]}"#, "missing field `type`"),
        (r#"{"default":[{"type":"other"}]}"#, "`other`"),
        (
            "{\"default\":[{\"type\":\"reject\",\n\"x\":1}]}",
            "unknown field `x`",
        ),
        (
            r#"{"default":[{"type":"insecureAcceptAnything","keyPath":"/k"}]}"#,
            "unknown field `keyPath`",
        ),
        (
            r#"{"default":[{"type":"signedBy","keyPath":"/k"}]}"#,
            "missing field `keyType`",
        ),
        (
            &format!(r#"{{"default":{accept},"default":{accept}}}"#),
            "duplicate field",
        ),
        (
            &format!(r#"{{"default":{accept},"transport":{{}}}}"#),
            "unknown field `transport`",
        ),
        (
            &format!(
                r#"{{"default":{accept},"transports":{{"docker":{{"a":{accept},"a":{accept}}}}}}}"#
            ),
            "occurs twice",
        ),
        (
            &format!(r#"{{"default":{accept},"transports":{{"docker":{{}},"docker":{{}}}}}}"#),
            "occurs twice",
        ),
        (
            &format!(r#"{{"default":{accept},"transports":{{"oci":{{"images":{accept}}}}}}}"#),
            "absolute path",
        ),
        (
            &format!(r#"{{"default":{accept},"transports":{{"oci":{{"/a/":{accept}}}}}}}"#),
            "absolute path",
        ),
        (
            &format!(r#"{{"default":{accept},"transports":{{"oci":{{"/a/../b":{accept}}}}}}}"#),
            "absolute path",
        ),
        (
            &format!(
                r#"{{"default":{accept},"transports":{{"docker":{{"r.example":{accept},"R.EXAMPLE:443":{accept}}}}}}}"#
            ),
            "are the same scope",
        ),
    ];
    for (text, expected) in table {
        let error = Policy::from_json(text).expect_err(text).to_string();
        assert!(error.starts_with("the policy policy.json is invalid: "));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn files_are_found() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join(".config/containers/policy.json");
    let find = || {
        let home = home.path().as_os_str().to_owned();
        Policy::find(move |name| (name == "HOME").then(|| home.clone()))
    };
    let system = Policy::from_file(SYSTEM).ok();
    let found = find().expect("nothing is wrong with it");
    assert_eq!(found.map(|it| it.path), system.map(|it| it.path));
    write(&path, r#"{"default":[{"type":"reject"}]}"#);
    let found = find().expect("it is valid").expect("it is there");
    assert_eq!(found.path(), path);
    fs::write(&path, "{").expect("a file");
    let error = find().expect_err("it is broken").to_string();
    assert!(error.contains(path.to_str().expect("text")), "{error}");
    let missing = Policy::from_file("/nowhere/policy.json").expect_err("it is missing");
    let missing = missing.to_string();
    assert!(missing.contains("cannot read the policy /nowhere/policy.json"));
}
