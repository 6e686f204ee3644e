//! Manifests: GET, HEAD, PUT, DELETE by tag and by digest.
//!
//! Responsible for: PULLM, PUSHM, DEL-01, DEL-02.
//! Must not know: what images mean; only which digests a document names.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::contents::{Manifest, Repository};
use super::message::{Answer, Refusal, Request};
use super::target::{Reference, Target, digest, is_tag, reference};
use super::{Model, method_not_allowed};
use crate::{Digest, OCI_INDEX, OCI_MANIFEST};

/// PUSHM-09: a registry should take at least ten; this one takes exactly ten.
const MOST_TAGS: usize = 10;

impl Model {
    pub(crate) fn manifest(
        &mut self,
        request: &Request,
        name: &str,
        what: &str,
        target: &Target<'_>,
    ) -> Result<Answer, Refusal> {
        let what = reference(what)?;
        match request.method {
            Method::HEAD if !self.options.head_manifests => Err(method_not_allowed()),
            Method::GET | Method::HEAD => self.pull_manifest(request, name, &what),
            Method::PUT => self.push_manifest(request, name, what, target),
            Method::DELETE => self.delete_manifest(name, &what),
            _ => Err(method_not_allowed()),
        }
    }

    fn pull_manifest(
        &self,
        request: &Request,
        name: &str,
        what: &Reference,
    ) -> Result<Answer, Refusal> {
        let unknown = || manifest_unknown(what);
        let repository = self.repositories.get(name).ok_or_else(unknown)?;
        let digest = resolve(repository, what).ok_or_else(unknown)?;
        let manifest = repository.manifests.get(digest).ok_or_else(unknown)?;
        if self.options.check_accept && !accepts(request, &manifest.media_type) {
            // PULLM-02, in the words of the CNCF server.
            let message = "OCI manifest found, but accept header does not support OCI manifests";
            return Err(Refusal::new(404, "MANIFEST_UNKNOWN", message));
        }
        let etag = format!("\"{digest}\"");
        // PULLM-19.
        let known = request.field(header::IF_NONE_MATCH).unwrap_or_default();
        if known
            .split(',')
            .any(|known| known.trim() == etag || known.trim() == "*")
        {
            return Ok(Answer::new(StatusCode::NOT_MODIFIED).header("etag", etag));
        }
        let answer = Answer::new(StatusCode::OK)
            .header("content-type", &manifest.media_type)
            .header("etag", etag)
            .body(manifest.bytes.clone());
        let answer = self.options.labels.manifest(answer);
        Ok(self.with_digest(answer, digest))
    }

    fn push_manifest(
        &mut self,
        request: &Request,
        name: &str,
        what: Reference,
        target: &Target<'_>,
    ) -> Result<Answer, Refusal> {
        self.check_repository(name)?;
        let bytes = &request.body;
        if bytes.len() as u64 > self.options.max_manifest {
            return Err(Refusal::new(
                413,
                "MANIFEST_INVALID",
                "the manifest is too large",
            ));
        }
        let digest = match &what {
            Reference::Tag(_) => Digest::sha256(bytes),
            Reference::Digest(digest) if digest.matches([&bytes[..]]) => digest.clone(),
            Reference::Digest(_) => {
                let message = "provided digest did not match uploaded content";
                return Err(Refusal::new(400, "DIGEST_INVALID", message));
            }
        };
        let (media_type, document) = self.check_document(request)?;
        let empty = Repository::default();
        let repository = self.repositories.get(name).unwrap_or(&empty);
        if self.options.check_references {
            self.check_references(repository, &document)?;
        }

        let mut tags: Vec<String> = Vec::new();
        match what {
            Reference::Tag(tag) => tags.push(tag),
            // N-1: only a push by digest takes tags.
            Reference::Digest(_) if self.options.tag_parameter => {
                tags.extend(target.parameters("tag"));
            }
            Reference::Digest(_) => {}
        }
        if tags.len() > MOST_TAGS {
            return Err(Refusal::new(414, "TAG_INVALID", "too many tags"));
        }
        if !tags.iter().all(|tag| is_tag(tag)) {
            return Err(Refusal::new(400, "TAG_INVALID", "invalid tag"));
        }
        let moves = |tag: &String| repository.tags.get(tag).is_some_and(|old| *old != digest);
        if self.options.immutable_tags && tags.iter().any(moves) {
            return Err(Refusal::new(409, "DENIED", "the tag is immutable"));
        }

        if self.options.conditions {
            check_conditions(request, repository, &tags)?;
        }

        let mut answer = Answer::new(StatusCode::CREATED)
            .header("location", format!("/v2/{name}/manifests/{digest}"));
        answer = self.with_digest(answer, &digest);
        if target.query.contains("tag=") && self.options.tag_parameter {
            for tag in &tags {
                answer = answer.header("oci-tag", tag);
            }
        }
        // RFR-01.
        if self.options.referrers_api
            && let Some(subject) = document["subject"]["digest"].as_str()
        {
            answer = answer.header("oci-subject", subject);
        }
        let repository = self.repository(name);
        let manifest = Manifest {
            media_type,
            bytes: owned(bytes),
        };
        repository.manifests.insert(digest.clone(), manifest);
        for tag in tags {
            repository.tags.insert(tag, digest.clone());
        }
        Ok(answer)
    }

    /// The media type (PUSHM-02) and the document, if it is one.
    fn check_document(&self, request: &Request) -> Result<(String, Value), Refusal> {
        let invalid = |message| Refusal::new(400, "MANIFEST_INVALID", message);
        let document: Value = serde_json::from_slice(&request.body)
            .map_err(|_| invalid("the manifest is not valid JSON"))?;
        if !document.is_object() {
            return Err(invalid("the manifest is not a JSON object"));
        }
        let own = document["mediaType"].as_str();
        let field = request.field(header::CONTENT_TYPE).unwrap_or_default();
        let sent = field.split(';').next().unwrap_or_default().trim();
        let media_type = match (own, sent) {
            (Some(own), "") => own,
            (Some(own), sent) if own != sent => {
                return Err(invalid("mediaType and Content-Type differ"));
            }
            (None, "") => return Err(invalid("the manifest has no media type")),
            (_, sent) => sent,
        };
        if self.options.refused_types.contains(media_type) {
            return Err(Refusal::new(
                415,
                "UNSUPPORTED",
                "the media type is not accepted here",
            ));
        }
        // PULLM-07: a document must not be readable in two ways.
        let lists_manifests = document.get("manifests").is_some();
        let lists_blobs = document.get("layers").is_some() || document.get("config").is_some();
        if lists_manifests && lists_blobs {
            return Err(invalid("the manifest is ambiguous"));
        }
        if document["schemaVersion"]
            .as_u64()
            .is_some_and(|version| version != 2)
        {
            return Err(invalid("schemaVersion is not 2"));
        }
        Ok((media_type.to_owned(), document))
    }

    /// PUSHM-06: everything the document names is there, except its subject (PUSHM-07), layers that
    /// are not distributed, and the children of a sparse index where those are allowed.
    fn check_references(&self, repository: &Repository, document: &Value) -> Result<(), Refusal> {
        let mut missing = Vec::new();
        let list = |key: &str| {
            document[key]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default()
        };
        let config = document.get("config").filter(|config| config.is_object());
        for descriptor in config
            .into_iter()
            .chain(list("layers"))
            .chain(list("blobs"))
        {
            let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
            let distributed =
                !media_type.contains("nondistributable") && !media_type.contains("foreign");
            let digest = named(descriptor)?;
            if distributed && !repository.blobs.contains_key(&digest) {
                missing.push(digest);
            }
        }
        for descriptor in list("manifests") {
            let digest = named(descriptor)?;
            if !self.options.sparse_indexes && !repository.manifests.contains_key(&digest) {
                missing.push(digest);
            }
        }
        if let Some(subject) = document.get("subject").filter(|subject| !subject.is_null()) {
            named(subject)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let details = missing
            .iter()
            .map(|digest| json!({"digest": digest.as_str()}))
            .collect();
        let refusal = Refusal::new(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
        Err(refusal.details(details))
    }

    fn delete_manifest(&mut self, name: &str, what: &Reference) -> Result<Answer, Refusal> {
        let deletes = self.options.deletes;
        let unknown = || manifest_unknown(what);
        let repository = self.repositories.get_mut(name).ok_or_else(unknown)?;
        match what {
            Reference::Tag(_) if !deletes.tags => return Err(method_not_allowed()),
            Reference::Digest(_) if !deletes.manifests => return Err(method_not_allowed()),
            // DEL-01: the tag and nothing else.
            Reference::Tag(tag) => {
                repository.tags.remove(tag).ok_or_else(unknown)?;
            }
            // DEL-02: and every tag on it; children stay.
            Reference::Digest(digest) => {
                repository.manifests.remove(digest).ok_or_else(unknown)?;
                repository.tags.retain(|_, tagged| tagged != digest);
            }
        }
        Ok(Answer::new(StatusCode::ACCEPTED))
    }

    /// PUSHM-13: some services want the repository to be created first.
    pub(crate) fn check_repository(&self, name: &str) -> Result<(), Refusal> {
        if self.options.create_repositories || self.repositories.contains_key(name) {
            return Ok(());
        }
        let details = vec![json!({"name": name})];
        let message = "repository name not known to registry";
        Err(Refusal::new(404, "NAME_UNKNOWN", message).details(details))
    }

    pub(crate) fn with_digest(&self, answer: Answer, digest: &Digest) -> Answer {
        if self.options.digest_header {
            answer.header("docker-content-digest", digest.as_str())
        } else {
            answer
        }
    }
}

/// RFC 9110 section 13.1, for what a push would make of its tags.
fn check_conditions(
    request: &Request,
    repository: &Repository,
    tags: &[String],
) -> Result<(), Refusal> {
    let there: Vec<&Digest> = tags
        .iter()
        .filter_map(|tag| repository.tags.get(tag))
        .collect();
    let has = |etag: &str| there.iter().any(|digest| etag == format!("\"{digest}\""));
    let has_moved = request.field(header::IF_MATCH).is_some_and(|it| !has(it));
    let is_there = request.field(header::IF_NONE_MATCH) == Some("*") && !there.is_empty();
    if has_moved || is_there {
        return Err(Refusal::new(412, "DENIED", "the tag has moved"));
    }
    Ok(())
}

fn resolve<'a>(repository: &'a Repository, what: &'a Reference) -> Option<&'a Digest> {
    match what {
        Reference::Tag(tag) => repository.tags.get(tag),
        Reference::Digest(digest) => Some(digest),
    }
}

fn manifest_unknown(what: &Reference) -> Refusal {
    let detail = match what {
        Reference::Tag(tag) => json!({"Tag": tag}),
        Reference::Digest(digest) => json!({"digest": digest.as_str()}),
    };
    Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown").details(vec![detail])
}

/// The digest in a descriptor.
fn named(descriptor: &Value) -> Result<Digest, Refusal> {
    let invalid = || Refusal::new(400, "MANIFEST_INVALID", "a descriptor has no valid digest");
    digest(descriptor["digest"].as_str().unwrap_or_default()).map_err(|_| invalid())
}

/// PULLM-02: the CNCF server looks for OCI types by name; `*/*` does not cover them.
fn accepts(request: &Request, media_type: &str) -> bool {
    if media_type != OCI_MANIFEST && media_type != OCI_INDEX {
        return true;
    }
    let lines = request.headers.get_all(header::ACCEPT);
    let mut types = lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|l| l.split(','));
    types.any(|t| t.split(';').next().unwrap_or_default().trim() == media_type)
}

/// The bytes alone, so that a request's larger buffer is not kept.
fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
