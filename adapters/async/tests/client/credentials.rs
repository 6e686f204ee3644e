//! Sources of credentials block, and the runtime of the async client goes on meanwhile, also if it has one
//! thread.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use windlass_async::driver::Credentials;
use windlass_async::{Client, Failure, Reference};
use windlass_config::CredentialSearch;
use windlass_config::credentials::{CredentialAnswer, Helpers, Question, Secret, TimedAnswer};
use windlass_testbed::{Auth, Basic, Model, Options, Server, User, image};

/// A registry with an image that anybody may read, or only `alice`.
fn registry(auth: Auth) -> Server {
    let mut model = Model::new(Options {
        auth,
        ..Options::default()
    });
    model.put_image("team/app", Some("v1"), &image(&[b"layer".to_vec()]));
    Server::start(model).unwrap()
}

fn basic() -> Auth {
    Auth::Basic(Basic {
        users: [("alice".into(), User::new("pa55"))].into(),
        anonymous_pull: false,
    })
}

fn client(credentials: impl Credentials + 'static) -> Client {
    let builder = Client::builder().credentials(Arc::new(credentials));
    builder.build().unwrap()
}

async fn resolve(client: &Client, server: &Server) -> Result<(), Failure> {
    let reference: Reference = format!("{}/team/app:v1", server.host()).parse().unwrap();
    client.resolve(&reference).run().await.map(drop)
}

/// A helper that answers as soon as the file `go` is beside it.
fn waiting_helper(folder: &Path) -> CredentialSearch {
    let path = folder.join("docker-credential-waiting");
    let go = folder.join("go");
    let script = format!(
        "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.05; done\n\
         echo '{{\"Username\":\"alice\",\"Secret\":\"pa55\"}}'\n",
        go.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    CredentialSearch::helper("waiting").helpers(Helpers::new(Some(folder.into())))
}

/// The helper ends only after another call has: it would never end if it stopped the runtime's only thread.
#[tokio::test(flavor = "current_thread")]
async fn a_helper_does_not_stop_the_runtime() {
    let (private, public) = (registry(basic()), registry(Auth::Open));
    let folder = tempfile::tempdir().unwrap();
    let client = client(waiting_helper(folder.path()));
    let other = async {
        resolve(&client, &public).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        fs::write(folder.path().join("go"), "").unwrap();
    };
    let (resolved, ()) = tokio::join!(resolve(&client, &private), other);
    resolved.unwrap();
}

#[derive(Debug)]
struct Awaiting;

impl Credentials for Awaiting {
    fn find(&self, _: &Question) -> TimedAnswer {
        let password = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Secret::new("pa55")
        };
        let answer = CredentialAnswer::Basic {
            username: "alice".to_owned(),
            password: Handle::current().block_on(password),
        };
        answer.into()
    }
}

#[test]
fn a_source_may_wait_for_a_future() {
    let server = registry(basic());
    for mut runtime in [
        tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_multi_thread(),
    ] {
        let runtime = runtime.enable_all().build().unwrap();
        let client = client(Awaiting);
        runtime.block_on(resolve(&client, &server)).unwrap();
    }
}

/// Without a client, for instance beside another library.
#[tokio::test(flavor = "current_thread")]
async fn the_search_alone() {
    let search = CredentialSearch::text(
        "a secret",
        r#"{"auths":{"r.example":{"auth":"YWxpY2U6cGE1NQ=="}}}"#,
    );
    let reference: Reference = "r.example/team/app".parse().unwrap();
    let question = Question::of(&reference);
    let found = tokio::task::spawn_blocking(move || search.find(&question));
    let CredentialAnswer::Basic { username, .. } = found.await.unwrap().answer else {
        panic!("it is a user");
    };
    assert_eq!(username, "alice");
}
