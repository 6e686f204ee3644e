//! Round trips (design §5), counted by the model with `==`: one request too few is as wrong as one too
//! many. Open, Basic and Bearer; token requests are counted separately.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use windlass_core::credential::CredentialAnswer;
use windlass_core::{
    Config, CopyTask, Descriptor, ErrorKind, Platform, Platforms, Task, TaskId, TaskLocation,
};
use windlass_store::Store as _;
use windlass_testbed::{Answer, Image, Model, OCI_INDEX, Options, image, image_for, index};
use windlass_tests::world::scenes::{
    alice, basic, bearer, copy_within, digest, fill, is, one_at_a_time, open, pull, push,
    reference, two_platforms, world,
};
use windlass_tests::world::{Fate, World};

/// Layers of the images here.
const L: usize = 5;

fn layers(tag: u8) -> Image {
    let layers: Vec<Vec<u8>> = (0..L).map(|n| vec![tag, n as u8, 7]).collect();
    image(&layers)
}

/// A way into a registry: its options, who asks, and what it costs with one scope set at the
/// registry and at its token service.
struct Entry {
    name: &'static str,
    options: Options,
    credential: CredentialAnswer,
    registry: usize,
    tokens: usize,
}

fn entries() -> [Entry; 3] {
    let entry = |name, options, credential, registry, tokens| Entry {
        name,
        options,
        credential,
        registry,
        tokens,
    };
    [
        entry("open", open(), CredentialAnswer::None, 0, 0),
        entry("Basic", basic(), alice(), 1, 0),
        entry("Bearer", bearer(), alice(), 1, 1),
    ]
}

impl Entry {
    fn world(&self, config: Config, mut model: Model) -> World {
        *model.options_mut() = self.options.clone();
        let mut world = World::new(config);
        world.registry(&["reg.example"], model);
        world.credential("reg.example", self.credential.clone(), &["reg.example"]);
        world
    }
}

/// Runs a task and says how many requests went to the registry and to its token service.
fn cost(world: &mut World, task: TaskId) -> (usize, usize) {
    world.finish(task).unwrap();
    let log = world.take_log(0);
    let tokens = log.iter().filter(|line| line.contains("/token")).count();
    (log.len() - tokens, tokens)
}

#[test]
fn pull_costs_l_plus_2_and_again_1() {
    for entry in entries() {
        for config in [Config::default(), one_at_a_time()] {
            let mut model = Model::new(open());
            model.put_image("a/b", Some("v1"), &layers(0));
            let mut world = entry.world(config, model);
            let (store, _) = world.store();
            let task = world.start(pull(store));
            let expected = (L + 2 + entry.registry, entry.tokens);
            assert_eq!(cost(&mut world, task), expected, "{}", entry.name);
            // The session knows its way by now, and the store has it all.
            let task = world.start(pull(store));
            assert_eq!(cost(&mut world, task), (1, 0), "{} again", entry.name);
            world.run_all();
        }
    }
}

#[test]
fn an_index_costs_one_more_and_all_of_it_its_parts() {
    for entry in entries() {
        let wanted = Platforms::One(Platform::new("linux", "amd64"));
        for (platforms, requests) in [(wanted, 2 + 3), (Platforms::All, 1 + 2 + 5)] {
            let (model, ..) = two_platforms(open());
            let mut world = entry.world(Config::default(), model);
            let (store, _) = world.store();
            let reference = reference("reg.example/a/b:v1");
            let task = Task::pull(reference, store, None, platforms);
            let first = world.start(task.clone());
            let expected = (requests + entry.registry, entry.tokens);
            assert_eq!(cost(&mut world, first), expected, "{}", entry.name);
            let again = world.start(task);
            assert_eq!(cost(&mut world, again), (1, 0), "{} again", entry.name);
        }
    }
}

#[test]
fn push_costs_2_per_blob_and_3_and_again_1_and_a_new_tag_3() {
    for entry in entries() {
        for config in [Config::default(), one_at_a_time()] {
            let mut world = entry.world(config, Model::new(open()));
            let (store, memory) = world.store();
            fill(&memory, &layers(0));
            let task = world.start(push(store));
            let expected = (2 * (L + 1) + 3 + entry.registry, entry.tokens);
            assert_eq!(cost(&mut world, task), expected, "{}", entry.name);
            let task = world.start(push(store));
            assert_eq!(cost(&mut world, task), (1, 0), "{} again", entry.name);
            let to = reference("reg.example/a/b:v2");
            let task = world.start(Task::push(store, None, to, Platforms::All));
            assert_eq!(cost(&mut world, task), (3, 0), "{} retag", entry.name);
            world.run_all();
        }
    }
}

/// With credentials for an open registry, the first 404 of a session costs one more request: credentials
/// could change it. Pulls of existing content cost the same as without.
#[test]
fn credentials_for_an_open_registry_cost_1_once() {
    let entry = Entry {
        name: "open, with credentials",
        options: open(),
        credential: alice(),
        registry: 1,
        tokens: 0,
    };
    let mut world = entry.world(Config::default(), Model::new(open()));
    let (store, memory) = world.store();
    fill(&memory, &layers(0));
    let task = world.start(push(store));
    let expected = (2 * (L + 1) + 3 + entry.registry, entry.tokens);
    assert_eq!(cost(&mut world, task), expected);
    let to = reference("reg.example/a/b:v2");
    let task = world.start(Task::push(store, None, to, Platforms::All));
    assert_eq!(cost(&mut world, task), (3, 0));
    let (empty, _) = world.store();
    let task = world.start(pull(empty));
    assert_eq!(cost(&mut world, task), (L + 2, 0));

    let mut model = Model::new(open());
    model.put_image("a/b", Some("v1"), &layers(0));
    let mut world = entry.world(Config::default(), model);
    let (store, _) = world.store();
    let task = world.start(pull(store));
    assert_eq!(cost(&mut world, task), (L + 2, 0));
}

/// "Retag 3": with any number of requests in flight, since nothing goes out beside the question.
#[test]
fn a_new_tag_alone_costs_3_in_a_new_session_too() {
    for entry in entries() {
        let image = layers(0);
        let mut model = Model::new(open());
        model.put_image("a/b", Some("v1"), &image);
        let mut world = entry.world(Config::default(), model);
        let (store, memory) = world.store();
        fill(&memory, &image);
        let to = reference("reg.example/a/b:v2");
        let task = world.start(Task::push(store, None, to, Platforms::All));
        let expected = (3 + entry.registry, entry.tokens);
        assert_eq!(cost(&mut world, task), expected, "{}", entry.name);
    }
}

#[test]
fn copy_in_one_registry_costs_l_plus_5_and_again_2() {
    for entry in entries() {
        let mut model = Model::new(open());
        model.put_image("a/b", Some("v1"), &layers(0));
        let mut world = entry.world(one_at_a_time(), model);
        let copy = copy_within("reg.example/a/b:v1", "reg.example/c:v1", None);
        let task = world.start(copy.clone());
        // One scope set: push to the destination and pull from the source.
        let expected = (L + 5 + entry.registry, entry.tokens);
        assert_eq!(cost(&mut world, task), expected, "{}", entry.name);
        let task = world.start(copy);
        assert_eq!(cost(&mut world, task), (2, 0), "{} again", entry.name);
    }
}

/// A new tag in the same repository: what it names is there, so nothing is asked, mounted or moved.
#[test]
fn a_copy_in_one_repository_costs_3_and_again_2() {
    for entry in entries() {
        let (mut model, ..) = two_platforms(open());
        model.put_image("a/b", Some("one"), &layers(0));
        let mut world = entry.world(Config::default(), model);
        let mut paid = (entry.registry, entry.tokens);
        for from in ["reg.example/a/b:one", "reg.example/a/b:v1"] {
            let copy = copy_within(from, &format!("{from}-too"), None);
            let task = world.start(copy.clone());
            assert_eq!(
                cost(&mut world, task),
                (3 + paid.0, paid.1),
                "{}",
                entry.name
            );
            paid = (0, 0);
            let task = world.start(copy);
            assert_eq!(cost(&mut world, task), (2, 0), "{} again", entry.name);
        }
        assert_eq!(world.lines_with("mount=").len(), 0);
    }
}

#[test]
fn each_child_of_an_index_costs_2_more_to_push() {
    for entry in entries() {
        let mut world = entry.world(one_at_a_time(), Model::new(open()));
        let (store, memory) = world.store();
        let (_, amd64, arm64) = two_platforms(open());
        fill(&memory, &amd64);
        fill(&memory, &arm64);
        let both = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
        memory.blob(&digest(&both.manifest), &both.manifest);
        let size = both.manifest.len() as u64;
        let root = Descriptor::new(OCI_INDEX, digest(&both.manifest), size);
        memory.tag(Some("both"), &root).unwrap();
        let to = reference("reg.example/a/b:v1");
        let task = Task::push(store, Some("both".into()), to, Platforms::All);
        let first = world.start(task.clone());
        let expected = (2 * 5 + 2 * 2 + 3 + entry.registry, entry.tokens);
        assert_eq!(cost(&mut world, first), expected, "{}", entry.name);
        let again = world.start(task);
        assert_eq!(cost(&mut world, again), (1, 0), "{} again", entry.name);
    }
}

/// A blob from 256 KiB on is asked about before it is sent; a refused mount adds its POST.
#[test]
fn large_blobs_and_refused_mounts_cost_one_more() {
    let big = image(&[vec![1; 256 * 1024], vec![2; 256 * 1024 - 1]]);
    let mut world = World::new(one_at_a_time());
    world.registry(&["reg.example"], Model::new(open()));
    let (store, memory) = world.store();
    fill(&memory, &big);
    let task = world.start(push(store));
    assert_eq!(cost(&mut world, task), (2 * 3 + 3 + 1, 0));

    let small = layers(0);
    let (store, memory) = world.store();
    fill(&memory, &small);
    // 202: the session that is opened instead is used, so that not even that costs anything.
    let task = world.start(Task::copy(
        CopyTask::new(
            TaskLocation::Store { store, name: None },
            TaskLocation::Registry(reference("reg.example/c:v1")),
        )
        .mount_from(["a/b".parse().unwrap()]),
    ));
    assert_eq!(cost(&mut world, task), (2 * (L + 1) + 3, 0));
}

/// Embedded and empty blobs cost nothing.
#[test]
fn resolving_costs_1() {
    for entry in entries() {
        let mut model = Model::new(open());
        model.put_image("a/b", Some("v1"), &layers(0));
        let mut world = entry.world(one_at_a_time(), model);
        let task = world.start(Task::resolve(reference("reg.example/a/b:v1")));
        let expected = (1 + entry.registry, entry.tokens);
        assert_eq!(cost(&mut world, task), expected, "{}", entry.name);
    }
}

/// More blobs than a copy has under way at once, in several images that share some: each moves once.
#[test]
fn many_blobs_move_once_each() {
    let platforms = ["linux/amd64", "linux/arm64", "linux/s390x"];
    let mut model = Model::new(open());
    let images: Vec<Image> = (0..3_u32)
        .map(|n| {
            let layers = (n * 100..n * 100 + 150).map(|n| n.to_be_bytes().to_vec());
            let image = image_for(platforms[n as usize], &layers.collect::<Vec<_>>());
            model.put_image("a/b", None, &image);
            image
        })
        .collect();
    let entries: Vec<_> = platforms.into_iter().zip(&images).collect();
    model.put_index("a/b", Some("v1"), &index(&entries));
    let mut world = World::new(Config::default());
    world.registry(&["reg.example"], model);
    let (store, memory) = world.store();
    let pull = world.start(pull(store));
    // The layers 0 to 349, and a configuration for each image.
    let blobs = 350 + 3;
    assert_eq!(world.finish(pull).unwrap().copied().unwrap().moved, blobs);
    assert_eq!(world.take_log(0).len() as u64, blobs + 3 + 1);
    assert_eq!(memory.blobs().len() as u64, blobs + 3 + 1);

    let push = world.start(push(store));
    let report = world.finish(push).unwrap().copied().unwrap();
    assert_eq!((report.moved, report.present), (0, 0));
    let task = Task::push(store, None, reference("reg.example/c:v1"), Platforms::All);
    let push = world.start(task);
    let report = world.finish(push).unwrap().copied().unwrap();
    // They are mounted from where they were pulled from.
    assert_eq!((report.moved, report.mounted), (0, blobs));
}

/// HTTP-22: the answer to a HEAD has no body; the GET that follows names the reason.
#[test]
fn a_head_that_is_refused_is_explained_by_a_get() {
    let of_manifest = |method| is(method, "/manifests/v1");
    for (status, code, kind) in [
        (StatusCode::FORBIDDEN, "DENIED", ErrorKind::Auth),
        (
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            ErrorKind::NotFound,
        ),
    ] {
        let mut world = world(Config::default(), Model::new(open()));
        let reason = Answer::error(status, code, "it says why");
        world.all(of_manifest("HEAD"), Fate::Say(Answer::new(status)));
        world.all(of_manifest("GET"), Fate::Say(reason));
        for task in [
            Task::resolve(reference("reg.example/a/b:v1")),
            Task::referrers(reference("reg.example/a/b:v1"), None),
        ] {
            let task = world.start(task);
            let failure = world.finish(task).unwrap_err();
            assert_eq!(failure.kind(), kind, "{failure}");
            let text = failure.to_string();
            assert!(
                text.contains(code) && text.contains("it says why"),
                "{text}"
            );
        }
        world.run_all();
        assert_eq!(world.lines_with("> HEAD ").len(), 2);
        assert_eq!(
            world
                .lines_with("> GET https://reg.example/v2/a/b/manifests/v1")
                .len(),
            2
        );
    }
}
