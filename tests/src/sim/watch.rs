//! What a process has met so far, for the oracles that need a memory.
//!
//! Responsible for patience, for unrequested credentials, and for what a task leaves outside;
//! `mortal` has the questions for credentials. Must not make anything happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use windlass_core::call::{Body, Call, Payload};
use windlass_core::config::Retry;
use windlass_core::{Digest, Error, ErrorKind, Failure, JobId, TaskId, TaskReport, Time, Totals};
use windlass_testbed::{Answer, Request, UploadRange};

use super::exchange::{RequestKind, begins};
use super::fault::Fault;
use super::mortal::Given;
use super::plan::{Access, Operation};
use super::world::World;

/// The memory of a process.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Registries that wanted to know who is asking.
    challenged: [bool; 2],
    /// Registries that have taken what was presented.
    accepted: [bool; 2],
    /// What credentials were asked for, and what the answer was.
    pub(crate) asked: BTreeMap<String, Given>,
    /// What is answered to questions and was not reported yet: to which one, with which secret.
    pub(crate) answers: BTreeMap<JobId, (String, Option<String>)>,
    /// How often each registry, or its token service, refused.
    pub(crate) refusals: [u64; 2],
    /// How often each registry forbade a request: that may be because of the credential, or not.
    pub(crate) forbidden: [u64; 2],
    /// The tokens that came last, by what was asked for, and when.
    tokens: BTreeMap<String, (String, Duration)>,
    /// What each task put.
    pub(crate) stored: BTreeMap<TaskId, BTreeSet<String>>,
    /// Tokens that registries have taken.
    good: BTreeSet<String>,
    /// What each task has to do and has done, as it was told last.
    pub(crate) totals: BTreeMap<TaskId, Totals>,
    /// The foreign layers that each task said it leaves out.
    pub(crate) left_out: BTreeMap<TaskId, BTreeSet<Digest>>,
    /// Tokens that were refused.
    refused: BTreeSet<String>,
    /// Requests that were refused, with which token.
    pub(crate) useless: BTreeSet<(String, String)>,
    /// Signed addresses that were gone to.
    addresses: BTreeSet<String>,
    /// Answers that ask for patience and are not reported yet: for how long.
    slower: Vec<(JobId, usize, bool, Duration)>,
    /// Until when nothing new goes out to a registry: of GETs of manifests (1), and of everything else (0).
    gates: [[Duration; 2]; 2],
    /// Exchanges that have found a mirror not there, and are not reported yet.
    pub(crate) found_dead: Vec<(JobId, usize)>,
    /// When the session was told that a mirror is not there.
    pub(crate) dead: BTreeMap<usize, Duration>,
    /// How often registries were asked for a challenge.
    pings: [u64; 2],
    /// The jobs that asked.
    pinging: BTreeSet<JobId>,
    /// How often something went wrong with challenges or tokens.
    failed_sign_ins: u64,
}

impl Watch {
    /// Something is handed over with an instant that has passed. If it is a token, that expires as if it had come
    /// then: when it does is not known.
    pub(crate) fn lose_ages(&mut self) {
        self.tokens.clear();
    }

    /// A job is aborted. If it asks for a challenge, the next task asks again.
    pub(crate) fn watch_abort<'a>(&mut self, id: JobId, calls: impl IntoIterator<Item = &'a Call>) {
        let asks = calls
            .into_iter()
            .any(|call| call.request().uri().path() == "/v2/");
        self.failed_sign_ins += u64::from(asks || self.pinging.contains(&id));
    }

    /// Credentials were asked for again, and there are no others: the challenge is looked for again.
    pub(crate) fn watch_unchanged(&mut self) {
        self.failed_sign_ins += 1;
    }

    /// In the same job, a signed address is gone to again for the rest of what it brings.
    pub(crate) fn asks_for_rest(&mut self, request: &Request) {
        self.addresses.remove(&request.target);
    }
}

impl World<'_> {
    /// A task is over. If its credentials were refused, the challenge is looked for again.
    pub(crate) fn watch_finished(&mut self, process: usize, result: &Result<TaskReport, Failure>) {
        let refused = result.as_ref().is_err_and(|failure| {
            let mut kinds = failure.errors().iter().map(Error::kind);
            kinds.any(|kind| kind == ErrorKind::Auth)
        });
        self.processes[process].watch.failed_sign_ins += u64::from(refused);
    }

    /// An answer of one of our registries is on its way.
    pub(crate) fn watch_answer(
        &mut self,
        process: usize,
        call: &Call,
        sort: RequestKind,
        owner: usize,
        answer: &Answer,
    ) {
        let watch = &mut self.processes[process].watch;
        let status = answer.status;
        let presented = call.request().headers().get(header::AUTHORIZATION);
        let presented = presented.and_then(|it| it.to_str().ok());
        // A token that is refused makes the client look for the challenge again.
        watch.failed_sign_ins += u64::from(sort == RequestKind::Token && !status.is_success());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            watch.challenged[owner] = true;
            watch.refusals[owner] += 1;
            watch.forbidden[owner] += u64::from(status == StatusCode::FORBIDDEN);
            let token = presented.and_then(|it| it.strip_prefix("Bearer "));
            watch.refused.extend(token.map(str::to_owned));
            let wants_more = answer.headers.iter().any(|(_, value)| {
                let said = String::from_utf8_lossy(value.as_bytes());
                said.contains("insufficient_scope")
            });
            if !wants_more && status == StatusCode::UNAUTHORIZED {
                let again = token.map(|it| (line(call), it.to_owned()));
                watch.useless.extend(again);
            }
        } else if let Some(presented) = presented {
            watch.accepted[owner] |= sort != RequestKind::Token;
            let token = presented.strip_prefix("Bearer ");
            watch.good.extend(token.map(str::to_owned));
        }
        let said = answer.headers.get(header::RETRY_AFTER);
        let seconds = said.and_then(|it| it.to_str().ok()?.parse().ok());
        if let Some(seconds) = seconds
            && status == StatusCode::TOO_MANY_REQUESTS
            && sort != RequestKind::Token
            && Duration::from_secs(seconds) <= Retry::default().retry_after_cap
        {
            let asked = (
                call.id(),
                owner,
                gets_manifest(call),
                Duration::from_secs(seconds),
            );
            watch.slower.push(asked);
        }
    }

    /// The session knows of the end of a job since `at`, as its clock says. Whether anybody wants it any
    /// more does not matter: it is the registry that asks.
    pub(crate) fn watch_end(&mut self, process: usize, id: JobId, at: Time) {
        let now = self.now.saturating_sub(self.time_of(process).since(at));
        let watch = &mut self.processes[process].watch;
        let dead = watch.found_dead.extract_if(.., |(job, _)| *job == id);
        watch.dead.extend(dead.map(|(_, mirror)| (mirror, now)));
        let ended = watch.slower.extract_if(.., |(job, ..)| *job == id);
        for (_, owner, manifest, wait) in ended.collect::<Vec<_>>() {
            let gate = &mut watch.gates[owner][usize::from(manifest)];
            *gate = (*gate).max(now + wait);
        }
    }

    /// Nothing goes out to a registry that asked for patience, in the lane in which it did.
    pub(crate) fn check_patience(&mut self, process: usize, call: &Call, owner: usize) {
        let gates = self.processes[process].watch.gates[owner];
        let (gate, now) = (gates[usize::from(gets_manifest(call))], self.now);
        self.check(gate <= now, || {
            format!("patience: reg{owner} is asked {:?} too early", gate - now)
        });
    }

    /// Who is told to wait can do so.
    pub(crate) fn check_wait(&mut self, wake: Time, now: Time) {
        self.check(wake > now, || format!("waits: {wake} has passed at {now}"));
    }

    /// Tries and waits have bounds.
    pub(crate) fn check_retry(&mut self, attempt: u32, after: Duration) {
        let most = Retry::default().retry_after_cap;
        let good = attempt < self.plan.attempts() && after <= most;
        self.check(good, || {
            format!("patience: attempt {attempt} failed, and another one follows after {after:?}")
        });
    }

    /// No credential goes out before a challenge.
    pub(crate) fn check_challenged(&mut self, process: usize, call: &Call, owner: usize) {
        let presents = call.request().headers().contains_key(header::AUTHORIZATION);
        let challenged = self.processes[process].watch.challenged[owner];
        self.check(challenged || !presents, || {
            format!("secrets: reg{owner} is told who asks before it wants to know")
        });
    }

    /// Only who has credentials asks `/v2/` for a challenge, and once.
    pub(crate) fn check_ping(
        &mut self,
        process: usize,
        id: JobId,
        owner: usize,
        sort: RequestKind,
    ) {
        if sort != RequestKind::Ping {
            return;
        }
        let setting = &self.plan.settings[owner];
        let has_credentials = setting.access != Access::Open || setting.leftover;
        self.check(has_credentials, || {
            format!(
                "economy: reg{owner} is asked for a challenge, and there are no credentials for it"
            )
        });
        let watch = &mut self.processes[process].watch;
        watch.pinging.insert(id);
        watch.pings[owner] += 1;
        let (pings, failed) = (watch.pings[owner], watch.failed_sign_ins);
        self.check(pings <= 1 + failed, || {
            format!("single flight: reg{owner} is asked for a challenge {pings} times")
        });
    }

    /// An answer broke off behind so many bytes, which are kept.
    pub(crate) fn watch_cut(&mut self, request: &Request, answer: &Answer, kept: usize) {
        let from = match answer.status {
            StatusCode::PARTIAL_CONTENT => begins(request).unwrap_or(0),
            StatusCode::OK => 0,
            _ => return,
        };
        let kept = kept.min(answer.body.len()) as u64;
        if let Some((digest, _)) = self.blob_of(request) {
            self.economy.cut = Some((digest, from + kept, self.total()));
        }
    }

    /// Who asks for a blob after it broke off asks for what did not come. Only where nothing else went
    /// wrong since then, nothing ever that makes bytes worthless, and nobody else wants it.
    pub(crate) fn check_resumes(&mut self, request: &Request, sort: RequestKind) {
        let alone = self.plan.processes == 1 && self.plan.tasks.len() == 1;
        // Parts are asked for in any order.
        let alone = alone && !self.plan.mirrors.lie() && self.plan.parts.is_none();
        // Nor is what is read into memory gone on with.
        let alone = alone && self.plan.tasks[0].operation != Operation::Open;
        let Some((digest, kept, total)) = self.economy.cut.clone() else {
            return;
        };
        let is_it = sort == RequestKind::GetBlob && request.target.contains(digest.encoded());
        let spoils = |fault: &Fault| {
            fault.spoils() || matches!(fault, Fault::PartialDamaged | Fault::ReadFlips)
        };
        let mut fired = Fault::ALL.iter().filter(|it| self.fired[it.place()] > 0);
        if !alone || !is_it || total != self.total() || fired.any(spoils) {
            return;
        }
        let from = begins(request).unwrap_or(0);
        self.check(from >= kept, || {
            format!("economy: {digest} is asked for from {from} on, but {kept} bytes are there")
        });
    }

    /// No request goes out again with a token that was refused for it. Another task may not know that
    /// yet, nor may another upload, which begins with the same request.
    pub(crate) fn check_useless(&mut self, process: usize, call: &Call) {
        let alone = self.plan.processes == 1 && self.plan.tasks.len() == 1;
        let alone = alone && *call.request().method() != Method::POST;
        // Nor may another part of a blob.
        let alone = alone && self.plan.parts.is_none();
        // A challenge with another realm or further scopes is about one request: the next one to the same address begins
        // with the token that is good for all others.
        let alone = alone && self.fired[Fault::NewRealm.place()] == 0;
        let token = call.request().headers().get(header::AUTHORIZATION);
        let token = token.and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
        if let Some(token) = token.filter(|_| alone) {
            let again = (line(call), token.to_owned());
            let useless = self.processes[process].watch.useless.contains(&again);
            self.check(!useless, || {
                format!("economy: {} with a token that was refused for it", again.0)
            });
        }
    }

    /// A signed address is gone to once: whatever happens there, the registry is asked for another one
    /// (HTTP-15). Only where nobody leads back to one.
    pub(crate) fn check_address(&mut self, process: usize, request: &Request) {
        let leads = [
            Fault::RedirectLoop,
            Fault::RedirectForeign,
            Fault::Arbitrary,
        ];
        let leads = leads.iter().any(|it| self.fired[it.place()] > 0);
        if leads || !request.target.starts_with("/bucket/") {
            return;
        }
        let addresses = &mut self.processes[process].watch.addresses;
        let new = addresses.insert(request.target.clone());
        self.check(new, || format!("hops: {} is gone to twice", request.target));
    }

    /// A registry forgets its tokens: a task survives that if each of them was good for something before.
    pub(crate) fn watch_fault(
        &mut self,
        process: usize,
        owner: usize,
        sort: RequestKind,
        fault: Fault,
    ) {
        // When no token is to be had, the challenge is looked for again.
        let fails = matches!(sort, RequestKind::Ping | RequestKind::Token);
        // Each task finds out for itself that it was misled.
        let misled = if fault.misleads() {
            self.plan.tasks.len() as u64
        } else {
            0
        };
        self.processes[process].watch.failed_sign_ins += u64::from(fails) + misled;
        // A request that was challenged before has one refusal already, and tasks share tokens.
        let alone = self.plan.processes == 1 && self.plan.tasks.len() == 1;
        let watch = &self.processes[process].watch;
        let mut tokens = watch.tokens.values().map(|(token, _)| token);
        let tried = |token| watch.good.contains(token) || watch.refused.contains(token);
        let proven = alone && watch.accepted[owner] && tokens.all(tried);
        self.economy.refused |= fault == Fault::Revoked && !proven;
        // A request asks for other credentials once.
        let rotated = self.fired[Fault::Rotated.place()];
        self.economy.refused |= fault == Fault::Rotated && rotated > 1;
    }

    /// A token came as it was sent.
    pub(crate) fn watch_token(&mut self, process: usize, call: &Call, answer: &Answer) {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = said["access_token"]
            .as_str()
            .or_else(|| said["token"].as_str());
        if let Some(token) = token {
            let granted = (token.to_owned(), self.now);
            let tokens = &mut self.processes[process].watch.tokens;
            tokens.insert(token_key(call), granted);
        }
    }

    /// No other token is fetched as long as the one that is there was not refused. None lives shorter
    /// than a minute, less what it is refreshed early by.
    pub(crate) fn check_fetch(&mut self, process: usize, call: &Call) {
        let watch = &self.processes[process].watch;
        let last = watch.tokens.get(&token_key(call));
        // A session forgets tokens if there are too many.
        let good = last.filter(|_| watch.tokens.len() < 100);
        let good = good.is_some_and(|(token, at)| {
            let old = self.now - *at > Duration::from_secs(50);
            !old && !watch.refused.contains(token)
        });
        self.check(!good, || {
            "single flight: a token is fetched though the one that is there was not refused".into()
        });
    }

    /// Contract 5: a task is over when its last job is back and its partials are given back. Who is
    /// asking, and for what, is the session's business: others may want to know it, too.
    pub(crate) fn check_left(&mut self, process: usize, id: TaskId) {
        if !self.processes[process].tasks.is_empty() {
            return;
        }
        let mut outside = self.processes[process].running.iter();
        let left = outside.find(|it| !it.echo && !it.question && it.token.is_none());
        let left = left.or_else(|| self.processes[process].unread.first());
        let left = left.map(|it| it.id);
        self.check(left.is_none(), || {
            format!("finished: {id} is over, but {left:?} is outside")
        });
        // Another process may have its own open; a step whose end is lost may have opened one.
        if self.processes.len() == 1 && self.fired[Fault::LostStep.place()] == 0 {
            let spool = &self.processes[process].spool;
            let disks = self.disks.iter().chain([spool]);
            let open: Vec<_> = disks.flat_map(|disk| disk.memory.taken()).collect();
            self.check(open.is_empty(), || {
                format!("leaks: {id} is over, but {open:?} are still open")
            });
        }
    }

    /// A blob that is not what its digest says never leaves to its end.
    pub(crate) fn check_sent(&mut self, body: &Body, bytes: &[u8]) {
        let digest = body.source.digest();
        let is_part = body.len < body.size;
        self.check(is_part || digest.verifies(bytes), || {
            format!("integrity: {digest} was sent with other bytes")
        });
    }

    /// Nor do its parts, which the registry has put together, unless another server took one of them, an
    /// answer that was made up said that one was taken, or a registry that reports one byte too many did so
    /// when only the last one was missing.
    pub(crate) fn check_committed(&mut self, owner: usize, request: &Request, answer: &Answer) {
        let closes = request.method == Method::PUT && request.target.contains("/uploads/");
        let refused = answer.status == StatusCode::BAD_REQUEST
            && answer.body.windows(14).any(|it| it == b"DIGEST_INVALID");
        let strange = [Fault::RedirectForeign, Fault::Arbitrary, Fault::OddLocation];
        let is_odd = strange.iter().any(|it| self.fired[it.place()] > 0);
        let reported = self.models[owner].options().uploads.range;
        let is_one_more = reported == UploadRange::OffByOne && request.body.is_empty();
        self.check(is_odd || is_one_more || !(closes && refused), || {
            format!("integrity: {} has other bytes", request.target)
        });
    }
}

/// Another server, to which a registry led, is not asked for a manifest (`Lane::Rest`).
fn gets_manifest(call: &Call) -> bool {
    let request = call.request();
    let (uri, registries) = (request.uri(), ["reg0.example", "reg1.example"]);
    let is_registry = uri
        .authority()
        .is_some_and(|it| registries.contains(&it.as_str()));
    is_registry && request.method() == Method::GET && uri.path().contains("/manifests/")
}

fn line(call: &Call) -> String {
    format!("{} {}", call.request().method(), call.request().uri())
}

/// What a request for a token asks for.
pub(crate) fn token_key(call: &Call) -> String {
    let request = call.request();
    // As bytes: what is shown of a secret is the same for all of them.
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map(HeaderValue::as_bytes);
    let body = match request.body() {
        Payload::Bytes(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    };
    format!("{} {authorization:?} {body:?}", request.uri())
}
