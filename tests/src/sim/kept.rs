//! Uploads that outlive their process, in worlds with options.
//!
//! Responsible for the journal that drivers keep of open uploads: one for all processes, in which each upload is one
//! process's at a time; and for judging what goes on with them: nothing is sent to an upload that is another
//! process's, and each ends as the blob that it was opened for. Must not make anything go wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use windlass_core::call::Call;
use windlass_core::{SavedUpload, Task, UploadChange};

use super::choose::Choose;
use super::fault::Fault;
use super::plan::{Plan, small};
use super::world::World;

/// What is kept of open uploads, by the names of their blobs.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    uploads: BTreeMap<String, Kept>,
    /// How many uploads a process has taken over.
    pub(crate) taken: u32,
}

#[derive(Debug)]
struct Kept {
    /// As it is written to a file.
    text: String,
    written: Duration,
    /// The process whose upload it is, while it lives.
    holder: Option<usize>,
}

impl Kept {
    fn upload(&self) -> SavedUpload {
        SavedUpload::from_json(&self.text).expect("what was kept can be read")
    }

    /// A member of its text.
    fn member(&self, name: &str) -> String {
        let value: Value = serde_json::from_str(&self.text).expect("an upload is JSON");
        value[name].as_str().unwrap_or_default().to_owned()
    }
}

impl Journal {
    /// A process is no more: what it went on with is free.
    pub(crate) fn release(&mut self, process: usize) {
        for kept in self.uploads.values_mut() {
            kept.holder = kept.holder.filter(|holder| *holder != process);
        }
    }

    /// All processes are no more.
    pub(crate) fn release_all(&mut self) {
        self.uploads
            .values_mut()
            .for_each(|kept| kept.holder = None);
    }

    fn note(&mut self, process: usize, change: UploadChange, now: Duration) -> Option<SavedUpload> {
        match change {
            UploadChange::Open(upload) => {
                let name = upload.key().to_string();
                if self.is_free(&name, process) {
                    let text = upload.to_json();
                    let (written, holder) = (now, Some(process));
                    let kept = Kept {
                        text,
                        written,
                        holder,
                    };
                    self.uploads.insert(name, kept);
                }
            }
            UploadChange::Over(key) => {
                let name = key.to_string();
                if self.is_free(&name, process) {
                    self.uploads.remove(&name);
                }
            }
            UploadChange::Taken(upload) => {
                let kept = self.uploads.get_mut(&upload.key().to_string());
                let is_free = |kept: &&mut Kept| kept.holder.is_none_or(|it| it == process);
                // What another process has replaced meanwhile is another upload.
                let kept = kept
                    .filter(is_free)
                    .filter(|kept| kept.upload().is_same_session(&upload));
                let Some(kept) = kept else {
                    return Some(upload);
                };
                kept.holder = Some(process);
                self.taken += 1;
            }
        }
        None
    }

    fn is_free(&self, name: &str, process: usize) -> bool {
        let kept = self.uploads.get(name);
        kept.is_none_or(|kept| kept.holder.is_none_or(|holder| holder == process))
    }
}

/// Draws from which size on uploads are kept, if they are.
pub(crate) fn draw(choose: &mut dyn Choose, plan: &mut Plan) {
    plan.keeps = [Some(0), None, Some(60_000), Some(0)][small(choose, 4)];
}

impl World<'_> {
    /// Offers what earlier processes have left of uploads to where a task writes.
    pub(crate) fn offer_uploads(&mut self, process: usize, task: &Task) {
        if self.plan.keeps.is_none() {
            return;
        }
        let Some(place) = self.call(process, |session| session.uploads_to(task)) else {
            return;
        };
        let now = self.now;
        let open = self.journal.uploads.values();
        let open = open.filter(|kept| kept.holder.is_none());
        let open = open.map(|kept| kept.upload().older_by(now - kept.written));
        let here = |upload: &SavedUpload| {
            let key = upload.key();
            (key.registry(), key.repository()) == (&place.0, &place.1)
        };
        for upload in open.filter(here).collect::<Vec<_>>() {
            self.call(process, |session| session.offer_upload(upload));
        }
    }

    /// Keeps what became of uploads, before anything more is sent.
    pub(crate) fn keep_uploads(&mut self, process: usize) {
        while let Some(change) = self.call(process, |session| session.take_upload_change()) {
            if let Some(upload) = self.journal.note(process, change, self.now) {
                self.call(process, |session| session.leave_upload(&upload));
            }
        }
    }

    /// A request goes out: if it writes to an upload that is kept, that is this process's, and of this blob.
    pub(crate) fn check_kept(&mut self, process: usize, call: &Call) {
        let request = call.request();
        let writes = [Method::PUT, Method::PATCH, Method::DELETE];
        // A URL that is made up may be that of two uploads.
        let made_up = [Fault::Arbitrary, Fault::OddLocation];
        if !writes.contains(request.method()) || made_up.iter().any(|it| self.fired[it.place()] > 0)
        {
            return;
        }
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let is_it = |kept: &&Kept| {
            let url = kept.member("url");
            let url: http::Uri = url.parse().expect("a URL");
            url.host() == request.uri().host() && url.path() == path
        };
        let Some(kept) = self.journal.uploads.values().find(is_it) else {
            return;
        };
        let digest = kept.member("digest");
        let closes_other = query.contains("digest=")
            && !query.contains(&digest)
            && !query.contains(&digest.replace(':', "%3A"));
        let holder = kept.holder;
        self.check(holder == Some(process), || {
            format!("kept: process {process} writes to an upload of {holder:?}")
        });
        self.check(!closes_other, || {
            format!("kept: an upload of {digest} is closed with {query}")
        });
    }
}
