//! The `windlass` command: a thin shell around the client. It is a library only so that tests can
//! run the command over the other client; its interface is not stable.
//!
//! ```text
//!  args ─▶ commands ─▶ client (a Driver) ──▶ report, failure
//!                        │ events, bytes, transcript        │
//!  interrupt ─cancel─▶   ▼                                  ▼
//!                     progress ───────▶ printer ◀──────── exit
//! ```
//!
//! Responsible for the command line, messages and exit codes. Must not know the protocol, nor which
//! client is used: `main` provides it. Only `printer` knows which stream is written to.

mod admission;
mod args;
mod authentication;
mod client;
mod commands;
mod exit;
mod failure;
mod hint;
mod hosts;
mod interrupt;
mod location;
mod login;
mod new_layout;
mod printer;
mod progress;
mod scheme;
mod short_names;
mod testbed;
mod uploads;

use std::process::ExitCode;

use windlass_core::{Failure, TaskReport};
use windlass_driver::Driver;

/// Runs the command of the process's arguments with a client over the driver `D`. `wait` waits for
/// a request that the driver runs.
pub fn run<D>(
    wait: impl for<'a> Fn(D::Running<'a, TaskReport>) -> Result<TaskReport, Failure>
    + Send
    + Sync
    + 'static,
) -> ExitCode
where
    D: Driver + Send + Sync + 'static,
{
    interrupt::survive_file_size_limit();
    match short_names::args() {
        Ok(args) => commands::run(args, client::connect::<D, _>(wait)).into(),
        Err(exit) => exit.into(),
    }
}
