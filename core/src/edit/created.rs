//! Times of creation, as text.
//!
//! Responsible for what other tools read as a time. Must not know what was made then.

/// Whether this is a time of RFC 3339, as `created` of an image has it: with `T`, seconds, and `Z` or an offset, as
/// Go reads it, which refuses lower case and leap seconds.
pub fn is_time(text: &str) -> bool {
    parts(text).is_some()
}

fn parts(text: &str) -> Option<()> {
    let (date, rest) = text.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let (year, month) = (number(year, 4, 0..=9999)?, number(month, 2, 1..=12)?);
    number(day, 2, 1..=days(year, month))?;
    let (time, offset) = match rest.strip_suffix('Z') {
        Some(time) => (time, None),
        None => {
            let at = rest.rfind(['+', '-'])?;
            (&rest[..at], Some(&rest[at + 1..]))
        }
    };
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, Some(fraction)),
        None => (time, None),
    };
    let mut time = time.splitn(3, ':');
    number(time.next()?, 2, 0..=23)?;
    number(time.next()?, 2, 0..=59)?;
    number(time.next()?, 2, 0..=59)?;
    if let Some(offset) = offset {
        let (hours, minutes) = offset.split_once(':')?;
        number(hours, 2, 0..=23)?;
        number(minutes, 2, 0..=59)?;
    }
    // Go keeps nanoseconds.
    let is_fraction = |digits: &str| {
        (1..=9).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    (date.next().is_none() && fraction.is_none_or(is_fraction)).then_some(())
}

fn days(year: u16, month: u16) -> u16 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A number with that count of digits, in this range.
fn number(text: &str, digits: usize, range: core::ops::RangeInclusive<u16>) -> Option<u16> {
    let is_number = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number)?;
    range.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for good in [
            "2026-01-02T03:04:05Z",
            "2024-02-29T23:59:59.123456789+05:30",
            "2000-02-29T00:00:00-00:00",
            "0001-01-01T00:00:00Z",
            "1970-12-31T00:00:00.5-12:00",
        ] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "nonsense",
            "now",
            "T",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T24:00:00Z",
            "2026-13-02T03:04:05Z",
            "2026-00-02T03:04:05Z",
            "2026-02-29T03:04:05Z",
            "1900-02-29T03:04:05Z",
            "2026-04-31T03:04:05Z",
            "2026-01-00T03:04:05Z",
            "26-01-02T03:04:05Z",
            "2026-1-2T03:04:05Z",
            "2026-01-02-03T03:04:05Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05.1234567890Z",
            "2026-01-02T03:04:05,5Z",
            "2026-01-02T03:04:05+1:00",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05ZZ",
            "+026-01-02T03:04:05Z",
            "２０26-01-02T03:04:05Z",
            "2026-01-02T03:04:05Z\n",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }
}
