//! Operations of several requests.

use std::future::{Future, ready};
use std::sync::Arc;

use windlass_core::Failure;
use windlass_driver::{Procedure, RequestSpec, Requests, TypedReport, at_once, on_threads};

use super::Asker;
use crate::client::{CancelHandle, Client};
use crate::exit::Problem;
use crate::printer::Printer;
use crate::progress::Progress;

impl Asker<'_> {
    /// Runs a procedure.
    pub(super) fn follow<P: Procedure>(&self, procedure: P) -> Result<P::Report, Problem> {
        let requests = ClientRequests {
            client: self.client.clone(),
            printer: Arc::clone(&self.context.printer),
            cancel: self.context.cancel.clone(),
        };
        at_once(procedure.run(&requests)).map_err(|failure| self.explained(failure))
    }
}

/// Makes the requests of a procedure.
struct ClientRequests {
    client: Client,
    printer: Arc<Printer>,
    cancel: CancelHandle,
}

impl Requests for ClientRequests {
    fn ask<R: TypedReport>(
        &self,
        spec: RequestSpec,
    ) -> impl Future<Output = Result<R, Failure>> + Send {
        let observer = Arc::new(Progress::new(Arc::clone(&self.printer)));
        ready(self.client.ask(spec, observer, &self.cancel))
    }

    fn ask_all<R: TypedReport>(
        &self,
        specs: Vec<RequestSpec>,
    ) -> impl Future<Output = Result<Vec<R>, Failure>> + Send {
        ready(on_threads(specs, |spec| {
            let observer = Arc::new(Progress::new(Arc::clone(&self.printer)));
            self.client.ask(spec, observer, &self.cancel)
        }))
    }
}
