//! Reading what refers to a manifest.
//!
//! ```text
//!  a tag: asking ─▶ getting ─┐
//!  a digest ─────────────────┴▶ listing ─┬─ by the registry, page by page ─────────▶ listed
//!                                        └─ it has no such API ─▶ reading the tag ─▶ listed
//! ```
//!
//! Responsible for the order of these, and for what is in the list: each manifest once, and of the type that was
//! asked for, whatever the registry says that it filtered (RFR-07). Must not know what a list looks like (`op`,
//! `referrers`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pages::Pages;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::exchanges::Exchanges;
use crate::ids::NodeId;
use crate::manifest::{Content, Document};
use crate::op::{ManifestGet, ManifestHead, Operation, Outcome, ReferrersGet, ReferrersPage, Site};
use crate::reference::Target;
use crate::referrers;
use crate::scope::Scopes;
use crate::task::{Referrers, ReferrersSource, ReferrersTask, TaskKind, TaskReport};
use crate::tasks::TaskPorts;
use crate::uri::Url;

/// A list of referrers that is being read.
#[derive(Debug)]
pub(crate) struct ReferrersState {
    site: Site,
    task: ReferrersTask,
    stage: Stage,
    pages: Pages,
    found: Vec<Descriptor>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// By HEAD, then by GET: what is the subject?
    Resolving,
    /// The registry is asked for the referrers of this manifest.
    Listing(Digest),
    /// The tag with the referrers of this manifest is read.
    ReadingTag(Digest),
}

impl ReferrersState {
    pub(super) fn new(task: ReferrersTask, exchanges: &Exchanges) -> Self {
        // Mirrors may have neither the API nor the tag.
        let site = exchanges.lists(&task.reference);
        Self {
            site,
            task,
            stage: Stage::Resolving,
            pages: Pages::default(),
            found: Vec::new(),
        }
    }

    pub(super) fn requested(&self) -> TaskKind {
        TaskKind::Referrers(self.task.clone())
    }

    pub(super) fn begin(&mut self, ports: &mut TaskPorts<'_>) -> Result<(), Error> {
        ports.config().lists(&self.task.reference)?;
        match self.task.reference.target() {
            Target::Digest(subject) => self.list(subject, ports),
            target @ Target::Tag(_) => {
                let site = self.site.clone();
                let op = ManifestHead { site, target };
                self.exchange(Operation::ManifestHead(op), ports);
            }
        }
        Ok(())
    }

    pub(super) fn exchange_ended(
        &mut self,
        result: Result<Outcome, Error>,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        match (self.stage.clone(), result) {
            (
                Stage::Resolving,
                Ok(Outcome::Found {
                    digest: Some(digest),
                    ..
                }),
            ) => self.list(digest, ports),
            // The answer to a HEAD does not say why (HTTP-22).
            (Stage::Resolving, Ok(Outcome::Found { .. } | Outcome::Absent)) => {
                self.get(self.task.reference.target(), ports);
            }
            (Stage::Resolving, Ok(Outcome::Document { document, .. })) => {
                self.list(document.digest().clone(), ports);
            }
            (Stage::Listing(subject), Ok(Outcome::Referrers(page))) => {
                return self.page_read(subject, *page, ports);
            }
            (Stage::Listing(subject), Ok(Outcome::Unsupported)) => self.read_tag(subject, ports),
            (Stage::ReadingTag(subject), Ok(Outcome::Document { document, .. })) => {
                return self.tag_read(subject, &document, ports);
            }
            // A repository that is not there has not got an empty list.
            (Stage::ReadingTag(subject), Err(error))
                if error.kind() == ErrorKind::NotFound
                    && !error
                        .registry_errors()
                        .is_some_and(|errors| errors.has("NAME_UNKNOWN")) =>
            {
                self.finish(subject, ReferrersSource::Nothing, ports);
            }
            (_, Err(error)) => return Err(error),
            (stage, Ok(outcome)) => {
                let what = format!("{stage:?} ended in {outcome:?}");
                return Err(Error::internal(&what));
            }
        }
        Ok(())
    }

    fn list(&mut self, subject: Digest, ports: &mut TaskPorts<'_>) {
        if ports.lists_referrers(&self.site.origin) {
            self.read_page(subject, None, ports);
        } else {
            self.read_tag(subject, ports);
        }
    }

    fn page_read(
        &mut self,
        subject: Digest,
        page: ReferrersPage,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        let ReferrersPage { document, next } = page;
        self.take(&document, &subject, ports)?;
        let Some(next) = next else {
            self.finish(subject, ReferrersSource::Api, ports);
            return Ok(());
        };
        self.pages.follow(&next, ports.limits(), &what(&subject))?;
        self.read_page(subject, Some(next), ports);
        Ok(())
    }

    fn tag_read(
        &mut self,
        subject: Digest,
        document: &Document,
        ports: &mut TaskPorts<'_>,
    ) -> Result<(), Error> {
        // GitLab takes such a tag for the digest that it is made of.
        if *document.digest() == subject {
            self.finish(subject, ReferrersSource::Nothing, ports);
            return Ok(());
        }
        referrers::check(document).map_err(|why| {
            let what = format!("{} cannot be read: {why}", what(&subject));
            Error::Policy { what }
        })?;
        self.take(document, &subject, ports)?;
        self.finish(subject, ReferrersSource::Tag, ports);
        Ok(())
    }

    /// Takes what a list has of the type that is wanted.
    fn take(
        &mut self,
        document: &Document,
        subject: &Digest,
        ports: &TaskPorts<'_>,
    ) -> Result<(), Error> {
        let Content::Index(index) = document.content() else {
            return Err(Error::internal("a list of referrers is no index"));
        };
        self.pages.read(document.bytes().len() as u64);
        let wanted = self.task.artifact_type.as_ref();
        let is_wanted = |entry: &&Descriptor| {
            wanted.is_none_or(|wanted| entry.artifact_type.as_ref() == Some(wanted))
        };
        self.found
            .extend(index.manifests.iter().filter(is_wanted).cloned());
        let most = ports.limits().objects;
        if self.found.len() > most {
            let what = format!("{} has more than {most} entries", what(subject));
            return Err(Error::Policy { what });
        }
        Ok(())
    }

    fn finish(&mut self, subject: Digest, source: ReferrersSource, ports: &mut TaskPorts<'_>) {
        let mut referrers = core::mem::take(&mut self.found);
        let key = |entry: &Descriptor| (entry.artifact_type.clone(), entry.digest.clone());
        referrers.sort_by_cached_key(key);
        // A page may repeat what an earlier one had (RFR-11).
        let mut known = BTreeSet::new();
        referrers.retain(|entry| known.insert(entry.digest.clone()));
        ports.finish(TaskReport::Referrers(Referrers {
            subject,
            referrers,
            source,
        }));
    }

    fn read_page(&mut self, subject: Digest, page: Option<Url>, ports: &mut TaskPorts<'_>) {
        self.stage = Stage::Listing(subject.clone());
        let op = ReferrersGet {
            site: self.site.clone(),
            subject,
            artifact_type: self.task.artifact_type.clone(),
            page,
            limit: ports.limits().document,
        };
        self.exchange(Operation::ReferrersGet(op), ports);
    }

    fn read_tag(&mut self, subject: Digest, ports: &mut TaskPorts<'_>) {
        let tag = referrers::tag(&subject);
        self.stage = Stage::ReadingTag(subject);
        self.get(Target::Tag(tag), ports);
    }

    fn get(&self, target: Target, ports: &mut TaskPorts<'_>) {
        let op = ManifestGet::new(self.site.clone(), target, None, ports.limits().document);
        self.exchange(Operation::ManifestGet(op), ports);
    }

    fn exchange(&self, op: Operation, ports: &mut TaskPorts<'_>) {
        let scopes = Scopes::pull(&self.site.repository);
        ports.exchange(NodeId(0), self.site.clone(), op, scopes);
    }
}

fn what(subject: &Digest) -> String {
    format!("the list of the referrers of {subject}")
}
