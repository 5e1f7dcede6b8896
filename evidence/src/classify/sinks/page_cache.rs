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
        let is_buffered = self.config.buffered.contains(&file.dev);
        if call.is_cloned() && is_buffered {
            return self.deliver_all(spans, Outcome::Cloned, by);
        }
        // Filesystems in memory report no folios as dirty (fs/libfs.c: `noop_dirty_folio()`), and
        // have no extents that two files could share.
        let must_copy = call.is_copied_by_splice_pipe() || self.config.no_direct_io.contains(&file.dev);
        if call.is_copy_file_range() && is_buffered && must_copy {
            return self.deliver_all(spans, Outcome::Copied(Reason::PageCacheSink), by);
        }
        if call.is_copy_file_range() {
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
        if call.dirtied_bytes > 0 || file.is_block || is_buffered {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use zctrace_records::{Call, EndpointState, RecordHeader, call_flag, endpoint_kind, nr};
    use zctrace_report::{Account, Excluded, Report, Scope, ScopeKind, Tier};

    const DISK: u32 = 1;
    const IN_MEMORY: u32 = 2;
    const FUSE: u32 = 3;
    const LEN: u64 = 10_000;

    /// Returns what becomes of the bytes of a `copy_file_range` between two files. The bits say
    /// whether the thread had no internal pipe before and after the call, as the programs write it.
    fn account(dev: u32, lacks_pipe: (u64, u64), dirtied_bytes: u64) -> Account {
        let mut evidence = Evidence::new(Config {
            buffered: [DISK, IN_MEMORY].into(),
            no_direct_io: [IN_MEMORY].into(),
            ..Config::default()
        });
        let file = |ino| EndpointState {
            object: ino * 64,
            ino,
            dev,
            kind: endpoint_kind::FILE,
            ..EndpointState::default()
        };
        evidence.call(&Call {
            header: RecordHeader {
                timestamp_ns: 2,
                tgid: 100,
                tid: 100,
                kind: Call::KIND,
                sequence: 0,
                cpu: 0,
                len: 0,
            },
            call_id: 1,
            entered_ns: 1,
            result: LEN.cast_signed(),
            requested: LEN,
            user_ip: 0,
            memory: 0,
            dirtied_bytes,
            nr: nr::COPY_FILE_RANGE,
            op_flags: 0,
            page_records: 0,
            flags: call_flag::ENTRY_OBSERVED,
            source: EndpointState {
                tail_before: lacks_pipe.0,
                tail_after: lacks_pipe.1,
                ..file(8)
            },
            sink: file(9),
        });
        evidence.end_of_trace();
        let mut report = Report::new(Tier::T0, Scope::new(ScopeKind::Machine));
        evidence.fill(&mut report, &|_, _| None);
        report.finish(100);
        assert!(report.check().is_ok());
        report.flows.into_iter().next().expect("a flow").account
    }

    #[test]
    fn a_call_that_allocated_the_internal_pipe_has_copied() {
        assert_eq!(account(DISK, (1, 0), 0), Account::new(0, LEN, 0));
        // Another filesystem may pass on what is written to it.
        assert_eq!(account(FUSE, (1, 0), 0), Account::new(0, 0, LEN));
    }

    #[test]
    fn a_call_of_a_thread_with_the_pipe_has_copied_what_became_dirty() {
        assert_eq!(account(DISK, (0, 0), 4096), Account::new(0, 4096, LEN - 4096));
    }

    #[test]
    fn a_call_without_the_pipe_has_cloned_only_where_extents_can_be_shared() {
        let cloned = Excluded {
            cloned: LEN,
            ..Excluded::default()
        };
        assert_eq!(account(DISK, (1, 1), 0).excluded, cloned);
        assert_eq!(account(FUSE, (1, 1), 0), Account::new(0, 0, LEN));
    }

    #[test]
    fn files_in_memory_are_always_copied() {
        assert_eq!(account(IN_MEMORY, (1, 0), 0), Account::new(0, LEN, 0));
        assert_eq!(account(IN_MEMORY, (0, 0), 0), Account::new(0, LEN, 0));
    }
}
