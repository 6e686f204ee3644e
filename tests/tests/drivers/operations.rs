//! Operations on registries, through both clients.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_driver::RequestSpec;
use windlass_testbed::{Model, Options, Pages, Server, image};
use windlass_tests::drivers::{Ask, Driver, Setup};
use windlass_tests::through_both;
use windlass_tests::world::scenes::reference;

through_both!(lists_of_names);

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

    let catalog = Ask::other(RequestSpec::catalog(at.registry()));
    let catalog = client.finish(catalog).unwrap().catalog().unwrap();
    let names: Vec<&str> = catalog.repositories.iter().map(|it| it.as_str()).collect();
    assert_eq!(names, ["other", "team/app"]);
}
