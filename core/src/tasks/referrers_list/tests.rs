//! The list of a subject's referrers, as other clients change it meanwhile. The changes are those of tasks that put a
//! manifest with a subject.

use alloc::string::ToString as _;

use super::*;
use crate::config::Config;
use crate::ids::TaskId;
use crate::manifest::Content;
use crate::manifest::media_type::DOCKER_LIST;
use crate::task::{Task, TaskReport};
use crate::tasks::testing::{
    STORE, Scenario, coded, document, got, got_as, image, index, listed, loaded, reference,
    referrer, status,
};

const READ: &str = "GET manifests/sha256-subject";
/// The write of a list on no condition.
const WRITE: &str = "PUT manifests/sha256-subject";
/// The same on a condition that nothing meets.
const TEST: &str = "PUT manifests/sha256-subject if-match \"there is no such manifest\"";

/// A subject, a referrer of ours and one of another client.
struct Manifests {
    subject: Document,
    ours: Document,
    theirs: Document,
}

impl Manifests {
    fn new() -> Self {
        let subject = image(&[]);
        Self {
            ours: referrer(&subject, "a/ours"),
            theirs: referrer(&subject, "a/theirs"),
            subject,
        }
    }

    fn scenario(&self, settle: Duration) -> Scenario {
        let config = Config {
            settle,
            ..Config::default()
        };
        let names = [
            ("subject", self.subject.digest()),
            ("ours", self.ours.digest()),
            ("theirs", self.theirs.digest()),
        ];
        Scenario::configured(&names, config)
    }

    /// A referrer of ours was put, and its list is about to be read.
    fn reading(&self) -> (Scenario, TaskId) {
        let mut scenario = self.scenario(Duration::ZERO);
        let id = put(&mut scenario, &self.ours, "ours");
        (scenario, id)
    }
}

/// Puts a manifest at a registry that does not say that it lists it.
fn put(scenario: &mut Scenario, manifest: &Document, tag: &str) -> TaskId {
    let source = (STORE, manifest.digest().clone());
    let to = reference(&format!("reg.example/a:{tag}"));
    let task = Task::put_manifest(source, manifest.media_type().into(), to, Vec::new());
    let id = scenario.start(task);
    let load = scenario.named(&format!("s1 load {}", manifest.digest()));
    scenario.stored(&load, loaded(manifest));
    let put = format!("PUT manifests/{tag}");
    scenario.done(&put, OpOutcome::Put { listed: false });
    id
}

/// Why the list could not be changed, if it could not.
fn unlisted(scenario: &mut Scenario, id: TaskId) -> Option<(ErrorKind, String)> {
    let TaskReport::Put(put) = scenario.report(id) else {
        panic!("it was put")
    };
    put.unlisted.map(|it| (it.kind, it.why))
}

/// A list that has the entry is not written: what is done twice costs a request.
#[test]
fn a_list_that_has_the_entry_is_left_alone() {
    let all = Manifests::new();
    let (mut scenario, id) = all.reading();
    scenario.done(READ, got(&index(&[all.ours.descriptor()])));
    assert_eq!(unlisted(&mut scenario, id), None);
}

/// RFR-04: what other clients wrote into the list stays there.
#[test]
fn entries_of_others_are_kept() {
    let all = Manifests::new();
    let (mut scenario, _) = all.reading();
    let before = document(
        OCI_INDEX,
        serde_json::json!({"manifests": [all.theirs.descriptor()], "annotations": {"a": "b"}}),
    );
    scenario.done(READ, got(&before));
    let list = scenario.sent(WRITE);
    assert_eq!(listed(&list), [all.theirs.digest(), all.ours.digest()]);
    let Content::Index(index) = list.content() else {
        panic!("{list:?}")
    };
    assert_eq!(index.annotations["a"], "b");
}

/// A registry that looks at conditions refuses a list that another client has changed since it was read: it is read
/// again, and the other's entry is kept.
#[test]
fn a_list_that_was_changed_meanwhile_is_read_again() {
    let all = Manifests::new();
    let (mut scenario, id) = all.reading();
    scenario.done(READ, got_as(&index(&[]), Some("\"1\"")));
    scenario.replied(TEST, 412);
    let write = "PUT manifests/sha256-subject if-match \"1\"";
    scenario.done(write, OpOutcome::Outdated);
    let theirs = index(&[all.theirs.descriptor()]);
    scenario.done(READ, got_as(&theirs, Some("\"2\"")));
    let write = "PUT manifests/sha256-subject if-match \"2\"";
    let list = scenario.sent(write);
    assert_eq!(listed(&list), [all.theirs.digest(), all.ours.digest()]);
    // Such a registry is believed.
    scenario.done(write, OpOutcome::Put { listed: false });
    assert_eq!(unlisted(&mut scenario, id), None);
}

/// A registry that refuses a condition that is still true does not understand it.
#[test]
fn a_condition_that_is_not_understood_is_left_out() {
    let all = Manifests::new();
    let (mut scenario, id) = all.reading();
    let empty = index(&[]);
    scenario.done(READ, got_as(&empty, Some("\"1\"")));
    scenario.replied(TEST, 412);
    let write = "PUT manifests/sha256-subject if-match \"1\"";
    scenario.done(write, OpOutcome::Outdated);
    scenario.done(READ, got_as(&empty, Some("\"1\"")));
    let list = scenario.sent(WRITE);
    scenario.done(WRITE, OpOutcome::Put { listed: false });
    scenario.done(READ, got(&list));
    assert_eq!(unlisted(&mut scenario, id), None);
}

/// Of two that read the same list, one would replace what the other wrote.
#[test]
fn two_tasks_of_a_session_do_not_write_a_list_at_once() {
    let all = Manifests::new();
    let mut scenario = all.scenario(Duration::ZERO);
    let first = put(&mut scenario, &all.ours, "ours");
    let second = put(&mut scenario, &all.theirs, "theirs");
    assert_eq!(scenario.asked(), [READ]);
    scenario.failed(READ, status(404));
    scenario.replied(TEST, 412);
    let write = "PUT manifests/sha256-subject if-none-match *";
    let list = scenario.sent(write);
    assert_eq!(scenario.asked(), [write]);
    scenario.done(write, OpOutcome::Put { listed: false });
    assert!(scenario.is_over(first) && !scenario.is_over(second));
    scenario.done(READ, got_as(&list, Some("\"1\"")));
    let write = "PUT manifests/sha256-subject if-match \"1\"";
    let list = scenario.sent(write);
    assert_eq!(listed(&list), [all.ours.digest(), all.theirs.digest()]);
    scenario.done(write, OpOutcome::Put { listed: false });
    assert!(scenario.is_over(second));
}

/// A task that fails while it writes a list lets the next one go on.
#[test]
fn a_writer_that_fails_gives_its_turn_up() {
    let all = Manifests::new();
    let mut scenario = all.scenario(Duration::ZERO);
    let first = put(&mut scenario, &all.ours, "ours");
    let _second = put(&mut scenario, &all.theirs, "theirs");
    scenario.done(READ, OpOutcome::Deleted);
    assert_eq!(scenario.error(first).kind(), ErrorKind::Internal);
    assert_eq!(scenario.asked(), [READ]);
}

/// A registry that ignores conditions takes what nothing meets. There another client that had read the list before may
/// have replaced it: it is looked at again, after a while, and written again with the entries of both.
#[test]
fn a_list_is_looked_at_again_where_conditions_are_ignored() {
    let all = Manifests::new();
    let settle = Duration::from_secs(2);
    let mut scenario = all.scenario(settle);
    let id = put(&mut scenario, &all.ours, "ours");
    scenario.failed(READ, status(404));
    scenario.replied(TEST, 201);
    assert_eq!(scenario.asked(), [""; 0]);
    // Up to a quarter earlier.
    scenario.passes(settle / 2);
    assert_eq!(scenario.asked(), [""; 0]);
    scenario.passes(settle / 2);
    scenario.done(READ, got(&index(&[all.theirs.descriptor()])));
    let write = "PUT manifests/sha256-subject";
    let list = scenario.sent(write);
    assert_eq!(listed(&list), [all.theirs.digest(), all.ours.digest()]);
    scenario.done(write, OpOutcome::Put { listed: false });
    // For twice as long: both have met once.
    scenario.passes(settle);
    assert_eq!(scenario.asked(), [""; 0]);
    scenario.passes(settle);
    scenario.done(READ, got(&list));
    assert_eq!(unlisted(&mut scenario, id), None);
}

/// A list that has vanished is written again with all that was in it.
#[test]
fn a_list_that_has_vanished_is_written_again() {
    let all = Manifests::new();
    let (mut scenario, _) = all.reading();
    scenario.done(READ, got(&index(&[all.theirs.descriptor()])));
    scenario.done(WRITE, OpOutcome::Put { listed: false });
    scenario.failed(READ, status(404));
    let asked = scenario.asked();
    let list = scenario.sent(&asked[0]);
    assert_eq!(listed(&list), [all.theirs.digest(), all.ours.digest()]);
}

/// Others may replace the list for ever, or the registry does not keep it.
#[test]
fn a_list_that_does_not_stay_is_given_up() {
    let all = Manifests::new();
    let (mut scenario, id) = all.reading();
    let empty = index(&[]);
    for _ in 0..WRITES {
        scenario.done(READ, got(&empty));
        scenario.done(WRITE, OpOutcome::Put { listed: false });
    }
    scenario.done(READ, got(&empty));
    let (kind, why) = unlisted(&mut scenario, id).expect("it is not listed");
    assert_eq!(kind, ErrorKind::Refused);
    assert!(why.contains("4 times"), "{why}");
}

/// What is at the tag may be something else: it is not replaced.
#[test]
fn what_is_no_list_of_referrers_is_not_written() {
    let all = Manifests::new();
    let docker = document(DOCKER_LIST, serde_json::json!({"manifests": []}));
    // GitLab takes such a tag for the digest that it is made of.
    for there in [&docker, &all.theirs, &all.subject] {
        let (mut scenario, id) = all.reading();
        scenario.done(READ, got(there));
        let (kind, why) = unlisted(&mut scenario, id).expect("it is not listed");
        assert_eq!(kind, ErrorKind::Refused);
        assert!(why.starts_with("the tag is not an OCI index"), "{why}");
    }
}

/// Clients refuse to read a list that is longer than a manifest may be.
#[test]
fn a_list_does_not_get_too_long_to_be_read() {
    let all = Manifests::new();
    let mut config = Config::default();
    config.limits.document = all.ours.bytes().len() as u64 + 50;
    let names = [
        ("subject", all.subject.digest()),
        ("ours", all.ours.digest()),
    ];
    let mut scenario = Scenario::configured(&names, config);
    let id = put(&mut scenario, &all.ours, "ours");
    let theirs: Vec<_> = (0..4).map(|_| all.theirs.descriptor()).collect();
    scenario.done(READ, got(&index(&theirs)));
    let (kind, why) = unlisted(&mut scenario, id).expect("it is not listed");
    assert_eq!(kind, ErrorKind::Refused);
    assert!(why.contains("more than the"), "{why}");
}

/// That it was written is no reason to believe that it is there.
#[test]
fn a_list_that_cannot_be_looked_at_again_is_not_as_it_should_be() {
    let all = Manifests::new();
    let (mut scenario, id) = all.reading();
    scenario.done(READ, got(&index(&[])));
    scenario.done(WRITE, OpOutcome::Put { listed: false });
    scenario.failed(READ, status(403));
    let (kind, why) = unlisted(&mut scenario, id).expect("it may not be listed");
    assert_eq!(kind, ErrorKind::Auth);
    assert!(why.starts_with("it was written, but"), "{why}");
}

/// A registry that takes no list with entries of manifests that are gone (`MANIFEST_BLOB_UNKNOWN`).
mod dangling {
    use super::*;

    const THEIRS: &str = "GET manifests/sha256:theirs";

    /// The registry has refused a list with an entry of another client.
    fn refused(all: &Manifests) -> (Scenario, TaskId) {
        let (mut scenario, id) = all.reading();
        scenario.done(READ, got(&index(&[all.theirs.descriptor()])));
        let refusal = coded(400, "MANIFEST_BLOB_UNKNOWN");
        scenario.done(WRITE, OpOutcome::Childless(refusal));
        assert_eq!(scenario.asked(), [THEIRS]);
        (scenario, id)
    }

    #[test]
    fn entries_of_what_is_gone_are_left_out() {
        let all = Manifests::new();
        let (mut scenario, id) = refused(&all);
        scenario.failed(THEIRS, status(404));
        scenario.done(READ, got(&index(&[all.theirs.descriptor()])));
        let list = scenario.sent(WRITE);
        assert_eq!(listed(&list), [all.ours.digest()]);
        scenario.done(WRITE, OpOutcome::Put { listed: false });
        scenario.done(READ, got(&list));
        assert_eq!(unlisted(&mut scenario, id), None);
    }

    /// Nothing is left out of which it is not known that it is gone.
    #[test]
    fn entries_that_may_be_there_stay() {
        let all = Manifests::new();
        let (mut scenario, id) = refused(&all);
        scenario.done(THEIRS, got(&all.theirs));
        let (kind, _) = unlisted(&mut scenario, id).expect("it is not listed");
        assert_eq!(kind, ErrorKind::Refused);

        let (mut scenario, id) = refused(&all);
        scenario.failed(THEIRS, status(403));
        let (kind, why) = unlisted(&mut scenario, id).expect("it is not listed");
        assert_eq!(kind, ErrorKind::Auth);
        assert!(why.contains("403"), "{why}");
    }

    /// The second refusal is not about them.
    #[test]
    fn they_are_looked_for_once() {
        let all = Manifests::new();
        let (mut scenario, id) = refused(&all);
        scenario.failed(THEIRS, status(404));
        scenario.done(READ, got(&index(&[all.theirs.descriptor()])));
        let refusal = coded(400, "MANIFEST_BLOB_UNKNOWN");
        scenario.done(WRITE, OpOutcome::Childless(refusal.clone()));
        let (kind, why) = unlisted(&mut scenario, id).expect("it is not listed");
        assert_eq!((kind, why), (refusal.kind(), refusal.to_string()));
    }
}
