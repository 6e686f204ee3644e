//! `windlass copy SRC DST DST…`: copies an image to several destinations.
//!
//! Responsible for telling what became of each. Must not know from where each is copied (`CopyToEach`).

use std::time::Instant;

use serde_json::json;
use windlass_core::{ErrorKind, Failure, Reference, Report};
use windlass_driver::CopyToEach;

use super::transfer::{Copied, described, end, named_like, reference};
use super::{Asker, Context, carried, store_failed};
use crate::admission;
use crate::args::Admission;
use crate::authentication::Sides;
use crate::client::{self, ImageLocation, Wanted};
use crate::exit::Problem;
use crate::failure;
use crate::location::{InLayout, Location};

pub(super) fn run(
    context: &Context,
    (from, to): (Location, Vec<Location>),
    wanted: &Wanted,
    sides: &Sides,
    admission: &Admission,
) -> Result<(), Problem> {
    let to: Vec<Location> = to.into_iter().map(|to| named_like(&from, to)).collect();
    sides.check(&context.common.authentication)?;
    let own = context.common.hosts.file()?;
    let admitted = admission::check(admission, own.as_deref(), &from)?;
    let client = client(context, &from, &to, sides)?;
    let pinned = context.pin(&admitted, &client, &from)?;

    let source = end(&pinned, None, InLayout::wanted).map_err(failed)?;
    let ends = to.iter().map(|to| destination(to, wanted));
    let mut procedure = CopyToEach::new(source, ends.collect::<Result<Vec<_>, _>>()?);
    procedure.platforms(wanted.platforms.clone());
    procedure.carry(wanted.carry.clone());
    procedure.and_tags(wanted.more_tags.iter().cloned());
    if wanted.nondistributable {
        procedure.include_nondistributable();
    }
    let asker = Asker {
        context,
        client,
        locations: [&from].into_iter().chain(&to).cloned().collect(),
    };
    let begun = Instant::now();
    let each = asker.follow(procedure)?;
    let took = begun.elapsed();
    let mut told = Told::default();
    for (to, result) in to.iter().zip(each) {
        let result: Result<Report, Failure> = result;
        let copied = result.map(|report| Copied { report, took });
        told.ended(context, (&from, to), copied)?;
    }
    told.problem(to.len()).map_or(Ok(()), Err)
}

/// A client for all of them.
fn client(
    context: &Context,
    from: &Location,
    to: &[Location],
    sides: &Sides,
) -> Result<client::Client, Problem> {
    let destinations: Vec<&Reference> = to.iter().filter_map(reference).collect();
    let source = reference(from);
    let given = sides.owned_by_each(&context.common.authentication, source, &destinations)?;
    let all: Vec<&Reference> = destinations.iter().copied().chain(source).collect();
    context.client(&all, &given)
}

fn destination(to: &Location, wanted: &Wanted) -> Result<ImageLocation, Problem> {
    match to {
        Location::Registry(to) => Ok(ImageLocation::Registry(to.clone())),
        Location::Layout(layout) => {
            if let Some(name) = &layout.name {
                client::check_name(name).map_err(|error| Problem::Usage(error.to_string()))?;
            }
            let store = client::open_or_create_layout(&layout.path, wanted.existing);
            let store = store.map_err(store_failed)?;
            Ok(ImageLocation::store(&store, layout.name.clone()))
        }
    }
}

const fn failed(failure: Failure) -> Problem {
    Problem::Failed {
        failure,
        hint: None,
    }
}

/// What became of the destinations so far.
#[derive(Default)]
struct Told {
    failed: usize,
    first: Option<ErrorKind>,
}

impl Told {
    fn ended(
        &mut self,
        context: &Context,
        (from, to): (&Location, &Location),
        copied: Result<Copied, Failure>,
    ) -> Result<(), Problem> {
        let printer = &context.printer;
        let (line, problem) = match copied {
            Ok(copied) => {
                context.told("copied", from, to, &copied);
                let line = match printer.is_json() {
                    true => Some(described(from, to, &copied)),
                    false => None,
                };
                let text = format!("{to} {}", copied.report.root.digest);
                (Some((text, line)), carried::problem(&copied.report))
            }
            Err(failure) => (None, Some(context.explained(failure, from, to))),
        };
        if let Some(problem) = &problem {
            printer.error(&format!("{to}: {}", problem.in_words()));
            self.failed += 1;
            self.first.get_or_insert_with(|| problem.kind());
        }
        let line = match (line, printer.is_json()) {
            (Some((text, None)), _) => Some(text),
            (None, false) => None,
            (line, _) => {
                let object = line.and_then(|(_, object)| object);
                let mut object = object.unwrap_or_else(
                    || json!({ "source": from.to_string(), "destination": to.to_string() }),
                );
                if let Some(problem) = &problem {
                    object["error"] = problem.in_words().into();
                    object["failure"] = failure::described(problem);
                }
                Some(object.to_string())
            }
        };
        line.map_or(Ok(()), |line| {
            printer.result(&line).map_err(Problem::Output)
        })
    }

    fn problem(&self, all: usize) -> Option<Problem> {
        let (kind, failed) = (self.first?, self.failed);
        let what = format!(
            "{failed} of {all} destinations did not get the image, or not all that refers to it"
        );
        let hint = None;
        Some(Problem::Incomplete { what, kind, hint })
    }
}
