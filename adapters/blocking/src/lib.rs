//! Blocking OCI registry client: windlass-core driven by ureq and threads.
