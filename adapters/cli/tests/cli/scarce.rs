//! The program where the system gives it little: few file descriptors.

use std::process::Command;

use crate::common::{layout, printed};
use windlass_testbed::{Model, Options, Server, image};

fn registry() -> Server {
    let layers: Vec<Vec<u8>> = (0..30).map(|seed| vec![seed; 50_000]).collect();
    let mut model = Model::new(Options::default());
    model.put_image("app", Some("v1"), &image(&layers));
    Server::start(model).expect("a port")
}

/// Runs it with a limit on file descriptors.
fn with_files(files: u32, words: &[&str], temporary: &std::path::Path) -> std::process::Output {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_windlass")]);
    command.args(words).env_clear().env("TMPDIR", temporary);
    command.output().expect("a shell")
}

#[test]
fn with_few_file_descriptors_less_is_done_at_once() {
    let (from, to) = (registry(), registry());
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!("{}/app:v1", from.host());
    // Another name of the host: another registry to the client.
    let target = |name: &str| format!("{}/{name}:v1", to.host().replace("127.0.0.1", "localhost"));
    let images = layout(folder.path(), "images");
    printed(&with_files(16, &["pull", &source, &images], folder.path()));
    let push = ["push", &images, &target("pushed")];
    printed(&with_files(16, &push, folder.path()));
    let copy = ["copy", &source, &target("copied")];
    printed(&with_files(16, &copy, folder.path()));
}
