//! Real registries and other people's tools. Most of them run with `WINDLASS_REAL=1` only.

mod harness;
mod peers_agree;
mod registry;
mod requests;
mod tools;
