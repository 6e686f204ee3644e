//! The `windlass` command over the async client: what can be said of one client by running commands
//! can be said of the other. Set `WINDLASS_BIN` to it for the tests of the command.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use windlass_cli::{Driver, Setup};
use windlass_core::{Failure, Report};
use windlass_driver::{CancelHandle, Observer, RequestSpec};

fn main() -> ExitCode {
    windlass_cli::run(connect)
}

#[derive(Debug)]
struct Async {
    client: windlass_async::Client,
    runtime: Runtime,
}

fn connect(setup: Setup) -> Result<Arc<dyn Driver>, String> {
    let mut builder = windlass_async::Client::builder()
        .config(setup.config)
        .credentials(setup.credentials)
        .roots(setup.trust)
        .proxies(setup.route)
        .time_limits(setup.time_limits);
    if let Some(tape) = setup.tape {
        builder = builder.tape(tape);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    Ok(Arc::new(Async { client, runtime }))
}

impl Driver for Async {
    fn run(
        &self,
        spec: RequestSpec,
        observer: Arc<dyn Observer>,
        cancel: &CancelHandle,
    ) -> Result<Report, Failure> {
        let request = self.client.request(spec);
        let done = request.observer(observer).cancel(cancel).run();
        self.runtime.block_on(done)
    }
}
