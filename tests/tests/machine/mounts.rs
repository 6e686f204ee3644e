//! Where blobs are mounted from, and what a session need not ask for because it has seen it: round trips with
//! `==`.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use windlass_core::{Config, CopyTask, MountFrom, Platforms, Task, TaskId, TaskLocation};
use windlass_testbed::{Answer, Image, Model, Options, image};
use windlass_tests::world::scenes::{alice, bearer, fill, is, open, pull, reference};
use windlass_tests::world::{Fate, World};

/// The sizes at which further repositories are tried.
const SMALL: usize = 100 << 10;
const MIDDLE: usize = SMALL + 1;

fn world(options: Options, model: Model) -> World {
    let mut model = model;
    *model.options_mut() = options;
    let mut world = World::new(Config::default());
    world.registry(&["reg.example"], model);
    world
}

/// A store with an image, and the task that pushes it to `to`.
fn push_to(world: &mut World, image: &Image, to: &str, from: &[&str]) -> Task {
    let (store, memory) = world.store();
    fill(&memory, image);
    let from: Vec<MountFrom> = from.iter().map(|from| from.parse().unwrap()).collect();
    Task::copy(
        CopyTask::new(
            TaskLocation::Store { store, name: None },
            TaskLocation::Registry(reference(to)),
        )
        .mount_from(from),
    )
}

/// What a task requests, without digests and sessions.
fn requests(world: &mut World, task: TaskId) -> Vec<String> {
    world.finish(task).unwrap();
    let log = world.take_log(0);
    let mut lines: Vec<String> = log.iter().map(|line| short(line)).collect();
    lines.sort_unstable();
    lines
}

/// Whether the registry has an image whole, at a tag.
fn check(world: &World, at: &str, image: &Image) {
    let (repository, tag) = at.split_once(':').unwrap();
    let model = &world.models[0];
    assert_eq!(model.tag(repository, tag), Some(&image.digest));
    for blob in image.blob_digests() {
        assert!(model.blob_bytes(repository, &blob).is_some(), "{blob}");
    }
}

/// `POST uploads from=a/b` and the like.
fn short(line: &str) -> String {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let from = target.split_once("&from=").map(|(_, from)| from);
    let from = from.map(|from| from.replace("%2F", "/"));
    let what = ["uploads", "blobs", "manifests", "/token"];
    let what = what.iter().find(|what| target.contains(**what)).unwrap();
    let is_mount = target.contains("mount=");
    match from {
        Some(from) => format!("{method} {what} from={from}"),
        None if is_mount => format!("{method} {what} from=*"),
        None => format!("{method} {what}"),
    }
}

/// PUSHB-56: the second image of a repository sends what is new, and asks for nothing that was seen there.
#[test]
fn what_was_pushed_is_not_asked_for_again() {
    let base = vec![7; 300_000];
    let one = image(&[base.clone(), vec![1]]);
    let two = image(&[base, vec![2]]);
    let mut world = world(open(), Model::new(open()));
    let task = push_to(&mut world, &one, "reg.example/a/b:v1", &[]);
    let task = world.start(task);
    world.finish(task).unwrap();
    world.take_log(0);
    let task = push_to(&mut world, &two, "reg.example/a/b:v2", &[]);
    let task = world.start(task);
    // The configuration and the layer that differ.
    let expected = [
        "HEAD manifests",
        "HEAD manifests",
        "POST uploads",
        "POST uploads",
        "PUT manifests",
        "PUT uploads",
        "PUT uploads",
    ];
    assert_eq!(requests(&mut world, task), expected);
    check(&world, "a/b:v2", &two);
    world.run_all();
}

/// If the registry has lost what was seen, it says so, and gets it.
#[test]
fn what_has_gone_is_sent_again() {
    let base = vec![7; 300_000];
    let one = image(&[base.clone(), vec![1]]);
    let two = image(&[base, vec![2]]);
    let mut world = world(open(), Model::new(open()));
    let task = push_to(&mut world, &one, "reg.example/a/b:v1", &[]);
    let task = world.start(task);
    world.finish(task).unwrap();
    world.models[0] = Model::new(open());
    let task = push_to(&mut world, &two, "reg.example/a/b:v2", &[]);
    let task = world.start(task);
    let report = world.finish(task).unwrap().copied().unwrap();
    assert_eq!((report.moved, report.present), (3, 0));
    check(&world, "a/b:v2", &two);
    world.run_all();
}

/// PUSHB-53, PUSHB-56, AUTH-65: blobs that were pulled are mounted from there, with one token for all of them.
#[test]
fn what_was_pulled_is_mounted_with_one_token() {
    let image = image(&[vec![7; 300_000], vec![1], vec![2]]);
    let mut model = Model::new(open());
    model.put_image("a/b", Some("v1"), &image);
    let mut world = world(bearer(), model);
    world.credential("reg.example", alice(), &["reg.example"]);
    let (store, _) = world.store();
    let task = world.start(pull(store));
    world.finish(task).unwrap();
    world.take_log(0);
    let task = Task::push(store, None, reference("reg.example/c/d:v1"), Platforms::All);
    let task = world.start(task);
    // A token for the repository alone comes first: until the manifest is read nothing else is known.
    let expected = [
        "GET /token",
        "GET /token",
        "HEAD manifests",
        "HEAD manifests",
        "POST uploads from=a/b",
        "POST uploads from=a/b",
        "POST uploads from=a/b",
        "POST uploads from=a/b",
        "PUT manifests",
    ];
    assert_eq!(requests(&mut world, task), expected);
    check(&world, "c/d:v1", &image);
    world.run_all();
}

/// As many repositories as the size is worth are tried, and the sessions that they open are not left.
#[test]
fn the_size_says_how_many_repositories_are_tried() {
    for (size, tries) in [(SMALL, 1), (MIDDLE, 3), ((10 << 20) + 1, 4)] {
        let layer = vec![7; size];
        let pushed = image(&[layer]);
        let mut world = world(open(), Model::new(open()));
        let from = ["e", "f", "g", "h", "i"];
        let task = push_to(&mut world, &pushed, "reg.example/a/b:v1", &from);
        let task = world.start(task);
        let found = requests(&mut world, task);
        let mounts = |from: &str| {
            let line = format!("POST uploads from={from}");
            found.iter().filter(|it| **it == line).count()
        };
        // The configuration is tried once.
        let mut expected = [0; 5];
        expected[..tries].fill(1);
        expected[0] += 1;
        assert_eq!(from.map(mounts), expected, "{found:?}");
        let deleted = found.iter().filter(|it| it.starts_with("DELETE ")).count();
        assert_eq!(deleted, tries - 1);
        assert_eq!(world.models[0].open_uploads(), 0);
        check(&world, "a/b:v1", &pushed);
        world.run_all();
    }
}

/// The repository with the most similar name is tried first, and one that failed is forgotten.
#[test]
fn the_most_similar_name_is_tried_first() {
    let layer = vec![7; MIDDLE];
    let pushed = image(&[layer]);
    let mut model = Model::new(open());
    for repository in ["team/web", "team/app/old", "other"] {
        model.put_image(repository, Some("v1"), &pushed);
    }
    let mut world = world(open(), model);
    for repository in ["team/web", "team/app/old", "other"] {
        let (store, _) = world.store();
        let source = reference(&format!("reg.example/{repository}:v1"));
        let task = world.start(Task::pull(source, store, None, Platforms::All));
        world.finish(task).unwrap();
    }
    // The most similar one has gone.
    let mut model = Model::new(open());
    for repository in ["team/web", "other"] {
        model.put_image(repository, Some("v1"), &pushed);
    }
    world.models[0] = model;
    let mut mounted_from = |to: &str| {
        let task = push_to(&mut world, &pushed, to, &[]);
        let task = world.start(task);
        let found = requests(&mut world, task);
        found
            .into_iter()
            .filter(|it| it.contains("from="))
            .collect::<Vec<_>>()
    };
    let expected = [
        "POST uploads from=team/app/old",
        "POST uploads from=team/app/old",
        "POST uploads from=team/web",
    ];
    assert_eq!(mounted_from("reg.example/team/app/new:v1"), expected);
    // By now the first destination has both, and is as similar to this as the one that failed.
    let expected = ["POST uploads from=team/app/new"; 2];
    assert_eq!(mounted_from("reg.example/team/app/third:v1"), expected);
}

/// users.md 16.4: a registry that does not mount costs a round trip for a few blobs, not for each.
#[test]
fn a_registry_that_never_mounts_is_not_asked_in_vain() {
    let layers: Vec<Vec<u8>> = (0..10).map(|n| vec![n; MIDDLE]).collect();
    let pushed = image(&layers);
    let mut model = Model::new(open());
    for repository in ["x", "y"] {
        model.put_image(repository, Some("v1"), &pushed);
    }
    let mut options = open();
    options.uploads.mounts = false;
    let mut world = world(options, model);
    for repository in ["x", "y"] {
        let (store, _) = world.store();
        let source = reference(&format!("reg.example/{repository}:v1"));
        let task = world.start(Task::pull(source, store, None, Platforms::All));
        world.finish(task).unwrap();
    }
    let task = push_to(&mut world, &pushed, "reg.example/a/b:v1", &[]);
    let task = world.start(task);
    world.finish(task).unwrap();
    let task = push_to(&mut world, &pushed, "reg.example/c/d:v1", &[]);
    world.take_log(0);
    let task = world.start(task);
    let found = requests(&mut world, task);
    // One mount for each blob, whose session is used for it.
    let posts = found.iter().filter(|it| it.starts_with("POST ")).count();
    let deletes = found.iter().filter(|it| it.starts_with("DELETE ")).count();
    assert_eq!((posts, deletes), (11, 0), "{found:?}");
    check(&world, "c/d:v1", &pushed);
}

/// PUSHB-52: only if the caller says so, or the registry has mounted something that way.
#[test]
fn a_registry_that_searches_is_asked_to() {
    for (searches, refuses) in [(true, false), (false, false), (false, true)] {
        let one = image(&[vec![1; 10]]);
        let two = image(&[vec![2; 10]]);
        let mut model = Model::new(open());
        model.put_image("some/where", None, &one);
        model.put_image("some/where", None, &two);
        let mut options = open();
        options.uploads.anonymous_mount = searches;
        let mut world = world(options, model);
        if refuses {
            let refusal = Answer::new(StatusCode::BAD_REQUEST);
            world.all(is("POST", "mount="), Fate::Say(refusal));
        }
        let task = push_to(&mut world, &one, "reg.example/a/b:v1", &["*"]);
        let task = world.start(task);
        let report = world.finish(task).unwrap().copied().unwrap();
        let mounted = if searches { 2 } else { 0 };
        assert_eq!((report.mounted, report.moved), (mounted, 2 - mounted));
        world.take_log(0);
        let task = push_to(&mut world, &two, "reg.example/a/b:v2", &[]);
        let task = world.start(task);
        let found = requests(&mut world, task);
        let asked = found.iter().filter(|it| it.ends_with("from=*")).count() as u64;
        assert_eq!(asked, mounted, "{found:?}");
        check(&world, "a/b:v2", &two);
    }
}
