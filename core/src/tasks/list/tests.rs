//! Which page is read after which, and when a list is taken for whole.

use super::*;
use crate::error::ErrorKind;
use crate::ids::TaskId;
use crate::task::{Paging, Task};
use crate::tasks::testing::{Scenario, reference, status, tags};

fn listing(paging: Paging) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(&[]);
    let id = scenario.start(Task::tags(reference("reg.example/a"), paging));
    (scenario, id)
}

/// Pages of two names.
fn in_twos() -> Paging {
    Paging {
        page_size: Some(2),
        ..Paging::default()
    }
}

/// A page that was asked for with this size.
fn page(names: &[&str], next: Option<&str>, size: Option<u32>) -> OpOutcome {
    OpOutcome::Names(NamePage {
        names: names.iter().map(|name| (*name).into()).collect(),
        next: next.map(|next| Url::parse(next).expect("a URL")),
        size,
    })
}

fn report(scenario: &mut Scenario, id: TaskId) -> Tags {
    scenario.report(id).tags().expect("they were listed")
}

const FIRST: &str = "GET tags/list?n=2";
const SECOND: &str = "GET tags/list?n=2&last=b";

/// TAGS-04: a link is followed as it is.
#[test]
fn links_are_followed() {
    let (mut scenario, id) = listing(in_twos());
    let next = "https://reg.example/v2/a/tags/list?next_page=x";
    scenario.done(FIRST, page(&["a", "b"], Some(next), Some(2)));
    let last = page(&["c"], None, None);
    scenario.done("GET tags/list?next_page=x", last);
    let listed = report(&mut scenario, id);
    assert_eq!(listed.tags, tags(&["a", "b", "c"]));
    assert!(!listed.has_more);
}

/// A page without a link that is as long as it was asked to be may be the last one, or not: what follows it shows.
#[test]
fn a_full_page_without_a_link_is_not_taken_for_the_last_one() {
    let (mut scenario, id) = listing(in_twos());
    scenario.done(FIRST, page(&["a"], None, Some(2)));
    assert_eq!(report(&mut scenario, id).tags, tags(&["a"]));

    for (second, listed, has_more) in [
        (page(&[], None, Some(2)), &["a", "b"][..], false),
        (page(&["c"], None, Some(2)), &["a", "b", "c"], false),
        // A registry that does not know `last` sends the same page again: there may be more behind it.
        (page(&["a", "b"], None, Some(2)), &["a", "b"], true),
        // One that knows neither `n` nor `last` sends all there is.
        (
            page(&["a", "b", "c"], None, Some(2)),
            &["a", "b", "c"],
            false,
        ),
    ] {
        let (mut scenario, id) = listing(in_twos());
        scenario.done(FIRST, page(&["a", "b"], None, Some(2)));
        scenario.done(SECOND, second);
        // It may be full again.
        for asked in scenario.asked() {
            scenario.done(&asked, page(&[], None, Some(2)));
        }
        let found = report(&mut scenario, id);
        assert_eq!(found.tags, tags(listed));
        assert_eq!(found.has_more, has_more, "{listed:?}");
        assert_eq!(scenario.warnings().len(), usize::from(has_more));
    }
}

/// Nothing linked to the page that is refused: what was read may be all, and it is said that it may not be. A link that
/// leads nowhere is a failure, and so is any other error.
#[test]
fn a_registry_that_refuses_last_has_listed_what_it_lists() {
    for (code, is_listed) in [
        (400, true),
        (405, true),
        (501, true),
        (403, false),
        (404, false),
    ] {
        let (mut scenario, id) = listing(in_twos());
        scenario.done(FIRST, page(&["a", "b"], None, Some(2)));
        scenario.failed(SECOND, status(code));
        if is_listed {
            let listed = report(&mut scenario, id);
            assert_eq!(listed.tags, tags(&["a", "b"]));
            assert!(listed.has_more);
            assert_eq!(scenario.warnings().len(), 1);
        } else {
            assert_eq!(scenario.error(id), status(code));
        }
    }
    let (mut scenario, id) = listing(in_twos());
    let next = "https://reg.example/v2/a/tags/list?n=2&last=b";
    scenario.done(FIRST, page(&["a", "b"], Some(next), Some(2)));
    scenario.failed(SECOND, status(405));
    assert_eq!(scenario.error(id).kind(), ErrorKind::Refused);
}

/// TAGS-09.
#[test]
fn pages_in_a_circle_end_the_task() {
    let (mut scenario, id) = listing(in_twos());
    let next = "https://reg.example/v2/a/tags/list?next_page=x";
    scenario.done(FIRST, page(&["a"], Some(next), Some(2)));
    let again = page(&["b"], Some(next), None);
    scenario.done("GET tags/list?next_page=x", again);
    let error = scenario.error(id);
    assert!(matches!(error, Error::Policy { .. }), "{error:?}");
}

/// TAGS-12: what is no tag is left out, and it is said how many are.
#[test]
fn what_is_no_tag_is_left_out_and_counted() {
    let (mut scenario, id) = listing(Paging::default());
    let names = page(&["a", "-", "a", "b c"], None, Some(1000));
    scenario.done("GET tags/list?n=1000", names);
    let listed = report(&mut scenario, id);
    assert_eq!((listed.tags, listed.invalid), (tags(&["a"]), 2));
    assert_eq!(scenario.warnings().len(), 1);
}

#[test]
fn the_first_of_equal_names_stays() {
    for (names, expected) in [
        (&["b", "a", "b", "c", "a"][..], &["b", "a", "c"][..]),
        (&[], &[]),
        (&["a", "a", "a"], &["a"]),
    ] {
        let mut names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        keep_first(&mut names);
        assert_eq!(names, expected);
    }
}
