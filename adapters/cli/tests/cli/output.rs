//! Output and messages of commands that succeed and that fail.

use crate::common::windlass_as_user;
use crate::common::{
    PASSWORD, USER, failed, layout, printed, registry, registry_without_mounts, text, users,
    windlass,
};
use base64::Engine as _;
use serde_json::Value;
use windlass_testbed::{Auth, Basic, Bearer, Model, Server, image};

struct Scene {
    folder: tempfile::TempDir,
    registry: Server,
}

impl Scene {
    fn new(auth: Auth) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            registry: registry(auth),
        }
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    fn layout(&self, name: &str) -> String {
        layout(self.folder.path(), name)
    }

    /// A layout that holds `app:v1` under `v1`.
    fn pulled(&self) -> String {
        let layout = self.layout("pulled");
        let app = self.reference("app:v1");
        printed(&windlass(
            &["pull", &app, &layout, "--platform", "all"],
            &[],
        ));
        layout
    }

    fn digest(&self) -> String {
        let digest = |model: &mut Model| model.tag("app", "v1").expect("it is there").to_string();
        self.registry.with_model(digest)
    }
}

fn field_names(json: &Value) -> Vec<&str> {
    let fields = json.as_object().expect("an object");
    fields.keys().map(String::as_str).collect()
}

/// With `--json` a program reads from the last line of standard error what people read above it.
#[test]
fn json_of_failures() {
    let scene = Scene::new(Auth::Basic(Basic {
        users: users(),
        anonymous_pull: false,
    }));
    let app = scene.reference("app:v1");
    let last = |words: &[&str], code: i32| -> Value {
        let output = windlass(&[words, &["--json"]].concat(), &[]);
        let said = failed(&output, code);
        assert!(said.starts_with("error: "), "{said}");
        let last = said.lines().last().expect("a line");
        serde_json::from_str(last).expect("an object")
    };
    let host = scene.registry.host();
    let refused = last(&["digest", &app], 4);
    assert_eq!(field_names(&refused), ["error", "failure"]);
    let failure = &refused["failure"];
    let text = refused["error"].as_str().expect("a text");
    assert!(text.contains("/v2/app/manifests/v1: 401"), "{text}");
    assert_eq!(failure["kind"], "auth");
    assert_eq!(failure["registry"], host.as_str());
    assert_eq!(failure["server"], format!("http://{host}"));
    assert_eq!(failure["method"], "HEAD");
    assert_eq!(failure["path"], "/v2/app/manifests/v1");
    assert_eq!(failure["status"], 401);
    assert_eq!(failure["attempts"], Value::Null);

    let gone = last(&["digest", "127.0.0.1:1/app"], 5);
    assert_eq!(gone["failure"]["kind"], "temporary");
    assert_eq!(gone["failure"]["registry"], "127.0.0.1:1");
    assert_eq!(gone["failure"]["status"], Value::Null);
    assert!(gone["failure"]["attempts"].is_u64(), "{gone}");

    let unclear = last(&["digest", &app, "--trace", "--quiet"], 2);
    assert_eq!(unclear["failure"]["kind"], "usage");
    assert_eq!(field_names(&unclear["failure"]), field_names(failure));
}

/// `--json` as `--help` documents it, and nothing else on standard output.
#[test]
fn json() {
    let scene = Scene::new(Auth::Open);
    let (app, again) = (scene.reference("app:v1"), scene.reference("again:v2"));
    let (copy, out) = (scene.reference("copy:v3"), scene.layout("out"));
    let named = format!("{out}:v1");
    // (words, source and destination as given, with NAME filled in)
    let table = [
        (
            vec!["pull", &app, &out, "--platform", "all"],
            [&app, &named],
        ),
        (vec!["push", &named, &again], [&named, &again]),
        (vec!["copy", &app, &copy], [&app, &copy]),
    ];
    for (mut words, [source, destination]) in table {
        words.push("--json");
        let output = windlass(&words, &[]);
        let report: Value = serde_json::from_str(printed(&output)).expect("one object");
        let documented = [
            "blobsMounted",
            "blobsMoved",
            "blobsPresent",
            "bytesMoved",
            "carried",
            "destination",
            "digest",
            "entriesAbsent",
            "layersLeftOut",
            "leftOut",
            "mediaType",
            "seconds",
            "served",
            "size",
            "source",
            "tags",
            "unlisted",
        ];
        assert_eq!(field_names(&report), documented, "{words:?}");
        assert_eq!(report["source"], **source);
        assert_eq!(report["destination"], **destination);
        assert_eq!(report["digest"], scene.digest());
        assert_eq!(report["mediaType"], windlass_testbed::OCI_MANIFEST);
        assert!(report["size"].as_u64().is_some_and(|size| size > 0));
        assert!(
            report["seconds"]
                .as_f64()
                .is_some_and(|seconds| seconds > 0.0)
        );
        let blobs = ["blobsMoved", "blobsMounted", "blobsPresent"].map(|name| &report[name]);
        let blobs: u64 = blobs.iter().filter_map(|count| count.as_u64()).sum();
        assert_eq!(blobs, 2, "{report}");
    }
    let output = windlass(&["digest", &app, "--json"], &[]);
    let report: Value = serde_json::from_str(printed(&output)).expect("one object");
    assert_eq!(
        field_names(&report),
        ["digest", "mediaType", "reference", "size"]
    );
    assert_eq!(report["reference"], app);
    assert_eq!(report["digest"], scene.digest());
}

#[test]
fn standard_output_holds_the_digest_and_nothing_else() {
    let scene = Scene::new(Auth::Open);
    let (app, out) = (scene.reference("app:v1"), scene.layout("out"));
    let (named, again) = (format!("{out}:v1"), scene.reference("again:v1"));
    let digest = format!("{}\n", scene.digest());
    for words in [
        &["pull", &app, &out][..],
        &["push", &named, &again],
        &["copy", &app, &scene.layout("other"), "--trace"],
        &["digest", &app],
    ] {
        let output = windlass(words, &[]);
        assert_eq!(printed(&output), digest, "{words:?}");
        let said = text(&output.stderr);
        assert!(
            !said.contains('\x1b'),
            "colour where no terminal is: {said}"
        );
    }
}

#[test]
fn quiet_says_nothing_but_errors() {
    let scene = Scene::new(Auth::Open);
    let (app, out) = (scene.reference("app:v1"), scene.layout("out"));
    // A large blob is worth a line, and another platform a warning.
    let words = ["pull", &app, &out, "--platform", "linux/s390x"];
    let loud = windlass(&words, &[]);
    printed(&loud);
    let said = text(&loud.stderr);
    assert!(
        said.contains(" 2.0 MiB in ") && said.contains("warning: "),
        "{said}"
    );

    let out = scene.layout("quiet");
    let words = ["pull", &app, &out, "--platform", "linux/s390x", "--quiet"];
    let quiet = windlass(&words, &[]);
    assert_eq!(printed(&quiet), format!("{}\n", scene.digest()));
    assert_eq!(text(&quiet.stderr), "");

    let absent = scene.reference("app:absent");
    let words = ["-q", "pull", &absent, &out];
    let said = windlass(&words, &[]);
    let said = failed(&said, 3);
    assert!(
        said.starts_with("error: ") && said.contains("not found ("),
        "{said}"
    );
}

/// A live transcript has everything in it but what would let its reader in.
#[test]
fn a_trace_shows_no_secret() {
    let basic = Auth::Basic(Basic {
        users: users(),
        anonymous_pull: false,
    });
    let bearer = Auth::Bearer(Bearer {
        users: users(),
        anonymous_pull: false,
        ..Bearer::default()
    });
    for (auth, has_tokens) in [(basic, false), (bearer, true)] {
        let scene = Scene::new(auth);
        let (app, out) = (scene.reference("app:v1"), scene.layout("out"));
        let named = format!("{out}:v1");
        let again = scene.reference("again:v1");
        for words in [
            ["pull", &app, &out, "--trace"],
            ["push", &named, &again, "--trace"],
        ] {
            let output = windlass_as_user(&words, &[]);
            printed(&output);
            let said = text(&output.stderr);
            assert!(
                said.contains(" http://") && said.contains(" < 401"),
                "{said}"
            );
            assert_eq!(said.contains("/token?"), has_tokens, "{said}");
            let pair =
                base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            let mut secrets = scene.registry.with_model(|model| model.secrets());
            let issued = secrets.len();
            secrets.extend([PASSWORD.to_owned(), pair]);
            assert!(!has_tokens || issued > 0, "there were tokens to be hidden");
            for secret in &secrets {
                assert!(!said.contains(secret), "{secret} is in {said}");
            }
        }
    }
}

#[test]
fn an_image_of_another_platform_is_taken_with_a_warning() {
    let scene = Scene::new(Auth::Open);
    let (app, out) = (scene.reference("app:v1"), scene.layout("out"));
    let (named, again) = (format!("{out}:v1"), scene.reference("again:v1"));
    for (words, warns) in [
        (["pull", &app, &out, "--platform=linux/arm64"], true),
        (["push", &named, &again, "--platform=linux/arm64"], true),
        (["push", &named, &again, "--platform=linux/arm64"], true),
        (["push", &named, &again, "--platform=amd64"], false),
    ] {
        let output = windlass(&words, &[]);
        printed(&output);
        let said = text(&output.stderr);
        let warning = "warning: the image is for linux/amd64, not for linux/arm64\n";
        assert_eq!(said.contains(warning), warns, "{words:?}: {said}");
    }
}

#[test]
fn several_entries_and_no_name_are_listed() {
    let scene = Scene::new(Auth::Open);
    let layout = scene.pulled();
    let second = format!("{layout}:other");
    let push = || windlass(&["push", &layout, &scene.reference("again:v1")], &[]);
    printed(&windlass(
        &["pull", &scene.reference("app:v1"), &second],
        &[],
    ));
    // The same image under two names is no question.
    printed(&push());
    let other = image(&[b"another".to_vec()]);
    let put = |model: &mut Model| model.put_image("app", Some("v2"), &other);
    scene.registry.with_model(put);
    printed(&windlass(
        &["pull", &scene.reference("app:v2"), &second],
        &[],
    ));
    let output = push();
    let said = failed(&output, 1);
    assert!(said.contains("v1") && said.contains("other"), "{said}");
    let output = windlass(
        &[
            "push",
            &format!("{layout}:absent"),
            &scene.reference("x:v1"),
        ],
        &[],
    );
    let said = failed(&output, 3);
    assert!(said.contains("absent"), "{said}");
}

/// A helper that cannot be run yet is named where its credentials are missed.
#[test]
fn a_credential_helper_is_named_in_the_refusal() {
    let scene = Scene::new(Auth::Basic(Basic {
        users: users(),
        anonymous_pull: false,
    }));
    let host = scene.registry.host();
    let folder = scene.folder.path().to_str().expect("UTF-8");
    for config in [
        format!(r#"{{"credHelpers":{{"{host}":"vault"}}}}"#),
        r#"{"credsStore":"vault"}"#.to_owned(),
    ] {
        std::fs::write(scene.folder.path().join("config.json"), config).expect("a file");
        let output = windlass(
            &["digest", &scene.reference("app:v1")],
            &[("DOCKER_CONFIG", folder)],
        );
        let said = failed(&output, 4);
        assert!(said.contains("docker-credential-vault"), "{said}");
    }
}

/// Nothing was stored, so nothing is left behind.
#[test]
fn a_pull_that_fails_makes_no_layout() {
    let scene = Scene::new(Auth::Open);
    let place = scene.folder.path().join("deep").join("out");
    let out = format!("oci:{}", place.display());
    let absent = scene.reference("app:absent");
    failed(&windlass(&["pull", &absent, &out], &[]), 3);
    failed(&windlass(&["pull", "absent.invalid/app:v1", &out], &[]), 5);
    assert!(!scene.folder.path().join("deep").exists());

    // A folder that is there stays, and stays empty.
    let theirs = scene.folder.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    failed(
        &windlass(&["pull", &absent, &scene.layout("theirs")], &[]),
        3,
    );
    assert_eq!(std::fs::read_dir(&theirs).expect("it stays").count(), 0);
    printed(&windlass(&["pull", &scene.reference("app:v1"), &out], &[]));
    assert!(place.join("index.json").is_file());
}

/// Whose credentials were given is said where the other side turns a stranger away.
#[test]
fn a_user_name_is_for_the_destination() {
    let basic = || {
        Auth::Basic(Basic {
            users: users(),
            anonymous_pull: false,
        })
    };
    let (from, to) = (Scene::new(basic()), Scene::new(basic()));
    let words = ["copy", &from.reference("app:v1"), &to.reference("again:v1")];
    let output = windlass_as_user(&words, &[]);
    let said = failed(&output, 4);
    let hint = format!(
        "hint: --username applies to {}; for {from} use --src-username, or run `windlass login {from}`",
        to.registry.host(),
        from = from.registry.host()
    );
    assert!(said.contains(&hint), "{said}");

    // If it is the destination that refuses, that is not what is wrong.
    let open = Scene::new(Auth::Open);
    let words = ["copy", &open.reference("app:v1"), &to.reference("again:v1")];
    let said = windlass(&words, &[]);
    assert!(!failed(&said, 4).contains("hint: --username"));
}

/// The user did not choose the folder that blobs pass through between registries, so a hint explains it.
#[test]
fn trouble_with_the_folder_between_registries_is_explained() {
    let (from, to) = (Scene::new(Auth::Open), Scene::new(Auth::Open));
    let words = ["copy", &from.reference("app:v1"), &to.reference("again:v1")];
    // It is not needed where blobs are sent while they are fetched.
    printed(&windlass(&words, &[("TMPDIR", "/nonexistent")]));
    let registry = registry_without_mounts();
    let name = |name: &str| format!("{}/{name}", registry.host());
    let words = ["copy", &name("app:v1"), &name("again:v1")];
    let output = windlass(&words, &[("TMPDIR", "/nonexistent")]);
    let said = failed(&output, 1);
    assert!(said.contains("/nonexistent"), "{said}");
    assert!(said.contains("hint: between repositories"), "{said}");
    assert!(said.contains("TMPDIR"), "{said}");
}
