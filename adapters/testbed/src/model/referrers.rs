//! The referrers API.
//!
//! Responsible for: RFR-05 and RFR-07.
//! Must not know: how manifests came to be there; the fallback tag is the client's work.

use http::StatusCode;
use serde_json::{Value, json};

use super::Model;
use super::contents::Manifest;
use super::lists::page;
use super::message::{Answer, Refusal};
use super::options::Filter;
use super::target::{Target, digest};
use crate::{Digest, OCI_INDEX};

impl Model {
    pub(crate) fn referrers(
        &self,
        name: &str,
        subject: &str,
        target: &Target<'_>,
    ) -> Result<Answer, Refusal> {
        if !self.options.referrers_api {
            return Err(Refusal::new(404, "UNSUPPORTED", "no such endpoint"));
        }
        let subject = digest(subject)?;
        let filter = target
            .parameter("artifactType")
            .filter(|filter| !filter.is_empty());
        let honours = self.options.filter;
        // RFR-05: an unknown subject, even an unknown repository, has an empty list.
        let manifests = self.repositories.get(name).map(|r| &r.manifests);
        let found: Vec<(String, Value)> = manifests
            .into_iter()
            .flatten()
            .filter_map(|(digest, manifest)| refers(digest, manifest, &subject))
            .filter(|descriptor| {
                let applied = filter.as_ref().filter(|_| honours == Filter::Applied);
                applied.is_none_or(|wanted| descriptor["artifactType"] == wanted.as_str())
            })
            .map(|descriptor| {
                (
                    descriptor["digest"].as_str().unwrap_or("").to_owned(),
                    descriptor,
                )
            })
            .collect();
        let page = page(
            found.iter().map(|(digest, _)| digest),
            target,
            self.options.pages,
        )?;
        let on_page = found
            .iter()
            .filter(|(digest, _)| page.entries.contains(digest));
        let manifests: Vec<&Value> = on_page.map(|(_, descriptor)| descriptor).collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        let mut answer = Answer::new(StatusCode::OK).header("content-type", OCI_INDEX);
        if filter.is_some() && honours != Filter::Ignored {
            answer = answer.header("oci-filters-applied", "artifactType");
        }
        Ok(page.link(answer, target).json(&index))
    }
}

/// The descriptor of a manifest that has `subject`, as 10.1 step 4 describes it.
fn refers(digest: &Digest, manifest: &Manifest, subject: &Digest) -> Option<Value> {
    let document: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    if document["subject"]["digest"] != subject.as_str() {
        return None;
    }
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": digest.as_str(),
        "size": manifest.bytes.len(),
    });
    let own = document["artifactType"]
        .as_str()
        .filter(|text| !text.is_empty());
    if let Some(artifact_type) = own.or_else(|| document["config"]["mediaType"].as_str()) {
        descriptor["artifactType"] = artifact_type.into();
    }
    if let Some(annotations) = document
        .get("annotations")
        .filter(|value| value.is_object())
    {
        descriptor["annotations"] = annotations.clone();
    }
    Some(descriptor)
}
