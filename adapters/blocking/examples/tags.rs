//! Lists the tags of a repository: `cargo run --example tags -- ghcr.io/org/app`.

use windlass_blocking::{Client, Reference};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(repository) = std::env::args().nth(1) else {
        return Err("usage: tags REPOSITORY".into());
    };
    let repository: Reference = repository.parse()?;
    let client = Client::builder().build()?;
    for page in client.tags(&repository).pages() {
        for tag in page?.tags {
            println!("{tag}");
        }
    }
    Ok(())
}
