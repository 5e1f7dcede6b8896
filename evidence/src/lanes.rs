//! Where bytes lay in the last pipe that they went through: lanes, which are stretches of a pipe's stream without a gap in what
//! is known of it.

use std::collections::BTreeMap;

use super::ranges::Ranges;

/// A place in a lane: the lane's number, 0 for none, and how many bytes went into the pipe before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Lane {
    pub(crate) number: u32,
    pub(crate) at: u64,
}

impl Lane {
    /// The place `bytes` further on.
    pub(crate) fn plus(self, bytes: u64) -> Self {
        Self {
            at: self.at.wrapping_add(bytes),
            ..self
        }
    }
}

/// Lanes that are kept apart for one sum; beyond that its bytes have no names.
const MOST: usize = 1024;

/// Which parts of which lanes some bytes are.
#[derive(Clone, Default, Debug)]
pub(crate) struct LaneRanges {
    parts: BTreeMap<u32, Ranges>,
    /// The latest stretch, which most often goes on: not in `parts` yet.
    latest: Option<(Lane, u64)>,
}

impl LaneRanges {
    pub(crate) fn add(&mut self, lane: Lane, len: u64) {
        if lane.number == 0 {
            return;
        }
        if let Some((first, have)) = &mut self.latest
            && first.number == lane.number
            && first.at.wrapping_add(*have) == lane.at
        {
            *have += len;
            return;
        }
        self.flush();
        self.latest = Some((lane, len));
    }

    fn flush(&mut self) {
        if let Some((lane, len)) = self.latest.take()
            && (self.parts.len() < MOST || self.parts.contains_key(&lane.number))
        {
            self.parts.entry(lane.number).or_default().add(lane.at, len);
        }
    }

    pub(crate) fn merge(&mut self, more: &Self) {
        for (number, ranges) in &more.parts {
            if self.parts.len() < MOST || self.parts.contains_key(number) {
                self.parts.entry(*number).or_default().merge(ranges);
            }
        }
        self.flush();
        self.latest = more.latest;
        self.flush();
    }

    /// The stretches: lane, start, end.
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
    fn stretches_join_whether_they_came_in_order_or_not() {
        let lane = |number, at| Lane { number, at };
        let mut all = LaneRanges::default();
        for (place, len) in [
            (lane(1, 0), 10),
            (lane(1, 10), 5),
            (lane(2, 7), 1),
            (lane(0, 0), 99),
            (lane(1, 15), 5),
        ] {
            all.add(place, len);
        }
        assert_eq!(all.stretches(), [(1, 0, 20), (2, 7, 8)]);
        let mut more = LaneRanges::default();
        more.add(lane(1, 20), 4);
        more.merge(&all);
        assert_eq!(more.stretches(), [(1, 0, 24), (2, 7, 8)]);
    }
}
