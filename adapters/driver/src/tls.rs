//! Which certificate authorities are trusted.

use std::sync::Arc;

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsRoots {
    /// Certificates in DER form. `None`: those of the system.
    pub roots: Option<Arc<Vec<Vec<u8>>>>,
    /// Certificates in DER form that are trusted beside them.
    pub extra: Vec<Vec<u8>>,
}

impl TlsRoots {
    /// Only these certificates, in DER form, and not those of the system.
    pub fn only(roots: Vec<Vec<u8>>) -> Self {
        Self {
            roots: Some(Arc::new(roots)),
            extra: Vec::new(),
        }
    }
}
