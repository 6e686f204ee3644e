//! Both clients: whole calls against registries on loopback, and what they record.

mod advisories;
mod calls;
mod dropped;
mod dying;
mod foreign;
mod guarded;
mod isolated;
mod labels;
mod mirrors;
mod operations;
mod parity;
mod readers;
mod runtimes;
mod secrets;
mod stalled;
mod stores;
mod subjects;
mod tapes;
