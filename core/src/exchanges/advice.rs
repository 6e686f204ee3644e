//! What is known of a registry that refuses something: it may not have it at all.
//!
//! Responsible for adding to an error what is known of its registry. Must not know what a registry may lack for an
//! operation (`op`), what is then said (`config/habits`), nor decide anything by it.

use super::{Exchange, Exchanges};
use crate::error::{Error, ErrorKind};

impl Exchanges {
    /// Adds advice to the error of an exchange if its registry is known not to have what was asked for. A refusal
    /// for lack of rights keeps its own hint: the advice is for those who have them.
    pub(super) fn advise(&self, exchange: &Exchange, mut error: Error) -> Error {
        let kind = self.config.kind(&exchange.site.registry);
        let lacks = exchange.op.lacks(error.kind()).iter();
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
