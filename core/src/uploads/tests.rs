use std::format;

use super::*;
use crate::digest::Algorithm;
use crate::testing::mutations;

const URL: &str = "https://reg.example/v2/a/b/blobs/uploads/u1?_state=secret";

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"hello")
}

fn kept() -> SavedUpload {
    SavedUpload {
        key: UploadKey {
            registry: "reg.example".parse().expect("a registry"),
            origin: "https://reg.example".parse().expect("an origin"),
            repository: "a/b".parse().expect("a repository"),
            digest: digest(),
        },
        size: 4 << 20,
        url: Url::parse(URL).expect("a URL"),
        acknowledged: 0,
        chunk: u64::MAX,
        least: 0,
        age: Duration::ZERO,
    }
}

#[test]
fn what_is_read_is_what_was_kept() {
    let upload = kept();
    let written = upload.to_json();
    assert!(written.contains(URL));
    assert_eq!(SavedUpload::from_json(&written), Ok(upload.clone()));
    let shown = format!("{upload:?} {:?}", UploadRepr::from(&upload));
    assert!(
        !shown.contains("secret") && !shown.contains("u1"),
        "{shown}"
    );
}

/// A file may be anybody's. An error does not repeat what is in it.
#[test]
fn what_is_no_upload_is_refused() {
    let good = kept().to_json();
    for (from, to) in [
        (URL, "https://evil.example/v2/a/b/blobs/uploads/u1"),
        (URL, "http://reg.example/v2/a/b/blobs/uploads/u1"),
        (URL, "https://reg.example:444/v2/a/b/blobs/uploads/u1"),
        (URL, "https://reg.example/v2/a/c/blobs/uploads/u1"),
        (URL, "https://reg.example/v2/a/b/blobs/../../c/uploads/u1"),
        (URL, "https://reg.example/v2/a/b/blobs/%2e%2E/%2e./c/u1"),
        (URL, "https://reg.example/v2/a/b/blobs/..%2fuploads/u1"),
        (URL, "https://reg.example/v2/a/b/blobs/"),
        // It would be deleted if the upload is given up.
        (
            URL,
            &format!("https://reg.example/v2/a/b/blobs/{}", digest()),
        ),
        (URL, "https://reg.example/v2/a/b/manifests/v1"),
        (URL, "no secret URL"),
        ("\"acknowledged\":0", "\"acknowledged\":4194305"),
        ("\"acknowledged\":0", "\"acknowledged\":\"secret\""),
        ("\"acknowledged\":0", "\"acknowledged\":0,\"chunk\":0"),
        ("\"size\":4194304", "\"size\":-1"),
        ("sha256:", "md5:"),
        ("\"age\"", "\"edge\""),
        ("\"repository\":\"a/b\"", "\"repository\":\"../b\""),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let error = SavedUpload::from_json(&text).expect_err(to);
        assert!(!format!("{error} {error:?}").contains("secret"));
        let checkpoint = format!(r#"{{"version":2,"tasks":[],"uploads":[{text}]}}"#);
        let error = crate::Checkpoint::from_json(&checkpoint).expect_err(to);
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("damaged") && !shown.contains("secret"),
            "{shown}"
        );
    }
    mutations(&good, |text| {
        if let Ok(upload) = SavedUpload::from_json(text) {
            let key = upload.key();
            assert!(is_upload_of(key, &upload.url), "{text}");
        }
    });
}
