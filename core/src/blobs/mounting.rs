//! What this session has seen in repositories, and where a blob can be mounted from.
//!
//! Responsible for what moving a blob shows about repositories, and for the candidates of a mount. Must not know
//! how a mount is requested (`op`).

use alloc::vec::Vec;

use super::{BlobKey, BlobSettled, BlobSource, Blobs, Recheck, Waiter};
use crate::digest::Digest;
use crate::error::Error;
use crate::event::{Event, SkipReason};
use crate::ids::TransferId;
use crate::op::Site;
use crate::ports::Ports;
use crate::reference::Repository;
use crate::task::MountFrom;
use crate::time::Time;
use crate::totals::Delivery;

impl Blobs {
    /// The repositories of a registry from which blobs of a task will probably be mounted.
    pub(crate) fn foreseen_mounts<'a>(
        &self,
        to: &Site,
        blobs: impl Iterator<Item = (&'a Digest, u64)>,
        now: Time,
    ) -> Vec<Repository> {
        /// A token request names each of them.
        const MOST: usize = 8;
        let mut found = Vec::new();
        for (digest, size) in blobs {
            if self.seen.has(to, (digest, size), now) {
                continue;
            }
            let candidates = self.seen.candidates(to, digest).into_iter();
            for candidate in candidates.take(self.seen.tries(&to.origin, size)) {
                if found.len() < MOST && !found.contains(&candidate) {
                    found.push(candidate);
                }
            }
        }
        found
    }

    /// A repository may not have a blob, whatever was seen there.
    pub(crate) fn forget_seen(&mut self, key: &BlobKey) {
        if let BlobKey::Repository(site, digest) = key {
            self.seen.forget(site, digest);
        }
    }

    /// Whether this session has seen the blob where it is wanted.
    pub(super) fn is_known_to_be_there(&self, key: &BlobKey, size: u64, now: Time) -> bool {
        match key {
            BlobKey::Repository(site, digest) => self.seen.has(site, (digest, size), now),
            BlobKey::Store(..) => false,
        }
    }

    /// A blob is where it was wanted, without a request.
    pub(super) fn skip(&mut self, key: &BlobKey, waiter: &Waiter, ports: &mut Ports<'_>) {
        let (digest, size) = (key.digest().clone(), waiter.size);
        let why = SkipReason::Present;
        ports.event(waiter.task, Event::Skipped { digest, size, why });
        self.settled.push_back(BlobSettled {
            task: waiter.task,
            wants: waiter.wants,
            digest: key.digest().clone(),
            result: Ok(Delivery::Present),
        });
    }

    /// Notes where a blob was found, or where it came to.
    pub(super) fn note_seen(
        &mut self,
        id: TransferId,
        delivery: Delivery,
        now: Time,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (digest, size) = (transfer.key.digest().clone(), transfer.size);
        let site = match (&transfer.key, &transfer.using, delivery) {
            (BlobKey::Repository(site, _), _, _) => site.clone(),
            // From the registry itself, not from a mirror or a URL.
            (BlobKey::Store(..), Some((BlobSource::Site(site), urls)), Delivery::Moved(1..))
                if site.sources().is_empty() && urls.is_empty() =>
            {
                site.clone()
            }
            (BlobKey::Store(..), ..) => return Ok(()),
        };
        self.seen.note(&site, (&digest, size), now);
        Ok(())
    }

    /// A blob was relayed: the repository that it came from has it, too.
    pub(super) fn note_relayed(&mut self, id: TransferId, now: Time) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (digest, size) = (transfer.key.digest().clone(), transfer.size);
        // From the registry itself, not from a mirror or a URL.
        if let Some((BlobSource::Site(site), urls)) = &transfer.using
            && site.sources().is_empty()
            && urls.is_empty()
        {
            let site = site.clone();
            self.seen.note(&site, (&digest, size), now);
        }
        Ok(())
    }

    /// Where a blob can be mounted from, the best last: the source, if it is in the same registry; repositories in
    /// which this session has seen it; those that the caller named. If the registry is known to look for it
    /// itself, that is asked after the others.
    pub(super) fn mounts(
        &mut self,
        id: TransferId,
        waiter: &Waiter,
        ports: &Ports<'_>,
    ) -> Result<Vec<MountFrom>, Error> {
        let transfer = self.get(id)?;
        let (site, digest) = transfer.sent_to()?;
        let mut found = Vec::new();
        if waiter.recheck == Recheck::None {
            if let BlobSource::Site(from) = &waiter.source
                && from.is_beside(&site)
            {
                found.push(from.repository.clone().into());
            }
            let seen = self.seen.candidates(&site, &digest).into_iter();
            for from in seen
                .map(MountFrom::from)
                .chain(waiter.mount_from.iter().cloned())
            {
                if !found.contains(&from) {
                    found.push(from);
                }
            }
            let searches = ports.exchanges.searches_for_mounts(&site.origin);
            let is_left = |from: &MountFrom| match from {
                MountFrom::Repository(from) => *from != site.repository,
                MountFrom::Anywhere => searches.is_none(),
            };
            found.retain(is_left);
            found.truncate(self.seen.tries(&site.origin, waiter.size));
            // If nothing is mounted, the POST has opened the upload session that is needed.
            found.extend((searches == Some(true)).then_some(MountFrom::Anywhere));
        }
        self.get(id)?.mounts.clone_from(&found);
        found.reverse();
        Ok(found)
    }

    /// All candidates were tried up to the one that a blob was mounted from, if it was.
    pub(super) fn mounts_ended(
        &mut self,
        id: TransferId,
        mounted: Option<&MountFrom>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let tried = core::mem::take(&mut transfer.mounts);
        let (site, digest) = transfer.sent_to()?;
        let vain = tried.iter().take_while(|from| Some(*from) != mounted);
        for from in vain.filter_map(MountFrom::repository) {
            self.seen.not_mounted(&site.origin, &digest, from);
        }
        if mounted.is_some() {
            self.seen.mounted(&site.origin);
        }
        Ok(())
    }
}
