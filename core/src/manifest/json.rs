//! Strict JSON: UTF-8, bounded depth, no duplicates among the members that are used (PULLM-16).

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::string::String;
use core::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::DocumentError;
use crate::json::replace_lone_surrogates;

/// The deepest nesting accepted. Real documents have five levels (SEC-05).
pub const MAX_DEPTH: usize = 64;

/// The members whose objects are used. Duplicate names are rejected at the top and inside these.
const USED: [&str; 6] = [
    "config",
    "layers",
    "manifests",
    "blobs",
    "subject",
    "platform",
];

/// Checks all of `bytes`; returns the JSON to parse and the names of the top-level members.
pub(super) fn check(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, BTreeSet<String>), DocumentError> {
    let wrong = |why: &str| DocumentError::Json { why: why.into() };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(wrong("it begins with a byte order mark"));
    }
    let bytes = replace_lone_surrogates(bytes);
    let text = core::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walk = Walk {
        left: MAX_DEPTH,
        used: true,
    };
    let keys = walk.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((bytes, keys))
}

/// Parses JSON that was checked.
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DocumentError> {
    Ok(serde_json::from_slice(bytes)?)
}

/// Visits a value and keeps only the names of its outermost object.
#[derive(Clone, Copy)]
struct Walk {
    left: usize,
    /// Whether the visited value is used.
    used: bool,
}

impl Walk {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom("it is nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = BTreeSet<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper()?;
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(Self {
                used: self.used && USED.contains(&name.as_str()),
                ..inner
            })?;
            if !self.used {
                continue;
            }
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("`{name}` is there twice")));
            }
            names.insert(name);
        }
        Ok(names)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(BTreeSet::new())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeSet::new())
    }
}
