//! Attacks of published advisories, seen from inside: no checkpoint has a secret in it, at whatever step. And
//! the tests that `tests/ADVISORIES.md` names are there.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{Config, Task};
use windlass_testbed::{Answer, Auth, Bearer, Options};
use windlass_tests::world::scenes::{
    FOREIGN, alice, basic, bearer_with, fill, is, on_foreign, open, pull, push, small, with_image,
    world,
};
use windlass_tests::world::{Fate, World};

use super::promises::{has_test, sources};

const PASSWORD: &str = "pa55-of-alice";
const IDENTITY: &str = "identity-of-alice";

/// Steps through a task, and looks into each checkpoint on the way.
fn step_through(mut world: World, task: impl FnOnce(&mut World) -> Task) {
    let task = task(&mut world);
    world.start(task);
    let pair = STANDARD.encode(format!("alice:{PASSWORD}"));
    let mut secrets = vec![PASSWORD.to_owned(), pair, IDENTITY.to_owned()];
    let mut checkpoints = 0;
    while world.step() {
        let saved = world.session.checkpoint().to_json();
        secrets.extend(
            world
                .models
                .iter()
                .flat_map(|it| it.tokens().keys().cloned()),
        );
        for secret in &secrets {
            assert!(!saved.contains(secret), "{secret} is in {saved}");
        }
        secrets.truncate(3);
        checkpoints += 1;
    }
    assert!(checkpoints > 2, "{}", world.transcript());
}

/// A registry with an image, whose realm is elsewhere.
fn with_realm(realm: &str) -> Options {
    let mut options = bearer_with(Bearer::default());
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.realm = realm.to_owned();
    }
    options
}

fn redirect(status: u16, location: &str) -> Fate {
    let status = StatusCode::from_u16(status).unwrap();
    Fate::Say(Answer::new(status).header("location", location))
}

/// Realms, redirects, upload locations and foreign URLs that lead elsewhere.
#[test]
fn no_attack_puts_a_secret_into_a_checkpoint() {
    let image = small();
    let identity = || CredentialAnswer::Refresh(Secret::new(IDENTITY));
    for credential in [alice(), identity()] {
        for realm in [
            "https://evil.example/token",
            "http://reg.example/token",
            "https://169.254.169.254/token",
            "https://{host}/token",
        ] {
            let mut world = world(Config::default(), with_image(with_realm(realm), &image));
            world.credential("reg.example", credential.clone(), &["reg.example"]);
            step_through(world, |world| pull(world.store().0));
        }
    }
    for status in [302, 307] {
        let mut world = world(Config::default(), with_image(basic(), &image));
        world.credential("reg.example", alice(), &["reg.example"]);
        world.all(
            is("GET", "/blobs/"),
            redirect(status, "https://evil.example/blob"),
        );
        step_through(world, |world| pull(world.store().0));
    }
    let mut pushing = world(Config::default(), windlass_testbed::Model::new(basic()));
    pushing.credential("reg.example", alice(), &["reg.example"]);
    pushing.all(
        is("POST", "/uploads/"),
        redirect(202, "https://evil.example/upload"),
    );
    step_through(pushing, |world| {
        let (store, memory) = world.store();
        fill(&memory, &small());
        push(store)
    });
    let foreign = on_foreign(&image, FOREIGN, b"layer", &["https://evil.example/layer"]);
    let mut world = world(Config::default(), with_image(basic(), &foreign));
    world.credential("reg.example", alice(), &["reg.example"]);
    world.registry(&["evil.example"], windlass_testbed::Model::new(open()));
    step_through(world, |world| {
        pull(world.store().0).including_nondistributable()
    });
}

/// A table that names tests which are gone is worth nothing.
#[test]
fn the_tests_of_each_advisory_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(root.join("tests/ADVISORIES.md")).unwrap();
    let mut files = Vec::new();
    for folder in ["core", "adapters", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let code: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut advisories = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [advisory, _, _, tests] = &cells[..] else {
            panic!("{row}");
        };
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{advisory}");
        for name in names {
            let is_test = code.iter().any(|file| has_test(file, name));
            assert!(is_test, "there is no test {name}, which {advisory} has");
        }
        advisories += 1;
    }
    assert_eq!(advisories, 26, "one row for each advisory of the list");
}
