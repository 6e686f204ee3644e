//! Whether the totals of a task add up.
//!
//! Responsible for that oracle. Must not make anything happen.

use windlass_core::{Report, TaskId, Totals};

use super::world::World;

impl World<'_> {
    /// Takes the totals that have changed.
    pub(crate) fn watch_totals(&mut self, process: usize) {
        while let Some((id, totals)) = self.call(process, |session| session.take_totals()) {
            let watch = &mut self.processes[process].watch;
            let before = watch.totals.insert(id, totals).unwrap_or_default();
            self.check_sums(id, before, totals);
        }
    }

    /// What is done is known, and no byte is forgotten.
    pub(crate) fn check_sums(&mut self, id: TaskId, before: Totals, totals: Totals) {
        let (done, known) = (totals.done(), totals.known);
        let is_within = done.blobs <= known.blobs && done.bytes <= known.bytes;
        let forgets = totals.transferred < before.transferred;
        // One mount that was in vain and another that was not leave them as they were.
        self.check(is_within && !forgets, || {
            format!("totals: {id} had {before:?} and has {totals:?}")
        });
    }

    /// In the end nothing remains, and the report has the same numbers.
    pub(crate) fn check_totals(&mut self, process: usize, id: TaskId, report: &Report) {
        let totals = self.processes[process].watch.totals.remove(&id);
        let totals = totals.unwrap_or_default();
        let counted = (
            (totals.moved.blobs, totals.transferred),
            (totals.mounted.blobs, totals.skipped.blobs),
        );
        let reported = (
            (report.moved, report.bytes),
            (report.mounted, report.present),
        );
        self.check(totals.remaining().blobs == 0 && counted == reported, || {
            format!("totals: {id} has {totals:?} and reports {report:?}")
        });
    }
}
