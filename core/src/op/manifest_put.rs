//! `PUT /v2/<name>/manifests/<reference>` (PUSHM-01).

use alloc::format;
use alloc::sync::Arc;

use http::{Method, header};

use super::{Answer, Draft, Outcome, Site, Verdict};
use crate::call::{Expect, Payload};
use crate::descriptor::Descriptor;
use crate::reference::Target;

/// Sends a manifest, byte for byte as it is.
#[derive(Clone, Debug)]
pub(crate) struct ManifestPut {
    pub(crate) site: Site,
    pub(crate) target: Target,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Arc<[u8]>,
}

impl ManifestPut {
    pub(super) fn draft(&self) -> Draft {
        let url = self.site.url(&format!("manifests/{}", self.target));
        let mut draft = Draft::new(Method::PUT, url, Expect::Head)
            .with(header::CONTENT_TYPE, &self.descriptor.media_type);
        draft.payload = Payload::Bytes(self.bytes.clone());
        draft
    }

    pub(super) fn answer(self, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            // PUSHM-04. Another algorithm than ours says nothing we can check.
            let ours = &self.descriptor.digest;
            let said = answer.content_digest();
            return match said.filter(|said| said.algorithm() == ours.algorithm()) {
                Some(said) if said != *ours => Verdict::Failed(
                    answer.peer(format!("says it stored {said}, but was sent {ours}")),
                ),
                Some(_) | None => Verdict::Done(Outcome::Put),
            };
        }
        let failure = answer.failure(&format!(
            "repository `{}/{}`",
            self.site.registry, self.site.repository
        ));
        let said = answer.said();
        if answer.denied.is_none()
            && (said.has("MANIFEST_BLOB_UNKNOWN") || said.has("BLOB_UNKNOWN"))
        {
            return Verdict::Done(Outcome::Childless(failure));
        }
        Verdict::Failed(failure)
    }
}
