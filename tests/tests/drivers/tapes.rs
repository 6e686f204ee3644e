//! Tapes: recordings replay, hold no secret, and are refused when damaged.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use windlass_core::tape::{ReplayError, replay};
use windlass_core::{Algorithm, Descriptor, Digest};
use windlass_driver::{Artifact, Attach, Part, RequestSpec};
use windlass_testbed::{Auth, Bearer, Model, Options, User};
use windlass_tests::command::{DONE, REFUSED, USAGE, Windlass};
use windlass_tests::drivers::{Ask, Driver, Faults, PASSWORD, Setup, Shelf, Watch, Ways, serve};
use windlass_tests::family::Family;
use windlass_tests::hostile::{Hostile, Reply, Request};
use windlass_tests::images::{Image, Layout, gzip};
use windlass_tests::proxy::{Fault, Proxy};
use windlass_tests::registry::{Registry, Setup as Registries, Version};
use windlass_tests::tapes;
use windlass_tests::tokens::{DistributionTokens, LEEWAY, Tokens};
use windlass_tests::world::scenes::{digest, one_at_a_time, open, pull, pulling, reference, small};
use windlass_tests::{needs, through_both, wait_for};

/// The committed tapes replay to their transcripts. After an intended change,
/// `cargo run -p windlass-tests --bin adopt` updates these; `tests/run --record` records the tapes of
/// real registries again.
#[test]
fn committed_tapes_replay_to_their_transcripts() {
    let tapes = tapes::committed();
    assert!(tapes.len() >= 8, "{tapes:?}");
    let files = windlass_tests::files_below(&tapes::folder());
    assert_eq!(files.len(), 2 * tapes.len(), "a tape and a transcript each");
    for path in tapes {
        let tape = std::fs::read_to_string(&path).unwrap();
        assert_eq!(tapes::live_secret(&tape), None, "{}", path.display());
        let told = tapes::told(&tape).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = std::fs::read_to_string(tapes::transcript_of(&path)).unwrap();
        assert_eq!(told, expected, "{}", path.display());
    }
}

/// What `--trace` shows while it happens is what the tape says afterwards, line by line.
fn a_tape_says_what_the_observer_was_told<D: Driver>() {
    let image = windlass_testbed::image(&[vec![7; 300_000], b"small".to_vec()]);
    let mut model = Model::new(Options {
        auth: Auth::Bearer(Bearer {
            users: [("alice".into(), User::new(PASSWORD))].into(),
            anonymous_pull: false,
            ..Bearer::default()
        }),
        ..Options::default()
    });
    model.put_image("team/app", Some("v1"), &image);
    let (server, _) = serve(model, Faults::default());
    let client = D::new(&Setup::new().alice());
    let shelf = Shelf::new();
    let watch = Watch::new();
    let [from, to, nowhere] = ["team/app:v1", "team/copy:v1", "team/app:none"]
        .map(|name| format!("{}/{name}", server.host()));
    client
        .run(Ask::pull(&from, &shelf.store).watched(&watch))
        .unwrap();
    client.run(Ask::copy(&from, &to).watched(&watch)).unwrap();
    client
        .resolve(Ask::resolve(&nowhere).watched(&watch))
        .unwrap_err();

    let tape = client.tape();
    let replay = replay(&tape);
    assert_eq!(replay.end, Ok(()));
    tapes::assert_tells(&replay.lines, &watch.lines());
    let last = replay.lines.last().unwrap();
    assert!(last.starts_with("task2 * failed: "), "{last}");
    for secret in [
        PASSWORD.to_owned(),
        STANDARD.encode(format!("alice:{PASSWORD}")),
    ] {
        assert!(!tape.contains(&secret), "{tape}");
    }
}

/// The hash over each blob that was sent comes home in the result of its request.
fn what_was_sent_is_hashed_once<D: Driver>() {
    let image = windlass_testbed::image(&[vec![7; 300_000], b"small".to_vec()]);
    let mut model = Model::new(Options::default());
    model.put_image("team/app", Some("v1"), &image);
    let (server, _) = serve(model, Faults::default());
    let client = D::new(&Setup::new());
    let shelf = Shelf::new();
    let [from, to] =
        ["team/app:v1", "other/app:v1"].map(|name| format!("{}/{name}", server.host()));
    // Another client, since one that has pulled the blobs would have them mounted.
    let other = D::new(&Setup::new());
    other.run(Ask::pull(&from, &shelf.store)).unwrap();
    client.run(Ask::push(&shelf.store, &to)).unwrap();
    let tape = client.tape();
    for blob in std::iter::once(&image.config).chain(&image.layers) {
        let (len, digest) = (blob.len(), Digest::of(Algorithm::Sha256, blob));
        let hashed = format!(r#""hashed":{{"len":{len},"digest":"{digest}"}}"#);
        assert_eq!(tape.matches(&hashed).count(), 1, "{hashed} in {tape}");
    }
    assert_eq!(replay(&tape).end, Ok(()));
}

/// Every request that a registry got is on the tape, in a replay that comes to its end: of lists, deletions,
/// referrers and their lists, and readers.
fn every_request_is_on_the_tape<D: Driver>() {
    let family = Family::default();
    let mut model = Model::new(Options {
        referrers_api: false,
        ..Options::default()
    });
    family.put(&mut model, "a/b");
    model.put_image("a/b", Some("v2"), &family.images[0]);
    let layer = gzip(&[7; 100_000]);
    model.put_blob("a/b", layer.clone());
    let (server, _) = serve(model, Faults::default());
    let client = D::new(&Setup::new());
    let repository = format!("{}/a/b", server.host());
    let at = reference(&repository);
    let [v1, v2] = ["v1", "v2"].map(|tag| reference(&format!("{repository}:{tag}")));
    let last = family.referrers.last().unwrap();
    let last = reference(&format!("{repository}@{}", last.digest()));
    let ask = |spec| drop(client.finish(Ask::other(spec)).unwrap());
    ask(RequestSpec::tags(&at));
    ask(RequestSpec::catalog(at.registry()));
    assert!(client.pages(&at, 1).len() > 1);
    let artifact = Artifact::new("a/new").layer(Part::new("text/plain", &b"new"[..]));
    let attach = Attach::new(&v1, artifact);
    client.follow(attach, Ways::default()).unwrap();
    ask(RequestSpec::referrers(&v1, None));
    ask(RequestSpec::delete_manifest(&last));
    ask(RequestSpec::delete(&v2));

    let blob = Descriptor::new("x", digest(&layer), layer.len() as u64);
    let read = |mut reader: Box<dyn Read + '_>| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes.len()
    };
    assert_eq!(read(client.reader(&repository, &blob)), layer.len());
    assert_eq!(read(client.decompressed(&repository, &blob, None)), 100_000);
    assert_eq!(read(client.unverified(&repository, &blob, 10..90)), 80);
    assert_eq!(
        client
            .range(&repository, &blob, 10..90)
            .unwrap()
            .bytes
            .len(),
        80
    );

    let replay = replay(&client.tape());
    assert_eq!(replay.end, Ok(()));
    // Where an upload goes on is a secret of the registry's.
    let of_upload = |path: &str| match path.split_once("/uploads/") {
        Some((path, _)) => format!("{path}/uploads/"),
        None => path.to_owned(),
    };
    let requests = replay.lines.iter().filter_map(|line| {
        let (_, request) = line.split_once(" > ")?;
        let (method, url) = request.split_once(" http://")?;
        let path = url.split(['?', ' ']).next().unwrap().split_once('/')?.1;
        Some(format!("{method} /{}", of_upload(path)))
    });
    let mut replayed: Vec<String> = requests.collect();
    let got = server.requests().into_iter().map(|entry| {
        let path = entry.target.split('?').next().unwrap();
        format!("{} {}", entry.method, of_upload(path))
    });
    let mut got: Vec<String> = got.collect();
    replayed.sort();
    got.sort();
    assert_eq!(replayed, got);
    for what in ["GET /v2/_catalog", "DELETE /v2/a/b/manifests/v2"] {
        assert!(got.iter().any(|it| it == what), "{what}: {got:#?}");
    }
}

through_both!(
    a_tape_says_what_the_observer_was_told,
    every_request_is_on_the_tape,
    what_was_sent_is_hashed_once
);

/// A tape of a small pull.
fn tape() -> String {
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &small());
    let task = world.start(pull(store));
    world.run(task).unwrap();
    world.run_all();
    world.tape()
}

/// Everything that a damaged tape can say that could not have happened is an error that says so.
#[test]
fn damaged_tapes() {
    let good = tape();
    assert_eq!(replay(&good).end, Ok(()));
    // (what is replaced, by what, what the error says)
    let table = [
        (
            r#"{"tape":2"#,
            r#"{"tape":3"#,
            "a tape of version 3, where 2 is known",
        ),
        (
            r#"{"tape":2"#,
            r#"{"tap":2"#,
            "line 1 is damaged: missing field `tape`",
        ),
        (
            r#""seed":1,"#,
            "",
            "line 1 is damaged: missing field `seed`",
        ),
        (r#""attempts":5"#, r#""attempts":-5"#, "line 1 is damaged"),
        (
            r#"{"start""#,
            r#"{"begin""#,
            "line 2 is damaged: unknown variant `begin`",
        ),
        (":v1", ":v 1", "line 2 is damaged: not a tag"),
        (
            r#"{"done":{"job":0,"#,
            r#"{"done":{"job":7,"#,
            "no such job is outside",
        ),
        (
            r#"{"http":{"status":200"#,
            r#"{"http":{"status":99"#,
            "invalid status",
        ),
        (
            r#"{"http":{"status":200"#,
            r#"{"http":{"status":"200""#,
            "invalid type",
        ),
        (
            r#"{"http":{"status":200,"#,
            r#"{"http":{"#,
            "the body is not one of such a request",
        ),
        (
            r#"["content-type""#,
            r#"["x-content-type""#,
            "invalid headers",
        ),
        (
            r#"["content-type""#,
            r#"["content type""#,
            "invalid headers",
        ),
        (
            r#""application/vnd"#,
            r#""\napplication/vnd"#,
            "invalid headers",
        ),
        (r#"{"collected":"#, r#"{"stored":"#, "line 5 is damaged"),
        (
            r#"{"store":{"Ok":{"extents":[]}}}"#,
            r#"{"store":{"Ok":"written"}}"#,
            "not one of such a step",
        ),
        (
            r#"{"store":{"Ok":{"extents":[]}}}"#,
            r#"{"credentials":"none"}"#,
            "not one of such a job",
        ),
        (
            r#"{"store":{"Ok":{"extents":[]}}}"#,
            r#"{"store":{"Ok":{"extents":[0]}}}"#,
            "invalid type",
        ),
        (
            r#""from":0"#,
            r#""from":1"#,
            "the body is not one of such a request",
        ),
        (
            r#""to":225,"range_end":225"#,
            r#""to":225,"range_end":226"#,
            "the body is not one of such a request",
        ),
        (
            r#""hashing":{"len":225"#,
            r#""hashing":{"len":226"#,
            "the body is not one of such a request",
        ),
        (
            r#""digest":"sha256:8e86"#,
            r#""digest":"sha257:8e86"#,
            "a hash of an unknown algorithm",
        ),
        (
            r#"{"status":200,"headers":[["content-type","application/octet"#,
            r#"{"status":404,"headers":[["content-type","application/octet"#,
            "the body is not one of such a request",
        ),
    ];
    for (before, after, expected) in table {
        assert!(good.contains(before), "{before} is not in {good}");
        let damaged = good.replacen(before, after, 1);
        let error = replay(&damaged).end.expect_err(after).to_string();
        assert!(error.contains(expected), "{before} as {after}: {error}");
    }
    for (text, line) in [
        ("", 1),
        ("\n", 1),
        ("no tape\n", 1),
        (&format!("{good}\n"), 0),
    ] {
        let error = replay(text).end.unwrap_err();
        assert!(
            matches!(error, ReplayError::Damaged { line: found, .. } if line == 0 || found == line),
            "{text}: {error}"
        );
    }
}

/// Unrequested bytes, and violations that are impossible for the job.
#[test]
fn ends_that_could_not_have_been() {
    let good = tape();
    let document = good
        .lines()
        .find(|line| line.contains("schemaVersion"))
        .unwrap();
    let at = document.find(r#","body""#).unwrap();
    let with = |rest: &str| good.replace(document, &format!("{}{rest}}}}}}}}}", &document[..at]));
    let hash = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let stored = format!(
        r#","body":{{"stored":{{"hashing":{{"len":2,"digest":"{hash}"}},"from":0,"to":2,"range_end":2}}}}"#
    );
    let hashed = format!(r#","hashed":{{"len":2,"digest":"{hash}"}}"#);
    let table = [
        (stored.as_str(), "the body is not one of such a request"),
        (hashed.as_str(), "more was sent than the request has"),
        (
            r#","flaw":{"toolong":{"expected":1}}"#,
            "more was expected than the blob has",
        ),
    ];
    for (end, expected) in table {
        let error = replay(&with(end)).end.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Cut anywhere, a tape is one that ends early or is refused; with any byte changed, it is replayed
/// or refused.
#[test]
fn a_tape_that_is_cut_or_scratched_never_panics() {
    let good = tape();
    let whole = replay(&good).lines;
    for end in (0..good.len()).step_by(23) {
        let replay = replay(&good[..end]);
        assert!(whole.starts_with(&replay.lines));
        let is_header = !good[..end].contains('\n');
        assert_eq!(replay.end.is_err(), is_header, "{end}: {:?}", replay.end);
    }
    for (n, at) in (0..good.len()).step_by(7).enumerate() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = b"0\"{}:x9-"[n % 8];
        let _ = replay(&String::from_utf8(bytes).unwrap());
    }
}

/// A diverging replay names the first request that differs, and shows what came before.
#[test]
fn a_tape_that_diverges_names_the_request() {
    let good = tape();
    let other = good.replacen("#4 > GET", "#4 > POST", 1);
    let replay = replay(&other);
    let ReplayError::Diverged {
        expected, found, ..
    } = replay.end.unwrap_err()
    else {
        panic!("it diverges");
    };
    let rest = "https://reg.example/v2/a/b/blobs/sha256:";
    assert!(
        expected.starts_with(&format!("`#4 > POST {rest}")),
        "{expected}"
    );
    assert!(found.starts_with(&format!("`#4 > GET {rest}")), "{found}");
    assert_eq!(replay.lines.last().unwrap(), "#1 < store: partial 0");
    // As a regression test it says so in its last line.
    let told = tapes::told(&other).unwrap();
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("! line 12 diverges: "), "{last}");
    // Other words in an error are no divergence.
    let failing = good.replacen("* finished", "* failed: finished", 1);
    assert!(matches!(
        windlass_core::tape::replay(&failing).end,
        Err(ReplayError::Diverged { .. })
    ));
}

/// What is no tape of windlass' own making is not committed.
#[test]
fn a_tape_with_a_secret_is_not_adopted() {
    let line = |end: &str| format!("{{\"done\":{{\"job\":0,\"at\":0,\"end\":{end}}}}}\n");
    let table = [
        (
            r#"{"credentials":{"basic":{"username":"user-1","password":"secret-2"}}}"#,
            None,
        ),
        (
            r#"{"credentials":{"basic":{"username":"user-1","password":"hunter2"}}}"#,
            Some("a credential"),
        ),
        (
            r#"{"credentials":{"basic":{"username":"alice","password":"secret-2"}}}"#,
            Some("a credential"),
        ),
        (r#"{"credentials":{"bearer":"ey"}}"#, Some("a credential")),
        (r#"{"http":{"headers":[["location","/a?secret-1"]]}}"#, None),
        (
            r#"{"http":{"headers":[["location","/a?secret-1&digest=sha256:0"]]}}"#,
            None,
        ),
        (
            r#"{"http":{"headers":[["location","/a?_state=x"]]}}"#,
            Some("a Location"),
        ),
        (
            r#"{"http":{"body":{"collected":{"bytes":"{\"token\":\"secret-1--\"}"}}}}"#,
            None,
        ),
        (
            r#"{"http":{"body":{"collected":{"bytes":"{\"token\":\"ey\"}"}}}}"#,
            Some("a token"),
        ),
    ];
    for (end, expected) in table {
        let found = tapes::live_secret(&line(end));
        match expected {
            Some(expected) => assert!(found.clone().unwrap().contains(expected), "{end} {found:?}"),
            None => assert_eq!(found, None, "{end}"),
        }
    }
    let refused = [
        (tape(), "../x", "make a name"),
        (tape(), "", "make a name"),
        ("no tape\n".to_owned(), "x", "line 1 is damaged"),
        (line(table[1].0), "x", "it has a secret on it"),
    ];
    for (tape, name, why) in refused {
        let error = tapes::adopt(&tape, name).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

const TOKEN: &str = "header.payload+of/alice.signature~0123456789";
const REFRESH: &str = "a-refresh-token-that-nobody-asked-for";
const SIGNATURE: &str = "0123456789abcdef0123456789abcdef";
const ODD: &str = "pass word/\"with\" 100% of it+more";

/// Everything that must not be on a tape, in every form.
fn secrets() -> Vec<String> {
    let percent = |text: &str, upper: bool| {
        let encode = |byte: u8| match byte {
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        };
        text.bytes().map(encode).collect::<String>()
    };
    let mut forms = vec![STANDARD.encode(format!("alice:{ODD}"))];
    for secret in [TOKEN, REFRESH, SIGNATURE, ODD] {
        forms.push(secret.to_owned());
        forms.push(STANDARD.encode(secret));
        forms.push(STANDARD.encode(secret).trim_end_matches('=').to_owned());
        forms.push(URL_SAFE_NO_PAD.encode(secret));
        forms.push(percent(secret, true));
        forms.push(percent(secret, false));
        forms.push(json!(secret).to_string().trim_matches('"').to_owned());
    }
    forms
}

/// An echoing server's response: everything that it received, and all that it sent to this client.
fn echo(request: &Request) -> String {
    let Some(authorization) = request.header("authorization") else {
        return format!("{SIGNATURE} {}", request.target);
    };
    let (scheme, secret) = authorization.split_once(' ').unwrap();
    let given = match scheme {
        "Bearer" => format!("{TOKEN} {REFRESH} {}", STANDARD.encode(REFRESH)),
        _ => request.basic().unwrap().1,
    };
    let coded = STANDARD.encode(secret);
    format!(
        "{authorization} {coded} {given} {ODD} {SIGNATURE} {}",
        request.target
    )
}

type Last = fn(&Request) -> Reply;

/// Pulls from a server that wants a token, redirects the blob with a signature, and answers what
/// comes after that with `manifest`, `token` or `storage`.
fn recorded_from(manifest: Option<Last>, token: Option<Last>, storage: Last) -> (String, String) {
    let (layout, image) = Layout::with_image(1, 3000, 5);
    let document = layout.read(&image.manifest.digest);
    let server = Hostile::start(move |request| {
        let host = request.header("host").unwrap();
        let is_in = request.header("authorization") == Some(&format!("Bearer {TOKEN}"));
        match request.path() {
            "/token" => match token {
                Some(token) => token(request),
                None => Reply::new(200)
                    .header("Content-Type", "application/json")
                    .body(json!({"token": TOKEN, "refresh_token": REFRESH}).to_string()),
            },
            "/storage" => storage(request),
            _ if !is_in => {
                let realm = format!("http://{host}/token?key={SIGNATURE}");
                Reply::error(401, "UNAUTHORIZED", &echo(request)).header(
                    "WWW-Authenticate",
                    format!("Bearer realm=\"{realm}\",service=\"s\",error=\"{SIGNATURE}\""),
                )
            }
            path if path.contains("/manifests/") => match manifest {
                Some(manifest) => manifest(request),
                None => Reply::new(200)
                    .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .body(document.clone()),
            },
            _ => Reply::new(307).header(
                "Location",
                format!("/storage?X-Signature={SIGNATURE}#{TOKEN}"),
            ),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tape");
    let out = Layout::absent();
    let words = ["pull", &server.reference("a:v1"), &out.oci()];
    let command = Windlass::new(words).args(["--tape".as_ref(), file.as_os_str()]);
    let done = command.user("alice", ODD).retries(0).run();
    (std::fs::read_to_string(&file).unwrap(), done.stderr)
}

/// Servers that say what they were told, in bodies, headers and addresses: nothing of it is on the
/// tape, and the tape replays.
#[test]
fn what_servers_echo_is_not_on_the_tape() {
    let good: Last = |_| Reply::new(404);
    let as_json: Last = |request| Reply::error(403, "DENIED", &echo(request));
    let as_text: Last = |request| Reply::new(400).body(echo(request));
    let as_page: Last = |request| Reply::new(400).body(format!("<Error>{}</Error>", echo(request)));
    let in_unicode: Last = |request| {
        let message: String = echo(request)
            .chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect();
        Reply::new(403).body(format!(
            r#"{{"errors":[{{"code":"DENIED","message":"{message}"}}]}}"#
        ))
    };
    let in_headers: Last = |request| {
        Reply::new(404)
            .header("Content-Type", echo(request))
            .header("Warning", format!("299 - \"{}\"", TOKEN))
            .header("Docker-Content-Digest", format!("sha256:{SIGNATURE}"))
            .header("X-Echo", echo(request))
    };
    let in_location: Last = |request| {
        let place = format!(
            "/storage/{TOKEN}/{SIGNATURE}?x={}",
            STANDARD.encode(echo(request))
        );
        Reply::new(307).header("Location", place)
    };
    let with_user: Last =
        |_| Reply::new(307).header("Location", format!("http://alice:{TOKEN}@127.0.0.1/"));
    let as_token: Last = |request| {
        let body = json!({"token": format!("{TOKEN}\n"), "message": echo(request)});
        Reply::new(200).body(body.to_string())
    };
    let as_no_token: Last = |request| Reply::new(200).body(echo(request));
    let tapes = [
        ("nothing", recorded_from(None, None, good)),
        ("json", recorded_from(Some(as_json), None, good)),
        ("text", recorded_from(Some(as_text), None, good)),
        ("page", recorded_from(Some(as_page), None, good)),
        ("unicode", recorded_from(Some(in_unicode), None, good)),
        ("headers", recorded_from(Some(in_headers), None, good)),
        ("location", recorded_from(Some(in_location), None, good)),
        ("user", recorded_from(Some(with_user), None, good)),
        ("storage", recorded_from(None, None, as_json)),
        ("storage's headers", recorded_from(None, None, in_headers)),
        ("token service", recorded_from(None, Some(as_json), good)),
        (
            "token service's text",
            recorded_from(None, Some(as_text), good),
        ),
        ("token", recorded_from(None, Some(as_token), good)),
        ("no token", recorded_from(None, Some(as_no_token), good)),
    ];
    for (what, (tape, said)) in tapes {
        for secret in secrets() {
            assert!(!tape.contains(&secret), "{what}: {secret} is in {tape}");
        }
        let replay = replay(&tape);
        assert_eq!(replay.end, Ok(()), "{what}: {tape}");
        assert!(
            replay.lines.last().unwrap().contains("* failed: "),
            "{what}: {tape}"
        );
        assert!(!said.contains("is incomplete"), "{what}: {said}");
    }
}

/// A manifest cannot be changed and stay what its digest says: one with a secret in it is left out,
/// the tape ends there, and the command says so.
#[test]
fn a_manifest_with_a_secret_ends_the_tape() {
    let manifest: Last = |_| {
        let document = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
            "annotations": { "said": TOKEN },
        });
        Reply::new(200)
            .header("Content-Type", "application/vnd.oci.image.index.v1+json")
            .body(document.to_string())
    };
    let (tape, said) = recorded_from(Some(manifest), None, |_| Reply::new(404));
    for secret in secrets() {
        assert!(!tape.contains(&secret), "{secret} is in {tape}");
    }
    let error = replay(&tape).end.unwrap_err();
    assert!(matches!(error, ReplayError::Broken { .. }), "{error}");
    assert!(
        said.contains("is incomplete: a manifest has a secret in it"),
        "{said}"
    );
}

/// A tape goes to a regular file of the user's, which is looked at before it is replaced.
#[test]
fn a_tape_that_cannot_be_made() {
    for path in ["/dev/null", "/nowhere/tape", "/"] {
        let done = Windlass::new(["demo", "--tape", path]).run();
        done.failed(USAGE, &format!("cannot write the tape {path}: "));
    }
}

/// The command on both sides of a tape.
#[test]
fn a_tape_of_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tape");
    let tape = file.to_str().unwrap();
    let traced = Windlass::new(["demo", "--trace", "--tape", tape]).run();
    traced.ended_with(DONE);
    let replayed = Windlass::new(["replay", tape]).run();
    replayed.ended_with(DONE);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    tapes::assert_tells(&lines(&replayed.stdout), &lines(&traced.stderr));
    assert!(replayed.stderr.is_empty());
    let json = Windlass::new(["replay", "--json", tape]).run();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let lines = json["lines"].as_array().unwrap();
    assert_eq!(lines.len(), replayed.stdout.lines().count());

    let text = std::fs::read_to_string(&file).unwrap();
    let other = text
        .replacen(r#""windlass":""#, r#""windlass":"9"#, 1)
        .replacen("> PUT http", "> PATCH http", 1);
    std::fs::write(&file, other).unwrap();
    let diverged = Windlass::new(["replay", tape]).run();
    diverged.ended_with(REFUSED);
    assert!(replayed.stdout.starts_with(&diverged.stdout));
    assert!(
        diverged
            .stderr
            .contains("diverges: on the tape there was `#"),
        "{diverged}"
    );
    assert!(
        diverged.stderr.contains(" > PATCH http://127.0.0.1:"),
        "{diverged}"
    );
    assert!(
        diverged
            .stderr
            .contains("hint: the tape was made by windlass 9"),
        "{diverged}"
    );

    std::fs::write(&file, text.replace(r#"{"poll""#, r#"{"pull""#)).unwrap();
    let damaged = Windlass::new(["replay", tape]).run();
    damaged.failed(USAGE, "is not a tape: line ");
    let missing = Windlass::new(["replay", "/nowhere/tape"]).run();
    missing.failed(USAGE, "cannot read /nowhere/tape");
    let both = Windlass::new(["replay", tape, "--tape", "x"]).run();
    both.failed(USAGE, "--tape cannot be used with replay");
}

const USER: &str = "alice";
const WORD: &str = "correct horse battery staple";

/// Runs a command with a tape, compares what it showed with what the tape says, and keeps the tape.
fn scene(folder: &Path, name: &str, command: Windlass) {
    let file = folder.join(format!("{name}.tape"));
    let command = command.args(["--trace".as_ref(), "--tape".as_ref(), file.as_os_str()]);
    let done = command.run();
    done.digest();
    let tape = std::fs::read_to_string(&file).unwrap();
    assert_eq!(tapes::live_secret(&tape), None, "{name}");
    for secret in [WORD.to_owned(), STANDARD.encode(format!("{USER}:{WORD}"))] {
        assert!(!tape.contains(&secret), "{name}: {tape}");
    }
    let is_transcript = |line: &&str| line.starts_with('#') || line.starts_with("task");
    let shown = done.stderr.lines().filter(is_transcript);
    let shown: Vec<_> = shown.map(str::to_owned).collect();
    let replay = replay(&tape);
    assert_eq!(replay.end, Ok(()), "{name}");
    tapes::assert_tells(&replay.lines, &shown);
    tapes::write_transcript(&file).unwrap();
}

/// The scenes that are recorded with real registries: each way in and each direction, and what goes
/// wrong on the way.
fn scenes(folder: &Path) {
    let (layout, image) = Layout::with_image(3, 100_000, 1);
    let from = layout.oci_named("latest");
    for version in Version::ALL {
        let named = |what: &str| match version {
            Version::Debian => format!("debian-{what}"),
            Version::V3 => format!("v3-{what}"),
        };
        let open = Registries::new(version).start();
        let at = |name: &str| open.reference(name);
        let push = || Windlass::new(["push", &from, &at("a:v1")]).jobs(2);
        scene(folder, &named("push-open"), push());
        scene(folder, &named("push-again"), push());
        let out = Layout::absent();
        let pull = Windlass::new(["pull", &at("a:v1"), &out.oci()]);
        scene(folder, &named("pull-open"), pull.jobs(2));
        let copy = Windlass::new(["copy", &at("a:v1"), &at("b:v2")]);
        scene(folder, &named("copy-within"), copy.jobs(2));

        let basic = Registries::new(version).basic(USER, WORD).start();
        basic.seed(&layout, &image, "a", "v1");
        let out = Layout::absent();
        let pull = Windlass::new(["pull", &basic.reference("a:v1"), &out.oci()]);
        scene(folder, &named("pull-basic"), pull.jobs(2).user(USER, WORD));
    }
    bearer_scenes(folder, &layout);
    broken_scenes(folder);
}

fn bearer_scenes(folder: &Path, layout: &Layout) {
    let from = layout.oci_named("latest");
    let push = |to: &str| Windlass::new(["push", &from, to]).user(USER, WORD);
    let tokens = DistributionTokens::start(USER, WORD);
    let registry = Registries::new(Version::Debian).tokens(&tokens).start();
    let to = registry.reference("alice/a:v1");
    scene(folder, "debian-push-bearer", push(&to).jobs(2));

    // A token that the registry refuses between POST and PUT, see `real_registry.rs`.
    let tokens = Tokens::for_user(USER, WORD);
    let registry = Registries::new(Version::V3).tokens(&tokens).start();
    let proxy = Proxy::to(&registry.host());
    tokens.behave_once(|b| {
        b.expires_in = Some(3600);
        b.lives = 10 - LEEWAY;
    });
    proxy.hold("PUT /", Duration::from_secs(13));
    let to = format!("{}/a:v1", proxy.host());
    scene(folder, "v3-push-expired-token", push(&to).jobs(1));
}

/// One layer that is large enough to be cut and killed in the middle of.
fn broken_scenes(folder: &Path) {
    let size = 8 << 20;
    let (layout, image) = Layout::with_image(1, size, 2);
    let seeded = |version| {
        let registry: Registry = Registries::new(version).start();
        registry.seed(&layout, &image, "a", "v1");
        let proxy = Proxy::to(&registry.host());
        (registry, proxy)
    };
    let (_registry, proxy) = seeded(Version::V3);
    proxy.after_down(5 << 20, Fault::Cut);
    let out = Layout::absent();
    let reference = format!("{}/a:v1", proxy.host());
    let words = ["pull", &reference, &out.oci()];
    scene(folder, "v3-pull-cut", Windlass::new(words).jobs(1));
    check_resumed(folder, "v3-pull-cut", &image);

    let (registry, proxy) = seeded(Version::Debian);
    proxy.after_down(5 << 20, Fault::Stall);
    let out = Layout::absent();
    let through = format!("{}/a:v1", proxy.host());
    let mut first = Windlass::new(["pull", &through, &out.oci()])
        .jobs(1)
        .spawn();
    wait_for("the stall", || proxy.down() >= 5 << 20);
    first.kill();
    let words = ["pull", &registry.reference("a:v1"), &out.oci()];
    let again = Windlass::new(words).jobs(1);
    scene(folder, "debian-pull-after-kill", again);
    check_resumed(folder, "debian-pull-after-kill", &image);
}

fn check_resumed(folder: &Path, name: &str, image: &Image) {
    let file = folder.join(format!("{name}.transcript"));
    let told = std::fs::read_to_string(file).unwrap();
    let layer = &image.layers[0];
    let range = |line: &str| line.contains(&layer.digest) && line.contains(" bytes=");
    assert!(told.lines().any(range), "{name}: {told}");
}

/// Sessions with real registries replay to what was shown while they happened.
#[test]
fn tapes_of_real_registries() {
    needs!("docker-registry", "registry", "token-server", "htpasswd");
    let folder = tempfile::tempdir().unwrap();
    scenes(folder.path());
}

/// Records the committed tapes again.
#[test]
#[ignore = "tests/run --record runs it"]
fn record_real_registries() {
    needs!("docker-registry", "registry", "token-server", "htpasswd");
    let folder = tapes::folder().join("real");
    for file in windlass_tests::files_below(&folder) {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    scenes(&folder);
}

/// A registry that refuses says so on the tape by its status and its code.
#[test]
fn a_refusal_is_on_the_tape() {
    let (tape, said) = recorded_from(
        Some(|_| Reply::error(403, "DENIED", "not yours")),
        None,
        |_| Reply::new(404),
    );
    let replay = replay(&tape);
    let last = replay.lines.last().unwrap();
    assert!(
        last.contains(": 403 ") && last.ends_with("(DENIED)"),
        "{last}"
    );
    assert!(said.contains("DENIED: not yours"), "{said}");
}
