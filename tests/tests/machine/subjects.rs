//! Manifests with a subject, at registries with the referrers API and at registries where the client
//! keeps the list (RFR-02). The snapshots are transcripts, see `transcripts.rs`.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use insta::assert_snapshot;
use serde_json::{Value, json};
use windlass_core::{ErrorKind, Failure, Platforms, Report, Task};
use windlass_testbed::{
    Answer, Digest, Image, Model, OCI_INDEX, OCI_MANIFEST, Options, descriptor, image, index,
};
use windlass_tests::world::scenes::{
    about, check_pushed, copy_within, digest, fill, is, one_at_a_time, open, push, pushing,
    reference, small, with_image, world,
};
use windlass_tests::world::{Fate, World};

fn subject() -> Image {
    image(&[b"what is signed".to_vec()])
}

fn sbom() -> Image {
    about(&small(), &subject())
}

/// The tag at which what refers to the subject is listed.
fn tag() -> String {
    subject().digest.as_str().replace(':', "-")
}

/// A registry without the referrers API.
fn without_api() -> Options {
    Options {
        referrers_api: false,
        ..open()
    }
}

fn list(entries: &[Value], more: &[(&str, Value)]) -> String {
    let mut list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    for (member, value) in more {
        list[*member] = value.clone();
    }
    list.to_string()
}

/// Somebody else's entry, with members that mean nothing to us.
fn theirs() -> Value {
    let mut entry = descriptor(OCI_MANIFEST, b"somebody else's");
    entry["x-unknown"] = json!({"a": [1, 2.5, null]});
    entry
}

fn put_list(model: &mut Model, repository: &str, list: String) {
    model.put_manifest(repository, Some(&tag()), OCI_INDEX, list.into_bytes());
}

/// What is at the tag of the list in a repository.
fn listed_in(world: &World, model: usize, repository: &str) -> Value {
    let model = &world.models[model];
    let Some(digest) = model.tag(repository, &tag()) else {
        return Value::Null;
    };
    let (media_type, bytes) = model.manifest_bytes(repository, digest).unwrap();
    assert_eq!(media_type, OCI_INDEX);
    serde_json::from_slice(bytes).unwrap()
}

fn digests(list: &Value) -> Vec<&str> {
    let entries = list["manifests"].as_array().unwrap();
    let digests = entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap());
    digests.collect()
}

fn finish(world: &mut World, task: Task) -> Result<Report, Failure> {
    let task = world.start(task);
    let result = world.run(task);
    world.run_all();
    result
}

/// A push of the SBOM to a registry with something at the tag of the list, or nothing.
fn pushed_beside(options: Options, list: Option<String>) -> (World, Report) {
    let sbom = sbom();
    let (mut world, store, _) = pushing(one_at_a_time(), options, &sbom);
    if let Some(list) = list {
        put_list(&mut world.models[0], "a/b", list);
    }
    let report = finish(&mut world, push(store)).unwrap();
    check_pushed(&world, "a/b", &sbom);
    (world, report)
}

#[test]
fn a_registry_with_the_api_lists_it() {
    let (world, report) = pushed_beside(open(), None);
    assert_eq!(report.unlisted, []);
    assert_eq!(listed_in(&world, 0, "a/b"), Value::Null);
    assert_snapshot!(world.transcript());
}

/// PUSHM-07: the subject itself need not be there.
#[test]
fn a_list_is_made() {
    let (world, report) = pushed_beside(without_api(), None);
    assert_eq!(report.unlisted, []);
    let sbom = sbom();
    let list = listed_in(&world, 0, "a/b");
    let expected = json!([{
        "mediaType": OCI_MANIFEST,
        "digest": sbom.digest.as_str(),
        "size": sbom.manifest.len(),
        "artifactType": "application/vnd.example.sbom",
        "annotations": { "of": "an image" },
    }]);
    assert_eq!(list["manifests"], expected);
    assert_eq!(list["schemaVersion"], 2);
    assert_eq!(list["mediaType"], OCI_INDEX);
    assert_snapshot!(world.transcript());
}

/// RFR-04: everything that is there stays. Without the condition, and with it.
#[test]
fn a_list_gets_an_entry_more() {
    for conditions in [false, true] {
        let mut options = without_api();
        (options.conditions, options.sparse_indexes) = (conditions, true);
        let annotations = json!({ "kept": "by them" });
        let before = list(&[theirs()], &[("annotations", annotations.clone())]);
        let (world, report) = pushed_beside(options, Some(before));
        assert_eq!(report.unlisted, []);
        let list = listed_in(&world, 0, "a/b");
        assert_eq!(list["annotations"], annotations);
        assert_eq!(list["manifests"][0], theirs());
        assert_eq!(digests(&list).len(), 2);
        assert_eq!(digests(&list)[1], sbom().digest.as_str());
        let log = world.models[0].log();
        let conditional = log.iter().find(|it| it.headers.contains_key("if-match"));
        let conditional = conditional.expect("the list had an ETag");
        assert!(conditional.target.ends_with(&tag()));
    }
}

#[test]
fn an_entry_that_is_there_costs_one_request() {
    let sbom = sbom();
    let before = list(&[descriptor(OCI_MANIFEST, &sbom.manifest)], &[]);
    let (world, report) = pushed_beside(without_api(), Some(before.clone()));
    assert_eq!(report.unlisted, []);
    let after = listed_in(&world, 0, "a/b");
    assert_eq!(after.to_string(), before, "nothing was written");
    assert_snapshot!(world.transcript());
}

/// What has the tag and is no list is left alone, and that is told.
#[test]
fn a_tag_that_is_an_image_is_left_alone() {
    let sbom = sbom();
    let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom);
    world.models[0].put_image("a/b", Some(&tag()), &subject());
    let report = finish(&mut world, push(store)).unwrap();
    let [unlisted] = &report.unlisted[..] else {
        panic!("it is told: {report:?}")
    };
    assert_eq!(unlisted.digest, digest(&sbom.manifest));
    assert_eq!(unlisted.subject, digest(&subject().manifest));
    assert_eq!(unlisted.kind, ErrorKind::Refused);
    assert_eq!(world.models[0].tag("a/b", &tag()), Some(&subject().digest));
    check_pushed(&world, "a/b", &sbom);
    assert_snapshot!(world.transcript());
}

/// The requests about the list, with what they were conditional on.
fn about_the_list(world: &World) -> Vec<String> {
    let log = world.models[0].log();
    let about = log.iter().filter(|it| it.target.ends_with(&tag()));
    let shown = about.map(|it| {
        let value = |name: &str| it.headers.get(name).and_then(|it| it.to_str().ok());
        match (value("if-match"), value("if-none-match")) {
            (None, None) => it.method.to_string(),
            (Some("\"there is no such manifest\""), None) => format!("{} if never", it.method),
            (Some(etag), None) if etag.starts_with("\"sha256:") => {
                format!("{} if unchanged", it.method)
            }
            (None, Some("*")) => format!("{} if absent", it.method),
            other => panic!("{other:?}"),
        }
    });
    shown.collect()
}

/// RFR-02: another writer changes the list between our GET and our PUT, or just before we look at it again: with a
/// condition the registry refuses, without one the next GET shows it. No entry is lost.
#[test]
fn a_list_that_others_write_meanwhile() {
    for conditions in [false, true] {
        let mut options = without_api();
        (options.conditions, options.sparse_indexes) = (conditions, true);
        let sbom = sbom();
        let (mut world, store, _) = pushing(one_at_a_time(), options, &sbom);
        put_list(&mut world.models[0], "a/b", list(&[], &[]));
        let task = world.start(push(store));
        let writes = format!("> PUT https://reg.example/v2/a/b/manifests/{}", tag());
        let awaited = if conditions { &writes } else { "~ " };
        world.run_until(|world| !world.lines_with(awaited).is_empty());
        put_list(&mut world.models[0], "a/b", list(&[theirs()], &[]));
        assert_eq!(world.run(task).unwrap().unlisted, []);
        world.run_all();
        let list = listed_in(&world, 0, "a/b");
        assert_eq!(digests(&list).len(), 2, "{list}");
        assert_eq!(digests(&list)[1], sbom.digest.as_str());
        let expected: &[&str] = match conditions {
            true => &[
                "GET",
                "PUT if never",
                "PUT if unchanged",
                "GET",
                "PUT if unchanged",
            ],
            false => &["GET", "PUT if never", "GET", "PUT if unchanged", "GET"],
        };
        assert_eq!(about_the_list(&world), expected);
        // The second look comes later than the first one did.
        let waits = world.lines_with("~ ");
        assert_eq!(waits.len(), if conditions { 0 } else { 2 });
        match conditions {
            true => assert_snapshot!("refused_as_others_write", world.transcript()),
            false => assert_snapshot!("seen_as_others_write", world.transcript()),
        }
    }
}

/// What a list costs: with conditions nothing is read again, without them it is once.
#[test]
fn requests_for_a_list() {
    let later = about(&image(&[b"another".to_vec()]), &subject());
    for (conditions, first, second) in [
        (
            true,
            &["GET", "PUT if never", "PUT if absent"][..],
            &["GET", "PUT if unchanged"][..],
        ),
        (
            false,
            &["GET", "PUT if never", "GET"],
            &["GET", "PUT if unchanged", "GET"],
        ),
    ] {
        let mut options = without_api();
        (options.conditions, options.sparse_indexes) = (conditions, true);
        let (mut world, store, memory) = pushing(one_at_a_time(), options, &sbom());
        finish(&mut world, push(store)).unwrap();
        assert_eq!(about_the_list(&world), first);
        world.take_log(0);
        // Another one, in the same session.
        let (store, other) = world.store();
        fill(&other, &later);
        drop(memory);
        finish(&mut world, push(store)).unwrap();
        assert_eq!(about_the_list(&world), second);
        assert_eq!(digests(&listed_in(&world, 0, "a/b")).len(), 2);
        let waits = world.lines_with("~ ");
        assert_eq!(waits.len(), if conditions { 0 } else { 2 }, "{waits:?}");
    }
}

/// RFR-04: distribution refuses an index that names what it does not have. A manifest that another client deleted,
/// and left in the list, does not keep others from being added; what is still there stays.
#[test]
fn entries_of_what_is_gone_are_dropped_where_they_are_refused() {
    let kept = about(&image(&[b"kept".to_vec()]), &subject());
    let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom());
    world.models[0].put_image("a/b", None, &kept);
    let entries = [theirs(), descriptor(OCI_MANIFEST, &kept.manifest)];
    let annotations = json!({ "kept": "by them" });
    let before = list(&entries, &[("annotations", annotations.clone())]);
    put_list(&mut world.models[0], "a/b", before);
    let report = finish(&mut world, push(store)).unwrap();
    assert_eq!(report.unlisted, []);
    let list = listed_in(&world, 0, "a/b");
    assert_eq!(list["annotations"], annotations);
    assert_eq!(
        digests(&list),
        [kept.digest.as_str(), sbom().digest.as_str()]
    );
    let expected = ["GET", "PUT if never", "GET", "PUT if never", "GET"];
    assert_eq!(about_the_list(&world), expected);
}

/// An entry that could not be looked for may be there: the list stays as it is, and that is told.
#[test]
fn entries_that_cannot_be_looked_for_stay() {
    let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom());
    let before = list(&[theirs()], &[]);
    put_list(&mut world.models[0], "a/b", before.clone());
    let entry = digests(&listed_in(&world, 0, "a/b"))[0].to_owned();
    let looks = move |it: &windlass_testbed::Request| it.target.ends_with(&entry);
    let denied = Answer::error(StatusCode::FORBIDDEN, "DENIED", "not for you");
    world.all(looks, Fate::Say(denied));
    let report = finish(&mut world, push(store)).unwrap();
    let [unlisted] = &report.unlisted[..] else {
        panic!("it is told: {report:?}")
    };
    assert_eq!(unlisted.kind, ErrorKind::Auth);
    assert_eq!(listed_in(&world, 0, "a/b").to_string(), before);
    assert_eq!(about_the_list(&world), ["GET", "PUT if never"]);
}

/// Without a pause the list is read again at once.
#[test]
fn no_pause() {
    let mut config = one_at_a_time();
    config.settle = std::time::Duration::ZERO;
    let (mut world, store, _) = pushing(config, without_api(), &sbom());
    finish(&mut world, push(store)).unwrap();
    assert_eq!(about_the_list(&world), ["GET", "PUT if never", "GET"]);
    assert_eq!(world.lines_with("~ "), [] as [&str; 0]);
}

/// While one waits to look again, others of the session write the same list: it waits once for all of them.
#[test]
fn pauses_of_one_session_are_at_the_same_time() {
    let mut options = without_api();
    options.sparse_indexes = true;
    let mut world = world(one_at_a_time(), Model::new(options));
    let images = (0..5_u8).map(|n| about(&image(&[[n; 9].to_vec()]), &subject()));
    let tasks: Vec<_> = images
        .enumerate()
        .map(|(n, image)| {
            let (store, memory) = world.store();
            fill(&memory, &image);
            let to = reference(&format!("reg.example/a/b:{n}"));
            world.start(Task::push(store, None, to, Platforms::All))
        })
        .collect();
    for task in tasks {
        assert_eq!(world.run(task).unwrap().unlisted, []);
    }
    let took = world.now().since(windlass_core::Time::ZERO);
    world.run_all();
    assert_eq!(digests(&listed_in(&world, 0, "a/b")).len(), 5);
    assert_eq!(about_the_list(&world).len(), 15);
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}

/// A task that is cancelled, or has no time left, does not look again.
#[test]
fn a_pause_ends_with_its_task() {
    for is_cancelled in [true, false] {
        let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom());
        let limit = world.now() + std::time::Duration::from_millis(300);
        let task = push(store);
        let task = if is_cancelled { task } else { task.by(limit) };
        let task = world.start(task);
        let writes = format!("> PUT https://reg.example/v2/a/b/manifests/{}", tag());
        world.run_until(|world| !world.lines_with(&writes).is_empty());
        if is_cancelled {
            world.run_still();
            world.cancel(task);
        }
        let failure = world.run(task).unwrap_err();
        let expected = match is_cancelled {
            true => ErrorKind::Cancelled,
            false => ErrorKind::Temporary,
        };
        assert_eq!(failure.first().kind(), expected);
        world.run_all();
        assert_eq!(about_the_list(&world), ["GET", "PUT if never"]);
    }
}

/// A list that cannot be looked at again is told.
#[test]
fn a_list_that_is_written_and_not_seen_again() {
    let mut config = one_at_a_time();
    config.retry.attempts = 1;
    let (mut world, store, _) = pushing(config, without_api(), &sbom());
    let tag = tag();
    world.nth(
        2,
        move |request| request.method == "GET" && request.target.ends_with(&tag),
        Fate::Say(Answer::error(StatusCode::FORBIDDEN, "DENIED", "no more")),
    );
    let report = finish(&mut world, push(store)).unwrap();
    let [unlisted] = &report.unlisted[..] else {
        panic!("it is told: {report:?}")
    };
    assert_eq!(unlisted.kind, ErrorKind::Auth);
    let expected = "it was written, but could not be looked at again: ";
    assert!(unlisted.why.starts_with(expected), "{}", unlisted.why);
    assert!(unlisted.why.contains("no more"), "{}", unlisted.why);
}

/// Somebody makes the list between our look at it and our writing.
#[test]
fn a_list_that_others_make_meanwhile() {
    let mut options = without_api();
    (options.conditions, options.sparse_indexes) = (true, true);
    let sbom = sbom();
    let (mut world, store, _) = pushing(one_at_a_time(), options, &sbom);
    let task = world.start(push(store));
    let writes = format!("> PUT https://reg.example/v2/a/b/manifests/{}", tag());
    world.run_until(|world| !world.lines_with(&writes).is_empty());
    put_list(&mut world.models[0], "a/b", list(&[theirs()], &[]));
    assert_eq!(world.run(task).unwrap().unlisted, []);
    world.run_all();
    let list = listed_in(&world, 0, "a/b");
    assert_eq!(digests(&list).len(), 2, "{list}");
    assert_eq!(list["manifests"][0], theirs());
}

/// A list that was damaged on its way is not sent back.
#[test]
fn a_damaged_list_is_left_alone() {
    let digest = digest(b"another");
    let damaged = Answer::new(StatusCode::OK)
        .header("content-type", OCI_INDEX)
        .header("docker-content-digest", digest.as_str())
        .body(list(&[theirs()], &[]));
    let (kind, why, world) = told("GET", damaged);
    assert_eq!(kind, ErrorKind::Mismatch, "{why}");
    assert_eq!(listed_in(&world, 0, "a/b"), Value::Null);
}

/// Two of ours never write one list at once, however their requests overtake each other.
#[test]
fn two_of_one_session() {
    for order in 0..6 {
        let second = about(&image(&[b"another".to_vec()]), &subject());
        let mut options = without_api();
        options.sparse_indexes = true;
        let mut world = world(windlass_core::Config::default(), Model::new(options));
        let mut turn = 0_usize;
        world.pick = Box::new(move |jobs| {
            turn += 1;
            (turn * 7 + order * turn / 2) % jobs.len()
        });
        let tasks: Vec<_> = [&sbom(), &second]
            .into_iter()
            .zip(["one", "two"])
            .map(|(image, name)| {
                let (store, memory) = world.store();
                fill(&memory, image);
                let to = reference(&format!("reg.example/a/b:{name}"));
                world.start(Task::push(store, None, to, Platforms::All))
            })
            .collect();
        for task in tasks {
            assert_eq!(world.run(task).unwrap().unlisted, []);
        }
        world.run_all();
        let list = listed_in(&world, 0, "a/b");
        assert_eq!(digests(&list).len(), 2, "order {order}: {list}");
        let writes = format!("> PUT https://reg.example/v2/a/b/manifests/{}", tag());
        assert_eq!(world.lines_with(&writes).len(), 2, "order {order}");
    }
}

/// One that waits for another's list goes on when that one is cancelled.
#[test]
fn one_that_is_cancelled_leaves_the_list_to_the_other() {
    let mut world = world(one_at_a_time(), Model::new(without_api()));
    let tag = tag();
    world.nth(1, move |request| request.target.ends_with(&tag), Fate::Hang);
    let second = about(&image(&[b"another".to_vec()]), &subject());
    let [first, second] = [sbom(), second].map(|image| {
        let (store, memory) = world.store();
        fill(&memory, &image);
        let to = reference(&format!("reg.example/a/b:{}", image.layers.len()));
        (
            world.start(Task::push(store, None, to, Platforms::All)),
            image,
        )
    });
    // The first one hangs, the other one would have to wait for ever.
    world.run_still();
    world.cancel(first.0);
    assert_eq!(world.run(second.0).unwrap().unlisted, []);
    world.run_all();
    let list = listed_in(&world, 0, "a/b");
    assert_eq!(digests(&list), [second.1.digest.as_str()]);
}

#[test]
fn a_copy_lists_it_where_it_goes() {
    let sbom = sbom();
    let mut world = world(one_at_a_time(), with_image(open(), &sbom));
    world.registry(&["other.example"], Model::new(without_api()));
    let (spool, _) = world.store();
    let task = copy_within("reg.example/a/b:v1", "other.example/c:v1", Some(spool));
    assert_eq!(finish(&mut world, task).unwrap().unlisted, []);
    assert_eq!(digests(&listed_in(&world, 1, "c")), [sbom.digest.as_str()]);
    assert_snapshot!(world.transcript());
}

/// Children of an index may be about something, and an index, too.
#[test]
fn children_and_indexes_are_listed() {
    let sbom = sbom();
    let both = index(&[("linux/amd64", &sbom)]);
    let mut document: Value = serde_json::from_slice(&both.manifest).unwrap();
    document["subject"] = descriptor(OCI_MANIFEST, &subject().manifest);
    let bytes = document.to_string().into_bytes();
    let mut model = Model::new(open());
    model.put_image("a/b", None, &sbom);
    let root = model.put_manifest("a/b", Some("v1"), OCI_INDEX, bytes);
    let mut world = world(one_at_a_time(), model);
    world.registry(&["other.example"], Model::new(without_api()));
    let (spool, _) = world.store();
    let task = copy_within("reg.example/a/b:v1", "other.example/c:v1", Some(spool));
    assert_eq!(finish(&mut world, task).unwrap().unlisted, []);
    let list = listed_in(&world, 1, "c");
    assert_eq!(digests(&list), [sbom.digest.as_str(), root.as_str()]);
    assert_eq!(list["manifests"][1].get("artifactType"), None);
}

/// A push to a registry that says one of these at the tag of the list: how it is told.
fn told(method: &'static str, answer: Answer) -> (ErrorKind, String, World) {
    let sbom = sbom();
    let mut config = one_at_a_time();
    config.retry.attempts = 2;
    let (mut world, store, _) = pushing(config, without_api(), &sbom);
    let tag = tag();
    world.all(
        move |request| request.method == method && request.target.ends_with(&tag),
        Fate::Say(answer),
    );
    let report = finish(&mut world, push(store)).unwrap();
    check_pushed(&world, "a/b", &sbom);
    let [unlisted] = &report.unlisted[..] else {
        panic!("it is told: {report:?}")
    };
    assert_eq!(
        world
            .lines_with("could not be added to the referrers")
            .len(),
        1
    );
    assert_eq!(world.lines_with(", 1 unlisted").len(), 1);
    (unlisted.kind, unlisted.why.clone(), world)
}

#[test]
fn what_cannot_be_listed_is_told_and_pushed() {
    let of = |content_type: &str, body: Vec<u8>| {
        Answer::new(StatusCode::OK)
            .header("content-type", content_type)
            .body(body)
    };
    let list = list(&[], &[]).into_bytes();
    let long = format!("{}{}", " ".repeat(5 << 20), "{}").into_bytes();
    let refused = |status| Answer::error(status, "DENIED", "no");
    use ErrorKind::{Auth, NotFound, Refused, Temporary};
    for (row, method, answer, expected) in [
        ("5 MiB", "GET", of(OCI_INDEX, long), Refused),
        ("another type", "GET", of(OCI_MANIFEST, list), Refused),
        ("no JSON", "GET", of(OCI_INDEX, b"<html>".to_vec()), Refused),
        ("not allowed", "GET", refused(StatusCode::FORBIDDEN), Auth),
        ("down", "GET", refused(StatusCode::BAD_GATEWAY), Temporary),
        ("immutable", "PUT", refused(StatusCode::CONFLICT), Refused),
        ("lost", "PUT", refused(StatusCode::NOT_FOUND), NotFound),
        ("not kept", "PUT", Answer::new(StatusCode::CREATED), Refused),
    ] {
        let (kind, why, world) = told(method, answer);
        assert_eq!(kind, expected, "{row}: {why}");
        assert_eq!(listed_in(&world, 0, "a/b"), Value::Null, "{row}");
    }
}

/// A list that is gone when it is looked at again is written again with everything that was in it.
#[test]
fn a_list_that_is_gone_again_loses_nothing() {
    let sbom = sbom();
    let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom);
    world.models[0].options_mut().sparse_indexes = true;
    put_list(&mut world.models[0], "a/b", list(&[theirs()], &[]));
    let tag = tag();
    let gone = Answer::error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no");
    world.nth(
        2,
        move |request| request.method == "GET" && request.target.ends_with(&tag),
        Fate::Say(gone),
    );
    let report = finish(&mut world, push(store)).unwrap();
    assert_eq!(report.unlisted, []);
    let list = listed_in(&world, 0, "a/b");
    assert_eq!(list["manifests"][0], theirs());
    assert_eq!(digests(&list).len(), 2);
}

/// A list that is always replaced is not written for ever.
#[test]
fn writes_have_a_bound() {
    let (_, why, world) = told("PUT", Answer::new(StatusCode::CREATED));
    assert!(why.contains("replaced the list 4 times"), "{why}");
    let requests = world.lines_with(&tag());
    let requests = requests.iter().filter(|line| line.contains("> "));
    assert_eq!(requests.count(), 9, "five looks and four writes");
}

/// A registry that refuses a condition that is true is asked without one.
#[test]
fn a_condition_that_is_refused_for_nothing() {
    let sbom = sbom();
    let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom);
    put_list(&mut world.models[0], "a/b", list(&[], &[]));
    world.all(
        |request| request.headers.contains_key("if-match"),
        Fate::Say(Answer::error(
            StatusCode::PRECONDITION_FAILED,
            "DENIED",
            "no",
        )),
    );
    let report = finish(&mut world, push(store)).unwrap();
    assert_eq!(report.unlisted, []);
    assert_eq!(
        digests(&listed_in(&world, 0, "a/b")),
        [sbom.digest.as_str()]
    );
    let expected = [
        "GET",
        "PUT if never",
        "PUT if unchanged",
        "GET",
        "PUT",
        "GET",
    ];
    assert_eq!(about_the_list(&world), expected);
}

/// An ordinary image costs nothing, whether the registry has the API or not.
#[test]
fn an_image_about_nothing_costs_nothing() {
    let requests = [open(), without_api()].map(|options| {
        let (mut world, store, _) = pushing(one_at_a_time(), options, &small());
        finish(&mut world, push(store)).unwrap();
        world.take_log(0)
    });
    assert_eq!(requests[0], requests[1]);
    assert!(!requests[0].iter().any(|line| line.contains(&tag())));
}

/// PUSHM-12: a push that was broken off before its answer came lists it nevertheless.
#[test]
fn an_answer_that_is_lost() {
    let sbom = sbom();
    let (mut world, store, _) = pushing(one_at_a_time(), without_api(), &sbom);
    world.nth(1, is("PUT", "/manifests/v1"), Fate::Unanswered);
    let report = finish(&mut world, push(store)).unwrap();
    assert_eq!(report.unlisted, []);
    assert_eq!(
        digests(&listed_in(&world, 0, "a/b")),
        [sbom.digest.as_str()]
    );
    assert_eq!(sbom.digest, Digest::sha256(&sbom.manifest));
}
