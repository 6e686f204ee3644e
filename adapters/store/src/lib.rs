//! Content stores for windlass: the OCI image layout on disk, atomic and resumable.
