//! The program as a child process: what people type, and what they read.

mod common;
mod end_to_end;
mod foreign;
mod keeping;
mod layouts;
mod leftovers;
mod limits;
mod network;
mod output;
mod refused;
mod scarce;
mod usage;
