//! How an answer reaches the client, or does not.
//!
//! Responsible for: the vocabulary of faults between model and client.
//! Must not know: sockets.

use core::time::Duration;

use crate::{Answer, Request};

/// Stands between the model and the clients. `nth` counts the server's requests from zero, in the
/// order their heads arrived.
///
/// A closure `Fn(&Request, usize, Answer) -> Delivery` is an interceptor that spoils deliveries.
pub trait Interceptor: Send + Sync {
    /// Called after the head of a request. `Some` is delivered and the model is not asked; the body
    /// has not been read (`request.body` is empty) and is thrown away afterwards, unless
    /// [`Delivery::close_after`] or [`Delivery::refuse_to_read_after`] say otherwise.
    fn before(&self, _request: &Request, _nth: usize) -> Option<Delivery> {
        None
    }

    /// Whether the model may refuse after the head ([`Model::refusal`](crate::Model::refusal)), as
    /// registries do that answer 401 to an upload without reading it.
    fn early(&self, _request: &Request, _nth: usize) -> bool {
        false
    }

    /// Called with the model's answer; what it returns is delivered.
    fn deliver(&self, _request: &Request, _nth: usize, answer: Answer) -> Delivery {
        Delivery::from(answer)
    }
}

/// Delivers everything as it is.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Interceptor for Plain {}

impl<F> Interceptor for F
where
    F: Fn(&Request, usize, Answer) -> Delivery + Send + Sync,
{
    fn deliver(&self, request: &Request, nth: usize, answer: Answer) -> Delivery {
        self(request, nth, answer)
    }
}

/// An answer and what befalls it on the way. `Delivery::from(answer)` is an undisturbed one.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The answer.
    pub answer: Answer,
    /// Breaks the connection before the first byte: with a reset, or with an end of stream after a
    /// chunked request body.
    pub reset_before_head: bool,
    /// Ends the stream after this many bytes of body, whatever `Content-Length` promised.
    pub cut_body_after: Option<u64>,
    /// Sends this many bytes of body and then nothing, until the client or the server goes.
    pub stall_after: Option<u64>,
    /// Sends the body at this many bytes per second.
    pub throttle: Option<u64>,
    /// Waits before the head.
    pub delay: Option<Duration>,
    /// Says this in `Content-Length` instead of the truth.
    pub lie_content_length: Option<u64>,
    /// Sends no `Content-Length` and the body again and again (zeros, if it is empty), until the
    /// client or the server goes.
    pub endless: bool,
    /// Closes the connection after the answer without having announced it. If the request's body
    /// has not been read, that resets the connection, perhaps before the client saw the answer.
    pub close_after: bool,
    /// Sends these bytes instead of head and body, and ends the stream.
    pub raw: Option<Vec<u8>>,
    /// For [`Interceptor::before`]: reads this many bytes of the request's body and then no more,
    /// until the connection breaks or the server goes. Nothing is answered; the model takes it as a
    /// request that broke off ([`Model::cut`](crate::Model::cut)).
    pub refuse_to_read_after: Option<u64>,
}

impl From<Answer> for Delivery {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            reset_before_head: false,
            cut_body_after: None,
            stall_after: None,
            throttle: None,
            delay: None,
            lie_content_length: None,
            endless: false,
            close_after: false,
            raw: None,
            refuse_to_read_after: None,
        }
    }
}
