//! How values are written as JSON: the forms that tasks, checkpoints and tapes share.
//!
//! Responsible for JSON that is read back as the same value, and for refusing text that is no such
//! value. Must not know what it is written for. Nothing here can hold a secret, because a task does not.

use alloc::string::String;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{ApiPath, RegistryKind, RegistryPattern, RouteScope};
use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::reference::{Reference, Repository, Tag};
use crate::registry::{Origin, Registry};
use crate::scope::Scope;

/// Writes types as they print, and reads them as they parse.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(
    ApiPath,
    Digest,
    Origin,
    Registry,
    RegistryKind,
    RegistryPattern,
    Repository,
    RouteScope,
    Scope,
    Tag
);

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Its digest is read apart: it may be of an algorithm that a user cannot type.
impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(D::Error::custom)?)),
            None => (&*text, None),
        };
        let named: Self = name.parse().map_err(D::Error::custom)?;
        let (registry, repository) = (named.registry().clone(), named.repository().clone());
        Ok(Self::new(
            registry,
            repository,
            named.tag().cloned(),
            digest,
        ))
    }
}

/// How many bytes, and their digest so far. The state of the hash holds the last bytes of a blob, and
/// no byte of a blob is written.
#[derive(Deserialize, Serialize)]
struct HashRepr {
    len: u64,
    digest: Digest,
}

impl Serialize for Hashing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (len, digest) = (self.len(), self.clone().digest());
        HashRepr { len, digest }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hashing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let HashRepr { len, digest } = HashRepr::deserialize(deserializer)?;
        let unknown = || D::Error::custom("a hash of an unknown algorithm");
        Self::told(len, digest).ok_or_else(unknown)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::format;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::platform::Platform;
    use crate::store::StoreId;
    use crate::task::Carry;
    use crate::task::{CopyTask, Paging, Platforms, Task, TaskLocation};
    use crate::testing::mutations;
    use crate::time::Time;

    /// A task of every kind, with everything that can be said of it.
    pub(crate) fn tasks() -> Vec<Task> {
        let reference = |text: &str| text.parse::<Reference>().expect("a reference");
        let blob = || {
            reference(
                "reg.example/a@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            )
        };
        let store = |id, name: Option<&str>| TaskLocation::Store {
            store: StoreId(id),
            name: name.map(Into::into),
        };
        let platform: Platform = serde_json::from_str(
            r#"{"os":"windows","architecture":"arm","variant":"v7","os.version":"10.1","os.features":["x"]}"#,
        )
        .expect("a platform");
        let odd = reference("[::1]:5000/a/b:v1");
        let odd = Reference::new(
            odd.registry().clone(),
            odd.repository().clone(),
            odd.tag().cloned(),
            Some("blake3:abc".parse().expect("a digest")),
        );
        vec![
            Task::resolve(reference("alpine")),
            Task::resolve(reference(
                "reg.example/a@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            )),
            Task::pull(odd, StoreId(0), None, Platforms::All).by(Time::from_micros(7)),
            Task::pull(
                reference("ubuntu:24.04"),
                StoreId(1),
                Some("x".into()),
                Platforms::One(platform.clone()),
            ),
            Task::pull(
                reference("ubuntu"),
                StoreId(7),
                None,
                Platforms::Several(vec![Platform::new("linux", "arm64"), platform]),
            ),
            Task::push(
                StoreId(2),
                Some("\u{1b}\"é".into()),
                reference("localhost/a"),
                Platforms::All,
            ),
            Task::copy(
                CopyTask::new(
                    TaskLocation::Registry(reference("a.example/a:v1")),
                    TaskLocation::Registry(reference("b.example:443/b")),
                )
                .spool(StoreId(u64::MAX))
                .mount_from(["c/d", "*"].map(|it| it.parse().expect("a place")))
                .carry(Carry {
                    referrers: true,
                    artifact_types: vec!["a/b".into()],
                    digest_tags: true,
                }),
            ),
            Task::pull(
                reference("reg.example/windows:v1"),
                StoreId(3),
                None,
                Platforms::All,
            )
            .including_nondistributable(),
            Task::open(
                reference("reg.example/a:v1"),
                Platform::new("linux", "arm64"),
            )
            .without_mirrors(),
            Task::check("reg.example".parse().expect("a registry")),
            Task::tags(reference("reg.example/a"), Paging::default()),
            Task::catalog(
                "reg.example".parse().expect("a registry"),
                Paging {
                    page_size: Some(7),
                    after: Some("\u{1b}".into()),
                    most: Some(8),
                    one_page: true,
                },
            ),
            Task::manifest(reference("alpine"), Some(Platform::new("linux", "arm64"))),
            Task::put_manifest(
                (StoreId(4), "blake3:abc".parse().expect("a digest")),
                "a/b".into(),
                reference("reg.example/a:v1"),
                vec!["v2".parse().expect("a tag")],
            )
            .replacing("blake3:abd".parse().expect("a digest")),
            Task::tag(reference("alpine"), vec!["v2".parse().expect("a tag")]),
            Task::delete(reference("alpine")),
            Task::referrers(blob(), Some("a/b".into())),
            Task::find_blob(blob()),
            Task::put_blob(
                StoreId(5),
                7,
                blob(),
                ["c/d".parse().expect("a repository")].into(),
            ),
            Task::mount_blob("c/d".parse().expect("a repository"), blob(), StoreId(6)),
            Task::delete_blob(blob()),
            Task::put_stream(StoreId(7), reference("reg.example/a")),
            Task::delete_manifest(reference("alpine")),
            Task::copy(CopyTask::new(store(0, None), store(1, Some("n")))),
        ]
    }

    #[test]
    fn tasks_are_read_as_they_were_written() {
        for task in tasks() {
            let written = serde_json::to_string(&task).expect("JSON");
            let read: Task = serde_json::from_str(&written).expect("it was written");
            assert_eq!(format!("{read:?}"), format!("{task:?}"), "{written}");
            mutations(&written, |text| {
                // What is read from damaged text is a task nevertheless, or none.
                let _ = serde_json::from_str::<Task>(text);
            });
        }
    }
}
