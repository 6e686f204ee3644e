//! The `windlass` command: a thin shell around the client. A library only so that tests can run the
//! same command over the other client; its interface is not stable.
//!
//! ```text
//!  args ─▶ commands ─▶ client (a Driver) ──▶ report, failure
//!                        │ events, bytes, transcript        │
//!  interrupt ─cancel─▶   ▼                                  ▼
//!                     progress ───────▶ printer ◀──────── exit
//! ```
//!
//! Responsible for words: those people type, those they read, and the exit code. Must not know the
//! protocol, nor which client does the work: `main` brings it. Which streams are written to is the printer's
//! decision alone.

mod args;
mod client;
mod commands;
mod exit;
mod hint;
mod interrupt;
mod login;
mod new_layout;
mod place;
mod printer;
mod progress;
mod scheme;
mod testbed;

pub use client::{Connect, Driver, Setup};

use std::process::ExitCode;

use clap::Parser as _;

/// Does what the process's arguments ask for with the client that `connect` makes.
pub fn run(connect: Connect) -> ExitCode {
    interrupt::survive_file_size_limit();
    match args::Args::try_parse() {
        Ok(args) => commands::run(args, connect).into(),
        Err(error) => exit::usage(error).into(),
    }
}
