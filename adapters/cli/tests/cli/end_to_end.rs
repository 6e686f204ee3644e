//! The command against registries on loopback.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::time::{Duration, Instant};

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
    // In use, so that no other process can listen, and without a listener.
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

/// The program while it waits for a registry that takes connections and never answers.
#[cfg(unix)]
struct Waiting {
    child: std::process::Child,
    _connection: TcpStream,
}

#[cfg(unix)]
impl Waiting {
    fn start(options: &[&str], stderr: impl Into<Stdio>) -> Self {
        use std::io::Read as _;

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let reference = format!("{}/a:1", listener.local_addr().expect("a port"));
        let child = windlass(&["digest", &reference])
            .args(options)
            .stderr(stderr)
            .spawn()
            .expect("it starts");
        let mut connection = listener.accept().expect("it connects").0;
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("it asks");
        Self {
            child,
            _connection: connection,
        }
    }

    fn signal(&self, name: &str) {
        send(&self.child, name);
    }

    /// Its exit code, and how long it took to come.
    fn end(&mut self) -> (Option<i32>, Duration) {
        end(&mut self.child)
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("it was piped");
        std::io::Read::read_to_string(&mut stderr, &mut said).expect("UTF-8");
        said
    }
}

/// The exit code, and how long it took to come; `None` for a program that had to be killed.
#[cfg(unix)]
fn end(child: &mut std::process::Child) -> (Option<i32>, Duration) {
    const GUARD: Duration = Duration::from_secs(20);
    let begun = Instant::now();
    while begun.elapsed() < GUARD {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return (status.code(), begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("it is ours");
    (child.wait().expect("it ends").code(), begun.elapsed())
}

#[cfg(unix)]
fn send(child: &std::process::Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.expect("kill is there").success());
}

/// A full pipe, and its end that is not read.
#[cfg(unix)]
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut filler = writer.try_clone().expect("a file");
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    // Ends when the reader is dropped.
    std::thread::spawn(move || {
        while filler.write_all(b"x").is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    loop {
        let before = written.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        if before > 0 && written.load(Ordering::SeqCst) == before {
            return (reader, writer);
        }
    }
}

#[cfg(unix)]
#[test]
fn signals_stop_it_within_a_second() {
    for (signal, expected) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut waiting = Waiting::start(&[], Stdio::piped());
        waiting.signal(signal);
        let (code, took) = waiting.end();
        let said = waiting.said();
        assert_eq!(code, Some(expected), "{said}");
        // The rest is for a machine that has other things to do; by itself it would wait ten minutes.
        assert!(took.as_secs() < 3, "{signal}: {took:?}");
        assert_eq!(said, "stopping; received data is kept for the next run\n");
    }
}

/// The reader of standard error has stalled: the message waits, but the process ends.
#[cfg(unix)]
#[test]
fn signals_stop_it_although_nobody_reads_what_it_says() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let (_reader, writer) = full_pipe();
        let mut waiting = Waiting::start(&[], writer);
        waiting.signal(signal);
        let (code, took) = waiting.end();
        assert_eq!(code, Some(expected), "{signal}");
        assert!(took.as_millis() < 1500, "{signal}: {took:?}");
    }
}

/// The thread that shows progress waits for the reader, and with it the whole call.
#[cfg(unix)]
#[test]
fn signals_stop_it_although_it_waits_for_a_reader() {
    let (_reader, writer) = full_pipe();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let reference = format!("{}/a:1", listener.local_addr().expect("a port"));
    let mut child = windlass(&["digest", &reference, "--trace"])
        .stderr(writer)
        .spawn()
        .expect("it starts");
    // The first line of the trace is in its way before or after this; then it stands still.
    let _connection = listener.accept().expect("it connects");
    std::thread::sleep(Duration::from_millis(200));
    send(&child, "INT");
    let (code, took) = end(&mut child);
    assert_eq!(code, Some(130));
    assert!(took.as_millis() < 1500, "{took:?}");
}

/// The second signal does not wait, and its code is that of the second.
#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, expected) in [("INT", "INT", 130), ("INT", "TERM", 143)] {
        let (_reader, writer) = full_pipe();
        let mut waiting = Waiting::start(&[], writer);
        waiting.signal(first);
        // Signals of one number are not counted: the first has to be heard.
        std::thread::sleep(Duration::from_millis(200));
        waiting.signal(second);
        let (code, took) = waiting.end();
        assert_eq!(code, Some(expected), "{first} {second}");
        assert!(took.as_millis() < 500, "{first} {second}: {took:?}");
    }
}

/// The demo leaves nothing behind, also if it is stopped in the middle of a sentence.
#[cfg(unix)]
#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a folder");
    let (_reader, writer) = full_pipe();
    let mut child = windlass(&["demo"])
        .env("TMPDIR", temporary.path())
        .stdout(writer)
        .spawn()
        .expect("it starts");
    let is_empty = || {
        let mut entries = std::fs::read_dir(temporary.path()).expect("a folder");
        entries.next().is_none()
    };
    while is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    send(&child, "INT");
    std::thread::sleep(Duration::from_millis(100));
    send(&child, "INT");
    assert_eq!(end(&mut child).0, Some(130));
    assert!(is_empty(), "what it made is still there");
}

/// Under `nohup` a terminal may close.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let reference = format!("{}/a:1", listener.local_addr().expect("a port"));
    let mut child = Command::new("sh")
        .args(["-c", r#"trap "" HUP; exec "$0" "$@""#])
        .args([env!("CARGO_BIN_EXE_windlass"), "digest", &reference])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut connection = listener.accept().expect("it connects").0;
    std::io::Read::read_exact(&mut connection, &mut [0]).expect("it asks");
    send(&child, "HUP");
    send(&child, "TERM");
    let (code, _took) = end(&mut child);
    assert_eq!(code, Some(143), "only the second one counts");
}
