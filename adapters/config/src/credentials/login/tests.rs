//! What a login and a logout leave behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use windlass_core::credential::{CredentialAnswer, Question};
use windlass_driver::Credentials as _;

use super::*;
use crate::credentials::CredentialSearch;
use crate::credentials::entry::basic;
use crate::credentials::helper::testing::script;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        path
    }

    fn helpers(&self) -> Helpers {
        Helpers::new(Some(self.path("bin").into()))
    }

    fn login(&self, name: &str) -> LoginFile {
        LoginFile::new(self.path(name), self.helpers())
    }

    fn found(&self, name: &str, host: &str) -> CredentialAnswer {
        let search = CredentialSearch::file(self.path(name)).helpers(self.helpers());
        let question = Question::new(registry(host), None, registry(host).origin());
        search.find(&question).answer
    }
}

fn registry(name: &str) -> Registry {
    name.parse().expect("a registry")
}

fn secret() -> Secret {
    Secret::new("p:q")
}

/// A helper that keeps what it stores in a folder.
fn keeper(folder: &Folder) {
    let kept = folder.path("kept");
    fs::create_dir_all(&kept).expect("a folder");
    let body = format!(
        "cd {}
        file() {{ printf %s \"$1\" | tr -c 'A-Za-z0-9.\\n' _; }}
        input=$(cat)
        case $1 in
            store) url=${{input#*ServerURL\\\":\\\"}}; url=${{url%%\\\"*}}; printf %s \"$input\" >$(file \"$url\") ;;
            get) cat $(file \"$input\") 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;
            erase) rm $(file \"$input\") ;;
        esac",
        kept.display()
    );
    script(&folder.path("bin"), "keeper", &body);
}

#[test]
fn a_file_keeps_a_login() {
    let folder = Folder::new();
    // CRED-09: the folder is made, too.
    let login = folder.login("docker/config.json");
    for host in ["r.example", "R.example:443", "r.example:5000", "docker.io"] {
        let kept = login.store(&registry(host), "u", &secret());
        assert_eq!(kept, Ok(Kept::File(folder.path("docker/config.json"))));
        assert_eq!(
            folder.found("docker/config.json", host),
            basic("u", "p:q"),
            "{host}"
        );
    }
    let text = fs::read_to_string(login.path()).expect("a file");
    assert_eq!(
        text,
        "{\n\t\"auths\": {\n\t\t\"r.example\": {\n\t\t\t\"auth\": \"dTpwOnE=\"\n\t\t},\n\t\t\
        \"r.example:5000\": {\n\t\t\t\"auth\": \"dTpwOnE=\"\n\t\t},\n\t\t\
        \"https://index.docker.io/v1/\": {\n\t\t\t\"auth\": \"dTpwOnE=\"\n\t\t}\n\t}\n}\n"
    );
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(login.path()), 0o600);
    assert_eq!(mode(&folder.path("docker")), 0o700);
    let names = fs::read_dir(folder.path("docker")).expect("a folder");
    assert_eq!(names.count(), 1, "nothing else is left behind");
}

/// SEC-15: a file that others could read is not any more.
#[test]
fn an_existing_file_becomes_private() {
    let folder = Folder::new();
    let path = folder.write("config.json", "{\"x\": 1}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    folder
        .login("config.json")
        .store(&registry("r.example"), "u", &secret())
        .expect("kept");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(path).expect("a file");
    assert!(text.contains("\"x\": 1"), "{text}");
}

/// CRED-09: what a symbolic link leads to is replaced, and the link stays.
#[test]
fn links_stay() {
    let folder = Folder::new();
    fs::create_dir(folder.path("real")).expect("a folder");
    for (content, target) in [(Some("{\"x\": 1}"), "there.json"), (None, "absent.json")] {
        if let Some(content) = content {
            folder.write(&format!("real/{target}"), content);
        }
        let link = folder.path("config.json");
        let _absent = fs::remove_file(&link);
        symlink(format!("real/{target}"), &link).expect("a link");
        let login = folder.login("config.json");
        login
            .store(&registry("r.example"), "u", &secret())
            .expect("kept");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        let text = fs::read_to_string(folder.path(&format!("real/{target}"))).expect("a file");
        assert!(text.contains("dTpwOnE="), "{text}");
        assert_eq!(text.contains("\"x\": 1"), content.is_some());
    }
}

#[test]
fn a_broken_file_stays_as_it_is() {
    let folder = Folder::new();
    keeper(&folder);
    for text in [
        "{\"auths\": {",
        "[]",
        "{\"auths\": [\"s3cret\"], \"credsStore\": \"keeper\"}",
    ] {
        let path = folder.write("config.json", text);
        let login = folder.login("config.json");
        let stored = login.store(&registry("r.example"), "u", &secret());
        let erased = login.erase(&registry("r.example"));
        for error in [stored.expect_err("broken"), erased.expect_err("broken")] {
            let why = error.to_string();
            assert!(why.contains(&path.display().to_string()), "{why}");
            assert!(why.contains(" at line 1, column "), "{why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
    }
    assert_eq!(
        fs::read_dir(folder.path("kept")).expect("a folder").count(),
        0
    );
}

/// CRED-06, CRED-07: the helper that is configured, and a marker in the file.
#[test]
fn a_helper_keeps_a_login() {
    let folder = Folder::new();
    keeper(&folder);
    folder.write(
        "config.json",
        r#"{"auths": {"r.example": {"auth": "b2xkOm9sZA=="}}, "credHelpers": {"r.example": "keeper",
            "f.example": ""}, "credsStore": "absent"}"#,
    );
    let login = folder.login("config.json");
    let kept = login.store(&registry("r.example"), "u", &secret());
    assert_eq!(kept, Ok(Kept::Helper("keeper".to_owned())));
    assert_eq!(folder.found("config.json", "r.example"), basic("u", "p:q"));
    let text = fs::read_to_string(login.path()).expect("a file");
    assert!(
        text.contains("\"r.example\": {},") || text.contains("\"r.example\": {}\n"),
        "{text}"
    );
    assert!(!text.contains("b2xk"), "the old one is gone: {text}");
    let kept = login.store(&registry("f.example"), "u", &secret());
    assert_eq!(kept, Ok(Kept::File(folder.path("config.json"))));

    let before = fs::read_to_string(login.path()).expect("a file");
    let error = login
        .store(&registry("o.example"), "u", &secret())
        .expect_err("absent");
    let why = "the credential helper `docker-credential-absent` is not in PATH";
    assert_eq!(error.to_string(), why);
    assert_eq!(fs::read_to_string(login.path()).expect("a file"), before);

    let helper = Kept::Helper("keeper".to_owned());
    let file = Kept::File(folder.path("config.json"));
    assert_eq!(login.erase(&registry("r.example")), Ok(vec![file, helper]));
    assert_eq!(
        folder.found("config.json", "r.example"),
        CredentialAnswer::None
    );
    assert_eq!(login.erase(&registry("r.example")), Ok(vec![]));
}

/// Every URL that docker, podman or the search would use.
#[test]
fn a_helper_forgets_every_spelling() {
    let folder = Folder::new();
    keeper(&folder);
    folder.write(
        "config.json",
        r#"{"credHelpers": {"https://p.example:443/v1/": "keeper"}, "credsStore": "keeper"}"#,
    );
    let login = folder.login("config.json");
    let hub = "https://index.docker.io/v1/";
    let (access, refresh) = (format!("{hub}access-token"), format!("{hub}refresh-token"));
    for (host, urls) in [
        ("docker.io", &[hub, "docker.io", &access, &refresh][..]),
        (
            "p.example",
            &["p.example", "p.example:443", "https://p.example"],
        ),
        (
            "r.example",
            &["r.example", "r.example:443", "https://r.example"],
        ),
        (
            "r.example:5000",
            &["r.example:5000", "https://r.example:5000"],
        ),
    ] {
        for url in urls {
            let stored = folder.helpers().store("keeper", url, "u", &secret());
            stored.expect("it stores");
        }
        let erased = login.erase(&registry(host)).expect("erased");
        assert_eq!(erased, [Kept::Helper("keeper".to_owned())], "{host}");
        let left: Vec<_> = fs::read_dir(folder.path("kept"))
            .expect("a folder")
            .map(|entry| entry.expect("a file").file_name())
            .collect();
        assert!(left.is_empty(), "{host}: {left:?}");
    }
}

/// A failing helper does not keep the file's own entries.
#[test]
fn a_logout_does_what_it_can() {
    let folder = Folder::new();
    script(&folder.path("bin"), "locked", "echo it is locked; exit 1");
    folder.write(
        "config.json",
        r#"{"auths": {"r.example": {"auth": "dTpw"}, "o.example": {}}, "credsStore": "locked"}"#,
    );
    let login = folder.login("config.json");
    let error = login
        .erase(&registry("r.example"))
        .expect_err("it is locked");
    let why = "the credential helper `docker-credential-locked` failed: it is locked";
    assert_eq!(error.to_string(), why);
    let text = fs::read_to_string(login.path()).expect("a file");
    assert!(
        !text.contains("r.example") && text.contains("o.example"),
        "{text}"
    );
}

#[test]
fn every_spelling_is_erased() {
    let folder = Folder::new();
    folder.write(
        "config.json",
        r#"{"auths": {"docker.io": {"auth": "dTpw"}, "https://index.docker.io/v1/": {"auth": "dTpw"},
            "registry-1.docker.io": {"auth": "dTpw"}, "r.example": {"auth": "dTpw"}}}"#,
    );
    let login = folder.login("config.json");
    let erased = login.erase(&registry("index.docker.io")).expect("erased");
    assert_eq!(erased, [Kept::File(folder.path("config.json"))]);
    assert_eq!(
        folder.found("config.json", "docker.io"),
        CredentialAnswer::None
    );
    assert_eq!(folder.found("config.json", "r.example"), basic("u", "p"));
    // Nothing to do: the file is not touched, and none is made.
    assert_eq!(
        folder.login("absent.json").erase(&registry("r.example")),
        Ok(vec![])
    );
    assert!(!folder.path("absent.json").exists());
}

/// Logins at the same time: each one stays.
#[test]
fn logins_do_not_overwrite_each_other() {
    let folder = Folder::new();
    let hosts: Vec<_> = (0..8).map(|number| format!("r{number}.example")).collect();
    std::thread::scope(|scope| {
        for host in &hosts {
            let login = folder.login("config.json");
            scope.spawn(move || login.store(&registry(host), "u", &secret()).expect("kept"));
        }
    });
    for host in &hosts {
        assert_eq!(
            folder.found("config.json", host),
            basic("u", "p:q"),
            "{host}"
        );
    }
}

#[test]
fn the_file_is_the_one_that_is_read() {
    let place = |authfile: Option<&str>, variables: &[(&str, &str)]| {
        let lookup = crate::among(variables);
        let file = LoginFile::from_variables(authfile.map(PathBuf::from), lookup).expect("text");
        file.map(|it| it.path().display().to_string())
    };
    let home = ("HOME", "/home/a");
    let own = ("DOCKER_CONFIG", "/docker");
    let authfile = ("REGISTRY_AUTH_FILE", "/auth.json");
    let table: [(_, &[_], _); 5] = [
        (None, &[], None),
        (None, &[home], Some("/home/a/.docker/config.json")),
        (None, &[home, own], Some("/docker/config.json")),
        (None, &[home, own, authfile], Some("/auth.json")),
        (Some("/x"), &[home, own, authfile], Some("/x")),
    ];
    for (option, variables, expected) in table {
        assert_eq!(
            place(option, variables).as_deref(),
            expected,
            "{variables:?}"
        );
    }
}
