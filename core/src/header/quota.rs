//! `RateLimit-Limit` and `RateLimit-Remaining`: how many requests a registry still allows.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use http::{HeaderMap, HeaderName};

/// How many requests are allowed.
pub(crate) static LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// How many of them are left.
pub(crate) static REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// How many requests a registry allows in a time, and how many of them are left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Quota {
    /// The requests allowed.
    pub limit: u64,
    /// Those that are left.
    pub remaining: u64,
    /// The time that `limit` is for, if the registry says it.
    pub window: Option<Duration>,
}

impl Quota {
    /// That little is left, or nothing; `None` if more than a tenth is. The text does not say how much, so that it
    /// stays the same.
    pub fn shortage(&self) -> Option<String> {
        let left = match self.remaining {
            0 => "none",
            few if few <= self.limit / 10 => "less than a tenth",
            _ => return None,
        };
        let limit = self.limit;
        let within = match self.window.map(|window| window.as_secs()) {
            Some(seconds @ 1..) if seconds % 3600 == 0 => format!(" in {} h", seconds / 3600),
            Some(seconds) => format!(" in {seconds} s"),
            None => String::new(),
        };
        Some(format!(
            "{left} left of the {limit} requests that it allows{within}"
        ))
    }
}

/// The quota that a response tells, such as `100;w=21600` and `76;w=21600` (Docker Hub).
pub fn quota(headers: &HeaderMap) -> Option<Quota> {
    let (limit, window) = value(headers, &LIMIT)?;
    let (remaining, _) = value(headers, &REMAINING)?;
    Some(Quota {
        limit,
        remaining,
        window: window.map(Duration::from_secs),
    })
}

/// Whether a header's value is one, so that it is written on tapes.
pub(crate) fn is_quota(name: &HeaderName, value: &str) -> bool {
    (*name == LIMIT || *name == REMAINING) && read(value).is_some()
}

fn value(headers: &HeaderMap, name: &HeaderName) -> Option<(u64, Option<u64>)> {
    read(headers.get(name)?.to_str().ok()?)
}

/// A number, perhaps with the seconds of a window. A value with anything else is ignored.
fn read(value: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = value.split(';').map(str::trim);
    let count = number(parts.next()?)?;
    let mut window = None;
    for parameter in parts {
        window = Some(number(parameter.strip_prefix("w=")?)?);
    }
    Some((count, window))
}

/// At most a billion: 31 years in seconds.
fn number(text: &str) -> Option<u64> {
    let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn quotas() {
        let table = [
            ("100;w=21600", "76;w=21600", Some((100, 76, Some(21600)))),
            ("100", "0", Some((100, 0, None))),
            ("100; w=60", "5", Some((100, 5, Some(60)))),
            ("100; w=60", "5;comment=x", None),
            ("100;w=x", "5", None),
            ("", "5", None),
            ("100", "-1", None),
            ("100", "5, 6", None),
            ("9999999999", "5", None),
        ];
        for (limit, remaining, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(LIMIT.clone(), HeaderValue::from_static(limit));
            assert_eq!(quota(&headers), None, "{limit} alone");
            headers.insert(REMAINING.clone(), HeaderValue::from_static(remaining));
            let found = quota(&headers);
            let found = found.map(|it| (it.limit, it.remaining, it.window.map(|it| it.as_secs())));
            assert_eq!(found, expected, "{limit} {remaining}");
        }
        let said = |limit, remaining, window: Option<u64>| {
            let window = window.map(Duration::from_secs);
            let quota = Quota {
                limit,
                remaining,
                window,
            };
            quota.shortage()
        };
        assert_eq!(said(100, 11, None), None);
        for (quota, expected) in [
            (
                said(100, 10, Some(21600)),
                "less than a tenth left of the 100 requests that it allows in 6 h",
            ),
            (
                said(100, 0, Some(90)),
                "none left of the 100 requests that it allows in 90 s",
            ),
            (
                said(9, 0, None),
                "none left of the 9 requests that it allows",
            ),
        ] {
            assert_eq!(quota.as_deref(), Some(expected));
        }
        assert!(is_quota(&LIMIT, "100;w=60") && !is_quota(&LIMIT, "hidden"));
        assert!(!is_quota(&http::header::ETAG, "100"));
    }
}
