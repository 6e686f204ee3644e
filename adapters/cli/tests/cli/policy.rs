//! policy.json, and programs that verify images.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_testbed::{Auth, Server};

use crate::common::{failed, layout, printed, registry, text, windlass};

fn accept() -> Value {
    json!([{"type": "insecureAcceptAnything"}])
}

fn reject() -> Value {
    json!([{"type": "reject"}])
}

fn signed() -> Value {
    json!([{"type": "sigstoreSigned", "keyPath": "/nowhere/cosign.pub"}])
}

/// A registry, a folder, and what is in both.
struct Bench {
    server: Server,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            server: registry(Auth::Open),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn image(&self) -> String {
        format!("{}/app:v1", self.server.host())
    }

    fn out(&self) -> String {
        layout(self.folder.path(), "out")
    }

    fn policy(&self, policy: &Value) -> String {
        self.file("policy.json", &policy.to_string())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A script that is run as it is.
    fn script(&self, name: &str, body: &str) -> String {
        let path = self.file(name, &format!("#!/bin/sh\n{body}\n"));
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, all).expect("a mode");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn requests(&self) -> usize {
        self.server.requests().len()
    }

    fn is_empty(&self) -> bool {
        !self.path("out").exists()
    }
}

/// What is rejected is rejected before the first request, by file and scope.
#[test]
fn a_rejected_image() {
    let bench = Bench::new();
    let host = bench.server.host();
    for scope in [format!("{host}/app:v1"), format!("{host}/app"), host] {
        let file = bench.policy(&json!({
            "default": accept(),
            "transports": {"docker": {&scope: reject()}}
        }));
        let (image, out) = (bench.image(), bench.out());
        let pull = windlass(&["pull", &image, &out, "--policy", &file], &[]);
        let said = failed(&pull, 1);
        let expected =
            format!("error: {image} is rejected by transports.docker[{scope:?}] of {file}\n");
        assert_eq!(said, expected);
        assert!(bench.is_empty());
    }
    assert_eq!(bench.requests(), 0);
    // A copy's source, and a layout's.
    let file = bench.policy(&json!({"default": reject()}));
    let (image, out) = (bench.image(), bench.out());
    for words in [
        ["copy", &image, &out, "--policy", &file],
        ["push", &out, &image, "--policy", &file],
    ] {
        let said = windlass(&words, &[]);
        assert!(failed(&said, 1).contains(&format!("is rejected by `default` of {file}")));
    }
    assert_eq!(bench.requests(), 0);
}

#[test]
fn an_accepted_image() {
    let bench = Bench::new();
    let host = bench.server.host();
    let folder = bench.folder.path().canonicalize().expect("a folder");
    let file = bench.policy(&json!({
        "default": reject(),
        "transports": {"docker": {&host: accept()}, "oci": {folder.to_str().expect("UTF-8"): accept()}}
    }));
    let (image, out) = (bench.image(), bench.out());
    printed(&windlass(&["pull", &image, &out, "--policy", &file], &[]));
    let other = format!("{host}/other:v1");
    let named = format!("{out}:v1");
    printed(&windlass(&["push", &named, &other, "--policy", &file], &[]));
    // The destination is not the source.
    let elsewhere = layout(bench.folder.path(), "elsewhere");
    printed(&windlass(
        &["copy", &image, &elsewhere, "--policy", &file],
        &[],
    ));
}

/// The user's file, otherwise the system's; none at all with an option.
#[test]
fn the_users_file() {
    let bench = Bench::new();
    let folder = bench.path(".config/containers");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("policy.json");
    fs::write(&file, json!({"default": reject()}).to_string()).expect("a file");
    let home = bench.folder.path().to_str().expect("UTF-8");
    let home = [("HOME", home)];
    let (image, out) = (bench.image(), bench.out());
    let said = windlass(&["pull", &image, &out], &home);
    let expected = format!("is rejected by `default` of {}", file.display());
    assert!(failed(&said, 1).contains(&expected));
    printed(&windlass(
        &["pull", &image, &out, "--insecure-policy"],
        &home,
    ));
    // It is no policy: nothing goes.
    fs::write(&file, r#"{"default": [{"type": "accept"}]}"#).expect("a file");
    let said = windlass(&["pull", &image, &out], &home);
    let said = failed(&said, 2);
    assert!(said.contains(&format!("the policy {} is invalid", file.display())));
    assert!(said.contains("unknown variant `accept`"), "{said}");
}

#[test]
fn a_policy_that_is_missing() {
    let bench = Bench::new();
    let (image, out) = (bench.image(), bench.out());
    let words = ["pull", &image, &out, "--policy", "/nowhere/policy.json"];
    let said = windlass(&words, &[]);
    assert!(failed(&said, 2).contains("cannot read the policy /nowhere/policy.json"));
    let both = [&words[..], &["--insecure-policy"]].concat();
    assert!(failed(&windlass(&both, &[]), 2).contains("cannot be used with"));
}

/// Signatures are not verified here: the message says so, and what to do.
#[test]
fn an_image_that_has_to_be_signed() {
    let bench = Bench::new();
    let file = bench.policy(&json!({
        "default": accept(),
        "transports": {"docker": {bench.server.host(): signed()}}
    }));
    let (image, out) = (bench.image(), bench.out());
    let pull = ["pull", &image, &out, "--policy", &file];
    let said = windlass(&pull, &[]);
    let said = failed(&said, 1);
    let expected = format!(
        "{image} needs a signature (sigstoreSigned) by transports.docker[{:?}] of {file}, and \
         windlass does not verify signatures",
        bench.server.host()
    );
    assert!(said.contains(&expected), "{said}");
    assert!(said.contains("--verify-with"), "{said}");
    assert_eq!(bench.requests(), 0);

    let log = bench.path("log");
    let script = bench.script(
        "verify",
        &format!(
            "{{ echo \"$#:$1:$2\"; env | grep ^WINDLASS_ | sort; }} >>{}; echo on stdout; \
             echo on stderr >&2",
            log.display()
        ),
    );
    let verify = format!("{script} 'one word'");
    let words = [&pull[..], &["--verify-with", &verify]].concat();
    // Credentials of windlass are not for the program.
    let output = windlass(&words, &[("WINDLASS_AUTH_OTHER_EXAMPLE_TOKEN", "s3cret")]);
    let digest = printed(&output).trim();
    assert!(digest.starts_with("sha256:"), "only the digest is printed");
    assert!(text(&output.stderr).contains("on stderr\n"));
    assert!(!text(&output.stderr).contains("on stdout"));
    let host = bench.server.host();
    let pinned = format!("{host}/app@{digest}");
    let expected = format!(
        "2:one word:{pinned}\nWINDLASS_VERIFY_DIGEST={digest}\nWINDLASS_VERIFY_NAME={image}\n\
         WINDLASS_VERIFY_POLICY={file}\nWINDLASS_VERIFY_REFERENCE={pinned}\n\
         WINDLASS_VERIFY_SCOPE={host}\nWINDLASS_VERIFY_TYPES=sigstoreSigned\n"
    );
    assert_eq!(fs::read_to_string(&log).expect("it ran"), expected);
    // The name is that of the tag.
    printed(&windlass(&["verify", &format!("{out}:v1")], &[]));
}

/// What was verified is what is transferred, even if the tag moves while it is verified.
#[test]
fn the_digest_that_was_verified_is_transferred() {
    let bench = Bench::new();
    let (image, out) = (bench.image(), bench.out());
    let before = printed(&windlass(&["digest", &image], &[]))
        .trim()
        .to_owned();
    let (ready, go) = (bench.path("ready"), bench.path("go"));
    let body = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.01; done",
        ready.display(),
        go.display()
    );
    let waits = bench.script("waits", &body);
    let output = std::thread::scope(|scope| {
        let words = ["pull", &image, &out, "--verify-with", &waits];
        let pull = scope.spawn(move || windlass(&words, &[]));
        let until = Instant::now() + Duration::from_secs(60);
        while !ready.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        bench.server.with_model(|model| {
            model.put_image(
                "app",
                Some("v1"),
                &windlass_testbed::image(&[b"another".to_vec()]),
            );
        });
        fs::write(&go, "").expect("a file");
        pull.join().expect("it ends")
    });
    assert_eq!(printed(&output).trim(), before);
    let after = printed(&windlass(&["digest", &image], &[]))
        .trim()
        .to_owned();
    assert_ne!(after, before);
}

/// Nothing is written and no name is given if the program does not agree.
#[test]
fn an_image_that_is_not_verified() {
    let bench = Bench::new();
    let (image, out) = (bench.image(), bench.out());
    let fails = bench.script("fails", "echo no signature found >&2; exit 3");
    let words = ["pull", &image, &out, "--verify-with", &fails];
    let said = windlass(&words, &[]);
    let said = failed(&said, 1);
    assert!(said.starts_with("no signature found\n"), "{said}");
    assert!(said.contains(&format!("was not verified: {fails} ended with exit code 3")));
    assert!(bench.is_empty());
    let requests = bench.server.requests();
    assert!(!requests.iter().any(|it| it.target.contains("/blobs/")));
    let killed = bench.script("killed", "kill -9 $$");
    let words = ["pull", &image, &out, "--verify-with", &killed];
    assert!(failed(&windlass(&words, &[]), 1).contains("signal: 9"));
    let missing = ["pull", &image, &out, "--verify-with", "/nowhere/verify --x"];
    assert!(failed(&windlass(&missing, &[]), 2).contains("cannot run /nowhere/verify"));
    let quote = ["pull", &image, &out, "--verify-with", "a 'b"];
    assert!(failed(&windlass(&quote, &[]), 2).contains("a quote is not closed"));
    assert!(bench.is_empty());
}

/// A program that hangs is killed, with all that it has started.
#[test]
fn a_program_that_hangs() {
    let bench = Bench::new();
    let (image, out) = (bench.image(), bench.out());
    let words = [
        "pull",
        &image,
        &out,
        "--verify-timeout",
        "1",
        "--verify-with",
        "sh -c 'sleep 600; true'",
    ];
    let begun = Instant::now();
    let said = windlass(&words, &[]);
    assert!(failed(&said, 1).contains("sh did not end within 1 s, and was killed"));
    // Its child has standard error, too: that would be waited for.
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(bench.is_empty());
}

/// A layout is verified by its digest, too.
#[test]
fn a_layout_as_the_source() {
    let bench = Bench::new();
    let (image, out) = (bench.image(), bench.out());
    let digest = printed(&windlass(&["pull", &image, &out], &[]))
        .trim()
        .to_owned();
    let log = bench.path("log");
    let script = bench.script("verify", &format!("echo \"$1\" >>{}", log.display()));
    let host = bench.server.host();
    let named = format!("{out}:v1");
    let to = format!("{host}/pushed:v1");
    printed(&windlass(
        &["push", &named, &to, "--verify-with", &script],
        &[],
    ));
    let elsewhere = layout(bench.folder.path(), "elsewhere");
    printed(&windlass(
        &["copy", &named, &elsewhere, "--verify-with", &script],
        &[],
    ));
    let expected = format!("{out}@{digest}\n").repeat(2);
    assert_eq!(fs::read_to_string(&log).expect("it ran"), expected);
    assert!(Path::new(&bench.path("elsewhere")).exists());
    let pushed = printed(&windlass(&["digest", &to], &[])).trim().to_owned();
    assert_eq!(pushed, digest);
}
