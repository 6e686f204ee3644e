//! Tests of one HTTP exchange against raw sockets, the same for every driver.
//!
//! A driver implements [`Exchange`] in its unit tests and calls [`exchange_tests!`]. What only one of them can do
//! or promises (stopping a read, the stack of a worker, the targets that its HTTP library alters) stays with it.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "it panics into a test's output"
)]

pub mod addresses;
pub mod bodies;
pub mod failures;
pub mod hosts;
pub mod limits;
pub mod proxies;
pub mod requests;
pub mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use windlass_core::Origin;
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};
use windlass_driver::{
    AddressGuard, Direct, HostSelector, HostSettings, Proxy, ProxySelector, SameForAll, TimeLimits,
    TlsRoots,
};

/// A driver's way to send one request.
pub trait Exchange: Sync + Sized {
    /// What the driver says of a proxy that refuses a tunnel, given the status.
    fn refused_tunnel(status: &'static str) -> &'static str;

    /// A driver that is set up like this.
    fn new(setup: &Setup) -> Self;

    /// Sends a request without a stored body, and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// If there is no answer, or it breaks off.
    fn send(&self, request: &Request<Payload>) -> Result<Answer, Interrupted>;

    /// Sends a request with a stored body; the body of the answer is not read.
    fn upload(&self, request: &Request<Payload>, body: Zeros) -> Uploaded;
}

/// How a driver is to be set up.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of a client's settings")]
pub struct Setup {
    pub roots: TlsRoots,
    pub limits: TimeLimits,
    pub proxies: Arc<dyn ProxySelector>,
    pub hosts: Arc<dyn HostSelector>,
    pub addresses: AddressGuard,
}

impl Setup {
    /// Time limits of `millis`; twice that for the response.
    pub fn with_limits(millis: u64) -> Self {
        let mut limits = TimeLimits::default();
        limits.connect = Duration::from_millis(millis);
        limits.idle = Duration::from_millis(millis);
        limits.answer = Duration::from_millis(2 * millis);
        Self {
            roots: TlsRoots::default(),
            limits,
            proxies: Arc::new(Direct),
            hosts: Arc::new(SameForAll),
            addresses: AddressGuard::default(),
        }
    }

    /// Limits that no test reaches.
    pub fn patient() -> Self {
        Self::with_limits(60_000)
    }

    /// Trusts these certificate authorities only.
    #[must_use]
    pub fn trusting(mut self, roots: TlsRoots) -> Self {
        self.roots = roots;
        self
    }

    /// Reaches this one host in a way of its own.
    #[must_use]
    pub fn host(mut self, base: &str, settings: HostSettings) -> Self {
        let origin: Origin = base.parse().unwrap();
        self.hosts = Arc::new(BTreeMap::from([(origin, Arc::new(settings))]));
        self
    }

    /// Connects only to addresses that this allows.
    #[must_use]
    pub fn guarded(mut self, addresses: AddressGuard) -> Self {
        self.addresses = addresses;
        self
    }

    /// Sends everything through the proxy at this URL.
    #[must_use]
    pub fn through(mut self, url: String) -> Self {
        self.proxies = Arc::new(Through(Proxy::new(url)));
        self
    }
}

/// Everything goes through this proxy.
#[derive(Debug)]
struct Through(Proxy);

impl ProxySelector for Through {
    fn proxy(&self, _: &Origin) -> Option<Proxy> {
        Some(self.0.clone())
    }
}

/// An answer that was read to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the parts of an answer")]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A stored body of `len` zeros of which only `there` can be read, a `piece` at a time, each after a `pause`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "said above")]
pub struct Zeros {
    pub len: u64,
    pub there: u64,
    pub piece: usize,
    pub pause: Duration,
}

impl Zeros {
    /// A body that is read as fast as it can be sent.
    pub const fn new(len: u64) -> Self {
        Self {
            len,
            there: len,
            piece: 64 * 1024,
            pause: Duration::ZERO,
        }
    }

    /// A body of which only a part, or too much, can be read.
    #[must_use]
    pub const fn of_which(mut self, there: u64) -> Self {
        self.there = there;
        self
    }

    /// A body that is read slowly.
    #[must_use]
    pub const fn slowly(mut self, piece: usize, pause: Duration) -> Self {
        self.piece = piece;
        self.pause = pause;
        self
    }
}

/// What came of a request with a stored body.
#[derive(Debug)]
pub struct Uploaded {
    /// The status of the answer.
    pub status: Result<u16, Interrupted>,
    /// How many bytes were read of the body, in all tries.
    pub read: u64,
    /// How often the body was opened.
    pub opened: u32,
}

/// A request with a body that is no stored one.
pub fn request(method: &str, target: &str, body: Payload) -> Request<Payload> {
    let mut request = Request::builder().method(method).uri(target);
    match &body {
        Payload::Bytes(bytes) => request = request.header(header::CONTENT_LENGTH, bytes.len()),
        Payload::Empty if method == "GET" => {}
        Payload::Empty | Payload::Body(_) => {
            request = request.header(header::CONTENT_LENGTH, 0);
        }
    }
    request.body(body).unwrap()
}

/// A request for what is at a target.
pub fn get(target: &str) -> Request<Payload> {
    request("GET", target, Payload::Empty)
}

/// A request whose body is stored and has this length.
pub fn put(base: &str, len: u64) -> Request<Payload> {
    let mut put = request("PUT", &format!("{base}/upload?_state=1"), Payload::Empty);
    put.headers_mut().insert(header::CONTENT_LENGTH, len.into());
    put
}

/// How the connection failed.
///
/// # Panics
///
/// If it did not, or something else was the reason.
pub fn kind<T: std::fmt::Debug>(result: Result<T, Interrupted>) -> TransportErrorKind {
    let why = result.unwrap_err();
    let Interrupted::Transport(error) = why else {
        panic!("{why:?}");
    };
    error.kind
}

/// Makes the tests of a driver: a type that implements [`Exchange`].
#[macro_export]
macro_rules! exchange_tests {
    ($driver:ident) => {
        $crate::exchange_tests! { @ $driver, requests:
            headers_and_targets_arrive_byte_for_byte,
            an_empty_post_sends_its_length_and_nothing_else,
            bodies_are_not_chunked,
            connections_are_kept,
            a_kept_connection_that_closes_is_replaced_silently,
            a_body_goes_again_on_a_fresh_connection,
            a_body_is_sent_twice_at_the_most,
            what_changes_an_upload_is_sent_once,
        }
        $crate::exchange_tests! { @ $driver, limits:
            a_silent_server_is_given_up_after_the_answer_limit,
            a_stalled_download_is_given_up_after_the_idle_limit,
            a_slow_download_passes,
            trailers_without_end_are_left_after_so_many_bytes,
            what_never_becomes_an_answer_keeps_no_limit_going,
            an_upload_may_last_longer_than_the_idle_limit,
            a_peer_that_stops_reading_is_noticed,
        }
        $crate::exchange_tests! { @ $driver, failures:
            failures_are_told_apart,
            errors_do_not_name_targets,
            a_head_that_is_too_long_is_a_protocol_error,
            a_few_interim_answers_and_trailers_are_fine,
            tls_trusts_only_its_roots,
            tls_to_a_server_without_it_is_an_error,
        }
        $crate::exchange_tests! { @ $driver, hosts:
            a_host_has_authorities_of_its_own,
            a_client_certificate_is_for_one_host,
            a_host_chooses_among_client_certificates,
            verification_is_skipped_for_one_host,
            a_server_is_asked_for_another_name,
            a_host_has_a_time_to_connect_of_its_own,
            settings_that_cannot_be_used_send_nothing,
            settings_hold_behind_a_proxy,
        }
        $crate::exchange_tests! { @ $driver, bodies:
            an_early_refusal_is_heard,
            a_connection_lost_while_sending_is_a_reset,
            a_source_that_comes_up_short_is_an_error,
            a_source_that_has_too_much_is_cut,
        }
        $crate::exchange_tests! { @ $driver, proxies:
            https_is_tunnelled_through_a_proxy,
            http_is_forwarded_by_a_proxy,
            a_failing_proxy_is_named,
            a_407_without_a_proxy_is_an_answer,
            a_proxy_of_another_kind_is_not_passed_by,
        }
        $crate::exchange_tests! { @ $driver, addresses:
            an_address_that_is_not_allowed_is_not_connected_to,
            an_address_that_is_allowed_is_connected_to,
            a_proxy_is_not_judged,
        }
    };
    (@ $driver:ident, $module:ident: $($name:ident),* $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    $crate::$module::$name::<super::$driver>();
                }
            )*
        }
    };
}
