//! Reading at one of several endpoints: mirrors, then the registry itself.
//!
//! Responsible for which endpoint a read is sent to, for going on at the next one when that fails, and
//! for putting back those that failed. Each read passes through its endpoints once, so it ends; the bytes
//! of a blob that came from one stay when the next one is asked, because the digest is the identity.
//! Must not know what responses mean (`responses`), nor routes (`config`).
//!
//! ```text
//!  begin ─▶ an endpoint that is not put back ─┬─ success ──────────────────▶ settled, served from there
//!                    ▲                        ├─ failed, another one is left ─┐
//!                    └────────────────────────┼───────────────────────────────┘
//!                                             └─ failed, none is left ─────▶ the most telling error
//! ```

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::host::Turn;
use super::{Exchange, Exchanges, Service};
use crate::auth::AuthInput;
use crate::call::TransportErrorKind;
use crate::config::Retry;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, NotFound, RegistryErrors};
use crate::event::Event;
use crate::ids::{ExchangeId, TaskId};
use crate::op::{OpOutcome, Operation, Site};
use crate::reference::{Reference, Repository, Target};
use crate::registry::{Origin, Registry};
use crate::retry::Tries;
use crate::scope::Scopes;
use crate::task::ReadAt;
use crate::time::Time;

/// How long a mirror that failed is put back.
const REST: Duration = Duration::from_secs(60);
/// How many mirrors, or repositories of them, are put back at once.
const RESTING: usize = 500;

/// The endpoints that are not tried yet for one read, and the errors of those that were.
#[derive(Debug)]
pub(super) struct Fallback {
    /// The repository as the task names it, and what the task wants to do there.
    named: Site,
    scopes: Scopes,
    /// The endpoints that were not tried, in their order.
    left: Vec<Site>,
    /// The errors of those that were, and whether it was the registry itself.
    errors: Vec<(bool, Error)>,
}

impl Fallback {
    /// Takes the next endpoint. Behind the registry itself no mirror that is put back is asked.
    fn next(&mut self, resting: &Resting, now: Time) -> Option<Site> {
        let good = self.left.iter().position(|it| !resting.has(it, now));
        if self.left.is_empty() {
            return None;
        }
        let next = self.left.remove(good.unwrap_or(0));
        if !next.is_mirror {
            self.left.retain(|it| !resting.has(it, now));
        }
        Some(next)
    }

    /// Whether an endpoint is left.
    pub(super) const fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    /// What a request to this endpoint asks a token service for.
    fn scopes_at(&self, site: &Site, op: &Operation) -> Scopes {
        if site.is_mirror || site.repository != self.named.repository {
            return op.needs();
        }
        self.scopes.clone()
    }

    /// The error of a read that no endpoint has served: the registry's own is the most telling one.
    fn verdict(&mut self) -> Option<Error> {
        let rank = |(is_own, error): &(bool, Error)| (!is_own, error.kind().rank());
        let told = (0..self.errors.len()).min_by_key(|n| rank(&self.errors[*n]))?;
        let (_, told) = self.errors.remove(told);
        let others: Vec<Error> = self.errors.drain(..).map(|(_, error)| error).collect();
        if others.is_empty() {
            return Some(told);
        }
        let told = told.into();
        Some(Error::Endpoints { told, others })
    }
}

/// Mirrors that failed lately: all of one, or one repository of it.
#[derive(Debug, Default)]
pub(super) struct Resting(BTreeMap<(Origin, Option<Repository>), Time>);

impl Resting {
    fn has(&self, site: &Site, now: Time) -> bool {
        let rests = |repository| {
            let until = self.0.get(&(site.origin.clone(), repository));
            until.is_some_and(|until| *until > now)
        };
        !self.0.is_empty()
            && site.is_mirror
            && (rests(None) || rests(Some(site.repository.clone())))
    }

    /// Puts a mirror back. Whether it was not.
    fn add(&mut self, site: &Site, repository: Option<Repository>, now: Time) -> bool {
        let is_new = !self.has(site, now);
        let key = (site.origin.clone(), repository);
        if self.0.len() >= RESTING && !self.0.contains_key(&key) {
            self.0.retain(|_, until| *until > now);
            let ends = self.0.iter().min_by_key(|(_, until)| **until);
            let first = ends.map(|(key, _)| key.clone());
            if let (true, Some(first)) = (self.0.len() >= RESTING, first) {
                self.0.remove(&first);
            }
        }
        self.0.insert(key, now + REST);
        is_new
    }
}

impl Exchanges {
    /// Where a reference is read from. If its route forbids that, the task has failed already.
    pub(crate) fn source(&self, reference: &Reference, read_at: ReadAt) -> Site {
        let config = &self.config;
        let itself = || config.itself(reference);
        let upstream = config.upstream(reference).unwrap_or_else(|_| itself());
        match (read_at, config.sources(reference)) {
            (ReadAt::Mirrors, Ok(sources)) => Site::read_from(upstream, sources),
            (ReadAt::Registry, _) | (_, Err(_)) => Site::at(upstream),
        }
    }

    /// Where lists about a reference are read. If its route forbids that, the task has failed already.
    pub(crate) fn lists(&self, reference: &Reference) -> Site {
        let contact = self.config.lists(reference);
        Site::at(contact.unwrap_or_else(|_| self.config.itself(reference)))
    }

    /// Whether a registry may take several tags with a manifest.
    pub(crate) fn takes_tags(&self, registry: &Origin) -> bool {
        let known = self.registries.known(registry);
        known.is_none_or(|known| !known.takes_no_tags)
    }

    /// The size of the chunks in which a registry takes a stream; `None` if it takes none.
    pub(crate) fn stream_chunk(&self, site: &Site) -> Option<u64> {
        let known = self.registries.known(&site.origin);
        if known.is_some_and(|known| known.takes_no_parts) {
            return None;
        }
        let chunk = self.config.stream_chunk_for(&site.registry)?;
        let taken = known.and_then(|known| known.chunk);
        Some(taken.map_or(chunk, |taken| taken.min(chunk)))
    }

    /// Whether a registry looks for a blob that is to be mounted from anywhere; `None` if that is unknown.
    pub(crate) fn searches_for_mounts(&self, registry: &Origin) -> Option<bool> {
        self.registries.known(registry)?.searches_for_mounts
    }

    /// Whether a registry looks at the condition of a PUT; `None` if that is unknown.
    pub(crate) fn looks_at_conditions(&self, registry: &Origin) -> Option<bool> {
        self.registries.known(registry)?.looks_at_conditions
    }

    /// Whether a registry may have the referrers API.
    pub(crate) fn lists_referrers(&self, registry: &Origin) -> bool {
        let known = self.registries.known(registry);
        known.is_none_or(|known| !known.lists_no_referrers)
    }

    /// A registry itself, without a repository.
    pub(crate) fn registry(&self, registry: &Registry) -> Site {
        Site::at(self.config.address(registry))
    }

    /// Where content for a reference is pushed, likewise.
    pub(crate) fn destination(&self, reference: &Reference) -> Site {
        let contact = self.config.destination(reference);
        Site::at(contact.unwrap_or_else(|_| self.config.itself(reference)))
    }

    /// The endpoint at which an operation begins, and what is left if that fails.
    pub(super) fn endpoint(
        &self,
        site: Site,
        op: &mut Operation,
        scopes: Scopes,
    ) -> (Site, Scopes, Option<Box<Fallback>>) {
        if site.sources().is_empty() || !op.is_read() {
            return (site, scopes, None);
        }
        let now = self.now;
        let sources = site.sources().iter();
        let allowed = sources
            .filter(|it| op.is_allowed(&it.capabilities))
            .cloned();
        let mut left: Vec<Site> = allowed.collect();
        if left.iter().all(|it| it.is_mirror) {
            // Those that are put back are better than none.
            left.sort_by_key(|it| self.resting.has(it, now));
        } else {
            left.retain(|it| !self.resting.has(it, now));
        }
        let named = site.clone();
        let mut fallback = Fallback {
            named,
            scopes,
            left,
            errors: Vec::new(),
        };
        // A route without an endpoint for this has failed the task.
        let first = fallback.next(&self.resting, now).unwrap_or(site);
        op.move_to(first.clone(), fallback.left.is_empty());
        let scopes = fallback.scopes_at(&first, op);
        (first, scopes, Some(fallback.into()))
    }

    /// Goes on at the next endpoint after `error` at this one. The error is given back if there is none.
    pub(super) fn next_endpoint(&mut self, id: ExchangeId, error: Error) -> Option<Error> {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return Some(error);
        };
        let is_at_url = matches!(&exchange.op, Operation::BlobGet(op) if op.url.is_some());
        let Some(fallback) = &mut exchange.fallback else {
            return Some(error);
        };
        if is_at_url || !is_remote(&error) {
            return Some(error);
        }
        let (task, site) = (exchange.task, exchange.site.clone());
        if let (Operation::BlobGet(op), true) = (&mut exchange.op, error.is_mismatch()) {
            op.restart();
        }
        let is_new = match scope_of_rest(&error, &site) {
            Some(repository) if site.is_mirror => {
                let is_host = repository.is_none();
                let is_new = self.resting.add(&site, repository, now);
                is_new.then_some(is_host)
            }
            Some(_) | None => None,
        };
        let next = fallback.next(&self.resting, now);
        let shown = next
            .as_ref()
            .map(|next| format!("{error}; trying `{}`", next.registry));
        fallback.errors.push((!site.is_mirror, error));
        let is_wrong = fallback
            .errors
            .last()
            .is_some_and(|(_, it)| it.is_mismatch());
        let Some(next) = next else {
            return fallback.verdict();
        };
        if let (Some(shown), true) = (shown, is_wrong || is_new.is_some()) {
            let warning = if is_wrong {
                format!("`{}` sent wrong content: {shown}", site.registry)
            } else {
                shown
            };
            self.events.push_back((task, Event::Warning(warning)));
        }
        self.move_on(id, next);
        if is_new == Some(true) {
            self.move_others(&site.origin);
        }
        None
    }

    /// What an outcome at one of several endpoints is an error for: the next one is asked.
    pub(super) fn unserved(&self, id: ExchangeId, outcome: &OpOutcome) -> Option<Error> {
        let exchange = self.exchanges.get(&id)?;
        exchange.fallback.as_ref()?;
        let target = exchange.op.asked_for()?;
        let site = &exchange.site;
        let what = format!(
            "manifest `{target}` of `{}/{}`",
            site.registry, site.repository
        );
        match (outcome, target) {
            (OpOutcome::Absent, _) => Some(Error::NotFound(NotFound {
                what,
                request: Some(exchange.line(&exchange.op.draft().method, &exchange.url())),
                status: None,
                errors: RegistryErrors::default(),
                hint: None,
            })),
            (
                OpOutcome::Found {
                    digest: Some(found),
                    ..
                },
                Target::Digest(expected),
            ) if found.algorithm() == expected.algorithm() && found != expected => {
                Some(Error::mismatch(what, expected, found))
            }
            _ => None,
        }
    }

    /// Whether an exchange that is about to go out goes to another endpoint instead, because this one is
    /// put back.
    pub(super) fn avoids(&mut self, id: ExchangeId) -> bool {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let here = exchange.site.clone();
        let Some(fallback) = &mut exchange.fallback else {
            return false;
        };
        let is_good = |it: &Site| !self.resting.has(it, now);
        if is_good(&here) || !fallback.left.iter().any(is_good) {
            return false;
        }
        let Some(next) = fallback.next(&self.resting, now) else {
            return false;
        };
        if next.is_mirror && fallback.left.iter().all(|it| it.is_mirror) {
            // Better than none.
            fallback.left.push(here);
        }
        self.move_on(id, next);
        true
    }

    /// Moves what waits for a slot of a mirror that was put back.
    fn move_others(&mut self, origin: &Origin) {
        let Some(host) = self.hosts.get(&Service::Registry(origin.clone())) else {
            return;
        };
        let has_others = |id: &ExchangeId| {
            let exchange = self.exchanges.get(id);
            exchange.is_some_and(|it| it.fallback.is_some())
        };
        // In the order in which they were added.
        let those: BTreeSet<ExchangeId> = host.queued().filter(has_others).collect();
        for id in those {
            let _moved = self.avoids(id);
        }
    }

    /// Goes on at another endpoint.
    fn move_on(&mut self, id: ExchangeId, next: Site) {
        self.leave_line(id);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Some(fallback) = &exchange.fallback else {
            return;
        };
        let (is_last, is_mirror) = (fallback.left.is_empty(), next.is_mirror);
        let is_definite = |(_, error): &(bool, Error)| error.kind() != ErrorKind::Temporary;
        let is_known = fallback.errors.iter().any(is_definite);
        exchange.op.move_to(next.clone(), is_last);
        exchange.scopes = fallback.scopes_at(&next, &exchange.op);
        exchange
            .scopes
            .merge(&self.config.scopes_for(&next.registry));
        let before = core::mem::replace(&mut exchange.site, next);
        exchange.tries = Tries::default();
        exchange.begin_anew();
        exchange.is_vain = false;
        exchange.held = None;
        // The last one is not waited for if it has just failed, or if another mirror has said for certain
        // what is wrong.
        exchange.hurries =
            !is_last || self.resting.has(&exchange.site, self.now) || (is_known && is_mirror);
        self.broker.handle(AuthInput::Gone(id, &before.origin));
        self.enqueue(id, Turn::First);
    }

    /// Notes which endpoint has served a read, and tells it.
    pub(super) fn served(&mut self, id: ExchangeId, outcome: &OpOutcome) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if exchange.fallback.is_none() {
            return;
        }
        if let (OpOutcome::Fetched { range, .. }, Operation::BlobGet(op)) = (outcome, &exchange.op)
            && range.end < op.size
        {
            // A part: that with the last byte counts for the blob.
            return;
        }
        let digest = match (outcome, &exchange.op) {
            (OpOutcome::Document { document, .. }, _) => Some(document.digest().clone()),
            (OpOutcome::Found { digest, .. }, _) => digest.clone(),
            (OpOutcome::Fetched { .. }, Operation::BlobGet(op)) if op.url.is_none() => {
                Some(op.digest.clone())
            }
            _ => None,
        };
        if let Some(digest) = digest {
            self.count_served(id, digest);
        }
    }

    /// The same for the source of a relay, whose blob was sent.
    pub(super) fn served_relay(&mut self, sink: ExchangeId) {
        let source = self.exchanges.get(&sink).and_then(|it| it.partner);
        let exchange = source.and_then(|id| Some((id, self.exchanges.get(&id)?)));
        if let Some((id, exchange)) = exchange
            && exchange.fallback.is_some()
            && let Operation::BlobGet(op) = &exchange.op
            && op.url.is_none()
        {
            self.count_served(id, op.digest.clone());
        }
    }

    fn count_served(&mut self, id: ExchangeId, digest: Digest) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let (task, origin) = (exchange.task, exchange.site.origin.clone());
        let counts = self.served.entry(task).or_default();
        *counts.entry(origin.clone()).or_default() += 1;
        self.events
            .push_back((task, Event::Served { digest, origin }));
    }

    /// How many manifests and blobs each endpoint has served for a task with a route.
    pub(crate) fn take_served(&mut self, task: TaskId) -> BTreeMap<Origin, u64> {
        self.served.remove(&task).unwrap_or_default()
    }
}

/// How often a failed request is tried where it failed: less often if another endpoint is left.
pub(super) fn patience(
    policy: Retry,
    exchange: &Exchange,
    error: &Error,
    asked: Option<Duration>,
) -> Retry {
    if !exchange.hurries || !is_remote(error) {
        return policy;
    }
    let most = if asked.is_some() || is_dead(error) {
        1
    } else {
        2
    };
    Retry {
        attempts: policy.attempts.min(most),
        ..policy
    }
}

/// Whether another endpoint may do better.
fn is_remote(error: &Error) -> bool {
    match error {
        Error::Transport { error, .. } => error.kind != TransportErrorKind::Descriptors,
        Error::Exhausted { last, .. } => is_remote(last),
        Error::Registry(_)
        | Error::NotFound(_)
        | Error::Peer { .. }
        | Error::Mismatch(_)
        | Error::Auth(_)
        | Error::Policy { .. } => true,
        Error::Store(_)
        | Error::Route(_)
        | Error::Endpoints { .. }
        | Error::Driver { .. }
        | Error::Outdated { .. }
        | Error::Deadline
        | Error::Cancelled
        | Error::Internal { .. } => false,
    }
}

/// Whether a server is not there, or too busy: the same request does not help now.
const fn is_dead(error: &Error) -> bool {
    if let Error::Transport { error, .. } = error {
        let passes = matches!(
            error.kind,
            TransportErrorKind::Reset | TransportErrorKind::Other
        );
        return !passes;
    }
    if let Error::Registry(refusal) = error {
        return matches!(refusal.status, 429 | 503);
    }
    false
}

/// How much of a mirror is put back after an error: the repository, all of it (`None` within), or
/// nothing, because it only lacks something.
fn scope_of_rest(error: &Error, site: &Site) -> Option<Option<Repository>> {
    if error.kind() == ErrorKind::NotFound {
        return None;
    }
    let last = if let Error::Exhausted { last, .. } = error {
        last
    } else {
        error
    };
    let is_host = is_dead(last) || matches!(last, Error::Transport { .. });
    Some((!is_host).then(|| site.repository.clone()))
}

#[cfg(test)]
mod tests;
