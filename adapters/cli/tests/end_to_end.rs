//! The program as people run it, against registries on loopback.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

fn windlass(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_demo_ends_with_its_verdict() {
    let output = windlass(&["demo"]).output().expect("it starts");
    let (story, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{story}{said}");
    let verdict = story.lines().last().expect("a story");
    assert!(verdict.starts_with("ok: "), "{verdict}");
    assert!(story.contains("\npush again: 1 request,"), "{story}");
    assert!(story.contains("\npull again: 1 request,"), "{story}");
    assert!(said.is_empty(), "nothing to complain about: {said}");
}

#[test]
fn the_demo_takes_a_folder_and_keeps_layouts() {
    let keep = tempfile::tempdir().expect("a folder");
    let keep = keep.path().to_str().expect("UTF-8");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let words = ["demo", "--json", "--keep", keep, folder];
    let output = windlass(&words).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON only");
    assert_eq!(report["ok"], true);
    assert_eq!(report["blobs"], 3);
    for layout in ["first", "second"] {
        assert!(
            std::path::Path::new(keep)
                .join(layout)
                .join("oci-layout")
                .is_file()
        );
    }
    let again = windlass(&words).output().expect("it starts");
    assert_eq!(
        again.status.code(),
        Some(2),
        "what is kept is not written over"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = windlass(&["demo"]).spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn nobody_listens() {
    // In use, so that nobody else begins to listen, and not listened on.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = TcpStream::connect(listener.local_addr().expect("a port")).expect("it listens");
    let address = stream.local_addr().expect("a port");
    let reference = format!("{address}/a:1");
    let words = ["digest", &reference, "--retries", "0"];
    let output = windlass(&words).output().expect("it starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert!(said.contains(&address.to_string()), "{said}");
    assert!(output.stdout.is_empty());
}

/// Runs against a registry that takes connections and never answers; sends the program a signal.
#[cfg(unix)]
fn interrupted(signal: &str) -> (Option<i32>, std::time::Duration, String) {
    use std::io::Read as _;

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let reference = format!("{}/a:1", listener.local_addr().expect("a port"));
    let mut child = windlass(&["digest", &reference])
        .spawn()
        .expect("it starts");
    let mut connection = listener.accept().expect("it connects").0;
    let mut byte = [0];
    connection.read_exact(&mut byte).expect("it asks");

    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.expect("kill is there").success());
    let begun = std::time::Instant::now();
    let code = child.wait().expect("it ends").code();
    let took = begun.elapsed();
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("it was piped");
    stderr.read_to_string(&mut said).expect("UTF-8");
    (code, took, said)
}

#[cfg(unix)]
#[test]
fn signals_stop_it_within_a_second() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let (code, took, said) = interrupted(signal);
        assert_eq!(code, Some(expected), "{said}");
        // The rest is for a machine that has other things to do; by itself it would wait ten minutes.
        assert!(took.as_secs() < 3, "{signal}: {took:?}");
        assert_eq!(
            said,
            "stopping; what has arrived is kept for the next run\n"
        );
    }
}
