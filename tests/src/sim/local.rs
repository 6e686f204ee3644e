//! Jobs that need no network: steps of stores, questions for credentials.
//!
//! Responsible for what goes wrong in them. Must not know what stores do.

use std::sync::Arc;

use windlass_core::call::Done;
use windlass_core::credential::{CredentialAnswer, CredentialCall, Secret};
use windlass_core::{StoreAnswer, StoreCall, StoreError, StoreErrorKind, StoreOp};
use windlass_driver::Stores;

use super::fault::Fault;
use super::plan::Access;
use super::secrets::mark;
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

    pub(crate) fn credentials(&mut self, call: CredentialCall) -> Done {
        if let Some(answer) = self.credentials_of_mirror(call.registry().as_str()) {
            return call.finish(answer);
        }
        if self.occasion(&[Fault::NoCredentials]).is_some() {
            let lost = self.choose.below(2) == 1;
            let owner = usize::from(call.registry().as_str() == "reg1.example");
            if self.plan.settings[owner].options.hidden.is_some() {
                // To strangers this registry has nothing: all of it may be moved once more.
                let known = self.plan.pictures.iter().flat_map(|it| it.blobs(false));
                self.economy.wasted += 2 * known.map(|(_, size)| size).sum::<u64>();
            }
            return if lost {
                Done::lost(call.id())
            } else {
                call.finish(CredentialAnswer::Failed("planned".into()))
            };
        }
        let owner = usize::from(call.registry().as_str() == "reg1.example");
        let password = Secret::new(format!("{}password", mark(owner)));
        let setting = &self.plan.settings[owner];
        let answer = match setting.access {
            Access::Open if !setting.leftover => CredentialAnswer::None,
            Access::Refresh => {
                let token = self.models[owner].issue_refresh_token("alice");
                CredentialAnswer::Refresh(Secret::new(token))
            }
            Access::Open
            | Access::Basic
            | Access::Bearer
            | Access::Elsewhere
            | Access::Untrusted => CredentialAnswer::Basic {
                username: "alice".into(),
                password,
            },
        };
        call.finish(answer)
    }
}
