//! Servers that repeat the request's credentials, and credentials that were typed where they do not
//! belong: nothing of them is printed or recorded.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use windlass_tests::command::{DONE, Outcome, Windlass};
use windlass_tests::hostile::{Good, Hostile, Reply, Request};
use windlass_tests::images::{Image, Layout};

const USER: &str = "alice";
const PASSWORD: &str = "correct/horse+battery";

/// The forms in which a credential may be repeated.
const FORMS: [fn(&Request) -> String; 4] = [
    |request| request.header("authorization").unwrap().to_owned(),
    |request| request.basic().unwrap().1,
    |request| {
        request
            .basic()
            .unwrap()
            .1
            .replace('/', "%2F")
            .replace('+', "%2B")
    },
    |request| STANDARD.encode(request.basic().unwrap().1),
];

/// A registry that wants a password, and where `answer` may answer who has it.
struct Registry {
    server: Hostile,
    layout: Layout,
    image: Image,
    out: Layout,
}

impl Registry {
    fn new(answer: impl Fn(&Request, &Reply) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let (layout, image) = Layout::with_image(1, 3000, 7);
        let good = Arc::new(Good::serving(&layout, &image));
        let server = Hostile::start(move |request| {
            if request.basic().is_none() {
                return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\"");
            }
            let usual = good.answer(request);
            answer(request, &usual).unwrap_or(usual)
        });
        Self {
            server,
            layout,
            image,
            out: Layout::absent(),
        }
    }

    /// Runs a verb with everything that shows or records something, and looks for the password.
    fn tells_nothing(&self, verb: &str, what: &str) -> Outcome {
        let reference = self.server.reference("some/image:latest");
        let words = match verb {
            "digest" => vec!["digest".to_owned(), reference],
            "pull" => vec!["pull".to_owned(), reference, self.out.oci()],
            _ => vec![
                "push".to_owned(),
                self.layout.oci_named("latest"),
                reference,
            ],
        };
        let folder = tempfile::tempdir().unwrap();
        let tape = folder.path().join("tape");
        let done = Windlass::new(words)
            .args(["--json", "--trace", "--tape"])
            .args([&tape])
            .user(USER, PASSWORD)
            .retries(0)
            .run();
        let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let tape = std::fs::read_to_string(&tape).unwrap();
        let quoted = PASSWORD.replace('/', "%2F");
        for secret in [PASSWORD, &pair, &quoted, &STANDARD.encode(PASSWORD)] {
            for text in [&done.stdout, &done.stderr, &tape] {
                assert!(!text.contains(secret), "{what}: {secret} is in {text}");
            }
        }
        assert!(!done.stderr.contains("panicked"), "{what}: {done}");
        done
    }
}

const HEADERS: [&str; 16] = [
    "Content-Type",
    "Content-Encoding",
    "Content-Range",
    "Range",
    "Location",
    "Link",
    "WWW-Authenticate",
    "Retry-After",
    "Date",
    "Warning",
    "Accept-Ranges",
    "Docker-Content-Digest",
    "OCI-Chunk-Min-Length",
    "OCI-Subject",
    "OCI-Filters-Applied",
    "X-Debug",
];

#[test]
fn no_header_of_a_good_answer_gives_a_password_away() {
    for (at, header) in HEADERS.iter().enumerate() {
        let form = FORMS[at % FORMS.len()];
        let registry =
            Registry::new(move |request, usual| Some(usual.clone().header(header, form(request))));
        for verb in ["digest", "pull", "push"] {
            registry.tells_nothing(verb, &format!("{header} of what {verb} asks for"));
        }
    }
}

#[test]
fn no_header_of_a_refusal_gives_a_password_away() {
    for (at, header) in HEADERS.iter().enumerate() {
        let form = FORMS[(at + 1) % FORMS.len()];
        for status in [206, 307, 401, 403, 404, 429] {
            let registry = Registry::new(move |request, _| {
                let is_last = request.path().contains("/blobs/") || request.method == "HEAD";
                let is_last = is_last || request.target.ends_with("/manifests/latest");
                is_last.then(|| {
                    let value = format!("{}{}", ["", "/", "299 - \""][at % 3], form(request));
                    Reply::new(status).header(header, value)
                })
            });
            let verb = ["digest", "pull", "push"][(at + usize::from(status)) % 3];
            registry.tells_nothing(verb, &format!("{header} of {status} to {verb}"));
        }
    }
}

/// An address with a signature of its own is followed as it is, also if the password is in its query.
#[test]
fn an_address_works_whatever_is_in_its_query() {
    let registry = Registry::new(|request, _| {
        let is_blob = request.method == "GET" && request.path().contains("/blobs/");
        (is_blob && request.query("sig").is_none()).then(|| {
            let target = format!("{}?sig={}", request.path(), FORMS[2](request));
            Reply::new(307).header("Location", target)
        })
    });
    let done = registry.tells_nothing("pull", "a signed address");
    done.ended_with(DONE);
    registry.out.check_holds_exactly(registry.image.all());
    let signed = registry.server.requests().into_iter();
    let signed = signed.filter(|it| it.query("sig") == Some("correct%2Fhorse%2Bbattery"));
    assert_eq!(signed.count(), 2, "a configuration and a layer");
}

/// What is typed into a reference is refused without repeating it.
#[test]
fn a_login_that_was_typed_is_not_repeated() {
    let pw = "s3cret-pass";
    let layout = Layout::absent();
    for words in [
        vec!["digest", "https://alice:PW@reg.example/x:v1"],
        vec!["digest", "alice:PW@reg.example/x:v1"],
        vec!["digest", "docker://alice:PW@reg.example/x"],
        vec!["digest", "PW@reg.example/x"],
        vec!["digest", "https://reg.example/x?token=PW"],
        vec!["pull", "http://PW@reg.example/x", "OCI"],
        vec![
            "pull",
            "reg.example/x",
            "oci:https://alice:PW@reg.example/x",
        ],
        vec!["push", "https://alice:PW@reg.example/x", "reg.example/x"],
        vec!["push", "OCI", "alice:PW@reg.example:5000/x"],
        vec!["copy", "alice:PW@a.example/x", "alice:PW@b.example/x"],
        vec!["digest", "reg.example/x", "https://alice:PW@reg.example/x"],
        vec!["https://alice:PW@reg.example/x"],
        vec!["--tls=https://alice:PW@reg.example", "digest", "x"],
        vec!["--plain-http=alice:PW@reg.example", "digest", "x"],
        vec![
            "--trust-realm",
            "a=https://alice:PW@b.example/t",
            "digest",
            "x",
        ],
        vec!["--trust-realm", "https://alice:PW@b.example", "digest", "x"],
        vec!["--jobs", "https://alice:PW@b.example", "digest", "x"],
        vec!["--mirror=https://alice:PW@b.example", "digest", "x"],
        vec!["--tape", "https://alice:PW@b.example/t", "digest", "x"],
        vec!["--ca-cert=https://alice:PW@b.example/ca.pem", "digest", "x"],
        vec!["replay", "https://alice:PW@b.example/t"],
        vec!["pull", "--platform", "alice:PW@b.example/t", "x", "OCI"],
    ] {
        let oci = layout.oci();
        let words = words.iter().map(|word| match *word {
            "OCI" => oci.clone(),
            word => word.replace("PW", pw),
        });
        let done = Windlass::new(words).run();
        done.ended_with(2).tells_nobody(&[pw]);
    }
}
