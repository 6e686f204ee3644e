//! Attaches an SBOM to an image: `cargo run --example attach -- registry.example/team/app:v1 sbom.json`

use std::error::Error;

use windlass_async::{Artifact, Client, Part, Reference};

const SPDX: &str = "application/spdx+json";

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, file] = words.as_slice() else {
        return Err("which image, and which file?".into());
    };
    let image: Reference = image.parse()?;
    let client = Client::builder().build()?;
    let sbom = Artifact::new(SPDX).layer(Part::file(file, SPDX)?);
    let attached = client.attach(&image, sbom).run().await?;
    println!("{}", attached.artifact.descriptor.digest);
    Ok(())
}
