//! Sink: a file or block device through its page cache.

use super::memory_copy_reason;
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::FileState;
use crate::evidence::Evidence;
use crate::history::Outcome;
use crate::sender::Sender;
use crate::span::{Span, SpanCursor, total};
use zctrace_contract::Reason;

impl Evidence {
    pub(super) fn deliver_to_page_cache(&mut self, call: &ObservedCall, file: &FileState, spans: &[Span], by: &Sender) {
        if call.is_cloned() && !self.config.no_direct_io.contains(&file.dev) && self.config.buffered.contains(&file.dev)
        {
            return self.deliver_all(spans, Outcome::Cloned, by);
        }
        // A filesystem in memory cannot share extents, so that the kernel copies by the thread's
        // internal pipe (fs/read_write.c: `splice_copy_file_range()`; mm/shmem.c has no
        // `remap_file_range`).
        if call.is_copy_file_range() && !self.config.no_direct_io.contains(&file.dev) {
            // A reflink copies nothing, so that only as many bytes as became dirty are copied.
            let copied = call.dirtied_bytes.min(total(spans));
            let mut rest = SpanCursor::new(spans);
            rest.take(copied, |span| {
                self.deliveries
                    .deliver(span, Outcome::Copied(Reason::PageCacheSink), by);
            });
            return self.deliver_unknown(&rest.rest().collect::<Vec<_>>(), Reason::NotObserved, by);
        }
        // No kernel passes a pipe's pages to a page cache (SPLICE_F_MOVE does nothing for files
        // since 2.6.21). Where the filesystem passes writes on (FUSE), only dirtied folios are a
        // witness.
        if call.dirtied_bytes > 0 || file.is_block || self.config.buffered.contains(&file.dev) {
            let reason = if call.source.is_memory() {
                memory_copy_reason(call)
            } else {
                Reason::PageCacheSink
            };
            self.deliver_all(spans, Outcome::Copied(reason), by);
        } else {
            self.deliver_unknown(spans, Reason::NotObserved, by);
        }
    }
}
