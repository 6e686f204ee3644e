//! One HTTP exchange, and what goes wrong in it.
//!
//! Responsible for the network between a process and its registries: what the server sees of a
//! request, how much of the answer arrives. What the registry answers is the model's; which faults fit
//! a request is `occasions`', and how an answer is spoiled is `mangle`'s.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use windlass_core::Digest;
use windlass_core::call::{
    Call, Done, Interrupted, Keep, Payload, Receive, TransportError, TransportErrorKind,
};
use windlass_driver::Incoming;
use windlass_testbed::{Answer, Request};

use super::choose::List;
use super::echoed;
use super::fault::Fault;
use super::foreign;
use super::mangle;
use super::mirrors::mirror_of;
use super::occasions::asks_for_blob;
use super::plan::Access;
use super::world::{Ran, World};

/// How long an exchange takes.
const LATENCY: Duration = Duration::from_millis(10);
/// How long a driver waits for the next byte.
const IDLE: Duration = Duration::from_secs(60);
/// The models' clock at the beginning, since the Unix epoch.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// What sort of request it is, as far as faults differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestKind {
    Token,
    Ping,
    Head,
    GetManifest,
    GetBlob,
    Start,
    Mount,
    PutBlob,
    PutManifest,
}

impl RequestKind {
    pub(crate) fn of(request: &Request) -> Self {
        let target = &request.target;
        let blob = target.contains("/blobs/") || target.starts_with("/bucket/");
        match request.method {
            _ if target.starts_with("/token") => Self::Token,
            _ if target == "/v2/" => Self::Ping,
            Method::HEAD => Self::Head,
            Method::GET if blob => Self::GetBlob,
            Method::POST if target.contains("mount=") => Self::Mount,
            Method::POST => Self::Start,
            Method::PUT if target.contains("/manifests/") => Self::PutManifest,
            Method::PUT | Method::PATCH => Self::PutBlob,
            // Nothing of it matters.
            Method::DELETE => Self::Head,
            _ => Self::GetManifest,
        }
    }
}

/// How much of an answer arrives, and how it ends.
pub(crate) struct Delivery {
    pub(crate) answer: Answer,
    /// This many bytes of its body.
    pub(crate) kept: usize,
    pub(crate) end: Result<(), Interrupted>,
    /// The worker dies behind them.
    pub(crate) lost: bool,
    pub(crate) crash: bool,
}

impl Delivery {
    pub(crate) const fn whole(answer: Answer) -> Self {
        Self {
            answer,
            kept: usize::MAX,
            end: Ok(()),
            lost: false,
            crash: false,
        }
    }

    /// It breaks off after this many bytes of its body.
    pub(crate) fn breaks(&mut self, kept: usize, error: TransportError) {
        self.kept = kept;
        self.end = Err(Interrupted::Transport(error));
    }
}

/// What became of a request.
pub(crate) enum Carried {
    Delivered(RequestKind, Delivery),
    Broke(Interrupted),
    /// The worker dies waiting.
    Lost,
}

impl World<'_> {
    /// One exchange from its request to its end.
    pub(crate) fn http(&mut self, process: usize, mut call: Box<Call>, unwanted: bool) -> Ran {
        let request = match self.request(process, &mut call) {
            Ok(request) => request,
            Err(reason) => return Ran::Done(call.finish(Err(reason))),
        };
        let reader = self.reader_of(process, &call);
        if let Some(place) = reader {
            self.check_read_on(process, place, &request);
        }
        match self.carry(process, &call, &request, unwanted) {
            Carried::Delivered(sort, delivery) => {
                let Some(place) = reader else {
                    return self.deliver(process, call, sort, delivery);
                };
                self.watch_range(process, place, &request, &delivery.answer);
                self.bring(process, call, (sort, delivery), unwanted)
            }
            Carried::Broke(why) => Ran::Done(call.finish(Err(why))),
            Carried::Lost => Ran::Done(Done::lost(call.id())),
        }
    }

    /// A request to its server, and what comes back.
    pub(crate) fn carry(
        &mut self,
        process: usize,
        call: &Call,
        request: &Request,
        unwanted: bool,
    ) -> Carried {
        self.check_request(call, request);
        self.check_mirrored(request);
        self.now += LATENCY;
        let sort = RequestKind::of(request);
        if let Some(at) = mirror_of(&request.host) {
            self.check_resumes(request, sort);
            return self.mirrored(process, call, request, at);
        }
        let Some(owner) = owner_of(&request.host) else {
            // A name that an odd answer made up.
            self.credit(call);
            return Carried::Broke(not_sent(TransportErrorKind::Resolve));
        };
        if !self.is_ours(&request.host) {
            self.credit(call);
            let answer = self.stranger(request, owner);
            self.spend(request, sort, Some(Fault::RedirectForeign), Some(&answer));
            return Carried::Delivered(sort, Delivery::whole(answer));
        }
        self.check_replaced(request, owner);
        self.check_resumes(request, sort);
        self.check_address(process, request);
        let fault = if self.plan.stubborn.is_empty() || self.calm {
            self.draw(request, sort, owner, unwanted)
        } else {
            let stubborn = self.stubborn(request).map(|_| Fault::Arbitrary);
            stubborn.inspect(|fault| self.fire(*fault))
        };
        self.check_challenged(process, call, owner);
        self.check_ping(process, call.id(), owner, sort);
        self.check_useless(process, call);
        if let Some(fault) = fault {
            // An abandoned exchange has no result.
            if !fault.is_harmless() && !unwanted {
                self.credit(call);
            }
            self.watch_fault(process, owner, sort, fault);
            self.watch_list_fault(request, fault);
            if fault == Fault::Late {
                self.late.push(request.clone());
            }
        }
        match self.serve(request, sort, owner, fault) {
            Ok(delivery) => {
                let is_usual = fault.is_none_or(Fault::is_harmless);
                if is_usual && delivery.answer.status.is_server_error() {
                    // Some registries are always like that.
                    self.credit(call);
                }
                if !foreign::is_foreign(&request.host, &request.target) {
                    self.watch_answer(process, call, sort, owner, &delivery.answer);
                }
                if sort == RequestKind::Token && fault.is_none() {
                    self.watch_token(process, call, &delivery.answer);
                }
                self.spend(request, sort, fault, Some(&delivery.answer));
                if matches!(fault, Some(Fault::Cut | Fault::Stalled))
                    && sort == RequestKind::GetBlob
                {
                    self.watch_cut(request, &delivery.answer, delivery.kept);
                }
                Carried::Delivered(sort, delivery)
            }
            Err(reason) => {
                self.spend(request, sort, fault, None);
                reason.map_or(Carried::Lost, Carried::Broke)
            }
        }
    }

    /// What somebody answers who is no registry of ours.
    fn stranger(&mut self, request: &Request, owner: usize) -> Answer {
        let even = self.plan.swarm.even;
        let truthful = even || !self.models[owner].options().check_references;
        self.strangers += 1;
        if even && self.strangers > 1 {
            // Where all is tried: strangers could send it on to each other in all the ways there are.
            return mangle::stranger(&mut List::new(&[]), request, owner, truthful);
        }
        mangle::stranger(&mut *self.choose, request, owner, truthful)
    }

    /// What this kind of request is always answered with.
    fn stubborn(&self, request: &Request) -> Option<Answer> {
        let mut stubborn = self.plan.stubborn.iter();
        stubborn.find_map(|it| it.answer(request))
    }

    /// A request that was given up long ago arrives all the same.
    pub(crate) fn arrive_late(&mut self, request: &Request) {
        if let Some(owner) = owner_of(&request.host) {
            self.lines.push(format!(
                "~ late: {} {}",
                request.method,
                path(&request.target)
            ));
            let at = EPOCH + self.now;
            let _nobody_hears = self.models[owner].answer(request, at);
            self.after_request(request);
        }
    }

    /// What the server does, and what of it comes back. `Err(None)`: the worker dies waiting.
    fn serve(
        &mut self,
        request: &Request,
        sort: RequestKind,
        owner: usize,
        fault: Option<Fault>,
    ) -> Result<Delivery, Option<Interrupted>> {
        let broke = |kind| Some(Interrupted::Transport(TransportError::new(kind, "planned")));
        match fault {
            Some(Fault::Refused) => return Err(Some(not_sent(TransportErrorKind::Connect))),
            Some(Fault::ResetUnseen) => return Err(broke(TransportErrorKind::Reset)),
            Some(Fault::Late) => return Err(broke(TransportErrorKind::Answer)),
            Some(Fault::Broken | Fault::Rewound) => {
                let sent = self.place(request.body.len());
                let part = request.clone().body(request.body.slice(..sent));
                let at = EPOCH + self.now;
                self.models[owner].cut(&part, at);
                if fault == Some(Fault::Broken) {
                    return Err(broke(TransportErrorKind::Reset));
                }
                return Ok(Delivery::whole(mangle::rewound(sent)));
            }
            Some(Fault::Revoked) => self.models[owner].revoke_tokens(),
            Some(Fault::Rotated) => self.rotate(owner),
            Some(Fault::LostSession) => self.models[owner].forget_uploads(),
            _ => {}
        }
        let unranged;
        let request = if fault == Some(Fault::RangeIgnored) {
            unranged = without_range(request);
            &unranged
        } else {
            request
        };
        let model = &self.models[owner];
        let truthful = !model.options().check_references;
        let access = self.plan.settings[owner].access;
        let stubborn = self.stubborn(request);
        let stubborn = stubborn.filter(|_| fault == Some(Fault::Arbitrary));
        let drawn = fault.filter(|_| stubborn.is_none());
        let instead = drawn.and_then(|fault| {
            mangle::instead(
                &mut *self.choose,
                fault,
                request,
                owner,
                access,
                truthful,
                self.now,
            )
        });
        let instead = instead.or(stubborn);
        // Some servers fail after they have done it.
        let does = fault == Some(Fault::ServerError) && self.choose.below(2) == 1;
        let answer = match instead {
            Some(answer) if !does => answer,
            instead => {
                let answer = self.answered(request, owner);
                instead.unwrap_or(answer)
            }
        };
        let mut delivery = Delivery::whole(answer);
        let len = delivery.answer.body.len();
        match fault {
            Some(Fault::Unanswered) => return Err(broke(TransportErrorKind::Answer)),
            Some(Fault::DeadToken) => self.models[owner].revoke_tokens(),
            Some(Fault::Cut) => {
                delivery.kept = self.place(len);
                delivery.end = Err(broke(TransportErrorKind::Reset).expect("it broke"));
            }
            Some(Fault::Stalled) => {
                self.now += IDLE;
                delivery.kept = self.place(len);
                delivery.end = Err(broke(TransportErrorKind::Idle).expect("it broke"));
            }
            Some(Fault::LostExchange) if sort != RequestKind::GetBlob => return Err(None),
            Some(Fault::LostExchange) => {
                delivery.kept = self.place(len);
                delivery.lost = true;
            }
            Some(Fault::CrashInBody) => {
                delivery.kept = self.place(len);
                delivery.crash = true;
            }
            Some(Fault::DiskFull) => {
                let room = self.place(len) as u64;
                self.each_disk(|notes| notes.room = Some(room));
            }
            Some(Fault::EchoHeader) => {
                echoed::one(&mut *self.choose, request, &mut delivery.answer);
            }
            Some(fault) => {
                delivery.answer = mangle::spoil(&mut *self.choose, fault, delivery.answer, owner);
            }
            None => {}
        }
        if let Some(at) = self.plan.settings[owner].echoes {
            echoed::always(at, request, &mut delivery.answer);
        }
        Ok(delivery)
    }

    /// The answer of the registry or the host that is asked.
    fn answered(&mut self, request: &Request, owner: usize) -> Answer {
        let at = EPOCH + self.now;
        if request.host.starts_with("far") {
            return foreign::answer(&mut self.far, request, at);
        }
        self.admit(owner, request);
        let answer = self.models[owner].answer(request, at);
        self.check_committed(owner, request, &answer);
        self.after_request(request);
        answer
    }

    /// The request as a server sees it, its body read to its end.
    fn request(&mut self, process: usize, call: &mut Call) -> Result<Request, Interrupted> {
        let checked = self.processes[process].stores.check(call.stored());
        checked.map_err(Interrupted::Store)?;
        let (outgoing, mut home) = (call.outgoing(), None);
        let sent = call.request();
        let mut request = bare(sent);
        request.body = match sent.body() {
            Payload::Empty => Vec::new().into(),
            Payload::Bytes(bytes) => bytes.to_vec().into(),
            Payload::Body(body) => {
                let flips = self.occasion(&[Fault::ReadFlips]).is_some();
                self.flip_reads(flips);
                let outgoing = outgoing.expect("a body that is a blob has a meter");
                let reader = self.processes[process].stores.outgoing(body, outgoing);
                self.flip_reads(false);
                let mut reader = reader.map_err(Interrupted::Store)?;
                let mut bytes = Vec::new();
                let outcome = reader.outcome();
                let read = reader.by_ref().take(body.len).read_to_end(&mut bytes);
                if read.is_err() {
                    return Err(outcome.failure().expect("the reason of a failed read"));
                }
                self.check_sent(body, &bytes);
                home = outcome.outgoing();
                bytes.into()
            }
        };
        if let Some(outgoing) = home {
            call.sent(outgoing);
        }
        Ok(request)
    }

    pub(crate) fn deliver(
        &mut self,
        process: usize,
        mut call: Box<Call>,
        sort: RequestKind,
        delivery: Delivery,
    ) -> Ran {
        let receive = call.head(head(&delivery.answer));
        self.take_body(process, call, receive, sort, delivery)
    }

    /// What an answer brings for a store, or for the call itself.
    pub(crate) fn take_body(
        &mut self,
        process: usize,
        call: Box<Call>,
        receive: Receive,
        sort: RequestKind,
        delivery: Delivery,
    ) -> Ran {
        let id = call.id();
        let collects = receive == Receive::Collect;
        let stores = Arc::clone(&self.processes[process].stores);
        let mut incoming = Incoming::new(&stores, call, receive);
        let body = &delivery.answer.body;
        let body = &body[..delivery.kept.min(body.len())];
        // A few pieces, not many: each is copied by the store.
        let pieces = if self.plan.swarm.even {
            2
        } else if sort == RequestKind::GetBlob {
            1 + usize::try_from(self.choose.below(4)).expect("it is small")
        } else {
            1
        };
        let (mut stopped, mut taken) = (false, 0);
        for chunk in body.chunks(body.len().div_ceil(pieces).max(1)) {
            if !incoming.wants_body() || incoming.chunk(chunk) != Keep::All {
                stopped = true;
                break;
            }
            taken += chunk.len() as u64;
        }
        if collects {
            self.check_collected(taken);
        }
        self.each_disk(|notes| notes.room = None);
        if delivery.crash {
            return Ran::Crashed;
        }
        if delivery.lost {
            return Ran::Done(Done::lost(id));
        }
        let end = if stopped { Ok(()) } else { delivery.end };
        Ran::Done(incoming.finish(end))
    }

    /// Bytes that this exchange moves for nothing, or may.
    fn spend(
        &mut self,
        request: &Request,
        sort: RequestKind,
        fault: Option<Fault>,
        answer: Option<&Answer>,
    ) {
        let known = self.plan.pictures.iter().flat_map(|it| it.blobs(false));
        let largest = known.map(|(_, size)| size).max().unwrap_or(0);
        if sort == RequestKind::PutBlob {
            let good = answer.is_some_and(|answer| answer.status.is_success());
            self.spend_on_upload(request, fault.is_some(), good, largest);
        }
        if sort == RequestKind::Start {
            // A registry that takes no bytes with a POST gets them once more.
            let sent = request.body.len() as u64;
            let is_stored = answer.is_some_and(|answer| answer.status == StatusCode::CREATED);
            self.economy.sent += sent;
            let is_wasted = fault.is_some() || !is_stored;
            self.economy.wasted += u64::from(is_wasted) * sent;
        }
        if fault == Some(Fault::Vouches) {
            // A copy has fetched it for nothing if another one sent it meanwhile.
            self.economy.wasted += largest;
        }
        if asks_for_blob(request) && fault.is_some_and(|fault| !fault.is_harmless()) {
            // It is not known to be there: it is moved again.
            self.economy.wasted += 2 * largest;
        }
        let refused = answer.is_some_and(|answer| !answer.status.is_success());
        if sort == RequestKind::PutManifest && refused {
            // What is missing is not known: all of it may be moved again.
            let known = self.plan.pictures.iter().flat_map(|it| it.blobs(false));
            self.economy.wasted += 2 * known.map(|(_, size)| size).sum::<u64>();
        }
        if sort == RequestKind::GetBlob && fault.is_some_and(Fault::spoils) {
            let named = self.blob_of(request);
            let came = answer.map_or(0, |answer| answer.body.len() as u64);
            // A foreign URL does not name the blob.
            let wasted = named.map_or(largest, |(_, size)| size) + came;
            self.economy.wasted += wasted;
        }
        let tells = matches!(
            fault,
            Some(Fault::Arbitrary | Fault::EchoHeader | Fault::RedirectForeign)
        );
        if tells && sort != RequestKind::GetBlob {
            // That a blob is there, for instance: it has to be fetched and sent once more.
            self.economy.wasted += 2 * largest;
        }
        if let (Some(from), Some(answer)) = (begins(request), answer) {
            self.spend_on_range(request, from, answer);
        }
        self.count_request(request);
    }

    /// Some registries know no ranges, or answer as if they knew none: what was there comes again.
    fn spend_on_range(&mut self, request: &Request, from: u64, answer: &Answer) {
        let unnamed = match answer.status.as_u16() {
            200 => answer.body.len() as u64,
            400 | 416 | 501 => from,
            _ => return,
        };
        // The blob begins again, also if not all of it comes.
        let size = self.blob_of(request).map_or(unnamed, |(_, size)| size);
        self.economy.wasted += from.min(size);
        if self.plan.parts.is_some() {
            // What was there behind a gap, too.
            self.economy.wasted += size;
        }
    }

    /// Counts a request, unless it is for one of several parts of a blob: how many there are is no waste.
    pub(crate) fn count_request(&mut self, request: &Request) {
        let is_part = begins(request).is_some_and(|from| from > 0) && self.plan.parts.is_some();
        self.economy.requests += u64::from(!is_part);
    }

    /// Bytes of a blob that are sent for nothing, or may be.
    fn spend_on_upload(&mut self, request: &Request, faulty: bool, good: bool, largest: u64) {
        let sent = request.body.len() as u64;
        let named = self.blob_of(request).map_or(0, |(_, size)| size);
        let economy = &mut self.economy;
        economy.sent += sent;
        if faulty || !good {
            economy.wasted += sent;
        }
        if good && faulty {
            // A client that believes the answer clears the spool, fetches the blob again and sends it again.
            economy.wasted += if sent > 0 { sent } else { largest };
        }
        match request.method {
            // Nothing is stored before a PUT closes the session.
            Method::PATCH if good => economy.wasted += sent,
            Method::PUT if good && sent > 0 => economy.stored += sent,
            Method::PUT if good && !faulty => {
                economy.wasted -= named;
                economy.stored += named;
            }
            _ => {}
        }
    }

    /// The blob that a request names, and its size.
    pub(crate) fn blob_of(&self, request: &Request) -> Option<(Digest, u64)> {
        let mut known = self.plan.pictures.iter().flat_map(|it| it.blobs(false));
        known.find(|(digest, _)| request.target.contains(digest.encoded()))
    }

    /// What `Retrying` may say because of a fault in this exchange.
    pub(crate) fn credit(&mut self, call: &Call) {
        self.credits.push(blame(call));
    }

    /// A place in a body of this length: where it ends, begins, and in between.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        // Where all are tried, these must do.
        let places = if self.plan.swarm.even { 5 } else { 6 };
        match self.choose.below(places) {
            0 => len / 2,
            1 => 0,
            2 => 1.min(len),
            3 => len.saturating_sub(1),
            4 => len,
            _ => usize::try_from(self.choose.below(len as u64 + 1)).unwrap_or(len),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some(owner) = owner_of(host) else {
            return false;
        };
        let is = |name: &str| host == format!("{name}{owner}.example");
        let elsewhere = matches!(
            self.plan.settings[owner].access,
            Access::Elsewhere | Access::Untrusted
        );
        let options = self.models[owner].options();
        is("reg")
            || is("far")
            || (is("cdn") && options.storage.is_some())
            || (is("put") && options.uploads.redirects.is_some())
            || (is("auth") && elsewhere)
            || (is("up")
                && matches!(
                    options.uploads.location,
                    windlass_testbed::Location::Elsewhere(_)
                ))
    }
}

/// How a `Retrying` begins that is about a request.
pub(crate) fn blame(call: &Call) -> String {
    let url = call.request().uri().to_string();
    let url = url.split('?').next().unwrap_or_default();
    format!("{} {url}", call.request().method())
}

/// The head of an answer.
pub(crate) fn head(answer: &Answer) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = answer.status;
    *head.headers_mut() = answer.headers.clone();
    head
}

/// The registry that a host belongs to, or pretends to: all have its number in their name.
pub(crate) fn owner_of(host: &str) -> Option<usize> {
    let digit = host.bytes().find(u8::is_ascii_digit)?;
    host.contains(".example")
        .then(|| usize::from(digit - b'0').min(1))
}

/// The first byte that a request asks for, if it asks for some.
pub(crate) fn begins(request: &Request) -> Option<u64> {
    let range = request.field(http::header::RANGE)?;
    let (from, _) = range.strip_prefix("bytes=")?.split_once('-')?;
    from.parse().ok()
}

/// As a server sees it that does not know ranges.
fn without_range(request: &Request) -> Request {
    let mut request = request.clone();
    request.headers.remove(http::header::RANGE);
    request
}

/// A request without its body.
pub(crate) fn bare(sent: &http::Request<Payload>) -> Request {
    let target = sent.uri().path_and_query().map_or("/", |it| it.as_str());
    let host = sent.uri().authority().map_or("", |it| it.as_str());
    let mut request = Request::new(sent.method().clone(), host, target);
    request.headers = sent.headers().clone();
    request
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn not_sent(kind: TransportErrorKind) -> Interrupted {
    Interrupted::NotSent(TransportError::new(kind, "planned"))
}

/// A status by its number.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
pub(crate) mod tests;
