//! `100/6h`: how many requests may be made in a time.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::written::micros;

/// How many requests may be made within any span of this length. What exceeds it waits.
///
/// ```
/// use windlass_core::config::Budget;
///
/// let budget: Budget = "100/6h".parse()?;
/// assert_eq!((budget.requests, budget.per.as_secs()), (100, 6 * 3600));
/// assert_eq!(budget.to_string(), "100/6h");
/// # Ok::<(), windlass_core::config::BudgetError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Budget {
    /// The requests, at least 1.
    pub requests: u32,
    /// The span of time.
    #[serde(with = "micros")]
    pub per: Duration,
}

impl Budget {
    /// This many requests, at least 1, in this time.
    pub const fn new(requests: u32, per: Duration) -> Self {
        let requests = if requests == 0 { 1 } else { requests };
        Self { requests, per }
    }
}

impl FromStr for Budget {
    type Err = BudgetError;

    /// A number of requests, `/`, and a whole number of `s`, `m`, `h` or `d`, which may be left out if it is 1.
    fn from_str(text: &str) -> Result<Self, BudgetError> {
        /// What a session remembers the times of.
        const MOST: u32 = 1_000_000;
        const LONGEST: u64 = 31 * 86_400;
        let (requests, per) = text.split_once('/').ok_or(BudgetError)?;
        let unit = per.chars().next_back().ok_or(BudgetError)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(BudgetError),
        };
        let count = match per.strip_suffix(unit) {
            Some("") => 1,
            count => number(count.ok_or(BudgetError)?)?,
        };
        let seconds = u64::from(count) * seconds;
        let requests = number(requests)?;
        let is_good = (1..=MOST).contains(&requests) && (1..=LONGEST).contains(&seconds);
        is_good
            .then(|| Self::new(requests, Duration::from_secs(seconds)))
            .ok_or(BudgetError)
    }
}

fn number(text: &str) -> Result<u32, BudgetError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or(BudgetError)
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.as_secs();
        let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
        let fits = |unit: &(u64, char)| seconds > 0 && seconds.is_multiple_of(unit.0);
        let (length, unit) = units.into_iter().find(fits).unwrap_or((1, 's'));
        write!(f, "{}/{}{unit}", self.requests, seconds / length)
    }
}

/// A text is no budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetError;

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a number of requests in a time of at most 31 days, such as \"100/6h\" or \"5/m\"",
        )
    }
}

impl core::error::Error for BudgetError {}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn budgets() {
        for (text, expected, written) in [
            ("100/6h", (100, 21_600), "100/6h"),
            ("5/m", (5, 60), "5/1m"),
            ("1/90s", (1, 90), "1/90s"),
            ("200/24h", (200, 86_400), "200/1d"),
            ("1000000/31d", (1_000_000, 31 * 86_400), "1000000/31d"),
        ] {
            let budget: Budget = text.parse().expect("a budget");
            assert_eq!((budget.requests, budget.per.as_secs()), expected, "{text}");
            assert_eq!(budget.to_string(), written);
            assert_eq!(written.parse(), Ok(budget));
        }
        for text in [
            "",
            "/",
            "100",
            "100/",
            "/6h",
            "100/6",
            "100/6w",
            "0/6h",
            "1/0s",
            "-1/h",
            "+1/h",
            "1/+6h",
            "1/6hh",
            "1/ h",
            "1 /h",
            "1/h/h",
            "1000001/h",
            "1/32d",
            "1/99999999999d",
            "1/1.5h",
            "1/6ü",
        ] {
            assert_eq!(text.parse::<Budget>(), Err(BudgetError), "{text}");
        }
        assert_eq!(Budget::new(0, Duration::ZERO).to_string(), "1/0s");
    }
}
