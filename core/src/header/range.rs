//! `Range` and `Content-Range` of downloads.

use alloc::format;
use alloc::string::String;

/// A `Content-Range` of a 206 that is consistent in itself (RNG-04).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentRange {
    /// The first byte sent.
    pub first: u64,
    /// The last byte sent.
    pub last: u64,
    /// The size of the whole, if known.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
    ///
    /// `None` for anything else, for a last byte before the first, for a total that does not reach
    /// beyond the last byte, and for numbers beyond 64 bits.
    pub fn parse(value: &str) -> Option<Self> {
        let (range, total) = of_bytes(value)?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let fits = first <= last && total.is_none_or(|total| last < total);
        fits.then_some(Self { first, last, total })
    }
}

/// The total of a 416's `bytes */TOTAL`.
pub fn unsatisfied_total(value: &str) -> Option<u64> {
    number(of_bytes(value)?.strip_prefix("*/")?)
}

/// The value of `Range` for the bytes from `first` to `last`, both included.
///
/// Always closed: some servers answer an open range with less than they have.
pub fn range_header(first: u64, last: u64) -> String {
    debug_assert!(first <= last, "a range has at least one byte");
    format!("bytes={first}-{last}")
}

/// The part after the unit, which ignores case (RFC 9110 section 14.1).
fn of_bytes(value: &str) -> Option<&str> {
    let (unit, rest) = value.trim_matches([' ', '\t']).split_once(' ')?;
    unit.eq_ignore_ascii_case("bytes").then_some(rest)
}

/// Digits only: `u64::from_str` would accept a sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mutations;

    type Row = (&'static str, &'static str, Option<(u64, u64, Option<u64>)>);

    const TABLE: &[Row] = &[
        (
            "V-E.1 1",
            "bytes 500-1233/1234",
            Some((500, 1233, Some(1234))),
        ),
        (
            "V-E.1 2",
            "bytes 500-999/1234",
            Some((500, 999, Some(1234))),
        ),
        ("V-E.1 3", "bytes 500-1233/*", Some((500, 1233, None))),
        (
            "V-E.1 5",
            " bytes 500-1233/1234 ",
            Some((500, 1233, Some(1234))),
        ),
        ("V-E.1 6", "bytes 0-1233/1234", Some((0, 1233, Some(1234)))),
        (
            "V-E.1 7",
            "bytes 500-1233/1235",
            Some((500, 1233, Some(1235))),
        ),
        ("V-E.1 9", "bytes 5-3/10", None),
        ("V-E.1 10", "bytes 500-1233", None),
        ("V-E.1 11", "bytes=500-1233/1234", None),
        ("V-E.1 13", "bytes */1234", None),
        ("V-E.1 14", "", None),
        ("V-E.1 15", "bytes 500-600/1234, bytes 700-1233/1234", None),
        ("RNG-03 other unit", "chunks 0-1/2", None),
        ("RNG-04 total not beyond last", "bytes 0-9/9", None),
        ("RNG-11", "bytes 0-18446744073709551616/*", None),
        ("RNG-11 sign", "bytes +0-1/2", None),
        ("RNG-11 empty", "bytes -1/2", None),
    ];

    #[test]
    fn content_ranges() {
        for (row, value, expected) in TABLE {
            let found = ContentRange::parse(value).map(|r| (r.first, r.last, r.total));
            assert_eq!(found, *expected, "{row}");
            mutations(value, |value| {
                if let Some(range) = ContentRange::parse(value) {
                    assert!(range.first <= range.last, "{value}");
                }
                unsatisfied_total(value);
            });
        }
    }

    #[test]
    fn unsatisfied_ranges() {
        let table = [
            ("V-E.1 22", "bytes */1234", Some(1234)),
            ("V-E.1 1", "bytes 500-1233/1234", None),
            ("total unknown", "bytes */*", None),
            ("RNG-11", "bytes */18446744073709551616", None),
        ];
        for (row, value, expected) in table {
            assert_eq!(unsatisfied_total(value), expected, "{row}");
        }
    }

    #[test]
    fn requests_are_closed() {
        assert_eq!(range_header(500, 1233), "bytes=500-1233", "V-E.1");
        assert_eq!(range_header(500, 599), "bytes=500-599", "V-E.1");
    }
}
