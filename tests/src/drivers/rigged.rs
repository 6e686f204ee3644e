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

    /// Partials take so many bytes more in all; then the disk is full. `None`: no limit.
    pub fn room(&self, bytes: Option<u64>) {
        self.state.lock().room = bytes;
    }

    /// The step of this name panics: `begin`, `append`, `commit`, `open` or `tag`.
    pub fn panics(&self, step: Option<&'static str>) {
        self.state.lock().panics = step;
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
        crate::wait_for("somebody hangs in the store", || {
            self.state.lock().hanging > 0
        });
    }
}

impl State {
    fn step(&self, name: &str) {
        let panics = self.lock().panics == Some(name);
        assert!(!panics, "the store panics at {name}, as the test wants");
    }

    /// How much of so many bytes there is room for.
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

impl Store for Rigged {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.state.step("begin");
        Ok(self.wrap(self.inner.begin(digest, size)?))
    }

    fn begin_private(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        self.state.step("begin");
        Ok(self.wrap(self.inner.begin_private(digest, size)?))
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
        self.inner.open(digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.inner.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.state.step("tag");
        self.inner.tag(name, descriptor)
    }
}

impl Rigged {
    fn wrap(&self, begun: Begun) -> Begun {
        match begun {
            Begun::Ours(inner) => Begun::Ours(Box::new(RiggedPartial {
                inner,
                state: Arc::clone(&self.state),
            })),
            other @ (Begun::Complete | Begun::Busy { .. } | _) => other,
        }
    }
}

#[derive(Debug)]
struct RiggedPartial {
    inner: Box<dyn Partial>,
    state: Arc<State>,
}

impl Partial for RiggedPartial {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&mut self) -> Result<Box<dyn Read + '_>, StoreError> {
        self.inner.read()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.state.step("append");
        self.state.hang();
        let room = self.state.take_room(bytes.len());
        self.inner.append(&bytes[..room])?;
        if room < bytes.len() {
            let why = "no space left, as the test wants";
            return Err(StoreError::new(StoreErrorKind::Full, why));
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.inner.truncate(len)
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.state.step("commit");
        self.inner.commit()
    }
}
