//! `windlass copy --all-tags` and `--tags`: copies many tags of a repository, or names of a layout.
//!
//! Responsible for which there are, for copying several at once in one session, and for telling what became of each.
//! Must not know how one is copied (`transfer`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use serde_json::json;
use windlass_core::reference::{Tag, Target};
use windlass_core::referrers::is_digest_tag;
use windlass_core::{ErrorKind, Tags};
use windlass_driver::RequestSpec;

use super::transfer::{Copied, Mover, described};
use super::{Context, carried, store_failed};
use crate::admission::Admitted;
use crate::args::{Admission, ManyTags};
use crate::authentication::Sides;
use crate::client::{self, Wanted};
use crate::exit::Problem;
use crate::failure;
use crate::location::{InLayout, Location};

/// How many tags are copied at once. Each moves several blobs at once by itself, and the session bounds the
/// requests to a host.
const AT_ONCE: usize = 4;

/// An image to be copied.
struct Job {
    /// The tag, or the name in a layout.
    tag: String,
    /// The source; by its digest, if a program was asked about that.
    from: Location,
    to: Location,
}

impl Job {
    /// Copies it, if the program verifies it.
    fn run(
        mut self,
        context: &Context,
        (mover, admitted): &(Mover, Admitted<'_>),
        wanted: &Wanted,
    ) -> Ended {
        let pinned = context.pin(admitted, mover.client(), &self.from);
        let copied = pinned.and_then(|pinned| {
            self.from = pinned;
            let copied = mover.copy(&self.from, &self.to, wanted);
            copied.map_err(|failure| context.explained(failure, &self.from, &self.to))
        });
        (self, copied)
    }
}

/// What became of it.
type Ended = (Job, Result<Copied, Problem>);

pub(super) fn run(
    context: &Context,
    (from, to): (&Location, &Location),
    many: &ManyTags,
    wanted: &Wanted,
    (sides, admission): (&Sides, &Admission),
) -> Result<(), Problem> {
    for location in [from, to] {
        check_is_whole(location)?;
    }
    let moving = context.mover((from, to), wanted, sides, admission)?;
    let tags = listed(context, from, moving.0.client())?;
    let tags: Vec<String> = tags.into_iter().filter(|tag| many.is_meant(tag)).collect();
    if tags.is_empty() {
        let what = format!("{from} has no such tags");
        return Err(Problem::Usage(what));
    }
    let mut told = Told::new(context, tags.len());
    let mut jobs = Vec::new();
    for tag in tags {
        match job(tag.clone(), from, to) {
            Ok(job) => jobs.push(job),
            Err(problem) => told.failed(&tag, &problem)?,
        }
    }
    check_destinations(&jobs)?;
    jobs.reverse();
    let jobs = Mutex::new(jobs);
    let (ended, all) = mpsc::channel::<Ended>();
    thread::scope(|scope| -> Result<(), Problem> {
        for _ in 0..AT_ONCE {
            let (ended, jobs, moving) = (ended.clone(), &jobs, &moving);
            scope.spawn(move || {
                let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(job) = next() {
                    // Nothing is waited for any more after an error of the output.
                    if ended.send(job.run(context, moving, wanted)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(ended);
        for one in all {
            told.ended(one)?;
        }
        Ok(())
    })?;
    told.problem().map_or(Ok(()), Err)
}

/// Refuses names of which one image would replace another, before anything is moved: `a:1` and `b:1` are both the tag
/// `1` of a repository.
fn check_destinations(jobs: &[Job]) -> Result<(), Problem> {
    /// How many are named.
    const NAMED: usize = 5;
    let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for job in jobs {
        let names = names.entry(job.to.to_string()).or_default();
        names.push(&job.tag);
    }
    names.retain(|_, names| names.len() > 1);
    let clashes = names.iter().take(NAMED);
    let clashes = clashes.map(|(to, names)| format!("{} for {to}", names.join(", ")));
    let clashes: Vec<String> = clashes.collect();
    if clashes.is_empty() {
        return Ok(());
    }
    let more = match names.len() - clashes.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(Problem::Usage(format!(
        "several images would get one name, and replace each other: {}{more}; choose among them with --tags, or copy \
         them one by one",
        clashes.join("; ")
    )))
}

/// A repository or a layout, without one of its images.
fn check_is_whole(location: &Location) -> Result<(), Problem> {
    let is_whole = match location {
        Location::Registry(reference) => reference.tag().is_none() && reference.digest().is_none(),
        Location::Layout(layout) => layout.wanted().is_none(),
    };
    if is_whole {
        return Ok(());
    }
    let why = format!("with --all-tags or --tags, {location} must have no tag, name or digest");
    Err(Problem::Usage(why))
}

/// The tags of a repository, or the names of a layout. Lists of referrers are none: a copy of one would replace that
/// of the destination.
fn listed(
    context: &Context,
    from: &Location,
    client: &client::Client,
) -> Result<Vec<String>, Problem> {
    let names = match from {
        Location::Registry(repository) => {
            let spec = RequestSpec::tags(repository);
            let observer = context.observer();
            let asked = client.ask::<Tags>(spec, observer, &context.cancel);
            let tags = asked.map_err(|failure| context.explained(failure, from, from))?;
            tags.tags.iter().map(ToString::to_string).collect()
        }
        Location::Layout(layout) => {
            let layout = client::layout(&layout.path).map_err(store_failed)?;
            layout.names().map_err(store_failed)?
        }
    };
    let is_list = |name: &String| is_digest_tag(name) && !name.contains('.');
    let (lists, names): (Vec<_>, Vec<_>) = names.into_iter().partition(is_list);
    if !lists.is_empty() {
        let many = lists.len();
        context
            .printer
            .note(&format!("{many} tags are lists of referrers, left out"));
    }
    Ok(names)
}

fn job(tag: String, from: &Location, to: &Location) -> Result<Job, Problem> {
    Ok(Job {
        from: named(from, &tag, NameOf::Source)?,
        to: named(to, &tag, NameOf::Destination)?,
        tag,
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NameOf {
    Source,
    Destination,
}

/// The image of this name in a repository or layout. A full reference, as some tools name entries, stands for its tag
/// in a registry.
fn named(location: &Location, name: &str, of: NameOf) -> Result<Location, Problem> {
    match location {
        Location::Registry(repository) => {
            let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
            let tag = tag
                .parse::<Tag>()
                .map_err(|error| Problem::Usage(format!("the name {name:?} is no tag: {error}")))?;
            Ok(Location::Registry(repository.with_target(Target::Tag(tag))))
        }
        Location::Layout(layout) => {
            if of == NameOf::Destination {
                client::check_name(name).map_err(store_failed)?;
            }
            Ok(Location::Layout(InLayout {
                path: layout.path.clone(),
                name: Some(name.to_owned()),
                digest: None,
            }))
        }
    }
}

/// Tells what became of each, and counts.
struct Told<'a> {
    context: &'a Context,
    all: usize,
    failed: usize,
    first: Option<ErrorKind>,
}

impl<'a> Told<'a> {
    const fn new(context: &'a Context, all: usize) -> Self {
        Self {
            context,
            all,
            failed: 0,
            first: None,
        }
    }

    fn ended(&mut self, (job, copied): Ended) -> Result<(), Problem> {
        let Job { tag, from, to } = &job;
        let copied = match copied {
            Ok(copied) => copied,
            Err(problem) => return self.failed(tag, &problem),
        };
        let printer = &self.context.printer;
        self.context.told("copied", from, to, &copied);
        let incomplete = carried::problem(&copied.report);
        let line = if printer.is_json() {
            let mut line = described(from, to, &copied);
            line["tag"] = tag.as_str().into();
            if let Some(problem) = &incomplete {
                line["error"] = problem.to_string().into();
                line["failure"] = failure::described(problem);
            }
            line.to_string()
        } else {
            format!("{tag} {}", copied.report.root.digest)
        };
        printer.result(&line).map_err(Problem::Output)?;
        if let Some(problem) = incomplete {
            printer.error(&format!("{tag}: {problem}"));
            self.count(&problem);
        }
        Ok(())
    }

    fn failed(&mut self, tag: &str, problem: &Problem) -> Result<(), Problem> {
        let why = problem.in_words();
        let printer = &self.context.printer;
        printer.error(&format!("{tag}: {why}"));
        if printer.is_json() {
            let line = json!({ "tag": tag, "error": why, "failure": failure::described(problem) });
            printer.result(&line.to_string()).map_err(Problem::Output)?;
        }
        self.count(problem);
        Ok(())
    }

    fn count(&mut self, problem: &Problem) {
        self.failed += 1;
        let kind = problem.kind();
        self.first.get_or_insert(kind);
    }

    fn problem(&self) -> Option<Problem> {
        let kind = self.first?;
        let (failed, all) = (self.failed, self.all);
        let what =
            format!("{failed} of {all} tags were not copied, or not with all that refers to them");
        Some(Problem::Incomplete {
            what,
            kind,
            hint: None,
        })
    }
}
