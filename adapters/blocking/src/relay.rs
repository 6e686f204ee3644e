//! A relay: a blob from one connection to another.
//!
//! ```text
//!  thread of its own: response ─▶ hashed, the end held back ─▶ pipe ─▶ request: the job's thread
//! ```
//!
//! Responsible for running both exchanges at once, and for which of them ended the other. Must not know
//! when jobs run.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use http::Response;
use windlass_core::call::{Interrupted, Outgoing, Payload, Receive, Relay};
use windlass_core::{Call, Done};
use windlass_driver::{
    Incoming, Progress, RelaySource, Release, SOURCE_ENDS, accepted_early, cannot_resend,
    relay_sides,
};

use crate::control::Control;
use crate::exchange::{Content, Inflow, Upload};
use crate::transfer::{BUFFER, Context, Ended, read, straight};

/// Pieces between the connections, each as large as one read: half a MiB for a relay.
const PIECES: usize = 8;

/// How long the sink waits for a piece before it looks whether its peer has answered already.
const LISTENING: Duration = Duration::from_millis(100);

/// What came of the source's side.
struct Fed {
    done: Done,
    outgoing: Outgoing,
    /// Why its bytes were not sent to their end, if they are not the blob's.
    damage: Option<Interrupted>,
}

impl Context {
    /// Runs both exchanges of a relay.
    pub(crate) fn relay(&self, relay: Relay, control: &Arc<Control>) -> Done {
        let (source, mut sink, outgoing) = match relay_sides(relay) {
            Ok(sides) => sides,
            Err(done) => return *done,
        };
        let half = control.other_half();
        let (into, pipe) = sync_channel(PIECES);
        let (feeds, fed) = sync_channel::<()>(0);
        thread::scope(|scope| {
            let feeding = {
                let half = Arc::clone(&half);
                let release = Release::new(outgoing);
                scope.spawn(move || {
                    let fed = self.feed(source, release, into, &half);
                    drop(feeds);
                    fed
                })
            };
            let progress = Progress::new(&self.resources.progress, &sink);
            let mut body = Piped::new(pipe, progress, sink.starts_at());
            let sent = self.send_piped(&mut sink, &mut body, control);
            let is_taken = matches!(&sent, Some(Ok(response)) if response.status().is_success());
            let is_starved = body.is_starved;
            // The source cannot pass anything on from here.
            drop(body);
            if is_taken {
                // It is not waited for: its last bytes may never come.
                let _has_ended = fed.recv_timeout(SOURCE_ENDS);
            }
            half.stop();
            let Fed {
                done,
                outgoing,
                damage,
            } = feeding.join().unwrap_or_else(|panic| resume_unwind(panic));
            sink.sent(outgoing);
            let not_fed = damage.unwrap_or(Interrupted::OtherCall);
            let (source, sink) = match sent {
                _ if control.is_stopped() => (done, sink.finish(Err(Interrupted::Aborted))),
                None => (done, sink.finish(Err(not_fed))),
                Some(Err(_)) if is_starved => (done, sink.finish(Err(not_fed))),
                Some(Err(why)) => (done, sink.finish(Err(why))),
                Some(Ok(response)) => (done, self.answered(sink, response, control)),
            };
            Done::relayed(source, sink)
        })
    }

    /// Sends the sink's request. `None` if there is nothing to be sent.
    fn send_piped(
        &self,
        sink: &mut Call,
        body: &mut Piped,
        control: &Arc<Control>,
    ) -> Option<Result<Response<Inflow>, Interrupted>> {
        if !body.begins(control) {
            return None;
        }
        let _entered = control.enter();
        let proxy = self.resources.proxy(sink.origin());
        if let Some(proxy) = &proxy {
            sink.through_proxy(&proxy.url);
        }
        let len = match sink.request().body() {
            Payload::Body(body) => body.len,
            Payload::Empty | Payload::Bytes(_) => 0,
        };
        let upload = Upload::new(body, len, control);
        let request = sink.request();
        let sent = self
            .exchanges
            .send(request, Some(upload), proxy.as_ref(), control);
        body.progress.end();
        Some(sent)
    }

    fn answered(
        &self,
        sink: Box<Call>,
        response: Response<Inflow>,
        control: &Arc<Control>,
    ) -> Done {
        if control.has_peer_stopped_reading() && response.status().is_success() {
            return sink.finish(Err(Interrupted::Transport(accepted_early())));
        }
        let _entered = control.enter();
        let progress = Progress::new(&self.resources.progress, &sink);
        self.receive(sink, response, progress, control)
    }

    /// Fetches what the sink sends.
    fn feed(
        &self,
        mut source: Box<Call>,
        release: Release,
        pipe: SyncSender<Vec<u8>>,
        control: &Arc<Control>,
    ) -> Fed {
        let _entered = control.enter();
        let mut feeder = Feeder {
            release,
            pipe,
            damage: None,
        };
        let done = match self.open(&mut source, control) {
            Err(why) => source.finish(Err(ended(why, control))),
            Ok((body, Receive::Relay { keep })) => {
                let source = RelaySource::new(source, keep);
                self.pass_on(source, body, &mut feeder, control)
            }
            Ok((body, receive)) => {
                let progress = Progress::new(&self.resources.progress, &source);
                let incoming = Incoming::new(&self.resources.stores, source, receive);
                let (incoming, end) = if incoming.wants_body() {
                    straight(body, incoming, progress, control)
                } else {
                    (incoming, Ok(()))
                };
                incoming.finish(end.map_err(|why| ended(why, control)))
            }
        };
        Fed {
            done,
            outgoing: feeder.release.into_outgoing(),
            damage: feeder.damage,
        }
    }

    fn open(
        &self,
        source: &mut Call,
        control: &Arc<Control>,
    ) -> Result<(Inflow, Receive), Interrupted> {
        let proxy = self.resources.proxy(source.origin());
        if let Some(proxy) = &proxy {
            source.through_proxy(&proxy.url);
        }
        let request = source.request();
        let response = self
            .exchanges
            .send(request, None, proxy.as_ref(), control)?;
        let (head, body) = response.into_parts();
        Ok((body, source.head(Response::from_parts(head, ()))))
    }

    /// Passes the body on. If its connection breaks, the rest is asked for while the sink waits.
    fn pass_on(
        &self,
        mut source: RelaySource,
        mut body: Inflow,
        feeder: &mut Feeder,
        control: &Arc<Control>,
    ) -> Done {
        loop {
            let end = match feeder.feed(&mut source, &mut body, control) {
                Ok(end) => end,
                Err(Unwanted) => return source.finish(Err(Interrupted::OtherCall)),
            };
            let next = (!control.is_stopped() && !source.is_complete())
                .then(|| source.rest())
                .flatten();
            let response = next.and_then(|request| {
                let proxy = self.resources.proxy(source.call().origin());
                let sent = self.exchanges.send(&request, None, proxy.as_ref(), control);
                sent.ok()
            });
            let goes_on = response.and_then(|response| {
                let (head, body) = response.into_parts();
                let head = Response::from_parts(head, ());
                source.brings_rest(&head).then_some(body)
            });
            match goes_on {
                Some(next) => body = next,
                None => return source.finish(end.map_err(|why| ended(why, control))),
            }
        }
    }
}

/// The other side of the relay takes nothing more.
struct Unwanted;

/// The source's side of the pipe.
struct Feeder {
    release: Release,
    pipe: SyncSender<Vec<u8>>,
    damage: Option<Interrupted>,
}

impl Feeder {
    /// Passes on what one response brings.
    fn feed(
        &mut self,
        source: &mut RelaySource,
        body: &mut Inflow,
        control: &Control,
    ) -> Result<Ended, Unwanted> {
        let mut buffer = vec![0; BUFFER];
        loop {
            if source.is_beyond() {
                return Ok(Ok(()));
            }
            let read = match read(body, &mut buffer, control) {
                Ok(0) => return Ok(Ok(())),
                Ok(read) => read,
                Err(why) => return Ok(Err(why)),
            };
            let Some(keep) = source.chunk(&buffer[..read]) else {
                return Ok(Ok(()));
            };
            let released = self.release.push(&buffer[keep]).map_err(|why| {
                self.damage = Some(why);
                Unwanted
            })?;
            if !released.is_empty() {
                let begun = Instant::now();
                self.pipe.send(released).map_err(|_| Unwanted)?;
                source.waited_since(begun);
            }
        }
    }
}

/// The sink's side of the pipe, as the body of its request.
struct Piped {
    pipe: Receiver<Vec<u8>>,
    /// The piece that is being read. The first one is kept until the second one is wanted, so that the request
    /// can be sent again if a kept connection turns out to be closed.
    piece: Vec<u8>,
    read: usize,
    is_first: bool,
    /// Whether the source ended before it had passed on all that the request carries.
    is_starved: bool,
    progress: Progress,
    /// The position of the first byte in the blob.
    starts_at: u64,
}

impl Piped {
    fn new(pipe: Receiver<Vec<u8>>, progress: Progress, starts_at: u64) -> Self {
        Self {
            starts_at,
            pipe,
            piece: Vec::new(),
            read: 0,
            is_first: true,
            is_starved: false,
            progress,
        }
    }

    /// Waits for the first piece: without it the request is not sent at all.
    fn begins(&mut self, control: &Control) -> bool {
        while !control.is_stopped() {
            match self.pipe.recv_timeout(LISTENING) {
                Ok(piece) => {
                    self.piece = piece;
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            match self.pipe.recv_timeout(LISTENING) {
                Ok(piece) => (self.piece, self.read, self.is_first) = (piece, 0, false),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_starved = true;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let rest = &self.piece[self.read..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.read += taken;
        self.progress.add(taken as u64);
        Ok(taken)
    }
}

impl Content for Piped {
    fn rewind(&mut self) -> Result<(), Interrupted> {
        if !self.is_first {
            return Err(cannot_resend());
        }
        self.read = 0;
        self.progress.restart(self.starts_at);
        Ok(())
    }

    fn is_starved(&self) -> bool {
        self.is_starved
    }
}

/// The source is stopped when the sink has ended, too.
fn ended(why: Interrupted, control: &Control) -> Interrupted {
    if why == Interrupted::Aborted && control.is_stopped() {
        return Interrupted::OtherCall;
    }
    why
}
