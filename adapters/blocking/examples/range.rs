//! Prints the first KiB of a blob, which nothing verifies: `cargo run --example range -- alpine@sha256:…`.

use std::io::Read as _;

use windlass_blocking::{Client, Descriptor, Reference};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference = std::env::args().nth(1).ok_or("usage: range BLOB")?;
    let reference: Reference = reference.parse()?;
    let digest = reference.digest().ok_or("a blob is named by its digest")?;
    let client = Client::builder().build()?;
    let blob = Descriptor::new("application/octet-stream", digest.clone(), 1024);
    let mut reader = client.blob(&reference, &blob).read_unverified(0..1024);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    println!("{}", bytes.escape_ascii());
    Ok(())
}
