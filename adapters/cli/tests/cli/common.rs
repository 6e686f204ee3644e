//! The program as a child process with an empty environment, and what it is pointed at.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use windlass_testbed::{Auth, Model, Options, Server, User, image};

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "pass-of-alice";

/// Runs it with these words and variables.
pub(crate) fn windlass(words: &[&str], variables: &[(&str, &str)]) -> Output {
    run(command(words, variables), "")
}

/// The same with something on standard input.
pub(crate) fn windlass_with(words: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    run(command(words, variables), input)
}

/// The same as a user, whose password comes on standard input.
pub(crate) fn windlass_as_user(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(words, variables);
    command.args(["--username", USER, "--password-stdin"]);
    run(command, &format!("{PASSWORD}\n"))
}

/// The same with as many tries as usual.
pub(crate) fn windlass_with_retries(words: &[&str], variables: &[(&str, &str)]) -> Output {
    run(patient(words, variables), "")
}

fn command(words: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = patient(words, variables);
    command.args(["--retries", "0"]);
    command
}

fn patient(words: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command
        .args(words)
        .env_clear()
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    // It may have ended before it read anything.
    let _ended = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What it printed, if it ended well.
#[track_caller]
pub(crate) fn printed(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What it said, if it ended with this code and printed nothing.
#[track_caller]
pub(crate) fn failed(output: &Output, code: i32) -> &str {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "data is for success");
    said
}

/// A registry on loopback with one image for linux/amd64, `app:v1`, with a layer of 2 MiB.
pub(crate) fn registry(auth: Auth) -> Server {
    let options = Options {
        auth,
        ..Options::default()
    };
    let mut model = Model::new(options);
    model.put_image("app", Some("v1"), &image(&[vec![7; 2 << 20]]));
    Server::start(model).expect("a port")
}

/// The same, where a blob cannot be mounted: a copy within it goes through a temporary folder.
pub(crate) fn registry_without_mounts() -> Server {
    let server = registry(Auth::Open);
    server.with_model(|model| model.options_mut().uploads.mounts = false);
    server
}

pub(crate) fn users() -> BTreeMap<String, User> {
    BTreeMap::from([(USER.to_owned(), User::new(PASSWORD))])
}

/// `oci:DIR` for a folder below another.
pub(crate) fn layout(folder: &Path, name: &str) -> String {
    format!("oci:{}", folder.join(name).display())
}
