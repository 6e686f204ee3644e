//! Deletes the tags of images that were made before a day:
//! `cargo run --example delete_old -- registry.example/team/app 2026-01-31`

use windlass_async::{Client, Reference, Target};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [repository, day] = words.as_slice() else {
        return Err("of which repository, and before which day?".into());
    };
    let repository: Reference = repository.parse()?;
    let client = Client::builder().build()?;
    for tag in client.tags(&repository).run().await?.tags {
        let image = repository.with_target(Target::Tag(tag));
        let created = client.open(&image).run().await?.config()?.created;
        if created.is_some_and(|created| created < *day) {
            client.delete(&image).run().await?;
            println!("{image}");
        }
    }
    Ok(())
}
