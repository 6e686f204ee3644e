//! Reads the layers of an image without a store: `cargo run --example layers -- alpine:3`.

use tokio::io::AsyncReadExt as _;
use windlass_async::{Client, Reference};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference = std::env::args().nth(1).ok_or("usage: layers REFERENCE")?;
    let reference: Reference = reference.parse()?;
    let client = Client::builder().build()?;
    let image = client.open(&reference).run().await?;
    println!("{:?}", image.config()?.config.env);
    for layer in image.layers() {
        let mut reader = client.blob(&image.reference, &layer.blob).read();
        let (mut buffer, mut len) = (vec![0; 1 << 16], 0);
        loop {
            // The last read fails if the layer is not what its digest says.
            match reader.read(&mut buffer).await? {
                0 => break,
                read => len += read,
            }
        }
        println!("{} {len} bytes", layer.blob.digest);
    }
    Ok(())
}
