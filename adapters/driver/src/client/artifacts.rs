//! What a client does with artifacts.

use std::path::Path;

use windlass_core::reference::Tag;
use windlass_core::{Platform, Reference};

use super::{Client, ProcedureRequest};
use crate::artifact::{Artifact, Attach, PullArtifact, PushArtifact};

impl<D> Client<D> {
    /// Pushes an artifact: its content, which is not held in memory unless it was, then its manifest. If it has a
    /// [`subject`](Artifact::subject) and the registry lists no referrers itself, it is added to the list of that.
    pub fn push_artifact(
        &self,
        reference: &Reference,
        artifact: Artifact,
    ) -> ProcedureRequest<'_, D, PushArtifact> {
        self.procedure(PushArtifact::new(reference, artifact))
    }

    /// Attaches an artifact, such as an SBOM or a signature, to what a reference stands for: pushes it by its digest, with
    /// that as its subject.
    pub fn attach(
        &self,
        subject: &Reference,
        artifact: Artifact,
    ) -> ProcedureRequest<'_, D, Attach> {
        self.procedure(Attach::new(subject, artifact))
    }

    /// Pulls the files of an artifact into a folder, each verified before it has its name: the parts that have a title. A
    /// title that leads out of the folder, or through a symbolic link, ends it with an error; all are checked before
    /// anything is fetched. Files of these names are replaced. After a failure, the next run goes on with what was
    /// fetched.
    pub fn pull_artifact(
        &self,
        reference: &Reference,
        folder: impl AsRef<Path>,
    ) -> ProcedureRequest<'_, D, PullArtifact> {
        self.procedure(PullArtifact::new(reference, folder))
    }
}

impl<D> ProcedureRequest<'_, D, PushArtifact> {
    /// Lets further tags refer to the artifact. The report names all of them.
    pub fn and_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.procedure.and_tags(tags);
        self
    }
}

impl<D> ProcedureRequest<'_, D, Attach> {
    /// Of an index, to the image for this platform instead of the index.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.procedure.platform(platform);
        self
    }
}

impl<D> ProcedureRequest<'_, D, PullArtifact> {
    /// Of an index, what is for this platform.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.procedure.platform(platform);
        self
    }
}
