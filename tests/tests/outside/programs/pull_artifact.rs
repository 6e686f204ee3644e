//! Pulls an artifact with another client, `oci-client`, and prints its digest and what its parts contain.

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference = std::env::args().nth(1).ok_or("usage: REF")?.parse()?;
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .map_err(|_| "there is a provider")?;
    let client = Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    });
    let image = client
        .pull(&reference, &RegistryAuth::Anonymous, vec!["text/plain"])
        .await?;
    println!("{}", image.digest.ok_or("no digest")?);
    for layer in image.layers {
        println!("{}", String::from_utf8(layer.data.to_vec())?);
    }
    Ok(())
}
