//! The end of a transfer: who is told, and who goes on.
//!
//! Responsible for giving back what is held first, and for who takes over when the one whose source is
//! used fails. Must not know how blobs move (`download`, `upload`).

use alloc::collections::VecDeque;
use alloc::format;

use super::{BlobKey, BlobSettled, Blobs, Phase, Recheck, Waiter, Wants};
use crate::digest::Digest;
use crate::error::{Error, Measure};
use crate::event::{Event, SkipReason};
use crate::ids::{Owner, TransferId};
use crate::ports::Ports;
use crate::store::StoreOp;
use crate::totals::Delivery;

impl Blobs {
    /// The one whose source is used failed. A partial that is held is given back first.
    pub(super) fn fail(
        &mut self,
        id: TransferId,
        error: Error,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if !transfer.has_partial {
            return self.over_or_failed(id, Some(error), ports);
        }
        if !error.is_mismatch() {
            return self.release(id, Some(error), ports);
        }
        // The next try must not begin with bytes that are not the blob's.
        let (store, digest) = transfer.stored()?;
        transfer.phase = Phase::Spoiled(error);
        ports.step(Owner::Transfer(id), store, StoreOp::Discard { digest });
        Ok(())
    }

    /// Nothing is outstanding any more and nothing wants it: give the partial back, then end.
    pub(super) fn stopped(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        let transfer = self.get(id)?;
        if !transfer.has_partial {
            return self.over_or_failed(id, None, ports);
        }
        if matches!(transfer.phase, Phase::Releasing(_)) {
            return Ok(());
        }
        self.release(id, None, ports)
    }

    /// Gives the partial back, then it failed with `error`, or was cancelled.
    pub(super) fn release(
        &mut self,
        id: TransferId,
        error: Option<Error>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let (store, digest) = transfer.stored()?;
        transfer.phase = Phase::Releasing(error);
        ports.step(Owner::Transfer(id), store, StoreOp::Release { digest });
        Ok(())
    }

    /// The blob is where it was wanted: everything that wants it is told.
    pub(super) fn over(
        &mut self,
        id: TransferId,
        delivery: Delivery,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        self.openings.room = self.openings.room.saturating_add(1);
        let transfer = self.get(id)?;
        let (size, digest) = (transfer.size, transfer.key.digest().clone());
        // Who receives it has to remove it from the spool, so it counts as moved, not as present.
        let delivery = match delivery {
            Delivery::Present if transfer.remove_after => Delivery::Moved(0),
            Delivery::Present | Delivery::Moved(_) | Delivery::Mounted => delivery,
        };
        transfer.remove_after = false;
        self.note_seen(id, delivery, ports.now)?;
        let transfer = self.get(id)?;
        // Some do not take the registry's word for it.
        let is_word =
            transfer.recheck != Recheck::Contradicted && !matches!(delivery, Delivery::Moved(_));
        let stays = |waiter: &Waiter| is_word && waiter.recheck == Recheck::Contradicted;
        let waiters: VecDeque<Waiter>;
        (transfer.waiters, waiters) = core::mem::take(&mut transfer.waiters)
            .into_iter()
            .partition(stays);
        let left = core::mem::take(&mut transfer.leaving);
        self.freed.extend(left);
        // They are told in any case.
        let next = self.next_waiter(id, ports);
        for (i, waiter) in waiters.iter().enumerate() {
            if waiter.size != size {
                // The bytes have the digest, so the descriptor of this waiter has a wrong size.
                let error = Error::mismatch(
                    format!("blob {digest}"),
                    Measure::of_size(waiter.size),
                    Measure::of_size(size),
                );
                self.tell(&digest, waiter, Err(error));
                continue;
            }
            // Only one of them moved it.
            let why = match delivery {
                Delivery::Moved(_) if i == 0 => None,
                Delivery::Moved(_) => Some(SkipReason::Elsewhere),
                Delivery::Mounted => Some(SkipReason::Mounted),
                Delivery::Present => Some(SkipReason::Present),
            };
            if waiter.wants == Wants::Task {
                let digest = digest.clone();
                let event = match why {
                    None => Event::Stored { digest, size },
                    Some(why) => Event::Skipped { digest, size, why },
                };
                ports.event(waiter.task, event);
            }
            let delivery = if i == 0 { delivery } else { Delivery::Present };
            self.tell(&digest, waiter, Ok(delivery));
        }
        next
    }

    /// Ends a transfer that was cancelled or failed; another one that waits takes over.
    pub(super) fn over_or_failed(
        &mut self,
        id: TransferId,
        error: Option<Error>,
        ports: &mut Ports<'_>,
    ) -> Result<(), Error> {
        let transfer = self.get(id)?;
        let task = transfer.leaving.front().copied();
        let task = task.or_else(|| transfer.waiters.front().map(|waiter| waiter.task));
        let phase = core::mem::replace(&mut transfer.phase, Phase::Idle);
        let left = core::mem::take(&mut transfer.leaving);
        transfer.has_partial = false;
        transfer.cancelling = false;
        let digest = transfer.key.digest().clone();
        let site = transfer.sent_to().map(|(site, _)| site);
        self.freed.extend(left);
        self.forget_wake(id, &phase);
        if let (
            Phase::Sending {
                spooled: Some((spool, Delivery::Moved(_))),
            },
            Some(task),
        ) = (&phase, task)
        {
            self.clear(*spool, &digest, task, ports);
        }
        if let (
            Phase::Spooling {
                session: Some(session),
            },
            Some(task),
        ) = (phase, task)
        {
            ports.exchanges.delete_upload(task, site?, session.url);
        }
        let transfer = self.get(id)?;
        let told = match (&error, transfer.using.take()) {
            (Some(_), Some(using)) => transfer.same_source(&using),
            (Some(_) | None, _) => VecDeque::new(),
        };
        let clears = transfer.remove_after && transfer.waiters.is_empty();
        if let (true, BlobKey::Store(spool, digest)) = (clears, transfer.key.clone()) {
            transfer.remove_after = false;
            transfer.leaving.extend(task);
            transfer.phase = Phase::Clearing;
            // It may still wait for its turn to begin, and would then begin while it is removed.
            if let Some(transfer) = self.transfers.get_mut(&id) {
                self.openings.leave(id, transfer);
            }
            ports.step(Owner::Transfer(id), spool, StoreOp::Remove { digest });
        } else {
            self.next_waiter(id, ports)?;
        }
        if let Some(error) = error {
            for waiter in told {
                self.tell(&digest, &waiter, Err(error.clone()));
            }
        }
        Ok(())
    }

    /// Goes on with the next waiter; without any the transfer is gone, and another one may begin.
    fn next_waiter(&mut self, id: TransferId, ports: &mut Ports<'_>) -> Result<(), Error> {
        if !self.get(id)?.waiters.is_empty() {
            return self.begin(id, ports);
        }
        self.remove(id);
        self.open_next(ports);
        Ok(())
    }

    pub(super) fn tell(
        &mut self,
        digest: &Digest,
        waiter: &Waiter,
        result: Result<Delivery, Error>,
    ) {
        self.freed.push(waiter.task);
        self.settled.push_back(BlobSettled {
            task: waiter.task,
            wants: waiter.wants,
            digest: digest.clone(),
            result,
        });
    }
}
