//! Changes `auths` of a file, and nothing else of it (CRED-09).
//!
//! Responsible for the text of the file: members that are not changed stay byte for byte, in their
//! order. Must not know where the file is.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::credentials::document::position;
use crate::credentials::keys::{Wanted, is_for_registry};

/// The text with this entry in `auths` instead of those for the whole registry, however their keys are
/// spelled: none of them may keep an old password.
pub(super) fn with_entry(
    label: &str,
    text: &str,
    key: &str,
    entry: &serde_json::Value,
    wanted: &Wanted<'_>,
) -> Result<String, String> {
    change(label, text, |auths| {
        auths.retain(|(known, _)| known == key || !is_for_registry(known, wanted));
        let entry = indented(&entry.to_string());
        match auths.iter_mut().rfind(|(known, _)| known == key) {
            Some((_, known)) => *known = entry,
            None => auths.push((key.to_owned(), entry)),
        }
    })
}

/// The text without entries for the whole registry, however their keys are spelled, and how many those
/// were.
pub(super) fn without_entries(
    label: &str,
    text: &str,
    wanted: &Wanted<'_>,
) -> Result<(String, usize), String> {
    let mut removed = 0;
    let text = change(label, text, |auths| {
        let before = auths.len();
        auths.retain(|(key, _)| !is_for_registry(key, wanted));
        removed = before - auths.len();
    })?;
    Ok((text, removed))
}

/// The members of an object in their order, with the text of each value.
type Ordered = Vec<(String, String)>;

fn change(label: &str, text: &str, change: impl FnOnce(&mut Ordered)) -> Result<String, String> {
    let mut members = match text.trim() {
        "" => Ordered::new(),
        _ => read(label, text, text)?,
    };
    // Of several members with one name the last one counts.
    let at = members.iter().rposition(|(name, _)| name == "auths");
    let mut auths = match at.map(|at| members[at].1.clone()) {
        Some(auths) if auths != "null" => {
            // Its text is a copy: a position in it is none in the file.
            read(&format!("`auths` of {label}"), &auths, &auths)?
        }
        Some(_) | None => Ordered::new(),
    };
    change(&mut auths);
    let auths = written(&auths, 1);
    match at {
        Some(at) => members[at].1 = auths,
        None => members.insert(0, ("auths".to_owned(), auths)),
    }
    Ok(format!("{}\n", written(&members, 0)))
}

fn read(label: &str, whole: &str, part: &str) -> Result<Ordered, String> {
    let read: Result<Members<'_>, _> = serde_json::from_str(part);
    match read {
        Ok(members) => Ok(members
            .0
            .into_iter()
            .map(|(k, v)| (k, v.get().to_owned()))
            .collect()),
        Err(error) => {
            let (line, column) = position(whole, part, error.line(), error.column());
            Err(format!(
                "{label} is not in the form of docker's configuration at line {line}, column {column}"
            ))
        }
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// An object with tabs, as docker writes it. Values are written as they are.
fn written(members: &Ordered, depth: usize) -> String {
    if members.is_empty() {
        return "{}".to_owned();
    }
    let (inner, outer) = ("\t".repeat(depth + 1), "\t".repeat(depth));
    let members = members.iter().map(|(name, value)| {
        let name = serde_json::Value::from(name.as_str());
        format!("{inner}{name}: {value}")
    });
    let members: Vec<_> = members.collect();
    format!("{{\n{}\n{outer}}}", members.join(",\n"))
}

/// An entry of `auths`, on lines of its own like docker's.
fn indented(entry: &str) -> String {
    let read: Result<Members<'_>, _> = serde_json::from_str(entry);
    let members = read.expect("an entry is an object").0.into_iter();
    let members: Ordered = members.map(|(k, v)| (k, v.get().to_owned())).collect();
    written(&members, 2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_core::Registry;

    use super::*;

    fn wanted() -> Wanted<'static> {
        let registry: Registry = "r.example".parse().expect("a registry");
        Wanted::new(&registry, None, &registry.origin())
    }

    #[test]
    fn all_else_stays_as_it_is() {
        // CRED-09: unknown members, their order, numbers that no type here holds, the indentation.
        let text = "{\n\t\"HttpHeaders\": {\n\t\t\"X\": 1.0e400\n\t},\n\t\"auths\": {\n\t\t\
            \"a.example\": {\"auth\": \"x\", \"email\": null},\n\t\t\"r.example\": {\"auth\": \"old\", \
            \"identitytoken\": \"old\"}\n\t},\n\t\"credsStore\": \"\"\n}";
        let changed = with_entry(
            "FILE",
            text,
            "r.example",
            &json!({"auth": "new"}),
            &wanted(),
        );
        assert_eq!(
            changed.expect("a good file"),
            "{\n\t\"HttpHeaders\": {\n\t\t\"X\": 1.0e400\n\t},\n\t\"auths\": {\n\t\t\
            \"a.example\": {\"auth\": \"x\", \"email\": null},\n\t\t\"r.example\": {\n\t\t\t\
            \"auth\": \"new\"\n\t\t}\n\t},\n\t\"credsStore\": \"\"\n}\n"
        );
    }

    /// No other spelling keeps an old password.
    #[test]
    fn every_spelling_of_a_registry_is_replaced() {
        let text = r#"{"auths": {"https://R.example/v1/": {"auth": "old"}, "a.example": {}, "r.example":
            {"auth": "old"}, "r.example:443": {"auth": "old"}, "r.example/team": {}}}"#;
        for (key, asked, text, expected) in [
            (
                "r.example",
                "r.example",
                text,
                r#"{"auths":{"a.example":{},"r.example":{"x":1},"r.example/team":{}}}"#,
            ),
            (
                "https://index.docker.io/v1/",
                "docker.io",
                r#"{"auths": {"docker.io": {"auth": "old"}, "registry-1.docker.io": {"auth": "old"}}}"#,
                r#"{"auths":{"https://index.docker.io/v1/":{"x":1}}}"#,
            ),
        ] {
            let registry: Registry = asked.parse().expect("a registry");
            let wanted = Wanted::new(&registry, None, &registry.origin());
            let changed = with_entry("FILE", text, key, &json!({"x": 1}), &wanted);
            let mut changed = changed.expect("a good file");
            changed.retain(|char| !char.is_ascii_whitespace());
            assert_eq!(changed, expected);
        }
    }

    #[test]
    fn files_begin_somewhere() {
        let expected = "{\n\t\"auths\": {\n\t\t\"r.example\": {}\n\t}\n}\n";
        for text in ["", " \n", "{}", "{\"auths\": null}", "{\"auths\": {}}"] {
            let changed = with_entry("FILE", text, "r.example", &json!({}), &wanted());
            assert_eq!(changed.expect("a good file"), expected, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_registry_is_removed() {
        let text = r#"{"auths": {"r.example": {}, "https://R.example/v1/": {}, "r.example:443": {},
            "r.example:5000": {}, "r.example/team": {}, "other.example": {}}, "x": 1}"#;
        let (changed, removed) = without_entries("FILE", text, &wanted()).expect("a good file");
        assert_eq!(removed, 3);
        assert_eq!(
            changed,
            "{\n\t\"auths\": {\n\t\t\"r.example:5000\": {},\n\t\t\"r.example/team\": {},\n\t\t\
            \"other.example\": {}\n\t},\n\t\"x\": 1\n}\n"
        );
    }

    #[test]
    fn a_broken_file_is_not_changed() {
        let table = [
            (
                "{\"auths\": {\n",
                "FILE is not in the form of docker's configuration at line 2, column 0",
            ),
            (
                "[]",
                "FILE is not in the form of docker's configuration at line 1, column 1",
            ),
            (
                "{\"auths\": \"s3cret\"}",
                "`auths` of FILE is not in the form of docker's configuration",
            ),
        ];
        for (text, expected) in table {
            let error = with_entry("FILE", text, "r.example", &json!({}), &wanted());
            let error = error.expect_err("broken");
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
