//! Dates, and waiting times derived from them.

use core::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The response's own `Date`, in seconds since 1970.
pub fn date(headers: &HeaderMap) -> Option<u64> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// How long `Retry-After` asks to wait (HTTP-17). A date is compared with `date`, the response's
/// own `Date`: the clocks of two machines are never compared.
///
/// A past date means "at once". Invalid values, and a date without `date`, are ignored.
pub fn retry_after(headers: &HeaderMap, date: Option<u64>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    Some(Duration::from_secs(http_date(value)?.saturating_sub(date?)))
}

/// An HTTP date in any of its three forms (RFC 9110 section 5.6.7), in seconds since 1970; earlier
/// dates count as 0.
pub fn http_date(text: &str) -> Option<u64> {
    let text = text.trim();
    let (day, rest) = match text.split_once(", ") {
        Some((day, rest)) => (day, rest),
        None => text.split_once(' ')?,
    };
    let is_short = day.len() == 3;
    if day.len() < 3 || !day.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    if !text.contains(',') {
        return asctime(rest);
    }
    let rest = rest.strip_suffix(" GMT")?;
    let (date, time) = rest.rsplit_once(' ')?;
    let (separator, width) = if is_short { (' ', 4) } else { ('-', 2) };
    let mut parts = date.split(separator);
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut year = number(year, width)?;
    if width == 2 {
        // Two digits: a server never means a date before 1970.
        year += if year < 70 { 2000 } else { 1900 };
    }
    let days = days(year, month_number(month)?, number(day, 2)?)?;
    Some(seconds(days, clock(time)?).max(0).unsigned_abs())
}

/// `Nov  6 08:49:37 1994`, the part after the day of the week.
fn asctime(text: &str) -> Option<u64> {
    let mut parts = text.split_ascii_whitespace();
    let (month, day) = (parts.next()?, parts.next()?);
    let (time, year) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let days = days(
        number(year, 4)?,
        month_number(month)?,
        number(day, day.len().min(2))?,
    )?;
    Some(seconds(days, clock(time)?).max(0).unsigned_abs())
}

/// An RFC 3339 time in microseconds since 1970; further digits are dropped.
///
/// Times before 1970 are `None`: Go's zero time, `0001-01-01T00:00:00Z`, means "unset".
pub fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
    let (time, rest) = (rest.get(..8)?, rest.get(8..)?);
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let days = days(number(year, 4)?, number(month, 2)?, number(day, 2)?)?;
    let (micros, zone) = fraction(rest)?;
    let local = seconds(days, clock(time)?) - offset(zone)?;
    u64::try_from(local)
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(micros)
}

/// Microseconds of a fraction, if any, and the rest of the text.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(digits) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return None;
    }
    let micros = digits.bytes().take(len).chain([b'0'; 6]).take(6);
    let micros = micros.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some((micros, &digits[len..]))
}

/// Seconds east of Greenwich of `Z` or `+hh:mm`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn month_number(name: &str) -> Option<i64> {
    let index = MONTHS.iter().position(|month| *month == name)?;
    i64::try_from(index + 1).ok()
}

/// Exactly `width` digits.
fn number(text: &str, width: usize) -> Option<i64> {
    let fits = text.len() == width && width > 0 && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

/// Seconds of `hh:mm:ss`; a leap second is accepted.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut part = || number(parts.next()?, 2);
    let (hours, minutes, seconds) = (part()?, part()?, part()?);
    let fits = hours < 24 && minutes < 60 && seconds <= 60 && parts.next().is_none();
    fits.then_some(hours * 3600 + minutes * 60 + seconds)
}

const fn seconds(days: i64, clock: i64) -> i64 {
    days * 86_400 + clock
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March so that
/// the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    Some(year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::testing::mutations;

    /// Sun, 06 Nov 1994 08:49:00 GMT
    const NOW: u64 = 784_111_740;

    #[test]
    fn waiting_times() {
        let table = [
            ("V-E.3 seconds", "120", Some(120)),
            ("V-E.3 zero", "0", Some(0)),
            (
                "V-E.3 IMF-fixdate",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some(37),
            ),
            ("V-E.3 RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("V-E.3 asctime", "Sun Nov  6 08:49:37 1994", Some(37)),
            ("V-E.3 past", "Sun, 06 Nov 1994 08:48:00 GMT", Some(0)),
            ("V-E.3 long past", "Thu, 01 Jan 1920 00:00:00 GMT", Some(0)),
            ("V-E.3 negative", "-5", None),
            ("V-E.3 fraction", "1.5", None),
            ("V-E.3 garbage", "abc", None),
            ("V-E.3 empty", "", None),
            ("V-E.3 large", "99999999999", Some(99_999_999_999)),
            ("V-E.3 huge", "99999999999999999999999", Some(u64::MAX)),
        ];
        for (row, value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            let found = retry_after(&headers, Some(NOW));
            assert_eq!(found, expected.map(Duration::from_secs), "{row}");
            mutations(value, |value| {
                http_date(value);
            });
        }
        assert_eq!(retry_after(&HeaderMap::new(), Some(NOW)), None);
    }

    #[test]
    fn a_date_needs_the_answers_own_date() {
        let mut headers = HeaderMap::new();
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        );
        assert_eq!(retry_after(&headers, date(&headers)), None);
        headers.insert(
            DATE,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:00 GMT"),
        );
        assert_eq!(date(&headers), Some(NOW));
        assert_eq!(
            retry_after(&headers, date(&headers)),
            Some(Duration::from_secs(37))
        );
    }

    #[test]
    fn dates_of_http() {
        let table = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600)),
            ("Mon, 29 Feb 2100 12:00:00 GMT", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun Nov 16 08:49:37 1994", Some(784_975_777)),
        ];
        for (text, expected) in table {
            assert_eq!(http_date(text), expected, "{text}");
        }
    }

    #[test]
    fn times_of_json() {
        let table = [
            (
                "V-B issued_at",
                "2026-01-01T00:00:00.5Z",
                Some(1_767_225_600_500_000),
            ),
            (
                "offset",
                "2026-01-01T01:30:00+01:30",
                Some(1_767_225_600_000_000),
            ),
            (
                "west",
                "2025-12-31T16:00:00-08:00",
                Some(1_767_225_600_000_000),
            ),
            (
                "nanoseconds",
                "1970-01-01T00:00:00.123456789z",
                Some(123_456),
            ),
            ("Go's zero time", "0001-01-01T00:00:00Z", None),
            ("no zone", "2026-01-01T00:00:00", None),
            ("no digits", "2026-01-01T00:00:00.Z", None),
            ("month 13", "2026-13-01T00:00:00Z", None),
            ("day 31", "2026-04-31T00:00:00Z", None),
            ("not ASCII", "2026-01-0é00:00:00Z", None),
        ];
        for (row, text, expected) in table {
            assert_eq!(rfc3339(text), expected, "{row}");
            mutations(text, |text| {
                rfc3339(text);
            });
        }
    }
}
