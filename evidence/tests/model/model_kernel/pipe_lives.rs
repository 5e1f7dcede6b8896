//! Ends of rings: a pipe that is resized, and a FIFO that is closed and opened again.

use zctrace_records::{PageRange, ProcessEvent, process_event_kind};

use super::{Bytes, DEFAULT, Done, ModelKernel, PAGE_CACHE, Record, SLOTS, UNTRACED};

/// The pipe that is a FIFO.
pub(crate) const FIFO: usize = 2;

impl Done {
    /// Returns whether a process is still inside a call on the pipe.
    pub(crate) fn uses_pipe(&self, pipe: usize) -> bool {
        let object = 0xf00 + pipe as u64;
        self.call.source.object == object || self.call.sink.object == object
    }
}

impl ModelKernel {
    /// fcntl(`F_SETPIPE_SZ`): a new ring with new numbers.
    pub(crate) fn resize(&mut self, pipe: usize, content: bool) {
        let p = &mut self.pipes[pipe];
        let n = p.head.wrapping_sub(p.tail);
        let mut slots = vec![None; SLOTS as usize];
        for k in 0..n {
            slots[k as usize] = p.slots[(p.tail.wrapping_add(k) % SLOTS) as usize];
        }
        p.slots = slots;
        p.head = n;
        p.tail = 0;
        p.bufs += 0x1000;
        if content {
            let header = self.header(ProcessEvent::KIND);
            self.records.push(Record::Process(ProcessEvent {
                header,
                event: process_event_kind::PIPE_RESIZED,
                child: 0,
                detail: 0xf00 + pipe as u64,
                comm: [0; 16],
            }));
        }
    }
    /// Traced processes open the FIFO for writing and then for reading.
    pub(super) fn open_fifo(&mut self) {
        for (opens, mode) in [((1, 2), 2), ((2, 2), 1)] {
            self.pipes[FIFO].opens = opens;
            self.record_open(mode);
        }
    }

    fn record_open(&mut self, mode: u32) {
        let (reads, writes) = self.pipes[FIFO].opens;
        let header = self.header(ProcessEvent::KIND);
        self.sole_witnesses.insert(self.records.len());
        self.records.push(Record::Process(ProcessEvent {
            header,
            event: process_event_kind::FIFO_OPENED | mode << 8,
            child: u32::from(writes) << 16 | u32::from(reads),
            detail: 0xf00 + FIFO as u64,
            comm: [0; 16],
        }));
    }

    /// All processes close the FIFO. An untraced process opens it for writing, and a reader opens
    /// it too: a traced one (`recorded`), or one that passes it to a traced process. The untraced
    /// process fills it to the same counters, in the same pages where these are free.
    ///
    /// Nothing shows a new life without an open if the kernel owned the pages before as well, so
    /// such a ring stays.
    pub(crate) fn reopen_fifo(&mut self, recorded: bool) {
        let p = &self.pipes[FIFO];
        let old: Vec<Bytes> = (0..p.head.wrapping_sub(p.tail))
            .filter_map(|n| p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize])
            .collect();
        if !recorded && old.iter().any(|bytes| bytes.range.ops != PAGE_CACHE) {
            return;
        }
        let p = &mut self.pipes[FIFO];
        p.head = p.tail;
        for bytes in old {
            let page = self.reused_page(bytes.range);
            self.push(
                FIFO,
                Bytes {
                    range: PageRange {
                        page,
                        mapping: 0,
                        index: 0,
                        // Nothing is appended, so that a slot has one origin.
                        ops: DEFAULT,
                        ..bytes.range
                    },
                    origin: UNTRACED,
                    copied: true,
                    in_snapshot: 0,
                },
            );
        }
        self.pipes[FIFO].opens = (2, 2);
        if recorded {
            self.record_open(1);
        }
    }

    /// Returns the page of a slot that is gone, or another one if the page is in use. A file has
    /// its bytes in a new page when they are read again.
    fn reused_page(&mut self, range: PageRange) -> u64 {
        if self.is_held(range.page) {
            return self.fresh_page();
        }
        self.free.retain(|page| *page != range.page);
        if range.mapping != 0 {
            let file = ((range.mapping - 0xabc0_0000) / 64) as usize;
            let page = self.fresh_page();
            self.file_pages.insert((file, range.index), page);
        }
        range.page
    }
}
