//! Pulls an image into memory and prints what moved; of a failure, what the registry said. It names what an observer
//! is told and what errors are made of, with `windlass-blocking` as its only dependency.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use windlass_blocking::error::{
    AuthError, DigestError, ImageConfigError, Measure, Mismatch, NotFound, OriginError,
    PlatformError, ReferenceError, Refusal, RegistryError, RegistryErrors, RequestLine,
};
use windlass_blocking::image_config::{Execution, History, RootFs};
use windlass_blocking::{
    Amount, Client, Digest, Error, Event, ImageConfig, Memory, Observer, Origin, Platform,
    Reference, Registry, Repository, SavedUpload, Scheme, SkipReason, TaskId, Totals, TransferId,
    TransportErrorKind, UploadJournal, UploadKey,
};

#[derive(Default)]
struct Watcher {
    known: Mutex<Amount>,
    positions: Mutex<BTreeMap<TransferId, u64>>,
}

impl Observer for Watcher {
    fn event(&self, _: TaskId, event: &Event) {
        if let Event::Skipped { digest, why, .. } = event
            && *why == SkipReason::Present
        {
            eprintln!("{digest} is there");
        }
    }

    fn totals(&self, _: TaskId, totals: &Totals) {
        *self.known.lock().unwrap() = totals.known;
    }

    fn bytes(&self, transfer: TransferId, position: u64) {
        self.positions.lock().unwrap().insert(transfer, position);
    }
}

/// Keeps nothing.
#[derive(Debug)]
struct NoJournal;

impl UploadJournal for NoJournal {
    fn left_open(&self, _: &Registry, _: &Repository) -> Vec<SavedUpload> {
        Vec::new()
    }

    fn take(&self, _: &SavedUpload) -> bool {
        false
    }

    fn keep(&self, _: &SavedUpload) {}

    fn forget(&self, _: &UploadKey) {}
}

/// What a program may want to tell of an error.
fn told(error: &Error) -> String {
    let codes = |errors: &RegistryErrors| {
        let code = |entry: &RegistryError| entry.code.clone();
        errors
            .entries
            .iter()
            .map(code)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let refused = |line: &RequestLine, status: u16| format!("{line}: {status}");
    match error {
        Error::Registry(refusal) => {
            let Refusal {
                request, status, ..
            } = &**refusal;
            refused(request, *status)
        }
        Error::Auth(error) => {
            let AuthError {
                request, status, ..
            } = &**error;
            refused(request, *status)
        }
        Error::NotFound(NotFound { errors, .. }) => format!("not found: {}", codes(errors)),
        Error::Transport { error, .. } if error.kind == TransportErrorKind::Tls => "TLS".to_owned(),
        other => other.to_string(),
    }
}

/// The same for a program, whatever the error is.
fn recorded(error: &Error) -> String {
    if let Some(Mismatch {
        expected, found, ..
    }) = error.as_mismatch()
    {
        let size = |of: &Measure| of.size().unwrap_or(0);
        return format!("{} bytes for {}", size(found), size(expected));
    }
    let asked = error.request().map(|line: &RequestLine| {
        let (registry, origin) = (line.registry(), line.origin());
        format!("{registry} {} {}{}", line.method(), origin, line.path())
    });
    let status = error.status().unwrap_or(0);
    format!("{} {status}", asked.unwrap_or_default())
}

/// Reads texts of five kinds. Each error has a name.
fn parsed(text: &str) -> (bool, usize) {
    let reference: Result<Reference, ReferenceError> = text.parse();
    let digest: Result<Digest, DigestError> = text.parse();
    let platform: Result<Platform, PlatformError> = text.parse();
    let config: Result<ImageConfig, ImageConfigError> = ImageConfig::from_json(text.as_bytes());
    let origin: Result<Origin, OriginError> = Origin::new(Scheme::Https, text, 443);
    let layers = config.map(|config: ImageConfig| {
        let (_, rootfs, history): (Execution, RootFs, Vec<History>) =
            (config.config, config.rootfs, config.history);
        rootfs.diff_ids.len() + history.len()
    });
    let any = reference.is_ok() || digest.is_ok() || platform.is_ok() || origin.is_ok();
    (any, layers.unwrap_or(0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("usage: watch REF")?;
    assert!(parsed(&text).0);
    let reference: Reference = text.parse()?;
    let client = Client::builder().uploads(Arc::new(NoJournal)).build()?;
    let watcher = Arc::new(Watcher::default());
    let pull = client.pull(&reference, &Memory::new(100 << 20));
    match pull.observer(watcher.clone()).run() {
        Ok(_) => {
            let known = *watcher.known.lock().unwrap();
            let moved: u64 = watcher.positions.lock().unwrap().values().sum();
            println!(
                "{} blobs of {} bytes, {moved} moved",
                known.blobs, known.bytes
            );
        }
        Err(failure) => {
            println!("{}", told(failure.first()));
            println!("{}", recorded(failure.first()));
        }
    }
    Ok(())
}
