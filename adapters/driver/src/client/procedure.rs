//! Procedures over a client.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::Failure;

use super::{Client, Driver, Watch};
use crate::cancel::CancelHandle;
use crate::observer::Observer;
use crate::procedure::{Procedure, Remaining, Requests};
use crate::request::{RequestSpec, TypedReport};

impl<D> Client<D> {
    /// An operation of several requests.
    pub fn procedure<P: Procedure>(&self, procedure: P) -> ProcedureRequest<'_, D, P> {
        ProcedureRequest {
            driver: &self.0,
            procedure,
            watch: Watch::default(),
            deadline: None,
        }
    }
}

/// Several requests that are one operation: see [`Procedure`]. Nothing happens before [`run`](Self::run).
#[must_use = "nothing happens before run"]
pub struct ProcedureRequest<'a, D, P> {
    driver: &'a D,
    pub(super) procedure: P,
    watch: Watch,
    deadline: Option<Duration>,
}

impl<'a, D, P> ProcedureRequest<'a, D, P> {
    /// Fails if all of it takes longer than this.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Who watches. Each request is a task of its own.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.watch.observer = Some(observer);
        self
    }

    /// A handle that ends it early.
    pub fn cancel(mut self, cancel: &CancelHandle) -> Self {
        self.watch.cancel = Some(cancel.clone());
        self
    }

    /// Runs it to completion, as [`Request::run`](crate::Request::run) does a single request.
    pub fn run(self) -> D::Running<'a, P::Report>
    where
        D: Driver + Send + Sync,
        P: Procedure,
    {
        let requests = DriverRequests {
            driver: self.driver,
            watch: self.watch,
            remaining: Remaining::new(self.deadline),
        };
        let procedure = self.procedure;
        self.driver
            .follow(async move { procedure.run(&requests).await })
    }
}

impl<D, P: fmt::Debug> fmt::Debug for ProcedureRequest<'_, D, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcedureRequest")
            .field("procedure", &self.procedure)
            .finish_non_exhaustive()
    }
}

/// Makes the requests of one procedure.
struct DriverRequests<'a, D> {
    driver: &'a D,
    watch: Watch,
    remaining: Remaining,
}

impl<D: Driver + Send + Sync> Requests for DriverRequests<'_, D> {
    fn ask<R: TypedReport>(
        &self,
        mut spec: RequestSpec,
    ) -> impl Future<Output = Result<R, Failure>> + Send {
        self.remaining.tell(&mut spec);
        D::result(self.driver.run(spec, self.watch.clone()))
    }

    fn ask_all<R: TypedReport>(
        &self,
        mut specs: Vec<RequestSpec>,
    ) -> impl Future<Output = Result<Vec<R>, Failure>> + Send {
        for spec in &mut specs {
            self.remaining.tell(spec);
        }
        self.driver.run_all(specs, self.watch.clone())
    }
}
