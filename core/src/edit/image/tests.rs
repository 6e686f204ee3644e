use alloc::string::ToString as _;

use super::*;
use crate::image_config::ImageConfig;
use crate::manifest::Declared;
use crate::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

/// An image of one layer with this configuration, and its manifest with more members.
fn image(media_type: &str, config_type: &str, config: &str, more: &str) -> Document {
    let (config_digest, size, base) = (digest(config), config.len(), digest("base"));
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"{config_type}","digest":"{config_digest}","size":{size},"x":1,"data":"e30="}},"layers":[{{"mediaType":"{LAYER}","digest":"{base}","size":4,"y":[ 2]}}]{more}}}"#
    );
    Document::parse(text.into_bytes(), Declared::ContentType(None)).expect("an image")
}

fn config(more: &str) -> String {
    let base = digest("the tar of base");
    format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{base}"]}}{more}}}"#
    )
}

fn new_layer(name: &str, media_type: &str) -> NewLayer {
    NewLayer {
        blob: Descriptor::new(media_type, digest(name), name.len() as u64),
        diff_id: digest(&format!("the tar of {name}")),
        created_by: Some(format!("windlass append {name}")),
    }
}

fn applied(change: &ImageChange, config: &str, more: &str) -> Result<ChangedImage, EditError> {
    let image = image(OCI_MANIFEST, OCI_CONFIG, config, more);
    change.apply(&image, config.as_bytes())
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("JSON")
}

#[test]
fn layers_are_put_on_top() {
    let before = config(r#","history":[{"created_by":"ADD base","z":1.0}],"moby":{"k": 1}"#);
    let change = ImageChange {
        layers: alloc::vec![new_layer("one", LAYER), new_layer("two", LAYER)],
        created: Some("2026-01-02T03:04:05Z".into()),
        ..ImageChange::default()
    };
    let changed = applied(&change, &before, r#","annotations":{"a":"b"}"#).expect("changed");
    let config = changed.config.expect("it changed");
    let (base, one, two) = (
        digest("the tar of base"),
        digest("the tar of one"),
        digest("the tar of two"),
    );
    assert_eq!(
        text(&config),
        format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{base}","{one}","{two}"]}},"history":[{{"created_by":"ADD base","z":1.0}},{{"created":"2026-01-02T03:04:05Z","created_by":"windlass append one"}},{{"created":"2026-01-02T03:04:05Z","created_by":"windlass append two"}}],"moby":{{"k": 1}},"created":"2026-01-02T03:04:05Z"}}"#
        )
    );
    let (config_digest, size) = (Digest::of(Algorithm::Sha256, &config), config.len());
    let (base, one, two) = (digest("base"), digest("one"), digest("two"));
    assert_eq!(
        text(&changed.manifest),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{config_digest}","size":{size},"x":1}},"layers":[{{"mediaType":"{LAYER}","digest":"{base}","size":4,"y":[ 2]}},{{"mediaType":"{LAYER}","digest":"{one}","size":3}},{{"mediaType":"{LAYER}","digest":"{two}","size":3}}],"annotations":{{"a":"b"}}}}"#
        )
    );
    assert_eq!(changed.config_descriptor.digest, config_digest);
    let read = ImageConfig::from_json(&config).expect("a configuration");
    assert_eq!((read.rootfs.diff_ids.len(), read.history.len()), (3, 3));
}

/// Without a history of the layers below, there is none of the new ones.
#[test]
fn a_history_is_complete_or_absent() {
    let change = ImageChange {
        layers: alloc::vec![new_layer("one", LAYER)],
        ..ImageChange::default()
    };
    let changed = applied(&change, &config(""), "").expect("changed");
    let read = ImageConfig::from_json(&changed.config.expect("changed")).expect("valid");
    assert_eq!((read.rootfs.diff_ids.len(), read.history.len()), (2, 0));
    assert_eq!(read.created, None, "no time that was not given");
}

#[test]
fn what_a_container_runs_as() {
    let before = config(
        r#","config":{"Env":["PATH=/bin","A=1","B=2"],"Cmd":["sh"],"Entrypoint":null,"Labels":{"old":"1","keep":"2"},"OnBuild":["RUN x"]}"#,
    );
    let of = |pairs: &[(&str, Option<&str>)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).into(), value.map(Into::into)))
            .collect::<BTreeMap<String, Option<String>>>()
    };
    let change = ImageChange {
        labels: of(&[("old", None), ("new", Some("3"))]),
        env: of(&[("A", Some("x=y")), ("B", None), ("C", Some(""))]),
        entrypoint: Some(alloc::vec!["/app".into()]),
        user: Some("1000".into()),
        working_dir: Some("/w".into()),
        ..ImageChange::default()
    };
    let changed = applied(&change, &before, "").expect("changed");
    let read = ImageConfig::from_json(&changed.config.expect("changed")).expect("valid");
    let run = read.config;
    assert_eq!(run.env, ["PATH=/bin", "A=x=y", "C="]);
    assert_eq!(
        (run.entrypoint, run.cmd.len()),
        (alloc::vec!["/app".to_string()], 0)
    );
    let labels: Vec<_> = run.labels.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert_eq!(labels, [("keep", "2"), ("new", "3")]);
    assert_eq!(
        (run.user.as_deref(), run.working_dir.as_deref()),
        (Some("1000"), Some("/w"))
    );
    assert!(run.others.contains_key("OnBuild"));

    let both = ImageChange {
        cmd: Some(alloc::vec!["-x".into()]),
        ..change
    };
    let changed = applied(&both, &config(r#","config":null"#), "").expect("changed");
    let read = ImageConfig::from_json(&changed.config.expect("changed")).expect("valid");
    assert_eq!(
        (read.config.entrypoint.len(), read.config.cmd.len()),
        (1, 1)
    );
}

#[test]
fn annotations_leave_the_configuration() {
    let change = |name: &str, value: Option<&str>| ImageChange {
        annotations: BTreeMap::from([(name.into(), value.map(Into::into))]),
        ..ImageChange::default()
    };
    let before = config("");
    let added = applied(&change("n", Some("v")), &before, r#","z":{}"#).expect("changed");
    assert_eq!(added.config, None);
    assert_eq!(added.config_descriptor.digest, digest(&before));
    assert!(text(&added.manifest).ends_with(r#","z":{},"annotations":{"n":"v"}}"#));
    let removed = applied(
        &change("n", None),
        &before,
        r#","annotations":{"n":"v"},"z":{}"#,
    );
    assert!(text(&removed.expect("changed").manifest).ends_with(r#"],"z":{}}"#));

    let nothing = ImageChange::default();
    assert!(nothing.is_empty());
    let same = image(OCI_MANIFEST, OCI_CONFIG, &before, "");
    let unchanged = nothing.apply(&same, before.as_bytes()).expect("unchanged");
    assert_eq!(unchanged.manifest, same.bytes()[..]);
}

/// MT-04: Docker's types in Docker's manifests.
#[test]
fn docker_images() {
    let before = config("");
    let docker = image(DOCKER_MANIFEST, DOCKER_CONFIG, &before, "");
    let append = |media_type: &str| {
        let change = ImageChange {
            layers: alloc::vec![new_layer("one", media_type)],
            ..ImageChange::default()
        };
        change.apply(&docker, before.as_bytes())
    };
    for (oci, expected) in [
        ("tar", "application/vnd.docker.image.rootfs.diff.tar\""),
        (
            "tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip\"",
        ),
    ] {
        let oci = format!("application/vnd.oci.image.layer.v1.{oci}");
        let changed = append(&oci).expect("changed");
        assert!(text(&changed.manifest).contains(expected), "{oci}");
    }
    let error = append("application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(
        error,
        Err(EditError::NotInDocker {
            what: "zstd layers"
        })
    );
    let annotate = ImageChange {
        annotations: BTreeMap::from([("a".into(), None)]),
        ..ImageChange::default()
    };
    let error = annotate.apply(&docker, before.as_bytes());
    assert_eq!(
        error,
        Err(EditError::NotInDocker {
            what: "annotations"
        })
    );
}

#[test]
fn what_cannot_be_changed() {
    let layer = || ImageChange {
        layers: alloc::vec![new_layer("one", LAYER)],
        ..ImageChange::default()
    };
    let variable = |name: &str| ImageChange {
        env: BTreeMap::from([(name.into(), None)]),
        ..ImageChange::default()
    };
    let json = |what, why: &str| EditError::Json {
        what,
        why: why.into(),
    };
    let table = [
        (
            layer(),
            r#"{"rootfs":{"diff_ids":[]}}"#,
            EditError::DiffIds {
                found: 0,
                layers: 1,
            },
        ),
        (
            layer(),
            "{}",
            EditError::DiffIds {
                found: 0,
                layers: 1,
            },
        ),
        (
            layer(),
            r#"{"rootfs":{"diff_ids":3}}"#,
            json(
                "the configuration",
                "`rootfs`: `diff_ids`: invalid type: integer `3`, expected a sequence at line 1 column 1",
            ),
        ),
        (
            layer(),
            "[]",
            json(
                "the configuration",
                "invalid type: sequence, expected an object at line 1 column 0",
            ),
        ),
        (
            variable("A"),
            r#"{"config":[]}"#,
            json(
                "the configuration",
                "`config`: invalid type: sequence, expected an object at line 1 column 0",
            ),
        ),
        (
            variable("A=B"),
            "{}",
            EditError::Variable { name: "A=B".into() },
        ),
        (
            variable(""),
            "{}",
            EditError::Variable {
                name: String::new(),
            },
        ),
    ];
    for (change, config, expected) in table {
        assert_eq!(applied(&change, config, ""), Err(expected), "{config}");
    }
    let other = ImageChange {
        layers: alloc::vec![new_layer("one", "text/plain")],
        ..ImageChange::default()
    };
    let found = "text/plain".to_string();
    let error = applied(&other, &config(""), "");
    assert_eq!(error, Err(EditError::NotALayer { found }));

    let artifact = image(OCI_MANIFEST, "application/vnd.x", "{}", "");
    let found = "application/vnd.x".to_string();
    let error = layer().apply(&artifact, b"{}");
    assert_eq!(error, Err(EditError::NotAnImage { found }));
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    let index = Document::parse(index.into_bytes(), Declared::ContentType(None));
    let error = layer().apply(&index.expect("an index"), b"{}");
    assert_eq!(
        error,
        Err(EditError::NotAnImage {
            found: OCI_INDEX.into()
        })
    );
}
