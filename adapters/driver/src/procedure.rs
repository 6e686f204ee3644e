//! Several requests that are one operation for the caller: what is asked next depends on what was found before.
//!
//! ```text
//!  Client ── ProcedureRequest::run ──▶ Procedure::run ── Requests::ask, one after the other ──▶ the driver
//! ```
//!
//! A procedure is written once, as an async function, for every client. The future of a request is what the driver makes
//! it: that of the async client waits, that of the blocking client has its result when it is first polled, so that
//! a procedure over it runs through in one poll ([`at_once`]).
//!
//! Responsible for what the requests of a procedure have in common: observer, cancellation, deadline. Must not know what
//! a procedure does.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use windlass_core::{Error, Failure};

use crate::request::{RequestSpec, TypedReport};

/// An operation of several requests.
pub trait Procedure: Send + 'static {
    /// What it ends with.
    type Report: Send + 'static;

    /// Makes the requests, and ends with the report, or with the failure of one of them. It must wait for nothing
    /// else.
    fn run(
        self,
        requests: &impl Requests,
    ) -> impl Future<Output = Result<Self::Report, Failure>> + Send;
}

/// What makes the requests of a procedure: a client.
pub trait Requests: Send + Sync {
    /// Makes a request, and ends with its report.
    fn ask<R: TypedReport>(
        &self,
        spec: RequestSpec,
    ) -> impl Future<Output = Result<R, Failure>> + Send;

    /// Makes requests of which none depends on another, at most [`SIDE_BY_SIDE`] at once, and ends with their
    /// reports in order, or with the failure of one of them. After that no further one begins.
    fn ask_all<R: TypedReport>(
        &self,
        specs: Vec<RequestSpec>,
    ) -> impl Future<Output = Result<Vec<R>, Failure>> + Send;
}

/// How many requests of a procedure are made at once: enough to hide the round trips of small blobs; how many a
/// host gets at once is the session's business.
pub const SIDE_BY_SIDE: usize = 8;

/// For clients whose requests are futures that wait: [`Requests::ask_all`].
///
/// # Errors
///
/// The failure of the first that fails. The others are dropped.
pub async fn side_by_side<R, F>(futures: Vec<F>) -> Result<Vec<R>, Failure>
where
    F: Future<Output = Result<R, Failure>>,
{
    let mut waiting = futures.into_iter().map(Box::pin).enumerate();
    let mut running: Vec<_> = waiting.by_ref().take(SIDE_BY_SIDE).collect();
    let mut done = BTreeMap::new();
    poll_fn(|context| {
        let mut at = 0;
        while at < running.len() {
            let (place, future) = &mut running[at];
            match future.as_mut().poll(context) {
                Poll::Pending => at += 1,
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Ready(Ok(report)) => {
                    done.insert(*place, report);
                    running.swap_remove(at);
                    running.extend(waiting.next());
                }
            }
        }
        if running.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await?;
    Ok(done.into_values().collect())
}

/// For clients whose requests block: [`Requests::ask_all`]. `ask` is called on threads of its own.
///
/// # Errors
///
/// The failure of the first that fails, once those that have begun are over.
pub fn on_threads<R: Send>(
    specs: Vec<RequestSpec>,
    ask: impl Fn(RequestSpec) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let threads = specs.len().min(SIDE_BY_SIDE);
    let waiting = Mutex::new(specs.into_iter().enumerate());
    let done = Mutex::new(Ok(BTreeMap::new()));
    let work = || {
        loop {
            let next = lock(&waiting).next();
            let Some((place, spec)) = next.filter(|_| lock(&done).is_ok()) else {
                return;
            };
            let result = ask(spec);
            let mut done = lock(&done);
            match result {
                Ok(report) => drop(done.as_mut().map(|done| done.insert(place, report))),
                Err(failure) if done.is_ok() => *done = Err(failure),
                Err(_) => {}
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread there is this one.
            let thread = thread::Builder::new().name("windlass-request".into());
            drop(thread.spawn_scoped(scope, work));
        }
        work();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Ok(done.into_values().collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single step, so a panic elsewhere left it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For drivers and other [`Requests`] that block: the result of a future that never waits.
///
/// # Errors
///
/// Its failure; [`Error::Internal`] if it would wait.
pub fn at_once<R>(future: impl Future<Output = Result<R, Failure>>) -> Result<R, Failure> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            let what = "a procedure waits for something that is no request".into();
            Err(Failure::new(vec![Error::Internal { what }]))
        }
    }
}

/// A procedure ends because of this.
pub(crate) fn refused(error: &dyn std::error::Error) -> Failure {
    let what = error.to_string();
    Failure::new(vec![Error::Policy { what }])
}

/// When a procedure is to be over: what is left of that is the deadline of its next request.
#[derive(Clone, Copy, Debug)]
pub struct Remaining(Option<Instant>);

impl Remaining {
    /// From now on.
    pub fn new(deadline: Option<Duration>) -> Self {
        Self(deadline.and_then(|deadline| Instant::now().checked_add(deadline)))
    }

    /// Tells a request.
    pub fn tell(self, spec: &mut RequestSpec) {
        if let Some(until) = self.0 {
            spec.deadline(until.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn specs(n: usize) -> Vec<RequestSpec> {
        let reference = "reg.invalid/app:v1".parse().expect("a reference");
        (0..n).map(|_| RequestSpec::resolve(&reference)).collect()
    }

    fn failed() -> Failure {
        Failure::new(vec![Error::Cancelled])
    }

    #[test]
    fn requests_on_threads() {
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = |_| {
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        assert_eq!(on_threads(specs(30), ask).map(|it| it.len()), Ok(30));
        assert!((2..=SIDE_BY_SIDE).contains(&most.into_inner()));

        let asked = AtomicUsize::new(0);
        let ask = |_| match asked.fetch_add(1, Ordering::SeqCst) {
            2 => Err(failed()),
            n => Ok(n),
        };
        assert_eq!(on_threads(specs(1000), ask), Err(failed()));
        assert!(asked.into_inner() < 1000, "after a failure none begins");
        assert_eq!(on_threads(specs(0), |_| Ok(1)), Ok(vec![]));
    }

    /// A future that is ready when it is polled for the second time.
    fn slow(n: usize, polled: &AtomicUsize) -> impl Future<Output = Result<usize, Failure>> {
        let mut is_second = false;
        poll_fn(move |context| {
            polled.fetch_add(1, Ordering::SeqCst);
            context.waker().wake_by_ref();
            match std::mem::replace(&mut is_second, true) {
                true => Poll::Ready(if n == 12 { Err(failed()) } else { Ok(n) }),
                false => Poll::Pending,
            }
        })
    }

    #[test]
    fn futures_side_by_side() {
        let polled = AtomicUsize::new(0);
        let poll = |futures: &mut std::pin::Pin<&mut dyn Future<Output = _>>| {
            futures
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        for (n, expected) in [
            (10, Ok((0..10).collect())),
            (0, Ok(vec![])),
            (13, Err(failed())),
        ] {
            polled.store(0, Ordering::SeqCst);
            let futures = (0..n).map(|n| slow(n, &polled)).collect();
            let mut futures: std::pin::Pin<&mut dyn Future<Output = _>> =
                pin!(side_by_side(futures));
            let mut first = poll(&mut futures);
            assert_eq!(polled.load(Ordering::SeqCst), n.min(SIDE_BY_SIDE));
            for _ in 0..n {
                if first.is_pending() {
                    first = poll(&mut futures);
                }
            }
            assert_eq!(first, Poll::Ready(expected));
        }
    }

    #[test]
    fn a_procedure_that_waits_is_a_defect() {
        assert_eq!(at_once(async { Ok(1) }), Ok(1));
        let failure = at_once(std::future::pending::<Result<(), Failure>>());
        let failure = failure.expect_err("it waits");
        assert!(
            matches!(failure.first(), Error::Internal { .. }),
            "{failure}"
        );
    }
}
