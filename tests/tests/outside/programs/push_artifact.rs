//! Pushes an artifact of three parts in memory about an image, and prints its digest.

use windlass_blocking::{Artifact, Client, Part, Reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let subject: Reference = words.next().ok_or("usage: SUBJECT REF")?.parse()?;
    let reference: Reference = words.next().ok_or("usage: SUBJECT REF")?.parse()?;
    let client = Client::builder().build()?;
    let subject = client.resolve(&subject).run()?;
    let mut artifact = Artifact::new("application/vnd.example.parts").subject(&subject);
    for name in ["one", "two", "three"] {
        let bytes = format!("the content of {name}").into_bytes();
        artifact = artifact.layer(Part::new("text/plain", bytes).title(format!("{name}.txt")));
    }
    let put = client.push_artifact(&reference, artifact).run()?;
    println!("{}", put.descriptor.digest);
    Ok(())
}
