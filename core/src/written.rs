//! How tasks are written down: the forms that checkpoints and tapes share.
//!
//! Responsible for JSON that is read back as the same value, and for refusing what no value of ours
//! is. Must not know what it is written for. Nothing here can hold a secret, because a task does not.

use alloc::string::{String, ToString};
use core::fmt::Display;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::platform::Platform;
use crate::reference::{Reference, Repository};
use crate::store::StoreId;
use crate::task::{Copy, Foreign, Place, Platforms, Task, TaskKind};
use crate::time::Time;

/// A task as it is written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskForm {
    #[serde(flatten)]
    kind: KindForm,
    /// Microseconds since the session began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    /// Whether foreign layers are moved, too.
    #[serde(default, skip_serializing_if = "is_false")]
    nondistributable: bool,
}

const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum KindForm {
    Resolve(Named),
    Copy(CopyForm),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct CopyForm {
    source: PlaceForm,
    destination: PlaceForm,
    platforms: PlatformsForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spool: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Text<Repository>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum PlaceForm {
    Registry(Named),
    Store {
        id: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum PlatformsForm {
    All,
    One(Platform),
}

impl From<&Task> for TaskForm {
    fn from(task: &Task) -> Self {
        let kind = match &task.kind {
            TaskKind::Resolve(reference) => KindForm::Resolve(Named(reference.clone())),
            TaskKind::Copy(copy) => KindForm::Copy(copy.into()),
        };
        Self {
            kind,
            deadline: task.deadline.map(Time::as_micros),
            nondistributable: task.foreign == Foreign::Included,
        }
    }
}

impl From<TaskForm> for Task {
    fn from(form: TaskForm) -> Self {
        let kind = match form.kind {
            KindForm::Resolve(Named(reference)) => TaskKind::Resolve(reference),
            KindForm::Copy(copy) => TaskKind::Copy(copy.into()),
        };
        Self {
            kind,
            deadline: form.deadline.map(Time::from_micros),
            foreign: if form.nondistributable {
                Foreign::Included
            } else {
                Foreign::LeftOut
            },
        }
    }
}

impl From<&Copy> for CopyForm {
    fn from(copy: &Copy) -> Self {
        Self {
            source: (&copy.source).into(),
            destination: (&copy.destination).into(),
            platforms: match &copy.platforms {
                Platforms::All => PlatformsForm::All,
                Platforms::One(platform) => PlatformsForm::One(platform.clone()),
            },
            spool: copy.spool.map(|StoreId(id)| id),
            from: copy.from.clone().map(Text),
        }
    }
}

impl From<CopyForm> for Copy {
    fn from(form: CopyForm) -> Self {
        Self {
            source: form.source.into(),
            destination: form.destination.into(),
            platforms: match form.platforms {
                PlatformsForm::All => Platforms::All,
                PlatformsForm::One(platform) => Platforms::One(platform),
            },
            spool: form.spool.map(StoreId),
            from: form.from.map(|Text(name)| name),
        }
    }
}

impl From<&Place> for PlaceForm {
    fn from(place: &Place) -> Self {
        match place {
            Place::Registry(reference) => Self::Registry(Named(reference.clone())),
            Place::Store { store, name } => Self::Store {
                id: store.0,
                name: name.clone(),
            },
        }
    }
}

impl From<PlaceForm> for Place {
    fn from(form: PlaceForm) -> Self {
        match form {
            PlaceForm::Registry(Named(reference)) => Self::Registry(reference),
            PlaceForm::Store { id, name } => Self::Store {
                store: StoreId(id),
                name,
            },
        }
    }
}

/// A value that is written as it prints and read as it parses.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A reference. Read apart from its digest, which may be of an algorithm that nobody may type.
#[derive(Clone, Debug)]
struct Named(Reference);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |error: &dyn Display| serde::de::Error::custom(error.to_string());
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|error| wrong(&error))?;
                (name, Some(digest))
            }
            None => (text.as_str(), None),
        };
        let named: Reference = name.parse().map_err(|error| wrong(&error))?;
        let (registry, repository) = (named.registry().clone(), named.repository().clone());
        let tag = named.tag().cloned();
        Ok(Self(Reference::new(registry, repository, tag, digest)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::format;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::testing::mutations;

    /// A task of every kind, with everything that can be said of it.
    pub(crate) fn tasks() -> Vec<Task> {
        let reference = |text: &str| text.parse::<Reference>().expect("a reference");
        let store = |id, name: Option<&str>| Place::Store {
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
                Platforms::One(platform),
            ),
            Task::push(
                StoreId(2),
                Some("\u{1b}\"é".into()),
                reference("localhost/a"),
                Platforms::All,
            ),
            Task::copy(Copy {
                source: Place::Registry(reference("a.example/a:v1")),
                destination: Place::Registry(reference("b.example:443/b")),
                platforms: Platforms::All,
                spool: Some(StoreId(u64::MAX)),
                from: Some("c/d".parse().expect("a repository")),
            }),
            Task::pull(
                reference("reg.example/windows:v1"),
                StoreId(3),
                None,
                Platforms::All,
            )
            .including_nondistributable(),
            Task::copy(Copy {
                source: store(0, None),
                destination: store(1, Some("n")),
                platforms: Platforms::All,
                spool: None,
                from: None,
            }),
        ]
    }

    #[test]
    fn tasks_are_read_as_they_were_written() {
        for task in tasks() {
            let written = serde_json::to_string(&TaskForm::from(&task)).expect("JSON");
            let form: TaskForm = serde_json::from_str(&written).expect("it was written");
            let read = Task::from(form);
            assert_eq!(format!("{read:?}"), format!("{task:?}"), "{written}");
            mutations(&written, |text| {
                // What is read from damaged text is a task nevertheless, or none.
                let _ = serde_json::from_str::<TaskForm>(text).map(Task::from);
            });
        }
    }
}
