//! Real registries and other tools. Most tests run with `WINDLASS_REAL=1` only.

mod credentials;
mod harness;
mod hosts;
mod mirrors;
mod peers_agree;
mod policies;
mod registry;
mod requests;
mod tools;
mod uploads;
