//! Operations on registries: what they print, and how they fail.

use serde_json::{Value, json};
use windlass_testbed::{Auth, Model, Options, Server, image};

use crate::common::{failed, printed, text, windlass};

/// A registry with `app:v0` to `app:v4` and `team/other`.
fn registry() -> Server {
    let mut model = Model::new(Options {
        auth: Auth::Open,
        ..Options::default()
    });
    for n in 0..5 {
        model.put_image("app", Some(&format!("v{n}")), &image(&[]));
    }
    model.put_image("team/other", Some("v1"), &image(&[]));
    Server::start(model).expect("a port")
}

fn json_of(words: &[&str]) -> Value {
    let output = windlass(words, &[]);
    serde_json::from_str(printed(&output)).expect("one object")
}

#[test]
fn tags() {
    let registry = registry();
    let app = format!("{}/app", registry.host());
    let all = windlass(&["tags", &app], &[]);
    assert_eq!(printed(&all), "v0\nv1\nv2\nv3\nv4\n");
    assert!(all.stderr.is_empty(), "{}", text(&all.stderr));
    let small = windlass(&["tags", &app, "--page-size", "2"], &[]);
    assert_eq!(printed(&small), printed(&all));
    let part = windlass(&["tags", &app, "--after", "v0", "--limit", "2"], &[]);
    assert_eq!(printed(&part), "v1\nv2\n");
    assert!(text(&part.stderr).contains("go on with --after v2"));
    assert_eq!(
        json_of(&["tags", &app, "--limit", "1", "--json"]),
        json!({"repository": app, "tags": ["v0"], "hasMore": true})
    );
}

#[test]
fn tags_of_nothing() {
    let registry = registry();
    let nothing = format!("{}/nothing", registry.host());
    let said = windlass(&["tags", &nothing], &[]);
    let said = failed(&said, 3);
    assert!(said.contains("NAME_UNKNOWN"), "{said}");
    let tagged = format!("{}/app:v1", registry.host());
    let said = windlass(&["tags", &tagged], &[]);
    assert!(failed(&said, 2).contains("without a tag or digest"));
}

#[test]
fn catalog() {
    let registry = registry();
    let host = registry.host();
    let all = windlass(&["catalog", &host], &[]);
    assert_eq!(printed(&all), "app\nteam/other\n");
    assert_eq!(
        json_of(&["catalog", &host, "--json"]),
        json!({"registry": host, "repositories": ["app", "team/other"], "hasMore": false})
    );
    registry.with_model(|model| model.options_mut().catalog = false);
    let said = windlass(&["catalog", &host], &[]);
    let said = failed(&said, 3);
    assert!(said.contains("hint: many registries do not list"), "{said}");
}
