//! A JSON object of which some members are changed.
//!
//! Responsible for leaving everything else as it is: the order of the members, and the text of those that are not changed,
//! whatever they are. Must not know what the members mean.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::sanitize::escape;

/// The members of an object, in order. Each is there once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// Reads an object.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| shown(&error))
    }

    /// A member; `None` if it is absent or `null`.
    pub(crate) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let Some((_, value)) = self.0.iter().find(|(known, _)| known == name) else {
            return Ok(None);
        };
        let read = serde_json::from_str(value.get());
        read.map_err(|error| format!("`{name}`: {}", shown(&error)))
    }

    /// Sets a member in its place, or as the last one.
    pub(crate) fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        let value = to_raw_value(value).expect("text, numbers, lists and objects");
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a member, or removes it.
    pub(crate) fn set_or_remove(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object as JSON.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the names are text, the values JSON")
    }
}

fn shown(error: &serde_json::Error) -> String {
    escape(&error.to_string(), 200)
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.0.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format_args!("`{name}` is there twice")));
                    }
                    members.0.push((name, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(members: &Members) -> String {
        String::from_utf8(members.to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn what_is_not_changed_keeps_its_text() {
        let json =
            br#"{ "z": 1.50, "a" :{"x":[1,  2]}, "m": null, "big":12345678901234567890123 }"#;
        let mut members = Members::parse(json).expect("an object");
        members.set("a", &[1]);
        members.set("new", "text");
        members.set_or_remove("m", None);
        members.set_or_remove("absent", None);
        assert_eq!(
            text(&members),
            r#"{"z":1.50,"a":[1],"big":12345678901234567890123,"new":"text"}"#
        );
        assert_eq!(members.get::<Vec<u8>>("a"), Ok(Some(alloc::vec![1])));
        assert_eq!(members.get::<u8>("absent"), Ok(None));
        let error = members.get::<u8>("new").expect_err("it is text");
        assert!(error.starts_with("`new`: invalid type"), "{error}");
    }

    #[test]
    fn what_is_no_object() {
        for json in ["", "[]", "null", "{", r#"{"a":1,"a":2}"#, r#"{"a":1}x"#] {
            Members::parse(json.as_bytes()).expect_err(json);
        }
        let empty = Members::parse(b"{}").expect("an object");
        assert!(empty.is_empty());
    }
}
