//! Sink: a file or block device that is open with `O_DIRECT`; and disk requests in general.

use crate::classify::rule::classify;
use crate::config::Config;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::FileState;
use crate::decode::observation::{Observation, PipeBufOps, observations_of};
use crate::decode::observations::CallStation;
use crate::decode::page_address::Owner;
use crate::evidence::Evidence;
use crate::history::Outcome;
use crate::sender::Sender;
use crate::span::{FilePages, Location, Span, SpanCursor, total};
use zctrace_contract::Reason;

/// The file on whose device a call's requests read or write, and what is known of its pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectFile {
    file: FileState,
    /// Whose pages its own page cache has.
    pages: FilePages,
    /// The file is the sink, and its offset is known.
    is_sink: bool,
    /// The other side of the call is the caller's memory.
    has_memory: bool,
    /// Bytes of the sink's page cache that became dirty inside the call.
    dirtied_bytes: u64,
}

impl DirectFile {
    /// Describes the sink of a call.
    fn sink(call: &ObservedCall, file: &FileState, config: &Config) -> Self {
        Self {
            file: *file,
            pages: config.pages_of(file),
            is_sink: true,
            has_memory: call.source.is_memory(),
            dirtied_bytes: call.dirtied_bytes,
        }
    }

    /// Describes the source of a call that reads into memory.
    pub(super) fn source(file: &FileState, config: &Config) -> Self {
        Self {
            file: *file,
            pages: config.pages_of(file),
            is_sink: false,
            has_memory: true,
            dirtied_bytes: 0,
        }
    }

    /// Returns whether the page of a request can be one of the sink's own page cache, so that it
    /// identifies no byte of the source. `at` is the position of the byte in the call.
    ///
    /// A filesystem that cannot write directly copies into its page cache and writes these pages
    /// back inside the call (fs/ext4/file.c: `ext4_dio_write_iter()`, fs/btrfs/direct-io.c:
    /// `btrfs_direct_write()`). They are at the same indexes as the source's, if both offsets are
    /// equal.
    fn can_be_page_of_sink(&self, page: &Observation, span: &Span, at: u64) -> bool {
        let (
            true,
            Owner::File { mapping, position },
            Location::File {
                mapping: source, pages, ..
            },
        ) = (self.is_sink, page.owner, span.location)
        else {
            return false;
        };
        if mapping == self.file.mapping {
            // A file that is copied within itself has one page cache. Without a dirtied folio the
            // call did not copy into it.
            return source != mapping || self.dirtied_bytes > 0;
        }
        // Under an overlay, both page caches are those of files below, with unknown mappings.
        let is_unknown = self.pages == FilePages::OfAnyFile && pages == FilePages::OfAnyFile;
        is_unknown && position == self.file.offset.wrapping_add(at)
    }

    /// Returns whether a page is one of a process's memory: anonymous, or of a file that it mapped.
    ///
    /// The requests of direct I/O name the caller's pages, whatever their addresses are: several
    /// buffers, shared memory, memory that was moved, a mapped file (block/bio.c:
    /// `bio_iov_iter_get_pages()`). A filesystem that copies uses pages of its own, or of the page
    /// cache of the file itself. Under an overlay that is the page cache of another file.
    fn is_process_page(&self, page: &Observation) -> bool {
        match page.owner {
            Owner::Anonymous { .. } => page.start.is_some(),
            Owner::File { mapping, .. } => {
                page.start.is_some() && mapping != self.file.mapping && self.pages == FilePages::Own
            }
            Owner::Kernel { .. } | Owner::NotRead => false,
        }
    }

    /// Returns the outcome of a span in a request that starts at its first byte; `None` if the
    /// request does not show where the bytes went. `is_exact` says that the requests add up to the
    /// call's result.
    fn outcome(&self, span: &Span, request: &Observation, at: u64, is_exact: bool) -> Option<Outcome> {
        match classify(span.location, request) {
            Outcome::Identity if self.can_be_page_of_sink(request, span, at) => None,
            Outcome::Identity => Some(Outcome::Dma),
            Outcome::Zero => Some(Outcome::Zero),
            Outcome::Unknown(_) if is_exact && self.has_memory && self.is_process_page(request) => Some(Outcome::Dma),
            _ => None,
        }
    }
}

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
        let file = DirectFile::sink(call, file, &self.config);
        self.match_requests(spans, requests, &file, by);
    }

    /// Matches spans with requests to a device, in order.
    ///
    /// Bytes that do not agree were copied if as many bytes of the sink's page cache became dirty
    /// inside the call. Otherwise they are unknown: a request may have been split, reordered, or
    /// may carry something else.
    pub(super) fn match_requests(
        &mut self,
        spans: &[Span],
        requests: Vec<Observation>,
        file: &DirectFile,
        by: &Sender,
    ) {
        let mut rest = SpanCursor::new(spans);
        // Dirty pages of a file that is open with O_DIRECT are written back first, by the same call
        // (mm/filemap.c: `kiocb_invalidate_pages()`). Such requests exceed the call's result and do
        // not match its bytes.
        let requested: u64 = requests.iter().map(|request| request.len).sum();
        let mut excess = requested.saturating_sub(total(spans));
        let is_exact = requested == total(spans);
        let mut unmatched = Vec::new();
        let mut done = 0;
        for request in requests {
            let is_writeback = |first: &Span| {
                let part = request.part(0, request.len.min(first.len));
                file.outcome(first, &part, done, false).is_none()
            };
            if request.len <= excess && rest.first().as_ref().is_some_and(is_writeback) {
                excess -= request.len;
                continue;
            }
            let mut at = 0;
            rest.take(request.len, |mut span| {
                let part = request.part(at, span.len);
                let outcome = file.outcome(&span, &part, done, is_exact);
                at += span.len;
                done += span.len;
                let Some(outcome) = outcome else {
                    return unmatched.push(span);
                };
                if let (Outcome::Dma, Some(start)) = (outcome, part.start) {
                    span.location = Location::Page(start);
                }
                self.deliveries.deliver(span, outcome, by);
            });
        }
        unmatched.extend(rest.rest());
        // Direct I/O dirties no page cache, so the dirtied bytes are none of the matched ones.
        let is_copied = file.dirtied_bytes > 0 && file.dirtied_bytes >= total(&unmatched);
        if is_copied {
            self.deliver_all(&unmatched, Outcome::Copied(Reason::PageCacheSink), by);
        } else {
            self.deliver_unknown(&unmatched, Reason::DirectDevice, by);
        }
    }
}

/// Returns the read or write requests to a device inside a call, in order.
pub(super) fn requests(call: &ObservedCall, station: CallStation, ops: &PipeBufOps) -> Vec<Observation> {
    let records = call.observations.at(station);
    records
        .flat_map(|(header, ranges)| observations_of(header.linear, ranges, ops))
        .collect()
}
