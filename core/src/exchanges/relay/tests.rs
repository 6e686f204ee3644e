use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use std::format;

use super::*;
use crate::call::{Call, Done, Job, Keep, Receive};
use crate::config::{ChunkSizes, Config, RegistrySettings};
use crate::digest::Algorithm;
use crate::exchanges::host::HOSTS;
use crate::exchanges::{Service, Settlement};
use crate::ids::TransferId;
use crate::op::testing::site_of;
use crate::op::{BlobHead, Head, Site, UploadSource};
use crate::store::StoreId;

const OWNER: Owner = Owner::Transfer(TransferId(1));
const TASK: TaskId = TaskId(1);

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"blob")
}

fn put() -> BlobPut {
    let (store, transfer) = (StoreId(1), TransferId(1));
    let (site, blob) = (site_of("to.example/b"), (digest(), 4));
    let put = BlobPut::of_stream(site, (store, transfer), blob, (4, ChunkSizes::ANY));
    BlobPut {
        source: Some(UploadSource::Relay),
        head: Head::Done,
        rewinds: Some(2),
        in_one_request: false,
        stream: None,
        ..put
    }
}

fn get() -> BlobGet {
    let from = site_of("from.example/a");
    BlobGet::relayed(from, digest(), 4, TransferId(1), Vec::new())
}

/// Exchanges, and the two of a relay that has just begun.
struct Scenario {
    exchanges: Exchanges,
    sink: ExchangeId,
    source: ExchangeId,
    jobs: u64,
    now: Time,
    rng: Rng,
}

impl Scenario {
    fn new(config: Config) -> Self {
        let mut exchanges = Exchanges::new(config);
        let push = (put(), Scopes::push(&site_of("to.example/b").repository));
        let pull = (get(), Scopes::pull(&site_of("from.example/a").repository));
        let (sink, source) = exchanges.begin_relay(OWNER, TASK, push, pull);
        Self {
            exchanges,
            sink,
            source,
            jobs: 0,
            now: Time::from_micros(1),
            rng: Rng::new(1),
        }
    }

    fn next(&mut self) -> (ExchangeId, Job) {
        self.jobs += 1;
        let next = self.exchanges.next_job(JobId(self.jobs), self.now);
        next.expect("something to do")
    }

    fn end(&mut self, id: ExchangeId, done: Done) {
        let job = done.id();
        let outcome = done.into_outcome();
        self.exchanges
            .call_ended((id, None), job, outcome, self.now, &mut self.rng);
    }

    /// The relay, after what goes before it is answered: the sink's POST, and the probe of the source's registry.
    fn relay(&mut self) -> Box<Relay> {
        loop {
            match self.next() {
                (id, Job::Relay(relay)) => {
                    assert_eq!(id, self.sink);
                    return relay;
                }
                (id, Job::Http(call)) if id == self.sink => {
                    let done = answered(call, 202, &[("location", "/session")]);
                    self.end(id, done);
                }
                (id, Job::Http(call)) => {
                    let done = answered(call, 200, &[]);
                    self.end(id, done);
                }
                (_, job @ (Job::Store(_) | Job::Credentials(_))) => panic!("{job:?}"),
            }
        }
    }

    fn outside(&self, site: &Site) -> Option<u32> {
        let service = Service::Registry(site.origin.clone());
        self.exchanges.hosts.get(&service).map(|it| it.outside())
    }
}

fn answered(mut call: Box<Call>, status: u16, headers: &[(&'static str, &str)]) -> Done {
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        head.headers_mut().insert(*name, value);
    }
    let receive = call.head(head);
    assert!(!matches!(receive, Receive::Relay { .. }));
    call.finish(Ok(()))
}

/// The scopes that a registry's tokens are to have, also those of a relay's source.
#[test]
fn a_source_asks_for_the_scopes_of_its_registry() {
    let mut config = Config::default();
    let pattern = "from.example".parse().expect("a pattern");
    let mut settings = RegistrySettings::new(pattern, "test");
    settings.scopes = ["repository:base:pull".parse().expect("a scope")].into();
    config.registries.push(settings);
    let scenario = Scenario::new(config);
    let scopes = &scenario.exchanges.exchanges[&scenario.source].scopes;
    assert_eq!(scopes.to_string(), "repository:a:pull repository:base:pull");
}

/// A sink that waits is in no line and holds no slot. Its host is remembered all the same, since both leave
/// together later.
#[test]
fn the_host_of_a_sink_that_waits_is_not_forgotten() {
    let mut scenario = Scenario::new(Config::default());
    let to = site_of("to.example/b");
    let (source, sink) = scenario.relay().split();
    assert_eq!(scenario.outside(&to), Some(1));
    let source = answered(source, 503, &[]);
    let sink = sink.finish(Err(Interrupted::OtherCall));
    scenario.end(scenario.sink, Done::relayed(source, sink));
    assert_eq!(scenario.outside(&to), Some(0));
    for n in 0..=HOSTS {
        let site = site_of(&format!("host{n}.example/a"));
        let head = BlobHead {
            site: site.clone(),
            digest: digest(),
            size: 4,
        };
        let op = Operation::BlobHead(head);
        let scopes = Scopes::default();
        let _head = scenario.exchanges.begin(OWNER, TASK, site, op, scopes);
    }
    assert_eq!(scenario.outside(&to), Some(0), "it is remembered");
    scenario.now = scenario.now + core::time::Duration::from_secs(60);
    let lost = Done::lost(scenario.relay().id());
    assert_eq!(scenario.outside(&to), Some(1));
    scenario.end(scenario.sink, lost);
    assert_eq!(scenario.outside(&to), Some(0));
}

/// A range ends before the part of a sink that has not sent any of it: the blob goes through a store.
#[test]
fn a_short_range_before_the_sink_begins() {
    let mut scenario = Scenario::new(Config::default());
    let op = scenario.exchanges.exchanges.get_mut(&scenario.sink);
    let Some(Operation::BlobPut(put)) = op.map(|it| &mut it.op) else {
        panic!("the sink is an upload");
    };
    (put.chunk, put.patches) = (2, true);
    let (mut source, sink) = scenario.relay().split();
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = "bytes 0-0/4".parse().expect("a value");
    head.headers_mut().insert("content-range", range);
    let receive = source.head(head);
    assert!(matches!(receive, Receive::Relay { .. }), "{receive:?}");
    assert_eq!(source.data(b"b"), Keep::All);
    let source = source.finish(Ok(()));
    let sink = sink.finish(Err(Interrupted::OtherCall));
    scenario.end(scenario.sink, Done::relayed(source, sink));
    let next = scenario
        .exchanges
        .next_job(JobId(99), scenario.now)
        .map(|(_, job)| job);
    assert!(next.is_none(), "{next:?}");
    let settled = scenario.exchanges.take_settled().expect("it goes on");
    let is_unrelayed = matches!(
        settled.result,
        Settlement::Done(OpOutcome::Unrelayed(Some(_)))
    );
    assert!(
        is_unrelayed && settled.exchange == scenario.sink,
        "{settled:?}"
    );
}

#[test]
fn what_is_not_of_a_relay_fails_rather_than_wait() {
    let mut scenario = Scenario::new(Config::default());
    let (sink, source) = (scenario.sink, scenario.source);
    let exchanges = &mut scenario.exchanges;
    // A defect.
    let head = BlobHead {
        site: site_of("to.example/b"),
        digest: digest(),
        size: 4,
    };
    exchanges.exchanges.get_mut(&sink).expect("the sink").op = Operation::BlobHead(head);
    exchanges.go_on_without_relay(Pair { source, sink });
    let settled = exchanges.take_settled().expect("it failed");
    let is_defect = matches!(&settled.result, Settlement::Failed(Error::Internal { .. }));
    assert!(is_defect && settled.exchange == sink, "{settled:?}");
    assert!(exchanges.exchanges.is_empty());
}
