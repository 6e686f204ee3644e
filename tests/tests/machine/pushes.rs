//! Pushes to registries that refuse HEADs or mounts, claim to have blobs that they lack, or take bytes
//! by PATCH only.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use http::StatusCode;
use insta::assert_snapshot;
use windlass_core::{Config, CopyTask, Error, ErrorKind, StoreErrorKind, Task, TaskLocation, Time};
use windlass_testbed::{Answer, Image, Model, Options, Request, Uploads, image};
use windlass_tests::world::scenes::{
    alice, basic, bearer, check_pushed, copy_within, fill, is, large, one_at_a_time, open, push,
    pushing, reference, small, with_image, world,
};
use windlass_tests::world::{Fate, World};

/// From this size on a blob is asked for before it is sent.
const LARGE: usize = 256 * 1024;

const STATUSES: [u16; 14] = [
    400, 401, 403, 404, 405, 406, 410, 415, 451, 500, 501, 502, 503, 505,
];

fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap()
}

fn refused(code: u16) -> Fate {
    Fate::Say(Answer::error(status(code), "DENIED", "no"))
}

/// The digest of the layer.
fn layer(image: &Image) -> String {
    image.blob_digests()[1].as_str().to_owned()
}

/// A push of an image of `a/b` to `c`, of the same registry, mounting if it can.
fn mounting(config: Config, options: Options, image: &Image) -> (World, Task) {
    let mut world = world(config, with_image(options, image));
    let (store, memory) = world.store();
    fill(&memory, image);
    let task = Task::copy(
        CopyTask::new(
            TaskLocation::Store { store, name: None },
            TaskLocation::Registry(reference("reg.example/c:v1")),
        )
        .mount_from(["a/b".parse().unwrap()]),
    );
    (world, task)
}

/// PUSHB-02: whatever a HEAD of a blob is answered, the push goes on; a 5xx is tried once more.
#[test]
fn a_refused_head_does_not_end_a_push() {
    let image = large(LARGE);
    for options in [open(), basic(), bearer()] {
        for code in STATUSES {
            let (mut world, store, _) = pushing(one_at_a_time(), options.clone(), &image);
            world.credential("reg.example", alice(), &["reg.example"]);
            world.all(is("HEAD", "/blobs/"), refused(code));
            let task = world.start(push(store));
            world.run(task).unwrap();
            world.run_all();
            check_pushed(&world, "a/b", &image);
            let heads = world
                .lines_with(" > HEAD https://reg.example/v2/a/b/blobs/")
                .len();
            let tries = match code {
                500 | 502 | 503 => 2,
                _ => 1,
            };
            // What is presented to a 401 may be too little.
            assert!(heads == tries || code == 401, "{code}: {heads}");
        }
    }
}

/// A HEAD that a storage refuses, wherever it is.
#[test]
fn a_head_that_comes_to_nothing_elsewhere_does_not_end_a_push() {
    let image = large(LARGE);
    let to = |location: &str| {
        Fate::Say(Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", location))
    };
    let storage = "https://cdn.example/bucket?signature=1";
    let mut fates: Vec<_> = STATUSES.map(|code| (to(storage), refused(code))).into();
    fates.extend([
        (to(storage), Fate::Unreachable),
        (to(storage), to(storage)),
        (to("https://gone.example/"), Fate::Unreachable),
        (to("http://cdn.example/"), Fate::Unreachable),
        (to("https://10.0.0.1/"), Fate::Unreachable),
        (Fate::Say(Answer::new(StatusCode::FOUND)), Fate::Unreachable),
    ]);
    for (first, second) in fates {
        let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
        world.all(is("HEAD", "/blobs/"), first.clone());
        world.all(
            |request: &Request| request.host != "reg.example",
            second.clone(),
        );
        let task = world.start(push(store));
        let result = world.run(task);
        assert!(result.is_ok(), "{first:?} {second:?}: {result:?}");
        world.run_all();
        check_pushed(&world, "a/b", &image);
    }
}

/// PUSHB-54: whatever a mount is refused with, the blob is sent; a large one is asked for before.
#[test]
fn a_refused_mount_does_not_end_a_push() {
    let image = image(&[b"small".to_vec(), vec![7; LARGE]]);
    for code in STATUSES {
        for challenge in [
            "",
            "Basic realm=\"field\"",
            "Bearer realm=\"https://reg.example/token\"",
        ] {
            let (mut world, task) = mounting(one_at_a_time(), open(), &image);
            let mut no = Answer::error(status(code), "DENIED", "no");
            if !challenge.is_empty() {
                no = no.header("www-authenticate", challenge);
            }
            world.all(is("POST", "mount="), Fate::Say(no));
            let task = world.start(task);
            let result = world.run(task);
            assert!(result.is_ok(), "{code} {challenge}: {result:?}");
            world.run_all();
            check_pushed(&world, "c", &image);
            let heads = world
                .lines_with(" > HEAD https://reg.example/v2/c/blobs/")
                .len();
            assert_eq!(heads, 1, "{code}");
        }
    }
}

/// The same for mounts that go out side by side: what one was refused with does not deny what was
/// never sent.
#[test]
fn refused_mounts_beside_each_other() {
    let image = image(&[b"1".to_vec(), b"2".to_vec(), b"3".to_vec(), b"4".to_vec()]);
    for options in [open(), basic(), bearer()] {
        for code in [401, 403, 405] {
            let (mut world, task) = mounting(Config::default(), options.clone(), &image);
            world.credential("reg.example", alice(), &["reg.example"]);
            let no = Answer::error(status(code), "DENIED", "no");
            let no = no.header("www-authenticate", "Basic realm=\"field\"");
            world.all(is("POST", "mount="), Fate::Say(no));
            let task = world.start(task);
            let result = world.run(task);
            assert!(result.is_ok(), "{code}: {result:?}");
            world.run_all();
            check_pushed(&world, "c", &image);
        }
    }
}

/// A mount answered with 202: a large blob that is there is not sent, and the session is deleted.
#[test]
fn a_mount_that_did_not_happen_asks_before_it_sends() {
    let image = large(LARGE);
    let (mut world, task) = mounting(one_at_a_time(), open(), &image);
    world.models[0].put_image("c", None, &image);
    world.models[0].options_mut().head_manifests = false;
    let session =
        Answer::new(StatusCode::ACCEPTED).header("location", "/v2/c/blobs/uploads/unused?_state=x");
    world.all(is("POST", "mount="), Fate::Say(session));
    let deleted = Answer::new(StatusCode::NO_CONTENT);
    world.all(is("DELETE", "/unused"), Fate::Say(deleted));
    world.all(
        is("PUT", "/unused"),
        Fate::Say(Answer::new(StatusCode::CREATED)),
    );
    let task = world.start(task);
    let report = world.run(task).unwrap();
    world.run_all();
    assert_eq!((report.moved, report.present), (1, 1));
    assert_snapshot!(world.transcript());
}

/// PUSHB-43, PUSHB-44: whatever becomes of the DELETE, the push is good. A challenge is not answered.
#[test]
fn a_session_that_cannot_be_deleted_is_left() {
    let image = large(LARGE);
    let mut fates: Vec<_> = [401, 403, 404, 405, 429, 500, 503].map(refused).into();
    fates.extend([Fate::Unreachable, Fate::Unanswered, Fate::Lost, Fate::Hang]);
    for fate in fates {
        let (mut world, task) = mounting(one_at_a_time(), open(), &image);
        world.models[0].put_image("c", None, &image);
        world.models[0].options_mut().head_manifests = false;
        let session = Answer::new(StatusCode::ACCEPTED)
            .header("location", "/v2/c/blobs/uploads/unused?_state=x");
        world.all(is("POST", "mount="), Fate::Say(session));
        world.all(is("DELETE", "/unused"), fate.clone());
        world.all(
            is("PUT", "/blobs/uploads/unused"),
            Fate::Say(Answer::new(StatusCode::CREATED)),
        );
        let task = world.start(task);
        world.run(task).unwrap();
        world.run_all();
        assert_eq!(world.lines_with(" > DELETE ").len(), 1, "{fate:?}");
        assert_eq!(world.lines_with(" * retry").len(), 0, "{fate:?}");
        let deadline = Time::ZERO + Duration::from_secs(2);
        assert!(world.now() < deadline, "{fate:?}: {}", world.now());
    }
}

/// go-gitea/gitea#22226: a mount that is answered 201 and is none. What is missing is sent, with
/// neither mount nor HEAD.
#[test]
fn a_mount_that_is_none() {
    for size in [5, LARGE] {
        let image = image(&[vec![7; size], b"other".to_vec()]);
        for names in [true, false] {
            let (mut world, task) = mounting(one_at_a_time(), open(), &image);
            let created = Answer::new(StatusCode::CREATED).header("location", "/v2/c/blobs/x");
            world.all(is("POST", "mount="), Fate::Say(created));
            if !names {
                let code = "MANIFEST_BLOB_UNKNOWN";
                let vague = Answer::error(StatusCode::BAD_REQUEST, code, "something is missing");
                world.nth(1, is("PUT", "/manifests/"), Fate::Say(vague));
            }
            let task = world.start(task);
            let report = world.run(task).unwrap();
            world.run_all();
            check_pushed(&world, "c", &image);
            assert_eq!((report.moved, report.mounted), (3, 0), "{size} {names}");
            assert_eq!(
                world.lines_with(" > POST ").len(),
                6,
                "each mounted once, then sent"
            );
            assert_eq!(
                world
                    .lines_with(" > HEAD https://reg.example/v2/c/blobs/")
                    .len(),
                0
            );
        }
    }
}

/// Copies that mount learn the same way; the blob comes through the spool then.
#[test]
fn a_copy_whose_mounts_are_none() {
    let image = image(&[vec![7; LARGE], b"other".to_vec()]);
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    let (spool, _) = world.store();
    world.all(
        is("POST", "mount="),
        Fate::Say(Answer::new(StatusCode::CREATED)),
    );
    let copy = copy_within("reg.example/a/b:v1", "reg.example/c:v1", Some(spool));
    let task = world.start(copy);
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "c", &image);
    assert_eq!((report.moved, report.mounted), (3, 0));
}

/// A registry that says of everything that it is there, and refuses the manifest all the same: each
/// blob is sent once in vain.
#[test]
fn a_registry_that_is_never_content() {
    let image = image(&[vec![7; LARGE], b"other".to_vec()]);
    for codes in ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"] {
        let (mut world, task) = mounting(one_at_a_time(), open(), &image);
        let yes = |code| Fate::Say(Answer::new(code).header("location", "/v2/c/x?_state=y"));
        world.all(is("POST", "mount="), yes(StatusCode::CREATED));
        world.all(is("HEAD", "/blobs/"), yes(StatusCode::OK));
        world.all(is("POST", "/blobs/uploads/"), yes(StatusCode::ACCEPTED));
        world.all(is("PUT", "_state=y"), yes(StatusCode::ACCEPTED));
        let missing = Answer::error(StatusCode::NOT_FOUND, codes, "no");
        world.all(is("PUT", "/manifests/"), Fate::Say(missing));
        let task = world.start(task);
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.first().kind(), ErrorKind::NotFound);
        assert_eq!(
            world.lines_with(" > PUT https://reg.example/v2/c/x").len(),
            3
        );
    }
}

/// A `Location` of a mount names somebody else, and a HEAD another digest: nothing is sent there, and
/// the blob is sent to the registry.
#[test]
fn what_is_said_beside_a_yes_is_not_trusted() {
    let image = large(LARGE);
    let other = windlass_testbed::Digest::sha256(b"other")
        .as_str()
        .to_owned();
    let (mut world, task) = mounting(one_at_a_time(), open(), &image);
    let elsewhere = Answer::new(StatusCode::CREATED)
        .header("location", "https://evil.example/v2/c/blobs/x")
        .header("docker-content-digest", &other);
    world.all(is("POST", "mount="), Fate::Say(elsewhere));
    let wrong = Answer::new(StatusCode::OK).header("docker-content-digest", &other);
    world.all(is("HEAD", ""), Fate::Say(wrong));
    let task = world.start(task);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "c", &image);
    assert_eq!(
        world.lines_with("evil.example").len(),
        2,
        "the answers, and no request"
    );
    assert_eq!(
        world
            .lines_with(" > PUT https://reg.example/v2/c/blobs/")
            .len(),
        2
    );
}

/// A HEAD that fails with a 5xx, and then in another way, costs no attempt of what is sent without it.
#[test]
fn a_head_that_fails_in_two_ways_is_left_out() {
    let image = large(LARGE);
    let mut config = one_at_a_time();
    config.retry.attempts = 2;
    let (mut world, store, memory) = pushing(config, open(), &image);
    fill(&memory, &image);
    let broken = Answer::new(StatusCode::INTERNAL_SERVER_ERROR);
    world.nth(1, is("HEAD", "/blobs/"), Fate::Say(broken));
    world.nth(2, is("HEAD", "/blobs/"), Fate::Unanswered);
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(
        world
            .lines_with(" > HEAD https://reg.example/v2/a/b/blobs/")
            .len(),
        2
    );
}

/// Bytes by PATCH only: the first blob finds out, the others know.
#[test]
fn bytes_by_patch() {
    let mut options = open();
    options.uploads = Uploads {
        put_bodies: false,
        signed_location: true,
        ..Uploads::default()
    };
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), options, &image);
    let task = world.start(push(store));
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(report.moved, 3);
    assert_snapshot!(world.transcript());
}

/// A PATCH whose answer is lost, or that breaks off, is asked about and begun again.
#[test]
fn a_patch_that_breaks() {
    for fate in [
        Fate::Unanswered,
        Fate::Broken(3),
        Fate::Lost,
        refused(416),
        refused(404),
    ] {
        let mut options = open();
        options.uploads.put_bodies = false;
        let image = small();
        let (mut world, store, _) = pushing(one_at_a_time(), options, &image);
        world.nth(1, is("PATCH", ""), fate.clone());
        let task = world.start(push(store));
        let result = world.run(task);
        assert!(result.is_ok(), "{fate:?}: {result:?}");
        world.run_all();
        check_pushed(&world, "a/b", &image);
    }
}

/// A registry that refuses the order of each part ends the push, and is not sent the blob for ever (PUSHB-42).
#[test]
fn parts_that_are_always_out_of_order() {
    let image = large(LARGE);
    let layer = layer(&image);
    for (status, body) in [(StatusCode::NO_CONTENT, true), (status(405), false)] {
        let mut options = open();
        options.uploads.put_bodies = body;
        let (mut world, store, _) = pushing(one_at_a_time(), options, &image);
        let is_large = |request: &Request| request.body.len() > 1000;
        world.all(is_large, refused(416));
        let answer = Answer::new(status).header("range", "0-0");
        world.all(is("GET", "/blobs/uploads/"), Fate::Say(answer));
        let task = world.start(push(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.kind(), ErrorKind::Refused, "{failure}");
        assert!(failure.to_string().contains("416"), "{failure}");
        assert!(failure.to_string().contains(&layer), "{failure}");
        assert_eq!(world.models[0].open_uploads(), 0);
    }
}

/// Nothing is opened at the registry for a blob that is not there to be sent. One that the registry
/// has need not be.
#[test]
fn a_blob_that_is_not_in_the_store() {
    let image = large(LARGE);
    let (mut world, store, memory) = pushing(one_at_a_time(), open(), &image);
    let layer: windlass_core::Digest = layer(&image).parse().unwrap();
    windlass_store::Store::remove(&memory, &layer).unwrap();
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    world.run_all();
    let Error::Store(error) = failure.first() else {
        panic!("{failure:?}");
    };
    assert_eq!(error.kind(), StoreErrorKind::Absent);
    let said = failure.to_string();
    assert!(said.contains(layer.as_str()), "{said}");
    assert!(said.contains(image.digest.as_str()), "{said}");
    assert_eq!(world.models[0].open_uploads(), 0);
    world.models[0].put_image("a/b", None, &image);
    world.models[0].options_mut().head_manifests = false;
    let task = world.start(push(store));
    world.run(task).unwrap();
}

/// An upload that is refused says for which blob.
#[test]
fn a_refused_upload_names_the_blob() {
    let image = large(10);
    for (method, code) in [
        ("POST", 403),
        ("POST", 400),
        ("PUT", 413),
        ("PUT", 507),
        ("PUT", 400),
    ] {
        let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
        world.all(is(method, "/blobs/"), refused(code));
        let task = world.start(push(store));
        let failure = world.run(task).unwrap_err();
        world.run_all();
        let said = failure.to_string();
        let named = image
            .blob_digests()
            .iter()
            .any(|it| said.contains(it.as_str()));
        assert!(named, "{method} {code}: {said}");
    }
}

/// Between registries a large blob that is there is not even fetched.
#[test]
fn a_copy_asks_before_it_fetches() {
    let image = large(LARGE);
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    let mut there = Model::new(Options::default());
    there.options_mut().head_manifests = false;
    there.put_image("c", None, &image);
    world.registry(&["other.example"], there);
    let (spool, _) = world.store();
    let copy = copy_within("reg.example/a/b:v1", "other.example/c:v1", Some(spool));
    let task = world.start(copy);
    let report = world.run(task).unwrap();
    world.run_all();
    assert_eq!((report.moved, report.present), (1, 1));
    let fetched = format!(" > GET https://reg.example/v2/a/b/blobs/{}", layer(&image));
    assert_eq!(world.lines_with(&fetched).len(), 0);
}

/// What a HEAD says of a manifest is shown only if it can be true (yusing/godoxy#169).
#[test]
fn an_implausible_head_is_followed_by_a_get() {
    let image = small();
    let (kind, len) = (
        "application/vnd.oci.image.manifest.v1+json",
        image.manifest.len(),
    );
    let other = windlass_testbed::Digest::sha256(b"other")
        .as_str()
        .to_owned();
    let ours = image.digest.as_str();
    for (digest, kind, length, gets) in [
        (ours, kind, len.to_string(), 0),
        (ours, kind, "0".into(), 1),
        (ours, kind, String::new(), 1),
        (ours, kind, "many".into(), 1),
        (ours, kind, "99999999999".into(), 1),
        (ours, "", len.to_string(), 1),
        (ours, "text/html", len.to_string(), 1),
        ("", kind, len.to_string(), 1),
        // What came is named by what it hashes to.
        (&*other, kind, "0".into(), 1),
    ] {
        let mut world = world(one_at_a_time(), with_image(open(), &image));
        let mut head = Answer::new(StatusCode::OK);
        for (name, value) in [
            ("docker-content-digest", digest),
            ("content-type", kind),
            ("content-length", &*length),
        ] {
            if !value.is_empty() {
                head = head.header(name, value);
            }
        }
        world.all(is("HEAD", ""), Fate::Say(head));
        let task = world.start(Task::resolve(reference("reg.example/a/b:v1")));
        let root = world.resolve(task).unwrap();
        world.run_all();
        assert_eq!(root.digest.as_str(), ours);
        assert_eq!(root.size, len as u64);
        assert_eq!(
            world.lines_with(" > GET ").len(),
            gets,
            "{digest} {kind} {length}"
        );
    }
}
