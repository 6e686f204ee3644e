//! Real registries and other tools. Most tests run with `WINDLASS_REAL=1` only.

mod artifacts;
mod changed;
mod credentials;
mod ecosystem;
mod harness;
mod hosts;
mod layouts;
mod mirrors;
mod operations;
mod peers_agree;
mod policies;
mod referrers;
mod registry;
mod requests;
mod tools;
mod transfers;
mod uploads;
mod writers;
