//! The session against models and scripts: no sockets, no files outside the harness.

mod advisories;
mod broker;
mod checks;
mod dying;
mod foreign;
mod found;
mod isolation;
mod lists;
mod manifests;
mod memory;
mod mirrors;
mod operations;
mod operations_mixed;
mod parts;
mod promises;
mod pushes;
mod referrers;
mod regressions;
mod single_blobs;
mod subjects;
mod transcripts;
mod unshown;
mod uploads;
mod whole;
mod whose;
