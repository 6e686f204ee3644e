//! Copies that take along what belongs to the image: referrers, and what cosign keeps at tags.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeMap;

use http::StatusCode;
use insta::assert_snapshot;
use serde_json::json;
use windlass_core::{
    Carried, Carry, CopyTask, Digest, ErrorKind, Job, NotCarried, ReferrersSource, Report,
    StoreError, StoreErrorKind, StoreId, Task, TaskLocation,
};
use windlass_testbed::{Answer, Image, Model, OCI_INDEX, OCI_MANIFEST, Options, image};
use windlass_tests::family::{EMPTY, Family, Referrer, artifact, list_tag, put_list, source};
use windlass_tests::world::scenes::{digest, is, one_at_a_time, open, reference};
use windlass_tests::world::{Fate, Lot, World};

const FROM: &str = "reg.example/a/b:v1";
const TO: &str = "other.example/c/d:v1";

fn options(referrers_api: bool) -> Options {
    Options {
        referrers_api,
        ..open()
    }
}

/// Two registries, the first of which has the family.
fn two(family: &Family, from: Options, to: Options) -> World {
    let mut source = Model::new(from);
    family.put(&mut source, "a/b");
    let mut world = World::new(one_at_a_time());
    world.registry(&["reg.example"], source);
    world.registry(&["other.example"], Model::new(to));
    world
}

fn registry(at: &str) -> TaskLocation {
    TaskLocation::Registry(reference(at))
}

fn in_store(store: StoreId) -> TaskLocation {
    let name = Some("v1".into());
    TaskLocation::Store { store, name }
}

fn carrying(
    world: &mut World,
    source: TaskLocation,
    destination: TaskLocation,
    carry: Carry,
) -> Report {
    let (spool, _) = world.store();
    let task = world.start(Task::copy(
        CopyTask::new(source, destination).spool(spool).carry(carry),
    ));
    world.run(task).unwrap()
}

fn copy(world: &mut World) -> Carried {
    let report = carrying(world, registry(FROM), registry(TO), Carry::referrers());
    assert_eq!(report.unlisted, []);
    report.carried.unwrap()
}

/// What a registry lists about each of the family.
fn listed(world: &mut World, repository: &str, family: &Family) -> BTreeMap<Digest, Vec<Digest>> {
    let subjects = family.subjects().into_iter().map(|subject| {
        let at = format!("{repository}@{subject}");
        let task = world.start(Task::referrers(reference(&at), None));
        let found = world.finish(task).unwrap().referrers().unwrap();
        let digests = found.referrers.into_iter().map(|it| it.digest);
        let mut digests: Vec<Digest> = digests.collect();
        digests.sort();
        (subject, digests)
    });
    subjects.collect()
}

fn counts(carried: &Carried) -> (u64, u64, u64) {
    (carried.copied, carried.present, carried.failed)
}

fn puts(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| line.starts_with("PUT")).collect()
}

#[test]
fn with_the_api_at_both_ends_at_one_or_at_none() {
    let family = Family::default();
    for from in [true, false] {
        for to in [true, false] {
            let mut world = two(&family, options(from), options(to));
            let carried = copy(&mut world);
            assert_eq!(counts(&carried), (4, 0, 0), "{from} {to}");
            family.check(&world.models[1], "c/d");
            let listed = listed(&mut world, "other.example/c/d", &family);
            assert_eq!(listed, family.expected(), "{from} {to}");

            // Again: it is all there, and nothing is written.
            world.take_log(1);
            let carried = copy(&mut world);
            assert_eq!(counts(&carried), (0, 4, 0), "{from} {to}");
            let log = world.take_log(1);
            assert_eq!(puts(&log), Vec::<&String>::new(), "{from} {to} {log:#?}");
        }
    }
}

#[test]
fn the_tag_is_put_last() {
    let family = Family::default();
    for to in [true, false] {
        let mut world = two(&family, options(true), options(to));
        copy(&mut world);
        let log = world.take_log(1);
        let puts = puts(&log);
        let by_tag = |line: &&&String| line.contains("/manifests/v1");
        assert_eq!(puts.iter().filter(by_tag).count(), 1, "{log:#?}");
        assert!(puts.last().unwrap().contains("/manifests/v1"), "{log:#?}");
    }
}

#[test]
fn as_a_transcript() {
    let mut family = Family::default();
    family.referrers.truncate(1);
    let mut world = two(&family, options(true), options(false));
    copy(&mut world);
    assert_snapshot!(world.transcript());
}

/// One list per subject is written, whatever the number of its referrers.
#[test]
fn many_are_listed_at_once() {
    let mut family = Family::default();
    let root = family.index.manifest.to_vec();
    for n in 0..50 {
        let media_type = OCI_INDEX;
        family.add(media_type, &root, "a/note", &format!("note {n}"));
    }
    let mut world = two(&family, options(true), options(false));
    assert_eq!(counts(&copy(&mut world)), (54, 0, 0));
    let listed = listed(&mut world, "other.example/c/d", &family);
    assert_eq!(listed, family.expected());
    let log = world.take_log(1);
    let tag = list_tag(&digest(&family.index.manifest));
    let lists = puts(&log);
    let lists = lists.iter().filter(|line| line.contains(&tag));
    assert_eq!(lists.count(), 1, "{log:#?}");
}

#[test]
fn through_a_store() {
    let family = Family::default();
    for (from, to) in [(true, false), (false, true)] {
        let mut world = two(&family, options(from), options(to));
        let (store, memory) = world.store();
        let pulled = carrying(
            &mut world,
            registry(FROM),
            in_store(store),
            Carry::referrers(),
        );
        assert_eq!(counts(&pulled.carried.unwrap()), (4, 0, 0));
        // A list for each manifest that has referrers, and the image.
        let names = memory.names().into_iter().filter_map(|(name, _)| name);
        let mut names: Vec<String> = names.collect();
        let mut expected: Vec<String> = vec!["v1".into()];
        let with = family
            .expected()
            .into_iter()
            .filter(|(_, about)| !about.is_empty());
        expected.extend(with.map(|(subject, _)| list_tag(&subject)));
        assert_eq!(names.pop().as_deref(), Some("v1"), "the name is last");
        names.push("v1".into());
        names.sort();
        expected.sort();
        assert_eq!(names, expected);

        let pushed = carrying(
            &mut world,
            in_store(store),
            registry(TO),
            Carry::referrers(),
        );
        assert_eq!(counts(&pushed.carried.unwrap()), (4, 0, 0));
        family.check(&world.models[1], "c/d");
        let listed = listed(&mut world, "other.example/c/d", &family);
        assert_eq!(listed, family.expected());
        let again = carrying(
            &mut world,
            in_store(store),
            registry(TO),
            Carry::referrers(),
        );
        assert_eq!(counts(&again.carried.unwrap()), (0, 4, 0));
    }
}

/// The image is in the layout, with its name, and the report says what is not listed.
#[test]
fn a_store_that_cannot_list_them() {
    let family = Family::default();
    let mut world = two(&family, options(true), options(true));
    let (store, memory) = world.store();
    world.lot = Box::new(|job| {
        let is_list = matches!(job, Job::Store(call) if call.op().name() == "add referrers");
        if is_list {
            return Lot::Fail(StoreError::new(StoreErrorKind::Damaged, "planned"));
        }
        Lot::Run
    });
    let task = (registry(FROM), in_store(store), Carry::referrers());
    let report = carrying(&mut world, task.0, task.1, task.2);
    let carried = report.carried.unwrap();
    let with = family
        .expected()
        .values()
        .filter(|it| !it.is_empty())
        .count();
    assert_eq!(carried.not_carried.len(), with, "{carried:?}");
    let names = memory.names().into_iter().filter_map(|(name, _)| name);
    assert_eq!(names.collect::<Vec<_>>(), ["v1"]);
}

/// Only a PUT shows whether a registry lists a manifest: one that is there and not in the list is put again.
#[test]
fn what_is_there_but_not_listed_is_listed() {
    let family = Family::default();
    let mut world = two(&family, options(true), options(false));
    family.put(&mut world.models[1], "c/d");
    let subject = digest(&family.index.manifest);
    put_list(&mut world.models[1], "c/d", &subject, &[]);
    let carried = copy(&mut world);
    assert_eq!(counts(&carried), (1, 3, 0));
    let listed = listed(&mut world, "other.example/c/d", &family);
    assert_eq!(listed, family.expected());
}

#[test]
fn of_some_types() {
    let family = Family::default();
    for from in [true, false] {
        for (types, expected) in [
            // What refers to an SBOM comes with it, whatever its type is.
            (&["a/sbom"][..], 3),
            (&["a/signature"], 1),
            (&["a/signature", "a/sbom"], 4),
            (&["a/other"], 0),
        ] {
            let mut world = two(&family, options(from), options(true));
            let mut carry = Carry::referrers();
            carry.artifact_types = types.iter().map(|it| (*it).to_owned()).collect();
            let report = carrying(&mut world, registry(FROM), registry(TO), carry);
            assert_eq!(
                counts(&report.carried.unwrap()),
                (expected, 0, 0),
                "{types:?}"
            );
        }
    }
}

/// The referrers API may leave out the type: the manifest has it, or its config's type is it (RFR-16).
#[test]
fn an_entry_without_a_type() {
    let family = Family::default();
    let subject = digest(&family.index.manifest);
    let mut world = two(&family, options(true), options(true));
    let mut listed = Vec::new();
    for referrer in family.referrers.iter().filter(|it| it.subject == subject) {
        listed.push(json!({
            "mediaType": OCI_MANIFEST,
            "digest": digest(&referrer.artifact.manifest).as_str(),
            "size": referrer.artifact.manifest.len(),
        }));
    }
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed});
    let answer = Answer::new(StatusCode::OK)
        .header("content-type", OCI_INDEX)
        .body(list.to_string());
    let list = format!("/referrers/{subject}");
    world.all(move |it| it.target.contains(&list), Fate::Say(answer));
    let mut carry = Carry::referrers();
    carry.artifact_types = vec!["a/signature".into()];
    let report = carrying(&mut world, registry(FROM), registry(TO), carry);
    assert_eq!(counts(&report.carried.unwrap()), (1, 0, 0));
}

/// Lists that clients keep are wrong at times (sigstore/cosign#4641): the manifest decides (RFR-16).
#[test]
fn the_type_is_what_the_manifest_says() {
    let mut family = Family::default();
    family.referrers[0].artifact_type = "a/wrong".into();
    for (wanted, expected) in [("a/signature", 1), ("a/wrong", 0)] {
        let mut world = two(&family, options(false), options(true));
        let mut carry = Carry::referrers();
        carry.artifact_types = vec![wanted.into()];
        let report = carrying(&mut world, registry(FROM), registry(TO), carry);
        assert_eq!(
            counts(&report.carried.unwrap()),
            (expected, 0, 0),
            "{wanted}"
        );
    }
}

/// How often a registry was asked for the manifest of a referrer.
fn reads(log: &[String], referrer: &Referrer) -> usize {
    let target = format!("/manifests/{}", referrer.digest());
    let is_read = |line: &&String| line.starts_with("GET") && line.contains(&target);
    log.iter().filter(is_read).count()
}

/// An index with a signature and a note.
fn with_note() -> Family {
    let mut family = Family::default();
    family.referrers.truncate(1);
    let root = family.index.manifest.to_vec();
    family.add(OCI_INDEX, &root, "a/note", "of the index");
    family
}

/// go-containerregistry's registry lists the type of the configuration: the manifest decides (RFR-16).
#[test]
fn the_api_lists_a_wrong_type() {
    let family = with_note();
    let subject = digest(&family.index.manifest);
    let mut wrong = family.clone();
    for referrer in &mut wrong.referrers {
        referrer.artifact_type = EMPTY.into();
    }
    let entries: Vec<_> = wrong.referrers.iter().map(Referrer::entry).collect();
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let answer = Answer::new(StatusCode::OK)
        .header("content-type", OCI_INDEX)
        .body(list.to_string());
    let mut world = two(&family, options(true), options(true));
    let target = format!("/referrers/{subject}");
    world.all(move |it| it.target.contains(&target), Fate::Say(answer));
    let mut carry = Carry::referrers();
    carry.artifact_types = vec!["a/signature".into()];
    // The second time the destination lists it, with the wrong type.
    for expected in [(1, 0, 0), (0, 1, 0)] {
        let report = carrying(&mut world, registry(FROM), registry(TO), carry.clone());
        assert_eq!(counts(&report.carried.unwrap()), expected);
        let log = world.take_log(0);
        let reads = family.referrers.iter().map(|it| reads(&log, it));
        assert_eq!(reads.collect::<Vec<_>>(), [1, 1], "{log:#?}");
        let log = world.take_log(1);
        let target = format!("PUT /v2/c/d/manifests/{}", family.referrers[0].digest());
        let puts = log.iter().filter(|line| line.starts_with(&target));
        assert_eq!(puts.count() as u64, expected.0, "{log:#?}");
    }
}

/// Where the types are right, a manifest is read only if it is to be copied.
#[test]
fn types_that_are_right_cost_nothing() {
    let family = with_note();
    let subject = digest(&family.index.manifest);
    let mut world = two(&family, options(true), options(true));
    let mut carry = Carry::referrers();
    carry.artifact_types = vec!["a/signature".into()];
    for (expected, read) in [((1, 0, 0), [1, 0]), ((0, 1, 0), [0, 0])] {
        let report = carrying(&mut world, registry(FROM), registry(TO), carry.clone());
        assert_eq!(counts(&report.carried.unwrap()), expected);
        let log = world.take_log(0);
        let reads = family.referrers.iter().map(|it| reads(&log, it));
        assert_eq!(reads.collect::<Vec<_>>(), read, "{log:#?}");
        // The registry is asked for the type, and leaves the others out.
        let asked = format!("/referrers/{subject}?artifactType=a/signature");
        assert_eq!(
            log.iter().filter(|line| line.contains(&asked)).count(),
            1,
            "{log:#?}"
        );
    }
}

#[test]
fn what_cosign_keeps_at_tags() {
    let family = Family::default();
    let signature = artifact("a/cosign", "a signature", None);
    let tag = format!("{}.sig", list_tag(&digest(&family.images[0].manifest)));
    let mut carry = Carry::default();
    carry.digest_tags = true;
    let mut world = two(&family, options(true), options(true));
    world.models[0].put_image("a/b", Some(&tag), &signature);
    let report = carrying(&mut world, registry(FROM), registry(TO), carry.clone());
    assert_eq!(counts(&report.carried.unwrap()), (1, 0, 0));
    assert_eq!(world.models[1].tag("c/d", &tag), Some(&signature.digest));
    let again = carrying(&mut world, registry(FROM), registry(TO), carry.clone());
    assert_eq!(counts(&again.carried.unwrap()), (0, 1, 0));

    // Through a store, under the same name.
    let (store, memory) = world.store();
    let pulled = carrying(&mut world, registry(FROM), in_store(store), carry.clone());
    assert_eq!(counts(&pulled.carried.unwrap()), (1, 0, 0));
    let named = memory
        .names()
        .into_iter()
        .find(|(name, _)| name.as_ref() == Some(&tag));
    assert_eq!(named.unwrap().1.digest, digest(&signature.manifest));
    let to = registry("other.example/e/f:v1");
    let pushed = carrying(&mut world, in_store(store), to, carry);
    assert_eq!(counts(&pushed.carried.unwrap()), (1, 0, 0));
    assert_eq!(world.models[1].tag("e/f", &tag), Some(&signature.digest));
}

/// The copy of a family of which one referrer fails in some way.
#[track_caller]
fn one_fails(mut world: World, family: &Family, failed: &Referrer) -> NotCarried {
    let carried = copy(&mut world);
    assert_eq!(carried.failed, 1);
    assert_eq!(world.models[1].tag("c/d", "v1"), Some(&family.index.digest));
    let mut expected = family.expected();
    // Neither is it copied, nor what refers to it, if its manifest could not be put.
    expected
        .get_mut(&failed.subject)
        .unwrap()
        .retain(|it| *it != failed.digest());
    if let Some(about) = expected.get_mut(&failed.digest()) {
        about.clear();
    }
    let warnings = world.lines_with("was not copied").len();
    assert_eq!(warnings, 1);
    assert_eq!(listed(&mut world, "other.example/c/d", family), expected);
    let [not_carried] = carried.not_carried.try_into().unwrap();
    assert_eq!(not_carried.subject, failed.subject);
    assert_eq!(not_carried.digest, Some(failed.digest()));
    not_carried
}

#[test]
fn a_destination_that_refuses_one() {
    let family = Family::default();
    let sbom = &family.referrers[1];
    let mut world = two(&family, options(true), options(true));
    let target = Box::leak(format!("/manifests/{}", sbom.digest()).into_boxed_str());
    let refusal = r#"{"errors":[{"code":"UNSUPPORTED","message":"no artifacts"}]}"#;
    let refusal = Answer::new(StatusCode::METHOD_NOT_ALLOWED).body(refusal);
    world.all(is("PUT", target), Fate::Say(refusal));
    let told = one_fails(world, &family, sbom);
    assert_eq!(told.kind, ErrorKind::Refused);
    assert!(told.why.contains("no artifacts"), "{}", told.why);
    assert_eq!(told.artifact_type.as_deref(), Some("a/sbom"));
}

#[test]
fn a_list_with_something_that_is_gone() {
    let mut family = Family::default();
    let gone = Referrer {
        artifact: artifact("a/gone", "gone", None),
        ..family.referrers[2].clone()
    };
    let whole = family.clone();
    family.referrers.push(gone.clone());
    let mut world = two(&whole, options(false), options(true));
    let entries = [&family.referrers[2], &gone].map(Referrer::entry);
    put_list(&mut world.models[0], "a/b", &gone.subject, &entries);
    let told = one_fails(world, &whole, &gone);
    assert_eq!(told.kind, ErrorKind::NotFound);
}

/// RFR-12: what is listed need not refer to the subject.
#[test]
fn a_list_that_lies() {
    let family = Family::default();
    let mut lie = family.referrers[0].clone();
    lie.subject = digest(&family.images[0].manifest);
    lie.artifact = artifact("a/signature", "of nothing", None);
    let mut world = two(&family, options(false), options(true));
    world.models[0].put_image("a/b", None, &lie.artifact);
    let entries = [&family.referrers[1], &lie].map(Referrer::entry);
    put_list(&mut world.models[0], "a/b", &lie.subject, &entries);
    let told = one_fails(world, &family, &lie);
    assert_eq!(told.kind, ErrorKind::Refused);
    assert!(told.why.contains("its subject is none"), "{}", told.why);
}

#[test]
fn content_that_is_wrong_or_missing() {
    let family = Family::default();
    let sbom = &family.referrers[2];
    let layer = windlass_testbed::Digest::sha256(&sbom.artifact.layers[0]);
    let mut world = two(&family, options(true), options(true));
    let wrong = b"of image X".to_vec();
    assert_eq!(wrong.len(), sbom.artifact.layers[0].len());
    world.models[0].put_damaged_blob("a/b", &layer, wrong);
    let told = one_fails(world, &family, sbom);
    assert_eq!(told.kind, ErrorKind::Mismatch);

    // In a store: the layer is not there.
    let mut world = two(&family, options(true), options(true));
    let (store, memory) = world.store();
    carrying(
        &mut world,
        registry(FROM),
        in_store(store),
        Carry::referrers(),
    );
    windlass_store::Store::remove(&memory, &digest(&sbom.artifact.layers[0])).unwrap();
    let pushed = carrying(
        &mut world,
        in_store(store),
        registry(TO),
        Carry::referrers(),
    );
    let carried = pushed.carried.unwrap();
    assert_eq!(counts(&carried), (3, 0, 1));
    assert_eq!(carried.not_carried[0].digest, Some(sbom.digest()));
    assert!(
        carried.not_carried[0].why.contains("not in the store"),
        "{carried:?}"
    );
}

/// "None" and "not to be found out" are not the same.
#[test]
fn a_list_that_cannot_be_read() {
    let family = Family::default();
    let mut world = two(&family, options(true), options(true));
    let denied = Answer::new(StatusCode::FORBIDDEN);
    world.all(is("GET", "/referrers/"), Fate::Say(denied));
    let carried = copy(&mut world);
    assert_eq!(counts(&carried), (0, 0, 3));
    assert_eq!(world.models[1].tag("c/d", "v1"), Some(&family.index.digest));
    for told in carried.not_carried {
        assert_eq!((told.digest, told.kind), (None, ErrorKind::Auth));
    }
}

#[test]
fn nested_too_deeply() {
    let mut family = Family::default();
    family.referrers.truncate(1);
    for level in 1..=Carry::LEVELS {
        let last = family.referrers.last().unwrap().artifact.manifest.to_vec();
        family.add(OCI_MANIFEST, &last, "a/deep", &format!("level {level}"));
    }
    let mut world = two(&family, options(true), options(true));
    let carried = copy(&mut world);
    let levels = Carry::LEVELS as u64;
    assert_eq!(counts(&carried), (levels, 0, 1));
    let told = &carried.not_carried[0];
    assert!(told.why.contains("nested more than 8 deep"), "{}", told.why);
    assert_eq!(told.digest, Some(family.referrers.last().unwrap().digest()));
}

/// Two copies to one repository at once: neither loses what the other has listed.
#[test]
fn two_at_once() {
    let family = Family::default();
    let mut world = two(&family, options(true), options(false));
    let mut other = Family::default();
    other.referrers.truncate(1);
    let root = other.index.manifest.to_vec();
    other.referrers.clear();
    other.add(OCI_INDEX, &root, "a/other", "of the index, from elsewhere");
    let mut elsewhere = Model::new(options(true));
    other.put(&mut elsewhere, "a/b");
    world.registry(&["third.example"], elsewhere);
    let (spool, _) = world.store();
    for from in [FROM, "third.example/a/b:v1"] {
        world.start(Task::copy(
            CopyTask::new(registry(from), registry(TO))
                .spool(spool)
                .carry(Carry::referrers()),
        ));
    }
    assert!(world.run_all().values().all(Result::is_ok));
    let mut all = family;
    all.referrers.extend(other.referrers);
    assert_eq!(source(&world.models[1]), ReferrersSource::Tag);
    assert_eq!(
        listed(&mut world, "other.example/c/d", &all),
        all.expected()
    );
}

/// Within one repository all of it is there.
#[test]
fn in_one_repository() {
    let family = Family::default();
    let mut world = two(&family, options(true), options(true));
    let to = registry("reg.example/a/b:v2");
    let report = carrying(&mut world, registry(FROM), to, Carry::referrers());
    assert_eq!(counts(&report.carried.unwrap()), (0, 0, 0));
    assert_eq!(world.models[0].tag("a/b", "v2"), Some(&family.index.digest));
}

#[test]
fn a_referrer_that_is_an_index() {
    let mut family = Family::default();
    let part: Image = image(&[b"a part".to_vec()]);
    let subject = windlass_testbed::descriptor(OCI_INDEX, &family.index.manifest);
    let bundle = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "artifactType": "a/bundle",
        "manifests": [windlass_testbed::descriptor(OCI_MANIFEST, &part.manifest)],
        "subject": subject,
    });
    family.referrers.clear();
    let mut world = two(&family, options(true), options(false));
    let bundle = bundle.to_string();
    world.models[0].put_image("a/b", None, &part);
    let bundle = world.models[0].put_manifest("a/b", None, OCI_INDEX, bundle);
    let carried = copy(&mut world);
    assert_eq!(counts(&carried), (1, 0, 0));
    assert!(world.models[1].manifest_bytes("c/d", &bundle).is_some());
    assert!(
        world.models[1]
            .manifest_bytes("c/d", &part.digest)
            .is_some()
    );
}
