//! What refers to a manifest: by the registry's list, or by the list at a tag.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use insta::assert_snapshot;
use serde_json::{Value, json};
use windlass_core::{Config, ErrorKind, Failure, Referrers, ReferrersSource, Task};
use windlass_testbed::{Answer, Image, OCI_INDEX, OCI_MANIFEST, Options, Pages, descriptor};
use windlass_tests::world::scenes::{
    bearer, digest, is, one_at_a_time, open, reference, small, with_image, with_manifest, world,
};
use windlass_tests::world::{Fate, World};

const AT: &str = "reg.example/a/b:v1";

/// An image and `n` artifacts about it, each second one of the type `a/odd`.
fn about(n: usize) -> (Image, Vec<Image>) {
    let image = small();
    let artifacts = (0..n).map(|n| {
        let artifact_type = if n % 2 == 0 { "a/even" } else { "a/odd" };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [],
            "subject": descriptor(OCI_MANIFEST, &image.manifest),
            "annotations": {"n": n.to_string()},
        });
        with_manifest(&image, &manifest)
    });
    let artifacts = artifacts.collect();
    (image, artifacts)
}

/// A registry with them: with the API, or with the list at the tag.
fn registry_with(config: Config, options: Options, n: usize) -> (World, Image) {
    let (image, artifacts) = about(n);
    let referrers_api = options.referrers_api;
    let mut model = with_image(options, &image);
    let mut entries = Vec::new();
    for artifact in &artifacts {
        model.put_manifest("a/b", None, OCI_MANIFEST, artifact.manifest.clone());
        let mut entry = descriptor(OCI_MANIFEST, &artifact.manifest);
        let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        entry["artifactType"] = manifest["artifactType"].clone();
        entries.push(entry);
    }
    if !referrers_api && n > 0 {
        let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        model.put_manifest("a/b", Some(&tag(&image)), OCI_INDEX, list.to_string());
    }
    (world(config, model), image)
}

fn registry(options: Options, n: usize) -> (World, Image) {
    registry_with(one_at_a_time(), options, n)
}

fn tag(image: &Image) -> String {
    digest(&image.manifest).to_string().replace(':', "-")
}

fn without_api() -> Options {
    Options {
        referrers_api: false,
        ..open()
    }
}

fn list(
    world: &mut World,
    at: &str,
    artifact_type: Option<&str>,
) -> (Result<Referrers, Failure>, Vec<String>) {
    let task = Task::referrers(reference(at), artifact_type.map(Into::into));
    let task = world.start(task);
    let result = world.finish(task);
    let result = result.map(|report| report.referrers().expect("it is a list"));
    (result, world.take_log(0))
}

fn at_digest(image: &Image) -> String {
    format!("reg.example/a/b@{}", digest(&image.manifest))
}

#[test]
fn by_the_registry_or_by_the_tag() {
    // (options, referrers, source, requests with a digest, the same again)
    for (options, n, source, requests, again) in [
        (open(), 3, ReferrersSource::Api, 1, 1),
        (open(), 0, ReferrersSource::Api, 1, 1),
        (without_api(), 3, ReferrersSource::Tag, 2, 1),
        // "Not supported" is something else than "none".
        (without_api(), 0, ReferrersSource::Nothing, 2, 1),
    ] {
        let (mut world, image) = registry(options, n);
        let at = at_digest(&image);
        for requests in [requests, again] {
            let (found, log) = list(&mut world, &at, None);
            let found = found.unwrap();
            assert_eq!((found.referrers.len(), found.source), (n, source));
            assert_eq!(found.subject, digest(&image.manifest));
            assert_eq!(log.len(), requests, "RFR-09 {source:?} {log:?}");
            let types = found.referrers.iter().map(|it| &it.artifact_type);
            assert!(types.is_sorted());
        }
        // A tag costs a HEAD.
        let (found, log) = list(&mut world, AT, None);
        assert_eq!((found.unwrap().referrers.len(), log.len()), (n, again + 1));
    }
}

/// Clients write wrong types into the lists that they keep (sigstore/cosign#4641): the manifests decide (RFR-16). Of
/// what is gone, the list does.
#[test]
fn types_that_a_list_has_wrong() {
    let (mut world, image) = registry(without_api(), 2);
    let (all, _) = list(&mut world, &at_digest(&image), None);
    let mut entries = all.unwrap().referrers;
    for entry in &mut entries {
        entry.artifact_type = Some("a/wrong".into());
    }
    let mut gone = entries[0].clone();
    gone.digest = digest(b"gone");
    entries.push(gone);
    let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    world.models[0].put_manifest("a/b", Some(&tag(&image)), OCI_INDEX, body.to_string());
    for (wanted, expected) in [("a/even", 1), ("a/odd", 1), ("a/wrong", 1)] {
        let (found, log) = list(&mut world, &at_digest(&image), Some(wanted));
        let found = found.unwrap();
        assert_eq!(found.referrers.len(), expected, "{wanted}");
        assert_eq!(found.referrers[0].artifact_type.as_deref(), Some(wanted));
        assert_eq!(found.source, ReferrersSource::Tag);
        assert_eq!(log.len(), 4, "the list and its manifests: {log:?}");
    }
}

/// The API lists a wrong type, as go-containerregistry's registry does: the manifests of entries that seem to be of
/// another type decide, and no others are read (RFR-16).
#[test]
fn types_that_the_api_has_wrong() {
    let (mut world, image) = registry(open(), 3);
    let (all, log) = list(&mut world, &at_digest(&image), None);
    assert_eq!(log.len(), 1, "{log:?}");
    let mut entries = all.unwrap().referrers;
    entries[0].artifact_type = Some("application/vnd.oci.empty.v1+json".into());
    entries[1].artifact_type = None;
    let mut gone = entries[2].clone();
    gone.digest = digest(b"gone");
    gone.artifact_type = Some("a/gone".into());
    entries.push(gone);
    let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let answer = Answer::new(http::StatusCode::OK).header("content-type", OCI_INDEX);
    let answer = answer.body(body.to_string());
    world.all(is("GET", "/referrers/"), Fate::Say(answer));
    // (type, how many have it, the entries whose manifests are read)
    for (wanted, expected, read) in [
        ("a/even", 2, &[0, 1, 2, 3][..]),
        ("a/odd", 1, &[0, 1, 3]),
        // What is gone has the type that the list says.
        ("a/gone", 1, &[0, 1, 2]),
        ("a/other", 0, &[0, 1, 2, 3]),
    ] {
        let (found, log) = list(&mut world, &at_digest(&image), Some(wanted));
        let found = found.unwrap();
        assert_eq!(found.source, ReferrersSource::Api);
        assert_eq!(found.referrers.len(), expected, "{wanted}");
        let mut types = found.referrers.iter().map(|it| it.artifact_type.as_deref());
        assert!(types.all(|it| it == Some(wanted)));
        assert_eq!(log.len(), 1 + read.len(), "{wanted} {log:#?}");
        for n in read {
            let get = format!("GET /v2/a/b/manifests/{}", entries[*n].digest);
            let gets = log.iter().filter(|line| line.starts_with(&get));
            assert_eq!(gets.count(), 1, "{wanted} {get} {log:#?}");
        }
    }
    // Of all types nothing is read.
    let (found, log) = list(&mut world, &at_digest(&image), None);
    assert_eq!((found.unwrap().referrers.len(), log.len()), (4, 1));
}

/// RFR-07: filtered by the registry or not, what comes is filtered again.
#[test]
fn of_one_type() {
    for options in [open(), without_api()] {
        let (mut world, image) = registry(options, 5);
        for (wanted, expected) in [("a/even", 3), ("a/odd", 2), ("a/other", 0), ("a/eve", 0)] {
            let (found, _) = list(&mut world, &at_digest(&image), Some(wanted));
            let found = found.unwrap().referrers;
            assert_eq!(found.len(), expected, "{wanted}");
            let mut types = found.iter().map(|it| it.artifact_type.as_deref());
            assert!(types.all(|it| it == Some(wanted)));
        }
    }
    // One that does not filter, and lists each twice (RFR-11).
    let (mut world, image) = registry(open(), 5);
    let (all, _) = list(&mut world, &at_digest(&image), None);
    let all = all.unwrap().referrers;
    let twice: Vec<_> = all.iter().chain(&all).collect();
    let body = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": twice});
    let answer = Answer::new(http::StatusCode::OK).header("content-type", OCI_INDEX);
    let answer = answer.body(body.to_string());
    world.all(is("GET", "/referrers/"), Fate::Say(answer));
    let (found, _) = list(&mut world, &at_digest(&image), Some("a/odd"));
    assert_eq!(found.unwrap().referrers.len(), 2);
}

#[test]
fn a_thousand_in_pages() {
    let options = Options {
        pages: Pages {
            cap: Some(100),
            refuse_above_cap: false,
        },
        ..open()
    };
    let (mut world, image) = registry(options, 1000);
    let (found, log) = list(&mut world, &at_digest(&image), None);
    assert_eq!((found.unwrap().referrers.len(), log.len()), (1000, 10));
    let (found, log) = list(&mut world, &at_digest(&image), Some("a/odd"));
    assert_eq!((found.unwrap().referrers.len(), log.len()), (500, 5));
}

#[test]
fn with_a_token() {
    let options = Options {
        referrers_api: false,
        ..bearer()
    };
    let (mut world, _) = registry(options, 1);
    let (found, _) = list(&mut world, AT, None);
    assert_eq!(found.unwrap().source, ReferrersSource::Tag);
    assert_snapshot!(world.transcript());
}

/// clients.md C.10.2: GitLab takes the tag for the digest that it is made of.
#[test]
fn a_tag_that_stands_for_the_subject() {
    let (mut world, image) = registry(without_api(), 0);
    let (at, tag) = (at_digest(&image), tag(&image));
    let manifest = image.manifest;
    world.models[0].put_manifest("a/b", Some(&tag), OCI_MANIFEST, manifest);
    let (found, _) = list(&mut world, &at, None);
    assert_eq!(found.unwrap().source, ReferrersSource::Nothing);
    // And one that stands for something else is no list.
    let other = about(1).1.remove(0).manifest;
    world.models[0].put_manifest("a/b", Some(&tag), OCI_MANIFEST, other);
    let (found, _) = list(&mut world, &at, None);
    let failure = found.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused);
    assert!(
        failure.to_string().contains("not an OCI index"),
        "{failure}"
    );
}

/// What is not there cannot be listed, and a failure is no empty list.
#[test]
fn what_is_no_answer() {
    for (status, kind) in [(403, ErrorKind::Auth), (503, ErrorKind::Temporary)] {
        let (mut world, image) = registry(open(), 2);
        let status = http::StatusCode::from_u16(status).unwrap();
        world.all(is("GET", "/referrers/"), Fate::Say(Answer::new(status)));
        let (found, _) = list(&mut world, &at_digest(&image), None);
        assert_eq!(found.unwrap_err().kind(), kind);
    }
    let (mut world, image) = registry(open(), 2);
    let (found, _) = list(&mut world, "reg.example/a/b:nothing", None);
    assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound);
    let unknown = || {
        let body = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
        Answer::new(http::StatusCode::NOT_FOUND).body(body)
    };
    world.nth(1, is("GET", "/referrers/"), Fate::Say(unknown()));
    let (found, _) = list(&mut world, &at_digest(&image), None);
    assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound, "RFR-05");
    // The same where the API is missing, and the tag tells.
    let (mut tagged, image_of_tag) = registry(without_api(), 2);
    let tag = tag(&image_of_tag);
    tagged.all(
        move |request| request.target.ends_with(&tag),
        Fate::Say(unknown()),
    );
    let (found, log) = list(&mut tagged, &at_digest(&image_of_tag), None);
    let failure = found.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound, "RFR-05");
    assert!(failure.to_string().contains("NAME_UNKNOWN"), "{failure}");
    assert_eq!(log.len(), 2, "{log:?}");
    let (found, _) = list(&mut world, &at_digest(&image), None);
    assert_eq!(found.unwrap().source, ReferrersSource::Api);
}

#[test]
fn too_many() {
    for (objects, is_good) in [(5, true), (4, false)] {
        for options in [open(), without_api()] {
            let mut config = Config::default();
            config.limits.objects = objects;
            let (mut world, image) = registry_with(config, options, 5);
            let (found, _) = list(&mut world, &at_digest(&image), None);
            assert_eq!(found.is_ok(), is_good, "{objects}");
            if let Err(failure) = found {
                let said = failure.to_string();
                assert!(said.contains("more than 4 entries"), "{said}");
            }
        }
    }
}
