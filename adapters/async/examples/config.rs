//! Prints what an image runs as: `cargo run --example config -- alpine:3`.

use windlass_async::{Client, Reference};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference = std::env::args().nth(1).ok_or("usage: config REFERENCE")?;
    let reference: Reference = reference.parse()?;
    let client = Client::builder().build()?;
    let config = client.open(&reference).run().await?.config()?;
    println!("made at {}", config.created.as_deref().unwrap_or("?"));
    println!("entrypoint {:?}", config.config.entrypoint);
    println!("layers {:?}", config.rootfs.diff_ids);
    Ok(())
}
