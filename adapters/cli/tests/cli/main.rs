//! The command as a child process: its arguments and its output.

mod additional_tags;
mod artifacts;
mod carried;
mod common;
mod credentials;
mod end_to_end;
mod explain;
mod foreign;
mod images;
mod keeping;
mod layouts;
mod leftovers;
mod limits;
mod many_tags;
mod network;
mod operations;
mod output;
mod policy;
mod refused;
mod scarce;
mod usage;
