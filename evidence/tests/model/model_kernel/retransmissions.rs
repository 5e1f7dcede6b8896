//! Retransmissions that carry bytes in other pages, or in the linear part of the packet.

use std::collections::VecDeque;

use zctrace_records::PageRange;

use super::connections::Segment;
use super::{Bytes, ModelKernel, Sink, UNTRACED};

/// How a retransmission carries its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    SamePages,
    OtherPages,
    Linear,
}

impl ModelKernel {
    /// Sends a part of one of the latest segments again. What another page carried was copied,
    /// whether the first packet or this one `arrives`.
    pub(crate) fn retransmit(&mut self, n: usize, pick: usize, (skip, len): (u32, u32), way: Way, arrives: bool) {
        let segments = &self.connections[n].segments;
        let Some(at) = pick.checked_rem(segments.len()) else {
            return;
        };
        let segment = segments[at];
        let (before, rest) = segment.split(skip % segment.bytes.range.len);
        let (part, after) = rest.split(len.min(rest.bytes.range.len));
        let old = part.bytes.range;
        let new = match way {
            Way::SamePages => return self.packet(n, part.sequence, &[old], 0),
            Way::OtherPages => PageRange {
                page: self.page_other_than(old.page),
                mapping: 0,
                index: 0,
                ..old
            },
            Way::Linear => PageRange {
                len: old.len,
                ..PageRange::default()
            },
        };
        self.sole_witnesses.insert(self.records.len());
        match way {
            Way::Linear => self.packet(n, part.sequence, &[], old.len),
            _ => self.packet(n, part.sequence, &[new], 0),
        }
        self.disputed += u64::from(old.len);
        self.count_as_copied(n, &part);
        let copied = Segment {
            bytes: Bytes {
                copied: true,
                ..part.bytes
            },
            is_copied: true,
            ..part
        };
        let parts = [before, copied, after]
            .into_iter()
            .filter(|part| part.bytes.range.len > 0);
        self.connections[n].segments.splice(at..=at, parts);
        if arrives {
            self.replace_queued(n, part.sequence, new);
        }
    }

    /// Corrects the truth about bytes that were moved when they were sent.
    fn count_as_copied(&mut self, n: usize, part: &Segment) {
        let (len, in_snapshot) = (u64::from(part.bytes.range.len), u64::from(part.bytes.in_snapshot));
        if part.is_copied {
            return;
        }
        let mut correct = |origin, len: u64| {
            let sum = self.truth.entry((origin, Sink::Tcp(n))).or_default();
            // The bytes may have been sent before tracing started.
            let len = len.min(sum.0);
            *sum = (sum.0 - len, sum.1 + len);
        };
        correct(super::SNAPSHOT, in_snapshot);
        if !part.bytes.copied && part.bytes.origin != UNTRACED {
            correct(part.bytes.origin, len);
        }
    }

    /// Puts a range in the place of queued bytes, if none of them was received.
    fn replace_queued(&mut self, n: usize, sequence: u32, new: PageRange) {
        let connection = &mut self.connections[n];
        let from = sequence.wrapping_sub(connection.received);
        let queued: u32 = connection.queue.iter().map(|bytes| bytes.range.len).sum();
        if from.checked_add(new.len).is_none_or(|end| end > queued) {
            return;
        }
        let (mut at, mut parts) = (0, VecDeque::new());
        for bytes in connection.queue.drain(..) {
            let start = from.clamp(at, at + bytes.range.len) - at;
            let end = (from + new.len).clamp(at, at + bytes.range.len) - at;
            let (head, rest) = bytes.split(start);
            let (mut middle, tail) = rest.split(end - start);
            let skip = (at + start).saturating_sub(from);
            middle.range = PageRange {
                offset: new.offset + skip,
                len: middle.range.len,
                ..new
            };
            at += bytes.range.len;
            parts.extend([head, middle, tail].into_iter().filter(|part| part.range.len > 0));
        }
        connection.queue = parts;
    }

    /// Returns a page that holds nothing and is not `page`.
    pub(super) fn page_other_than(&mut self, page: u64) -> u64 {
        loop {
            let other = self.fresh_page();
            if other != page {
                return other;
            }
        }
    }
}

impl Segment {
    fn split(self, len: u32) -> (Self, Self) {
        let (head, rest) = self.bytes.split(len);
        let sequence = self.sequence.wrapping_add(len);
        (
            Self { bytes: head, ..self },
            Self {
                bytes: rest,
                sequence,
                ..self
            },
        )
    }
}
