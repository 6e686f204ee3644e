//! Nothing but what was asked for is deleted, and what was deleted does not stay in a list.

use alloc::string::ToString as _;

use super::*;
use crate::ids::TaskId;
use crate::manifest::Document;
use crate::op::NamePage;
use crate::task::Task;
use crate::tasks::testing::{
    Scenario, coded, found, got, image, index, layer, listed, reference, referrer, status,
};

/// The deletion of a tag.
fn untagging(image: &Document) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(&[("image", image.digest())]);
    let id = scenario.start(Task::delete(reference("reg.example/a:v1")));
    (scenario, id)
}

/// The deletion of a manifest by its digest, which is read at first.
fn deleting(manifest: &Document, subject: &Document) -> (Scenario, TaskId) {
    let names = [
        ("manifest", manifest.digest()),
        ("subject", subject.digest()),
    ];
    let mut scenario = Scenario::new(&names);
    let named = format!("reg.example/a@{}", manifest.digest());
    let id = scenario.start(Task::delete(reference(&named)));
    (scenario, id)
}

fn report(scenario: &mut Scenario, id: TaskId) -> Deleted {
    scenario.report(id).deleted().expect("it was deleted")
}

fn names(names: &[&str]) -> OpOutcome {
    OpOutcome::Names(NamePage {
        names: names.iter().map(|name| (*name).into()).collect(),
        next: None,
        size: None,
    })
}

/// DEL-01.
#[test]
fn a_tag_is_deleted_and_no_manifest() {
    let (mut scenario, id) = untagging(&image(&[]));
    scenario.done("DELETE manifests/v1", OpOutcome::Deleted);
    assert_eq!(report(&mut scenario, id).digest, None);
}

/// DEL-06: where no tag can be deleted alone, nothing is deleted; the hint names the tags that would go with the manifest.
#[test]
fn a_registry_that_deletes_no_tags_is_not_made_to_delete_more() {
    let (image, other) = (image(&[]), image(&[layer("other")]));
    for (listed, at, expected) in [
        (names(&["v1"]), &[][..], "would delete no other tag"),
        (
            names(&["v1", "v2", "v3"]),
            &[("v2", found(&other)), ("v3", found(&other))],
            "would delete no other tag",
        ),
        (
            names(&["v1", "v2", "v3"]),
            &[("v2", found(&image)), ("v3", found(&other))],
            "would delete `v2`, too",
        ),
        // What is no tag may be one to the registry.
        (
            names(&["v1", "v2", "-"]),
            &[("v2", found(&image))],
            "would delete `v2`, too, and perhaps other tags",
        ),
        // What it stands for is not known.
        (
            names(&["v1", "v2"]),
            &[("v2", OpOutcome::Absent)],
            "may delete other tags, too",
        ),
    ] {
        let (mut scenario, id) = untagging(&image);
        let refusal = coded(405, "UNSUPPORTED");
        scenario.done("DELETE manifests/v1", OpOutcome::Undeletable(refusal));
        scenario.done("HEAD manifests/v1", found(&image));
        scenario.done("GET tags/list?n=101", listed);
        for (tag, outcome) in at {
            let head = format!("HEAD manifests/{tag}");
            scenario.done(&head, again(outcome));
        }
        let error = scenario.error(id);
        assert_eq!(error.status(), Some(405));
        let hint = scenario.named(error.hint().expect("a hint"));
        let expected = format!("deleting its manifest sha256:image {expected}");
        assert!(hint.ends_with(&expected), "{hint}");
    }
}

/// An outcome for another turn of a loop.
fn again(outcome: &OpOutcome) -> OpOutcome {
    let OpOutcome::Found {
        digest,
        size,
        media_type,
    } = outcome
    else {
        return OpOutcome::Absent;
    };
    OpOutcome::Found {
        digest: digest.clone(),
        size: *size,
        media_type: media_type.clone(),
    }
}

#[test]
fn tags_that_cannot_be_listed_may_be_deleted_with_the_manifest() {
    let image = image(&[]);
    let (mut scenario, id) = untagging(&image);
    let refusal = coded(405, "UNSUPPORTED");
    scenario.done("DELETE manifests/v1", OpOutcome::Undeletable(refusal));
    scenario.done("HEAD manifests/v1", found(&image));
    scenario.failed("GET tags/list?n=101", status(401));
    let error = scenario.error(id);
    assert!(matches!(error, Error::Registry(_)), "{error:?}");
    let hint = error.hint().expect("a hint");
    assert!(hint.ends_with("may delete other tags, too"), "{hint}");
}

/// DEL-06: the same where it is not known what the tag stands for.
#[test]
fn a_tag_that_cannot_be_looked_at_may_be_deleted_with_others() {
    let (mut scenario, id) = untagging(&image(&[]));
    let refusal = coded(405, "UNSUPPORTED");
    scenario.done("DELETE manifests/v1", OpOutcome::Undeletable(refusal));
    scenario.failed("HEAD manifests/v1", status(500));
    let error = scenario.error(id);
    let hint = error.hint().expect("a hint");
    assert!(
        hint.ends_with("deleting its manifest may delete other tags, too"),
        "{hint}"
    );
}

/// Where it is known that nothing can be deleted, the other tags do not matter: none is asked for.
#[test]
fn a_registry_that_is_known_to_delete_nothing_is_not_asked_for_tags() {
    let mut scenario = Scenario::new(&[]);
    let id = scenario.start(Task::delete(reference("docker.io/library/a:v1")));
    let asked = scenario.asked();
    let refusal = coded(405, "UNSUPPORTED");
    scenario.done(&asked[0], OpOutcome::Undeletable(refusal));
    assert_eq!(scenario.asked(), [""; 0]);
    let error = scenario.error(id);
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("web site"), "{hint}");
}

/// DEL-08, RFR-10: what is deleted is removed from the list of its subject, and nothing else is.
#[test]
fn a_deleted_referrer_is_removed_from_the_list_of_its_subject() {
    let subject = image(&[]);
    let (sbom, other) = (referrer(&subject, "a/b"), referrer(&subject, "c/d"));
    let (mut scenario, id) = deleting(&sbom, &subject);
    scenario.done("GET manifests/sha256:manifest", got(&sbom));
    scenario.done("DELETE manifests/sha256:manifest", OpOutcome::Deleted);
    let list = index(&[other.descriptor(), sbom.descriptor()]);
    scenario.done("GET manifests/sha256-subject", got(&list));
    let list = scenario.sent("PUT manifests/sha256-subject");
    assert_eq!(listed(&list), [other.digest()]);
    let write = OpOutcome::Put { listed: false };
    scenario.done("PUT manifests/sha256-subject", write);
    scenario.passes(crate::Config::default().settle);
    scenario.done("GET manifests/sha256-subject", got(&list));
    let deleted = report(&mut scenario, id);
    assert_eq!(deleted.digest.as_ref(), Some(sbom.digest()));
    assert_eq!(deleted.unlisted, None);
}

/// A list that does not have it, or is not there, is not written.
#[test]
fn a_list_without_the_manifest_is_left_alone() {
    let subject = image(&[]);
    let sbom = referrer(&subject, "a/b");
    for list in [Some(index(&[])), None] {
        let (mut scenario, id) = deleting(&sbom, &subject);
        scenario.done("GET manifests/sha256:manifest", got(&sbom));
        scenario.done("DELETE manifests/sha256:manifest", OpOutcome::Deleted);
        match &list {
            Some(list) => scenario.done("GET manifests/sha256-subject", got(list)),
            None => scenario.failed("GET manifests/sha256-subject", status(404)),
        }
        assert_eq!(report(&mut scenario, id).unlisted, None);
    }
}

/// The manifest is gone: that its entry stays is told, and no failure.
#[test]
fn an_entry_that_stays_is_reported() {
    let subject = image(&[]);
    let sbom = referrer(&subject, "a/b");
    let (mut scenario, id) = deleting(&sbom, &subject);
    scenario.done("GET manifests/sha256:manifest", got(&sbom));
    scenario.done("DELETE manifests/sha256:manifest", OpOutcome::Deleted);
    scenario.failed("GET manifests/sha256-subject", status(403));
    let unlisted = report(&mut scenario, id).unlisted.expect("it is listed");
    assert_eq!(unlisted.kind, ErrorKind::Auth);
    assert_eq!(
        (&unlisted.digest, &unlisted.subject),
        (sbom.digest(), subject.digest())
    );
}

/// With all its tags, a manifest is deleted by its digest: by the tag only that would go (DEL-02, DEL-05).
#[test]
fn a_manifest_is_deleted_by_the_digest_that_its_tag_stands_for() {
    let image = image(&[]);
    let mut scenario = Scenario::new(&[("image", image.digest())]);
    let id = scenario.start(Task::delete_manifest(reference("reg.example/a:v1")));
    scenario.done("GET manifests/v1", got(&image));
    scenario.done("DELETE manifests/sha256:image", OpOutcome::Deleted);
    let deleted = report(&mut scenario, id);
    assert_eq!(deleted.digest.as_ref(), Some(image.digest()));
}

/// Whether it has a subject is said in the manifest. What cannot be read all the same can be deleted, if its digest is
/// known; what may be there later, or may not be asked for, is not.
#[test]
fn a_manifest_that_cannot_be_read() {
    let image = image(&[]);
    for (error, is_deleted) in [
        (status(400), true),
        (status(404), false),
        (status(403), false),
        (Error::Deadline, false),
    ] {
        let kind = error.kind();
        let (mut scenario, id) = deleting(&image, &image);
        scenario.failed("GET manifests/sha256:manifest", error);
        if is_deleted {
            scenario.done("DELETE manifests/sha256:manifest", OpOutcome::Deleted);
            report(&mut scenario, id);
            let warnings = scenario.warnings();
            assert!(warnings[0].contains("it stays in the list"), "{warnings:?}");
        } else {
            assert_eq!(scenario.error(id).kind(), kind);
        }
    }
    // What the tag stands for is not known then.
    let mut scenario = Scenario::new(&[]);
    let id = scenario.start(Task::delete_manifest(reference("reg.example/a:v1")));
    scenario.failed("GET manifests/v1", status(400));
    assert_eq!(scenario.error(id).kind(), ErrorKind::Refused);
}

/// DEL-09: nothing to delete is a failure, unless an earlier process may have deleted it.
#[test]
fn what_is_gone_was_deleted_by_an_earlier_process() {
    let image = image(&[]);
    let named = format!("reg.example/a@{}", image.digest());
    for again in [false, true] {
        let mut scenario = Scenario::new(&[("image", image.digest())]);
        let mut task = Task::delete(reference(&named));
        if again {
            task = task.resumed();
        }
        let id = scenario.start(task);
        scenario.failed("GET manifests/sha256:image", status(404));
        if again {
            let deleted = report(&mut scenario, id);
            assert_eq!(deleted.digest.as_ref(), Some(image.digest()));
        } else {
            assert_eq!(scenario.error(id).kind(), ErrorKind::NotFound);
        }
    }
}

#[test]
fn a_refused_deletion_fails_the_task() {
    for (error, kind) in [
        (status(403), ErrorKind::Auth),
        (status(404), ErrorKind::NotFound),
        (status(400), ErrorKind::Refused),
    ] {
        let text = error.to_string();
        let (mut scenario, id) = untagging(&image(&[]));
        scenario.failed("DELETE manifests/v1", error);
        let error = scenario.error(id);
        assert_eq!((error.kind(), error.to_string()), (kind, text));
    }
}
