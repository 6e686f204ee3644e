//! What an interrupted copy leaves in the temporary folder.
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{printed, registry_without_mounts, windlass};
use windlass_testbed::{Answer, Delivery, Model, Options, Request, Server, image};

/// A registry whose layer stops coming after a mebibyte.
fn stalling() -> Server {
    // A copy within it goes through a temporary folder.
    let mut options = Options::default();
    options.uploads.mounts = false;
    let mut model = Model::new(options);
    model.put_image("app", Some("v1"), &image(&[vec![7; 2 << 20]]));
    let stall = |_: &Request, _: usize, answer: Answer| {
        let is_layer = answer.body.len() > 1 << 20;
        let mut delivery = Delivery::from(answer);
        delivery.stall_after = is_layer.then_some(1 << 20);
        delivery
    };
    Server::start_with(model, Arc::new(stall)).expect("a port")
}

fn folders(temporary: &Path) -> usize {
    std::fs::read_dir(temporary).expect("a folder").count()
}

/// Bytes in files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A copy that has written half a layer to its spool.
fn stalled_copy(server: &Server, temporary: &Path) -> Child {
    // A truncated core file would be useless.
    let line = r#"ulimit -c 0; exec "$0" "$@""#;
    let child = Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_windlass"), "copy"])
        .args([from_of(server), to_of(server)])
        .env_clear()
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    wait_for("half a layer", || size(temporary) >= 1 << 20);
    child
}

fn from_of(server: &Server) -> String {
    format!("{}/app:v1", server.host())
}

fn to_of(server: &Server) -> String {
    format!("{}/copy:v1", server.host())
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.expect("kill is there").success());
}

#[test]
fn a_copy_that_is_ended_leaves_nothing_for_long() {
    let stalling = stalling();
    // (signal, exit code, the signal it died of, folders that are left)
    for (signal, code, died, left) in [
        ("INT", Some(130), None, 0),
        ("TERM", Some(143), None, 0),
        ("HUP", Some(129), None, 0),
        ("QUIT", None, Some(3), 1),
        ("KILL", None, Some(9), 1),
    ] {
        let whole = registry_without_mounts();
        let temporary = tempfile::tempdir().expect("a folder");
        let mut child = stalled_copy(&stalling, temporary.path());
        send(&child, signal);
        let status = child.wait().expect("it ends");
        assert_eq!((status.code(), status.signal()), (code, died), "{signal}");
        assert_eq!(folders(temporary.path()), left, "{signal}");
        let variables = [("TMPDIR", temporary.path().to_str().expect("UTF-8"))];
        printed(&windlass(
            &["copy", &from_of(&whole), &to_of(&whole)],
            &variables,
        ));
        assert_eq!(folders(temporary.path()), 0, "{signal}, and the next copy");
    }
}

/// The spool of a copy that still runs is not that of a dead one.
#[test]
fn a_copy_leaves_the_spool_of_another_alone() {
    let stalling = stalling();
    let whole = registry_without_mounts();
    let temporary = tempfile::tempdir().expect("a folder");
    let mut child = stalled_copy(&stalling, temporary.path());
    let variables = [("TMPDIR", temporary.path().to_str().expect("UTF-8"))];
    printed(&windlass(
        &["copy", &from_of(&whole), &to_of(&whole)],
        &variables,
    ));
    assert!(
        child.try_wait().expect("it is ours").is_none(),
        "it still runs"
    );
    assert!(size(temporary.path()) >= 1 << 20, "with what it has");
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}
