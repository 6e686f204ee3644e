//! Single manifests: read, put, tagged, deleted, with their requests.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::reference::Tag;
use windlass_core::{
    Config, Digest, Error, ErrorKind, Failure, Manifest, Platform, StoreId, Task, TaskReport,
};
use windlass_testbed::{Answer, Deletes, Image, Model, OCI_INDEX, OCI_MANIFEST, Options};
use windlass_tests::world::scenes::{
    about, alice, bearer, digest, is, one_at_a_time, open, push, pushing, reference, small,
    two_platforms, with_image, world,
};
use windlass_tests::world::{Fate, World};

const AT: &str = "reg.example/a/b:v1";

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn finish(world: &mut World, task: Task) -> (Result<TaskReport, Failure>, Vec<String>) {
    let task = world.start(task);
    let result = world.finish(task);
    (result, world.take_log(0))
}

fn done(world: &mut World, task: Task) -> (TaskReport, Vec<String>) {
    let (result, log) = finish(world, task);
    (result.unwrap(), log)
}

fn failed(world: &mut World, task: Task) -> (Failure, Vec<String>) {
    let (result, log) = finish(world, task);
    (result.unwrap_err(), log)
}

/// Bytes as a blob of a store.
fn stored(world: &mut World, bytes: &[u8]) -> (StoreId, Digest) {
    let (store, memory) = world.store();
    memory.blob(&digest(bytes), bytes);
    (store, digest(bytes))
}

fn at_digest(bytes: &[u8]) -> String {
    format!("reg.example/a/b@{}", digest(bytes))
}

#[test]
fn a_manifest_is_read_as_it_is() {
    let (model, amd64, arm64) = two_platforms(open());
    let mut world = world(Config::default(), model);
    let get = |world: &mut World, at: &str, platform: Option<&str>| -> (Manifest, Vec<String>) {
        let platform = platform.map(|architecture| Platform::new("linux", architecture));
        let (report, log) = done(world, Task::manifest(reference(at), platform));
        (report.manifest().unwrap(), log)
    };
    let (index, log) = get(&mut world, AT, None);
    assert_eq!(index.descriptor.media_type, OCI_INDEX);
    assert_eq!(index.descriptor.digest, digest(&index.bytes));
    assert_eq!(log, ["GET /v2/a/b/manifests/v1 200"]);

    for (wanted, image) in [("amd64", &amd64), ("arm64", &arm64)] {
        let (found, log) = get(&mut world, AT, Some(wanted));
        assert_eq!(found.bytes[..], image.manifest[..], "PULLM-14");
        assert_eq!(found.descriptor.media_type, OCI_MANIFEST);
        assert_eq!(log.len(), 2, "{log:?}");
        // By its digest, it is chosen already.
        let (same, log) = get(&mut world, &at_digest(&image.manifest), Some("s390x"));
        assert_eq!((same, log.len()), (found, 1));
    }
    let task = Task::manifest(reference(AT), Some(Platform::new("linux", "s390x")));
    let (failure, _) = failed(&mut world, task);
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(failure.hint().unwrap().contains("linux/amd64"), "IDX-17");
}

#[test]
fn a_manifest_that_is_not_its_digest() {
    let image = small();
    let at = at_digest(&image.manifest);
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    let other = || Answer::new(StatusCode::OK).body("{\"schemaVersion\":2}");
    world.all(is("GET", "/manifests/"), Fate::Say(other()));
    let (failure, _) = failed(&mut world, Task::manifest(reference(&at), None));
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "PULLM-09");
    let request = failure.first().request().expect("it is of a request");
    assert_eq!(
        (request.method(), request.registry().as_str()),
        ("GET", "reg.example")
    );
    assert!(request.path().contains("/manifests/sha256:"), "{request}");
    assert_eq!(world.lines_with("> GET").len(), 2);
}

/// What is put refers to what is there.
fn manifest_of(image: &Image, note: &str) -> Vec<u8> {
    let text = String::from_utf8(image.manifest.to_vec()).unwrap();
    // White space at odd places survives.
    let with = format!("{{\n\"x.note\":\"{note}\" ,");
    text.replacen('{', &with, 1).into_bytes()
}

#[test]
fn a_manifest_is_put_as_it_is() {
    let image = small();
    let bytes = manifest_of(&image, "x");
    for (at, tags, expected) in [
        (
            AT.to_owned(),
            &["v1"][..],
            "PUT /v2/a/b/manifests/v1 201".to_owned(),
        ),
        (
            "reg.example/a/b".to_owned(),
            &["latest"],
            "PUT /v2/a/b/manifests/latest 201".to_owned(),
        ),
        (
            at_digest(&bytes),
            &[],
            format!("PUT /v2/a/b/manifests/{} 201", digest(&bytes)),
        ),
    ] {
        let mut world = world(Config::default(), with_image(open(), &image));
        let blob = stored(&mut world, &bytes);
        let task = Task::put_manifest(blob, OCI_MANIFEST.into(), reference(&at), Vec::new());
        let (report, log) = done(&mut world, task);
        let put = report.put().unwrap();
        let names: Vec<&str> = put.tags.iter().map(Tag::as_str).collect();
        assert_eq!((names, &log), (tags.to_vec(), &vec![expected]), "PUSHM-01");
        assert_eq!(put.descriptor.digest, digest(&bytes));
        let there = windlass_testbed::Digest::sha256(&bytes);
        let (media_type, kept) = world.models[0].manifest_bytes("a/b", &there).unwrap();
        assert_eq!(
            (media_type, &kept[..]),
            (OCI_MANIFEST, &bytes[..]),
            "PUSHM-16"
        );
    }
}

/// PUSHM-09, PUSHM-10: in one request where the registry knows that, else one by one; and what a registry
/// does not know is not asked for twice.
#[test]
fn several_tags() {
    let names = |n: usize| {
        (0..n)
            .map(|n| tag(&format!("t{n:02}")))
            .collect::<Vec<Tag>>()
    };
    let image = small();
    for (tag_parameter, tags, first, again) in [
        (true, 1, 1, 1),
        (true, 3, 1, 1),
        (true, 12, 2, 2),
        (false, 1, 1, 1),
        (false, 3, 1 + 3, 3),
        (false, 12, 1 + 12, 12),
    ] {
        let options = Options {
            tag_parameter,
            ..open()
        };
        let mut world = world(Config::default(), with_image(options, &image));
        for (round, requests) in [first, again].into_iter().enumerate() {
            let bytes = manifest_of(&image, &format!("{round}"));
            let blob = stored(&mut world, &bytes);
            let mut wanted = names(tags);
            let own = wanted.remove(0);
            let to = reference(&format!("reg.example/a/b:{}", own.as_str()));
            let task = Task::put_manifest(blob, OCI_MANIFEST.into(), to, wanted);
            let (report, log) = done(&mut world, task);
            let row = format!("{tag_parameter} {tags} {round}: {log:?}");
            assert_eq!(log.len(), requests, "{row}");
            let mut created = report.put().unwrap().tags;
            created.sort();
            assert_eq!(created, names(tags), "{row}");
            for tag in names(tags) {
                let there = world.models[0]
                    .tag("a/b", tag.as_str())
                    .unwrap()
                    .to_string();
                assert_eq!(there, digest(&bytes).to_string(), "{row}");
            }
        }
    }
}

/// PUSHM-10: tags that were asked for and are not named were not created.
#[test]
fn tags_that_are_not_named_are_put_alone() {
    let image = small();
    let bytes = manifest_of(&image, "x");
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    let blob = stored(&mut world, &bytes);
    let some = Answer::new(StatusCode::CREATED).header("oci-tag", "b , x");
    world.nth(1, is("PUT", "/manifests/"), Fate::Say(some));
    let to = reference("reg.example/a/b:a");
    let task = Task::put_manifest(blob, OCI_MANIFEST.into(), to, vec![tag("b"), tag("c")]);
    let (report, log) = done(&mut world, task);
    let created = report.put().unwrap().tags;
    assert_eq!(created, [tag("b"), tag("a"), tag("c")]);
    assert!(log[0].ends_with("?tag=a&tag=b&tag=c 201"), "{log:?}");
    assert_eq!(
        log[1..],
        ["PUT /v2/a/b/manifests/a 201", "PUT /v2/a/b/manifests/c 201"]
    );
}

/// A proxy that does not take so long a line, a registry that does not take the query: each tag is put alone,
/// and only what was put is reported.
#[test]
fn tags_that_the_request_may_not_name_are_put_alone() {
    let image = small();
    let bytes = manifest_of(&image, "x");
    for status in [
        StatusCode::BAD_REQUEST,
        StatusCode::URI_TOO_LONG,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ] {
        let mut world = world(one_at_a_time(), with_image(open(), &image));
        let blob = stored(&mut world, &bytes);
        world.nth(1, is("PUT", "?tag="), Fate::Say(Answer::new(status)));
        let to = reference("reg.example/a/b:a");
        let task = Task::put_manifest(blob, OCI_MANIFEST.into(), to, vec![tag("b")]);
        let (report, log) = done(&mut world, task);
        assert_eq!(report.put().unwrap().tags, [tag("a"), tag("b")]);
        let by_digest = format!("PUT /v2/a/b/manifests/{}", digest(&bytes));
        assert_eq!(
            log,
            [
                format!("{by_digest}?tag=a&tag=b {}", status.as_u16()),
                format!("{by_digest} 201"),
                "PUT /v2/a/b/manifests/a 201".into(),
                "PUT /v2/a/b/manifests/b 201".into(),
            ]
        );
        for tag in ["a", "b"] {
            let there = world.models[0].tag("a/b", tag).unwrap().to_string();
            assert_eq!(there, digest(&bytes).to_string(), "{status} {tag}");
        }
    }
}

/// This many tags that are no versions.
fn further(count: usize) -> Vec<Tag> {
    (0..count).map(|n| tag(&format!("further{n}"))).collect()
}

/// A push with further tags: one request for all of them where the registry takes that, else one each; also if the
/// image is there. What a first request showed is known to the next one.
#[test]
fn an_image_is_pushed_with_several_tags() {
    let image = small();
    for (tag_parameter, more, first, again) in [
        (true, 0, 0, 0),
        (true, 1, 1, 1),
        (true, 3, 1, 1),
        (true, 12, 2, 2),
        (false, 1, 1, 1),
        (false, 3, 1 + 3, 3),
        (false, 12, 1 + 12, 12),
    ] {
        let options = Options {
            tag_parameter,
            ..open()
        };
        let (mut world, store, _) = pushing(one_at_a_time(), options, &image);
        for (round, requests) in [first, again].into_iter().enumerate() {
            // The own one, and those that are named twice, are put once.
            let tags = further(more).into_iter().chain([tag("v1")]);
            let task = push(store).and_tags(tags.chain(further(more)));
            let (report, log) = done(&mut world, task);
            let last = log.iter().rposition(|line| line.contains("/manifests/v1 "));
            let row = format!("{tag_parameter} {more} {round}: {log:?}");
            assert_eq!(log.len() - 1 - last.unwrap(), requests, "{row}");
            let told = report.copied().unwrap().tags;
            assert_eq!(told, [&[tag("v1")], &further(more)[..]].concat(), "{row}");
            for tag in further(more) {
                let there = world.models[0].tag("a/b", tag.as_str()).unwrap();
                assert_eq!(
                    there.to_string(),
                    digest(&image.manifest).to_string(),
                    "{row}"
                );
            }
        }
    }
}

#[test]
fn further_tags_are_in_a_checkpoint() {
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    world.start(push(store).and_tags(further(2)));
    world.run_until(|world| !world.models[0].log().is_empty());
    let task = world.restart()[0];
    world.finish(task).unwrap();
    for tag in further(2) {
        assert!(world.models[0].tag("a/b", tag.as_str()).is_some(), "{tag}");
    }
}

/// PUSHM-10: those that are not named are put alone. One that cannot be put is named by the error.
#[test]
fn further_tags_of_a_push_that_are_refused() {
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let some = Answer::new(StatusCode::CREATED).header("oci-tag", "b , x");
    world.nth(1, is("PUT", "?tag="), Fate::Say(some));
    let tags = [tag("a"), tag("b"), tag("c")];
    let (_, log) = done(&mut world, push(store).and_tags(tags));
    assert!(
        log[log.len() - 2].ends_with("PUT /v2/a/b/manifests/a 201"),
        "{log:?}"
    );
    assert!(
        log[log.len() - 1].ends_with("PUT /v2/a/b/manifests/c 201"),
        "{log:?}"
    );
    let no = Answer::error(StatusCode::FORBIDDEN, "DENIED", "tags are frozen");
    world.all(is("PUT", "/manifests/frozen"), Fate::Say(no));
    let task = world.start(push(store).and_tags([tag("frozen")]));
    let failure = world.finish(task).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Auth, "{failure}");
    let text = failure.to_string();
    assert!(
        text.contains("tag frozen; in place: v1)") && text.contains("DENIED"),
        "{text}"
    );
}

#[test]
fn tags_are_added_without_moving_anything() {
    let image = small();
    let mut world = world(one_at_a_time(), with_image(bearer(), &image));
    world.credential("reg.example", alice(), &["reg.example"]);
    let task = world.start(Task::tag(reference(AT), vec![tag("v2"), tag("latest")]));
    let put = world.finish(task).unwrap().put().unwrap();
    assert_eq!(put.tags, [tag("v2"), tag("latest")]);
    assert_eq!(put.descriptor.digest, digest(&image.manifest));
    assert_snapshot!(world.transcript());
    let (_, log) = done(&mut world, Task::tag(reference(AT), vec![tag("v3")]));
    assert_eq!(
        log[log.len() - 2..],
        [
            "GET /v2/a/b/manifests/v1 200",
            "PUT /v2/a/b/manifests/v3 201"
        ]
    );
}

#[test]
fn what_is_not_put() {
    let image = small();
    let bytes = manifest_of(&image, "x");
    let other = at_digest(&image.manifest);
    let mut small_documents = one_at_a_time();
    small_documents.limits.document = 10;
    // (configuration, options, media type, destination, kind, message, requests)
    for (config, options, media_type, at, kind, message, requests) in [
        (
            one_at_a_time(),
            open(),
            OCI_INDEX,
            AT,
            ErrorKind::Refused,
            "says that its type is",
            0,
        ),
        (
            one_at_a_time(),
            open(),
            "no type\n",
            AT,
            ErrorKind::Refused,
            "is no media type",
            0,
        ),
        (
            one_at_a_time(),
            open(),
            OCI_MANIFEST,
            &other,
            ErrorKind::Mismatch,
            "the manifest for",
            0,
        ),
        (
            small_documents,
            open(),
            OCI_MANIFEST,
            AT,
            ErrorKind::Refused,
            "10 bytes",
            0,
        ),
        (
            one_at_a_time(),
            Options {
                immutable_tags: true,
                ..open()
            },
            OCI_MANIFEST,
            AT,
            ErrorKind::Refused,
            "tag v1",
            1,
        ),
        (
            one_at_a_time(),
            Options {
                refused_types: [OCI_MANIFEST.to_owned()].into(),
                ..open()
            },
            OCI_MANIFEST,
            AT,
            ErrorKind::Refused,
            "415",
            1,
        ),
    ] {
        let mut model = with_image(open(), &image);
        *model.options_mut() = options;
        let mut world = world(config, model);
        let blob = stored(&mut world, &bytes);
        let task = Task::put_manifest(blob, media_type.into(), reference(at), Vec::new());
        let (failure, log) = failed(&mut world, task);
        assert_eq!(failure.kind(), kind, "{failure}");
        assert!(
            failure.to_string().contains(message),
            "{message}: {failure}"
        );
        assert_eq!(log.len(), requests, "{message}: {log:?}");
    }
    // What it refers to is not there.
    let mut world = world(one_at_a_time(), Model::new(open()));
    let blob = stored(&mut world, &bytes);
    let task = Task::put_manifest(blob, OCI_MANIFEST.into(), reference(AT), Vec::new());
    let (failure, _) = failed(&mut world, task);
    assert!(
        failure.to_string().contains("MANIFEST_BLOB_UNKNOWN"),
        "{failure}"
    );
}

/// A registry without the referrers API, an image, and something about it.
fn with_subject(options: Options) -> (World, Image, Image) {
    let image = small();
    let sbom = about(&small(), &image);
    let options = Options {
        referrers_api: false,
        ..options
    };
    (
        world(one_at_a_time(), with_image(options, &image)),
        image,
        sbom,
    )
}

fn list(world: &World, image: &Image) -> Option<String> {
    let tag = digest(&image.manifest).to_string().replace(':', "-");
    let list = world.models[0].tag("a/b", &tag)?;
    let (_, bytes) = world.models[0].manifest_bytes("a/b", list)?;
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

/// RFR-02, RFR-10, DEL-08: put into the list of its subject, and removed from it.
#[test]
fn what_has_a_subject_is_listed_until_it_is_deleted() {
    let (mut world, image, sbom) = with_subject(open());
    let other = manifest_of(&sbom, "other");
    for bytes in [&sbom.manifest[..], &other] {
        let blob = stored(&mut world, bytes);
        let at = reference(&at_digest(bytes));
        let task = Task::put_manifest(blob, OCI_MANIFEST.into(), at, Vec::new());
        let (report, log) = done(&mut world, task);
        assert_eq!(report.put().unwrap().unlisted, None);
        // It is put; the list is read, written and read again.
        assert_eq!(log.len(), 4, "{log:?}");
        assert!(
            list(&world, &image)
                .unwrap()
                .contains(digest(bytes).as_str())
        );
    }
    // What is listed is looked at once.
    let (_, log) = done(
        &mut world,
        Task::tag(reference(&at_digest(&other)), vec![tag("sbom")]),
    );
    assert_eq!(log.len(), 3, "{log:?}");

    let task = Task::delete(reference(&at_digest(&sbom.manifest)));
    let (report, log) = done(&mut world, task);
    let deleted = report.deleted().unwrap();
    assert_eq!(deleted.digest, Some(digest(&sbom.manifest)));
    assert_eq!((deleted.unlisted, log.len()), (None, 5), "{log:?}");
    let left = list(&world, &image).unwrap();
    assert!(!left.contains(sbom.digest.as_str()) && left.contains(digest(&other).as_str()));
    done(&mut world, Task::delete(reference(&at_digest(&other))));
    assert!(list(&world, &image).unwrap().contains(r#""manifests":[]"#));
}

#[test]
fn a_list_that_cannot_be_changed_is_told() {
    let (mut world, image, sbom) = with_subject(open());
    let key = digest(&image.manifest).to_string().replace(':', "-");
    let task = |world: &mut World| {
        let blob = stored(world, &sbom.manifest);
        let at = reference(&at_digest(&sbom.manifest));
        Task::put_manifest(blob, OCI_MANIFEST.into(), at, Vec::new())
    };
    // The tag is used for something else.
    world.models[0].put_image("a/b", Some(&key), &image);
    let put = task(&mut world);
    let (report, _) = done(&mut world, put);
    let unlisted = report.put().unwrap().unlisted.unwrap();
    assert_eq!(unlisted.digest, digest(&sbom.manifest));
    let (report, _) = done(
        &mut world,
        Task::delete(reference(&at_digest(&sbom.manifest))),
    );
    let unlisted = report.deleted().unwrap().unlisted.unwrap();
    assert!(unlisted.why.contains("not an OCI index"), "{unlisted:?}");
    assert_eq!(world.lines_with("could not be removed from").len(), 1);
}

fn deletes(tags: bool, manifests: bool) -> Options {
    Options {
        deletes: Deletes {
            tags,
            manifests,
            blobs: true,
        },
        ..open()
    }
}

/// `a/b` with `v1` and `also` on one manifest, and `v2` on another.
fn three_tags(options: Options) -> (World, Image) {
    let image = small();
    let mut model = with_image(options, &image);
    model.put_image("a/b", Some("also"), &image);
    model.put_image("a/b", Some("v2"), &about(&small(), &image));
    (world(one_at_a_time(), model), image)
}

fn tags(world: &World) -> Vec<&str> {
    let names = ["also", "v1", "v2"].into_iter();
    names
        .filter(|name| world.models[0].tag("a/b", name).is_some())
        .collect()
}

#[test]
fn a_tag_is_deleted_alone() {
    let (mut world, image) = three_tags(open());
    let (report, log) = done(&mut world, Task::delete(reference(AT)));
    assert_eq!(report.deleted().unwrap().digest, None);
    assert_eq!(log, ["DELETE /v2/a/b/manifests/v1 202"], "DEL-01");
    assert_eq!(tags(&world), ["also", "v2"]);

    let (report, log) = done(
        &mut world,
        Task::delete(reference(&at_digest(&image.manifest))),
    );
    assert_eq!(
        report.deleted().unwrap().digest,
        Some(digest(&image.manifest))
    );
    // Whether it has a subject is said in it.
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(tags(&world), ["v2"], "DEL-02");

    let (failure, log) = failed(&mut world, Task::delete(reference(AT)));
    assert_eq!(failure.kind(), ErrorKind::NotFound, "DEL-09");
    assert!(
        failure.to_string().contains("manifest `v1` of"),
        "{failure}"
    );
    assert_eq!(log.len(), 1);
}

/// DEL-06: that other tags go with it is said, and not done unasked.
#[test]
fn where_tags_are_not_deleted_the_others_are_named() {
    let (mut world, image) = three_tags(deletes(false, true));
    let (failure, log) = failed(&mut world, Task::delete(reference(AT)));
    assert_eq!(failure.kind(), ErrorKind::Refused);
    let hint = failure.hint().unwrap();
    let manifest = digest(&image.manifest);
    assert_eq!(
        hint,
        format!(
            "the registry deletes no tag alone; deleting its manifest {manifest} would delete `also`, too"
        )
    );
    // The DELETE, a HEAD of the tag, the list, a HEAD of each other tag.
    assert_eq!(log.len(), 5, "{log:?}");
    assert_eq!(tags(&world), ["also", "v1", "v2"]);

    let (report, log) = done(&mut world, Task::delete_manifest(reference(AT)));
    assert_eq!(report.deleted().unwrap().digest, Some(manifest));
    assert_eq!((log.len(), tags(&world)), (2, vec!["v2"]), "DEL-05");

    let (failure, _) = failed(&mut world, Task::delete(reference("reg.example/a/b:v2")));
    let hint = failure.hint().unwrap();
    assert!(hint.ends_with("would delete no other tag"), "{hint}");
}

#[test]
fn many_tags_are_not_all_looked_at() {
    let (mut world, image) = three_tags(deletes(false, true));
    for n in 0..150 {
        world.models[0].put_image("a/b", Some(&format!("n{n:03}")), &image);
    }
    let (failure, log) = failed(&mut world, Task::delete(reference(AT)));
    let hint = failure.hint().unwrap();
    assert!(
        hint.contains("`also`, `n000`") && hint.ends_with("and perhaps other tags"),
        "{hint}"
    );
    assert_eq!(log.len(), 3 + 100);
}

#[test]
fn where_nothing_is_deleted() {
    let (mut world, image) = three_tags(deletes(false, false));
    for task in [
        Task::delete_manifest(reference(AT)),
        Task::delete(reference(&at_digest(&image.manifest))),
    ] {
        let (failure, _) = failed(&mut world, task);
        assert_eq!(failure.kind(), ErrorKind::Refused, "DEL-03");
        assert!(failure.hint().unwrap().contains("configured not to delete"));
    }
    assert_eq!(tags(&world), ["also", "v1", "v2"]);
}

/// A DELETE whose answer is lost is repeated, and finds nothing then.
#[test]
fn a_lost_answer_of_a_deletion() {
    let (mut world, _) = three_tags(open());
    world.nth(1, is("DELETE", "/manifests/"), Fate::Unanswered);
    let (report, log) = done(&mut world, Task::delete(reference(AT)));
    assert_eq!(report.deleted().unwrap().digest, None);
    assert_eq!(log.len(), 2, "{log:?}");
}

/// DEL-07.
/// DEL-09: what was never there was not deleted by an attempt that the registry did not take.
#[test]
fn a_deletion_that_was_put_off_is_not_taken_for_one() {
    let later = Answer::new(StatusCode::SERVICE_UNAVAILABLE);
    for fate in [Fate::Say(later), Fate::Unreachable] {
        let mut world = world(one_at_a_time(), Model::new(open()));
        world.nth(1, is("DELETE", "/manifests/"), fate);
        let task = world.start(Task::delete(reference("reg.example/a/b:v1")));
        let failure = world.finish(task).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::NotFound, "{failure}");
    }
}

#[test]
fn the_scopes_of_a_deletion() {
    let image = small();
    let mut world = world(one_at_a_time(), with_image(bearer(), &image));
    world.credential("reg.example", alice(), &["reg.example"]);
    let (_, log) = done(&mut world, Task::delete(reference(AT)));
    let token = log.iter().find(|line| line.contains("/token")).unwrap();
    assert!(token.contains("repository:a/b:delete,pull"), "{token}");
}

/// A process that goes on from a checkpoint may have deleted already what it is to delete.
#[test]
fn a_deletion_is_gone_on_with() {
    let image = small();
    for (task, at) in [
        (Task::delete(reference(AT)), AT.to_owned()),
        (
            Task::delete(reference(&at_digest(&image.manifest))),
            at_digest(&image.manifest),
        ),
    ] {
        let mut world = world(one_at_a_time(), with_image(open(), &image));
        world.nth(1, is("DELETE", "/manifests/"), Fate::Unanswered);
        let id = world.start(task);
        world.run_until(|world| world.models[0].tag("a/b", "v1").is_none());
        let [resumed] = world.restart()[..] else {
            panic!("{id} is over");
        };
        world.finish(resumed).unwrap().deleted().unwrap();
        let (failure, _) = failed(&mut world, Task::delete(reference(&at)));
        assert_eq!(failure.kind(), ErrorKind::NotFound, "it is gone");
    }
}

/// PUSHM-15: what another client has put meanwhile is not replaced.
#[test]
fn only_what_was_read_is_replaced() {
    let image = small();
    for conditions in [false, true] {
        let model = with_image(
            Options {
                conditions,
                ..open()
            },
            &image,
        );
        let mut world = world(Config::default(), model);
        let put = |world: &mut World, bytes: &[u8], replaced: &[u8]| {
            let (store, digest_of) = stored(world, bytes);
            let media_type = OCI_MANIFEST.into();
            Task::put_manifest((store, digest_of), media_type, reference(AT), Vec::new())
                .replacing(digest(replaced))
        };
        let (first, second) = (manifest_of(&image, "first"), manifest_of(&image, "second"));
        let task = put(&mut world, &first, &image.manifest);
        let (report, log) = done(&mut world, task);
        assert_eq!(report.put().unwrap().tags, [tag("v1")]);
        let expected = ["GET", "PUT", "GET"].map(|method| method.to_owned());
        let methods: Vec<String> = log
            .iter()
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(methods, expected, "{log:?}");

        // It is there already.
        let task = put(&mut world, &first, &image.manifest);
        let (_, log) = done(&mut world, task);
        assert_eq!(log.len(), 1, "{log:?}");

        let task = put(&mut world, &second, &image.manifest);
        let (failure, log) = failed(&mut world, task);
        assert_eq!(log.len(), 1, "nothing is put: {log:?}");
        assert_eq!(failure.kind(), ErrorKind::Temporary);
        let found = Some(digest(&first));
        assert!(
            matches!(failure.first(), Error::Outdated { found: it, .. } if *it == found),
            "{failure}"
        );
        let said = failure.to_string();
        assert!(
            said.starts_with("`reg.example/a/b:v1` was changed"),
            "{said}"
        );

        let absent = Task::put_manifest(
            stored(&mut world, &second),
            OCI_MANIFEST.into(),
            reference("reg.example/a/b:absent"),
            Vec::new(),
        );
        let (failure, _) = failed(&mut world, absent.replacing(digest(&first)));
        assert!(
            matches!(failure.first(), Error::Outdated { found: None, .. }),
            "{failure}"
        );
    }
}
