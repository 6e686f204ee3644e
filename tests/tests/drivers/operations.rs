//! Operations on registries, through both clients.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;

use windlass_core::reference::Target;
use windlass_core::{BlobDelivery, Carry, ErrorKind, Platforms, Reference, ReferrersSource};
use windlass_driver::{BlobContent, ImageLocation, RequestSpec};
use windlass_store::{Layout, Store};
use windlass_testbed::{Model, OCI_MANIFEST, Options, Pages, Server, image};
use windlass_tests::drivers::{Ask, Driver, Setup};
use windlass_tests::family::Family;
use windlass_tests::through_both;
use windlass_tests::world::scenes::{about, digest, reference, two_platforms};

through_both!(
    lists_of_names,
    manifests,
    blobs,
    referrers,
    copies_with_referrers
);

fn lists_of_names<D: Driver>() {
    let mut model = Model::new(Options {
        pages: Pages {
            cap: Some(100),
            refuse_above_cap: false,
        },
        ..Options::default()
    });
    for n in 0..950 {
        model.put_image("team/app", Some(&format!("v{n:03}")), &image(&[]));
    }
    model.put_image("other", Some("v1"), &image(&[]));
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let at = reference(&format!("{}/team/app", server.host()));
    let tags = client.finish(Ask::other(RequestSpec::tags(&at))).unwrap();
    let tags = tags.tags().unwrap();
    assert_eq!((tags.tags.len(), tags.has_more), (950, false));
    assert_eq!(tags.tags[949].as_str(), "v949");

    let mut spec = RequestSpec::tags(&at);
    spec.paging().after = Some("v500".into());
    spec.paging().most = Some(1);
    let some = client.finish(Ask::other(spec)).unwrap().tags().unwrap();
    assert_eq!((some.tags[0].as_str(), some.has_more), ("v501", true));

    // Page by page, by an iterator or a stream.
    let before = server.requests().len();
    let pages = client.pages(&at, 400);
    assert_eq!(
        server.requests().len() - before,
        10,
        "each page is one request"
    );
    let pages: Vec<_> = pages.into_iter().map(Result::unwrap).collect();
    assert!(
        pages[..9]
            .iter()
            .all(|page| page.tags.len() == 100 && page.has_more)
    );
    assert_eq!((pages.len(), pages[9].has_more), (10, false));
    let joined = pages.iter().flat_map(|page| &page.tags);
    assert!(joined.eq(&tags.tags));
    let gone = reference(&format!("{}/team/gone", server.host()));
    let pages = client.pages(&gone, 400);
    assert_eq!(pages.len(), 1, "an error ends it");
    let failure = pages[0].as_ref().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);

    let catalog = Ask::other(RequestSpec::catalog(at.registry()));
    let catalog = client.finish(catalog).unwrap().catalog().unwrap();
    let names: Vec<&str> = catalog.repositories.iter().map(|it| it.as_str()).collect();
    assert_eq!(names, ["other", "team/app"]);
}

fn at_digest(repository: &Reference, bytes: &[u8]) -> Reference {
    repository.with_target(Target::Digest(digest(bytes)))
}

fn manifests<D: Driver>() {
    let (model, amd64, _) = two_platforms(Options::default());
    let server = Server::start(model).unwrap();
    let client = D::new(&Setup::new());
    let at = reference(&format!("{}/a/b:v1", server.host()));
    let run = |spec| client.finish(Ask::other(spec));

    let index = run(RequestSpec::manifest(&at)).unwrap().manifest().unwrap();
    let mut spec = RequestSpec::manifest(&at);
    spec.platforms(Platforms::One(windlass_core::Platform::new(
        "linux", "amd64",
    )));
    let image = run(spec).unwrap().manifest().unwrap();
    assert_eq!(image.bytes[..], amd64.manifest[..]);

    let tag = |name: &str| name.parse().unwrap();
    let put = run(RequestSpec::tag(&at, [tag("v2"), tag("v3")])).unwrap();
    let put = put.put().unwrap();
    assert_eq!((put.tags.len(), &put.descriptor), (2, &index.descriptor));

    let mut changed = image.bytes.to_vec();
    changed.push(b'\n');
    let new = at.with_target(Target::Tag(tag("changed")));
    let mut spec = RequestSpec::put_manifest(&new, changed.clone(), OCI_MANIFEST);
    spec.add_tag(tag("again"));
    let put = run(spec).unwrap().put().unwrap();
    assert_eq!(
        (put.tags.len(), put.descriptor.digest),
        (2, digest(&changed))
    );
    let found = run(RequestSpec::manifest(&new))
        .unwrap()
        .manifest()
        .unwrap();
    assert_eq!(found.bytes[..], changed[..]);

    let gone = run(RequestSpec::delete(&new)).unwrap().deleted().unwrap();
    assert_eq!(gone.digest, None);
    let again = at.with_target(Target::Tag(tag("again")));
    let gone = run(RequestSpec::delete_manifest(&again)).unwrap();
    assert_eq!(gone.deleted().unwrap().digest, Some(digest(&changed)));
    let failure = run(RequestSpec::manifest(&again)).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
}

fn blobs<D: Driver>() {
    let server = Server::start(Model::new(Options::default())).unwrap();
    let client = D::new(&Setup::new());
    let (one, two) = (
        reference(&format!("{}/one", server.host())),
        reference(&format!("{}/two", server.host())),
    );
    let run = |spec| client.finish(Ask::other(spec));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();

    let file = BlobContent::file(&path).unwrap();
    let put = run(RequestSpec::put_blob(&one, file)).unwrap();
    let put = put.blob_put().unwrap();
    assert_eq!((put.how, put.size), (BlobDelivery::Sent(300_000), 300_000));
    assert_eq!(put.digest, digest(&bytes));
    let put = run(RequestSpec::put_blob(&one, bytes.clone())).unwrap();
    assert_eq!(put.blob_put().unwrap().how, BlobDelivery::Present);

    let named = at_digest(&two, &bytes);
    let put = run(RequestSpec::mount_blob(one.repository().clone(), &named)).unwrap();
    assert_eq!(put.blob_put().unwrap().how, BlobDelivery::Mounted);
    let found = run(RequestSpec::find_blob(&named)).unwrap();
    assert_eq!(found.blob_found().unwrap().size, 300_000);
    run(RequestSpec::delete_blob(&named))
        .unwrap()
        .deleted()
        .unwrap();
    let failure = run(RequestSpec::find_blob(&named)).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);

    // It is not what it was when it was hashed; and the registry has it nowhere.
    std::fs::write(&path, vec![1; 300_000]).unwrap();
    let file = BlobContent::file(&path).unwrap();
    std::fs::write(&path, vec![0; 300_000]).unwrap();
    let failure = run(RequestSpec::put_blob(&two, file)).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "{failure}");
    let wrong = at_digest(&two, b"another");
    let failure = run(RequestSpec::put_blob(&wrong, Arc::<[u8]>::from(&b"x"[..]))).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "{failure}");
}

fn referrers<D: Driver>() {
    for (referrers_api, source) in [(true, ReferrersSource::Api), (false, ReferrersSource::Tag)] {
        let subject = image(&[b"signed".to_vec()]);
        let signature = about(&image(&[b"signature".to_vec()]), &subject);
        let mut model = Model::new(Options {
            referrers_api,
            ..Options::default()
        });
        model.put_image("app", Some("v1"), &subject);
        for blob in signature.blobs() {
            model.put_blob("app", blob.clone());
        }
        let server = Server::start(model).unwrap();
        let client = D::new(&Setup::new());
        let at = reference(&format!("{}/app:v1", server.host()));
        let by_digest = at_digest(&at, &signature.manifest);
        let bytes = signature.manifest.to_vec();
        let put = RequestSpec::put_manifest(&by_digest, bytes, OCI_MANIFEST);
        let put = client.finish(Ask::other(put)).unwrap().put().unwrap();
        assert_eq!(put.unlisted, None);
        let spec = || RequestSpec::referrers(&at, None);
        let found = client.finish(Ask::other(spec())).unwrap();
        let found = found.referrers().unwrap();
        assert_eq!((found.referrers.len(), found.source), (1, source));
        assert_eq!(found.referrers[0].digest, put.descriptor.digest);
        let mut spec = spec();
        spec.artifact_type("a/other");
        let none = client.finish(Ask::other(spec)).unwrap();
        assert_eq!(none.referrers().unwrap().referrers, []);
    }
}

/// From a registry with the API, through a layout, to one without it, and back.
fn copies_with_referrers<D: Driver>() {
    let family = Family::default();
    let [with, without] = [true, false].map(|referrers_api| {
        let options = Options {
            referrers_api,
            ..Options::default()
        };
        Server::start(Model::new(options)).unwrap()
    });
    with.with_model(|model| family.put(model, "a/b"));
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open_or_create(folder.path().join("layout")).unwrap();
    let layout: Arc<dyn Store> = Arc::new(layout);
    let at = |server: &Server, path: &str| -> ImageLocation {
        reference(&format!("{}/{path}", server.host())).into()
    };
    let client = D::new(&Setup::new());
    let in_layout = || ImageLocation::store(&layout, Some("v1".into()));
    for (from, to) in [
        (at(&with, "a/b:v1"), in_layout()),
        (in_layout(), at(&without, "c/d:v1")),
        (at(&without, "c/d:v1"), at(&with, "e/f:v1")),
    ] {
        let mut spec = RequestSpec::copy(from, to);
        spec.carry(Carry::referrers());
        let report = client.finish(Ask::other(spec)).unwrap().copied().unwrap();
        let carried = report.carried.unwrap();
        assert_eq!((carried.copied, carried.failed), (4, 0));
    }
    for (subject, about) in family.expected() {
        let mut found = layout.referrers(&subject).unwrap();
        found.sort_by_key(|it| it.digest.clone());
        let digests: Vec<_> = found.into_iter().map(|it| it.digest).collect();
        assert_eq!(digests, about);
    }
    without.with_model(|model| family.check(model, "c/d"));
    with.with_model(|model| family.check(model, "e/f"));
}
