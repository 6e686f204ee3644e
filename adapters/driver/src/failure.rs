//! Failures of exchanges that every driver words in the same way, so that transcripts can be compared.

use windlass_core::call::{TransportError, TransportErrorKind};

/// The detail of a connection that the peer closed before the message was complete.
pub const CLOSED_EARLY: &str = "the peer ended it too early";

/// A server that reported success although a part of the request's body was not sent.
pub fn accepted_early() -> TransportError {
    let why = "the server reported success before the whole body was sent";
    TransportError::new(TransportErrorKind::Reset, why)
}
