//! Helpers for tests: shell scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes `docker-credential-NAME`, a script for `sh`.
pub(crate) fn script(folder: &Path, name: &str, body: &str) {
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(format!("docker-credential-{name}"));
    // Scripts end where their caller's PATH leads to one folder only.
    let text = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n");
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
}
