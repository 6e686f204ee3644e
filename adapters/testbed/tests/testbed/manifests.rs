//! PULLM, PUSHM, DEL and the manifest part of conformance (8.5).

use http::Method;
use serde_json::{Value, json};
use windlass_testbed::{
    Deletes, Digest, OCI_INDEX, OCI_MANIFEST, Options, descriptor, image, image_for, index,
};

use crate::client::{Client, code, json, location, request};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

fn target(reference: impl core::fmt::Display) -> String {
    format!("/v2/team/app/manifests/{reference}")
}

fn push(client: &mut Client, reference: &str, document: &Value) -> (u16, Digest) {
    let bytes = document.to_string();
    let media_type = document["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
    let answer = client.put_manifest(&target(reference), media_type, bytes.as_bytes());
    (answer.status.as_u16(), Digest::sha256(bytes.as_bytes()))
}

/// A registry with the blobs `{}` and `layer`, and documents about them.
fn filled(options: Options) -> (Client, Value) {
    let mut client = Client::new(options);
    client.model.put_blob("team/app", "{}");
    client.model.put_blob("team/app", "layer");
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(EMPTY, b"{}"),
        "layers": [descriptor("application/x", b"layer")],
    });
    (client, document)
}

/// PUSHM-01, PULLM-01, PULLM-12, PULLM-19, PULLM-22.
#[test]
fn push_and_pull() {
    let (mut client, document) = filled(Options::default());
    // White space survives.
    let bytes = serde_json::to_string_pretty(&document).unwrap();
    let answer = client.put_manifest(&target("v1"), OCI_MANIFEST, bytes.as_bytes());
    let digest = Digest::sha256(bytes.as_bytes());
    assert_eq!(answer.status, 201);
    assert_eq!(location(&answer), target(&digest));
    assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));

    for reference in [target("v1"), target(&digest)] {
        let answer = client.get(&reference);
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (200, bytes.as_bytes())
        );
        assert_eq!(answer.field("content-type"), Some(OCI_MANIFEST));
        assert_eq!(answer.field("etag"), Some(format!("\"{digest}\"").as_str()));
        let answer = client.head(&reference);
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(
            answer.field("content-length"),
            Some(bytes.len().to_string().as_str())
        );
        assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
    }
    let known =
        request(Method::GET, &target("v1")).header("if-none-match", format!("\"{digest}\""));
    let answer = client.ask(known);
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
}

/// Malformed references: PUT 400, GET 400 or 404.
#[test]
fn unknown_and_malformed() {
    let (mut client, document) = filled(Options::default());
    let answer = client.get(&target("none"));
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (404, "MANIFEST_UNKNOWN")
    );
    assert_eq!(client.get(&target(Digest::sha256(b"none"))).status, 404);
    assert_eq!(client.get("/v2/nothing/manifests/v1").status, 404);
    assert_eq!(client.get(&target("sha256:baddigest")).status, 400);
    for bad in [
        "sha256:baddigest",
        ".tag",
        "-tag",
        &"t".repeat(129),
        "sha256:",
    ] {
        assert_eq!(push(&mut client, bad, &document).0, 400, "{bad}");
    }
    assert_eq!(push(&mut client, &"t".repeat(128), &document).0, 201);
    // PUSHB-22 for manifests: the content has another digest.
    let other = Digest::sha256(b"other").to_string();
    assert_eq!(push(&mut client, &other, &document).0, 400);
}

/// Plain, no layers, artifact, artifact without layers, inline data, custom fields, foreign layers.
#[test]
fn documents() {
    let (mut client, plain) = filled(Options::default());
    let changed = |key: &str, value: Value| {
        let mut document = plain.clone();
        document[key] = value;
        document
    };
    let mut inline = plain.clone();
    inline["config"]["data"] = "e30=".into();
    let mut foreign = plain.clone();
    let foreign_type = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    foreign["layers"] = json!([descriptor(foreign_type, b"elsewhere")]);
    for (name, document) in [
        ("plain", plain.clone()),
        ("no-layers", changed("layers", json!([]))),
        (
            "artifact",
            changed("artifactType", "application/x.test".into()),
        ),
        ("inline", inline),
        ("foreign", foreign),
        (
            "custom",
            changed("org.example.custom", json!({"a": [1, null]})),
        ),
        (
            "absent-subject",
            changed("subject", descriptor(OCI_MANIFEST, b"absent")),
        ),
        ("null-subject", changed("subject", Value::Null)),
    ] {
        assert_eq!(push(&mut client, name, &document).0, 201, "{name}");
    }
}

/// Index, nested, empty, sparse; with a subject.
#[test]
fn indexes() {
    let (mut client, document) = filled(Options::default());
    let (_, child) = push(&mut client, "child", &document);
    let child = json!({"mediaType": OCI_MANIFEST, "digest": child.as_str(), "size": 1});
    let of = |manifests: Value| json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    assert_eq!(push(&mut client, "empty", &of(json!([]))).0, 201);
    let (status, inner) = push(&mut client, "inner", &of(json!([child])));
    assert_eq!(status, 201);
    let nested = json!({"mediaType": OCI_INDEX, "digest": inner.as_str(), "size": 1});
    assert_eq!(push(&mut client, "nested", &of(json!([nested]))).0, 201);
    let sparse = of(json!([child, descriptor(OCI_MANIFEST, b"absent")]));
    assert_eq!(push(&mut client, "sparse", &sparse).0, 400);
    client.model.options_mut().sparse_indexes = true;
    assert_eq!(push(&mut client, "sparse", &sparse).0, 201);
}

/// PUSHM-06, PUSHM-13: one error per missing blob.
#[test]
fn missing_blobs() {
    let (mut client, mut document) = filled(Options::default());
    document["layers"] = json!([descriptor("x", b"one"), descriptor("x", b"two")]);
    let bytes = document.to_string();
    let answer = client.put_manifest(&target("v1"), OCI_MANIFEST, bytes.as_bytes());
    assert_eq!(answer.status, 400);
    let errors = json(&answer)["errors"].clone();
    let errors = errors.as_array().unwrap();
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[1]["code"], "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        errors[1]["detail"]["digest"],
        Digest::sha256(b"two").as_str()
    );
    assert_eq!(client.get(&target("v1")).status, 404);
}

/// PUSHM-02, PULLM-07, and what is no manifest at all.
#[test]
fn invalid_documents() {
    let (mut client, document) = filled(Options::default());
    let mut ambiguous = document.clone();
    ambiguous["manifests"] = json!([]);
    let mut no_digest = document.clone();
    no_digest["config"] = json!({"mediaType": EMPTY, "size": 2});
    let mut first = document.clone();
    first["schemaVersion"] = 1.into();
    for bad in [ambiguous, no_digest, first, json!([]), json!("x")] {
        assert_eq!(push(&mut client, "bad", &bad).0, 400, "{bad}");
    }
    assert_eq!(
        client
            .put_manifest(&target("bad"), OCI_MANIFEST, b"{")
            .status,
        400
    );
    let bytes = document.to_string();
    assert_eq!(
        client
            .put_manifest(&target("bad"), OCI_INDEX, bytes.as_bytes())
            .status,
        400
    );
    client
        .model
        .options_mut()
        .refused_types
        .insert(OCI_MANIFEST.to_owned());
    assert_eq!(push(&mut client, "bad", &document).0, 415);
}

/// PUSHM-08: 4 MiB and not a byte more.
#[test]
fn large() {
    let (mut client, mut document) = filled(Options::default());
    document["annotations"] = json!({"padding": ""});
    let room = 4 * 1024 * 1024 - document.to_string().len();
    document["annotations"]["padding"] = "x".repeat(room).into();
    assert_eq!(push(&mut client, "large", &document).0, 201);
    document["annotations"]["padding"] = "x".repeat(room + 1).into();
    assert_eq!(push(&mut client, "larger", &document).0, 413);
}

/// PUSHM-09, PUSHM-11: sha512, with tags in the same request.
#[test]
fn tags_in_one_request() {
    let (mut client, document) = filled(Options::default());
    let bytes = document.to_string();
    let digest = Digest::sha512(bytes.as_bytes());
    let put = format!("{}?tag=1.2&tag=latest", target(&digest));
    let answer = client.put_manifest(&put, OCI_MANIFEST, bytes.as_bytes());
    assert_eq!(answer.status, 201);
    let tags: Vec<_> = answer.headers.get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["1.2", "latest"]);
    let answer = client.get(&target("latest"));
    assert_eq!(answer.field("docker-content-digest"), Some(digest.as_str()));
    let many: String = (0..11).map(|i| format!("&tag=t{i}")).collect();
    let put = format!("{}?{many}", target(&digest));
    assert_eq!(
        client
            .put_manifest(&put, OCI_MANIFEST, bytes.as_bytes())
            .status,
        414
    );

    client.model.options_mut().tag_parameter = false;
    let put = format!("{}?tag=ignored", target(&digest));
    let answer = client.put_manifest(&put, OCI_MANIFEST, bytes.as_bytes());
    assert_eq!(
        (answer.status.as_u16(), answer.field("oci-tag")),
        (201, None)
    );
    assert_eq!(client.get(&target("ignored")).status, 404);
}

/// PULLM-02, HTTP-21, N-3, PUSHM-13: registries that are more difficult.
#[test]
fn difficult_registries() {
    let (mut client, document) = filled(Options {
        check_accept: true,
        digest_header: false,
        immutable_tags: true,
        create_repositories: false,
        ..Options::default()
    });
    assert_eq!(push(&mut client, "v1", &document).0, 201);
    assert_eq!(
        push(&mut client, "v1", &document).0,
        201,
        "the same again moves nothing"
    );
    let mut other = document.clone();
    other["layers"] = json!([]);
    assert_eq!(push(&mut client, "v1", &other).0, 409);

    let get = |accept: &str| request(Method::GET, &target("v1")).header("accept", accept);
    assert_eq!(client.ask(get("*/*")).status, 404);
    let answer = client.ask(get(&format!("{OCI_INDEX}, {OCI_MANIFEST};q=0.5")));
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.field("docker-content-digest")
        ),
        (200, None)
    );

    let answer = client.post("/v2/fresh/blobs/uploads/");
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (404, "NAME_UNKNOWN")
    );
    client.model.options_mut().head_manifests = false;
    assert_eq!(client.head(&target("v1")).status, 405);
}

/// DEL-01 to DEL-04.
#[test]
fn deletes() {
    let (mut client, document) = filled(Options::default());
    let (_, digest) = push(&mut client, "a", &document);
    push(&mut client, "b", &document);
    push(&mut client, "c", &document);
    assert_eq!(client.delete(&target("a")).status, 202);
    assert_eq!(client.get(&target("a")).status, 404);
    assert_eq!(client.get(&target(&digest)).status, 200);
    assert_eq!(client.delete(&target("a")).status, 404);
    assert_eq!(client.delete(&target(&digest)).status, 202);
    assert_eq!(client.get(&target("b")).status, 404);
    assert_eq!(
        json(&client.get("/v2/team/app/tags/list"))["tags"],
        json!([])
    );
    assert_eq!(client.delete(&target(&digest)).status, 404);
    let blob = format!("/v2/team/app/blobs/{}", Digest::sha256(b"layer"));
    assert_eq!(client.delete(&blob).status, 202);
    assert_eq!(client.get(&blob).status, 404);
    assert_eq!(client.delete(&blob).status, 404);

    client.model.options_mut().deletes = Deletes {
        tags: false,
        manifests: false,
        blobs: false,
    };
    let blob = format!("/v2/team/app/blobs/{}", Digest::sha256(b"{}"));
    assert_eq!(client.delete(&blob).status, 405);
    assert_eq!(client.delete(&target("b")).status, 405);
    assert_eq!(code(&client.delete(&target(&digest))), "UNSUPPORTED");
}

/// The builders make what the registry takes.
#[test]
fn builders() {
    let mut client = Client::new(Options::default());
    let amd64 = image(&[b"layer".to_vec()]);
    let arm64 = image_for("linux/arm64/v8", &[b"other".to_vec(), b"layer".to_vec()]);
    for image in [&amd64, &arm64] {
        for blob in image.blobs() {
            client.model.put_blob("team/app", blob.clone());
        }
        let reference = target(&image.digest);
        assert_eq!(
            client
                .put_manifest(&reference, OCI_MANIFEST, &image.manifest)
                .status,
            201
        );
    }
    let index = index(&[("linux/amd64", &amd64), ("linux/arm64/v8", &arm64)]);
    assert_eq!(
        client
            .put_manifest(&target("multi"), OCI_INDEX, &index.manifest)
            .status,
        201
    );
    assert_eq!(client.model.tag("team/app", "multi"), Some(&index.digest));
    let document: Value = serde_json::from_slice(&index.manifest).unwrap();
    assert_eq!(document["manifests"][1]["platform"]["variant"], "v8");

    client.model.put_image("seeded", Some("v1"), &arm64);
    client.model.put_index("seeded", None, &index);
    assert_eq!(client.get("/v2/seeded/manifests/v1").status, 200);
    assert_eq!(client.model.blob_digests("seeded").len(), 3);
    assert_eq!(client.model.manifest_digests("seeded").len(), 2);
    assert!(
        client
            .model
            .manifest_bytes("seeded", &index.digest)
            .is_some()
    );
}
