//! One image to several destinations, read from its source once.
//!
//! ```text
//!  source ─▶ the first one that needs its bytes, a store before registries ─▶ the others
//!     └────▶ those in its own registry, which mount them
//! ```
//!
//! Responsible for where each destination is copied from. The others are copied from the first one, which has all of
//! it then: so nothing is held on the way, and where a destination has the image already nothing is read. A source
//! that feeds several destinations at once would go as slowly as the slowest of them, or fill a disk.

use windlass_core::reference::{Tag, Target};
use windlass_core::{Carry, Digest, ErrorKind, Failure, Platforms, Report};

use crate::procedure::{Procedure, Requests};
use crate::request::{ImageLocation, RequestSpec};

/// Copies an image to several destinations. The report has what became of each, in their order: one that fails does
/// not end the others.
///
/// The source is read once. Destinations in its registry mount its blobs; of the others one is copied from the source (a
/// store if there is one, otherwise the first), and the rest from that one, or, where that cannot be read, from the
/// source after all.
#[derive(Debug)]
pub struct CopyToEach {
    source: ImageLocation,
    destinations: Vec<ImageLocation>,
    platforms: Platforms,
    carry: Carry,
    nondistributable: bool,
    more_tags: Vec<Tag>,
}

impl CopyToEach {
    /// All platforms, and nothing that refers to the image.
    pub fn new(
        source: impl Into<ImageLocation>,
        destinations: impl IntoIterator<Item = ImageLocation>,
    ) -> Self {
        Self {
            source: source.into(),
            destinations: destinations.into_iter().collect(),
            platforms: Platforms::All,
            carry: Carry::default(),
            nondistributable: false,
            more_tags: Vec::new(),
        }
    }

    /// Which platforms of an index are wanted.
    pub fn platforms(&mut self, platforms: Platforms) {
        self.platforms = platforms;
    }

    /// What is copied with the image because it belongs to it.
    pub fn carry(&mut self, carry: Carry) {
        self.carry = carry;
    }

    /// Moves foreign layers, too.
    pub const fn include_nondistributable(&mut self) {
        self.nondistributable = true;
    }

    /// Further tags for the image at each destination that is a registry: see
    /// [`Task::and_tags`](windlass_core::Task::and_tags). Layouts have no such names.
    pub fn and_tags(&mut self, tags: impl IntoIterator<Item = Tag>) {
        self.more_tags.extend(tags);
    }

    fn copy(&self, source: &ImageLocation, destination: &ImageLocation) -> RequestSpec {
        let mut spec = RequestSpec::copy(source.clone(), destination.clone());
        spec.platforms(self.platforms.clone());
        spec.carry(self.carry.clone());
        if matches!(destination, ImageLocation::Registry(_)) {
            spec.and_tags(self.more_tags.iter().cloned());
        }
        if self.nondistributable {
            spec.include_nondistributable();
        }
        spec
    }

    /// Whether the bytes of the source go to this destination: blobs of one registry are mounted.
    fn needs_bytes(&self, destination: &ImageLocation) -> bool {
        match (&self.source, destination) {
            (ImageLocation::Registry(from), ImageLocation::Registry(to)) => {
                from.registry() != to.registry()
            }
            (ImageLocation::Registry(_), ImageLocation::Store { .. }) => true,
            (ImageLocation::Store { .. }, _) => false,
        }
    }

    /// The order in which they are copied: first the one that others are copied from.
    fn order(&self) -> Vec<usize> {
        let rank = |at: &usize| match &self.destinations[*at] {
            destination if !self.needs_bytes(destination) => 2,
            ImageLocation::Registry(_) => 1,
            ImageLocation::Store { .. } => 0,
        };
        let mut order: Vec<usize> = (0..self.destinations.len()).collect();
        order.sort_by_key(rank);
        order
    }
}

impl Procedure for CopyToEach {
    type Report = Vec<Result<Report, Failure>>;

    async fn run(mut self, requests: &impl Requests) -> Result<Self::Report, Failure> {
        let mut each: Vec<Option<Result<Report, Failure>>> = Vec::new();
        each.resize_with(self.destinations.len(), || None);
        let mut nearer = None;
        for at in self.order() {
            let destination = self.destinations[at].clone();
            let needs_bytes = self.needs_bytes(&destination);
            let from = nearer.as_ref().filter(|_| needs_bytes);
            let mut copied: Result<Report, Failure> = requests
                .ask(self.copy(from.unwrap_or(&self.source), &destination))
                .await;
            if let (Some(_), Err(failure)) = (from, &copied)
                && matches!(failure.kind(), ErrorKind::Auth | ErrorKind::NotFound)
            {
                copied = requests.ask(self.copy(&self.source, &destination)).await;
            }
            if let Ok(report) = &copied {
                // All get the same image, also if the source's tag moves.
                self.source = pinned(&self.source, &report.root.digest);
                if needs_bytes && nearer.is_none() && is_whole(report) {
                    nearer = Some(pinned(&destination, &report.root.digest));
                }
            }
            each[at] = Some(copied);
        }
        Ok(each.into_iter().flatten().collect())
    }
}

/// Whether a destination has all that was to be copied.
fn is_whole(report: &Report) -> bool {
    report.carried.as_ref().is_none_or(|it| it.failed == 0)
}

fn pinned(location: &ImageLocation, root: &Digest) -> ImageLocation {
    match location {
        ImageLocation::Registry(reference) => {
            ImageLocation::Registry(reference.with_target(Target::Digest(root.clone())))
        }
        ImageLocation::Store { .. } => location.clone(),
    }
}
