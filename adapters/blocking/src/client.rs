//! stub
/// e
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A certificate that is to be trusted cannot be read.
    #[error("certificate that is to be trusted: {0}")]
    Certificate(String),
    /// No certificate authority is trusted.
    #[error("no certificate authority is trusted")]
    NoRoots,
}
