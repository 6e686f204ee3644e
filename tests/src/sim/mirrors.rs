//! Mirrors: what they are like, what they answer, and what must hold where there are some.
//!
//! Responsible for mirrors alone: no fault of `fault` happens at one, each has a temper of its own. Its
//! host is `mirN.example`, perhaps with a storage at `cdn.mirN.example`, and its secrets are those of
//! owner N + 2. Must not know when a client tries
//! the next endpoint.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use windlass_core::call::{Call, Interrupted, TransportError, TransportErrorKind};
use windlass_core::config::{Capabilities, Config, Endpoint, Mode, RequestHeader, Route};
use windlass_core::credential::{CredentialAnswer, Secret};
use windlass_testbed::{Answer, Auth, Basic, Bearer, Model, Options, Request, Storage, User};

use super::choose::Choose;
use super::exchange::{Carried, Delivery, RequestKind};
use super::plan::{Operation, Picture, Plan, Planned, SOURCES, small};
use super::secrets::{self, Found, mark};
use super::world::World;

/// How a mirror behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Temper {
    /// It has everything.
    Good,
    /// It has nothing.
    Empty,
    /// It has manifests and no blobs.
    Partial,
    /// One byte of everything it has is another one.
    Wrong,
    /// It does not answer.
    Silent,
    /// There is no server.
    Gone,
    /// It always says 500.
    Failing,
    /// It breaks off in its first blob, and then there is no server.
    Dying,
    /// It does not know the password that the client has for it.
    Denying,
}

/// How a mirror knows its callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    Open,
    Basic,
    Bearer,
    /// The configuration has a header with the password.
    Header,
}

/// A mirror to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mirror {
    /// The registry that it is one of.
    registry: usize,
    temper: Temper,
    access: Access,
    ns: bool,
    /// It is asked what tags stand for.
    resolves: bool,
    /// Its blobs are at `cdn.mirN.example`.
    has_storage: bool,
}

/// The mirrors of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrors {
    all: Vec<Mirror>,
    /// The registries that nothing is read from: all of it comes from mirrors.
    replaced: [bool; 2],
}

/// A mirror that runs.
pub(crate) struct Running {
    model: Model,
    is_dead: bool,
}

/// How long a driver waits for an answer: less than what a storage signs is good for, because time passes
/// for all.
const SILENCE: Duration = Duration::from_secs(1);

impl Mirrors {
    /// One to four of them.
    pub(crate) fn draw(choose: &mut dyn Choose) -> Self {
        let mut all = vec![mirror(choose)];
        (0..small(choose, 4)).for_each(|_| all.push(mirror(choose)));
        let replaced = [0, 1].map(|registry| {
            let mut here = all.iter().filter(|it| it.registry == registry);
            let has_all = |it: &Mirror| it.temper == Temper::Good && it.resolves;
            here.any(has_all) && choose.below(2) == 1
        });
        Self { all, replaced }
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether nothing is read from a registry.
    pub(crate) const fn replaces(&self, registry: usize) -> bool {
        self.replaced[registry]
    }

    /// Adds the routes.
    pub(crate) fn configure(&self, config: &mut Config) {
        for registry in 0..2 {
            let all = self.all.iter().enumerate();
            let here = all.filter(|(_, it)| it.registry == registry);
            let endpoints: Vec<Endpoint> = here.map(|(at, it)| it.endpoint(at)).collect();
            if endpoints.is_empty() {
                continue;
            }
            let mode = match self.replaced[registry] {
                true => Mode::Replace,
                false => Mode::Prefer,
            };
            let scope = format!("reg{registry}.example").parse().expect("a scope");
            let route = Route::new(scope, "the world", mode, endpoints);
            config.routes.push(route);
        }
    }

    /// The servers, which have these pictures.
    pub(crate) fn start(&self, pictures: &[Picture]) -> Vec<Running> {
        let running = self.all.iter().enumerate().map(|(at, mirror)| {
            let mut model = Model::new(mirror.options(at));
            for (at, picture) in pictures.iter().enumerate() {
                if mirror.temper != Temper::Empty {
                    picture.seed(&mut model, SOURCES[at % SOURCES.len()], &format!("p{at}"));
                }
            }
            Running {
                model,
                is_dead: mirror.temper == Temper::Gone,
            }
        });
        running.collect()
    }

    /// Whether one of them has other bytes: what came before has to come again.
    pub(crate) fn lie(&self) -> bool {
        self.all.iter().any(|it| it.temper == Temper::Wrong)
    }

    /// Requests that mirrors may cost a task, at the most.
    pub(crate) fn cost(&self, plan: &Plan, task: &Planned) -> u64 {
        let reads = match task.operation {
            // Mirrors are asked for images only.
            Operation::LayoutCopy
            | Operation::Push
            | Operation::Tags
            | Operation::Referrers
            | Operation::Delete
            | Operation::Stream => return 0,
            Operation::Resolve
            | Operation::Pull
            | Operation::Read
            | Operation::Open
            | Operation::CopyWithin
            | Operation::CopyBetween => 2 + plan.pictures[task.picture].parts() as u64,
        };
        let here = self.all.iter().filter(|it| it.registry == task.registry);
        here.map(|it| it.cost(reads, plan.in_flight.into())).sum()
    }

    /// How often mirrors that failed may have been asked again, a minute each time, and what that costs.
    pub(crate) fn again(&self, plan: &Plan, passed: Duration) -> u64 {
        let tasks = plan.tasks.iter();
        let once: u64 = tasks.map(|task| self.cost(plan, task)).sum();
        once * (passed.as_secs() / 60)
    }
}

fn mirror(choose: &mut dyn Choose) -> Mirror {
    use Temper::*;
    let tempers = [
        Good, Good, Dying, Empty, Partial, Wrong, Silent, Gone, Failing, Denying, Dying,
    ];
    let temper = tempers[small(choose, tempers.len())];
    let access = [Access::Open, Access::Basic, Access::Bearer, Access::Header][small(choose, 4)];
    Mirror {
        registry: small(choose, 2),
        temper,
        access: match (temper, access) {
            (Denying, Access::Open) => Access::Basic,
            _ => access,
        },
        ns: choose.below(2) == 1,
        resolves: choose.below(3) < 2,
        has_storage: choose.below(3) == 2,
    }
}

impl Mirror {
    fn endpoint(&self, at: usize) -> Endpoint {
        let origin = format!("https://mir{at}.example").parse();
        let mut capabilities = Capabilities::ALL;
        capabilities.resolve = self.resolves;
        let mut endpoint =
            Endpoint::mirror(origin.expect("an origin")).with_capabilities(capabilities);
        if self.ns {
            endpoint = endpoint.with_ns();
        }
        if self.access == Access::Header {
            let pair = STANDARD.encode(format!("alice:{}", password(at)));
            let value = Secret::new(format!("Basic {pair}"));
            let header = RequestHeader::new("Authorization", value);
            endpoint = endpoint.with_header(header.expect("a header"));
        }
        endpoint
    }

    fn options(&self, at: usize) -> Options {
        let known = match self.temper {
            Temper::Denying => "another one".into(),
            _ => password(at),
        };
        let users = [("alice".to_owned(), User::new(known))];
        let auth = match self.access {
            Access::Open => Auth::Open,
            Access::Basic | Access::Header => Auth::Basic(Basic {
                users: users.into(),
                anonymous_pull: false,
            }),
            Access::Bearer => Auth::Bearer(Bearer {
                realm: "https://{host}/token".into(),
                users: users.into(),
                ..Bearer::default()
            }),
        };
        Options {
            auth,
            scheme: "https",
            mark: mark(at + 2),
            storage: self
                .has_storage
                .then(|| Storage::new(format!("https://cdn.mir{at}.example"))),
            ..Options::default()
        }
    }

    /// Who has something is asked for everything, perhaps at a storage, and may want to know who asks. Of
    /// the others it is known soon: only what is under way then is in vain.
    const fn cost(&self, reads: u64, in_flight: u64) -> u64 {
        match self.temper {
            Temper::Good | Temper::Empty | Temper::Partial | Temper::Dying => {
                6 + (1 + self.has_storage as u64) * reads
            }
            Temper::Wrong | Temper::Denying => 6 + 3 * in_flight,
            Temper::Failing => 2 + 2 * in_flight,
            Temper::Silent | Temper::Gone => 1 + in_flight,
        }
    }
}

fn password(at: usize) -> String {
    format!("{}password", mark(at + 2))
}

/// The mirror at a host, or whose storage it is.
pub(crate) fn mirror_of(host: &str) -> Option<usize> {
    let host = host.strip_prefix("cdn.").unwrap_or(host);
    host.strip_prefix("mir")?
        .strip_suffix(".example")?
        .parse()
        .ok()
}

impl World<'_> {
    /// Whether a host may see a mirror's secret: only the mirror itself, and of its storage's signatures only
    /// the storage.
    pub(crate) fn may_see_mirrors(found: Found, request: &Request) -> bool {
        let is_storage = request.host.starts_with("cdn.");
        found.owner >= 2
            && mirror_of(&request.host) == Some(found.owner - 2)
            && is_storage == (found.sort == secrets::SecretKind::Signature)
    }

    /// The credentials for a mirror, if it is one.
    pub(crate) fn credentials_of_mirror(&self, registry: &str) -> Option<CredentialAnswer> {
        let at = mirror_of(registry)?;
        let mirror = self.plan.mirrors.all.get(at)?;
        Some(match mirror.access {
            Access::Open | Access::Header => CredentialAnswer::None,
            Access::Basic | Access::Bearer => CredentialAnswer::Basic {
                username: "alice".into(),
                password: Secret::new(password(at)),
            },
        })
    }

    /// HOSTS-04, HOSTS-03: only who is a mirror is told of whom, and nothing is asked that it must not be.
    pub(crate) fn check_mirrored(&mut self, request: &Request) {
        let told = request.target.contains("ns=");
        let Some(at) = mirror_of(&request.host) else {
            let host = &request.host;
            return self.check(!told, || format!("mirrors: {host} is told of a registry"));
        };
        let Some(mirror) = self.plan.mirrors.all.get(at).copied() else {
            return self.violate(format!("mirrors: there is no mir{at}"));
        };
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        let is_token = request.target.starts_with("/token");
        self.check(reads || is_token, || {
            format!("mirrors: mir{at} is sent a {}", request.method)
        });
        let is_content = request.target.starts_with("/v2/src/");
        let expected = format!("ns=reg{}.example", mirror.registry);
        let is_named = request.target.ends_with(&expected);
        let good = told == (mirror.ns && is_content) && (!told || is_named);
        self.check(good, || {
            format!("mirrors: mir{at} is asked for {}", request.target)
        });
        let by_tag = request.target.contains("/manifests/") && !request.target.contains("/sha256:");
        self.check(mirror.resolves || !by_tag, || {
            format!("mirrors: mir{at} is asked what a tag stands for")
        });
    }

    /// A mirror that is not there is put back: it is not asked again for a minute. Only where no task can
    /// have given up what it was told.
    pub(crate) fn check_put_back(&mut self, process: usize, at: usize) {
        let plan = &self.plan;
        let is_last = plan.mirrors.replaced[plan.mirrors.all[at].registry];
        let ends_early = plan.tasks.iter().any(|task| task.deadline.is_some());
        let failed = self.results.iter().any(|it| matches!(it, Some(Err(_))));
        if is_last || ends_early || failed || self.total() > 0 {
            return;
        }
        let told = self.processes[process].watch.dead.get(&at).copied();
        let since = told.map(|told| self.now.saturating_sub(told));
        let is_back = since.is_none_or(|since| since >= Duration::from_secs(60));
        self.check(is_back, || {
            format!("mirrors: mir{at} is asked again {since:?} after it was not there")
        });
    }

    /// Nothing is read from a registry that mirrors replace.
    pub(crate) fn check_replaced(&mut self, request: &Request, owner: usize) {
        let reads = request.method == Method::GET && request.target.starts_with("/v2/src/");
        let is_foreign = super::foreign::is_foreign(&request.host, &request.target);
        let good = !reads || is_foreign || !self.plan.mirrors.replaced[owner];
        self.check(good, || {
            format!("mirrors: {} is read from reg{owner}", request.target)
        });
    }

    /// An exchange with a mirror.
    pub(crate) fn mirrored(
        &mut self,
        process: usize,
        call: &Call,
        request: &Request,
        at: usize,
    ) -> Carried {
        self.count_request(request);
        let sort = RequestKind::of(request);
        let temper = self.plan.mirrors.all[at].temper;
        let broke = |kind| TransportError::new(kind, "planned");
        if self.mirrors[at].is_dead || temper == Temper::Silent {
            let dead = (call.id(), at);
            self.processes[process].watch.found_dead.push(dead);
        }
        if self.mirrors[at].is_dead {
            self.credit(call);
            let error = broke(TransportErrorKind::Connect);
            return Carried::Broke(Interrupted::NotSent(error));
        }
        if temper == Temper::Silent {
            self.credit(call);
            self.now += SILENCE;
            let error = broke(TransportErrorKind::Answer);
            return Carried::Broke(Interrupted::Transport(error));
        }
        let now = super::exchange::EPOCH + self.now;
        let mut answer = self.mirrors[at].model.answer(request, now);
        let is_content = answer.status.is_success()
            && matches!(sort, RequestKind::GetBlob | RequestKind::GetManifest);
        if temper == Temper::Failing && sort != RequestKind::Token {
            self.credit(call);
            answer = Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "planned");
        }
        if temper == Temper::Partial && sort == RequestKind::GetBlob && is_content {
            answer = Answer::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "planned");
        }
        let by_tag = request.target.contains("/manifests/p");
        if temper == Temper::Wrong && is_content && !by_tag && !answer.body.is_empty() {
            let mut body = answer.body.to_vec();
            let last = body.len() - 1;
            body[last] ^= 1;
            // All of the blob is fetched again, and what came before from elsewhere.
            self.economy.wasted += 2 * body.len() as u64;
            if let Some((_, size)) = self.blob_of(request) {
                self.economy.wasted += 2 * size;
            }
            answer = answer.body(body);
        }
        let mut delivery = Delivery::whole(answer);
        if temper == Temper::Dying && sort == RequestKind::GetBlob && is_content {
            self.mirrors[at].is_dead = true;
            self.credit(call);
            let len = delivery.answer.body.len();
            let kept = self.place(len);
            delivery.breaks(kept, broke(TransportErrorKind::Reset));
            self.watch_cut(request, &delivery.answer, kept);
        }
        Carried::Delivered(sort, delivery)
    }
}
