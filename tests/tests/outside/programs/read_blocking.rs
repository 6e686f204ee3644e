//! Prints the SHA-256 of an image's first layer, computed here from a `std::io::Read`.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};
use windlass_blocking::{Client, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference: Reference = std::env::args().nth(1).ok_or("usage: REF")?.parse()?;
    let client = Client::builder().build()?;
    let image = client.open(&reference).run()?;
    let layer = &image.layers()[0];
    let mut reader = client.blob(&image.reference, &layer.blob).read();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("sha256:{hex}");
    Ok(())
}
