//! Upload sessions at registries: noted while they are open, deleted when nothing goes on with them.
//!
//! Responsible for when a session is deleted, and when it is left for another process. Must not know what
//! another process needs for that (`crate::uploads`).

use super::host::Turn;
use super::{Exchanges, Purpose};
use crate::call::Exchanged;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::ids::{ExchangeId, TaskId};
use crate::op::{Operation, Site, UploadDelete};
use crate::scope::Scopes;
use crate::uploads::{SavedUpload, UploadKey};
use crate::uri::Url;

impl Exchanges {
    /// What another process, or an earlier task, has left of an upload of this blob.
    pub(crate) fn take_left(
        &mut self,
        site: &Site,
        digest: &Digest,
        size: u64,
    ) -> Option<SavedUpload> {
        self.uploads.take(site, digest, size)
    }

    /// The upload of this key that an exchange has taken up is another process's.
    pub(crate) fn leave_upload(&mut self, key: &UploadKey) {
        for exchange in self.exchanges.values_mut() {
            if let Operation::BlobPut(op) = &mut exchange.op
                && UploadKey::at(&op.site, &op.digest) == *key
                && op.leave_to_another()
            {
                self.uploads.forget(key);
            }
        }
    }

    /// Deletes an upload session at the end of a task. Registries remove them at some time, so it does not
    /// matter whether it works (PUSHB-43).
    pub(crate) fn delete_upload(&mut self, task: TaskId, site: Site, session: Url) {
        let scopes = Scopes::push(&site.repository);
        let op = Operation::UploadDelete(UploadDelete::new(site.clone(), session));
        self.add(Purpose::Cleanup, task, site, op, scopes);
    }

    /// Whether the deletion of a session goes on after this response.
    pub(super) fn goes_on_deleting(
        &mut self,
        id: ExchangeId,
        exchanged: &Exchanged,
        url: &Url,
    ) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return false;
        };
        let location = exchanged.headers.get(http::header::LOCATION);
        let location = location.and_then(|it| url.resolve_location(it.as_bytes()).ok());
        if let (Operation::UploadDelete(op), Some(status)) = (&mut exchange.op, exchanged.status)
            && let Some(next) = op.next(status, location)
        {
            *op = next;
            self.enqueue(id, Turn::First);
            return true;
        }
        false
    }

    /// Notes how far an upload is, and deletes the session that it does not go on with.
    pub(super) fn note_upload(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Operation::BlobPut(op) = &mut exchange.op else {
            return;
        };
        self.uploads.note(op, self.now);
        if let Some(session) = op.given_up.take() {
            let (task, site) = (exchange.task, exchange.site.clone());
            self.delete_upload(task, site, session);
        }
    }

    /// An exchange ends without a result, by an error or because nothing wants it any more. The session
    /// that it has open is deleted, unless another process may go on with it.
    pub(super) fn give_up_upload(&mut self, id: ExchangeId, error: Option<&Error>) {
        self.note_upload(id);
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let Operation::BlobPut(op) = &exchange.op else {
            return;
        };
        let Some(session) = op.open_session().cloned() else {
            return;
        };
        if error.is_none_or(may_pass) && self.uploads.leave(op) {
            return;
        }
        let (task, site) = (exchange.task, exchange.site.clone());
        self.delete_upload(task, site, session);
    }
}

/// Whether the same upload may succeed later: the network or the registry was to blame, or the user can log in
/// again.
fn may_pass(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Temporary | ErrorKind::Cancelled | ErrorKind::Auth => true,
        ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Mismatch | ErrorKind::Internal => {
            false
        }
    }
}
