//! Uploads that are given up, and those that another process goes on with.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::cell::Cell;
use std::time::Duration;

use http::StatusCode;
use windlass_core::{Config, Error, ErrorKind, TaskId, UploadChange};
use windlass_testbed::{Answer, Image, Request};
use windlass_tests::world::scenes::{check_pushed, is, large, one_at_a_time, open, push, pushing};
use windlass_tests::world::{Fate, World};

const MIB: usize = 1 << 20;
/// The size of the layer.
const SIZE: usize = 4 * MIB;

/// Uploads in chunks of 1 MiB, which are kept.
fn chunks() -> Config {
    let mut config = keeping();
    config.chunk_size = Some(MIB as u64);
    config
}

fn keeping() -> Config {
    let mut config = one_at_a_time();
    config.keep_uploads = Some(MIB as u64);
    config
}

/// A push that has come so far that this many responses to requests with this method came.
fn begun(config: Config, method: &str, responses: usize) -> (World, Image, TaskId) {
    let image = large(SIZE);
    let (mut world, store, _) = pushing(config, open(), &image);
    let task = world.start(push(store));
    run_until_back(&mut world, method, responses);
    (world, image, task)
}

/// Runs until this many responses to requests with this method came to this process.
fn run_until_back(world: &mut World, method: &str, responses: usize) {
    let word = format!(" > {method} ");
    world.run_until(|world| {
        let text = world.transcript();
        let lines = of_this_process(&text);
        let sent = lines
            .iter()
            .filter(|line| line.contains(&word) && line.contains("/uploads/"));
        let is_back = |line: &&&str| {
            let job = line.split(' ').next().unwrap_or_default();
            let end = format!("{job} < ");
            lines.iter().any(|line| line.starts_with(&end))
        };
        sent.filter(is_back).count() == responses
    });
}

fn of_this_process(transcript: &str) -> Vec<&str> {
    let text = transcript.rsplit("~ another process").next();
    text.unwrap_or_default().lines().collect()
}

/// The requests to upload sessions of the layer since the process began: the method, and the first byte of a
/// body.
fn requests(world: &World) -> Vec<String> {
    let text = world.transcript();
    let lines = of_this_process(&text).into_iter();
    // The configuration's blob is before it, and not asked for.
    let lines = lines.skip_while(|line| !(line.contains(" > HEAD ") && line.contains("/blobs/")));
    let lines = lines.filter(|line| line.contains("/uploads/") && line.contains(" > "));
    lines
        .map(|line| {
            let method = line.split(' ').nth(2).unwrap();
            let from = line
                .rsplit_once(" from ")
                .map(|(_, from)| format!(" {from}"));
            method.to_owned() + &from.unwrap_or_default()
        })
        .collect()
}

fn refused(status: u16) -> Fate {
    let status = StatusCode::from_u16(status).unwrap();
    Fate::Say(Answer::error(status, "DENIED", "no"))
}

fn is_status(request: &Request) -> bool {
    is("GET", "/uploads/")(request)
}

/// PUSHB-41: the next process asks where the upload is and sends the rest.
#[test]
fn a_push_that_was_killed_goes_on() {
    let (mut world, image, _) = begun(chunks(), "PATCH", 2);
    let [task] = world.restart()[..] else {
        panic!("one task");
    };
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let (half, rest) = (2 * MIB, 3 * MIB);
    let expected = [
        "GET",
        &format!("PATCH {half}"),
        &format!("PATCH {rest}"),
        "PUT",
    ];
    assert_eq!(requests(&world), expected);
    let others = image
        .blobs()
        .map(|blob| blob.len())
        .filter(|size| *size < MIB);
    assert_eq!(report.bytes, (SIZE - half + others.sum::<usize>()) as u64);
}

/// PUSHB-38: a session that has expired between the processes costs a request, and the blob is sent again.
#[test]
fn an_upload_that_expired_begins_again() {
    let (mut world, image, _) = begun(chunks(), "PATCH", 2);
    let life = Duration::from_secs(3600);
    world.models[0].options_mut().uploads.life = Some(life);
    let [task] = world.restart()[..] else {
        panic!("one task");
    };
    world.pass(life + Duration::from_secs(1));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let mut expected = vec!["GET".to_owned(), "POST".to_owned()];
    let parts = (0..SIZE).step_by(MIB).map(|from| format!("PATCH {from}"));
    expected.extend(parts.chain(["PUT".to_owned()]));
    assert_eq!(requests(&world), expected);
    assert_eq!(world.models[0].open_uploads(), 0);
}

/// The same within one process: while a part is sent again and again, the session expires.
#[test]
fn an_upload_that_expires_meanwhile_begins_again() {
    let image = large(SIZE);
    let (mut world, store, _) = pushing(chunks(), open(), &image);
    let life = Duration::from_secs(1);
    world.models[0].options_mut().uploads.life = Some(life);
    let is_second = |request: &Request| {
        is("PATCH", "/uploads/")(request)
            && request
                .field(http::header::CONTENT_RANGE)
                .is_some_and(|it| it.starts_with("1048576-"))
    };
    let later = Answer::error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "later");
    world.nth(1, is_second, Fate::Say(later.header("retry-after", "5")));
    let task = world.start(push(store));
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(world.models[0].open_uploads(), 0);
    let opened = world
        .lines_with(" > POST https://reg.example/v2/a/b/blobs/uploads/")
        .len();
    assert_eq!(opened, 2 + 1, "one again");
}

/// The same if the blob was sent in one request, which broke off.
#[test]
fn a_put_that_was_cut_goes_on_in_another_process() {
    let image = large(SIZE);
    let (mut world, store, _) = pushing(keeping(), open(), &image);
    let half = SIZE / 2 + 1;
    let is_layer =
        |request: &Request| is("PUT", "/uploads/")(request) && request.body.len() == SIZE;
    world.nth(1, is_layer, Fate::Broken(half));
    world.start(push(store));
    world.run_until(|world| !world.lines_with("broke off").is_empty());
    world.restart();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(requests(&world), ["GET", &format!("PATCH {half}"), "PUT"]);
}

/// The network breaks twice in a row, the second time soon: what has arrived is not sent again.
#[test]
fn an_upload_that_breaks_twice_goes_on() {
    let image = large(SIZE);
    let (mut world, store, _) = pushing(keeping(), open(), &image);
    let half = SIZE / 2;
    let is_layer =
        |request: &Request| is("PUT", "/uploads/")(request) && request.body.len() == SIZE;
    world.nth(1, is_layer, Fate::Broken(half));
    world.nth(1, is("PATCH", "/uploads/"), Fate::Broken(1000));
    let task = world.start(push(store));
    world.run(task).unwrap();
    check_pushed(&world, "a/b", &image);
    let rest = format!("PATCH {half}");
    let expected = [
        "POST",
        "PUT 0",
        "GET",
        &rest,
        "GET",
        &format!("PATCH {}", half + 1000),
        "PUT",
    ];
    assert_eq!(requests(&world), expected);
}

/// A process that dies again and again loses nothing.
#[test]
fn every_process_goes_on() {
    let (mut world, image, _) = begun(chunks(), "PATCH", 1);
    for _ in 0..3 {
        world.restart();
        run_until_back(&mut world, "PATCH", 1);
    }
    world.restart();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    // All four chunks were there before the last process began.
    assert_eq!(requests(&world), ["GET", "PUT"]);
    assert_eq!(world.lines_with(" > PATCH ").len(), 4);
}

/// Another process has taken it up first: this one sends the blob in a session of its own, and does not touch
/// the other's.
#[test]
fn an_upload_that_another_process_has_is_left_alone() {
    let (mut world, image, _) = begun(chunks(), "PATCH", 2);
    world.restart();
    let mut left = 0;
    while world.step() {
        while let Some(change) = world.session.take_upload_change() {
            if let UploadChange::Taken(upload) = change {
                world.session.leave_upload(&upload);
                left += 1;
            }
        }
    }
    world.run_all();
    assert_eq!(left, 1);
    check_pushed(&world, "a/b", &image);
    let expected = [
        "POST",
        "PATCH 0",
        "PATCH 1048576",
        "PATCH 2097152",
        "PATCH 3145728",
        "PUT",
    ];
    assert_eq!(requests(&world), expected);
    assert_eq!(world.models[0].open_uploads(), 1, "the other's");
}

/// What was written down is not believed: without a good answer it begins again, and what the registry may
/// still have is deleted.
#[test]
fn a_session_that_is_gone_or_odd_is_begun_again() {
    let said = |range: &str| {
        let answer = Answer::new(StatusCode::NO_CONTENT);
        Fate::Say(answer.header("range", range))
    };
    let again = [
        "GET",
        "POST",
        "PATCH 0",
        "PATCH 1048576",
        "PATCH 2097152",
        "PATCH 3145728",
        "PUT",
    ];
    for (fate, deletes) in [
        (refused(404), 0),
        (refused(405), 1),
        (refused(400), 1),
        (said("0-0"), 1),
        (said("0-99999999"), 1),
        (said("all"), 1),
        (Fate::Say(Answer::new(StatusCode::NO_CONTENT)), 1),
    ] {
        let (mut world, image, _) = begun(chunks(), "PATCH", 2);
        world.all(is_status, fate.clone());
        world.restart();
        world.run_all();
        check_pushed(&world, "a/b", &image);
        let found = requests(&world);
        let (found, deleted) = found.split_at(again.len());
        assert_eq!(found, again, "{fate:?}");
        assert_eq!(deleted, &["DELETE"; 1][..deletes], "{fate:?}");
    }
}

/// The registry has lost some of what it had acknowledged: it has the last word.
#[test]
fn a_registry_that_has_less_is_sent_more() {
    let (mut world, image, _) = begun(chunks(), "PATCH", 3);
    world.models[0].shorten_uploads(MIB as u64 + 7);
    world.restart();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let expected = [
        "GET",
        "PATCH 1048583",
        "PATCH 2097159",
        "PATCH 3145735",
        "PUT",
    ];
    assert_eq!(requests(&world), expected);
}

/// Without anybody who keeps them, sessions are deleted: once each, and only those that are open.
#[test]
fn what_is_cancelled_is_deleted() {
    for (keeps, sent, deletes) in [(false, 2, 1), (true, 2, 0), (false, 0, 1), (true, 0, 1)] {
        let mut config = chunks();
        config.keep_uploads = keeps.then_some(MIB as u64);
        let (mut world, image, task) = match sent {
            0 => {
                let image = large(SIZE);
                let (mut world, store, _) = pushing(config, open(), &image);
                world.all(
                    is("PATCH", ""),
                    Fate::NotSent(windlass_core::call::TransportErrorKind::Connect),
                );
                let task = world.start(push(store));
                world.run_until(|world| !world.lines_with(" > PATCH ").is_empty());
                (world, image, task)
            }
            _ => begun(config, "PATCH", sent),
        };
        world.cancel(task);
        let failure = world.finish(task).unwrap_err();
        assert_eq!(failure.errors(), [Error::Cancelled]);
        let found = world.lines_with(" > DELETE ").len();
        assert_eq!(found, deletes, "{keeps} {sent}: {}", world.transcript());
        assert_eq!(world.models[0].open_uploads(), 1 - deletes);
        let changes = changes(&mut world);
        let expected = match (keeps, deletes) {
            (true, 0) => "open",
            (true, _) => "over",
            (false, _) => "",
        };
        assert_eq!(changes, expected);
        if keeps && deletes == 0 {
            // A later task of the same session goes on with it.
            let (store, memory) = world.store();
            windlass_tests::world::scenes::fill(&memory, &image);
            let before = world.lines_with(" > POST ").len();
            let task = world.start(push(store));
            world.run(task).unwrap();
            // The configuration is there already.
            assert_eq!(world.lines_with(" > POST ").len(), before);
            check_pushed(&world, "a/b", &image);
        }
        world.run_all();
    }
}

/// What the driver is told of uploads, without what follows.
fn changes(world: &mut World) -> String {
    let changes = std::iter::from_fn(|| world.session.take_upload_change());
    let changes = changes.map(|change| match change {
        UploadChange::Open(_) => "open",
        UploadChange::Over(_) => "over",
        UploadChange::Taken(_) => "taken",
    });
    changes.collect::<Vec<_>>().join(" ")
}

/// Uploads that cannot succeed are deleted, also with a journal; those that may succeed later are kept.
#[test]
fn what_failed_is_deleted_unless_it_may_pass() {
    for (fate, kind, kept) in [
        (refused(400), ErrorKind::Refused, 0),
        (refused(409), ErrorKind::Refused, 0),
        (refused(503), ErrorKind::Temporary, 1),
        (Fate::Unreachable, ErrorKind::Temporary, 1),
        (refused(403), ErrorKind::Auth, 1),
    ] {
        for keeps in [true, false] {
            let mut config = chunks();
            config.keep_uploads = keeps.then_some(MIB as u64);
            config.retry.attempts = 2;
            let (mut world, store, _) = pushing(config, open(), &large(SIZE));
            let patches = Cell::new(0);
            let after_the_first = move |request: &Request| {
                let is_patch = request.method == "PATCH";
                patches.set(patches.get() + u32::from(is_patch));
                is_patch && patches.get() > 1
            };
            world.all(after_the_first, fate.clone());
            let task = world.start(push(store));
            let failure = world.run(task).unwrap_err();
            world.run_all();
            assert_eq!(failure.kind(), kind, "{fate:?}: {failure}");
            let kept = if keeps { kept } else { 0 };
            let deletes = world.lines_with(" > DELETE ").len();
            assert_eq!(deletes, 1 - kept, "{fate:?} {}", world.transcript());
            assert_eq!(world.models[0].open_uploads(), kept, "{fate:?}");
        }
    }
}

/// A registry that does not answer the DELETE does not hold up a cancelled task for more than half a second.
#[test]
fn a_delete_without_an_answer_is_not_waited_for() {
    let mut config = chunks();
    config.keep_uploads = None;
    let (mut world, _, task) = begun(config, "PATCH", 1);
    world.all(is("DELETE", ""), Fate::Hang);
    world.all(is("PATCH", ""), Fate::Hang);
    world.run_still();
    // Nothing told the session what time it is for a while.
    world.pass(Duration::from_secs(60));
    let cancelled = world.now();
    world.cancel(task);
    world.finish(task).unwrap_err();
    let took = world.now().since(cancelled);
    assert!(took <= Duration::from_millis(500), "{took:?}");
    assert_eq!(world.lines_with(" > DELETE ").len(), 1);
    world.run_all();
}
