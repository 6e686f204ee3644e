//! The errors of the library, and what they are made of.
//!
//! A request fails with a [`Failure`], which has one [`Error`] or several. Text that does not
//! parse, and documents that are invalid, have errors of their own.

#[cfg(feature = "client")]
pub use crate::builder::BuildError;
#[cfg(feature = "oci-spec")]
pub use crate::oci_spec::OciSpecError;
pub use windlass_core::call::{TransportError, TransportErrorKind};
pub use windlass_core::config::{
    ApiPathError, BudgetError, RegistryKindError, RegistryPatternError, RequestHeaderError,
    RouteError,
};
pub use windlass_core::digest::DigestError;
pub use windlass_core::error::{
    AuthError, Error, ErrorKind, Measure, Mismatch, NotFound, Refusal, RegistryError,
    RegistryErrors, RequestLine,
};
pub use windlass_core::image_config::ImageConfigError;
pub use windlass_core::platform::PlatformError;
pub use windlass_core::reference::ReferenceError;
pub use windlass_core::registry::OriginError;
pub use windlass_core::uploads::NoUpload;
pub use windlass_core::{Failure, StoreError, StoreErrorKind};
