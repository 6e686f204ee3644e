//! Async OCI registry client: windlass-core driven by reqwest and tokio.
