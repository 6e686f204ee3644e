//! The parts of a blob that are somewhere: sorted, with gaps between them.
//!
//! Responsible for arithmetic on ranges of bytes. Must not know where the bytes are.

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

/// Parts of a blob, in bytes: in order, none of them empty, with gaps between them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Extents(Vec<Range<u64>>);

impl Extents {
    /// The first `len` bytes.
    pub fn first(len: u64) -> Self {
        let mut extents = Self::default();
        extents.add(0..len);
        extents
    }

    /// Adds a part. What is there already changes nothing.
    pub fn add(&mut self, part: Range<u64>) {
        if part.is_empty() {
            return;
        }
        let begin = self.0.partition_point(|known| known.end < part.start);
        let end = self.0.partition_point(|known| known.start <= part.end);
        let touched = self.0.get(begin..end).unwrap_or_default();
        let first = touched.first().map_or(part.start, |it| it.start);
        let last = touched.last().map_or(part.end, |it| it.end);
        let merged = first.min(part.start)..last.max(part.end);
        self.0.splice(begin..end, [merged]);
    }

    /// Removes the bytes from `len` on.
    pub fn truncate(&mut self, len: u64) {
        self.0.retain(|part| part.start < len);
        if let Some(last) = self.0.last_mut() {
            last.end = last.end.min(len);
        }
    }

    /// How many bytes there are from the blob's first byte on, without a gap.
    pub fn prefix(&self) -> u64 {
        let first = self.0.first().filter(|first| first.start == 0);
        first.map_or(0, |first| first.end)
    }

    /// How many bytes there are in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|part| part.end - part.start).sum()
    }

    /// Where the last part ends.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.end)
    }

    /// Whether some of these bytes are there.
    pub fn overlaps(&self, part: &Range<u64>) -> bool {
        let mut parts = self.0.iter();
        parts.any(|known| known.start < part.end && part.start < known.end)
    }

    /// The parts of the first `size` bytes that are missing, in order.
    pub fn gaps(&self, size: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let starts = core::iter::once(0).chain(self.0.iter().map(|part| part.end));
        let ends = self.0.iter().map(|part| part.start);
        let ends = ends.chain(core::iter::once(size));
        let gaps = starts
            .zip(ends)
            .map(move |(start, end)| start..end.min(size));
        gaps.filter(|gap| !gap.is_empty())
    }

    /// The parts, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Range<u64>> for Extents {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(parts: T) -> Self {
        let mut extents = Self::default();
        parts.into_iter().for_each(|part| extents.add(part));
        extents
    }
}

impl From<Vec<(u64, u64)>> for Extents {
    fn from(parts: Vec<(u64, u64)>) -> Self {
        parts.into_iter().map(|(start, end)| start..end).collect()
    }
}

impl From<Extents> for Vec<(u64, u64)> {
    fn from(extents: Extents) -> Self {
        let parts = extents.0.into_iter();
        parts.map(|part| (part.start, part.end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// All sets of bytes below 8, against a set of single bytes.
    #[test]
    fn of_parts_in_any_order() {
        const SIZE: u64 = 8;
        let bytes = |extents: &Extents| {
            let has = |byte: &u64| extents.overlaps(&(*byte..*byte + 1));
            (0..SIZE).filter(has).collect::<Vec<_>>()
        };
        let mut seed = 1_u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let (mut extents, mut known) = (Extents::default(), [false; SIZE as usize]);
            for _ in 0..4 {
                let (a, b) = (draw(SIZE + 1), draw(SIZE + 1));
                let part = a.min(b)..a.max(b);
                extents.add(part.clone());
                part.for_each(|byte| known[usize::try_from(byte).expect("small")] = true);
            }
            if draw(3) == 0 {
                let len = draw(SIZE + 1);
                extents.truncate(len);
                (len..SIZE).for_each(|it| known[usize::try_from(it).expect("small")] = false);
            }
            let at = |byte: &u64| known[usize::try_from(*byte).expect("small")];
            let expected: Vec<u64> = (0..SIZE).filter(at).collect();
            assert_eq!(bytes(&extents), expected, "{extents:?}");
            assert_eq!(extents.total(), expected.len() as u64, "{extents:?}");
            let missing: Vec<u64> = extents.gaps(SIZE).flatten().collect();
            assert_eq!(missing, (0..SIZE).filter(|it| !at(it)).collect::<Vec<_>>());
            let prefix = (0..SIZE).take_while(at).count() as u64;
            assert_eq!(
                (extents.prefix(), extents.is_empty()),
                (prefix, expected.is_empty())
            );
            assert_eq!(extents.end(), expected.last().map_or(0, |last| last + 1));
            let parts: Vec<_> = extents.iter().collect();
            assert!(
                parts.windows(2).all(|two| two[0].end < two[1].start),
                "{parts:?}"
            );
            assert!(parts.iter().all(|part| !part.is_empty()) && parts.len() == extents.len());
        }
    }

    #[test]
    fn gaps_end_where_the_blob_does() {
        let extents: Extents = [2..4, 6..20].into_iter().collect();
        assert_eq!(extents.gaps(8).collect::<Vec<_>>(), vec![0..2, 4..6]);
        assert_eq!(extents.gaps(3).collect::<Vec<_>>(), vec![0..2]);
        assert_eq!(Extents::first(3).gaps(3).count(), 0);
        assert_eq!(Extents::first(0), Extents::default());
    }
}
