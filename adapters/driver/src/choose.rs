//! The choice of an entry of an index by the caller.
//!
//! Responsible for nested indexes, and for pinning what was chosen. A task could not take a function along into a
//! checkpoint; a digest it can.

use std::fmt;

use windlass_core::manifest::Content;
use windlass_core::reference::Target;
use windlass_core::{Descriptor, Error, Failure, Manifest, Reference};

use crate::procedure::{Procedure, Requests};
use crate::repository::parsed;
use crate::request::RequestSpec;

/// How many indexes may be in each other (IDX-04).
const DEPTH: usize = 4;

/// Chooses an image by a function.
pub struct Choose<F> {
    reference: Reference,
    choose: F,
}

impl<F> Choose<F> {
    /// The function gets the entries of an index, and returns the number of one; `None` ends the procedure with an error.
    pub fn new(reference: &Reference, choose: F) -> Self {
        Self {
            reference: reference.clone(),
            choose,
        }
    }
}

impl<F: FnMut(&[Descriptor]) -> Option<usize> + Send + 'static> Procedure for Choose<F> {
    type Report = Reference;

    async fn run(mut self, requests: &impl Requests) -> Result<Reference, Failure> {
        let mut at = self.reference.clone();
        for _ in 0..=DEPTH {
            let manifest: Manifest = requests.ask(RequestSpec::manifest(&at)).await?;
            let document = parsed(&manifest)?;
            let Content::Index(index) = document.content() else {
                let (registry, repository) = (at.registry().clone(), at.repository().clone());
                let (tag, digest) = (self.reference.tag().cloned(), manifest.descriptor.digest);
                return Ok(Reference::new(registry, repository, tag, Some(digest)));
            };
            let chosen = (self.choose)(&index.manifests);
            let Some(entry) = chosen.and_then(|n| index.manifests.get(n)) else {
                return Err(refused(format!(
                    "no entry of {} was chosen",
                    document.digest()
                )));
            };
            at = at.with_target(Target::Digest(entry.digest.clone()));
        }
        Err(refused("indexes are nested too deeply".into()))
    }
}

impl<F> fmt::Debug for Choose<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choose")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

fn refused(what: String) -> Failure {
    Failure::new(vec![Error::Policy { what }])
}
