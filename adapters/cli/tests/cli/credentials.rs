//! Where credentials come from, and `login` and `logout`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use windlass_testbed::{Auth, Basic, Bearer, Server, User};

use crate::common::{
    PASSWORD, USER, failed, printed, registry, text, users, windlass, windlass_with,
};

fn basic() -> Auth {
    Auth::Basic(Basic {
        users: users(),
        anonymous_pull: false,
    })
}

fn bearer() -> Auth {
    Auth::Bearer(Bearer {
        users: users(),
        anonymous_pull: false,
        ..Bearer::default()
    })
}

/// A registry for alice, and a folder for files.
struct Scene {
    server: Server,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(auth: Auth) -> Self {
        Self {
            server: registry(auth),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).expect("a file");
        self.path(name)
    }

    fn app(&self) -> String {
        format!("{}/app:v1", self.server.host())
    }

    /// A file in docker's form with alice.
    fn config(&self, name: &str) -> String {
        let entry = json!({"username": USER, "password": PASSWORD});
        let config = json!({"auths": {self.server.host(): entry}});
        self.write(name, &config.to_string())
    }

    /// The names of this registry's variables begin with it.
    fn prefix(&self) -> String {
        let host = self.server.host();
        format!("WINDLASS_AUTH_{}", host.replace(['.', ':'], "_"))
    }

    fn login(
        &self,
        words: &[&str],
        password: &str,
        variables: &[(&str, &str)],
    ) -> std::process::Output {
        let host = self.server.host();
        let login = ["login", &host, "--username", USER, "--password-stdin"];
        windlass_with(
            &[&login, words].concat(),
            variables,
            &format!("{password}\n"),
        )
    }
}

/// Writes a credential helper.
fn script(folder: &Path, name: &str, body: &str) {
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
}

#[test]
fn every_source_is_read() {
    let scene = Scene::new(basic());
    let app = scene.app();
    let (prefix, config) = (scene.prefix(), scene.config("config.json"));
    let inline = fs::read_to_string(&config).expect("a file");
    let password = scene.write("password", &format!("{PASSWORD}\n"));
    let folder = scene.path("");
    let (user, secret) = (format!("{prefix}_USERNAME"), format!("{prefix}_PASSWORD"));
    let file = format!("{prefix}_TOKEN_FILE");
    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let table: [Row<'_>; 7] = [
        (&["--username", USER, "--token-file", &password], &[]),
        (&[], &[(&user, USER), (&secret, PASSWORD)]),
        (&[], &[(&user, USER), (&file, &password)]),
        (&[], &[("DOCKER_AUTH_CONFIG", &inline)]),
        (&["--authfile", &config], &[]),
        (&[], &[("REGISTRY_AUTH_FILE", &config)]),
        (&[], &[("DOCKER_CONFIG", &folder)]),
    ];
    for (words, variables) in table {
        let output = windlass(&[&["digest", &app], words].concat(), variables);
        assert!(
            printed(&output).starts_with("sha256:"),
            "{words:?} {variables:?}"
        );
        let said = text(&output.stderr);
        assert!(!said.contains(PASSWORD), "{said}");
    }
    failed(&windlass(&["digest", &app], &[]), 4);
    // Another identity is not used instead of one that was named and is broken.
    for broken in [(secret.as_str(), PASSWORD), ("DOCKER_AUTH_CONFIG", "{")] {
        let variables = [broken, ("DOCKER_CONFIG", &folder)];
        let said = failed(&windlass(&["digest", &app], &variables), 4).to_owned();
        assert!(said.contains(broken.0), "{said}");
    }
    // The first one counts, even if a later one is right.
    let wrong = [
        (user.as_str(), USER),
        (&secret, "s3cret"),
        ("REGISTRY_AUTH_FILE", &config),
    ];
    let output = windlass(&["digest", &app], &wrong);
    let said = failed(&output, 4);
    assert!(
        said.contains(&format!("came from the variables {prefix}_*")),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn tokens_are_sent_as_they_are() {
    let scene = Scene::new(bearer());
    let app = scene.app();
    // A token of the service, as somebody else got it.
    let config = scene.config("config.json");
    printed(&windlass(&["digest", &app, "--authfile", &config], &[]));
    let tokens = scene.server.with_model(|model| model.tokens().clone());
    let token = tokens.keys().next().expect("one was given out").clone();
    let file = scene.write("token", &token);
    let variable = format!("{}_TOKEN", scene.prefix());
    let asked = |server: &Server| {
        let requests = server.requests();
        requests
            .iter()
            .filter(|it| it.target.starts_with("/token"))
            .count()
    };
    let before = asked(&scene.server);
    printed(&windlass_with(
        &["digest", &app, "--token-stdin"],
        &[],
        &format!("{token}\n"),
    ));
    printed(&windlass(&["digest", &app, "--token-file", &file], &[]));
    printed(&windlass(&["digest", &app], &[(&variable, &token)]));
    assert_eq!(
        asked(&scene.server),
        before,
        "the token service is not asked"
    );
}

/// Two identities in one registry: each is for its own repository.
#[test]
fn each_side_of_a_copy_has_its_own() {
    let two = BTreeMap::from([
        (
            "reader".to_owned(),
            User::limited("pass-of-reader").with("app", &["pull"]),
        ),
        (
            "writer".to_owned(),
            User::limited("pass-of-writer").with("mine", &["pull", "push"]),
        ),
    ]);
    for auth in [
        Auth::Basic(Basic {
            users: two.clone(),
            anonymous_pull: false,
        }),
        Auth::Bearer(Bearer {
            users: two,
            anonymous_pull: false,
            ..Bearer::default()
        }),
    ] {
        let scene = Scene::new(auth);
        let mine = format!("{}/mine:v1", scene.server.host());
        let password = scene.write("password", "pass-of-writer");
        let words = [
            "copy",
            &scene.app(),
            &mine,
            "--src-username",
            "reader",
            "--src-password-stdin",
        ];
        let dest = ["--dest-username", "writer", "--dest-token-file", &password];
        let output = windlass_with(&[&words[..], &dest].concat(), &[], "pass-of-reader\n");
        assert!(printed(&output).starts_with("sha256:"));
        let one = windlass_with(&words, &[], "pass-of-reader\n");
        failed(&one, 4);
    }
}

/// The file that windlass' own names is used by every command, and variables come before it.
#[test]
fn windlass_own_file_names_the_credentials() {
    let scene = Scene::new(basic());
    let own = scene.write("config.toml", "[credentials]\nauth-file = \"auth.json\"\n");
    let variables = [("WINDLASS_CONFIG", own.as_str())];
    // The named file does not exist before the first login.
    printed(&scene.login(&[], PASSWORD, &variables));
    let kept = fs::read_to_string(scene.path("auth.json")).expect("the named file");
    assert!(kept.contains(&scene.server.host()), "{kept}");
    printed(&windlass(&["digest", &scene.app()], &variables));
    let empty = scene.write("empty.json", "{}");
    let both = [variables[0], ("REGISTRY_AUTH_FILE", empty.as_str())];
    failed(&windlass(&["digest", &scene.app()], &both), 4);
    let output = windlass(&["logout", &scene.server.host()], &variables);
    let said = text(&output.stderr);
    assert!(said.contains("auth.json"), "{said}");
    failed(&windlass(&["digest", &scene.app()], &variables), 4);
}

#[test]
fn a_login_is_checked_and_kept() {
    for auth in [basic(), bearer()] {
        let scene = Scene::new(auth);
        let folder = scene.path("docker");
        let variables = [("DOCKER_CONFIG", folder.as_str())];
        let output = scene.login(&[], "wrong-s3cret", &variables);
        let said = failed(&output, 4);
        assert!(
            said.contains("401 with the credentials of `alice`"),
            "{said}"
        );
        assert!(!said.contains("wrong-s3cret"), "{said}");
        assert!(!Path::new(&folder).exists(), "nothing is kept");

        let output = scene.login(&[], PASSWORD, &variables);
        assert_eq!(printed(&output), "");
        let said = text(&output.stderr);
        let host = scene.server.host();
        let expected = format!(
            "logged in to {host} as alice; the password is kept in {folder}/config.json, \
             unencrypted and for you only\n"
        );
        assert_eq!(said, expected);
        let file = PathBuf::from(&folder).join("config.json");
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        printed(&windlass(&["digest", &scene.app()], &variables));

        let output = windlass(&["logout", &host, "--json"], &variables);
        let line: serde_json::Value = serde_json::from_str(printed(&output)).expect("JSON");
        let expected = json!({
            "registry": host,
            "erased": [file.to_str()],
            "remaining": null,
        });
        assert_eq!(line, expected);
        failed(&windlass(&["digest", &scene.app()], &variables), 4);
        let output = windlass(&["logout", &host], &variables);
        printed(&output);
        assert!(
            text(&output.stderr).starts_with("not logged in to "),
            "{}",
            text(&output.stderr)
        );
    }
}

/// One request that needs the credential, and one without before it.
#[test]
fn a_login_is_one_question() {
    let scene = Scene::new(basic());
    let file = scene.path("auth.json");
    let output = scene.login(&["--authfile", &file, "--json"], PASSWORD, &[]);
    let line: serde_json::Value = serde_json::from_str(printed(&output)).expect("JSON");
    let host = scene.server.host();
    let expected = json!({"registry": host, "username": USER, "kept": file, "verified": true});
    assert_eq!(line, expected);
    let requests = scene.server.requests();
    let requests: Vec<_> = requests
        .iter()
        .map(|it| format!("{} {}", it.method, it.target))
        .collect();
    assert_eq!(requests, ["GET /v2/", "GET /v2/"]);
}

#[test]
fn an_open_registry_checks_nothing() {
    let scene = Scene::new(Auth::Open);
    let file = scene.path("auth.json");
    let output = scene.login(&["--authfile", &file, "--json"], PASSWORD, &[]);
    let line: serde_json::Value = serde_json::from_str(printed(&output)).expect("JSON");
    assert_eq!(line["verified"], false);
    assert!(text(&output.stderr).contains("accepts requests without credentials"));
    let requests = scene.server.requests();
    assert!(
        requests
            .iter()
            .all(|it| !it.headers.contains_key("authorization"))
    );
}

/// A password that was not sent is not known to be right: it is not kept.
#[test]
fn a_password_that_was_not_sent_is_not_kept() {
    let scene = Scene::new(Auth::Open);
    let port = scene.server.addr().port();
    // The token service is on a host that may not have it.
    scene.server.with_model(|model| {
        model.options_mut().auth = Auth::Bearer(Bearer {
            users: users(),
            realm: format!("http://localhost:{port}/token"),
            ..Bearer::default()
        });
    });
    let file = scene.path("auth.json");
    let words = ["--authfile", &file];
    let output = scene.login(&words, PASSWORD, &[]);
    let said = failed(&output, 4);
    assert!(said.contains("--trust-realm"), "{said}");
    assert!(said.contains("the password was not sent"), "{said}");
    assert!(
        !said.contains("accepts requests without credentials"),
        "{said}"
    );
    assert!(!Path::new(&file).exists());
    // Nor does a refused password become a login by going on without it.
    scene.server.with_model(|model| {
        model.options_mut().auth = Auth::Bearer(Bearer {
            users: users(),
            ..Bearer::default()
        });
    });
    let words = ["--authfile", &file, "--anonymous-fallback"];
    failed(&scene.login(&words, "wrong", &[]), 4);
    assert!(!Path::new(&file).exists());
    printed(&scene.login(&words, PASSWORD, &[]));
    assert!(Path::new(&file).exists());
}

/// Basic authentication has no form for them.
#[test]
fn user_names_that_cannot_be_sent_are_refused() {
    let scene = Scene::new(Auth::Bearer(Bearer {
        users: users(),
        ..Bearer::default()
    }));
    let (host, file) = (scene.server.host(), scene.path("auth.json"));
    for user in ["a:b", ""] {
        let words = [
            "login",
            &host,
            "--username",
            user,
            "--password-stdin",
            "--authfile",
            &file,
        ];
        let output = windlass_with(&words, &[], "s3cret\n");
        let said = failed(&output, 2);
        assert!(
            said.contains("a user name is not empty and has no `:`"),
            "{said}"
        );
    }
    assert!(scene.server.requests().is_empty());
    assert!(!Path::new(&file).exists());
}

#[test]
fn what_is_no_registry_is_no_place_to_log_in() {
    let scene = Scene::new(Auth::Open);
    let file = scene.path("auth.json");
    let words = ["--username", USER, "--password-stdin", "--authfile", &file];
    let login = |host: &str| windlass_with(&[&["login", host], &words[..]].concat(), &[], "p\n");
    failed(&login("registry.invalid"), 5);
    for bad in ["r.example/team", "x", "alice:s3cret@r.example"] {
        let output = login(bad);
        let said = failed(&output, 2);
        assert!(!said.contains("s3cret"), "{said}");
    }
    assert!(!Path::new(&file).exists());
}

/// The helper of the file keeps the password, and a source before it is told.
#[test]
fn a_helper_keeps_the_password() {
    let scene = Scene::new(basic());
    let bin = scene.folder.path().join("bin");
    let log = scene.path("log");
    script(
        &bin,
        "vault",
        &format!(
            "case $1 in store) cat >{log} ;; get) cat {log} 2>/dev/null || \
             {{ echo credentials not found in native keychain; exit 1; }} ;; erase) rm {log} ;; esac"
        ),
    );
    let folder = scene.path("docker");
    fs::create_dir(&folder).expect("a folder");
    let config = scene.write("docker/config.json", r#"{"credsStore": "vault"}"#);
    let bin = bin.to_str().expect("UTF-8").to_owned();
    let variables = [("DOCKER_CONFIG", folder.as_str()), ("PATH", &bin)];
    let output = scene.login(&[], PASSWORD, &variables);
    printed(&output);
    let said = text(&output.stderr).to_owned();
    assert!(
        said.contains("kept in the credential helper `docker-credential-vault`\n"),
        "{said}"
    );
    assert!(
        !fs::read_to_string(&config)
            .expect("a file")
            .contains("auth\"")
    );
    printed(&windlass(&["digest", &scene.app()], &variables));

    let other = scene.config("other.json");
    let other = fs::read_to_string(other).expect("a file");
    let hidden = [variables[0], variables[1], ("DOCKER_AUTH_CONFIG", &other)];
    let output = scene.login(&[], PASSWORD, &hidden);
    printed(&output);
    let said = text(&output.stderr);
    assert!(
        said.contains("windlass uses DOCKER_AUTH_CONFIG (key "),
        "{said}"
    );
    let output = windlass(&["logout", &scene.server.host()], &hidden);
    printed(&output);
    let said = text(&output.stderr);
    assert!(said.contains("there are still credentials for "), "{said}");
    assert!(!Path::new(&log).exists());
}

#[test]
fn a_login_that_cannot_be_kept_fails() {
    let scene = Scene::new(basic());
    let bin = scene.folder.path().join("bin");
    script(&bin, "locked", "echo it is locked; exit 1");
    let config = scene.write("config.json", r#"{"credsStore": "locked"}"#);
    let folder = scene.path("");
    let path = bin.to_str().expect("UTF-8");
    let variables = [("DOCKER_CONFIG", folder.as_str()), ("PATH", path)];
    let before = fs::read_to_string(&config).expect("a file");
    let output = scene.login(&[], PASSWORD, &variables);
    let said = failed(&output, 1);
    assert!(
        said.contains("`docker-credential-locked` failed: it is locked"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&config).expect("a file"), before);
    let output = windlass(&["logout", &scene.server.host()], &variables);
    failed(&output, 1);
    let output = scene.login(&["--authfile", "/dev/null/auth.json"], PASSWORD, &[]);
    let said = failed(&output, 1);
    assert!(said.contains("cannot write /dev/null/auth.json"), "{said}");
}

/// CVE-2021-41092: a helper that cannot be used changes nothing but that there is no credential.
#[test]
fn public_images_go_on_without_a_helper() {
    let auth = Auth::Bearer(Bearer {
        users: users(),
        anonymous_pull: true,
        ..Bearer::default()
    });
    let scene = Scene::new(auth);
    let bin = scene.folder.path().join("bin");
    script(&bin, "broken", "echo it is locked; exit 1");
    let bin = bin.to_str().expect("UTF-8").to_owned();
    for (helper, why) in [
        ("absent", "`docker-credential-absent` is not in PATH"),
        ("broken", "`docker-credential-broken` failed: it is locked"),
        ("../x", "cannot exist"),
    ] {
        let folder = scene.path("");
        scene.write("config.json", &format!(r#"{{"credsStore":"{helper}"}}"#));
        let variables = [("DOCKER_CONFIG", folder.as_str()), ("PATH", &bin)];
        let output = windlass(&["digest", &scene.app()], &variables);
        printed(&output);
        let said = text(&output.stderr);
        assert_eq!(said.matches("warning: ").count(), 1, "{said}");
        assert!(said.contains(why) && said.contains("config.json"), "{said}");
        let private = format!("{}/private:v1", scene.server.host());
        let output = windlass(&["copy", &scene.app(), &private], &variables);
        let said = failed(&output, 4);
        assert!(said.contains(why), "{said}");
        assert!(said.contains("config.json"), "{said}");
    }
    let requests = scene.server.requests();
    assert!(requests.iter().all(|it| {
        !it.headers.contains_key("authorization")
            || it.headers["authorization"]
                .to_str()
                .is_ok_and(|value| value.starts_with("Bearer "))
    }));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let scene = Scene::new(basic());
    let absent = scene.path("absent.json");
    let output = windlass(&["digest", &scene.app(), "--authfile", &absent], &[]);
    let said = failed(&output, 2);
    assert!(
        said.contains("cannot read the authfile") && said.contains(&absent),
        "{said}"
    );
    let broken = scene.write("broken.json", "{\n  \"auths\": [\"s3cret\"");
    let output = windlass(
        &["digest", &scene.app()],
        &[("REGISTRY_AUTH_FILE", &broken)],
    );
    let said = failed(&output, 4);
    let expected = format!("{broken} is not valid JSON at line 2, column ");
    assert!(
        said.contains(&expected) && !said.contains("s3cret"),
        "{said}"
    );
    let login = scene.login(&["--authfile", &broken], PASSWORD, &[]);
    let said = failed(&login, 2);
    assert!(said.contains(&broken), "{said}");
}
