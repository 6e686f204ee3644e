//! Exchanges against servers made of raw sockets: those that every driver is tested with, and what this one alone
//! does.

use std::io::Write as _;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::Request;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use windlass_core::call::{Interrupted, Payload, TransportErrorKind};
use windlass_driver::Tls;
use windlass_exchange_tests::servers::{after_head, listening};
use windlass_exchange_tests::{
    Answer, Exchange, Setup, Uploaded, Zeros, exchange_tests, get, kind, put,
};

use crate::exchange::{Content, Exchanges, Flow, Outflow};

/// This driver as the common tests use it, with a runtime that its connections stay on.
struct Async {
    exchanges: Exchanges,
    runtime: Runtime,
}

impl Exchange for Async {
    fn refused_tunnel(_: &'static str) -> &'static str {
        "unsuccessful"
    }

    fn new(setup: &Setup) -> Self {
        let tls = Tls::new(&setup.roots, None).unwrap();
        let tls = tls.with_hosts(Arc::clone(&setup.hosts));
        let proxies = Arc::clone(&setup.proxies);
        let mut runtime = Builder::new_multi_thread();
        Self {
            exchanges: Exchanges::new(tls, setup.limits, 4, proxies, setup.addresses.clone()),
            runtime: runtime.worker_threads(1).enable_all().build().unwrap(),
        }
    }

    fn send(&self, request: &Request<Payload>) -> Result<Answer, Interrupted> {
        self.runtime.block_on(async {
            let mut response = self.exchanges.send(request, None::<&mut Source>).await?;
            let status = response.status().as_u16();
            let mut body = Vec::new();
            while let Some(chunk) = self.exchanges.chunk(&mut response).await? {
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status, body })
        })
    }

    fn upload(&self, request: &Request<Payload>, body: Zeros) -> Uploaded {
        self.runtime.block_on(async {
            let mut source = Source::new(body);
            let sent = self.exchanges.send(request, Some(&mut source)).await;
            let mut read = 0;
            for (flow, pump) in source.pumps.drain(..) {
                flow.end();
                // A pump that hangs would be a defect.
                read += pump.await.unwrap();
            }
            Uploaded {
                status: sent.map(|response| response.status().as_u16()),
                read,
                opened: source.opened,
            }
        })
    }
}

exchange_tests!(Async);

/// A body that is read on the blocking pool.
struct Source {
    zeros: Zeros,
    opened: u32,
    pumps: Vec<(Arc<Flow>, JoinHandle<u64>)>,
}

impl Source {
    const fn new(zeros: Zeros) -> Self {
        Self {
            zeros,
            opened: 0,
            pumps: Vec::new(),
        }
    }
}

impl Content for Source {
    async fn open(&mut self) -> Result<Outflow, Interrupted> {
        let Zeros {
            len,
            there,
            piece,
            pause,
        } = self.zeros;
        let (sender, source) = mpsc::channel(4);
        let pump = tokio::task::spawn_blocking(move || {
            let mut read = 0;
            while read < there {
                thread::sleep(pause);
                let left = usize::try_from(there - read).unwrap_or(usize::MAX);
                let piece = Bytes::from(vec![0; piece.min(left)]);
                let more = piece.len() as u64;
                if sender.blocking_send(piece).is_err() {
                    break;
                }
                read += more;
            }
            read
        });
        let outflow = Outflow::new(source, len);
        self.pumps.push((outflow.flow(), pump));
        self.opened += 1;
        Ok(outflow)
    }
}

fn patient() -> Async {
    Async::new(&Setup::patient())
}

#[test]
fn a_target_that_would_be_altered_is_not_sent() {
    let (base, heads) = listening();
    for target in ["/v2/a?state='x'", "/a/../b", "/a/%2e%2e/b", "/a?b=\"c\""] {
        let Ok(uri) = format!("{base}{target}").parse::<http::Uri>() else {
            continue;
        };
        let result = patient().send(&get(&uri.to_string()));
        let Err(Interrupted::NotSent(why)) = &result else {
            panic!("{target}: {result:?}")
        };
        assert_eq!(why.kind, TransportErrorKind::Protocol);
    }
    assert!(heads.try_recv().is_err());
}

#[test]
fn an_early_refusal_may_drown_in_a_reset() {
    // hyper gives up when a write fails, even if an answer is there to be read. Here the blocking
    // client does better; the core sends no blob where it may be refused out of hand.
    let abrupt = after_head(|stream| {
        stream
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let uploaded = patient().upload(&put(&abrupt, 1 << 30), Zeros::new(1 << 30));
    assert!(uploaded.status == Ok(401) || kind(uploaded.status) == TransportErrorKind::Reset);
}

#[test]
fn the_future_of_a_request_can_be_spawned() {
    fn is_send(_: &impl Send) {}
    fn check(request: crate::Request<'_, crate::driver::Pull>) {
        is_send(&request.run());
    }
    let _ = check;
}
