//! Jobs that need no network: steps of stores.
//!
//! Responsible for what goes wrong in them. Must not know what stores do.

use std::sync::Arc;

use windlass_core::call::Done;
use windlass_core::{StoreAnswer, StoreCall, StoreError, StoreErrorKind, StoreOp};
use windlass_driver::Stores;

use super::fault::Fault;
use super::world::World;

impl World<'_> {
    pub(crate) fn store_step(&mut self, process: usize, call: StoreCall) -> Done {
        let mut kinds = vec![Fault::StepFails, Fault::LostStep, Fault::StoreLies];
        if let StoreOp::Import { .. } | StoreOp::Load { .. } = call.op() {
            kinds.push(Fault::ReadFlips);
        }
        if let StoreOp::Commit { .. } | StoreOp::Put { .. } | StoreOp::Tag { .. } = call.op() {
            kinds.push(Fault::SyncFails);
        }
        // To give back and to remove are what follows failures; a store that cannot even do this
        // is not used again before it is opened anew.
        if let StoreOp::Commit { digest, .. } = call.op()
            && matches!(&self.economy.cut, Some((cut, ..)) if cut == digest)
        {
            // All of it had come, or the rest has: if it is removed, it is fetched again from its start.
            self.economy.cut = None;
        }
        let always = matches!(call.op(), StoreOp::Release { .. } | StoreOp::Remove { .. });
        let fault = if !always && self.seldom() {
            self.occasion(&kinds)
        } else {
            None
        };
        self.check_gathered(&call);
        let stores = Arc::clone(&self.processes[process].stores);
        match fault {
            Some(Fault::StepFails) => {
                let kinds = [
                    StoreErrorKind::Io,
                    StoreErrorKind::Full,
                    StoreErrorKind::Denied,
                    StoreErrorKind::Descriptors,
                ];
                let kind = kinds[usize::try_from(self.choose.below(4)).expect("small")];
                call.finish(Err(StoreError::new(kind, "planned")))
            }
            Some(Fault::StoreLies) => {
                let answer = match call.op() {
                    StoreOp::Begin { .. }
                    | StoreOp::Hash { .. }
                    | StoreOp::Load { .. }
                    | StoreOp::Import { .. }
                    | StoreOp::Find { .. } => StoreAnswer::Written,
                    _ => StoreAnswer::Loaded(b"{}".to_vec()),
                };
                call.finish(Ok(answer))
            }
            Some(Fault::SyncFails) => {
                if let StoreOp::Commit { size, .. } = *call.op() {
                    self.economy.wasted += size;
                }
                self.each_disk(|notes| notes.sync_fails = true);
                let done = stores.run(call);
                self.each_disk(|notes| notes.sync_fails = false);
                self.after_step();
                done
            }
            Some(Fault::LostStep) => {
                let id = call.id();
                if self.choose.below(2) == 1 {
                    let _lost = stores.run(call);
                    self.after_step();
                }
                Done::lost(id)
            }
            Some(_) => {
                let StoreOp::Import { size, .. } = *call.op() else {
                    return self.flipped(&stores, call);
                };
                self.economy.wasted += size;
                self.flipped(&stores, call)
            }
            None => {
                let done = stores.run(call);
                self.after_step();
                done
            }
        }
    }

    pub(crate) fn flipped(&mut self, stores: &Stores, call: StoreCall) -> Done {
        self.flip_reads(true);
        let done = stores.run(call);
        self.flip_reads(false);
        self.after_step();
        done
    }

    pub(crate) fn flip_reads(&self, flips: bool) {
        for disk in &self.disks {
            disk.notes().flips = flips;
        }
    }
}
