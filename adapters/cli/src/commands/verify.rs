//! `windlass verify`: checks the content of a layout against its digests.

use serde_json::{Value, json};
use windlass_core::{Error, StoreError, StoreErrorKind};

use super::{Context, store_failed};
use crate::args::Verify;
use crate::client;
use crate::exit::Problem;
use crate::progress::Size;

pub(super) fn run(context: &Context, verify: &Verify) -> Result<(), Problem> {
    context.watch()?;
    let layout = client::layout(&verify.layout.path).map_err(store_failed)?;
    let stop = || context.interrupt.is_asked();
    let name = verify.layout.wanted();
    let verified = layout
        .verify(name.as_deref(), &stop)
        .map_err(store_failed)?;
    let printer = &context.printer;
    if printer.is_json() {
        let damaged = verified.damaged.iter();
        let damaged =
            damaged.map(|(digest, found)| json!({ "digest": digest.as_str(), "found": found }));
        let missing = verified.missing.iter();
        let missing = missing.map(|descriptor| json!({ "digest": descriptor.digest.as_str() }));
        let line = json!({
            "blobs": verified.blobs,
            "bytes": verified.bytes,
            "damaged": damaged.collect::<Value>(),
            "missing": missing.collect::<Value>(),
        });
        printer.result(&line.to_string()).map_err(Problem::Output)?;
    } else {
        for (digest, found) in &verified.damaged {
            let line = format!("damaged {digest}: {found}");
            printer.data(&line).map_err(Problem::Output)?;
        }
        for descriptor in &verified.missing {
            let line = format!("missing {}", descriptor.digest);
            printer.data(&line).map_err(Problem::Output)?;
        }
    }
    if verified.stopped {
        return Err(Problem::failed(Error::Cancelled));
    }
    let (damaged, missing) = (verified.damaged.len(), verified.missing.len());
    printer.note(&format!(
        "hashed {} blobs ({}): {damaged} damaged, {missing} missing",
        verified.blobs,
        Size(verified.bytes)
    ));
    let kind = match (damaged, missing) {
        (0, 0) => return Ok(()),
        (0, _) => StoreErrorKind::Absent,
        (_, _) => StoreErrorKind::Damaged,
    };
    let what = format!(
        "{}: {damaged} blobs are damaged and {missing} are missing",
        verify.layout
    );
    Err(store_failed(StoreError::new(kind, what)))
}
