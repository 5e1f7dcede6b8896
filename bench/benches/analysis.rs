//! The speed at which the engine turns records into verdicts, without a kernel.
//!
//! The records are synthetic, as from a program that sends a file through a pipe into a connection,
//! 64 KiB at a time: per chunk two calls, the sixteen slots that each of them observed, and two
//! packets with the sixteen pages.
//!
//! ```text
//! cargo bench -p zctrace-bench --bench analysis
//! ```

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zctrace_evidence::{Config, PipeBufOps};
use zctrace_probes::probe::RecordRef;
use zctrace_probes::trace::{Engine, Input, TraceHeader};
use zctrace_records::{
    Call, EndpointState, FileId, MAX_RANGES, PageRange, PageRecord, RecordHeader, RecordKind, SocketPair, call_flag,
    endpoint_kind, nr, page_record_flag, station_kind,
};

const PAGE: u64 = 4096;
const SLOTS: u32 = 16;
const CHUNK: u32 = 64 << 10;
/// Chunks of the file, which is sent repeatedly.
const FILE_CHUNKS: u64 = 64;
const CHUNKS: u64 = 4000;
/// Address of the kernel's `struct page` array.
const MAP: u64 = 0xffff_ea00_0000_0000;
const PAGE_CACHE: u64 = 0xffff_ffff_8200_0010;

/// Records of the eBPF programs.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    sequences: [u64; 2],
    now: u64,
}

impl Written {
    fn header(&mut self, kind: RecordKind, program: usize) -> RecordHeader {
        let sequence = self.sequences[program];
        self.sequences[program] += 1;
        self.now += 300;
        RecordHeader {
            sequence,
            timestamp_ns: self.now,
            tgid: 100,
            tid: 100,
            cpu: 0,
            kind,
            len: 0,
        }
    }

    fn add(&mut self, record: RecordRef<'_>) {
        record.write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

fn pipe(before: (u32, u32), after: (u32, u32)) -> EndpointState {
    let slot = |(head, tail): (u32, u32)| if head == tail { 0 } else { PAGE };
    EndpointState {
        object: 0xffff_8881_0000_4000,
        ino: 77,
        kind: endpoint_kind::PIPE,
        extra: 0xffff_8881_0000_8000,
        size: SLOTS,
        before: u64::from(before.0) << 32 | u64::from(before.1),
        after: u64::from(after.0) << 32 | u64::from(after.1),
        tail_before: slot(before),
        tail_after: slot(after),
        ..EndpointState::default()
    }
}

#[allow(clippy::too_many_lines)] // A table of records, field by field.
fn chunks() -> Written {
    let pair = SocketPair {
        source: [127; 16],
        destination: [127; 16],
        source_port: 5000,
        destination_port: 80,
        family: 2,
        reserved: 0,
    };
    let mapping = 0xffff_8881_0001_0000;
    let mut written = Written::default();
    let mut sequence = 77_u32;
    for chunk in 0..CHUNKS {
        let at = (chunk % FILE_CHUNKS) * u64::from(CHUNK);
        let mut pieces = [PageRange::default(); MAX_RANGES];
        for (piece, index) in pieces.iter_mut().zip(at / PAGE..).take(SLOTS as usize) {
            *piece = PageRange {
                // Pages of a file are not adjacent in memory.
                page: MAP + (index * 7919 % 100_003) * 64,
                mapping,
                index,
                ops: PAGE_CACHE,
                offset: 0,
                len: PAGE as u32,
            };
        }
        let head = chunk as u32 * SLOTS;
        let full = head.wrapping_add(SLOTS);
        let station = PageRecord {
            header: written.header(PageRecord::KIND, 0),
            call_id: chunk * 2 + 1,
            object: pipe((0, 0), (0, 0)).object,
            position: u64::from(head),
            file: FileId {
                mapping,
                ino: 9,
                dev: 5,
                generation: 1,
            },
            pair: SocketPair::default(),
            total: CHUNK,
            linear: 0,
            flags: 0,
            device: 0,
            station: station_kind::PIPE_SINK,
            count: SLOTS as u16,
            part: 0,
            ranges: pieces,
        };
        written.add(RecordRef::Pages(&station));
        let file = EndpointState {
            object: mapping,
            ino: 9,
            dev: 5,
            generation: 1,
            kind: endpoint_kind::FILE,
            before: at,
            after: at + u64::from(CHUNK),
            ..EndpointState::default()
        };
        let tcp = EndpointState {
            kind: endpoint_kind::TCP,
            ino: 10,
            object: 0xffff_8881_0002_0000,
            pair,
            before: u64::from(sequence),
            after: u64::from(sequence.wrapping_add(CHUNK)),
            ..EndpointState::default()
        };
        let call = |written: &mut Written, serial, source, sink| {
            let header = written.header(Call::KIND, 0);
            let call = Call {
                header,
                call_id: serial,
                entered_ns: header.timestamp_ns - 300,
                result: i64::from(CHUNK),
                requested: u64::from(CHUNK),
                user_ip: 0x40_1000 + serial % 2,
                memory: 0,
                dirtied_bytes: 0,
                nr: nr::SPLICE,
                op_flags: 0,
                flags: call_flag::ENTRY_OBSERVED,
                page_records: 1,
                source,
                sink,
            };
            written.add(RecordRef::Call(&call));
        };
        call(&mut written, chunk * 2 + 1, file, pipe((head, head), (full, head)));
        // Two packets with half of the chunk each, sent inside the second call.
        for half in 0..2 {
            let mut of_packet = [PageRange::default(); MAX_RANGES];
            for (piece, slot) in of_packet.iter_mut().zip(&pieces[half * 8..half * 8 + 8]) {
                *piece = PageRange { ops: 0, ..*slot };
            }
            let packet = PageRecord {
                header: written.header(PageRecord::KIND, 1),
                call_id: chunk * 2 + 2,
                object: tcp.object,
                position: u64::from(sequence.wrapping_add(half as u32 * CHUNK / 2)),
                pair,
                total: CHUNK / 2,
                flags: page_record_flag::LOOPBACK,
                device: 1,
                station: station_kind::PACKET,
                count: SLOTS as u16 / 2,
                ranges: of_packet,
                ..station
            };
            written.add(RecordRef::Pages(&packet));
        }
        // A slot that was emptied keeps its page; its offset is the end of the page.
        for piece in &mut pieces[..SLOTS as usize] {
            *piece = PageRange {
                ops: 0,
                offset: PAGE as u32,
                len: 0,
                ..*piece
            };
        }
        let station = PageRecord {
            header: written.header(PageRecord::KIND, 0),
            call_id: chunk * 2 + 2,
            station: station_kind::PIPE_SOURCE,
            total: 0,
            ranges: pieces,
            ..station
        };
        written.add(RecordRef::Pages(&station));
        call(&mut written, chunk * 2 + 2, pipe((full, head), (full, full)), tcp);
        sequence = sequence.wrapping_add(CHUNK);
    }
    written
}

fn account() -> Engine {
    Engine::new(TraceHeader {
        config: Config {
            pipe_buf_ops: PipeBufOps {
                page_cache: PAGE_CACHE,
                anonymous: PAGE_CACHE + 64,
                user: PAGE_CACHE + 128,
                zero: PAGE_CACHE + 192,
                zero_page: MAP + 64 * 1_000_003,
            },
            ..Config::default()
        },
        ..TraceHeader::default()
    })
}

fn analyze(written: &Written) -> Engine {
    let mut account = account();
    for record in written.records() {
        account.take(Input::Record(record));
        black_box(account.take_symbol_requests());
    }
    account
}

fn bench(c: &mut Criterion) {
    let written = chunks();
    let report = analyze(&written).report(10);
    let moved = report.totals().account.moved;
    assert_eq!(moved, CHUNKS * u64::from(CHUNK), "every byte is moved");
    let mut group = c.benchmark_group("analysis");
    group.throughput(Throughput::Elements(CHUNKS));
    group.bench_function("chunks of six records", |b| b.iter(|| analyze(black_box(&written))));
    group.throughput(Throughput::Elements(written.ends.len() as u64));
    group.bench_function("records", |b| b.iter(|| analyze(black_box(&written))));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
