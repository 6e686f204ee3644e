//! The `windlass` command over the blocking client.

use std::process::ExitCode;
use std::sync::Arc;

use windlass_cli::{Driver, Setup};
use windlass_core::{Failure, Report};
use windlass_driver::{CancelHandle, Observer, RequestSpec};

fn main() -> ExitCode {
    windlass_cli::run(connect)
}

#[derive(Debug)]
struct Blocking(windlass_blocking::Client);

fn connect(setup: Setup) -> Result<Arc<dyn Driver>, String> {
    let mut builder = windlass_blocking::Client::builder()
        .config(setup.config)
        .credentials(setup.credentials)
        .roots(setup.trust)
        .proxies(setup.route)
        .time_limits(setup.time_limits);
    if let Some(tape) = setup.tape {
        builder = builder.tape(tape);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    Ok(Arc::new(Blocking(client)))
}

impl Driver for Blocking {
    fn run(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure> {
        let request = self.0.request(spec);
        request.observer(observer).cancel(cancel).run()
    }
}
