//! Sums of deliveries: bytes with one origin, one last endpoint and one history.

use crate::collections::cached_map::CachedIndexMap;
use crate::collections::range_set::RangeSet;
use crate::decode::endpoints::EndpointId;
use crate::decode::page_address::PageAddress;
use crate::history::HistoryId;
use crate::mirror::pipe_position::PipePositionSet;
use crate::span::{Location, Span, pages};
use zctrace_report::Level;

/// Common properties of the deliveries of one sum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct FlowKey {
    pub(super) from: EndpointId,
    pub(super) to: EndpointId,
    pub(super) history: HistoryId,
}

/// A sum of deliveries.
#[derive(Clone, Debug, Default)]
pub(super) struct FlowStats {
    pub(super) bytes: u64,
    pub(super) pages: u64,
    pub(super) calls: u64,
    pub(super) last_call: u64,
    /// Stream that the bytes were taken from, and the positions there.
    pub(super) consumed: (u64, RangeSet),
    /// Stream that the bytes were sent to, and the positions there.
    pub(super) produced: (u64, RangeSet),
    pub(super) example: Option<(u64, u64, PageAddress)>,
    /// Positions in the last pipe on the path.
    pub(super) pipe_positions: PipePositionSet,
}

/// Call that delivered bytes, and their position in the sink's stream.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Arrival {
    /// The call that delivered the bytes.
    pub(crate) call_id: u64,
    /// Stream of a socket and the position in it; 0 for all other endpoints.
    pub(crate) stream: u64,
    pub(crate) position: u64,
    /// Number of further calls.
    pub(crate) more_calls: u64,
}

/// The pages in which bytes were delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    count: u64,
    /// Example: position of a page's bytes at the origin, their number, and their address.
    example: Option<(u64, u64, PageAddress)>,
}

impl Pages {
    /// Returns the pages of `len` bytes that came from `position` and are at `location`.
    #[inline]
    pub(crate) fn of(location: Location, position: u64, len: u64) -> Self {
        let Location::Page(address) = location else {
            return Self {
                count: 0,
                example: None,
            };
        };
        Self {
            count: pages(address.0, len),
            example: Some((position, len.min(4096 - address.in_page()), address)),
        }
    }

    /// Adds the pages of the bytes that follow.
    pub(crate) fn add(&mut self, next: Self) {
        self.count = self.count.saturating_add(next.count);
        self.example = self.example.or(next.example);
    }
}

/// All sums of deliveries.
#[derive(Clone, Debug)]
pub(crate) struct FlowTable {
    stats: CachedIndexMap<FlowKey, FlowStats>,
    hash_key: u64,
    pub(super) level: Level,
}

impl FlowTable {
    /// Creates an empty table. `hash_key` anonymizes page addresses.
    pub(crate) fn new(hash_key: u64, level: Level) -> Self {
        Self {
            stats: CachedIndexMap::default(),
            hash_key,
            level,
        }
    }

    /// Removes all sums.
    pub(crate) fn reset(&mut self) {
        self.stats = CachedIndexMap::default();
    }

    /// Returns all sums, in the order of their first delivery.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FlowKey, &FlowStats)> {
        self.stats.iter()
    }

    /// Returns the sums that sent bytes to a range of a stream, with the number of these bytes.
    pub(super) fn produced_at(&self, stream: u64, position: u64, len: u64) -> Vec<(FlowKey, u64)> {
        let sums = self.stats.iter().filter(|(_, stats)| stats.produced.0 == stream);
        sums.map(|(key, stats)| (*key, stats.produced.1.covered(position, len).min(stats.bytes)))
            .filter(|(_, bytes)| *bytes > 0)
            .collect()
    }

    /// Moves bytes that a sum sent to a range of a stream to the sum with another history.
    pub(super) fn move_bytes(&mut self, from: FlowKey, history: HistoryId, at: (u64, u64, u64), bytes: u64) {
        let (stream, position, len) = at;
        let stats = self.stats.row(from);
        stats.bytes = stats.bytes.saturating_sub(bytes);
        stats.produced.1.remove(position, len);
        let (pages, calls) = (stats.pages.min(pages(position, bytes)), stats.calls.min(1));
        stats.pages -= pages;
        let to = self.stats.row(FlowKey { history, ..from });
        to.bytes = to.bytes.saturating_add(bytes);
        to.calls = to.calls.max(calls);
        if to.produced.0 != stream {
            to.produced = (stream, RangeSet::default());
        }
        to.produced.1.add(position, len);
    }

    /// Adds a delivery. The last hop of the span's history brought it.
    pub(crate) fn add(&mut self, span: &Span, to: EndpointId, at: Arrival) {
        let pages = Pages::of(span.location, span.position, span.len);
        self.add_pages(span, &pages, to, at);
    }

    /// Adds a delivery whose pages are counted already.
    pub(crate) fn add_pages(&mut self, span: &Span, pages: &Pages, to: EndpointId, at: Arrival) {
        let key = FlowKey {
            from: span.origin,
            to,
            history: span.history,
        };
        let stats = self.stats.row(key);
        stats.bytes = stats.bytes.saturating_add(span.len);
        stats.pipe_positions.add(span.pipe_position, span.len);
        stats.pages = stats.pages.saturating_add(pages.count);
        stats.example = stats.example.or(pages.example);
        if stats.last_call != at.call_id || stats.calls == 0 {
            stats.calls += 1;
            stats.last_call = at.call_id;
        }
        stats.calls = stats.calls.saturating_add(at.more_calls);
        if span.stream != 0 {
            stats.consumed.0 = span.stream;
            stats.consumed.1.add(span.position, span.len);
        }
        if at.stream != 0 {
            if stats.produced.0 != at.stream {
                // Positions of another connection of the same endpoint are not comparable.
                stats.produced = (at.stream, RangeSet::default());
            }
            stats.produced.1.add(at.position, span.len);
        }
    }

    /// Returns a name for a page that is stable within a trace and does not reveal its address.
    pub(super) fn page_name(&self, address: PageAddress) -> String {
        // splitmix64's finalizer: every bit of the input reaches every bit of the output.
        let mut mixed = (address.0 / 4096) ^ self.hash_key;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:08x}", (mixed ^ (mixed >> 31)) >> 32)
    }
}

impl FlowStats {
    /// Adds another sum.
    pub(super) fn merge(&mut self, more: &Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.pages = self.pages.saturating_add(more.pages);
        self.calls = self.calls.saturating_add(more.calls);
        self.pipe_positions.merge(&more.pipe_positions);
        // The example that is first at the origin, so that a report does not depend on the order of
        // sums.
        self.example = [self.example, more.example].into_iter().flatten().min();
        for (own, added) in [
            (&mut self.consumed, &more.consumed),
            (&mut self.produced, &more.produced),
        ] {
            if added.0 != 0 {
                own.0 = added.0;
                own.1.merge(&added.1);
            }
        }
    }
}
