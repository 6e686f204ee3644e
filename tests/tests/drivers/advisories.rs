//! Attacks of published advisories on registry clients, through both clients: no byte of a secret goes to
//! another origin, nor into the transcript, events, errors or tapes. `tests/ADVISORIES.md` names the advisories
//! and the tests; `machine/advisories.rs` looks at checkpoints.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use windlass_core::credential::{CredentialAnswer, Question, Secret, TimedAnswer};
use windlass_core::{ErrorKind, Failure};
use windlass_driver::{Credentials, TlsRoots};
use windlass_store::Store;
use windlass_tests::certs::Ca;
use windlass_tests::drivers::{Ask, Driver, Setup, Shelf, Watch};
use windlass_tests::hostile::{Good, Hostile, Reply, Request};
use windlass_tests::images::{Image, Layout, digest};
use windlass_tests::through_both;

through_both!(
    a_foreign_layers_host_that_asks_who_is_there,
    a_redirect_to_another_origin,
    a_redirect_that_comes_back,
    a_location_on_another_origin,
    a_link_down_to_plain_http,
    a_realm_on_another_host,
    a_realm_down_to_plain_http,
    a_realm_that_redirects,
    a_helper_that_fails_changes_no_destination,
    credentials_are_those_of_the_registry_that_was_named,
    a_digest_that_is_a_path,
    a_pinned_digest_is_compared,
    a_size_beyond_all_memory,
    a_document_that_is_two_things,
);

const PASSWORD: &str = "pa55/word+of-alice";
const IDENTITY: &str = "identity/token+of-alice";
const READY: &str = "ready.token+of/alice";
/// What the token service gives out.
const TOKEN: &str = "issued/token+to.alice";

/// The forms of a credential that clients have.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Login {
    Password,
    Identity,
    Ready,
}

impl Login {
    const ALL: [Self; 3] = [Self::Password, Self::Identity, Self::Ready];

    fn answer(self) -> CredentialAnswer {
        match self {
            Self::Password => CredentialAnswer::Basic {
                username: "alice".into(),
                password: Secret::new(PASSWORD),
            },
            Self::Identity => CredentialAnswer::Refresh(Secret::new(IDENTITY)),
            Self::Ready => CredentialAnswer::Bearer(Secret::new(READY)),
        }
    }
}

/// Answers for one registry only, and notes for which it was asked.
#[derive(Debug)]
struct Keyring {
    registry: Option<String>,
    answer: CredentialAnswer,
    asked: Mutex<Vec<String>>,
}

impl Keyring {
    fn new(answer: CredentialAnswer) -> Arc<Self> {
        Arc::new(Self {
            registry: None,
            answer,
            asked: Mutex::default(),
        })
    }
}

impl Credentials for Keyring {
    fn find(&self, question: &Question) -> TimedAnswer {
        let registry = question.registry().to_string();
        let recipient = question.recipient();
        let line = format!("{registry}, to show to {recipient}");
        self.asked.lock().unwrap().push(line);
        match &self.registry {
            Some(known) if *known != registry => CredentialAnswer::None.into(),
            Some(_) | None => self.answer.clone().into(),
        }
    }
}

/// What a client may do with a registry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Resolve,
    Pull,
    Push,
    Copy,
}

const VERBS: [Verb; 4] = [Verb::Resolve, Verb::Pull, Verb::Push, Verb::Copy];

/// A task, and everything that it showed.
struct Told {
    result: Result<(), Failure>,
    text: String,
}

impl Told {
    /// Does something with this registry, and looks for secrets in all that is shown.
    #[track_caller]
    fn new<D: Driver>(setup: &Setup, verb: Verb, reference: &str, layout: &Layout) -> Self {
        let (client, watch, shelf) = (D::new(setup), Watch::new(), Shelf::new());
        let layout: Arc<dyn Store> = Arc::new(windlass_store::Layout::open(&layout.path).unwrap());
        let ask = match verb {
            Verb::Resolve => Ask::resolve(reference),
            Verb::Pull => Ask::pull(reference, &shelf.store).foreign(),
            Verb::Push => Ask::push(&layout, reference),
            Verb::Copy => Ask::copy(reference, &reference.replace("some/image", "some/copy")),
        };
        let result = client.finish(ask.watched(&watch)).map(drop);
        let lines = watch.lines().join("\n");
        let events = watch.events();
        let failed = result.as_ref().err();
        let failed = failed.map(|it| format!("{it} {it:?} {:?}", it.hint()));
        let text = format!("{lines}\n{events:?}\n{failed:?}\n{}", client.tape());
        for secret in forms(&[PASSWORD, IDENTITY, READY, TOKEN]) {
            assert!(!text.contains(&secret), "{}: {secret} in {text}", D::NAME);
        }
        Self { result, text }
    }

    #[track_caller]
    fn failed(&self, kind: ErrorKind) -> &Self {
        let failure = self.result.as_ref().unwrap_err();
        assert_eq!(failure.first().kind(), kind, "{failure}\n{}", self.text);
        self
    }
}

/// A secret as it is, in base64 with and without the name, and percent-encoded.
fn forms(secrets: &[&str]) -> Vec<String> {
    let forms = secrets.iter().flat_map(|secret| {
        let pair = STANDARD.encode(format!("alice:{secret}"));
        let token = STANDARD.encode(format!("<token>:{secret}"));
        let percent = secret.replace('/', "%2F").replace('+', "%2B");
        [
            (*secret).to_owned(),
            STANDARD.encode(secret),
            pair,
            token,
            percent,
        ]
    });
    forms.collect()
}

/// Another origin that must not hear a secret.
fn heard_nothing(other: &Hostile) {
    other.never_heard(&[PASSWORD, IDENTITY, READY, TOKEN]);
}

fn setup(login: Login) -> Setup {
    let mut setup = Setup::new().attempts(1);
    setup.credentials = Some(Keyring::new(login.answer()));
    setup
}

/// The challenge that a registry sends who does not know the caller; `None` to who may come in.
fn challenge(request: &Request, login: Login, realm: &str) -> Option<Reply> {
    let presented = request.header("authorization").unwrap_or_default();
    let (good, challenge) = match login {
        Login::Password => (
            request
                .basic()
                .is_some_and(|(_, password)| password == PASSWORD),
            "Basic realm=\"r\"".to_owned(),
        ),
        Login::Identity => (
            presented == format!("Bearer {TOKEN}"),
            format!("Bearer realm=\"{realm}\",service=\"s\""),
        ),
        Login::Ready => (
            presented == format!("Bearer {READY}"),
            format!("Bearer realm=\"{realm}\",service=\"s\""),
        ),
    };
    (!good).then(|| Reply::error(401, "UNAUTHORIZED", "who?").header("WWW-Authenticate", challenge))
}

fn token() -> Reply {
    Reply::new(200).body(format!(r#"{{"access_token":"{TOKEN}","expires_in":300}}"#))
}

/// A registry with an image, which knows the caller and answers some requests in another way.
fn registry(
    login: Login,
    attack: impl Fn(&Request, &Image) -> Option<Reply> + Send + Sync + 'static,
) -> (Hostile, Layout, Image) {
    let (layout, image) = Layout::with_image(1, 3000, 11);
    let (good, named) = (Good::serving(&layout, &image), image.clone());
    let server = Hostile::start(move |request| {
        if request.path() == "/token" && login == Login::Identity {
            return token();
        }
        if let Some(challenge) = challenge(request, login, "/token") {
            return challenge;
        }
        attack(request, &named).unwrap_or_else(|| good.answer(request))
    });
    (server, layout, image)
}

/// What hosts ask for that want credentials.
fn asks() -> Reply {
    Reply::error(401, "UNAUTHORIZED", "who?")
        .header("WWW-Authenticate", "Basic realm=\"x\"")
        .header("WWW-Authenticate", "Bearer realm=\"/token\",service=\"s\"")
}

/// CVE-2020-15157, GHSA-qvqc-4c52-x6qp.
fn a_foreign_layers_host_that_asks_who_is_there<D: Driver>() {
    for login in Login::ALL {
        let other = Hostile::start(|_| asks());
        let layer = br"a foreign layer".to_vec();
        let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar";
        let manifest = move |config: &serde_json::Value, url: &str| {
            serde_json::json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": [{"mediaType": kind, "digest": digest(&layer), "size": layer.len(),
                    "urls": [url]}]
            })
        };
        let url = format!("{}/layer", other.url());
        let (server, layout, _) = registry(login, move |request, image| {
            let config = image.config.descriptor();
            let manifest = manifest(&config, &url).to_string();
            request.path().ends_with("/manifests/latest").then(|| {
                Reply::new(200)
                    .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .body(manifest)
            })
        });
        let reference = server.reference("some/image:latest");
        let told = Told::new::<D>(&setup(login), Verb::Pull, &reference, &layout);
        told.failed(ErrorKind::Refused);
        assert_eq!(other.requests().len(), 1, "{}", told.text);
        heard_nothing(&other);
    }
}

/// GHSA-vh4v-2xq2-g5cg: another port is another origin.
fn a_redirect_to_another_origin<D: Driver>() {
    for login in Login::ALL {
        for status in [301, 302, 303, 307, 308] {
            let other = Hostile::start(|_| asks());
            let location = format!("{}/blob", other.url());
            let (server, layout, _) = registry(login, move |request, _| {
                let read = request.method == "GET" && request.path().contains("/blobs/");
                read.then(|| Reply::new(status).header("Location", &location))
            });
            let reference = server.reference("some/image:latest");
            let told = Told::new::<D>(&setup(login), Verb::Pull, &reference, &layout);
            told.failed(ErrorKind::Refused);
            assert!(!other.requests().is_empty());
            heard_nothing(&other);
        }
    }
}

/// Go's CVE-2024-45336: what a redirect left behind is not taken up again when another one leads back.
fn a_redirect_that_comes_back<D: Driver>() {
    let back = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&back);
    let bounces = Hostile::start(move |_| Reply::new(307).header("Location", to.lock().unwrap()));
    let location = format!("{}/bounce", bounces.url());
    let (server, layout, _) = registry(Login::Password, move |request, _| {
        if request.path() == "/back" {
            return Some(Reply::new(200).body("whatever"));
        }
        let read = request.method == "GET" && request.path().contains("/blobs/");
        read.then(|| Reply::new(307).header("Location", &location))
    });
    *back.lock().unwrap() = format!("{}/back", server.url());
    let reference = server.reference("some/image:latest");
    let told = Told::new::<D>(&setup(Login::Password), Verb::Pull, &reference, &layout);
    told.failed(ErrorKind::Refused);
    heard_nothing(&bounces);
    let came_back = server
        .requests()
        .into_iter()
        .filter(|it| it.path() == "/back");
    assert!(came_back.clone().count() > 0);
    assert!(
        came_back
            .clone()
            .all(|it| it.header("authorization").is_none())
    );
}

/// CVE-2026-50151: the `Location` of an upload on another origin.
fn a_location_on_another_origin<D: Driver>() {
    for login in Login::ALL {
        let other = Hostile::start(|_| asks());
        let location = format!("{}/upload", other.url());
        let (server, layout, _) = registry(login, move |request, _| match &*request.method {
            "POST" => Some(Reply::new(202).header("Location", &location)),
            "HEAD" => Some(Reply::new(404)),
            _ => None,
        });
        let reference = server.reference("some/image:new");
        let told = Told::new::<D>(&setup(login), Verb::Push, &reference, &layout);
        assert!(told.result.is_err());
        assert!(!other.requests().is_empty(), "{}", told.text);
        heard_nothing(&other);
    }
}

/// A registry over TLS, and what trusts it.
fn over_tls(
    login: Login,
    answer: impl Fn(&Request, &Good) -> Option<Reply> + Send + Sync + 'static,
) -> (Hostile, Layout, Setup) {
    let ca = Ca::new();
    let (layout, image) = Layout::with_image(1, 3000, 12);
    let good = Good::serving(&layout, &image);
    let server = Hostile::start_tls(&ca, move |request| {
        answer(request, &good).unwrap_or_else(|| good.answer(request))
    });
    let mut setup = setup(login);
    let root = CertificateDer::from_pem_file(&ca.pem).unwrap();
    setup.trust = TlsRoots::only(vec![root.to_vec()]);
    let registry = server.host().parse().unwrap();
    let origin = format!("https://{}", server.host()).parse().unwrap();
    setup.config.endpoints.insert(registry, origin);
    (server, layout, setup)
}

/// No way leads from https to http: no redirect, no upload. The other server has not even a connection.
fn a_link_down_to_plain_http<D: Driver>() {
    let plain = Hostile::start(|_| asks());
    let location = format!("{}/x", plain.url());
    let (server, layout, setup) = over_tls(Login::Password, move |request, _| {
        if let Some(challenge) = challenge(request, Login::Password, "/token") {
            return Some(challenge);
        }
        let blob = request.path().contains("/blobs/");
        match &*request.method {
            "POST" => Some(Reply::new(202).header("Location", &location)),
            "GET" if blob => Some(Reply::new(307).header("Location", &location)),
            "HEAD" => Some(Reply::new(404)),
            _ => None,
        }
    });
    let reference = server.reference("some/image:latest");
    for verb in [Verb::Pull, Verb::Push] {
        Told::new::<D>(&setup, verb, &reference, &layout).failed(ErrorKind::Refused);
    }
    assert_eq!(plain.connections(), 0);
}

/// GHSA-9m43-p3cx-w8j5 (CVE-2026-24845), CVE-2026-33540, CVE-2026-33990, CVE-2026-48978: for every verb, and
/// for passwords and identity tokens alike, a realm on another host is asked anonymously. What it gives out
/// is of no use there.
fn a_realm_on_another_host<D: Driver>() {
    for login in [Login::Password, Login::Identity] {
        for verb in VERBS {
            let other = Hostile::start(|_| token());
            let realm = other.url().replace("127.0.0.1", "localhost") + "/token";
            let (layout, image) = Layout::with_image(1, 3000, 13);
            let good = Good::serving(&layout, &image);
            let named = realm.clone();
            let server = Hostile::start(move |request| {
                challenge(request, Login::Identity, &named).unwrap_or_else(|| good.answer(request))
            });
            let reference = server.reference("some/image:latest");
            let told = Told::new::<D>(&setup(login), verb, &reference, &layout);
            assert!(!other.requests().is_empty(), "{login:?} {verb:?}");
            heard_nothing(&other);
            let origin = realm.trim_end_matches("/token");
            let setting = format!("`--trust-realm {}={origin}`", server.host());
            assert!(told.text.contains(&setting), "{}", told.text);
        }
    }
}

/// ggcr#2243: a registry over https names a realm of plain http. Not asked at all, for whatever verb.
fn a_realm_down_to_plain_http<D: Driver>() {
    for login in [Login::Password, Login::Identity] {
        for verb in VERBS {
            let plain = Hostile::start(|_| token());
            let realm = format!("{}/token", plain.url());
            let named = realm.clone();
            let (server, layout, setup) = over_tls(login, move |request, _| {
                challenge(request, Login::Identity, &named)
            });
            let reference = server.reference("some/image:latest");
            let told = Told::new::<D>(&setup, verb, &reference, &layout);
            told.failed(ErrorKind::Refused);
            assert!(told.text.contains("is not https"), "{}", told.text);
            assert_eq!(plain.connections(), 0, "{login:?} {verb:?}");
        }
    }
}

/// The redirect of a token request is not followed, with whatever it was asked.
fn a_realm_that_redirects<D: Driver>() {
    for login in [Login::Password, Login::Identity] {
        for status in [302, 307, 308] {
            let other = Hostile::start(|_| token());
            let location = format!("{}/token", other.url());
            let server = Hostile::start(move |request| {
                if request.path() == "/token" {
                    return Reply::new(status).header("Location", &location);
                }
                challenge(request, Login::Identity, "/token").unwrap()
            });
            let (layout, _) = Layout::with_image(1, 3000, 14);
            let reference = server.reference("some/image:latest");
            for verb in VERBS {
                let told = Told::new::<D>(&setup(login), verb, &reference, &layout);
                told.failed(ErrorKind::Refused);
            }
            assert_eq!(other.connections(), 0);
        }
    }
}

/// CVE-2021-41092: a source that fails sends the request nowhere else, and the error says so.
fn a_helper_that_fails_changes_no_destination<D: Driver>() {
    let (server, layout, _) = registry(Login::Password, |_, _| None);
    let why = "docker-credential-x was not found";
    let keyring = Keyring::new(CredentialAnswer::Failed(why.into()));
    let mut setup = Setup::new().attempts(1);
    let credentials: Arc<dyn Credentials> = Arc::<Keyring>::clone(&keyring);
    setup.credentials = Some(credentials);
    let reference = server.reference("some/image:latest");
    for verb in VERBS {
        let told = Told::new::<D>(&setup, verb, &reference, &layout);
        told.failed(ErrorKind::Auth);
        assert!(told.text.contains(why), "{}", told.text);
    }
    let asked = keyring.asked.lock().unwrap();
    let expected = format!("{host}, to show to http://{host}", host = server.host());
    assert!(asked.iter().all(|line| *line == expected), "{asked:?}");
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .all(|it| it.header("authorization").is_none())
    );
    assert!(
        requests
            .iter()
            .all(|it| it.header("host") == Some(&server.host()))
    );
}

/// CVE-2024-35192: a registry gets what belongs to its own name, whatever it says of itself.
fn credentials_are_those_of_the_registry_that_was_named<D: Driver>() {
    let (good, _, _) = registry(Login::Password, |_, _| None);
    let realm = format!("{}/token", good.url());
    let evil = Hostile::start(move |_| {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        let basic = "Basic realm=\"012345678901.dkr.ecr.eu-west-1.amazonaws.com\"";
        Reply::new(401)
            .header("WWW-Authenticate", challenge)
            .header("WWW-Authenticate", basic)
    });
    let mut keyring = Keyring::new(Login::Password.answer());
    Arc::get_mut(&mut keyring).unwrap().registry = Some(good.host());
    let mut setup = Setup::new().attempts(1);
    let credentials: Arc<dyn Credentials> = Arc::<Keyring>::clone(&keyring);
    setup.credentials = Some(credentials);
    let (layout, _) = Layout::with_image(1, 3000, 15);
    let reference = evil.reference("some/image:latest");
    for verb in VERBS {
        let told = Told::new::<D>(&setup, verb, &reference, &layout);
        assert!(told.result.is_err());
    }
    heard_nothing(&evil);
    let asked = keyring.asked.lock().unwrap();
    let evil_host = evil.host();
    assert!(
        asked
            .iter()
            .all(|line| line.starts_with(&format!("{evil_host},")))
    );
}

fn with_layer<D: Driver>(layer: serde_json::Value) -> (Told, Hostile) {
    let (server, layout, _) = registry(Login::Password, move |request, image| {
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": image.config.descriptor(),
            "layers": [layer],
        });
        request.path().ends_with("/manifests/latest").then(|| {
            Reply::new(200)
                .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .body(manifest.to_string())
        })
    });
    let reference = server.reference("some/image:latest");
    let told = Told::new::<D>(&setup(Login::Password), Verb::Pull, &reference, &layout);
    (told, server)
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// CVE-2024-3727: what is no digest is part of no URL and no path.
fn a_digest_that_is_a_path<D: Driver>() {
    for digest in [
        "sha256:../../../../etc/passwd",
        "sha256:a/../../../other/repository/blobs/sha256:b",
        "../../..",
        "sha256:",
        "sha256:0?x=1#y",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let layer = serde_json::json!({"mediaType": LAYER, "digest": digest, "size": 5});
        let (told, server) = with_layer::<D>(layer);
        told.failed(ErrorKind::Refused);
        let blobs = server.requests().into_iter();
        let blobs = blobs.filter(|it| it.path().contains("/blobs/") || it.path().contains(".."));
        assert_eq!(blobs.count(), 0, "{digest}");
    }
}

/// CVE-2025-24882: the caller's digest is compared with the bytes, whatever the registry says of them.
fn a_pinned_digest_is_compared<D: Driver>() {
    let (other, another) = Layout::with_image(1, 3000, 16);
    let bytes = other.read(&another.manifest.digest);
    let (server, layout, image) = registry(Login::Password, move |request, image| {
        request.path().contains("/manifests/").then(|| {
            Reply::new(200)
                .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .header("Docker-Content-Digest", &image.manifest.digest)
                .body(bytes.clone())
        })
    });
    let pinned = format!("some/image@{}", image.manifest.digest);
    let reference = server.reference(&pinned);
    let told = Told::new::<D>(&setup(Login::Password), Verb::Pull, &reference, &layout);
    told.failed(ErrorKind::Mismatch);
    let client = D::new(&setup(Login::Password));
    let to = server.reference("some/copy:v1");
    let copied = client.finish(Ask::copy(&reference, &to));
    assert_eq!(copied.unwrap_err().first().kind(), ErrorKind::Mismatch);
}

/// GHSA-f36w-mj3v-6jqv: nothing is allocated because a descriptor says so.
fn a_size_beyond_all_memory<D: Driver>() {
    let digest = digest(b"whatever");
    for size in [u64::MAX, i64::MAX as u64, 1 << 60] {
        let layer = serde_json::json!({"mediaType": LAYER, "digest": digest, "size": size});
        let (told, _) = with_layer::<D>(layer);
        assert!(told.result.is_err(), "{size}");
    }
}

/// CVE-2021-41190: a manifest that is an index as well.
fn a_document_that_is_two_things<D: Driver>() {
    for (content_type, media_type) in [
        ("application/vnd.oci.image.manifest.v1+json", None),
        ("application/vnd.oci.image.index.v1+json", None),
        (
            "application/vnd.oci.image.index.v1+json",
            Some("application/vnd.oci.image.manifest.v1+json"),
        ),
    ] {
        let (server, layout, _) = registry(Login::Password, move |request, image| {
            let mut document = serde_json::json!({
                "schemaVersion": 2,
                "config": image.config.descriptor(),
                "layers": [],
                "manifests": [image.manifest.descriptor()],
            });
            if let Some(media_type) = media_type {
                document["mediaType"] = media_type.into();
            }
            request.path().ends_with("/manifests/latest").then(|| {
                Reply::new(200)
                    .header("Content-Type", content_type)
                    .body(document.to_string())
            })
        });
        let reference = server.reference("some/image:latest");
        let told = Told::new::<D>(&setup(Login::Password), Verb::Pull, &reference, &layout);
        told.failed(ErrorKind::Refused);
    }
}
