//! One job: a call, a step in a store, or a question for credentials.
//!
//! Responsible for carrying bytes between connection and store, and for telling how far they got.
//! Whatever touches a store runs on the blocking pool, one worker per transfer, joined to the
//! connection by a bounded channel. Must not know when jobs run.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Response;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use windlass_core::call::{
    Body, Interrupted, Keep, Outgoing, Payload, Receive, TransportError, TransportErrorKind,
};
use windlass_core::{Call, Done};
use windlass_driver::{BodyOutcome, Incoming, OutgoingReader, Progress, Resources, accepted_early};

use crate::exchange::{Content, Exchanges, Flow, Outflow};
use crate::job::Ticket;
use crate::pipe::{Chunks, Message, PipeReader, Spare, pipe};
use crate::stop::{Stop, stopped};

/// What is read of a stored blob at a time, and how many pieces wait for the connection. hyper takes up to 400 KiB
/// ahead of what it has sent.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 2;

/// What jobs need of a client.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) exchanges: Exchanges,
    pub(crate) resources: Resources,
    /// For what is received.
    pub(crate) spare: Spare,
}

impl Context {
    /// Sends a request and takes its answer.
    pub(crate) async fn exchange(&self, call: Box<Call>, mut stop: Stop, ticket: Ticket) {
        match self.send(call, &mut stop).await {
            Ok((call, response, progress)) => {
                self.receive(call, response, progress, stop, ticket).await;
            }
            Err(done) => ticket.end(done),
        }
    }

    async fn send(
        &self,
        mut call: Box<Call>,
        stop: &mut Stop,
    ) -> Result<(Box<Call>, reqwest::Response, Progress), Done> {
        if let Some(proxy) = self.resources.proxy(call.origin()) {
            call.through_proxy(&proxy.url);
        }
        let mut progress = Progress::new(&self.resources.progress, &call);
        let mut stored = Stored::of(self, &call, &progress, stop.clone());
        let sending = async {
            self.check(&call).await?;
            self.exchanges.send(call.request(), stored.as_mut()).await
        };
        let sent = tokio::select! {
            sent = sending => sent,
            () = stopped(stop) => Err(Interrupted::Aborted),
        };
        let failure = stored.as_ref().and_then(Stored::failure);
        let outgoing = stored.as_ref().and_then(Stored::outgoing);
        let cut = stored.is_some_and(|stored| !stored.is_through());
        if let Some(outgoing) = outgoing {
            call.sent(outgoing);
        }
        let response = match sent {
            Ok(response) => response,
            Err(Interrupted::Aborted) => return Err(call.finish(Err(Interrupted::Aborted))),
            Err(why) => return Err(call.finish(Err(failure.unwrap_or(why)))),
        };
        if cut && response.status().is_success() {
            return Err(call.finish(Err(Interrupted::Transport(accepted_early()))));
        }
        progress.restart(call.starts_at());
        Ok((call, response, progress))
    }

    /// Whether the store has the blob that the call needs.
    async fn check(&self, call: &Call) -> Result<(), Interrupted> {
        let Some(stored) = call.stored().cloned() else {
            return Ok(());
        };
        let stores = Arc::clone(&self.resources.stores);
        let checked = spawn_blocking(move || stores.check(Some(&stored))).await;
        let checked = checked.map_err(|_| store_panicked())?;
        checked.map_err(Interrupted::Store)
    }

    async fn receive(
        &self,
        mut call: Box<Call>,
        mut response: reqwest::Response,
        progress: Progress,
        mut stop: Stop,
        ticket: Ticket,
    ) {
        let receive = call.head(head(&mut response));
        let touches_store = matches!(receive, Receive::Store { .. });
        let stores = Arc::clone(&self.resources.stores);
        if !touches_store {
            let mut incoming = Incoming::new(&stores, call, receive);
            let end = tokio::select! {
                biased;
                () = stopped(&mut stop) => Err(Interrupted::Aborted),
                end = self.collect(response, &mut incoming) => end,
            };
            return ticket.end(incoming.finish(end));
        }
        let (mut writer, reader) = pipe(self.spare.clone());
        let mut aborted = stop.clone();
        // It reports the end itself: it goes on when this runtime does not.
        drop(spawn_blocking(move || {
            ticket.block(|| {
                let incoming = Incoming::new(&stores, call, receive);
                keep(incoming, reader, progress, &mut aborted)
            });
        }));
        let end = tokio::select! {
            biased;
            () = stopped(&mut stop) => Err(Interrupted::Aborted),
            end = writer.pass(Arriving(&self.exchanges, &mut response)) => end,
        };
        // The connection is there again, or closed, before the next request is.
        drop(response);
        writer.end(end).await;
    }

    /// A small body, or one of no interest.
    pub(crate) async fn collect(
        &self,
        mut response: reqwest::Response,
        incoming: &mut Incoming,
    ) -> Result<(), Interrupted> {
        if !incoming.wants_body() {
            return Ok(());
        }
        while let Some(chunk) = self.exchanges.chunk(&mut response).await? {
            if incoming.chunk(&chunk) == Keep::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// The body of a response.
struct Arriving<'a>(&'a Exchanges, &'a mut reqwest::Response);

impl Chunks for Arriving<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Interrupted> {
        self.0.chunk(self.1).await
    }
}

/// The head of an answer.
pub(crate) fn head(response: &mut reqwest::Response) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = response.status();
    *head.version_mut() = response.version();
    *head.headers_mut() = std::mem::take(response.headers_mut());
    head
}

fn store_panicked() -> Interrupted {
    let why = TransportError::new(TransportErrorKind::Other, "the store panicked");
    Interrupted::NotSent(why)
}

/// A stored blob that is a request's body, with what watches it.
struct Stored<'a> {
    context: &'a Context,
    call: &'a Call,
    body: &'a Body,
    progress: &'a Progress,
    stop: Stop,
    /// The try that is underway.
    sending: Option<(Ending, BodyOutcome)>,
}

impl<'a> Stored<'a> {
    /// The call's body, if it is a stored blob.
    fn of(
        context: &'a Context,
        call: &'a Call,
        progress: &'a Progress,
        stop: Stop,
    ) -> Option<Self> {
        let Payload::Body(body) = call.request().body() else {
            return None;
        };
        Some(Self {
            context,
            call,
            body,
            progress,
            stop,
            sending: None,
        })
    }

    /// Why its bytes could not be had, if that ended the request.
    fn failure(&self) -> Option<Interrupted> {
        self.sending.as_ref()?.1.failure()
    }

    /// Its meter, unless its bytes are still being read.
    fn outgoing(&self) -> Option<Outgoing> {
        self.sending.as_ref()?.1.outgoing()
    }

    /// Whether all of it was handed out.
    fn is_through(&self) -> bool {
        let sending = self.sending.as_ref();
        sending.is_some_and(|(ending, _)| ending.0.is_through())
    }
}

impl Content for Stored<'_> {
    async fn open(&mut self) -> Result<Outflow, Interrupted> {
        if let Some(why) = self.failure() {
            return Err(why);
        }
        let stores = Arc::clone(&self.context.resources.stores);
        let (body, outgoing) = (self.body.clone(), self.call.outgoing());
        let stop = self.stop.clone();
        let reader = spawn_blocking(move || {
            let mut reader = stores.body(&body, outgoing)?;
            reader.catch_up(|| *stop.borrow())?;
            Ok(reader)
        });
        let reader = reader.await;
        let reader = reader.map_err(|_| store_panicked())??;
        let outcome = reader.outcome();
        let outflow = pump(
            reader,
            self.body.len,
            self.progress.clone(),
            self.stop.clone(),
        );
        self.sending = Some((Ending(outflow.flow()), outcome));
        Ok(outflow)
    }
}

/// Ends a body when it is dropped, whatever the connection does with it.
struct Ending(Arc<Flow>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Hashes and writes what comes, on the blocking pool.
fn keep(
    mut incoming: Incoming,
    mut content: PipeReader,
    mut progress: Progress,
    stop: &mut Stop,
) -> Done {
    if !incoming.wants_body() {
        return incoming.finish(Ok(()));
    }
    let end = loop {
        match content.next(stop) {
            Some(Message::Content(buffer)) => {
                if incoming.chunk(&buffer) == Keep::Stop {
                    break Ok(());
                }
                progress.at(incoming.position());
                content.give_back(buffer);
            }
            Some(Message::End(end)) => break end,
            // The connection is gone with its runtime, or stands still with it.
            None => break Err(Interrupted::Aborted),
        }
    };
    progress.end();
    incoming.finish(end)
}

/// Reads a stored blob on the blocking pool, as fast as it is sent.
fn pump(mut reader: OutgoingReader, len: u64, mut progress: Progress, mut stop: Stop) -> Outflow {
    let (sender, receiver) = mpsc::channel(PIECES);
    let pieces = Pieces::default();
    drop(spawn_blocking(move || {
        let mut left = len;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let mut piece = pieces.take(most);
            // What went wrong is asked of the reader's handle; the body that ends early breaks
            // the request.
            let Ok(read @ 1..) = reader.read(&mut piece.bytes) else {
                break;
            };
            piece.len = read;
            left -= read as u64;
            // A connection whose runtime does not run takes nothing.
            let sent = Handle::current().block_on(async {
                tokio::select! {
                    sent = sender.send(Bytes::from_owner(piece)) => sent.is_ok(),
                    () = stopped(&mut stop) => false,
                }
            });
            if !sent {
                break;
            }
            progress.add(read as u64);
        }
        progress.end();
    }));
    Outflow::new(receiver, len)
}

/// Pieces that were sent, to be read into again: new ones would have to be cleared each. Never more than were on
/// their way at once.
#[derive(Clone, Default)]
struct Pieces(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pieces {
    /// A piece to read up to `len` bytes into.
    fn take(&self, len: usize) -> Piece {
        let mut bytes = self.lock().pop().unwrap_or_default();
        bytes.resize(len, 0);
        Piece {
            bytes,
            len: 0,
            pieces: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `len` bytes of it are to be sent.
struct Piece {
    bytes: Vec<u8>,
    len: usize,
    pieces: Pieces,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pieces.lock().push(bytes);
    }
}
