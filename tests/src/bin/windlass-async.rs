//! The `windlass` command over the async client, so that tests of the command can be run on both: set
//! `WINDLASS_BIN` to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("threads and a poll of sockets");
    windlass_cli::run::<windlass_async::Tokio>(move |running| runtime.block_on(running))
}
