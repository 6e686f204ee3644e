//! The order of sources (CRED-01, CRED-02, CRED-40, CRED-41, CRED-44, CRED-45).

use std::path::Path;

use windlass_core::credential::Secret;

use super::*;
use crate::credentials::helper::testing::script;
use crate::testing::write;

/// A home folder in which every source has a user of its own for `r.example`.
struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| {
            let path = folder.path().join(name);
            path.to_str().expect("UTF-8").to_owned()
        };
        let variables = vec![
            ("HOME".to_owned(), path("home")),
            ("XDG_RUNTIME_DIR".to_owned(), path("run")),
            ("PATH".to_owned(), path("bin")),
        ];
        Self { folder, variables }
    }

    fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, content: &str) -> &Self {
        write(&self.folder.path().join(name), content);
        self
    }

    fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    fn search(&self, options: SearchOptions) -> CredentialSearch {
        let variables = among(self.variables.clone());
        CredentialSearch::with_options(options, variables).expect("text")
    }

    fn user(&self) -> String {
        user(&find(&self.search(SearchOptions::default()), "r.example"))
    }
}

fn with_helpers(names: &[&str]) -> SearchOptions {
    SearchOptions {
        credential_helpers: names.iter().map(|it| (*it).to_owned()).collect(),
        ..SearchOptions::default()
    }
}

/// CRED-45: the same host everywhere; each source is taken away in turn.
#[test]
fn the_first_source_wins() {
    let mut home = Home::new();
    let old = r#"{"r.example":{"username":"dockercfg","password":"p"}}"#;
    assert_eq!(home.user(), "None");
    home.write("home/.dockercfg", old);
    assert_eq!(home.user(), "dockercfg");
    home.write("home/.docker/config.json", "");
    assert_eq!(
        home.user(),
        "dockercfg",
        "an empty file is one without entries"
    );
    home.write("home/.docker/config.json", &json("docker"));
    assert_eq!(home.user(), "docker");
    home.write("own/config.json", &json("own"));
    let own = home.path("own");
    home.set("DOCKER_CONFIG", own);
    assert_eq!(home.user(), "own");
    home.write("home/.config/containers/auth.json", &json("config"));
    assert_eq!(home.user(), "config");
    home.write("xdg/containers/auth.json", &json("xdg"));
    let xdg = home.path("xdg");
    home.set("XDG_CONFIG_HOME", xdg);
    assert_eq!(home.user(), "xdg");
    if cfg!(target_os = "linux") {
        home.write("run/containers/auth.json", &json("runtime"));
        assert_eq!(home.user(), "runtime");
    }
    home.write("auth.json", &json("authfile"));
    let authfile = home.path("auth.json");
    home.set("REGISTRY_AUTH_FILE", authfile);
    assert_eq!(home.user(), "authfile");
    home.set("DOCKER_AUTH_CONFIG", json("variable"));
    assert_eq!(home.user(), "variable");
    home.set("WINDLASS_AUTH_R_EXAMPLE_USERNAME", "windlass");
    home.set("WINDLASS_AUTH_R_EXAMPLE_PASSWORD", "p");
    assert_eq!(home.user(), "windlass");
    let registry: Registry = "r.example".parse().expect("a registry");
    let given = Explicit::password(registry, "given", Secret::new("p"));
    let search = home.search(SearchOptions::default()).explicit(given);
    assert_eq!(user(&find(&search, "r.example")), "given");
}

/// CRED-02, CRED-40: what `DOCKER_AUTH_CONFIG` lacks is in the files; what `REGISTRY_AUTH_FILE` lacks is not.
#[test]
fn a_named_file_is_the_only_one() {
    let mut home = Home::new();
    home.write("home/.docker/config.json", &json("docker"));
    home.write("run/containers/auth.json", &json("runtime"));
    home.set("DOCKER_AUTH_CONFIG", "{}");
    assert_ne!(home.user(), "None");
    home.write("empty.json", "");
    let empty = home.path("empty.json");
    home.set("REGISTRY_AUTH_FILE", empty);
    assert_eq!(home.user(), "None");
    let absent = home.path("absent.json");
    home.set("REGISTRY_AUTH_FILE", absent.clone());
    let expected = format!("Failed(\"cannot read {absent}: no such file\")");
    assert_eq!(home.user(), expected);
    // An option replaces the variable.
    let options = SearchOptions {
        authfile: Some(Path::new(&home.path("own.json")).to_owned()),
        ..SearchOptions::default()
    };
    home.write("own.json", &json("option"));
    assert_eq!(user(&find(&home.search(options), "r.example")), "option");
    // Empty is unset.
    home.set("REGISTRY_AUTH_FILE", "");
    assert_ne!(home.user(), "None");
}

/// Kubernetes mounts a secret of the type `kubernetes.io/dockerconfigjson` as such a file.
#[test]
fn a_mounted_secret_is_read() {
    let mut home = Home::new();
    let secret = r#"{"auths":{"https://r.example/v1/":{"username":"k8s","password":"p",
        "email":"x@y","auth":"azhzOnA="}}}"#;
    home.write("secret/.dockerconfigjson", secret);
    let path = home.path("secret/.dockerconfigjson");
    home.set("REGISTRY_AUTH_FILE", path);
    assert_eq!(home.user(), "k8s");
}

#[test]
fn without_a_home_folder_there_are_fewer_places() {
    let search = CredentialSearch::from_variables(among::<&str>([])).expect("text");
    assert_eq!(find(&search, "r.example"), CredentialAnswer::None);
    let registry: Registry = "r.example".parse().expect("a registry");
    let said = search.explain(&registry, None).to_string();
    assert!(
        said.starts_with("the variables WINDLASS_AUTH_R_EXAMPLE_*: no entry"),
        "{said}"
    );
    // CRED-41: podman's place without XDG_RUNTIME_DIR.
    let uid = rustix::process::getuid().as_raw();
    let place = format!("/run/containers/{uid}/auth.json: no such file");
    assert!(
        !cfg!(target_os = "linux") || said.contains(&place),
        "{said}"
    );
}

/// A source that cannot be used is passed over. It is told if no other has a credential.
#[test]
fn failures_are_told_when_they_matter() {
    let home = Home::new();
    home.write("run/containers/auth.json", "{broken");
    home.write("home/.config/containers/auth.json", "{broken");
    if cfg!(target_os = "linux") {
        let first = home.path("run/containers/auth.json");
        let expected = format!("Failed(\"{first} is not valid JSON at line 1, column 2\")");
        assert_eq!(home.user(), expected, "the first reason");
    }
    home.write("home/.docker/config.json", &json("docker"));
    assert_eq!(home.user(), "docker");
    let search = home.search(SearchOptions::default());
    let registry: Registry = "r.example".parse().expect("a registry");
    let source = search.source(&registry, None).expect("docker's");
    let file = home.path("home/.docker/config.json");
    let begin = format!("{file} (key r.example), because before it ");
    assert!(
        source.starts_with(&begin) && source.contains("not valid JSON"),
        "{source}"
    );
    let other: Registry = "o.example".parse().expect("a registry");
    assert_eq!(search.source(&other, None), None);
}

/// What the user has named and got wrong is not replaced by another identity.
#[test]
fn a_broken_source_that_is_named_ends_the_search() {
    const PASSWORD: &str = "WINDLASS_AUTH_R_EXAMPLE_PASSWORD";
    let other = r#"echo '{"Username":"other","Secret":"p"}'"#;
    let failed = |why: String| format!("Failed({why:?})");
    let new = || {
        let home = Home::new();
        script(&home.folder.path().join("bin"), "other", other);
        home.write("home/.docker/config.json", &json("docker"));
        home
    };
    let listed = |home: &Home| {
        let search = home.search(with_helpers(&["other"]));
        (user(&find(&search, "r.example")), search)
    };
    let registry: Registry = "r.example".parse().expect("a registry");

    let mut home = new();
    home.set(PASSWORD, "s3cret");
    let why = format!("{PASSWORD} is set, but not WINDLASS_AUTH_R_EXAMPLE_USERNAME");
    assert_eq!(home.user(), failed(why));
    let explained = listed(&home).1.explain(&registry, None);
    let said = explained.to_string();
    assert!(explained.found().is_none(), "{said}");
    assert!(said.ends_with("registries.conf: not consulted"), "{said}");

    let mut home = new();
    home.set("DOCKER_AUTH_CONFIG", "{broken");
    let why = "DOCKER_AUTH_CONFIG is not valid JSON at line 1, column 2";
    assert_eq!(home.user(), failed(why.to_owned()));

    let mut home = new();
    let text = r#"{"auths":{"r.example":{"auth":"!"},"o.example":{"auth":"dTpw"}}}"#;
    home.set("DOCKER_AUTH_CONFIG", text);
    let why = "DOCKER_AUTH_CONFIG: the `auth` of r.example is not valid base64";
    assert_eq!(home.user(), failed(why.to_owned()));
    // Errors in entries of other registries are none.
    home.set("DOCKER_AUTH_CONFIG", text.replace("r.example", "x.example"));
    assert_eq!(home.user(), "docker");

    let mut home = new();
    let path = home.path("named.json");
    home.set("REGISTRY_AUTH_FILE", path.clone());
    for (content, why) in [
        (None, format!("cannot read {path}: no such file")),
        (
            Some("[]"),
            format!("{path} is not in the form of docker's configuration at line 1, column 1"),
        ),
        (
            Some(r#"{"credsStore":"absent"}"#),
            format!(
                "the credential helper `docker-credential-absent` is not in PATH (it is named in {path})"
            ),
        ),
    ] {
        if let Some(content) = content {
            home.write("named.json", content);
        }
        assert_eq!(listed(&home).0, failed(why));
    }
    home.write("named.json", "{}");
    assert_eq!(listed(&home).0, "other");
}

/// A source that failed is told once, also where another has the credential.
#[test]
fn failures_are_told_once() {
    let home = Home::new();
    home.write("home/.config/containers/auth.json", "{broken");
    home.write(
        "home/.docker/config.json",
        r#"{"auths":{"r.example":{"auth":"dTpw"},"o.example":{"auth":"dTpw"}},"credsStore":"absent"}"#,
    );
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let search = home.search(SearchOptions::default()).on_failure({
        let told = std::sync::Arc::clone(&told);
        move |why| told.lock().expect("no panic").push(why.to_owned())
    });
    let registry: Registry = "r.example".parse().expect("a registry");
    let _explained = search.explain(&registry, None);
    assert_eq!(told.lock().expect("no panic").len(), 0, "only for requests");
    for reference in ["r.example", "r.example", "o.example/a"] {
        assert_eq!(user(&find(&search, reference)), "u");
    }
    let (podman, docker) = (
        home.path("home/.config/containers/auth.json"),
        home.path("home/.docker/config.json"),
    );
    let expected = [
        format!("{podman} is not valid JSON at line 1, column 2"),
        format!(
            "the credential helper `docker-credential-absent` is not in PATH (it is named in {docker})"
        ),
    ];
    assert_eq!(*told.lock().expect("no panic"), expected);
    assert!(!format!("{search:?}").is_empty());
}

/// CRED-44: where helpers of `registries.conf` stand, and that podman's files name no `credsStore`.
#[test]
fn listed_helpers_have_their_place() {
    let home = Home::new();
    let answer = |user: &str| format!("echo '{{\"Username\":\"{user}\",\"Secret\":\"p\"}}'");
    let bin = home.folder.path().join("bin");
    script(&bin, "first", &answer("first"));
    script(&bin, "second", &answer("second"));
    script(
        &bin,
        "none",
        "echo credentials not found in native keychain; exit 1",
    );
    home.write("home/.docker/config.json", &json("docker"));
    let asked =
        |names: &[&str], reference: &str| user(&find(&home.search(with_helpers(names)), reference));
    let files = "containers-auth.json";
    assert_eq!(asked(&[files, "first"], "r.example"), "docker");
    assert_eq!(asked(&[files, "none", "first"], "o.example"), "first");
    assert_eq!(
        asked(&["none", "second", files, "first"], "r.example"),
        "second"
    );
    assert_eq!(asked(&["none", files], "r.example"), "docker");
    assert_eq!(
        asked(&["first"], "r.example"),
        "docker",
        "files first unless the list says where"
    );
    assert_eq!(asked(&["absent", files], "r.example"), "docker");
    let why = asked(&[files, "absent"], "o.example");
    assert!(
        why.contains("`docker-credential-absent` is not in PATH"),
        "{why}"
    );

    home.write(
        "home/.config/containers/auth.json",
        r#"{"credsStore":"first"}"#,
    );
    assert_eq!(asked(&[], "r.example"), "docker");
    home.write(
        "home/.config/containers/auth.json",
        r#"{"credHelpers":{"r.example":"first"}}"#,
    );
    assert_eq!(asked(&[], "r.example"), "first");
}

/// A helper's answer is asked for again after a time, since helpers do not say how long it lives. What is in
/// files counts until it is refused.
#[test]
fn how_long_answers_count() {
    let home = Home::new();
    let bin = home.folder.path().join("bin");
    script(&bin, "some", r#"echo '{"Username":"u","Secret":"p"}'"#);
    home.write(
        "home/.docker/config.json",
        r#"{"credHelpers":{"h.example":"some"},"auths":{"f.example":{"username":"u","password":"p"}}}"#,
    );
    let search = home.search(SearchOptions::default());
    let kept = HelperLimits::default().keep;
    let question = |registry: &str| {
        let (registry, _) = named(registry);
        let recipient = registry.origin();
        Question::new(registry, None, recipient)
    };
    for registry in ["f.example", "n.example"] {
        for question in [question(registry), question(registry).again()] {
            assert_eq!(search.find(&question).valid_for, None);
        }
    }
    // What is left of the time, also of an answer that was remembered.
    let mut before = kept;
    for question in [question("h.example"), question("h.example").again()] {
        let left = search.find(&question).valid_for.expect("a helper's");
        assert!(left <= before && left > kept / 2, "{left:?}");
        before = left - std::time::Duration::from_nanos(1);
    }
}

/// CRED-06, CRED-07: the helper first, then `auths` of the same file, also if the helper fails.
#[test]
fn helpers_of_a_file() {
    let home = Home::new();
    let bin = home.folder.path().join("bin");
    script(
        &bin,
        "some",
        r#"read url
        case $url in
            r.example | https://index.docker.io/v1/) echo "{\"Username\":\"$url\",\"Secret\":\"p\"}" ;;
            broken.example) echo it is locked; exit 1 ;;
            *) echo credentials not found in native keychain; exit 1 ;;
        esac"#,
    );
    script(&bin, "other", r#"echo '{"Username":"other","Secret":"p"}'"#);
    home.write(
        "home/.docker/config.json",
        r#"{"auths":{"r.example":{"auth":"dTpw"},"n.example":{"auth":"dTpw"},"m.example":{},
            "broken.example":{"auth":"dTpw"},"gone.example/team":{"auth":"dTpw"},"file.example":{"auth":"dTpw"}},
            "credHelpers":{"c.example":"other","gone.example":"gone","file.example":""},
            "credsStore":"some"}"#,
    );
    let search = home.search(SearchOptions::default());
    let asked = |reference: &str| user(&find(&search, reference));
    for (reference, expected) in [
        ("r.example", "r.example"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("n.example", "u"),
        ("m.example", "None"),
        ("unheard-of.example", "None"),
        ("c.example", "other"),
        ("broken.example", "u"),
        ("gone.example/team/app", "u"),
        ("file.example", "u"),
    ] {
        assert_eq!(asked(reference), expected, "{reference}");
    }
    let file = home.path("home/.docker/config.json");
    assert_eq!(
        asked("gone.example/app"),
        format!(
            "Failed(\"the credential helper `docker-credential-gone` is not in PATH (it is named in \
             {file})\")"
        )
    );
    let registry: Registry = "gone.example".parse().expect("a registry");
    let (_, team) = named("gone.example/team");
    let source = search.source(&registry, team.as_ref()).expect("auths");
    let expected = format!(
        "{file} (key gone.example/team), because before it the credential helper \
         `docker-credential-gone` is not in PATH (it is named in {file})"
    );
    assert_eq!(source, expected);
}

/// One helper for all registries, as a program chooses it.
#[test]
fn a_helper_alone() {
    let home = Home::new();
    let bin = home.folder.path().join("bin");
    script(
        &bin,
        "some",
        r#"read url; echo "{\"Username\":\"$url\",\"Secret\":\"p\"}""#,
    );
    let search = |name: &str| {
        let helpers = Helpers::new(Some(bin.clone().into()));
        CredentialSearch::helper(name).helpers(helpers)
    };
    for host in ["r.example", "o.example:5000"] {
        assert_eq!(user(&find(&search("some"), host)), host);
    }
    let registry: Registry = "r.example".parse().expect("a registry");
    let said = search("some").explain(&registry, None).to_string();
    let expected =
        "docker-credential-some, named in this program: user name `r.example`, password ***";
    assert_eq!(said, expected);
    let why = "the credential helper `docker-credential-absent` is not in PATH";
    let failed = CredentialAnswer::Failed(why.to_owned());
    assert_eq!(find(&search("absent"), "r.example"), failed);
}

/// CRED-10: a helper that is only installed is not asked.
#[test]
fn installed_is_not_configured() {
    let home = Home::new();
    let bin = home.folder.path().join("bin");
    for name in ["pass", "secretservice", "osxkeychain"] {
        script(&bin, name, r#"echo '{"Username":"u","Secret":"p"}'"#);
    }
    home.write("home/.docker/config.json", "{}");
    assert_eq!(home.user(), "None");
}

#[test]
fn all_sources_are_explained() {
    let home = Home::new();
    let bin = home.folder.path().join("bin");
    script(
        &bin,
        "none",
        "echo credentials not found in native keychain; exit 1",
    );
    script(&bin, "last", r#"echo '{"Username":"u","Secret":"p"}'"#);
    home.write("run/containers/auth.json", "[]");
    home.write(
        "home/.config/containers/auth.json",
        r#"{"auths":{"o.example":{}}}"#,
    );
    home.write(
        "home/.docker/config.json",
        r#"{"auths":{"https://R.example/v1/":{"auth":"dTpw"}},"credsStore":"none"}"#,
    );
    let search = home.search(with_helpers(&["containers-auth.json", "last"]));
    let registry: Registry = "r.example".parse().expect("a registry");
    let explanation = search.explain(&registry, None);
    let said = explanation.to_string();
    let said = said
        .replace(&home.path("home"), "~")
        .replace(&home.path("run"), "/run");
    let mut expected = vec![
        "the variables WINDLASS_AUTH_R_EXAMPLE_*: no entry",
        "/run/containers/auth.json: failed: /run/containers/auth.json is not in the form of docker's \
         configuration at line 1, column 1",
        "~/.config/containers/auth.json: no entry",
        "docker-credential-none, named in ~/.docker/config.json: no entry",
        "~/.docker/config.json (key https://R.example/v1/): user name `u`, password ***",
        "~/.dockercfg: not consulted",
        "docker-credential-last, named in `credential-helpers` of registries.conf: not consulted",
    ];
    if !cfg!(target_os = "linux") {
        expected.remove(1);
    }
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let found = explanation.found().expect("docker's");
    assert_eq!(found.key.as_deref(), Some("https://R.example/v1/"));
    let table = [("o.example", "last"), ("r.example", "config.json")];
    for (registry, part) in table {
        let registry: Registry = registry.parse().expect("a registry");
        let source = search.source(&registry, None).expect("a source");
        assert!(source.contains(part), "{source}");
    }
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_no_text_is_an_error() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad_value = || OsString::from_vec(b"s3cret\xff".to_vec());
    let names = [
        ("DOCKER_AUTH_CONFIG", true),
        ("REGISTRY_AUTH_FILE", true),
        ("XDG_RUNTIME_DIR", cfg!(target_os = "linux")),
        ("XDG_CONFIG_HOME", true),
        ("DOCKER_CONFIG", true),
        ("HOME", true),
        // Programs may be anywhere, and this one's form is known to the system only.
        ("PATH", false),
    ];
    for (bad, is_error) in names {
        let read = CredentialSearch::from_variables(move |name| (name == bad).then(bad_value));
        assert_eq!(read.is_err(), is_error, "{bad}");
        if let Err(error) = read {
            assert_eq!(error.name(), bad);
            let said = format!("{error} {error:?}");
            assert!(said.contains(bad) && !said.contains("s3cret"), "{said}");
        }
    }
}
