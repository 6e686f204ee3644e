//! Parsers for header values.

/// A `Content-Range` of a 206.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentRange {
    /// The first byte sent.
    pub first: u64,
    /// The last byte sent.
    pub last: u64,
    /// The size of the whole, if it was said.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes FIRST-LAST/TOTAL`.
    pub fn parse(_value: &str) -> Option<Self> {
        unimplemented!()
    }
}
