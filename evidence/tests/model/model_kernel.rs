//! The model kernel: pipes with rings, connections with packets, files with pages, and the truth
//! about every byte, which a real kernel does not reveal. Its operations are recorded as the probes
//! would record them.

mod between_pipes;
mod connections;
pub(crate) mod pipe_lives;
mod recording;
pub(crate) mod retransmissions;
mod writes;

use std::collections::{HashMap, HashSet};

use zctrace_records::{
    Call, ConnectionClosed, EndpointState, PageRange, PageRecord, PipeSnapshot, ProcessEvent, RecordHeader, call_flag,
    endpoint_kind, nr,
};

use connections::Connection;

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
    Name(EndpointState),
    Closed(ConnectionClosed),
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
    /// How often it was opened for reading and for writing.
    opens: (u16, u16),
    head: u32,
    tail: u32,
    slots: Vec<Option<Bytes>>,
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

/// Origin of bytes that an untraced process wrote into a pipe.
const UNTRACED: Option<usize> = Some(usize::MAX - 1);

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
    /// The connection that ended last. Its receiver may still read.
    ended: Option<Connection>,
    /// Senders' sockets that a traced call used, with their first sequence numbers.
    named: HashSet<(u64, u32)>,
    /// Bytes that untraced processes sent on traced sockets.
    pub(crate) unseen: u64,
    /// Bytes of retransmissions that showed other pages.
    pub(crate) disputed: u64,
    /// Records that alone show that something is not what it was: opens of a FIFO, and packets that
    /// carry bytes in other pages.
    pub(crate) sole_witnesses: HashSet<usize>,
    /// Sockets that were made for connections that follow others.
    socks: u64,
    /// Pages of files that were read again after their page was reused.
    file_pages: HashMap<(usize, u64), u64>,
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
            opens: (1, 1),
            head: 0,
            tail: 0,
            slots: vec![None; SLOTS as usize],
        };
        let mut kernel = Self {
            pipes: vec![pipe(0), pipe(1), pipe(2)],
            connections: Connection::all(),
            ended: None,
            named: HashSet::new(),
            unseen: 0,
            disputed: 0,
            sole_witnesses: HashSet::new(),
            socks: 0,
            file_pages: HashMap::new(),
            free: Vec::new(),
            next_page: 1,
            call_id: 0,
            now: 0,
            records: Vec::new(),
            truth: HashMap::new(),
        };
        kernel.open_fifo();
        kernel
    }

    /// Forgets what was recorded before.
    pub(crate) fn start_tracing(&mut self) {
        self.records.clear();
        self.sole_witnesses.clear();
        self.truth.clear();
        self.named.clear();
        self.connections
            .iter_mut()
            .for_each(|connection| connection.segments.clear());
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

    fn file_page(&self, file: usize, index: u64) -> u64 {
        let first = MAP + (file as u64 * 10_000 + index * 2) * 64;
        self.file_pages.get(&(file, index)).copied().unwrap_or(first)
    }

    fn is_held(&self, page: u64) -> bool {
        let connections = self.connections.iter().chain(&self.ended);
        let queued = connections.flat_map(|connection| &connection.queue);
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
            generation: u32::from(p.opens.1) << 16 | u32::from(p.opens.0),
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
                    page: self.file_page(file, at / 4096),
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
            if b.origin != UNTRACED {
                let sum = self.truth.entry((b.origin, sink)).or_default();
                let is_copied = b.copied || copies;
                *(if is_copied { &mut sum.1 } else { &mut sum.0 }) += u64::from(b.range.len);
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
}
