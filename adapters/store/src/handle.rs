//! Stores as they are handed to clients.
//!
//! Responsible for taking every store alike, owned, shared or lent, and for the name of an entry in one. Must not know
//! who takes it.

use std::sync::Arc;

use crate::{Layout, Memory, Store};

/// A store that is shared: what every store becomes when it is handed to a client.
#[derive(Clone, Debug)]
pub struct StoreHandle(Arc<dyn Store>);

impl StoreHandle {
    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }

    /// The entry with this name.
    pub fn at(&self, name: impl Into<String>) -> StoreEntry {
        StoreEntry {
            store: self.clone(),
            name: EntryName::Named(name.into()),
        }
    }

    /// The only entry of the store, or a new one that has no name.
    pub fn unnamed(&self) -> StoreEntry {
        StoreEntry {
            store: self.clone(),
            name: EntryName::None,
        }
    }
}

/// An image in a store, or the place for one: a store with the name of an entry.
///
/// A store alone is one, too. A client then takes the tag of the reference for the entry's name.
#[derive(Clone, Debug)]
pub struct StoreEntry {
    store: StoreHandle,
    name: EntryName,
}

/// The name of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
enum EntryName {
    /// It was not said.
    Default,
    None,
    Named(String),
}

impl StoreEntry {
    /// The store.
    pub const fn store(&self) -> &StoreHandle {
        &self.store
    }

    /// The name of the entry, which is `default` if none was said.
    pub fn name_or(&self, default: Option<&str>) -> Option<String> {
        match &self.name {
            EntryName::Default => default.map(str::to_owned),
            EntryName::None => None,
            EntryName::Named(name) => Some(name.clone()),
        }
    }
}

/// For all stores that can be handed over as they are.
macro_rules! entries {
    ($($store:ty),*) => {$(
        impl $store {
            /// The entry with this name: what is pushed, or where something is pulled to.
            ///
            /// ```
            #[doc = concat!("# use windlass_store::", stringify!($store), ";")]
            #[doc = concat!("fn entry(store: &", stringify!($store), ") -> windlass_store::StoreEntry {")]
            ///     store.at("3.20")
            /// }
            /// ```
            pub fn at(&self, name: impl Into<String>) -> StoreEntry {
                StoreHandle::from(self).at(name)
            }

            /// The only entry, or a new one that has no name.
            pub fn unnamed(&self) -> StoreEntry {
                StoreHandle::from(self).unnamed()
            }
        }

        impl From<&$store> for StoreHandle {
            fn from(store: &$store) -> Self {
                store.clone().into()
            }
        }
    )*};
}

entries!(Layout, Memory);

impl<S: Store + 'static> From<S> for StoreHandle {
    fn from(store: S) -> Self {
        Self(Arc::new(store))
    }
}

impl<S: Store + 'static> From<Arc<S>> for StoreHandle {
    fn from(store: Arc<S>) -> Self {
        Self(store)
    }
}

impl<S: Store + 'static> From<&Arc<S>> for StoreHandle {
    fn from(store: &Arc<S>) -> Self {
        Self(Arc::<S>::clone(store))
    }
}

impl From<Arc<dyn Store>> for StoreHandle {
    fn from(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

impl From<&Arc<dyn Store>> for StoreHandle {
    fn from(store: &Arc<dyn Store>) -> Self {
        Self(Arc::clone(store))
    }
}

impl From<&Self> for StoreHandle {
    fn from(store: &Self) -> Self {
        store.clone()
    }
}

impl<S: Into<StoreHandle>> From<S> for StoreEntry {
    fn from(store: S) -> Self {
        Self {
            store: store.into(),
            name: EntryName::Default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(entry: impl Into<StoreEntry>, default: Option<&str>) -> Option<String> {
        entry.into().name_or(default)
    }

    /// Every way in which a program may hold a store.
    #[test]
    fn stores_are_taken_as_they_are() {
        let memory = Memory::new(1);
        let shared = Arc::new(memory.clone());
        let dynamic: Arc<dyn Store> = shared.clone();
        let handle = StoreHandle::from(&dynamic);
        for default in [Some("v1"), None] {
            let expected = default.map(str::to_owned);
            assert_eq!(name(&memory, default), expected);
            assert_eq!(name(memory.clone(), default), expected);
            assert_eq!(name(&shared, default), expected);
            assert_eq!(name(shared.clone(), default), expected);
            assert_eq!(name(&dynamic, default), expected);
            assert_eq!(name(dynamic.clone(), default), expected);
            assert_eq!(name(&handle, default), expected);
            assert_eq!(name(memory.at("x"), default).as_deref(), Some("x"));
            assert_eq!(name(memory.unnamed(), default), None);
        }
    }

    /// What is handed over is the store itself, and no copy of it.
    #[test]
    fn a_store_that_is_lent_is_the_same_store() {
        let memory = Memory::new(10);
        let digest = windlass_core::Digest::of(windlass_core::Algorithm::Sha256, b"a blob");
        let handle = StoreHandle::from(&memory);
        handle.store().put(&digest, b"a blob").expect("it is put");
        assert_eq!(*memory.blob(&digest).expect("it is there"), b"a blob");
    }
}
