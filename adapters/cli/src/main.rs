//! The `windlass` command: a thin shell around the client.
//!
//! ```text
//!  args ─▶ commands ─▶ client (windlass-blocking) ─▶ report, failure
//!                        │ events, bytes, transcript        │
//!  interrupt ─cancel─▶   ▼                                  ▼
//!                     progress ───────▶ printer ◀──────── exit
//! ```
//!
//! Responsible for words: those people type, those they read, and the exit code. Must not know the
//! protocol. Which streams are written to is the printer's decision alone.

mod args;
mod client;
mod commands;
mod exit;
mod hint;
mod interrupt;
mod new_layout;
mod place;
mod printer;
mod progress;
mod scheme;
mod testbed;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match args::Args::try_parse() {
        Ok(args) => commands::run(args).into(),
        Err(error) => exit::usage(&error).into(),
    }
}
