//! Pulls an image and pushes it elsewhere: `cargo run --example copy -- alpine:3 localhost:5000/a:1`.

use windlass_blocking::{Client, Layout, Reference, StoreHandle};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, from, to] = &arguments[..] else {
        return Err("usage: copy FROM TO".into());
    };
    let (from, to): (Reference, Reference) = (from.parse()?, to.parse()?);
    let store = StoreHandle::from(Layout::temporary()?);
    let client = Client::builder().build()?;
    client.pull(&from, store.at("it")).run()?;
    client.push(store.at("it"), &to).run()?;
    Ok(())
}
