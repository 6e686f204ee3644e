//! Deletes the tags of images that were made before a day:
//! `cargo run --example delete_old -- registry.example/team/app 2026-01-31`

use windlass_blocking::{Client, Reference, Target};

#[expect(clippy::print_stdout, reason = "an example talks to people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [repository, day] = words.as_slice() else {
        return Err("of which repository, and before which day?".into());
    };
    let repository: Reference = repository.parse()?;
    let client = Client::builder().build()?;
    for tag in client.tags(&repository).run()?.tags {
        let image = repository.with_target(Target::Tag(tag));
        let created = client.open(&image).run()?.config()?.created;
        if created.is_some_and(|created| created < *day) {
            client.delete(&image).run()?;
            println!("{image}");
        }
    }
    Ok(())
}
