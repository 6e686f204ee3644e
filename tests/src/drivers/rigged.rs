//! A store that fails as a test tells it to.
//!
//! Responsible for: failing in the places where stores fail. Must not know: what holds the bytes.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use windlass_core::{Descriptor, Digest, StoreError, StoreErrorKind};
use windlass_store::{Begun, Partial, Store};

/// A store before another one. Clones share their state.
#[derive(Clone, Debug)]
pub struct Rigged {
    inner: Arc<dyn Store>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    room: Option<u64>,
    panics: Option<&'static str>,
    hangs: bool,
    hanging: usize,
    /// Partials that may be open at once.
    files: Option<usize>,
    open: usize,
    /// The most that were.
    most: usize,
    /// Steps of this name that still find no file descriptor.
    short: Option<(&'static str, u32)>,
}

impl Rigged {
    /// Before this one; does as it does.
    pub fn new(inner: &Arc<dyn Store>) -> Self {
        Self {
            inner: Arc::clone(inner),
            state: Arc::default(),
        }
    }

    /// As a client takes it.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    /// The bytes that all partials may still take; then the disk is full. `None`: no limit.
    pub fn room(&self, bytes: Option<u64>) {
        self.state.lock().room = bytes;
    }

    /// The step of this name panics: `begin`, `append`, `commit`, `open` or `tag`.
    pub fn panics(&self, step: Option<&'static str>) {
        self.state.lock().panics = step;
    }

    /// The number of partials that may be open at once; for another one no file descriptor is left.
    pub fn files(&self, most: usize) {
        self.state.lock().files = Some(most);
    }

    /// The most partials that were open at once.
    pub fn most_open(&self) -> usize {
        self.state.lock().most
    }

    /// The next steps of this name, `begin`, `open`, `put`, `find` or `tag`, find no file descriptor.
    pub fn short(&self, step: &'static str, times: u32) {
        self.state.lock().short = Some((step, times));
    }

    /// From now on appending does not return.
    pub fn hang(&self) {
        self.state.lock().hangs = true;
    }

    /// Whatever hangs goes on.
    pub fn go_on(&self) {
        self.state.lock().hangs = false;
        self.state.changed.notify_all();
    }

    /// Waits until somebody hangs.
    pub fn wait_until_hanging(&self) {
        crate::wait_for("somebody hangs in the store", || self.hanging() > 0);
    }

    /// How many hang.
    pub fn hanging(&self) -> usize {
        self.state.lock().hanging
    }
}

impl State {
    fn step(&self, name: &str) {
        let panics = self.lock().panics == Some(name);
        assert!(!panics, "the store panics at {name}, as the test wants");
    }

    /// Whether there is a file descriptor for a step.
    fn has_descriptor(&self, name: &str) -> Result<(), StoreError> {
        match &mut self.lock().short {
            Some((step, times)) if *step == name && *times > 0 => {
                *times -= 1;
                Err(no_descriptor())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn open(&self) -> Result<(), StoreError> {
        let mut plan = self.lock();
        if plan.files.is_some_and(|files| plan.open >= files) {
            return Err(no_descriptor());
        }
        plan.open += 1;
        plan.most = plan.most.max(plan.open);
        Ok(())
    }

    /// How many of `bytes` still fit.
    fn take_room(&self, wanted: usize) -> usize {
        let mut plan = self.lock();
        let Some(room) = &mut plan.room else {
            return wanted;
        };
        let taken = (*room).min(wanted as u64);
        *room -= taken;
        taken as usize
    }

    fn hang(&self) {
        let mut plan = self.lock();
        plan.hanging += 1;
        let mut plan = self
            .changed
            .wait_while(plan, |plan| plan.hangs)
            .unwrap_or_else(PoisonError::into_inner);
        plan.hanging -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_descriptor() -> StoreError {
    let why = "no file descriptor is left, as the test wants";
    StoreError::new(StoreErrorKind::Descriptors, why)
}

impl Store for Rigged {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.state.step("begin");
        self.state.has_descriptor("begin")?;
        self.wrap(self.inner.begin(digest, size)?)
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.state.step("begin");
        self.wrap(self.inner.begin_private(digest, size)?)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.inner.contains(digest, size)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.state.step("open");
        self.state.has_descriptor("open")?;
        self.inner.open(digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.state.has_descriptor("put")?;
        self.inner.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.state.has_descriptor("find")?;
        self.inner.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.state.step("tag");
        self.state.has_descriptor("tag")?;
        self.inner.tag(name, descriptor)
    }
}

impl Rigged {
    fn wrap(&self, begun: Begun) -> Result<Begun, StoreError> {
        match begun {
            Begun::Ours(inner) => {
                self.state.open()?;
                Ok(Begun::Ours(Box::new(RiggedPartial {
                    inner: Some(inner),
                    state: Arc::clone(&self.state),
                })))
            }
            other @ (Begun::Complete | Begun::Busy { .. }) => Ok(other),
        }
    }
}

#[derive(Debug)]
struct RiggedPartial {
    /// There until it is committed.
    inner: Option<Box<dyn Partial>>,
    state: Arc<State>,
}

impl RiggedPartial {
    fn inner(&mut self) -> &mut dyn Partial {
        let inner = self.inner.as_mut();
        inner.expect("only commit takes it").as_mut()
    }
}

impl Drop for RiggedPartial {
    fn drop(&mut self) {
        self.state.lock().open -= 1;
    }
}

impl Partial for RiggedPartial {
    fn len(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.len())
    }

    fn read(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, StoreError> {
        self.inner().read(offset)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.state.step("append");
        self.state.hang();
        let room = self.state.take_room(bytes.len());
        self.inner().append(&bytes[..room])?;
        if room < bytes.len() {
            let why = "no space left, as the test wants";
            return Err(StoreError::new(StoreErrorKind::Full, why));
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.inner().truncate(len)
    }

    fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.state.step("commit");
        let inner = self.inner.take();
        inner.expect("it is committed once").commit()
    }
}
