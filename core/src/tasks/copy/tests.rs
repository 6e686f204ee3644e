//! What a copy asks for in which order. The destination is `reg.example/a` in most of these; the source is
//! `from.example/b` or a store.

use alloc::boxed::Box;
use alloc::string::ToString as _;

use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::ids::TaskId;
use crate::manifest::media_type::{OCI_CONFIG, OCI_MANIFEST};
use crate::op::ReferrersPage;
use crate::task::{Report, Task};
use crate::tasks::testing::{
    STORE, Scenario, blob, coded, document, entry, found, got, image, index, layer, listed, loaded,
    reference, referrer, status, tags,
};

const HEAD_TAG: &str = "HEAD manifests/v1";
const HEAD: &str = "HEAD manifests/sha256:image";
const PUT_TAG: &str = "PUT manifests/v1";
/// What the source's manifests begin with.
const FROM: &str = "https://from.example/v2/b";

fn name(document: &Document) -> [(&'static str, &Digest); 1] {
    [("image", document.digest())]
}

fn put() -> OpOutcome {
    OpOutcome::Put { listed: true }
}

/// A push of an image out of the store to `v1`, that was loaded.
fn pushing(root: &Document, names: &[(&'static str, &Digest)]) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(names);
    let to = reference("reg.example/a:v1");
    let task = Task::push(STORE, Some("v1".into()), to, Platforms::All);
    let id = scenario.start(task);
    found_in_store(&mut scenario, root);
    (scenario, id)
}

fn found_in_store(scenario: &mut Scenario, root: &Document) {
    scenario.stored("s1 find v1", StoreAnswer::Found(root.descriptor()));
    let load = scenario.named(&format!("s1 load {}", root.digest()));
    scenario.stored(&load, loaded(root));
}

/// A pull of `v1` into the store that has read its manifest.
fn pulling(
    root: &Document,
    platforms: Platforms,
    names: &[(&'static str, &Digest)],
) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(names);
    let from = reference("reg.example/a:v1");
    let id = scenario.start(Task::pull(from, STORE, Some("v1".into()), platforms));
    scenario.done("GET manifests/v1", got(root));
    (scenario, id)
}

/// A copy between registries that has read the source's manifest.
fn copying(root: &Document, carry: Carry, names: &[(&'static str, &Digest)]) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(names);
    let at = |place| TaskLocation::Registry(reference(place));
    let copy = CopyTask::new(at("from.example/b:v1"), at("reg.example/a:v1"));
    let id = scenario.start(Task::copy(copy.carry(carry)));
    scenario.done(&format!("GET {FROM}/manifests/v1"), got(root));
    (scenario, id)
}

/// The config and the layers of an image are there, or come.
fn settle(scenario: &mut Scenario, id: TaskId, image: &Document, delivery: Delivery) {
    for child in image.children() {
        scenario.settled(id, child.digest(), delivery);
    }
}

fn report(scenario: &mut Scenario, id: TaskId) -> Report {
    scenario.report(id).copied().expect("it was copied")
}

/// `exists`: what is asked of a destination, and what its answers spare.
mod exists {
    use super::*;

    /// The tag first: if it stands for the image, nothing is left to do. If the manifest is there by its digest, so is
    /// all that it needs (PUSHM-06), and only the tag is put.
    #[test]
    fn what_the_registry_has_is_not_sent() {
        let (image, other) = (image(&[layer("layer")]), image(&[layer("other")]));
        let nameless = || OpOutcome::Found {
            digest: None,
            size: None,
            media_type: None,
        };
        for (at_tag, at_digest, sends, puts) in [
            (found(&image), None, false, false),
            (found(&other), Some(found(&image)), false, true),
            (OpOutcome::Absent, Some(found(&image)), false, true),
            // It does not say what the tag stands for.
            (nameless(), Some(nameless()), false, true),
            (OpOutcome::Absent, Some(OpOutcome::Absent), true, true),
            // Something else is there under the image's digest.
            (OpOutcome::Absent, Some(found(&other)), true, true),
        ] {
            let (mut scenario, id) = pushing(&image, &name(&image));
            assert_eq!(scenario.asked(), [HEAD_TAG]);
            scenario.done(HEAD_TAG, at_tag);
            if let Some(at_digest) = at_digest {
                scenario.done(HEAD, at_digest);
            }
            assert_eq!(scenario.wanted().len(), if sends { 2 } else { 0 });
            if sends {
                assert_eq!(scenario.asked(), [""; 0]);
                settle(&mut scenario, id, &image, Delivery::Moved(1));
            }
            if puts {
                assert_eq!(scenario.sent(PUT_TAG).bytes(), image.bytes(), "PUSHM-16");
                scenario.done(PUT_TAG, put());
            }
            let report = report(&mut scenario, id);
            assert_eq!(report.tags, tags(&["v1"]));
            assert_eq!(report.moved, if sends { 2 } else { 0 });
        }
    }

    /// A destination without a tag has no name but the digest.
    #[test]
    fn a_destination_by_digest_gets_no_tag() {
        let image = image(&[layer("layer")]);
        let to = format!("reg.example/a@{}", image.digest());
        for is_there in [true, false] {
            let mut scenario = Scenario::new(&name(&image));
            let from = Some("v1".into());
            let id = scenario.start(Task::push(STORE, from, reference(&to), Platforms::All));
            found_in_store(&mut scenario, &image);
            assert_eq!(scenario.asked(), [HEAD]);
            if is_there {
                scenario.done(HEAD, found(&image));
            } else {
                scenario.done(HEAD, OpOutcome::Absent);
                settle(&mut scenario, id, &image, Delivery::Moved(1));
                scenario.done("PUT manifests/sha256:image", put());
            }
            assert_eq!(report(&mut scenario, id).tags, []);
        }
    }

    /// A destination that names another digest is not given this image.
    #[test]
    fn a_destination_of_another_digest_is_refused() {
        let (image, other) = (image(&[]), image(&[layer("other")]));
        let mut scenario = Scenario::new(&name(&image));
        let to = reference(&format!("reg.example/a@{}", other.digest()));
        let id = scenario.start(Task::push(STORE, Some("v1".into()), to, Platforms::All));
        found_in_store(&mut scenario, &image);
        assert_eq!(scenario.asked(), [""; 0]);
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }

    /// What comes from the same repository is there.
    #[test]
    fn within_a_repository_only_the_tag_is_put() {
        let image = image(&[layer("layer")]);
        let mut scenario = Scenario::new(&name(&image));
        let at = |place| TaskLocation::Registry(reference(place));
        let copy = CopyTask::new(at("reg.example/a:old"), at("reg.example/a:v1"));
        let id = scenario.start(Task::copy(copy));
        scenario.done("GET manifests/old", got(&image));
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        assert_eq!(scenario.wanted(), [""; 0]);
        scenario.done(PUT_TAG, put());
        report(&mut scenario, id);
    }

    /// Between registries, an image of an index that is there is not even read.
    #[test]
    fn a_child_that_is_there_is_not_read() {
        let child = image(&[layer("layer")]);
        let root = index(&[child.descriptor()]);
        let names = [("image", root.digest()), ("child", child.digest())];
        let (mut scenario, id) = copying(&root, Carry::NOTHING, &names);
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        scenario.done(HEAD, OpOutcome::Absent);
        scenario.done("HEAD manifests/sha256:child", found(&child));
        scenario.done(PUT_TAG, put());
        assert_eq!(report(&mut scenario, id).present, 0);
    }
}

/// `push`: the order in which both sides stay whole.
mod push {
    use super::*;

    /// PUSHM-06: a manifest is put when everything that it refers to is there, and children by their digests (PUSHM-05).
    #[test]
    fn blobs_then_images_then_the_index() {
        let child = image(&[layer("layer")]);
        let root = index(&[child.descriptor()]);
        let names = [("image", root.digest()), ("child", child.digest())];
        let (mut scenario, id) = pushing(&root, &names);
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        scenario.done(HEAD, OpOutcome::Absent);
        scenario.stored("s1 load sha256:child", loaded(&child));
        scenario.done("HEAD manifests/sha256:child", OpOutcome::Absent);
        scenario.settled(id, &layer("layer").digest, Delivery::Moved(5));
        // Its configuration is on its way.
        assert_eq!(scenario.asked(), [""; 0]);
        let config = child.config().expect("an image");
        scenario.settled(id, &config.digest, Delivery::Mounted);
        let put_child = "PUT manifests/sha256:child";
        assert_eq!(scenario.asked(), [put_child]);
        scenario.done(put_child, put());
        assert_eq!(scenario.asked(), [PUT_TAG]);
        scenario.done(PUT_TAG, put());
        let report = report(&mut scenario, id);
        assert_eq!((report.moved, report.mounted, report.bytes), (1, 1, 5));
    }

    /// The name comes last: an image that is not complete has none.
    #[test]
    fn a_store_gets_the_name_last() {
        let image = image(&[layer("layer")]);
        let (mut scenario, id) = pulling(&image, Platforms::All, &name(&image));
        assert_eq!(scenario.wanted().len(), 2);
        assert_eq!(scenario.asked(), [""; 0]);
        settle(&mut scenario, id, &image, Delivery::Moved(1));
        scenario.stored("s1 put sha256:image", StoreAnswer::Written);
        assert_eq!(scenario.asked(), ["s1 tag v1 sha256:image"]);
        scenario.stored("s1 tag v1 sha256:image", StoreAnswer::Written);
        assert_eq!(report(&mut scenario, id).root, image.descriptor());
    }

    #[test]
    fn a_store_that_cannot_write_fails_the_copy() {
        for step in ["s1 put sha256:image", "s1 tag v1 sha256:image"] {
            let image = image(&[]);
            let (mut scenario, id) = pulling(&image, Platforms::All, &name(&image));
            settle(&mut scenario, id, &image, Delivery::Moved(1));
            if scenario.asked() != [step] {
                scenario.stored("s1 put sha256:image", StoreAnswer::Written);
            }
            scenario.store_failed(step, StoreErrorKind::Full);
            let error = scenario.error(id);
            let is_full = matches!(&error, Error::Store(it) if it.kind() == StoreErrorKind::Full);
            assert!(is_full, "{error:?}");
        }
    }

    /// IDX-15: an image of another platform than the one wanted is taken, with a warning. That the configuration cannot
    /// be read is no failure: it was only to be compared.
    #[test]
    fn an_image_of_another_platform_is_taken_with_a_warning() {
        let arm = r#"{"os":"linux","architecture":"arm64"}"#;
        let amd = r#"{"os":"linux","architecture":"amd64"}"#;
        for (config, warnings) in [(Some(arm), 1), (Some(amd), 0), (Some("?"), 0), (None, 0)] {
            let descriptor = blob(OCI_CONFIG, config.unwrap_or(arm));
            let members = json!({"config": descriptor, "layers": []});
            let image = document(OCI_MANIFEST, members);
            let names = [("image", image.digest()), ("config", &descriptor.digest)];
            let wanted = Platforms::One("linux/amd64".parse().expect("a platform"));
            let (mut scenario, id) = pulling(&image, wanted, &names);
            settle(&mut scenario, id, &image, Delivery::Moved(1));
            scenario.stored("s1 put sha256:image", StoreAnswer::Written);
            let load = "s1 load sha256:config";
            match config {
                Some(config) => scenario.stored(load, StoreAnswer::Loaded(config.into())),
                None => scenario.store_failed(load, StoreErrorKind::Io),
            }
            scenario.stored("s1 tag v1 sha256:image", StoreAnswer::Written);
            assert_eq!(scenario.warnings().len(), warnings, "{config:?}");
            report(&mut scenario, id);
        }
    }
}

/// `fetch`: where manifests are read from, and that they are what their names say.
mod fetch {
    use super::*;

    /// A damaged copy at the destination is none: the manifest is read from the registry, and put over it.
    #[test]
    fn a_manifest_that_the_store_has_is_not_fetched() {
        let (image, other) = (image(&[]), image(&[layer("other")]));
        let named = format!("reg.example/a@{}", image.digest());
        for (answer, is_fetched) in [
            (loaded(&image), false),
            (loaded(&other), true),
            (StoreAnswer::Absent, true),
        ] {
            let mut scenario = Scenario::new(&name(&image));
            let task = Task::pull(reference(&named), STORE, None, Platforms::All);
            scenario.start(task);
            scenario.stored("s1 load sha256:image", answer);
            assert_eq!(
                scenario.asked() == ["GET manifests/sha256:image"],
                is_fetched
            );
        }
    }

    /// In the source a damaged manifest, or none, is an error.
    #[test]
    fn a_source_that_lacks_a_manifest_fails_the_copy() {
        type Is = fn(&Error) -> bool;
        let mismatch: Is = |error| matches!(error, Error::Mismatch(_));
        let absent: Is =
            |error| matches!(error, Error::Store(it) if it.kind() == StoreErrorKind::Absent);
        let (image, other) = (image(&[]), image(&[layer("other")]));
        for (answer, is_expected) in [(loaded(&other), mismatch), (StoreAnswer::Absent, absent)] {
            let mut scenario = Scenario::new(&name(&image));
            let to = reference("reg.example/a:v1");
            let from = Some("v1".into());
            let id = scenario.start(Task::push(STORE, from, to, Platforms::All));
            scenario.stored("s1 find v1", StoreAnswer::Found(image.descriptor()));
            scenario.stored("s1 load sha256:image", answer);
            let error = scenario.error(id);
            assert!(is_expected(&error), "{error:?}");
        }
    }

    /// A name may stand for an image for each of several platforms: the one that is wanted is taken if nothing else
    /// could be meant.
    #[test]
    fn one_of_several_entries_of_a_name_is_chosen_by_the_platform() {
        let (image, other) = (image(&[]), image(&[layer("other")]));
        let amd = entry(&image, "linux/amd64");
        let (arm, rival) = (entry(&other, "linux/arm64"), entry(&other, "linux/amd64"));
        let wanted = Platforms::One("linux/amd64".parse().expect("a platform"));
        for (entries, platforms, is_chosen) in [
            (alloc::vec![arm.clone(), amd.clone()], &wanted, true),
            (alloc::vec![rival, amd.clone()], &wanted, false),
            (alloc::vec![arm, amd], &Platforms::All, false),
        ] {
            let mut scenario = Scenario::new(&name(&image));
            let to = reference("reg.example/a:v1");
            let from = Some("v1".into());
            let id = scenario.start(Task::push(STORE, from, to, platforms.clone()));
            scenario.stored("s1 find v1", StoreAnswer::Several(entries));
            if is_chosen {
                assert_eq!(scenario.asked(), ["s1 load sha256:image"]);
                continue;
            }
            let error = scenario.error(id);
            let is_ambiguous =
                matches!(&error, Error::Store(it) if it.kind() == StoreErrorKind::Ambiguous);
            assert!(is_ambiguous, "{error:?}");
        }
    }
}

/// `children`: all that a manifest points to, once.
mod children {
    use super::*;

    #[test]
    fn what_two_images_share_is_moved_once() {
        let one = image(&[layer("shared"), layer("one")]);
        let other = image(&[layer("shared"), layer("other")]);
        let root = index(&[one.descriptor(), other.descriptor()]);
        let names = [
            ("one", one.digest()),
            ("other", other.digest()),
            ("shared", &layer("shared").digest),
        ];
        let (mut scenario, _) = pulling(&root, Platforms::All, &names);
        for child in [("one", &one), ("other", &other)] {
            let (name, document) = child;
            scenario.stored(&format!("s1 load sha256:{name}"), StoreAnswer::Absent);
            scenario.done(&format!("GET manifests/sha256:{name}"), got(document));
        }
        let wanted = scenario.wanted();
        assert_eq!(wanted.len(), 5, "{wanted:?}");
        let shared = wanted.iter().filter(|it| it.ends_with("shared")).count();
        assert_eq!(shared, 1);
    }

    /// PULLM-18, PULLB-10: content that came with its descriptor, or is known, is written and not asked for. A registry is
    /// given it like all other.
    #[test]
    fn an_embedded_blob_is_not_fetched() {
        let config = blob(OCI_CONFIG, "{}");
        let image = document(OCI_MANIFEST, json!({"config": config, "layers": []}));
        let names = [("image", image.digest()), ("config", &config.digest)];
        let (mut scenario, id) = pulling(&image, Platforms::All, &names);
        assert_eq!(scenario.wanted(), [""; 0]);
        scenario.stored("s1 put sha256:config", StoreAnswer::Written);
        scenario.stored("s1 put sha256:image", StoreAnswer::Written);
        scenario.stored("s1 tag v1 sha256:image", StoreAnswer::Written);
        assert_eq!(report(&mut scenario, id).present, 1);

        let (mut scenario, _) = pushing(&image, &names);
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        scenario.done(HEAD, OpOutcome::Absent);
        assert_eq!(scenario.wanted().len(), 1);
    }

    /// PUSHM-06, PULLB-07: foreign layers are left out and listed, unless they are asked for.
    #[test]
    fn foreign_layers_are_left_out_unless_they_are_wanted() {
        let mut foreign = layer("foreign");
        foreign.urls = alloc::vec!["https://cdn.example/foreign".into()];
        let image = image(&[foreign.clone()]);
        for is_included in [false, true] {
            let mut scenario = Scenario::new(&name(&image));
            let from = reference("reg.example/a:v1");
            let mut task = Task::pull(from, STORE, Some("v1".into()), Platforms::All);
            if is_included {
                task = task.including_nondistributable();
            }
            let id = scenario.start(task);
            scenario.done("GET manifests/v1", got(&image));
            assert_eq!(scenario.wanted().len(), 1 + usize::from(is_included));
            let config = image.config().expect("an image");
            scenario.settled(id, &config.digest, Delivery::Moved(1));
            if is_included {
                scenario.settled(id, &foreign.digest, Delivery::Moved(1));
            }
            scenario.stored("s1 put sha256:image", StoreAnswer::Written);
            scenario.stored("s1 tag v1 sha256:image", StoreAnswer::Written);
            assert_eq!(report(&mut scenario, id).left_out, u64::from(!is_included));
        }
    }

    /// PUSHM-13: a registry that misses something below a manifest gets everything checked again; what it said that it
    /// has is sent then, and a registry that still misses something has had it all.
    #[test]
    fn what_a_registry_misses_is_sent_again_and_not_for_ever() {
        for (delivery, puts) in [
            // It took the bytes, and they are gone: to send them a second time is no use.
            (Delivery::Moved(1), 2),
            (Delivery::Present, 3),
            (Delivery::Mounted, 3),
        ] {
            let image = image(&[layer("layer")]);
            let (mut scenario, id) = pushing(&image, &name(&image));
            scenario.done(HEAD_TAG, OpOutcome::Absent);
            scenario.done(HEAD, OpOutcome::Absent);
            let refusal = || coded(400, "MANIFEST_BLOB_UNKNOWN");
            for n in 1..=puts {
                assert!(!scenario.is_over(id), "{delivery:?}: {n}");
                settle(&mut scenario, id, &image, delivery);
                scenario.done(PUT_TAG, OpOutcome::Childless(refusal()));
                let sending = scenario.warnings();
                assert_eq!(sending.len(), usize::from(n < puts), "{sending:?}");
            }
            assert_eq!(scenario.error(id), refusal());
        }
    }

    #[test]
    fn what_cannot_be_copied_is_refused_before_it_is_moved() {
        let mut unknown = layer("layer");
        unknown.digest = "x:0123".parse().expect("a digest");
        let image = image(&[unknown]);
        let (mut scenario, id) = pulling(&image, Platforms::All, &[]);
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }

    /// What a registry can make a session hold is bounded.
    #[test]
    fn an_image_has_no_more_parts_than_the_limit() {
        let layers: Vec<Descriptor> = (0..4).map(|n| layer(&format!("{n}"))).collect();
        // The manifest, its configuration and the layers.
        for (most, is_refused) in [(6, false), (5, true)] {
            let mut config = crate::Config::default();
            config.limits.objects = most;
            let mut scenario = Scenario::configured(&[], config);
            let from = reference("reg.example/a:v1");
            let id = scenario.start(Task::pull(from, STORE, None, Platforms::All));
            scenario.done("GET manifests/v1", got(&image(&layers)));
            assert_eq!(scenario.is_over(id), is_refused);
            if is_refused {
                let error = scenario.error(id);
                assert!(matches!(error, Error::Policy { .. }), "{error:?}");
            }
        }
    }

    #[test]
    fn indexes_are_not_nested_deeper_than_the_limit() {
        let mut config = crate::Config::default();
        config.limits.depth = 1;
        let inner = index(&[image(&[]).descriptor()]);
        let outer = index(&[inner.descriptor()]);
        let mut scenario = Scenario::configured(&[("inner", inner.digest())], config);
        let from = reference("reg.example/a:v1");
        let id = scenario.start(Task::pull(from, STORE, None, Platforms::All));
        scenario.done("GET manifests/v1", got(&outer));
        scenario.stored("s1 load sha256:inner", loaded(&inner));
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }
}

/// `elsewhere`: what a store lacks is had from where the image comes from, once.
#[test]
fn a_blob_that_a_store_lacks_is_had_from_elsewhere() {
    let image = image(&[layer("layer")]);
    let digest = layer("layer").digest;
    let lacking = |from: Option<&str>| {
        let mut scenario = Scenario::new(&name(&image));
        let to = reference("reg.example/a:v1");
        let mut task = Task::push(STORE, Some("v1".into()), to, Platforms::All);
        if let Some(from) = from {
            task = task.missing_from(reference(from));
        }
        let id = scenario.start(task);
        found_in_store(&mut scenario, &image);
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        scenario.done(HEAD, OpOutcome::Absent);
        let absent = StoreError::new(StoreErrorKind::Absent, "it is not there");
        scenario.lost(id, &digest, Error::Store(absent.clone()));
        (scenario, id, absent)
    };
    let (mut scenario, id, _) = lacking(Some("from.example/b"));
    assert!(!scenario.is_over(id));
    settle(&mut scenario, id, &image, Delivery::Moved(1));
    scenario.done(PUT_TAG, put());
    assert_eq!(report(&mut scenario, id).moved, 2);

    // It is not there either.
    let (mut scenario, id, absent) = lacking(Some("from.example/b"));
    scenario.lost(id, &digest, Error::Store(absent));
    assert_absent(&scenario.error(id));
    let (mut scenario, id, _) = lacking(None);
    assert_absent(&scenario.error(id));
}

fn assert_absent(error: &Error) {
    let is_absent = matches!(error, Error::Store(it) if it.kind() == StoreErrorKind::Absent);
    let text = error.to_string();
    assert!(is_absent && text.contains("image `v1`"), "{text}");
}

/// Only what a store lacks is looked for elsewhere: any other failure of a blob is one of the copy.
#[test]
fn a_blob_that_cannot_be_moved_fails_the_copy() {
    let image = image(&[layer("layer")]);
    let (mut scenario, id) = pulling(&image, Platforms::All, &name(&image));
    scenario.lost(id, &layer("layer").digest, status(404));
    assert_eq!(scenario.error(id), status(404));
}

/// `sparse`: some platforms of an index, and the index as it is (IDX-20).
mod sparse {
    use super::*;

    struct Images {
        amd: Document,
        arm: Document,
        /// What is about the image for amd64.
        attestation: Document,
        root: Document,
    }

    impl Images {
        fn new() -> Self {
            let (amd, arm) = (image(&[layer("amd")]), image(&[layer("arm")]));
            let attestation = image(&[layer("attestation")]);
            let mut about = entry(&attestation, "unknown/unknown");
            let key = "vnd.docker.reference.digest".into();
            about.annotations.insert(key, amd.digest().to_string());
            let root = index(&[
                entry(&amd, "linux/amd64"),
                entry(&arm, "linux/arm64"),
                about,
            ]);
            Self {
                amd,
                arm,
                attestation,
                root,
            }
        }

        fn pushing(&self, platform: &str) -> (Scenario, TaskId) {
            let mut scenario = Scenario::new(&[
                ("amd", self.amd.digest()),
                ("arm", self.arm.digest()),
                ("attestation", self.attestation.digest()),
                ("image", self.root.digest()),
            ]);
            let platforms = Platforms::Several(alloc::vec![platform.parse().expect("a platform")]);
            let to = reference("reg.example/a:v1");
            let id = scenario.start(Task::push(STORE, Some("v1".into()), to, platforms));
            found_in_store(&mut scenario, &self.root);
            (scenario, id)
        }
    }

    /// IDX-13: what is about an image goes with it.
    #[test]
    fn entries_that_are_wanted_and_what_is_about_them_are_copied() {
        let all = Images::new();
        for (platform, children, absent) in [
            (
                "linux/amd64",
                &[("amd", &all.amd), ("attestation", &all.attestation)][..],
                1,
            ),
            ("linux/arm64", &[("arm", &all.arm)], 2),
        ] {
            let (mut scenario, id) = all.pushing(platform);
            scenario.done(HEAD_TAG, OpOutcome::Absent);
            scenario.done(HEAD, OpOutcome::Absent);
            let loads = children
                .iter()
                .map(|(it, _)| format!("s1 load sha256:{it}"));
            assert_eq!(scenario.asked(), loads.collect::<Vec<_>>());
            for (name, child) in children {
                scenario.stored(&format!("s1 load sha256:{name}"), loaded(child));
                scenario.done(&format!("HEAD manifests/sha256:{name}"), found(child));
            }
            assert_eq!(scenario.sent(PUT_TAG).bytes(), all.root.bytes());
            scenario.done(PUT_TAG, put());
            assert_eq!(report(&mut scenario, id).absent, absent);
        }
    }

    /// IDX-17.
    #[test]
    fn a_platform_that_the_index_lacks_fails_the_copy_before_it_begins() {
        let all = Images::new();
        let (mut scenario, id) = all.pushing("linux/s390x");
        assert_eq!(scenario.asked(), [""; 0]);
        let error = scenario.error(id);
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    }

    /// Another copy may have chosen other entries: that the index is there says nothing of these.
    #[test]
    fn an_index_that_is_there_may_lack_what_is_wanted() {
        let all = Images::new();
        let (mut scenario, id) = all.pushing("linux/arm64");
        scenario.done(HEAD_TAG, found(&all.root));
        scenario.stored("s1 load sha256:arm", loaded(&all.arm));
        scenario.done("HEAD manifests/sha256:arm", OpOutcome::Absent);
        settle(&mut scenario, id, &all.arm, Delivery::Moved(1));
        scenario.done("PUT manifests/sha256:arm", put());
        // The tag stands for it already.
        assert_eq!(report(&mut scenario, id).moved, 2);
    }
}

/// `tags`: further tags of an image that was put by its own.
mod further_tags {
    use super::*;

    fn tagging() -> (Scenario, TaskId) {
        let image = image(&[]);
        let mut scenario = Scenario::new(&name(&image));
        let to = reference("reg.example/a:v1");
        let task = Task::push(STORE, Some("v1".into()), to, Platforms::All);
        let id = scenario.start(task.and_tags(tags(&["b", "v1", "c"])));
        found_in_store(&mut scenario, &image);
        scenario.done(HEAD_TAG, found(&image));
        (scenario, id)
    }

    const BATCH: &str = "PUT manifests/sha256:image?tag=b&tag=c";

    /// PUSHM-09, PUSHM-10: in one request, and one by one those that the registry does not name.
    #[test]
    fn they_are_put_at_once_where_the_registry_takes_that() {
        for (named, one_by_one) in [
            (Some(&["b", "c"][..]), &[][..]),
            (Some(&["c"]), &["b"]),
            (None, &["b", "c"]),
        ] {
            let (mut scenario, id) = tagging();
            let named = named.map(|named| named.iter().map(|it| it.to_string()).collect());
            let outcome = OpOutcome::Tagged {
                listed: false,
                tags: named,
            };
            scenario.done(BATCH, outcome);
            for tag in one_by_one {
                scenario.done(&format!("PUT manifests/{tag}"), put());
            }
            assert_eq!(report(&mut scenario, id).tags, tags(&["v1", "b", "c"]));
        }
    }

    /// Which tags are in place is not lost with the error.
    #[test]
    fn a_refused_tag_is_named_with_those_that_are_in_place() {
        let (mut scenario, id) = tagging();
        let outcome = OpOutcome::Tagged {
            listed: false,
            tags: Some(alloc::vec!["b".into()]),
        };
        scenario.done(BATCH, outcome);
        scenario.failed("PUT manifests/c", coded(400, "TAG_INVALID"));
        let error = scenario.error(id);
        assert_eq!(error.kind(), ErrorKind::Refused);
        let text = error.to_string();
        assert!(text.contains("tag c; in place: v1, b"), "{text}");
    }
}

/// `referrers_tag`, RFR-02: an image that refers to another one is listed there, and if that is not possible, it is
/// told. The image is there.
#[test]
fn an_image_with_a_subject_is_listed() {
    let subject = image(&[layer("subject")]);
    let sbom = referrer(&subject, "a/sbom");
    for is_listed in [true, false] {
        let names = [("image", sbom.digest()), ("subject", subject.digest())];
        let (mut scenario, id) = pushing(&sbom, &names);
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        scenario.done(HEAD, OpOutcome::Absent);
        settle(&mut scenario, id, &sbom, Delivery::Present);
        scenario.done(PUT_TAG, OpOutcome::Put { listed: false });
        let read = "GET manifests/sha256-subject";
        if is_listed {
            scenario.done(read, got(&index(&[sbom.descriptor()])));
        } else {
            scenario.failed(read, status(403));
        }
        let unlisted = report(&mut scenario, id).unlisted;
        let kinds: Vec<ErrorKind> = unlisted.iter().map(|it| it.kind).collect();
        assert_eq!(
            kinds,
            if is_listed {
                &[][..]
            } else {
                &[ErrorKind::Auth]
            }
        );
    }
}

/// `carry` and `companion`: what belongs to the image without being a part of it.
mod carry {
    use super::*;
    use crate::task::Carried;

    struct Manifests {
        image: Document,
        sbom: Document,
        signature: Document,
    }

    impl Manifests {
        fn new() -> Self {
            let image = image(&[layer("layer")]);
            Self {
                sbom: referrer(&image, "a/sbom"),
                signature: referrer(&image, "a/signature"),
                image,
            }
        }

        /// A copy of an image that is put, by its digest: its tag comes last.
        fn carrying(&self, carry: Carry) -> (Scenario, TaskId) {
            let names = [
                ("image", self.image.digest()),
                ("sbom", self.sbom.digest()),
                ("signature", self.signature.digest()),
            ];
            let (mut scenario, id) = copying(&self.image, carry, &names);
            scenario.done(HEAD_TAG, OpOutcome::Absent);
            scenario.done(HEAD, OpOutcome::Absent);
            settle(&mut scenario, id, &self.image, Delivery::Moved(1));
            scenario.done("PUT manifests/sha256:image", put());
            (scenario, id)
        }
    }

    fn lists(of: &str, entries: &[&Document]) -> (String, OpOutcome) {
        let entries: Vec<Descriptor> = entries.iter().map(|it| it.descriptor()).collect();
        let page = ReferrersPage {
            document: Box::new(index(&entries)),
            next: None,
        };
        let what = format!("GET {FROM}/referrers/sha256:{of}");
        (what, OpOutcome::Referrers(Box::new(page)))
    }

    fn list(scenario: &mut Scenario, of: &str, entries: &[&Document]) {
        let (what, outcome) = lists(of, entries);
        scenario.done(&what, outcome);
    }

    fn get(of: &str) -> String {
        format!("GET {FROM}/manifests/sha256:{of}")
    }

    /// The companion is read, is not at the destination, and is put there.
    fn copy(scenario: &mut Scenario, id: TaskId, of: &str, document: &Document, listed: bool) {
        scenario.done(&get(of), got(document));
        scenario.done(&format!("HEAD manifests/sha256:{of}"), OpOutcome::Absent);
        settle(scenario, id, document, Delivery::Present);
        let outcome = OpOutcome::Put { listed };
        scenario.done(&format!("PUT manifests/sha256:{of}"), outcome);
    }

    fn tagged(scenario: &mut Scenario, id: TaskId) -> Carried {
        assert_eq!(scenario.asked(), [PUT_TAG]);
        scenario.done(PUT_TAG, put());
        let report = report(scenario, id);
        assert_eq!(report.tags, tags(&["v1"]));
        report.carried.expect("something was to be carried")
    }

    /// Who finds the image by its tag finds its signatures, too.
    #[test]
    fn the_image_gets_its_tag_when_its_referrers_are_there() {
        let all = Manifests::new();
        let (mut scenario, id) = all.carrying(Carry::referrers());
        list(&mut scenario, "image", &[&all.sbom]);
        copy(&mut scenario, id, "sbom", &all.sbom, true);
        // RFR-17: there may be referrers of referrers.
        list(&mut scenario, "sbom", &[]);
        let carried = tagged(&mut scenario, id);
        assert_eq!((carried.copied, carried.failed), (1, 0));
    }

    /// RFR-02: where the registry lists none, all of them get into the list by one write.
    #[test]
    fn referrers_that_are_not_listed_are_listed_together() {
        let all = Manifests::new();
        let (mut scenario, id) = all.carrying(Carry::referrers());
        list(&mut scenario, "image", &[&all.sbom, &all.signature]);
        copy(&mut scenario, id, "sbom", &all.sbom, false);
        list(&mut scenario, "sbom", &[]);
        copy(&mut scenario, id, "signature", &all.signature, false);
        list(&mut scenario, "signature", &[]);
        scenario.done("GET manifests/sha256-image", got(&index(&[])));
        let write = "PUT manifests/sha256-image";
        let written = scenario.sent(write);
        let expected = [all.sbom.digest(), all.signature.digest()];
        assert_eq!(listed(&written), expected);
        scenario.replied(write, 201);
        scenario.passes(crate::Config::default().settle);
        scenario.done("GET manifests/sha256-image", got(&written));
        assert_eq!(tagged(&mut scenario, id).copied, 2);
    }

    /// One that cannot be copied is told of, and is no failure: the image and the others are copied.
    #[test]
    fn a_referrer_that_cannot_be_copied_does_not_fail_the_copy() {
        let all = Manifests::new();
        // RFR-12: a list may say anything.
        let liar = referrer(&all.sbom, "a/sbom");
        let (mut scenario, id) = all.carrying(Carry::referrers());
        list(&mut scenario, "image", &[&liar, &all.signature]);
        let get_liar = format!("GET {FROM}/manifests/{}", liar.digest());
        scenario.done(&get_liar, got(&liar));
        copy(&mut scenario, id, "signature", &all.signature, true);
        list(&mut scenario, "signature", &[]);
        let carried = tagged(&mut scenario, id);
        assert_eq!((carried.copied, carried.failed), (1, 1));
        let missed = &carried.not_carried[0];
        assert_eq!(missed.kind, ErrorKind::Refused);
        assert_eq!(missed.digest.as_ref(), Some(liar.digest()));

        for (error, kind) in [
            (status(404), ErrorKind::NotFound),
            (status(403), ErrorKind::Auth),
        ] {
            // Its manifest, or a blob of it.
            for at in ["manifest", "blob"] {
                let (mut scenario, id) = all.carrying(Carry::referrers());
                list(&mut scenario, "image", &[&all.sbom]);
                if at == "manifest" {
                    scenario.failed(&get("sbom"), error.clone());
                } else {
                    scenario.done(&get("sbom"), got(&all.sbom));
                    scenario.done("HEAD manifests/sha256:sbom", OpOutcome::Absent);
                    let config = all.sbom.config().expect("an image");
                    scenario.lost(id, &config.digest, error.clone());
                }
                let carried = tagged(&mut scenario, id);
                assert_eq!(carried.not_carried[0].kind, kind, "{at}");
                assert_eq!(scenario.warnings().len(), 1);
            }
        }
    }

    /// That nothing belongs to an image is not what a list says that cannot be read.
    #[test]
    fn a_list_that_cannot_be_read_is_told() {
        let all = Manifests::new();
        let (mut scenario, id) = all.carrying(Carry::referrers());
        scenario.failed(&lists("image", &[]).0, status(403));
        let carried = tagged(&mut scenario, id);
        assert_eq!(carried.not_carried[0].kind, ErrorKind::Auth);
        assert_eq!(carried.not_carried[0].digest, None);
    }

    /// What concerns more than one manifest is a failure of the copy.
    #[test]
    fn a_deadline_is_not_one_of_a_referrer() {
        let all = Manifests::new();
        let (mut scenario, id) = all.carrying(Carry::referrers());
        list(&mut scenario, "image", &[&all.sbom]);
        scenario.failed(&get("sbom"), Error::Deadline);
        assert_eq!(scenario.error(id), Error::Deadline);
    }

    /// RFR-16: of a referrer's type, its manifest decides.
    #[test]
    fn referrers_of_other_types_are_left_alone() {
        let all = Manifests::new();
        let mut carry = Carry::referrers();
        carry.artifact_types = alloc::vec!["a/sbom".into(), "a/other".into()];
        let (mut scenario, id) = all.carrying(carry);
        list(&mut scenario, "image", &[&all.sbom, &all.signature]);
        scenario.done(&get("signature"), got(&all.signature));
        copy(&mut scenario, id, "sbom", &all.sbom, true);
        list(&mut scenario, "sbom", &[]);
        let carried = tagged(&mut scenario, id);
        assert_eq!((carried.copied, carried.failed), (1, 0));
    }

    /// There need not be anything at the tags that cosign uses. What is there gets the same tag.
    #[test]
    fn what_cosign_keeps_at_tags_is_copied_to_the_same_tags() {
        let all = Manifests::new();
        let mut carry = Carry::NOTHING;
        carry.digest_tags = true;
        let (mut scenario, id) = all.carrying(carry);
        let at = |suffix: &str| format!("GET {FROM}/manifests/sha256-image.{suffix}");
        scenario.failed(&at("att"), status(404));
        scenario.failed(&at("sbom"), status(403));
        let signature = image(&[layer("signature")]);
        scenario.done(&at("sig"), got(&signature));
        scenario.done("HEAD manifests/sha256-image.sig", OpOutcome::Absent);
        let head = format!("HEAD manifests/{}", signature.digest());
        scenario.done(&head, OpOutcome::Absent);
        settle(&mut scenario, id, &signature, Delivery::Moved(1));
        scenario.done("PUT manifests/sha256-image.sig", put());
        // It may have some of its own.
        for asked in scenario.asked() {
            scenario.failed(&asked, status(404));
        }
        let carried = tagged(&mut scenario, id);
        assert_eq!((carried.copied, carried.failed), (1, 1));
        assert_eq!(carried.not_carried[0].kind, ErrorKind::Auth);
    }

    /// A store keeps the list itself. That it cannot be changed is told, unless nothing can be written any more.
    #[test]
    fn a_store_lists_the_referrers_that_it_is_given() {
        let all = Manifests::new();
        let names = [("image", all.image.digest()), ("sbom", all.sbom.digest())];
        let add = "s1 add referrers sha256:image: sha256:sbom";
        for (error, failed) in [
            (None, Some(0)),
            (Some(StoreErrorKind::Damaged), Some(1)),
            (Some(StoreErrorKind::Full), None),
        ] {
            let mut scenario = Scenario::new(&names);
            let from = TaskLocation::Registry(reference("reg.example/a:v1"));
            let to = TaskLocation::Store {
                store: STORE,
                name: Some("v1".into()),
            };
            let copy = CopyTask::new(from, to).carry(Carry::referrers());
            let id = scenario.start(Task::copy(copy));
            scenario.done("GET manifests/v1", got(&all.image));
            settle(&mut scenario, id, &all.image, Delivery::Moved(1));
            scenario.stored("s1 put sha256:image", StoreAnswer::Written);
            let (_, outcome) = lists("image", &[&all.sbom]);
            scenario.done("GET referrers/sha256:image", outcome);
            scenario.stored("s1 load sha256:sbom", loaded(&all.sbom));
            settle(&mut scenario, id, &all.sbom, Delivery::Moved(1));
            scenario.stored("s1 put sha256:sbom", StoreAnswer::Written);
            let (_, outcome) = lists("sbom", &[]);
            scenario.done("GET referrers/sha256:sbom", outcome);
            match error {
                Some(kind) => scenario.store_failed(add, kind),
                None => scenario.stored(add, StoreAnswer::Written),
            }
            let Some(failed) = failed else {
                let error = scenario.error(id);
                assert!(matches!(error, Error::Store(_)), "{error:?}");
                continue;
            };
            scenario.stored("s1 tag v1 sha256:image", StoreAnswer::Written);
            let carried = report(&mut scenario, id).carried.expect("it carries");
            assert_eq!((carried.copied, carried.failed), (1, failed));
        }
    }

    /// A store is asked for its own list.
    #[test]
    fn a_store_that_cannot_list_referrers_is_told() {
        let all = Manifests::new();
        let mut scenario = Scenario::new(&name(&all.image));
        let from = TaskLocation::Store {
            store: STORE,
            name: Some("v1".into()),
        };
        let to = TaskLocation::Registry(reference("reg.example/a:v1"));
        let copy = CopyTask::new(from, to).carry(Carry::referrers());
        let id = scenario.start(Task::copy(copy));
        found_in_store(&mut scenario, &all.image);
        scenario.done(HEAD_TAG, OpOutcome::Absent);
        scenario.done(HEAD, found(&all.image));
        scenario.store_failed("s1 referrers sha256:image", StoreErrorKind::Damaged);
        let carried = tagged(&mut scenario, id);
        assert_eq!(carried.not_carried[0].kind, ErrorKind::Mismatch);
    }
}
