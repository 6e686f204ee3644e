//! Both clients send the same requests, header by header, and tell the same story: their transcripts
//! are equal, but for the time that something took.
//!
//! With one exchange at a time the order of requests is the session's, so it can be compared, as
//! long as blobs become ready in a fixed order ([`InTurn`]). Steps in a store run beside each other
//! and beside an exchange: of those, and of what an observer is told of them, the set is compared.
//! Where a request is tried again, the set of everything: what goes out while it waits depends on
//! the clock.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST};
use http::{HeaderMap, StatusCode};
use windlass_core::{Descriptor, Digest, StoreError, transcript};
use windlass_store::{Begun, Store};
use windlass_testbed::{
    Answer, Auth, Bearer, Delivery, Entry, Image, Model, Options, Request, Server, Storage, User,
    image,
};
use windlass_tests::drivers::{
    Ask, Blocking, Driver, Faults, Many, PASSWORD, Setup, Shelf, Single, Watch, gets_blob, serve,
};
use windlass_tests::images::noise;
use windlass_tests::wait_for;

/// What registries saw and what an observer was told.
#[derive(Debug, Eq, PartialEq)]
struct Story {
    requests: Vec<String>,
    /// Lines of the transcript without their numbers: by host, in order, each request with what
    /// came of it.
    exchanges: Vec<String>,
    /// The same for everything else, sorted.
    steps: Vec<String>,
    /// What the observer was told, sorted.
    events: Vec<String>,
}

impl Story {
    /// The same story without the order of anything, and without the names that a server gives in
    /// the order in which it is asked.
    fn unordered(mut self) -> Self {
        for lines in [&mut self.requests, &mut self.exchanges, &mut self.events] {
            for line in lines.iter_mut() {
                *line = without_serials(line);
            }
            lines.sort();
        }
        self
    }
}

fn app() -> Image {
    image(&[noise(2 << 20, 1), noise(100_000, 2)])
}

fn bearer() -> Options {
    Options {
        auth: Auth::Bearer(Bearer {
            users: [("alice".into(), User::new(PASSWORD))].into(),
            anonymous_pull: false,
            ..Bearer::default()
        }),
        ..Options::default()
    }
}

fn with_app(options: Options) -> Model {
    let mut model = Model::new(options);
    model.put_image("team/app", Some("v1"), &app());
    model
}

/// Asks a client of this kind, one exchange at a time.
fn tell<D: Driver>(servers: &[(&str, &Server)], ask: Ask, watch: &Arc<Watch>) -> Story {
    let client = D::new(&Setup::new().alice().in_flight(1));
    let report = client.run(ask.watched(watch));
    let lines = watch.lines();
    report.unwrap_or_else(|error| panic!("{}: {error}\n{}", D::NAME, lines.join("\n")));
    // Ports differ from run to run.
    let named = |mut line: String| {
        for (name, server) in servers {
            line = line.replace(&server.host(), name);
        }
        line
    };
    let requests = servers.iter().flat_map(|(name, server)| {
        let requests = server.requests();
        let seen = requests
            .into_iter()
            .map(move |e| format!("{name} {}", seen(&e)));
        seen.collect::<Vec<_>>()
    });
    let (mut exchanges, mut steps) = (Vec::new(), Vec::new());
    for (out, back) in jobs(&lines) {
        let both = named(format!("{out}\n  {back}"));
        match out.contains(" http://") {
            true => exchanges.push(both),
            false => steps.push(both),
        }
    }
    let events = watch.events();
    let events = events.iter().map(transcript::event);
    let mut events: Vec<String> = events.map(|event| named(without_waits(&event))).collect();
    events.sort();
    // Two hosts have a slot each.
    exchanges.sort_by_key(|both| {
        servers
            .iter()
            .position(|(name, _)| both.contains(&format!("//{name}/")))
    });
    steps.sort();
    Story {
        requests: requests.map(named).collect(),
        exchanges,
        steps,
        events,
    }
}

/// Without how long it waits until the next try.
fn without_waits(event: &str) -> String {
    match event.split_once(", again in ") {
        Some((failed, rest)) => {
            let why = rest.split_once(" ms: ").map_or(rest, |(_, why)| why);
            format!("{failed}: {why}")
        }
        None => event.to_owned(),
    }
}

/// Jobs in the order in which they went out, each with the line of its return.
fn jobs(lines: &[String]) -> Vec<(String, String)> {
    let outs = lines.iter().filter_map(|line| line.split_once(" > "));
    outs.map(|(id, out)| {
        let back = lines
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{id} < ")));
        (
            out.to_owned(),
            back.expect("every job comes back").to_owned(),
        )
    })
    .collect()
}

/// A store that says of one blob after the other that it may be written, each when the session has
/// been told of the one before: so they become ready in this order with any driver.
#[derive(Debug)]
struct InTurn {
    inner: Arc<dyn Store>,
    order: Vec<Digest>,
    watch: Arc<Watch>,
}

impl InTurn {
    fn store(shelf: &Shelf, watch: &Arc<Watch>, image: &Image) -> Arc<dyn Store> {
        let blobs = image.blobs().map(|blob| digest(blob));
        Arc::new(Self {
            inner: Arc::clone(&shelf.store),
            order: blobs.collect(),
            watch: Arc::clone(watch),
        })
    }

    fn was_told(&self, digest: &Digest) -> bool {
        let lines = self.watch.lines();
        let out = format!("begin {digest}");
        let told = jobs_back(&lines, &out);
        told > 0
    }
}

/// How many jobs whose line ends so have come back.
fn jobs_back(lines: &[String], end: &str) -> usize {
    let outs = lines.iter().filter(|line| line.ends_with(end));
    let ids = outs.filter_map(|line| line.split_once(" > ").map(|(id, _)| id));
    ids.filter(|id| {
        lines
            .iter()
            .any(|line| line.starts_with(&format!("{id} < ")))
    })
    .count()
}

impl Store for InTurn {
    fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, StoreError> {
        let before = self.order.iter().take_while(|other| *other != digest);
        for other in before {
            wait_for("the one before", || self.was_told(other));
        }
        self.inner.begin(digest, size)
    }

    fn contains(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.inner.contains(digest, size)
    }

    fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.inner.open(digest, offset)
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put(digest, bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.remove(digest)
    }

    fn find(&self, name: Option<&str>) -> Result<Descriptor, StoreError> {
        self.inner.find(name)
    }

    fn tag(&self, name: Option<&str>, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.inner.tag(name, descriptor)
    }
}

/// Everything about a request that a server can act on.
fn seen(entry: &Entry) -> String {
    let mut text = format!("{} {}", entry.method, entry.target);
    for line in fields(&entry.headers) {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    format!("{text}\n  ({} bytes)", entry.body)
}

fn fields(headers: &HeaderMap) -> Vec<String> {
    let fields = headers.iter().filter(|(name, value)| {
        // reqwest says that it takes anything where nothing is said, which means the same
        // (RFC 9110, 12.5.1), and it cannot be told not to.
        let is_anything = *name == ACCEPT && value.as_bytes() == b"*/*";
        !is_anything && *name != HOST && *name != CONNECTION
    });
    let mut fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    fields
}

#[track_caller]
fn same(story: impl Fn(Kind) -> Story) {
    let blocking = story(Kind::Blocking);
    assert!(!blocking.requests.is_empty() && !blocking.exchanges.is_empty());
    let is_end = |event: &String| event.starts_with("* finished ");
    assert_eq!(blocking.events.iter().filter(|it| is_end(it)).count(), 1);
    for kind in [Kind::Single, Kind::Many] {
        let other = story(kind);
        compare("request", &blocking.requests, &other.requests);
        compare("exchange", &blocking.exchanges, &other.exchanges);
        compare("step", &blocking.steps, &other.steps);
        compare("event", &blocking.events, &other.events);
    }
}

#[track_caller]
fn compare(what: &str, one: &[String], other: &[String]) {
    for (nth, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one, other, "{what} {nth}");
    }
    assert_eq!(one.len(), other.len(), "{one:#?}\n{other:#?}");
}

#[derive(Clone, Copy)]
enum Kind {
    Blocking,
    Single,
    Many,
}

impl Kind {
    fn tell(self, servers: &[(&str, &Server)], ask: Ask, watch: &Arc<Watch>) -> Story {
        match self {
            Self::Blocking => tell::<Blocking>(servers, ask, watch),
            Self::Single => tell::<Single>(servers, ask, watch),
            Self::Many => tell::<Many>(servers, ask, watch),
        }
    }
}

#[test]
fn of_a_pull() {
    same(|kind| {
        let server = Server::start(with_app(bearer())).unwrap();
        let (shelf, watch) = (Shelf::new(), Watch::new());
        let store = InTurn::store(&shelf, &watch, &app());
        let ask = Ask::pull(&format!("{}/team/app:v1", server.host()), &store);
        kind.tell(&[("registry", &server)], ask, &watch)
    });
}

#[test]
fn of_a_push() {
    let shelf = Shelf::new();
    let source = Server::start(with_app(Options::default())).unwrap();
    let ask = Ask::pull(&format!("{}/team/app:v1", source.host()), &shelf.store);
    Blocking::new(&Setup::new()).run(ask).unwrap();
    same(|kind| {
        let server = Server::start(Model::new(bearer())).unwrap();
        let ask = Ask::push(&shelf.store, &format!("{}/team/app:v1", server.host()));
        kind.tell(&[("registry", &server)], ask, &Watch::new())
    });
}

/// Registries that send their challenge at `/v2/` only: credentials are shown all the same.
#[test]
fn of_a_registry_that_hides() {
    let hidden = |status| Options {
        hidden: Some(status),
        ..bearer()
    };
    let shelf = Shelf::new();
    let source = Server::start(with_app(Options::default())).unwrap();
    let ask = Ask::pull(&format!("{}/team/app:v1", source.host()), &shelf.store);
    Blocking::new(&Setup::new()).run(ask).unwrap();
    for status in [
        StatusCode::NOT_FOUND,
        StatusCode::FORBIDDEN,
        StatusCode::UNAUTHORIZED,
    ] {
        let pinged = |story: Story| {
            let pings = story
                .requests
                .iter()
                .filter(|it| it.contains(" GET /v2/\n"));
            assert_eq!(pings.count(), 1, "{status}");
            story
        };
        same(|kind| {
            let server = Server::start(with_app(hidden(status))).unwrap();
            let (shelf, watch) = (Shelf::new(), Watch::new());
            let store = InTurn::store(&shelf, &watch, &app());
            let ask = Ask::pull(&format!("{}/team/app:v1", server.host()), &store);
            pinged(kind.tell(&[("registry", &server)], ask, &watch))
        });
        same(|kind| {
            let server = Server::start(Model::new(hidden(status))).unwrap();
            let ask = Ask::push(&shelf.store, &format!("{}/team/app:v1", server.host()));
            pinged(kind.tell(&[("registry", &server)], ask, &Watch::new()))
        });
    }
}

#[test]
fn of_a_copy_that_mounts() {
    same(|kind| {
        let server = Server::start(with_app(bearer())).unwrap();
        let host = server.host();
        let ask = Ask::copy(&format!("{host}/team/app:v1"), &format!("{host}/other:v2"));
        kind.tell(&[("registry", &server)], ask, &Watch::new())
    });
}

/// Here two hosts have a slot each, and which blob is ready first depends on both: the requests
/// are the same, their order may differ, and so may what the registry calls its uploads.
#[test]
fn of_a_copy_between_registries() {
    same(|kind| {
        let source = Server::start(with_app(bearer())).unwrap();
        let destination = Server::start(Model::new(bearer())).unwrap();
        let (spool, watch) = (Shelf::new(), Watch::new());
        let ask = Ask::copy(
            &format!("{}/team/app:v1", source.host()),
            &format!("{}/other:v2", destination.host()),
        );
        let ask = ask.spool(&InTurn::store(&spool, &watch, &app()));
        let servers = [("source", &source), ("destination", &destination)];
        kind.tell(&servers, ask, &watch).unordered()
    });
}

/// Without the names that the registry gives to uploads, their states, tokens and signatures, nor how far a
/// relay came.
fn without_serials(line: &str) -> String {
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '%');
    let mut left = line.to_owned();
    for label in ["upload.", "state.", "token.", "sig."] {
        let mut parts = left.split(label);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            out.push_str(label);
            out.push_str(&part[part.find(is_end).unwrap_or(part.len())..]);
        }
        left = out;
    }
    // How far the source came before the sink ended, depends on which thread was faster.
    match left.split_once(" relayed up to ") {
        Some((before, _)) => format!("{before} relayed"),
        None => left,
    }
}

/// From a redirecting registry, cut in the middle, after an earlier call got somewhere. One layer
/// only: what else is to be done while it waits for its next try depends on the clock.
#[test]
fn of_a_resumed_pull() {
    same(|kind| {
        let was_cut = Arc::new(AtomicBool::new(false));
        let faults = Faults::new().deliver(move |request: &Request, _, answer: Answer| {
            let cut = gets_blob(request)
                && answer.body.len() > 1 << 20
                && !was_cut.swap(true, Ordering::SeqCst);
            let mut delivery = Delivery::from(answer);
            delivery.cut_body_after = cut.then_some(700_001);
            delivery
        });
        let image = image(&[noise(2 << 20, 1)]);
        let mut model = Model::new(bearer());
        model.put_image("team/app", Some("v1"), &image);
        let (server, _) = serve(model, faults);
        let storage = server.listen_also().unwrap();
        server.with_model(|model| {
            model.options_mut().storage = Some(Storage::new(format!("http://{storage}")));
        });
        let (shelf, watch) = (Shelf::new(), Watch::new());
        partial(&shelf, &image.layers[0], 300_000);
        let store = InTurn::store(&shelf, &watch, &image);
        let ask = Ask::pull(&format!("{}/team/app:v1", server.host()), &store);
        let mut story = kind.tell(&[("registry", &server)], ask, &watch);
        let lines = story.exchanges.iter_mut().chain(&mut story.requests);
        for line in lines.chain(&mut story.events) {
            *line = line.replace(&storage.to_string(), "storage");
        }
        let ranged = |request: &&String| request.contains("\n  range: ");
        let ranges = story.requests.iter().filter(ranged).count();
        assert!(ranges >= 2, "{:#?}", story.requests);
        story
    });
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// 503: try again.
    Unavailable,
    /// 401: the token is taken no more.
    Unauthorized,
    /// The answer's body breaks off.
    Cut,
    /// The connection breaks before the answer.
    Reset,
}

impl Blow {
    fn deliver(self, request: &Request, answer: Answer) -> Delivery {
        match self {
            Self::Unavailable => {
                Answer::error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "later").into()
            }
            Self::Unauthorized => {
                let realm = format!("http://{}/token", request.host);
                let challenge = format!("Bearer realm=\"{realm}\",service=\"testbed\"");
                Answer::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "once more")
                    .header("www-authenticate", challenge)
                    .into()
            }
            Self::Cut => {
                let half = answer.body.len() as u64 / 2;
                let mut delivery = Delivery::from(answer);
                delivery.cut_body_after = Some(half);
                delivery
            }
            Self::Reset => {
                let mut delivery = Delivery::from(answer);
                delivery.reset_before_head = true;
                delivery
            }
        }
    }
}

/// Deals this blow to the first request with this method and this in its target that has a token.
/// Whether it was dealt.
fn dealing(blow: Blow, method: &'static str, part: &str) -> (Faults, impl FnOnce()) {
    let dealt = Arc::new(AtomicBool::new(false));
    let was_dealt = Arc::clone(&dealt);
    let part = part.to_owned();
    let faults = Faults::new().deliver(move |request: &Request, _, answer: Answer| {
        let is_it = request.method == method
            && request.target.contains(&part)
            && request.headers.contains_key(AUTHORIZATION);
        if is_it && !dealt.swap(true, Ordering::SeqCst) {
            return blow.deliver(request, answer);
        }
        answer.into()
    });
    let check = move || assert!(was_dealt.load(Ordering::SeqCst), "{blow:?} was dealt");
    (faults, check)
}

/// A small image: it is the ways through the protocol that count.
fn little() -> Image {
    image(&[noise(90_000, 3)])
}

fn with_little(options: Options) -> Model {
    let mut model = Model::new(options);
    model.put_image("team/app", Some("v1"), &little());
    model
}

#[test]
fn of_pulls_in_which_something_fails() {
    use Blow::{Cut, Reset, Unauthorized, Unavailable};
    // A fresh token that is refused is refused for good: that of a manifest by its tag is fresh.
    let places: [(&str, &[Blow]); 2] = [
        ("/manifests/v1", &[Unavailable, Cut, Reset]),
        ("/blobs/sha256:", &[Unavailable, Unauthorized, Cut, Reset]),
    ];
    for (part, blows) in places {
        for blow in blows.iter().copied() {
            same(|kind| {
                let (faults, check_dealt) = dealing(blow, "GET", part);
                let (server, _) = serve(with_little(bearer()), faults);
                let (shelf, watch) = (Shelf::new(), Watch::new());
                let store = InTurn::store(&shelf, &watch, &little());
                let ask = Ask::pull(&format!("{}/team/app:v1", server.host()), &store);
                let story = kind.tell(&[("registry", &server)], ask, &watch).unordered();
                shelf.check_holds(&little());
                check_dealt();
                story
            });
        }
    }
}

#[test]
fn of_pushes_in_which_something_fails() {
    use Blow::{Reset, Unauthorized, Unavailable};
    let shelf = Shelf::new();
    let source = Server::start(with_little(Options::default())).unwrap();
    let ask = Ask::pull(&format!("{}/team/app:v1", source.host()), &shelf.store);
    Blocking::new(&Setup::new()).run(ask).unwrap();
    let places = [
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/"),
    ];
    for (method, part) in places {
        for blow in [Unavailable, Unauthorized, Reset] {
            same(|kind| {
                let (faults, check_dealt) = dealing(blow, method, part);
                let (server, _) = serve(Model::new(bearer()), faults);
                let ask = Ask::push(&shelf.store, &format!("{}/team/app:v1", server.host()));
                let story = kind.tell(&[("registry", &server)], ask, &Watch::new());
                let tag = server.with_model(|model| model.tag("team/app", "v1").cloned());
                assert_eq!(tag, Some(little().digest));
                check_dealt();
                story.unordered()
            });
        }
    }
}

#[test]
fn of_copies_in_which_something_fails() {
    use Blow::{Reset, Unauthorized, Unavailable};
    for (method, part) in [("POST", "mount="), ("PUT", "/manifests/")] {
        for blow in [Unavailable, Unauthorized, Reset] {
            same(|kind| {
                let (faults, check_dealt) = dealing(blow, method, part);
                let (server, _) = serve(with_little(bearer()), faults);
                let host = server.host();
                let ask = Ask::copy(&format!("{host}/team/app:v1"), &format!("{host}/other:v2"));
                let story = kind.tell(&[("registry", &server)], ask, &Watch::new());
                check_dealt();
                story.unordered()
            });
        }
    }
}

#[test]
fn of_copies_between_registries_in_which_something_fails() {
    use Blow::{Cut, Reset, Unauthorized, Unavailable};
    // Which blob is ready first depends on both hosts, so it is a certain one that is hit.
    let layer = digest(&little().layers[0]);
    let (read, written) = (format!("/blobs/{layer}"), format!("digest={layer}"));
    let places = [("GET", &read, true), ("PUT", &written, false)];
    for (method, part, at_source) in places {
        for blow in [Unavailable, Unauthorized, Cut, Reset] {
            same(|kind| {
                let (dealt, check_dealt) = dealing(blow, method, part);
                let (ours, theirs) = if at_source {
                    (dealt, Faults::new())
                } else {
                    (Faults::new(), dealt)
                };
                let (source, _) = serve(with_little(bearer()), ours);
                let (destination, _) = serve(Model::new(bearer()), theirs);
                let (spool, watch) = (Shelf::new(), Watch::new());
                let ask = Ask::copy(
                    &format!("{}/team/app:v1", source.host()),
                    &format!("{}/other:v2", destination.host()),
                );
                let ask = ask.spool(&InTurn::store(&spool, &watch, &little()));
                let servers = [("source", &source), ("destination", &destination)];
                let story = kind.tell(&servers, ask, &watch).unordered();
                check_dealt();
                story
            });
        }
    }
}

/// Leaves the begin of a blob behind, as an earlier run would.
fn partial(shelf: &Shelf, blob: &[u8], len: usize) {
    let begun = shelf.store.begin(&digest(blob), blob.len() as u64).unwrap();
    let Begun::Ours(mut partial) = begun else {
        panic!("nobody else has it");
    };
    partial.append(&blob[..len]).unwrap();
}

fn digest(bytes: &[u8]) -> Digest {
    let digest = windlass_testbed::Digest::sha256(bytes);
    digest.as_str().parse().unwrap()
}
