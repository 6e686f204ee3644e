//! The crate as its users see it: files and variables of machines, and what clients are told of them.

mod answers;
mod docker_login;
mod explain;
