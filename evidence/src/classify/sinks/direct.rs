//! Sink: a file or block device that is open with `O_DIRECT`; and disk requests in general.

use crate::classify::rule::classify;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::FileState;
use crate::decode::observation::{Observation, PipeBufOps, observations_of};
use crate::decode::observations::CallStation;
use crate::decode::page_address::Owner;
use crate::evidence::Evidence;
use crate::history::Outcome;
use crate::sender::Sender;
use crate::span::{Location, Span, SpanCursor, total};
use zctrace_contract::Reason;

impl Evidence {
    pub(super) fn deliver_to_direct_file(
        &mut self,
        call: &ObservedCall,
        file: &FileState,
        spans: &[Span],
        by: &Sender,
    ) {
        let requests = requests(call, CallStation::BioWrite, &self.config.pipe_buf_ops);
        if requests.is_empty() && call.dirtied_bytes > 0 {
            // The filesystem fell back to its page cache: the sink's own folios became dirty inside
            // this call.
            return self.deliver_all(spans, Outcome::Copied(Reason::PageCacheSink), by);
        }
        let memory = call.source.is_memory().then_some(file.mapping);
        self.match_requests(spans, requests, memory, by);
    }

    /// Matches spans with requests to a device, in order.
    ///
    /// Bytes that do not agree are unknown: a request may have been split, reordered, or may carry
    /// something else. `memory` is the mapping of the file if the other side is the caller's
    /// memory.
    pub(super) fn match_requests(
        &mut self,
        spans: &[Span],
        requests: Vec<Observation>,
        memory: Option<u64>,
        by: &Sender,
    ) {
        let reason = Reason::DirectDevice;
        let mut rest = SpanCursor::new(spans);
        // Dirty pages of a file that is open with O_DIRECT are written back first, by the same call
        // (mm/filemap.c: `kiocb_invalidate_pages()`). Such requests exceed the call's result and do
        // not match its bytes.
        let requested: u64 = requests.iter().map(|request| request.len).sum();
        let mut excess = requested.saturating_sub(total(spans));
        let is_exact = requested == total(spans);
        for request in requests {
            let is_writeback = |first: &Span| {
                let part = request.part(0, request.len.min(first.len));
                !matches!(classify(first.location, &part), Outcome::Identity | Outcome::Zero)
            };
            if request.len <= excess && rest.first().as_ref().is_some_and(is_writeback) {
                excess -= request.len;
                continue;
            }
            let mut at = 0;
            rest.take(request.len, |mut span| {
                let part = request.part(at, span.len);
                at += span.len;
                let outcome = match classify(span.location, &part) {
                    Outcome::Identity => Outcome::Dma,
                    Outcome::Unknown(_) if is_exact && memory.is_some_and(|file| is_process_page(&part, file)) => {
                        Outcome::Dma
                    }
                    Outcome::Zero => Outcome::Zero,
                    _ => Outcome::Unknown(reason),
                };
                if let (Outcome::Dma, Some(start)) = (outcome, part.start) {
                    span.location = Location::Page(start);
                }
                self.deliveries.deliver(span, outcome, by);
            });
        }
        self.deliver_unknown(&rest.rest().collect::<Vec<_>>(), reason, by);
    }
}

/// Returns whether a page is one of a process's memory: anonymous, or of a file that it mapped.
///
/// The requests of direct I/O name the caller's pages, whatever their addresses are: several
/// buffers, shared memory, memory that was moved, a mapped file (block/bio.c:
/// `bio_iov_iter_get_pages()`). A filesystem that copies uses pages of its own, or of the cache of
/// the file itself.
fn is_process_page(page: &Observation, file: u64) -> bool {
    match page.owner {
        Owner::Anonymous { .. } => page.start.is_some(),
        Owner::File { mapping, .. } => page.start.is_some() && mapping != file,
        Owner::Kernel { .. } | Owner::NotRead => false,
    }
}

/// Returns the read or write requests to a device inside a call, in order.
pub(super) fn requests(call: &ObservedCall, station: CallStation, ops: &PipeBufOps) -> Vec<Observation> {
    let records = call.observations.at(station);
    records
        .flat_map(|(header, ranges)| observations_of(header.linear, ranges, ops))
        .collect()
}
