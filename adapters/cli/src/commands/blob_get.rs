//! `windlass blob get`: a blob to a file or to standard output, verified; or some bytes of one, which cannot
//! be.

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use windlass_core::{
    BlobFound, BlobRange, Descriptor, Digest, Error, ErrorKind, Fetched, StoreError,
};
use windlass_driver::RequestSpec;
use windlass_store::{Layout, Store, error_kind};

use super::{Asker, Context};
use crate::args;
use crate::exit::Problem;

/// How many bytes of a blob are requested to find out its size: many blobs have no more.
const BEGIN: u64 = 64 * 1024;
/// How many bytes of a range are requested at once: they are held in memory.
const PIECE: u64 = 1 << 20;
/// How often an answer to a range may have fewer bytes than this, as in a fetch.
const SHORT: usize = 64 * 1024;
const SHORTS: u32 = 16;

pub(super) fn run(context: &Context, words: &args::BlobGet) -> Result<(), Problem> {
    let asker = context.asker(&words.reference)?;
    let digest = words.reference.digest();
    let digest = digest.ok_or_else(|| Problem::Usage("a blob has a digest".into()))?;
    if context.printer.is_json() && words.output.is_none() {
        let why = "with --json, name a file with --output: standard output has the object";
        return Err(Problem::Usage(why.into()));
    }
    let size = match &words.range {
        Some(range) => read_range(context, &asker, words, digest, range.clone())?,
        None => whole(context, &asker, words, digest)?,
    };
    let Some(path) = words.output.as_ref().filter(|_| context.printer.is_json()) else {
        return Ok(());
    };
    let line = json!({
        "reference": words.reference.to_string(),
        "digest": digest.as_str(),
        "size": size,
        "file": path.display().to_string(),
    });
    let printed = context.printer.result(&line.to_string());
    printed.map_err(Problem::Output)
}

/// Fetches all of it. Its size.
fn whole(
    context: &Context,
    asker: &Asker<'_>,
    words: &args::BlobGet,
    digest: &Digest,
) -> Result<u64, Problem> {
    let (size, bytes) = begin(asker, words, digest)?;
    let blob = Descriptor::new("application/octet-stream", digest.clone(), size);
    let fetch = |store: &Arc<dyn Store>| match &bytes {
        Some(bytes) => store.put(digest, bytes).map_err(failed),
        None => {
            let spec = RequestSpec::fetch_blob(&words.reference, &blob, store);
            asker.ask::<Fetched>(spec).map(drop)
        }
    };
    match (&words.output, &bytes) {
        (Some(path), _) => to_file(fetch, digest, path)?,
        (None, Some(bytes)) => context.printer.bytes(bytes).map_err(Problem::Output)?,
        (None, None) => {
            let store: Arc<dyn Store> = Arc::new(Layout::temporary().map_err(failed)?);
            fetch(&store)?;
            let mut bytes = opened(&*store, digest)?;
            context.printer.copy(&mut bytes).map_err(Problem::Output)?;
        }
    }
    Ok(size)
}

/// The size of a blob, from the answer to a GET of its begin, which a mirror can give, too; and its bytes, verified, if
/// these are all. The registry itself is asked only where an answer does not say the size.
fn begin(
    asker: &Asker<'_>,
    words: &args::BlobGet,
    digest: &Digest,
) -> Result<(u64, Option<Vec<u8>>), Problem> {
    let spec = RequestSpec::read_range(&words.reference, digest, 0..BEGIN);
    match asker.ask::<BlobRange>(spec) {
        Ok(BlobRange {
            bytes,
            total: Some(size),
            ..
        }) => {
            let is_all = bytes.len() as u64 == size && digest.verifies(&bytes);
            Ok((size, is_all.then_some(bytes)))
        }
        // A range of an empty blob, or of a blob at a server that has no ranges, is refused.
        Err(problem) if problem.kind() != ErrorKind::Refused => Err(problem),
        Ok(_) | Err(_) => {
            let found: BlobFound = asker.ask(RequestSpec::find_blob(&words.reference))?;
            Ok((found.size, None))
        }
    }
}

/// Fetches into a layout beside the file, in which the next run finds what this one received.
fn to_file(
    fetch: impl FnOnce(&Arc<dyn Store>) -> Result<(), Problem>,
    digest: &Digest,
    path: &Path,
) -> Result<(), Problem> {
    let beside = beside(path);
    if has_others(&beside, digest) {
        let what = format!(
            "{} has other blobs: move it away, or choose another FILE",
            beside.display()
        );
        return Err(Problem::Usage(what));
    }
    let layout = Layout::open_or_create(&beside).map_err(failed)?;
    let store: Arc<dyn Store> = Arc::new(layout);
    fetch(&store)?;
    let stored = beside.join("blobs").join(digest.algorithm_name());
    let moved = fs::rename(stored.join(digest.encoded()), path);
    moved.map_err(|error| cannot_write(path, &error))?;
    drop(store);
    // What is left in it is of no use, unless another run has begun to use it.
    if !has_others(&beside, digest) {
        let _left = fs::remove_dir_all(&beside);
    }
    Ok(())
}

/// Whether a folder has files that are named by other digests than this one.
fn has_others(folder: &Path, digest: &Digest) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries = entries.map(|entry| entry.path());
    entries.any(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_hex = |char: char| char.is_ascii_hexdigit();
        let mut words = name.split(|char| !is_hex(char));
        let is_other = words.any(|word| word.len() >= 64 && word != digest.encoded());
        is_other || (path.is_dir() && !path.is_symlink() && has_others(&path, digest))
    })
}

/// Where the blob is until it is complete.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

fn read_range(
    context: &Context,
    asker: &Asker<'_>,
    words: &args::BlobGet,
    digest: &Digest,
    Range { mut start, end }: Range<u64>,
) -> Result<u64, Problem> {
    context
        .printer
        .note("these bytes are not verified: a digest is over a whole blob");
    let (first, mut shorts) = (start, 0);
    let mut file = None;
    while start < end {
        let piece = start..end.min(start.saturating_add(PIECE));
        let spec = RequestSpec::read_range(&words.reference, digest, piece.clone());
        let BlobRange { bytes, total, .. } = match asker.ask(spec) {
            // Without the size, only this tells where the blob ends.
            Err(problem) if start > first && problem.is_status(416) => break,
            answer => answer?,
        };
        if bytes.is_empty() {
            break;
        }
        let is_short = bytes.len() < SHORT && (bytes.len() as u64) < piece.end - piece.start;
        let is_end = total.is_some_and(|total| start + bytes.len() as u64 >= total);
        shorts += u32::from(is_short && !is_end);
        if shorts > SHORTS {
            let what = format!("the registry returned less than 64 KiB per range {shorts} times");
            return Err(Problem::failed(Error::Policy { what }));
        }
        start += bytes.len() as u64;
        // An answer first: nothing is lost for a blob that is not there.
        if let (None, Some(path)) = (&file, &words.output) {
            let created = fs::File::create(path);
            file = Some(created.map_err(|error| cannot_write(path, &error))?);
        }
        match &mut file {
            Some(file) => io::Write::write_all(file, &bytes),
            None => context.printer.bytes(&bytes),
        }
        .map_err(Problem::Output)?;
        if total.is_some_and(|total| start >= total) {
            break;
        }
    }
    Ok(start - first)
}

fn opened(store: &dyn Store, digest: &Digest) -> Result<Box<dyn Read + Send>, Problem> {
    let opened = store.open(digest, 0).map_err(failed)?;
    opened.ok_or_else(|| Problem::Usage("the blob is not in its store any more".into()))
}

fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    let what = format!("cannot write {}: {error}", path.display());
    failed(StoreError::new(error_kind(error), what))
}

fn failed(error: StoreError) -> Problem {
    Problem::failed(Error::Store(error))
}
