//! A relay: a blob from one connection to another.
//!
//! ```text
//!  response ─▶ blocking pool: hashed, the end held back ─▶ request
//! ```
//!
//! Responsible for running both exchanges at once, and for which of them ended the other. Must not know
//! when jobs run.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use windlass_core::call::{Interrupted, Outgoing, Payload, Receive, Relay};
use windlass_core::{Call, Done};
use windlass_driver::{
    Incoming, Progress, RelaySource, Release, SOURCE_ENDS, accepted_early, cannot_resend,
    relay_sides,
};

use crate::exchange::{Content, Flow, Outflow};
use crate::stop::{Stop, stopped};
use crate::transfer::{Context, head};

/// Chunks between a connection and the worker that hashes them, as large as reqwest has them: some 16 KiB,
/// at most 400.
const CHUNKS: usize = 4;
/// The same between the worker and the other connection.
const PIECES: usize = 4;

/// What came of the worker.
struct Hashed {
    outgoing: Outgoing,
    /// Why the bytes were not sent to their end, if they are not the blob's.
    damage: Option<Interrupted>,
}

impl Context {
    /// Runs both exchanges of a relay.
    pub(crate) async fn relay(&self, relay: Relay, mut stop: Stop) -> Done {
        let (source, mut sink, outgoing) = match relay_sides(relay) {
            Ok(sides) => sides,
            Err(done) => return *done,
        };
        let (into, mut chunks) = mpsc::channel(CHUNKS);
        let (released, pieces) = mpsc::channel(PIECES);
        let progress = Progress::new(&self.resources.progress, &sink);
        let stopped_too = stop.clone();
        let hashing = async move {
            // Before that it would take a thread of the pool, which connecting may need.
            let Some(first) = chunks.recv().await else {
                let damage = None;
                return Some(Hashed { outgoing, damage });
            };
            let watched = (progress, stopped_too);
            let worker = spawn_blocking(move || hash(outgoing, first, chunks, &released, watched));
            worker.await.ok()
        };
        // Tells the source that the sink has ended.
        let (over, sink_over) = watch::channel(false);
        let mut body = Piped::new(pieces, &sink);
        let (feeds, fed) = oneshot::channel::<()>();
        let feeding = async {
            let source = self.feed(source, into, stop.clone(), sink_over).await;
            drop(feeds);
            source
        };
        let sending = async {
            let mut stop = stop.clone();
            let sent = tokio::select! {
                sent = self.send_piped(&mut sink, &mut body) => sent,
                () = stopped(&mut stop) => Some(Err(Interrupted::Aborted)),
            };
            // Its worker waits for the body to be taken.
            body.close();
            if matches!(&sent, Some(Ok(response)) if response.status().is_success()) {
                // It is not waited for: its last bytes may never come.
                let _has_ended = timeout(SOURCE_ENDS, fed).await;
            }
            over.send_replace(true);
            sent
        };
        let (source, sent, hashed) = tokio::join!(feeding, sending, hashing);
        let Some(Hashed { outgoing, damage }) = hashed else {
            return Done::lost(sink.id());
        };
        sink.sent(outgoing);
        let not_fed = damage.unwrap_or(Interrupted::OtherCall);
        let sink = match sent {
            Some(Err(Interrupted::Aborted)) => sink.finish(Err(Interrupted::Aborted)),
            None => sink.finish(Err(not_fed)),
            Some(Err(_)) if body.is_starved() => sink.finish(Err(not_fed)),
            Some(Err(why)) => sink.finish(Err(why)),
            Some(Ok(response)) if !body.is_through() && response.status().is_success() => {
                sink.finish(Err(Interrupted::Transport(accepted_early())))
            }
            Some(Ok(response)) => self.answered(sink, response, &mut stop).await,
        };
        Done::relayed(source, sink)
    }

    /// Sends the sink's request. `None` if there is nothing to be sent.
    async fn send_piped(
        &self,
        sink: &mut Call,
        body: &mut Piped,
    ) -> Option<Result<reqwest::Response, Interrupted>> {
        if !body.begins().await {
            return None;
        }
        if let Some(proxy) = self.resources.proxy(sink.origin()) {
            sink.through_proxy(&proxy.url);
        }
        Some(self.exchanges.send(sink.request(), Some(body)).await)
    }

    /// Fetches what the sink sends.
    async fn feed(
        &self,
        mut source: Box<Call>,
        into: mpsc::Sender<Bytes>,
        mut stop: Stop,
        mut sink_over: watch::Receiver<bool>,
    ) -> Done {
        if let Some(proxy) = self.resources.proxy(source.origin()) {
            source.through_proxy(&proxy.url);
        }
        let sent = tokio::select! {
            biased;
            () = either(&mut stop, &mut sink_over) => Err(Interrupted::OtherCall),
            sent = self.exchanges.send(source.request(), None::<&mut Piped>) => sent,
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(why) => return source.finish(Err(why)),
        };
        let receive = source.head(head(&mut response));
        let Receive::Relay { keep } = receive else {
            let mut incoming = Incoming::new(&self.resources.stores, source, receive);
            let end = tokio::select! {
                biased;
                () = either(&mut stop, &mut sink_over) => Err(Interrupted::OtherCall),
                end = self.collect(response, &mut incoming) => end,
            };
            return incoming.finish(end);
        };
        let mut source = RelaySource::new(source, keep);
        let end = tokio::select! {
            biased;
            () = either(&mut stop, &mut sink_over) => Err(Interrupted::OtherCall),
            end = self.pass_on(&mut source, response, &into) => end,
        };
        source.finish(end)
    }

    /// Passes the body on. If its connection breaks, the rest is asked for while the sink waits.
    async fn pass_on(
        &self,
        source: &mut RelaySource,
        mut response: reqwest::Response,
        into: &mpsc::Sender<Bytes>,
    ) -> Result<(), Interrupted> {
        loop {
            let end = self.pass_response_on(source, &mut response, into).await?;
            let next = (!source.is_complete()).then(|| source.rest()).flatten();
            let Some(request) = next else {
                return end;
            };
            let sent = self.exchanges.send(&request, None::<&mut Piped>).await;
            let Ok(mut next) = sent else {
                return end;
            };
            if !source.brings_rest(&head(&mut next)) {
                return end;
            }
            response = next;
        }
    }

    /// Passes on what one response brings. How it ended; an error if the sink wants no more.
    async fn pass_response_on(
        &self,
        source: &mut RelaySource,
        response: &mut reqwest::Response,
        into: &mpsc::Sender<Bytes>,
    ) -> Result<Result<(), Interrupted>, Interrupted> {
        while !source.is_beyond() {
            let chunk = match self.exchanges.chunk(response).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(why) => return Ok(Err(why)),
            };
            let Some(keep) = source.chunk(&chunk) else {
                break;
            };
            let begun = Instant::now();
            if into.send(chunk.slice(keep)).await.is_err() {
                return Err(Interrupted::OtherCall);
            }
            source.waited_since(begun);
        }
        Ok(Ok(()))
    }

    async fn answered(
        &self,
        mut sink: Box<Call>,
        mut response: reqwest::Response,
        stop: &mut Stop,
    ) -> Done {
        let receive = sink.head(head(&mut response));
        let mut incoming = Incoming::new(&self.resources.stores, sink, receive);
        let end = tokio::select! {
            biased;
            () = stopped(stop) => Err(Interrupted::Aborted),
            end = self.collect(response, &mut incoming) => end,
        };
        incoming.finish(end)
    }
}

/// Hashes what comes, on the blocking pool, and releases what may be sent.
fn hash(
    outgoing: Outgoing,
    first: Bytes,
    mut chunks: mpsc::Receiver<Bytes>,
    released: &mpsc::Sender<Bytes>,
    (mut progress, mut stop): (Progress, Stop),
) -> Hashed {
    let mut release = Release::new(outgoing);
    let mut damage = None;
    let runtime = Handle::current();
    let mut next = Some(first);
    while let Some(chunk) = next.take() {
        let piece = match release.push(&chunk) {
            Ok(piece) => piece,
            Err(why) => {
                damage = Some(why);
                break;
            }
        };
        let len = piece.len() as u64;
        let is_wanted = piece.is_empty()
            || runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => false,
                    sent = released.send(piece.into()) => sent.is_ok(),
                }
            });
        if !is_wanted {
            break;
        }
        progress.add(len);
        // The runtime that the connections run on may stand still.
        next = runtime.block_on(async {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => None,
                chunk = chunks.recv() => chunk,
            }
        });
    }
    progress.end();
    let outgoing = release.into_outgoing();
    Hashed { outgoing, damage }
}

/// The body of the sink's request. The first piece is kept until the second one is taken, so that the request
/// can be sent again if a kept connection turns out to be closed.
struct Piped {
    /// Until the request is sent.
    first: Option<Bytes>,
    pieces: Option<mpsc::Receiver<Bytes>>,
    len: u64,
    flow: Option<Arc<Flow>>,
}

impl Piped {
    fn new(pieces: mpsc::Receiver<Bytes>, sink: &Call) -> Self {
        let len = match sink.request().body() {
            Payload::Body(body) => body.len,
            Payload::Empty | Payload::Bytes(_) => 0,
        };
        Self {
            first: None,
            pieces: Some(pieces),
            len,
            flow: None,
        }
    }

    /// Waits for the first piece: without it the request is not sent at all.
    async fn begins(&mut self) -> bool {
        if let Some(pieces) = &mut self.pieces {
            self.first = pieces.recv().await;
        }
        self.first.is_some()
    }

    /// Takes nothing more.
    fn close(&mut self) {
        self.pieces = None;
        if let Some(flow) = &self.flow {
            flow.end();
        }
    }

    /// Whether the source ended before it had passed on all that the request carries.
    fn is_starved(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.is_starved())
    }

    /// Whether all of it was handed out.
    fn is_through(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.is_through())
    }
}

impl Content for Piped {
    async fn open(&mut self) -> Result<Outflow, Interrupted> {
        let taken = match &self.flow {
            None => self.first.take().zip(self.pieces.take()),
            Some(flow) => flow.take_back(),
        };
        let Some((first, pieces)) = taken else {
            return Err(cannot_resend());
        };
        let outflow = Outflow::after(first, pieces, self.len);
        self.flow = Some(outflow.flow());
        Ok(outflow)
    }
}

/// Returns when one of them says so.
async fn either(stop: &mut Stop, other: &mut Stop) {
    tokio::select! {
        () = stopped(stop) => {}
        () = stopped(other) => {}
    }
}
