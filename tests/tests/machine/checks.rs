//! Whether a registry accepts the credentials for it: what `windlass login` asks.

use insta::assert_snapshot;
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_core::{ErrorKind, Task};
use windlass_testbed::{Bearer, Model, Options};
use windlass_tests::world::World;
use windlass_tests::world::scenes::{alice, basic, bearer_with, one_at_a_time, open, world};

/// A registry, and alice's credential or another one.
fn scene(options: Options, credential: CredentialAnswer) -> World {
    let mut world = world(one_at_a_time(), Model::new(options));
    world.credential("reg.example", credential, &["reg.example"]);
    world
}

fn task() -> Task {
    Task::check("reg.example".parse().expect("a registry"))
}

fn check(world: &mut World) -> Result<bool, ErrorKind> {
    let task = world.start(task());
    let checked = world.check(task);
    checked
        .map(|it| it.anonymous)
        .map_err(|failure| failure.kind())
}

fn with_tokens() -> Options {
    bearer_with(Bearer::default())
}

#[test]
fn what_is_accepted() {
    let wrong = || CredentialAnswer::Basic {
        username: "alice".into(),
        password: Secret::new("another"),
    };
    let failed = || CredentialAnswer::Failed("a helper is absent".into());
    let table = [
        ("open", open(), alice(), Ok(true)),
        ("Basic", basic(), alice(), Ok(false)),
        ("Basic", basic(), wrong(), Err(ErrorKind::Auth)),
        ("Basic", basic(), failed(), Err(ErrorKind::Auth)),
        (
            "Basic",
            basic(),
            CredentialAnswer::None,
            Err(ErrorKind::Auth),
        ),
        ("tokens", with_tokens(), alice(), Ok(false)),
        ("tokens", with_tokens(), wrong(), Err(ErrorKind::Auth)),
        ("tokens", with_tokens(), CredentialAnswer::None, Ok(true)),
    ];
    for (name, options, credential, expected) in table {
        let said = format!("{name} with {credential:?}");
        assert_eq!(check(&mut scene(options, credential)), expected, "{said}");
    }
}

/// AUTH-24: a token without a scope.
#[test]
fn a_check_asks_for_no_scope() {
    let mut world = scene(with_tokens(), alice());
    assert_eq!(check(&mut world), Ok(false));
    assert_snapshot!(world.transcript());
}
