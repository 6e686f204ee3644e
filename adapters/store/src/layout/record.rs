//! Which parts of a partial are stored, if there are gaps between them.
//!
//! A file with gaps does not tell by its length what is in it. Its record stands behind the place of the
//! blob's last byte, so it has the file's lock and owner, and goes where the file goes. Earlier versions take
//! a file that is longer than its blob for one of a wrong size, and fetch it from its first byte.
//!
//! ```text
//! 0 ─ bytes and gaps ─ size ─ … ─ at: slot of even turns ─ slot of odd turns
//! ```
//!
//! Responsible for never naming bytes that are not on the disk: they are synced before the record is written,
//! into the slot that does not hold the last one. Must not know where the bytes come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use windlass_core::{Algorithm, Digest, Extents, StoreError};

use super::sys;

/// The bytes of a slot: a page, which file systems write as a whole or not.
const SLOT: u64 = 4096;

/// The most parts that a record names; the first ones, which are longest needed. A slot has room for 80 of
/// them with numbers of 20 digits.
const PARTS: usize = 80;

/// What is cancelled waits for a save that takes no longer. Tests, which want to know what was saved, may run on a
/// machine that is busy.
const QUICK: Duration = Duration::from_millis(if cfg!(test) { 2000 } else { 250 });

const TITLE: &str = "windlass extents 1";

/// The record of a partial. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Record(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    is_durable: bool,
    /// Held while a save is made, which syncs the file and takes its time.
    saving: Mutex<()>,
    /// Never held over a sync: those who write the bytes ask for it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How often it was written.
    turn: u64,
    /// How often bytes were removed: a save that was prepared before does not count.
    epoch: u64,
    /// A sync failed: the system may show bytes that never reach the disk.
    has_failed: bool,
    /// How long the last save took.
    took: Duration,
}

/// A save that is to be made. What was removed since it was prepared makes it void.
#[derive(Debug)]
pub(super) struct Save {
    record: Record,
    extents: Extents,
    epoch: u64,
}

impl Save {
    pub(super) fn run(self) -> Result<(), StoreError> {
        self.record.save(&self.extents, self.epoch)
    }
}

impl Record {
    /// Begins a record. On return the file's length says that there is one.
    pub(super) fn begin(
        file: &Arc<File>,
        path: PathBuf,
        size: u64,
        is_durable: bool,
        extents: &Extents,
    ) -> Result<Self, StoreError> {
        let record = Self::new(file, path, size, is_durable, 0);
        let failed = |error| sys::failed("write", &record.0.path, &error);
        file.set_len(end(size)).map_err(failed)?;
        record.save(extents, 0)?;
        Ok(record)
    }

    /// The record of a file of this length, and what it names; `None` if there is none.
    pub(super) fn read(
        file: &Arc<File>,
        path: PathBuf,
        (size, len): (u64, u64),
        is_durable: bool,
    ) -> Option<(Self, Extents)> {
        if len != end(size) {
            return None;
        }
        let slots = [0, 1].into_iter();
        let read = slots.filter_map(|turn| read_slot(file, size, turn));
        let (turn, extents) = read.max_by_key(|(turn, _)| *turn)?;
        let record = Self::new(file, path, size, is_durable, turn + 1);
        Some((record, extents))
    }

    fn new(file: &Arc<File>, path: PathBuf, size: u64, is_durable: bool, turn: u64) -> Self {
        Self(Arc::new(Inner {
            file: Arc::clone(file),
            path,
            size,
            is_durable,
            state: Mutex::new(State {
                turn,
                epoch: 0,
                has_failed: false,
                took: Duration::ZERO,
            }),
            saving: Mutex::new(()),
        }))
    }

    /// Prepares a save of these parts, which are written.
    pub(super) fn prepare(&self, extents: &Extents) -> Save {
        Save {
            record: self.clone(),
            extents: extents.clone(),
            epoch: self.state().epoch,
        }
    }

    /// Whether a save is being made.
    pub(super) fn is_saving(&self) -> bool {
        matches!(self.0.saving.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Whether a save takes a moment only, judging by the last one: none is being made, and the disk is fast.
    pub(super) fn is_quick(&self) -> bool {
        !self.is_saving() && self.state().took <= QUICK
    }

    /// Some bytes are about to be removed, or another owner to get them: no save that was prepared writes the
    /// record any more.
    pub(super) fn void(&self) {
        self.state().epoch += 1;
    }

    /// The same, for what syncs the file next: waits for a save that is being made, as the system tells of a
    /// failed sync once.
    pub(super) fn void_and_wait(&self) {
        self.void();
        drop(self.saving());
    }

    /// Syncs the bytes of the file, unless it does not outlive its process.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.sync_as(&self.saving())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    fn save(&self, extents: &Extents, epoch: u64) -> Result<(), StoreError> {
        let saving = self.saving();
        if self.state().epoch != epoch {
            return Ok(());
        }
        let begun = Instant::now();
        if !extents.is_empty() {
            self.sync_as(&saving)?;
        }
        if self.write(extents, epoch)? {
            self.sync_as(&saving)?;
            self.state().took = begun.elapsed();
        }
        Ok(())
    }

    /// Writes a slot, unless the save is void by now: then nothing is written after [`void`](Self::void) returned.
    fn write(&self, extents: &Extents, epoch: u64) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.epoch != epoch {
            return Ok(false);
        }
        let Inner {
            file, path, size, ..
        } = &*self.0;
        let slot = slot(*size, state.turn, extents);
        file.write_all_at(&slot, at(*size, state.turn))
            .map_err(|error| sys::failed("write", path, &error))?;
        state.turn += 1;
        Ok(true)
    }

    fn sync_as(&self, _saving: &MutexGuard<'_, ()>) -> Result<(), StoreError> {
        if !self.0.is_durable {
            return Ok(());
        }
        let synced = sys::sync_file(&self.0.file, &self.0.path);
        synced.inspect_err(|_| self.state().has_failed = true)
    }

    fn saving(&self) -> MutexGuard<'_, ()> {
        let saving = self.0.saving.lock();
        saving.unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves the slot that was not written to.
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the slot of a turn is.
const fn at(size: u64, turn: u64) -> u64 {
    size.div_ceil(SLOT).saturating_mul(SLOT) + turn % 2 * SLOT
}

/// The length of a file with a record.
const fn end(size: u64) -> u64 {
    at(size, 1) + SLOT
}

/// The content of a slot. Text, so that people can read it with `tail`.
fn slot(size: u64, turn: u64, extents: &Extents) -> Vec<u8> {
    let mut text = format!("{TITLE}\n{size} {turn}\n");
    for part in extents.iter().take(PARTS) {
        text += &format!("{}-{}\n", part.start, part.end);
    }
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
    text += &format!("{digest}\n");
    let mut slot = text.into_bytes();
    slot.resize(usize::try_from(SLOT).unwrap_or(slot.len()), 0);
    slot
}

fn read_slot(file: &File, size: u64, turn: u64) -> Option<(u64, Extents)> {
    let mut slot = vec![0; usize::try_from(SLOT).ok()?];
    read_exact_at(file, &mut slot, at(size, turn)).ok()?;
    let text = slot.split(|byte| *byte == 0).next()?;
    parse(std::str::from_utf8(text).ok()?, size)
}

fn parse(text: &str, size: u64) -> Option<(u64, Extents)> {
    let (before, digest) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let before = &text[..=before.len()];
    let digest: Digest = digest.parse().ok()?;
    if !digest.verifies(before.as_bytes()) {
        return None;
    }
    let mut lines = before.lines();
    let (title, numbers) = (lines.next()?, lines.next()?);
    let (said, turn) = numbers.split_once(' ')?;
    if title != TITLE || said.parse() != Ok(size) {
        return None;
    }
    let mut extents = Extents::default();
    for line in lines {
        let (start, end) = line.split_once('-')?;
        let part = start.parse().ok()?..end.parse().ok()?;
        if part.start < extents.end() || part.is_empty() || part.end > size {
            return None;
        }
        extents.add(part);
    }
    Some((turn.parse().ok()?, extents))
}

fn read_exact_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(buffer, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slot_names_is_read() {
        let extents: Extents = [0..3, 10..4000, 5000..5001].into_iter().collect();
        for turn in [0, 1, u64::MAX - 1] {
            let text = String::from_utf8(slot(5001, turn, &extents)).expect("text");
            let text = text.trim_end_matches('\0');
            assert_eq!(parse(text, 5001), Some((turn, extents.clone())));
            assert_eq!(parse(text, 5000), None, "another size");
            for cut in 0..text.len() {
                assert_eq!(parse(&text[..cut], 5001), None, "{cut}");
                let mut changed = text.as_bytes().to_vec();
                changed[cut] ^= 1;
                let changed = String::from_utf8(changed).expect("still ASCII");
                assert_eq!(parse(&changed, 5001), None, "{cut}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_no_record() {
        for parts in ["0-0", "5-3", "0-9", "4-6\n0-2", "0-4\n3-5", "0", "x-y", ""] {
            let text = format!("{TITLE}\n8 0\n{parts}\n");
            let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
            assert_eq!(parse(&format!("{text}{digest}\n"), 8), None, "{parts:?}");
        }
        assert_eq!(parse("", 8), None);
    }

    #[test]
    fn many_parts_fit() {
        let large = u64::MAX / 2;
        let parts = (0..200).map(|n| large + 2 * n..large + 2 * n + 1);
        let extents: Extents = parts.collect();
        let slot = slot(u64::MAX, u64::MAX, &extents);
        assert_eq!(slot.len() as u64, SLOT);
        let text = String::from_utf8(slot).expect("text");
        let (_, read) = parse(text.trim_end_matches('\0'), u64::MAX).expect("it is one");
        assert_eq!(read.len(), PARTS);
    }
}
