//! The kinds of registries in the core's table, and settings for some registries only.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::Cursor;

use windlass_core::config::{
    ChunkSizes, Concurrency, RegistryKind, RegistrySettings, RequestHeader,
};
use windlass_core::credential::{Access, CredentialAnswer, Secret};
use windlass_core::{Config, ErrorKind, Failure, Task, TaskReport};
use windlass_testbed::{Image, Model, Options};
use windlass_tests::personas::persona;
use windlass_tests::world::World;
use windlass_tests::world::scenes::{
    alice, basic, bearer, check_holds, check_pushed, fill, is, large, open, pull, push, reference,
    small, world,
};

const MIB: usize = 1 << 20;

fn settings(pattern: &str) -> RegistrySettings {
    RegistrySettings::new(pattern.parse().unwrap(), "test")
}

fn with(settings: RegistrySettings) -> Config {
    let mut config = Config::default();
    config.registries.push(settings);
    config
}

fn taken_for(kind: Option<RegistryKind>) -> Config {
    let mut settings = settings("reg.example");
    settings.kind = kind;
    with(settings)
}

/// A world with a registry that has the repository `a/b` with another image, and credentials for it.
fn world_of(config: Config, options: Options) -> World {
    let mut model = Model::new(options);
    model.put_image("a/b", Some("other"), &large(10));
    let mut world = world(config, model);
    world.credential("reg.example", alice(), &["reg.example"]);
    world
}

fn run(world: &mut World, task: Task) -> Result<TaskReport, Failure> {
    let task = world.start(task);
    let result = world.finish(task);
    world.run_all();
    result
}

fn push_of(world: &mut World, image: &Image) -> Result<TaskReport, Failure> {
    let (store, memory) = world.store();
    fill(&memory, image);
    run(world, push(store))
}

/// Habits are hints: whatever a registry is taken for, an image goes there and back.
#[test]
fn every_registry_works_whatever_it_is_taken_for() {
    let image = small();
    for kind in RegistryKind::all().filter(|kind| *kind != RegistryKind::Mcr) {
        // Those whose habits change what is sent.
        let others = [
            None,
            Some(kind),
            Some(RegistryKind::Ecr),
            Some(RegistryKind::Gar),
            Some(RegistryKind::Cloudflare),
        ];
        for taken in others {
            let mut world = world_of(taken_for(taken), persona(kind));
            push_of(&mut world, &image).unwrap_or_else(|error| {
                panic!("{kind} taken for {taken:?}: {error}");
            });
            check_pushed(&world, "a/b", &image);
            let (store, memory) = world.store();
            run(&mut world, pull(store)).unwrap();
            check_holds(&memory, &image);
            let tags = run(
                &mut world,
                Task::tags(reference("reg.example/a/b"), Default::default()),
            );
            let tags = tags.unwrap().tags().unwrap();
            let tags: Vec<_> = tags.tags.iter().map(|tag| tag.as_str()).collect();
            assert_eq!(tags, ["other", "v1"], "{kind} taken for {taken:?}");
        }
    }
}

/// A blob in chunks, because that is configured, or in the sizes that the registry is known to take after it has
/// refused a chunk.
#[test]
fn chunks_that_registries_take() {
    let image = large(6 * MIB);
    for (kind, expected) in [
        // 5 MiB are too much for one PATCH, so the blob is sent again in smaller ones.
        (RegistryKind::Ghcr, 1 + 2),
        // What it says of its chunks is stale, so the second one is offered once more.
        (RegistryKind::Ecr, 2 + 1),
        (RegistryKind::Zot, 2),
        (RegistryKind::Distribution, 2),
    ] {
        let mut settings = settings("reg.example");
        settings.kind = Some(kind);
        settings.chunk_size = Some(5 << 20);
        let mut world = world_of(with(settings), persona(kind));
        push_of(&mut world, &image).unwrap();
        check_pushed(&world, "a/b", &image);
        let patches = world
            .lines_with("> PATCH https://reg.example/v2/a/b/")
            .len();
        assert_eq!(patches, expected, "{kind}");
    }
    // Sizes that a registry does not take cost a part or two, and not the push: one that is too small, and all.
    let mib = 1 << 20;
    for (kind, chunk, size, expected) in [
        (RegistryKind::Ecr, mib, 3, 2),
        (RegistryKind::Gar, mib, 3, 2),
        // The second one is offered twice, as at ECR.
        (RegistryKind::EcrPublic, 5 * mib, 6, 2 + 1),
    ] {
        let image = large(size * MIB);
        let mut settings = settings("reg.example");
        settings.kind = Some(kind);
        settings.chunk_size = Some(chunk);
        // A size for all registries is brought within what this one takes.
        let mut of_all = taken_for(Some(kind));
        of_all.chunk_size = Some(chunk);
        for (config, expected) in [(with(settings), expected), (of_all, 0)] {
            let mut world = world_of(config, persona(kind));
            push_of(&mut world, &image).unwrap();
            check_pushed(&world, "a/b", &image);
            let patches = world.lines_with("> PATCH https://reg.example/").len();
            assert_eq!(patches, expected, "{kind}");
        }
    }
    // Without a setting a blob is one PUT.
    let image = large(MIB);
    for kind in [RegistryKind::Ghcr, RegistryKind::Ecr, RegistryKind::Gar] {
        let mut world = world_of(taken_for(Some(kind)), persona(kind));
        push_of(&mut world, &image).unwrap();
        check_pushed(&world, "a/b", &image);
        assert_eq!(world.lines_with("> PATCH https://reg.example/").len(), 0);
    }
}

/// A stream goes in one request to a registry that is known to damage what comes in chunks.
#[test]
fn a_stream_is_gathered_for_a_registry_that_damages_chunks() {
    // More than what is read of a stream before anything is sent.
    let whole = (RegistryKind::EcrPublic, None, 17 * MIB, 0);
    let in_chunks = (RegistryKind::Zot, Some(MIB as u64), 3 * MIB, 3);
    for (kind, chunk, size, patches) in [whole, in_chunks] {
        let mut settings = settings("reg.example");
        settings.kind = Some(kind);
        settings.chunk_size = chunk;
        let mut world = world_of(with(settings), persona(kind));
        check_stream(&mut world, kind, &vec![7; size]);
        let sent = world.lines_with("> PATCH https://reg.example/").len();
        assert_eq!(sent, patches, "{kind}");
    }
    // That is what it is gathered for.
    let options = persona(RegistryKind::EcrPublic);
    let mut config = Config::default();
    config.chunk_size = Some(MIB as u64);
    let mut world = world_of(config, options);
    let content = Cursor::new(vec![7; 3 * MIB]);
    let stream = world.put_stream(&reference("reg.example/a/b"), content);
    run(&mut world, stream).unwrap_err();
}

/// Each kind takes a large blob, in chunks where it takes any, and a stream.
#[test]
fn large_blobs_and_streams_at_every_registry() {
    let image = large(12 * MIB);
    let content: Vec<u8> = (0..11 * MIB).map(|n| (n % 249) as u8).collect();
    for kind in RegistryKind::all().filter(|kind| *kind != RegistryKind::Mcr) {
        let in_chunks = kind.habits().chunks != ChunkSizes::NONE;
        let mut settings = settings("reg.example");
        settings.kind = Some(kind);
        settings.chunk_size = in_chunks.then_some(5 << 20);
        let mut world = world_of(with(settings), persona(kind));
        push_of(&mut world, &image).unwrap_or_else(|error| panic!("{kind}: {error}"));
        check_pushed(&world, "a/b", &image);
        let patches = |world: &World| world.lines_with("> PATCH https://reg.example/").len();
        let pushed = patches(&world);
        check_stream(&mut world, kind, &content);
        let streamed = patches(&world) - pushed;
        assert_eq!((pushed > 2, streamed > 2), (in_chunks, in_chunks), "{kind}");
        // The image's config is small.
        let log = world.models[0].log().iter();
        let posted = log
            .filter(|it| it.method == "POST" && it.target.contains("digest="))
            .count();
        assert_eq!(posted > 0, kind.habits().posts, "{kind}");
    }
}

#[track_caller]
fn check_stream(world: &mut World, kind: RegistryKind, content: &[u8]) {
    let stream = Cursor::new(content.to_vec());
    let task = world.put_stream(&reference("reg.example/a/b"), stream);
    run(world, task).unwrap_or_else(|error| panic!("{kind}: {error}"));
    let digest = windlass_testbed::Digest::sha256(content);
    let there = world.models[0].blob_bytes("a/b", &digest);
    assert!(there.is_some_and(|it| **it == *content), "{kind}");
}

fn hint(failure: &Failure) -> &str {
    failure.first().hint().unwrap_or_default()
}

/// What a registry does not have is told by the hint of the error.
#[test]
fn advice_for_what_a_registry_lacks() {
    let tag = || Task::delete(reference("reg.example/a/b:other"));
    let catalog = || Task::catalog("reg.example".parse().unwrap(), Default::default());
    for (kind, task, advice) in [
        (
            RegistryKind::DockerHub,
            catalog(),
            "Docker Hub does not list its repositories",
        ),
        (
            RegistryKind::DockerHub,
            tag(),
            "Docker Hub deletes tags on its web site",
        ),
    ] {
        let mut world = world_of(taken_for(Some(kind)), persona(kind));
        let failure = run(&mut world, task).unwrap_err();
        assert!(hint(&failure).starts_with(advice), "{kind}: {failure:?}");
    }
    let new = |kind, options| {
        let mut world = world(taken_for(Some(kind)), Model::new(options));
        world.credential("reg.example", alice(), &["reg.example"]);
        push_of(&mut world, &small()).unwrap_err()
    };
    for (kind, advice) in [
        (RegistryKind::Ecr, "does not create a repository"),
        (RegistryKind::Harbor, "must be a project of Harbor"),
    ] {
        let failure = new(kind, persona(kind));
        assert_eq!(failure.first().kind(), ErrorKind::NotFound);
        assert!(hint(&failure).contains(advice), "{kind}: {failure:?}");
    }
    let failure = new(RegistryKind::Mcr, persona(RegistryKind::Mcr));
    assert_eq!(failure.first().kind(), ErrorKind::Auth);
    assert!(
        hint(&failure).contains("only Microsoft publishes"),
        "{failure:?}"
    );
    // Who has no credentials is told that first.
    let mut world = world(taken_for(Some(RegistryKind::Mcr)), Model::new(basic()));
    let failure = push_of(&mut world, &small()).unwrap_err();
    assert!(
        hint(&failure).contains("there are no credentials"),
        "{failure:?}"
    );
}

fn limited(user: &str, secret: &str) -> CredentialAnswer {
    CredentialAnswer::Basic {
        username: user.into(),
        password: Secret::new(secret),
    }
}

/// One credential for reading, another for writing; each is asked for once, and shown for its purpose only.
#[test]
fn credentials_for_reading_and_for_writing() {
    use windlass_testbed::{Auth, User};
    let image = small();
    for mut options in [basic(), bearer()] {
        let reader = User::limited("pa55-of-reader").with("a/b", &["pull"]);
        let writer = User::limited("pa55-of-writer").with("a/b", &["pull", "push"]);
        let all = [("reader".into(), reader), ("writer".into(), writer)].into();
        match &mut options.auth {
            Auth::Basic(basic) => basic.users = all,
            Auth::Bearer(bearer) => {
                bearer.users = all;
                bearer.anonymous_pull = false;
            }
            other @ (Auth::Open | _) => panic!("{other:?}"),
        }
        let mut apart = settings("reg.example");
        apart.separate_writes = Some(true);
        let mut world = world(with(apart), Model::new(options));
        for (access, name) in [(Access::Read, "reader"), (Access::Write, "writer")] {
            let answer = limited(name, &format!("pa55-of-{name}"));
            world.credential_for(access, "reg.example", answer, &["reg.example"]);
        }
        push_of(&mut world, &image).unwrap();
        check_pushed(&world, "a/b", &image);
        for _ in 0..2 {
            let (store, memory) = world.store();
            run(&mut world, pull(store)).unwrap();
            check_holds(&memory, &image);
        }
        for access in ["for reading", "for writing"] {
            let asked = format!("> credentials for reg.example, {access}");
            assert_eq!(world.lines_with(&asked).len(), 1, "{asked}");
        }
    }
}

/// Headers of the caller go to the registry that they are for, and not to its storage.
#[test]
fn headers_for_one_registry() {
    let mut options = open();
    options.storage = Some(windlass_testbed::Storage::new("https://cdn.example"));
    let mut named = settings("*.example");
    named.headers = vec![RequestHeader::new("x-team", Secret::new("blue")).unwrap()];
    let mut world = world_of(with(named), options);
    let (store, _) = world.store();
    let image = Task::pull(
        reference("reg.example/a/b:other"),
        store,
        None,
        windlass_core::Platforms::All,
    );
    run(&mut world, image).unwrap();
    let log = world.models[0].log();
    let has = |entry: &&windlass_testbed::Entry| entry.headers.contains_key("x-team");
    let (with, without): (Vec<_>, Vec<_>) = log.iter().partition(has);
    assert!(!with.is_empty() && with.iter().all(|it| it.host == "reg.example"));
    assert!(!without.is_empty() && without.iter().all(|it| it.host == "cdn.example"));
}

/// Scopes that are configured are asked for with the others; a token service that refuses them is asked without.
#[test]
fn scopes_for_one_registry() {
    use windlass_testbed::{Bearer, Unions};
    let image = small();
    for (unions, expected) in [
        (Unions::Granted, &[true][..]),
        (Unions::RefusedAtRealm, &[true, false, false]),
    ] {
        let options = windlass_tests::world::scenes::bearer_with(Bearer {
            unions,
            ..Bearer::default()
        });
        let mut more = settings("reg.example");
        more.scopes = vec!["repository:a/base:pull".parse().unwrap()];
        let mut world = world_of(with(more), options);
        push_of(&mut world, &image).unwrap();
        let log = world.models[0].log();
        let tokens = log.iter().filter(|it| it.target.starts_with("/token"));
        let asked: Vec<bool> = tokens
            .map(|it| it.target.contains("a%2Fbase") || it.target.contains("a/base"))
            .collect();
        assert_eq!(asked, expected);
    }
}

/// Requests, uploads and attempts of one registry are bounded, and those of others are not.
#[test]
fn bounds_for_one_registry() {
    let layers: Vec<Vec<u8>> = (0..12_u8).map(|n| vec![n; 300 * 1024]).collect();
    let image = windlass_testbed::image(&layers);
    let most_at_once = |settings: RegistrySettings, part: &'static str| {
        let mut world = world_of(with(settings), open());
        world.pick = Box::new(|jobs| jobs.len() - 1);
        let most = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = most.clone();
        world.pick = Box::new(move |jobs| {
            let http = jobs.iter().flat_map(windlass_core::Job::calls);
            let http = http.filter(|call| call.request().uri().path().contains(part));
            seen.set(seen.get().max(http.count()));
            0
        });
        push_of(&mut world, &image).unwrap();
        check_pushed(&world, "a/b", &image);
        most.get()
    };
    assert!(most_at_once(settings("other.example"), "/v2/") > 3);
    let mut few = settings("reg.example");
    few.in_flight = Some(Concurrency::at_most(3));
    assert_eq!(most_at_once(few, "/v2/"), 3);
    let mut uploads = settings("reg.example");
    uploads.uploads = Some(2);
    assert_eq!(most_at_once(uploads, "/blobs/"), 2);
    // One that is known to want one upload at a time gets that, unless something else is configured.
    let mut ecr = settings("reg.example");
    ecr.kind = Some(RegistryKind::Ecr);
    assert_eq!(most_at_once(ecr.clone(), "/blobs/"), 1);
    ecr.uploads = Some(4);
    assert_eq!(most_at_once(ecr, "/blobs/"), 4);
}

/// A registry that is retried less often than others.
#[test]
fn attempts_at_one_registry() {
    let mut once = settings("reg.example");
    let mut retry = Config::default().retry;
    retry.attempts = 1;
    once.retry = Some(retry);
    for (config, expected) in [(with(once), 1), (Config::default(), 5)] {
        let mut world = world_of(config, open());
        let unavailable =
            windlass_testbed::Answer::error(http::StatusCode::BAD_GATEWAY, "UNAVAILABLE", "later");
        world.all(
            is("GET", "/manifests/"),
            windlass_tests::world::Fate::Say(unavailable),
        );
        let (store, _) = world.store();
        run(&mut world, pull(store)).unwrap_err();
        let gets = world.lines_with(" > GET https://reg.example/v2/a/b/manifests/v1");
        assert_eq!(gets.len(), expected);
    }
}
