use std::format;

use super::*;
use crate::digest::DigestError;
use crate::testing::mutations;

const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

/// `CONFIG`, `M`, `I`, `DM`, `DL`, `A` in a vector stand for a descriptor and the media types.
fn expand(text: &str) -> String {
    text.replace("CONFIG", CONFIG)
        .replace("<DM>", media_type::DOCKER_MANIFEST)
        .replace("<DL>", media_type::DOCKER_LIST)
        .replace("<M>", media_type::OCI_MANIFEST)
        .replace("<I>", media_type::OCI_INDEX)
        .replace("<A>", media_type::OCI_ARTIFACT)
}

/// What was found, or the name of what is wrong.
fn name(result: &Result<Document, DocumentError>) -> String {
    let error = match result {
        Ok(document) => {
            let kind = match document.content() {
                Content::Image(image) => format!("image {}", image.layers.len()),
                Content::Index(index) => format!("index {}", index.manifests.len()),
                Content::Artifact(artifact) => format!("artifact {}", artifact.blobs.len()),
            };
            return format!("{kind} {}", document.media_type());
        }
        Err(error) => error,
    };
    match error {
        DocumentError::NotADocument { .. } => "not a document".into(),
        DocumentError::Json { .. } => "json".into(),
        DocumentError::Type { found } => format!("type {found}"),
        DocumentError::Contradiction { .. } => "contradiction".into(),
        DocumentError::Ambiguous { key } => format!("ambiguous {key}"),
        DocumentError::Missing { key } => format!("missing {key}"),
        DocumentError::SchemaVersion { .. } => "schema version".into(),
        DocumentError::Schema1 => "schema 1".into(),
        DocumentError::Digest { .. } => "digest".into(),
        DocumentError::Algorithm { .. } => "algorithm".into(),
    }
}

/// Item, Content-Type or (after `=`) the descriptor's type, document, what is found.
const TABLE: &[(&str, &str, &str, &str)] = &[
    (
        "PULLM-05 equal",
        "<M>",
        r#"{"schemaVersion":2,"mediaType":"<M>","config":CONFIG,"layers":[CONFIG]}"#,
        "image 1 <M>",
    ),
    (
        "PULLM-04 parameters, case",
        "Application/vnd.OCI.image.manifest.v1+json; charset=utf-8",
        r#"{"schemaVersion":2,"mediaType":"<M>","config":CONFIG,"layers":[]}"#,
        "image 0 <M>",
    ),
    (
        "PULLM-05 mismatch",
        "<DM>",
        r#"{"schemaVersion":2,"mediaType":"<M>","config":CONFIG,"layers":[]}"#,
        "contradiction",
    ),
    (
        "SEC-03 an index said to be an image",
        "<M>",
        r#"{"schemaVersion":2,"mediaType":"<I>","manifests":[]}"#,
        "contradiction",
    ),
    (
        "SEC-03 an image said to be an index, without a type of its own",
        "<I>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[]}"#,
        "ambiguous config",
    ),
    (
        "PULLM-06 its own type, where the descriptor has one of the same form",
        "=<DM>",
        r#"{"schemaVersion":2,"mediaType":"<M>","config":CONFIG,"layers":[]}"#,
        "image 0 <M>",
    ),
    (
        "PULLM-06 the same for lists",
        "=<I>",
        r#"{"schemaVersion":2,"mediaType":"<DL>","manifests":[]}"#,
        "index 0 <DL>",
    ),
    (
        "PULLM-06 the descriptor has one of another form",
        "=<I>",
        r#"{"schemaVersion":2,"mediaType":"<M>","config":CONFIG,"layers":[]}"#,
        "contradiction",
    ),
    (
        "PULLM-06 an artifact is no image",
        "=<M>",
        r#"{"mediaType":"<A>","blobs":[]}"#,
        "contradiction",
    ),
    (
        "PULLM-06 no type of its own",
        "=<DM>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[]}"#,
        "image 0 <DM>",
    ),
    (
        "a type of its own that is none, beside one that is",
        "<M>",
        r#"{"schemaVersion":2,"mediaType":"application/vnd.x+json","config":CONFIG,"layers":[]}"#,
        "image 0 <M>",
    ),
    (
        "a type of its own that is none, and nothing beside it",
        "text/html",
        r#"{"schemaVersion":2,"mediaType":"application/vnd.x+json","config":CONFIG,"layers":[]}"#,
        "type application/vnd.x+json",
    ),
    (
        "PULLM-06 a descriptor that says nothing",
        "=application/octet-stream",
        r#"{"schemaVersion":2,"mediaType":"<I>","manifests":[]}"#,
        "index 0 <I>",
    ),
    (
        "PULLM-08 no mediaType",
        "<DL>",
        r#"{"schemaVersion":2,"manifests":[CONFIG]}"#,
        "index 1 <DL>",
    ),
    (
        "PULLM-08 octet-stream counts as absent",
        "application/octet-stream",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[]}"#,
        "image 0 <M>",
    ),
    (
        "PULLM-08 text/plain",
        "text/plain; charset=utf-8",
        r#"{"schemaVersion":2,"manifests":[]}"#,
        "index 0 <I>",
    ),
    (
        "PULLM-08 application/json",
        "application/json",
        r#"{"schemaVersion":2,"mediaType":"<DM>","config":CONFIG,"layers":[]}"#,
        "image 0 <DM>",
    ),
    (
        "PULLM-08 nothing known",
        "",
        r#"{"schemaVersion":2,"x":[]}"#,
        "type none",
    ),
    (
        "PULLM-07 index with config",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[],"config":CONFIG}"#,
        "ambiguous config",
    ),
    (
        "PULLM-07 index with layers",
        "<DL>",
        r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
        "ambiguous layers",
    ),
    (
        "PULLM-07 index with fsLayers",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[],"fsLayers":[]}"#,
        "ambiguous fsLayers",
    ),
    (
        "PULLM-07 manifest with manifests",
        "<M>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"manifests":[]}"#,
        "ambiguous manifests",
    ),
    (
        "PULLM-07 manifest with fsLayers",
        "<DM>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"fsLayers":[]}"#,
        "ambiguous fsLayers",
    ),
    (
        "PULLM-07 no type and both",
        "",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"manifests":[]}"#,
        "ambiguous config",
    ),
    (
        "PULLM-07 look-alike",
        "<M>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"Manifests":[]}"#,
        "ambiguous Manifests",
    ),
    (
        "PULLM-07 look-alike beyond ASCII",
        "<M>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"manife\u017ft\u017f":[]}"#,
        "ambiguous manifeſtſ",
    ),
    (
        "PULLM-07 look-alike of mediaType",
        "<M>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"MEDIATYPE":"<I>"}"#,
        "ambiguous MEDIATYPE",
    ),
    (
        "PULLM-07 version 3",
        "<I>",
        r#"{"schemaVersion":3,"manifests":[]}"#,
        "schema version",
    ),
    ("no version", "<I>", r#"{"manifests":[]}"#, "index 0 <I>"),
    (
        "no version, an image",
        "",
        r#"{"mediaType":"<DM>","config":CONFIG,"layers":[CONFIG]}"#,
        "image 1 <DM>",
    ),
    (
        "a version that is null",
        "<I>",
        r#"{"schemaVersion":null,"manifests":[]}"#,
        "index 0 <I>",
    ),
    (
        "a version as text",
        "<I>",
        r#"{"schemaVersion":"2","manifests":[]}"#,
        "index 0 <I>",
    ),
    (
        "another version as text",
        "<I>",
        r#"{"schemaVersion":"3","manifests":[]}"#,
        "schema version",
    ),
    (
        "S1-02 the first version as text",
        "",
        r#"{"schemaVersion":"1","fsLayers":[]}"#,
        "schema 1",
    ),
    (
        "a version that is none",
        "<I>",
        r#"{"schemaVersion":[2],"manifests":[]}"#,
        "schema version",
    ),
    (
        "a negative version",
        "<I>",
        r#"{"schemaVersion":-2,"manifests":[]}"#,
        "schema version",
    ),
    (
        "PULLM-17 empty index",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[]}"#,
        "index 0 <I>",
    ),
    (
        "PULLM-17 null is absent",
        "<I>",
        r#"{"schemaVersion":2,"manifests":null,"subject":null,"annotations":null,"config":null,"artifactType":null}"#,
        "index 0 <I>",
    ),
    (
        "PULLM-17 no layers",
        "<M>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":null,"manifests":null}"#,
        "image 0 <M>",
    ),
    (
        "null says nothing of the shape",
        "",
        r#"{"manifests":null,"config":CONFIG,"layers":[],"fsLayers":null}"#,
        "image 0 <M>",
    ),
    (
        "an index of Go's without entries",
        "",
        r#"{"manifests":null,"config":null}"#,
        "index 0 <I>",
    ),
    (
        "index without manifests",
        "<I>",
        r#"{"schemaVersion":2}"#,
        "missing manifests",
    ),
    (
        "manifest without config",
        "<M>",
        r#"{"schemaVersion":2,"layers":[]}"#,
        "missing config",
    ),
    (
        "PULLM-15 unknown fields",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[],"new":{"a":[1,2.5,true,null,"x"]}}"#,
        "index 0 <I>",
    ),
    (
        "PULLM-16 twice",
        "<M>",
        r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"layers":[CONFIG]}"#,
        "json",
    ),
    (
        "PULLM-16 twice, by escape",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[],"manifest\u0073":[]}"#,
        "json",
    ),
    (
        "PULLM-16 twice in an entry",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"size":2}]}"#,
        "json",
    ),
    (
        "PULLM-16 twice in a platform",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"platform":{"os":"a","os":"b"}}]}"#,
        "json",
    ),
    (
        "twice where it is not used",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[],"new":[{"a":{"b":1,"\u0062":2}}],"annotations":{"a":"1","a":"2"}}"#,
        "index 0 <I>",
    ),
    (
        "PULLM-16 BOM",
        "<I>",
        "\u{feff}{\"schemaVersion\":2,\"manifests\":[]}",
        "json",
    ),
    (
        "PULLM-16 trailing",
        "<I>",
        r#"{"schemaVersion":2,"manifests":[]}x"#,
        "json",
    ),
    (
        "MT artifact",
        "<A>",
        r#"{"mediaType":"<A>","artifactType":"a/b","blobs":[CONFIG],"subject":CONFIG}"#,
        "artifact 1 <A>",
    ),
    (
        "MT artifact with layers",
        "<A>",
        r#"{"blobs":[],"layers":[]}"#,
        "ambiguous layers",
    ),
    (
        "S1-01 type",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "{}",
        "schema 1",
    ),
    (
        "S1-02 version",
        "application/json",
        r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[]}"#,
        "schema 1",
    ),
    (
        "web page",
        "text/html",
        "<html><body>login</body></html>",
        "not a document",
    ),
    ("nothing", "<M>", "", "not a document"),
    ("an array", "<M>", "[]", "not a document"),
    (
        "other type",
        "application/vnd.x+json",
        "{}",
        "type application/vnd.x+json",
    ),
];

fn parse(declared: &str, document: &str) -> Result<Document, DocumentError> {
    let declared = expand(declared);
    let declared = match declared.strip_prefix('=') {
        Some(descriptor) => Declared::Descriptor(descriptor),
        None => Declared::ContentType(Some(&declared).filter(|d| !d.is_empty()).map(|d| &**d)),
    };
    Document::parse(document.into(), declared)
}

#[test]
fn documents_are_read() {
    for (row, declared, document, expected) in TABLE {
        let found = parse(declared, &expand(document));
        assert_eq!(name(&found), expand(expected), "{row}: {found:?}");
    }
}

/// Whatever the answer is said to be, if that is no type of a manifest.
#[test]
fn a_type_that_is_none_of_a_manifest_says_nothing() {
    let types = [
        "",
        " ",
        "text/html",
        "text/plain; charset=utf-8",
        "binary/octet-stream",
        "application/json",
        "application/xml",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json+x",
        "garbage",
        "/",
        ";",
        "image/\u{fc}",
    ];
    let documents = [
        (
            r#"{"schemaVersion":2,"mediaType":"<DM>","config":CONFIG,"layers":[]}"#,
            "image 0 <DM>",
        ),
        (
            r#"{"schemaVersion":2,"mediaType":"<I>","manifests":[]}"#,
            "index 0 <I>",
        ),
        (r#"{"config":CONFIG,"layers":[]}"#, "image 0 <M>"),
        (r#"{"manifests":[]}"#, "index 0 <I>"),
        (r#"{"config":CONFIG,"manifests":[]}"#, "ambiguous config"),
    ];
    for media_type in types {
        for by in ["", "="] {
            for (document, expected) in documents {
                let found = parse(&format!("{by}{media_type}"), &expand(document));
                assert_eq!(
                    name(&found),
                    expand(expected),
                    "{by}{media_type}: {document}"
                );
            }
        }
    }
}

/// What an image and an index may carry along, at the top and in a descriptor.
#[test]
fn members_that_are_carried_along_have_no_type() {
    let values = [
        "null",
        "true",
        "7",
        "-0.5e3",
        "\"\"",
        "\"text\"",
        "[]",
        "[null, 1, {}]",
        "{}",
        "{\"a\": null}",
        "{\"a\": 1, \"b\": [\"\\ud83d\"], \"c\": {\"d\": 1, \"d\": 2}}",
        r#""cut \ud83d""#,
        r#""\ude00\ud83d""#,
    ];
    for value in values {
        for member in ["annotations", "artifactType", "new", r"\ud83d"] {
            let entry = |more: &str| {
                CONFIG.replace(
                    "\"size\":2",
                    &format!("\"size\":2,{more}\"{member}\":{value}"),
                )
            };
            let index = format!(
                r#"{{"manifests":[{}],"{member}":{value}}}"#,
                entry(r#""x":{},"#)
            );
            let found = parse("<I>", &index);
            assert_eq!(name(&found), expand("index 1 <I>"), "{index}");
            let image = format!(
                r#"{{"config":{},"layers":[{}],"{member}":{value}}}"#,
                entry(""),
                entry("")
            );
            let found = parse("<M>", &image);
            assert_eq!(name(&found), expand("image 1 <M>"), "{image}");
            assert_eq!(&**found.expect("it was read").bytes(), image.as_bytes());
        }
        for member in ["urls", "data", "platform"] {
            let entry = CONFIG.replace("\"size\":2", &format!("\"size\":2,\"{member}\":{value}"));
            let index = format!(r#"{{"manifests":[{entry}]}}"#);
            let found = parse("<I>", &index);
            assert_eq!(name(&found), expand("index 1 <I>"), "{index}");
        }
    }
}

/// What is used keeps its type.
#[test]
fn members_that_are_used_have_one_type() {
    for value in ["null", "7", "[]", "{}", "\"\"", r#""\ud83d""#] {
        for member in ["mediaType", "digest", "size"] {
            let known = match member {
                "mediaType" => r#""mediaType":"application/vnd.oci.image.config.v1+json""#.into(),
                "digest" => format!("\"digest\":\"{EMPTY_DIGEST}\""),
                _ => "\"size\":2".into(),
            };
            let entry = CONFIG.replace(&known, &format!("\"{member}\":{value}"));
            assert_ne!(entry, CONFIG);
            for document in [
                format!(r#"{{"manifests":[{entry}]}}"#),
                format!(r#"{{"config":{entry},"layers":[]}}"#),
                format!(r#"{{"config":{CONFIG},"layers":[{entry}]}}"#),
            ] {
                let found = name(&parse("", &document));
                let is_text = member == "mediaType" && value.starts_with('"');
                let is_size = member == "size" && value == "7";
                assert_eq!(found == "json", !is_text && !is_size, "{document}: {found}");
            }
        }
        for member in ["config", "layers", "manifests", "mediaType"] {
            let document = format!(r#"{{"{member}":{value}}}"#);
            let is_empty_index = member == "manifests" && matches!(value, "[]" | "null");
            assert_eq!(parse("", &document).is_ok(), is_empty_index, "{document}");
        }
    }
}

#[test]
fn nothing_panics() {
    for (_, declared, document, _) in TABLE {
        mutations(document, |document| {
            let _ = parse(declared, &expand(document)).map(|document| document.descriptor());
        });
    }
}

#[test]
fn bytes_are_kept_and_verified() {
    let text = expand("{ \"schemaVersion\" : 2,\n\"manifests\":[] }");
    let declared = Declared::ContentType(Some(media_type::OCI_INDEX));
    let document = Document::parse(text.clone().into(), declared).expect("PULLM-14");
    assert_eq!(&**document.bytes(), text.as_bytes(), "PULLM-14");
    let descriptor = document.descriptor();
    assert!(descriptor.digest.verifies(text.as_bytes()));
    assert_eq!(descriptor.size, text.len() as u64);
    let sha512 = Digest::of(Algorithm::Sha512, text.as_bytes());
    for digest in [document.digest(), &sha512] {
        let again = Document::parse_as(text.clone().into(), declared, digest).expect("PULLM-09");
        assert_eq!(again.digest(), digest);
        let flipped = text.replace(':', " :");
        let error = Document::parse_as(flipped.into(), declared, digest);
        assert_eq!(name(&error), "digest", "PULLM-09");
    }
    let unknown = "blake3:00".parse().expect("REF-05");
    let error = Document::parse_as(text.into(), declared, &unknown);
    assert_eq!(name(&error), "algorithm", "REF-05");
}

#[test]
fn strict_beyond_text() {
    let declared = Declared::ContentType(None);
    let bytes = b"{\"schemaVersion\":2,\"manifests\":[],\"a\":\"\xff\"}".to_vec();
    assert_eq!(
        name(&Document::parse(bytes, declared)),
        "json",
        "PULLM-16 UTF-8"
    );
    for depth in [MAX_DEPTH - 1, MAX_DEPTH, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let text = format!(r#"{{"schemaVersion":2,"manifests":[],"a":{open}{close}}}"#);
        let expected = if depth < MAX_DEPTH {
            "index 0 <I>"
        } else {
            "json"
        };
        let found = Document::parse(text.into(), declared);
        assert_eq!(name(&found), expand(expected), "PULLM-16 {depth}");
    }
}

#[test]
fn the_empty_descriptor() {
    let digest: Result<Digest, DigestError> = EMPTY_DIGEST.parse();
    assert_eq!(
        digest,
        Ok(Digest::of(Algorithm::Sha256, EMPTY_CONTENT)),
        "RFR-14"
    );
    assert_eq!(EMPTY_SIZE, EMPTY_CONTENT.len() as u64);
}

#[test]
fn accept_is_one_clean_line() {
    assert_eq!(
        media_type::ACCEPT_MANIFESTS.matches(", ").count(),
        3,
        "PULLM-03"
    );
    assert!(
        media_type::ACCEPT_MANIFESTS
            .split(", ")
            .all(media_type::is_manifest_type)
    );
}
