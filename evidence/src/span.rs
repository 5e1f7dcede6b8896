//! Spans: consecutive bytes with one origin, one location and one history.

use crate::decode::endpoints::EndpointId;
use crate::decode::page_address::{PAGE, PageAddress};
use crate::history::HistoryId;
use crate::mirror::pipe_position::PipePosition;

/// Where bytes are before they cross the next edge, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Location {
    /// At this page address.
    Page(PageAddress),
    /// In the page cache, at this position of the file with this mapping. Which page that is, the
    /// page itself shows. `pages` says whose pages it can be, and `copies` what another page would
    /// show.
    File {
        mapping: u64,
        position: u64,
        pages: FilePages,
        copies: Copies,
    },
    /// In the caller's memory, at this address.
    Memory(u64),
    /// On a device below the page cache. The device writes into pages that no probe observed
    /// before.
    Device,
    /// On a remote host, which sent them.
    Remote,
    /// In a file, at a position that is not known because the offset changed during the call.
    Uncertain,
    /// Not known.
    Unknown,
}

/// Owner of the pages that a file passes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FilePages {
    /// The file itself: the filesystem keeps a page cache for each of its files.
    Own,
    /// Possibly another file: that of a layer under an overlay (fs/overlayfs/file.c:
    /// `ovl_splice_read()`), or the backing file of a passthrough (fs/fuse/passthrough.c:
    /// `fuse_passthrough_splice_read()`).
    OfAnyFile,
}

/// Meaning of a kernel-owned page where a page of a file was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Copies {
    /// A copy: the filesystem keeps its files in a page cache, and whatever else it puts into a
    /// pipe it has copied (fs/splice.c: `copy_splice_read()`).
    Shown,
    /// Nothing. The file may have pages of its own that it passes by reference, as the ring buffers
    /// of tracefs and relay files have (kernel/trace/trace.c: `tracing_buffers_splice_read()`).
    NotShown,
}

impl Location {
    /// Returns the location `bytes` further on.
    pub(crate) fn plus(self, bytes: u64) -> Self {
        match self {
            Self::Page(address) => Self::Page(address.plus(bytes)),
            Self::File {
                mapping,
                position,
                pages,
                copies,
            } => Self::File {
                mapping,
                position: position.wrapping_add(bytes),
                pages,
                copies,
            },
            Self::Memory(address) => Self::Memory(address.wrapping_add(bytes)),
            other => other,
        }
    }
}

/// Consecutive bytes with one origin, location and history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// Length in bytes.
    pub(crate) len: u64,
    /// Endpoint that the bytes came from first.
    pub(crate) origin: EndpointId,
    /// Position of the first byte at the origin: offset in a file, stream position of a socket, or
    /// address.
    pub(crate) position: u64,
    /// Number of the stream that the bytes came from; 0 if the origin is no stream.
    pub(crate) stream: u64,
    /// Position of the first byte in the last pipe that the bytes passed.
    pub(crate) pipe_position: PipePosition,
    /// Location of the first byte.
    pub(crate) location: Location,
    /// Hops that the bytes have behind them.
    pub(crate) history: HistoryId,
}

impl Span {
    /// Splits the span after `len` bytes.
    pub(crate) fn split(self, len: u64) -> (Self, Self) {
        debug_assert!(len <= self.len);
        (Self { len, ..self }, self.from(len))
    }

    /// Returns the span without its first `skip` bytes.
    #[inline]
    pub(crate) fn from(&self, skip: u64) -> Self {
        Self {
            len: self.len - skip,
            position: self.position.wrapping_add(skip),
            pipe_position: self.pipe_position.plus(skip),
            location: self.location.plus(skip),
            ..*self
        }
    }
}

/// Cursor over consecutive spans, which are taken in other lengths than they have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanCursor<'a> {
    spans: &'a [Span],
    /// Bytes of the first span that were taken; fewer than its length.
    skip: u64,
}

impl<'a> SpanCursor<'a> {
    /// Creates a cursor at the first byte.
    pub(crate) fn new(spans: &'a [Span]) -> Self {
        Self { spans, skip: 0 }
    }

    /// Returns the rest of the span that the next byte belongs to.
    pub(crate) fn first(&self) -> Option<Span> {
        self.spans.first().map(|first| first.from(self.skip))
    }

    /// Takes the next bytes of one span, at most `most`.
    #[inline]
    pub(crate) fn next(&mut self, most: u64) -> Option<Span> {
        let (first, more) = self.spans.split_first()?;
        let left = first.len - self.skip;
        let len = left.min(most);
        let next = Span {
            len,
            ..first.from(self.skip)
        };
        if len == left {
            (self.spans, self.skip) = (more, 0);
        } else {
            self.skip += len;
        }
        Some(next)
    }

    /// Takes the next `len` bytes, or all if fewer are left, and passes their spans to `each`.
    #[inline]
    pub(crate) fn take(&mut self, len: u64, mut each: impl FnMut(Span)) {
        let mut left = len;
        while left > 0 {
            let Some(span) = self.next(left) else { break };
            left -= span.len;
            each(span);
        }
    }

    /// Returns all spans that are left.
    pub(crate) fn rest(mut self) -> impl Iterator<Item = Span> {
        std::iter::from_fn(move || self.next(u64::MAX))
    }
}

/// Returns the length of spans in bytes.
pub(crate) fn total<'a>(spans: impl IntoIterator<Item = &'a Span>) -> u64 {
    spans.into_iter().map(|span| span.len).sum()
}

/// Returns the number of pages that a range touches.
pub(crate) fn pages(start: u64, len: u64) -> u64 {
    if len == 0 {
        return 0;
    }
    (start % PAGE + len).div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Histories;

    fn span(len: u64, position: u64) -> Span {
        Span {
            len,
            origin: EndpointId::MEMORY,
            position,
            stream: 0,
            pipe_position: PipePosition::default(),
            location: Location::Page(PageAddress(position + 1_000_000)),
            history: Histories::START,
        }
    }

    #[test]
    fn split_span_has_its_own_position_and_location() {
        let (head, rest) = span(100, 7).split(40);
        assert_eq!((head.len, head.position), (40, 7));
        assert_eq!(
            (rest.len, rest.position, rest.location),
            (60, 47, Location::Page(PageAddress(1_000_047)))
        );
    }

    #[test]
    fn cursor_neither_loses_nor_duplicates_bytes() {
        let spans = [span(10, 0), span(5, 10), span(20, 15)];
        let mut rest = SpanCursor::new(&spans);
        let take = |rest: &mut SpanCursor<'_>, len| {
            let mut popped = Vec::new();
            rest.take(len, |span| popped.push((span.position, span.len)));
            popped
        };
        assert_eq!(take(&mut rest, 12), [(0, 10), (10, 2)]);
        assert_eq!(rest.first().unwrap().position, 12);
        assert_eq!(rest.rest().map(|span| span.len).sum::<u64>(), 23);
        assert_eq!(take(&mut rest, 1000), [(12, 3), (15, 20)]);
        assert!(rest.first().is_none() && rest.next(1).is_none());
    }

    #[test]
    fn range_touches_the_pages_that_contain_it() {
        assert_eq!(pages(0, 0), 0);
        assert_eq!(pages(0, 4096), 1);
        assert_eq!(pages(1, 4096), 2);
        assert_eq!(pages(4095, 2), 2);
        assert_eq!(pages(0, 65536), 16);
    }
}
