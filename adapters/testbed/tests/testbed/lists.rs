//! TAGS and RFR.

use serde_json::{Value, json};
use windlass_testbed::{Digest, OCI_INDEX, OCI_MANIFEST, Options, Pages, descriptor};

use crate::client::{Client, code, json};

fn tagged(options: Options) -> Client {
    let mut client = Client::new(options);
    for tag in ["b", "a", "d", "c", "E"] {
        client
            .model
            .put_manifest("app", Some(tag), OCI_MANIFEST, "{}");
    }
    client
}

fn next(answer: &windlass_testbed::Answer) -> Option<String> {
    let link = answer.field("link")?;
    assert!(link.ends_with("; rel=\"next\""), "{link}");
    Some(link.split(['<', '>']).nth(1)?.to_owned())
}

/// TAGS-01 to TAGS-05.
#[test]
fn tags() {
    let mut client = tagged(Options::default());
    let answer = client.get("/v2/app/tags/list");
    assert_eq!(
        json(&answer),
        json!({"name": "app", "tags": ["E", "a", "b", "c", "d"]})
    );
    assert_eq!(next(&answer), None);
    for (query, tags) in [
        ("n=2", json!(["E", "a"])),
        ("n=2&last=a", json!(["b", "c"])),
        ("last=b", json!(["c", "d"])),
        ("last=bb", json!(["c", "d"])),
        ("last=z", json!([])),
        ("n=0", json!([])),
        ("n=5", json!(["E", "a", "b", "c", "d"])),
    ] {
        let answer = client.get(&format!("/v2/app/tags/list?{query}"));
        assert_eq!(json(&answer)["tags"], tags, "{query}");
        assert_eq!(next(&answer).is_some(), query.starts_with("n=2"), "{query}");
    }
    let answer = client.get("/v2/app/tags/list?n=-1");
    assert_eq!(code(&answer), "PAGINATION_NUMBER_INVALID");
    let answer = client.get("/v2/none/tags/list");
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (404, "NAME_UNKNOWN")
    );
}

/// TAGS-04, TAGS-10: a capped server leads through all pages, or refuses.
#[test]
fn capped_pages() {
    let pages = Pages {
        cap: Some(2),
        refuse_above_cap: false,
    };
    let mut client = tagged(Options {
        pages,
        ..Options::default()
    });
    let mut all = Vec::new();
    let mut target = Some("/v2/app/tags/list?n=5000".to_owned());
    while let Some(at) = target {
        let answer = client.get(&at);
        all.extend(json(&answer)["tags"].as_array().unwrap().clone());
        target = next(&answer);
    }
    assert_eq!(all, ["E", "a", "b", "c", "d"]);
    client.model.options_mut().pages.refuse_above_cap = true;
    assert_eq!(client.get("/v2/app/tags/list?n=3").status, 400);
    assert_eq!(client.get("/v2/app/tags/list?n=2").status, 200);
}

/// TAGS-11.
#[test]
fn catalog() {
    let mut client = tagged(Options::default());
    client.model.put_blob("zoo/b", "x");
    let answer = client.get("/v2/_catalog?n=1");
    assert_eq!(json(&answer), json!({"repositories": ["app"]}));
    let answer = client.get(&next(&answer).unwrap());
    assert_eq!(json(&answer), json!({"repositories": ["zoo/b"]}));
    client.model.options_mut().catalog = false;
    assert_eq!(client.get("/v2/_catalog").status, 404);
}

fn referrer(client: &mut Client, subject: &Digest, change: impl Fn(&mut Value)) -> Digest {
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/x.config", b"{}"),
        "layers": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject.as_str(), "size": 1},
    });
    change(&mut document);
    let media_type = document["mediaType"]
        .as_str()
        .expect("documents have a type")
        .to_owned();
    let bytes = document.to_string();
    let digest = Digest::sha256(bytes.as_bytes());
    let target = format!("/v2/app/manifests/{digest}");
    let answer = client.put_manifest(&target, &media_type, bytes.as_bytes());
    assert_eq!(answer.status, 201);
    let subject = client
        .model
        .options()
        .referrers_api
        .then_some(subject.as_str());
    assert_eq!(answer.field("oci-subject"), subject);
    digest
}

/// RFR-01, RFR-05, RFR-07, RFR-17; the artifact type falls back to the config's (10.1).
#[test]
fn referrers() {
    let mut client = Client::new(Options::default());
    client.model.put_blob("app", "{}");
    let subject = Digest::sha256(b"not pushed yet");
    let plain = referrer(&mut client, &subject, |_| ());
    let typed = referrer(&mut client, &subject, |document| {
        document["artifactType"] = "application/x+sbom".into();
        document["annotations"] = json!({"key": "value"});
    });
    let index = referrer(&mut client, &subject, |document| {
        *document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [],
            "subject": document["subject"],
        });
    });
    referrer(&mut client, &Digest::sha256(b"another"), |_| ());

    let target = format!("/v2/app/referrers/{subject}");
    let answer = client.get(&target);
    assert_eq!(answer.field("content-type"), Some(OCI_INDEX));
    assert_eq!(answer.field("oci-filters-applied"), None);
    let all = json(&answer)["manifests"].clone();
    let find = |digest: &Digest| {
        let mut all = all.as_array().unwrap().iter();
        all.find(|d| d["digest"] == digest.as_str())
            .cloned()
            .unwrap()
    };
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(find(&plain)["artifactType"], "application/x.config");
    assert_eq!(find(&typed)["annotations"], json!({"key": "value"}));
    assert_eq!(find(&index).get("artifactType"), None);

    let answer = client.get(&format!("{target}?artifactType=application/x%2Bsbom"));
    assert_eq!(answer.field("oci-filters-applied"), Some("artifactType"));
    assert_eq!(json(&answer)["manifests"].as_array().unwrap().len(), 1);

    let unknown = Digest::sha256(b"unknown");
    let answer = client.get(&format!("/v2/none/referrers/{unknown}"));
    assert_eq!(
        (answer.status.as_u16(), &json(&answer)["manifests"]),
        (200, &json!([]))
    );
    assert_eq!(client.get("/v2/app/referrers/sha256:x").status, 400);

    client.model.options_mut().pages.cap = Some(2);
    let first = client.get(&target);
    let second = client.get(&next(&first).unwrap());
    assert_eq!(json(&second)["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(next(&second), None);
}

/// RFR-06: without the API there is no header and no endpoint.
#[test]
fn no_referrers_api() {
    let mut client = Client::new(Options {
        referrers_api: false,
        ..Options::default()
    });
    client.model.put_blob("app", "{}");
    let subject = Digest::sha256(b"subject");
    referrer(&mut client, &subject, |_| ());
    assert_eq!(
        client.get(&format!("/v2/app/referrers/{subject}")).status,
        404
    );
}
