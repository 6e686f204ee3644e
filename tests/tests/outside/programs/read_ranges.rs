//! Reads 1,000 pieces of 4 KiB, spread over a blob of 1 GiB, and prints their SHA-256.

use sha2::{Digest as _, Sha256};
use windlass_async::{Client, Descriptor, Reference};

const PIECE: u64 = 4 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference: Reference = std::env::args()
        .nth(1)
        .ok_or("usage: REPO@DIGEST")?
        .parse()?;
    let digest = reference.digest().ok_or("a blob has a digest")?.clone();
    let blob = Descriptor::new("application/octet-stream", digest, 1 << 30);
    let client = Client::builder().build()?;
    let blob = client.blob(&reference, &blob);
    let mut hash = Sha256::new();
    for n in 0..1000 {
        let first = n * (1 << 20) + n;
        let piece = blob.range(first..first + PIECE).run().await?;
        hash.update(&piece.bytes);
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("sha256:{hex}");
    Ok(())
}
