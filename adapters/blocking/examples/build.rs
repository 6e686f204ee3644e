//! Builds an image: `tar -c . | cargo run --features compress --example build -- registry.example/app:v1`.

use serde_json::json;
use windlass_blocking::{Client, Compression, Descriptor, LayerStream, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference: Reference = std::env::args().nth(1).ok_or("no reference")?.parse()?;
    let client = Client::builder().build()?;
    let layer = LayerStream::new(std::io::stdin(), Compression::Zstd)?;
    let put = client.put_stream(&reference, layer.stream()).run()?;
    let rootfs = json!({ "type": "layers", "diff_ids": [layer.diff_id()] });
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": rootfs });
    let config = config.to_string().into_bytes();
    let config = client.put_blob(&reference, config).run()?;
    let of = |document| format!("application/vnd.oci.image.{document}.v1+json");
    let config = Descriptor::new(of("config"), config.digest, config.size);
    let layers = [layer.descriptor(&put)];
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = manifest.to_string().into_bytes();
    client
        .put_manifest(&reference, manifest, of("manifest"))
        .run()?;
    Ok(())
}
