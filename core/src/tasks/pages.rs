//! The pages of a list, within bounds.
//!
//! Responsible for reading each page once, and for the bounds on all of them (TAGS-09). Must not know what
//! is listed.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use crate::config::Limits;
use crate::error::Error;
use crate::uri::Url;

/// The pages that were read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The bytes of what was listed, and of the URLs of pages.
    held: u64,
    read: usize,
    visited: BTreeSet<String>,
}

impl Pages {
    /// A page was read, of which this many bytes are held.
    pub(super) const fn read(&mut self, bytes: u64) {
        self.held = self.held.saturating_add(bytes);
        self.read += 1;
    }

    /// Whether one more page may be read.
    pub(super) fn check(&self, limits: &Limits, what: &str) -> Result<(), Error> {
        let bound = if self.read >= limits.pages {
            format!("{} pages", limits.pages)
        } else if self.held > limits.documents {
            format!("{} bytes", limits.documents)
        } else {
            return Ok(());
        };
        let what = format!("{what} has more than {bound}");
        Err(Error::Policy { what })
    }

    /// Whether the page that one links to may be read.
    pub(super) fn follow(&mut self, next: &Url, limits: &Limits, what: &str) -> Result<(), Error> {
        self.held = self.held.saturating_add(next.as_str().len() as u64);
        if !self.visited.insert(next.as_str().into()) {
            let what = format!("{what} leads back to a page that was read");
            return Err(Error::Policy { what });
        }
        self.check(limits, what)
    }
}
