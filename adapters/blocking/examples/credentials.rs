//! Three sources of credentials: from memory, with a lifetime; where docker and podman keep them; from one
//! credential helper. `cargo run --example credentials -- memory|files|helper REFERENCE`

use std::sync::Arc;
use std::time::Duration;

use windlass_blocking::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_blocking::{Client, Credentials, Reference};
use windlass_config::CredentialSearch;
use windlass_config::credentials::Helpers;

/// Tokens of a service of one's own, for one registry. They live for an hour: after that, and if the registry
/// refuses one before, `find` is called again.
#[derive(Debug)]
struct FromMemory;

impl Credentials for FromMemory {
    fn find(&self, question: &Question) -> TimedAnswer {
        if question.registry().as_str() != "registry.example" {
            return CredentialAnswer::None.into();
        }
        let token = std::env::var("TOKEN").unwrap_or_default();
        let answer = CredentialAnswer::Basic {
            username: "service".to_owned(),
            password: Secret::new(token),
        };
        answer.valid_for(Duration::from_secs(3600))
    }
}

#[expect(clippy::print_stdout, reason = "an example talks to people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(reference)) = (arguments.next(), arguments.next()) else {
        return Err("usage: credentials memory|files|helper REFERENCE".into());
    };
    let variables = |name: &str| std::env::var_os(name);
    let credentials: Arc<dyn Credentials> = match source.as_str() {
        "memory" => Arc::new(FromMemory),
        "files" => Arc::new(CredentialSearch::from_variables(variables)?),
        // One helper, `docker-credential-pass`, for every registry.
        _ => Arc::new(CredentialSearch::helper("pass").helpers(Helpers::new(variables("PATH")))),
    };
    let client = Client::builder().credentials(credentials).build()?;
    let reference: Reference = reference.parse()?;
    println!("{}", client.resolve(&reference).run()?.digest);
    Ok(())
}
