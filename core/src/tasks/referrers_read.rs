//! Reading the list of what refers to one manifest.
//!
//! ```text
//!  listing ─┬─ by the registry, page by page ────────┬─▶ read
//!           └─ it has no such API ─▶ reading the tag ─┤
//!            of one type: reading manifests ──▶ read ◀┘
//! ```
//!
//! Responsible for the order of these, and for what is in the list: each manifest once, and of the type that was
//! asked for, whatever the registry says that it filtered (RFR-07). Clients that keep a list at a tag write types into
//! it that are wrong at times, so the manifests decide there; and some registries list the type of the configuration
//! in place of the manifest's own, so the manifests of entries that seem to be of another type decide (RFR-16). Must
//! not know what a list looks like (`op`, `referrers`), nor what it is read for.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pages::Pages;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::ids::NodeId;
use crate::manifest::{Content, Document};
use crate::op::{ManifestGet, OpOutcome, Operation, ReferrersGet, ReferrersPage, Site};
use crate::reference::Target;
use crate::referrers;
use crate::scope::Scopes;
use crate::task::{Referrers, ReferrersSource};
use crate::tasks::TaskPorts;
use crate::uri::Url;

/// A list of referrers that is being read.
#[derive(Debug)]
pub(super) struct ListReader {
    site: Site,
    subject: Digest,
    /// What the registry is asked for.
    artifact_type: Option<String>,
    /// What is kept, by the manifests where the list does not decide.
    wanted: Option<String>,
    scopes: Scopes,
    step: Step,
    pages: Pages,
    found: Vec<Descriptor>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The registry is asked.
    Listing,
    /// The tag is read.
    ReadingTag,
    /// Manifests of the list are read, for their types. This many results are still to come.
    Classifying {
        left: usize,
        source: ReferrersSource,
    },
}

impl ListReader {
    pub(super) fn new(
        site: Site,
        subject: Digest,
        artifact_type: Option<String>,
        scopes: Scopes,
    ) -> Self {
        Self {
            site,
            subject,
            wanted: artifact_type.clone(),
            artifact_type,
            scopes,
            step: Step::Listing,
            pages: Pages::default(),
            found: Vec::new(),
        }
    }

    /// Lets the registry leave out entries of other types, if it does, and keeps all that it lists: for a caller that
    /// decides by the manifests itself.
    pub(super) fn narrowed(self, artifact_type: Option<String>) -> Self {
        Self {
            artifact_type,
            ..self
        }
    }

    /// Begins. `node` gets the results of its exchanges.
    pub(super) fn begin(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) {
        if ports.lists_referrers(&self.site.origin) {
            self.read_page(node, None, ports);
        } else {
            self.read_tag(node, ports);
        }
    }

    /// Takes the result of an exchange. The list, if it is complete.
    pub(super) fn ended(
        &mut self,
        node: NodeId,
        result: Result<OpOutcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<Option<Referrers>, Error> {
        match (self.step, result) {
            (Step::Listing, Ok(OpOutcome::Referrers(page))) => self.page_read(node, *page, ports),
            (Step::Listing, Ok(OpOutcome::Unsupported)) => {
                self.read_tag(node, ports);
                Ok(None)
            }
            (Step::ReadingTag, Ok(OpOutcome::Document { document, .. })) => {
                self.tag_read(node, &document, ports)
            }
            (Step::Classifying { left, source }, Ok(OpOutcome::Document { document, .. })) => {
                self.classify(&document);
                Ok(self.classified(left, source))
            }
            // A list may name what is gone; it says the type of that.
            (Step::Classifying { left, source }, Err(error))
                if error.kind() == ErrorKind::NotFound =>
            {
                Ok(self.classified(left, source))
            }
            // A repository that is not there has not got an empty list.
            (Step::ReadingTag, Err(error))
                if error.kind() == ErrorKind::NotFound
                    && !error
                        .registry_errors()
                        .is_some_and(|errors| errors.has("NAME_UNKNOWN")) =>
            {
                Ok(Some(self.read(ReferrersSource::Nothing)))
            }
            (_, Err(error)) => Err(error),
            (step, Ok(outcome)) => {
                let what = format!("{step:?} ended in {outcome:?}");
                Err(Error::internal(&what))
            }
        }
    }

    fn page_read(
        &mut self,
        node: NodeId,
        page: ReferrersPage,
        ports: &mut TaskPorts<'_>,
    ) -> Result<Option<Referrers>, Error> {
        let ReferrersPage { document, next } = page;
        self.take(&document, ports)?;
        let Some(next) = next else {
            let doubted = self.doubted();
            return Ok(self.read_manifests(node, doubted, ReferrersSource::Api, ports));
        };
        let what = self.what();
        self.pages.follow(&next, ports.limits(), &what)?;
        self.read_page(node, Some(next), ports);
        Ok(None)
    }

    fn tag_read(
        &mut self,
        node: NodeId,
        document: &Document,
        ports: &mut TaskPorts<'_>,
    ) -> Result<Option<Referrers>, Error> {
        // GitLab takes such a tag for the digest that it is made of.
        if *document.digest() == self.subject {
            return Ok(Some(self.read(ReferrersSource::Nothing)));
        }
        referrers::entries(document).map_err(|why| {
            let what = format!("{} cannot be read: {why}", self.what());
            Error::Policy { what }
        })?;
        self.take(document, ports)?;
        let all = self.found.iter().filter(|_| self.wanted.is_some());
        let all = all.map(|it| it.digest.clone()).collect();
        Ok(self.read_manifests(node, all, ReferrersSource::Tag, ports))
    }

    /// The manifests of which the registry does not list the wanted type, though they may have it.
    fn doubted(&self) -> BTreeSet<Digest> {
        let Some(wanted) = &self.wanted else {
            return BTreeSet::new();
        };
        let (good, doubted): (Vec<_>, Vec<_>) = self
            .found
            .iter()
            .partition(|it| it.artifact_type.as_ref() == Some(wanted));
        let good: BTreeSet<&Digest> = good.into_iter().map(|it| &it.digest).collect();
        let doubted = doubted.into_iter().map(|it| &it.digest);
        doubted.filter(|it| !good.contains(it)).cloned().collect()
    }

    /// Reads manifests for their types. The list, if there are none to be read.
    fn read_manifests(
        &mut self,
        node: NodeId,
        digests: BTreeSet<Digest>,
        source: ReferrersSource,
        ports: &mut TaskPorts<'_>,
    ) -> Option<Referrers> {
        if digests.is_empty() {
            return Some(self.read(source));
        }
        let left = digests.len();
        self.step = Step::Classifying { left, source };
        for digest in digests {
            self.read_manifest(node, Target::Digest(digest), ports);
        }
        None
    }

    /// Puts a manifest's type in place of what the list says of it.
    fn classify(&mut self, document: &Document) {
        let artifact_type = referrers::entry(document).artifact_type;
        let digest = document.digest();
        for entry in self.found.iter_mut().filter(|it| it.digest == *digest) {
            entry.artifact_type.clone_from(&artifact_type);
        }
    }

    /// One of `left` results is here. The list, if it was the last.
    fn classified(&mut self, left: usize, source: ReferrersSource) -> Option<Referrers> {
        let left = left.saturating_sub(1);
        self.step = Step::Classifying { left, source };
        (left == 0).then(|| self.read(source))
    }

    /// Takes what a list has.
    fn take(&mut self, document: &Document, ports: &TaskPorts<'_>) -> Result<(), Error> {
        let Content::Index(index) = document.content() else {
            return Err(Error::internal("a list of referrers is no index"));
        };
        self.pages.read(document.bytes().len() as u64);
        self.found.extend(index.manifests.iter().cloned());
        let most = ports.limits().objects;
        if self.found.len() > most {
            let what = format!("{} has more than {most} entries", self.what());
            return Err(Error::Policy { what });
        }
        Ok(())
    }

    fn keep_wanted(&mut self) {
        if let Some(wanted) = &self.wanted {
            self.found
                .retain(|entry| entry.artifact_type.as_ref() == Some(wanted));
        }
    }

    fn read(&mut self, source: ReferrersSource) -> Referrers {
        self.keep_wanted();
        let mut referrers = core::mem::take(&mut self.found);
        let key = |entry: &Descriptor| (entry.artifact_type.clone(), entry.digest.clone());
        referrers.sort_by_cached_key(key);
        // A page may repeat what an earlier one had (RFR-11).
        let mut known = BTreeSet::new();
        referrers.retain(|entry| known.insert(entry.digest.clone()));
        Referrers {
            subject: self.subject.clone(),
            referrers,
            source,
        }
    }

    fn read_page(&mut self, node: NodeId, page: Option<Url>, ports: &mut TaskPorts<'_>) {
        self.step = Step::Listing;
        let op = ReferrersGet {
            site: self.site.clone(),
            subject: self.subject.clone(),
            artifact_type: self.artifact_type.clone(),
            page,
            limit: ports.limits().document,
        };
        self.exchange(node, Operation::ReferrersGet(op), ports);
    }

    fn read_tag(&mut self, node: NodeId, ports: &mut TaskPorts<'_>) {
        self.step = Step::ReadingTag;
        self.read_manifest(node, Target::Tag(referrers::tag(&self.subject)), ports);
    }

    fn read_manifest(&self, node: NodeId, target: Target, ports: &mut TaskPorts<'_>) {
        let limit = ports.limits().document;
        let op = ManifestGet::new(self.site.clone(), target, None, limit);
        self.exchange(node, Operation::ManifestGet(op), ports);
    }

    fn exchange(&self, node: NodeId, op: Operation, ports: &mut TaskPorts<'_>) {
        ports.exchange(node, self.site.clone(), op, self.scopes.clone());
    }

    fn what(&self) -> String {
        format!("the list of the referrers of {}", self.subject)
    }
}
