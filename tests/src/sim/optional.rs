//! What few tasks ask for, in worlds where many do: further tags of an image, one page of a list, small blobs in the
//! POST that begins their upload.
//!
//! Responsible for drawing it, and for judging what becomes of it: when a task is good all tags lead to its image,
//! and none does before its own; a page is a part of the list, and says how it goes on. That what a tag leads to is whole, `ending` looks at. Must not make anything go
//! wrong.

use std::collections::BTreeSet;

use windlass_core::reference::Tag;
use windlass_core::{Paging, Report, Tags, Task};
use windlass_testbed::Pages;

use super::choose::Choose;
use super::fault::Fault;
use super::plan::{Operation, Plan, Planned, small};
use super::world::World;

/// As many tags as a registry takes at once, and one more.
const TAGS: [usize; 6] = [2, 1, 3, 10, 11, 2];

/// Draws what is different in a world with options. The first task writes to a registry.
pub(crate) fn draw(choose: &mut dyn Choose, plan: &mut Plan) {
    let writes = [
        Operation::Push,
        Operation::CopyWithin,
        Operation::CopyBetween,
    ];
    if !plan.tasks[0].operation.writes_to_registry() {
        plan.tasks[0].operation = writes[small(choose, 3)];
        plan.tasks[0].included = false;
    }
    for (registry, setting) in plan.settings.iter_mut().enumerate() {
        // One that is written to knows who writes.
        let mut writers = plan.tasks.iter();
        if writers.any(|task| writes_to(task, registry)) {
            *setting = super::settings::setting(choose, registry, true);
        }
        setting.options.tag_parameter = choose.below(3) < 2;
        setting.options.uploads.one_request = choose.below(3) < 2;
        setting.options.pages = Pages {
            cap: [None, Some(1), Some(2)][small(choose, 3)],
            refuse_above_cap: choose.below(3) == 2,
        };
    }
    plan.posts = choose.below(2) == 1;
    plan.names = small(choose, 4);
    for task in &mut plan.tasks {
        if task.operation.writes_to_registry() && choose.below(4) < 3 {
            task.extra.tags = TAGS[small(choose, TAGS.len())];
        }
        if matches!(task.operation, Operation::Tags | Operation::Referrers) {
            task.operation = Operation::Tags;
            task.extra.page = OnePage::draw(choose);
        }
    }
}

/// One page of a list of tags, as a caller asks for it who reads page by page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnePage {
    size: u32,
    /// It begins after the tag of this picture.
    after: Option<usize>,
}

impl OnePage {
    /// All pages at once, for one in three.
    fn draw(choose: &mut dyn Choose) -> Option<Self> {
        let size = [1, 2, 1000][small(choose, 3)];
        let after = [None, Some(0), Some(1)][small(choose, 3)];
        (choose.below(3) > 0).then_some(Self { size, after })
    }

    pub(crate) fn paging(self) -> Paging {
        let mut paging = Paging::default();
        paging.one_page = true;
        paging.page_size = Some(self.size);
        paging.after = self.after.map(|picture| format!("p{picture}"));
        paging
    }

    /// Whether this is a page of the list of these tags: from where it was to begin, and up to where the next one
    /// is to begin, or to the end.
    pub(crate) fn is_answered(self, tags: &BTreeSet<String>, page: &Tags) -> bool {
        let after = self.paging().after;
        let mut rest = tags.iter().filter(|tag| after.as_ref() < Some(*tag));
        let mut found = page.tags.iter().map(Tag::as_str);
        let begins = found.all(|tag| rest.next().is_some_and(|it| it == tag));
        let goes_on = match &page.next {
            Some(next) => page.tags.last().is_some_and(|it| it.as_str() == next),
            None => rest.next().is_none(),
        };
        begins && goes_on && page.has_more == page.next.is_some()
    }
}

/// Requests for a list of tags: each page, one more that shows that there is none, and one without a size where that
/// is refused.
pub(crate) fn lists(plan: &Plan, task: &Planned) -> u64 {
    let pages = plan.settings[task.registry].options.pages;
    let Some(_) = pages.cap else { return 1 };
    let tags = plan.pictures.len() * (1 + plan.names);
    1 + tags as u64 + u64::from(pages.refuse_above_cap)
}

fn writes_to(task: &Planned, registry: usize) -> bool {
    task.operation.writes_to_registry() && task.destination() == registry
}

/// The tags of a picture where it is read from.
pub(crate) fn names(plan: &Plan, at: usize) -> impl Iterator<Item = String> + use<> {
    let further = (0..plan.names).map(move |n| format!("p{at}.{n}"));
    [format!("p{at}")].into_iter().chain(further)
}

/// The further tags of a task.
pub(crate) fn tags(at: usize, task: &Planned) -> impl Iterator<Item = String> + use<> {
    (0..task.extra.tags).map(move |n| format!("t{at}.{n}"))
}

/// The same task with what is optional.
pub(crate) fn with(asked: Task, at: usize, task: &Planned) -> Task {
    asked.and_tags(tags(at, task).map(|tag| tag.parse::<Tag>().expect("a tag")))
}

/// Requests for the further tags of a task: one where the registry takes several, and one each where it does not.
pub(crate) fn puts_tags(plan: &Plan, task: &Planned) -> u64 {
    let tags = task.extra.tags as u64;
    if plan.settings[task.destination()].options.tag_parameter {
        return tags.div_ceil(10);
    }
    // What it does not take is known from the first request.
    tags + u64::from(tags > 1)
}

impl World<'_> {
    /// A registry took a manifest: no further tag leads to an image that the task's own does not lead to.
    pub(crate) fn check_further_tags(&mut self) {
        // Where more went wrong, a task may have put another image before, to which they lead.
        let is_usual = self.total() == 0 || self.passes();
        if !is_usual || self.fired[Fault::Forgets.place()] > 0 {
            return;
        }
        let mut early = None;
        for (at, task) in self.plan.tasks.iter().enumerate() {
            if task.extra.tags == 0 {
                continue;
            }
            let model = &self.models[task.destination()];
            let own = model.tag(task.written(), &format!("t{at}"));
            let mut tags = tags(at, task);
            early = early.or_else(|| {
                tags.find(|tag| {
                    let root = model.tag(task.written(), tag);
                    root.is_some() && root != own
                })
            });
        }
        early.into_iter().for_each(|tag| {
            self.violate(format!(
                "tags: {tag} is there, and its task's own tag is not"
            ));
        });
    }

    /// A task is good: all its tags lead to its image, and it says so.
    pub(crate) fn check_tagged(&mut self, at: usize, report: &Report) {
        let task = self.plan.tasks[at];
        if !task.operation.writes_to_registry() {
            return;
        }
        let mut expected = vec![format!("t{at}")];
        expected.extend(tags(at, &task));
        let told: Vec<&str> = report.tags.iter().map(Tag::as_str).collect();
        self.check(told == expected, || {
            format!("tags: task {at} was to put {expected:?}, and reports {told:?}")
        });
        if !self.keeps_tags() {
            return;
        }
        let model = &self.models[task.destination()];
        let leads = |tag: &&String| {
            let root = model.tag(task.written(), tag);
            root.is_some_and(|root| root.as_str() == report.root.digest.as_str())
        };
        let missing = expected.iter().find(|tag| !leads(tag)).cloned();
        self.check(missing.is_none(), || {
            format!("tags: task {at} is good, but {missing:?} does not lead to its image")
        });
    }

    /// In the end, too.
    pub(crate) fn check_all_tags(&mut self, at: usize, task: &Planned) {
        let expected = self.plan.pictures[task.picture].root(task.one);
        let model = &self.models[task.destination()];
        let missing = tags(at, task).find(|tag| {
            let root = model.tag(task.written(), tag);
            root.is_none_or(|root| root.as_str() != expected.as_str())
        });
        self.check(missing.is_none(), || {
            format!("tags: task {at} is good, but {missing:?} does not lead to its image")
        });
    }

    /// Whether a client can trust a registry that says it has put a tag, and nothing comes late.
    fn keeps_tags(&self) -> bool {
        let deceives = [
            Fault::Arbitrary,
            Fault::Forgets,
            Fault::RedirectForeign,
            Fault::EchoHeader,
            Fault::Late,
        ];
        deceives.iter().all(|it| self.fired[it.place()] == 0) || self.fresh
    }
}
