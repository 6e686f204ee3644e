//! Configuration for windlass: credentials, trusted certificates and proxies.
