//! Copies an image with its signatures, SBOMs and whatever else refers to it:
//! `cargo run --example copy_signed -- ghcr.io/org/app:1.2 registry.example/mirror/app:1.2`

use std::error::Error;

use windlass_async::{Carry, Client, Reference};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = words.as_slice() else {
        return Err("from where, and to where?".into());
    };
    let (from, to): (Reference, Reference) = (from.parse()?, to.parse()?);
    let client = Client::builder().build()?;
    let copy = client.copy(from, to).carry(Carry::referrers());
    let carried = copy.run().await?.carried.unwrap_or_default();
    println!("{} copied, {} there", carried.copied, carried.present);
    for it in carried.not_carried {
        println!("of {}: {}", it.subject, it.why);
    }
    Ok(())
}
