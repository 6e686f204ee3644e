//! What a blob costs that waits for its turn: a session holds thousands.

use std::fmt::Write as _;

use http::{Response, header};
use windlass_core::call::{Call, Done};
use windlass_core::credential::CredentialAnswer;
use windlass_core::{
    Algorithm, Config, CopyTask, Descriptor, Digest, Job, Output, Platforms, Reference, Session,
    StoreAnswer, StoreCall, StoreId, StoreOp, Task, TaskLocation, Time,
};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Two images: what the larger one holds more is what its further blobs hold.
const LAYERS: [u64; 2] = [1_000, 9_000];

fn digest(n: u64) -> Digest {
    Digest::of(Algorithm::Sha256, &n.to_be_bytes())
}

fn manifest(layers: u64) -> String {
    let mut text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{TYPE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":5}},"layers":["#,
        digest(layers)
    );
    for n in 0..layers {
        let comma = if n == 0 { "" } else { "," };
        let (kind, digest) = ("application/vnd.oci.image.layer.v1.tar+gzip", digest(n));
        write!(
            text,
            r#"{comma}{{"mediaType":"{kind}","digest":"{digest}","size":300000}}"#
        )
        .expect("it is a string");
    }
    text + "]}"
}

/// A registry with the manifest at its source and nothing at its destination.
fn answer(mut call: Box<Call>, manifest: &str) -> Option<Done> {
    let path = call.request().uri().path();
    if !path.contains("/manifests/") {
        return None;
    }
    let is_there = path.contains("/source/");
    let response = if is_there {
        Response::builder().header(header::CONTENT_TYPE, TYPE)
    } else {
        Response::builder().status(404)
    };
    call.head(response.body(()).expect("a response"));
    if is_there {
        let _ = call.data(manifest.as_bytes());
    }
    Some(call.finish(Ok(())))
}

/// A store with the manifest. Requests for blobs stay unanswered.
fn step(call: StoreCall, manifest: &str) -> Option<Done> {
    let answer = match call.op() {
        StoreOp::Find { .. } => {
            let digest = Digest::of(Algorithm::Sha256, manifest.as_bytes());
            StoreAnswer::Found(Descriptor::new(TYPE, digest, manifest.len() as u64))
        }
        StoreOp::Load { .. } => StoreAnswer::Loaded(manifest.into()),
        StoreOp::Begin { .. }
        | StoreOp::Put { .. }
        | StoreOp::Hash { .. }
        | StoreOp::Commit { .. }
        | StoreOp::Discard { .. }
        | StoreOp::Release { .. }
        | StoreOp::Import { .. }
        | StoreOp::Remove { .. }
        | StoreOp::Gather { .. }
        | StoreOp::Referrers { .. }
        | StoreOp::AddReferrers { .. }
        | StoreOp::Tag { .. } => return None,
    };
    Some(call.finish(Ok(answer)))
}

/// A session in which all blobs of an image wait.
fn waiting(task: Task, manifest: &str) -> Session {
    let mut session = Session::new(Config::default(), 1);
    session.start(task);
    for _ in 0..1_000 {
        let done = match session.poll(Time::ZERO) {
            Output::Job(Job::Http(call)) => answer(call, manifest),
            Output::Job(Job::Store(call)) => step(call, manifest),
            Output::Job(Job::Credentials(call)) => Some(call.finish(CredentialAnswer::None)),
            Output::Wait(_) => return session,
            Output::Event(..) => None,
            other @ (Output::Job(Job::Relay(_)) | Output::Abort(_) | Output::Idle) => {
                unreachable!("{other:?}")
            }
        };
        if let Some(done) = done {
            session.handle(done, Time::ZERO);
        }
    }
    unreachable!("more jobs than may be in flight");
}

/// Bytes held per blob, beside those of the manifest's text.
fn held(task: impl Fn() -> Task) -> u64 {
    let [few, many] = LAYERS.map(|layers| {
        let manifest = manifest(layers);
        let mut session = None;
        let held = allocation_counter::measure(|| session = Some(waiting(task(), &manifest)));
        u64::try_from(held.bytes_current).expect("it holds something") - manifest.len() as u64
    });
    (many - few) / (LAYERS[1] - LAYERS[0])
}

#[test]
fn a_blob_that_waits_holds_a_few_hundred_bytes() {
    let reference = |text: &str| text.parse().expect("a reference");
    let source = || reference("registry.example/source/app:v1");
    let destination = || reference("registry.example/destination/app:v1");
    let elsewhere = || reference("other.example/destination/app:v1");
    let store = StoreId(0);
    let pull = held(|| Task::pull(source(), store, None, Platforms::All));
    let push = held(|| Task::push(store, None, destination(), Platforms::All));
    let between = |destination: Reference| {
        Task::copy(
            CopyTask::new(
                TaskLocation::Registry(source()),
                TaskLocation::Registry(destination),
            )
            .spool(store)
            .mount_from([source().repository().clone().into()]),
        )
    };
    let mount = held(|| between(destination()));
    let copy = held(|| between(elsewhere()));
    let all = [pull, push, mount, copy];
    assert!(
        all.iter().all(|held| *held <= 400),
        "{all:?} bytes per blob"
    );
}
