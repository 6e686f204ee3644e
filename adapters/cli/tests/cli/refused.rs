//! Refused credentials: the error names them and their source.

use crate::common::{USER, failed, layout, registry, users, windlass, windlass_as_user};
use serde_json::json;
use windlass_testbed::{Auth, Basic, Bearer, Server};

fn basic() -> Auth {
    Auth::Basic(Basic {
        users: users(),
        anonymous_pull: false,
    })
}

fn bearer() -> Auth {
    Auth::Bearer(Bearer {
        users: users(),
        ..Bearer::default()
    })
}

/// A folder with a `config.json` that has this entry for the registry.
fn config(server: &Server, entry: serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({"auths": {server.host(): entry}});
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    folder
}

/// A login that has expired is in the way, also of what everybody may pull: the error says which.
#[test]
fn a_stale_login_is_named() {
    for (auth, entry, presented) in [
        (
            basic(),
            json!({"username": USER, "password": "expired"}),
            "401 with the credentials of `alice`",
        ),
        (
            bearer(),
            json!({"username": USER, "password": "expired"}),
            "401 with the credentials of `alice`",
        ),
        (
            bearer(),
            json!({"identitytoken": "expired"}),
            "401 with an identity token",
        ),
        (
            bearer(),
            json!({"registrytoken": "expired"}),
            "401 with the configured token",
        ),
    ] {
        let server = registry(auth);
        let folder = config(&server, entry);
        let path = folder.path().to_str().expect("UTF-8");
        let variables = [("DOCKER_CONFIG", path)];
        let app = format!("{}/app:v1", server.host());
        let out = layout(folder.path(), "out");
        let source = format!(
            "the credentials for `{host}` came from {path}/config.json (key {host}); they may have expired",
            host = server.host()
        );
        for words in [&["pull", &app, &out][..], &["digest", &app]] {
            let said = windlass(words, &variables);
            let said = failed(&said, 4);
            assert!(said.contains(presented), "{said}");
            assert!(said.contains(&source), "{said}");
        }
    }
}

/// The other way round: a password that was typed, and no credentials at all.
#[test]
fn what_was_typed_is_named_and_what_is_not_there_is_not() {
    let mut others = users();
    let alice = others.get_mut(USER).expect("she is there");
    alice.password = "another".to_owned();
    let server = registry(Auth::Basic(Basic {
        users: others,
        anonymous_pull: false,
    }));
    let app = format!("{}/app:v1", server.host());
    let said = windlass_as_user(&["digest", &app], &[]);
    let said = failed(&said, 4);
    assert!(said.contains("came from the command line"), "{said}");
    let said = windlass(&["digest", &app], &[]);
    let said = failed(&said, 4);
    assert!(said.contains("there are no credentials for"), "{said}");
    assert!(!said.contains("expired"), "{said}");
}
