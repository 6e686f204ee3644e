//! Where a world's choices come from.
//!
//! Responsible for the engines and for shrinking. Must not know what is chosen. In every choice 0 is
//! the dull one: no fault, no delay, the first of what there is. So a list of choices that is cut
//! short means "and nothing more happens", and shorter lists are simpler worlds.

/// A source of choices.
pub trait Choose {
    /// A number below `n`; 0 if `n` is 0 or 1.
    fn below(&mut self, n: u64) -> u64;
}

/// Choices from a seed. SplitMix64: eight bytes of state, no bad seeds.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The choices of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Choose for Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The modulo's bias does not matter here.
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// Choices from bytes, as a fuzzer gives them: as few per choice as hold it. After the last one
/// every choice is 0.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// The choices in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Choose for Bytes<'_> {
    fn below(&mut self, n: u64) -> u64 {
        let (mut value, mut most) = (0_u64, n.saturating_sub(1));
        while most > 0 {
            let Some((first, rest)) = self.0.split_first() else {
                break;
            };
            value = value << 8 | u64::from(*first);
            self.0 = rest;
            most >>= 8;
        }
        value % n.max(1)
    }
}

/// A list of choices. After the last one every choice is 0.
#[derive(Clone, Debug)]
pub struct List<'a>(std::slice::Iter<'a, u64>);

impl<'a> List<'a> {
    /// These choices.
    pub fn new(choices: &'a [u64]) -> Self {
        Self(choices.iter())
    }
}

impl Choose for List<'_> {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next().map_or(0, |choice| choice % n.max(1))
    }
}

/// Every sequence of choices there is, one after the other, like the digits of a counter whose bases
/// are found out on the way.
///
/// ```
/// use windlass_tests::sim::{Choose, Every};
///
/// let mut seen = Vec::new();
/// let mut every = Every::default();
/// while every.another() {
///     let first = every.below(2);
///     // The second choice is there only after a 1.
///     seen.push((first, if first == 1 { every.below(3) } else { 9 }));
/// }
/// assert_eq!(seen, [(0, 9), (1, 0), (1, 1), (1, 2)]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Every {
    /// What is chosen, out of how many.
    digits: Vec<(u64, u64)>,
    at: usize,
    begun: bool,
}

impl Every {
    /// Goes on to the next sequence; `false` after the last one.
    pub fn another(&mut self) -> bool {
        self.at = 0;
        if !self.begun {
            self.begun = true;
            return true;
        }
        while let Some((digit, base)) = self.digits.pop() {
            if digit + 1 < base {
                self.digits.push((digit + 1, base));
                return true;
            }
        }
        false
    }
}

impl Choose for Every {
    fn below(&mut self, n: u64) -> u64 {
        if n <= 1 {
            return 0;
        }
        if self.at == self.digits.len() {
            self.digits.push((0, n));
        }
        let (digit, base) = self.digits[self.at];
        assert_eq!(base, n, "the same choices led to another one");
        self.at += 1;
        digit
    }
}

/// Makes a failing list of choices simpler: shorter, then with more zeros, then with smaller numbers.
/// Tries at most `most` lists.
pub fn shrink(choices: Vec<u64>, most: usize, mut fails: impl FnMut(&[u64]) -> bool) -> Vec<u64> {
    let mut best = choices;
    let mut left = most;
    let mut attempt = |best: &mut Vec<u64>, list: Vec<u64>| {
        let better = left > 0 && list != *best && fails(&list);
        left = left.saturating_sub(1);
        if better {
            *best = list;
        }
        better
    };
    loop {
        let before = best.clone();
        let mut cut = best.len() / 2;
        while cut > 0 {
            while best.len() >= cut {
                let shorter = best[..best.len() - cut].to_vec();
                if !attempt(&mut best, shorter) {
                    break;
                }
            }
            cut /= 2;
        }
        let mut width = (best.len() / 2).max(1);
        loop {
            for from in (0..best.len()).step_by(width) {
                let to = (from + width).min(best.len());
                let mut list = best.clone();
                list[from..to].fill(0);
                attempt(&mut best, list);
            }
            if width == 1 {
                break;
            }
            width /= 2;
        }
        for at in 0..best.len() {
            for smaller in [1, best[at] / 2, best[at].saturating_sub(1)] {
                if smaller < best[at] {
                    let mut list = best.clone();
                    list[at] = smaller;
                    attempt(&mut best, list);
                }
            }
        }
        if best == before {
            break;
        }
    }
    while best.last() == Some(&0) {
        best.pop();
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_as_few_as_hold_the_choice() {
        let mut bytes = Bytes::new(&[7, 1, 0, 200]);
        assert_eq!(bytes.below(1), 0);
        assert_eq!(bytes.below(256), 7);
        assert_eq!(bytes.below(257), 256);
        assert_eq!(bytes.below(100), 0);
        assert_eq!(bytes.below(100), 0);
    }

    #[test]
    fn shrinking_finds_what_matters() {
        let list: Vec<u64> = (0..200).map(|n| n * 7 % 100).collect();
        let fails = |list: &[u64]| list.len() > 30 && list[30] >= 5;
        assert!(fails(&list));
        let small = shrink(list, 10_000, fails);
        let mut expected = vec![0; 30];
        expected.push(5);
        assert_eq!(small, expected);
    }
}
