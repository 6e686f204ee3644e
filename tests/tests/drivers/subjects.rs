//! Manifests with a subject, through both clients.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use windlass_testbed::{Model, Options, Server, image};
use windlass_tests::drivers::{Ask, Driver, Setup, Shelf};
use windlass_tests::through_both;
use windlass_tests::world::scenes::{about, digest};

through_both!(
    a_list_is_kept_where_there_is_no_api,
    a_list_is_read_again_later_only_where_conditions_are_ignored
);

fn a_list_is_kept_where_there_is_no_api<D: Driver>() {
    let subject = image(&[b"signed".to_vec()]);
    let signature = about(&image(&[b"signature".to_vec()]), &subject);
    let client = D::new(&Setup::new());
    for referrers_api in [false, true] {
        let mut model = Model::new(Options {
            referrers_api,
            ..Options::default()
        });
        model.put_image("team/app", Some("v1"), &signature);
        let server = Server::start(model).unwrap();
        let shelf = Shelf::new();
        let at = |name: &str| format!("{}/{name}", server.host());
        client
            .run(Ask::pull(&at("team/app:v1"), &shelf.store))
            .unwrap();
        let pushed = client.run(Ask::push(&shelf.store, &at("pushed:v1")));
        let copied = client.run(Ask::copy(&at("team/app:v1"), &at("copied:v1")));
        assert_eq!(pushed.unwrap().unlisted, []);
        assert_eq!(copied.unwrap().unlisted, []);
        let tag = digest(&subject.manifest).to_string().replace(':', "-");
        for repository in ["pushed", "copied"] {
            let listed = server.with_model(|model| {
                let list = model.tag(repository, &tag)?;
                let (_, bytes) = model.manifest_bytes(repository, list)?;
                Some(String::from_utf8_lossy(bytes).contains(signature.digest.as_str()))
            });
            let expected = (!referrers_api).then_some(true);
            assert_eq!(listed, expected, "{repository}, API: {referrers_api}");
        }
    }
}

/// RFR-02: what is written on a condition that the registry looks at is not read again.
fn a_list_is_read_again_later_only_where_conditions_are_ignored<D: Driver>() {
    let subject = image(&[b"signed".to_vec()]);
    let signature = about(&image(&[b"signature".to_vec()]), &subject);
    let tag = digest(&subject.manifest).to_string().replace(':', "-");
    let mut setup = Setup::new();
    setup.config.settle = Duration::from_millis(400);
    for (conditions, expected) in [
        (true, &["GET", "PUT", "PUT"][..]),
        (false, &["GET", "PUT", "GET"]),
    ] {
        let mut model = Model::new(Options {
            referrers_api: false,
            conditions,
            ..Options::default()
        });
        model.put_image("team/app", Some("v1"), &signature);
        let server = Server::start(model).unwrap();
        let at = |name: &str| format!("{}/{name}", server.host());
        let client = D::new(&setup);
        let copied = client.run(Ask::copy(&at("team/app:v1"), &at("copied:v1")));
        assert_eq!(copied.unwrap().unlisted, []);
        let (methods, times): (Vec<_>, Vec<_>) = server.with_model(|model| {
            let log = model.log().iter();
            let about = log.filter(|it| it.target.ends_with(&tag));
            about.map(|it| (it.method.to_string(), it.at)).unzip()
        });
        assert_eq!(methods, expected, "conditions: {conditions}");
        let pause = times[2] - times[1];
        let is_long = pause >= Duration::from_millis(300);
        assert!(conditions || is_long, "{pause:?}");
    }
}
