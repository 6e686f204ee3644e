//! Both clients: whole calls against registries on loopback, and what they record.

mod advisories;
mod artifacts;
mod calls;
mod changes;
mod dropped;
mod dying;
mod each;
mod entries;
mod foreign;
mod guarded;
mod isolated;
mod labels;
mod mirrors;
mod operations;
mod parity;
mod positions;
mod readers;
mod relay_ends;
mod relays;
mod runtimes;
mod secrets;
mod stalled;
mod stores;
mod streams;
mod subjects;
mod tapes;
