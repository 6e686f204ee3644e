//! Durations as Go writes them: `200ms`, `1m30s`, `1.5s`.

use std::time::Duration;

/// The longest duration that is read.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses a duration: numbers with units from `h` to `ns`, or `0`. At most a day.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "not a duration such as \"200ms\", \"30s\" or \"1m30s\"";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_u128;
    if rest.is_empty() {
        return Err(WRONG);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(end.ok_or("has no unit: write \"30s\"")?);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let unit = unit_nanos(unit).ok_or(WRONG)?;
        nanos = nanos
            .checked_add(scaled(number, unit).ok_or(WRONG)?)
            .ok_or(WRONG)?;
        rest = after;
    }
    let duration = u64::try_from(nanos).map(Duration::from_nanos);
    let within = duration.ok().filter(|duration| *duration <= LONGEST);
    within.ok_or("longer than a day")
}

const fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit.as_bytes() {
        b"h" => 3_600_000_000_000,
        b"m" => 60_000_000_000,
        b"s" => 1_000_000_000,
        b"ms" => 1_000_000,
        // Both characters for micro that Go takes.
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ns" => 1,
        _ => return None,
    })
}

/// `number`, which may have a fraction, times `unit`.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    // What is below a nanosecond does not matter.
    let fraction = fraction.get(..fraction.len().min(13))?;
    let digits = |text: &str| -> Option<u128> {
        match text {
            "" => Some(0),
            text if text.len() > 15 => None,
            text => text.parse().ok(),
        }
    };
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(digits(whole)? * unit + digits(fraction)? * unit / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |millis| Some(Duration::from_millis(millis));
        let table = [
            ("200ms", millis(200)),
            ("30s", millis(30_000)),
            ("1m30s", millis(90_000)),
            ("1.5s", millis(1500)),
            (".5s", millis(500)),
            ("1h", millis(3_600_000)),
            ("1000us", millis(1)),
            ("1000µs", millis(1)),
            ("1000000ns", millis(1)),
            ("0", millis(0)),
            ("0s", millis(0)),
            ("24h", millis(86_400_000)),
            ("24h1ns", None),
            ("", None),
            ("30", None),
            ("s", None),
            (".s", None),
            ("1..5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1d", None),
            ("99999999999999999999h", None),
            ("999999999999999h999999999999999h", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
