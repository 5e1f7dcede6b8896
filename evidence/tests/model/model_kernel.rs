//! The model kernel: pipes with rings, connections with packets, files with pages, and the truth
//! about every byte, which a real kernel does not reveal. Its operations are recorded as the probes
//! would record them.

use std::collections::{HashMap, VecDeque};

use zctrace_records::{
    Call, EndpointState, FileId, MAX_RANGES, PageRange, PageRecord, PipeSnapshot, ProcessEvent, RecordHeader,
    SocketPair, call_flag, endpoint_kind, nr, page_record_flag, process_event_kind, station_kind,
};

pub(crate) const SLOTS: u32 = 16;
const MAP: u64 = 0xffff_ea00_0000_0000;
/// Kinds of slots (`pipe_buf_operations`).
pub(crate) const PAGE_CACHE: u64 = 11;
pub(crate) const ANONYMOUS: u64 = 12;
pub(crate) const DEFAULT: u64 = 15;
pub(crate) const NO_STEAL: u64 = 16;

#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)] // They are made by the thousand at most.
pub(crate) enum Record {
    Station(PageRecord),
    Call(Call),
    Process(ProcessEvent),
    Snapshot(PipeSnapshot),
}

/// Bytes in a page, with the truth about them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    range: PageRange,
    /// File that the bytes came from; `None` for memory.
    origin: Option<usize>,
    copied: bool,
    /// Number of bytes, from the first, that were in a pipe when a snapshot was taken. They may
    /// have the pipe as their origin from then on.
    in_snapshot: u32,
}

impl Bytes {
    fn split(self, len: u32) -> (Self, Self) {
        let mut head = self;
        head.range.len = len;
        let mut rest = self;
        rest.range.offset += len;
        rest.range.len -= len;
        head.in_snapshot = self.in_snapshot.min(len);
        rest.in_snapshot = self.in_snapshot - head.in_snapshot;
        (head, rest)
    }
}

#[derive(Clone, Debug)]
struct Pipe {
    bufs: u64,
    head: u32,
    tail: u32,
    slots: Vec<Option<Bytes>>,
}

#[derive(Clone, Debug)]
struct Connection {
    pair: SocketPair,
    sent: u32,
    received: u32,
    queue: VecDeque<Bytes>,
}

/// Effect of a call, before it is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    call: Call,
    /// Slots that were pushed, by pipe and ring positions.
    pushed: Option<(usize, u32, u32)>,
    popped_slots: Option<(usize, u32, u32)>,
    bios: Vec<PageRange>,
    /// For a snapshot of a pipe instead of a call: the pipe, and its content if that was read
    /// first.
    snapshot: Option<(usize, Option<Vec<PageRange>>)>,
}

/// Origin of bytes that a snapshot showed in a pipe.
pub(crate) const SNAPSHOT: Option<usize> = Some(usize::MAX);

/// Delivered bytes by origin and sink, moved and copied. Bytes that a snapshot showed are included
/// twice: with their origin, and with [`SNAPSHOT`], and none of them copied before.
pub(crate) type Truth = HashMap<(Option<usize>, Sink), (u64, u64)>;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Sink {
    Disk,
    Buffered,
    Tcp(usize),
    Memory,
}

#[derive(Debug)]
pub(crate) struct ModelKernel {
    pipes: Vec<Pipe>,
    connections: Vec<Connection>,
    /// Pages without a holder. They are reused first, as the kernel does.
    free: Vec<u64>,
    next_page: u64,
    call_id: u64,
    now: u64,
    pub(crate) records: Vec<Record>,
    pub(crate) truth: Truth,
}

pub(crate) fn file_name(file: usize) -> u64 {
    1000 + file as u64
}

impl ModelKernel {
    pub(crate) fn new() -> Self {
        let pipe = |n: u64| Pipe {
            bufs: 0x1_0000 + n,
            head: 0,
            tail: 0,
            slots: vec![None; SLOTS as usize],
        };
        let connection = |n: u16| Connection {
            pair: SocketPair {
                source: [1; 16],
                destination: [1; 16],
                source_port: 5000 + n,
                destination_port: 80,
                family: 10,
                reserved: 0,
            },
            sent: u32::MAX - 5000,
            received: u32::MAX - 5000,
            queue: VecDeque::new(),
        };
        Self {
            pipes: vec![pipe(0), pipe(1), pipe(2)],
            connections: vec![connection(0), connection(1)],
            free: Vec::new(),
            next_page: 1,
            call_id: 0,
            now: 0,
            records: Vec::new(),
            truth: HashMap::new(),
        }
    }

    fn fresh_page(&mut self) -> u64 {
        let free = (0..self.free.len()).rev().find(|&at| !self.is_held(self.free[at]));
        free.map_or_else(
            || {
                self.next_page += 1;
                MAP + (1_000_000 + self.next_page * 3) * 64
            },
            |at| self.free.remove(at),
        )
    }

    fn is_held(&self, page: u64) -> bool {
        let queued = self.connections.iter().flat_map(|connection| &connection.queue);
        let in_rings = self.pipes.iter().flat_map(|p| {
            (0..p.head.wrapping_sub(p.tail)).filter_map(|n| p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize].as_ref())
        });
        queued.chain(in_rings).any(|bytes| bytes.range.page == page)
    }

    fn header(&mut self, kind: zctrace_records::RecordKind) -> RecordHeader {
        self.now += 1000;
        RecordHeader {
            sequence: 0,
            timestamp_ns: self.now,
            tgid: 100,
            tid: 100,
            cpu: 0,
            kind,
            len: 32,
        }
    }

    fn call(&mut self, nr: u32, source: EndpointState, sink: EndpointState) -> Call {
        self.call_id += 1;
        let header = self.header(Call::KIND);
        Call {
            header,
            call_id: self.call_id,
            entered_ns: self.now,
            result: 0,
            requested: 0,
            user_ip: 7,
            memory: 0x7000_0000,
            dirtied_bytes: 0,
            nr,
            op_flags: 0,
            flags: call_flag::ENTRY_OBSERVED | call_flag::CONTIGUOUS,
            page_records: 0,
            source,
            sink,
        }
    }

    fn pipe_state(&self, pipe: usize) -> EndpointState {
        let p = &self.pipes[pipe];
        let at = u64::from(p.head) << 32 | u64::from(p.tail);
        let last = if p.head == p.tail {
            0
        } else {
            p.slots[(p.head.wrapping_sub(1) % SLOTS) as usize].map_or(0, |bytes| bytes.range.len)
        };
        EndpointState {
            object: 0xf00 + pipe as u64,
            ino: 50 + pipe as u64,
            kind: endpoint_kind::PIPE,
            before: at,
            after: at,
            extra: p.bufs,
            size: SLOTS,
            last_before: last,
            last_after: last,
            tail_before: self.tail_slot(pipe),
            ..EndpointState::default()
        }
    }

    /// Returns offset and length of the slot at the tail.
    fn tail_slot(&self, pipe: usize) -> u64 {
        let p = &self.pipes[pipe];
        match p.slots[(p.tail % SLOTS) as usize] {
            Some(bytes) if p.head != p.tail => u64::from(bytes.range.offset) << 32 | u64::from(bytes.range.len),
            _ => 0,
        }
    }

    fn file_state(file: usize, position: u64, direct: bool) -> EndpointState {
        EndpointState {
            object: 0xabc0_0000 + file as u64 * 64,
            ino: file_name(file),
            dev: 5,
            kind: endpoint_kind::FILE,
            before: position,
            f_flags: if direct { 0o40_000 } else { 0 },
            ..EndpointState::default()
        }
    }

    fn memory() -> EndpointState {
        EndpointState {
            kind: endpoint_kind::MEMORY,
            ..EndpointState::default()
        }
    }

    fn free_slots(&self, pipe: usize) -> u32 {
        SLOTS - self.pipes[pipe].head.wrapping_sub(self.pipes[pipe].tail)
    }

    fn push(&mut self, pipe: usize, bytes: Bytes) {
        let p = &mut self.pipes[pipe];
        p.slots[(p.head % SLOTS) as usize] = Some(bytes);
        p.head = p.head.wrapping_add(1);
    }

    /// splice(file, pipe), by reference or by a kernel that copies.
    pub(crate) fn file_to_pipe(
        &mut self,
        file: usize,
        start: u64,
        len: u64,
        pipe: usize,
        copies: bool,
    ) -> Option<Done> {
        let mut call = self.call(nr::SPLICE, Self::file_state(file, start, false), self.pipe_state(pipe));
        let head = self.pipes[pipe].head;
        let mut at = start;
        while at < start + len && self.free_slots(pipe) > 0 {
            let n = (4096 - at % 4096).min(start + len - at);
            let range = if copies {
                PageRange {
                    page: self.fresh_page(),
                    ops: DEFAULT,
                    offset: (at % 4096) as u32,
                    len: n as u32,
                    ..PageRange::default()
                }
            } else {
                PageRange {
                    page: MAP + (file as u64 * 10_000 + at / 4096 * 2) * 64,
                    mapping: 0xabc0_0000 + file as u64 * 64,
                    index: at / 4096,
                    ops: PAGE_CACHE,
                    offset: (at % 4096) as u32,
                    len: n as u32,
                }
            };
            self.push(
                pipe,
                Bytes {
                    range,
                    origin: Some(file),
                    copied: copies,
                    in_snapshot: 0,
                },
            );
            at += n;
        }
        call.result = (at - start) as i64;
        let n = self.pipes[pipe].head.wrapping_sub(head);
        (n > 0).then(|| Done {
            call,
            pushed: Some((pipe, head, n)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }

    /// write(pipe), always into fresh pages.
    pub(crate) fn write(&mut self, len: u64, pipe: usize) -> Option<Done> {
        let mut call = self.call(nr::WRITE, Self::memory(), self.pipe_state(pipe));
        let head = self.pipes[pipe].head;
        let mut left = len;
        let mut done = 0;
        // Bytes are appended to the last slot first.
        if self.pipes[pipe].head != self.pipes[pipe].tail {
            let at = (head.wrapping_sub(1) % SLOTS) as usize;
            if let Some(last) = &mut self.pipes[pipe].slots[at]
                && last.range.ops == ANONYMOUS
            {
                let free_bytes = 4096 - last.range.offset - last.range.len;
                if left <= u64::from(free_bytes) {
                    last.range.len += left as u32;
                    done = left;
                    left = 0;
                }
            }
        }
        while left > 0 && self.free_slots(pipe) > 0 {
            let n = left.min(4096);
            let range = PageRange {
                page: self.fresh_page(),
                ops: ANONYMOUS,
                len: n as u32,
                ..PageRange::default()
            };
            self.push(
                pipe,
                Bytes {
                    range,
                    origin: None,
                    copied: true,
                    in_snapshot: 0,
                },
            );
            left -= n;
            done += n;
        }
        call.result = done as i64;
        let n = self.pipes[pipe].head.wrapping_sub(head);
        (done > 0).then(|| Done {
            call,
            pushed: Some((pipe, head, n)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }

    /// Takes bytes out of a pipe.
    fn drain(&mut self, pipe: usize, len: u64, keeps_offset: bool) -> Vec<Bytes> {
        let mut out = Vec::new();
        let mut left = len as u32;
        while left > 0 && self.pipes[pipe].head != self.pipes[pipe].tail {
            let p = &mut self.pipes[pipe];
            let slot = &mut p.slots[(p.tail % SLOTS) as usize];
            let bytes = slot.expect("a slot between tail and head is full");
            let n = bytes.range.len.min(left);
            let (head, rest) = bytes.split(n);
            left -= n;
            out.push(head);
            *slot = Some(rest);
            if rest.range.len == 0 {
                if let Some(popped) = slot {
                    popped.range.ops = 0;
                    // Like `iter_file_splice_write()`.
                    if keeps_offset {
                        popped.range.offset -= n;
                    }
                }
                p.tail = p.tail.wrapping_add(1);
                if bytes.range.mapping == 0 {
                    self.free.push(bytes.range.page);
                }
            }
        }
        out
    }

    fn deliver(&mut self, bytes: &[Bytes], sink: Sink, copies: bool) {
        for b in bytes {
            let sum = self.truth.entry((b.origin, sink)).or_default();
            if b.copied || copies {
                sum.1 += u64::from(b.range.len);
            } else {
                sum.0 += u64::from(b.range.len);
            }
            let sum = self.truth.entry((SNAPSHOT, sink)).or_default();
            *(if copies { &mut sum.1 } else { &mut sum.0 }) += u64::from(b.in_snapshot);
        }
    }

    fn consume(&mut self, nr: u32, pipe: usize, len: u64, sink: EndpointState) -> Option<(Done, Vec<Bytes>)> {
        let mut call = self.call(nr, self.pipe_state(pipe), sink);
        let tail = self.pipes[pipe].tail;
        let keeps_offset = sink.kind == endpoint_kind::FILE;
        let bytes = self.drain(pipe, len, keeps_offset);
        call.result = bytes.iter().map(|b| i64::from(b.range.len)).sum();
        let popped = self.pipes[pipe].tail.wrapping_sub(tail);
        let partial = u32::from(self.pipes[pipe].head != self.pipes[pipe].tail);
        let popped_slots = Some((pipe, tail, popped + partial));
        (call.result > 0).then(|| {
            (
                Done {
                    call,
                    pushed: None,
                    popped_slots,
                    bios: Vec::new(),
                    snapshot: None,
                },
                bytes,
            )
        })
    }

    /// splice(pipe, `O_DIRECT` file): the device takes the pages, or the filesystem falls back to
    /// its page cache.
    pub(crate) fn pipe_to_disk(&mut self, pipe: usize, len: u64, falls_back: bool) -> Option<Done> {
        let (mut done, bytes) = self.consume(nr::SPLICE, pipe, len, Self::file_state(9, 0, true))?;
        if falls_back {
            done.call.dirtied_bytes = 4096;
        } else {
            done.bios = bytes.iter().map(|b| PageRange { ops: 0, ..b.range }).collect();
        }
        self.deliver(&bytes, Sink::Disk, falls_back);
        Some(done)
    }

    /// splice(pipe, file).
    pub(crate) fn pipe_to_file(&mut self, pipe: usize, len: u64) -> Option<Done> {
        let (mut done, bytes) = self.consume(nr::SPLICE, pipe, len, Self::file_state(8, 0, false))?;
        done.call.dirtied_bytes = 4096;
        self.deliver(&bytes, Sink::Buffered, true);
        Some(done)
    }

    /// read(pipe).
    pub(crate) fn read(&mut self, pipe: usize, len: u64) -> Option<Done> {
        let (done, bytes) = self.consume(nr::READ, pipe, len, Self::memory())?;
        self.deliver(&bytes, Sink::Memory, true);
        Some(done)
    }

    /// splice(pipe, pipe): whole slots, and a part of the last.
    pub(crate) fn pipe_to_pipe(&mut self, from: usize, to: usize, len: u64) -> Option<Done> {
        if from == to {
            return None;
        }
        let sink = self.pipe_state(to);
        let head = self.pipes[to].head;
        let available: Vec<u32> = self.slot_lens(from);
        let free_bytes: u64 = available
            .iter()
            .take(self.free_slots(to) as usize)
            .map(|&n| u64::from(n))
            .sum();
        let (mut done, bytes) = self.consume(nr::SPLICE, from, len.min(free_bytes), sink)?;
        for b in &bytes {
            self.push(to, *b);
        }
        done.pushed = Some((to, head, bytes.len() as u32));
        Some(done)
    }

    fn slot_lens(&self, pipe: usize) -> Vec<u32> {
        let p = &self.pipes[pipe];
        (0..p.head.wrapping_sub(p.tail))
            .map(|n| p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize].map_or(0, |b| b.range.len))
            .collect()
    }

    /// tee(2).
    pub(crate) fn tee(&mut self, from: usize, to: usize, len: u64) -> Option<Done> {
        if from == to {
            return None;
        }
        let mut call = self.call(nr::TEE, self.pipe_state(from), self.pipe_state(to));
        let head = self.pipes[to].head;
        let mut left = len as u32;
        for n in 0..self.slot_lens(from).len() as u32 {
            let p = &self.pipes[from];
            let bytes = p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize]?;
            if left == 0 || self.free_slots(to) == 0 {
                break;
            }
            let take = bytes.range.len.min(left);
            left -= take;
            let mut copy = bytes.split(take).0;
            // Nothing is appended to the duplicate of a written page.
            if copy.range.ops == ANONYMOUS {
                copy.range.ops = DEFAULT;
            }
            call.result += i64::from(take);
            self.push(to, copy);
        }
        let n = self.pipes[to].head.wrapping_sub(head);
        (n > 0).then(|| Done {
            call,
            pushed: Some((to, head, n)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }

    /// splice(pipe, socket): packets of `mss` bytes are sent at once, each `times` times. With
    /// `copies` the kernel has no scatter-gather.
    pub(crate) fn pipe_to_tcp(
        &mut self,
        pipe: usize,
        n: usize,
        len: u64,
        mss: u32,
        copies: bool,
        times: u32,
    ) -> Option<Done> {
        let before = self.connections[n].sent;
        let state = EndpointState {
            kind: endpoint_kind::TCP,
            ino: 600 + n as u64,
            object: 0xd00 + n as u64,
            pair: self.connections[n].pair,
            before: u64::from(before),
            ..EndpointState::default()
        };
        let (mut done, bytes) = self.consume(nr::SPLICE, pipe, len, state)?;
        self.deliver(&bytes, Sink::Tcp(n), copies);
        let mut out = VecDeque::new();
        for mut b in bytes {
            if copies {
                let held = b.range.page;
                let mut page = self.fresh_page();
                while page == held {
                    page = self.fresh_page();
                }
                b.range = PageRange {
                    page,
                    mapping: 0,
                    index: 0,
                    ops: 0,
                    ..b.range
                };
                b.copied = true;
            }
            b.range.ops = 0;
            out.push_back(b);
        }
        self.connections[n].queue.extend(out.iter().copied());
        let mut sequence = before;
        while !out.is_empty() {
            let mut frags = Vec::new();
            let mut left = mss;
            while left > 0 && frags.len() < 17 {
                let Some(b) = out.pop_front() else { break };
                let take = b.range.len.min(left);
                let (head, rest) = b.split(take);
                if rest.range.len > 0 {
                    out.push_front(rest);
                }
                left -= take;
                frags.push(head.range);
            }
            for _ in 0..times {
                self.packet(n, sequence, &frags);
            }
            sequence = sequence.wrapping_add(frags.iter().map(|f| f.len).sum());
        }
        self.connections[n].sent = sequence;
        done.call.sink.after = u64::from(sequence);
        Some(done)
    }

    fn packet(&mut self, n: usize, sequence: u32, frags: &[PageRange]) {
        let pair = self.connections[n].pair;
        let mut station = self.station(station_kind::PACKET, 0xd00 + n as u64, u64::from(sequence), frags, 0);
        station.pair = pair;
        station.flags = page_record_flag::LOOPBACK;
        station.call_id = 0;
        self.records.push(Record::Station(station));
    }

    /// splice(socket, pipe): fragments by reference, or copied.
    pub(crate) fn tcp_to_pipe(&mut self, n: usize, pipe: usize, len: u64, copies: bool) -> Option<Done> {
        let before = self.connections[n].received;
        let state = EndpointState {
            kind: endpoint_kind::TCP,
            ino: 700 + n as u64,
            object: 0xe00 + n as u64,
            pair: self.connections[n].pair.reversed(),
            before: u64::from(before),
            ..EndpointState::default()
        };
        let mut call = self.call(nr::SPLICE, state, self.pipe_state(pipe));
        let head = self.pipes[pipe].head;
        let mut left = len as u32;
        while left > 0 && self.free_slots(pipe) > 0 {
            // The packet holds its page while its bytes are copied.
            let fresh = self.fresh_page();
            let Some(b) = self.connections[n].queue.pop_front() else {
                break;
            };
            let take = b.range.len.min(left);
            let (mut bytes, rest) = b.split(take);
            if rest.range.len > 0 {
                self.connections[n].queue.push_front(rest);
            }
            if copies {
                bytes.range = PageRange {
                    page: fresh,
                    mapping: 0,
                    index: 0,
                    ..bytes.range
                };
            }
            // The receiver's flow starts at the socket, so earlier copies are not its own.
            bytes.copied = copies;
            bytes.in_snapshot = 0;
            bytes.origin = Some(700 + n);
            bytes.range.ops = NO_STEAL;
            left -= take;
            call.result += i64::from(take);
            self.push(pipe, bytes);
        }
        self.connections[n].received = before.wrapping_add(call.result as u32);
        call.source.after = u64::from(self.connections[n].received);
        let pushed = self.pipes[pipe].head.wrapping_sub(head);
        (pushed > 0).then(|| Done {
            call,
            pushed: Some((pipe, head, pushed)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }

    /// Takes a snapshot of a pipe: its state; then its content, at once or when the record is
    /// written; then its state again.
    pub(crate) fn take_snapshot(&mut self, pipe: usize, immediately: bool) -> Done {
        let call = self.call(0, EndpointState::default(), self.pipe_state(pipe));
        let p = &mut self.pipes[pipe];
        for n in 0..p.head.wrapping_sub(p.tail) {
            if let Some(bytes) = &mut p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize] {
                bytes.in_snapshot = bytes.range.len;
            }
        }
        let content = immediately.then(|| self.slots_between(pipe, call.sink.before));
        Done {
            call,
            pushed: None,
            popped_slots: None,
            bios: Vec::new(),
            snapshot: Some((pipe, content)),
        }
    }

    /// Returns the content of the slots from a tail to a head.
    fn slots_between(&self, pipe: usize, at: u64) -> Vec<PageRange> {
        let (head, tail) = ((at >> 32) as u32, at as u32);
        let slot = |n| self.pipes[pipe].slots[(tail.wrapping_add(n) % SLOTS) as usize];
        let count = head.wrapping_sub(tail);
        (0..count)
            .map(|n| slot(n).map_or_else(PageRange::default, |b| b.range))
            .collect()
    }

    /// Records a snapshot.
    fn record_snapshot(&mut self, call: &Call, pipe: usize, content: Option<Vec<PageRange>>) {
        let mut end = call.sink;
        let ranges = content.unwrap_or_else(|| self.slots_between(pipe, end.before));
        let now = self.pipe_state(pipe);
        end.after = now.after;
        end.extra = now.extra;
        end.last_after = now.last_after;
        end.tail_after = self.tail_slot(pipe);
        let mut stations = 0;
        for (part, chunk) in (0..).zip(ranges.chunks(MAX_RANGES)) {
            let mut station = self.station(station_kind::PIPE_SNAPSHOT, 0xf00 + pipe as u64, 0, chunk, part);
            station.call_id = call.call_id;
            self.records.push(Record::Station(station));
            stations += 1;
        }
        self.records.push(Record::Snapshot(PipeSnapshot {
            header: call.header,
            call_id: call.call_id,
            endpoint: end,
            tgid: 100,
            page_records: stations,
        }));
    }

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

    fn station(&mut self, station: u16, object: u64, position: u64, ranges: &[PageRange], part: u32) -> PageRecord {
        let mut all = [PageRange::default(); MAX_RANGES];
        all[..ranges.len()].copy_from_slice(ranges);
        PageRecord {
            header: self.header(PageRecord::KIND),
            call_id: self.call_id,
            object,
            position,
            file: FileId::default(),
            pair: SocketPair::default(),
            total: ranges.iter().map(|p| p.len).sum(),
            linear: 0,
            flags: 0,
            device: 0,
            station,
            count: ranges.len() as u16,
            part,
            ranges: all,
        }
    }

    /// Returns from a call: the rings are read now, which may be long after the call's effect.
    pub(crate) fn exit(&mut self, done: Done) {
        let Done {
            mut call,
            pushed,
            popped_slots,
            bios,
            snapshot,
        } = done;
        if let Some((pipe, content)) = snapshot {
            return self.record_snapshot(&call, pipe, content);
        }
        for (kind, slots) in [
            (station_kind::PIPE_SOURCE, popped_slots),
            (station_kind::PIPE_SINK, pushed),
        ] {
            let Some((pipe, first, _)) = slots else { continue };
            // Counts as a probe does: from the position at the entry to the present one, whichever
            // call moved it.
            let p = &self.pipes[pipe];
            let count = if kind == station_kind::PIPE_SINK {
                p.head.wrapping_sub(first)
            } else {
                p.tail.wrapping_sub(first).saturating_add(u32::from(p.head != p.tail))
            };
            let split = count > SLOTS;
            let count = count.min(SLOTS);
            let ranges: Vec<PageRange> = (0..count)
                .map(|k| {
                    self.pipes[pipe].slots[(first.wrapping_add(k) % SLOTS) as usize]
                        .map_or_else(PageRange::default, |b| b.range)
                })
                .collect();
            for (part, chunk) in ranges.chunks(MAX_RANGES).enumerate() {
                let mut station = self.station(kind, 0xf00 + pipe as u64, u64::from(first), chunk, part as u32);
                station.call_id = call.call_id;
                station.flags = if split { page_record_flag::TRUNCATED } else { 0 };
                self.records.push(Record::Station(station));
                call.page_records += 1;
            }
        }
        for chunk in bios.chunks(MAX_RANGES) {
            let mut station = self.station(station_kind::BIO, 0xb10, 0, chunk, 0);
            station.flags = page_record_flag::WRITE;
            station.call_id = call.call_id;
            self.records.push(Record::Station(station));
        }
        // Head and tail at the exit, including the effects of other calls.
        for end in [&mut call.source, &mut call.sink] {
            if end.kind == endpoint_kind::PIPE {
                let pipe = (end.object - 0xf00) as usize;
                let p = &self.pipes[pipe];
                end.after = u64::from(p.head) << 32 | u64::from(p.tail);
                end.extra = p.bufs;
                end.tail_after = self.tail_slot(pipe);
            }
        }
        call.header = self.header(Call::KIND);
        self.records.push(Record::Call(call));
    }
}
