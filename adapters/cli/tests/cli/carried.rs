//! Copies with referrers: what they print, and how they fail.

use serde_json::{Value, json};
use windlass_testbed::{Image, Model, OCI_MANIFEST, Options, Server, descriptor, image};

use crate::common::{failed, printed, text, windlass};

/// An image, `app:v1`, and a signature of it.
fn signed(referrers_api: bool) -> (Server, Image, Image) {
    let subject = image(&[b"what is signed".to_vec()]);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "a/signature",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
        "subject": descriptor(OCI_MANIFEST, &subject.manifest),
    });
    let manifest = manifest.to_string().into_bytes();
    let signature = Image {
        digest: windlass_testbed::Digest::sha256(&manifest),
        manifest: manifest.into(),
        config: b"{}".to_vec().into(),
        layers: Vec::new(),
    };
    let mut model = Model::new(Options {
        referrers_api,
        ..Options::default()
    });
    model.put_image("app", Some("v1"), &subject);
    model.put_image("app", None, &signature);
    (Server::start(model).expect("a port"), subject, signature)
}

fn empty(referrers_api: bool) -> Server {
    let options = Options {
        referrers_api,
        ..Options::default()
    };
    Server::start(Model::new(options)).expect("a port")
}

fn referrers(at: &str) -> Value {
    let output = windlass(&["referrers", at, "--json"], &[]);
    let json: Value = serde_json::from_str(printed(&output)).expect("one object");
    json["referrers"].clone()
}

#[test]
fn copy_pull_and_push_take_referrers_along() {
    let (from, subject, signature) = signed(true);
    let dir = tempfile::tempdir().expect("temporary directory");
    let layout = format!("oci:{}:v1", dir.path().join("layout").display());
    let app = format!("{}/app:v1", from.host());
    let to = empty(false);
    let [copied, pushed] = ["copied:v1", "pushed:v1"].map(|it| format!("{}/{it}", to.host()));
    for words in [
        ["copy", "-r", &app, &copied],
        ["pull", "--referrers", &app, &layout],
        ["push", "-r", &layout, &pushed],
    ] {
        let output = windlass(&words, &[]);
        assert_eq!(
            printed(&output),
            format!("{}\n", subject.digest),
            "{words:?}"
        );
        let said = text(&output.stderr);
        assert!(said.contains("with it: 1 artifacts copied"), "{said}");
    }
    let words = [
        "referrers",
        &format!("oci:{}", dir.path().join("layout").display()),
    ];
    let output = windlass(&words, &[]);
    assert_eq!(
        printed(&output),
        format!("{} a/signature\n", signature.digest)
    );
    let in_layout = windlass(&["referrers", &layout, "--json"], &[]);
    let json: Value = serde_json::from_str(printed(&in_layout)).expect("one object");
    assert_eq!(
        (&json["source"], &json["subject"]),
        (&json!("layout"), &json!(subject.digest.as_str()))
    );
    let refused = windlass(&["referrers", &layout, "--platform", "linux/amd64"], &[]);
    assert!(failed(&refused, 2).contains("by its digest"));
    let none = windlass(&["referrers", &layout, "--artifact-type", "a/b"], &[]);
    assert_eq!(printed(&none), "");
    for at in [copied, pushed, layout] {
        assert_eq!(
            referrers(&at)[0]["digest"],
            json!(signature.digest.as_str())
        );
    }
    // Without the option nothing is said or taken along.
    let plain = format!("{}/plain:v1", to.host());
    let output = windlass(&["copy", &app, &plain, "--json"], &[]);
    let json: Value = serde_json::from_str(printed(&output)).expect("one object");
    assert_eq!(json["carried"], Value::Null);
    assert_eq!(referrers(&plain), json!([]));
}

#[test]
fn of_one_type_and_by_tag() {
    let (from, subject, _) = signed(true);
    let tag = format!("{}.sig", subject.digest.as_str().replace(':', "-"));
    from.with_model(|model| model.put_image("app", Some(&tag), &image(&[b"cosign".to_vec()])));
    let app = format!("{}/app:v1", from.host());
    let to = empty(true);
    for (name, options, expected) in [
        ("one", &["-r", "--artifact-type", "a/signature"][..], 1),
        ("none", &["-r", "--artifact-type", "a/other"], 0),
        ("tag", &["--digest-tags"], 1),
        ("both", &["-r", "--digest-tags"], 2),
    ] {
        let at = format!("{}/{name}:v1", to.host());
        let words: Vec<&str> = [&["copy", &app, &at, "--json"][..], options].concat();
        let output = windlass(&words, &[]);
        let json: Value = serde_json::from_str(printed(&output)).expect("one object");
        assert_eq!(json["carried"]["copied"], expected, "{options:?}");
        let has_tag = to.with_model(|model| model.tag(name, &tag).is_some());
        assert_eq!(has_tag, options.contains(&"--digest-tags"), "{options:?}");
    }
    let words = ["copy", &app, &app, "--artifact-type", "a/b"];
    assert!(failed(&windlass(&words, &[]), 2).contains("--referrers"));
}

/// `cosign save` writes a layout without names, of entries that say what they are.
#[test]
fn what_cosign_saved_is_pushed_with_its_signatures() {
    let (from, subject, _) = signed(true);
    let stem = subject.digest.as_str().replace(':', "-");
    let tags = [".sig", ".att"].map(|suffix| format!("{stem}{suffix}"));
    for tag in &tags {
        let companion = image(&[tag.clone().into_bytes()]);
        from.with_model(|model| model.put_image("app", Some(tag), &companion));
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let app = format!("{}/app:v1", from.host());
    let layout = format!("oci:{}", dir.path().display());
    printed(&windlass(&["pull", "--digest-tags", &app, &layout], &[]));
    let path = dir.path().join("index.json");
    let mut index: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("an index")).expect("JSON");
    for entry in index["manifests"].as_array_mut().expect("a list") {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].take();
        let kind = match name.as_str() {
            Some(name) if name.ends_with(".sig") => "sigs",
            Some(name) if name.ends_with(".att") => "atts",
            Some(_) | None => "image",
        };
        entry["annotations"] = json!({"kind": format!("dev.cosignproject.cosign/{kind}")});
    }
    std::fs::write(&path, index.to_string()).expect("written");

    let to = empty(false);
    let pushed = format!("{}/app:v1", to.host());
    let output = windlass(&["push", "--digest-tags", &layout, &pushed], &[]);
    assert_eq!(printed(&output), format!("{}\n", subject.digest));
    for tag in &tags {
        let [original, copy] =
            [&from, &to].map(|server| server.with_model(|model| model.tag("app", tag).cloned()));
        assert!(original.is_some() && copy == original, "{tag}");
    }
}

/// The image is there, the line is printed, and the exit code tells.
#[test]
fn what_is_not_copied_is_told() {
    let (from, subject, signature) = signed(false);
    // It is listed, and gone.
    let gone = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let list = json!({
        "schemaVersion": 2,
        "mediaType": windlass_testbed::OCI_INDEX,
        "manifests": [
            descriptor(OCI_MANIFEST, &signature.manifest),
            {"mediaType": OCI_MANIFEST, "digest": gone, "size": 7},
        ],
    });
    let tag = subject.digest.as_str().replace(':', "-");
    from.with_model(|model| {
        model.put_manifest(
            "app",
            Some(&tag),
            windlass_testbed::OCI_INDEX,
            list.to_string(),
        )
    });
    let (app, to) = (format!("{}/app:v1", from.host()), empty(true));
    let at = format!("{}/app:v1", to.host());
    let output = windlass(&["copy", "-r", "--json", &app, &at], &[]);
    let json: Value = serde_json::from_str(text(&output.stdout)).expect("one object");
    assert_eq!(
        (&json["carried"]["copied"], &json["carried"]["failed"]),
        (&json!(1), &json!(1))
    );
    let not_copied = &json["carried"]["notCopied"][0];
    assert_eq!(not_copied["digest"], gone);
    assert_eq!(not_copied["subject"], subject.digest.as_str());
    assert_eq!(json["digest"], subject.digest.as_str());
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(
        said.contains("the image was copied, but 1 artifacts"),
        "{said}"
    );
    assert_eq!(
        referrers(&at)[0]["digest"],
        json!(signature.digest.as_str())
    );
}

/// What was put or deleted is done and printed; that the list of its subject was not changed is the exit code.
#[test]
fn lists_that_cannot_be_changed() {
    let (from, subject, signature) = signed(false);
    let list = format!("sha256-{}", subject.digest.as_str().replace("sha256:", ""));
    // The registry has something else at the tag of the list.
    let spoil = |server: &Server| {
        server.with_model(|model| {
            model.put_image("app", Some("v1"), &subject);
            model.put_image("app", Some(&list), &image(&[b"no list".to_vec()]));
        });
    };
    let to = empty(false);
    spoil(&from);
    spoil(&to);
    let app = format!("{}/app:v1", from.host());
    let signed = format!("{}/app@{}", from.host(), signature.digest);
    let copied = format!("{}/app:signature", to.host());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("manifest.json");
    std::fs::write(&file, &signature.manifest).expect("written");
    let file = file.to_str().expect("UTF-8");
    for (words, what, hint) in [
        (
            vec!["attach", "--artifact-type", "a/b", &app],
            "is missing in the list of what refers to",
            "run the command again",
        ),
        (
            vec!["manifest", "put", &signed, file],
            "is missing in the list of what refers to",
            "run the command again",
        ),
        (
            vec!["copy", &signed, &copied],
            "1 manifests could not be listed at what they refer to",
            "--referrers",
        ),
        (
            vec!["delete", &signed],
            "is still in the list of what refers to",
            "windlass index remove",
        ),
    ] {
        let output = windlass(&words, &[]);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert_ne!(text(&output.stdout), "", "{words:?}");
        let said = text(&output.stderr);
        assert!(said.contains(what) && said.contains(hint), "{said}");
    }
}

/// A list that cannot be read is told at its node; the others are printed.
#[test]
fn a_tree_with_a_list_that_cannot_be_read() {
    let (from, subject, signature) = signed(false);
    let list = |of: &Image, entries: Value| {
        let list = json!({
            "schemaVersion": 2, "mediaType": windlass_testbed::OCI_INDEX, "manifests": entries,
        });
        let tag = of.digest.as_str().replace(':', "-");
        from.with_model(|model| {
            let bytes = list.to_string().into_bytes();
            model.put_manifest("app", Some(&tag), windlass_testbed::OCI_INDEX, bytes);
        });
    };
    let other = image(&[b"another".to_vec()]);
    from.with_model(|model| model.put_image("app", None, &other));
    let entries = [&signature, &other].map(|it| descriptor(OCI_MANIFEST, &it.manifest));
    list(&subject, json!(entries));
    list(&signature, json!("no list"));
    let app = format!("{}/app:v1", from.host());
    let output = windlass(&["referrers", &app], &[]);
    assert_eq!(output.status.code(), Some(1));
    let printed: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(printed.len(), 2);
    let said = text(&output.stderr);
    assert!(said.contains(&format!("{}: ", signature.digest)), "{said}");
    assert!(
        said.contains("what refers to 1 manifests could not be listed"),
        "{said}"
    );
    let output = windlass(&["referrers", &app, "--json"], &[]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let nodes = json["referrers"].as_array().expect("a list");
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        let is_it = node["digest"] == signature.digest.as_str();
        assert_eq!(node["error"].is_string(), is_it, "{node}");
    }
}
