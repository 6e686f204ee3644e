//! Every future, stream and reader of the async client, dropped at each request that it makes and after
//! each poll.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Notify;
use tokio::time::timeout;
use windlass_async::{
    Artifact, BlobContent, Carry, Client, Descriptor, Digest, ImageChange, ImageLocation,
    LayerContent, Part, Platform, Reference, stream_of_reader,
};
use windlass_core::artifact::TITLE;
use windlass_core::tape::replay;
use windlass_store::{Memory, Store as _};
use windlass_testbed::{
    Answer, Auth, Bearer, Delivery, Image, Interceptor, Model, OCI_MANIFEST, Options, Request,
    Server, User, image,
};
use windlass_tests::drivers::{Driver, PASSWORD, Setup, Shelf, Tokio};
use windlass_tests::family::{Family, artifact};
use windlass_tests::images::{gzip, noise, tar};
use windlass_tests::world::scenes::{digest, reference, with_manifest};

/// A case under way, which panics if it fails. That this compiles shows that everything in it is `Send`.
type Doing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

type Case = for<'a> fn(&'a Client, &'a Ground) -> Doing<'a>;

/// What the cases work on: a registry that wants tokens and keeps lists of referrers at tags, an open one with
/// the referrers API, and a layout.
struct Ground {
    server: Server,
    other: Server,
    gate: Arc<Gate>,
    family: Family,
    shelf: Shelf,
    folder: tempfile::TempDir,
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const FILE: &[u8] = b"the content of a file";

fn app() -> Image {
    image(&[noise(200_000, 3), b"small".to_vec()])
}

fn compressed() -> (Vec<u8>, Digest) {
    let layer = tar("name", &noise(100_000, 4));
    (gzip(&layer), digest(&layer))
}

/// An artifact of one file.
fn filed() -> Image {
    let plain = artifact("a/file", std::str::from_utf8(FILE).unwrap(), None);
    let mut manifest: Value = serde_json::from_slice(&plain.manifest).unwrap();
    manifest["layers"][0]["annotations"] = json!({ TITLE: "docs/file" });
    with_manifest(&plain, &manifest)
}

/// A store with the image.
fn filled() -> Memory {
    let (memory, app) = (Memory::new(u64::MAX), app());
    for blob in app.blobs().chain([&app.manifest]) {
        memory.put(&digest(blob), blob).unwrap();
    }
    let root = Descriptor::new(
        OCI_MANIFEST,
        digest(&app.manifest),
        app.manifest.len() as u64,
    );
    memory.tag(Some("v1"), &root).unwrap();
    memory
}

fn small_artifact() -> Artifact {
    Artifact::new("a/sbom").layer(Part::new("text/plain", &b"of the app"[..]))
}

impl Ground {
    fn new() -> Self {
        let gate = Arc::new(Gate::default());
        let serve = |options| {
            let gate: Arc<dyn Interceptor> = Arc::<Gate>::clone(&gate);
            Server::start_with(Model::new(options), gate).unwrap()
        };
        let server = serve(Options {
            auth: Auth::Bearer(Bearer {
                users: [("alice".into(), User::new(PASSWORD))].into(),
                anonymous_pull: false,
                ..Bearer::default()
            }),
            referrers_api: false,
            ..Options::default()
        });
        let family = Family::default();
        server.with_model(|model| {
            model.put_image("team/app", Some("v1"), &app());
            model.put_image("team/file", Some("v1"), &filed());
            model.put_blob("team/app", compressed().0);
            family.put(model, "family");
        });
        Self {
            server,
            other: serve(Options::default()),
            gate,
            family,
            shelf: Shelf::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, name: &str) -> Reference {
        reference(&format!("{}/{name}", self.server.host()))
    }

    fn there(&self, name: &str) -> Reference {
        reference(&format!("{}/{name}", self.other.host()))
    }

    fn app(&self) -> Reference {
        self.at("team/app:v1")
    }

    /// The large layer of the image.
    fn layer(&self) -> Descriptor {
        let layer = &app().layers[0];
        Descriptor::new(LAYER, digest(layer), layer.len() as u64)
    }

    fn layer_at(&self, repository: &str) -> Reference {
        self.at(&format!("{repository}@{}", self.layer().digest))
    }

    /// The newest referrer of the family.
    fn referrer(&self) -> Reference {
        let newest = self.family.referrers.last().unwrap();
        self.at(&format!("family@{}", newest.digest()))
    }

    /// Nothing is half written under a final name, and a name stands for what is whole.
    #[track_caller]
    fn check(&self) {
        self.shelf.files.check();
        if !self.shelf.files.roots().is_empty() {
            self.shelf.check_holds(&app());
        }
        if let Ok(bytes) = std::fs::read(self.folder.path().join("docs/file")) {
            assert_eq!(bytes, FILE);
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A server waits for its threads.
        self.gate.open();
    }
}

/// Holds one request back, or the second half of one answer.
#[derive(Default)]
struct Gate {
    /// Which request, from now on; none if it is 0.
    requests: AtomicUsize,
    /// Which answer.
    answers: AtomicUsize,
    reached: Notify,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn hold(&self, request: usize, answer: usize) {
        self.requests.store(request, Ordering::SeqCst);
        self.answers.store(answer, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// Counts down. Whether this is the one.
fn is_it(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) == Ok(1)
}

impl Interceptor for Gate {
    fn before(&self, _: &Request, _: usize) -> Option<Delivery> {
        if is_it(&self.requests) {
            self.reached.notify_one();
            let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
            let minute = Duration::from_secs(60);
            let waiting = |is_open: &mut bool| !*is_open;
            drop(self.opened.wait_timeout_while(is_open, minute, waiting));
        }
        None
    }

    fn deliver(&self, request: &Request, _: usize, answer: Answer) -> Delivery {
        let half = answer.body.len() as u64 / 2;
        let mut delivery = Delivery::from(answer);
        if is_it(&self.answers) {
            self.reached.notify_one();
            // An answer without a body is whole, and its connection as good as before.
            delivery.stall_after = (half > 0 && request.method != "HEAD").then_some(half);
        }
        delivery
    }
}

async fn read_all(mut reader: impl AsyncRead + Unpin, len: usize) {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), len);
}

async fn all_pages<T, E: std::fmt::Debug>(
    mut pages: impl Stream<Item = Result<T, E>> + Unpin,
) -> usize {
    let mut number = 0;
    while let Some(page) = poll_fn(|cx| Pin::new(&mut pages).poll_next(cx)).await {
        page.unwrap();
        number += 1;
    }
    number
}

/// One by one what the client does.
const CASES: &[(&str, Case)] = &[
    ("check", |client, ground| {
        let registry = ground.app().registry().clone();
        Box::pin(async move {
            let _ = client.check(&registry).run().await.unwrap();
        })
    }),
    ("resolve", |client, ground| {
        Box::pin(async move { drop(client.resolve(&ground.app()).run().await.unwrap()) })
    }),
    ("open", |client, ground| {
        let platform = Platform::new("linux", "amd64");
        let index = ground.at("family:v1");
        Box::pin(async move { drop(client.open(&index).platform(platform).run().await.unwrap()) })
    }),
    ("pull", |client, ground| {
        let store = &ground.shelf.store;
        Box::pin(async move { drop(client.pull(&ground.app(), store).run().await.unwrap()) })
    }),
    ("push", |client, ground| {
        let memory = filled();
        let to = ground.at("team/pushed:v1");
        Box::pin(async move { drop(client.push(&memory, &to).run().await.unwrap()) })
    }),
    ("copy between registries", |client, ground| {
        let to = ground.there("team/copy:v1");
        Box::pin(async move { drop(client.copy(ground.app(), to).run().await.unwrap()) })
    }),
    ("copy in a registry", |client, ground| {
        let to = ground.at("team/copy:v1");
        Box::pin(async move { drop(client.copy(ground.app(), to).run().await.unwrap()) })
    }),
    ("copy with referrers", |client, ground| {
        let (from, to) = (ground.there("family:v1"), ground.at("copy:v1"));
        ground
            .other
            .with_model(|model| ground.family.put(model, "family"));
        Box::pin(async move {
            let copy = client.copy(from, to).carry(Carry::referrers());
            let report = copy.run().await.unwrap();
            assert_eq!(report.carried.unwrap().failed, 0);
        })
    }),
    ("copy to each", |client, ground| {
        let to = [
            ImageLocation::from(ground.there("team/copy:v1")),
            ground.at("team/copy:v1").into(),
            ImageLocation::store(&ground.shelf.store, Some("v1".into())),
        ];
        Box::pin(async move {
            let each = client.copy_to_each(ground.app(), to).run().await.unwrap();
            assert!(each.iter().all(Result::is_ok), "{each:?}");
        })
    }),
    ("tags", |client, ground| {
        let at = ground.at("team/app");
        Box::pin(async move { drop(client.tags(&at).run().await.unwrap()) })
    }),
    ("pages of tags", |client, ground| {
        let at = ground.at("team/many");
        ground.server.with_model(|model| {
            for tag in ["a", "b", "c", "d"] {
                model.put_image("team/many", Some(tag), &app());
            }
        });
        Box::pin(async move {
            let pages = client.tags(&at).page_size(1).pages();
            assert!(all_pages(pages).await > 3);
        })
    }),
    ("catalog", |client, ground| {
        let registry = ground.there("x").registry().clone();
        Box::pin(async move { drop(client.catalog(&registry).run().await.unwrap()) })
    }),
    ("pages of a catalog", |client, ground| {
        let registry = ground.there("x").registry().clone();
        ground.other.with_model(|model| {
            for name in ["a", "b", "c"] {
                model.put_image(name, Some("v1"), &app());
            }
        });
        Box::pin(async move {
            let pages = client.catalog(&registry).page_size(1).pages();
            assert!(all_pages(pages).await > 2);
        })
    }),
    ("manifest", |client, ground| {
        Box::pin(async move { drop(client.manifest(&ground.app()).run().await.unwrap()) })
    }),
    ("put a manifest", |client, ground| {
        let mut bytes = app().manifest.to_vec();
        bytes.push(b'\n');
        let to = ground.at("team/app:v2");
        Box::pin(async move {
            drop(
                client
                    .put_manifest(&to, bytes, OCI_MANIFEST)
                    .run()
                    .await
                    .unwrap(),
            );
        })
    }),
    ("put a manifest with a subject", |client, ground| {
        let family = &ground.family;
        let about = (OCI_MANIFEST, &family.images[1].manifest[..]);
        let new = artifact("a/new", "new", Some(about));
        ground.server.with_model(|model| {
            for blob in new.blobs() {
                model.put_blob("family", blob.clone());
            }
        });
        let to = ground.at(&format!("family@{}", new.digest));
        Box::pin(async move {
            let put = client.put_manifest(&to, new.manifest.to_vec(), OCI_MANIFEST);
            put.run().await.unwrap();
        })
    }),
    ("tag", |client, ground| {
        let tags = ["x", "y"].map(|tag| tag.parse().unwrap());
        Box::pin(async move { drop(client.tag(&ground.app(), tags).run().await.unwrap()) })
    }),
    ("delete a tag", |client, ground| {
        Box::pin(async move { drop(client.delete(&ground.app()).run().await.unwrap()) })
    }),
    ("delete a manifest with a subject", |client, ground| {
        let gone = ground.referrer();
        Box::pin(async move { drop(client.delete_manifest(&gone).run().await.unwrap()) })
    }),
    ("referrers", |client, ground| {
        let at = ground.at("family:v1");
        Box::pin(async move {
            let found = client.referrers(&at).run().await.unwrap();
            assert_eq!(found.referrers.len(), 1);
        })
    }),
    ("find a blob", |client, ground| {
        let at = ground.layer_at("team/app");
        Box::pin(async move { drop(client.find_blob(&at).run().await.unwrap()) })
    }),
    ("put a blob", |client, ground| {
        let to = ground.at("team/app");
        Box::pin(async move {
            drop(client.put_blob(&to, noise(400_000, 9)).run().await.unwrap());
        })
    }),
    ("put a file", |client, ground| {
        let to = ground.at("team/app");
        let path = ground.folder.path().join("content");
        std::fs::write(&path, noise(400_000, 9)).unwrap();
        let content = BlobContent::file(&path).unwrap();
        Box::pin(async move { drop(client.put_blob(&to, content).run().await.unwrap()) })
    }),
    ("put a stream", |client, ground| {
        let to = ground.at("team/app");
        Box::pin(async move {
            let stream = stream_of_reader(io::Cursor::new(noise(400_000, 9)));
            drop(client.put_stream(&to, stream).run().await.unwrap());
        })
    }),
    ("mount a blob", |client, ground| {
        let from = ground.app().repository().clone();
        let to = ground.layer_at("team/mounted");
        Box::pin(async move { drop(client.mount_blob(from, &to).run().await.unwrap()) })
    }),
    ("delete a blob", |client, ground| {
        let at = ground.layer_at("team/app");
        Box::pin(async move { drop(client.delete_blob(&at).run().await.unwrap()) })
    }),
    ("read a blob", |client, ground| {
        Box::pin(async move {
            let reader = client.blob(&ground.app(), &ground.layer()).read();
            read_all(reader, 200_000).await;
        })
    }),
    ("read what is compressed", |client, ground| {
        let (bytes, diff_id) = compressed();
        let blob = Descriptor::new("x", digest(&bytes), bytes.len() as u64);
        let len = tar("name", &noise(100_000, 4)).len();
        Box::pin(async move {
            let reader = client.blob(&ground.app(), &blob).read();
            read_all(reader.decompressed(Some(&diff_id)), len).await;
        })
    }),
    ("read bytes of a blob", |client, ground| {
        Box::pin(async move {
            let blob = client.blob(&ground.app(), &ground.layer());
            read_all(blob.read_unverified(1000..151_000), 150_000).await;
        })
    }),
    ("a range of a blob", |client, ground| {
        Box::pin(async move {
            let blob = client.blob(&ground.app(), &ground.layer());
            drop(blob.range(1000..2000).run().await.unwrap());
        })
    }),
    ("fetch a blob", |client, ground| {
        let store = Memory::new(u64::MAX);
        Box::pin(async move {
            let blob = client.blob(&ground.app(), &ground.layer());
            drop(blob.fetch(&store).run().await.unwrap());
        })
    }),
    ("push an artifact", |client, ground| {
        let to = ground.at("team/artifact:v1");
        Box::pin(async move {
            drop(
                client
                    .push_artifact(&to, small_artifact())
                    .run()
                    .await
                    .unwrap(),
            );
        })
    }),
    ("attach", |client, ground| {
        let to = ground.at("family:v1");
        Box::pin(async move { drop(client.attach(&to, small_artifact()).run().await.unwrap()) })
    }),
    ("pull an artifact", |client, ground| {
        let (from, folder) = (ground.at("team/file:v1"), ground.folder.path());
        Box::pin(async move {
            drop(client.pull_artifact(&from, folder).run().await.unwrap());
            assert_eq!(std::fs::read(folder.join("docs/file")).unwrap(), FILE);
        })
    }),
    ("change an image", |client, ground| {
        let mut change = ImageChange::default();
        change.labels.insert("n".into(), Some("v".into()));
        let to = ground.at("team/changed:v1");
        Box::pin(async move {
            let change = client.change_image(&ground.app(), &to, change);
            let layer = LayerContent::new(LAYER, &b"new"[..], digest(b"new"));
            drop(change.layer(layer).run().await.unwrap());
        })
    }),
    ("create an index", |client, ground| {
        let to = ground.at("team/index:v1");
        Box::pin(async move {
            let create = client.create_index(&to).image(&ground.app());
            drop(create.run().await.unwrap());
        })
    }),
    ("change an index", |client, ground| {
        let at = ground.at("family:v1");
        let gone = digest(&ground.family.images[0].manifest);
        Box::pin(async move {
            drop(
                client
                    .change_index(&at, &at)
                    .remove(gone)
                    .run()
                    .await
                    .unwrap(),
            );
        })
    }),
    ("choose", |client, ground| {
        let at = ground.at("family:v1");
        Box::pin(async move { drop(client.choose(&at, |_| Some(1)).run().await.unwrap()) })
    }),
];

/// Where a future is dropped.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// When the registry has the head of this request, and has not answered it.
    Request(usize),
    /// When half of this answer is on its way.
    Answer(usize),
    /// After this poll of it.
    Poll(usize),
}

/// Polls a future this often at most. Whether it is through.
struct Polled<'a>(Doing<'a>, usize);

impl Future for Polled<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        if self.1 == 0 {
            return Poll::Ready(false);
        }
        self.1 -= 1;
        match self.0.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if self.1 == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Does something up to a point, and drops it. Whether it was through before.
async fn done_up_to(point: Point, mut doing: Doing<'_>, gate: &Gate) -> bool {
    let (request, answer) = match point {
        Point::Poll(polls) => return Polled(doing, polls).await,
        Point::Request(nth) => (nth, 0),
        Point::Answer(nth) => (0, nth),
    };
    gate.hold(request, answer);
    tokio::select! {
        biased;
        () = &mut doing => return true,
        () = gate.reached.notified() => {}
    }
    if answer == 0 {
        return false;
    }
    // For the half that is on its way. After an answer without a body, which is all there, it may get to its end.
    drop(timeout(Duration::from_millis(3), doing).await);
    false
}

/// Every task has ended, and no job is outside.
fn is_idle(tape: &str) -> bool {
    let lines = replay(tape).lines;
    let number = |what: &dyn Fn(&str) -> bool| lines.iter().filter(|line| what(line)).count();
    let is_end = |line: &str| line.contains(" * finished") || line.contains(" * failed: ");
    let starts = tape.lines().filter(|line| line.starts_with(r#"{"start""#));
    let is_job = |line: &str, mark: &str| {
        let mut words = line.split(' ');
        words.next().is_some_and(|id| id.starts_with('#')) && words.next() == Some(mark)
    };
    let begun = |line: &str| is_job(line, ">") && !line.ends_with(" > abort");
    let begun = |line: &str| begun(line) && !line.contains(" > without a slot");
    starts.count() == number(&|line| line.starts_with("task") && is_end(line))
        && number(&begun) == number(&|line| is_job(line, "<"))
}

/// Drops a case at a point, and sees that the client is as good as before. Whether the case was through before.
fn dropped_at<const N: usize>(case: Case, point: Point, what: &str) -> bool {
    let ground = Ground::new();
    // With one slot at a host, one that is lost is missed.
    let client = Tokio::<N>::new(&Setup::new().alice().in_flight(1));
    let long = Duration::from_secs(20);
    let is_through = client.block_on(async {
        let doing = done_up_to(point, case(&client.client, &ground), &ground.gate);
        let is_through = timeout(long, doing).await;
        ground.gate.hold(0, 0);
        is_through.unwrap_or_else(|_| panic!("{what} hangs on its way to {point:?}"))
    });
    client.block_on(async {
        for at in [ground.at("team/file:v1"), ground.there("team/file:v1")] {
            ground
                .other
                .with_model(|model| drop(model.put_image("team/file", Some("v1"), &filed())));
            let store = Memory::new(u64::MAX);
            let pulled = timeout(long, client.client.pull(&at, &store).run()).await;
            let pulled = pulled.unwrap_or_else(|_| panic!("a pull hangs after {what}, {point:?}"));
            pulled.unwrap_or_else(|failure| panic!("after {what}, {point:?}: {failure}"));
        }
        let begun = Instant::now();
        while !is_idle(&client.tape()) {
            let tape = replay(&client.tape()).lines;
            assert!(begun.elapsed() < long, "{what}, {point:?}: {tape:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    ground.check();
    is_through
}

fn dropped_everywhere<const N: usize>(at: impl Fn(usize) -> Point) {
    for (what, case) in CASES {
        // A long way is tried at some points.
        let points = (1..12).chain((12..500).step_by(7)).map(&at);
        let dropped = points.take_while(|point| !dropped_at::<N>(*case, *point, what));
        let dropped = dropped.count();
        assert!(
            (1..80).contains(&dropped),
            "{what}: dropped {dropped} times, and to end after less than 80"
        );
    }
}

fn what_is_dropped_at_a_request_leaves_nothing_behind<const N: usize>() {
    dropped_everywhere::<N>(Point::Request);
}

fn what_is_dropped_within_an_answer_leaves_nothing_behind<const N: usize>() {
    dropped_everywhere::<N>(Point::Answer);
}

fn what_is_dropped_after_a_poll_leaves_nothing_behind<const N: usize>() {
    dropped_everywhere::<N>(Point::Poll);
}

macro_rules! on_both_runtimes {
    ($($name:ident),* $(,)?) => {
        mod on_many {
            $(#[test] fn $name() { super::$name::<2>(); })*
        }
        mod on_one {
            $(#[test] fn $name() { super::$name::<0>(); })*
        }
    };
}

on_both_runtimes!(
    what_is_dropped_at_a_request_leaves_nothing_behind,
    what_is_dropped_within_an_answer_leaves_nothing_behind,
    what_is_dropped_after_a_poll_leaves_nothing_behind,
);
