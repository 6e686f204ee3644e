//! The command as a child process: its arguments and its output.

mod common;
mod credentials;
mod end_to_end;
mod explain;
mod foreign;
mod keeping;
mod layouts;
mod leftovers;
mod limits;
mod network;
mod operations;
mod output;
mod policy;
mod refused;
mod scarce;
mod usage;
