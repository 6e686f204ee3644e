//! The `windlass` command over the blocking client.

use std::process::ExitCode;

fn main() -> ExitCode {
    windlass_cli::run::<windlass_blocking::Threads>(|result| result)
}
