//! Artifacts through both clients: pushed, attached, listed at their subject, and pulled into a folder.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use windlass_core::artifact::TITLE;
use windlass_core::manifest::EMPTY_CONTENT;
use windlass_core::reference::Tag;
use windlass_core::{Digest, ErrorKind, Platform, Reference, ReferrersSource};
use windlass_driver::{
    Artifact, Attach, CancelHandle, Part, PullArtifact, PulledArtifact, PushArtifact, RequestSpec,
    SIDE_BY_SIDE,
};
use windlass_testbed::{Entry, Image, Model, Options, Server, image, image_for, index};
use windlass_tests::drivers::{Ask, Driver, Setup, Ways};
use windlass_tests::hostile::{Hostile, Reply};
use windlass_tests::world::scenes::{digest, reference, with_manifest};
use windlass_tests::{files_below, through_both};

through_both!(
    an_artifact_comes_back_as_it_was,
    an_artifact_under_several_tags,
    what_is_attached_is_listed,
    attached_to_one_platform,
    what_is_no_artifact_is_not_sent,
    a_file_that_changed,
    names_that_lead_elsewhere,
    a_damaged_part,
    a_pull_goes_on_where_it_failed,
    a_procedure_that_is_ended,
    parts_go_side_by_side,
);

fn registry(options: Options) -> (Server, Reference) {
    let server = Server::start(Model::new(options)).unwrap();
    let at = reference(&format!("{}/team/app:v1", server.host()));
    (server, at)
}

fn follow<D: Driver>(client: &D, at: &Reference, folder: &Path) -> PulledArtifact {
    let pull = PullArtifact::new(at, folder);
    client.follow(pull, Ways::default()).unwrap()
}

fn an_artifact_comes_back_as_it_was<D: Driver>() {
    let (server, at) = registry(Options::default());
    let client = D::new(&Setup::new());
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    let path = folder.path().join("large.bin");
    fs::write(&path, &large).unwrap();
    let artifact = || {
        Artifact::new("application/vnd.x")
            .config(Part::new(
                "application/vnd.x.config+json",
                &br#"{"a":1}"#[..],
            ))
            .layer(Part::file(&path, "application/octet-stream").unwrap())
            .layer(Part::new("text/plain", &b"read me"[..]).title("docs/README"))
            .layer(
                Part::new("text/plain", &b"read me"[..])
                    .title("README")
                    .annotation("a", "b"),
            )
            .layer(Part::new("text/plain", &b"nameless"[..]))
            .annotation("org.example.of", "windlass")
    };
    let put = client.follow(PushArtifact::new(&at, artifact()), Ways::default());
    let put = put.unwrap();
    let manifest = artifact().manifest().unwrap();
    assert_eq!(put.descriptor.digest, digest(&manifest));
    server.with_model(|model| {
        let there = model.tag("team/app", "v1").unwrap().clone();
        assert_eq!(
            model.manifest_bytes("team/app", &there).unwrap().1[..],
            manifest[..]
        );
        assert_eq!(model.blob_digests("team/app").len(), 4, "each blob once");
    });
    let mut lines = server.requests().into_iter().map(|entry| entry.line());
    let last = lines.next_back().unwrap();
    assert!(
        last.contains("PUT /v2/team/app/manifests/v1"),
        "the manifest last: {last}"
    );

    let into = folder.path().join("out");
    let pulled = follow(&client, &at, &into);
    assert_eq!(pulled.manifest.bytes[..], manifest[..]);
    let names: Vec<&str> = pulled.files.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["large.bin", "docs/README", "README"]);
    assert_eq!((pulled.untitled.len(), pulled.bytes), (1, 600_007));
    assert!(fs::read(into.join("large.bin")).unwrap() == large);
    for name in ["docs/README", "README"] {
        assert_eq!(fs::read(into.join(name)).unwrap(), b"read me", "{name}");
    }
    assert_eq!(files_below(&into).len(), 3, "nothing else is there");
}

/// Both reports name the tags: that of the push, and that of a copy.
fn an_artifact_under_several_tags<D: Driver>() {
    let (server, at) = registry(Options::default());
    let client = D::new(&Setup::new());
    let tags =
        |names: &[&str]| -> Vec<Tag> { names.iter().map(|name| name.parse().unwrap()).collect() };
    let artifact = Artifact::new("application/vnd.x");
    let mut push = PushArtifact::new(&at, artifact);
    push.and_tags(tags(&["v1", "1", "latest"]));
    let put = client.follow(push, Ways::default()).unwrap();
    assert_eq!(put.tags, tags(&["v1", "1", "latest"]));
    let to = reference(&format!("{}/team/other:v2", server.host()));
    let mut copy = RequestSpec::copy((&at).into(), (&to).into());
    copy.and_tags(tags(&["2", "v2"]));
    let copied = client.finish(Ask::other(copy)).unwrap().copied().unwrap();
    assert_eq!(copied.tags, tags(&["v2", "2"]));
    server.with_model(|model| {
        for (repository, tag) in [("app", "v1"), ("app", "1"), ("app", "latest")]
            .into_iter()
            .chain([("other", "v2"), ("other", "2")])
        {
            let there = model.tag(&format!("team/{repository}"), tag).unwrap();
            assert_eq!(*there.as_str(), *put.descriptor.digest.as_str(), "{tag}");
        }
    });
}

fn what_is_attached_is_listed<D: Driver>() {
    for (referrers_api, source) in [(true, ReferrersSource::Api), (false, ReferrersSource::Tag)] {
        let (server, at) = registry(Options {
            referrers_api,
            ..Options::default()
        });
        let subject = image(&[b"about this".to_vec()]);
        server.with_model(|model| model.put_image("team/app", Some("v1"), &subject));
        let client = D::new(&Setup::new());
        let sbom = || {
            Artifact::new("application/spdx+json")
                .layer(Part::new("application/spdx+json", &b"{}\n"[..]).title("sbom.json"))
                .annotation("made-by", "windlass")
        };
        let attach = || client.follow(Attach::new(&at, sbom()), Ways::default());
        let attached = attach().unwrap();
        assert_eq!(attached.subject.digest, digest(&subject.manifest));
        assert_eq!(
            (attached.artifact.tags.len(), &attached.artifact.unlisted),
            (0, &None)
        );
        // Again: it is the same, and is listed once.
        assert_eq!(attach().unwrap(), attached);
        let listed = client.finish(Ask::other(RequestSpec::referrers(&at, None)));
        let listed = listed.unwrap().referrers().unwrap();
        assert_eq!((listed.referrers.len(), listed.source), (1, source));
        let entry = &listed.referrers[0];
        assert_eq!(entry.digest, attached.artifact.descriptor.digest);
        assert_eq!(
            entry.artifact_type.as_deref(),
            Some("application/spdx+json")
        );
        assert_eq!(entry.annotations["made-by"], "windlass");
        server.with_model(|model| {
            let empty = windlass_testbed::Digest::sha256(EMPTY_CONTENT);
            assert!(
                model.blob_bytes("team/app", &empty).is_some(),
                "its configuration"
            );
        });
    }
}

/// Twelve parts to a registry that takes its time, and once refuses one of them.
fn parts_go_side_by_side<D: Driver>() {
    for refused in [None, Some(digest(b"part 3"))] {
        let inside = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (now, largest, bad) = (Arc::clone(&inside), Arc::clone(&most), refused.clone());
        let server = Hostile::start(move |request| match &*request.method {
            "POST" => Reply::new(202).header("Location", "/upload"),
            "PUT" if request.path() == "/upload" => {
                let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                largest.fetch_max(at_once, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(50));
                now.fetch_sub(1, Ordering::SeqCst);
                let is_bad = |bad: &Digest| request.target.ends_with(bad.encoded());
                Reply::new(if bad.as_ref().is_some_and(is_bad) {
                    403
                } else {
                    201
                })
            }
            "PUT" => Reply::new(201),
            _ => Reply::new(404),
        });
        let client = D::new(&Setup::new());
        let at = reference(&server.reference("team/app:v1"));
        let parts = (0..12).map(|n| Part::new("text/plain", format!("part {n}").into_bytes()));
        let artifact = parts.fold(Artifact::new("application/vnd.x"), Artifact::layer);
        let put = client.follow(PushArtifact::new(&at, artifact), Ways::default());
        let manifests = server
            .requests()
            .into_iter()
            .filter(|it| it.method == "PUT" && it.path().contains("/manifests/"));
        assert_eq!(manifests.count(), usize::from(refused.is_none()));
        match refused {
            None => assert!(
                (2..=SIDE_BY_SIDE).contains(&most.load(Ordering::SeqCst)),
                "{put:?}"
            ),
            Some(_) => assert_eq!(put.unwrap_err().kind(), ErrorKind::Auth),
        }
    }
}

fn attached_to_one_platform<D: Driver>() {
    let (server, at) = registry(Options::default());
    let arm = image_for("linux/arm64", &[b"of arm64".to_vec()]);
    let both = index(&[("linux/amd64", &image(&[])), ("linux/arm64", &arm)]);
    server.with_model(|model| {
        model.put_image("team/app", None, &image(&[]));
        model.put_image("team/app", None, &arm);
        model.put_index("team/app", Some("v1"), &both);
    });
    let client = D::new(&Setup::new());
    let mut attach = Attach::new(&at, Artifact::new("a/note"));
    attach.platform(Platform::new("linux", "arm64"));
    let attached = client.follow(attach, Ways::default()).unwrap();
    assert_eq!(attached.subject.digest, digest(&arm.manifest));
    let absent = reference(&format!("{}/team/app:absent", server.host()));
    let attach = Attach::new(&absent, Artifact::new("a/note"));
    let failure = client.follow(attach, Ways::default()).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
}

/// Nothing is sent before all of it is known to be in order.
fn what_is_no_artifact_is_not_sent<D: Driver>() {
    let (server, at) = registry(Options::default());
    let client = D::new(&Setup::new());
    let part = |title: &str| Part::new("a/b", title.as_bytes()).title(title);
    let of = || Artifact::new("a/b");
    let table = [
        (Artifact::new("sbom"), "no media type: `sbom`"),
        (of().layer(part("../x")), "leads out of the folder"),
        (of().layer(part("x")).layer(part("x")), "two files `x`"),
    ];
    for (artifact, why) in table {
        let push = PushArtifact::new(&at, artifact);
        let failure = client.follow(push, Ways::default()).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Refused, "{failure}");
        assert!(failure.to_string().contains(why), "{failure}");
    }
    assert_eq!(server.requests().len(), 0);
}

/// What is sent is what was hashed.
fn a_file_that_changed<D: Driver>() {
    let (server, at) = registry(Options::default());
    let client = D::new(&Setup::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"before").unwrap();
    let artifact = Artifact::new("a/b").layer(Part::file(&path, "a/b").unwrap());
    fs::write(&path, b"behind").unwrap();
    let push = PushArtifact::new(&at, artifact);
    let failure = client.follow(push, Ways::default()).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "{failure}");
    assert!(server.with_model(|model| model.tag("team/app", "v1").is_none()));
    let absent = Part::file(folder.path().join("absent"), "a/b").unwrap_err();
    assert!(absent.to_string().contains("absent"), "{absent}");
}

/// An artifact with layers of these names and contents.
fn with_titles(titles: &[(&str, &[u8])]) -> Image {
    let layers: Vec<Vec<u8>> = titles.iter().map(|(_, content)| content.to_vec()).collect();
    let image = image(&layers);
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    for (n, (title, _)) in titles.iter().enumerate() {
        manifest["layers"][n]["annotations"] = serde_json::json!({ TITLE: title });
    }
    with_manifest(&image, &manifest)
}

/// MT-07: all names are checked before anything is fetched.
fn names_that_lead_elsewhere<D: Driver>() {
    let client = D::new(&Setup::new());
    for title in [
        "../out",
        "/tmp/out",
        "a/../../out",
        "good",
        ".windlass-partial/x",
    ] {
        let (server, at) = registry(Options::default());
        let artifact = with_titles(&[("good", b"good"), (title, b"bad")]);
        server.with_model(|model| model.put_image("team/app", Some("v1"), &artifact));
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("into");
        let pull = PullArtifact::new(&at, &into);
        let failure = client.follow(pull, Ways::default()).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Refused, "{title}: {failure}");
        assert!(failure.to_string().contains(title), "{failure}");
        assert_eq!(files_below(folder.path()).len(), 0, "{title}");
        let requests = server.requests();
        let blobs = requests.iter().filter(|it| it.line().contains("/blobs/"));
        assert_eq!(blobs.count(), 0, "{title}");
    }
    let (server, at) = registry(Options::default());
    let both = index(&[("linux/amd64", &image(&[]))]);
    server.with_model(|model| {
        model.put_image("team/app", None, &image(&[]));
        model.put_index("team/app", Some("v1"), &both)
    });
    let folder = tempfile::tempdir().unwrap();
    let pull = || PullArtifact::new(&at, folder.path());
    let failure = client.follow(pull(), Ways::default()).unwrap_err();
    assert!(failure.to_string().contains("is an index"), "{failure}");
    let mut pull = pull();
    pull.platform(Platform::new("linux", "amd64"));
    let pulled = client.follow(pull, Ways::default()).unwrap();
    assert_eq!((pulled.files.len(), pulled.bytes), (0, 0));
    assert_eq!(files_below(folder.path()).len(), 0, "an image has no names");
}

/// Nothing gets its name unless all of it is verified.
fn a_damaged_part<D: Driver>() {
    let (server, at) = registry(Options::default());
    let artifact = with_titles(&[("good", b"good"), ("bad", b"what it is to be")]);
    server.with_model(|model| {
        model.put_image("team/app", Some("v1"), &artifact);
        let bad = windlass_testbed::Digest::sha256(b"what it is to be");
        model.put_damaged_blob("team/app", &bad, "what it really is");
    });
    let client = D::new(&Setup::new());
    let folder = tempfile::tempdir().unwrap();
    let pull = PullArtifact::new(&at, folder.path());
    let failure = client.follow(pull, Ways::default()).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "{failure}");
    for name in ["good", "bad"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }
}

fn a_pull_goes_on_where_it_failed<D: Driver>() {
    let (server, at) = registry(Options::default());
    let artifact = with_titles(&[("one", b"the one"), ("two", b"the other")]);
    let lost = windlass_testbed::Digest::sha256(b"the other");
    server.with_model(|model| {
        model.put_image("team/app", Some("v1"), &artifact);
        model.put_damaged_blob("team/app", &lost, "damaged");
    });
    let client = D::new(&Setup::new());
    let folder = tempfile::tempdir().unwrap();
    let pull = PullArtifact::new(&at, folder.path());
    client.follow(pull, Ways::default()).unwrap_err();
    server.with_model(|model| {
        model.put_blob("team/app", &b"the other"[..]);
        model.clear_log();
    });
    let pulled = follow(&client, &at, folder.path());
    // The parts are fetched in the order of their digests.
    let was_fetched = digest(b"the one") < digest(b"the other");
    let gets = |entry: &&Entry| entry.method == "GET" && entry.target.contains("/blobs/");
    let gets = server.requests().iter().filter(gets).count();
    assert_eq!(gets, if was_fetched { 1 } else { 2 });
    assert_eq!(pulled.files.len(), 2);
    assert_eq!(fs::read(folder.path().join("one")).unwrap(), b"the one");
    assert_eq!(fs::read(folder.path().join("two")).unwrap(), b"the other");
    assert_eq!(files_below(folder.path()).len(), 2);
}

fn a_procedure_that_is_ended<D: Driver>() {
    let (server, at) = registry(Options::default());
    let client = D::new(&Setup::new());
    let push = || PushArtifact::new(&at, Artifact::new("a/b"));
    let cancel = CancelHandle::new();
    cancel.cancel();
    let cancelled = Ways {
        cancel: Some(cancel),
        ..Ways::default()
    };
    let failure = client.follow(push(), cancelled).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Cancelled);
    let late = Ways {
        deadline: Some(Duration::ZERO),
        ..Ways::default()
    };
    let failure = client.follow(push(), late).unwrap_err();
    assert!(failure.to_string().contains("deadline"), "{failure}");
    let soon = Ways {
        deadline: Some(Duration::from_secs(60)),
        ..Ways::default()
    };
    client.follow(push(), soon).unwrap();
    assert!(server.with_model(|model| model.tag("team/app", "v1").is_some()));
}
