//! The JSON schema and the example that come with windlass are those of its types.

use std::collections::BTreeSet;
use std::path::Path;

use super::content::Content;

/// What the test compares with, or writes: as for snapshots, with `INSTA_UPDATE=always`.
fn committed(name: &str, made: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        std::fs::write(&path, made).expect("it is written");
    }
    std::fs::read_to_string(&path).expect("it is there")
}

fn schema() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft07();
    let schema = generator.into_generator().into_root_schema_for::<Content>();
    let mut schema = schema.to_value();
    without_null(&mut schema);
    let top = schema.as_object_mut().expect("a schema of a table");
    top.insert("title".to_owned(), "windlass configuration".into());
    schema
}

/// TOML has no null: what is optional is left out.
fn without_null(schema: &mut serde_json::Value) {
    use serde_json::Value;
    if let Some(members) = schema.as_object_mut() {
        if members.get("default") == Some(&Value::Null) {
            members.remove("default");
        }
        let kind = members.get_mut("type").and_then(Value::as_array_mut);
        if let Some(kinds) = kind {
            kinds.retain(|kind| kind != "null");
            if let [only] = &kinds[..] {
                let only = only.clone();
                members.insert("type".to_owned(), only);
            }
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(without_null),
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_is_that_of_the_types() {
    let made = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    let committed = committed("windlass.schema.json", &made);
    assert_eq!(committed, made, "INSTA_UPDATE=always writes it");
}

/// The example with its comments taken away.
fn example() -> String {
    let text = include_str!("../../windlass.example.toml");
    let settings = text.lines().map(|line| match line.strip_prefix('#') {
        // What follows a blank is text for people.
        Some(setting) if !setting.starts_with(' ') => setting,
        Some(_) | None => "",
    });
    settings.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_good_and_has_every_key() {
    let example = example();
    let path = Path::new("windlass.example.toml");
    super::ConfigFile::parse(path, &example).expect("a good file");
    let used: toml::Table = example.parse().expect("TOML");
    let mut keys = BTreeSet::new();
    collect(&toml::Value::Table(used), &mut keys);
    let mut known = BTreeSet::new();
    properties(&schema(), &mut known);
    let missing: Vec<_> = known.difference(&keys).collect();
    assert_eq!(missing, [""; 0], "every key is in the example");
    let text = include_str!("../../windlass.example.toml");
    super::ConfigFile::parse(path, text).expect("as it is, it sets nothing");
}

/// All keys of tables.
fn collect(value: &toml::Value, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                keys.insert(key.clone());
                collect(value, keys);
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|value| collect(value, keys)),
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => {}
    }
}

/// All keys that the schema has properties for.
fn properties(schema: &serde_json::Value, known: &mut BTreeSet<String>) {
    if let Some(own) = schema.get("properties").and_then(|it| it.as_object()) {
        known.extend(own.keys().cloned());
    }
    match schema {
        serde_json::Value::Object(members) => {
            members.values().for_each(|value| properties(value, known));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| properties(value, known)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
