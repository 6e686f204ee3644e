//! Tasks: what callers ask for, each a machine of its own.

pub(crate) mod copy;
