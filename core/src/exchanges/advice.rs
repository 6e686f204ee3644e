//! What is known of a registry that refuses something: it may not have it at all.
//!
//! Responsible for which habit of a registry an error is about. Must not know what it then says
//! (`config/habits`), nor decide anything by it.

use super::{Exchange, Exchanges};
use crate::config::Lack;
use crate::error::{Error, ErrorKind};
use crate::op::{NamesOf, Operation};

impl Exchanges {
    /// Adds advice to the error of an exchange if its registry is known not to have what was asked for. A refusal
    /// for lack of rights keeps its own hint: the advice is for those who have them.
    pub(super) fn advise(&self, exchange: &Exchange, mut error: Error) -> Error {
        let kind = self.config.kind(&exchange.site.registry);
        let lacks = lacks(&exchange.op, error.kind()).iter();
        let advice = kind.and_then(|kind| {
            let habits = kind.habits();
            lacks.copied().find_map(|lack| habits.advice(lack))
        });
        match (advice, error.kind()) {
            (Some(advice), ErrorKind::Auth) => error.suggest(advice),
            (Some(advice), _) => error.replace_hint(advice.into()),
            (None, _) => {}
        }
        error
    }
}

/// What a registry may not have that refuses an operation, the most telling first.
const fn lacks(op: &Operation, kind: ErrorKind) -> &'static [Lack] {
    match (op, kind) {
        (_, ErrorKind::Temporary | ErrorKind::Cancelled | ErrorKind::Internal) => &[],
        (Operation::NameList(op), _) => match op.of {
            NamesOf::Tags => &[Lack::Tags],
            NamesOf::Catalog => &[Lack::Catalog],
        },
        (Operation::Delete(_), ErrorKind::Refused | ErrorKind::Auth) => &[Lack::Deletion],
        (Operation::BlobPut(_) | Operation::ManifestPut(_), ErrorKind::NotFound) => {
            &[Lack::Pushes, Lack::NewRepositories]
        }
        (
            Operation::BlobPut(_) | Operation::ManifestPut(_),
            ErrorKind::Refused | ErrorKind::Auth,
        ) => &[Lack::Pushes],
        (
            Operation::BlobGet(_)
            | Operation::BlobHead(_)
            | Operation::BlobPut(_)
            | Operation::BlobStat(_)
            | Operation::Check(_)
            | Operation::Delete(_)
            | Operation::ManifestGet(_)
            | Operation::ManifestHead(_)
            | Operation::ManifestPut(_)
            | Operation::Ping(_)
            | Operation::RangeGet(_)
            | Operation::ReferrersGet(_)
            | Operation::Token(_)
            | Operation::UploadDelete(_),
            ErrorKind::Mismatch | ErrorKind::Auth | ErrorKind::NotFound | ErrorKind::Refused,
        ) => &[],
    }
}
