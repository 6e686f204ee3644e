//! What is put in which order, and what a registry that lists no referrers is owed.

use alloc::format;
use alloc::string::ToString as _;

use super::*;
use crate::manifest::media_type::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::task::{Put, Task};
use crate::tasks::testing::{
    STORE, Scenario, coded, found, got, got_as, image, layer, listed, loaded, reference, referrer,
    status, tags,
};

type TaskId = crate::task::TaskId;

/// A manifest that came from the store, and is put at `v1` and these tags.
fn putting(manifest: &Document, more: &[&str]) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(&[("image", manifest.digest())]);
    let id = start(&mut scenario, manifest, more);
    (scenario, id)
}

fn start(scenario: &mut Scenario, manifest: &Document, more: &[&str]) -> TaskId {
    let id = scenario.start(task(manifest, more));
    let load = scenario.named(&format!("s1 load {}", manifest.digest()));
    scenario.stored(&load, loaded(manifest));
    id
}

fn task(manifest: &Document, more: &[&str]) -> Task {
    let source = (STORE, manifest.digest().clone());
    let to = reference("reg.example/a:v1");
    Task::put_manifest(source, manifest.media_type().into(), to, tags(more))
}

/// A referrer that was put at a registry that did not say `OCI-Subject`.
fn unlisted() -> (Scenario, TaskId, Document) {
    let subject = image(&[]);
    let sbom = referrer(&subject, "application/spdx+json");
    let mut scenario = Scenario::new(&[("subject", subject.digest()), ("sbom", sbom.digest())]);
    let id = start(&mut scenario, &sbom, &[]);
    scenario.done("PUT manifests/v1", OpOutcome::Put { listed: false });
    (scenario, id, sbom)
}

fn report(scenario: &mut Scenario, id: TaskId) -> Put {
    scenario.report(id).put().expect("it was put")
}

/// RFR-01: a registry that says `OCI-Subject` lists the manifest itself.
#[test]
fn a_referrer_that_the_registry_lists_is_not_listed_at_a_tag() {
    let subject = image(&[]);
    let sbom = referrer(&subject, "application/spdx+json");
    let mut scenario = Scenario::new(&[("sbom", sbom.digest())]);
    let id = start(&mut scenario, &sbom, &[]);
    scenario.done("PUT manifests/v1", OpOutcome::Put { listed: true });
    let put = report(&mut scenario, id);
    assert_eq!((put.tags, put.unlisted), (tags(&["v1"]), None));
}

/// RFR-02, RFR-03: another one gets a list at the tag that is made of the subject's digest.
#[test]
fn a_referrer_that_the_registry_does_not_list_is_listed_at_a_tag() {
    let (mut scenario, id, sbom) = unlisted();
    scenario.failed("GET manifests/sha256-subject", status(404));
    // It is written on a condition that nothing meets, which this registry looks at, and then really.
    let test = "PUT manifests/sha256-subject if-match \"there is no such manifest\"";
    scenario.replied(test, 412);
    let write = "PUT manifests/sha256-subject if-none-match *";
    let list = scenario.sent(write);
    assert_eq!(listed(&list), [sbom.digest()]);
    let entries = referrers::entries(&list).expect("a list");
    let artifact_type = entries[0].artifact_type.as_deref();
    assert_eq!(artifact_type, Some("application/spdx+json"));
    scenario.done(write, OpOutcome::Put { listed: false });
    assert_eq!(report(&mut scenario, id).unlisted, None);
}

#[test]
fn a_manifest_without_a_subject_needs_no_list() {
    let (mut scenario, id) = putting(&image(&[]), &[]);
    scenario.done("PUT manifests/v1", OpOutcome::Put { listed: false });
    assert_eq!(report(&mut scenario, id).unlisted, None);
}

/// The manifest is there: what cannot be listed is told, and no failure.
#[test]
fn a_referrer_that_cannot_be_listed_is_reported() {
    for (error, kind) in [
        (status(403), ErrorKind::Auth),
        (status(400), ErrorKind::Refused),
        (status(500), ErrorKind::Refused),
    ] {
        let (mut scenario, id, sbom) = unlisted();
        scenario.failed("GET manifests/sha256-subject", error);
        let put = report(&mut scenario, id);
        let unlisted = put.unlisted.expect("it is not listed");
        assert_eq!((&unlisted.digest, unlisted.kind), (sbom.digest(), kind));
        let warnings = scenario.warnings();
        let expected = "sha256:sbom could not be added to the referrers of sha256:subject";
        assert!(
            matches!(&warnings[..], [one] if one.starts_with(expected)),
            "{warnings:?}"
        );
    }
}

/// PUSHM-09, PUSHM-10: tags go out with the manifest, ten at once. Those that the registry does not name were not
/// created, and are put one by one, as are all that follow.
#[test]
fn tags_that_the_registry_does_not_name_are_put_one_by_one() {
    let batch = "PUT manifests/sha256:image?tag=v1&tag=b&tag=c";
    for (named, one_by_one) in [
        (Some(&["v1", "b", "c"][..]), &[][..]),
        (Some(&["c", "v1"]), &["b"]),
        // It names what was not asked for.
        (Some(&["x"]), &["v1", "b", "c"]),
        (Some(&[]), &["v1", "b", "c"]),
        (None, &["v1", "b", "c"]),
    ] {
        let (mut scenario, id) = putting(&image(&[]), &["b", "c", "b"]);
        let named = named.map(|named| named.iter().map(|it| it.to_string()).collect());
        let outcome = OpOutcome::Tagged {
            listed: false,
            tags: named,
        };
        scenario.done(batch, outcome);
        for tag in one_by_one {
            let put = format!("PUT manifests/{tag}");
            assert_eq!(scenario.asked(), [put.as_str()]);
            scenario.done(&put, OpOutcome::Put { listed: false });
        }
        let mut put = report(&mut scenario, id).tags;
        put.sort();
        assert_eq!(put, tags(&["b", "c", "v1"]), "{one_by_one:?}");
    }
}

/// PUSHM-09: ten tags at once are what a registry should take.
#[test]
fn more_than_ten_tags_are_put_in_several_requests() {
    let more: Vec<String> = (0..11).map(|n| format!("t{n}")).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let (mut scenario, id) = putting(&image(&[]), &more);
    let asked = scenario.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].matches("tag=").count(), BATCH, "{asked:?}");
    let mut first = alloc::vec!["v1"];
    first.extend(&more[..9]);
    let named = |names: &[&str]| OpOutcome::Tagged {
        listed: false,
        tags: Some(names.iter().map(|it| it.to_string()).collect()),
    };
    scenario.done(&asked[0], named(&first));
    let rest = "PUT manifests/sha256:image?tag=t9&tag=t10";
    scenario.done(rest, named(&["t9", "t10"]));
    first.extend(["t9", "t10"]);
    assert_eq!(report(&mut scenario, id).tags, tags(&first));
}

/// PUSHM-11: put by a tag, it would get a sha256 digest, and be another manifest for a client that knows its digest.
#[test]
fn a_sha512_manifest_gets_no_tag_where_none_goes_with_a_digest() {
    let image = image(&[]);
    let digest = Digest::of(Algorithm::Sha512, image.bytes());
    let mut scenario = Scenario::new(&[("image", &digest)]);
    let (source, to) = ((STORE, digest), reference("reg.example/a:v1"));
    let task = Task::put_manifest(source, OCI_MANIFEST.into(), to, Vec::new());
    let id = scenario.start(task);
    scenario.stored("s1 load sha512:image", loaded(&image));
    let outcome = OpOutcome::Tagged {
        listed: false,
        tags: None,
    };
    scenario.done("PUT manifests/sha512:image?tag=v1", outcome);
    let error = scenario.error(id);
    assert!(matches!(error, Error::Policy { .. }), "{error:?}");
}

/// An error about a tag says which tags were created before.
#[test]
fn a_refused_tag_fails_the_task_and_is_named() {
    let (mut scenario, id) = putting(&image(&[]), &["b"]);
    let outcome = OpOutcome::Tagged {
        listed: false,
        tags: Some(alloc::vec!["v1".into()]),
    };
    scenario.done("PUT manifests/sha256:image?tag=v1&tag=b", outcome);
    scenario.failed("PUT manifests/b", coded(400, "TAG_INVALID"));
    let error = scenario.error(id);
    assert!(matches!(error, Error::Registry(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("tag b, after 1 others"), "{text}");
}

/// What a manifest refers to must be at the registry: a task that puts one manifest sends nothing else.
#[test]
fn a_manifest_whose_content_is_missing_is_refused() {
    let (mut scenario, id) = putting(&image(&[layer("layer")]), &[]);
    let refusal = coded(400, "MANIFEST_BLOB_UNKNOWN");
    scenario.done("PUT manifests/v1", OpOutcome::Childless(refusal));
    let error = scenario.error(id);
    assert!(matches!(error, Error::Registry(_)), "{error:?}");
}

/// A manifest of a store is put only if it is what it was said to be, and nothing is sent before.
#[test]
fn what_the_store_has_is_checked() {
    type Is = fn(&Error) -> bool;
    let image = image(&[]);
    let other = crate::tasks::testing::image(&[layer("other")]);
    let absent: Is = |error| {
        let Error::Store(error) = error else {
            return false;
        };
        error.kind() == StoreErrorKind::Absent
    };
    let mismatch: Is = |error| matches!(error, Error::Mismatch(_));
    let policy: Is = |error| matches!(error, Error::Policy { .. });
    let elsewhere = format!("reg.example/a@{}", other.digest());
    for (to, media_type, answer, is_expected) in [
        (
            "reg.example/a:v1",
            OCI_MANIFEST,
            StoreAnswer::Absent,
            absent,
        ),
        ("reg.example/a:v1", OCI_MANIFEST, loaded(&other), mismatch),
        (&elsewhere, OCI_MANIFEST, loaded(&image), mismatch),
        // PUSHM-02: it says itself that its type is another one.
        ("reg.example/a:v1", DOCKER_MANIFEST, loaded(&image), policy),
    ] {
        let mut scenario = Scenario::new(&[("image", image.digest())]);
        let source = (STORE, image.digest().clone());
        let task = Task::put_manifest(source, media_type.into(), reference(to), Vec::new());
        let id = scenario.start(task);
        scenario.stored("s1 load sha256:image", answer);
        assert_eq!(scenario.asked(), [""; 0]);
        let error = scenario.error(id);
        assert!(is_expected(&error), "{to} {media_type}: {error:?}");
    }
}

#[test]
fn a_store_that_fails_fails_the_task() {
    let image = image(&[]);
    let mut scenario = Scenario::new(&[("image", image.digest())]);
    let id = scenario.start(task(&image, &[]));
    scenario.store_failed("s1 load sha256:image", StoreErrorKind::Denied);
    let error = scenario.error(id);
    let is_denied = matches!(&error, Error::Store(it) if it.kind() == StoreErrorKind::Denied);
    assert!(is_denied, "{error:?}");
}

/// What has no media type is not sent as one: it would be a header of the caller's making.
#[test]
fn what_is_no_media_type_is_refused_before_the_store_is_asked() {
    let digest = Digest::of(Algorithm::Sha256, b"{}");
    let mut scenario = Scenario::new(&[]);
    let to = reference("reg.example/a:v1");
    let task = Task::put_manifest((STORE, digest), "a/b\r\nx: y".into(), to, Vec::new());
    let id = scenario.start(task);
    assert_eq!(scenario.asked(), [""; 0]);
    let error = scenario.error(id);
    assert!(matches!(error, Error::Policy { .. }), "{error:?}");
}

/// A further tag is put with the bytes that the registry has, and its own one not again.
#[test]
fn a_tag_is_added_with_what_the_registry_has() {
    let image = image(&[]);
    let mut scenario = Scenario::new(&[("image", image.digest())]);
    let id = scenario.start(Task::tag(reference("reg.example/a:v1"), tags(&["v2"])));
    scenario.done("GET manifests/v1", got(&image));
    assert_eq!(scenario.sent("PUT manifests/v2").bytes(), image.bytes());
    scenario.done("PUT manifests/v2", OpOutcome::Put { listed: false });
    assert_eq!(report(&mut scenario, id).tags, tags(&["v2"]));
}

/// PUSHM-15: what is at the tag decides whether the manifest is put in the place of another.
mod replacing {
    use super::*;

    /// The manifest to be put, the one that was read before, and one of another client.
    fn manifests() -> [Document; 3] {
        [
            image(&[layer("new")]),
            image(&[layer("old")]),
            image(&[layer("other")]),
        ]
    }

    fn looking([new, old, other]: &[Document; 3]) -> (Scenario, TaskId) {
        let names = [
            ("new", new.digest()),
            ("old", old.digest()),
            ("other", other.digest()),
        ];
        let mut scenario = Scenario::new(&names);
        let id = scenario.start(task(new, &[]).replacing(old.digest().clone()));
        scenario.stored("s1 load sha256:new", loaded(new));
        (scenario, id)
    }

    /// Which one was expected and which found, of a task that was too late.
    fn outdated(scenario: &mut Scenario, id: TaskId) -> (String, Option<String>) {
        let error = scenario.error(id);
        let Error::Outdated {
            expected, found, ..
        } = error
        else {
            panic!("{error:?}")
        };
        let named = |digest: &Digest| scenario.named(digest.as_str());
        (named(&expected), found.as_ref().map(named))
    }

    #[test]
    fn it_is_put_only_in_the_place_of_what_was_read() {
        let manifests = manifests();
        let [_, old, other] = &manifests;
        let (mut scenario, id) = looking(&manifests);
        scenario.done("GET manifests/v1", got(other));
        let found = Some("sha256:other".to_string());
        let expected = ("sha256:old".to_string(), found);
        assert_eq!(outdated(&mut scenario, id), expected);

        let (mut scenario, id) = looking(&manifests);
        scenario.failed("GET manifests/v1", status(404));
        let expected = ("sha256:old".to_string(), None);
        assert_eq!(outdated(&mut scenario, id), expected);

        let (mut scenario, id) = looking(&manifests);
        scenario.done("GET manifests/v1", got_as(old, Some("\"1\"")));
        let put = "PUT manifests/v1 if-match \"1\"";
        scenario.done(put, OpOutcome::Put { listed: false });
        // Another client has replaced it at once: the registry ignores conditions.
        scenario.done("GET manifests/v1", got(other));
        let found = Some("sha256:other".to_string());
        let expected = ("sha256:new".to_string(), found);
        assert_eq!(outdated(&mut scenario, id), expected);
    }

    /// A repository that does not exist is no change by another client.
    #[test]
    fn a_manifest_that_cannot_be_put_is_not_outdated() {
        let manifests = manifests();
        let (mut scenario, id) = looking(&manifests);
        scenario.done("GET manifests/v1", got_as(&manifests[1], None));
        scenario.failed("PUT manifests/v1", status(404));
        let error = scenario.error(id);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }

    #[test]
    fn it_is_over_when_the_tag_stands_for_it() {
        let manifests = manifests();
        let [new, old, _] = &manifests;
        let (mut scenario, id) = looking(&manifests);
        scenario.done("GET manifests/v1", got_as(old, None));
        scenario.done("PUT manifests/v1", OpOutcome::Put { listed: false });
        scenario.done("GET manifests/v1", got(new));
        assert_eq!(report(&mut scenario, id).tags, tags(&["v1"]));

        // Another client has put it already.
        let (mut scenario, id) = looking(&manifests);
        scenario.done("GET manifests/v1", got(new));
        assert_eq!(report(&mut scenario, id).tags, tags(&["v1"]));
    }

    /// A registry that refuses a condition that is true does not understand it.
    #[test]
    fn a_condition_that_is_not_understood_is_left_out() {
        let manifests = manifests();
        let [new, old, _] = &manifests;
        let (mut scenario, id) = looking(&manifests);
        scenario.done("GET manifests/v1", got_as(old, Some("\"1\"")));
        scenario.done("PUT manifests/v1 if-match \"1\"", OpOutcome::Outdated);
        scenario.done("GET manifests/v1", got_as(old, Some("\"1\"")));
        scenario.done("PUT manifests/v1", OpOutcome::Put { listed: false });
        scenario.done("GET manifests/v1", got(new));
        assert_eq!(report(&mut scenario, id).tags, tags(&["v1"]));
    }

    /// A registry that says that it took the manifest and still has the old one is not asked for ever.
    #[test]
    fn a_registry_that_does_not_keep_it_is_given_up() {
        let manifests = manifests();
        let old = &manifests[1];
        let (mut scenario, id) = looking(&manifests);
        for _ in 0..3 {
            scenario.done("GET manifests/v1", got(old));
            scenario.done("PUT manifests/v1", OpOutcome::Put { listed: false });
        }
        scenario.done("GET manifests/v1", got(old));
        let found = Some("sha256:old".to_string());
        let expected = ("sha256:new".to_string(), found);
        assert_eq!(outdated(&mut scenario, id), expected);
    }
}

/// An outcome of another operation is a defect of ours, and fails this task alone.
#[test]
fn an_outcome_that_was_not_asked_for_is_a_defect() {
    let image = image(&[]);
    let (mut scenario, id) = putting(&image, &[]);
    scenario.done("PUT manifests/v1", found(&image));
    assert_eq!(scenario.error(id).kind(), ErrorKind::Internal);
}
