//! The storage service behind the registry.
//!
//! Responsible for: signed URLs, for as long as they are good.
//! Must not know: users and tokens; an `Authorization` is an error here (HTTP-12).

use core::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::Model;
use super::message::{Answer, Request};
use super::options::Signature;
use crate::Digest;

/// A signed URL's promise.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    digest: Digest,
    blob: Bytes,
    /// `None`: for one request.
    expires: Option<Duration>,
}

impl Model {
    /// PULLB-05: the blob is somewhere else.
    pub(crate) fn redirect_to_storage(
        &mut self,
        name: &str,
        digest: &Digest,
        now: Duration,
    ) -> Answer {
        let signature = self.opaque("sig");
        let storage = self.options.storage.clone();
        let blob = self.blob_bytes(name, digest).cloned();
        let (Some(storage), Some(blob)) = (storage, blob) else {
            return Answer::new(StatusCode::NOT_FOUND);
        };
        // The query has what clients like to re-encode: an encoded slash, a plus, an equals sign.
        let labels = &self.options.labels;
        let target = |path: &str, query: &str| {
            let id = digest.encoded();
            format!("/bucket/{id}/data{path}?X-Sig={signature}%2Fa+b%3D&X-Alg=a%2bb&empty={query}")
        };
        let (path, query) = (labels.path(), labels.query());
        let (said, target) = (target(path.0, query.0), target(path.1, query.1));
        let expires = match storage.signature {
            Signature::OneTime => None,
            Signature::Life(life) => Some(now.saturating_add(life)),
        };
        let signed = Signed {
            digest: digest.clone(),
            blob,
            expires,
        };
        self.signed.insert(target, signed);
        Answer::new(storage.status).header("location", format!("{}{said}", storage.url))
    }

    pub(crate) fn storage(&mut self, request: &Request, now: Duration) -> Answer {
        if request.headers.contains_key(header::AUTHORIZATION) {
            return refuse(StatusCode::BAD_REQUEST, "InvalidArgument");
        }
        if request.method != Method::GET {
            return refuse(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
        }
        let Some(signed) = self.signed.get(&request.target).cloned() else {
            return refuse(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
        };
        match signed.expires {
            Some(expires) if now >= expires => {
                return refuse(StatusCode::FORBIDDEN, "AccessDenied");
            }
            Some(_) => {}
            None => {
                self.signed.remove(&request.target);
            }
        }
        self.serve(request, &signed.digest, &signed.blob)
    }
}

/// Storage services speak XML (ERR-01: a body may be anything).
fn refuse(status: StatusCode, code: &str) -> Answer {
    Answer::new(status)
        .header("content-type", "application/xml")
        .body(format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>"
        ))
}
