//! Lists of tags and repositories: pages, bounds, and never a part for the whole.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeSet;

use insta::assert_snapshot;
use windlass_core::{Config, ErrorKind, Failure, Paging, Tags, Task, TaskReport};
use windlass_testbed::{Answer, Model, Options, Pages, image};
use windlass_tests::world::scenes::{
    alice, basic, bearer, is, one_at_a_time, open, reference, small, world,
};
use windlass_tests::world::{Fate, World};

fn model(options: Options, tags: usize) -> Model {
    let mut model = Model::new(options);
    let image = image(&[b"a layer".to_vec()]);
    for n in 0..tags {
        model.put_image("a/b", Some(&format!("v{n:05}")), &image);
    }
    model
}

fn capped(cap: usize, refuse_above_cap: bool) -> Options {
    Options {
        pages: Pages {
            cap: Some(cap),
            refuse_above_cap,
        },
        ..open()
    }
}

fn paging(page_size: Option<u32>, after: Option<&str>, most: Option<usize>) -> Paging {
    let mut paging = Paging::default();
    paging.page_size = page_size;
    paging.after = after.map(Into::into);
    paging.most = most;
    paging
}

fn tags_of(paging: Paging) -> Task {
    Task::tags(reference("reg.example/a/b"), paging)
}

/// Lists tags, and says which requests that took.
fn list(world: &mut World, paging: Paging) -> (Result<Tags, Failure>, Vec<String>) {
    let task = world.start(tags_of(paging));
    let result = world.finish(task).map(|report| report.tags().unwrap());
    (result, world.take_log(0))
}

fn names(tags: &Tags) -> Vec<&str> {
    tags.tags.iter().map(|tag| tag.as_str()).collect()
}

#[test]
fn pages_of_tags() {
    let options = Options {
        pages: Pages {
            cap: Some(2),
            refuse_above_cap: false,
        },
        ..bearer()
    };
    let mut world = world(one_at_a_time(), model(options, 5));
    let task = world.start(tags_of(Paging::default()));
    let tags = world.finish(task).unwrap().tags().unwrap();
    assert_eq!(tags.tags.len(), 5);
    assert!(!tags.has_more);
    assert_snapshot!(world.transcript());
}

/// TAGS-10: 10,000 tags, each once, whatever the registry makes of the size of a page.
#[test]
fn ten_thousand_tags() {
    // (options, requests)
    for (options, requests) in [
        (open(), 10),
        (capped(100, false), 100),
        // The number is refused, and then the registry decides.
        (capped(999, true), 1 + 11),
    ] {
        let mut world = world(Config::default(), model(options, 10_000));
        let (tags, log) = list(&mut world, Paging::default());
        let tags = tags.unwrap();
        let once: BTreeSet<&str> = names(&tags).into_iter().collect();
        assert_eq!((tags.tags.len(), once.len()), (10_000, 10_000));
        assert_eq!((log.len(), tags.invalid), (requests, 0));
    }
}

/// TAGS-03, TAGS-05: what the caller wants of a list, and what that costs.
#[test]
fn parts_of_a_list() {
    let all = ["v00000", "v00001", "v00002", "v00003", "v00004"];
    for (wanted, expected, has_more, requests) in [
        (paging(None, None, None), &all[..], false, 1),
        (paging(None, Some("v00001"), None), &all[2..], false, 1),
        // It need not exist.
        (paging(None, Some("v000015"), None), &all[2..], false, 1),
        (paging(None, Some("w"), None), &[], false, 1),
        (paging(None, None, Some(2)), &all[..2], true, 1),
        (paging(None, None, Some(5)), &all, false, 2),
        (paging(None, None, Some(9)), &all, false, 1),
        (paging(Some(2), None, None), &all, false, 3),
        (paging(Some(2), None, Some(3)), &all[..3], true, 2),
        (paging(Some(0), None, None), &all, false, 5),
    ] {
        let mut world = world(Config::default(), model(open(), 5));
        let (tags, log) = list(&mut world, wanted.clone());
        let tags = tags.unwrap();
        assert_eq!(names(&tags), expected, "{wanted:?}");
        assert_eq!(tags.has_more, has_more, "{wanted:?}");
        assert_eq!(log.len(), requests, "{wanted:?} {log:?}");
    }
}

/// The pages of a list that is read page by page, and its requests.
fn page_by_page(world: &mut World, size: u32) -> (Vec<Tags>, Vec<String>) {
    let (mut pages, mut log, mut after) = (Vec::<Tags>::new(), Vec::new(), None);
    loop {
        let mut wanted = paging(Some(size), after.as_deref(), None);
        wanted.one_page = true;
        let (tags, asked) = list(world, wanted);
        log.extend(asked);
        let tags = tags.unwrap();
        assert_eq!(tags.has_more, tags.next.is_some());
        after.clone_from(&tags.next);
        pages.push(tags);
        if after.is_none() {
            return (pages, log);
        }
    }
}

/// TAGS-05: each page is requested by the last name of the one before.
#[test]
fn page_after_page() {
    for (options, tags, sizes, requests) in [
        // The links of this one name the last tag.
        (open(), 5, &[2, 2, 1][..], 3),
        (capped(1, false), 3, &[1, 1, 1], 3),
        // Whether a full page is the last one, only the next one shows.
        (open(), 4, &[2, 2, 0], 3),
    ] {
        let mut world = world(one_at_a_time(), model(options, tags));
        let (pages, log) = page_by_page(&mut world, 2);
        let found: Vec<usize> = pages.iter().map(|page| page.tags.len()).collect();
        assert_eq!(found, sizes, "{log:?}");
        assert_eq!(log.len(), requests, "{log:?}");
    }
}

/// TAGS-04: a link that is not made of the last name is followed, so the rest of the list comes as one page.
#[test]
fn pages_with_opaque_links() {
    let mut world = world(one_at_a_time(), model(open(), 1));
    let link = r#"</v2/a/b/tags/list?next_page=x>; rel="next""#;
    world.nth(1, is("GET", "/tags/list"), page(r#"["a","b"]"#, link));
    world.nth(2, is("GET", "/tags/list"), page(r#"["c"]"#, ""));
    let (pages, log) = page_by_page(&mut world, 2);
    assert_eq!(
        pages.iter().map(names).collect::<Vec<_>>(),
        [["a", "b", "c"]]
    );
    assert_eq!(log.len(), 2, "{log:?}");
}

/// A registry that knows neither `n` nor `last` lists everything each time: it is one page, and one that is empty.
#[test]
fn pages_of_a_registry_that_has_none() {
    let mut world = world(one_at_a_time(), model(open(), 1));
    world.all(is("GET", "/tags/list"), page(r#"["a","b","c"]"#, ""));
    let (pages, log) = page_by_page(&mut world, 2);
    assert_eq!(
        pages.iter().map(names).collect::<Vec<_>>(),
        [&["a", "b", "c"][..], &[]]
    );
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(world.lines_with("ignores where"), [] as [&str; 0]);
}

/// One that knows `n` only sends its first page again: that the rest cannot be had is told.
#[test]
fn pages_of_a_registry_that_goes_no_further() {
    let mut world = world(one_at_a_time(), model(open(), 1));
    world.all(is("GET", "/tags/list"), page(r#"["a","b"]"#, ""));
    let mut wanted = paging(Some(2), None, None);
    wanted.one_page = true;
    let (tags, _) = list(&mut world, wanted.clone());
    assert_eq!(tags.unwrap().next.as_deref(), Some("b"));
    wanted.after = Some("b".into());
    let (tags, log) = list(&mut world, wanted);
    let tags = tags.unwrap();
    assert_eq!(
        (names(&tags), tags.has_more, &tags.next),
        (vec![], true, &None)
    );
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(world.lines_with("may be incomplete").len(), 1);
}

fn page(tags: &str, link: &str) -> Fate {
    let body = format!(r#"{{"name":"a/b","tags":{tags}}}"#);
    let mut answer = Answer::new(http::StatusCode::OK).body(body);
    if !link.is_empty() {
        answer = answer.header("link", link);
    }
    Fate::Say(answer)
}

/// The result of a list whose pages are these.
fn listed(config: Config, wanted: Paging, pages: &[(&str, &str)]) -> (String, usize) {
    let mut world = world(config, model(open(), 1));
    for (n, (tags, link)) in pages.iter().enumerate() {
        world.nth(n + 1, is("GET", "/tags/list"), page(tags, link));
    }
    let (tags, _) = list(&mut world, wanted);
    let asked = world.lines_with("> GET").len();
    let said = match tags {
        Ok(tags) => {
            let more = if tags.has_more { " and more" } else { "" };
            format!("{:?} {}{more}", names(&tags), tags.invalid)
        }
        Err(failure) => format!("{:?}: {failure}", failure.kind()),
    };
    (said, asked)
}

/// What registries do that do not page as the specification says.
#[test]
fn odd_pages() {
    let next = "</v2/a/b/tags/list?x=1>; rel=\"next\"";
    let other = "</v2/a/b/tags/list?x=2>; rel=\"next\"";
    let default = Paging::default;
    let pages_of_2 = || paging(Some(2), None, None);
    for (row, wanted, pages, expected) in [
        ("null", default(), &[("null", "")][..], "[] 0"),
        (
            "an empty page with a link",
            default(),
            &[("[]", next), (r#"["a"]"#, "")],
            r#"["a"] 0"#,
        ),
        (
            "an empty page at the end",
            default(),
            &[(r#"["a"]"#, next), ("[]", "")],
            r#"["a"] 0"#,
        ),
        (
            "names twice",
            default(),
            &[(r#"["b","a"]"#, next), (r#"["a","c"]"#, "")],
            r#"["b", "a", "c"] 0"#,
        ),
        (
            "names that are none (TAGS-12)",
            default(),
            &[(r#"["a","\u001b[2J",".x",""]"#, "")],
            r#"["a"] 3"#,
        ),
        (
            "full, without a link: there may be more",
            pages_of_2(),
            &[(r#"["a","b"]"#, ""), (r#"["c"]"#, "")],
            r#"["a", "b", "c"] 0"#,
        ),
        (
            "full, and `last` is ignored",
            pages_of_2(),
            &[(r#"["a","b"]"#, ""), (r#"["a","b"]"#, "")],
            r#"["a", "b"] 0 and more"#,
        ),
        (
            "all of it, and `n` and `last` are ignored",
            pages_of_2(),
            &[(r#"["a","b","c"]"#, ""), (r#"["a","b","c"]"#, "")],
            r#"["a", "b", "c"] 0"#,
        ),
        (
            "all of it, although it was to begin after a name",
            paging(None, Some("b"), None),
            &[(r#"["a","b","c","d"]"#, "")],
            r#"["c", "d"] 0"#,
        ),
        (
            "pages, although it was to begin after a name",
            paging(Some(1), Some("b"), None),
            &[(r#"["a"]"#, next), (r#"["b"]"#, other), (r#"["c"]"#, "")],
            r#"["c"] 0"#,
        ),
        (
            "more than asked for",
            pages_of_2(),
            &[(r#"["a","b","c"]"#, ""), ("[]", "")],
            r#"["a", "b", "c"] 0"#,
        ),
        (
            "in a circle (TAGS-09)",
            default(),
            &[("[]", next), ("[]", other), ("[]", next)],
            "Refused: the list of the tags of `reg.example/a/b` leads back to a page that was read",
        ),
    ] {
        let (said, asked) = listed(one_at_a_time(), wanted, pages);
        assert_eq!(said, expected, "{row}");
        assert_eq!(asked, pages.len(), "{row}");
    }
}

/// A list that is as long as a page was to be is not lost because the registry cannot be asked for more.
#[test]
fn a_registry_that_refuses_to_go_on() {
    let refused = |status| Fate::Say(Answer::new(status));
    for status in [405, 501] {
        let status = http::StatusCode::from_u16(status).unwrap();
        let mut world = world(one_at_a_time(), model(open(), 2));
        world.nth(2, is("GET", "/tags/list"), refused(status));
        let (tags, log) = list(&mut world, paging(Some(2), None, None));
        let tags = tags.unwrap();
        assert_eq!(names(&tags), ["v00000", "v00001"], "{status}");
        assert!(tags.has_more, "{status}");
        assert_eq!(log.len(), 2, "{log:?}");
        let told = world.lines_with("may be incomplete").len();
        assert_eq!(told, 1, "{status}");
    }
    // A page to which the one before linked is a part of the list.
    let mut world = world(one_at_a_time(), model(capped(2, false), 5));
    let status = http::StatusCode::METHOD_NOT_ALLOWED;
    world.nth(2, is("GET", "/tags/list"), refused(status));
    let (tags, _) = list(&mut world, Paging::default());
    assert_eq!(tags.unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn what_is_too_much() {
    let mut few_pages = one_at_a_time();
    few_pages.limits.pages = 3;
    let mut few_bytes = one_at_a_time();
    few_bytes.limits.documents = 100;
    let mut small_pages = one_at_a_time();
    small_pages.limits.document = 60;
    let links: Vec<String> = (0..9)
        .map(|n| format!("</v2/a/b/tags/list?x={n}>; rel=\"next\""))
        .collect();
    let endless: Vec<(&str, &str)> = links.iter().map(|link| (r#"["a"]"#, &**link)).collect();
    for (config, expected, pages) in [
        (few_pages, "has more than 3 pages", 3),
        (few_bytes, "has more than 100 bytes", 2),
        (small_pages, "sent more than 60 bytes of a list at once", 1),
    ] {
        let mut pages_sent = endless.clone();
        let long = format!("[{:?}]", "a".repeat(100));
        if pages == 1 {
            pages_sent = vec![(&long, "")];
        }
        let (said, asked) = listed(config, Paging::default(), &pages_sent);
        assert!(
            said.starts_with("Refused") && said.contains(expected),
            "{said}"
        );
        assert_eq!(asked, pages, "{said}");
    }
}

/// Each page has the attempts of a request of its own, and a page that cannot be had fails the list.
#[test]
fn a_page_that_fails() {
    let mut config = one_at_a_time();
    config.retry.attempts = 2;
    let unavailable = || Fate::Say(Answer::new(http::StatusCode::SERVICE_UNAVAILABLE));
    let mut again = world(config.clone(), model(capped(2, false), 5));
    for n in [1, 3, 5] {
        again.nth(n, is("GET", "/tags/list"), unavailable());
    }
    let (tags, _) = list(&mut again, Paging::default());
    assert_eq!(tags.unwrap().tags.len(), 5);
    assert_eq!(again.lines_with("> GET").len(), 6);

    let mut gone = world(config, model(capped(2, false), 5));
    for n in [2, 3] {
        gone.nth(n, is("GET", "/tags/list"), unavailable());
    }
    let (tags, _) = list(&mut gone, Paging::default());
    assert_eq!(tags.unwrap_err().kind(), ErrorKind::Temporary);
}

#[test]
fn a_repository_that_is_not_there() {
    let mut world = world(one_at_a_time(), Model::new(open()));
    let (tags, log) = list(&mut world, Paging::default());
    let failure = tags.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(failure.to_string().contains("tags of `reg.example/a/b`"));
    assert_eq!(log.len(), 1);
}

fn catalog(world: &mut World) -> Result<Vec<String>, Failure> {
    let registry = reference("reg.example/a").registry().clone();
    let task = world.start(Task::catalog(registry, Paging::default()));
    let report = world.finish(task)?;
    assert!(matches!(report, TaskReport::Catalog(_)));
    let names = report.catalog().expect("it is one").repositories;
    Ok(names.iter().map(ToString::to_string).collect())
}

/// TAGS-11: with the scope for it, and an error with a hint where there is none.
#[test]
fn repositories() {
    for options in [open(), basic(), bearer()] {
        let mut model = Model::new(options);
        for name in ["a/b", "c", "d/e/f"] {
            model.put_image(name, Some("v1"), &small());
        }
        let mut world = world(one_at_a_time(), model);
        world.credential("reg.example", alice(), &["reg.example"]);
        assert_eq!(catalog(&mut world).unwrap(), ["a/b", "c", "d/e/f"]);
        let log = world.take_log(0);
        let tokens: Vec<&String> = log.iter().filter(|it| it.contains("/token")).collect();
        for token in tokens {
            assert!(token.contains("scope=registry:catalog:*"), "{token}");
        }
    }
    let none = Options {
        catalog: false,
        ..open()
    };
    let mut world = world(one_at_a_time(), Model::new(none));
    let failure = catalog(&mut world).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(failure.hint().unwrap().contains("do not list"));
}
