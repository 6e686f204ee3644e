//! The OCI image layout on disk.

/// An OCI image layout directory.
#[derive(Clone, Debug)]
pub struct Layout;
