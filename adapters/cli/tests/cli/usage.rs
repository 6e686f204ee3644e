//! Help, and errors of the command line: what is printed without network.

use std::process::{Command, Output, Stdio};

fn windlass(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn help() {
    let mut pages = String::new();
    let verbs = [
        &["--help"][..],
        &["pull", "--help"],
        &["push", "--help"],
        &["copy", "--help"],
        &["digest", "--help"],
        &["demo", "--help"],
    ];
    for words in verbs {
        let output = windlass(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(output.stderr.is_empty(), "{words:?}");
        let page = text(&output.stdout);
        pages.push_str(&format!("$ windlass {}\n", words.join(" ")));
        match (words.len(), page.split_once("\nAuthentication:")) {
            // The options that every verb has are shown once.
            (2, Some((own, common))) => {
                pages.push_str(own);
                let examples = common.find("\nExample").map_or("", |at| &common[at..]);
                pages.push_str(examples);
            }
            _ => pages.push_str(page),
        }
        pages.push('\n');
    }
    insta::assert_snapshot!(pages);
}

#[test]
fn the_short_help_fits_a_screen() {
    let output = windlass(&["-h"]);
    assert_eq!(output.status.code(), Some(0));
    let lines = text(&output.stdout).lines().count();
    assert!(lines < 80, "{lines} lines");
}

#[test]
fn version() {
    let output = windlass(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let expected = concat!("windlass ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn usage_errors_exit_with_2_and_say_why() {
    let table: [(&[&str], &str); 16] = [
        (&[], "Usage:"),
        (&["fetch"], "unrecognized subcommand"),
        (&["pull"], "required arguments"),
        (
            &["pull", "oci:a", "oci:b"],
            "reference to a registry is expected",
        ),
        (&["push", "images", "x"], "write oci:images"),
        (&["copy", "oci:", "oci:b"], "no folder after oci:"),
        (&["copy", "oci:a", "oci:b:"], "no name after oci:b:"),
        (&["copy", "dir:a", "oci:b"], "dir: is not supported"),
        (
            &["copy", "--platform", "linux", "oci:a", "oci:b"],
            "os/architecture[/variant]",
        ),
        (&["--jobs", "0", "demo"], "--jobs"),
        (&["demo", "--jobs", "many"], "--jobs"),
        (&["--trust-realm", "x", "demo"], "REGISTRY=REALM"),
        (
            &["--tls", "demo", "--plain-http"],
            "--tls and --plain-http exclude each other",
        ),
        (
            &["demo", "--password-stdin"],
            "--password-stdin needs --username",
        ),
        (
            &["--username", "u", "demo"],
            "--username needs --password-stdin",
        ),
        (
            &[
                "--username",
                "u",
                "--password-stdin",
                "copy",
                "oci:a",
                "oci:b",
            ],
            "--username needs a registry",
        ),
    ];
    for (words, why) in table {
        let output = windlass(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(why), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}: data is for success");
    }
}

#[test]
fn options_stand_on_either_side_of_the_verb() {
    let before = windlass(&["--username", "u", "copy", "oci:a", "oci:b"]);
    let after = windlass(&["copy", "oci:a", "oci:b", "--username", "u"]);
    assert_eq!(before.status.code(), Some(2));
    assert_eq!(text(&before.stderr), text(&after.stderr));
    assert_eq!(
        text(&after.stderr),
        "error: --username needs --password-stdin: a password on the command line is visible to \
         other users\n"
    );
}

#[test]
fn configuration_that_cannot_be_used_is_named() {
    let said = |words: &[&str], variable: &str, value: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(words)
            .env_clear()
            .env(variable, value)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{variable}={value}");
        text(&output.stderr).to_owned()
    };
    let digest = &["digest", "r.example/a"];
    let error = said(digest, "HTTPS_PROXY", "socks5://u:s3cret@proxy");
    assert!(
        error.contains("HTTPS_PROXY") && !error.contains("s3cret"),
        "{error}"
    );
    let error = said(digest, "SSL_CERT_FILE", "/nonexistent/ca.pem");
    assert!(error.contains("/nonexistent/ca.pem"), "{error}");
    let words = &["digest", "r.example/a", "--ca-cert", "/nonexistent/own.pem"];
    let error = said(words, "HOME", "/");
    assert!(error.contains("/nonexistent/own.pem"), "{error}");
}

#[test]
fn a_name_that_cannot_be_written_is_refused_before_anything_is_asked() {
    // Nothing listens there, so an attempt to connect would end with 5.
    let output = windlass(&["pull", "127.0.0.1:1/app:v1", "oci:out:my app"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("\"my app\""), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for words in [&["--version"][..], &["--help"], &["help", "pull"]] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(words)
            .env_clear()
            .stdout(full.expect("the device is there"))
            .output()
            .expect("the program starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.starts_with("error: cannot write to standard output"),
            "{said}"
        );
    }
}

#[test]
fn no_password_on_standard_input_is_a_usage_error() {
    let words = [
        "--username",
        "u",
        "--password-stdin",
        "digest",
        "r.example/a",
    ];
    let output = windlass(&words);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: no password on standard input\n"
    );
}

/// What cannot be read does not count as unset: a proxy would be passed over, or other credentials used.
#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt as _;

    let value = std::ffi::OsStr::from_bytes(b"http://alice:s3cret@127.0.0.1:9/\xff");
    for variable in [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "DOCKER_AUTH_CONFIG",
        "DOCKER_CONFIG",
        "HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["digest", "r.invalid/a", "--retries", "0", "--timeout", "3"])
            .env_clear()
            .env(variable, value)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable}: {said}");
        assert!(said.contains(variable), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

/// A pipe that nothing writes to, and a file of a terabyte, are named and not waited for.
#[cfg(unix)]
#[test]
fn files_that_never_end_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe");
    let large = folder.path().join("large");
    let file = std::fs::File::create(&large).and_then(|file| file.set_len(1 << 40));
    file.expect("a sparse file");
    for path in [&fifo, &large] {
        let path = path.to_str().expect("UTF-8");
        let as_option = windlass(&["digest", "r.invalid/a", "--ca-cert", path]);
        let as_tape = windlass(&["replay", path]);
        let as_variable = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["digest", "r.invalid/a"])
            .env_clear()
            .env("SSL_CERT_FILE", path)
            .output()
            .expect("the program starts");
        for output in [as_option, as_tape, as_variable] {
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(
                said.contains("cannot read") && said.contains(path),
                "{said}"
            );
        }
    }
}
