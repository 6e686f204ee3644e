//! What tasks report that look at a registry: lists, and what was deleted.
//!
//! Responsible for comparing reports with what a registry has. Must not know how they came about.

use std::collections::BTreeSet;

use windlass_core::{ReferrersSource, TaskReport};

use super::asked::listed;
use super::optional::names;
use super::plan::{Operation, SOURCES};
use super::world::World;

impl World<'_> {
    /// A report is of its task, and without faults it is right: a list is whole.
    pub(crate) fn check_answer(&mut self, at: usize, report: &TaskReport) {
        let task = self.plan.tasks[at];
        let is_true = self.total() == 0 || self.passes() || (self.calm && !self.lenient);
        // One fault is enough for a session to believe that a registry lists no referrers.
        let is_known = self.total() == 0;
        let model = &self.models[task.registry];
        let pictures = self.plan.pictures.iter().enumerate();
        let here = pictures.filter(|(at, _)| SOURCES[at % SOURCES.len()] == task.read());
        let good = match (task.operation, report) {
            (Operation::Tags, TaskReport::Tags(list)) if task.extra.page.is_some() => {
                let tags = here.flat_map(|(at, _)| names(&self.plan, at)).collect();
                let page = task.extra.page.expect("it is asked for one");
                !is_true || page.is_answered(&tags, list)
            }
            (Operation::Tags, TaskReport::Tags(list)) => {
                let found: BTreeSet<&str> = list.tags.iter().map(|tag| tag.as_str()).collect();
                let expected = here.flat_map(|(at, _)| names(&self.plan, at));
                let expected: BTreeSet<String> = expected.collect();
                let is_whole = expected.iter().all(|tag| found.contains(tag.as_str()));
                let is_right = is_whole && found.len() == expected.len();
                !list.has_more && (is_right || !is_true) && found.len() == list.tags.len()
            }
            (Operation::Referrers, TaskReport::Referrers(list)) => {
                let found = list.referrers.iter().map(|it| it.digest.to_string());
                let found: BTreeSet<String> = found.collect();
                let subject = listed(&task, &self.plan.pictures[task.picture]);
                let images = here.flat_map(|(_, picture)| picture.signatures(false));
                let expected = images.map(|image| image.digest.to_string());
                let expected: BTreeSet<String> = match task.extra.of {
                    Some(_) => self.list_of(&task, &subject),
                    None => expected.collect(),
                };
                let has_api = model.options().referrers_api;
                let is_right = match list.source {
                    ReferrersSource::Api => has_api && found == expected,
                    _ if self.plan.carries && !has_api => found == expected,
                    // Nothing that lists is in these repositories.
                    _ => found.is_empty() && !(has_api && is_known),
                };
                let is_of = list.subject == subject;
                is_of && (is_right || !is_true) && found.len() == list.referrers.len()
            }
            (Operation::Delete, TaskReport::Deleted(deleted)) => {
                deleted.digest.is_some() == task.extra.of.is_some()
            }
            (Operation::Resolve, TaskReport::Resolved(_)) => true,
            (Operation::Stream, TaskReport::BlobPut(put)) => self.check_streamed(&task, put),
            (Operation::Read, TaskReport::Fetched(fetched)) => self.check_fetched(&task, fetched),
            (Operation::Open, TaskReport::Opened(image)) => {
                self.check_opened(&task, image, is_true)
            }
            (Operation::Stream, _) => false,
            (_, TaskReport::Copied(_)) => !task.operation.moves_nothing(),
            (_, _) => false,
        };
        self.check(good, || {
            format!(
                "answers: task {at} ({:?}) ended with {report:?}",
                task.operation
            )
        });
    }
}
