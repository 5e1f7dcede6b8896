//! Positions of bytes in a pipe's stream, which join deliveries with journal entries.
//!
//! An epoch is a part of a pipe's stream without a gap in what is known of it. Positions of
//! different epochs are never compared.

use std::collections::BTreeMap;

use crate::collections::range_set::RangeSet;

/// A byte of a pipe's stream: number of the epoch, 0 for none, and bytes that entered the pipe in
/// the epoch before it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct PipePosition {
    pub(crate) epoch: u32,
    pub(crate) offset: u64,
}

impl PipePosition {
    /// Returns the position `bytes` further on.
    pub(crate) fn plus(self, bytes: u64) -> Self {
        Self {
            offset: self.offset.wrapping_add(bytes),
            ..self
        }
    }
}

/// Epochs that one set distinguishes. Bytes of others have no names.
const MAX_EPOCHS: usize = 1024;

/// A set of byte ranges, by epoch.
#[derive(Clone, Default, Debug)]
pub(crate) struct PipePositionSet {
    parts: BTreeMap<u32, RangeSet>,
    /// Latest range, which is usually continued; not in `parts` yet.
    latest: Option<(PipePosition, u64)>,
}

impl PipePositionSet {
    pub(crate) fn add(&mut self, pipe_position: PipePosition, len: u64) {
        if pipe_position.epoch == 0 {
            return;
        }
        if let Some((first, have)) = &mut self.latest
            && first.epoch == pipe_position.epoch
            && first.offset.wrapping_add(*have) == pipe_position.offset
        {
            *have += len;
            return;
        }
        self.flush();
        self.latest = Some((pipe_position, len));
    }

    fn flush(&mut self) {
        if let Some((pipe_position, len)) = self.latest.take()
            && (self.parts.len() < MAX_EPOCHS || self.parts.contains_key(&pipe_position.epoch))
        {
            self.parts
                .entry(pipe_position.epoch)
                .or_default()
                .add(pipe_position.offset, len);
        }
    }

    pub(crate) fn merge(&mut self, more: &Self) {
        for (number, ranges) in &more.parts {
            if self.parts.len() < MAX_EPOCHS || self.parts.contains_key(number) {
                self.parts.entry(*number).or_default().merge(ranges);
            }
        }
        self.flush();
        self.latest = more.latest;
        self.flush();
    }

    /// Returns the ranges: epoch, start and end.
    pub(crate) fn stretches(&self) -> Vec<(u32, u64, u64)> {
        let mut all = self.clone();
        all.flush();
        all.parts
            .iter()
            .flat_map(|(&number, ranges)| ranges.parts().map(move |(start, end)| (number, start, end)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_in_any_order_of_arrival() {
        let pipe_position = |epoch, offset| PipePosition { epoch, offset };
        let mut all = PipePositionSet::default();
        for (position, len) in [
            (pipe_position(1, 0), 10),
            (pipe_position(1, 10), 5),
            (pipe_position(2, 7), 1),
            (pipe_position(0, 0), 99),
            (pipe_position(1, 15), 5),
        ] {
            all.add(position, len);
        }
        assert_eq!(all.stretches(), [(1, 0, 20), (2, 7, 8)]);
        let mut more = PipePositionSet::default();
        more.add(pipe_position(1, 20), 4);
        more.merge(&all);
        assert_eq!(more.stretches(), [(1, 0, 24), (2, 7, 8)]);
    }
}
