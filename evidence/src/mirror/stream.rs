//! One direction of a connection: bytes that calls sent and pages that packets carried, by position
//! in the stream. Either may be known first.

use crate::collections::position_map::PositionMap;
use crate::decode::observation::Observation;
use crate::span::{Location, Span};

/// Observations of one stream that are kept for its receiver after a call claimed them. A receive
/// buffer holds 6 MiB by default (`tcp_rmem`), and an observation usually covers at least one page.
const MAX_KEPT: usize = 16_384;

/// A span that a call sent to the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<T> {
    /// Position of the first byte in the stream.
    pub(crate) at: u64,
    pub(crate) span: Span,
    pub(crate) by: T,
}

impl<T: Copy> Sent<T> {
    /// Splits the sent span after `len` bytes.
    fn split(self, len: u64) -> (Self, Self) {
        let (head, rest) = self.span.split(len);
        let rest = Self {
            at: self.at + len,
            span: rest,
            ..self
        };
        (Self { span: head, ..self }, rest)
    }
}

/// One direction of a connection. `T` describes the sender of bytes.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    /// Latest position, which widens 32-bit sequence numbers to 64 bits. It starts far from 0,
    /// because earlier numbers may follow.
    latest: Option<u64>,
    /// Observations in packets, by position.
    observed: PositionMap<Observation>,
    /// Spans that were sent and not observed in a packet, by position.
    in_flight: PositionMap<Sent<T>>,
    /// Position up to which calls have claimed the stream.
    claimed: u64,
    /// Packets that were observed.
    pub(crate) packets: u64,
    /// Bytes that packets carried beyond the highest position before: at most as many as were sent.
    pub(crate) carried: u64,
    /// Highest position that a packet carried.
    carried_to: Option<u64>,
    /// Positions and lengths at which a retransmission showed another page.
    disputed: Vec<(u64, u64)>,
}

impl<T> Default for Stream<T> {
    fn default() -> Self {
        Self {
            latest: None,
            observed: PositionMap::default(),
            in_flight: PositionMap::default(),
            claimed: 0,
            packets: 0,
            carried: 0,
            carried_to: None,
            disputed: Vec::new(),
        }
    }
}

impl<T: Copy> Stream<T> {
    /// Returns the position of a sequence number, which wraps every 4 GiB: the position nearest to
    /// the latest.
    pub(crate) fn position(&mut self, sequence: u32) -> u64 {
        let position = match self.latest {
            None => (1 << 32) + u64::from(sequence),
            Some(latest) => latest.wrapping_add_signed(i64::from(sequence.wrapping_sub(latest as u32) as i32)),
        };
        self.latest = Some(self.latest.map_or(position, |latest| latest.max(position)));
        position
    }

    /// Records an observation in a packet and returns the sent spans at its positions, each with
    /// the part of the observation that carries it.
    ///
    /// An earlier observation of the same position is not replaced. A retransmission carries the
    /// same bytes; where it shows them elsewhere, [`Self::disputed`] has the positions.
    pub(crate) fn record_packet(&mut self, position: u64, run: Observation) -> Vec<(Sent<T>, Observation)> {
        let mut matched = Vec::new();
        self.match_packet(position, run, &mut |sent, observation| {
            matched.push((*sent, *observation));
        });
        matched
    }

    /// Records an observation like [`Self::record_packet`] and passes each pair to `each`.
    #[inline]
    pub(crate) fn match_packet(
        &mut self,
        position: u64,
        run: Observation,
        each: &mut impl FnMut(&Sent<T>, &Observation),
    ) {
        self.count_carried(position, run.len);
        let is_new = self.observed.last().is_none_or(|(at, last)| at + last.len <= position);
        if is_new {
            self.match_given(position, &run, each);
            self.observed.push(position, run);
            return;
        }
        self.note_disputes(position, &run);
        for (start, fresh) in self.not_seen_yet(position, run) {
            self.match_given(start, &fresh, each);
            self.observed.insert(start, fresh);
        }
    }

    fn count_carried(&mut self, position: u64, len: u64) {
        let end = position.saturating_add(len);
        let from = self.carried_to.map_or(position, |to| to.max(position));
        self.carried = self.carried.saturating_add(end.saturating_sub(from));
        self.carried_to = Some(self.carried_to.map_or(end, |to| to.max(end)));
    }

    /// Notes the positions at which `run` shows another page than an earlier packet did.
    ///
    /// Which of the two packets the receiver got is not known, so no page is known there from now
    /// on: a call that sent the bytes and is recorded later had them copied.
    fn note_disputes(&mut self, position: u64, run: &Observation) {
        let end = position + run.len;
        let earlier = self.observed.overlapping_from(position);
        let overlapping: Vec<(u64, Observation)> = earlier.take_while(|(start, _)| *start < end).copied().collect();
        for (start, have) in overlapping {
            let (from, to) = (start.max(position), (start + have.len).min(end));
            if from >= to {
                continue;
            }
            let (old, new) = (have.part(from - start, to - from), run.part(from - position, to - from));
            if old.start == new.start {
                continue;
            }
            // Of two positions without a page, neither is a page of the sender's.
            if old.start.is_some() {
                self.disputed.push((from, to - from));
                self.forget_page(start, have, (from, to));
            }
        }
    }

    /// Replaces the part `[from, to)` of the observation `have`, which is at `start`, by one
    /// without a page.
    fn forget_page(&mut self, start: u64, have: Observation, (from, to): (u64, u64)) {
        self.observed.remove(start);
        let end = start + have.len;
        for (at, run) in [
            (start, have.part(0, from - start)),
            (from, Observation::linear(to - from)),
            (to, have.part(to - start, end - to)),
        ] {
            if run.len > 0 {
                self.observed.insert(at, run);
            }
        }
    }

    /// Removes and returns the positions and lengths at which packets disagreed since the last
    /// call.
    pub(crate) fn take_disputed(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.disputed)
    }

    /// Drops the oldest observations. Those that no call claimed are kept if there is `room` for
    /// them: a single sendfile(2) can have gigabytes in flight before its record arrives.
    pub(crate) fn trim(&mut self, has_space: bool) {
        while self.observed.len() > MAX_KEPT {
            let Some((at, run)) = self.observed.first() else {
                break;
            };
            if has_space && at + run.len > self.claimed {
                break;
            }
            self.observed.pop_first();
        }
    }

    /// Returns the number of observations that are kept.
    pub(crate) fn len(&self) -> usize {
        self.observed.len()
    }

    /// Returns the parts of an observation at positions without an earlier observation.
    fn not_seen_yet(&self, position: u64, run: Observation) -> Vec<(u64, Observation)> {
        let end = position + run.len;
        let mut fresh = Vec::new();
        let mut at = position;
        for &(start, have) in self
            .observed
            .overlapping_from(position)
            .take_while(|(start, _)| *start < end)
        {
            let have_end = start + have.len;
            if have_end <= at {
                continue;
            }
            if start > at {
                fresh.push((at, run.part(at - position, start - at)));
            }
            at = at.max(have_end);
            if at >= end {
                break;
            }
        }
        if at < end {
            fresh.push((at, run.part(at - position, end - at)));
        }
        fresh
    }

    /// Takes the sent spans out that an observation covers.
    #[inline]
    fn match_given(&mut self, start: u64, run: &Observation, each: &mut impl FnMut(&Sent<T>, &Observation)) {
        if !self.in_flight.is_empty() {
            self.match_some(start, run, each);
        }
    }

    fn match_some(&mut self, start: u64, run: &Observation, each: &mut impl FnMut(&Sent<T>, &Observation)) {
        let end = start + run.len;
        let reaching = self.in_flight.overlapping_from(start).take_while(|(at, _)| *at < end);
        let reaching = reaching.filter(|(at, sent)| at + sent.span.len > start);
        let places: Vec<u64> = reaching.map(|(at, _)| *at).collect();
        for at in places {
            let Some(mut sent) = self.in_flight.remove(at) else {
                continue;
            };
            if at < start {
                let (before, rest) = sent.split(start - at);
                self.in_flight.insert(at, before);
                sent = rest;
            }
            if sent.at + sent.span.len > end {
                let (head, after) = sent.split(end - sent.at);
                self.in_flight.insert(end, after);
                sent = head;
            }
            let part = run.part(sent.at - start, sent.span.len);
            each(&sent, &part);
        }
    }

    /// Records spans that a call sent from a position on, and passes what packets carried of them
    /// already to `each`.
    ///
    /// Two calls that claim the same position cannot both be right. Such spans are added to
    /// `refused` instead.
    pub(crate) fn record_send(
        &mut self,
        position: u64,
        spans: &[Span],
        by: T,
        refused: &mut Vec<Span>,
        each: &mut impl FnMut(&Sent<T>, &Observation),
    ) {
        // The observation before may reach to where these spans begin.
        let mut number = self.observed.before(position);
        let before = number.checked_sub(1).and_then(|before| self.observed.get(before));
        if before.is_some_and(|(start, run)| start + run.len > position) {
            number -= 1;
        }
        let mut at = Some(position);
        for &span in spans {
            let end = at.and_then(|at| at.checked_add(span.len));
            match (at, end) {
                (Some(at), Some(end)) if self.is_free(at, end) => {
                    let sent = Sent { at, span, by };
                    // Most observations cover exactly the bytes of one slot.
                    if let Some((start, run)) = self.observed.get(number)
                        && (*start, run.len) == (at, span.len)
                    {
                        each(&sent, run);
                        number += 1;
                    } else {
                        number = self.record_sent_span(sent, end, number, each);
                    }
                }
                _ => refused.push(span),
            }
            at = end;
        }
    }

    /// Returns whether no call sent bytes in `[position, end)` that are still in flight. The range
    /// is claimed from now on in any case.
    fn is_free(&mut self, position: u64, end: u64) -> bool {
        self.claimed = self.claimed.max(end);
        if self.in_flight.is_empty() {
            return true;
        }
        let before = self.in_flight.last_before(end);
        before.is_none_or(|(at, sent)| at + sent.span.len <= position)
    }

    /// Matches one span, which ends at `end`. No observation before `number` reaches to its start.
    /// Returns the number of the first observation that can reach to the next span.
    fn record_sent_span(
        &mut self,
        mut rest: Sent<T>,
        end: u64,
        mut number: usize,
        each: &mut impl FnMut(&Sent<T>, &Observation),
    ) -> usize {
        while let Some(&(start, run)) = self.observed.get(number)
            && start < end
        {
            let run_end = start + run.len;
            if run_end > rest.at {
                if start > rest.at {
                    let (before, after) = rest.split(start - rest.at);
                    self.in_flight.insert(before.at, before);
                    rest = after;
                }
                let len = run_end.min(end) - rest.at;
                let (head, after) = rest.split(len);
                each(&head, &run.part(rest.at - start, len));
                rest = after;
            }
            if run_end > end {
                break;
            }
            number += 1;
        }
        if rest.span.len > 0 {
            self.in_flight.insert(rest.at, rest);
        }
        number
    }

    /// Returns the observations in a range, cut to it, in order. Positions without observation are
    /// omitted.
    pub(crate) fn runs(&self, position: u64, len: u64) -> impl Iterator<Item = (u64, Observation)> {
        runs_in(&self.observed, position, len)
    }

    /// Returns where the bytes of a range are, as far as that is known: in pages that packets
    /// carried, or in those that a call sent. Each location has its distance from `position`, in
    /// order.
    pub(crate) fn locations(&self, position: u64, len: u64) -> Vec<(u64, u64, Location)> {
        let end = position + len;
        let observation = self
            .runs(position, len)
            .filter_map(|(at, run)| Some((at - position, run.len, Location::Page(run.start?))));
        let sent = self
            .in_flight
            .overlapping_from(position)
            .take_while(|(at, _)| *at < end);
        let sent = sent.filter_map(|&(at, sent)| {
            let from = at.max(position);
            let to = (at + sent.span.len).min(end);
            (from < to).then(|| (from - position, to - from, sent.span.location.plus(from - at)))
        });
        let mut all: Vec<_> = observation.chain(sent).collect();
        all.sort_by_key(|(at, ..)| *at);
        all
    }

    /// Returns the spans in flight.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Sent<T>> {
        self.in_flight.values()
    }

    /// Removes and returns the spans in flight, because nothing more will be observed.
    pub(crate) fn close(&mut self) -> Vec<Sent<T>> {
        std::mem::take(&mut self.in_flight).into_values().collect()
    }
}

/// Returns the observations in a range, cut to it, in order.
fn runs_in(
    observation: &PositionMap<Observation>,
    position: u64,
    len: u64,
) -> impl Iterator<Item = (u64, Observation)> {
    let end = position + len;
    let overlapping_from = observation
        .overlapping_from(position)
        .take_while(move |(start, _)| *start < end);
    overlapping_from.filter_map(move |&(start, run)| {
        let from = start.max(position);
        let to = (start + run.len).min(end);
        (from < to).then(|| (from, run.part(from - start, to - from)))
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
