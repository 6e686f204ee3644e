//! The command as a child process, against servers that lie, stall and break off.

mod blobs;
mod concurrent;
mod hostile;
mod interrupted;
mod limits;
mod tls;
