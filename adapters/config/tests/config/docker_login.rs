//! Files in the form that `docker login` writes them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use windlass_config::CredentialSearch;
use windlass_config::credentials::{Helpers, LoginFile};
use windlass_core::Registry;
use windlass_core::credential::{CredentialAnswer, Question, Secret};
use windlass_driver::Credentials as _;

/// Without a helper: Docker Hub, a registry with a port, and a token of ACR, whose user name is a UUID of
/// zeros and whose password is empty.
const PLAIN: &str = r#"{
	"auths": {
		"https://index.docker.io/v1/": {
			"auth": "aHViOmRja3JfcGF0X3g="
		},
		"registry.example:5000": {
			"auth": "YWxpY2U6cGFzczp3b3Jk"
		},
		"team.azurecr.example": {
			"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==",
			"identitytoken": "eyJ.identity.token"
		}
	},
	"HttpHeaders": {
		"User-Agent": "Docker-Client/19.03.8 (linux)"
	},
	"detachKeys": "ctrl-e,e"
}"#;

/// With a helper, as Docker Desktop has it: entries are empty.
const DESKTOP: &str = r#"{
	"auths": {
		"https://index.docker.io/v1/": {},
		"registry.example:5000": {}
	},
	"credsStore": "desktop",
	"currentContext": "desktop-linux",
	"plugins": {
		"-x-cli-hints": {
			"enabled": "true"
		}
	},
	"features": {
		"hooks": "true"
	}
}"#;

fn basic(username: &str, password: &str) -> CredentialAnswer {
    let (username, password) = (username.to_owned(), Secret::new(password));
    CredentialAnswer::Basic { username, password }
}

fn find(search: &CredentialSearch, registry: &str) -> CredentialAnswer {
    let registry: Registry = registry.parse().expect("a registry");
    let recipient = registry.origin();
    search
        .find(&Question::new(registry, None, recipient))
        .answer
}

#[test]
fn a_file_with_passwords() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    fs::write(&path, PLAIN).expect("a file");
    let search = CredentialSearch::file(&path);
    let identity = CredentialAnswer::Refresh(Secret::new("eyJ.identity.token"));
    for (registry, expected) in [
        ("docker.io", basic("hub", "dckr_pat_x")),
        ("registry.example:5000", basic("alice", "pass:word")),
        ("registry.example", CredentialAnswer::None),
        ("team.azurecr.example", identity),
    ] {
        assert_eq!(find(&search, registry), expected, "{registry}");
    }
    // A login and a logout of another registry leave the file as docker wrote it.
    let other: Registry = "other.example".parse().expect("a registry");
    let file = LoginFile::new(&path, Helpers::new(None));
    let stored = file.store(&other, "bob", &Secret::new("p"));
    stored.expect("it is kept");
    assert_eq!(find(&search, "other.example"), basic("bob", "p"));
    file.erase(&other).expect("it is erased");
    let text = fs::read_to_string(&path).expect("a file");
    assert_eq!(text.trim_end(), PLAIN);
}

#[test]
fn a_file_with_a_helper() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    fs::write(&path, DESKTOP).expect("a file");
    let program = folder.path().join("docker-credential-desktop");
    let script = r#"#!/bin/sh
read url
echo "{\"ServerURL\":\"$url\",\"Username\":\"of $url\",\"Secret\":\"p\"}"
"#;
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let helpers = Helpers::new(Some(folder.path().into()));
    let search = CredentialSearch::file(&path).helpers(helpers);
    for (registry, url) in [
        ("docker.io", "https://index.docker.io/v1/"),
        ("registry.example:5000", "registry.example:5000"),
    ] {
        assert_eq!(find(&search, registry), basic(&format!("of {url}"), "p"));
    }
}
