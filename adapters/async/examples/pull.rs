//! Pulls an image into an image layout: `cargo run --example pull -- alpine:3 ./layout`.

use std::sync::Arc;

use windlass_async::{Client, Event, Layout, Observer, Reference, TaskId};

struct Printer;

impl Observer for Printer {
    #[expect(clippy::print_stderr, reason = "an example talks to people")]
    fn event(&self, _: TaskId, event: &Event) {
        eprintln!("{event:?}");
    }
}

#[expect(clippy::print_stdout, reason = "an example talks to people")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(reference), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull REFERENCE FOLDER".into());
    };
    let reference: Reference = reference.parse()?;
    let layout = Layout::open_or_create(folder)?;
    let client = Client::builder().build()?;
    let report = client
        .pull(&reference, &layout)
        .observer(Arc::new(Printer))
        .run()
        .await?;
    println!("{}", report.root.digest);
    Ok(())
}
