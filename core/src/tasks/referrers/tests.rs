//! The list of a manifest's referrers: by the registry, or at the tag (`referrers_read`).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use serde_json::json;

use super::*;
use crate::descriptor::Descriptor;
use crate::error::ErrorKind;
use crate::ids::TaskId;
use crate::manifest::Document;
use crate::manifest::media_type::{DOCKER_LIST, OCI_INDEX};
use crate::op::ReferrersPage;
use crate::task::{Referrers, ReferrersSource, Task};
use crate::tasks::testing::{
    Scenario, coded, document, found, got, image, index, reference, referrer, status,
};
use crate::uri::Url;

const API: &str = "GET referrers/sha256:subject";
const TAG: &str = "GET manifests/sha256-subject";

/// A subject, and two that refer to it.
struct Manifests {
    subject: Document,
    sbom: Document,
    signature: Document,
}

impl Manifests {
    fn new() -> Self {
        let subject = image(&[]);
        Self {
            sbom: referrer(&subject, "a/sbom"),
            signature: referrer(&subject, "a/signature"),
            subject,
        }
    }

    /// What refers to the subject is asked for by its digest.
    fn listing(&self, artifact_type: Option<&str>) -> (Scenario, TaskId) {
        let named = format!("reg.example/a@{}", self.subject.digest());
        self.listing_of(&named, artifact_type)
    }

    fn listing_of(&self, named: &str, artifact_type: Option<&str>) -> (Scenario, TaskId) {
        let mut scenario = Scenario::new(&[
            ("subject", self.subject.digest()),
            ("sbom", self.sbom.digest()),
            ("signature", self.signature.digest()),
        ]);
        let artifact_type = artifact_type.map(Into::into);
        let id = scenario.start(Task::referrers(reference(named), artifact_type));
        (scenario, id)
    }
}

/// A manifest in a list that says this type of it.
fn entry(manifest: &Document, artifact_type: Option<&str>) -> Descriptor {
    let mut entry = manifest.descriptor();
    entry.artifact_type = artifact_type.map(Into::into);
    entry
}

fn page(entries: &[Descriptor], next: Option<&str>) -> OpOutcome {
    OpOutcome::Referrers(Box::new(ReferrersPage {
        document: Box::new(index(entries)),
        next: next.map(|next| Url::parse(next).expect("a URL")),
    }))
}

fn report(scenario: &mut Scenario, id: TaskId) -> Referrers {
    scenario.report(id).referrers().expect("they were listed")
}

fn digests(referrers: &Referrers) -> Vec<&Digest> {
    referrers.referrers.iter().map(|it| &it.digest).collect()
}

/// The subject of a tag is found by a HEAD, or by a GET where that does not say its digest (PULLM-12, HTTP-22).
#[test]
fn a_tag_is_resolved_first() {
    let all = Manifests::new();
    let silent = OpOutcome::Found {
        digest: None,
        size: None,
        media_type: None,
    };
    for (head, is_read) in [
        (found(&all.subject), false),
        (silent, true),
        (OpOutcome::Absent, true),
    ] {
        let (mut scenario, id) = all.listing_of("reg.example/a:v1", None);
        scenario.done("HEAD manifests/v1", head);
        if is_read {
            scenario.done("GET manifests/v1", got(&all.subject));
        }
        scenario.done(API, page(&[], None));
        let referrers = report(&mut scenario, id);
        assert_eq!(referrers.subject, *all.subject.digest());
        // RFR-05: an empty list of the registry is one.
        assert_eq!(referrers.source, ReferrersSource::Api);
    }
    let (mut scenario, id) = all.listing_of("reg.example/a:v1", None);
    scenario.done("HEAD manifests/v1", OpOutcome::Absent);
    scenario.failed("GET manifests/v1", status(404));
    assert_eq!(scenario.error(id).kind(), ErrorKind::NotFound);
}

/// RFR-11: pages may repeat what others had.
#[test]
fn a_list_has_each_manifest_once() {
    let all = Manifests::new();
    let (sbom, signature) = (
        entry(&all.sbom, Some("a/sbom")),
        entry(&all.signature, Some("a/signature")),
    );
    let (mut scenario, id) = all.listing(None);
    let next = "https://reg.example/v2/a/referrers/next?x=1";
    scenario.done(API, page(&[signature.clone(), sbom.clone()], Some(next)));
    let first = page(&[sbom, signature], None);
    scenario.done("GET referrers/next?x=1", first);
    let referrers = report(&mut scenario, id);
    let expected = [all.sbom.digest(), all.signature.digest()];
    assert_eq!(digests(&referrers), expected);
}

/// RFR-06: without the API, the tag has the list, if there is one.
#[test]
fn a_registry_without_the_api_has_the_list_at_a_tag() {
    let all = Manifests::new();
    let list = index(&[entry(&all.sbom, Some("a/sbom"))]);
    let (mut scenario, id) = all.listing(None);
    scenario.done(API, OpOutcome::Unsupported);
    scenario.done(TAG, got(&list));
    let referrers = report(&mut scenario, id);
    assert_eq!(referrers.source, ReferrersSource::Tag);
    assert_eq!(digests(&referrers), [all.sbom.digest()]);

    // GitLab takes such a tag for the digest that it is made of.
    for there in [None, Some(&all.subject)] {
        let (mut scenario, id) = all.listing(None);
        scenario.done(API, OpOutcome::Unsupported);
        match there {
            Some(there) => scenario.done(TAG, got(there)),
            None => scenario.failed(TAG, coded(404, "MANIFEST_UNKNOWN")),
        }
        let referrers = report(&mut scenario, id);
        assert_eq!(referrers.source, ReferrersSource::Nothing);
        assert!(digests(&referrers).is_empty());
    }
}

/// That nothing refers to a manifest is said only if it is known.
#[test]
fn a_list_that_cannot_be_read_is_not_an_empty_one() {
    type Is = fn(&Error) -> bool;
    let missing: Is = |error| matches!(error, Error::NotFound(_));
    let denied: Is = |error| matches!(error, Error::Auth(_));
    let all = Manifests::new();
    for (error, is_expected) in [
        // RFR-05: the repository is not there.
        (coded(404, "NAME_UNKNOWN"), missing),
        (status(403), denied),
    ] {
        let (mut scenario, id) = all.listing(None);
        scenario.done(API, OpOutcome::Unsupported);
        scenario.failed(TAG, error);
        let error = scenario.error(id);
        assert!(is_expected(&error), "{error:?}");
    }
    let (mut scenario, id) = all.listing(None);
    scenario.failed(API, status(403));
    assert!(denied(&scenario.error(id)));

    // The tag is used for something else.
    let docker = document(DOCKER_LIST, json!({"manifests": []}));
    for there in [&docker, &all.sbom] {
        let (mut scenario, id) = all.listing(None);
        scenario.done(API, OpOutcome::Unsupported);
        scenario.done(TAG, got(there));
        let error = scenario.error(id);
        assert!(matches!(error, Error::Policy { .. }), "{error:?}");
    }
}

/// RFR-16: some registries list the type of the configuration in place of the manifest's own, so the manifests decide
/// of which the list says another type. RFR-07: whether the registry has filtered does not matter.
#[test]
fn manifests_decide_where_a_registry_lists_another_type() {
    let all = Manifests::new();
    let (mut scenario, id) = all.listing(Some("a/sbom"));
    let wrong = "application/vnd.oci.empty.v1+json";
    let listed = [
        entry(&all.sbom, Some(wrong)),
        entry(&all.signature, Some(wrong)),
    ];
    let filtered = "GET referrers/sha256:subject?artifactType=a%2Fsbom";
    let asked = scenario.asked();
    assert!(
        asked[0].replace("%2F", "/") == filtered.replace("%2F", "/"),
        "{asked:?}"
    );
    scenario.done(&asked[0], page(&listed, None));
    scenario.done("GET manifests/sha256:sbom", got(&all.sbom));
    scenario.done("GET manifests/sha256:signature", got(&all.signature));
    let referrers = report(&mut scenario, id);
    assert_eq!(digests(&referrers), [all.sbom.digest()]);
    let artifact_type = referrers.referrers[0].artifact_type.as_deref();
    assert_eq!(artifact_type, Some("a/sbom"));

    // What it lists as wanted is believed.
    let (mut scenario, id) = all.listing(Some("a/sbom"));
    let asked = scenario.asked();
    let listed = [entry(&all.sbom, Some("a/sbom"))];
    scenario.done(&asked[0], page(&listed, None));
    assert_eq!(digests(&report(&mut scenario, id)), [all.sbom.digest()]);
}

/// Clients write types into a list at a tag that are wrong: of all entries, the manifests decide. What is gone has the
/// type that the list says.
#[test]
fn manifests_decide_of_what_types_a_list_at_a_tag_is() {
    let all = Manifests::new();
    let (mut scenario, id) = all.listing(Some("a/sbom"));
    let asked = scenario.asked();
    scenario.done(&asked[0], OpOutcome::Unsupported);
    let gone = crate::tasks::testing::blob(OCI_INDEX, "gone");
    let mut gone_sbom = gone.clone();
    gone_sbom.artifact_type = Some("a/sbom".into());
    let list = index(&[
        entry(&all.sbom, None),
        entry(&all.signature, Some("a/sbom")),
        gone_sbom,
    ]);
    scenario.done(TAG, got(&list));
    scenario.done("GET manifests/sha256:sbom", got(&all.sbom));
    scenario.done("GET manifests/sha256:signature", got(&all.signature));
    let rest = scenario.asked();
    assert_eq!(rest, [format!("GET manifests/{}", gone.digest)]);
    scenario.failed(&rest[0], status(404));
    let referrers = report(&mut scenario, id);
    let found = digests(&referrers);
    assert!(found.contains(&all.sbom.digest()) && found.contains(&&gone.digest));
    assert_eq!(found.len(), 2, "{found:?}");

    // What may not be looked at leaves open whether it is wanted.
    let (mut scenario, id) = all.listing(Some("a/sbom"));
    let asked = scenario.asked();
    scenario.done(&asked[0], OpOutcome::Unsupported);
    scenario.done(TAG, got(&index(&[entry(&all.sbom, None)])));
    scenario.failed("GET manifests/sha256:sbom", status(403));
    let error = scenario.error(id);
    assert!(matches!(error, Error::Auth(_)), "{}", error.to_string());
}

/// TAGS-09, of referrers: a registry whose pages lead in a circle is not followed for ever.
#[test]
fn pages_in_a_circle_end_the_task() {
    let all = Manifests::new();
    let (mut scenario, id) = all.listing(None);
    let next = "https://reg.example/v2/a/referrers/next?x=1";
    scenario.done(API, page(&[], Some(next)));
    scenario.done("GET referrers/next?x=1", page(&[], Some(next)));
    let error = scenario.error(id);
    assert!(matches!(error, Error::Policy { .. }), "{error:?}");
}

/// What is in memory is bounded.
#[test]
fn a_list_has_a_limit() {
    let all = Manifests::new();
    let mut config = crate::Config::default();
    config.limits.objects = 1;
    let names = [("subject", all.subject.digest())];
    let mut scenario = Scenario::configured(&names, config);
    let named = format!("reg.example/a@{}", all.subject.digest());
    let id = scenario.start(Task::referrers(reference(&named), None));
    let two = [entry(&all.sbom, None), entry(&all.signature, None)];
    scenario.done(API, page(&two, None));
    let error = scenario.error(id);
    assert!(matches!(error, Error::Policy { .. }), "{error:?}");
}
