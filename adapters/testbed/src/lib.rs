//! A registry model and a loopback registry server for tests and demos.
