//! The `windlass` command as a child process with a clean environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Done.
pub const DONE: i32 = 0;
/// Permanent failure: policy, TLS, the store, a protocol violation, 4xx.
pub const REFUSED: i32 = 1;
/// Invalid command line or reference.
pub const USAGE: i32 = 2;
/// Not found.
pub const NOT_FOUND: i32 = 3;
/// Authentication failed.
pub const AUTH: i32 = 4;
/// Temporary failure.
pub const TEMPORARY: i32 = 5;
/// Content did not match its digest or size.
pub const MISMATCH: i32 = 6;
/// Interrupted (Ctrl-C).
pub const INTERRUPTED: i32 = 130;
/// Terminated.
pub const TERMINATED: i32 = 143;

/// No command takes longer in a test; one that does is killed, and the test fails.
const GUARD: Duration = Duration::from_secs(60);

/// How often something is tried in all with `--retries N`: once, and N times again.
pub const fn tries(retries: usize) -> usize {
    retries + 1
}

/// Where the binary is: `WINDLASS_BIN`, or beside the test's own executable.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WINDLASS_BIN") {
        return path.into();
    }
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join("windlass");
    assert!(
        path.exists(),
        "no {}: `cargo build -p windlass-cli` first, or tests/run",
        path.display()
    );
    path
}

/// A command line to be run.
#[derive(Debug)]
pub struct Windlass {
    words: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    stdin: Vec<u8>,
    /// This many come after it.
    zeros: u64,
    home: tempfile::TempDir,
}

impl Windlass {
    /// The command with these words.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(words: I) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let env = BTreeMap::from([
            ("PATH".into(), path),
            ("HOME".into(), home.path().into()),
            ("XDG_RUNTIME_DIR".into(), home.path().into()),
            ("DOCKER_CONFIG".into(), home.path().join("docker").into()),
        ]);
        let words = words
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        Self {
            words,
            env,
            stdin: Vec::new(),
            zeros: 0,
            home,
        }
    }

    /// More words.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, words: I) -> Self {
        self.words
            .extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// `--retries N`
    #[must_use]
    pub fn retries(self, retries: usize) -> Self {
        self.args(["--retries".to_owned(), retries.to_string()])
    }

    /// `--jobs N`
    #[must_use]
    pub fn jobs(self, jobs: usize) -> Self {
        self.args(["--jobs".to_owned(), jobs.to_string()])
    }

    /// `--timeout SECONDS`
    #[must_use]
    pub fn timeout(self, seconds: u64) -> Self {
        self.args(["--timeout".to_owned(), seconds.to_string()])
    }

    /// `--ca-cert FILE --tls`
    #[must_use]
    pub fn tls(self, ca: &Path) -> Self {
        self.args([OsStr::new("--tls"), OsStr::new("--ca-cert"), ca.as_os_str()])
    }

    /// `--username U --password-stdin`, with the password on standard input.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.stdin = format!("{password}\n").into_bytes();
        self.args(["--username", user, "--password-stdin"])
    }

    /// What is on standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        text.as_bytes().clone_into(&mut self.stdin);
        self
    }

    /// This many zeros come through standard input, while the command runs.
    #[must_use]
    pub const fn zeros(mut self, zeros: u64) -> Self {
        self.zeros = zeros;
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// A `config.json` with these `auths` (host → user, password), found through `DOCKER_CONFIG`.
    #[must_use]
    pub fn auths(self, auths: &[(&str, &str, &str)]) -> Self {
        use base64::Engine as _;
        let folder = self.home.path().join("docker");
        std::fs::create_dir_all(&folder).unwrap();
        let mut entries = serde_json::Map::new();
        for (host, user, password) in auths {
            let both = format!("{user}:{password}");
            let auth = base64::engine::general_purpose::STANDARD.encode(both);
            entries.insert((*host).to_owned(), serde_json::json!({ "auth": auth }));
        }
        let config = serde_json::json!({ "auths": entries });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let line: Vec<_> = self
            .words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let mut child = Command::new(binary())
            .args(&self.words)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let mut input = child.stdin.take().unwrap();
        let text = io::Cursor::new(self.stdin);
        let mut text = text.chain(io::repeat(0).take(self.zeros));
        // It ends when the command does not read on.
        std::thread::spawn(move || io::copy(&mut text, &mut input));
        Running {
            line: format!("windlass {}", line.join(" ")),
            stdout: collect(child.stdout.take().unwrap()),
            stderr: collect(child.stderr.take().unwrap()),
            child,
            begun: Instant::now(),
            _home: self.home,
        }
    }
}

/// Reads all of a pipe beside the test.
fn collect(mut pipe: impl Read + Send + 'static) -> Option<JoinHandle<String>> {
    Some(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// A command that is running. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    begun: Instant,
    _home: tempfile::TempDir,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// What `kill` sends.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// `kill -9`, waited for.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success(),
            "{kill}"
        );
    }

    /// Waits for its end; kills it and panics if that takes longer than anything may.
    pub fn wait(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.begun.elapsed() > GUARD {
                self.child.kill().unwrap();
                let stderr = self.stderr.take().unwrap().join().unwrap();
                panic!("hung for {GUARD:?}: {}\n{stderr}", self.line);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Outcome {
            took: self.begun.elapsed(),
            line: std::mem::take(&mut self.line),
            status,
            stdout: self.stdout.take().unwrap().join().unwrap(),
            stderr: self.stderr.take().unwrap().join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its command line.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Asserts exit code 0; the digest it printed.
    #[track_caller]
    pub fn digest(&self) -> &str {
        self.ended_with(DONE);
        let line = self.stdout.trim_end_matches('\n');
        assert!(
            line.starts_with("sha256:") && line.len() == 71,
            "one digest on stdout: {self}"
        );
        line
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn ended_with(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "the exit code of {self}");
        self
    }

    /// The exit code.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Asserts the exit code and that the message on standard error says this, and that nothing
    /// that looks like a result is on standard output.
    #[track_caller]
    pub fn failed(&self, code: i32, says: &str) -> &Self {
        self.ended_with(code);
        assert!(
            self.stderr.contains(says),
            "{says:?} is missing from {self}"
        );
        assert!(
            !self.stdout.contains("sha256:"),
            "a digest printed for a failure: {self}"
        );
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }

    /// Asserts that none of these was printed, raw or in base64.
    #[track_caller]
    pub fn tells_nobody(&self, secrets: &[&str]) -> &Self {
        use base64::Engine as _;
        for secret in secrets {
            let coded = base64::engine::general_purpose::STANDARD.encode(secret);
            for text in [&self.stdout, &self.stderr] {
                assert!(!text.contains(secret), "{secret:?} was printed: {self}");
                assert!(
                    !text.contains(&coded),
                    "{secret:?} was printed in base64: {self}"
                );
            }
        }
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}`: {} after {:?}", self.line, self.status, self.took)?;
        write!(
            f,
            "-- stdout:\n{}\n-- stderr:\n{}",
            self.stdout, self.stderr
        )
    }
}
