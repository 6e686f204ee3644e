//! Three sources of credentials: a service of one's own, with a lifetime; where docker and podman keep them; from
//! one credential helper. `cargo run --example credentials -- service|files|helper REFERENCE`

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use windlass_async::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_async::{Client, Credentials, Reference};
use windlass_config::CredentialSearch;
use windlass_config::credentials::Helpers;

/// Tokens of a service of one's own, for one registry. They live for an hour: after that, and if the registry
/// refuses one before, `find` is called again. It runs on a thread that may block, and may wait for a future.
#[derive(Debug)]
struct FromService;

impl Credentials for FromService {
    fn find(&self, question: &Question) -> TimedAnswer {
        if question.registry().as_str() != "registry.example" {
            return CredentialAnswer::None.into();
        }
        let answer = CredentialAnswer::Basic {
            username: "service".to_owned(),
            password: Secret::new(Handle::current().block_on(token())),
        };
        answer.valid_for(Duration::from_secs(3600))
    }
}

async fn token() -> String {
    tokio::task::yield_now().await;
    std::env::var("TOKEN").unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(reference)) = (arguments.next(), arguments.next()) else {
        return Err("usage: credentials service|files|helper REFERENCE".into());
    };
    let variables = |name: &str| std::env::var_os(name);
    let credentials: Arc<dyn Credentials> = match source.as_str() {
        "service" => Arc::new(FromService),
        "files" => Arc::new(CredentialSearch::from_variables(variables)?),
        // One helper, `docker-credential-pass`, for every registry.
        _ => Arc::new(CredentialSearch::helper("pass").helpers(Helpers::new(variables("PATH")))),
    };
    let client = Client::builder().credentials(credentials).build()?;
    let reference: Reference = reference.parse()?;
    println!("{}", client.resolve(&reference).run().await?.digest);
    Ok(())
}
