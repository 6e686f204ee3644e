//! Where nothing more can be written: a limit on file sizes, a pipe without a reader. Where no more may be asked for.
#![cfg(unix)]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{failed, layout, registry, registry_without_mounts, text, windlass};
use windlass_testbed::{Auth, Model, Options, Server, image, index};

/// Runs a line of shell in which `"$@"` is the program and its words.
fn shell(line: &str, words: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_windlass")])
        .args(words)
        .args(["--retries", "0"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .expect("a shell")
}

/// `ulimit -f` counts blocks of 512 or 1024 bytes, whichever the shell has.
#[test]
fn a_limit_on_file_sizes_is_told() {
    let server = registry(Auth::Open);
    let folder = tempfile::tempdir().expect("a folder");
    let reference = format!("{}/app:v1", server.host());
    let out = layout(folder.path(), "out");
    let words = ["pull", &reference, &out];
    let output = shell(r#"ulimit -f 1000; exec "$0" "$@""#, &words);
    let said = failed(&output, 1);
    assert!(said.contains("File too large"), "{said}");
    // What was written is good for the next run.
    let output = windlass(&words, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_copy_through_a_spool_tells_it_too() {
    let registry = registry_without_mounts();
    let folder = tempfile::tempdir().expect("a folder");
    let from = format!("{}/app:v1", registry.host());
    let to = format!("{}/other:v1", registry.host());
    let line = format!(
        r#"TMPDIR="{}"; export TMPDIR; ulimit -f 1000; exec "$0" "$@""#,
        folder.path().display()
    );
    let output = shell(&line, &["copy", &from, &to]);
    let said = failed(&output, 1);
    assert!(said.contains("File too large"), "{said}");
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "the spool is gone");
}

/// A transfer is not the worse for its tape.
#[test]
fn a_tape_at_the_limit_spares_the_transfer() {
    let server = registry(Auth::Open);
    let folder = tempfile::tempdir().expect("a folder");
    let tape = folder.path().join("tape");
    let tape = tape.to_str().expect("UTF-8");
    let reference = format!("{}/app:v1", server.host());
    let words = ["digest", &reference, "--tape", tape];
    let output = shell(r#"ulimit -f 1; exec "$0" "$@""#, &words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(text(&output.stdout).starts_with("sha256:"));
    assert!(said.contains("is incomplete: File too large"), "{said}");
}

/// A result that was not written is a failure, on a pipe and in a file.
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let server = registry(Auth::Open);
    let folder = tempfile::tempdir().expect("a folder");
    let full = folder.path().join("full");
    std::fs::write(&full, vec![b'x'; 1 << 20]).expect("a file");
    let reference = format!("{}/app:v1", server.host());
    let out = layout(folder.path(), "out");
    for words in [
        &["digest", &reference][..],
        &["digest", &reference, "--json"],
        &["pull", &reference, &out],
    ] {
        let limited = format!(r#"ulimit -f 1; exec "$0" "$@" >>"{}""#, full.display());
        // A layout has larger files.
        let limited = (words[0] != "pull").then(|| shell(&limited, words));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let piped = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("it starts");
        for output in limited.into_iter().chain([piped]) {
            let said = failed(&output, 1);
            assert!(said.contains("cannot write to standard output"), "{said}");
        }
    }
}

/// What exceeds `--manifests` waits, and the pause is told.
#[test]
fn a_budget_for_manifests_is_waited_for() {
    let image = image(&[b"layer".to_vec()]);
    let mut model = Model::new(Options::default());
    model.put_image("app", None, &image);
    let index = index(&[("linux/amd64", &image)]);
    model.put_index("app", Some("v1"), &index);
    let server = Server::start(model).expect("a port");
    let reference = format!("{}/app:v1", server.host());
    let copy = format!("{}/copy:v1", server.host());
    let began = Instant::now();
    let output = windlass(&["copy", &reference, &copy, "--manifests", "1/2s"], &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(2), "{said}");
    assert!(said.contains("pausing for "), "{said}");
    let expected = format!("`{}` may be asked for 1/2s manifests", server.host());
    assert!(said.contains(&expected), "{said}");
    let output = windlass(&["copy", &reference, &copy, "--manifests", "1"], &[]);
    assert!(
        failed(&output, 2).contains("such as \"100/6h\""),
        "{output:?}"
    );
}
