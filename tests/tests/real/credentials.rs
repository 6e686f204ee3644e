//! Logins that other tools have kept, and ours for them; a real credential helper.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::path::{Path, PathBuf};

use windlass_config::credentials::Helpers;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_tests::command::{AUTH, DONE, Windlass};
use windlass_tests::images::Layout;
use windlass_tests::registry::{Registry, Setup, Version};
use windlass_tests::tokens::Tokens;
use windlass_tests::{needs, peers, program};

const USER: &str = "alice";
const PASSWORD: &str = "correct horse: battery staple";

/// A registry for one user, with an image `alice/a:v1`.
struct Scene {
    registry: Registry,
    digest: String,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(setup: Setup) -> Self {
        let registry = setup.start();
        let (layout, image) = Layout::with_image(1, 1_000, 1);
        let words = [
            "push",
            &layout.oci_named("latest"),
            &registry.reference("alice/a:v1"),
        ];
        let pushed = Windlass::new(words).user(USER, PASSWORD).run();
        assert_eq!(pushed.digest(), image.manifest.digest);
        Self {
            registry,
            digest: image.manifest.digest,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads the image with what is kept in a file, in the library's and the command's way.
    #[track_caller]
    fn is_read_with(&self, authfile: &Path) {
        let reference = self.registry.reference("alice/a:v1");
        let by_variable = Windlass::new(["digest", &reference]);
        let by_variable = by_variable.env("REGISTRY_AUTH_FILE", authfile).run();
        assert_eq!(by_variable.digest(), self.digest);
        let by_option = Windlass::new(["digest", &reference, "--authfile"]).args([authfile]);
        assert_eq!(by_option.run().digest(), self.digest);
    }

    fn login(&self, words: &[&str]) -> Windlass {
        let host = self.registry.host();
        let login = ["login", &host, "--username", USER, "--password-stdin"];
        Windlass::new(login)
            .args(words)
            .input(&format!("{PASSWORD}\n"))
    }
}

fn basic() -> Scene {
    Scene::new(Setup::new(Version::Debian).basic(USER, PASSWORD))
}

#[test]
fn logins_of_skopeo_and_podman_are_read() {
    needs!("docker-registry", "htpasswd", "skopeo");
    let scene = basic();
    for tool in ["skopeo", "podman"] {
        if program(tool).is_none() {
            windlass_tests::skipped(&format!("no {tool}"));
            continue;
        }
        let authfile = scene.path(&format!("{tool}.json"));
        peers::run(tool, |command| {
            command.args(["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD]);
            command
                .arg("--authfile")
                .arg(&authfile)
                .arg(scene.registry.host());
        });
        scene.is_read_with(&authfile);
    }
    // Where skopeo keeps it by itself, windlass finds it by itself.
    let (folder, host) = (scene.path("runtime"), scene.registry.host());
    std::fs::create_dir(&folder).unwrap();
    peers::run("skopeo", |command| {
        command.args([
            "login",
            "--tls-verify=false",
            "-u",
            USER,
            "-p",
            PASSWORD,
            &host,
        ]);
        command.env("XDG_RUNTIME_DIR", &folder);
    });
    assert!(folder.join("containers/auth.json").exists());
    let words = ["digest", &scene.registry.reference("alice/a:v1")];
    let read = Windlass::new(words).env("XDG_RUNTIME_DIR", &folder).run();
    assert_eq!(read.digest(), scene.digest);
}

#[test]
fn our_logins_are_read_by_skopeo_crane_and_oras() {
    needs!("docker-registry", "htpasswd", "skopeo", "crane");
    let scene = basic();
    let (folder, reference) = (scene.path("docker"), scene.registry.reference("alice/a:v1"));
    let login = scene.login(&[]).env("DOCKER_CONFIG", &folder).run();
    login.ended_with(DONE);
    login.tells_nobody(&[PASSWORD]);
    let file = folder.join("config.json");
    scene.is_read_with(&file);
    peers::run("skopeo", |command| {
        let from = format!("docker://{reference}");
        command.args(["inspect", "--tls-verify=false", "--authfile"]);
        command.arg(&file).arg(from);
    });
    let said = peers::run("crane", |command| {
        command.args(["digest", "--insecure", &reference]);
        command.env("DOCKER_CONFIG", &folder);
    });
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), scene.digest);
    if program("oras").is_some() {
        let said = peers::run("oras", |command| {
            command.args(["resolve", "--plain-http", &reference]);
            command.env("DOCKER_CONFIG", &folder);
        });
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), scene.digest);
    } else {
        windlass_tests::skipped("no oras");
    }

    let logout = ["logout", &scene.registry.host()];
    let logout = Windlass::new(logout).env("DOCKER_CONFIG", &folder).run();
    logout.ended_with(DONE);
    let read = Windlass::new(["digest", &reference]).env("DOCKER_CONFIG", &folder);
    read.run().failed(AUTH, "there are no credentials for");
}

/// A skopeo login is changed by ours and by theirs, and all other entries stay.
#[test]
fn one_file_for_both() {
    needs!("docker-registry", "htpasswd", "skopeo");
    let (scene, other) = (basic(), basic());
    let authfile = scene.path("auth.json");
    let file = authfile.to_str().unwrap();
    peers::run("skopeo", |command| {
        command.args(["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD]);
        command.args(["--authfile", file, &other.registry.host()]);
    });
    scene.login(&["--authfile", file]).run().ended_with(DONE);
    scene.is_read_with(&authfile);
    other.is_read_with(&authfile);
    peers::run("skopeo", |command| {
        command.args(["logout", "--authfile", file, &scene.registry.host()]);
    });
    let words = [
        "digest",
        &scene.registry.reference("alice/a:v1"),
        "--authfile",
        file,
    ];
    Windlass::new(words)
        .run()
        .failed(AUTH, "there are no credentials for");
    other.is_read_with(&authfile);
}

/// What a registry or its token service refuses is not kept.
#[test]
fn refused_logins_are_not_kept() {
    needs!("docker-registry", "registry", "htpasswd");
    for version in Version::ALL {
        let tokens = Tokens::for_user(USER, PASSWORD);
        let by_token = Setup::new(version).tokens(&tokens);
        let by_basic = Setup::new(version).basic(USER, PASSWORD);
        for setup in [by_token, by_basic] {
            let scene = Scene::new(setup);
            let file = scene.path("config.json");
            let host = scene.registry.host();
            let words = [
                "login",
                &host,
                "--username",
                USER,
                "--password-stdin",
                "--authfile",
            ];
            let refused = Windlass::new(words)
                .args([&file])
                .input("s3cret-wrong\n")
                .run();
            refused.failed(AUTH, "401");
            refused.tells_nobody(&["s3cret-wrong"]);
            assert!(!file.exists());
            let kept = scene.login(&["--authfile", file.to_str().unwrap()]).run();
            kept.ended_with(DONE);
            scene.is_read_with(&file);
        }
    }
}

/// `docker-credential-pass` with a key of its own.
struct Pass {
    folder: tempfile::TempDir,
    /// A folder with the helper.
    bin: PathBuf,
}

impl Pass {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (gnupg, store) = (folder.path().join("gnupg"), folder.path().join("store"));
        std::fs::create_dir(&gnupg).unwrap();
        private(&gnupg, 0o700);
        let with = |command: &mut std::process::Command| {
            command
                .env("GNUPGHOME", &gnupg)
                .env("PASSWORD_STORE_DIR", &store);
        };
        peers::run("gpg", |command| {
            with(command);
            command.args([
                "--batch",
                "--passphrase",
                "",
                "--quick-gen-key",
                "windlass-test",
            ]);
        });
        peers::run("pass", |command| {
            with(command);
            command.args(["init", "windlass-test"]);
        });
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let helper = program("docker-credential-pass").unwrap();
        let script = format!(
            "#!/bin/sh\nexport GNUPGHOME='{}' PASSWORD_STORE_DIR='{}' PATH=/usr/bin:/bin\nexec '{}' \"$@\"\n",
            gnupg.display(),
            store.display(),
            helper.display()
        );
        let path = bin.join("docker-credential-pass");
        std::fs::write(&path, script).unwrap();
        private(&path, 0o755);
        Self { folder, bin }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // Its agent would stay.
        let gnupg = self.folder.path().join("gnupg");
        let _gone = std::process::Command::new("gpgconf")
            .args(["--homedir".as_ref(), gnupg.as_os_str()])
            .args(["--kill", "all"])
            .status();
    }
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// CRED-20 to CRED-23 against a helper that was not written here.
#[test]
fn the_protocol_of_docker_credential_pass() {
    needs!("docker-credential-pass", "pass", "gpg");
    let pass = Pass::new();
    let helpers = Helpers::new(Some(pass.bin.clone().into()));
    let (hub, host) = ("https://index.docker.io/v1/", "r.example:5000");
    assert_eq!(helpers.list("pass").unwrap().len(), 0);
    assert_eq!(helpers.get("pass", host), Ok(None));
    for (url, user) in [(hub, "hub"), (host, "host"), ("t.example", "<token>")] {
        helpers
            .store("pass", url, user, &Secret::new(PASSWORD))
            .unwrap();
    }
    let found = |user: &str| CredentialAnswer::Basic {
        username: user.to_owned(),
        password: Secret::new(PASSWORD),
    };
    assert_eq!(helpers.get("pass", hub), Ok(Some(found("hub"))));
    assert_eq!(helpers.get("pass", host), Ok(Some(found("host"))));
    let token = CredentialAnswer::Refresh(Secret::new(PASSWORD));
    assert_eq!(helpers.get("pass", "t.example"), Ok(Some(token)));
    let listed = helpers.list("pass").unwrap();
    let expected = [(hub, "hub"), (host, "host"), ("t.example", "<token>")];
    assert_eq!(listed.len(), expected.len());
    for (url, user) in expected {
        assert_eq!(listed.get(url).map(String::as_str), Some(user));
    }
    assert_eq!(helpers.erase("pass", host), Ok(true));
    assert_eq!(helpers.get("pass", host), Ok(None));
    assert!(!helpers.list("pass").unwrap().contains_key(host));
}

#[test]
fn a_login_through_docker_credential_pass() {
    needs!(
        "docker-credential-pass",
        "pass",
        "gpg",
        "docker-registry",
        "htpasswd"
    );
    let (pass, scene) = (Pass::new(), basic());
    let folder = scene.path("docker");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("config.json");
    std::fs::write(&file, "{\"credsStore\": \"pass\", \"psFormat\": \"x\"}").unwrap();
    let bin = pass.bin.to_str().unwrap();
    let with = |command: Windlass| command.env("DOCKER_CONFIG", &folder).env("PATH", bin);
    let login = with(scene.login(&[])).run();
    login.ended_with(DONE);
    assert!(login.stderr.contains("docker-credential-pass"), "{login}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("psFormat") && !text.contains("\"auth\""),
        "{text}"
    );
    let reference = scene.registry.reference("alice/a:v1");
    let read = with(Windlass::new(["digest", &reference])).run();
    assert_eq!(read.digest(), scene.digest);
    // The helper is absent: told by name.
    let absent = Windlass::new(["digest", &reference]).env("DOCKER_CONFIG", &folder);
    let absent = absent.env("PATH", "/nonexistent").run();
    absent.failed(AUTH, "`docker-credential-pass` is not in PATH");

    with(Windlass::new(["logout", &scene.registry.host()]))
        .run()
        .ended_with(DONE);
    let gone = with(Windlass::new(["digest", &reference])).run();
    gone.failed(AUTH, "there are no credentials for");
}
