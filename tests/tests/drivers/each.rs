//! One image to several destinations.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeMap;
use std::sync::Arc;

use windlass_core::{Carry, ErrorKind};
use windlass_driver::{CopyToEach, ImageLocation};
use windlass_store::{Layout, Store};
use windlass_testbed::{Model, Options, Server};
use windlass_tests::drivers::{Driver, Setup, Ways};
use windlass_tests::family::Family;
use windlass_tests::through_both;
use windlass_tests::world::scenes::reference;

through_both!(
    a_source_is_read_once,
    every_registry_gets_the_further_tags,
    one_destination_that_fails
);

fn at(server: &Server, name: &str) -> ImageLocation {
    reference(&format!("{}/{name}", server.host())).into()
}

/// How often each blob was read.
fn reads(server: &Server) -> BTreeMap<String, usize> {
    server.with_model(|model| {
        let mut reads = BTreeMap::new();
        let log = model.log().iter();
        for it in log.filter(|it| it.method == "GET" && it.target.contains("/blobs/sha256:")) {
            *reads.entry(it.target.clone()).or_default() += 1;
        }
        reads
    })
}

/// An index with referrers, into two other registries, another repository of its own, and a layout.
fn a_source_is_read_once<D: Driver>() {
    let family = Family::default();
    let [source, one, other] =
        [(); 3].map(|()| Server::start(Model::new(Options::default())).unwrap());
    source.with_model(|model| family.put(model, "a/b"));
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open_or_create(folder.path().join("layout")).unwrap();
    let layout: Arc<dyn Store> = Arc::new(layout);
    let client = D::new(&Setup::new());
    let copy = |destinations: Vec<ImageLocation>| {
        let mut copy = CopyToEach::new(at(&source, "a/b:v1"), destinations);
        copy.carry(Carry::referrers());
        client.follow(copy, Ways::default()).unwrap()
    };
    let registries = || vec![at(&one, "x:v1"), at(&source, "c/d:v1"), at(&other, "y:v1")];
    for stores in [0, 1] {
        let before: usize = reads(&source).values().sum();
        let stores = (0..stores).map(|_| ImageLocation::store(&layout, Some("v1".into())));
        let each = copy(registries().into_iter().chain(stores).collect());
        let roots = each.into_iter().map(|copied| {
            let report = copied.unwrap();
            assert_eq!(report.carried.unwrap().failed, 0);
            report.root.digest.to_string()
        });
        let roots: Vec<String> = roots.collect();
        let expected = source.with_model(|model| model.tag("a/b", "v1").unwrap().to_string());
        assert!(roots.iter().all(|root| *root == expected), "{roots:?}");
        for (server, repository) in [(&one, "x"), (&source, "c/d"), (&other, "y")] {
            let tag =
                server.with_model(|model| model.tag(repository, "v1").map(ToString::to_string));
            assert_eq!(tag.as_deref(), Some(&*expected), "{repository}");
        }
        let reads = reads(&source);
        assert!(reads.values().all(|reads| *reads <= 2), "{reads:?}");
        let new = reads.values().sum::<usize>() - before;
        // The second time only the layout lacks them.
        assert!(new <= reads.len(), "{new}: {reads:?}");
    }
    for (subject, about) in family.expected() {
        assert_eq!(layout.referrers(&subject).unwrap().len(), about.len());
    }
    // What all of them have is not read.
    let before = (reads(&source), reads(&one));
    copy(registries())
        .into_iter()
        .for_each(|copied| drop(copied.unwrap()));
    assert_eq!((reads(&source), reads(&one)), before);
}

/// Whether it is copied from the source or from another destination; a layout has the name that it was given.
fn every_registry_gets_the_further_tags<D: Driver>() {
    let family = Family::default();
    let [source, one, other] =
        [(); 3].map(|()| Server::start(Model::new(Options::default())).unwrap());
    source.with_model(|model| family.put(model, "a/b"));
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open_or_create(folder.path().join("layout")).unwrap();
    let layout: Arc<dyn Store> = Arc::new(layout);
    let client = D::new(&Setup::new());
    let destinations = [
        at(&one, "x:v1"),
        at(&source, "c/d:v1"),
        at(&other, "y:v1"),
        ImageLocation::store(&layout, Some("v1".into())),
    ];
    let mut copy = CopyToEach::new(at(&source, "a/b:v1"), destinations);
    copy.and_tags(["1", "latest"].map(|tag| tag.parse().unwrap()));
    let each = client.follow(copy, Ways::default()).unwrap();
    let tags = each.into_iter().map(|copied| copied.unwrap().tags.len());
    assert_eq!(tags.collect::<Vec<_>>(), [3, 3, 3, 0]);
    for (server, repository) in [(&one, "x"), (&source, "c/d"), (&other, "y")] {
        for tag in ["v1", "1", "latest"] {
            let root = server.with_model(|model| model.tag(repository, tag).cloned());
            assert_eq!(
                root.as_ref(),
                Some(&family.index.digest),
                "{repository}:{tag}"
            );
        }
    }
    for (name, is_there) in [("v1", true), ("latest", false)] {
        assert_eq!(layout.find(Some(name)).is_ok(), is_there, "{name}");
    }
}

/// The others get the image, and the report says which did not: also if it is the one that others would be copied
/// from.
fn one_destination_that_fails<D: Driver>() {
    let family = Family::default();
    let options = Options {
        create_repositories: false,
        ..Options::default()
    };
    let [source, good] = [(); 2].map(|()| Server::start(Model::new(Options::default())).unwrap());
    let bad = Server::start(Model::new(options)).unwrap();
    source.with_model(|model| family.put(model, "a/b"));
    let client = D::new(&Setup::new().attempts(1));
    for bad_is_first in [true, false] {
        let good = at(&good, if bad_is_first { "x:v1" } else { "y:v1" });
        let mut destinations = vec![at(&bad, "x:v1"), good];
        if !bad_is_first {
            destinations.reverse();
        }
        let copy = CopyToEach::new(at(&source, "a/b:v1"), destinations);
        let mut each = client.follow(copy, Ways::default()).unwrap();
        if !bad_is_first {
            each.reverse();
        }
        let [refused, copied] = &each[..] else {
            panic!("{each:?}")
        };
        let kind = refused.as_ref().unwrap_err().kind();
        assert!(matches!(
            kind,
            ErrorKind::NotFound | ErrorKind::Refused | ErrorKind::Auth
        ));
        let root = &copied.as_ref().unwrap().root.digest;
        assert_eq!(root.as_str(), family.index.digest.as_str());
    }
}
