//! policy.json: skopeo and windlass accept and refuse the same images by the same files.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use windlass_testbed::{Model, Options, Server, image};
use windlass_tests::command::{DONE, REFUSED, USAGE, Windlass};
use windlass_tests::images::Layout;
use windlass_tests::needs;

fn accept() -> Value {
    json!([{"type": "insecureAcceptAnything"}])
}

fn reject() -> Value {
    json!([{"type": "reject"}])
}

fn signed() -> Value {
    json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere/key.gpg"}])
}

/// Whether skopeo copies it by this policy.
fn skopeo(policy: &Path, source: &str) -> bool {
    let into = Layout::absent();
    let output = Command::new("skopeo")
        .args(["--policy".as_ref(), policy.as_os_str()])
        .args(["copy", "-q", "--src-tls-verify=false", source])
        .arg(into.oci_named("copy"))
        .output()
        .expect("skopeo runs");
    output.status.success()
}

/// How windlass ends with it.
fn windlass(policy: &Path, source: &str) -> i32 {
    let into = Layout::absent();
    let words = ["copy", source, &into.oci_named("copy"), "--policy"];
    Windlass::new(words).args([policy]).retries(0).run().code()
}

#[test]
fn skopeo_agrees_about_images_in_registries() {
    needs!("skopeo");
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image(&[b"layer".to_vec()]));
    let server = Server::start(model).expect("a port");
    let host = server.host();
    let source = format!("docker://{host}/team/app:v1");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.json");
    let scoped = |default: Value, scope: &str, requirement: Value| json!({"default": default, "transports": {"docker": {scope: requirement}}});
    let mut policies = vec![
        (json!({"default": accept()}), DONE),
        (json!({"default": reject()}), REFUSED),
        (json!({"default": signed()}), REFUSED),
        (json!({"default": []}), USAGE),
        (json!({}), USAGE),
        (json!({"default": accept(), "more": 1}), USAGE),
        (json!({"default": [{"type": "accept"}]}), USAGE),
        (json!({"default": [{"type": "reject", "why": 1}]}), USAGE),
        (
            json!({"default": [{"type": "insecureAcceptAnything"}, {"type": "reject"}]}),
            REFUSED,
        ),
        (
            json!({"default": reject(), "transports": {"oci": {"": accept()}}}),
            REFUSED,
        ),
        (
            json!({"default": reject(), "transports": {"docker": {
                "": accept(), &format!("{host}/team"): reject(), &format!("{host}/team/app"): accept()}}}),
            DONE,
        ),
        (
            json!({"default": accept(), "transports": {"docker": {
                &host: accept(), &format!("{host}/team"): reject()}}}),
            REFUSED,
        ),
    ];
    for (scope, applies) in [
        (format!("{host}/team/app:v1"), true),
        (format!("{host}/team/app:v2"), false),
        (format!("{host}/team/app"), true),
        (format!("{host}/team"), true),
        (format!("{host}/tea"), false),
        (host, true),
        ("127.0.0.1".to_owned(), false),
        ("*.0.0.1".to_owned(), true),
        ("*.1".to_owned(), true),
        ("*.2".to_owned(), false),
        (String::new(), true),
        ("team/app".to_owned(), false),
    ] {
        let (yes, no) = if applies {
            (DONE, REFUSED)
        } else {
            (REFUSED, DONE)
        };
        policies.push((scoped(reject(), &scope, accept()), yes));
        policies.push((scoped(accept(), &scope, reject()), no));
    }
    for (policy, expected) in policies {
        std::fs::write(&file, policy.to_string()).expect("a file");
        assert_eq!(windlass(&file, &source), expected, "{policy}");
        assert_eq!(skopeo(&file, &source), expected == DONE, "skopeo: {policy}");
    }
}

#[test]
fn skopeo_agrees_about_layouts() {
    needs!("skopeo");
    let (layout, _) = Layout::with_image(1, 3000, 21);
    let source = layout.oci_named("latest");
    let path = layout.path.canonicalize().expect("a folder");
    let above = path.parent().expect("a folder");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.json");
    for (scope, expected) in [
        (text(&path), DONE),
        (text(above), DONE),
        (format!("{}x", text(&path)), REFUSED),
        (String::new(), DONE),
        ("images".to_owned(), USAGE),
        ("/".to_owned(), USAGE),
    ] {
        let policy = json!({"default": reject(), "transports": {"oci": {&scope: accept()}}});
        std::fs::write(&file, policy.to_string()).expect("a file");
        assert_eq!(windlass(&file, &source), expected, "{policy}");
        assert_eq!(skopeo(&file, &source), expected == DONE, "skopeo: {policy}");
    }
}
